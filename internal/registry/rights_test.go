package registry_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/socktable"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// Where the kernel has no uid to show, it shows one that the account nobody may have.
func TestNobodyProvesNothing(t *testing.T) {
	nobody := endpoint.Owner{UID: socktable.NoUID}
	var sockets table
	low := row(nobody, 7, 1, rpcbind.TCP, 662)
	sockets.open(nobody, low.Endpoint)
	g := openWith(t, registry.Config{Sockets: &sockets})
	if _, err := add(g, low); !errors.Is(err, registry.ErrRight) {
		t.Errorf("Add below 1024 by uid %d = %v, want %v", nobody.UID, err, registry.ErrRight)
	}
}

// What a caller says of fields that the registry gives is not believed.
func TestGivenFields(t *testing.T) {
	g := registry.New()
	r := hers
	r.ID, r.Own, r.Owner, r.PID, r.Evidence, r.Since = 5, true, root, 7, endpoint.Permanent, time.Unix(1, 0)
	got := claim(t, g, registry.Claim{Owner: alice, PID: 9}, r)[0]
	if got.ID == 5 || got.Own || got.Owner != alice || got.PID != 9 || got.Evidence != endpoint.Unchecked || got.Since == r.Since {
		t.Errorf("Add = %+v, want the registry's fields", got)
	}
}

// The mapper's own rows stand without a socket, whatever program they are of.
func TestOwnRowsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sockets table
		own := row(root, 7, 1, rpcbind.TCP, 2000)
		g := running(t, registry.Config{Sockets: &sockets, Own: []endpoint.Registration{own}})
		time.Sleep(time.Minute)
		mappers := evidence(t, g, own, "listening")
		if again := claim(t, g, registry.Claim{Owner: root, PID: 5}, own)[0]; again != mappers {
			t.Errorf("registered again: %+v, want %+v", again, mappers)
		}
		if _, err := g.Add(registry.Claim{Owner: root, Evidence: endpoint.Lease, TTL: 1}, own); !errors.Is(err, registry.ErrNotOwner) {
			t.Errorf("a lease for the mapper's own row = %v, want %v", err, registry.ErrNotOwner)
		}
	})
	if _, err := registry.Open(registry.Config{Own: []endpoint.Registration{row(root, 7, 1, rpcbind.TCP, 0)}}); err == nil {
		t.Error("Open with an own row that cannot be: want an error")
	}
}

func TestReserved(t *testing.T) {
	g := openWith(t, registry.Config{Reserved: map[uint32][]uint32{7: {alice.UID}, 8: nil}})
	for _, tt := range []struct {
		row endpoint.Registration
		is  error
	}{
		{row(bob, 7, 1, rpcbind.TCP, 2000), registry.ErrRight},
		{row(alice, 8, 1, rpcbind.TCP, 2000), registry.ErrRight},
		{row(alice, 7, 1, rpcbind.TCP, 2000), nil},
		{row(root, 8, 1, rpcbind.TCP, 2000), nil},
		{row(bob, 9, 1, rpcbind.TCP, 2000), nil},
	} {
		if _, err := add(g, tt.row); !errors.Is(err, tt.is) {
			t.Errorf("Add of program %d by %d = %v, want %v", tt.row.Program, tt.row.Owner.UID, err, tt.is)
		}
	}
}
