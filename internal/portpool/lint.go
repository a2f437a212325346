package portpool

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/portset"
)

// A Report is what a document comes to.
type Report struct {
	Policy   *Policy   // nil if there is none, or none that is valid
	Invalid  bool      // there is one, but it is not valid
	Servers  []Servers // who gets which ports; empty if Invalid
	Findings []Finding // from the top of the file down
}

// Servers are the servers of one preference, and the ports they get.
type Servers struct {
	Preference  Preference
	Pool        Preference  // Internet or Intranet; Default without a policy, when preferences have no effect
	Listed      bool        // they get the ports of the list
	Windows     portset.Set // on Windows Vista, 2008 and later
	Windows2003 portset.Set // on Windows 2000, XP and 2003
	Host        portset.Set // on the Linux host; empty if none was given
}

// Lint tells what a document means and what is wrong with it. Host may be nil; known is where the
// ports of services are looked up.
func Lint(d *Document, host *Host, known *catalog.Catalog) Report {
	p, findings := d.Policy()
	r := Report{Policy: p, Invalid: p == nil && d.Key.State == Present, Findings: findings}
	switch {
	case r.Invalid:
		return r
	case p == nil:
		r.Servers = []Servers{servers(nil, Default, host)}
		return r
	}
	for _, of := range []Preference{Default, Internet, Intranet} {
		r.Servers = append(r.Servers, servers(p, of, host))
	}
	c := checker{d: d, findings: findings}
	c.meaning(p)
	c.numbers(p, known)
	c.ranges(p, host)
	sortFindings(c.findings)
	r.Findings = c.findings
	return r
}

func servers(p *Policy, of Preference, host *Host) Servers {
	s := Servers{Preference: of, Windows: p.Pool(of, windows), Windows2003: p.Pool(of, windows2003)}
	if host != nil {
		s.Host = p.Pool(of, host.Dynamic())
	}
	if p != nil {
		s.Pool, s.Listed = p.Choose(of), p.Listed(of)
	}
	return s
}

// meaning finds letters that do not mean what they look like.
func (c *checker) meaning(p *Policy) {
	if p.Listed(Default) {
		return
	}
	_, pia, uip := c.d.names()
	c.add(Error, c.d.UseInternetPorts.Place, "outside-the-list",
		fmt.Sprintf("%s with %s, or %s with %s, keeps them inside", c.d.letter(true), c.d.letter(true), c.d.letter(false), c.d.letter(false)),
		"ordinary servers get ports outside the list, since %s %s with %s %s selects every other port",
		pia, c.d.letter(p.PortsInternetAvailable), uip, c.d.letter(p.UseInternetPorts))
	if p.Pool(Default, windows).IsEmpty() {
		c.add(Error, c.d.Ports.Place, "nothing-left", "leave some ports of that range out of the list",
			"the list takes all of %v, so that ordinary servers find no port (RPC_S_OUT_OF_RESOURCES, 1721)", windows)
	}
}

// fewest is how many ports the vendor advises at least (KB 154596).
const fewest = 100

// numbers finds ports that do not belong into a list.
func (c *checker) numbers(p *Policy, known *catalog.Catalog) {
	ports, list := c.d.Ports.Place, p.List()
	usable := list.Intersect(unprivileged)
	if low := list.Intersect(privileged); !low.IsEmpty() {
		c.add(Error, ports, "below-1024", "list ports above 5000", "%v is below 1024, where no pool reaches", low)
	}
	if low := usable.Intersect(portset.Of(portset.Range{First: 0, Last: 5000})); !low.IsEmpty() {
		c.add(Warning, ports, "up-to-5000", "list ports above 5000",
			"%v lies at 5000 or below, where other programs may be and, up to Windows 2003, outgoing connections are", low)
	}
	if n := usable.Len(); n < fewest {
		c.add(Warning, ports, "few-ports", "list more", "%s can be given out, fewer than the %d that the vendor advises at least", count(n), fewest)
	}
	if taken := pinned(known, usable); len(taken) > 0 {
		c.add(Warning, ports, "pins", "leave them out, since fixed ports lie outside the list", "services are often pinned to ports of the list, %s", strings.Join(taken, ", "))
	}
	if taken := wellKnown(known, usable); len(taken) > 0 {
		c.add(Warning, ports, "services", "leave them out", "services listen by convention on ports of the list, %s", strings.Join(taken, ", "))
	}
}

// ranges finds ports that outgoing connections may hold.
func (c *checker) ranges(p *Policy, host *Host) {
	usable := p.List().Intersect(unprivileged)
	if both := usable.Intersect(windows); !both.IsEmpty() {
		c.add(Warning, c.d.Ports.Place, "dynamic-range", "exclude it there (quaymaster pool convert FILE --to netsh)",
			"Windows 2008 and later give %v to outgoing connections too, as part of %v", both, windows)
	}
	if host == nil {
		return
	}
	if both := usable.Intersect(host.Outgoing()); !both.IsEmpty() {
		c.add(Warning, c.d.Ports.Place, "local-range", "reserve it here (quaymaster pool convert FILE --to sysctl)",
			"this host gives %v to outgoing connections too, as part of %v (ip_local_port_range)", both, host.Local)
	}
}

// pinned returns the ports of set that pins of the catalog have, with the services.
func pinned(known *catalog.Catalog, set portset.Set) []string {
	names := map[uint16][]string{}
	for pin := range known.Pins() {
		for port := range pin.UsualPorts.Intersect(set).All() {
			service, _, _ := strings.Cut(pin.Service, " (")
			names[port] = append(names[port], service)
		}
	}
	return describePorts(names)
}

// wellKnown returns the ports of set on which programs and interfaces of the
// catalog listen by convention, with their names; without those of pins.
func wellKnown(known *catalog.Catalog, set portset.Set) []string {
	for pin := range known.Pins() {
		set = set.Minus(pin.UsualPorts)
	}
	names := map[uint16][]string{}
	for program := range known.Programs() {
		for port := range program.UsualPorts.Intersect(set).All() {
			names[port] = append(names[port], program.Name)
		}
	}
	for i := range known.Interfaces() {
		for _, t := range i.Transports {
			if port := t.Port(); port != 0 && set.Contains(port) {
				names[port] = append(names[port], cmp.Or(i.Service, i.Name))
			}
		}
	}
	return describePorts(names)
}

// describePorts returns ports with their names, ascending, and how many more there
// are if they are many.
func describePorts(names map[uint16][]string) []string {
	const most = 8
	var all []string
	for _, port := range slices.Sorted(maps.Keys(names)) {
		if len(all) == most {
			return append(all, fmt.Sprintf("and %d more", len(names)-most))
		}
		slices.Sort(names[port])
		all = append(all, fmt.Sprintf("%d (%s)", port, strings.Join(slices.Compact(names[port]), ", ")))
	}
	return all
}

// count returns "1 port", "21 ports".
func count(n int) string {
	if n == 1 {
		return "1 port"
	}
	return fmt.Sprintf("%d ports", n)
}
