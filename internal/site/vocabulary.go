package site

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
)

// The kinds of domain controllers, of which a host is one at most.
const (
	roleDC   = "dc"
	roleRODC = "rodc"
)

// A vocabulary knows the words for what a host is.
type vocabulary struct {
	catalog *catalog.Catalog
	roles   map[string]string   // IDs of roles by their IDs and aliases, folded
	known   []string            // all words that a role or service may be named by
	found   map[string]meaning  // words that were looked up
	is      map[string][]string // roles that a host of a role has, by ID
	kinship map[string]bool     // whether a role needs a domain, by ID
}

// A meaning is the ID of a role or service, or why there is none.
type meaning struct {
	id        string
	ambiguous []string // IDs that share the word
}

func newVocabulary(c *catalog.Catalog) *vocabulary {
	v := &vocabulary{catalog: c, roles: map[string]string{}, found: map[string]meaning{}, is: map[string][]string{}, kinship: map[string]bool{}}
	for _, role := range c.Roles() {
		for _, alias := range role.Aliases {
			v.roles[fold(alias)] = role.ID
		}
		v.known = append(append(v.known, role.ID), role.Aliases...)
	}
	for _, role := range c.Roles() { // an ID counts for more than an alias
		v.roles[role.ID] = role.ID
	}
	for _, s := range c.Services() {
		for _, n := range append([]string{s.ID}, s.Aliases...) {
			if n = fold(n); !slices.Contains(v.known, n) {
				v.known = append(v.known, n)
			}
		}
	}
	return v
}

// fold makes words alike that people mean the same by.
func fold(w string) string {
	return strings.NewReplacer(" ", "-", "_", "-").Replace(strings.ToLower(strings.TrimSpace(w)))
}

// meaning returns what a word means: a role, or else a service.
func (v *vocabulary) meaning(w string) meaning {
	if m, ok := v.found[w]; ok {
		return m
	}
	m := v.lookUp(fold(w))
	v.found[w] = m
	return m
}

func (v *vocabulary) lookUp(w string) meaning {
	if id, ok := v.roles[w]; ok {
		return meaning{id: id}
	}
	services := v.catalog.ServicesByName(w)
	// Beginnings and interfaces are for people who look for something: a file says what it means.
	services = slices.DeleteFunc(services, func(s *catalog.Service) bool {
		all := slices.Concat([]string{s.ID, s.Name}, s.AlsoNamed, s.Aliases, s.SystemServices)
		return !slices.ContainsFunc(all, func(n string) bool { return fold(n) == w })
	})
	if len(services) == 1 {
		return meaning{id: services[0].ID}
	}
	var m meaning
	for _, s := range services {
		m.ambiguous = append(m.ambiguous, s.ID)
	}
	return m
}

// roleWord returns the ID that a word for a role or service means; false if there is none, which is noted.
func (r *reader) roleWord(path, what string, w word) (string, bool) {
	m := r.words.meaning(string(w))
	switch {
	case m.id != "":
		return m.id, true
	case len(m.ambiguous) > 0:
		r.mistake(path, "%s may be %s: name one", what, strings.Join(m.ambiguous, " or "))
	default:
		r.unknown(path, what, string(w), func() []string { return r.words.known }, `"quaymaster role list" and "quaymaster service list" have all that there are`)
	}
	return "", false
}

// closure returns the IDs of the roles and services that a host has which has the given one: itself
// and what it is.
func (v *vocabulary) closure(id string) []string {
	if all, ok := v.is[id]; ok {
		return all
	}
	all := []string{id}
	for i := 0; i < len(all); i++ {
		if role, ok := v.catalog.Role(all[i]); ok {
			for _, more := range role.Is {
				if !slices.Contains(all, more) {
					all = append(all, more)
				}
			}
		}
	}
	v.is[id] = all
	return all
}

// servers returns the IDs of those of whom the catalog says that they are, or serve, the given role or service.
func (v *vocabulary) servers(id string) []string {
	all := []string{id}
	if _, ok := v.catalog.Service(id); ok {
		if relationship, ok := v.catalog.Relationship(id); ok {
			all = append(all, relationship.To...)
		}
	}
	return all
}

// has reports whether a host is what the ID of a role or service says, or serves it.
func (v *vocabulary) has(h *Host, id string) bool {
	servers := v.servers(id)
	return slices.ContainsFunc(h.Roles, func(role Role) bool {
		return slices.ContainsFunc(v.closure(role.ID), func(is string) bool { return slices.Contains(servers, is) })
	})
}

// needsDomain reports whether a role is nothing without a domain: of the relationships that it takes part in
// one at least holds within a domain, a forest or a trust only.
func (v *vocabulary) needsDomain(id string) bool {
	if needs, ok := v.kinship[id]; ok {
		return needs
	}
	of := v.closure(id)
	takesPart := func(roles ...string) bool {
		return slices.ContainsFunc(roles, func(r string) bool { return slices.Contains(of, r) })
	}
	needs := false
	for _, rel := range v.catalog.Relationships() {
		within := len(rel.Scopes) > 0
		for _, scope := range rel.Scopes {
			switch scope {
			case catalog.ScopeDomain, catalog.ScopeForest, catalog.ScopeTrust:
			default:
				within = false
			}
		}
		if !within {
			continue
		}
		if takesPart(rel.From...) || takesPart(rel.To...) || slices.ContainsFunc(v.catalog.Flows("", ""), func(f *catalog.Flow) bool {
			return f.Relationship == rel.ID && takesPart(f.From, f.To)
		}) {
			needs = true
			break
		}
	}
	v.kinship[id] = needs
	return needs
}

// join returns words for a message, at most ten.
func join(all []string) string {
	const most = 10
	if n := len(all); n > most {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), n-most)
	}
	return strings.Join(all, ", ")
}
