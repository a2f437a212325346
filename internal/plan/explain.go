package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// An Explanation says why a host may reach a port of another by a plan, or why not.
type Explanation struct {
	From, To *site.Host
	Protocol catalog.Protocol
	Port     uint16                  // 0 where the protocol has none
	Flows    []*Flow                 // that have the port; none: it is not planned
	Between  []*catalog.Relationship // what the two are to each other
	Left     []Left                  // what could have the port and has it not
	Notes    []string                // what else the site and the catalog say of it, in sentences
}

// A Left is a row of the catalog that holds between two hosts and is not planned, or not on the
// port asked for.
type Left struct {
	Row     string
	App     string
	Ports   portset.Set // what it has instead; empty: it is not planned
	Why     string      // follows "because"
	Sources []string
}

// Explain explains a port of to, and what from may do there. The plan is one that Make made.
func (p *Plan) Explain(from, to *site.Host, protocol catalog.Protocol, port uint16) *Explanation {
	e := &Explanation{From: from, To: to, Protocol: protocol, Port: port}
	for _, f := range p.Flows {
		if f.joins(from, to) && f.has(protocol, port) {
			e.Flows = append(e.Flows, f)
		}
	}
	pl := newPlanner(p.Site)
	a, b := pl.of[from], pl.of[to]
	for i := range pl.rows {
		r := &pl.rows[i]
		for _, j := range pl.joins(r) {
			if !slices.Contains(j.from, a) || !slices.Contains(j.to, b) {
				continue
			}
			if !slices.Contains(e.Between, j.of.Relationship) {
				e.Between = append(e.Between, j.of.Relationship)
			}
			if left, ok := pl.left(r, pair{a, b, j.trust}, e); ok {
				e.Left = append(e.Left, left)
			}
			break
		}
	}
	e.note(pl)
	return e
}

// joins reports whether a flow is between two hosts.
func (f *Flow) joins(from, to *site.Host) bool {
	return slices.Contains(f.From, from) && slices.Contains(f.To, to) && (from != to || from.IsGroup())
}

// has reports whether a flow has a port of a protocol.
func (f *Flow) has(protocol catalog.Protocol, port uint16) bool {
	return f.Protocol == 0 || f.Protocol == protocol && (!protocol.HasPorts() || f.Ports.Contains(port))
}

// left says why a row that holds between two hosts has not the port that is asked for.
func (p *planner) left(r *row, of pair, e *Explanation) (Left, bool) {
	if r.protocol != e.Protocol || slices.ContainsFunc(e.Flows, func(f *Flow) bool { return f.Row == r.id }) {
		return Left{}, false
	}
	could := r.ports.Numbers
	if r.ports.Symbol.IsDynamic() {
		dynamic, _ := p.dynamic(r.ports.Symbol, of.to, p.site.Options.Environment)
		could = could.Union(dynamic)
	}
	if e.Protocol.HasPorts() && !could.Contains(e.Port) {
		return Left{}, false
	}
	l := Left{Row: r.id, App: r.app, Sources: r.sources}
	if ok, why := p.needed(r, of); !ok {
		l.Why = why
		return l, true
	}
	if p.tunnel(of.from.Zone, of.to.Zone) != nil {
		l.Why = "a tunnel carries all between their zones"
		return l, true
	}
	if p.translates(r, of) != nil {
		l.Why = "a firewall on the way translates addresses, which DCOM does not survive"
		return l, true
	}
	o := p.open(r, of, p.site.Options.Environment)
	l.Ports = o.ports
	switch {
	case o.narrowing.By == ByPin:
		l.Why = "its ports are pinned: " + strings.Join(r.pins, ", ")
	case o.narrowing.From != "":
		l.Why = "the ports are those of " + o.narrowing.From
	default:
		l.Why = "it is on other ports"
	}
	return l, true
}

// note adds what there is to say of a port that no flow has.
func (e *Explanation) note(p *planner) {
	m := p.of[e.To]
	if !e.Protocol.HasPorts() {
		return
	}
	if dynamic, from := p.dynamic(catalog.DynamicRPC, m, false); dynamic.Contains(e.Port) {
		e.Notes = append(e.Notes, fmt.Sprintf("%d lies in the dynamic range of %s, %s (%s)", e.Port, e.To.Name, dynamic, from))
	}
	for _, pin := range e.To.Pins {
		if pin.Ports.Contains(e.Port) {
			e.Notes = append(e.Notes, fmt.Sprintf("%d is pinned on %s: %s", e.Port, e.To.Name, pin.ID))
		}
	}
	if len(e.Flows) > 0 {
		return
	}
	var names []string
	for _, use := range p.site.Catalog.PortsAt(e.Port, e.Protocol).Uses {
		if use.Port.Ports.Numbers.Len() > 100 {
			continue // a range that says nothing of this port
		}
		if !slices.Contains(names, use.Service.ID) {
			names = append(names, use.Service.ID)
		}
	}
	switch {
	case len(names) > 5:
		names = append(names[:5], "…")
		fallthrough
	case len(names) > 0:
		e.Notes = append(e.Notes, fmt.Sprintf("%d/%s is the port of %s: a role of %s that it is, and a use of %s, would plan it",
			e.Port, e.Protocol, strings.Join(names, ", "), e.To.Name, e.From.Name))
	}
}
