package render_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/render"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// A need is what a host may reach of another by one protocol.
type need struct {
	from, to string
	protocol catalog.Protocol
}

// needsOf works out pair by pair what is rendered for a subject: the flows of each two hosts.
func needsOf(p *plan.Plan, w *site.Firewall, h *site.Host) map[need][]*plan.Flow {
	all := map[need][]*plan.Flow{}
	for _, f := range p.Flows {
		for _, from := range f.From {
			for _, to := range f.To {
				on, _ := p.Way(from.Zone, to.Zone)
				switch {
				case from == to && !from.IsGroup(), h != nil && to != h,
					w != nil && (!slices.Contains(on, w) || slices.Contains(f.Narrowing.Pinhole, w)):
					continue
				}
				n := need{from.Name, to.Name, f.Protocol}
				all[n] = append(all[n], f)
			}
		}
	}
	for n := range all {
		if _, ok := all[need{n.from, n.to, 0}]; ok && n.protocol != 0 {
			delete(all, n)
		}
	}
	return all
}

// inputs returns all that is rendered of a plan, by a name.
func inputs(p *plan.Plan) map[string]*render.Input {
	all := map[string]*render.Input{"site": render.ForSite(p)}
	for _, f := range p.Site.Firewalls {
		all[f.Name] = render.ForFirewall(p, f)
	}
	for _, h := range p.Site.Hosts {
		all[h.Name] = render.ForHost(p, h)
	}
	return all
}

func TestRulesAreTheFlows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := aSite(t).plan()
		for name, in := range inputs(p) {
			want := needsOf(p, in.Firewall, in.Host)
			got := map[need][]*plan.Flow{}
			for i, r := range in.Rules {
				var ports portset.Set
				for _, f := range r.Flows {
					ports = ports.Union(f.Ports)
				}
				if !ports.Equal(r.Ports) {
					t.Errorf("%s: rule %d has the ports %v, its flows %v", name, i, r.Ports, ports)
				}
				if !slices.IsSortedFunc(r.From, byName) || !slices.IsSortedFunc(r.To, byName) {
					t.Errorf("%s: hosts of rule %d are in no order", name, i)
				}
				for _, from := range r.From {
					for _, to := range r.To {
						if from == to && !from.IsGroup() {
							if name != "site" {
								t.Errorf("%s: rule %d lets %s connect to itself", name, i, from.Name)
							}
							continue
						}
						n := need{from.Name, to.Name, r.Flows[0].Protocol}
						if got[n] != nil {
							t.Errorf("%s: %v is in two rules", name, n)
						}
						got[n] = r.Flows
					}
				}
			}
			for n, flows := range want {
				if !slices.Equal(got[n], flows) {
					t.Errorf("%s: %v has the flows %v, want %v", name, n, ids(got[n]), ids(flows))
				}
				delete(got, n)
			}
			for n, flows := range got {
				t.Errorf("%s: %v has %v, of which the plan knows nothing", name, n, ids(flows))
			}
		}
		if a, b := inputs(p), inputs(p); !reflect.DeepEqual(a, b) {
			t.Error("the rules are others the second time")
		}
	})
}

func ids(flows []*plan.Flow) []string {
	var all []string
	for _, f := range flows {
		all = append(all, f.ID)
	}
	return all
}

// Hosts that are alike become one rule for each protocol, however many.
func TestRulesFold(t *testing.T) {
	for _, n := range []int{1, 10, 100} {
		p := domain(9*n, n)
		w := p.Site.Firewalls[0]
		rules := render.ForFirewall(p, w).Rules
		var protocols []catalog.Protocol
		for _, r := range rules {
			protocols = append(protocols, r.Flows[0].Protocol)
			if len(r.From) != 9*n || len(r.To) != n {
				t.Errorf("a rule is for %d and %d hosts, want %d and %d", len(r.From), len(r.To), 9*n, n)
			}
		}
		if want := []catalog.Protocol{catalog.TCP, catalog.UDP, catalog.ICMP}; !slices.Equal(protocols, want) {
			t.Errorf("%d domain controllers: rules for %v, want %v", n, protocols, want)
		}
	}
}

// A host firewall has rules for its host alone, though others are like it.
func TestRulesOfHost(t *testing.T) {
	p := domain(3, 2)
	for _, h := range p.Site.Hosts {
		for _, r := range render.ForHost(p, h).Rules {
			if len(r.To) != 1 || r.To[0] != h {
				t.Errorf("the firewall of %s lets others reach %d hosts", h.Name, len(r.To))
			}
		}
	}
}

// domain is a plan of members and domain controllers in two zones with a firewall between, and what a
// member needs.
func domain(members, controllers int) *plan.Plan {
	s := &testSite{}
	core, office := s.zone("core"), s.zone("office")
	s.firewall("edge", core, office)
	var m, dc []*site.Host
	for i := range members {
		m = append(m, s.host(fmt.Sprintf("member%05d", i), office, fmt.Sprintf("10.1.%d.%d", i/200, i%200+1)))
	}
	for i := range controllers {
		dc = append(dc, s.host(fmt.Sprintf("dc%05d", i), core, fmt.Sprintf("10.0.%d.%d", i/200, i%200+1)))
	}
	for _, what := range []string{
		"tcp/53", "tcp/88", "tcp/135", "tcp/139", "tcp/389", "tcp/445", "tcp/464", "tcp/636", "tcp/3268", "tcp/3269", "tcp/5722", "tcp/9389", "tcp/49152-65535",
		"udp/53", "udp/67", "udp/88", "udp/123", "udp/137", "udp/138", "udp/389", "udp/445", "udp/464", "udp/2535", "udp/636", "icmp/echo",
	} {
		s.flow(what, m, dc)
	}
	return s.plan()
}

// Rules of hosts none of which is like another take time for each two, and none for more.
func TestRulesGrowLinearly(t *testing.T) {
	allocs := func(n int) float64 {
		p := terms(n)
		w := p.Site.Firewalls[0]
		return testing.AllocsPerRun(3, func() { render.ForFirewall(p, w) })
	}
	one, four := allocs(500), allocs(2000)
	if four > 5*one {
		t.Errorf("%v allocations for 500 flows, %v for 2000", one, four)
	}
}

// terms is a plan of n flows, each from one host to another and with ports of its own.
func terms(n int) *plan.Plan {
	s := &testSite{}
	core, office := s.zone("core"), s.zone("office")
	s.firewall("edge", core, office)
	for i := range n {
		a, b, c := i>>14&0xff, i>>7&0x7f, i&0x7f
		from := s.host(fmt.Sprintf("a%06d", i), office, fmt.Sprintf("10.%d.%d.%d", a, b, c+1))
		to := s.host(fmt.Sprintf("b%06d", i), core, fmt.Sprintf("11.%d.%d.%d", a, b, c+1))
		s.flow(fmt.Sprintf("tcp/%d,%d-%d", i%30000+1, i%30000+5, i%30000+7+i/30000), hosts(from), hosts(to))
	}
	return s.plan()
}

// termsOfTwo is a plan of n flows between the same two hosts, each with ports of its own.
func termsOfTwo(n int) *plan.Plan {
	s := &testSite{}
	core, office := s.zone("core"), s.zone("office")
	s.firewall("edge", core, office)
	from, to := hosts(s.host("a", office, "10.0.0.1")), hosts(s.host("b", core, "10.1.0.1"))
	for i := range n {
		s.flow(fmt.Sprintf("tcp/%d,%d-%d", i%30000+1, i%30000+5, i%30000+7+i/30000), from, to)
	}
	return s.plan()
}

// pairs is a plan of n flows, each from one host to another, of one port each.
func pairs(n int) *plan.Plan {
	p := terms(n)
	for i, f := range p.Flows {
		f.Ports = portset.Ports(uint16(i + 1))
	}
	return p
}

// unlike is the domain with a server that each member has for itself, so that no two of them are alike.
func unlike(members, controllers int) *plan.Plan {
	p := domain(members, controllers)
	s := &testSite{Site: *p.Site, flows: p.Flows}
	for i := range members {
		s.flow("tcp/443", hosts(s.Hosts[i]), hosts(s.host(fmt.Sprintf("own%05d", i), s.Zones[0], fmt.Sprintf("10.2.%d.%d", i/200, i%200+1))))
	}
	return s.plan()
}
