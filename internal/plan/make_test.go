package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/site"
)

// domainText returns a site of one domain: members in one zone, domain controllers in
// the other, each of which has pins of its own if apart.
func domainText(members, controllers int, apart bool) string {
	var b strings.Builder
	b.WriteString("zones:\n  core: {networks: [10.0.0.0/16]}\n  dmz: {networks: [10.1.0.0/16]}\n")
	b.WriteString("domains: {corp.example: {}}\nfirewalls: {edge: {zones: [core, dmz]}}\nhosts:\n")
	for i := range controllers {
		ntds := 38901
		if apart {
			ntds = 20000 + 2*i
		}
		fmt.Fprintf(&b, "  dc%d: {addresses: [10.0.%d.%d], os: 2022, roles: [dc], domain: corp.example, pins: {ntds: %d, netlogon: %d}}\n", i, i/250, i%250+1, ntds, ntds+1)
	}
	for i := range members {
		fmt.Fprintf(&b, "  app%d: {addresses: [10.1.%d.%d], os: 2022, roles: [member], domain: corp.example}\n", i, i/250, i%250+1)
	}
	return b.String()
}

// BenchmarkMake plans 100,000 pairs of hosts. Reading the file is apart.
func BenchmarkMake(b *testing.B) {
	for _, size := range []struct{ members, controllers int }{{90, 11}, {900, 111}, {4500, 555}} {
		for _, apart := range []bool{false, true} {
			s, err := site.Read("site.yaml", []byte(domainText(size.members, size.controllers, apart)), catalog.Builtin(), nil)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("members=%d/controllers=%d/apart=%t", size.members, size.controllers, apart), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					p, err := plan.Make(s)
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(len(p.Flows)), "flows")
				}
			})
		}
	}
}
