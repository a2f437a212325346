package render_test

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/render"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

func TestPowerShell(t *testing.T) {
	p := company(t, true)
	for _, h := range p.Site.Hosts {
		if h.Name == "dc1" || h.Name == "dc2" {
			s := text(t, target("powershell"), render.ForHost(p, h))
			golden(t, "powershell-"+h.Name, s)
			if _, err := readPowerShell(s); err != nil {
				t.Error(err)
			}
		}
	}
}

const (
	windowsAddresses = 1000
	powershellTail   = `$old = @(Get-NetFirewallRule -Group 'Quaymaster' -ErrorAction SilentlyContinue)
$new = @()
try {
    foreach ($rule in $rules) { $new += New-NetFirewallRule @all @rule }
} catch {
    foreach ($rule in $new) { Remove-NetFirewallRule -InputObject $rule }
    throw
}
foreach ($rule in $old) { Remove-NetFirewallRule -InputObject $rule }
`
)

// There is no PowerShell for Debian, so this reads what the renderer may write of it, and nothing
// else: a list of tables whose values are strings in single quotes or lists of them.
func readPowerShell(s string) ([]map[string][]string, error) {
	head, rest, ok := strings.Cut(s, "\n$rules = @(\n")
	list, tail, okToo := strings.Cut(rest, "\n)\n")
	if strings.HasPrefix(rest, ")\n") { // no rules
		list, tail, okToo = "", rest[2:], true
	}
	if !ok || !okToo || tail != "\n"+powershellTail {
		return nil, errors.New("the script is not a head, a list of rules and the known tail")
	}
	for line := range strings.Lines(head) {
		if !strings.HasPrefix(line, "#") && !slices.Contains([]string{"Set-StrictMode -Version 2.0\n", "$ErrorActionPreference = 'Stop'\n", "\n"}, line) && !strings.HasPrefix(line, "$all = @{ ") {
			return nil, fmt.Errorf("unknown line before the rules: %q", line)
		}
	}
	const str = `'(?:[^']|'')*'`
	entry := regexp.MustCompile(`^        ([A-Za-z]+) = (` + str + `|@\(` + str + `(?:, ` + str + `)*\))$`)
	value := regexp.MustCompile(str)
	var rules []map[string][]string
	var rule map[string][]string
	for line := range strings.Lines(list) {
		line = strings.TrimSuffix(line, "\n")
		if i := strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
			return nil, fmt.Errorf("not ASCII: %q", line)
		}
		switch m := entry.FindStringSubmatch(line); {
		case line == "    @{" && rule == nil:
			rule = map[string][]string{}
		case line == "    }" && rule != nil:
			rules = append(rules, rule)
			rule = nil
		case m != nil && rule != nil && rule[m[1]] == nil:
			for _, v := range value.FindAllString(m[2], -1) {
				rule[m[1]] = append(rule[m[1]], strings.ReplaceAll(v[1:len(v)-1], "''", "'"))
			}
		default:
			return nil, fmt.Errorf("PowerShell would not take this line as a rule's: %q", line)
		}
	}
	if rule != nil {
		return nil, errors.New("the last rule does not end")
	}
	return rules, nil
}

// windowsAllowances returns what rules let come to a host.
func windowsAllowances(rules []map[string][]string, to *site.Host) ([]allowance, error) {
	words := map[string]string{"TCP": "tcp", "UDP": "udp", "Any": "all", "47": "gre", "50": "esp", "51": "ah"}
	names := map[string]bool{}
	var all []allowance
	for _, r := range rules {
		name := r["DisplayName"][0]
		if names[name] {
			return nil, fmt.Errorf("two rules are called %q", name)
		}
		names[name] = true
		protocol := r["Protocol"][0]
		a := allowance{from: prefixes(r["RemoteAddress"]...), to: to.Addresses, what: words[protocol]}
		if len(a.from) > windowsAddresses {
			return nil, fmt.Errorf("%q has %d addresses", name, len(a.from))
		}
		for _, port := range r["LocalPort"] {
			set, err := portset.Parse(map[string]string{"RPC": "49152-65535", "RPCEPMap": "135"}[port])
			if set.IsEmpty() {
				set, err = portset.Parse(port)
			}
			if err != nil {
				return nil, err
			}
			if protocol == "TCP" && set.Contains(135) && (r["Service"] == nil || r["Service"][0] != "RpcSs" || r["Program"][0] != `%SystemRoot%\system32\svchost.exe`) {
				return nil, fmt.Errorf("%q opens 135 to others than the endpoint mapper", name)
			}
			a.ports = a.ports.Union(set)
		}
		if m := regexp.MustCompile(`^ICMPv([46])$`).FindStringSubmatch(protocol); m != nil {
			switch t := r["IcmpType"]; {
			case t == nil:
				a.what = "icmp"
			case len(t) == 1 && t[0] == map[string]string{"4": "8", "6": "128"}[m[1]]:
				a.what = "echo"
			}
			if slices.ContainsFunc(a.from, func(p netip.Prefix) bool { return p.Addr().Is4() != (m[1] == "4") }) {
				return nil, fmt.Errorf("%q has addresses of the other family", name)
			}
		}
		if a.what == "" || (a.what == "tcp" || a.what == "udp") == a.ports.IsEmpty() {
			return nil, fmt.Errorf("cannot read %v", r)
		}
		opens := fmt.Sprint(protocol, r["LocalPort"], a)
		if names[opens] {
			return nil, fmt.Errorf("%q opens what another rule does", name)
		}
		names[opens] = true
		all = append(all, a)
	}
	return all, nil
}

func TestPowerShellIsThePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t, everyProtocol...)
		h := rapid.SampledFrom(p.Site.Hosts).Draw(t, "host")
		in := drawFamily(t, render.ForHost(p, h))
		s, err := rendered(target("powershell"), in)
		if err != nil {
			t.Fatal(err)
		}
		rules, err := readPowerShell(s)
		if err != nil {
			t.Fatalf("%v\n%s", err, s)
		}
		allowances, err := windowsAllowances(rules, h)
		if err != nil {
			t.Fatalf("%v\n%s", err, s)
		}
		compare(t, in, everyFlow, func(_, to *site.Host) bool { return to == h }, allowances, s)
		notItself(t, allowances, s)
	})
}

// Ports of a range are never written where the firewall has a word for them.
func TestPowerShellWords(t *testing.T) {
	p := company(t, true)
	s := text(t, target("powershell"), render.ForHost(p, p.Site.Hosts[3]))
	if strings.Contains(s, "49152") {
		t.Errorf("dynamic ports are numbers:\n%s", s)
	}
	for _, want := range []string{"@('RPC')", "@('RPCEPMap')"} {
		if !strings.Contains(s, want) {
			t.Errorf("%s is missing:\n%s", want, s)
		}
	}
}

// Objects of DCOM are activated at the mapper's port, which the word for the mapper does not open.
func TestPowerShellActivates(t *testing.T) {
	for _, dcom := range []bool{false, true} {
		p := manyPairs(1, portset.Ports(135))
		p.Flows[0].DCOM = dcom
		s := text(t, target("powershell"), render.ForHost(p, p.Flows[0].To[0]))
		if got := strings.Contains(s, "LocalPort = @('135')"); got != dcom || !strings.Contains(s, "@('RPCEPMap')") {
			t.Errorf("DCOM %t:\n%s", dcom, s)
		}
	}
}

// Of many who connect each is in one of several rules.
func TestPowerShellManyAddresses(t *testing.T) {
	z := &site.Zone{Name: "z"}
	h := &site.Host{Name: "h", Zone: z, Addresses: prefixes("10.9.0.1")}
	s := &site.Site{Catalog: catalog.Builtin(), Zones: []*site.Zone{z}, Hosts: []*site.Host{h}}
	f := &plan.Flow{ID: "f", To: []*site.Host{h}, Protocol: catalog.TCP, Ports: portset.Ports(445), Relationship: "r", Sources: []string{"s"}}
	for i := range 2*windowsAddresses + 1 {
		from := &site.Host{Name: "c" + strconv.Itoa(i), Zone: z, Addresses: prefixes(fmt.Sprintf("10.%d.%d.1", i/200, i%200))}
		s.Hosts = append(s.Hosts, from)
		f.From = append(f.From, from)
	}
	slices.SortFunc(f.From, byName)
	rules, err := readPowerShell(text(t, target("powershell"), render.ForHost(plan.Of(s, []*plan.Flow{f}), h)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := windowsAllowances(rules, h); err != nil || len(rules) != 3 {
		t.Errorf("%d rules, want 3; %v", len(rules), err)
	}
}
