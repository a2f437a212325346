package registry_test

import (
	"errors"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// TestPlaceTaken: whoever registers in the place of a row has it looked at first.
func TestPlaceTaken(t *testing.T) {
	other := row(bob, 7, 1, rpcbind.TCP, 3000)
	gone := func(s *table) { s.close(hers.Endpoint) }
	for _, tt := range []struct {
		name   string
		asked  endpoint.Registration
		change func(*table)
		is     error  // of Add
		ended  string // of the old row
	}{
		{"live, conflict", other, func(*table) {}, registry.ErrConflict, ""},
		{"live, the same", hers, func(*table) {}, nil, ""},
		{"live, another annotation", annotated(hers, "his"), func(*table) {}, registry.ErrConflict, ""},
		{"dead, conflict", other, gone, nil, registry.Gone.String()},
		{"dead, the same", hers, gone, nil, registry.Gone.String()},
		{"dead, another annotation", annotated(hers, "his"), gone, nil, registry.Gone.String()},
		{"taken over", other, func(s *table) { gone(s); s.open(bob, hers.Endpoint) }, nil, registry.TakenOver.String()},
		{"not named, but listed", other, func(s *table) { s.blind = true }, registry.ErrConflict, ""},
		{"dead, but not listed", other, func(s *table) { gone(s); s.unread = true }, registry.ErrConflict, ""},
		{"named, but not listed", other, func(s *table) { s.missing = 9 }, registry.ErrConflict, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var sockets table
			sockets.open(alice, hers.Endpoint)
			g := openWith(t, registry.Config{Sockets: &sockets})
			ended := endings(g)
			old := claim(t, g, registry.Claim{Owner: alice}, hers)[0]
			tt.change(&sockets)
			rows, err := g.Add(registry.Claim{Owner: bob}, tt.asked, row(bob, 8, 1, rpcbind.TCP, 3000))
			if !errors.Is(err, tt.is) {
				t.Fatalf("Add = %v, want %v", err, tt.is)
			}
			checkEndings(t, ended, tt.ended)
			if err != nil {
				if all, _ := g.All(); len(all) != 1 || all[0] != old {
					t.Errorf("%d rows stand after %v, want the old one", len(all), err)
				}
				return
			}
			if replaced := rows[0].Owner == bob && rows[0].ID != old.ID && rows[0].Annotation == tt.asked.Annotation; replaced != (tt.ended != "") {
				t.Errorf("Add = %+v in place of %+v", rows[0], old)
			}
		})
	}
}

// A batch that fails leaves a dead row to the next check.
func TestNothingEndsForARefusedBatch(t *testing.T) {
	var sockets table
	sockets.open(alice, hers.Endpoint)
	g := openWith(t, registry.Config{Sockets: &sockets})
	ended := endings(g)
	claim(t, g, registry.Claim{Owner: alice}, hers)
	sockets.close(hers.Endpoint)
	if _, err := g.Add(registry.Claim{Owner: bob}, row(bob, 7, 1, rpcbind.TCP, 3000), row(bob, 8, 1, rpcbind.TCP, 80)); !errors.Is(err, registry.ErrRight) {
		t.Fatalf("Add = %v, want %v", err, registry.ErrRight)
	}
	checkEndings(t, ended, "")
	evidence(t, g, hers, "listening")
}

// TestNamedTwice has a batch name an interface twice, where nothing stands, a
// dead row, a live one of hers, or one of bob's.
func TestNamedTwice(t *testing.T) {
	other := row(alice, 7, 1, rpcbind.TCP, 3000)
	lease := registry.Claim{Owner: alice, Evidence: endpoint.Lease, TTL: time.Hour}
	for _, tt := range []struct {
		name    string
		prepare func(*registry.Registry, *table)
		claim   registry.Claim
		is      error // of naming it at two endpoints
		changes uint64
	}{
		{"free", func(*registry.Registry, *table) {}, registry.Claim{Owner: alice}, registry.ErrConflict, 1},
		{"dead", func(g *registry.Registry, s *table) {
			s.open(bob, other.Endpoint)
			add(g, row(bob, 7, 1, rpcbind.TCP, 3000))
			s.close(other.Endpoint)
		}, registry.Claim{Owner: alice}, registry.ErrConflict, 2},
		{"hers, with a new lease", func(g *registry.Registry, s *table) { g.Add(lease, hers) }, lease, registry.ErrConflict, 1},
		{"bob's", func(g *registry.Registry, s *table) {
			s.open(bob, hers.Endpoint)
			add(g, row(bob, 7, 1, rpcbind.TCP, 2000))
		}, registry.Claim{Owner: alice}, registry.ErrConflict, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var sockets table
			g := openWith(t, registry.Config{Sockets: &sockets})
			tt.prepare(g, &sockets)
			seq := g.Seq()
			if _, err := g.Add(tt.claim, hers, other); !errors.Is(err, tt.is) || g.Seq() != seq {
				t.Errorf("Add at two endpoints = %v and %d changes, want %v and none", err, g.Seq()-seq, tt.is)
			}
			rows := claim(t, g, tt.claim, hers, hers)
			if rows[0] != rows[1] || rows[0] != g.Lookup(hers.Interface, hers.NetID) || g.Seq()-seq != tt.changes {
				t.Errorf("Add = %p, %p and %d changes, want what stands, %p, twice and %d", rows[0], rows[1], g.Seq()-seq, g.Lookup(hers.Interface, hers.NetID), tt.changes)
			}
		})
	}
}

// A server that begins anew on other ports is not refused for the rows that it had.
func TestOwnDeadRowsMakeRoom(t *testing.T) {
	var sockets table
	g := openWith(t, registry.Config{Sockets: &sockets, MaxRows: 10, MaxUserRows: 1})
	sockets.open(alice, hers.Endpoint)
	claim(t, g, registry.Claim{Owner: alice}, hers)
	sockets.close(hers.Endpoint)
	moved := row(alice, 7, 1, rpcbind.TCP, 2001)
	claim(t, g, registry.Claim{Owner: alice}, moved)
	sockets.open(bob, row(bob, 8, 1, rpcbind.TCP, 3000).Endpoint)
	claim(t, g, registry.Claim{Owner: bob}, row(bob, 8, 1, rpcbind.TCP, 3000))
	sockets.close(row(bob, 8, 1, rpcbind.TCP, 3000).Endpoint)
	if _, err := g.Add(registry.Claim{Owner: alice}, row(alice, 8, 1, rpcbind.TCP, 3000)); !errors.Is(err, registry.ErrFull) {
		t.Errorf("Add in place of bob's dead row = %v, want %v: that is no room of hers", err, registry.ErrFull)
	}
}
