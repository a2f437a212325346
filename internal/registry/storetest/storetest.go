// Package storetest is what every [registry.Store] has to pass:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, storetest.Subject{Place: ..., Record: storetest.Record, Durable: true})
//	}
//
// It holds what the interface says, and two things more: of a record that is put
// in the same Write in which its id is gone, put wins, and of two that are put
// with one id, the last.
package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A Subject is a kind of store.
type Subject struct {
	// Place makes a place for a store, empty, and returns what opens the store
	// there, again and again, each time after Close.
	Place func(t *testing.T) (open func() registry.Store)

	// Record returns one of many records that the store takes: always the same
	// for the same i, and of each i with another id, Order, interface and endpoint.
	// [Record] will do for a store that takes any.
	Record func(i int) registry.Record

	// Kept returns the record as the store gives it back, where that does not keep
	// all of it; nil keeps all. Where Order is not kept the records stand in order
	// all the same, and have other numbers. Since may lose its location, and Until
	// may be moved by Tolerance.
	Kept func(registry.Record) registry.Record

	// Refused is a record that Write fails for, if there is one.
	Refused *registry.Record

	// Durable stores have after Close and Open what they had before.
	Durable bool
}

// Tolerance is how far Until may be off: it is kept by another clock.
const Tolerance = 50 * time.Millisecond

// began is what Until of each [Record] counts from.
var began = time.Now()

// kinds is how many kinds of endpoint there are: of ONC, and of DCE.
const kinds = len(rpcbind.NetIDs) + len(epm.ProtSeqs)

// Every is how many records have every kind of endpoint with every evidence.
const Every = 6 * kinds

// Record returns records with every kind of endpoint, evidence and owner; only Until
// is another in another process.
func Record(i int) registry.Record {
	random := rand.New(rand.NewPCG(uint64(i), 1))
	r := registry.Record{
		Registration: endpoint.Registration{
			// Scattered, as the registry's are, and unique: the multiplier is odd.
			ID:        endpoint.ID(uint64(i+1) * 0x9e3779b97f4b & uint64(endpoint.MaxID)),
			Interface: endpoint.Program(random.Uint32(), random.Uint32N(5)),
			Owner:     endpoint.Owner{UID: random.Uint32()},
			Since:     time.Unix(1_790_000_000, random.Int64N(1e15)),
			Evidence:  endpoint.Evidence(i % 6),
			PID:       random.Int32(),
		},
		Order:     uint64(i+1) * 0x9e3779b97f4a7c15, // in another order than i, and than the id
		Seen:      random.IntN(2) == 0,
		SocketUID: random.Uint32(),
		Started:   random.Uint64(),
		Elsewhere: random.IntN(2) == 0,
	}
	if r.Evidence == endpoint.Waiting || r.Evidence == endpoint.Lease {
		r.Until = began.Add(time.Duration(random.Int64N(int64(2*time.Hour))) - time.Hour)
	}
	if i%3 == 0 {
		r.Annotation = fmt.Sprintf("für <%d> & “mehr”", i)
	}
	switch i % 8 {
	case 3:
		r.Owner = endpoint.HostOwner(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
	case 7:
		r.Owner = endpoint.HostOwner(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 1, 15: byte(i)}))
	}
	port := uint16(1 + random.IntN(1<<16-1))
	kind := i / 6 % kinds
	if kind >= len(rpcbind.NetIDs) {
		beDCE(&r, epm.ProtSeqs[kind-len(rpcbind.NetIDs)], port, i, random)
		return r
	}
	switch r.NetID = rpcbind.NetIDs[kind]; {
	case r.NetID.IsIPv4():
		r.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), port)
	case r.NetID.IsIPv6():
		r.Addr = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(i)}), port)
	case i%2 == 0:
		r.Path = fmt.Sprintf("/run/socket %d", i)
	default:
		r.Path = fmt.Sprintf("@%d", i)
	}
	return r
}

// beDCE makes a record one of DCE.
func beDCE(r *registry.Record, p epm.ProtSeq, port uint16, i int, random *rand.Rand) {
	uuid := func() (u ndr.UUID) {
		for k := range u {
			u[k] = byte(random.Uint32())
		}
		return u
	}
	r.Interface = endpoint.Interface{Dialect: endpoint.DCE, UUID: uuid(), Major: uint16(random.Uint32N(5)), Minor: uint16(random.Uint32N(11))}
	if i%4 == 0 {
		r.Object = uuid()
	}
	switch p {
	case epm.NP:
		r.Endpoint = endpoint.Endpoint{ProtSeq: p, Path: fmt.Sprintf(`\\FS1\pipe\it's %d`, i)}
	case epm.LRPC:
		r.Endpoint = endpoint.Endpoint{ProtSeq: p, Path: fmt.Sprintf("LRPC-%016x", i)}
	default:
		r.Endpoint = endpoint.At(p, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), port))
	}
}

// Run tests the store, each law in a subtest.
func Run(t *testing.T, s Subject) {
	if s.Kept == nil {
		s.Kept = func(r registry.Record) registry.Record { return r }
	}
	for name, test := range map[string]func(*testing.T, *store){
		"empty":             testEmpty,
		"every record":      testEveryRecord,
		"replace":           testReplace,
		"delete":            testDelete,
		"put and gone":      testPutAndGone,
		"order":             testOrder,
		"nothing is shared": testNothingShared,
		"all or nothing":    testAllOrNothing,
		"many":              testMany,
	} {
		t.Run(name, func(t *testing.T) { test(t, start(t, s)) })
	}
	t.Run("model", func(t *testing.T) {
		rapid.Check(t, func(r *rapid.T) { testModel(t, r, s) })
	})
}

// A failer is a *testing.T or a *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// A store is one under test, and what it should hold.
type store struct {
	Subject
	open   func() registry.Store
	stored registry.Store
	want   map[endpoint.ID]registry.Record
}

func start(t *testing.T, s Subject) *store {
	open := s.Place(t)
	it := &store{Subject: s, open: open, stored: open(), want: map[endpoint.ID]registry.Record{}}
	t.Cleanup(func() { it.stored.Close() })
	return it
}

// write writes to the store and to what it should hold.
func (s *store) write(t failer, put []registry.Record, gone ...endpoint.ID) {
	t.Helper()
	if err := s.stored.Write(put, gone); err != nil {
		t.Fatalf("Write(%d records, %d gone) = %v", len(put), len(gone), err)
	}
	for _, id := range gone {
		delete(s.want, id)
	}
	for _, r := range put {
		s.want[r.ID] = r
	}
}

// check compares what the store holds with what it should: at once, and opened
// anew.
func (s *store) check(t failer) {
	t.Helper()
	s.compare(t)
	if s.Durable {
		s.reopen(t)
		s.compare(t)
	}
}

func (s *store) reopen(t failer) {
	t.Helper()
	if err := s.stored.Close(); err != nil {
		t.Fatalf("Close = %v", err)
	}
	s.stored = s.open()
}

func (s *store) compare(t failer) {
	t.Helper()
	got, err := s.stored.Load()
	if err != nil {
		t.Fatalf("Load = %v", err)
	}
	want := slices.SortedFunc(maps.Values(s.want), func(a, b registry.Record) int { return cmp.Compare(a.Order, b.Order) })
	for i := range min(len(got), len(want)) {
		if g, w := s.Kept(got[i]), s.Kept(want[i]); !Same(g, w) {
			t.Fatalf("Load gives at %d of %d\n%+v, want\n%+v", i, len(got), g, w)
		}
		known := s.want[want[i].ID]
		known.Order = got[i].Order
		s.want[known.ID] = known
	}
	if len(got) != len(want) {
		t.Fatalf("Load = %d records, want %d", len(got), len(want))
	}
}

// Same tells whether two records say the same.
func Same(a, b registry.Record) bool {
	if a.Until.IsZero() != b.Until.IsZero() || a.Until.Sub(b.Until).Abs() > Tolerance || !a.Since.Equal(b.Since) {
		return false
	}
	a.Since, a.Until = b.Since, b.Until
	return a == b
}

func (s *store) records(from, to int) []registry.Record {
	var all []registry.Record
	for i := from; i < to; i++ {
		all = append(all, s.Record(i))
	}
	return all
}

func testEmpty(t *testing.T, s *store) {
	s.check(t)
	s.write(t, nil)
	s.write(t, []registry.Record{}, []endpoint.ID{}...)
	s.check(t)
}

func testEveryRecord(t *testing.T, s *store) {
	for i := range Every {
		s.write(t, s.records(i, i+1))
		s.compare(t)
	}
	s.check(t)
}

func testReplace(t *testing.T, s *store) {
	s.write(t, s.records(0, 10))
	for i := range 10 {
		other := s.Record(10 + i)
		other.ID = s.Record(i).ID
		s.write(t, []registry.Record{other})
	}
	s.check(t)
	last := s.Record(25)
	last.ID = s.Record(3).ID
	s.write(t, []registry.Record{s.Record(3), last})
	s.check(t)
}

func testDelete(t *testing.T, s *store) {
	s.write(t, s.records(0, 10))
	s.write(t, nil, s.Record(3).ID)
	s.write(t, nil, s.Record(3).ID, s.Record(99).ID, 0, s.Record(5).ID+endpoint.MaxID+1) // not there, which is no error
	s.write(t, s.records(20, 22), s.Record(4).ID, s.Record(4).ID)
	s.check(t)
	for id := range maps.Clone(s.want) {
		s.write(t, nil, id)
	}
	s.check(t)
}

func testPutAndGone(t *testing.T, s *store) {
	s.write(t, s.records(0, 3))
	other := s.Record(5)
	other.ID = s.Record(1).ID
	s.write(t, []registry.Record{other, s.Record(7)}, s.Record(1).ID, s.Record(7).ID)
	s.check(t)
}

func testOrder(t *testing.T, s *store) {
	all := s.records(0, 100)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for part := range slices.Chunk(all, 7) {
		s.write(t, part, part[0].ID)
	}
	s.check(t) // which compares in order
}

func testNothingShared(t *testing.T, s *store) {
	put, gone := s.records(0, 3), []endpoint.ID{s.Record(4).ID}
	s.write(t, put, gone...)
	put[0], put[1].Annotation, gone[0] = s.Record(9), "mine", put[2].ID
	s.compare(t)
	got, err := s.stored.Load()
	if err != nil {
		t.Fatal(err)
	}
	got[0], got[1].PID = s.Record(9), 7
	s.check(t)
}

func testAllOrNothing(t *testing.T, s *store) {
	if s.Refused == nil {
		return // it takes every record
	}
	s.write(t, s.records(0, 5))
	put := append(s.records(3, 8), *s.Refused)
	if err := s.stored.Write(put, []endpoint.ID{s.Record(0).ID}); err == nil {
		t.Fatalf("Write(%+v) is no error", *s.Refused)
	}
	s.check(t)
	s.write(t, s.records(3, 8), s.Record(0).ID)
	s.check(t)
}

func testMany(t *testing.T, s *store) {
	all := s.records(0, 10_000)
	s.write(t, all)
	s.check(t)
	var gone []endpoint.ID
	for i := 0; i < len(all); i += 3 {
		gone = append(gone, all[i].ID)
	}
	s.write(t, s.records(10_000, 10_100), gone...)
	s.check(t)
	s.write(t, nil, slices.Collect(maps.Keys(s.want))...)
	s.check(t)
}

// testModel compares a store with a map over any sequence of calls.
func testModel(t *testing.T, r *rapid.T, subject Subject) {
	s := start(t, subject)
	number := rapid.IntRange(0, 40)
	r.Repeat(map[string]func(*rapid.T){
		"": func(r *rapid.T) { s.compare(r) },
		"write": func(r *rapid.T) {
			var put []registry.Record
			var gone []endpoint.ID
			for _, i := range rapid.SliceOfN(number, 0, 4).Draw(r, "put") {
				first, record := s.Record(i), s.Record(i+100*rapid.IntRange(0, 3).Draw(r, "content"))
				record.ID, record.Order = first.ID, first.Order
				put = append(put, record)
			}
			for _, i := range rapid.SliceOfN(number, 0, 4).Draw(r, "gone") {
				gone = append(gone, s.Record(i).ID)
			}
			s.write(r, put, gone...)
		},
		"reopen": func(r *rapid.T) {
			if s.Durable {
				s.reopen(r)
			}
		},
	})
}
