package registry_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// TestEverythingAtOnce has sockets come and go under rows, while these are
// checked, registered again, removed, read, watched and reloaded: the race
// detector looks. When all sockets are closed and the process has ended, nothing
// stands, and a watcher knows.
func TestEverythingAtOnce(t *testing.T) {
	const writers, rounds, programs = 4, 300, 10
	c := start(t)
	before := descriptors(t)
	var sockets table
	file := newFailing()
	kept := registry.Record{Registration: row(root, 99, 1, rpcbind.TCP, 2000), Order: 1}
	kept.ID, kept.Evidence = 99, endpoint.Permanent
	file.Store.Write(registry.Batch{Rows: []registry.Record{kept}})
	journal := newFailing()
	g := openWith(t, registry.Config{Sockets: &sockets, Store: journal, Permanent: file, Grace: 10 * time.Millisecond})
	f := follower{watcher: g.Watch(nil)}
	defer f.watcher.Close()

	ctx, cancel := context.WithCancel(t.Context())
	running := make(chan error, 1)
	go func() { running <- g.Run(ctx) }()

	var writing, others sync.WaitGroup
	for i := range uint32(writers) {
		writing.Go(func() {
			owner := endpoint.Owner{UID: 1000 + i%2}
			for k := range uint32(rounds) {
				r := row(owner, k%programs, i/2, rpcbind.TCP, 2000+uint16(k%programs))
				claims := []registry.Claim{c.claim(), c.asked(), c.elsewhere(), {}, {Evidence: endpoint.Lease, TTL: time.Millisecond}}
				claim := claims[k%uint32(len(claims))]
				claim.Owner = owner
				sockets.open(owner, r.Endpoint)
				_, err := g.Add(claim, r, r)
				if err != nil && !errors.Is(err, registry.ErrNotOwner) {
					t.Errorf("Add = %v", err)
				}
				sockets.closeOf(owner, r.Endpoint)
				g.Hint(r.Addr.Port())
				if k%3 == 0 {
					g.Remove(owner, r.Interface, rpcbind.TCP)
				}
			}
		})
	}
	stop := make(chan struct{})
	for _, do := range []func() error{
		g.Check, g.Reload,
		func() error {
			journal.fail(errors.New("no space"))
			time.Sleep(time.Millisecond)
			journal.fail(nil)
			return nil
		},
		func() error {
			g.Locate(endpoint.Program(1, 1), rpcbind.TCP)
			g.Latest(2, rpcbind.TCP)
			g.Versions(3, rpcbind.TCP)
			g.All()
			g.Counts()
			g.SetLimits(registry.DefaultMaxRows, registry.DefaultMaxUserRows, registry.DefaultMaxUserGrants)
			g.Refuse(nil, &hers, registry.ErrRight)
			return nil
		},
	} {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if err := do(); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	others.Wait()

	c.end()
	waitFor(t, "all that sockets and a process spoke for to end", func() bool {
		g.Hint(0)
		rows, _ := g.All()
		return !slices.ContainsFunc(rows, func(r *endpoint.Registration) bool {
			return r.Evidence != endpoint.Permanent && r.Evidence != endpoint.Lease
		})
	})
	for _, o := range []endpoint.Owner{alice, bob} {
		for v := range uint32(2) {
			for p := range uint32(programs) {
				g.Remove(root, endpoint.Program(p, v), rpcbind.TCP)
			}
		}
		if n := g.Rows(o); n != 0 {
			t.Errorf("%d rows are counted for uid %d, want 0", n, o.UID)
		}
	}
	checkStanding(t, g, "99 permanent")
	waitFor(t, "the journal to be written", func() bool { return stored(t, journal) == "" })
	f.catchUp(t, g.Seq())
	if all, _ := g.All(); !slices.Equal(f.rows, all) {
		t.Errorf("a watcher has %d rows, want %d", len(f.rows), len(all))
	}
	cancel()
	if err := <-running; err != nil {
		t.Errorf("Run = %v", err)
	}
	leaks(t, g, before-c.fds)
}

// waitFor waits until a condition holds.
func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}
