package gate

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// A Gate stands in control channels: it takes them in at Policy.Listeners, goes on to the servers that were called in the
// clients' names, and lets through what followers do. Make one with [New].
type Gate struct {
	log    *slog.Logger
	holes  *Pinholes
	policy atomic.Pointer[Policy]
	ids    atomic.Uint64
	events events
	times  times

	// What opens and closes pinholes: the methods of holes, but for tests.
	openHoles  func(context.Context, []Pinhole) error
	closeHoles func(context.Context, uint64) error

	mu      sync.Mutex // guards what follows
	loop    *loop      // that listens now
	running bool
}

// New returns a gate that opens pinholes with holes. Nil discards the log.
func New(p *Policy, holes *Pinholes, log *slog.Logger) *Gate {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	g := &Gate{log: log, holes: holes, times: usualTimes, openHoles: holes.Open, closeHoles: holes.Close}
	g.policy.Store(p)
	return g
}

// Listen has control channels come in, which wait for Run; it has to be called then. Who else listens at Policy.Listeners, such as another gate, is named by the error.
func (g *Gate) Listen() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.listen()
}

// listen is Listen for who holds mu.
func (g *Gate) listen() error {
	if g.loop != nil {
		return errors.New("gate: it listens already")
	}
	l, err := newLoop(g, g.policy.Load())
	if err == nil {
		g.loop = l
	}
	return err
}

// start returns the loop that Run is to run.
func (g *Gate) start() (*loop, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running {
		return nil, errors.New("gate: it runs already")
	}
	if g.loop == nil {
		if err := g.listen(); err != nil {
			return nil, err
		}
	}
	g.running = true
	return g.loop, nil
}

// Run serves control channels until ctx is cancelled, then returns nil; it listens first if Listen was not called. New ones are dropped from then
// on, those that are open end, and pinholes and data go on.
func (g *Gate) Run(ctx context.Context) error {
	l, err := g.start()
	if err != nil {
		return err
	}
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.loop, g.running = nil, false
	}()
	stop := context.AfterFunc(ctx, func() { l.poll.post(func() { l.stopping = true }) })
	defer stop()
	return l.run(ctx)
}

// Reload replaces the policy. Sessions that it lets be go on under it, others end, and listeners follow; after an error all is as
// before. The table and the routes are [System]'s.
func (g *Gate) Reload(p *Policy) error {
	var err error
	if !g.ask(func(l *loop) { err = l.reload(p) }) {
		g.policy.Store(p)
	}
	if err == nil {
		g.holes.setPolicy(p)
	}
	return err
}

// Sessions returns those that are open, the oldest first.
func (g *Gate) Sessions() []Session {
	var all []Session
	g.ask(func(l *loop) { all = l.sessions() })
	return all
}

// serving returns the loop that listens, nil if none does.
func (g *Gate) serving() *loop {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.loop
}

// ask has the loop do something, and reports whether one runs.
func (g *Gate) ask(do func(*loop)) bool {
	l := g.serving()
	if l == nil {
		return false
	}
	done := make(chan struct{})
	if !l.poll.post(func() { do(l); close(done) }) {
		return false
	}
	select {
	case <-done:
		return true
	case <-l.ended:
		return false
	}
}

// Watch returns a watcher of the gate's events from now on.
func (g *Gate) Watch() *Watcher { return g.events.watch() }

// Counts returns what happened so far.
func (g *Gate) Counts() SessionCounts {
	c := g.events.counts()
	c.Open = len(g.Sessions())
	return c
}

func (g *Gate) nextID() uint64 { return g.ids.Add(1) }

// nameOf returns what people call an interface.
func (g *Gate) nameOf(i endpoint.Interface) string {
	if i.Dialect == endpoint.DCE {
		return catalog.Builtin().InterfaceName(i.UUID, i.Major, i.Minor)
	}
	p, _ := catalog.Builtin().Program(i.Program)
	return p.Name
}

// setPolicy has another policy decide what may be opened from now on. What is open goes on.
func (h *Pinholes) setPolicy(p *Policy) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.books.setPolicy(p)
}
