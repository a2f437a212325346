package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	planned "github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/render"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// runRules writes the rules of nftables for so many pairs of hosts: more than a site file has.
func runRules(pairs string, out io.Writer) error {
	n, err := strconv.Atoi(pairs)
	if err != nil {
		return err
	}
	p := apartPlan(n)
	w := bufio.NewWriter(out)
	if err := render.TargetNamed("nftables").Render(w, render.ForFirewall(p, p.Site.Firewalls[0])); err != nil {
		return err
	}
	return w.Flush()
}

// apartPlan is a plan of so many pairs of hosts that none shares with another, each with ports that
// no other has.
func apartPlan(pairs int) *planned.Plan {
	core, dmz := &site.Zone{Name: "core"}, &site.Zone{Name: "dmz"}
	s := &site.Site{Zones: []*site.Zone{core, dmz}, Firewalls: []*site.Firewall{{Name: siteFirewall, Zones: []*site.Zone{core, dmz}}}}
	host := func(name string, zone *site.Zone, network byte, i int) []*site.Host {
		a := netip.AddrFrom4([4]byte{network, byte(i >> 16), byte(i >> 8), byte(i)})
		h := &site.Host{Name: fmt.Sprintf("%s%06d", name, i), Zone: zone, Addresses: []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}}
		s.Hosts = append(s.Hosts, h)
		return []*site.Host{h}
	}
	var flows []*planned.Flow
	for i := range pairs {
		const lowest = 30_000 // ports that a pair's first may be
		first := uint16(1 + i%lowest)
		flows = append(flows, &planned.Flow{
			ID: fmt.Sprintf("service/tcp/%06d", i), From: host("from", dmz, 10, i), To: host("to", core, 11, i),
			Protocol: catalog.TCP, Ports: portset.Of(portset.Range{First: first, Last: first}, portset.Range{First: first + 2, Last: first + 2 + uint16(i/lowest)}),
			App: "service", Service: "service", Relationship: "service", Need: catalog.Required, Sources: []string{"kb832017"},
		})
	}
	return planned.Of(s, flows)
}

// checkRules reads rules of nftables, which must be so many and name so many hosts, each by its IPv4 address.
func checkRules(r io.Reader, rules, hosts int) error {
	gotRules, named := 0, map[string]bool{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		switch {
		case bytes.HasPrefix(line, []byte("#")):
			continue
		case bytes.HasPrefix(line, []byte("ip saddr ")):
			gotRules++
		}
		for word := range strings.FieldsSeq(string(line)) {
			if a, err := netip.ParseAddr(strings.TrimSuffix(word, ",")); err == nil && a.Is4() {
				named[a.String()] = true
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	if gotRules != rules || len(named) != hosts {
		return fmt.Errorf("%d rules for %d hosts, want %d for %d", gotRules, len(named), rules, hosts)
	}
	return nil
}
