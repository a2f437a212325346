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

func own(n rpcbind.NetID) endpoint.Registration {
	r := row(root, rpcbind.Program, 4, n, rpcbind.Port)
	r.Own = true
	return r
}

func annotated(r endpoint.Registration, text string) endpoint.Registration {
	r.Annotation = text
	return r
}

func mustAdd(t testing.TB, g *registry.Registry, rows ...endpoint.Registration) []*endpoint.Registration {
	t.Helper()
	standing, err := g.Add(rows...)
	if err != nil || len(standing) != len(rows) {
		t.Fatalf("Add = %d rows, %v, want %d", len(standing), err, len(rows))
	}
	return standing
}

// TestAdd adds to a registry that holds the mapper's own row, alice's mountd
// with an annotation, and root's nfs.
func TestAdd(t *testing.T) {
	standing := []endpoint.Registration{
		own(rpcbind.TCP),
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
				row(bob, 7, 1, rpcbind.TCP, 2000), row(alice, 7, 2, rpcbind.UDP, 0),
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
			g := registry.New()
			mustAdd(t, g, standing...)
			before, seq := g.All()
			rows, err := g.Add(tt.rows...)
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
			g := registry.New()
			rows := mustAdd(t, g, own(rpcbind.TCP), row(alice, program, 1, rpcbind.TCP, 2000), row(alice, program, 1, rpcbind.UDP, 2000), row(bob, program, 1, rpcbind.TCP6, 2000))
			n, err := g.Remove(tt.by, tt.i, tt.on...)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if n != tt.n || text != tt.want || !errors.Is(err, tt.is) {
				t.Errorf("Remove = %d, %v, want %d, %q", n, err, tt.n, tt.want)
			}
			if left, seq := g.All(); len(left) != len(rows)-tt.n || seq != uint64(len(rows)+tt.n) {
				t.Errorf("%d rows are left at seq %d, want %d", len(left), seq, len(rows)-tt.n)
			}
		})
	}
}

func TestRemoveID(t *testing.T) {
	g := registry.New()
	rows := mustAdd(t, g, own(rpcbind.TCP), row(alice, 7, 1, rpcbind.TCP, 2000), row(alice, 7, 2, rpcbind.TCP, 2000), row(bob, 7, 3, rpcbind.TCP, 2000))
	mappers, hers, hers2, his := rows[0].ID, rows[1].ID, rows[2].ID, rows[3].ID
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

// many returns n registrations of programs from 1000 on, four versions each.
func many(n int) []endpoint.Registration {
	rows := make([]endpoint.Registration, n)
	for i := range rows {
		rows[i] = row(alice, 1000+uint32(i/4), uint32(i%4), rpcbind.UDP, 2000+uint16(i%60000))
	}
	return rows
}

func TestFull(t *testing.T) {
	g := registry.New()
	rows := mustAdd(t, g, many(registry.MaxRows)...)
	_, err := g.Add(row(alice, 7, 1, rpcbind.TCP, 2000), row(alice, 7, 2, rpcbind.TCP, 2000))
	if want := "2 more: the registry is full with 262144"; !errors.Is(err, registry.ErrFull) || err.Error() != want {
		t.Errorf("Add = %v, want %s", err, want)
	}
	mustAdd(t, g, many(10)...) // they stand already
	if err := g.RemoveID(alice, rows[0].ID); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, g, row(alice, 7, 1, rpcbind.TCP, 2000))
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
	g.Remove(alice, endpoint.Program(1000, 1), rpcbind.UDP)
	mustAdd(t, g, row(bob, 7, 1, rpcbind.TCP, 2000))
	if again := g.Lookup(endpoint.Program(1000, 0), rpcbind.UDP); again.ID != id {
		t.Errorf("id of a standing row = %v, want %v as before", again.ID, id)
	}
	g.Remove(alice, first.Interface, rpcbind.UDP)
	if again := mustAdd(t, g, row(alice, 1000, 0, rpcbind.UDP, 2000))[0]; again.ID == id {
		t.Errorf("a new row has the id %v of one that ended", id)
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
	g := registry.New()
	asked := 0
	g.Listens = func(o endpoint.Owner, e endpoint.Endpoint) bool {
		asked++
		return o == alice && e.Addr.Port() == 662
	}
	for _, tt := range []struct {
		row   endpoint.Registration
		is    error
		asked int
	}{
		{row(alice, 100024, 1, rpcbind.TCP, 662), nil, 1},
		{row(alice, 100024, 1, rpcbind.UDP, 663), registry.ErrRight, 1},
		{row(bob, 100024, 1, rpcbind.UDP, 662), registry.ErrRight, 1},
		{row(root, 100024, 1, rpcbind.UDP, 664), nil, 0},
		{row(bob, 100024, 1, rpcbind.TCP6, 1024), nil, 0},
	} {
		asked = 0
		if _, err := g.Add(tt.row); !errors.Is(err, tt.is) || asked != tt.asked {
			t.Errorf("Add(%s by %d) = %v after asking %d times, want %v and %d", tt.row.Endpoint, tt.row.Owner.UID, err, asked, tt.is, tt.asked)
		}
	}
}
