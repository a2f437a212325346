package catalog

import (
	"slices"

	"github.com/quaymaster/quaymaster/portset"
)

// PortFacts are what the catalog says of one port, as a number or in a range of
// numbers. In each list what is about the fewest ports comes first, and then what the
// files have first.
type PortFacts struct {
	Uses          []PortUse       // by services
	Rows          []*PortRow      // of the article's table by port
	Disagreements []*Disagreement // of the article about the port
	Flows         []*Flow         // between roles
	Ranges        []*DynamicRange // of dynamic ports that have it
}

// A PortUse is a service with one of its ports.
type PortUse struct {
	Service *Service
	Port    *ServicePort
}

// PortsAt returns what is known of a port of tcp or udp. Services with dynamic ports
// are not among its uses, as those may be anywhere in its ranges. The result belongs
// to the catalog. After the first time it is found in less than a microsecond,
// without allocating.
func (c *Catalog) PortsAt(port uint16, protocol Protocol) PortFacts {
	if c.index == nil {
		return PortFacts{}
	}
	for _, i := range c.index() {
		if i.protocol == protocol {
			return i.at(port)
		}
	}
	return PortFacts{}
}

// A portIndex has the facts of each protocol that has ports.
type portIndex []protocolIndex

// A protocolIndex cuts the port numbers at every place where what is known of them
// changes.
type protocolIndex struct {
	protocol Protocol
	starts   []uint16    // ascending, the first of them 0
	facts    []PortFacts // of the ports from the same of starts up to before the next
}

func (i *protocolIndex) at(port uint16) PortFacts {
	n, found := slices.BinarySearch(i.starts, port)
	if !found {
		n-- // starts[0] is 0, so there is one before
	}
	return i.facts[n]
}

// An entry is something that is known of a set of ports.
type entry struct {
	ports portset.Set
	add   func(*PortFacts)
}

func newPortIndex(c *Catalog) portIndex {
	var all portIndex
	for _, protocol := range []Protocol{TCP, UDP} {
		all = append(all, indexOf(protocol, c.entries(protocol)))
	}
	return all
}

// entries returns all that is known of ports of a protocol.
func (c *Catalog) entries(protocol Protocol) []entry {
	var all []entry
	add := func(ports portset.Set, add func(*PortFacts)) { all = append(all, entry{ports, add}) }
	for _, s := range c.Services() {
		for _, p := range pointers(s.Ports) {
			if p.Protocol == protocol {
				add(p.Ports.Numbers, func(f *PortFacts) { f.Uses = append(f.Uses, PortUse{s, p}) })
			}
		}
	}
	for _, r := range c.PortRows() {
		if r.Protocol == protocol {
			add(r.Ports.Numbers, func(f *PortFacts) { f.Rows = append(f.Rows, r) })
		}
	}
	for _, d := range c.Disagreements("") {
		if slices.Contains(d.Protocols, protocol) {
			add(d.Ports.Numbers, func(f *PortFacts) { f.Disagreements = append(f.Disagreements, d) })
		}
	}
	for _, flow := range c.Flows("", "") {
		if flow.Protocol == protocol {
			add(flow.Ports.Numbers, func(f *PortFacts) { f.Flows = append(f.Flows, flow) })
		}
	}
	for _, d := range c.DynamicRanges() {
		add(d.Ports, func(f *PortFacts) { f.Ranges = append(f.Ranges, d) })
	}
	slices.SortStableFunc(all, func(a, b entry) int { return a.ports.Len() - b.ports.Len() })
	return all
}

func indexOf(protocol Protocol, entries []entry) protocolIndex {
	starts := []uint16{0}
	for _, e := range entries {
		for r := range e.ports.Ranges() {
			starts = append(starts, r.First)
			if r.Last < ^uint16(0) {
				starts = append(starts, r.Last+1)
			}
		}
	}
	slices.Sort(starts)
	starts = slices.Compact(starts)
	i := protocolIndex{protocol, starts, make([]PortFacts, len(starts))}
	for _, e := range entries {
		for r := range e.ports.Ranges() {
			first, _ := slices.BinarySearch(starts, r.First)
			for n := first; n < len(starts) && starts[n] <= r.Last; n++ {
				e.add(&i.facts[n])
			}
		}
	}
	return i
}
