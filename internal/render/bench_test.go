package render_test

import (
	"errors"
	"io"
	"testing"

	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/render"
)

// subjectOf returns what a text of the target is about: the firewall, the host that most reach, the site.
func subjectOf(target *render.Target, p *plan.Plan) *render.Input {
	switch target.Of {
	case render.OfHost:
		return render.ForHost(p, p.Flows[0].To[0])
	case render.OfSite:
		return render.ForSite(p)
	}
	return render.ForFirewall(p, p.Site.Firewalls[0])
}

// What a target takes for a text, with the rules that it is rendered from.
func BenchmarkText(b *testing.B) {
	sizes := []struct {
		name string
		plan *plan.Plan
	}{
		{"900 members, 111 domain controllers", domain(900, 111)},
		{"900 members of which no two are alike, 111 domain controllers", unlike(900, 111)},
		{"10,000 flows of two hosts each", terms(10_000)},
		{"100,000 flows of two hosts each", terms(100_000)},
		{"10,000 flows of the same two hosts", termsOfTwo(10_000)},
		{"100,000 flows of the same two hosts", termsOfTwo(100_000)},
	}
	for _, size := range sizes {
		for _, target := range render.Targets() {
			b.Run(size.name+"/"+target.Name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					in := subjectOf(target, size.plan)
					if target.Name == "iptables" {
						in.Family = render.IPv4
					}
					var unsayable *render.UnsayableError
					if err := target.Render(io.Discard, in); errors.As(err, &unsayable) {
						b.Skip(err)
					} else if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
