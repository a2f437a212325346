package probe

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// A seat is the place of one try within the prober's bounds.
//
// A port that is filtered is silent until the time is up. If its try kept a connection's place
// for as long, the four places of a host would try four filtered ports in the prober's time, and
// a host that drops everything would take minutes. So who has heard nothing for a moment gives
// its place to the next try and waits on among the silent ones: a SYN that nobody answers is no
// connection. Who is answered and wants to go on talking takes a place again.
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

// take keeps the place from now on, and waits for one if it was given up.
func (s *seat) take(ctx context.Context) error {
	s.timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	if !s.silent {
		return nil
	}
	s.release()
	s.release, s.silent = nil, false
	release, err := s.p.acquire(ctx, s.host)
	if err != nil {
		return err
	}
	s.release = release
	return nil
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
