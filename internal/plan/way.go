package plan

import (
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/internal/site"
)

// ways knows the firewalls between each two zones.
type ways map[[2]*site.Zone]way

// A way is how one comes from a zone to another.
type way struct {
	firewalls []*site.Firewall // on any of the shortest ways, ascending by name
	none      bool             // no firewall leads there, however many others one passes
}

// findWays finds the ways through as few firewalls as can be from each zone to each other.
// Where there are several all their firewalls count, since any packet may take any of them.
func findWays(s *site.Site) ways {
	w := ways{}
	for _, from := range s.Zones {
		// Breadth first: all firewalls by which a zone is reached in as few steps as it is first.
		steps, by := map[*site.Zone]int{from: 0}, map[*site.Zone]map[*site.Firewall]bool{from: {}}
		for ring := []*site.Zone{from}; len(ring) > 0; {
			var next []*site.Zone
			for _, at := range ring {
				for _, f := range s.Firewalls {
					if !slices.Contains(f.Zones, at) {
						continue
					}
					for _, to := range f.Zones {
						if n, seen := steps[to]; !seen {
							steps[to], by[to] = steps[at]+1, map[*site.Firewall]bool{}
							next = append(next, to)
						} else if n != steps[at]+1 {
							continue
						}
						by[to][f] = true
						for g := range by[at] {
							by[to][g] = true
						}
					}
				}
			}
			ring = next
		}
		for _, to := range s.Zones {
			list := make([]*site.Firewall, 0, len(by[to]))
			for f := range by[to] {
				list = append(list, f)
			}
			slices.SortFunc(list, func(a, b *site.Firewall) int { return strings.Compare(a.Name, b.Name) })
			_, reached := steps[to]
			w[[2]*site.Zone{from, to}] = way{list, !reached}
		}
	}
	return w
}

// Way returns the firewalls between two zones, ascending by name: those on the ways that lead through as few
// as can be. There are none within a zone, and none, with false, where no way leads.
func (p *Plan) Way(from, to *site.Zone) ([]*site.Firewall, bool) {
	w := p.ways[[2]*site.Zone{from, to}]
	return w.firewalls, !w.none
}
