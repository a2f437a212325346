package main

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/probe"
)

// An askRole is what the catalog says that a host of a role listens on.
type askRole struct {
	id      string
	ports   map[portSeat]*rolePort
	untried []string // what it answers that is at no port which could be tried, in words
}

// A portSeat is a port of TCP or UDP.
type portSeat struct {
	network string
	port    uint16
}

// A rolePort is what a port is for.
type rolePort struct {
	services  []string // that listen; where the catalog names none, what is spoken
	need      catalog.Need
	condition string // of the need; empty: always
	named     bool   // the port was asked for by itself too
}

// needOrder has what a host can least do without first.
var needOrder = []catalog.Need{catalog.Required, catalog.Recommended, catalog.Conditional, catalog.OneOf, catalog.Optional, catalog.LegacyNeed}

// askedRole returns what --role and --os stand for; nil if no role is given.
func (f *askFlags) askedRole(c *catalog.Catalog) (*askRole, []roleFlow, error) {
	systems, err := (&catalogFlags{systems: f.systems}).servers(c)
	if f.role == "" {
		if f.systems != nil {
			err = errors.Join(err, usagef("--os goes with --role: it is the system of a host that has the role"))
		}
		return nil, nil, err
	}
	r, errRole := findRole(c, f.role)
	if errRole != nil {
		errRole = usagef("--role: %w", errRole)
	}
	if err := errors.Join(err, errRole); err != nil {
		return nil, nil, err
	}
	flows := (&roleFacts{serviceFacts: newServiceFacts(c, systems)}).listens(r.ID)
	if len(flows) == 0 {
		return nil, nil, usagef("--role %s: the catalog knows nothing that such a host listens on", f.role)
	}
	return &askRole{id: r.ID, ports: map[portSeat]*rolePort{}}, flows, nil
}

// addRole adds to the question what a host of a role listens on: its ports, and a mapper where that tells the port.
func (q *askQuestion) addRole(r *askRole, flows []roleFlow, dialects askDialects) {
	q.role = r
	for _, flow := range flows {
		required := flow.Need == catalog.Required
		switch symbol := flow.Ports.Symbol; {
		case symbol == catalog.DynamicRPC && dialects.dce:
			q.dce, q.must.dce = true, q.must.dce || required
		case symbol == catalog.DynamicONC && dialects.onc:
			q.onc, q.must.onc = true, q.must.onc || required
		case symbol == catalog.DynamicEphemeral, symbol == catalog.Echo, !flow.Protocol.HasPorts():
			what := strings.TrimSpace(flow.Protocol.String() + " " + string(symbol))
			if !slices.Contains(r.untried, what) {
				r.untried = append(r.untried, what)
			}
		}
		if !flow.Protocol.HasPorts() {
			continue
		}
		for port := range flow.Ports.Numbers.All() {
			r.add(portSeat{flow.Protocol.String(), port}, &flow)
		}
	}
	for _, asked := range q.ports {
		if p := r.ports[portSeat{asked.Network, asked.Port}]; p != nil {
			p.named = true
		}
	}
	for at, p := range r.ports {
		if !p.named {
			q.ports = append(q.ports, probe.PortQuestion{Network: at.network, Port: at.port, Greet: true})
		}
	}
	slices.SortFunc(q.ports, func(a, b probe.PortQuestion) int {
		return cmp.Or(strings.Compare(a.Network, b.Network), cmp.Compare(a.Port, b.Port))
	})
}

// add adds what a flow says of a port: of several needs the strongest counts, and of one that is for some
// always and for others on a condition there is none.
func (r *askRole) add(at portSeat, flow *roleFlow) {
	p := r.ports[at]
	if p == nil {
		p = &rolePort{need: flow.Need, condition: flow.Condition}
		r.ports[at] = p
	}
	switch was, is := slices.Index(needOrder, p.need), slices.Index(needOrder, flow.Need); {
	case is < was:
		p.need, p.condition = flow.Need, flow.Condition
	case is == was && flow.Condition == "":
		p.condition = ""
	}
	if service := cmp.Or(flow.Service, flow.App); !slices.Contains(p.services, service) {
		p.services = append(p.services, service)
	}
}

// service returns what listens at a port, for people. What is spoken there is only said where no service is named.
func (p *rolePort) service(facts *catalog.Catalog) string {
	known := slices.DeleteFunc(slices.Clone(p.services), func(s string) bool {
		_, ok := facts.Service(s)
		return !ok
	})
	if len(known) > 0 {
		return strings.Join(known, ", ")
	}
	return p.services[0]
}

// mustListen tells whether it is to be looked into that nothing listens at a port.
func (q *askQuestion) mustListen(network string, port uint16) bool {
	if q.role == nil {
		return true
	}
	p := q.role.ports[portSeat{network, port}]
	return p == nil || p.named || p.need == catalog.Required
}
