package plan

import (
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/site"
)

// checkPins warns of pins that change nothing, or less than they could.
func (p *planner) checkPins() {
	lists, roles := map[string][][]string{}, map[string][][]string{} // by pin: the rows' pins, and who listens
	for _, r := range p.rows {
		for _, pin := range r.pins {
			for _, of := range r.of {
				lists[pin] = append(lists[pin], r.pins)
				roles[pin] = append(roles[pin], of.to)
			}
		}
	}
	for _, m := range p.members {
		for _, pin := range m.Pins {
			known := false
			var missing []string
			for i, to := range roles[pin.ID] {
				if len(to) > 0 && !m.has(to) || len(to) == 0 && !p.takes(m, pin.ID) {
					continue
				}
				known = true
				for _, other := range lists[pin.ID][i] {
					if !slices.ContainsFunc(m.Pins, func(o site.Pin) bool { return o.ID == other }) && !slices.Contains(missing, other) {
						missing = append(missing, other)
					}
				}
			}
			if !known {
				p.warn(m.Name, "the pin %s is ignored: the host has no role that knows it", pin.ID)
				continue
			}
			if len(missing) > 0 {
				p.warn(m.Name, "pins only %s: its dynamic range stays open. Pin %s too (quaymaster service %s)", pin.ID, strings.Join(missing, ", "), missing[0])
			}
		}
		p.checkPinned(m)
	}
}

// takes reports whether m listens in a flow that a pin narrows.
func (p *planner) takes(m *member, pin string) bool {
	return slices.ContainsFunc(p.flows, func(f *Flow) bool {
		return slices.Contains(f.Narrowing.Pins, pin) && slices.Contains(f.To, m.Host)
	})
}

// checkPinned warns of pins that lie among the ports which the host gives to others.
func (p *planner) checkPinned(m *member) {
	if len(m.Pins) == 0 {
		return
	}
	dynamic, from := p.dynamic("dynamic-rpc", m, false)
	for _, pin := range m.Pins {
		if in := pin.Ports.Intersect(dynamic); !in.IsEmpty() {
			p.warn(m.Name, "the pin %s (%s) lies in the dynamic range of the host, %s (%s): another program may get it first", pin.ID, in, dynamic, from)
		}
	}
}

// checkUses warns of roles that only those have flows with who say that they use them, and nobody does.
func (p *planner) checkUses() {
	used, other := map[string]bool{}, map[string]bool{}
	for _, r := range p.rows {
		for _, of := range r.of {
			roles := used
			if slices.ContainsFunc(of.Scopes, func(s catalog.Scope) bool { return s != catalog.ScopeUsed && s != catalog.ScopeUsedBy }) {
				roles = other
			}
			for _, id := range of.to {
				roles[id] = true
			}
		}
	}
	for _, m := range p.members {
		for _, r := range m.Roles {
			if used[r.ID] && !other[r.ID] && !slices.Contains(p.served[m.Host], r.ID) {
				p.warn(m.Name, "nobody connects for its role %s: hosts that do name it, or %s, under uses", r.ID, m.Name)
			}
		}
	}
}

// checkWays warns of flows between zones that no firewall joins.
func (p *planner) checkWays() {
	said := map[[2]*site.Zone]bool{}
	for _, f := range p.flows {
		for _, from := range zonesOf(f.From) {
			for _, to := range zonesOf(f.To) {
				k := [2]*site.Zone{from, to}
				if !said[k] && p.ways.between(from, to).none {
					said[k] = true
					p.warn("", "no firewall leads from zone %s to zone %s, and %s needs one: name the firewall's zones, or nothing is rendered for it", from.Name, to.Name, f.ID)
				}
			}
		}
	}
}

func zonesOf(hosts []*site.Host) []*site.Zone {
	var zones []*site.Zone
	for _, h := range hosts {
		if !slices.Contains(zones, h.Zone) {
			zones = append(zones, h.Zone)
		}
	}
	return zones
}
