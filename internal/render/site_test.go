package render_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// A testSite is a site that is built by hand.
type testSite struct {
	site.Site
	flows []*plan.Flow
}

func (s *testSite) zone(name string) *site.Zone {
	z := &site.Zone{Name: name}
	s.Zones = append(s.Zones, z)
	slices.SortFunc(s.Zones, func(a, b *site.Zone) int { return strings.Compare(a.Name, b.Name) })
	return z
}

func (s *testSite) firewall(name string, zones ...*site.Zone) *site.Firewall {
	f := &site.Firewall{Name: name, Zones: zones}
	s.Firewalls = append(s.Firewalls, f)
	return f
}

// host adds a host; addresses are written as addresses or prefixes.
func (s *testSite) host(name string, z *site.Zone, addresses ...string) *site.Host {
	h := &site.Host{Name: name, Zone: z}
	for _, a := range addresses {
		if !strings.Contains(a, "/") {
			ip := netip.MustParseAddr(a)
			h.Addresses = append(h.Addresses, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		h.Addresses = append(h.Addresses, netip.MustParsePrefix(a))
	}
	slices.SortFunc(h.Addresses, netip.Prefix.Compare)
	s.Hosts = append(s.Hosts, h)
	return h
}

// flow adds a flow that is written "tcp/135", "icmp/echo", "esp" or "all". Its ID tells its number and what it is.
func (s *testSite) flow(what string, from, to []*site.Host) *plan.Flow {
	f := &plan.Flow{
		ID: fmt.Sprintf("flow-%02d/%s", len(s.flows), what), From: slices.Clone(from), To: slices.Clone(to),
		App: "App " + what, Service: "service", Relationship: "a-to-b", Need: catalog.Required, Sources: []string{"KB179442"},
	}
	slices.SortFunc(f.From, byName)
	slices.SortFunc(f.To, byName)
	protocol, ports, _ := strings.Cut(what, "/")
	if protocol != "all" {
		p, err := catalog.ParseProtocol(protocol)
		if err != nil {
			panic(err)
		}
		f.Protocol = p
	}
	switch {
	case ports == string(catalog.Echo):
		f.Symbol = catalog.Echo
	case ports != "":
		p, err := portset.Parse(ports)
		if err != nil {
			panic(err)
		}
		f.Ports = p
	}
	s.flows = append(s.flows, f)
	return f
}

func (s *testSite) plan() *plan.Plan { return plan.Of(&s.Site, s.flows) }

func byName(a, b *site.Host) int { return strings.Compare(a.Name, b.Name) }

func hosts(h ...*site.Host) []*site.Host { return h }

// aSite draws a small site with all that a plan may have.
func aSite(t *rapid.T) *testSite {
	s := &testSite{}
	for i := range rapid.IntRange(1, 4).Draw(t, "zones") {
		s.zone(fmt.Sprint("zone", i))
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "firewalls") {
		zones := rapid.SliceOfNDistinct(rapid.IntRange(0, len(s.Zones)-1), 1, len(s.Zones), rapid.ID).Draw(t, "its zones")
		slices.Sort(zones)
		f := s.firewall(fmt.Sprint("fw", i))
		for _, z := range zones {
			f.Zones = append(f.Zones, s.Zones[z])
		}
		if rapid.Bool().Draw(t, "follows") {
			f.Follows = []site.Protocol{site.EPM, site.FTP, site.TFTP}
		}
	}
	kinds := [][]string{
		{"10.0.%d.1"}, {"fd00::%d:1"}, {"10.0.%d.1", "fd00::%d:1"}, {"10.0.%d.1", "10.0.%d.2"}, {"10.0.%d.0/24"},
		{"10.0.%d.16/28", "fd00::%d:0/112", "fd00::1:%d:0/112"}, {"10.0.%d.1", "10.0.%d.2", "10.0.%d.6", "fd00::%d:1"},
	}
	for i := range rapid.IntRange(1, 8).Draw(t, "hosts") {
		var addresses []string
		for _, a := range rapid.SampledFrom(kinds).Draw(t, "addresses") {
			addresses = append(addresses, fmt.Sprintf(a, i+1))
		}
		s.host(fmt.Sprint("host", i), rapid.SampledFrom(s.Zones).Draw(t, "zone"), addresses...)
	}
	some := func(what string) []*site.Host {
		var list []*site.Host
		for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(s.Hosts)-1), 1, len(s.Hosts), rapid.ID).Draw(t, what) {
			list = append(list, s.Hosts[i])
		}
		return list
	}
	what := []string{
		"tcp/135", "tcp/49152-65535", "tcp/1,3,5-9,80,88,100-200,300-400,500,502,504,506,508,510-520,600,602,604,606", "udp/53", "udp/137-138",
		"udp/69", "tcp/21", "icmp/echo", "icmp", "gre", "esp", "ah", "all",
	}
	for range rapid.IntRange(0, 8).Draw(t, "flows") {
		f := s.flow(rapid.SampledFrom(what).Draw(t, "what"), some("from"), some("to"))
		f.Service = rapid.SampledFrom([]string{"", "dfsr", "ftp-publishing", "tftp-daemon"}).Draw(t, "service")
		for _, w := range s.Firewalls {
			if f.Protocol.HasPorts() && len(w.Follows) > 0 && rapid.Bool().Draw(t, "pinhole") {
				f.Narrowing.Pinhole = append(f.Narrowing.Pinhole, w)
			}
		}
	}
	return s
}
