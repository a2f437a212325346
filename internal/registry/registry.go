// Package registry is the index of who listens where: every registration of
// both dialects, in memory, with the rules of who may add and remove.
package registry

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// MaxRows is how many registrations there can be.
const MaxRows = 1 << 18

// A Registry holds registrations. Its methods may be called from any goroutine.
// The registrations it hands out are shared and never change: a row that
// changes is another value.
type Registry struct {
	// Listens tells whether a socket of the owner's listens at an endpoint, which
	// lets others than root register ports below 1024. Set it before the
	// registry is used; nil says no.
	Listens func(endpoint.Owner, endpoint.Endpoint) bool

	seq atomic.Uint64 // of the last change

	mu       sync.RWMutex // guards what follows
	rows     map[endpoint.ID]*row
	exact    *index // of ONC
	programs map[programKey]*list
	order    list // all rows, oldest first
	watchers map[*Watcher]struct{}
}

// programKey leads to the versions of a program on a transport.
type programKey struct {
	dialect endpoint.Dialect
	netid   rpcbind.NetID
	program uint32
}

func programOf(r *endpoint.Registration) programKey { return programKey{r.Dialect, r.NetID, r.Program} }

// New returns an empty registry.
func New() *Registry {
	return &Registry{
		rows:     map[endpoint.ID]*row{},
		exact:    newIndex(),
		programs: map[programKey]*list{},
		order:    list{by: inOrder},
		watchers: map[*Watcher]struct{}{},
	}
}

// Seq returns the number of the last change; 0 before the first. Who has made
// something of the rows may keep it while Seq stays.
func (g *Registry) Seq() uint64 { return g.seq.Load() }

// Locate returns where an interface listens on a transport; ok is false if it
// is not registered there.
func (g *Registry) Locate(i endpoint.Interface, n rpcbind.NetID) (_ endpoint.Endpoint, ok bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	at, ok := g.exact.find(keyOf(i, n))
	if !ok {
		return endpoint.Endpoint{}, false
	}
	if e, ok := g.exact.slots[at].endpoint(); ok {
		return e, true
	}
	return g.exact.rows[at].reg.Endpoint, true
}

// Latest returns the youngest registration of a program on a transport, in
// whatever version, or nil.
func (g *Registry) Latest(program uint32, n rpcbind.NetID) *endpoint.Registration {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if l := g.programs[programKey{endpoint.ONC, n, program}]; l != nil {
		return &l.last.reg
	}
	return nil
}

// Versions returns the lowest and highest registered version of a program on a
// transport; ok is false if there is none. It looks at each version.
func (g *Registry) Versions(program uint32, n rpcbind.NetID) (low, high uint32, ok bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	l := g.programs[programKey{endpoint.ONC, n, program}]
	if l == nil {
		return 0, 0, false
	}
	low, high = l.first.reg.Version, l.first.reg.Version
	for r := l.first; r != nil; r = r.links[l.by].next {
		low, high = min(low, r.reg.Version), max(high, r.reg.Version)
	}
	return low, high, true
}

// All returns every registration, oldest first, and the number of the change
// they stand at. The slice is the caller's.
func (g *Registry) All() ([]*endpoint.Registration, uint64) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.all(), g.seq.Load()
}

func (g *Registry) all() []*endpoint.Registration {
	regs := make([]*endpoint.Registration, 0, len(g.rows))
	for r := g.order.first; r != nil; r = r.links[inOrder].next {
		regs = append(regs, &r.reg)
	}
	return regs
}

// Add registers regs: all of them or, if one cannot be, none. What stands
// already, at the same endpoint, is not an error. It sets the fields ID and Since and returns the
// registrations as they stand. The error joins a [RowError] for each that cannot
// be, and one that wraps [ErrFull] if there are too many.
func (g *Registry) Add(regs ...endpoint.Registration) ([]*endpoint.Registration, error) {
	rights := make([]error, len(regs)) // looked into before lookups have to wait
	for i := range regs {
		rights[i] = g.mayAdd(&regs[i])
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	standing, fresh, err := g.plan(regs, rights)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for _, r := range fresh {
		r.reg.ID = g.newID()
		r.reg.Since = now
		g.insert(r)
	}
	return standing, nil
}

// plan returns the registrations as they will stand, and the rows to insert for
// it; rights has an error for each that may not be.
func (g *Registry) plan(regs []endpoint.Registration, rights []error) (standing []*endpoint.Registration, fresh []*row, err error) {
	var mistakes []error
	planned := map[exactKey]*row{}
	for i := range regs {
		reg := &regs[i]
		if rights[i] != nil {
			mistakes = append(mistakes, rights[i])
			continue
		}
		k := keyOf(reg.Interface, reg.NetID)
		r := cmp.Or(g.exact.get(k), planned[k])
		if r == nil {
			r = &row{reg: *reg}
			planned[k] = r
			fresh = append(fresh, r)
		}
		if err := sameAs(reg, &r.reg); err != nil {
			mistakes = append(mistakes, err)
		}
		standing = append(standing, &r.reg)
	}
	if len(g.rows)+len(fresh) > MaxRows {
		mistakes = append(mistakes, full(len(fresh)))
	}
	return standing, fresh, errors.Join(mistakes...)
}

func (g *Registry) newID() endpoint.ID {
	for {
		id := endpoint.ID(rand.Uint64N(uint64(endpoint.MaxID))) + 1
		if g.rows[id] == nil {
			return id
		}
	}
}

func (g *Registry) insert(r *row) {
	g.rows[r.reg.ID] = r
	g.exact.put(r)
	k := programOf(&r.reg)
	l := g.programs[k]
	if l == nil {
		l = &list{by: inProgram}
		g.programs[k] = l
	}
	l.push(r)
	g.order.push(r)
	g.publish(Event{Seq: g.seq.Add(1), Kind: Added, Registration: &r.reg})
}

// Remove ends the registrations of an interface on some transports: all that
// there are or, if one of them is not by's to change, none. It returns how many
// ended; 0 is no error. The error joins a [RowError] for each that must stay.
func (g *Registry) Remove(by endpoint.Owner, i endpoint.Interface, on ...rpcbind.NetID) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var ending []*row
	for _, n := range on {
		if r := g.exact.get(keyOf(i, n)); r != nil && !slices.Contains(ending, r) {
			ending = append(ending, r)
		}
	}
	if err := g.end(by, ending); err != nil {
		return 0, err
	}
	return len(ending), nil
}

// RemoveID ends the registrations with these ids: all or, if one is not there
// or not by's to change, none. The error wraps [ErrNotFound] or joins a
// [RowError] for each that must stay.
func (g *Registry) RemoveID(by endpoint.Owner, ids ...endpoint.ID) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var ending []*row
	for _, id := range ids {
		r := g.rows[id]
		if r == nil {
			return fmt.Errorf("%s: %w", id, ErrNotFound)
		}
		ending = append(ending, r)
	}
	return g.end(by, ending)
}

func (g *Registry) end(by endpoint.Owner, ending []*row) error {
	var mistakes []error
	for _, r := range ending {
		if err := mayEnd(by, &r.reg); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	if len(mistakes) > 0 {
		return errors.Join(mistakes...)
	}
	for _, r := range ending {
		g.delete(r)
	}
	return nil
}

func (g *Registry) delete(r *row) {
	if g.rows[r.reg.ID] != r {
		return // named twice
	}
	delete(g.rows, r.reg.ID)
	g.exact.delete(keyOf(r.reg.Interface, r.reg.NetID))
	k := programOf(&r.reg)
	l := g.programs[k]
	if l.remove(r); l.first == nil {
		delete(g.programs, k)
	}
	g.order.remove(r)
	g.publish(Event{Seq: g.seq.Add(1), Kind: Removed, Registration: &r.reg})
}
