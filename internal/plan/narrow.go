package plan

import (
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// An opening is what a row has to have open at a host.
type opening struct {
	ports     portset.Set
	narrowing Narrowing
}

// open returns what a row has to have open at who listens. With both, the join has Windows of both generations.
func (p *planner) open(r *row, of pair, both bool) opening {
	pinned, all := pinsOf(r, of.to.Host)
	if all {
		n := Narrowing{}
		if r.ports.Symbol.IsDynamic() {
			n = Narrowing{By: ByPin, Pins: r.pins}
		}
		return opening{pinned, n}
	}
	if !r.ports.Symbol.IsDynamic() {
		return opening{ports: r.ports.Numbers}
	}
	ports, from := p.dynamic(r.ports.Symbol, of.to, both)
	o := opening{ports.Union(r.ports.Numbers).Union(pinned), Narrowing{By: ByRange, From: from}}
	way := p.way(of)
	for _, f := range way {
		if r.follower != "" && slices.Contains(f.Follows, r.follower) {
			o.narrowing.Pinhole = append(o.narrowing.Pinhole, f)
		}
	}
	if len(way) > 0 && len(o.narrowing.Pinhole) == len(way) {
		o.narrowing.By = ByPinhole
	}
	return o
}

// Unnarrowed returns the ports that a flow would have open at a host, if its service had no
// pins there and no firewall followed it.
func (p *Plan) Unnarrowed(f *Flow, to *site.Host) portset.Set {
	if !f.Symbol.IsDynamic() || f.Narrowing.By == ByRange {
		return f.Ports
	}
	pl := planner{directory: &directory{site: p.Site}}
	ports, _ := pl.dynamic(f.Symbol, &member{Host: to}, p.Site.Options.Environment)
	return f.Ports.Union(ports)
}

// pinsOf returns the ports that pins give a row at a host, and whether all of its pins are
// set, so that these are all there are.
func pinsOf(r *row, h *site.Host) (ports portset.Set, all bool) {
	all = len(r.pins) > 0
	for _, id := range r.pins {
		i := slices.IndexFunc(h.Pins, func(pin site.Pin) bool { return pin.ID == id })
		if i < 0 {
			all = false
			continue
		}
		ports = ports.Union(h.Pins[i].Ports)
	}
	return ports, all
}

// dynamic returns the ports that a host gives out dynamically, and where that is from.
func (p *planner) dynamic(s catalog.Symbol, m *member, both bool) (portset.Set, string) {
	if d := m.Dynamic; !d.Ports.IsEmpty() && (s == catalog.DynamicRPC || !d.Policy) {
		return d.Ports, d.From
	}
	if both && m.isWindows() {
		var all portset.Set
		for _, r := range p.site.Catalog.DynamicRanges() {
			if r.Product == "" && (r.Generation == "legacy" || r.Generation == "modern") && windowsRange(p.site.Catalog, r) {
				all = all.Union(r.Ports)
			}
		}
		return all, "both generations of Windows are here"
	}
	if m.OS == nil {
		for _, r := range p.site.Catalog.DynamicRanges() {
			if r.ID == "modern" {
				return r.Ports, "its system is not said: as Windows today"
			}
		}
	}
	d := p.site.Catalog.DynamicPorts(m.OS)
	if m.OS.Generation != "" {
		return d.Ports, m.OS.ID
	}
	// What a program gets there depends on whether it asks for a pool.
	var from []string
	for _, r := range append(d.Ranges, d.Variants...) {
		d.Ports = d.Ports.Union(r.Ports)
		from = append(from, r.Ports.String())
	}
	return d.Ports, m.OS.ID + ": " + strings.Join(from, " or ")
}

// windowsRange reports whether r is the range of a system of Windows as it is installed.
func windowsRange(c *catalog.Catalog, r *catalog.DynamicRange) bool {
	return slices.ContainsFunc(c.Systems(), func(os *catalog.OS) bool {
		return os.Range == r.ID && strings.HasPrefix(os.ID, "windows-")
	})
}
