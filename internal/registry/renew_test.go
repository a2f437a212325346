package registry_test

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// TestBelievedAnew registers rows a second time, five seconds later.
func TestBelievedAnew(t *testing.T) {
	const (
		free = iota
		herSocket
		noLonger // hers, which closed before the second time
	)
	plain := registry.Claim{Owner: alice, PID: 5}
	lease := registry.Claim{Owner: alice, PID: 5, Evidence: endpoint.Lease, TTL: 30 * time.Second}
	elsewhere := registry.Claim{Owner: alice, PID: 5, Elsewhere: true}
	permanent := registry.Claim{Owner: root, PID: 1, Evidence: endpoint.Permanent}
	by := func(o endpoint.Owner, pid int32, c registry.Claim) registry.Claim {
		c.Owner, c.PID = o, pid
		return c
	}
	const grace, hour = 10 * time.Second, time.Hour
	for _, tt := range []struct {
		name          string
		sockets       int
		first, second registry.Claim
		want          endpoint.Evidence
		until         time.Duration // from the second time on; 0: zero
		pid           int32
		changes       uint64
		is            error
	}{
		{"waiting", free, plain, plain, endpoint.Waiting, grace - 5*time.Second, 5, 0, nil},
		{"waiting, another process", free, plain, by(alice, 6, plain), endpoint.Waiting, grace - 5*time.Second, 6, 1, nil},
		{"listening", herSocket, plain, plain, endpoint.Listening, 0, 5, 0, nil},
		{"listening, another process", herSocket, plain, by(alice, 6, plain), endpoint.Listening, 0, 6, 1, nil},
		{"listening, another user", herSocket, plain, by(bob, 6, plain), endpoint.Listening, 0, 5, 0, nil},
		{"listening, root", herSocket, plain, by(root, 6, plain), endpoint.Listening, 0, 5, 0, nil},
		{"listening, the owner elsewhere", herSocket, plain, by(alice, 6, elsewhere), endpoint.Listening, 0, 5, 0, nil},
		{"dead", noLonger, plain, plain, endpoint.Waiting, grace, 5, 2, nil},
		{"waiting, the owner elsewhere", free, plain, by(alice, 6, elsewhere), endpoint.Lease, hour, 6, 1, nil},
		{"elsewhere", free, elsewhere, elsewhere, endpoint.Lease, hour, 5, 1, nil},
		{"elsewhere, then here", herSocket, elsewhere, plain, endpoint.Listening, 0, 5, 1, nil},
		{"elsewhere, another user", free, elsewhere, by(bob, 6, elsewhere), endpoint.Lease, hour - 5*time.Second, 5, 0, nil},
		{"lease", free, lease, lease, endpoint.Lease, 30 * time.Second, 5, 1, nil},
		{"lease in place of listening", herSocket, plain, lease, endpoint.Lease, 30 * time.Second, 5, 1, nil},
		{"listening in place of a lease", herSocket, lease, plain, endpoint.Listening, 0, 5, 1, nil},
		{"lease, and nothing asked for", free, lease, plain, endpoint.Lease, 25 * time.Second, 5, 0, nil},
		{"lease, another user", free, lease, by(bob, 6, lease), endpoint.Lease, 25 * time.Second, 5, 0, registry.ErrNotOwner},
		{"lease, root", free, lease, by(root, 6, lease), endpoint.Lease, 30 * time.Second, 6, 1, nil},
		{"permanent in place of a lease", free, lease, permanent, endpoint.Permanent, 0, 0, 1, nil},
		{"permanent", free, permanent, permanent, endpoint.Permanent, 0, 0, 0, nil},
		{"permanent, by a user", free, permanent, plain, endpoint.Permanent, 0, 0, 0, nil},
		{"lease in place of permanent", free, permanent, by(root, 6, lease), endpoint.Permanent, 0, 0, 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sockets table
				if tt.sockets != free {
					sockets.open(alice, hers.Endpoint)
				}
				g := openWith(t, registry.Config{Sockets: &sockets, Permanent: registry.NewMemory()})
				old := claim(t, g, tt.first, hers)[0]
				time.Sleep(5 * time.Second)
				if tt.sockets == noLonger {
					sockets.close(hers.Endpoint)
				}
				seq := g.Seq()
				if _, err := g.Add(tt.second, hers); !errors.Is(err, tt.is) {
					t.Fatalf("Add = %v, want %v", err, tt.is)
				}
				r := evidence(t, g, hers, tt.want.String())
				if tt.until == 0 && !r.Until.IsZero() || tt.until != 0 && !r.Until.Equal(time.Now().Add(tt.until)) {
					t.Errorf("until %v, want %v from %v", r.Until, tt.until, time.Now())
				}
				if r.PID != tt.pid || g.Seq()-seq != tt.changes {
					t.Errorf("pid %d after %d changes, want %d and %d", r.PID, g.Seq()-seq, tt.pid, tt.changes)
				}
				if tt.changes < 2 && (r.ID != old.ID || r.Since != old.Since) {
					t.Errorf("id %s since %v, want %s since %v as before", r.ID, r.Since, old.ID, old.Since)
				}
				if owner := tt.first.Owner; r.Owner != owner && tt.want != endpoint.Permanent {
					t.Errorf("owner %v, want %v", r.Owner, owner)
				}
			})
		})
	}
}

// Whose socket a row was first seen with is not forgotten when it is registered
// again while sockets of others are there as well.
func TestFirstSocketIsRemembered(t *testing.T) {
	var sockets table
	specific := endpoint.Endpoint{NetID: rpcbind.TCP, Addr: netip.MustParseAddrPort("127.0.0.1:2000")}
	g := openWith(t, registry.Config{Sockets: &sockets})
	ended := endings(g)
	sockets.open(root, hers.Endpoint)
	claim(t, g, registry.Claim{Owner: alice, PID: 5}, hers)
	sockets.close(hers.Endpoint)
	sockets.open(bob, specific)
	sockets.open(root, hers.Endpoint) // bob's is named first
	claim(t, g, registry.Claim{Owner: alice, PID: 6}, hers)
	sockets.close(hers.Endpoint)
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	checkEndings(t, ended, registry.TakenOver.String())
}
