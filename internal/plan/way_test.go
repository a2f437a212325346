package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/site"
)

// TestWays holds the ways between zones against all that there are.
func TestWays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &site.Site{}
		for i := range rapid.IntRange(1, 6).Draw(t, "zones") {
			s.Zones = append(s.Zones, &site.Zone{Name: fmt.Sprintf("z%d", i)})
		}
		for i := range rapid.IntRange(0, 6).Draw(t, "firewalls") {
			zones := rapid.SliceOfNDistinct(rapid.SampledFrom(s.Zones), 1, 3, rapid.ID[*site.Zone]).Draw(t, "of")
			s.Firewalls = append(s.Firewalls, &site.Firewall{Name: fmt.Sprintf("f%d", i), Zones: zones})
		}
		p := plan.Of(s, nil)
		for _, from := range s.Zones {
			for _, to := range s.Zones {
				want, reached := allWays(s, from, to)
				got, ok := p.Way(from, to)
				if ok != reached || firewallNames(got) != want {
					t.Errorf("Way(%s, %s) = %s, %t, want %s, %t", from.Name, to.Name, firewallNames(got), ok, want, reached)
				}
			}
		}
	})
}

// allWays walks every way that comes through no zone twice, and returns the firewalls of the shortest ones.
func allWays(s *site.Site, from, to *site.Zone) (firewalls string, reached bool) {
	var shortest []*site.Firewall
	length := len(s.Zones)
	var walk func(at *site.Zone, seen []*site.Zone, passed []*site.Firewall)
	walk = func(at *site.Zone, seen []*site.Zone, passed []*site.Firewall) {
		if at == to {
			switch {
			case len(passed) > length:
			case len(passed) < length:
				shortest, length = nil, len(passed)
				fallthrough
			default:
				shortest, reached = append(shortest, passed...), true
			}
			return
		}
		for _, f := range s.Firewalls {
			if !slices.Contains(f.Zones, at) {
				continue
			}
			for _, z := range f.Zones {
				if !slices.Contains(seen, z) {
					walk(z, append(slices.Clone(seen), z), append(slices.Clone(passed), f))
				}
			}
		}
	}
	walk(from, []*site.Zone{from}, nil)
	slices.SortFunc(shortest, func(a, b *site.Firewall) int { return strings.Compare(a.Name, b.Name) })
	return firewallNames(slices.Compact(shortest)), reached
}

func firewallNames(firewalls []*site.Firewall) string {
	var names []string
	for _, f := range firewalls {
		names = append(names, f.Name)
	}
	return strings.Join(names, " ")
}
