package main

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/show"
)

// roleFlags are the flags of role.
type roleFlags struct {
	catalogFlags
	from, to string
}

func newRole(x *globals) *cobra.Command {
	f := roleFlags{catalogFlags: catalogFlags{globals: x}}
	cmd := &cobra.Command{
		Use:   "role ROLE [ROLE…]",
		Short: "Show what a domain controller, a member or another host listens on, and what it needs of others",
		Long: `Role says which ports a host listens on that is a domain controller, a member or
something else to others, as in an Active Directory domain, who connects there, when,
and which pins narrow it; then what the host itself needs of others.

ROLE is one of "role list", or words of its description: dc, domain-controller,
"read-only DC".

--os is the system of those who listen. It decides what dynamic-rpc stands for, and
rows of other systems are left out. It can be given for several systems.`,
		Example: `  quaymaster role domain-controller --os windows-server-2022
  quaymaster role dc --from client              only what clients need of it
  quaymaster role member --to dc                only what it needs of domain controllers
  quaymaster role dc -o csv
  quaymaster role list`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error { return f.run(args) },
	}
	f.addFlags(cmd)
	cmd.Flags().StringVar(&f.from, "from", "", "only what hosts of this `role` need of it")
	cmd.Flags().StringVar(&f.to, "to", "", "only what it needs of hosts of this `role`")
	cmd.SetFlagErrorFunc(flagMistake)
	cmd.AddCommand(newRoleList(x))
	return cmd
}

func (f *roleFlags) run(names []string) error {
	if len(names) == 0 {
		return usagef(`name a role: dc, member, "read-only DC"; "quaymaster role list" has them all`)
	}
	c, err := f.load()
	if err != nil {
		return err
	}
	systems, mistakes := f.servers(c)
	find := func(flag, name string) *catalog.Role {
		r, err := findRole(c, name)
		if err != nil {
			mistakes = errors.Join(mistakes, usagef("%s%w", flag, err))
		}
		return r
	}
	var roles []*catalog.Role
	for _, name := range names {
		if r := find("", name); !slices.Contains(roles, r) {
			roles = append(roles, r)
		}
	}
	facts := &roleFacts{serviceFacts: newServiceFacts(c, systems)}
	if f.from != "" {
		facts.from = find("--from: ", f.from)
	}
	if f.to != "" {
		facts.to = find("--to: ", f.to)
	}
	if mistakes != nil {
		return mistakes
	}
	switch f.output {
	case show.FormatTable:
		return facts.print(f.stdout(), roles, f.sources)
	case show.FormatJSON, show.FormatYAML:
		return show.Write(f.stdout(), f.output, facts.documents(roles), nil)
	}
	return show.Write(f.stdout(), f.output, nil, facts.rows(roles))
}

// findRole returns the role with the given ID or alias, or the one that the words fit: those of its
// ID, of its description, or some of the two. The errors are none of usage yet.
func findRole(c *catalog.Catalog, name string) (*catalog.Role, error) {
	if r, ok := c.RoleByName(strings.Join(strings.Fields(name), "-")); ok {
		return r, nil
	}
	wanted := roleWords(name)
	found := rolesOf(c, wanted)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, errors.New("role " + strconv.Quote(name) + " may be " + alternatives(roleIDs(found)) + ": name one")
	}
	if near := rolesOf(c, correctWords(c, wanted)); len(near) > 0 {
		return nil, errors.New("unknown role " + strconv.Quote(name) + "; did you mean " + alternatives(roleIDs(near)) + "?")
	}
	known := append(roleIDs(c.Roles()), "list")
	for _, r := range c.Roles() {
		known = append(known, r.Aliases...)
	}
	if near, ok := config.Suggest(name, known); ok {
		return nil, errors.New("unknown role " + strconv.Quote(name) + "; did you mean " + near + "?")
	}
	return nil, errors.New("unknown role " + strconv.Quote(name) + `: "quaymaster role list" has them all`)
}

func roleIDs(roles []*catalog.Role) []string {
	var ids []string
	for _, r := range roles {
		ids = append(ids, r.ID)
	}
	return ids
}

// rolesOf returns the roles that words fit best.
func rolesOf(c *catalog.Catalog, wanted []string) []*catalog.Role {
	if len(wanted) == 0 {
		return nil
	}
	contains := func(all []string) bool {
		return !slices.ContainsFunc(wanted, func(w string) bool { return !slices.Contains(all, w) })
	}
	fits := []func(r *catalog.Role) bool{
		func(r *catalog.Role) bool { return slices.Equal(roleWords(r.ID), wanted) },
		func(r *catalog.Role) bool { return slices.Equal(roleWords(r.Description), wanted) },
		func(r *catalog.Role) bool { return contains(roleWords(r.ID)) },
		func(r *catalog.Role) bool { return contains(append(roleWords(r.ID), roleWords(r.Description)...)) },
		func(r *catalog.Role) bool { return len(wanted) == 1 && strings.HasPrefix(r.ID, wanted[0]) },
	}
	for _, fit := range fits {
		found := slices.DeleteFunc(c.Roles(), func(r *catalog.Role) bool { return !fit(r) })
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// roleWords returns the words of text in lower case. A domain controller is a DC.
func roleWords(text string) []string {
	all := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	var words []string
	for i := 0; i < len(all); i++ {
		if all[i] == "domain" && i+1 < len(all) && strings.TrimSuffix(all[i+1], "s") == "controller" {
			words = append(words, "dc")
			i++
			continue
		}
		words = append(words, all[i])
	}
	return words
}

// correctWords returns words with those misspelled that roles are described with put right.
func correctWords(c *catalog.Catalog, wanted []string) []string {
	known := []string{"domain", "controller"}
	for _, r := range c.Roles() {
		known = append(append(known, roleWords(r.ID)...), roleWords(r.Description)...)
	}
	var right []string
	for _, w := range wanted {
		if near, ok := config.Suggest(w, known); ok {
			w = near
		}
		right = append(right, w)
	}
	return roleWords(strings.Join(right, " "))
}

// roleListFlags are the flags of role list.
type roleListFlags struct{ catalogFlags }

func newRoleList(x *globals) *cobra.Command {
	f := roleListFlags{catalogFlags{globals: x}}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the roles that the catalog knows",
		Long: `List names the roles that hosts have, and says what holds for all that they need of
each other. In JSON and YAML it says all that is known of them.`,
		Example: `  quaymaster role list
  quaymaster role list -o json                  all that is known of all of them`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return f.run() },
	}
	f.addFlags(cmd)
	return cmd
}

func (f *roleListFlags) run() error {
	c, systems, err := f.loadFor()
	if err != nil {
		return err
	}
	facts := &roleFacts{serviceFacts: newServiceFacts(c, systems)}
	switch f.output {
	case show.FormatTable:
		return facts.printList(f.stdout())
	case show.FormatJSON, show.FormatYAML:
		return show.Write(f.stdout(), f.output, facts.documents(c.Roles()), nil)
	}
	return show.Write(f.stdout(), f.output, nil, facts.listRows())
}
