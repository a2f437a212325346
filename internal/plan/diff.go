package plan

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// A Change is what differs between two plans: ports of hosts that others may reach, or may no more.
type Change struct {
	Kind         ChangeKind
	From, To     []string // names of hosts, ascending; with their addresses where those are what has changed
	Protocol     catalog.Protocol
	Ports        portset.Set // that came or went; empty for protocols without ports
	Row          string
	App          string
	Relationship string
	Need         catalog.Need
}

// A ChangeKind says in what way plans differ.
type ChangeKind string

// Kinds of changes.
const (
	Added    ChangeKind = "added"    // a flow there was not
	Removed  ChangeKind = "removed"  // a flow there is no more
	Widened  ChangeKind = "widened"  // one with more ports
	Narrowed ChangeKind = "narrowed" // one with fewer
)

// Diff returns what differs from one plan to another, in the order of the catalog's rows. What has more ports and
// fewer is two changes.
func Diff(before, after *Plan) []Change {
	d := differ{moved: moved(before.Site, after.Site), index: map[string]int{}}
	rows := map[string][2][]*Flow{}
	var order []string
	for side, p := range []*Plan{before, after} {
		for _, f := range p.Flows {
			list, ok := rows[f.Row]
			if !ok {
				order = append(order, f.Row)
			}
			list[side] = append(list[side], f)
			rows[f.Row] = list
		}
	}
	var all []Change
	for _, row := range order {
		all = append(all, d.row(rows[row][0], rows[row][1])...)
	}
	return all
}

// A differ compares plans.
type differ struct {
	moved map[string]bool // names of hosts whose addresses differ
	names []string        // of hosts, as changes have them
	index map[string]int  // of names
}

// moved returns the hosts of two sites whose addresses differ.
func moved(a, b *site.Site) map[string]bool {
	was := map[string]*site.Host{}
	for _, h := range a.Hosts {
		was[h.Name] = h
	}
	found := map[string]bool{}
	for _, h := range b.Hosts {
		if w := was[h.Name]; w != nil && !slices.Equal(w.Addresses, h.Addresses) {
			found[h.Name] = true
		}
	}
	return found
}

// name returns the number of a host's name.
func (d *differ) name(h *site.Host) int {
	name := h.Name
	if d.moved[name] {
		var addresses []string
		for _, a := range h.Addresses {
			addresses = append(addresses, strings.TrimSuffix(strings.TrimSuffix(a.String(), "/32"), "/128"))
		}
		name += " (" + strings.Join(addresses, ", ") + ")"
	}
	i, ok := d.index[name]
	if !ok {
		i = len(d.names)
		d.index[name] = i
		d.names = append(d.names, name)
	}
	return i
}

// row compares the flows of one row.
func (d *differ) row(before, after []*Flow) []Change {
	same := func(a, b *Flow) bool {
		return a.Ports.Equal(b.Ports) && !slices.ContainsFunc(slices.Concat(a.From, a.To), func(h *site.Host) bool { return d.moved[h.Name] })
	}
	// Flows that are equal need not be looked at in pairs of hosts.
	was, equal := map[string]*Flow{}, map[string]bool{}
	for _, f := range before {
		was[f.ID] = f
	}
	for _, f := range after {
		if w := was[f.ID]; w != nil && same(w, f) {
			equal[f.ID] = true
		}
	}
	type between struct{ was, is *Flow }
	pairs := map[[2]int]between{}
	each := func(flows []*Flow, set func(b *between, f *Flow)) {
		for _, f := range flows {
			if equal[f.ID] {
				continue
			}
			for _, from := range f.From {
				for _, to := range f.To {
					if f.joins(from, to) {
						k := [2]int{d.name(from), d.name(to)}
						b := pairs[k]
						set(&b, f)
						pairs[k] = b
					}
				}
			}
		}
	}
	each(before, func(b *between, f *Flow) { b.was = f })
	each(after, func(b *between, f *Flow) { b.is = f })

	type change struct {
		Change
		pairs [][2]int
	}
	changes := map[string]*change{}
	add := func(kind ChangeKind, k [2]int, f *Flow, ports portset.Set) {
		id := string(kind) + ports.String()
		if changes[id] == nil {
			changes[id] = &change{Change: Change{
				Kind: kind, Protocol: f.Protocol, Ports: ports, Row: f.Row, App: f.App, Relationship: f.Relationship, Need: f.Need,
			}}
		}
		changes[id].pairs = append(changes[id].pairs, k)
	}
	for k, b := range pairs {
		switch {
		case b.was == nil:
			add(Added, k, b.is, b.is.Ports)
		case b.is == nil:
			add(Removed, k, b.was, b.was.Ports)
		default:
			if more := b.is.Ports.Minus(b.was.Ports); !more.IsEmpty() {
				add(Widened, k, b.is, more)
			}
			if fewer := b.was.Ports.Minus(b.is.Ports); !fewer.IsEmpty() {
				add(Narrowed, k, b.is, fewer)
			}
		}
	}
	var all []Change
	for _, id := range slices.Sorted(maps.Keys(changes)) {
		for _, product := range Products(changes[id].pairs) {
			c := changes[id].Change
			c.From, c.To = d.sorted(product[0]), d.sorted(product[1])
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b Change) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Ports.String(), b.Ports.String()),
			slices.Compare(a.From, b.From), slices.Compare(a.To, b.To))
	})
	return all
}

// sorted returns names by their numbers, ascending.
func (d *differ) sorted(which []int) []string {
	names := make([]string, 0, len(which))
	for _, i := range which {
		names = append(names, d.names[i])
	}
	slices.Sort(names)
	return names
}
