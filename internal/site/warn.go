package site

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/internal/config"
)

// warn notes what of a site that is not wrong is hardly meant, or is not planned.
func (r *reader) warn() {
	r.warnZones()
	r.warnHosts()
	r.warnGroups()
	r.warnTrusts()
}

// warning notes something about the key at a path.
func (r *reader) warning(path, format string, args ...any) {
	if len(r.site.Warnings) < maxMistakes {
		m := r.file.KeyMistake(path, format, args...)
		m.Message = printable(m.Message)
		r.site.Warnings = append(r.site.Warnings, m)
	}
}

func (r *reader) warnZones() {
	inhabited, reached := map[*Zone]bool{}, map[*Zone]int{} // by how many firewalls
	for _, h := range r.site.Hosts {
		inhabited[h.Zone] = true
	}
	for _, f := range r.site.Firewalls {
		for _, z := range f.Zones {
			reached[z]++
		}
	}
	several := len(r.site.Zones) > 1
	if several && len(r.site.Firewalls) == 0 {
		r.warning("$.zones", "there are %d zones and no firewalls: nothing is said of what filters between them", len(r.site.Zones))
	}
	for _, z := range r.site.Zones {
		path := config.Path("$.zones", z.Name)
		if !inhabited[z] && reached[z] < 2 { // between two firewalls often nobody is
			r.warning(path, "zone %s has no hosts", z.Name)
		}
		if several && len(r.site.Firewalls) > 0 && reached[z] == 0 {
			r.warning(path, "no firewall leads to zone %s: name the one that does under firewalls", z.Name)
		}
	}
}

func (r *reader) warnHosts() {
	had := map[string]bool{} // roles that hosts have
	for _, h := range r.site.Hosts {
		for _, role := range h.Roles {
			for _, id := range r.words.closure(role.ID) {
				had[id] = true
			}
		}
	}
	for _, h := range r.site.Hosts {
		path := config.Path("$.hosts", h.Name)
		if len(h.Roles) == 0 && len(h.Uses) == 0 {
			r.warning(path, "host %s has no roles and uses nothing: nothing is planned for it", h.Name)
		}
		for i, p := range h.Pins {
			for _, q := range h.Pins[i+1:] {
				if both := p.Ports.Intersect(q.Ports); !both.IsEmpty() {
					r.warning(config.Path(path+".pins", q.ID), "pins %s and %s of host %s are both %s: a port is one service's", p.ID, q.ID, h.Name, both)
				}
			}
		}
		for i, w := range r.raw.Hosts[h.Name].Uses {
			if r.hosts[string(w)] != nil || strings.Contains(string(w), "/") {
				continue
			}
			if id := r.words.meaning(string(w)).id; !had[id] && !slices.ContainsFunc(r.words.servers(id), func(to string) bool { return had[to] }) {
				r.warning(fmt.Sprintf("%s.uses[%d]", path, i), "no host is %s, which host %s uses: nothing is planned for that", quote(w), h.Name)
			}
		}
	}
}

// warnGroups notes groups that have a member only, which is in touch with nobody then.
func (r *reader) warnGroups() {
	type group struct {
		Role
		domain *Domain
	}
	members := map[group][]*Host{}
	for _, h := range r.site.Hosts {
		for _, role := range h.Roles {
			if role.Group != "" {
				g := group{role, h.Domain}
				members[g] = append(members[g], h)
			}
		}
	}
	for g, hosts := range members {
		if len(hosts) > 1 || hosts[0].IsGroup() {
			continue
		}
		of := ""
		if g.domain != nil {
			of = " of " + g.domain.Name
		}
		r.warning(r.placeOfRole(hosts[0], g.Role), "only host %s%s is %s:%s: a group is of several hosts", hosts[0].Name, of, g.ID, g.Group)
	}
}

// placeOfRole returns the path of a role of a host.
func (r *reader) placeOfRole(h *Host, role Role) string {
	path := config.Path("$.hosts", h.Name) + ".roles"
	for i, w := range r.raw.Hosts[h.Name].Roles {
		name, group, _ := strings.Cut(string(w), ":")
		if group == role.Group && r.words.meaning(name).id == role.ID {
			return fmt.Sprintf("%s[%d]", path, i)
		}
	}
	return path
}

func (r *reader) warnTrusts() {
	controlled := map[*Domain]bool{}
	for _, h := range r.site.Hosts {
		if h.Domain != nil && (r.words.has(h, roleDC) || r.words.has(h, roleRODC)) {
			controlled[h.Domain] = true
		}
	}
	for i, t := range r.raw.Trusts {
		for _, w := range []word{t.Trusting, t.Trusted} {
			if d := r.domains[string(w)]; !controlled[d] {
				r.warning(fmt.Sprintf("$.trusts[%d]", i), "no host is a domain controller of %s: of the trust the other side alone is planned", d.Name)
			}
		}
	}
	if cycle := r.cycle(); cycle != nil {
		first := slices.IndexFunc(r.raw.Trusts, func(t fileTrust) bool {
			return string(t.Trusting) == cycle[0].Name && string(t.Trusted) == cycle[1].Name
		})
		var way []string
		for _, d := range append(cycle, cycle[0]) {
			way = append(way, d.Name)
		}
		r.warning(fmt.Sprintf("$.trusts[%d]", first), "the trusts %s come back to where they begin: each is planned by itself, and nothing that follows from several", strings.Join(way, " → "))
	}
}

// cycle returns domains of which each trusts the next, and the last the first, by trusts of one way; nil if
// there are none. Of several cycles it is one, always the same.
func (r *reader) cycle() []*Domain {
	oneWay := map[*Domain][]*Domain{} // whom a domain trusts, ascending
	trust := map[[2]*Domain]bool{}
	for _, t := range r.site.Trusts {
		trust[[2]*Domain{t.Trusting, t.Trusted}] = true
	}
	trusting := map[*Domain]int{} // how many trust a domain
	for _, t := range r.site.Trusts {
		if !trust[[2]*Domain{t.Trusted, t.Trusting}] {
			oneWay[t.Trusting] = append(oneWay[t.Trusting], t.Trusted)
			trusting[t.Trusted]++
		}
	}
	// Whom nobody trusts is in no cycle, and who only such ones trust neither.
	left := maps.Clone(oneWay)
	var out []*Domain
	for d := range left {
		if trusting[d] == 0 {
			out = append(out, d)
		}
	}
	for ; len(out) > 0; out = out[1:] {
		for _, d := range left[out[0]] {
			if trusting[d]--; trusting[d] == 0 {
				out = append(out, d)
			}
		}
		delete(left, out[0])
	}
	// Of who is left somebody who is left trusts each, so that going back ends where one was.
	by := map[*Domain]*Domain{} // the first who is left and trusts a domain
	var at *Domain
	for _, d := range r.site.Domains {
		if _, ok := left[d]; !ok {
			continue
		}
		if at == nil {
			at = d
		}
		for _, trusted := range left[d] {
			if by[trusted] == nil {
				by[trusted] = d
			}
		}
	}
	if at == nil {
		return nil
	}
	var back []*Domain
	for !slices.Contains(back, at) {
		back = append(back, at)
		at = by[at]
	}
	cycle := back[slices.Index(back, at):]
	slices.Reverse(cycle)
	first := slices.IndexFunc(cycle, func(d *Domain) bool {
		return d == slices.MinFunc(cycle, func(a, b *Domain) int { return strings.Compare(a.Name, b.Name) })
	})
	return slices.Concat(cycle[first:], cycle[:first])
}
