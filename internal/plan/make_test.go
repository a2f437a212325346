package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/site"
)

// unlikeText returns a site of one domain: members in one zone, domain controllers in
// the other, each of which has pins of its own.
func unlikeText(members, controllers int) string {
	var b strings.Builder
	b.WriteString("zones:\n  core: {networks: [10.0.0.0/16]}\n  dmz: {networks: [10.1.0.0/16]}\n")
	b.WriteString("domains: {corp.example: {}}\nfirewalls: {edge: {zones: [core, dmz]}}\nhosts:\n")
	for i := range controllers {
		ntds := 20000 + 2*i
		fmt.Fprintf(&b, "  dc%d: {addresses: [10.0.%d.%d], os: 2022, roles: [dc], domain: corp.example, pins: {ntds: %d, netlogon: %d}}\n", i, i/250, i%250+1, ntds, ntds+1)
	}
	for i := range members {
		fmt.Fprintf(&b, "  app%d: {addresses: [10.1.%d.%d], os: 2022, roles: [member], domain: corp.example}\n", i, i/250, i%250+1)
	}
	return b.String()
}

// BenchmarkMake plans a domain of which no two domain controllers are alike. Reading the file is apart.
func BenchmarkMake(b *testing.B) {
	for _, size := range []struct{ members, controllers int }{{90, 11}, {900, 111}, {4500, 555}} {
		s, err := site.Read("site.yaml", []byte(unlikeText(size.members, size.controllers)), catalog.Builtin(), nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("members=%d/controllers=%d", size.members, size.controllers), func(b *testing.B) {
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
