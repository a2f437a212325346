package gate

import (
	"context"
	"maps"
	"sync"
)

// maxBehind is how many events a watcher may fall behind before it misses the oldest.
const maxBehind = 1024

// Events are counted and given to all who watch.
type events struct {
	mu       sync.Mutex // guards what follows
	watchers map[*Watcher]struct{}
	kinds    [kinds]uint64
	promised uint64
	refused  map[string]uint64 // by rule
}

// A Watcher gets events in their order. It belongs to one goroutine, and is closed by it.
type Watcher struct {
	events *events
	wake   chan struct{} // has room for one: something is there to fetch

	// Guarded by events.mu.
	queue  []Event
	missed uint64
}

func (e *events) watch() *Watcher {
	w := &Watcher{events: e, wake: make(chan struct{}, 1)}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.watchers == nil {
		e.watchers = map[*Watcher]struct{}{}
	}
	e.watchers[w] = struct{}{}
	return w
}

// Close ends the watcher.
func (w *Watcher) Close() {
	w.events.mu.Lock()
	defer w.events.mu.Unlock()
	delete(w.events.watchers, w)
}

// Next waits for events and returns those that are there, at least one, and how many older ones were missed since it was last called, or the
// context's error.
func (w *Watcher) Next(ctx context.Context) (all []Event, missed uint64, err error) {
	for {
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-w.wake:
		}
		w.events.mu.Lock()
		all, missed = w.queue, w.missed
		w.queue, w.missed = nil, 0
		w.events.mu.Unlock()
		if len(all) > 0 {
			return all, missed, nil
		}
	}
}

// publish counts an event and gives it to every watcher.
func (e *events) publish(one Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kinds[one.Kind]++
	switch one.Kind {
	case Promised:
		e.promised += uint64(len(one.Pinholes))
	case Refused:
		if e.refused == nil {
			e.refused = map[string]uint64{}
		}
		e.refused[one.Rule]++
	}
	for w := range e.watchers {
		if len(w.queue) == maxBehind {
			w.queue = append(w.queue[:0:0], w.queue[maxBehind/2:]...)
			w.missed += maxBehind / 2
		}
		w.queue = append(w.queue, one)
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// counts returns what was counted; how many are open is for others to say.
func (e *events) counts() SessionCounts {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := SessionCounts{Begun: e.kinds[Began], Promised: e.promised, Refused: maps.Clone(e.refused)}
	if c.Refused == nil {
		c.Refused = map[string]uint64{}
	}
	return c
}
