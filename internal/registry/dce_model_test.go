package registry_test

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A dceModel is what the rules for rows of DCE say, told plainly: a slice of rows in
// the order in which they came, with some of ONC among them, that is searched from
// end to end.
type dceModel struct {
	c    registry.Config
	g    *registry.Registry
	rows []endpoint.Registration

	follower *follower
}

var (
	someHostOrUser = rapid.SampledFrom([]endpoint.Owner{root, alice, bob, fs1, fs2})
	someDCE        = rapid.Custom(func(t *rapid.T) endpoint.Registration {
		i := rapid.SampledFrom([]endpoint.Interface{x1, x2, y1}).Draw(t, "interface")
		at := rapid.SampledFrom([]string{"tcp 192.0.2.1:2000", "tcp 192.0.2.1:2001", "udp 192.0.2.1:2000", `np \pipe\x`, "lrpc x"}).Draw(t, "at")
		r := dce(root, i, at)
		if rapid.Bool().Draw(t, "object") {
			r.Object = object
		}
		r.Annotation = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "annotation")
		return r
	})
	someProgramOrDCE = rapid.OneOf(someDCE, someDCE, rapid.Custom(func(t *rapid.T) endpoint.Registration {
		return row(root, 7, rapid.Uint32Range(1, 2).Draw(t, "version"), rpcbind.TCP, 2000)
	}))
)

func find(rows []endpoint.Registration, p endpoint.Place) int {
	return slices.IndexFunc(rows, func(r endpoint.Registration) bool { return r.Place() == p })
}

func (m *dceModel) Add(t *rapid.T) {
	c := registry.Claim{Owner: someHostOrUser.Draw(t, "owner"), Replace: rapid.Bool().Draw(t, "replace")}
	asked := rapid.SliceOfN(someProgramOrDCE, 0, 3).Draw(t, "rows")
	want, is := m.add(c, asked)
	standing, err := m.g.Add(c, asked...)
	if !errors.Is(err, is) {
		t.Fatalf("Add = %v, want %v", err, is)
	}
	if err != nil {
		return
	}
	m.rows = want
	if len(standing) != len(asked) {
		t.Fatalf("Add = %d rows, want %d", len(standing), len(asked))
	}
	for i, s := range standing {
		r := &m.rows[find(m.rows, asked[i].Place())]
		if r.ID == 0 { // it is new
			r.ID, r.Since = s.ID, s.Since
		}
		if *s != *r {
			t.Fatalf("Add = %+v, want %+v", *s, *r)
		}
	}
}

// add returns the rows that stand after Add, or what it should say instead.
func (m *dceModel) add(c registry.Claim, asked []endpoint.Registration) (rows []endpoint.Registration, is error) {
	rows = slices.Clone(m.rows)
	if c.Replace {
		for _, r := range asked {
			rows = slices.DeleteFunc(rows, func(s endpoint.Registration) bool {
				ends := r.Dialect == endpoint.DCE && s.Interface == r.Interface && s.Object == r.Object && s.ProtSeq == r.ProtSeq && find(asked, s.Place()) < 0
				if ends && !c.Owner.MayChange(&s) {
					is = registry.ErrNotOwner
				}
				return ends
			})
		}
	}
	made := 0
	for k, r := range asked {
		if find(asked[:k], r.Place()) >= 0 {
			continue // the first counts
		}
		i := find(rows, r.Place())
		switch {
		case i < 0:
			r.Owner = c.Owner
			rows = append(rows, r)
			made++
		case r.Dialect == endpoint.DCE && r.Annotation != "" && rows[i].Owner == c.Owner:
			rows[i].Annotation = r.Annotation
		}
	}
	if is == nil && made > 0 && c.Owner != root && m.has(rows, c.Owner) > m.c.MaxUserRows {
		is = registry.ErrFull
	}
	return rows, is
}

func (*dceModel) has(rows []endpoint.Registration, o endpoint.Owner) (n int) {
	for _, r := range rows {
		if r.Owner == o {
			n++
		}
	}
	return n
}

// remove has the registry end the rows that gone is true of, all or none.
func (m *dceModel) remove(t *rapid.T, by endpoint.Owner, gone func(endpoint.Registration) bool, call func() (int, error)) {
	rows, may := slices.Clone(m.rows), true
	rows = slices.DeleteFunc(rows, func(r endpoint.Registration) bool {
		may = may && (!gone(r) || by.MayChange(&r))
		return gone(r)
	})
	n, err := call()
	switch {
	case !may && n == 0 && errors.Is(err, registry.ErrNotOwner):
	case may && n == len(m.rows)-len(rows) && err == nil:
		m.rows = rows
	default:
		t.Fatalf("removed %d, %v, want %d of %d, %t", n, err, len(m.rows)-len(rows), len(m.rows), may)
	}
}

func (m *dceModel) RemoveAt(t *rapid.T) {
	by := someHostOrUser.Draw(t, "by")
	var places []endpoint.Place
	for _, r := range rapid.SliceOfN(someProgramOrDCE, 0, 3).Draw(t, "places") {
		places = append(places, r.Place())
	}
	if missing := slices.ContainsFunc(places, func(p endpoint.Place) bool { return find(m.rows, p) < 0 }); missing {
		if err := m.g.RemoveAt(by, places...); !errors.Is(err, registry.ErrNotFound) {
			t.Fatalf("RemoveAt of what is not there = %v", err)
		}
		return
	}
	gone := func(r endpoint.Registration) bool { return slices.Contains(places, r.Place()) }
	n := len(m.rows) - len(slices.DeleteFunc(slices.Clone(m.rows), gone))
	m.remove(t, by, gone, func() (int, error) {
		if err := m.g.RemoveAt(by, places...); err != nil {
			return 0, err
		}
		return n, nil
	})
}

func (m *dceModel) RemoveUUID(t *rapid.T) {
	by, of := someHostOrUser.Draw(t, "by"), someDCE.Draw(t, "of")
	m.remove(t, by, func(r endpoint.Registration) bool { return r.Interface == of.Interface && r.ProtSeq == of.ProtSeq },
		func() (int, error) {
			return m.g.RemoveUUID(by, of.UUID, func(r *endpoint.Registration) bool {
				return r.Interface == of.Interface && r.ProtSeq == of.ProtSeq
			})
		})
}

func (m *dceModel) Reopen(t *rapid.T) {
	if err := m.g.Close(); err != nil {
		t.Fatal(err)
	}
	m.open(t)
}

func (m *dceModel) open(t *rapid.T) {
	var err error
	if m.g, err = registry.Open(m.c); err != nil {
		t.Fatal(err)
	}
	m.follower = &follower{watcher: m.g.Watch(nil)}
}

// Check compares all that can be asked with what the model says.
func (m *dceModel) Check(t *rapid.T) {
	all, seq := m.g.All()
	if !slices.EqualFunc(all, m.rows, func(a *endpoint.Registration, b endpoint.Registration) bool { return *a == b }) {
		t.Fatalf("All =\n%v, want\n%v", all, m.rows)
	}
	m.follower.catchUp(t, seq)
	if len(m.follower.rows) != len(all) {
		t.Fatalf("a watcher has %d rows, want %d", len(m.follower.rows), len(all))
	}
	stored, err := m.c.Store.Load()
	if err != nil || !slices.EqualFunc(stored.Rows, m.rows, func(a registry.Record, b endpoint.Registration) bool { return a.Registration == b }) {
		t.Fatalf("journalled:\n%+v, %v, want\n%v", stored.Rows, err, m.rows)
	}
	told, at := m.g.AllDCE()
	m.checkOrdered(t, told, func(r endpoint.Registration) bool { return r.Dialect == endpoint.DCE })
	if at != seq {
		t.Fatalf("AllDCE at %d, want %d", at, seq)
	}
	for _, uuid := range []ndr.UUID{x1.UUID, y1.UUID, {}} {
		m.checkOrdered(t, m.g.AppendFamily(nil, uuid, func(r *endpoint.Registration) bool { return r.Object.IsNil() }),
			func(r endpoint.Registration) bool {
				return r.Dialect == endpoint.DCE && r.UUID == uuid && r.Object.IsNil()
			})
	}
	for _, r := range m.rows {
		if got := m.g.Standing(r); got == nil || *got != r {
			t.Fatalf("in the place of %+v stands %+v", r, got)
		}
	}
	for _, o := range []endpoint.Owner{root, alice, bob, fs1, fs2} {
		if got, want := m.g.Rows(o), m.has(m.rows, o); got != want {
			t.Fatalf("%s has %d rows, want %d", o, got, want)
		}
	}
}

// checkOrdered compares rows with those of the model that wants is true of.
func (m *dceModel) checkOrdered(t *rapid.T, got []registry.Ordered, wants func(endpoint.Registration) bool) {
	var want []endpoint.Registration
	for _, r := range m.rows {
		if wants(r) {
			want = append(want, r)
		}
	}
	if !slices.EqualFunc(got, want, func(a registry.Ordered, b endpoint.Registration) bool { return *a.Registration == b }) {
		t.Fatalf("rows of DCE:\n%v, want\n%v", got, want)
	}
	if !slices.IsSortedFunc(got, func(a, b registry.Ordered) int {
		if a.Order < b.Order {
			return -1
		}
		return 1
	}) {
		t.Fatalf("rows of DCE are not in ascending order: %v", got)
	}
}

func TestDCEModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &dceModel{c: registry.Config{Store: registry.NewMemory(), MaxUserRows: 4}}
		m.open(t)
		t.Repeat(map[string]func(*rapid.T){
			"": m.Check, "add": m.Add, "add more": m.Add, "remove at": m.RemoveAt, "remove uuid": m.RemoveUUID, "reopen": m.Reopen,
		})
	})
}
