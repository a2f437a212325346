package site_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/site"
)

// A parcel is a mapping or list of a site file whose entries may stand in any order.
type parcel struct {
	key     string
	list    bool
	entries []string // with %s for each of lists
	lists   [][][]string
}

// write returns the file with everything in an order that is drawn.
func write(t *rapid.T, parcels []parcel) string {
	var b strings.Builder
	for _, p := range rapid.Permutation(parcels).Draw(t, "file") {
		fmt.Fprintf(&b, "%s:\n", p.key)
		order := make([]int, len(p.entries))
		for i := range order {
			order[i] = i
		}
		for _, i := range rapid.Permutation(order).Draw(t, p.key) {
			var lists []any
			if p.lists != nil {
				for _, l := range p.lists[i] {
					lists = append(lists, strings.Join(rapid.Permutation(l).Draw(t, "list"), ", "))
				}
			}
			mark := ""
			if p.list {
				mark = "- "
			}
			fmt.Fprintf(&b, "  %s%s\n", mark, fmt.Sprintf(p.entries[i], lists...))
		}
	}
	return b.String()
}

// The order of a file does not change what it says: neither the site nor its warnings.
func TestReadInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zones := parcel{key: "zones"}
		firewalls := parcel{key: "firewalls"}
		hosts := parcel{key: "hosts"}
		domains := parcel{key: "domains", entries: []string{"a.example: {}", "b.example: {forest: a.example}", "c.example: {sysvol: frs}"}}
		trusts := parcel{key: "trusts", list: true}
		tunnels := parcel{key: "tunnels", list: true}
		n := rapid.IntRange(2, 5).Draw(t, "zones")
		var all []string
		for i := range n {
			zones.entries = append(zones.entries, fmt.Sprintf("z%d: {networks: [%%s]}", i))
			zones.lists = append(zones.lists, [][]string{{fmt.Sprintf("10.%d.0.0/16", i), fmt.Sprintf("172.16.%d.0/24", i), fmt.Sprintf(`"fd00:%d::/32"`, i)}})
			all = append(all, fmt.Sprintf("z%d", i))
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "firewalls") {
			some := rapid.Permutation(all).Draw(t, "of")[:rapid.IntRange(2, n).Draw(t, "count")]
			firewalls.entries = append(firewalls.entries, fmt.Sprintf("f%d: {zones: [%%s], follows: [%%s]}", i))
			firewalls.lists = append(firewalls.lists, [][]string{some, {"epm", "ftp", "tftp"}})
		}
		names := []string{"wsus"}
		for i := range rapid.IntRange(1, 6).Draw(t, "hosts") {
			roles := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"dc", "wsus", `"cluster:a"`, `"cluster:b"`, "member", "dns-server"}), 0, 4, rapid.ID[string]).Draw(t, "roles")
			uses := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, len(names), rapid.ID[string]).Draw(t, "uses")
			domain := rapid.SampledFrom([]string{"a.example", "b.example", "c.example"}).Draw(t, "domain")
			hosts.entries = append(hosts.entries, fmt.Sprintf("h%d: {addresses: [%%s], roles: [%%s], uses: [%%s], domain: %s, pins: {%%s}}", i, domain))
			hosts.lists = append(hosts.lists, [][]string{{fmt.Sprintf("10.1.0.%d", i), fmt.Sprintf(`"fd00:1::%d"`, i)}, roles, uses, {"ntds: 5", "netlogon: 6", "wmi: 5"}})
			names = append(names, fmt.Sprintf("h%d", i))
		}
		for _, tr := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a b", "b c", "c a"}), 0, 3, rapid.ID[string]).Draw(t, "trusts") {
			from, to, _ := strings.Cut(tr, " ")
			trusts.entries = append(trusts.entries, fmt.Sprintf("{trusting: %s.example, trusted: %s.example}", from, to))
		}
		if n > 2 {
			tunnels.entries = []string{"{between: [%s], kind: ipsec}", "{between: [%s], kind: pptp}"}
			tunnels.lists = [][][]string{{{"z0", "z1"}}, {{"z1", "z2"}}}
		}
		parcels := []parcel{zones, hosts, domains}
		for _, p := range []parcel{firewalls, trusts, tunnels} {
			if len(p.entries) > 0 {
				parcels = append(parcels, p)
			}
		}
		one, other := write(t, parcels), write(t, parcels)
		said := func(text string) string {
			s, err := site.Read("s.yaml", []byte(text), catalog.Builtin(), open)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			var warnings []string
			for _, w := range s.Warnings {
				warnings = append(warnings, w.Message)
			}
			slices.Sort(warnings)
			return describe(t, s) + strings.Join(warnings, "\n")
		}
		if diff := cmp.Diff(said(one), said(other)); diff != "" {
			t.Errorf("%s\nis not the same as\n%s\n%s", one, other, diff)
		}
	})
}

// A host has the zone whose networks have all of its addresses, and is refused where there is none, as
// a search through all networks says.
func TestReadZoneOfHost(t *testing.T) {
	// Few addresses, so that prefixes meet often.
	prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
		bits := rapid.IntRange(26, 32).Draw(t, "bits")
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 63).Draw(t, "address"))}), bits).Masked()
	})
	rapid.Check(t, func(t *rapid.T) {
		of := map[netip.Addr]string{} // the zone of each address
		addresses := func(p netip.Prefix) []netip.Addr {
			var all []netip.Addr
			for a := p.Addr(); p.Contains(a); a = a.Next() {
				all = append(all, a)
			}
			return all
		}
		networks := map[string][]string{}
		for _, p := range rapid.SliceOfN(prefix, 1, 12).Draw(t, "networks") {
			zone := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "zone")
			all := addresses(p)
			if slices.ContainsFunc(all, func(a netip.Addr) bool { return of[a] != "" }) {
				continue
			}
			for _, a := range all {
				of[a] = zone
			}
			networks[zone] = append(networks[zone], p.String())
		}
		host := prefix.Draw(t, "host")
		want := of[host.Addr()]
		for _, a := range addresses(host) {
			if of[a] != want {
				want = ""
			}
		}
		text := "zones:\n"
		for zone, all := range networks {
			text += fmt.Sprintf("  %s: {networks: [%s]}\n", zone, strings.Join(all, ", "))
		}
		text += fmt.Sprintf("hosts: {h: {addresses: [%s]}}\n", host)
		s, err := site.Read("s.yaml", []byte(text), catalog.Builtin(), open)
		if (err == nil) != (want != "") || err == nil && s.Hosts[0].Zone.Name != want {
			t.Errorf("Read = %v, want zone %q\n%s", err, want, text)
		}
	})
}
