package registry_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/registry/filestore"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// Interfaces that nobody has: two versions of one, and another.
var (
	x1 = dceInterface(1, 1)
	x2 = dceInterface(1, 2)
	y1 = dceInterface(2, 1)

	object = ndr.UUID{9}
	fs1    = endpoint.HostOwner(netip.MustParseAddr("192.0.2.1"))
	fs2    = endpoint.HostOwner(netip.MustParseAddr("192.0.2.2"))
)

func dceInterface(uuid byte, major uint16) endpoint.Interface {
	return endpoint.Interface{Dialect: endpoint.DCE, UUID: ndr.UUID{uuid}, Major: major}
}

// dce returns a registration at an endpoint such as "tcp 0.0.0.0:2000" or `np \pipe\x`.
func dce(owner endpoint.Owner, i endpoint.Interface, at string) endpoint.Registration {
	name, where, _ := strings.Cut(at, " ")
	p, _ := epm.ParseProtSeq(name)
	e := endpoint.Endpoint{ProtSeq: p, Path: where}
	if p.HasPort() {
		e = endpoint.At(p, netip.MustParseAddrPort(where))
	}
	return endpoint.Registration{Interface: i, Endpoint: e, Owner: owner}
}

func withObject(r endpoint.Registration) endpoint.Registration {
	r.Object = object
	return r
}

// told returns rows in their order, the interfaces as x and y.
func told(rows []*endpoint.Registration) string {
	var all []string
	for _, r := range rows {
		text := fmt.Sprintf("%d@%s", r.Program, r.Endpoint)
		if r.Dialect == endpoint.DCE {
			text = fmt.Sprintf("%c%d@%s", 'x'+r.UUID[0]-1, r.Major, r.Endpoint)
		}
		if !r.Object.IsNil() {
			text += " object"
		}
		if r.Annotation != "" {
			text += fmt.Sprintf(" %q", r.Annotation)
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func checkTold(t testing.TB, g *registry.Registry, want string) {
	t.Helper()
	rows, _ := g.All()
	if got := told(rows); got != want {
		t.Errorf("what stands:\n%s, want\n%s", got, want)
	}
}

// TestAddDCE adds to a registry that holds the mapper's own row, alice's x with an
// annotation, and root's at a pipe.
func TestAddDCE(t *testing.T) {
	standing := []endpoint.Registration{annotated(dce(alice, x1, "tcp 0.0.0.0:2000"), "hers"), dce(root, x1, `np \pipe\x`)}
	mapper := endpoint.FromSyntax(epm.Interface)
	const x = "dce 01000000-0000-0000-0000-000000000000 version 1.0"
	for _, tt := range []struct {
		name string
		row  endpoint.Registration
		made bool
		want string // of the error
		is   error
	}{
		{"another interface", dce(bob, y1, "tcp 0.0.0.0:2000"), true, "", nil},
		{"another version", dce(bob, x2, "tcp 0.0.0.0:2000"), true, "", nil},
		{"another object", withObject(dce(bob, x1, "tcp 0.0.0.0:2000")), true, "", nil},
		{"another port", dce(bob, x1, "tcp 0.0.0.0:2001"), true, "", nil},
		{"another address", dce(bob, x1, "tcp 127.0.0.1:2000"), true, "", nil},
		{"another protocol sequence", dce(bob, x1, "http 0.0.0.0:2000"), true, "", nil},
		{"another pipe", dce(bob, x1, `np \pipe\y`), true, "", nil},
		{"the pipe's name as that of a process", dce(bob, x1, `lrpc \pipe\x`), true, "", nil},
		{"the nil UUID", dce(bob, endpoint.Interface{Dialect: endpoint.DCE}, "udp 0.0.0.0:2000"), true, "", nil},
		{"root below 1024", dce(root, x1, "http 0.0.0.0:593"), true, "", nil},
		{"the same", dce(alice, x1, "tcp 0.0.0.0:2000"), false, "", nil},
		{"the same of another user", dce(bob, x1, "tcp 0.0.0.0:2000"), false, "", nil},
		{"the same of another host", dce(fs1, x1, "tcp 0.0.0.0:2000"), false, "", nil},
		{"another user's annotation", annotated(dce(bob, x1, "tcp 0.0.0.0:2000"), "his"), false, "", nil},
		{"root's annotation", annotated(dce(root, x1, "tcp 0.0.0.0:2000"), "root's"), false, "", nil},

		{"a user below 1024", dce(alice, y1, "http 0.0.0.0:593"), false,
			"dce 02000000-0000-0000-0000-000000000000 version 1.0 on http 0.0.0.0:593: not allowed: ports below 1024 are for root and for who listens there", registry.ErrRight},
		{"a host below 1024", dce(fs1, x1, "tcp 192.0.2.1:1023"), false,
			x + " on tcp 192.0.2.1:1023: not allowed: ports below 1024 are for root and for who listens there", registry.ErrRight},
		{"the mapper's interface", dce(root, mapper, "tcp 0.0.0.0:2000"), false,
			"dce e1af8308-5d1f-11c9-91a4-08002b14a0fa version 3.0 on tcp 0.0.0.0:2000: not allowed: the interface is the mapper's own", registry.ErrRight},
		{"IPv6", endpoint.Registration{Interface: x1, Owner: root, Endpoint: endpoint.At(epm.TCP, netip.MustParseAddrPort("[::1]:2000"))}, false,
			x + " on tcp [::1]:2000: ::1: the endpoint mapper tells IPv4 addresses only; 0.0.0.0 is every address, of both families", nil},
		{"no pipe", dce(root, x1, "np x"), false, x + ` on np x: np: pipe "x" does not begin with \, as \pipe\winreg does`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			own := dce(root, mapper, "tcp 0.0.0.0:135")
			g := openWith(t, registry.Config{Own: []endpoint.Registration{own}})
			first := mustAdd(t, g, standing...)
			seq := g.Seq()
			rows, err := add(g, tt.row)
			switch {
			case tt.want != "":
				if err == nil || err.Error() != tt.want || tt.is != nil && !errors.Is(err, tt.is) || g.Seq() != seq {
					t.Errorf("Add = %v and %d changes, want %s", err, g.Seq()-seq, tt.want)
				}
			case err != nil:
				t.Errorf("Add = %v", err)
			case !tt.made && (rows[0] != first[0] || g.Seq() != seq):
				t.Errorf("Add = %+v and %d changes, want what stood there, %+v", rows[0], g.Seq()-seq, first[0])
			case tt.made && (g.Seq() != seq+1 || g.Standing(tt.row) != rows[0] || rows[0].Owner != tt.row.Owner || rows[0].ID == 0):
				t.Errorf("Add = %+v and %d changes, want a new row", rows[0], g.Seq()-seq)
			}
		})
	}
}

// Registering a row of DCE again changes its annotation, whatever it stands on:
// that is no part of what is registered.
func TestAnnotationAgain(t *testing.T) {
	plain := func(o endpoint.Owner) registry.Claim { return registry.Claim{Owner: o} }
	lease := registry.Claim{Owner: alice, Evidence: endpoint.Lease, TTL: time.Hour}
	for _, tt := range []struct {
		name     string
		first    registry.Claim
		at       string
		second   registry.Claim
		text     string
		want     string // the annotation
		evidence endpoint.Evidence
	}{
		{"listening", plain(alice), "tcp 0.0.0.0:2000", plain(alice), "new", "new", endpoint.Listening},
		{"waiting", plain(alice), "tcp 0.0.0.0:2001", plain(alice), "new", "new", endpoint.Waiting},
		{"a pipe", plain(alice), `np \pipe\x`, plain(alice), "new", "new", endpoint.Lease},
		{"a lease, and nothing asked for", lease, "tcp 0.0.0.0:2001", plain(alice), "new", "new", endpoint.Lease},
		{"a lease, asked for again", lease, `np \pipe\x`, lease, "new", "new", endpoint.Lease},
		{"permanent, and nothing asked for", forever, "tcp 0.0.0.0:2001", plain(root), "new", "new", endpoint.Permanent},
		{"permanent, asked for again", forever, `np \pipe\x`, forever, "new", "new", endpoint.Permanent},
		{"permanent in place of a lease", lease, `np \pipe\x`, forever, "new", "new", endpoint.Permanent},
		{"of a host", plain(fs1), "tcp 192.0.2.1:2000", plain(fs1), "new", "new", endpoint.Lease},

		{"no annotation", plain(alice), "tcp 0.0.0.0:2000", plain(alice), "", "old", endpoint.Listening},
		{"another user", plain(alice), "tcp 0.0.0.0:2000", plain(bob), "new", "old", endpoint.Listening},
		{"root, without evidence", plain(alice), "tcp 0.0.0.0:2000", plain(root), "new", "old", endpoint.Listening},
		{"a user, of a permanent row", forever, `np \pipe\x`, plain(alice), "new", "old", endpoint.Permanent},
		{"another host", plain(fs1), "tcp 192.0.2.1:2000", plain(fs2), "new", "old", endpoint.Lease},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var sockets table
			sockets.open(alice, dce(alice, x1, "tcp 0.0.0.0:2000").Endpoint)
			permanent := filepath.Join(t.TempDir(), "permanent.yaml")
			file, err := filestore.Open(permanent)
			if err != nil {
				t.Fatal(err)
			}
			journal := registry.NewMemory()
			c := registry.Config{Sockets: &sockets, Store: journal, Permanent: file, Ours: func(a netip.Addr) bool { return a.IsLoopback() }}
			g := openWith(t, c)
			asked := dce(alice, x1, tt.at)
			old := claim(t, g, tt.first, annotated(asked, "old"))[0]
			seq := g.Seq()
			got := claim(t, g, tt.second, annotated(asked, tt.text))[0]
			if got.Annotation != tt.want || got.Evidence != tt.evidence || got.ID != old.ID || got.Since != old.Since || got != g.Standing(asked) {
				t.Errorf("Add = %+v, want annotation %q, %s, and else\n%+v", got, tt.want, tt.evidence, old)
			}
			if changes := uint64(1); tt.want == "new" && g.Seq() != seq+changes || tt.want == "old" && old != got {
				t.Errorf("%d changes", g.Seq()-seq)
			}
			kept, _ := journal.Load()
			filed, err := file.Load()
			if all := append(kept.Rows, filed.Rows...); err != nil || len(all) != 1 || all[0].Annotation != tt.want {
				t.Errorf("stored: %+v, %v, want annotation %q", all, err, tt.want)
			}
		})
	}
}

// TestReplace: what has the interface, object and protocol sequence of what is
// registered, and is not itself registered, ends.
func TestReplace(t *testing.T) {
	standing := []endpoint.Registration{
		dce(alice, x1, "tcp 0.0.0.0:2000"), dce(alice, x1, "tcp 0.0.0.0:2001"), withObject(dce(alice, x1, "tcp 0.0.0.0:2002")),
		dce(alice, x1, "udp 0.0.0.0:2000"), dce(alice, x2, "tcp 0.0.0.0:2000"), dce(bob, y1, "tcp 0.0.0.0:3000"), dce(alice, y1, `np \pipe\y`),
	}
	const all = "x1@tcp 0.0.0.0:2000, x1@tcp 0.0.0.0:2001, x1@tcp 0.0.0.0:2002 object, x1@udp 0.0.0.0:2000, x2@tcp 0.0.0.0:2000, y1@tcp 0.0.0.0:3000, y1@np \\pipe\\y"
	const others = "x1@tcp 0.0.0.0:2002 object, x1@udp 0.0.0.0:2000, x2@tcp 0.0.0.0:2000, y1@tcp 0.0.0.0:3000, y1@np \\pipe\\y"
	for _, tt := range []struct {
		name string
		by   endpoint.Owner
		rows []endpoint.Registration
		want string
		is   error
	}{
		{"nothing", alice, nil, all, nil},
		{"at a new port", alice, []endpoint.Registration{dce(alice, x1, "tcp 0.0.0.0:2009")}, others + ", x1@tcp 0.0.0.0:2009", nil},
		{"at one of the old", alice, []endpoint.Registration{dce(alice, x1, "tcp 0.0.0.0:2001")}, "x1@tcp 0.0.0.0:2001, " + others, nil},
		{"at both of the old", alice, []endpoint.Registration{dce(alice, x1, "tcp 0.0.0.0:2001"), dce(alice, x1, "tcp 0.0.0.0:2000")}, all, nil},
		{"the same twice", alice, []endpoint.Registration{dce(alice, x1, "tcp 0.0.0.0:2009"), dce(alice, x1, "tcp 0.0.0.0:2009")}, others + ", x1@tcp 0.0.0.0:2009", nil},
		{"of an object", alice, []endpoint.Registration{withObject(dce(alice, x1, "tcp 0.0.0.0:2009"))},
			strings.Replace(all, "x1@tcp 0.0.0.0:2002 object, ", "", 1) + ", x1@tcp 0.0.0.0:2009 object", nil},
		{"a pipe", alice, []endpoint.Registration{dce(alice, y1, `np \pipe\z`)}, strings.Replace(all, `\pipe\y`, `\pipe\z`, 1), nil},
		{"another's, by root", root, []endpoint.Registration{dce(root, y1, "tcp 0.0.0.0:3001")},
			strings.Replace(all, ", y1@tcp 0.0.0.0:3000", "", 1) + ", y1@tcp 0.0.0.0:3001", nil},
		{"a program", alice, []endpoint.Registration{row(alice, 7, 1, rpcbind.UDP, 2000)}, all + ", 7@udp 0.0.0.0:2000", nil},
		{"a program that has no other place", alice, []endpoint.Registration{row(alice, 8, 1, rpcbind.UDP, 2000), dce(alice, x1, "udp 0.0.0.0:2009")},
			strings.Replace(all, "x1@udp 0.0.0.0:2000, ", "", 1) + ", 8@udp 0.0.0.0:2000, x1@udp 0.0.0.0:2009", nil},

		{"another's", alice, []endpoint.Registration{dce(alice, x1, "tcp 0.0.0.0:2009"), dce(alice, y1, "tcp 0.0.0.0:2009")}, all, registry.ErrNotOwner},
		{"what cannot be", alice, []endpoint.Registration{dce(alice, x1, "tcp 0.0.0.0:2009"), dce(alice, x1, "tcp 0.0.0.0:80")}, all, registry.ErrRight},
		{"another host", fs1, []endpoint.Registration{dce(fs1, x1, "tcp 192.0.2.1:2009")}, all, registry.ErrNotOwner},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := registry.New()
			mustAdd(t, g, standing...)
			refused, seq := g.Counts().Refused, g.Seq()
			_, err := g.Add(registry.Claim{Owner: tt.by, Replace: true}, tt.rows...)
			if !errors.Is(err, tt.is) {
				t.Errorf("Add = %v, want %v", err, tt.is)
			}
			checkTold(t, g, tt.want)
			if n := g.Counts().Refused - refused; (n != 0) != (tt.is != nil) || tt.is != nil && g.Seq() != seq {
				t.Errorf("%d refusals and %d changes", n, g.Seq()-seq)
			}
		})
	}
}

// The mapper's own rows are in nobody's gift, and what is permanent ends in the file too.
func TestReplaceOwnAndPermanent(t *testing.T) {
	own := dce(root, x1, "tcp 0.0.0.0:135")
	file := registry.NewMemory()
	g := openWith(t, registry.Config{Own: []endpoint.Registration{own}, Permanent: file})
	if _, err := g.Add(registry.Claim{Owner: root, Replace: true}, dce(root, x1, "tcp 0.0.0.0:2000")); !errors.Is(err, registry.ErrRight) {
		t.Errorf("Add in place of the mapper's own row = %v, want %v", err, registry.ErrRight)
	}
	claim(t, g, forever, dce(root, y1, "tcp 0.0.0.0:2000"))
	replace := forever
	replace.Replace = true
	claim(t, g, replace, dce(root, y1, "tcp 0.0.0.0:2001"))
	checkTold(t, g, "x1@tcp 0.0.0.0:135, y1@tcp 0.0.0.0:2001")
	if filed, _ := file.Load(); len(filed.Rows) != 1 || filed.Rows[0].Addr.Port() != 2001 {
		t.Errorf("the file has %+v, want the new row only", filed.Rows)
	}
}

// What is dead is in nobody's way: another user's server on other ports replaces it.
func TestReplaceDead(t *testing.T) {
	var sockets table
	his := dce(bob, x1, "tcp 0.0.0.0:2000")
	sockets.open(bob, his.Endpoint)
	g := openWith(t, registry.Config{Sockets: &sockets})
	claim(t, g, registry.Claim{Owner: bob}, his)
	ended := endings(g)
	c := registry.Claim{Owner: alice, Replace: true}
	if _, err := g.Add(c, dce(alice, x1, "tcp 0.0.0.0:2001")); !errors.Is(err, registry.ErrNotOwner) {
		t.Errorf("Add while bob's server listens = %v, want %v", err, registry.ErrNotOwner)
	}
	sockets.close(his.Endpoint)
	claim(t, g, c, dce(alice, x1, "tcp 0.0.0.0:2001"))
	checkEndings(t, ended, registry.Gone.String())
	checkTold(t, g, "x1@tcp 0.0.0.0:2001")
}

// Rows that end make room for those that replace them.
func TestReplaceMakesRoom(t *testing.T) {
	g := openWith(t, registry.Config{MaxUserRows: 2})
	mustAdd(t, g, dce(alice, x1, "tcp 0.0.0.0:2000"), dce(alice, x1, "tcp 0.0.0.0:2001"))
	c := registry.Claim{Owner: alice, Replace: true}
	claim(t, g, c, dce(alice, x1, "tcp 0.0.0.0:2002"), dce(alice, x1, "tcp 0.0.0.0:2003"))
	if _, err := g.Add(c, dce(alice, x1, "tcp 0.0.0.0:2004"), dce(alice, x1, "tcp 0.0.0.0:2005"), dce(alice, x1, "tcp 0.0.0.0:2006")); !errors.Is(err, registry.ErrFull) {
		t.Errorf("Add of three in place of two = %v, want %v", err, registry.ErrFull)
	}
	checkTold(t, g, "x1@tcp 0.0.0.0:2002, x1@tcp 0.0.0.0:2003")
}

func TestRemoveDCE(t *testing.T) {
	standing := []endpoint.Registration{
		dce(alice, x1, "tcp 0.0.0.0:2000"), withObject(dce(alice, x1, "tcp 0.0.0.0:2000")), dce(alice, x1, `np \pipe\x`),
		dce(alice, x2, "tcp 0.0.0.0:2000"), dce(bob, y1, "tcp 0.0.0.0:2000"), dce(fs1, y1, "tcp 192.0.2.1:2000"), row(alice, 7, 1, rpcbind.UDP, 2000),
	}
	places := func(rows ...endpoint.Registration) func(*registry.Registry, endpoint.Owner) (int, error) {
		return func(g *registry.Registry, by endpoint.Owner) (int, error) {
			var all []endpoint.Place
			for i := range rows {
				all = append(all, rows[i].Place())
			}
			before, _ := g.All()
			err := g.RemoveAt(by, all...)
			after, _ := g.All()
			return len(before) - len(after), err
		}
	}
	uuid := func(u ndr.UUID, wants func(*endpoint.Registration) bool) func(*registry.Registry, endpoint.Owner) (int, error) {
		return func(g *registry.Registry, by endpoint.Owner) (int, error) { return g.RemoveUUID(by, u, wants) }
	}
	any := func(*endpoint.Registration) bool { return true }
	for _, tt := range []struct {
		name   string
		by     endpoint.Owner
		remove func(*registry.Registry, endpoint.Owner) (int, error)
		n      int
		want   string // the error
		is     error
	}{
		{"no place", alice, places(), 0, "", nil},
		{"one place", alice, places(standing[0]), 1, "", nil},
		{"a place named twice", alice, places(standing[0], standing[0]), 1, "", nil},
		{"places of both dialects", alice, places(standing[1], standing[6], standing[2]), 3, "", nil},
		{"one of them not there", alice, places(standing[0], dce(alice, x1, "udp 0.0.0.0:2000")), 0,
			"dce 01000000-0000-0000-0000-000000000000 version 1.0 on udp 0.0.0.0:2000: not registered", registry.ErrNotFound},
		{"another's place", alice, places(standing[0], standing[4]), 0,
			"dce 02000000-0000-0000-0000-000000000000 version 1.0 on tcp 0.0.0.0:2000: only its owner or root may change it (owner: uid 1001)", registry.ErrNotOwner},
		{"a host's place", bob, places(standing[5]), 0,
			"dce 02000000-0000-0000-0000-000000000000 version 1.0 on tcp 192.0.2.1:2000: only its owner or root may change it (owner: 192.0.2.1)", registry.ErrNotOwner},
		{"a host its own", fs1, places(standing[5]), 1, "", nil},
		{"another host", fs2, places(standing[5]), 0,
			"dce 02000000-0000-0000-0000-000000000000 version 1.0 on tcp 192.0.2.1:2000: only its owner or root may change it (owner: 192.0.2.1)", registry.ErrNotOwner},
		{"a UUID", alice, uuid(x1.UUID, any), 4, "", nil},
		{"a version of it", alice, uuid(x1.UUID, func(r *endpoint.Registration) bool { return r.Interface == x1 }), 3, "", nil},
		{"what it has at pipes", alice, uuid(x1.UUID, func(r *endpoint.Registration) bool { return r.ProtSeq == epm.NP }), 1, "", nil},
		{"none of it", alice, uuid(x1.UUID, func(*endpoint.Registration) bool { return false }), 0, "", nil},
		{"a UUID that is not there", alice, uuid(ndr.UUID{5}, any), 0, "", nil},
		{"the nil UUID, which programs have not", alice, uuid(ndr.UUID{}, any), 0, "", nil},
		{"a UUID, by root", root, uuid(y1.UUID, any), 2, "", nil},
		{"a UUID of which one is another's", bob, uuid(y1.UUID, any), 0,
			"dce 02000000-0000-0000-0000-000000000000 version 1.0 on tcp 192.0.2.1:2000: only its owner or root may change it (owner: 192.0.2.1)", registry.ErrNotOwner},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := registry.New()
			mustAdd(t, g, standing...)
			n, err := tt.remove(g, tt.by)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if n != tt.n || text != tt.want || !errors.Is(err, tt.is) {
				t.Errorf("removed %d, %v, want %d, %q", n, err, tt.n, tt.want)
			}
			left, seq := g.All()
			dces, dceSeq := g.AllDCE()
			if len(left) != len(standing)-tt.n || seq != uint64(len(standing)+tt.n) || dceSeq != seq || len(dces) > len(left) {
				t.Errorf("%d rows are left, %d of DCE, at seq %d and %d", len(left), len(dces), seq, dceSeq)
			}
			all, _ := g.All()
			for _, r := range all {
				if err := g.RemoveID(root, r.ID); err != nil {
					t.Errorf("RemoveID = %v", err)
				}
			}
			if dces, _ := g.AllDCE(); len(dces) != 0 {
				t.Errorf("%d rows of DCE are left after all were removed", len(dces))
			}
		})
	}
}

// TestAllDCE: who tells rows in parts goes on by their order.
func TestAllDCE(t *testing.T) {
	g := registry.New()
	mustAdd(t, g, dce(alice, x1, "tcp 0.0.0.0:2000"), row(alice, 7, 1, rpcbind.UDP, 2000), dce(alice, y1, "tcp 0.0.0.0:2000"),
		dce(alice, x2, `np \pipe\x`), dce(bob, x1, "tcp 0.0.0.0:2001"))
	tell := func(rows []registry.Ordered) string {
		var regs []*endpoint.Registration
		last := uint64(0)
		for _, r := range rows {
			if r.Order <= last {
				t.Errorf("order %d after %d", r.Order, last)
			}
			last = r.Order
			regs = append(regs, r.Registration)
		}
		return told(regs)
	}
	all, seq := g.AllDCE()
	if got, want := tell(all), `x1@tcp 0.0.0.0:2000, y1@tcp 0.0.0.0:2000, x2@np \pipe\x, x1@tcp 0.0.0.0:2001`; got != want || seq != g.Seq() {
		t.Errorf("AllDCE = %s at %d, want %s at %d", got, seq, want, g.Seq())
	}
	any := func(*endpoint.Registration) bool { return true }
	for _, tt := range []struct {
		uuid  ndr.UUID
		wants func(*endpoint.Registration) bool
		want  string
	}{
		{x1.UUID, any, `x1@tcp 0.0.0.0:2000, x2@np \pipe\x, x1@tcp 0.0.0.0:2001`},
		{x1.UUID, func(r *endpoint.Registration) bool { return r.ProtSeq == epm.TCP }, "x1@tcp 0.0.0.0:2000, x1@tcp 0.0.0.0:2001"},
		{y1.UUID, any, "y1@tcp 0.0.0.0:2000"},
		{ndr.UUID{}, any, ""},
	} {
		if got := tell(g.AppendFamily(nil, tt.uuid, tt.wants)); got != tt.want {
			t.Errorf("AppendFamily(%s) = %s, want %s", tt.uuid, got, tt.want)
		}
	}
	if got := g.AppendFamily(all[:1:1], y1.UUID, any); len(got) != 2 || got[0] != all[0] || got[1] != all[1] {
		t.Errorf("AppendFamily to one = %v, want one more", got)
	}

	// A row keeps its order when it is believed anew, and a new one is the youngest.
	third := all[2]
	claim(t, g, registry.Claim{Owner: alice}, annotated(dce(alice, x2, `np \pipe\x`), "again"))
	g.RemoveID(alice, all[0].ID)
	mustAdd(t, g, dce(alice, x1, "tcp 0.0.0.0:2000"))
	now, _ := g.AllDCE()
	if got, want := tell(now), `y1@tcp 0.0.0.0:2000, x2@np \pipe\x "again", x1@tcp 0.0.0.0:2001, x1@tcp 0.0.0.0:2000`; got != want {
		t.Errorf("AllDCE = %s, want %s", got, want)
	}
	if now[1].Order != third.Order || now[3].Order <= all[3].Order {
		t.Errorf("orders %d, %d, want %d as before and one above %d", now[1].Order, now[3].Order, third.Order, all[3].Order)
	}
}

// A pipe or a name has no socket, nor has another host's address one here. Where
// there is a process these stand on that: held_linux_test.go.
func TestEvidenceOfDCE(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sockets table
		here := netip.MustParseAddr("10.0.0.5")
		g := running(t, registry.Config{Sockets: &sockets, Ours: func(a netip.Addr) bool { return a == here }})
		ended := endings(g)
		rows := map[string]string{
			"tcp 0.0.0.0:2000": "listening", "tcp 10.0.0.5:2000": "listening", "http 10.0.0.5:2000": "listening", "udp 10.0.0.5:2000": "waiting",
			"tcp 10.0.0.6:2000": "lease", "udp 10.0.0.6:2000": "lease", `np \pipe\x`: "lease", "lrpc x": "lease",
		}
		sockets.open(alice, dce(alice, x1, "tcp 0.0.0.0:2000").Endpoint)
		for at, want := range rows {
			claim(t, g, registry.Claim{Owner: alice, PID: 5}, dce(alice, x1, at))
			if r := evidence(t, g, dce(alice, x1, at), want); r.PID != 5 || want == "lease" && !r.Until.Equal(time.Now().Add(registry.DefaultLease)) {
				t.Errorf("%s: pid %d until %v", at, r.PID, r.Until)
			}
		}
		sockets.open(alice, dce(alice, x1, "udp 10.0.0.5:2000").Endpoint)
		time.Sleep(2 * time.Second)
		evidence(t, g, dce(alice, x1, "udp 10.0.0.5:2000"), "listening")
		sockets.close(dce(alice, x1, "udp 10.0.0.5:2000").Endpoint)
		time.Sleep(2 * time.Second)
		checkEndings(t, ended, registry.Gone.String())
		sockets.close(dce(alice, x1, "tcp 0.0.0.0:2000").Endpoint)
		time.Sleep(2 * time.Second)
		gone := registry.Gone.String()
		checkEndings(t, ended, gone+"; "+gone+"; "+gone)

		// A lease that nobody asked for begins anew when it is registered again, and ends by itself.
		time.Sleep(30 * time.Minute)
		claim(t, g, registry.Claim{Owner: alice, PID: 6}, dce(alice, x1, `np \pipe\x`))
		time.Sleep(31 * time.Minute)
		over := registry.LeaseOver.String()
		checkEndings(t, ended, over+"; "+over+"; "+over)
		evidence(t, g, dce(alice, x1, `np \pipe\x`), "lease")
		time.Sleep(time.Hour)
		checkEndings(t, ended, over)
	})
}

// TestPortRule: a port at which another user's socket listens for the one dialect
// is not registered in the other.
func TestPortRule(t *testing.T) {
	foreign := row(bob, 7, 1, rpcbind.TCP, 2000)
	foreign.Addr = netip.MustParseAddrPort("192.0.2.9:2000")
	onc, onc6 := row(alice, 7, 1, rpcbind.TCP, 2000), row(alice, 7, 1, rpcbind.TCP6, 2000)
	tcp, udp := dce(alice, x1, "tcp 0.0.0.0:2000"), dce(alice, x1, "udp 0.0.0.0:2000")
	as := func(o endpoint.Owner, r endpoint.Registration) endpoint.Registration {
		r.Owner = o
		return r
	}
	plain, lease := registry.Claim{}, registry.Claim{Evidence: endpoint.Lease, TTL: time.Hour}
	const (
		oncs = "not allowed: uid 1000 listens at port 2000, for onc 7 version 1"
		dces = "not allowed: uid 1000 listens at port 2000, for dce 01000000-0000-0000-0000-000000000000 version 1.0"
		owns = "not allowed: uid 0 listens at port 2111, for onc 100000 version 4"
		ownd = "not allowed: uid 0 listens at port 2135, for dce e1af8308-5d1f-11c9-91a4-08002b14a0fa version 3.0"
	)
	for _, tt := range []struct {
		name     string
		standing []endpoint.Registration // alice's, with her sockets where listens
		listens  bool
		claim    registry.Claim
		asked    endpoint.Registration
		want     string // how the error ends
	}{
		{"dce at her onc port", []endpoint.Registration{onc}, true, plain, as(bob, tcp), oncs},
		{"dce at her onc port of IPv6", []endpoint.Registration{onc6}, true, plain, as(bob, tcp), oncs},
		{"http at her onc port", []endpoint.Registration{onc}, true, plain, dce(bob, x1, "http 0.0.0.0:2000"), oncs},
		{"dce at an address of her onc port", []endpoint.Registration{onc}, true, plain, dce(bob, x1, "tcp 127.0.0.1:2000"), oncs},
		{"onc at her dce port", []endpoint.Registration{tcp}, true, plain, as(bob, onc), dces},
		{"onc of IPv6 at her dce port", []endpoint.Registration{tcp}, true, plain, as(bob, onc6), dces},
		{"onc at her dce port of udp", []endpoint.Registration{udp}, true, plain, row(bob, 7, 1, rpcbind.UDP, 2000), dces},
		{"onc at her http port", []endpoint.Registration{dce(alice, x1, "http 0.0.0.0:2000")}, true, plain, as(bob, onc), dces},
		{"with a lease", []endpoint.Registration{onc}, true, lease, as(bob, tcp), oncs},
		{"a host", []endpoint.Registration{onc}, true, plain, as(fs1, tcp), oncs},
		{"at her several", []endpoint.Registration{row(alice, 8, 1, rpcbind.TCP, 3000), onc, row(alice, 8, 2, rpcbind.TCP, 2000)}, true, plain, as(bob, tcp),
			"not allowed: uid 1000 listens at port 2000, for onc 8 version 2"},
		{"dce at the mapper's onc port", nil, false, plain, dce(bob, x1, "tcp 0.0.0.0:2111"), owns},
		{"onc at the mapper's dce port", nil, false, plain, row(bob, 7, 1, rpcbind.TCP, 2135), ownd},

		{"herself", []endpoint.Registration{onc}, true, plain, tcp, ""},
		{"herself, the other way", []endpoint.Registration{tcp}, true, plain, onc, ""},
		{"root", []endpoint.Registration{onc}, true, plain, as(root, tcp), ""},
		{"root, the other way", []endpoint.Registration{tcp}, true, plain, as(root, onc), ""},
		{"root, at the mapper's", nil, false, plain, dce(root, x1, "tcp 0.0.0.0:2111"), ""},
		{"another port", []endpoint.Registration{onc}, true, plain, dce(bob, x1, "tcp 0.0.0.0:2001"), ""},
		{"udp at her port of tcp", []endpoint.Registration{onc}, true, plain, as(bob, udp), ""},
		{"tcp at her port of udp", []endpoint.Registration{udp}, true, plain, as(bob, onc), ""},
		{"udp at the mapper's port of tcp", nil, false, plain, dce(bob, x1, "udp 0.0.0.0:2111"), ""},
		{"the same dialect", []endpoint.Registration{onc}, true, plain, row(bob, 8, 1, rpcbind.TCP, 2000), ""},
		{"the same dialect of dce", []endpoint.Registration{tcp}, true, plain, dce(bob, y1, "tcp 0.0.0.0:2000"), ""},
		{"the same dialect at the mapper's", nil, false, plain, dce(bob, x1, "tcp 0.0.0.0:2135"), ""},
		{"nothing listens yet", []endpoint.Registration{onc}, false, plain, as(bob, tcp), ""},
		{"a pipe", []endpoint.Registration{onc}, true, plain, dce(bob, x1, `np \pipe\x`), ""},
		{"another host's address", []endpoint.Registration{tcp}, true, plain, foreign, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var sockets table
			g := openWith(t, registry.Config{
				Sockets: &sockets, Ours: func(a netip.Addr) bool { return a.IsLoopback() },
				Own: []endpoint.Registration{row(root, rpcbind.Program, 4, rpcbind.TCP, 2111), dce(root, endpoint.FromSyntax(epm.Interface), "tcp 0.0.0.0:2135")},
			})
			for _, r := range tt.standing {
				if tt.listens {
					sockets.open(alice, r.Endpoint)
				}
			}
			if len(tt.standing) > 0 {
				mustAdd(t, g, tt.standing...)
			}
			c := tt.claim
			c.Owner = tt.asked.Owner
			_, err := g.Add(c, tt.asked)
			if tt.want == "" {
				if err != nil {
					t.Errorf("Add = %v", err)
				}
				return
			}
			if !errors.Is(err, registry.ErrRight) || !strings.HasSuffix(err.Error(), ": "+tt.want) {
				t.Errorf("Add = %v, want %v: %s", err, registry.ErrRight, tt.want)
			}

			// When the row is gone, so is what was in the way.
			for _, r := range tt.standing {
				if err := g.RemoveID(root, g.Standing(r).ID); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := g.Add(c, tt.asked); len(tt.standing) > 0 && err != nil {
				t.Errorf("Add after the row was removed = %v", err)
			}
		})
	}
}

// It is the socket's user that counts, and the socket is looked at again before it is
// in somebody's way.
func TestPortRuleLooks(t *testing.T) {
	var sockets table
	g := openWith(t, registry.Config{Sockets: &sockets})
	at := dce(bob, x1, "tcp 0.0.0.0:2000")
	sockets.open(bob, at.Endpoint)
	claim(t, g, registry.Claim{Owner: alice}, row(alice, 7, 1, rpcbind.TCP, 2000)) // a row of hers, at his socket
	claim(t, g, registry.Claim{Owner: bob}, at)
	if _, err := g.Add(registry.Claim{Owner: alice}, dce(alice, y1, "tcp 0.0.0.0:2000")); !errors.Is(err, registry.ErrRight) {
		t.Errorf("Add at bob's socket = %v, want %v", err, registry.ErrRight)
	}
	sockets.close(at.Endpoint)
	sockets.open(alice, at.Endpoint) // her server was started at the port that his has left
	claim(t, g, registry.Claim{Owner: alice}, dce(alice, y1, "tcp 0.0.0.0:2000"))
}

// Every host has the bound of a user.
func TestFullOfHosts(t *testing.T) {
	g := openWith(t, registry.Config{MaxUserRows: 2})
	at := func(o endpoint.Owner, port int) endpoint.Registration {
		return dce(o, x1, fmt.Sprintf("tcp %s:%d", o.Host, port))
	}
	mustAdd(t, g, at(fs1, 2000), at(fs1, 2001), at(fs2, 2000), row(endpoint.Owner{UID: endpoint.NoUID}, 7, 1, rpcbind.TCP, 2000))
	const want = "1 more: the registry is full: 192.0.2.1 has 2 registrations and may have 2"
	if _, err := add(g, at(fs1, 2002)); !errors.Is(err, registry.ErrFull) || err.Error() != want {
		t.Errorf("Add = %v, want %s", err, want)
	}
	mustAdd(t, g, at(fs2, 2001))
	for o, want := range map[endpoint.Owner]int{fs1: 2, fs2: 2, {UID: endpoint.NoUID}: 1} {
		if n := g.Rows(o); n != want {
			t.Errorf("%s has %d rows, want %d", o, n, want)
		}
	}
	if n, err := g.RemoveUUID(fs1, x1.UUID, func(r *endpoint.Registration) bool { return r.Owner == fs1 }); n != 2 || err != nil || g.Rows(fs1) != 0 {
		t.Errorf("RemoveUUID = %d, %v, and %d are left", n, err, g.Rows(fs1))
	}
	mustAdd(t, g, at(fs1, 2002))
}

// TestReloadDCE edits a real file by hand.
func TestReloadDCE(t *testing.T) {
	path := filepath.Join(t.TempDir(), "permanent.yaml")
	const (
		srvsvc   = "- {uuid: srvsvc, version: 3.0, protseq: tcp, address: 10.0.0.5, port: 50001}\n"
		another  = "- {uuid: 4b324fc8-1670-01d3-1278-5a47bf6ee188, version: '3.0', protseq: tcp, address: 10.0.0.5, port: 50002}\n"
		pipe     = "- {uuid: winreg, version: '1.0', protseq: np, path: '\\pipe\\winreg'}\n"
		pipeNote = "- {uuid: winreg, version: '1.0', protseq: np, path: '\\pipe\\winreg', annotation: registry}\n"
		mapper   = "- {uuid: epmapper, version: '3.0', protseq: tcp, address: '*', port: 135}\n"
		mountd   = "- {program: mountd, version: 3, netid: tcp, address: '*', port: 20048}\n"
	)
	edit(t, path, srvsvc+pipe+mapper+mountd)
	file, err := filestore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	g := openWith(t, registry.Config{Permanent: file, Store: registry.NewMemory()})
	stands := func(want string) {
		t.Helper()
		rows, _ := g.All()
		var all []string
		for _, r := range rows {
			all = append(all, strings.TrimSpace(r.Endpoint.String()+" "+r.Evidence.String()+" "+r.Annotation))
		}
		if got := strings.Join(all, ", "); got != want {
			t.Errorf("what stands: %s, want %s", got, want)
		}
	}
	reload := func(text string) (changes uint64) {
		t.Helper()
		edit(t, path, text)
		seq := g.Seq()
		if err := g.Reload(); err != nil {
			t.Fatalf("Reload = %v", err)
		}
		return g.Seq() - seq
	}
	stands(`tcp 10.0.0.5:50001 permanent, np \pipe\winreg permanent, tcp 0.0.0.0:20048 permanent`)
	if n := reload(mountd + pipe + srvsvc); n != 0 {
		t.Errorf("%d changes after the lines changed their places, want 0", n)
	}
	if n := reload(srvsvc + another + mountd); n != 2 {
		t.Errorf("%d changes for one new row and one that is gone, want 2", n)
	}
	stands("tcp 10.0.0.5:50001 permanent, tcp 0.0.0.0:20048 permanent, tcp 10.0.0.5:50002 permanent")

	// A row of the file takes the place of a user's.
	his := endpoint.Registration{Interface: dceInterface(0, 1), Endpoint: dce(bob, x1, `np \pipe\winreg`).Endpoint}
	his.UUID = ndr.MustParseUUID("338cd001-2244-31f1-aaaa-900038001003")
	claim(t, g, registry.Claim{Owner: bob}, his)
	if n := reload(pipeNote); n != 5 {
		t.Errorf("%d changes for one new row in place of one, and three that are gone, want 5", n)
	}
	stands(`np \pipe\winreg permanent registry`)
	if r := g.Standing(his); r.Owner != root {
		t.Errorf("the owner is %s, want root", r.Owner)
	}
	reload("")
	if dces, _ := g.AllDCE(); len(dces) != 0 {
		t.Errorf("%d rows stand, want none", len(dces))
	}
}

// TestReopenDCE: what a restarted daemon learns is in the order it was in, with the
// same numbers where they can be kept, and every owner has what they had.
func TestReopenDCE(t *testing.T) {
	var sockets table
	c := registry.Config{Sockets: &sockets, Store: registry.NewMemory(), Permanent: registry.NewMemory(), Ours: func(a netip.Addr) bool { return a.IsLoopback() }}
	g := openWith(t, c)
	for _, at := range []string{"tcp 0.0.0.0:2000", "tcp 0.0.0.0:2001", "udp 0.0.0.0:2000"} {
		sockets.open(alice, dce(alice, x1, at).Endpoint)
	}
	claim(t, g, registry.Claim{Owner: alice}, annotated(dce(alice, x1, "tcp 0.0.0.0:2000"), "first"), dce(alice, x1, "tcp 0.0.0.0:2001"), row(alice, 7, 1, rpcbind.UDP, 2000))
	claim(t, g, registry.Claim{Owner: fs1}, withObject(dce(fs1, x2, "tcp 192.0.2.1:2000")))
	claim(t, g, registry.Claim{Owner: bob}, dce(bob, y1, `np \pipe\y`), dce(bob, y1, "lrpc y"))
	claim(t, g, forever, dce(root, y1, "http 10.0.0.5:593"))
	before, _ := g.AllDCE()
	g.Close()
	sockets.close(dce(alice, x1, "tcp 0.0.0.0:2001").Endpoint)

	for run := range 3 {
		g = openWith(t, c)
		checkTold(t, g, `y1@http 10.0.0.5:593, x1@tcp 0.0.0.0:2000 "first", 7@udp 0.0.0.0:2000, x2@tcp 192.0.2.1:2000 object, y1@np \pipe\y, y1@lrpc y`)
		after, _ := g.AllDCE()
		for i, r := range after {
			if i > 0 && r.Order <= after[i-1].Order {
				t.Errorf("run %d: order %d after %d", run, r.Order, after[i-1].Order)
			}
			k := slices.IndexFunc(before, func(b registry.Ordered) bool { return b.ID == r.ID })
			if k < 0 || *before[k].Registration != *r.Registration {
				t.Errorf("run %d: %+v, want what it was before", run, r.Registration)
			}
		}
		if g.Rows(fs1) != 1 || g.Rows(bob) != 2 || g.Rows(alice) != 2 {
			t.Errorf("run %d: owners have %d, %d and %d rows, want 1, 2 and 2", run, g.Rows(fs1), g.Rows(bob), g.Rows(alice))
		}
		g.Close()
	}
}

func edit(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
