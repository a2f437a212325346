package render_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/render"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

var update = flag.Bool("update", false, "write the golden files anew")

// An accept is a rule that is read back from a text: all of from may connect to all of to.
type accept struct {
	from, to []netip.Prefix
	protocol catalog.Protocol // 0: every one
	ports    portset.Set      // of protocols with ports
}

// readers read back, from the text of a target, what it lets through.
var readers = map[string]func(text string) ([]accept, error){
	"nftables":  readNftables,
	"iptables":  readIptables,
	"firewalld": readFirewalld,
}

// A pair is what may pass between two prefixes by one protocol.
type pair struct {
	from, to netip.Prefix
	protocol catalog.Protocol
}

// pairsOf multiplies rules out: ports by pairs, in words. What two rules let through is an error.
func pairsOf(rules []accept) (map[pair]string, error) {
	all := map[pair]portset.Set{}
	for _, r := range rules {
		for _, from := range r.from {
			for _, to := range r.to {
				k := pair{from, to, r.protocol}
				known, ok := all[k]
				if ok && known.Intersect(r.ports).Len() == r.ports.Len() {
					return nil, fmt.Errorf("%v is let through twice", k)
				}
				all[k] = known.Union(r.ports)
			}
		}
	}
	words := map[pair]string{}
	for k, ports := range all {
		words[k] = ports.String()
	}
	return words, nil
}

// planned returns the pairs of addresses that a subject has to let through by the plan, worked out host by host.
func planned(in *render.Input) map[pair]string {
	all := map[pair]string{}
	for n, flows := range needsOf(in.Plan, in.Firewall, in.Host) {
		var ports portset.Set
		for _, f := range flows {
			ports = ports.Union(f.Ports)
		}
		for _, from := range hostNamed(in.Plan, n.from).Addresses {
			for _, to := range hostNamed(in.Plan, n.to).Addresses {
				is4 := from.Addr().Is4()
				if is4 == to.Addr().Is4() && (in.Family == render.Both || is4 == (in.Family == render.IPv4)) {
					all[pair{from, to, n.protocol}] = ports.String()
				}
			}
		}
	}
	return all
}

func hostNamed(p *plan.Plan, name string) *site.Host {
	for _, h := range p.Site.Hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// Read back, a text lets through what the plan says: nothing wider, nothing lost, nothing twice.
func TestTextsAreThePlan(t *testing.T) {
	for _, target := range render.Targets() {
		read := readers[target.Name]
		if read == nil {
			continue
		}
		t.Run(target.Name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s := aSite(t)
				for name, in := range inputs(s.plan()) {
					if in.Firewall == nil && in.Host == nil {
						continue
					}
					for _, family := range familiesOf(target.Name) {
						in.Family = family
						text, err := rendered(target, in)
						if err != nil {
							if sayable(target.Name, in) {
								t.Fatalf("%s, family %d: %v", name, family, err)
							}
							continue
						}
						got, err := read(text)
						if err != nil {
							t.Fatalf("%s, family %d: %v in\n%s", name, family, err, text)
						}
						pairs, err := pairsOf(got)
						if err != nil {
							t.Fatalf("%s, family %d: %v in\n%s", name, family, err, text)
						}
						if diff := cmp.Diff(planned(in), pairs, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
							t.Fatalf("%s, family %d (-plan +text):\n%s\n%s", name, family, diff, text)
						}
						if again, err := rendered(target, in); err != nil || again != text {
							t.Fatalf("%s, family %d: another text the second time, %v", name, family, err)
						}
					}
				}
			})
		})
	}
}

// familiesOf returns the families that a target has texts for.
func familiesOf(target string) []render.Family {
	if target == "iptables" {
		return []render.Family{render.IPv4, render.IPv6}
	}
	return []render.Family{render.Both, render.IPv4, render.IPv6}
}

// sayable reports whether a target can say what in has.
func sayable(target string, in *render.Input) bool {
	for k := range maps.Keys(planned(in)) {
		if target == "firewalld" && k.protocol == catalog.AH && k.from.Addr().Is6() {
			return false
		}
	}
	return true
}

func rendered(target *render.Target, in *render.Input) (string, error) {
	var b bytes.Buffer
	err := target.Render(&b, in)
	return b.String(), err
}

// office is a plan with one of everything.
func office() *plan.Plan {
	s := &testSite{}
	core, dmz := s.zone("core"), s.zone("dmz")
	w := s.firewall("edge-1", core, dmz)
	w.Follows = []site.Protocol{site.EPM, site.FTP, site.TFTP}
	app := s.host("app1", dmz, "192.0.2.10", "2001:db8:2::10")
	desks := s.host("desks", dmz, "192.0.2.128/26", "2001:db8:2:1::/64")
	old := s.host("old", dmz, "192.0.2.11")
	dc1 := s.host("dc1", core, "10.0.0.10", "2001:db8:1::10")
	dc2 := s.host("dc2", core, "10.0.0.11", "2001:db8:1::11")
	mail := s.host("mail", core, "10.0.0.20", "2001:db8:1::20")
	ftp := s.host("ftp", core, "10.0.0.30", "2001:db8:1::30")

	both, dcs := hosts(app, desks), hosts(dc1, dc2)
	for i, what := range []string{"tcp/88", "tcp/135", "tcp/389,636", "tcp/445", "udp/53,88,389", "icmp/echo"} {
		f := s.flow(what, both, dcs)
		f.ID, f.Relationship = fmt.Sprintf("client-to-dc-%02d", i), "client-to-dc"
		f.Service = []string{"kerberos", "rpc-endpoint-mapper", "active-directory", "server", "", "active-directory"}[i]
	}
	s.flow("tcp/49152-65535", both, dcs).Narrowing = plan.Narrowing{By: plan.ByPinhole, Pinhole: []*site.Firewall{w}}
	s.flows[len(s.flows)-1].Symbol = catalog.DynamicRPC
	pins := s.flow("tcp/1025-5000,38901", hosts(old), hosts(dc1))
	pins.Need, pins.Condition, pins.App = catalog.Conditional, "the system is\nolder than 2008", "AD \"RPC\""
	pins.Sources = []string{"KB832017", "KB179442"}
	s.flow("all", dcs, hosts(mail)).Unfiltered = true
	s.flow("all", hosts(mail), hosts(app)).Unfiltered = true
	s.flow("esp", hosts(old), hosts(mail))
	s.flow("ah", hosts(old), hosts(ftp)) // of IPv6 not every target knows it
	s.flow("gre", hosts(app), hosts(ftp))
	s.flow("tcp/21", both, hosts(ftp)).Service = "ftp-publishing"
	s.flow("udp/69", both, hosts(ftp)).Service = "tftp-daemon"
	for _, what := range []string{"tcp/49152-65535", "udp/49152-65535"} {
		f := s.flow(what, both, hosts(ftp))
		f.Symbol, f.Narrowing = catalog.DynamicEphemeral, plan.Narrowing{By: plan.ByPinhole, Pinhole: []*site.Firewall{w}}
	}
	s.flow("tcp/1,3,5,7,9,11,13,15,17,19,21-23,25,27-29,31,33-35,37,39,41,43-49,51", hosts(app), hosts(mail))
	return s.plan()
}

// subjects of the office that there are golden files for.
func subjects() map[string]*render.Input {
	p := office()
	return map[string]*render.Input{
		"edge": render.ForFirewall(p, p.Site.Firewalls[0]),
		"dc1":  render.ForHost(p, hostNamed(p, "dc1")),
	}
}

func TestGolden(t *testing.T) {
	for _, target := range render.Targets() {
		if readers[target.Name] == nil {
			continue
		}
		for name, in := range subjects() {
			for _, family := range familiesOf(target.Name) {
				if family == render.IPv4 && target.Name != "iptables" {
					continue
				}
				in.Family = family
				file := filepath.Join("testdata", fmt.Sprintf("%s-%s%s.golden", target.Name, name, []string{"", "-4", "-6"}[family]))
				t.Run(strings.TrimSuffix(filepath.Base(file), ".golden"), func(t *testing.T) {
					got, err := rendered(target, in)
					if err != nil {
						t.Fatal(err)
					}
					if *update {
						if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
							t.Fatal(err)
						}
					}
					want, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(string(want), got); diff != "" {
						t.Errorf("(-%s +now; -update writes it anew)\n%s", file, diff)
					}
				})
			}
		}
	}
}

// A text has lines for hosts, not for pairs of them.
func TestTextsGrowWithHosts(t *testing.T) {
	size := func(target *render.Target, members, controllers int) int {
		p := domain(members, controllers)
		in := render.ForFirewall(p, p.Site.Firewalls[0])
		in.Family = render.IPv4
		text, err := rendered(target, in)
		if err != nil {
			t.Fatal(err)
		}
		return len(text)
	}
	for name := range readers {
		target := targetNamed(name)
		if one, ten := size(target, 90, 10), size(target, 900, 100); ten > 10*one {
			t.Errorf("%s: %d bytes for 100 hosts, %d for 1000", name, one, ten)
		}
	}
}
