package site

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/internal/config"
)

func (r *reader) readFirewalls() {
	all := names(r.raw.Firewalls)
	r.checkNames("$.firewalls", "firewall", all, isLetter)
	hosts := map[string]string{} // names, by what they are in lower case
	for name := range r.hosts {
		hosts[strings.ToLower(name)] = name
	}
	for _, name := range all {
		if r.full {
			return
		}
		raw, path := r.raw.Firewalls[name], config.Path("$.firewalls", name)
		if host, ok := hosts[strings.ToLower(name)]; ok {
			r.note(r.file.KeyMistake(path, "firewall %q is called as the host %q: rename one, since rules are asked for by either name", name, host))
		}
		f := &Firewall{Name: name, NAT: raw.NAT, Kind: string(raw.Kind)}
		f.Zones = r.zonesAt(path, "zones", raw.Zones, fmt.Sprintf("firewall %s", name))
		f.Follows = choices(r, path+".follows", "control channel", raw.Follows, EPM, Portmapper, FTP, TFTP)
		if len(r.kinds) > 0 && r.file.Has(path+".kind") {
			choice(r, path+".kind", "kind of firewall", raw.Kind, r.kinds...)
		}
		r.site.Firewalls = append(r.site.Firewalls, f)
	}
}

// zonesAt returns the zones that a list of the file names, ascending. Less than two, and one that is there
// twice, are noted; what says of whom the list is.
func (r *reader) zonesAt(path, key string, words []word, what string) []*Zone {
	var zones []*Zone
	twice := false
	for i, w := range words {
		at := fmt.Sprintf("%s.%s[%d]", path, key, i)
		z := r.zone(at, w)
		switch {
		case z == nil:
		case slices.Contains(zones, z):
			r.mistake(at, "%s is between zone %s and itself: name another zone, or remove it", what, z.Name)
			twice = true
		default:
			zones = append(zones, z)
		}
	}
	if len(words) < 2 && !twice {
		r.missing(path, key, "%s is between two zones, and has %d: name them, %s: [core, dmz]", what, len(words), key)
	}
	slices.SortFunc(zones, func(a, b *Zone) int { return strings.Compare(a.Name, b.Name) })
	return zones
}

func (r *reader) readTunnels() {
	lines := map[[2]*Zone]int{}
	for i, t := range r.raw.Tunnels {
		if r.full {
			return
		}
		path := fmt.Sprintf("$.tunnels[%d]", i)
		zones := r.zonesAt(path, "between", t.Between, "the tunnel")
		if len(t.Between) > 2 {
			r.mistake(path+".between", "the tunnel is between %d zones: make a tunnel of each two", len(t.Between))
		}
		if !r.file.Has(path + ".kind") {
			r.missing(path, "kind", "the tunnel has no kind: write kind: ipsec, or pptp")
		}
		kind := choice(r, path+".kind", "kind of tunnel", t.Kind, IPsec, PPTP)
		if len(zones) != 2 || len(t.Between) != 2 {
			continue
		}
		between := [2]*Zone{zones[0], zones[1]}
		if line, ok := lines[between]; ok {
			r.mistake(path, "a tunnel between %s and %s is on line %d already: keep one", zones[0].Name, zones[1].Name, line)
			continue
		}
		lines[between] = r.file.Mistake(path, "").Line
		r.site.Tunnels = append(r.site.Tunnels, &Tunnel{between, kind})
	}
	slices.SortFunc(r.site.Tunnels, func(a, b *Tunnel) int {
		return cmp.Or(strings.Compare(a.Between[0].Name, b.Between[0].Name), strings.Compare(a.Between[1].Name, b.Between[1].Name))
	})
}
