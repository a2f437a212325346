package plan

import (
	"cmp"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/site"
)

// A row is one thing that the catalog says hosts connect for: a flow, a port of a service,
// or a relationship within which nothing may be filtered.
type row struct {
	id        string
	of        []tie            // the first names the row; of a service there may be several
	protocol  catalog.Protocol // 0: every one
	ports     catalog.Ports
	app       string
	service   string
	need      catalog.Need
	condition string
	notes     []string
	when      []catalog.Term
	legacy    bool // only systems of the legacy generation have it
	modern    bool // only others
	pins      []string
	follower  site.Protocol // which follows where its ports are told; empty: none can
	dcom      bool
	sources   []string
}

// A tie is hosts that a row joins: those of a relationship that have roles or services.
type tie struct {
	*catalog.Relationship
	from, to []string // IDs; one is enough, none is everybody
	mirror   bool     // the same holds with the two swapped
	alike    bool     // the same where neither uses the other: who is used connects to nobody by that
}

// followers says by which protocol clients of services learn where data goes; of RPC the
// mapper tells.
var followers = map[string]site.Protocol{"ftp-publishing": site.FTP, "tftp-daemon": site.TFTP}

// allRows returns the rows of all relationships in the order of the catalog.
func allRows(c *catalog.Catalog) []row {
	flows := map[string][]*catalog.Flow{}
	for _, f := range c.Flows("", "") {
		flows[f.Relationship] = append(flows[f.Relationship], f)
	}
	var rows []row
	at := map[string]int{}
	for _, of := range c.Relationships() {
		for _, r := range rowsOf(c, of, flows[of.ID]) {
			if i, ok := at[r.id]; ok {
				rows[i].of = append(rows[i].of, r.of...)
				continue
			}
			at[r.id] = len(rows)
			rows = append(rows, r)
		}
	}
	return rows
}

// rowsOf returns the rows of a relationship, which are flows where it is not about a service.
func rowsOf(c *catalog.Catalog, of *catalog.Relationship, flows []*catalog.Flow) []row {
	switch {
	case of.Unfiltered:
		return []row{{
			id: of.ID, of: []tie{{of, of.From, of.To, of.Mirror, false}},
			app: "everything", need: catalog.Required, sources: of.Sources,
		}}
	case of.Service != "":
		s, ok := c.Service(of.Service)
		if !ok {
			return nil
		}
		return serviceRows(c, of, s)
	}
	var rows []row
	for _, f := range flows {
		rows = append(rows, row{
			id: f.ID, of: []tie{{of, roleList(f.From, of.From), roleList(f.To, nil), of.Mirror, f.Mirror}},
			protocol: f.Protocol, ports: f.Ports, app: f.App, service: f.Service, need: f.Need,
			condition: f.Condition, when: f.When, legacy: f.Generation == "legacy", modern: f.Generation == "modern",
			pins: f.Pins, follower: follower(f.Ports.Symbol, f.Service), dcom: f.DCOM, sources: f.Sources,
		})
	}
	return rows
}

// roleList returns the roles that a relationship names in place of the one that a flow does, else that
// one, or none, which is everybody.
func roleList(id string, instead []string) []string {
	if len(instead) > 0 || id == "" {
		return instead
	}
	return []string{id}
}

func serviceRows(c *catalog.Catalog, of *catalog.Relationship, s *catalog.Service) []row {
	var rows []row
	known := map[string]bool{}
	for _, p := range s.Ports {
		if p.Outgoing {
			continue
		}
		r := row{
			id: s.ID + "/" + p.Protocol.String() + "/" + p.Ports.String(), of: []tie{{of, of.From, of.To, of.Mirror, false}},
			protocol: p.Protocol, ports: p.Ports, app: p.App, service: s.ID, need: p.Need,
			notes: p.Notes, when: p.When, follower: follower(p.Ports.Symbol, s.ID), dcom: p.DCOM, sources: s.Sources,
		}
		if p.Protocol == catalog.ICMP && r.ports.IsNone() {
			r.ports.Symbol = catalog.Echo // the sources say ICMP, and mean ping
		}
		if p.Need != catalog.Required {
			r.condition = strings.Join(p.Notes, " ")
		}
		if s.FixedPort != nil {
			if pin, ok := c.Pin(s.FixedPort.Pin); ok && pinsPort(&pin) && (p.Ports.Symbol.IsDynamic() ||
				!p.Ports.Numbers.IsEmpty() && p.Ports.Numbers.Minus(pin.UsualPorts).IsEmpty()) {
				r.pins = []string{pin.ID}
			}
		}
		// A service may need a port for two reasons; the stronger stands first in the catalog's order of needs.
		if known[r.id] {
			i := slices.IndexFunc(rows, func(o row) bool { return o.id == r.id })
			if needRank(r.need) < needRank(rows[i].need) {
				rows[i] = r
			}
			continue
		}
		known[r.id] = true
		rows = append(rows, r)
	}
	return rows
}

// needRank orders needs, the strongest first.
func needRank(n catalog.Need) int {
	return slices.Index([]catalog.Need{catalog.Required, catalog.Recommended, catalog.Conditional, catalog.OneOf, catalog.Optional, catalog.LegacyNeed}, n)
}

// pinsPort reports whether a pin gives a port to a service, rather than a range to all of
// the host, or other transports.
func pinsPort(p *catalog.Pin) bool {
	return p.Method != "transport-toggle" && p.ID != "rpc-internet-range" && p.ID != "netsh-dynamicport"
}

func follower(s catalog.Symbol, service string) site.Protocol {
	switch s {
	case catalog.DynamicRPC:
		return site.EPM
	case catalog.DynamicONC:
		return site.Portmapper
	case catalog.DynamicEphemeral:
		return followers[service]
	}
	return ""
}

// name returns what is said of the row in a sentence.
func (r *row) name() string { return cmp.Or(r.app, r.service, r.id) }
