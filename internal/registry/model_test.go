package registry_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A model is what a registry should be: a slice of rows in the order in which
// they came, searched from end to end.
type model struct {
	g    *registry.Registry
	rows []endpoint.Registration
	seq  uint64

	follower *follower
}

func (m *model) find(i endpoint.Interface, n rpcbind.NetID) int {
	return slices.IndexFunc(m.rows, func(r endpoint.Registration) bool { return r.Interface == i && r.NetID == n })
}

// Few of everything, so that they meet.
var (
	someOwner   = rapid.SampledFrom([]endpoint.Owner{root, alice, bob})
	someProgram = rapid.SampledFrom([]uint32{rpcbind.Program, 7, 8})
	someVersion = rapid.SampledFrom([]uint32{1, 2, 3})
	someNetID   = rapid.SampledFrom(rpcbind.NetIDs[:4])
	somePort    = rapid.SampledFrom([]uint16{0, 1023, 2000, 2001})
	someRow     = rapid.Custom(func(t *rapid.T) endpoint.Registration {
		return row(root, someProgram.Draw(t, "program"), someVersion.Draw(t, "version"), someNetID.Draw(t, "netid"), somePort.Draw(t, "port"))
	})
)

// Add checks all or none, and what every row alone makes of it.
func (m *model) Add(t *rapid.T) {
	asked := rapid.SliceOfN(someRow, 0, 3).Draw(t, "rows")
	owner := someOwner.Draw(t, "owner")
	for i := range asked {
		asked[i].Owner = owner
	}
	var fresh []endpoint.Registration
	mistakes := 0
	for _, r := range asked {
		i := m.find(r.Interface, r.NetID)
		j := slices.IndexFunc(fresh, func(f endpoint.Registration) bool { return f.Interface == r.Interface && f.NetID == r.NetID })
		switch {
		case r.Program == rpcbind.Program, r.Addr.Port() == 0, r.Addr.Port() < 1024 && r.Owner != root:
			mistakes++
		case i >= 0 && m.rows[i].Addr != r.Addr, j >= 0 && fresh[j].Addr != r.Addr:
			mistakes++
		case i < 0 && j < 0:
			fresh = append(fresh, r)
		}
	}
	standing, err := m.g.Add(registry.Claim{Owner: owner}, asked...)
	if mistakes > 0 {
		if n := len(lines(err)); n != mistakes {
			t.Fatalf("Add = %d errors, %v, want %d", n, err, mistakes)
		}
		return
	}
	if err != nil || len(standing) != len(asked) {
		t.Fatalf("Add = %d rows, %v, want %d", len(standing), err, len(asked))
	}
	for _, s := range standing {
		if i := m.find(s.Interface, s.NetID); i >= 0 {
			if m.rows[i].ID != s.ID {
				t.Fatalf("the id of a standing row became %v, want %v", s.ID, m.rows[i].ID)
			}
			continue
		}
		m.rows = append(m.rows, *s)
		m.seq++
	}
	for _, f := range fresh {
		if got := m.rows[m.find(f.Interface, f.NetID)]; got.Endpoint != f.Endpoint || got.Owner != f.Owner {
			t.Fatalf("added %+v, want %+v", got, f)
		}
	}
}

func (m *model) Remove(t *rapid.T) {
	by := someOwner.Draw(t, "by")
	i := endpoint.Program(someProgram.Draw(t, "program"), someVersion.Draw(t, "version"))
	on := rapid.SliceOfN(someNetID, 0, 4).Draw(t, "on")
	ending, may := 0, true
	for k := range m.rows {
		if m.rows[k].Interface == i && slices.Contains(on, m.rows[k].NetID) {
			ending++
			may = may && by.MayChange(&m.rows[k])
		}
	}
	n, err := m.g.Remove(by, i, on...)
	if !may {
		if n != 0 || err == nil {
			t.Fatalf("Remove = %d, %v, want a refusal", n, err)
		}
		return
	}
	if n != ending || err != nil {
		t.Fatalf("Remove = %d, %v, want %d", n, err, ending)
	}
	m.drop(func(r endpoint.Registration) bool { return r.Interface == i && slices.Contains(on, r.NetID) })
}

func (m *model) RemoveID(t *rapid.T) {
	by := someOwner.Draw(t, "by")
	known := []endpoint.ID{1 << 50} // which none can have
	for _, r := range m.rows {
		known = append(known, r.ID)
	}
	ids := rapid.SliceOfN(rapid.SampledFrom(known), 0, 3).Draw(t, "ids")
	var want error
	for _, id := range ids {
		i := slices.IndexFunc(m.rows, func(r endpoint.Registration) bool { return r.ID == id })
		switch {
		case i < 0:
			want = registry.ErrNotFound // first of all
		case want == nil && m.rows[i].Own:
			want = registry.ErrRight
		case want == nil && !by.MayChange(&m.rows[i]):
			want = registry.ErrNotOwner
		}
	}
	if err := m.g.RemoveID(by, ids...); !errors.Is(err, want) {
		t.Fatalf("RemoveID(%v) = %v, want %v", ids, err, want)
	}
	if want == nil {
		m.drop(func(r endpoint.Registration) bool { return slices.Contains(ids, r.ID) })
	}
}

func (m *model) drop(gone func(endpoint.Registration) bool) {
	before := len(m.rows)
	m.rows = slices.DeleteFunc(m.rows, gone)
	m.seq += uint64(before - len(m.rows))
}

// Follow makes the follower fetch what there is, which it does now and then only.
func (m *model) Follow(t *rapid.T) {
	m.follower.catchUp(t, m.seq)
	if !slices.EqualFunc(m.follower.rows, m.rows, func(a *endpoint.Registration, b endpoint.Registration) bool { return *a == b }) {
		t.Fatalf("a watcher has %d rows, want the %d that there are", len(m.follower.rows), len(m.rows))
	}
}

// Check compares all that can be asked with what the model says.
func (m *model) Check(t *rapid.T) {
	all, seq := m.g.All()
	if seq != m.seq || m.g.Seq() != m.seq {
		t.Fatalf("seq = %d and %d, want %d", seq, m.g.Seq(), m.seq)
	}
	if !slices.EqualFunc(all, m.rows, func(a *endpoint.Registration, b endpoint.Registration) bool { return *a == b }) {
		t.Fatalf("All = %d rows, want %d: %v", len(all), len(m.rows), m.rows)
	}
	for _, n := range rpcbind.NetIDs {
		for _, program := range []uint32{rpcbind.Program, 7, 8, 9} {
			m.checkProgram(t, program, n)
		}
	}
}

func (m *model) checkProgram(t *rapid.T, program uint32, n rpcbind.NetID) {
	var versions []uint32
	for _, r := range m.rows {
		if r.Program == program && r.NetID == n {
			versions = append(versions, r.Version)
		}
	}
	for v := range uint32(5) {
		got := m.g.Lookup(endpoint.Program(program, v), n)
		if i := m.find(endpoint.Program(program, v), n); (i >= 0) != (got != nil) || i >= 0 && *got != m.rows[i] {
			t.Fatalf("Lookup(%d version %d, %s) = %v, want row %d", program, v, n, got, i)
		}
		if e, ok := m.g.Locate(endpoint.Program(program, v), n); ok != (got != nil) || ok && e != got.Endpoint {
			t.Fatalf("Locate(%d version %d, %s) = %v, %t, want where %v is", program, v, n, e, ok, got)
		}
	}
	latest := m.g.Latest(program, n)
	low, high, ok := m.g.Versions(program, n)
	if len(versions) == 0 {
		if latest != nil || ok {
			t.Fatalf("Latest, Versions of nothing = %v, %d, %d, %v", latest, low, high, ok)
		}
		return
	}
	if latest == nil || latest.Version != versions[len(versions)-1] || !ok || low != slices.Min(versions) || high != slices.Max(versions) {
		t.Fatalf("Latest, Versions = %v, %d, %d, want those of %v", latest, low, high, versions)
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{g: registry.New()}
		if rapid.Bool().Draw(t, "own") {
			m.g = openOwn(t)
		}
		m.follower = &follower{watcher: m.g.Watch(nil)}
		defer m.follower.watcher.Close()
		standing, _ := m.g.All()
		for _, r := range standing {
			m.rows = append(m.rows, *r)
			m.seq++
		}
		t.Repeat(map[string]func(*rapid.T){
			"": m.Check, "add": m.Add, "remove": m.Remove, "remove by id": m.RemoveID, "follow": m.Follow,
		})
	})
}

func openOwn(t *rapid.T) *registry.Registry {
	g, err := registry.Open(registry.Config{Own: []endpoint.Registration{row(root, rpcbind.Program, 4, rpcbind.TCP, rpcbind.Port), row(root, rpcbind.Program, 4, rpcbind.UDP, rpcbind.Port)}})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// A follower replays what a watcher tells.
type follower struct {
	watcher   *registry.Watcher
	rows      []*endpoint.Registration
	seq       uint64
	begun     bool
	snapshots int
}

// failer is what *testing.T and *rapid.T have in common.
type failer interface {
	Fatalf(format string, args ...any)
	Helper()
}

// take applies an event and checks that none is missing before it.
func (f *follower) take(t failer, e registry.Event) {
	t.Helper()
	if e.Kind == registry.Snapshot {
		if f.begun && e.Seq <= f.seq {
			t.Fatalf("a snapshot of change %d after change %d", e.Seq, f.seq)
		}
		f.rows, f.seq, f.begun = slices.Clone(e.All), e.Seq, true
		f.snapshots++
		return
	}
	if e.Kind == registry.Refused && f.begun && e.Seq == f.seq {
		return // nothing changed
	}
	if !f.begun || e.Seq != f.seq+1 {
		t.Fatalf("%s %d after change %d, begun: %v", e.Kind, e.Seq, f.seq, f.begun)
	}
	f.seq = e.Seq
	i := slices.Index(f.rows, e.Registration)
	switch {
	case e.Kind == registry.Made && i < 0:
		f.rows = append(f.rows, e.Registration)
	case e.Kind == registry.Renewed && i < 0:
		i = slices.IndexFunc(f.rows, func(r *endpoint.Registration) bool { return r.ID == e.Registration.ID })
		if i < 0 {
			t.Fatalf("renewed: a row that is not there")
		}
		f.rows[i] = e.Registration
	case e.Kind == registry.Ended && i >= 0:
		f.rows = slices.Delete(f.rows, i, i+1)
	default:
		t.Fatalf("%s of a row at %d of the rows", e.Kind, i)
	}
}

// catchUp takes events until change seq.
func (f *follower) catchUp(t failer, seq uint64) {
	t.Helper()
	for !f.begun || f.seq < seq {
		events, err := f.watcher.Next(context.Background())
		if err != nil {
			t.Fatalf("Next: %v", err)
		}
		for _, e := range events {
			f.take(t, e)
		}
	}
}
