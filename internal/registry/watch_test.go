package registry_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

func TestWatch(t *testing.T) {
	g := open(t, rpcbind.TCP)
	mustAdd(t, g, row(alice, 7, 1, rpcbind.TCP, 2000))
	w := g.Watch(nil)
	defer w.Close()
	mustAdd(t, g, row(alice, 7, 2, rpcbind.TCP, 2000)) // before the first fetch: the snapshot has it
	events, err := w.Next(t.Context())
	if err != nil || len(events) != 1 || events[0].Kind != registry.Snapshot || events[0].Seq != 3 || len(events[0].All) != 3 {
		t.Fatalf("Next = %+v, %v, want a snapshot of 3 rows at change 3", events, err)
	}
	r := mustAdd(t, g, row(alice, 7, 3, rpcbind.TCP, 2000))[0]
	g.Remove(root, endpoint.Program(7, 1), rpcbind.TCP)
	mustAdd(t, g, row(alice, 7, 3, rpcbind.TCP, 2000)) // changes nothing
	events, err = w.Next(t.Context())
	if err != nil || len(events) != 2 || events[0].Kind != registry.Made || events[0].Registration != r || events[0].Seq != 4 ||
		events[1].Kind != registry.Ended || events[1].Registration.Version != 1 || events[1].Seq != 5 {
		t.Fatalf("Next = %+v, %v, want change 4, made, and 5, ended", events, err)
	}
}

func TestWatchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := registry.New()
		w := g.Watch(nil)
		defer w.Close()
		if _, err := w.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var events []registry.Event
		var err error
		go func() { events, err = w.Next(ctx) }()
		synctest.Wait()
		if events != nil || err != nil {
			t.Fatalf("Next without a change = %v, %v, want it to wait", events, err)
		}
		mustAdd(t, g, row(alice, 7, 1, rpcbind.TCP, 2000))
		synctest.Wait()
		if len(events) != 1 || err != nil {
			t.Fatalf("Next = %v, %v, want the change", events, err)
		}
		go func() { events, err = w.Next(ctx) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if err != context.Canceled {
			t.Errorf("Next of a cancelled context = %v, want %v", err, context.Canceled)
		}
	})
}

func TestFallenBehind(t *testing.T) {
	for _, behind := range []int{registry.MaxBehind - 1, registry.MaxBehind, registry.MaxBehind + 1, 3 * registry.MaxBehind} {
		g := registry.New()
		f := follower{watcher: g.Watch(nil)}
		f.catchUp(t, 0)
		mustAdd(t, g, many(behind)...)
		f.catchUp(t, uint64(behind))
		wantSnapshots := 1
		if behind > registry.MaxBehind {
			wantSnapshots = 2
		}
		if f.snapshots != wantSnapshots {
			t.Errorf("%d changes behind: %d snapshots, want %d", behind, f.snapshots, wantSnapshots)
		}
		g.Remove(root, endpoint.Program(1000, 0), rpcbind.UDP) // it goes on from there
		f.catchUp(t, uint64(behind+1))
		if all, _ := g.All(); !slices.Equal(f.rows, all) {
			t.Errorf("%d changes behind: %d rows, want the %d that there are", behind, len(f.rows), len(all))
		}
		f.watcher.Close()
	}
}

func TestClosedWatcherGetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := registry.New()
		w := g.Watch(nil)
		w.Next(t.Context())
		w.Close()
		mustAdd(t, g, many(10)...)
		ctx, cancel := context.WithCancel(t.Context())
		var events []registry.Event
		go func() { events, _ = w.Next(ctx) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if events != nil {
			t.Errorf("a closed watcher got %v", events)
		}
	})
}

// A watcher can be choosy: it is not woken for what it does not want.
func TestWatchSome(t *testing.T) {
	g := registry.New()
	w := g.Watch(func(e *registry.Event) bool { return e.Kind == registry.Ended })
	defer w.Close()
	if events := w.Fetch(); len(events) != 1 || events[0].Kind != registry.Snapshot {
		t.Fatalf("Fetch = %+v, want a snapshot", events)
	}
	mustAdd(t, g, many(2*registry.MaxBehind)...) // none of them wanted, none too many
	g.Remove(root, endpoint.Program(1000, 0), rpcbind.UDP)
	events, err := w.Next(t.Context())
	if err != nil || len(events) != 1 || events[0].Kind != registry.Ended || events[0].Seq != 2*registry.MaxBehind+1 {
		t.Errorf("Next = %+v, %v, want the end of one row", events, err)
	}
}

// Refusals are told, and never cost a watcher a change.
func TestWatchRefused(t *testing.T) {
	g := registry.New()
	w := g.Watch(nil)
	defer w.Close()
	g.Refuse(nil, &hers, registry.ErrRight) // before the snapshot: not told
	if events := w.Fetch(); len(events) != 1 || events[0].Kind != registry.Snapshot {
		t.Fatalf("%+v, want a snapshot only", events)
	}
	mustAdd(t, g, hers)
	other := row(bob, 7, 1, rpcbind.TCP, 3000)
	_, err := add(g, other)
	if events := w.Fetch(); len(events) != 2 || events[1].Kind != registry.Refused || events[1].Seq != 1 || *events[1].By != bob ||
		events[1].Err != err || events[1].Registration.Endpoint != other.Endpoint || events[1].Registration.Owner != bob {
		t.Fatalf("%+v, want the row, then why another was refused at the same change", events)
	}
	_, err = g.Remove(bob, hers.Interface, rpcbind.TCP)
	if events := w.Fetch(); len(events) != 1 || events[0].Kind != registry.Refused || !errors.Is(err, events[0].Err) || events[0].Registration.Owner != alice {
		t.Fatalf("%+v, want why an end was refused: %v", events, err)
	}

	refuse := func() {
		for range 3 * registry.MaxBehind {
			g.Refuse(&bob, &other, registry.ErrRight)
		}
	}
	count := func() (kinds [5]int) {
		for _, e := range w.Fetch() {
			kinds[e.Kind]++
		}
		return kinds
	}
	refuse()
	mustAdd(t, g, many(registry.MaxBehind-1)...)
	refuse()
	g.Remove(root, endpoint.Program(1000, 0), rpcbind.UDP)
	if got := count(); got != [5]int{registry.Made: registry.MaxBehind - 1, registry.Ended: 1, registry.Refused: registry.MaxBehind / 2} {
		t.Errorf("events by kind: %v, want every change, and some refusals", got)
	}
	mustAdd(t, g, row(root, 1000, 0, rpcbind.UDP, 2000))
	refuse()
	if got := count(); got[registry.Made] != 1 || got[registry.Refused] == 0 {
		t.Errorf("events by kind: %v, want refusals again", got)
	}
	if got := g.Counts(); got.Made != registry.MaxBehind+1 || got.Ended[registry.Removed] != 1 || got.Refused != 3+9*registry.MaxBehind || got.Renewed != 0 {
		t.Errorf("counts %+v", got)
	}
}

// TestConcurrent has writers, readers and watchers at once: the race detector
// looks, and every watcher that replays its events has what All has.
func TestConcurrent(t *testing.T) {
	const writers, watchers, rounds = 4, 3, 500
	g := registry.New()
	var writing, watching sync.WaitGroup
	done := make(chan struct{})
	for i := range writers {
		writing.Go(func() {
			program := uint32(10 + i)
			for k := range uint32(rounds) {
				if _, err := add(g, row(alice, program, k%50, rpcbind.TCP, 2000), row(alice, program, k%50, rpcbind.UDP, 2000)); err != nil {
					t.Error(err)
				}
				g.Lookup(endpoint.Program(10, k%50), rpcbind.TCP)
				g.Latest(11, rpcbind.UDP)
				g.Versions(12, rpcbind.TCP)
				if k%3 > 0 {
					g.Remove(root, endpoint.Program(program, (k+25)%50), rpcbind.NetIDs[:]...)
				}
			}
		})
	}
	for range watchers {
		watching.Go(func() {
			f := follower{watcher: g.Watch(nil)}
			defer f.watcher.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() { <-done; cancel() }()
			for {
				events, err := f.watcher.Next(ctx)
				for _, e := range events {
					f.take(errorer{t}, e)
				}
				if err != nil {
					break
				}
			}
			f.catchUp(errorer{t}, g.Seq())
			if all, _ := g.All(); !slices.Equal(f.rows, all) {
				t.Errorf("a watcher has %d rows, want the %d that there are, in their order", len(f.rows), len(all))
			}
		})
	}
	writing.Wait()
	close(done)
	watching.Wait()
}

// An errorer fails a test from any goroutine.
type errorer struct{ *testing.T }

func (e errorer) Fatalf(format string, args ...any) {
	e.Helper()
	e.Errorf(format, args...)
}
