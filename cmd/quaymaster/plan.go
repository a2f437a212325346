package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/internal/site"
)

// planFlags are the flags of plan.
type planFlags struct {
	catalogFlags
	between string
	explain string
	diff    string
	needs   []string
	renderFlags
}

func newPlan(x *globals) *cobra.Command {
	f := planFlags{catalogFlags: catalogFlags{globals: x}}
	cmd := &cobra.Command{
		Use:   "plan FILE",
		Short: "Plan which hosts of a site must reach which, and write the rules for its firewalls",
		Long: `Plan reads what a site is made of: zones, hosts and what they are, domains, trusts,
firewalls. It says which host must reach which, on what ports, for what and why, by the
catalog of services; and writes that as rules for the firewalls in between.

FILE is YAML, "plan init" prints an example. "-" is standard input. Mistakes in it are
told all at once, with line and column, and nothing is planned then.

--between ZONE ZONE shows only what crosses from one zone to the other, either way.
--to TARGET writes rules: ` + strings.Join(targetNames(), ", ") + `. --for says of which
firewall, or of which host with a firewall of its own; --out writes a file for each.
Without --to a firewall's rules are for what the file calls its kind.
--explain HOST HOST PORT says why the first may reach the port of the second, or why not.
--diff OLD NEW says what changes when the second file takes the place of the first.

Exit status: 0 it is planned; 2 the file has mistakes; 3 with --diff, something changes.`,
		Example: `  quaymaster plan init > site.yaml
  quaymaster plan site.yaml
  quaymaster plan site.yaml --between dmz core
  quaymaster plan site.yaml --to nftables --for edge > edge.nft
  quaymaster plan site.yaml --out rules
  quaymaster plan site.yaml --explain app1 dc1 tcp/49200
  quaymaster plan --diff old.yaml new.yaml -o markdown`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.VarP(&f.output, "output", "o", "`format`: table, json, yaml, csv or markdown")
	flags.StringVar(&f.between, "between", "", "only what crosses between two `zones`")
	flags.StringVar(&f.explain, "explain", "", "why a `host` may reach a port of another, or why not")
	flags.StringVar(&f.diff, "diff", "", "what changes from this `file` to the other")
	flags.StringSliceVar(&f.needs, "need", nil, "plan what is `required,recommended`, conditional, one-of, optional or legacy, in place of what the file says")
	flags.StringVar(&f.overlay, "catalog", "", "`folder` with facts of your own, which add to the catalog's or stand in place of them")
	f.renderFlags.addFlags(flags)
	cmd.SetFlagErrorFunc(flagMistake)
	cmd.AddCommand(newPlanInit(), newPlanSchema())
	return cmd
}

// words returns the words of a flag that takes n: the first one or all with commas, the rest from
// the end of args, which have files besides.
func (f *planFlags) words(flag, value string, args []string, n, files int, what string) (words, rest []string, err error) {
	words = strings.Split(value, ",")
	if more := n - len(words); more > 0 {
		if len(args) < more+files {
			return nil, nil, usagef("--%s takes %s", flag, what)
		}
		words, args = append(words, args[len(args)-more:]...), args[:len(args)-more]
	}
	if len(words) > n {
		return nil, nil, usagef("--%s takes %s", flag, what)
	}
	return words, args, nil
}

func (f *planFlags) run(cmd *cobra.Command, args []string) error {
	flags := cmd.Flags()
	one := 0
	for _, name := range []string{"between", "explain", "diff"} {
		if flags.Changed(name) {
			one++
		}
	}
	if one > 1 || flags.Changed("explain") && f.renders() || flags.Changed("diff") && f.renders() {
		return usagef("--between, --explain, --diff and --to are different questions: ask one")
	}
	switch {
	case flags.Changed("diff"):
		files, rest, err := f.words("diff", f.diff, args, 2, 0, "two files: --diff old.yaml new.yaml")
		if err == nil && len(rest) > 0 {
			err = usagef("unexpected argument %q", rest[0])
		}
		if err != nil {
			return err
		}
		return f.runDiff(cmd, files[0], files[1])
	case flags.Changed("explain"):
		words, rest, err := f.words("explain", f.explain, args, 3, 1, "two hosts and a port behind the file: plan site.yaml --explain app1 dc1 tcp/445")
		if err != nil {
			return err
		}
		p, err := f.plan(cmd, rest)
		if err != nil {
			return err
		}
		return f.runExplain(p, words)
	case flags.Changed("between"):
		words, rest, err := f.words("between", f.between, args, 2, 1, "two zones behind the file: plan site.yaml --between dmz core")
		if err != nil {
			return err
		}
		p, err := f.plan(cmd, rest)
		if err != nil {
			return err
		}
		return f.runBetween(p, words)
	}
	p, err := f.plan(cmd, args)
	if err != nil {
		return err
	}
	if f.renders() {
		return f.runRender(p)
	}
	return f.show(p, p.Flows)
}

// plan reads the file that args name and plans it.
func (f *planFlags) plan(cmd *cobra.Command, args []string) (*plan.Plan, error) {
	switch {
	case len(args) == 0:
		return nil, usagef(`name the file: site.yaml; "quaymaster plan init" prints an example`)
	case len(args) > 1:
		return nil, usagef("unexpected argument %q", args[1])
	}
	return f.planFile(cmd, args[0])
}

func (f *planFlags) planFile(cmd *cobra.Command, name string) (*plan.Plan, error) {
	c, err := f.load()
	if err != nil {
		return nil, err
	}
	data, err := readFile(name)
	switch {
	case errors.Is(err, os.ErrNotExist) && !strings.ContainsAny(name, `./\`):
		return nil, errors.Join(unknownVerb(cmd, name), usagef("nor is there a file %s", name))
	case err != nil:
		return nil, usagef("%w", err)
	}
	label, folder := name, filepath.Dir(name)
	if name == "-" {
		label, folder = "standard input", ""
	}
	s, err := site.Read(label, data, c, func(other string) ([]byte, error) {
		if !filepath.IsAbs(other) {
			other = filepath.Join(folder, other)
		}
		return readFile(other)
	}, targetNames()...)
	if err != nil {
		return nil, mistaken(err)
	}
	if s.Options.Needs, err = f.chosenNeeds(c, s.Options.Needs); err != nil {
		return nil, err
	}
	p, err := plan.Make(s)
	if err != nil {
		return nil, mistaken(err)
	}
	return p, nil
}

// chosenNeeds returns the needs of --need, or those of the file where there is none.
func (f *planFlags) chosenNeeds(c *catalog.Catalog, file []catalog.Need) ([]catalog.Need, error) {
	if len(f.needs) == 0 {
		return file, nil
	}
	var needs []catalog.Need
	var mistakes []error
	for _, word := range f.needs {
		n := catalog.Need(word)
		if c.NeedMeaning(n) == "" {
			mistakes = append(mistakes, usagef("--need: %q: want required, recommended, conditional, one-of, optional or legacy", word))
		}
		needs = append(needs, n)
	}
	return needs, errors.Join(mistakes...)
}

// planMistakes are mistakes of a file, and that nothing came of it.
type planMistakes struct{ config.Mistakes }

func (m planMistakes) Error() string {
	return m.Mistakes.Error() + "\n" + show.Count(len(m.Mistakes), "mistake", "mistakes") + ", nothing planned"
}

func (m planMistakes) Unwrap() error { return m.Mistakes }

func mistaken(err error) error {
	var mistakes config.Mistakes
	if errors.As(err, &mistakes) {
		return planMistakes{mistakes}
	}
	return err
}

func newPlanInit() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Print an example of a site file, with comments",
		Long: `Init prints a small site that works as it is, and in comments what else can be said
of one.`,
		Example: `  quaymaster plan init > site.yaml`,
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := os.Stdout.Write(site.Example())
			return err
		},
	}
}

func newPlanSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of site files",
		Long: `Schema prints the JSON Schema (draft 2020-12) of site files, for editors that complete
and check YAML. Plan itself finds more: hosts in no zone, roles that do not exist.`,
		Example: `  quaymaster plan schema > site.schema.json
  # in the first line of site.yaml, for editors with the YAML language server:
  # yaml-language-server: $schema=site.schema.json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := os.Stdout.Write(site.Schema())
			return err
		},
	}
}
