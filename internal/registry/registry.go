// Package registry is the index of who listens where: every registration, in
// memory, with the rules of who may add and remove, and the evidence that each
// is believed for. A registration ends when its evidence does.
package registry

import (
	"cmp"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/socktable"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// Config is what a registry is opened with. The zero value is a registry in
// memory whose rows are believed without looking.
type Config struct {
	Own       []endpoint.Registration // of the mapper itself: nobody may change them
	Store     Store                   // journal of the rows; nil: none, a restart forgets them
	Permanent Store                   // of what stays until somebody removes it; nil: nothing can
	Sockets   Sockets                 // the kernel's table; nil: nobody can be shown to listen
	Unchecked bool                    // believe owners without looking at sockets and processes

	// Ours tells whether an address is this host's, so that a socket can be
	// looked for. Nil: every one is.
	Ours func(netip.Addr) bool

	Grace       time.Duration       // how long a socket may be missing at first; 0: DefaultGrace
	Lease       time.Duration       // how long what cannot be looked at is believed; 0: DefaultLease
	MaxRows     int                 // in total, of which uid 0 keeps a tenth for itself; 0: DefaultMaxRows
	MaxUserRows int                 // of one user other than uid 0; 0: DefaultMaxUserRows
	Reserved    map[uint32][]uint32 // ONC programs that only uid 0 and these users may register

	Pools         Pools  // what ports are given from
	Seed          uint64 // where in a pool to begin
	MaxUserGrants int    // grants of one user other than uid 0; 0: DefaultMaxUserGrants
	// Free tells whether a server could listen at a port; nil: where no socket is.
	Free func(udp bool, port uint16) bool

	Log *slog.Logger // nil discards
}

// Defaults of a [Config].
const (
	DefaultGrace       = 10 * time.Second
	DefaultLease       = time.Hour
	DefaultMaxRows     = 1 << 18
	DefaultMaxUserRows = 1024

	DefaultMaxUserGrants = 64
)

// Sockets is the kernel's table of sockets; [socktable.Table] is one.
type Sockets interface {
	// Snapshot returns all sockets that receive.
	Snapshot() (*socktable.Snapshot, error)
	// At returns sockets that receive at an endpoint, none if there is none; not
	// always all of them.
	At(endpoint.Endpoint) ([]socktable.Socket, error)
}

// A Registry holds registrations. Its methods may be called from any goroutine.
// The registrations it hands out are shared and never change: a row that
// changes is another value.
type Registry struct {
	c        Config
	ports    ports
	counters counters
	seq      atomic.Uint64 // of the last change
	hints    chan struct{} // has room for one: a socket closed at a registered port

	looking  sync.Mutex // one check at a time; taken before change, and guards what follows
	looked   looked
	glimpses []glimpse // memory, to be used again

	// Changes are made one at a time, the journal first: what only changes look
	// at, and reading what follows, needs nothing but this.
	change    sync.Mutex // guards what follows
	processes processes
	users     map[endpoint.Owner]int // rows
	held      atPorts
	last      uint64 // order of the youngest row
	behind    bool   // the journal could not be written
	restless  int    // rows that must be looked at even if no socket has changed
	given     given

	mu       sync.RWMutex // guards what follows; written with change held
	rows     map[endpoint.ID]*row
	exact    *index // of ONC
	programs map[programKey]*list
	places   map[endpoint.Place]*row // of DCE
	uuids    map[ndr.UUID]*list      // of DCE
	order    list                    // all rows, oldest first
	watchers map[*Watcher]struct{}
}

// programKey leads to the versions of an ONC program on a transport.
type programKey struct {
	netid   rpcbind.NetID
	program uint32
}

// New returns an empty registry in memory that believes what it is told.
func New() *Registry {
	g, err := Open(Config{})
	if err != nil { // nothing is opened that could fail
		panic(err)
	}
	return g
}

// Open returns a registry with what the stores hold and is still true. It owns
// the stores, and closes them in [Registry.Close]; not if it fails.
func Open(c Config) (*Registry, error) {
	c.Grace = cmp.Or(c.Grace, DefaultGrace)
	c.Lease = cmp.Or(c.Lease, DefaultLease)
	c.MaxRows = cmp.Or(c.MaxRows, DefaultMaxRows)
	c.MaxUserRows = cmp.Or(c.MaxUserRows, DefaultMaxUserRows)
	c.MaxUserGrants = cmp.Or(c.MaxUserGrants, DefaultMaxUserGrants)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	g := &Registry{
		c:         c,
		hints:     make(chan struct{}, 1),
		processes: processes{},
		users:     map[endpoint.Owner]int{},
		held:      atPorts{},
		given:     newGiven(&c),
		rows:      map[endpoint.ID]*row{},
		exact:     newIndex(),
		programs:  map[programKey]*list{},
		places:    map[endpoint.Place]*row{},
		uuids:     map[ndr.UUID]*list{},
		order:     list{by: inOrder},
		watchers:  map[*Watcher]struct{}{},
	}
	if err := g.load(); err != nil {
		return nil, err
	}
	return g, nil
}

// SetLimits replaces MaxRows, MaxUserRows and MaxUserGrants of the configuration. What
// is registered or given already stays.
func (g *Registry) SetLimits(rows, rowsPerUser, grantsPerUser int) {
	g.change.Lock()
	defer g.change.Unlock()
	g.c.MaxRows, g.c.MaxUserRows, g.c.MaxUserGrants = rows, rowsPerUser, grantsPerUser
}

// Close ends the use of the stores, and lets processes go. No change may follow,
// nor [Registry.Run] be running.
func (g *Registry) Close() error {
	g.change.Lock()
	defer g.change.Unlock()
	for r := g.order.first; r != nil; r = r.links[inOrder].next {
		g.processes.drop(r.proc)
		r.proc = nil
	}
	for p := range g.given.alive {
		for range p.grants {
			g.processes.drop(p)
		}
	}
	g.given.alive = nil
	var errs []error
	for _, s := range []Store{g.c.Store, g.c.Permanent} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// Seq returns the number of the last change; 0 before the first. Who has made
// something of the rows may keep it while Seq stays.
func (g *Registry) Seq() uint64 { return g.seq.Load() }

// Locate returns where an ONC program and version listens on a transport; ok is
// false if it is not registered there.
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
	if l := g.programs[programKey{n, program}]; l != nil {
		return l.last.reg
	}
	return nil
}

// Versions returns the lowest and highest registered version of a program on a
// transport; ok is false if there is none. It looks at each version.
func (g *Registry) Versions(program uint32, n rpcbind.NetID) (low, high uint32, ok bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	l := g.programs[programKey{n, program}]
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
		regs = append(regs, r.reg)
	}
	return regs
}
