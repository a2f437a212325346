package render_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/render"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

func TestAerleon(t *testing.T) {
	p := company(t, true)
	dc1 := hostNamed(p, "dc1")
	for name, in := range map[string]*render.Input{"edge": render.ForFirewall(p, p.Site.Firewalls[0]), "dc1": render.ForHost(p, dc1)} {
		s := text(t, target("aerleon"), in)
		golden(t, "aerleon-"+name, s)
		if _, err := readAerleon(s); err != nil {
			t.Error(err)
		}
	}
}

// The generators take what is written, and have a line for each address of it.
func TestAerleonGenerates(t *testing.T) {
	python := "/usr/bin/python3" // which Debian's packages are for
	if err := exec.Command(python, "-c", "import capirca").Run(); err != nil {
		nstest.Unavailable(t, "capirca is not installed: apt-get install python3-capirca")
	}
	p := company(t, true)
	s := text(t, target("aerleon"), render.ForFirewall(p, p.Site.Firewalls[0]))
	for _, tt := range []struct {
		kind, options string // of a target that is not in the file
		want          []string
	}{
		{"cisco", "", []string{
			"permit udp 192.0.2.20 0.0.0.1 10.0.0.10 0.0.0.1 eq 53", "permit tcp 192.0.2.20 0.0.0.1 host 10.0.0.10 eq 38901", "permit tcp 192.0.2.20 0.0.0.1 host 10.0.0.11 eq 389",
			"permit icmp 192.0.2.20 0.0.0.1 10.0.0.10 0.0.0.1 8", "permit tcp host 192.0.2.20 host 10.0.0.30 eq 445", "deny ip any any",
		}},
		{"juniper", "", []string{"destination-port [ 88 135 389 445 3268-3269 38901-38902 ];", "icmp-type 8;", "10.0.0.10/31;", "192.0.2.20/31;", "discard;"}},
		{"srx", "from-zone dmz to-zone core", []string{"address QM_EDGE_APP1_0 192.0.2.20/32;", "source-address [ QM_EDGE_APP1 ]; destination-address [ QM_EDGE_FS1 ];"}},
		{"packetfilter", "qm-edge mixed", []string{"table <QM_EDGE_APP1> {192.0.2.20/32}", "from { <QM_EDGE_APP1> } to { <QM_EDGE_FS1> } port { 445 }"}},
		{"paloalto", "from-zone dmz to-zone core", []string{`<entry name="QM_EDGE_APP1">`, "<port>88,135,389,445,3268-3269,38901-38902</port>"}},
		{"arista", "qm-edge mixed", []string{"permit tcp host 192.0.2.20 host 10.0.0.30"}},
		{"ciscoxr", "qm-edge mixed", []string{"permit tcp host 192.0.2.20 host 10.0.0.30 eq 445"}},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			args := []string{"testdata/generate.py", tt.kind}
			if tt.options != "" {
				args = append(args, tt.options)
			}
			cmd := exec.Command(python, args...)
			cmd.Stdin = strings.NewReader(s)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			flat := strings.Join(strings.Fields(string(out)), " ")
			for _, w := range tt.want {
				if !strings.Contains(flat, w) {
					t.Errorf("%q is missing in\n%s", w, out)
				}
			}
		})
	}
}

// An aerleonFile is what definitions and policies have in common files.
type aerleonFile struct {
	Networks map[string]struct {
		Values []struct{ Address, Comment string }
	}
	Services map[string][]struct {
		Protocol string
		Port     string
	}
	Filters []struct {
		Header struct {
			Comment string
			Targets map[string]string
		}
		Terms []struct {
			Name, Comment, Protocol, Action string
			From                            string `yaml:"source-address"`
			To                              string `yaml:"destination-address"`
			Ports                           string `yaml:"destination-port"`
			ICMPType                        string `yaml:"icmp-type"`
		}
	}
}

func readAerleon(s string) ([]allowance, error) {
	var f aerleonFile
	if err := yaml.NewDecoder(bytes.NewReader([]byte(s)), yaml.DisallowUnknownField()).Decode(&f); err != nil {
		return nil, err
	}
	token, word := regexp.MustCompile(`^[-_A-Z0-9]+$`), regexp.MustCompile(`^[-a-z0-9]{1,24}$`)
	networks, services := map[string][]netip.Prefix{}, map[string]portset.Set{}
	for name, n := range f.Networks {
		if !token.MatchString(name) || len(n.Values) == 0 {
			return nil, fmt.Errorf("network %q", name)
		}
		for _, v := range n.Values {
			p, err := netip.ParsePrefix(v.Address)
			if err != nil {
				return nil, err
			}
			networks[name] = append(networks[name], p)
		}
	}
	for name, list := range f.Services {
		if !token.MatchString(name) {
			return nil, fmt.Errorf("service %q", name)
		}
		for _, entry := range list {
			p, err := portset.Parse(entry.Port)
			if err != nil || !strings.Contains(name, "_"+strings.ToUpper(entry.Protocol)+"_") {
				return nil, fmt.Errorf("service %q: %v %s", name, err, entry.Protocol)
			}
			services[name] = services[name].Union(p)
		}
	}
	if len(f.Filters) != 1 || len(f.Filters[0].Header.Targets) < 2 {
		return nil, fmt.Errorf("%d filters, want one with targets", len(f.Filters))
	}
	var all []allowance
	names := map[string]bool{}
	for i, term := range f.Filters[0].Terms {
		if !word.MatchString(term.Name) || names[term.Name] || term.Comment == "" {
			return nil, fmt.Errorf("term %q", term.Name)
		}
		names[term.Name] = true
		if last := i == len(f.Filters[0].Terms)-1; last != (term.Action == "deny") || !last && term.Action != "accept" {
			return nil, fmt.Errorf("term %s does %s", term.Name, term.Action)
		}
		if term.Action == "deny" {
			continue
		}
		a := allowance{what: term.Protocol, ports: services[term.Ports]}
		a.from, a.to = slices.Clone(networks[term.From]), networks[term.To]
		switch a.what {
		case "":
			a.what = "all"
		case "icmp", "icmpv6":
			four := func(n netip.Prefix) bool { return n.Addr().Is4() == (term.Protocol == "icmp") }
			a.from = slices.DeleteFunc(a.from, func(n netip.Prefix) bool { return !four(n) })
			a.what = "icmp"
			if term.ICMPType == "echo-request" {
				a.what = "echo"
			}
		}
		if (a.what == "tcp" || a.what == "udp") == a.ports.IsEmpty() || len(a.from) == 0 || len(a.to) == 0 {
			return nil, fmt.Errorf("cannot read %v", term)
		}
		all = append(all, a)
	}
	return all, nil
}

func TestAerleonIsThePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t, everyProtocol...)
		f := rapid.SampledFrom(p.Site.Firewalls).Draw(t, "firewall")
		h := rapid.SampledFrom(p.Site.Hosts).Draw(t, "host")
		for _, in := range []*render.Input{render.ForFirewall(p, f), render.ForHost(p, h)} {
			s, err := rendered(target("aerleon"), drawFamily(t, in))
			if err != nil {
				t.Fatal(err)
			}
			allowances, err := readAerleon(s)
			if err != nil {
				t.Fatalf("%v\n%s", err, s)
			}
			if in.Host != nil {
				compare(t, in, everyFlow, func(_, to *site.Host) bool { return to == h }, allowances, s)
				notItself(t, allowances, s)
				continue
			}
			compare(t, in,
				func(flow *plan.Flow) bool { return !slices.Contains(flow.Narrowing.Pinhole, f) },
				func(from, to *site.Host) bool {
					on, _ := p.Way(from.Zone, to.Zone)
					return slices.Contains(on, f)
				}, allowances, s)
		}
	})
}
