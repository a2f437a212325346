package registry

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

func rowAt(program uint32, port uint16) *row {
	return &row{reg: &endpoint.Registration{
		Interface: endpoint.Program(program, 1),
		Endpoint:  endpoint.Endpoint{NetID: rpcbind.TCP, Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), port)},
	}}
}

// An index holds what a map would, however full its smallest table is and in
// whatever order keys come and go.
func TestIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := newIndex()
		want := map[exactKey]*row{}
		programs := rapid.Uint32Range(0, 60) // more than the smallest table takes
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			r := rowAt(programs.Draw(t, "program"), 2000)
			k := keyOf(r.reg.Interface, r.reg.NetID)
			if want[k] == nil {
				x.put(r)
				want[k] = r
			} else {
				x.delete(k)
				delete(want, k)
			}
			for p := range uint32(62) {
				k := exactKey{p, 1, rpcbind.TCP}
				if got := x.get(k); got != want[k] {
					t.Fatalf("get(%v) = %p, want %p, with %d of %d slots used", k, got, want[k], x.used, len(x.slots))
				}
			}
			if x.used != len(want) || 5*x.used > 4*len(x.slots) {
				t.Fatalf("%d rows: %d of %d slots used", len(want), x.used, len(x.slots))
			}
		}
	})
}

// Keys that meet in one slot are found, and those behind a gap are after it closed.
func TestIndexCollisions(t *testing.T) {
	x := newIndex()
	var met []*row // keys whose home is the last slot, so that they go around the end
	for p := uint32(0); len(met) < 5; p++ {
		if r := rowAt(p, 2000); x.home(keyOf(r.reg.Interface, r.reg.NetID)) == len(x.slots)-1 {
			met = append(met, r)
			x.put(r)
		}
	}
	for i, gone := range []int{1, 0, 4, 2, 3} {
		x.delete(keyOf(met[gone].reg.Interface, rpcbind.TCP))
		met[gone] = nil
		for j, r := range met {
			if r == nil {
				continue
			}
			if got := x.get(keyOf(r.reg.Interface, rpcbind.TCP)); got != r {
				t.Errorf("after %d removals: get of key %d = %v, want it", i+1, j, got)
			}
		}
	}
	for i, s := range x.slots {
		if s != (slot{}) || x.rows[i] != nil {
			t.Errorf("slot %d of an empty index = %+v, %v", i, s, x.rows[i])
		}
	}
}

func TestIndexGrows(t *testing.T) {
	x := newIndex()
	const rows = 10_000
	for p := range uint32(rows) {
		x.put(rowAt(p, uint16(p)))
	}
	for p := range uint32(rows) {
		at, ok := x.find(exactKey{p, 1, rpcbind.TCP})
		if e, everywhere := x.slots[at].endpoint(); !ok || !everywhere || e.Addr != netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(p)) {
			t.Fatalf("program %d: slot says %v, %t, %t", p, e, ok, everywhere)
		}
	}
}
