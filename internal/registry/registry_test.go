package registry_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

var (
	root  = endpoint.Superuser
	alice = endpoint.Owner{UID: 1000}
	bob   = endpoint.Owner{UID: 1001}
)

// row returns a registration on every address of a family.
func row(owner endpoint.Owner, program, version uint32, n rpcbind.NetID, port uint16) endpoint.Registration {
	addr := netip.IPv4Unspecified()
	if n.IsIPv6() {
		addr = netip.IPv6Unspecified()
	}
	return endpoint.Registration{
		Interface: endpoint.Program(program, version),
		Endpoint:  endpoint.Endpoint{NetID: n, Addr: netip.AddrPortFrom(addr, port)},
		Owner:     owner,
	}
}

// open returns a registry with the mapper's own row on some transports.
func open(t testing.TB, own ...rpcbind.NetID) *registry.Registry {
	t.Helper()
	var c registry.Config
	for _, n := range own {
		c.Own = append(c.Own, row(root, rpcbind.Program, 4, n, rpcbind.Port))
	}
	return openWith(t, c)
}

func openWith(t testing.TB, c registry.Config) *registry.Registry {
	t.Helper()
	g, err := registry.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func annotated(r endpoint.Registration, text string) endpoint.Registration {
	r.Annotation = text
	return r
}

// add registers rows for the owner of the first.
func add(g *registry.Registry, rows ...endpoint.Registration) ([]*endpoint.Registration, error) {
	var c registry.Claim
	if len(rows) > 0 {
		c.Owner = rows[0].Owner
	}
	return g.Add(c, rows...)
}

// mustAdd registers rows, each for its owner.
func mustAdd(t testing.TB, g *registry.Registry, rows ...endpoint.Registration) []*endpoint.Registration {
	t.Helper()
	var all []*endpoint.Registration
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].Owner == rows[0].Owner {
			n++
		}
		standing, err := add(g, rows[:n]...)
		if err != nil || len(standing) != n {
			t.Fatalf("Add = %d rows, %v, want %d", len(standing), err, n)
		}
		all = append(all, standing...)
		rows = rows[n:]
	}
	return all
}

// TestAdd adds to a registry that holds the mapper's own row, alice's mountd
// with an annotation, and root's nfs.
func TestAdd(t *testing.T) {
	standing := []endpoint.Registration{
		annotated(row(alice, 100005, 3, rpcbind.TCP, 20048), "hers"),
		row(root, 100003, 4, rpcbind.TCP, 2049),
	}
	elsewhere := row(alice, 100005, 3, rpcbind.TCP, 20048)
	elsewhere.Addr = netip.MustParseAddrPort("192.0.2.1:20048")
	for _, tt := range []struct {
		name string
		rows []endpoint.Registration
		want []string // errors; none: all is added
		is   error
	}{
		{"nothing", nil, nil, nil},
		{"another program", []endpoint.Registration{row(bob, 7, 1, rpcbind.TCP, 20048)}, nil, nil},
		{"another version", []endpoint.Registration{row(bob, 100005, 2, rpcbind.TCP, 20048)}, nil, nil},
		{"another transport", []endpoint.Registration{row(bob, 100005, 3, rpcbind.UDP, 20048)}, nil, nil},
		{"the same row", []endpoint.Registration{row(alice, 100005, 3, rpcbind.TCP, 20048)}, nil, nil},
		{"the same row of another user", []endpoint.Registration{row(bob, 100005, 3, rpcbind.TCP, 20048)}, nil, nil},
		{"the same annotation", []endpoint.Registration{annotated(row(bob, 100005, 3, rpcbind.TCP, 20048), "hers")}, nil, nil},
		{"the same row twice", []endpoint.Registration{row(bob, 7, 1, rpcbind.TCP, 20048), row(bob, 7, 1, rpcbind.TCP, 20048)}, nil, nil},
		{"root below 1024", []endpoint.Registration{row(root, 7, 1, rpcbind.TCP, 1023)}, nil, nil},
		{"first free port", []endpoint.Registration{row(bob, 7, 1, rpcbind.TCP, 1024)}, nil, nil},

		{
			"another port", []endpoint.Registration{row(alice, 100005, 3, rpcbind.TCP, 20049)},
			[]string{"onc 100005 version 3 on tcp 0.0.0.0:20049: registered already at tcp 0.0.0.0:20048 (owner: uid 1000)"}, registry.ErrConflict,
		},
		{
			"another address", []endpoint.Registration{elsewhere},
			[]string{"onc 100005 version 3 on tcp 192.0.2.1:20048: registered already at tcp 0.0.0.0:20048 (owner: uid 1000)"}, registry.ErrConflict,
		},
		{
			"another annotation", []endpoint.Registration{annotated(row(alice, 100005, 3, rpcbind.TCP, 20048), "mine")},
			[]string{`onc 100005 version 3 on tcp 0.0.0.0:20048: registered already with annotation "hers" (owner: uid 1000)`}, registry.ErrConflict,
		},
		{
			"two that differ", []endpoint.Registration{row(bob, 7, 1, rpcbind.TCP, 2000), row(bob, 7, 1, rpcbind.TCP, 2001)},
			[]string{"onc 7 version 1 on tcp 0.0.0.0:2001: registered already at tcp 0.0.0.0:2000 (owner: uid 1001)"}, registry.ErrConflict,
		},
		{
			"a user below 1024", []endpoint.Registration{row(alice, 7, 1, rpcbind.UDP6, 1023)},
			[]string{"onc 7 version 1 on udp6 [::]:1023: not allowed: ports below 1024 are for root and for who listens there"}, registry.ErrRight,
		},
		{
			"the mapper's program", []endpoint.Registration{row(root, rpcbind.Program, 5, rpcbind.TCP, 2000)},
			[]string{"onc 100000 version 5 on tcp 0.0.0.0:2000: not allowed: the program is the mapper's own"}, registry.ErrRight,
		},
		{
			"the mapper's row", []endpoint.Registration{row(root, rpcbind.Program, 4, rpcbind.TCP, rpcbind.Port)},
			[]string{"onc 100000 version 4 on tcp 0.0.0.0:111: not allowed: the program is the mapper's own"}, registry.ErrRight,
		},
		{
			"every mistake, once each", []endpoint.Registration{
				row(alice, 7, 1, rpcbind.TCP, 2000), row(alice, 7, 2, rpcbind.UDP, 0),
				row(alice, 100003, 4, rpcbind.TCP, 2050), row(alice, 7, 3, rpcbind.UDP, 1),
			},
			[]string{
				"onc 7 version 2 on udp 0.0.0.0:0: 0.0.0.0:0: port 0 cannot be registered",
				"onc 100003 version 4 on tcp 0.0.0.0:2050: registered already at tcp 0.0.0.0:2049 (owner: uid 0)",
				"onc 7 version 3 on udp 0.0.0.0:1: not allowed: ports below 1024 are for root and for who listens there",
			}, registry.ErrConflict,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := open(t, rpcbind.TCP)
			mustAdd(t, g, standing...)
			before, seq := g.All()
			rows, err := add(g, tt.rows...)
			if got := lines(err); !slices.Equal(got, tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("Add = %q, want %q, %v", got, tt.want, tt.is)
			}
			if after, _ := g.All(); err != nil && (g.Seq() != seq || rows != nil || !slices.Equal(after, before)) {
				t.Errorf("Add failed and left %d rows, seq %d, want %d, %d", len(after), g.Seq(), len(before), seq)
			}
			for i := range rows {
				if g.Lookup(tt.rows[i].Interface, tt.rows[i].NetID) != rows[i] || rows[i].ID == 0 || rows[i].Since.IsZero() {
					t.Errorf("row %d: Add returned %+v, Lookup finds something else", i, rows[i])
				}
			}
		})
	}
}

// lines returns the texts of joined errors.
func lines(err error) []string {
	if err == nil {
		return nil
	}
	var all []string
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		all = append(all, e.Error())
	}
	return all
}

func TestSameRowKeepsItsOwner(t *testing.T) {
	g := registry.New()
	first := mustAdd(t, g, annotated(row(alice, 7, 1, rpcbind.TCP, 2000), "hers"))[0]
	seq := g.Seq()
	again := mustAdd(t, g, row(bob, 7, 1, rpcbind.TCP, 2000))[0]
	if again != first || again.Owner != alice || again.Annotation != "hers" || g.Seq() != seq {
		t.Errorf("Add of the same row = %+v, seq %d, want what stood there, %+v, seq %d", again, g.Seq(), first, seq)
	}
}

func TestRemove(t *testing.T) {
	const program = 7
	for _, tt := range []struct {
		name string
		by   endpoint.Owner
		i    endpoint.Interface
		on   []rpcbind.NetID
		n    int
		want string // error
		is   error
	}{
		{"one", alice, endpoint.Program(program, 1), []rpcbind.NetID{rpcbind.TCP}, 1, "", nil},
		{"one, named twice", alice, endpoint.Program(program, 1), []rpcbind.NetID{rpcbind.TCP, rpcbind.TCP}, 1, "", nil},
		{"both of hers", alice, endpoint.Program(program, 1), []rpcbind.NetID{rpcbind.TCP, rpcbind.UDP}, 2, "", nil},
		{"everything, by root", root, endpoint.Program(program, 1), rpcbind.NetIDs[:], 3, "", nil},
		{"nothing there", bob, endpoint.Program(program, 9), rpcbind.NetIDs[:], 0, "", nil},
		{"no transport", alice, endpoint.Program(program, 1), nil, 0, "", nil},
		{
			"one is another's", alice, endpoint.Program(program, 1), rpcbind.NetIDs[:], 0,
			"onc 7 version 1 on tcp6 [::]:2000: only its owner or root may change it (owner: uid 1001)", registry.ErrNotOwner,
		},
		{
			"the mapper's, by root", root, endpoint.Program(rpcbind.Program, 4), rpcbind.NetIDs[:], 0,
			"onc 100000 version 4 on tcp 0.0.0.0:111: not allowed: it is the mapper's own", registry.ErrRight,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := open(t, rpcbind.TCP)
			mustAdd(t, g, row(alice, program, 1, rpcbind.TCP, 2000), row(alice, program, 1, rpcbind.UDP, 2000), row(bob, program, 1, rpcbind.TCP6, 2000))
			n, err := g.Remove(tt.by, tt.i, tt.on...)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if n != tt.n || text != tt.want || !errors.Is(err, tt.is) {
				t.Errorf("Remove = %d, %v, want %d, %q", n, err, tt.n, tt.want)
			}
			if left, seq := g.All(); len(left) != 4-tt.n || seq != uint64(4+tt.n) {
				t.Errorf("%d rows are left at seq %d, want %d", len(left), seq, 4-tt.n)
			}
		})
	}
}

func TestRemoveID(t *testing.T) {
	g := open(t, rpcbind.TCP)
	rows := mustAdd(t, g, row(alice, 7, 1, rpcbind.TCP, 2000), row(alice, 7, 2, rpcbind.TCP, 2000), row(bob, 7, 3, rpcbind.TCP, 2000))
	mappers := g.Lookup(endpoint.Program(rpcbind.Program, 4), rpcbind.TCP).ID
	hers, hers2, his := rows[0].ID, rows[1].ID, rows[2].ID
	for _, tt := range []struct {
		name string
		by   endpoint.Owner
		ids  []endpoint.ID
		is   error
		left int
	}{
		{"one is another's", alice, []endpoint.ID{hers, his}, registry.ErrNotOwner, 4},
		{"one is not there", alice, []endpoint.ID{hers, mappers ^ hers ^ his | 1<<50}, registry.ErrNotFound, 4},
		{"the mapper's", root, []endpoint.ID{mappers}, registry.ErrRight, 4},
		{"hers, one named twice", alice, []endpoint.ID{hers, hers2, hers}, nil, 2},
		{"again", alice, []endpoint.ID{hers}, registry.ErrNotFound, 2},
		{"his, by root", root, []endpoint.ID{his}, nil, 1},
	} {
		err := g.RemoveID(tt.by, tt.ids...)
		if left, _ := g.All(); !errors.Is(err, tt.is) || len(left) != tt.left {
			t.Errorf("%s: RemoveID = %v, %d rows left, want %v, %d", tt.name, err, len(left), tt.is, tt.left)
		}
	}
}

// The version fallback of GETPORT means the row that came last (contract, "Procedures").
func TestLatestAndVersions(t *testing.T) {
	g := registry.New()
	check := func(n rpcbind.NetID, latest, low, high uint32, ok bool) {
		t.Helper()
		r := g.Latest(7, n)
		if (r != nil) != ok || ok && r.Version != latest {
			t.Errorf("Latest(7, %s) = %v, want version %d, %v", n, r, latest, ok)
		}
		if gotLow, gotHigh, gotOK := g.Versions(7, n); gotLow != low || gotHigh != high || gotOK != ok {
			t.Errorf("Versions(7, %s) = %d, %d, %v, want %d, %d, %v", n, gotLow, gotHigh, gotOK, low, high, ok)
		}
	}
	check(rpcbind.TCP, 0, 0, 0, false)
	mustAdd(t, g, row(alice, 7, 3, rpcbind.TCP, 2000), row(alice, 7, 9, rpcbind.TCP, 2000), row(alice, 7, 1, rpcbind.TCP, 2000), row(alice, 7, 5, rpcbind.UDP, 2000))
	check(rpcbind.TCP, 1, 1, 9, true)
	check(rpcbind.UDP, 5, 5, 5, true)
	check(rpcbind.TCP6, 0, 0, 0, false)
	mustAdd(t, g, row(alice, 7, 9, rpcbind.TCP, 2000)) // stands already: it does not become younger
	check(rpcbind.TCP, 1, 1, 9, true)
	g.Remove(alice, endpoint.Program(7, 1), rpcbind.TCP)
	check(rpcbind.TCP, 9, 3, 9, true)
	g.Remove(alice, endpoint.Program(7, 3), rpcbind.TCP)
	check(rpcbind.TCP, 9, 9, 9, true)
	g.Remove(alice, endpoint.Program(7, 9), rpcbind.TCP)
	check(rpcbind.TCP, 0, 0, 0, false)
}

// many returns n registrations by root of programs from 1000 on, four versions each.
func many(n int) []endpoint.Registration {
	rows := make([]endpoint.Registration, n)
	for i := range rows {
		rows[i] = row(root, 1000+uint32(i/4), uint32(i%4), rpcbind.UDP, 2000+uint16(i%60000))
	}
	return rows
}

// Root keeps a tenth of the whole for itself, and everybody else has a bound.
func TestFull(t *testing.T) {
	g := openWith(t, registry.Config{MaxRows: 100, MaxUserRows: 20})
	rows := mustAdd(t, g, many(85)...)
	hers := func(n uint32) (rows []endpoint.Registration) {
		for i := range n {
			rows = append(rows, row(alice, 7, i, rpcbind.TCP, 2000))
		}
		return rows
	}
	refused := func(want string, rows ...endpoint.Registration) {
		t.Helper()
		if _, err := add(g, rows...); !errors.Is(err, registry.ErrFull) || err.Error() != want {
			t.Errorf("Add = %v, want %s", err, want)
		}
	}
	refused("6 more: the registry is full: 85 registrations of 90", hers(6)...)
	mustAdd(t, g, hers(5)...)
	refused("1 more: the registry is full: 90 registrations of 90", row(bob, 8, 1, rpcbind.TCP, 2000))
	mustAdd(t, g, hers(5)...)  // they stand already
	mustAdd(t, g, many(95)...) // of which 10 are new
	refused("1 more: the registry is full: 100 registrations of 100", row(root, 9, 1, rpcbind.TCP, 2000))
	for _, r := range rows[:50] {
		if err := g.RemoveID(root, r.ID); err != nil {
			t.Fatal(err)
		}
	}
	refused("16 more: the registry is full: uid 1000 has 5 registrations and may have 20", hers(21)...)
	mustAdd(t, g, hers(20)...)
	refused("1 more: the registry is full: uid 1000 has 20 registrations and may have 20", row(alice, 8, 1, rpcbind.TCP, 2000))
	g.Remove(root, endpoint.Program(7, 3), rpcbind.TCP)
	mustAdd(t, g, row(alice, 8, 1, rpcbind.TCP, 2000))
	g.SetLimits(200, 30, registry.DefaultMaxUserGrants)
	mustAdd(t, g, row(alice, 8, 2, rpcbind.TCP, 2000))
}

func TestIDs(t *testing.T) {
	g := registry.New()
	seen := map[endpoint.ID]bool{}
	for _, r := range mustAdd(t, g, many(10_000)...) {
		if seen[r.ID] || r.ID == 0 || r.ID > endpoint.MaxID {
			t.Fatalf("id %v, want a new one from 1 to %v", r.ID, endpoint.MaxID)
		}
		seen[r.ID] = true
	}
	first := g.Lookup(endpoint.Program(1000, 0), rpcbind.UDP)
	id := first.ID
	g.Remove(root, endpoint.Program(1000, 1), rpcbind.UDP)
	mustAdd(t, g, row(bob, 7, 1, rpcbind.TCP, 2000))
	if again := g.Lookup(endpoint.Program(1000, 0), rpcbind.UDP); again.ID != id {
		t.Errorf("id of a standing row = %v, want %v as before", again.ID, id)
	}
	g.Remove(root, first.Interface, rpcbind.UDP)
	if again := mustAdd(t, g, row(root, 1000, 0, rpcbind.UDP, 2000))[0]; again.ID == id {
		t.Errorf("a new row has the id %v of one that ended", id)
	}
}

func TestLocate(t *testing.T) {
	g := registry.New()
	rows := []endpoint.Registration{
		row(alice, 7, 1, rpcbind.TCP, 2000), row(alice, 7, 1, rpcbind.UDP6, 2001), row(alice, 7, 2, rpcbind.TCP, 2000),
		{Interface: endpoint.Program(7, 3), Endpoint: endpoint.Endpoint{NetID: rpcbind.Local, Path: "/run/x.sock"}, Owner: alice},
	}
	rows[2].Addr = netip.MustParseAddrPort("192.0.2.1:2000")
	mustAdd(t, g, rows...)
	for _, r := range rows {
		if e, ok := g.Locate(r.Interface, r.NetID); !ok || e != r.Endpoint {
			t.Errorf("Locate(%s, %s) = %v, %t, want %v", r.Interface, r.NetID, e, ok, r.Endpoint)
		}
	}
	if e, ok := g.Locate(endpoint.Program(7, 2), rpcbind.UDP); ok {
		t.Errorf("Locate of what is not registered = %v", e)
	}
	if e, ok := g.Locate(endpoint.Interface{Program: 7, Version: 1}, rpcbind.TCP); ok {
		t.Errorf("Locate in no dialect = %v", e)
	}
}

// Every kind and reason has words of its own.
func TestWords(t *testing.T) {
	seen := map[string]bool{}
	for k := registry.Snapshot; k <= registry.Refused; k++ {
		seen[k.String()] = true
	}
	for r := range registry.New().Counts().Ended {
		seen[r.String()] = true
	}
	if len(seen) != 5+7 || seen[""] {
		t.Errorf("words %v, want 12", seen)
	}
	if k, r := registry.Kind(99).String(), registry.Reason(99).String(); k != "Kind(99)" || r != "Reason(99)" {
		t.Errorf("unknown ones are %q and %q", k, r)
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	g := registry.New()
	mustAdd(t, g, many(1000)...)
	n := testing.AllocsPerRun(100, func() {
		g.Lookup(endpoint.Program(1010, 1), rpcbind.UDP)
		g.Lookup(endpoint.Program(7, 1), rpcbind.UDP)
		g.Latest(1010, rpcbind.UDP)
		g.Versions(1010, rpcbind.UDP)
		g.Seq()
	})
	if n != 0 {
		t.Errorf("lookups allocate %v times, want 0", n)
	}
}

// A user may register a port below 1024 on which a socket of his listens.
func TestListensBelow1024(t *testing.T) {
	var sockets table
	sockets.open(alice, row(alice, 100024, 1, rpcbind.TCP, 662).Endpoint)
	g := openWith(t, registry.Config{Sockets: &sockets, Unchecked: true})
	for _, tt := range []struct {
		row   endpoint.Registration
		is    error
		asked int
	}{
		{row(alice, 100024, 1, rpcbind.TCP, 662), nil, 1},
		{row(alice, 100024, 1, rpcbind.UDP, 663), registry.ErrRight, 1},
		{row(bob, 100024, 1, rpcbind.TCP, 662), registry.ErrRight, 1},
		{row(root, 100024, 1, rpcbind.UDP, 664), nil, 0},
		{row(bob, 100024, 1, rpcbind.TCP6, 1024), nil, 0},
	} {
		sockets.asked = 0
		if _, err := add(g, tt.row); !errors.Is(err, tt.is) || sockets.asked != tt.asked {
			t.Errorf("Add(%s by %d) = %v after asking %d times, want %v and %d", tt.row.Endpoint, tt.row.Owner.UID, err, sockets.asked, tt.is, tt.asked)
		}
	}
}
