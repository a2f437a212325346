package render_test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go4.org/netipx"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/render"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// golden holds that text is what the file testdata/NAME has.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: run go test ./internal/render -update", err)
	}
	if text != string(want) {
		t.Errorf("%s differs; run go test ./internal/render -update and read what changes. Now:\n%s", path, text)
	}
}

// text renders, twice, and returns what both times came out.
func text(t testing.TB, target *render.Target, in *render.Input) string {
	t.Helper()
	s, err := rendered(target, in)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := rendered(target, in); again != s {
		t.Fatalf("%s is not the same twice:\n%s\n%s", target.Name, s, again)
	}
	return s
}

// target returns the target that has the name.
func target(name string) *render.Target {
	for _, t := range render.Targets() {
		if t.Name == name {
			return t
		}
	}
	panic(name)
}

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range texts {
		if !strings.Contains(s, "/") {
			a := netip.MustParseAddr(s)
			all = append(all, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		all = append(all, netip.MustParsePrefix(s))
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return all
}

func ports(t testing.TB, s string) portset.Set {
	t.Helper()
	p, err := portset.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// company is the site that the golden files are of: a company's network with a perimeter and
// a branch. One domain controller has pins, edge follows the endpoint mapper.
func company(t testing.TB, icmp bool) *plan.Plan {
	t.Helper()
	core := &site.Zone{Name: "core", Networks: prefixes("10.0.0.0/24", "fd00:1::/64")}
	dmz := &site.Zone{Name: "dmz", Networks: prefixes("192.0.2.0/24")}
	branch := &site.Zone{Name: "branch", Networks: prefixes("10.2.0.0/16")}
	app1 := &site.Host{Name: "app1", Zone: dmz, Addresses: prefixes("192.0.2.20")}
	app2 := &site.Host{Name: "app2", Zone: dmz, Addresses: prefixes("192.0.2.21")}
	dc1 := &site.Host{Name: "dc1", Zone: core, Addresses: prefixes("10.0.0.10", "fd00:1::10"), Pins: []site.Pin{{ID: "netlogon", Ports: ports(t, "38902")}, {ID: "ntds", Ports: ports(t, "38901")}}}
	dc2 := &site.Host{Name: "dc2", Zone: core, Addresses: prefixes("10.0.0.11", "fd00:1::11")}
	fs1 := &site.Host{Name: "fs1", Zone: core, Addresses: prefixes("10.0.0.30", "fd00:1::30")}
	desks := &site.Host{Name: "desks", Zone: branch, Addresses: prefixes("10.2.0.0/23")}
	edge := &site.Firewall{Name: "edge", Zones: []*site.Zone{core, dmz}, Follows: []site.Protocol{site.EPM}}
	wan := &site.Firewall{Name: "wan", Zones: []*site.Zone{branch, core}}
	s := &site.Site{
		Catalog: catalog.Builtin(), Zones: []*site.Zone{branch, core, dmz},
		Hosts: []*site.Host{app1, app2, dc1, dc2, desks, fs1}, Firewalls: []*site.Firewall{edge, wan},
	}
	var flows []*plan.Flow
	add := func(row, service string, from, to []*site.Host, protocol catalog.Protocol, set string) *plan.Flow {
		relationship := row[:strings.LastIndex(row, "-")]
		f := &plan.Flow{
			ID: fmt.Sprintf("%s/%s/%s", row, from[0].Name, to[0].Name), From: from, To: to, Protocol: protocol, App: service, Service: service,
			Relationship: relationship, Row: row, Need: catalog.Required, Sources: []string{"kb179442"},
		}
		if set != "" {
			f.Ports = ports(t, set)
		}
		flows = append(flows, f)
		return f
	}
	clients, dcs := hosts(app1, app2, desks, fs1), hosts(dc1, dc2)
	add("client-to-dc-01", "rpc", clients, dcs, catalog.TCP, "135")
	for _, dc := range dcs {
		f := add("client-to-dc-02", "", clients, hosts(dc), catalog.TCP, "49152-65535")
		f.Symbol, f.Narrowing = catalog.DynamicRPC, plan.Narrowing{By: plan.ByRange, From: "windows-server-2019", Pinhole: []*site.Firewall{edge}}
		if dc == dc1 {
			f.Ports, f.Narrowing = ports(t, "38901,38902"), plan.Narrowing{By: plan.ByPin, Pins: []string{"netlogon", "ntds"}}
		}
	}
	add("client-to-dc-03", "kerberos-key-distribution-center", clients, dcs, catalog.TCP, "88")
	add("client-to-dc-04", "kerberos-key-distribution-center", clients, dcs, catalog.UDP, "88")
	add("client-to-dc-05", "dns-server", clients, dcs, catalog.UDP, "53")
	add("client-to-dc-06", "active-directory-lsa", clients, dcs, catalog.TCP, "389,3268-3269")
	add("client-to-dc-07", "server", clients, dcs, catalog.TCP, "445")
	if icmp {
		f := add("client-to-dc-16", "", clients, dcs, catalog.ICMP, "")
		f.Need, f.Symbol = catalog.Recommended, catalog.Echo
	}
	replication := add("dc-to-dc-02", "", dcs, dcs, catalog.TCP, "38901,38902,49152-65535")
	replication.Symbol, replication.Narrowing = catalog.DynamicRPC, plan.Narrowing{By: plan.ByRange, From: "windows-server-2019"}
	add("dc-to-dc-01", "rpc", dcs, dcs, catalog.TCP, "135")
	add("server-445", "server", hosts(app1, desks), hosts(fs1), catalog.TCP, "445")
	return plan.Of(s, flows)
}

// passing is what one address may send to another: of tcp and udp to ports; of what has none
// the set is that of port 0. It is "all" alone where everything may pass.
type passing map[string]portset.Set

func (p passing) add(what string, set portset.Set) {
	if what != "tcp" && what != "udp" {
		set = portset.Ports(0)
	}
	p[what] = p[what].Union(set)
}

// normal leaves out what is part of other.
func (p passing) normal() passing {
	if _, ok := p["all"]; ok {
		return passing{"all": portset.Ports(0)}
	}
	if _, ok := p["icmp"]; ok {
		delete(p, "echo")
	}
	return p
}

func (p passing) String() string {
	var words []string
	for _, what := range slices.Sorted(maps.Keys(p)) {
		words = append(words, what+" "+p[what].String())
	}
	return strings.Join(words, "; ")
}

// An allowance is what a rendered text lets pass, as its parser reads it.
type allowance struct {
	from, to []netip.Prefix
	what     string // tcp, udp, icmp, echo, gre, esp, ah, all
	ports    portset.Set
}

func contains(all []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(a) })
}

// whatOf returns the word for what a flow is.
func whatOf(f *plan.Flow) string {
	switch {
	case f.Protocol == 0:
		return "all"
	case f.Symbol == catalog.Echo:
		return "echo"
	}
	return f.Protocol.String()
}

// needed returns what a may send to b by those flows of p that are open, between hosts
// of which the first may reach the second.
func needed(p *plan.Plan, open func(*plan.Flow) bool, pass func(from, to *site.Host) bool, a, b netip.Addr) passing {
	all := passing{}
	for _, f := range p.Flows {
		if !open(f) {
			continue
		}
		for _, from := range f.From {
			for _, to := range f.To {
				if (from != to || from.IsGroup()) && pass(from, to) && contains(from.Addresses, a) && contains(to.Addresses, b) {
					all.add(whatOf(f), f.Ports)
				}
			}
		}
	}
	return all.normal()
}

// points returns addresses that tell whether too much or too little is open: the ends of all prefixes
// of hosts, what lies beyond them, and some that no host has.
func points(hosts []*site.Host) []netip.Addr {
	all := []netip.Addr{netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8::9")}
	for _, h := range hosts {
		for _, p := range h.Addresses {
			last := netipx.RangeOfPrefix(p).To()
			all = append(all, p.Addr(), last, last.Next())
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// notItself holds that no host that is one has a rule for what it sends to itself, which
// passes no firewall.
func notItself(t fails, allowances []allowance, said string) {
	t.Helper()
	for _, a := range allowances {
		if (&site.Host{Addresses: a.to}).IsGroup() {
			continue
		}
		for _, n := range a.to {
			if slices.Contains(a.from, n) {
				t.Fatalf("%v may send to itself. The text:\n%s", n, said)
			}
		}
	}
}

// Without ports a rule of TCP would be as wide as can be, so that it is refused.
func TestWithoutPorts(t *testing.T) {
	p := company(t, false)
	p.Flows[0].Ports = portset.Set{}
	for name, in := range map[string]*render.Input{
		"powershell": render.ForHost(p, hostNamed(p, "dc1")), "terraform-aws": render.ForSite(p), "azure-nsg": render.ForSite(p),
		"cisco-asa": render.ForFirewall(p, p.Site.Firewalls[0]), "aerleon": render.ForFirewall(p, p.Site.Firewalls[0]),
	} {
		var unsayable *render.UnsayableError
		if s, err := rendered(target(name), in); !errors.As(err, &unsayable) || s != "" {
			t.Errorf("%s: %v, wrote %q", name, err, s)
		}
	}
}

// fails is what both kinds of tests have.
type fails interface {
	Helper()
	Fatalf(format string, args ...any)
}

// compare holds that allowances let pass what is needed and nothing else.
func compare(t fails, in *render.Input, open func(*plan.Flow) bool, pass func(from, to *site.Host) bool, allowances []allowance, said string) {
	t.Helper()
	at := points(in.Plan.Site.Hosts)
	for _, a := range at {
		for _, b := range at {
			if a == b || a.Is4() != b.Is4() { // what a host sends to itself passes nothing
				continue
			}
			got := passing{}
			for _, l := range allowances {
				if contains(l.from, a) && contains(l.to, b) {
					got.add(l.what, l.ports)
				}
			}
			want := needed(in.Plan, open, pass, a, b)
			if in.Family != render.Both && a.Is4() != (in.Family == render.IPv4) {
				want = passing{}
			}
			if got.normal().String() != want.String() {
				t.Fatalf("%v to %v may send %q, want %q. The text:\n%s", a, b, got, want, said)
			}
		}
	}
}

// drawFamily has a text be about one family of addresses, or both.
func drawFamily(t *rapid.T, in *render.Input) *render.Input {
	in.Family = rapid.SampledFrom([]render.Family{render.Both, render.IPv4, render.IPv6}).Draw(t, "family")
	return in
}

func everyFlow(*plan.Flow) bool { return true }

func everyPair(_, _ *site.Host) bool { return true }

// drawPlan draws a plan of three zones in a row with a firewall between each two. Protocols are
// those of words.
func drawPlan(t *rapid.T, words ...string) *plan.Plan {
	var zones []*site.Zone
	for i := range 3 {
		zones = append(zones, &site.Zone{Name: fmt.Sprintf("z%d", i), Networks: prefixes(fmt.Sprintf("10.%d.0.0/16", i), fmt.Sprintf("fd00:%d::/64", i))})
	}
	one := &site.Firewall{Name: "f1", Zones: zones[:2]}
	two := &site.Firewall{Name: "f2", Zones: zones[1:]}
	s := &site.Site{Catalog: catalog.Builtin(), Zones: zones, Firewalls: []*site.Firewall{one, two}}
	for i := range rapid.IntRange(2, 7).Draw(t, "hosts") {
		z := rapid.IntRange(0, 2).Draw(t, "zone")
		four, six := fmt.Sprintf("10.%d.%d.0", z, i), fmt.Sprintf("fd00:%d::%d:0", z, i+1)
		kinds := [][]string{{four}, {six}, {four, six}, {four + "/28"}, {four + "/31", six + "/120"}, {four, fmt.Sprintf("10.%d.%d.7", z, i)}, {four + "/24"}, {fmt.Sprintf("10.%d.0.0/20", z)}}
		h := &site.Host{Name: fmt.Sprintf(rapid.SampledFrom([]string{"h%d", `it's"%d${x}%%{y}`}).Draw(t, "name"), i), Zone: zones[z], Addresses: prefixes(rapid.SampledFrom(kinds).Draw(t, "addresses")...)}
		if rapid.Bool().Draw(t, "pinned") {
			h.Pins = []site.Pin{{ID: "ntds", Ports: portset.Ports(38901)}}
		}
		s.Hosts = append(s.Hosts, h)
	}
	dynamic, err := portset.Parse("49152-65535")
	if err != nil {
		t.Fatal(err)
	}
	someHosts := rapid.Custom(func(t *rapid.T) []*site.Host {
		var some []*site.Host
		for _, h := range s.Hosts {
			if rapid.Bool().Draw(t, h.Name) {
				some = append(some, h)
			}
		}
		if len(some) == 0 {
			some = s.Hosts[:1]
		}
		return some
	})
	var flows []*plan.Flow
	for i := range rapid.IntRange(1, 6).Draw(t, "flows") {
		f := &plan.Flow{
			ID: fmt.Sprintf("fl'ow-$%d", i), From: someHosts.Draw(t, "from"), To: someHosts.Draw(t, "to"), App: "app", Relationship: fmt.Sprintf("it's \"%d\" ${x} %%{y} #<b>", i%3),
			Row: "row", Sources: []string{fmt.Sprintf("source-%d", i%2)}, DCOM: rapid.IntRange(0, 4).Draw(t, "dcom") == 0,
		}
		switch word := rapid.SampledFrom(words).Draw(t, "protocol"); word {
		case "all":
		case "echo":
			f.Protocol, f.Symbol = catalog.ICMP, catalog.Echo
		case "rpc":
			f.Protocol, f.Symbol, f.Ports = catalog.TCP, catalog.DynamicRPC, dynamic
			f.Narrowing = rapid.SampledFrom([]plan.Narrowing{
				{By: plan.ByRange}, {By: plan.ByRange, Pinhole: []*site.Firewall{one}}, {By: plan.ByPinhole, Pinhole: []*site.Firewall{one, two}}, {By: plan.ByPin},
			}).Draw(t, "narrowing")
			switch pins := f.To[0].Pins; {
			case f.Narrowing.By == plan.ByPin:
				f.Ports = portset.Ports(38901, 38902)
			case len(f.To) == 1 && len(pins) > 0:
				f.Ports = f.Ports.Union(pins[0].Ports)
			}
		default:
			if f.Protocol, err = catalog.ParseProtocol(word); err != nil {
				t.Fatal(err)
			}
			if f.Protocol.HasPorts() {
				f.Ports = portset.Ports(rapid.SliceOfN(rapid.SampledFrom([]uint16{53, 88, 89, 90, 135, 136, 445, 65535}), 1, 5).Draw(t, "ports")...)
			}
		}
		flows = append(flows, f)
	}
	return plan.Of(s, flows)
}

var everyProtocol = []string{"all", "tcp", "tcp", "udp", "rpc", "icmp", "echo", "gre", "esp", "ah"}
