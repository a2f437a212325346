package registry

import (
	"context"
	"fmt"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// A Kind says what an [Event] tells.
type Kind uint8

// Kinds of events.
const (
	Snapshot Kind = iota // everything that is registered
	Added                // one registration was made
	Removed              // one registration ended
)

func (k Kind) String() string {
	switch k {
	case Snapshot:
		return "snapshot"
	case Added:
		return "added"
	case Removed:
		return "removed"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// An Event is a change, or the state that changes are counted from.
type Event struct {
	Seq          uint64 // of the change, or of the last one in the snapshot; changes are numbered without gaps
	Kind         Kind
	Registration *endpoint.Registration   // what was added or removed
	All          []*endpoint.Registration // of a snapshot, oldest first
}

// MaxBehind is how many changes a watcher may fall behind before it gets a new
// snapshot in their place.
const MaxBehind = 1024

// A Watcher gets a snapshot, then every change in order. It belongs to one
// goroutine, and is closed by it.
type Watcher struct {
	registry *Registry
	wake     chan struct{} // has room for one: something is there to fetch

	// Guarded by registry.mu. The goroutine that owns the watcher may write with
	// the lock for readers: what else writes holds the one for writers.
	queue   []Event
	restart bool // the next event is a snapshot; queue is empty
}

// Watch returns a watcher whose first event is a snapshot.
func (g *Registry) Watch() *Watcher {
	w := &Watcher{registry: g, wake: make(chan struct{}, 1), restart: true}
	w.wake <- struct{}{}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watchers[w] = struct{}{}
	return w
}

// Close ends the watcher.
func (w *Watcher) Close() {
	w.registry.mu.Lock()
	defer w.registry.mu.Unlock()
	delete(w.registry.watchers, w)
}

// Next waits for events and returns those that are there, at least one, or the context's error.
func (w *Watcher) Next(ctx context.Context) ([]Event, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-w.wake:
		}
		if events := w.fetch(); len(events) > 0 {
			return events, nil
		}
	}
}

// fetch takes what is there: nothing if an earlier fetch took what it was woken for.
func (w *Watcher) fetch() []Event {
	g := w.registry
	g.mu.RLock()
	defer g.mu.RUnlock()
	if w.restart {
		w.restart = false
		return []Event{{Seq: g.seq.Load(), Kind: Snapshot, All: g.all()}}
	}
	events := w.queue
	w.queue = nil
	return events
}

// publish gives an event to every watcher. g.mu is held.
func (g *Registry) publish(e Event) {
	for w := range g.watchers {
		switch {
		case w.restart:
			continue // the snapshot will have it
		case len(w.queue) == MaxBehind:
			w.queue = nil
			w.restart = true
		default:
			w.queue = append(w.queue, e)
		}
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}
