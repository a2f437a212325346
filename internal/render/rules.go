package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// ForFirewall returns what is rendered for a firewall: what passes it by the plan.
func ForFirewall(p *plan.Plan, f *site.Firewall) *Input {
	return &Input{Plan: p, Firewall: f, Rules: rules(p.Flows, scope{
		open:    func(flow *plan.Flow) bool { return !slices.Contains(flow.Narrowing.Pinhole, f) },
		listens: everything.listens,
		passes:  through(p, f),
	})}
}

// through returns what tells whether a firewall is on the way between two zones.
func through(p *plan.Plan, f *site.Firewall) func(from, to *site.Zone) bool {
	return func(from, to *site.Zone) bool {
		on, _ := p.Way(from, to)
		return slices.Contains(on, f)
	}
}

// ForHost returns what is rendered for the firewall that a host has itself: what others
// need of it.
func ForHost(p *plan.Plan, h *site.Host) *Input {
	all := everything
	all.listens = func(to *site.Host) bool { return to == h }
	return &Input{Plan: p, Host: h, Rules: rules(p.Flows, all)}
}

// ForSite returns what is rendered for the site as a whole: all of the plan.
func ForSite(p *plan.Plan) *Input { return &Input{Plan: p, Rules: rules(p.Flows, everything)} }

// A scope says what of a plan counts.
type scope struct {
	open    func(*plan.Flow) bool          // flows that need ports
	listens func(*site.Host) bool          // hosts that are connected to
	passes  func(from, to *site.Zone) bool // between which zones
}

var everything = scope{
	open:    func(*plan.Flow) bool { return true },
	listens: func(*site.Host) bool { return true },
	passes:  func(_, _ *site.Zone) bool { return true },
}

// A class is hosts that are in the same flows and in the same zone.
type class struct {
	hosts    []*site.Host
	from, to []int // indexes of the flows that they open, and those that they take, ascending
}

// A group is the pairs of classes that need the same flows of one protocol.
type group struct {
	flows []int // indexes, ascending
	pairs [][2]int
}

// rules folds the flows in scope into as few rules as are found: two hosts are in one rule of a
// protocol and no more, whose ports are those of all their flows. Of what the vendor wants unfiltered
// there is no other rule.
//
// It takes time in proportion to what the flows have of hosts, and to the flows of each two classes of
// hosts: not to the pairs of hosts. It takes memory for the former and the pairs of classes.
func rules(flows []*plan.Flow, in scope) []Rule {
	var all []Rule
	classes := classesOf(flows, in)
	for _, g := range groupsOf(flows, classes, in) {
		r := Rule{}
		var ranges []portset.Range
		for _, i := range g.flows {
			r.Flows = append(r.Flows, flows[i])
			ranges = slices.AppendSeq(ranges, flows[i].Ports.Ranges())
		}
		r.Ports = portset.Of(ranges...)
		for _, pr := range plan.Products(g.pairs) {
			r.From, r.To = hostsOf(classes, pr[0]), hostsOf(classes, pr[1])
			all = append(all, r)
		}
	}
	return all
}

// groupsOf returns the groups of all pairs of classes, in order of their flows.
func groupsOf(flows []*plan.Flow, classes []class, in scope) []*group {
	starts := map[int][]int{} // classes that open a flow
	for i, c := range classes {
		for _, f := range c.from {
			starts[f] = append(starts[f], i)
		}
	}
	groups := map[string]*group{}  // by the key of their flows
	known := map[string][]*group{} // those of all protocols, by the key of all flows of two classes
	needs := make([][]int, len(classes))
	for to, c := range classes {
		var from []int // those with needs
		for _, f := range c.to {
			for _, i := range starts[f] {
				if i == to && len(c.hosts) == 1 && !c.hosts[0].IsGroup() || !in.passes(classes[i].hosts[0].Zone, c.hosts[0].Zone) {
					continue
				}
				if len(needs[i]) == 0 {
					from = append(from, i)
				}
				needs[i] = append(needs[i], f)
			}
		}
		slices.Sort(from)
		for _, i := range from {
			k := plan.Key(needs[i])
			if _, ok := known[k]; !ok {
				for _, one := range byProtocol(flows, needs[i]) {
					k1 := plan.Key(one)
					if groups[k1] == nil {
						groups[k1] = &group{flows: one}
					}
					known[k] = append(known[k], groups[k1])
				}
			}
			for _, g := range known[k] {
				g.pairs = append(g.pairs, [2]int{i, to})
			}
			needs[i] = needs[i][:0]
		}
	}
	return slices.SortedFunc(maps.Values(groups), func(a, b *group) int { return slices.Compare(a.flows, b.flows) })
}

// classesOf returns the hosts of flows in scope, as few classes as can be, in order of
// their first hosts.
func classesOf(flows []*plan.Flow, in scope) []class {
	members := map[*site.Host]*class{}
	of := func(h *site.Host) *class {
		if members[h] == nil {
			members[h] = &class{hosts: []*site.Host{h}}
		}
		return members[h]
	}
	for i, f := range flows {
		if !in.open(f) {
			continue
		}
		for _, h := range f.From {
			of(h).from = append(of(h).from, i)
		}
		for _, h := range f.To {
			if in.listens(h) {
				of(h).to = append(of(h).to, i)
			}
		}
	}
	known := map[string]int{}
	var all []class
	for _, h := range slices.SortedFunc(maps.Keys(members), byName) {
		c := members[h]
		k := fmt.Sprintf("%s %d %s%s", h.Zone.Name, len(c.from), plan.Key(c.from), plan.Key(c.to))
		if h.IsGroup() {
			k = h.Name // it connects to itself, as no single host does
		}
		if i, ok := known[k]; ok {
			all[i].hosts = append(all[i].hosts, h)
			continue
		}
		known[k] = len(all)
		all = append(all, *c)
	}
	return all
}

// byProtocol returns the flows of each protocol, in ascending order of it, and alone those
// of every protocol if there are any.
func byProtocol(flows []*plan.Flow, which []int) [][]int {
	of := map[catalog.Protocol][]int{}
	for _, i := range which {
		of[flows[i].Protocol] = append(of[flows[i].Protocol], i)
	}
	if all, ok := of[0]; ok {
		return [][]int{all}
	}
	var lists [][]int
	for _, protocol := range slices.Sorted(maps.Keys(of)) {
		lists = append(lists, of[protocol])
	}
	return lists
}

func hostsOf(classes []class, which []int) []*site.Host {
	var hosts []*site.Host
	for _, i := range which {
		hosts = append(hosts, classes[i].hosts...)
	}
	slices.SortFunc(hosts, byName)
	return hosts
}

func byName(a, b *site.Host) int { return strings.Compare(a.Name, b.Name) }
