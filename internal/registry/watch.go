package registry

import "context"

// MaxBehind is how many changes a watcher may fall behind before it gets a new
// snapshot in their place.
const MaxBehind = 1024

// A Watcher gets a snapshot, then every change in order. It belongs to one
// goroutine, and is closed by it.
type Watcher struct {
	registry *Registry
	wants    func(*Event) bool // which events beside snapshots; nil: all
	wake     chan struct{}     // has room for one: something is there to fetch

	// Guarded by registry.mu. The goroutine that owns the watcher may write with
	// the lock for readers: what else writes holds the one for writers.
	queue   []Event
	asides  int  // events of the queue that are no changes
	restart bool // the next event is a snapshot; queue is empty
}

// Watch returns a watcher whose first event is a snapshot. If wants is not nil it
// gets of the others only those which that is true of, and is not woken for the rest.
func (g *Registry) Watch(wants func(*Event) bool) *Watcher {
	w := &Watcher{registry: g, wants: wants, wake: make(chan struct{}, 1), restart: true}
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
	w.queue, w.asides = nil, 0
	return events
}

// maxAsides is how many events that are no changes may wait for a watcher, beside
// the changes: anybody can cause them, so that they must not cost it a change.
const maxAsides = MaxBehind / 2

// publish counts an event and gives it to every watcher. g.mu is held.
func (g *Registry) publish(e Event) {
	g.counters.count(e)
	for w := range g.watchers {
		if w.take(e) {
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
	}
}

// take queues an event, and tells whether there is something new to fetch.
func (w *Watcher) take(e Event) bool {
	switch {
	case w.wants != nil && !w.wants(&e):
		return false
	case w.restart, !e.Kind.changes() && w.asides == maxAsides:
		return false // the snapshot will have it, if it is a change
	case !e.Kind.changes():
		w.asides++
	case len(w.queue)-w.asides == MaxBehind:
		w.queue, w.asides, w.restart = nil, 0, true
		return true
	}
	w.queue = append(w.queue, e)
	return true
}
