package registry

import (
	"iter"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// at returns the row at a place, or nil. It is for changes: lookups of ONC have
// [Registry.Locate].
func (g *Registry) at(p *endpoint.Place) *row {
	if p.Interface.Dialect == endpoint.ONC {
		return g.exact.get(keyOf(p.Interface, p.Endpoint.NetID))
	}
	return g.places[*p]
}

// Has tells whether something is registered at a place.
func (g *Registry) Has(p endpoint.Place) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.at(&p) != nil
}

// standing returns the row in the place of a registration, or nil.
func (g *Registry) standing(r *endpoint.Registration) *row {
	p := r.Place()
	return g.at(&p)
}

// enter puts a row into the indexes of its dialect and port; leave takes it out.
func (g *Registry) enter(r *row) {
	if k, ok := portOf(r.reg); ok {
		g.held.add(k, r)
	}
	if r.reg.Dialect == endpoint.ONC {
		g.exact.put(r)
		enlist(g.programs, programKey{r.reg.NetID, r.reg.Program}, r)
		return
	}
	g.places[r.reg.Place()] = r
	enlist(g.uuids, r.reg.UUID, r)
}

func (g *Registry) leave(r *row) {
	if k, ok := portOf(r.reg); ok {
		g.held.remove(k, r)
	}
	if r.reg.Dialect == endpoint.ONC {
		g.exact.delete(keyOf(r.reg.Interface, r.reg.NetID))
		unlist(g.programs, programKey{r.reg.NetID, r.reg.Program}, r)
		return
	}
	delete(g.places, r.reg.Place())
	unlist(g.uuids, r.reg.UUID, r)
}

func enlist[K comparable](lists map[K]*list, k K, r *row) {
	l := lists[k]
	if l == nil {
		l = &list{by: inFamily}
		lists[k] = l
	}
	l.push(r)
}

func unlist[K comparable](lists map[K]*list, k K, r *row) {
	l := lists[k]
	if l.remove(r); l.first == nil {
		delete(lists, k)
	}
}

// family returns the rows of DCE interfaces with that UUID which wants is true
// of, oldest first.
func (g *Registry) family(uuid ndr.UUID, wants func(*endpoint.Registration) bool) iter.Seq[*row] {
	return func(yield func(*row) bool) {
		l := g.uuids[uuid]
		if l == nil {
			return
		}
		for r := l.first; r != nil; r = r.links[l.by].next {
			if wants(r.reg) && !yield(r) {
				return
			}
		}
	}
}

// An Ordered is a registration that knows where it stands among all: later ones
// have larger numbers. So who tells them in parts knows where to go on, whatever
// comes and goes meanwhile.
type Ordered struct {
	*endpoint.Registration
	Order uint64
}

// AppendFamily appends to to the registrations of DCE interfaces with that UUID
// which wants is true of, oldest first. wants must not call the registry.
func (g *Registry) AppendFamily(to []Ordered, uuid ndr.UUID, wants func(*endpoint.Registration) bool) []Ordered {
	g.mu.RLock()
	defer g.mu.RUnlock()
	l := g.uuids[uuid]
	if l == nil {
		return to
	}
	for r := l.first; r != nil; r = r.links[l.by].next {
		if wants(r.reg) {
			to = append(to, Ordered{r.reg, r.order})
		}
	}
	return to
}

// AllDCE returns every registration of DCE, oldest first, and the number of the
// change they stand at. The slice is the caller's.
func (g *Registry) AllDCE() ([]Ordered, uint64) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	all := make([]Ordered, 0, len(g.places))
	for r := g.order.first; r != nil; r = r.links[inOrder].next {
		if r.reg.Dialect == endpoint.DCE {
			all = append(all, Ordered{r.reg, r.order})
		}
	}
	return all, g.seq.Load()
}

// A portKey is a port, and the dialect of what is registered there.
type portKey struct {
	dialect endpoint.Dialect
	udp     bool
	port    uint16
}

// atPorts leads to the rows at each port, which are chained in no order: most ports
// have one, and a list for each would be as large as the row.
type atPorts map[portKey]*row

func (p atPorts) add(k portKey, r *row) {
	first := p[k]
	r.links[atPort].next = first
	if first != nil {
		first.links[atPort].prev = r
	}
	p[k] = r
}

func (p atPorts) remove(k portKey, r *row) {
	at := r.links[atPort]
	switch {
	case at.prev != nil:
		at.prev.links[atPort].next = at.next
	case at.next != nil:
		p[k] = at.next
	default:
		delete(p, k)
	}
	if at.next != nil {
		at.next.links[atPort].prev = at.prev
	}
	r.links[atPort] = link{}
}

// portOf returns the port at which a registration is; ok is false if it has none.
func portOf(r *endpoint.Registration) (_ portKey, ok bool) {
	udp := r.NetID == rpcbind.UDP || r.NetID == rpcbind.UDP6
	return portKey{r.Dialect, udp, r.Addr.Port()}, r.NetID.IsIP()
}
