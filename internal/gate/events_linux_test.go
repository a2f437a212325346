package gate

import (
	"context"
	"testing"
)

// waitForEvent waits until a watcher is told of such an event, and returns it.
func waitForEvent(t testing.TB, w *Watcher, what string, is func(Event) bool) Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var seen []Event
	for {
		all, _, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("waited in vain for %s, and saw %+v", what, seen)
		}
		for _, e := range all {
			if is(e) {
				return e
			}
		}
		seen = append(seen, all...)
	}
}
