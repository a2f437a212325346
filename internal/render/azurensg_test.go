package render_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/render"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

func TestAzureNSG(t *testing.T) {
	s := text(t, target("azure-nsg"), render.ForSite(company(t, false)))
	golden(t, "azure-nsg", s)
	if err := azureSchema(s); err != nil {
		t.Error(err)
	}
}

// azureSchema holds a text against what Azure documents of templates with network security groups:
// testdata/azure-nsg.schema.json has it in words of our own.
func azureSchema(s string) error {
	c := jsonschema.NewCompiler()
	schema, err := c.Compile("testdata/azure-nsg.schema.json")
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(s))
	if err != nil {
		return err
	}
	return schema.Validate(v)
}

// A securityRule is what the tests read of a rule.
type securityRule struct {
	Name       string
	Properties struct {
		Protocol                   string
		SourceAddressPrefixes      []string
		DestinationAddressPrefixes []string
		DestinationPortRange       string
		DestinationPortRanges      []string
		Access                     string
		Priority                   int
	}
}

// readAzure returns what groups let in, by their names.
func readAzure(s string) (map[string][]allowance, error) {
	if err := azureSchema(s); err != nil {
		return nil, err
	}
	var template struct {
		Resources []struct {
			Name       string
			Properties struct{ SecurityRules []securityRule }
		}
	}
	if err := json.NewDecoder(bytes.NewReader([]byte(s))).Decode(&template); err != nil {
		return nil, err
	}
	words := map[string]string{"*": "all", "Tcp": "tcp", "Udp": "udp", "Icmp": "icmp", "Esp": "esp", "Ah": "ah"}
	groups := map[string][]allowance{}
	for _, g := range template.Resources {
		if groups[g.Name] != nil {
			return nil, fmt.Errorf("two groups %q", g.Name)
		}
		groups[g.Name] = []allowance{}
		names, last := map[string]bool{}, 99
		for i, r := range g.Properties.SecurityRules {
			p := r.Properties
			if names[r.Name] || p.Priority <= last {
				return nil, fmt.Errorf("rule %s (%d) after %d: the name or the priority is taken", r.Name, p.Priority, last)
			}
			names[r.Name], last = true, p.Priority
			if (p.Access == "Deny") != (i == len(g.Properties.SecurityRules)-1) {
				return nil, fmt.Errorf("rule %s does %s", r.Name, p.Access)
			}
			if p.Access == "Deny" {
				continue
			}
			a := allowance{from: prefixes(p.SourceAddressPrefixes...), to: prefixes(p.DestinationAddressPrefixes...), what: words[p.Protocol]}
			for _, list := range [][]netip.Prefix{a.from, a.to} {
				for i, n := range list {
					if n.Addr().Is4() != a.from[0].Addr().Is4() || i > 0 && list[i-1].Overlaps(n) {
						return nil, fmt.Errorf("rule %s mixes families or has overlapping prefixes: %v", r.Name, list)
					}
				}
			}
			for _, ports := range p.DestinationPortRanges {
				set, err := portset.Parse(ports)
				if err != nil {
					return nil, err
				}
				a.ports = a.ports.Union(set)
			}
			groups[g.Name] = append(groups[g.Name], a)
		}
	}
	return groups, nil
}

func TestAzureNSGIsThePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t, "all", "tcp", "tcp", "udp", "rpc", "icmp", "esp", "ah")
		for _, f := range p.Flows { // ICMPv6 cannot be said
			if f.Protocol == catalog.ICMP {
				four := func(h *site.Host) bool { return len(render.IPv6.Addresses([]*site.Host{h})) > 0 }
				f.From = slices.DeleteFunc(slices.Clone(f.From), four)
			}
		}
		p = plan.Of(p.Site, slices.DeleteFunc(p.Flows, func(f *plan.Flow) bool { return len(f.From) == 0 }))
		in := drawFamily(t, render.ForSite(p))
		s, err := rendered(target("azure-nsg"), in)
		if err != nil {
			t.Fatal(err)
		}
		groups, err := readAzure(s)
		if err != nil {
			t.Fatalf("%v\n%s", err, s)
		}
		for _, z := range p.Site.Zones {
			compare(t, in, everyFlow, func(_, to *site.Host) bool { return to.Zone == z }, groups["quaymaster-"+z.Name], s)
			delete(groups, "quaymaster-"+z.Name)
		}
		if len(groups) > 0 {
			t.Fatalf("groups that are of no zone: %v", slices.Collect(maps.Keys(groups)))
		}
	})
}

func TestAzureNSGUnsayable(t *testing.T) {
	for _, tt := range []struct {
		protocol catalog.Protocol
		symbol   catalog.Symbol
		address  string
		want     string
	}{
		{catalog.GRE, "", "10.0.0.1", "azure-nsg cannot say f (app): network security groups know TCP, UDP, ICMP, ESP and AH"},
		{catalog.ICMP, catalog.Echo, "10.0.0.1", "leave ping out (options: icmp: false)"},
		{catalog.ICMP, "", "fd00::1", "know no ICMPv6"},
		{catalog.ICMP, "", "10.0.0.1", ""},
	} {
		z := &site.Zone{Name: "z"}
		a := &site.Host{Name: "a", Zone: z, Addresses: prefixes("10.0.0.2", "fd00::2")}
		b := &site.Host{Name: "b", Zone: z, Addresses: prefixes(tt.address)}
		f := &plan.Flow{ID: "f", From: hosts(a), To: hosts(b), Protocol: tt.protocol, Symbol: tt.symbol, App: "app", Relationship: "r", Sources: []string{"s"}}
		s, err := rendered(target("azure-nsg"), render.ForSite(plan.Of(&site.Site{Zones: []*site.Zone{z}, Hosts: hosts(a, b)}, []*plan.Flow{f})))
		var unsayable *render.UnsayableError
		if tt.want == "" {
			if err != nil || s == "" {
				t.Errorf("%s to %s: %v", tt.protocol, tt.address, err)
			}
		} else if !errors.As(err, &unsayable) || !strings.Contains(err.Error(), tt.want) || s != "" {
			t.Errorf("%s %s to %s: %v, want %q", tt.protocol, tt.symbol, tt.address, err, tt.want)
		}
	}
}

// What a group has no room for is refused.
func TestAzureNSGLimits(t *testing.T) {
	var odd []portset.Range // every other port: none is next to another
	for p := 1; p < 8002; p += 2 {
		odd = append(odd, portset.Range{First: uint16(p), Last: uint16(p)})
	}
	var unsayable *render.UnsayableError
	for _, tt := range []struct {
		what string
		most *plan.Plan
		over *plan.Plan
		want string
	}{
		{"sources", manyPairs(4000, portset.Ports(445)), manyPairs(4001, portset.Ports(445)), "4000 source addresses"},
		{"destinations", reversed(manyPairs(4000, portset.Ports(445))), reversed(manyPairs(4001, portset.Ports(445))), "4000 destination addresses"},
		{"ports", manyPairs(1, portset.Of(odd[:4000]...)), manyPairs(1, portset.Of(odd...)), "4000 ports or ranges"},
		{"rules", eachPort(999), eachPort(1000), "1000 rules"},
	} {
		if groups, err := readAzure(text(t, target("azure-nsg"), render.ForSite(tt.most))); err != nil || len(groups["quaymaster-z"]) == 0 {
			t.Errorf("as many %s as can be: %v", tt.what, err)
		}
		if _, err := rendered(target("azure-nsg"), render.ForSite(tt.over)); !errors.As(err, &unsayable) || !strings.Contains(err.Error(), "zone z would have more than "+tt.want) {
			t.Errorf("too many %s: %v", tt.what, err)
		}
	}
}

// reversed returns a plan in which the flows of p go the other way.
func reversed(p *plan.Plan) *plan.Plan {
	var flows []*plan.Flow
	for _, f := range p.Flows {
		back := *f
		back.From, back.To = f.To, f.From
		flows = append(flows, &back)
	}
	return plan.Of(p.Site, flows)
}

// eachPort returns a plan in which n hosts connect to one, each to a port of its own.
func eachPort(n int) *plan.Plan {
	p := manyPairs(n, portset.Ports(445))
	var flows []*plan.Flow
	for i, h := range p.Flows[0].From {
		f := *p.Flows[0]
		f.From, f.Ports = hosts(h), portset.Ports(uint16(i+1))
		flows = append(flows, &f)
	}
	return plan.Of(p.Site, flows)
}
