package plan

import (
	"slices"
	"strings"
	"sync"

	"github.com/quaymaster/quaymaster/internal/site"
)

// ways finds the firewalls between zones when they are asked for: a site may have a thousand zones, and few pairs of
// them have flows.
type ways struct {
	at map[*site.Zone][]*site.Firewall // that a zone is one of the zones of

	mu    sync.Mutex // guards what follows
	from  map[*site.Zone]*reach
	known map[[2]*site.Zone]way
}

// A way is how one comes from a zone to another.
type way struct {
	firewalls []*site.Firewall // on any of the shortest ways, ascending by name
	none      bool             // no firewall leads there, however many others one passes
}

// A reach is how many firewalls one passes on the shortest ways from a zone: to another, and before a firewall.
type reach struct {
	zones     map[*site.Zone]int
	firewalls map[*site.Firewall]int
}

func newWays(s *site.Site) *ways {
	w := &ways{at: map[*site.Zone][]*site.Firewall{}, from: map[*site.Zone]*reach{}, known: map[[2]*site.Zone]way{}}
	for _, f := range s.Firewalls {
		for _, z := range f.Zones {
			w.at[z] = append(w.at[z], f)
		}
	}
	return w
}

// between returns the way from a zone to another. Where several are shortest the firewalls of all of them count, since any
// packet may take any of them.
func (w *ways) between(from, to *site.Zone) way {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := [2]*site.Zone{from, to}
	found, ok := w.known[k]
	if !ok && from != to {
		found = w.find(from, to)
		w.known[k] = found
	}
	return found
}

func (w *ways) find(from, to *site.Zone) way {
	here, there := w.reach(from), w.reach(to)
	length, ok := here.zones[to]
	if !ok {
		return way{none: true}
	}
	var found way
	for f, before := range here.firewalls {
		if behind, ok := there.firewalls[f]; ok && before+1+behind == length {
			found.firewalls = append(found.firewalls, f)
		}
	}
	slices.SortFunc(found.firewalls, func(a, b *site.Firewall) int { return strings.Compare(a.Name, b.Name) })
	return found
}

// reach looks around a zone, breadth first.
func (w *ways) reach(from *site.Zone) *reach {
	if r := w.from[from]; r != nil {
		return r
	}
	r := &reach{zones: map[*site.Zone]int{from: 0}, firewalls: map[*site.Firewall]int{}}
	w.from[from] = r
	for queue := []*site.Zone{from}; len(queue) > 0; queue = queue[1:] {
		passed := r.zones[queue[0]]
		for _, f := range w.at[queue[0]] {
			if _, seen := r.firewalls[f]; seen {
				continue
			}
			r.firewalls[f] = passed
			for _, z := range f.Zones {
				if _, seen := r.zones[z]; !seen {
					r.zones[z] = passed + 1
					queue = append(queue, z)
				}
			}
		}
	}
	return r
}

// Way returns the firewalls between two zones, ascending by name: those on the ways that lead through as few
// as can be. There are none within a zone, and none, with false, where no way leads.
func (p *Plan) Way(from, to *site.Zone) ([]*site.Firewall, bool) {
	w := p.ways.between(from, to)
	return w.firewalls, !w.none
}
