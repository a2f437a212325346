// Package storetest is what every [registry.Store] has to pass:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, storetest.Subject{Place: ..., Record: storetest.Record, Grant: storetest.Grant, Durable: true})
//	}
//
// It holds what the interface says, and two things more: what is put in the same
// Write in which its id is gone is stored, and of several that are put with one id
// the last is, where grants come after rows.
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

	// Grant returns one of many grants likewise, of each i with another id, that of no
	// record, and another time; [Grant] will do. Nil: the store keeps none, and
	// refuses them.
	Grant func(i int) registry.GrantRecord

	// Kept returns the record as the store gives it back, where that does not keep
	// all of it; nil keeps all. Where Order is not kept the records stand in order
	// all the same, and have other numbers. Since may lose its location, and Until
	// may be moved by Tolerance.
	Kept func(registry.Record) registry.Record

	// Refused are batches that Write fails for, whatever else is in them.
	Refused []registry.Batch

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

// id returns ids that are scattered, as the registry's are, and unique: the
// multiplier is odd.
func id(i int) endpoint.ID { return endpoint.ID(uint64(i+1) * 0x9e3779b97f4b & uint64(endpoint.MaxID)) }

// Record returns records with every kind of endpoint, evidence and owner; only Until
// is another in another process.
func Record(i int) registry.Record {
	random := rand.New(rand.NewPCG(uint64(i), 1))
	r := registry.Record{
		Registration: endpoint.Registration{
			ID:        id(i),
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

// Grant returns grants of every kind.
func Grant(i int) registry.GrantRecord {
	random := rand.New(rand.NewPCG(uint64(i), 2))
	g := registry.GrantRecord{
		Grant: endpoint.Grant{
			ID:      id(i + 1<<30),
			Dialect: endpoint.ONC + endpoint.Dialect(i%2),
			Pool:    endpoint.Pool(i % 3),
			Owner:   endpoint.Owner{UID: random.Uint32()},
			PID:     random.Int32(),
			RunGone: i%4 == 0,
			Since:   time.Unix(1_790_000_000, random.Int64N(1e15)),
		},
		Started: random.Uint64(),
	}
	port := func() uint16 { return uint16(1 + random.IntN(1<<16-1)) }
	if i%5 != 0 {
		g.TCP = port()
	}
	if i%5 != 1 {
		g.UDP = port()
	}
	if i%3 != 0 {
		g.Command = fmt.Sprintf("für --port <%d> & “mehr”", i)
	}
	return g
}

// Mixed returns what has the numbers from one on up to another: of even numbers the
// [Record], of odd ones the [Grant].
func Mixed(from, to int) registry.Batch {
	var b registry.Batch
	for i := from; i < to; i++ {
		if i%2 == 0 {
			b.Rows = append(b.Rows, Record(i))
		} else {
			b.Grants = append(b.Grants, Grant(i))
		}
	}
	return b
}

// MixedID returns the id of what has a number in [Mixed].
func MixedID(i int) endpoint.ID {
	if i%2 == 0 {
		return Record(i).ID
	}
	return Grant(i).ID
}

// Run tests the store, each law in a subtest.
func Run(t *testing.T, s Subject) {
	if s.Kept == nil {
		s.Kept = func(r registry.Record) registry.Record { return r }
	}
	tests := map[string]func(*testing.T, *store){
		"empty":              testEmpty,
		"every record":       testEveryRecord,
		"replace":            testReplace,
		"delete":             testDelete,
		"put and gone":       testPutAndGone,
		"order":              testOrder,
		"grants of one time": testGrantsOfOneTime,
		"nothing is shared":  testNothingShared,
		"all or nothing":     testAllOrNothing,
		"many":               testMany,
	}
	if s.Grant != nil {
		tests["another kind"] = testAnotherKind
	}
	for name, test := range tests {
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
	grants map[endpoint.ID]registry.GrantRecord // what it should hold of them
}

func start(t *testing.T, s Subject) *store {
	open := s.Place(t)
	it := &store{Subject: s, open: open, stored: open(), want: map[endpoint.ID]registry.Record{}, grants: map[endpoint.ID]registry.GrantRecord{}}
	t.Cleanup(func() { it.stored.Close() })
	return it
}

// write writes to the store and to what it should hold.
func (s *store) write(t failer, b registry.Batch) {
	t.Helper()
	if err := s.stored.Write(b); err != nil {
		t.Fatalf("Write(%d rows, %d grants, %d gone) = %v", len(b.Rows), len(b.Grants), len(b.Gone), err)
	}
	for _, id := range b.Gone {
		delete(s.want, id)
		delete(s.grants, id)
	}
	for _, r := range b.Rows {
		s.want[r.ID] = r
		delete(s.grants, r.ID)
	}
	for _, g := range b.Grants {
		s.grants[g.ID] = g
		delete(s.want, g.ID)
	}
}

// forget writes that ids are gone.
func (s *store) forget(t failer, ids ...endpoint.ID) {
	t.Helper()
	s.write(t, registry.Batch{Gone: ids})
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
	s.compareRows(t, got.Rows)
	s.compareGrants(t, got.Grants)
}

func (s *store) compareRows(t failer, got []registry.Record) {
	t.Helper()
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

func (s *store) compareGrants(t failer, got []registry.GrantRecord) {
	t.Helper()
	want := slices.SortedFunc(maps.Values(s.grants), func(a, b registry.GrantRecord) int {
		return cmp.Or(cmp.Compare(a.Since.UnixNano(), b.Since.UnixNano()), cmp.Compare(a.ID, b.ID))
	})
	if !slices.EqualFunc(got, want, SameGrant) {
		t.Fatalf("Load gives the grants\n%+v, want\n%+v", got, want)
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

// SameGrant tells whether two grants say the same.
func SameGrant(a, b registry.GrantRecord) bool {
	if !a.Since.Equal(b.Since) {
		return false
	}
	a.Since = b.Since
	return a == b
}

func (s *store) records(from, to int) []registry.Record {
	var all []registry.Record
	for i := from; i < to; i++ {
		all = append(all, s.Record(i))
	}
	return all
}

// someGrants returns grants, or none of a store that keeps none.
func (s *store) someGrants(from, to int) []registry.GrantRecord {
	var all []registry.GrantRecord
	for i := from; i < to && s.Grant != nil; i++ {
		all = append(all, s.Grant(i))
	}
	return all
}

// some returns a batch of both kinds.
func (s *store) some(from, to int, gone ...endpoint.ID) registry.Batch {
	return registry.Batch{Rows: s.records(from, to), Grants: s.someGrants(from, to), Gone: gone}
}

func testEmpty(t *testing.T, s *store) {
	s.check(t)
	s.write(t, registry.Batch{})
	s.write(t, registry.Batch{Rows: []registry.Record{}, Grants: []registry.GrantRecord{}, Gone: []endpoint.ID{}})
	s.check(t)
}

func testEveryRecord(t *testing.T, s *store) {
	for i := range Every {
		s.write(t, s.some(i, i+1))
		s.compare(t)
	}
	s.check(t)
}

func testReplace(t *testing.T, s *store) {
	s.write(t, s.some(0, 10))
	for i := range 10 {
		others := s.some(10+i, 11+i)
		others.Rows[0].ID = s.Record(i).ID
		for k := range others.Grants {
			others.Grants[k].ID = s.Grant(i).ID
		}
		s.write(t, others)
	}
	s.check(t)
	last := s.some(25, 26)
	last.Rows[0].ID = s.Record(3).ID
	last.Rows = append(s.records(3, 4), last.Rows...)
	for k := range last.Grants {
		last.Grants[k].ID = s.Grant(3).ID
	}
	last.Grants = append(s.someGrants(3, 4), last.Grants...)
	s.write(t, last)
	s.check(t)
}

// testAnotherKind puts grants in place of rows, and the other way round.
func testAnotherKind(t *testing.T, s *store) {
	s.write(t, s.some(0, 5))
	grant, row := s.Grant(10), s.Record(10)
	grant.ID, row.ID = s.Record(1).ID, s.Grant(2).ID
	s.write(t, registry.Batch{Rows: []registry.Record{row}, Grants: []registry.GrantRecord{grant}})
	s.check(t)
	s.write(t, registry.Batch{Rows: s.records(1, 2), Grants: s.someGrants(2, 3)})
	s.check(t)
	grant.ID = s.Record(3).ID
	s.write(t, registry.Batch{Rows: s.records(3, 4), Grants: []registry.GrantRecord{grant}, Gone: []endpoint.ID{grant.ID}})
	s.check(t)
	s.forget(t, grant.ID)
	s.check(t)
}

func testDelete(t *testing.T, s *store) {
	s.write(t, s.some(0, 10))
	s.forget(t, s.Record(3).ID)
	s.forget(t, s.Record(3).ID, s.Record(99).ID, Grant(99).ID, 0, s.Record(5).ID+endpoint.MaxID+1) // not there, which is no error
	s.write(t, s.some(20, 22, s.Record(4).ID, s.Record(4).ID, Grant(4).ID, Grant(5).ID, Grant(4).ID))
	s.check(t)
	for id := range maps.Clone(s.want) {
		s.forget(t, id)
	}
	s.check(t)
	for id := range maps.Clone(s.grants) {
		s.forget(t, id)
	}
	s.check(t)
}

func testPutAndGone(t *testing.T, s *store) {
	s.write(t, s.some(0, 3))
	b := s.some(7, 8, s.Record(1).ID, s.Record(7).ID, Grant(1).ID, Grant(7).ID)
	other := s.Record(5)
	other.ID = s.Record(1).ID
	b.Rows = append(b.Rows, other)
	for _, g := range s.someGrants(5, 6) {
		g.ID = s.Grant(1).ID
		b.Grants = append(b.Grants, g)
	}
	s.write(t, b)
	s.check(t)
}

func testOrder(t *testing.T, s *store) {
	all, grants := s.records(0, 100), s.someGrants(0, 100)
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	random.Shuffle(len(grants), func(i, j int) { grants[i], grants[j] = grants[j], grants[i] })
	for part := range slices.Chunk(all, 7) {
		s.write(t, registry.Batch{Rows: part, Gone: []endpoint.ID{part[0].ID}})
	}
	for part := range slices.Chunk(grants, 7) {
		s.write(t, registry.Batch{Grants: part, Gone: []endpoint.ID{part[0].ID}})
	}
	s.check(t) // which compares in order
}

func testGrantsOfOneTime(t *testing.T, s *store) {
	grants := s.someGrants(0, 20)
	for i := range grants {
		grants[i].Since = grants[i%7].Since
	}
	s.write(t, registry.Batch{Grants: grants})
	s.check(t)
}

func testNothingShared(t *testing.T, s *store) {
	b := s.some(0, 3, s.Record(4).ID)
	s.write(t, b)
	b.Rows[0], b.Rows[1].Annotation, b.Gone[0] = s.Record(9), "mine", b.Rows[2].ID
	if len(b.Grants) > 0 {
		b.Grants[0], b.Grants[1].Command = s.Grant(9), "mine"
	}
	s.compare(t)
	got, err := s.stored.Load()
	if err != nil {
		t.Fatal(err)
	}
	got.Rows[0], got.Rows[1].PID = s.Record(9), 7
	if len(got.Grants) > 0 {
		got.Grants[0], got.Grants[1].PID = s.Grant(9), 7
	}
	s.check(t)
}

func testAllOrNothing(t *testing.T, s *store) {
	refused := s.Refused
	if s.Grant == nil {
		refused = append(refused, registry.Batch{Grants: []registry.GrantRecord{Grant(0)}})
	}
	s.write(t, s.some(0, 5))
	for _, bad := range refused {
		b := s.some(3, 8, s.Record(0).ID, Grant(0).ID)
		b.Rows = append(b.Rows, bad.Rows...)
		b.Grants = append(b.Grants, bad.Grants...)
		b.Gone = append(b.Gone, bad.Gone...)
		if err := s.stored.Write(b); err == nil {
			t.Fatalf("Write with %+v is no error", bad)
		}
		s.check(t)
	}
	s.write(t, s.some(3, 8, s.Record(0).ID, Grant(0).ID))
	s.check(t)
}

func testMany(t *testing.T, s *store) {
	all := s.some(0, 10_000)
	s.write(t, all)
	s.check(t)
	var gone []endpoint.ID
	for i := 0; i < len(all.Rows); i += 3 {
		gone = append(gone, all.Rows[i].ID)
	}
	for i := 0; i < len(all.Grants); i += 3 {
		gone = append(gone, all.Grants[i].ID)
	}
	s.write(t, s.some(10_000, 10_100, gone...))
	s.check(t)
	s.forget(t, slices.AppendSeq(slices.Collect(maps.Keys(s.want)), maps.Keys(s.grants))...)
	s.check(t)
}

// testModel compares a store with maps over any sequence of calls. Rows and grants
// have the same ids, so that one comes in place of the other.
func testModel(t *testing.T, r *rapid.T, subject Subject) {
	s := start(t, subject)
	number := rapid.IntRange(0, 40)
	content := rapid.IntRange(0, 3)
	r.Repeat(map[string]func(*rapid.T){
		"": func(r *rapid.T) { s.compare(r) },
		"write": func(r *rapid.T) {
			var b registry.Batch
			for _, i := range rapid.SliceOfN(number, 0, 4).Draw(r, "rows") {
				first, record := s.Record(i), s.Record(i+100*content.Draw(r, "content"))
				record.ID, record.Order = first.ID, first.Order
				b.Rows = append(b.Rows, record)
			}
			if s.Grant != nil {
				for _, i := range rapid.SliceOfN(number, 0, 4).Draw(r, "grants") {
					grant := s.Grant(i + 100*content.Draw(r, "content"))
					grant.ID = s.Record(i).ID
					b.Grants = append(b.Grants, grant)
				}
			}
			for _, i := range rapid.SliceOfN(number, 0, 4).Draw(r, "gone") {
				b.Gone = append(b.Gone, s.Record(i).ID)
			}
			s.write(r, b)
		},
		"reopen": func(r *rapid.T) {
			if s.Durable {
				s.reopen(r)
			}
		},
	})
}
