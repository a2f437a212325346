package registry_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

func TestWatch(t *testing.T) {
	g := registry.New()
	mustAdd(t, g, own(rpcbind.TCP), row(alice, 7, 1, rpcbind.TCP, 2000))
	w := g.Watch()
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
	if err != nil || len(events) != 2 || events[0].Kind != registry.Added || events[0].Registration != r || events[0].Seq != 4 ||
		events[1].Kind != registry.Removed || events[1].Registration.Version != 1 || events[1].Seq != 5 {
		t.Fatalf("Next = %+v, %v, want change 4, added, and 5, removed", events, err)
	}
}

func TestWatchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := registry.New()
		w := g.Watch()
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
		f := follower{watcher: g.Watch()}
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
		g.Remove(alice, endpoint.Program(1000, 0), rpcbind.UDP) // it goes on from there
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
		w := g.Watch()
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
				if _, err := g.Add(row(alice, program, k%50, rpcbind.TCP, 2000), row(alice, program, k%50, rpcbind.UDP, 2000)); err != nil {
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
			f := follower{watcher: g.Watch()}
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
