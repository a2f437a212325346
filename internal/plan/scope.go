package plan

import (
	"maps"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/site"
)

// A join is hosts that connect by a row: each of from to each of to.
type join struct {
	from, to []*member
	trust    *site.Trust // by which they do; nil: by none
	of       *tie        // by which they do
}

// A directory finds hosts by what they are.
type directory struct {
	site     *site.Site
	members  []*member
	of       map[*site.Host]*member
	byRole   map[string][]*member
	byDomain map[*site.Domain][]*member // of nil those without one
	users    []user
}

// A user is the hosts that use the same.
type user struct {
	uses    []site.Use
	members []*member
}

func newDirectory(s *site.Site) *directory {
	d := &directory{
		site: s, members: findMembers(s), of: map[*site.Host]*member{},
		byRole: map[string][]*member{}, byDomain: map[*site.Domain][]*member{},
	}
	known := map[string]int{}
	for _, m := range d.members {
		d.of[m.Host] = m
		for role := range m.groups {
			d.byRole[role] = append(d.byRole[role], m)
		}
		d.byDomain[m.Domain] = append(d.byDomain[m.Domain], m)
		if len(m.Uses) == 0 {
			continue
		}
		var k strings.Builder
		for _, u := range m.Uses {
			if u.Host != nil {
				k.WriteString(u.Host.Name)
			}
			k.WriteString("/" + u.Role + "\x00")
		}
		i, ok := known[k.String()]
		if !ok {
			i = len(d.users)
			known[k.String()] = i
			d.users = append(d.users, user{uses: m.Uses})
		}
		d.users[i].members = append(d.users[i].members, m)
	}
	return d
}

// joins returns the hosts that a row joins.
func (d *directory) joins(r *row) []join {
	var all []join
	for i := range r.of {
		all = append(all, d.joinsBy(&r.of[i])...)
	}
	return all
}

func (d *directory) joinsBy(t *tie) []join {
	var all []join
	swapped := false
	add := func(from, to []*member, trust *site.Trust) {
		if len(from) > 0 && len(to) > 0 {
			all = append(all, join{from, to, trust, t})
			if swapped {
				all = append(all, join{to, from, trust, t})
			}
		}
	}
	for _, s := range t.Scopes {
		swapped = t.mirror || t.alike && s != catalog.ScopeUsed && s != catalog.ScopeUsedBy
		switch s {
		case catalog.ScopeDomain:
			for _, domain := range d.site.Domains {
				add(with(d.byDomain[domain], t.from), with(d.byDomain[domain], t.to), nil)
			}
		case catalog.ScopeForest:
			for _, members := range d.forests() {
				add(with(members, t.from), with(members, t.to), nil)
			}
		case catalog.ScopeTrust:
			for _, trust := range d.site.Trusts {
				add(with(d.byDomain[trust.Trusting], t.from), with(d.byDomain[trust.Trusted], t.to), trust)
			}
		case catalog.ScopeGroup:
			for _, g := range d.groups(t) {
				add(g[0], g[1], nil)
			}
		case catalog.ScopeUsed:
			for _, u := range d.users {
				add(with(u.members, t.from), d.named(u.uses, t.to), nil)
			}
		case catalog.ScopeUsedBy:
			for _, u := range d.users {
				add(d.named(u.uses, t.from), with(u.members, t.to), nil)
			}
		}
	}
	return all
}

// with returns those of members that have one of the roles.
func with(members []*member, roles []string) []*member {
	if len(roles) == 0 {
		return members
	}
	var found []*member
	for _, m := range members {
		if m.has(roles) {
			found = append(found, m)
		}
	}
	return found
}

// forests returns the hosts of each forest, in order of their names.
func (d *directory) forests() [][]*member {
	of := map[string][]*member{}
	for _, domain := range d.site.Domains {
		of[domain.Forest] = append(of[domain.Forest], d.byDomain[domain]...)
	}
	var all [][]*member
	for _, name := range slices.Sorted(maps.Keys(of)) {
		all = append(all, of[name])
	}
	return all
}

// groups returns the hosts that serve together by a tie: with the same word behind their
// roles, of one domain; of each group those that connect and those that listen.
func (d *directory) groups(t *tie) [][2][]*member {
	type group struct {
		domain *site.Domain
		word   string
	}
	collect := func(roles []string) map[group][]*member {
		found := map[group][]*member{}
		for _, m := range d.members {
			words := map[string]bool{}
			for _, role := range roles {
				for _, word := range m.groups[role] {
					if !words[word] {
						words[word] = true
						found[group{m.Domain, word}] = append(found[group{m.Domain, word}], m)
					}
				}
			}
		}
		return found
	}
	from, to := collect(t.from), collect(t.to)
	var all [][2][]*member
	for _, domain := range append([]*site.Domain{nil}, d.site.Domains...) {
		var words []string
		for g := range from {
			if g.domain == domain && len(to[g]) > 0 {
				words = append(words, g.word)
			}
		}
		slices.Sort(words)
		for _, word := range words {
			g := group{domain, word}
			all = append(all, [2][]*member{from[g], to[g]})
		}
	}
	return all
}

// named returns the hosts that uses name and that are what a row is about.
func (d *directory) named(uses []site.Use, roles []string) []*member {
	var found []*member
	known := map[*member]bool{}
	add := func(m *member) {
		if m.has(roles) && !known[m] {
			known[m] = true
			found = append(found, m)
		}
	}
	for _, u := range uses {
		if u.Role != "" && len(roles) > 0 && !slices.ContainsFunc(roles, func(r string) bool { return slices.Contains(closure(d.site.Catalog, u.Role), r) }) {
			continue
		}
		if u.Host != nil {
			add(d.of[u.Host])
			continue
		}
		for _, m := range d.byRole[u.Role] {
			add(m)
		}
	}
	return found
}
