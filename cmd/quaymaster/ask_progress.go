package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/internal/show"
)

// A progress tells a person how many of many hosts have answered.
type progress struct {
	screen show.Screen
	of     int

	mu    sync.Mutex // guards what follows
	done  int
	shown time.Time
}

func newProgress(s show.Screen, of int) *progress { return &progress{screen: s, of: of} }

// shows tells whether somebody watches, and has to wait.
func (p *progress) shows() bool { return p.screen.Terminal && p.of > 1 }

// step counts a host.
func (p *progress) step() {
	const often = 100 * time.Millisecond
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	if !p.shows() || time.Since(p.shown) < often {
		return
	}
	p.shown = time.Now()
	fmt.Fprintf(p.screen, "\r%d of %s", p.done, show.Count(p.of, "host", "hosts"))
}

// end takes the line away.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shows() && !p.shown.IsZero() {
		fmt.Fprint(p.screen, "\r\x1b[K")
	}
}
