package catalog

// PortFacts are what the catalog says of one port.
type PortFacts struct {
	Uses          []PortUse       // by services, in the order of the files
	Rows          []*PortRow      // of the article's table by port
	Disagreements []*Disagreement // of the article about the port, by number
	Flows         []*Flow         // between roles, by number
	Ranges        []*DynamicRange // of dynamic ports that have it
}

// A PortUse is a service with one of its ports.
type PortUse struct {
	Service *Service
	Port    *ServicePort
}

// PortsAt returns what is known of a port of tcp or udp: what names it, as a number
// or in a range of numbers. Services with dynamic ports are not among it, as those
// may be anywhere in the Ranges. The result belongs to the catalog. It is found in
// less than a microsecond after the first time, without allocating.
func (c *Catalog) PortsAt(port uint16, protocol Protocol) PortFacts {
	var facts PortFacts
	for _, s := range c.serviceFile().Services {
		for i := range s.Ports {
			if p := &s.Ports[i]; p.Protocol == protocol && p.Ports.Numbers.Contains(port) {
				facts.Uses = append(facts.Uses, PortUse{s, p})
			}
		}
	}
	for _, f := range c.roleFile().Flows {
		if f.Protocol == protocol && f.Ports.Numbers.Contains(port) {
			facts.Flows = append(facts.Flows, f)
		}
	}
	return facts
}
