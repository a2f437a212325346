package probe

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A seat is the place of one try within the prober's bounds: of a port, of a mapper, or of all
// that is said to be at one endpoint.
//
// A port that is filtered is silent until the time is up. If its try kept a connection's place
// for as long, the four places of a host would try four filtered ports in the prober's time, and
// a host that drops everything would take minutes. So who has heard nothing for a moment gives
// its place to the next try and waits on among the silent ones: a SYN that nobody answers is no
// connection. Who is answered and wants to go on talking needs a place again.
type seat struct {
	p       *Prober
	host    netip.Addr
	timer   *time.Timer
	settled chan struct{} // closed when the try was answered, or has ended
	settle  func()

	mu      sync.Mutex // guards what follows
	release func()     // gives up what the try has; nil: it has nothing
	silent  bool       // it waits among the silent ones
}

const (
	// patience is the part of the prober's time that a try keeps its place without an answer: 10 ms of 3 s.
	// With four places 300 filtered ports so take a quarter more than the time of one, at 400 SYNs a second,
	// and a host that answers within that has never more than four connections.
	patience = 300
	// silentPerConn is how many silent tries there may be for each connection.
	silentPerConn = 4
)

// seat waits for a place. The caller must leave it.
func (p *Prober) seat(ctx context.Context, host netip.Addr) (*seat, error) {
	release, err := p.acquire(ctx, host)
	if err != nil {
		return nil, err
	}
	s := &seat{p: p, host: host, settled: make(chan struct{}), release: release}
	s.settle = sync.OnceFunc(func() { close(s.settled) })
	s.timer = time.AfterFunc(p.timeout()/patience, s.yield)
	return s, nil
}

// yield gives the place to others and waits among the silent ones.
func (s *seat) yield() {
	select {
	case s.p.silent <- struct{}{}:
	case <-s.settled:
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.settled: // meanwhile
		<-s.p.silent
		return
	default:
	}
	s.release()
	s.release, s.silent = func() { <-s.p.silent }, true
}

// keep tells whether the try has a place, which it has from now on until it leaves: that which it did not give
// up, or another that is free.
func (s *seat) keep() bool {
	s.timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	if !s.silent {
		return true
	}
	release, err := s.p.acquireNow(s.host)
	if err == nil {
		s.move(release)
	}
	return err == nil
}

// take is keep for who waits for a place. Meanwhile it is still one of the silent ones, so that all together
// are no more than these and the places.
func (s *seat) take(ctx context.Context) error {
	s.timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	if !s.silent {
		return nil
	}
	release, err := s.p.acquire(ctx, s.host)
	if err == nil {
		s.move(release)
	}
	return err
}

// move goes from the silent ones to a place.
func (s *seat) move(release func()) {
	s.release()
	s.release, s.silent = release, false
}

// connect opens a connection of TCP, or of a local socket, that has the place. One that came about when the
// place was given up, and no other is free, is closed, and opened again when there is one: no host has more of
// them than it is to have.
func (s *seat) connect(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := s.p.connect(ctx, network, address)
	if err != nil || s.keep() {
		return c, err
	}
	c.Close()
	if err := s.take(ctx); err != nil {
		return nil, err
	}
	return s.p.connect(ctx, network, address)
}

// leave gives up what the try has.
func (s *seat) leave() {
	s.timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	if s.release != nil {
		s.release()
		s.release = nil
	}
}

// together has tries run side by side, of which each begins when there is a place for it, at the host that it is for. Those
// that hear nothing do not hold up the others: all of a host that drops everything take little longer than
// one. It returns how many were begun when all of these have ended: fewer than n if the context ended first.
func (p *Prober) together(ctx context.Context, n int, host func(i int) netip.Addr, try func(i int, s *seat)) (begun int) {
	var tries sync.WaitGroup
	defer tries.Wait()
	for i := range n {
		s, err := p.seat(ctx, host(i))
		if err != nil {
			return i
		}
		tries.Go(func() {
			defer s.leave()
			try(i, s)
		})
	}
	return n
}
