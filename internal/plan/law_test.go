package plan_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/site"
)

// A draft is a site file that is being drawn up.
type draft struct {
	zones   []string // 10.N.0.0/16 each
	flat    bool     // all of it is one zone
	hosts   []draftHost
	edge    string // what the firewall of all zones follows
	options string
}

type draftHost struct {
	name, address, os, domain, more string
	roles, uses, pins               []string
}

// text returns the site file, with its entries in the order of shuffle.
func (d *draft) text(shuffle func([]string) []string) string {
	var zones, hosts []string
	for i, z := range d.zones {
		zones = append(zones, fmt.Sprintf("  %s: {networks: [10.%d.0.0/16]}\n", z, i))
	}
	for _, h := range d.hosts {
		text := fmt.Sprintf("  %s: {addresses: [%s], roles: [%s], domain: %s", h.name, h.address, strings.Join(h.roles, ", "), h.domain)
		if h.os != "" {
			text += ", os: " + h.os
		}
		if len(h.uses) > 0 {
			text += ", uses: [" + strings.Join(h.uses, ", ") + "]"
		}
		if len(h.pins) > 0 {
			text += ", pins: {" + strings.Join(h.pins, ", ") + "}"
		}
		hosts = append(hosts, text+h.more+"}\n")
	}
	parts := []string{
		"zones:\n" + strings.Join(shuffle(zones), ""), "hosts:\n" + strings.Join(shuffle(hosts), ""),
		"domains:\n  a.example: {}\n  b.example: {forest: a.example, sysvol: frs}\n",
	}
	switch {
	case d.flat:
		parts[0] = "zones:\n  all: {networks: [10.0.0.0/8]}\n"
	case len(d.zones) > 1:
		parts = append(parts, fmt.Sprintf("firewalls:\n  edge: {zones: [%s]%s}\n", strings.Join(shuffle(slices.Clone(d.zones)), ", "), d.edge))
	}
	if d.options != "" {
		parts = append(parts, "options: {"+d.options+"}\n")
	}
	return strings.Join(shuffle(parts), "")
}

func asDrawn(list []string) []string { return list }

// drawSite draws a site of a few hosts.
func drawSite(t *rapid.T) *draft {
	d := &draft{zones: []string{"z0", "z1", "z2"}[:rapid.IntRange(1, 3).Draw(t, "zones")]}
	systems := []string{"", "windows-server-2003", "windows-server-2008-r2", "windows-server-2022", "samba", "linux"}
	domains := rapid.SampledFrom([]string{"a.example", "b.example"})
	servers := []string{"print-spooler", "sql-server", "certification-authority", "nfs3-server", "ftp-publishing", "msdtc", "dfsr-member", "cluster"}
	for i := range rapid.IntRange(1, 7).Draw(t, "hosts") {
		z := rapid.IntRange(0, len(d.zones)-1).Draw(t, "zone")
		h := draftHost{
			name: fmt.Sprintf("h%d", i), address: fmt.Sprintf("10.%d.0.%d", z, i+1),
			os: rapid.SampledFrom(systems).Draw(t, "os"), domain: domains.Draw(t, "domain"),
		}
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			h.roles = []string{"domain-controller"}
			if rapid.Bool().Draw(t, "gc") {
				h.roles = append(h.roles, "global-catalog", "dns-server")
			}
			h.pins = rapid.SampledFrom([][]string{nil, {"ntds: 38901"}, {"ntds: 38901", "netlogon: 38902"}, {"dfsr: 5723", "netlogon: 38902"}}).Draw(t, "pins")
		case 1:
			h.roles = []string{"client"}
		default:
			h.roles = []string{"member", rapid.SampledFrom(servers).Draw(t, "server")}
			h.pins = rapid.SampledFrom([][]string{nil, {"onc-mountd: 20048", "onc-statd: 662"}, {"msdtc: 5055"}, {"iis-ftp-passive: 60000-60010"}}).Draw(t, "pins")
		}
		if i > 0 && rapid.Bool().Draw(t, "uses") {
			h.uses = []string{fmt.Sprintf("h%d", rapid.IntRange(0, i-1).Draw(t, "used"))}
		}
		h.more = rapid.SampledFrom([]string{"", ", ldaps: true", ", netbios: true", ", dynamic_range: 50000-50100"}).Draw(t, "more")
		d.hosts = append(d.hosts, h)
	}
	d.edge = rapid.SampledFrom([]string{"", ", follows: [epm]", ", follows: [epm, portmapper, ftp]"}).Draw(t, "follows")
	return d
}

func makePlan(t *rapid.T, text string) *plan.Plan {
	s, err := site.Read("site.yaml", []byte(text), catalog.Builtin(), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	p, err := plan.Make(s)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// An edge is a row between two hosts.
type edge struct{ row, from, to string }

// edges returns the ports of each row between each two hosts. No two flows have the same.
func edges(t *rapid.T, p *plan.Plan) map[edge]*plan.Flow {
	all := map[edge]*plan.Flow{}
	for _, f := range p.Flows {
		for _, from := range f.From {
			for _, to := range f.To {
				if from == to && !from.IsGroup() {
					continue
				}
				e := edge{f.Row, from.Name, to.Name}
				if all[e] != nil {
					t.Fatalf("%v is in two flows: %s and %s", e, all[e].ID, f.ID)
				}
				all[e] = f
			}
		}
	}
	return all
}

// TestFlowsHaveSources holds that every flow says who says so, what it is on, and how it was narrowed.
func TestFlowsHaveSources(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := makePlan(t, drawSite(t).text(asDrawn))
		edges(t, p)
		ids := map[string]bool{}
		for _, f := range p.Flows {
			if ids[f.ID] {
				t.Errorf("two flows are %s", f.ID)
			}
			ids[f.ID] = true
			if len(f.Sources) == 0 || f.Reason == "" || len(f.From) == 0 || len(f.To) == 0 {
				t.Errorf("%s: sources %q, reason %q, from %d to %d hosts", f.ID, f.Sources, f.Reason, len(f.From), len(f.To))
			}
			for _, id := range f.Sources {
				if _, ok := catalog.Builtin().Source(id); !ok {
					t.Errorf("%s: unknown source %q", f.ID, id)
				}
			}
			if f.Protocol.HasPorts() == f.Ports.IsEmpty() && !f.Unfiltered {
				t.Errorf("%s: %s on ports %q", f.ID, f.Protocol, f.Ports)
			}
			if f.Symbol.IsDynamic() != (f.Narrowing.By != "") {
				t.Errorf("%s: %q is narrowed by %q", f.ID, f.Symbol, f.Narrowing.By)
			}
		}
	})
}

// TestOrderChangesNothing holds that a site's entries can be written in any order.
func TestOrderChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawSite(t)
		a := makePlan(t, d.text(asDrawn))
		b := makePlan(t, d.text(func(list []string) []string { return rapid.Permutation(list).Draw(t, "order") }))
		if x, y := describe(a), describe(b); x != y {
			t.Errorf("plan of one order:\n%s\nof another:\n%s", x, y)
		}
	})
}

func describe(p *plan.Plan) string {
	var b strings.Builder
	for _, f := range p.Flows {
		fmt.Fprintf(&b, "%s %s %s %s %v\n", f.ID, f.Protocol, f.Ports, f.Need, f.Narrowing.By)
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "%v\n", w)
	}
	return b.String()
}

// TestPinsNeverWiden holds that with a pin a host listens on no more ports, but for the pin
// itself, and for nothing else.
func TestPinsNeverWiden(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawSite(t)
		with := edges(t, makePlan(t, d.text(asDrawn)))
		for i := range d.hosts {
			d.hosts[i].pins = nil
		}
		without := edges(t, makePlan(t, d.text(asDrawn)))
		if !slices.Equal(sortedEdges(with), sortedEdges(without)) {
			t.Fatalf("pins change who connects:\n%v\n%v", sortedEdges(with), sortedEdges(without))
		}
		for e, f := range with {
			was := without[e]
			if more := f.Ports.Minus(was.Ports); f.Narrowing.By != plan.ByPin && f.Ports.Len() > was.Ports.Len()+2 || f.Narrowing.By == plan.ByPin && f.Ports.Len() > was.Ports.Len() {
				t.Errorf("%v: pinned it has %s, and %s otherwise: %s more", e, f.Ports, was.Ports, more)
			}
		}
	})
}

func sortedEdges(m map[edge]*plan.Flow) []edge {
	return slices.SortedFunc(maps.Keys(m), func(a, b edge) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

// TestZonesDoNotCount holds that who connects to whom, and on what, does not depend on how
// the network is cut into zones, where nothing follows and nothing is translated.
func TestZonesDoNotCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawSite(t)
		d.edge = ""
		many := edges(t, makePlan(t, d.text(asDrawn)))
		d.flat = true
		one := edges(t, makePlan(t, d.text(asDrawn)))
		if !slices.Equal(sortedEdges(many), sortedEdges(one)) {
			t.Fatalf("zones change who connects:\n%v\n%v", sortedEdges(many), sortedEdges(one))
		}
		for e, f := range many {
			if !f.Ports.Equal(one[e].Ports) {
				t.Errorf("%v: %s in zones, %s in one", e, f.Ports, one[e].Ports)
			}
		}
	})
}

// TestPreciseIsNarrower holds that what is planned precisely is planned for the environment too.
func TestPreciseIsNarrower(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawSite(t)
		precise := edges(t, makePlan(t, d.text(asDrawn)))
		d.options = "mode: environment"
		environment := edges(t, makePlan(t, d.text(asDrawn)))
		if !slices.Equal(sortedEdges(precise), sortedEdges(environment)) {
			t.Fatalf("the mode changes who connects")
		}
		for e, f := range precise {
			if less := f.Ports.Minus(environment[e].Ports); !less.IsEmpty() {
				t.Errorf("%v: the environment lacks %s of %s", e, less, f.Ports)
			}
		}
	})
}

// TestNeedsAddUp holds that each list of needs plans its own rows and no other, but for those
// that the site's circumstances decide.
func TestNeedsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawSite(t)
		d.options = "profile: hardened"
		hardened := edges(t, makePlan(t, d.text(asDrawn)))
		d.options = "profile: vendor"
		vendor := edges(t, makePlan(t, d.text(asDrawn)))
		for e := range hardened {
			if vendor[e] == nil {
				t.Errorf("%v is planned hardened and not otherwise", e)
			}
		}
	})
}
