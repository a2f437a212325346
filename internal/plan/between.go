package plan

import (
	"github.com/quaymaster/quaymaster/internal/site"
)

// Between returns what crosses from one of two zones to the other, in either direction: flows with
// the hosts of these zones only, in the order of the plan.
func (p *Plan) Between(a, b *site.Zone) []*Flow {
	var all []*Flow
	for _, f := range p.Flows {
		for _, zones := range [][2]*site.Zone{{a, b}, {b, a}} {
			from, to := inZone(f.From, zones[0]), inZone(f.To, zones[1])
			if len(from) > 0 && len(to) > 0 {
				part := *f
				part.From, part.To = from, to
				all = append(all, &part)
			}
			if a == b {
				break
			}
		}
	}
	return all
}

func inZone(hosts []*site.Host, z *site.Zone) []*site.Host {
	var found []*site.Host
	for _, h := range hosts {
		if h.Zone == z {
			found = append(found, h)
		}
	}
	return found
}
