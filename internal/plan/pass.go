package plan

import (
	"fmt"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/site"
)

// passes reports whether what a row needs passes the firewalls on its way. Where DCOM, which tells
// addresses in what it says, meets one that translates addresses, that is refused or left out.
func (p *planner) passes(r *row, from, to []*member) bool {
	f := p.translates(r, pair{from: from[0], to: to[0]})
	if f == nil {
		return true
	}
	for _, m := range to {
		k := f.Name + " " + r.id + " " + m.Name
		if p.said[k] {
			continue
		}
		p.said[k] = true
		what := fmt.Sprintf("%s, which %s needs of %s, is DCOM, and does not survive translated addresses (%s)", r.name(), from[0].Name, m.Name, r.id)
		if r.need == catalog.Required {
			p.mistakes = append(p.mistakes, p.site.KeyMistake(config.Path("$.firewalls", f.Name),
				"%s translates addresses: %s: route between the two, or tunnel", f.Name, what))
		} else {
			p.warn(m.Name, "%s translates addresses, so that this is not planned: %s", f.Name, what)
		}
	}
	return false
}

// translates returns the first firewall that keeps a row from passing because it
// translates addresses, or nil.
func (p *planner) translates(r *row, of pair) *site.Firewall {
	if !r.dcom {
		return nil
	}
	for _, f := range p.way(of) {
		if f.NAT {
			return f
		}
	}
	return nil
}

func (p *planner) warn(host, format string, args ...any) {
	p.warnings = append(p.warnings, Warning{host, fmt.Sprintf(format, args...)})
}

// tunnelRows are the relationships whose rows stand in place of all other, by what a
// tunnel is made of.
var tunnelRows = map[site.TunnelKind]string{site.IPsec: "dc-ipsec-tunnel", site.PPTP: "trust-pptp-tunnel"}

// tunneled is hosts that have flows through a tunnel.
type tunneled struct {
	tunnel   *site.Tunnel
	from, to []*member
}

// throughTunnel reports whether a tunnel carries all between two kinds of hosts, and
// remembers that they need it.
func (p *planner) throughTunnel(from, to []*member) bool {
	t := p.tunnel(from[0].Zone, to[0].Zone)
	if t != nil {
		p.tunneled = append(p.tunneled, tunneled{t, from, to})
	}
	return t != nil
}

// tunnel returns the tunnel between two zones, or nil.
func (p *planner) tunnel(a, b *site.Zone) *site.Tunnel {
	for _, t := range p.site.Tunnels {
		if t.Between == [2]*site.Zone{a, b} || t.Between == [2]*site.Zone{b, a} {
			return t
		}
	}
	return nil
}

// planTunnels adds the flows of tunnels: of each two hosts that have others.
func (p *planner) planTunnels() {
	index := map[*site.Host]int{}
	for i, h := range p.site.Hosts {
		index[h] = i
	}
	for _, t := range p.site.Tunnels {
		known := map[[2]int]bool{}
		var pairs [][2]int
		add := func(a, b int) {
			if k := [2]int{a, b}; !known[k] {
				known[k] = true
				pairs = append(pairs, k)
			}
		}
		for _, through := range p.tunneled {
			if through.tunnel != t {
				continue
			}
			for _, from := range through.from {
				for _, to := range through.to {
					add(index[from.Host], index[to.Host])
					add(index[to.Host], index[from.Host])
				}
			}
		}
		hosts := func(which []int) []*site.Host {
			var all []*site.Host
			for _, i := range which {
				all = append(all, p.site.Hosts[i])
			}
			return all
		}
		for _, product := range Products(pairs) {
			for i := range p.rows {
				if r := &p.rows[i]; r.of[0].ID == tunnelRows[t.Kind] {
					p.add(r, &r.of[0], hosts(product[0]), hosts(product[1]), opening{ports: r.ports.Numbers})
				}
			}
		}
	}
}
