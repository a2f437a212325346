package transport

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go4.org/netipx"
)

// Rules are how much a [Guard] lets everybody have. The zero value of a field
// sets no bound.
//
// A source is an IPv4 address, or the /64 network of an IPv6 address, since one
// host may have all of it, or a link-local address. This host is no source: its
// users cannot be told apart by an address, and one must not shut the others out.
type Rules struct {
	// Ask is the networks that may ask; nil is all. This host may ask in any
	// case. Datagrams of others are dropped, their connections closed.
	Ask *netipx.IPSet
	// Connections is how many may be open at a time, TCP and local together. The
	// last tenth is for uid 0, and the tenth before it for local connections: who
	// opens many over TCP does not keep servers from registering.
	Connections int
	// PerSource is how many TCP connections of one source may be open at a time.
	PerSource int
	// PerUser is how many local connections of one uid may be open at a time;
	// uid 0 has no such bound. Less than a tenth of Connections leaves others room.
	PerUser int
	// Queries is how many calls of one source are answered per second in the long
	// run: a datagram above it is dropped, a connection ended. Datagrams and calls
	// over TCP are counted apart, because the source of a datagram can be forged:
	// who floods in another's name leaves that one TCP.
	Queries int
	// Burst is how many calls are answered at once; 0 is as many as Queries.
	Burst int
}

// rules are Rules as they are applied.
type rules struct {
	Rules
	interval time.Duration // between two calls of a source in the long run
	window   time.Duration // of all calls of a burst, were they apart
}

func newRules(r Rules) *rules {
	p := &rules{Rules: r}
	if r.Queries > 0 {
		p.interval = max(time.Second/time.Duration(r.Queries), 1)
		burst := time.Duration(r.Queries)
		if r.Burst > 0 {
			burst = time.Duration(r.Burst)
		}
		p.window = min(burst, math.MaxInt64/2/p.interval) * p.interval
	}
	return p
}

// A Guard decides who is served and how much, by rules that may change while it
// is at work. All servers of a daemon share one, made by [NewGuard]. Its methods
// may be called from any goroutine; a nil Guard lets everybody have everything.
type Guard struct {
	// ThisHost tells whether an address is this host's own; loopback addresses
	// are in any case. It is set before the guard is used, if at all.
	ThisHost func(netip.Addr) bool

	rules   atomic.Pointer[rules]
	began   time.Time
	seed    maphash.Seed
	buckets buckets
	refused [refusals]atomic.Uint64

	mu      sync.Mutex // guards what follows
	open    int        // connections
	sources map[source]int
	users   map[uint32]int
}

// NewGuard returns a guard that applies r.
func NewGuard(r Rules) *Guard {
	g := &Guard{began: time.Now(), seed: maphash.MakeSeed(), sources: map[source]int{}, users: map[uint32]int{}}
	g.SetRules(r)
	return g
}

// SetRules replaces the rules for whatever comes next. Connections that are open
// count under the new ones and stay; strangers' calls over them end them.
func (g *Guard) SetRules(r Rules) { g.rules.Store(newRules(r)) }

// Counts are what a guard has let in and what it has refused since it was made,
// by reason.
type Counts struct {
	Open       int    // connections that are open now
	Strangers  uint64 // datagrams and connections from networks that may not ask
	Busy       uint64 // connections, because too many were open
	BusySource uint64 // connections, because too many of their source were open
	BusyUser   uint64 // connections, because too many of their user were open
	Throttled  uint64 // datagrams, and connections ended, because their source asked too often
}

// Counts returns the counts; of a nil Guard they are zero.
func (g *Guard) Counts() Counts {
	if g == nil {
		return Counts{}
	}
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	return Counts{
		Open:       open,
		Strangers:  g.refused[stranger].Load(),
		Busy:       g.refused[busy].Load(),
		BusySource: g.refused[busySource].Load(),
		BusyUser:   g.refused[busyUser].Load(),
		Throttled:  g.refused[throttled].Load(),
	}
}

// A refusal is the reason why somebody is not served.
type refusal uint8

const (
	stranger refusal = iota
	busy
	busySource
	busyUser
	throttled
	refusals // how many there are
)

func (r refusal) Error() string {
	return [...]string{
		stranger:   "its network may not ask",
		busy:       "too many connections are open",
		busySource: "too many connections of its source are open",
		busyUser:   "too many connections of its user are open",
		throttled:  "its source asks too often",
	}[r]
}

// refuse counts a refusal and returns it.
func (g *Guard) refuse(r refusal) error {
	g.refused[r].Add(1)
	return r
}

// The two ways of asking, whose calls are counted apart.
const (
	byDatagram = iota
	byConnection
)

// mayAsk returns nil or the refusal of a call from an address; the zero address
// is a local socket's. The time at counts from the guard's beginning: the clock
// is read into it if it is zero, so that a server reads it at most once for all
// that came together, and never for loopback.
func (g *Guard) mayAsk(from netip.Addr, way byte, at *time.Duration) error {
	if g == nil || !from.IsValid() || from.IsLoopback() {
		return nil
	}
	var why refusal
	switch r := g.rules.Load(); {
	case r.Ask != nil && !r.Ask.Contains(from):
		why = stranger
	case r.Queries > 0 && !g.buckets.take(g.id(from, way), g.clock(at), r):
		why = throttled
	default:
		return nil
	}
	if g.thisHost(from) {
		return nil
	}
	return g.refuse(why)
}

// id returns what a source is called in the table of buckets. Its seed is
// secret, so nobody can choose sources that meet there.
func (g *Guard) id(from netip.Addr, way byte) uint64 {
	var b [17]byte
	*(*source)(b[:]) = sourceOf(from)
	b[16] = way
	return maphash.Bytes(g.seed, b[:])
}

func (g *Guard) clock(at *time.Duration) time.Duration {
	if *at == 0 {
		*at = time.Since(g.began)
	}
	return *at
}

// thisHost tells whether an address is this host's own.
func (g *Guard) thisHost(a netip.Addr) bool {
	return a.IsLoopback() || g.ThisHost != nil && g.ThisHost(a)
}

// A source is what [Rules] say, as its first address. The zero value is none.
type source [16]byte

// sourceOf returns the source that an address belongs to.
func sourceOf(a netip.Addr) source {
	s := source(a.As16())
	if a.Is6() && !a.IsLinkLocalUnicast() { // all link-local addresses are in one /64
		clear(s[8:])
	}
	return s
}
