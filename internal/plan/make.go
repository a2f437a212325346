package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/site"
)

// A planner makes one plan.
type planner struct {
	*directory
	rows     []row
	ways     *ways
	needs    []catalog.Need
	flows    []*Flow
	warnings []Warning
	mistakes config.Mistakes
	tunneled []tunneled
	said     map[string]bool         // what has been warned of or refused
	served   map[*site.Host][]string // by roles and services: which of each host's has a flow
}

func newPlanner(s *site.Site) *planner {
	return &planner{
		directory: newDirectory(s), rows: allRows(s.Catalog), ways: newWays(s), needs: defaultNeeds(s.Options),
		said: map[string]bool{}, served: map[*site.Host][]string{},
	}
}

// Make plans what s needs. The error is a config.Mistakes where the site asks for what
// cannot be had, such as DCOM across a firewall that translates addresses.
func Make(s *site.Site) (*Plan, error) {
	p := newPlanner(s)
	for i := range p.rows {
		p.plan(&p.rows[i])
	}
	p.planTunnels()
	p.checkPins()
	p.checkUses()
	p.checkWays()
	if len(p.mistakes) > 0 {
		return nil, p.mistakes
	}
	slices.SortStableFunc(p.warnings, func(a, b Warning) int { return strings.Compare(a.Host, b.Host) })
	return &Plan{Site: s, Flows: p.flows, Warnings: p.warnings, ways: p.ways}, nil
}

// way returns the firewalls between two hosts.
func (p *planner) way(of pair) []*site.Firewall {
	return p.ways.between(of.from.Zone, of.to.Zone).firewalls
}

// A class is hosts that a row cannot tell apart.
type class struct {
	members  []*member
	from, to []int // joins in which they are, ascending
}

// plan adds the flows that a row makes. Hosts that are alike are planned once, however many
// they are.
func (p *planner) plan(r *row) {
	joins := p.joins(r)
	classes := classesOf(joins)
	mixed := make([]bool, len(joins))
	for j := range joins {
		mixed[j] = p.site.Options.Environment && generationsMix(joins[j])
	}
	found := outcomes{by: map[string]*outcome{}}
	planned := map[[2]int]bool{}
	for j, ab := range pairsOf(classes, len(joins)) {
		if planned[ab] {
			continue
		}
		from, to := classes[ab[0]].members, classes[ab[1]].members
		of := pair{from[0], to[0], joins[j].trust}
		if ok, _ := p.needed(r, of); !ok {
			continue
		}
		planned[ab] = true
		p.serve(r, joins[j].of, from, to)
		if !p.throughTunnel(from, to) && p.passes(r, from, to) {
			found.add(joins[j].of, p.open(r, of, mixed[j]), ab)
		}
	}
	for _, o := range found.all {
		for _, product := range Products(o.pairs) {
			p.add(r, o.of, hostsOf(classes, product[0]), hostsOf(classes, product[1]), o.opening)
		}
	}
}

// An outcome is pairs of classes between which a row has the same to be open.
type outcome struct {
	opening
	of    *tie
	pairs [][2]int
}

// outcomes are those of a row, in the order in which they came.
type outcomes struct {
	all []*outcome
	by  map[string]*outcome
}

func (o *outcomes) add(of *tie, open opening, classes [2]int) {
	k := of.ID + "\x00" + open.ports.String() + "\x00" + string(open.narrowing.By) + open.narrowing.From
	for _, f := range open.narrowing.Pinhole {
		k += "\x00" + f.Name
	}
	if o.by[k] == nil {
		o.by[k] = &outcome{opening: open, of: of}
		o.all = append(o.all, o.by[k])
	}
	o.by[k].pairs = append(o.by[k].pairs, classes)
}

// pairsOf returns the pairs of classes that each join has, by the number of the join. Single hosts do
// not connect to themselves.
func pairsOf(classes []class, joins int) iter.Seq2[int, [2]int] {
	starts, ends := make([][]int, joins), make([][]int, joins)
	for i, c := range classes {
		for _, j := range c.from {
			starts[j] = append(starts[j], i)
		}
		for _, j := range c.to {
			ends[j] = append(ends[j], i)
		}
	}
	return func(yield func(join int, classes [2]int) bool) {
		for j := range joins {
			for _, a := range starts[j] {
				for _, b := range ends[j] {
					alone := a == b && len(classes[a].members) == 1 && !classes[a].members[0].IsGroup()
					if !alone && !yield(j, [2]int{a, b}) {
						return
					}
				}
			}
		}
	}
}

// classesOf returns the hosts of joins by what planning depends on, in order of their first ones.
func classesOf(joins []join) []class {
	type place struct{ from, to []int }
	at := map[*member]*place{}
	var members []*member
	of := func(m *member) *place {
		if at[m] == nil {
			at[m] = &place{}
			members = append(members, m)
		}
		return at[m]
	}
	for j, join := range joins {
		for _, m := range join.from {
			of(m).from = append(of(m).from, j)
		}
		for _, m := range join.to {
			of(m).to = append(of(m).to, j)
		}
	}
	slices.SortFunc(members, func(a, b *member) int { return strings.Compare(a.Name, b.Name) })
	known := map[string]int{}
	var all []class
	for _, m := range members {
		k := fmt.Sprint(at[m].from, at[m].to, m.key)
		if m.IsGroup() {
			k = m.Name // it connects to itself, as no single host does
		}
		i, ok := known[k]
		if !ok {
			i = len(all)
			known[k] = i
			all = append(all, class{from: at[m].from, to: at[m].to})
		}
		all[i].members = append(all[i].members, m)
	}
	return all
}

func hostsOf(classes []class, which []int) []*site.Host {
	var hosts []*site.Host
	for _, i := range which {
		for _, m := range classes[i].members {
			hosts = append(hosts, m.Host)
		}
	}
	slices.SortFunc(hosts, func(a, b *site.Host) int { return strings.Compare(a.Name, b.Name) })
	return hosts
}

// generationsMix reports whether Windows of both generations is in a join.
func generationsMix(j join) bool {
	var legacy, modern bool
	for _, members := range [][]*member{j.from, j.to} {
		for _, m := range members {
			legacy = legacy || m.isWindows() && m.legacy()
			modern = modern || m.isWindows() && !m.legacy()
		}
	}
	return legacy && modern
}

// add adds a flow.
func (p *planner) add(r *row, of *tie, from, to []*site.Host, o opening) {
	p.flows = append(p.flows, &Flow{
		ID: flowID(r.id, from, to), From: from, To: to, Protocol: r.protocol, Ports: o.ports, Symbol: r.ports.Symbol,
		App: r.app, Service: r.service, Relationship: of.ID, Row: r.id, Need: r.need, Condition: r.condition,
		Narrowing: o.narrowing, DCOM: r.dcom, Unfiltered: of.Unfiltered, Reason: reason(r, of),
		Notes: r.notes, Sources: r.sources,
	})
}

// serve remembers for which roles hosts connect, and are connected to.
func (p *planner) serve(r *row, of *tie, from, to []*member) {
	add := func(members []*member, roles []string) {
		for _, m := range members {
			for _, role := range roles {
				if m.groups[role] != nil && !slices.Contains(p.served[m.Host], role) {
					p.served[m.Host] = append(p.served[m.Host], role)
				}
			}
		}
	}
	add(from, of.from)
	add(to, of.to)
	for _, t := range r.when {
		switch {
		case t.Not:
		case t.Word == catalog.TermFrom:
			add(from, t.Values)
		case t.Word == catalog.TermTo:
			add(to, t.Values)
		}
	}
}

// flowID returns a name for the flow that a row makes between hosts: the row's, and six
// digits that tell it from others of the row.
func flowID(row string, from, to []*site.Host) string {
	h := sha256.New()
	for _, hosts := range [][]*site.Host{from, to} {
		for _, host := range hosts {
			h.Write([]byte(host.Name + "\n"))
		}
		h.Write([]byte("\n"))
	}
	return row + "-" + hex.EncodeToString(h.Sum(nil)[:3])
}

// reason says in a sentence why hosts connect by a row.
func reason(r *row, of *tie) string {
	text := of.Description
	if text == "" {
		text = "uses " + of.ID
	}
	text += ": " + r.name()
	if r.condition != "" {
		text += " (" + r.condition + ")"
	}
	return text
}
