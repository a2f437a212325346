package registry_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A believer is what the rules of evidence say, told plainly: rows in the order
// in which they came, of programs and of an interface of DCE, and the sockets of users
// at ports.
type believer struct {
	c       registry.Config
	g       *registry.Registry
	table   *table
	rows    []*believed
	sockets []socket

	follower *follower
}

type socket struct {
	port uint16
	uid  uint32
}

// A believed row stands for as long as it is believed.
type believed struct {
	endpoint.Registration
	first uint32 // whose socket was seen first, if it is listening
}

const userRows = 2

func newBeliever() *believer {
	m := &believer{table: &table{}}
	m.c = registry.Config{Sockets: m.table, Store: registry.NewMemory(), MaxUserRows: userRows}
	return m
}

// at returns whose sockets are at a port.
func (m *believer) at(port uint16) (uids []uint32) {
	for _, s := range m.sockets {
		if s.port == port {
			uids = append(uids, s.uid)
		}
	}
	return uids
}

// dead tells whether nothing speaks for a row any more.
func (m *believer) dead(r *believed) bool {
	at := m.at(r.Addr.Port())
	switch r.Evidence {
	case endpoint.Listening:
		return !slices.Contains(at, r.first)
	case endpoint.Waiting:
		return len(at) == 0 && time.Now().After(r.Until)
	default:
		return time.Now().After(r.Until)
	}
}

// look has a row that waits find its socket.
func (m *believer) look(r *believed) {
	if at := m.at(r.Addr.Port()); r.Evidence == endpoint.Waiting && len(at) > 0 {
		r.Evidence, r.Until, r.first = endpoint.Listening, time.Time{}, at[0]
		if slices.Contains(at, r.Owner.UID) {
			r.first = r.Owner.UID
		}
	}
}

// believe gives a row the evidence of a claim.
func (m *believer) believe(r *believed, c registry.Claim) {
	pipe := !r.NetID.IsIP()
	if r.Evidence == endpoint.Lease && c.Evidence == 0 && len(m.at(r.Addr.Port())) == 0 && !pipe {
		return // to wait is no firmer ground
	}
	r.PID = c.PID
	switch {
	case c.Evidence == endpoint.Lease:
		r.Evidence, r.Until = endpoint.Lease, time.Now().Add(c.TTL)
	case pipe:
		r.Evidence, r.Until = endpoint.Lease, time.Now().Add(registry.DefaultLease)
	case r.Evidence == endpoint.Listening, r.Evidence == endpoint.Waiting:
	default:
		r.Evidence, r.Until = endpoint.Waiting, time.Now().Add(registry.DefaultGrace)
	}
	m.look(r)
}

// taken tells whether what a user asks for is at a port where another user's socket
// listens for the other dialect.
func (m *believer) taken(by endpoint.Owner, asked endpoint.Registration) bool {
	return by != root && asked.NetID.IsIP() && slices.ContainsFunc(m.rows, func(r *believed) bool {
		return r.Dialect != asked.Dialect && r.Addr.Port() == asked.Addr.Port() && r.Evidence == endpoint.Listening && r.first != by.UID && !m.dead(r)
	})
}

var someUser = rapid.SampledFrom([]endpoint.Owner{alice, bob})

func (m *believer) Open(t *rapid.T) {
	owner, port := someUser.Draw(t, "owner"), rapid.Uint16Range(2000, 2001).Draw(t, "port")
	if len(m.sockets) == 8 { // so few are listed in the order in which they were opened
		return
	}
	m.sockets = append(m.sockets, socket{port, owner.UID})
	m.table.open(owner, row(owner, 0, 0, rpcbind.TCP, port).Endpoint)
}

func (m *believer) Close(t *rapid.T) {
	owner, port := someUser.Draw(t, "owner"), rapid.Uint16Range(2000, 2001).Draw(t, "port")
	m.sockets = slices.DeleteFunc(m.sockets, func(s socket) bool { return s == socket{port, owner.UID} })
	m.table.closeOf(owner, row(owner, 0, 0, rpcbind.TCP, port).Endpoint)
}

var someBelieved = rapid.OneOf(
	rapid.Custom(func(t *rapid.T) endpoint.Registration {
		return row(root, rapid.Uint32Range(1, 4).Draw(t, "program"), 1, rpcbind.TCP, rapid.Uint16Range(2000, 2001).Draw(t, "port"))
	}),
	rapid.Custom(func(t *rapid.T) endpoint.Registration {
		at := rapid.SampledFrom([]string{"tcp 0.0.0.0:2000", "tcp 0.0.0.0:2001", `np \pipe\x`}).Draw(t, "at")
		return annotated(dce(root, x1, at), rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "annotation"))
	}),
)

func (m *believer) Set(t *rapid.T) {
	c := registry.Claim{Owner: someOwner.Draw(t, "owner"), PID: rapid.Int32Range(5, 6).Draw(t, "pid")}
	if rapid.Bool().Draw(t, "lease") {
		c.Evidence, c.TTL = endpoint.Lease, 8*time.Second
	}
	asked := someBelieved.Draw(t, "row")
	asked.Owner = c.Owner
	after, want := m.set(c, asked)
	rows, err := m.g.Add(c, asked)
	if !errors.Is(err, want) {
		t.Fatalf("Add = %v, want %v", err, want)
	}
	if err != nil {
		return
	}
	m.rows = after
	r := m.find(asked)
	if r.ID == 0 { // it is new
		r.ID, r.Since = rows[0].ID, rows[0].Since
	}
	if *rows[0] != r.Registration {
		t.Fatalf("Add = %+v, want %+v", *rows[0], r.Registration)
	}
}

// find returns the row in the place of another, or nil.
func (m *believer) find(of endpoint.Registration) *believed {
	if i := slices.IndexFunc(m.rows, func(r *believed) bool { return r.Place() == of.Place() }); i >= 0 {
		return m.rows[i]
	}
	return nil
}

// set returns the rows that stand after Add, or what it should say instead.
func (m *believer) set(c registry.Claim, asked endpoint.Registration) ([]*believed, error) {
	if m.taken(c.Owner, asked) {
		return nil, registry.ErrRight
	}
	rows := slices.Clone(m.rows)
	r := m.find(asked)
	if r != nil && m.dead(r) {
		rows = slices.DeleteFunc(rows, func(x *believed) bool { return x == r })
		r = nil
	}
	switch {
	case r == nil:
		has := 0
		for _, r := range rows {
			if r.Owner == c.Owner {
				has++
			}
		}
		if has == userRows && c.Owner != root {
			return nil, registry.ErrFull
		}
		r = &believed{Registration: asked}
		m.believe(r, c)
		return append(rows, r), nil
	case r.Endpoint != asked.Endpoint:
		return nil, registry.ErrConflict
	case c.Evidence == endpoint.Lease && c.Owner != root && c.Owner != r.Owner:
		return nil, registry.ErrNotOwner
	case c.Evidence == endpoint.Lease || c.Owner == r.Owner:
		m.believe(r, c)
		if asked.Annotation != "" {
			r.Annotation = asked.Annotation
		}
	}
	return rows, nil
}

func (m *believer) Remove(t *rapid.T) {
	by, of := someOwner.Draw(t, "by"), someBelieved.Draw(t, "row")
	r := m.find(of)
	err := m.g.RemoveAt(by, of.Place())
	switch may := r != nil && by.MayChange(&r.Registration); {
	case may && err == nil:
		m.rows = slices.DeleteFunc(m.rows, func(x *believed) bool { return x == r })
	case may, err == nil, errors.Is(err, registry.ErrNotFound) != (r == nil):
		t.Fatalf("RemoveAt of %v by %v = %v", r, by, err)
	}
}

func (m *believer) Sleep(t *rapid.T) {
	time.Sleep(rapid.SampledFrom([]time.Duration{time.Nanosecond, time.Second, 5 * time.Second, 8 * time.Second}).Draw(t, "time"))
}

// LookAtAll has the registry check everything, with a table that fails, or of
// which the first snapshot lacks every socket.
func (m *believer) LookAtAll(t *rapid.T) {
	how := rapid.SampledFrom([]string{"well", "well", "missing", "failing"}).Draw(t, "how")
	bySocket := func(r *believed) bool { return r.Evidence != endpoint.Lease }
	looks := slices.ContainsFunc(m.rows, bySocket)
	switch how {
	case "missing":
		m.table.missing = 1
	case "failing":
		m.table.fail(errors.New("no memory"))
	}
	err := m.g.Check()
	m.table.missing = 0
	m.table.fail(nil)
	if (err != nil) != (how == "failing" && looks) {
		t.Fatalf("Check = %v", err)
	}
	now := time.Now()
	m.rows = slices.DeleteFunc(m.rows, func(r *believed) bool { return m.dead(r) && (how != "failing" || !bySocket(r)) })
	for _, r := range m.rows {
		if how == "well" || how == "missing" && now.After(r.Until) { // and it was looked at twice
			m.look(r)
		}
	}
}

// Reopen begins anew with the same journal.
func (m *believer) Reopen(t *rapid.T) {
	if err := m.g.Close(); err != nil {
		t.Fatal(err)
	}
	m.open(t)
	m.rows = slices.DeleteFunc(m.rows, m.dead)
	for _, r := range m.rows {
		m.look(r)
	}
}

func (m *believer) open(t *rapid.T) {
	var err error
	if m.g, err = registry.Open(m.c); err != nil {
		t.Fatal(err)
	}
	m.follower = &follower{watcher: m.g.Watch(nil)}
}

// Check compares what stands, what watchers were told, what is journalled and
// what is counted.
func (m *believer) Check(t *rapid.T) {
	all, seq := m.g.All()
	same := func(a *endpoint.Registration, b *believed) bool { return *a == b.Registration }
	if !slices.EqualFunc(all, m.rows, same) {
		t.Fatalf("All =\n%v, want\n%v", all, m.rows)
	}
	m.follower.catchUp(t, seq)
	if !slices.Equal(m.follower.rows, all) {
		t.Fatalf("a watcher has\n%v, want\n%v", m.follower.rows, all)
	}
	stored, err := m.c.Store.Load()
	if err != nil || !slices.EqualFunc(stored.Rows, m.rows, func(a registry.Record, b *believed) bool {
		listens := b.Evidence == endpoint.Listening
		return a.Registration == b.Registration && a.Seen == listens && (!listens || a.SocketUID == b.first)
	}) {
		t.Fatalf("journalled:\n%+v, %v, want\n%v", stored.Rows, err, m.rows)
	}
	for _, o := range []endpoint.Owner{root, alice, bob} {
		n := 0
		for _, r := range m.rows {
			if r.Owner == o {
				n++
			}
		}
		if got := m.g.Rows(o); got != n {
			t.Fatalf("uid %d has %d rows, want %d", o.UID, got, n)
		}
	}
}

// TestBeliefs is in a bubble for its time.
func TestBeliefs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(withoutDeadline{t}, func(t *rapid.T) {
			m := newBeliever()
			m.open(t)
			t.Repeat(map[string]func(*rapid.T){
				"": m.Check, "open": m.Open, "close": m.Close, "set": m.Set, "set again": m.Set, "remove": m.Remove,
				"sleep": m.Sleep, "look": m.LookAtAll, "reopen": m.Reopen,
			})
		})
	})
}

// withoutDeadline hides the test's deadline, which a bubble's test may not ask for.
type withoutDeadline struct{ rapid.TB }
