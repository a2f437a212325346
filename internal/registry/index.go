package registry

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// An exactKey has one row: an ONC program, version and transport.
type exactKey struct {
	program, version uint32
	netid            rpcbind.NetID
}

// keyOf returns the key of an ONC program and version on a transport, of what is
// no program one that nothing has.
func keyOf(i endpoint.Interface, n rpcbind.NetID) exactKey {
	if i.Dialect != endpoint.ONC {
		return exactKey{}
	}
	return exactKey{i.Program, i.Version, n}
}

// An index finds the row of a key. It is a hash table of our own, with linear
// probing, for the sake of one question: where is it? Of almost every row, the
// port is all of the answer, and lies with the key. So a lookup among a hundred
// thousand rows waits for memory once, where a map of pointers to rows waits
// for the map, and then for the row.
type index struct {
	seed  maphash.Seed
	slots []slot // a power of two, and at most four in five in use
	rows  []*row // beside the slots, so that these lie closer together
	used  int    // slots in use
}

// A slot is 12 bytes: of so many rows, what is looked at should fit the
// processor's caches.
type slot struct {
	program, version uint32
	port             uint16
	netid            rpcbind.NetID // 0 in a free slot
	everywhere       bool          // the endpoint is port, on every address of the host
}

func (s *slot) key() exactKey { return exactKey{s.program, s.version, s.netid} }

// endpoint returns where the row of a slot is, if the slot tells.
func (s *slot) endpoint() (endpoint.Endpoint, bool) {
	return endpoint.Endpoint{NetID: s.netid, Addr: netip.AddrPortFrom(endpoint.Everywhere(s.netid), s.port)}, s.everywhere
}

// minSlots is the size of an empty index.
const minSlots = 64

func newIndex() *index {
	return &index{seed: maphash.MakeSeed(), slots: make([]slot, minSlots), rows: make([]*row, minSlots)}
}

// home returns the first slot in which a key is looked for. It depends on a
// secret, so that nobody can choose keys that meet in one place.
func (x *index) home(k exactKey) int {
	var b [9]byte
	binary.NativeEndian.PutUint32(b[0:], k.program)
	binary.NativeEndian.PutUint32(b[4:], k.version)
	b[8] = byte(k.netid)
	return int(maphash.Bytes(x.seed, b[:])) & (len(x.slots) - 1)
}

func (x *index) after(i int) int { return (i + 1) & (len(x.slots) - 1) }

// find returns the slot of a key, or the free one that it would get.
func (x *index) find(k exactKey) (i int, ok bool) {
	for i = x.home(k); x.slots[i].netid != 0; i = x.after(i) {
		if x.slots[i].key() == k {
			return i, true
		}
	}
	return i, false
}

// get returns the row of a key, or nil.
func (x *index) get(k exactKey) *row {
	if i, ok := x.find(k); ok {
		return x.rows[i]
	}
	return nil
}

// put adds a row whose key is not there yet.
func (x *index) put(r *row) {
	if 5*(x.used+1) > 4*len(x.slots) {
		x.grow()
	}
	k := keyOf(r.reg.Interface, r.reg.NetID)
	i, _ := x.find(k)
	x.slots[i] = slot{
		program: k.program, version: k.version, netid: k.netid,
		port: r.reg.Addr.Port(), everywhere: r.reg.Addr.Addr().IsUnspecified(),
	}
	x.rows[i] = r
	x.used++
}

func (x *index) grow() {
	slots, rows := x.slots, x.rows
	x.slots, x.rows = make([]slot, 2*len(slots)), make([]*row, 2*len(rows))
	for i, s := range slots {
		if s.netid != 0 {
			to, _ := x.find(s.key())
			x.slots[to], x.rows[to] = s, rows[i]
		}
	}
}

// delete removes a key that is there. Keys that had to go past its slot move
// up, so that looking for them does not end at the gap.
func (x *index) delete(k exactKey) {
	gap, _ := x.find(k)
	x.used--
	for i := x.after(gap); x.slots[i].netid != 0; i = x.after(i) {
		if x.passes(x.home(x.slots[i].key()), gap, i) {
			x.slots[gap], x.rows[gap] = x.slots[i], x.rows[i]
			gap = i
		}
	}
	x.slots[gap], x.rows[gap] = slot{}, nil
}

// passes tells whether looking from home for what is at i goes by the gap.
func (x *index) passes(home, gap, i int) bool {
	mask := len(x.slots) - 1
	return (i-home)&mask >= (i-gap)&mask
}
