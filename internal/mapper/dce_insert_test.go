package mapper

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go4.org/netipx"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

var asOther = way{netid: rpcbind.Local, uid: 1001}

// rowsOf returns what is registered, as its port or name and its owner.
func rowsOf(m *DCE) (rows []string) {
	all, _ := m.Registry.AllDCE()
	for _, r := range all {
		rows = append(rows, fmt.Sprintf("%s of %s", r.Endpoint, r.Owner))
	}
	return rows
}

func checkRows(t testing.TB, what string, m *DCE, want ...string) {
	t.Helper()
	if got := rowsOf(m); !slices.Equal(got, want) {
		t.Errorf("%s: registered are %q, want %q", what, got, want)
	}
}

// TestInsertRights: who may register, and on whose word the rows stand. For all
// others it is fault 5 (contract, "faults"), for each operation that changes something.
func TestInsertRights(t *testing.T) {
	far, loop := prefixes(t, "10.98.0.2/32", "fd98::/64"), DCEConfig{InsertLoopback: true}
	for _, tt := range []struct {
		name   string
		w      way
		c      DCEConfig
		owners Owners
		want   string // owner and evidence; empty: fault 5
	}{
		{"local socket, root", asRoot, DCEConfig{}, nil, "superuser unchecked"},
		{"local socket, a user", asUser, DCEConfig{}, nil, "1000 unchecked"},
		{"local socket, whatever is configured", asUser, DCEConfig{Insert: prefixes(t)}, nil, "1000 unchecked"},

		{"loopback", tcpLo, DCEConfig{}, &owners{uid: 1000}, ""},
		{"loopback, allowed", tcpLo, loop, &owners{uid: 1000}, "1000 lease"},
		{"loopback, root", tcpLo, loop, &owners{uid: 0}, "superuser lease"},
		{"loopback, IPv6", tcp6Lo, loop, &owners{uid: 1000}, "1000 lease"},
		{"this host's other address", tcpSelf, loop, &owners{uid: 1000}, "1000 lease"},
		{"loopback, its owner is not known", tcpLo, loop, &owners{err: errUnknown}, ""},
		{"loopback, nobody can be asked", tcpLo, loop, nil, ""},
		{"loopback, but other hosts are named", tcpLo, DCEConfig{Insert: far}, &owners{uid: 1000}, ""},
		{"loopback, named by its address", tcpLo, DCEConfig{Insert: prefixes(t, "127.0.0.0/8")}, &owners{uid: 1000}, "1000 lease"},
		{"loopback, named, its owner is not known", tcpLo, DCEConfig{Insert: prefixes(t, "0.0.0.0/0")}, &owners{err: errUnknown}, ""},

		{"another host", tcpFar, DCEConfig{}, &owners{uid: 0}, ""},
		{"another host, loopback allowed", tcpFar, loop, &owners{uid: 0}, ""},
		{"another host, named", tcpFar, DCEConfig{Insert: far}, &owners{uid: 0}, "10.98.0.2 lease"},
		{"another host, its network named", tcpFar, DCEConfig{Insert: prefixes(t, "10.98.0.0/16")}, nil, "10.98.0.2 lease"},
		{"another host, beside the network", tcpFar, DCEConfig{Insert: prefixes(t, "10.98.0.4/30")}, nil, ""},
		{"another host, IPv6, named", tcp6Far, DCEConfig{Insert: far}, nil, "fd98::2 lease"},
		{"another host, IPv6, only IPv4 named", tcp6Far, DCEConfig{Insert: prefixes(t, "0.0.0.0/0")}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := openDCE(t, registry.Config{}, tt.owners, tt.c)
			c := client(t, m, tt.w)
			e := entry(ndr.UUID{}, tcpTower(syntax(uuidA, 1, 0), "10.98.0.2", 2001), "")
			wantFault := dcerpc.Status(0)
			if tt.want == "" {
				wantFault = dcerpc.StatusAccessDenied
			}
			status, fault := c.change(epm.OpInsert, epm.Insert{Entries: []epm.Entry{e}})
			if status != 0 || fault != wantFault {
				t.Fatalf("insert: %v, %v, want fault %v", status, fault, wantFault)
			}
			rows, _ := m.Registry.AllDCE()
			if len(rows) != btoi(tt.want != "") || len(rows) == 1 && fmt.Sprint(rows[0].Owner, " ", rows[0].Evidence) != tt.want {
				t.Errorf("rows %+v, want %q", rows, tt.want)
			}
			if len(rows) == 1 && rows[0].Evidence == endpoint.Lease {
				if left := time.Until(rows[0].Until); left <= 59*time.Minute || left > time.Hour {
					t.Errorf("the lease ends after %s, want an hour", left)
				}
			}
			if status, fault := c.change(epm.OpDelete, epm.Delete{Entries: []epm.Entry{e}}); status != 0 || fault != wantFault {
				t.Errorf("delete: %v, %v, want fault %v", status, fault, wantFault)
			}
			wantStatus := epm.Status(0)
			if wantFault == 0 {
				wantStatus = epm.StatusNotRegistered
			}
			if status, fault := c.change(epm.OpMgmtDelete, epm.MgmtDelete{Tower: e.Tower}); status != wantStatus || fault != wantFault {
				t.Errorf("mgmt_delete: %v, %v, want %v, fault %v", status, fault, wantStatus, wantFault)
			}
			counts := m.Counts()
			if want := uint64(3 * btoi(tt.want == "")); counts.Denied != want || counts.Calls != 3 || counts.Faults != 0 {
				t.Errorf("counts %+v, want %d denied of 3", counts, want)
			}
			checkRows(t, "after all", m)
		})
	}
}

func btoi(v bool) int {
	if v {
		return 1
	}
	return 0
}

// TestNoPeer: over a local socket, without the kernel's word for who calls, nobody may.
func TestNoPeer(t *testing.T) {
	m := openDCE(t, registry.Config{}, nil, DCEConfig{InsertLoopback: true, Insert: prefixes(t, "0.0.0.0/0", "::/0")})
	l := dceLine(t, m, asRoot)
	l.call.Peer = nil
	c := newClient(t, l.send, ndr.LittleEndian, 0)
	if _, fault := c.change(epm.OpInsert, epm.Insert{Entries: []epm.Entry{at(2001)}}); fault != dcerpc.StatusAccessDenied {
		t.Errorf("insert: %v", fault)
	}
	if c.ack.SecondaryAddr != localName {
		t.Errorf("secondary address %q", c.ack.SecondaryAddr)
	}
}

// TestOwners: a row is its owner's and root's to change.
func TestOwners(t *testing.T) {
	const denied = dcerpc.StatusAccessDenied
	everywhere := prefixes(t, "0.0.0.0/0")
	m := openDCE(t, registry.Config{}, &owners{uid: 1000}, DCEConfig{Insert: everywhere, InsertLoopback: true})
	root, user, other, loop, far := client(t, m, asRoot), client(t, m, asUser), client(t, m, asOther), client(t, m, tcpLo), client(t, m, tcpFar)
	far2 := client(t, m, way{netid: rpcbind.TCP, server: "10.98.0.1", client: "10.98.0.3"})
	for _, tt := range []struct {
		name string
		c    *dceClient
		op   epm.Op
		a    arguments
		want epm.Status
		deny bool
	}{
		{"a user's", user, epm.OpInsert, epm.Insert{Entries: []epm.Entry{at(2001)}}, 0, false},
		{"again by another, which changes nothing", other, epm.OpInsert, epm.Insert{Entries: []epm.Entry{at(2001)}}, 0, false},
		{"deleted by another", other, epm.OpDelete, epm.Delete{Entries: []epm.Entry{at(2001)}}, 0, true},
		{"mgmt_deleted by another", other, epm.OpMgmtDelete, epm.MgmtDelete{Tower: at(2001).Tower}, 0, true},
		{"replaced by another", other, epm.OpInsert, epm.Insert{Entries: []epm.Entry{at(2002)}, Replace: true}, 0, true},
		{"deleted by another host", far, epm.OpDelete, epm.Delete{Entries: []epm.Entry{{Tower: tcpTower(syntax(uuidA, 1, 0), "10.98.0.2", 2001)}}}, epm.StatusNotRegistered, false},
		{"beside it", other, epm.OpInsert, epm.Insert{Entries: []epm.Entry{at(2002)}}, 0, false},
		{"deleted, both", user, epm.OpDelete, epm.Delete{Entries: []epm.Entry{at(2001), at(2002)}}, 0, true},
		{"deleted over loopback by the same user", loop, epm.OpDelete, epm.Delete{Entries: []epm.Entry{at(2001)}}, 0, false},
		{"deleted by root", root, epm.OpDelete, epm.Delete{Entries: []epm.Entry{at(2002)}}, 0, false},
		{"another host's, by its wildcard", far, epm.OpInsert, epm.Insert{Entries: []epm.Entry{at(2003)}}, 0, false},
		{"by a third host", far2, epm.OpDelete, epm.Delete{Entries: []epm.Entry{{Tower: tcpTower(syntax(uuidA, 1, 0), "10.98.0.2", 2003)}}}, 0, true},
		{"by a user here", user, epm.OpDelete, epm.Delete{Entries: []epm.Entry{{Tower: tcpTower(syntax(uuidA, 1, 0), "10.98.0.2", 2003)}}}, 0, true},
		{"port under 1024", user, epm.OpInsert, epm.Insert{Entries: []epm.Entry{at(445)}}, 0, true},
		{"port under 1024, root", root, epm.OpInsert, epm.Insert{Entries: []epm.Entry{at(445)}}, 0, false},
		{"the mapper's own interface", user, epm.OpInsert, epm.Insert{Entries: []epm.Entry{{Tower: tcpTower(epm.Interface, "", 2004)}}}, 0, true},
		{"the mapper's own interface, root", root, epm.OpInsert, epm.Insert{Entries: []epm.Entry{{Tower: tcpTower(epm.Interface, "", 2004)}}}, 0, true},
		{"its other version", root, epm.OpInsert, epm.Insert{Entries: []epm.Entry{{Tower: tcpTower(syntax(epm.Interface.UUID, 4, 0), "", 2004)}}}, 0, true},
		{"every server's management", root, epm.OpInsert, epm.Insert{Entries: []epm.Entry{{Tower: tcpTower(epm.Management, "", 2004)}}}, 0, false},
	} {
		want := dcerpc.Status(0)
		if tt.deny {
			want = denied
		}
		if status, fault := tt.c.change(tt.op, tt.a); status != tt.want || fault != want {
			t.Errorf("%s: %v, %v, want %v, %v", tt.name, status, fault, tt.want, want)
		}
	}
	checkRows(t, "at the end", m, "tcp 10.98.0.2:2003 of 10.98.0.2", "tcp 0.0.0.0:445 of superuser", "tcp 0.0.0.0:2004 of superuser")
}

// TestForeignAddresses: what a tower's address means depends on who registers.
func TestForeignAddresses(t *testing.T) {
	all := prefixes(t, "0.0.0.0/0", "::/0")
	for _, tt := range []struct {
		w    way
		addr string
		want string // address, or the status
	}{
		{asUser, "", "0.0.0.0"}, {asUser, "10.99.0.1", "10.99.0.1"}, {asUser, "203.0.113.9", "203.0.113.9"}, {asUser, "127.0.0.1", "127.0.0.1"},
		{tcpLo, "", "0.0.0.0"}, {tcpSelf, "", "0.0.0.0"}, {tcp6Lo, "", "0.0.0.0"}, {tcpLo, "203.0.113.9", "203.0.113.9"},
		{tcpFar, "", "10.98.0.2"}, {tcpFar, "10.98.0.2", "10.98.0.2"}, {tcpFar, "203.0.113.9", "203.0.113.9"},
		{tcp6Far, "", "ept_s_invalid_entry"}, {tcp6Far, "203.0.113.9", "203.0.113.9"},
	} {
		m := openDCE(t, registry.Config{}, &owners{uid: 1000}, DCEConfig{Insert: all, InsertLoopback: true})
		c := client(t, m, tt.w)
		for i, p := range []epm.ProtSeq{epm.TCP, epm.UDP, epm.HTTP} {
			e := epm.Entry{Tower: ipTower(p, syntax(uuidA, 1, 0), tt.addr, 2001)}
			status, fault := c.change(epm.OpInsert, epm.Insert{Entries: []epm.Entry{e}})
			rows, _ := m.Registry.AllDCE()
			got := status.String()
			if status == 0 && fault == 0 && len(rows) == i+1 {
				got = rows[i].Addr.Addr().String()
			}
			if got != tt.want {
				t.Errorf("%v registers %s at %q: %s, fault %v, want %s", tt.w, p, tt.addr, got, fault, tt.want)
			}
		}
	}
}

// TestReplace: replace=1 ends the other rows of the same interface, object and
// protocol sequence, and replace=0 adds beside them.
func TestReplace(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	c := client(t, m, asUser)
	a := syntax(uuidA, 1, 0)
	other := []epm.Entry{
		entry(ndr.UUID{}, tcpTower(syntax(uuidA, 1, 1), "", 3001), ""), entry(objectX, tcpTower(a, "", 3002), ""),
		entry(ndr.UUID{}, ipTower(epm.UDP, a, "", 3003), ""), entry(ndr.UUID{}, tcpTower(syntax(uuidB, 1, 0), "", 3004), ""),
	}
	c.insert(other...)
	stay := []string{"tcp 0.0.0.0:3001 of 1000", "tcp 0.0.0.0:3002 of 1000", "udp 0.0.0.0:3003 of 1000", "tcp 0.0.0.0:3004 of 1000"}
	insert := func(replace bool, entries ...epm.Entry) {
		t.Helper()
		if status, fault := c.change(epm.OpInsert, epm.Insert{Entries: entries, Replace: replace}); status != 0 || fault != 0 {
			t.Errorf("insert %v: %v, %v", entries, status, fault)
		}
	}
	check := func(what string, ports ...int) {
		t.Helper()
		want := slices.Clone(stay)
		for _, p := range ports {
			want = append(want, fmt.Sprintf("tcp 0.0.0.0:%d of 1000", p))
		}
		checkRows(t, what, m, want...)
	}
	insert(false, at(2001))
	insert(false, at(2002))
	check("beside", 2001, 2002)
	insert(true, at(2003))
	check("instead", 2003)
	insert(true, at(2003))
	check("the same again", 2003)
	insert(true, at(2003), at(2004))
	check("two at once", 2003, 2004)
	insert(true, at(2004))
	check("one of two", 2004)
	insert(true)
	check("nothing", 2004)
}

// TestAllOrNothing: of several entries all are registered or removed, or none.
func TestAllOrNothing(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	c := client(t, m, asUser)
	for _, tt := range []struct {
		name    string
		entries []epm.Entry
		want    epm.Status
		deny    bool
	}{
		{"port 0", []epm.Entry{at(2001), at(0)}, epm.StatusInvalidEntry, false},
		{"no tower", []epm.Entry{at(2001), {}}, epm.StatusCantPerformOp, false},
		{"not allowed", []epm.Entry{at(2001), at(80)}, 0, true},
	} {
		status, fault := c.change(epm.OpInsert, epm.Insert{Entries: tt.entries})
		if status != tt.want || (fault == dcerpc.StatusAccessDenied) != tt.deny {
			t.Errorf("insert, %s: %v, %v, want %v", tt.name, status, fault, tt.want)
		}
		checkRows(t, tt.name, m)
	}
	c.insert(at(2001), at(2002), at(2001))
	both := []string{"tcp 0.0.0.0:2001 of 1000", "tcp 0.0.0.0:2002 of 1000"}
	checkRows(t, "twice the same", m, both...)
	for _, tt := range []struct {
		name    string
		entries []epm.Entry
		want    epm.Status
	}{
		{"another port", []epm.Entry{at(2001), at(2003)}, epm.StatusNotRegistered},
		{"another object", []epm.Entry{at(2001), entry(objectX, at(2002).Tower, "")}, epm.StatusNotRegistered},
		{"another version", []epm.Entry{at(2001), {Tower: tcpTower(syntax(uuidA, 1, 1), "", 2002)}}, epm.StatusNotRegistered},
		{"another protocol sequence", []epm.Entry{at(2001), {Tower: ipTower(epm.HTTP, syntax(uuidA, 1, 0), "", 2002)}}, epm.StatusNotRegistered},
		{"another address", []epm.Entry{at(2001), {Tower: tcpTower(syntax(uuidA, 1, 0), "10.98.0.1", 2002)}}, epm.StatusNotRegistered},
		{"no tower", []epm.Entry{at(2001), {}}, epm.StatusCantPerformOp},
		{"port 0", []epm.Entry{at(2001), at(0)}, epm.StatusInvalidEntry},
		{"nothing", nil, 0},
	} {
		if status, fault := c.change(epm.OpDelete, epm.Delete{Entries: tt.entries}); status != tt.want || fault != 0 {
			t.Errorf("delete, %s: %v, %v, want %v", tt.name, status, fault, tt.want)
		}
		checkRows(t, tt.name, m, both...)
	}
	c.remove(at(2001), at(2002), at(2001))
	checkRows(t, "all", m)
}

// TestDeleteAsTold: what a lookup told of a row removes it, over each way.
func TestDeleteAsTold(t *testing.T) {
	for _, tt := range []struct {
		w       way
		address netip.Addr
	}{
		{asUser, netip.Addr{}}, {tcpLo, netip.Addr{}}, {tcpSelf, netip.Addr{}}, {tcp6Lo, netip.Addr{}},
		{asUser, netip.MustParseAddr("192.0.2.7")}, {tcpLo, netip.MustParseAddr("192.0.2.7")}, {tcp6Lo, netip.MustParseAddr("192.0.2.7")},
	} {
		for _, op := range []epm.Op{epm.OpDelete, epm.OpMgmtDelete} {
			m := openDCE(t, registry.Config{}, &owners{uid: 1000}, DCEConfig{InsertLoopback: true, Address: tt.address})
			c := client(t, m, tt.w)
			for _, e := range inquiryRows {
				c.insert(e)
			}
			c.insert(at(2001), entry(ndr.UUID{}, tcpTower(syntax(uuidA, 1, 0), "127.0.0.1", 2001), ""), // the same in the eyes of some
				entry(ndr.UUID{}, named(epm.NP, `\pipe\x`, "FS1"), ""), entry(ndr.UUID{}, named(epm.LRPC, "x", ""), ""))
			for _, e := range c.lookup(epm.Lookup{MaxEntries: 500}).Entries {
				a := arguments(epm.Delete{Entries: []epm.Entry{e}})
				if op == epm.OpMgmtDelete {
					a = epm.MgmtDelete{ObjectSpeced: true, Object: e.Object, Tower: e.Tower}
				}
				if status, fault := c.change(op, a); status != 0 || fault != 0 {
					t.Errorf("%v, %s: %+v: %v, %v", tt.w, op, e, status, fault)
				}
			}
			checkRows(t, fmt.Sprint(tt.w, op), m)
		}
	}
	// Another host's server is told at its address, from where it is removed.
	m := openDCE(t, registry.Config{}, nil, DCEConfig{Insert: prefixes(t, "10.98.0.0/16")})
	c := client(t, m, tcpFar)
	c.insert(at(2001))
	c.remove(c.lookup(epm.Lookup{MaxEntries: 5}).Entries...)
	c.insert(at(2001))
	c.remove(at(2001))
	checkRows(t, "another host's", m)
}

// TestMgmtDelete: the rows of a tower, of one object or of all.
func TestMgmtDelete(t *testing.T) {
	a := syntax(uuidA, 1, 0)
	tower := tcpTower(a, "", 2001)
	rows := []epm.Entry{
		entry(ndr.UUID{}, tower, "none"), entry(objectX, tower, "X"), entry(objectY, tower, "Y"),
		entry(ndr.UUID{}, tcpTower(a, "", 2002), "port"), entry(ndr.UUID{}, tcpTower(syntax(uuidA, 1, 1), "", 2001), "version"),
	}
	for _, tt := range []struct {
		d      epm.MgmtDelete
		status epm.Status
		left   string
	}{
		{epm.MgmtDelete{Tower: tower}, 0, "port version"},
		{epm.MgmtDelete{Tower: tower, Object: objectX}, 0, "port version"},
		{epm.MgmtDelete{Tower: tower, Object: objectX, ObjectSpeced: true}, 0, "none Y port version"},
		{epm.MgmtDelete{Tower: tower, ObjectSpeced: true}, 0, "X Y port version"},
		{epm.MgmtDelete{Tower: tower, Object: objectZ, ObjectSpeced: true}, epm.StatusNotRegistered, "none X Y port version"},
		{epm.MgmtDelete{Tower: tcpTower(a, "", 2003)}, epm.StatusNotRegistered, "none X Y port version"},
		{epm.MgmtDelete{Tower: asking(epm.TCP, a)}, epm.StatusInvalidEntry, "none X Y port version"},
		{epm.MgmtDelete{}, epm.StatusCantPerformOp, "none X Y port version"},
	} {
		m := newDCE(t, DCEConfig{})
		c := client(t, m, asUser)
		c.insert(rows...)
		if status, fault := c.change(epm.OpMgmtDelete, tt.d); status != tt.status || fault != 0 {
			t.Errorf("%+v: %v, %v, want %v", tt.d, status, fault, tt.status)
		}
		var left []string
		for _, e := range c.lookup(epm.Lookup{MaxEntries: 50}).Entries {
			left = append(left, e.Annotation)
		}
		if got := strings.Join(left, " "); got != tt.left {
			t.Errorf("%+v: %q are left, want %q", tt.d, got, tt.left)
		}
	}
}

// TestTowers: which towers are kept (contract, "Insert").
func TestTowers(t *testing.T) {
	a := syntax(uuidA, 1, 0)
	with := func(t epm.Tower, transfer dcerpc.Syntax) epm.Tower {
		t.Transfer = transfer
		return t
	}
	for _, tt := range []struct {
		name  string
		tower epm.Tower
		want  epm.Status
	}{
		{"tcp", tcpTower(a, "", 2001), 0},
		{"lrpc, four floors", named(epm.LRPC, "rpcd_mdssvc", ""), 0},
		{"nil interface", tcpTower(dcerpc.Syntax{}, "", 2001), 0},
		{"NDR's own UUID as interface", tcpTower(dcerpc.NDR, "", 2001), 0},
		{"version 65535.65535", tcpTower(syntax(uuidA, 65535, 65535), "", 65535), 0},
		{"NDR64", with(tcpTower(a, "", 2001), dcerpc.NDR64), epm.StatusCantPerformOp},
		{"NDR 2.1", with(tcpTower(a, "", 2001), syntax(dcerpc.NDR.UUID, 2, 1)), epm.StatusCantPerformOp},
		{"another protocol sequence", epm.Tower{Interface: a, Transfer: dcerpc.NDR}, epm.StatusCantPerformOp},
		{"none", epm.Tower{}, epm.StatusCantPerformOp},
		{"port 0", tcpTower(a, "", 0), epm.StatusInvalidEntry},
		{"no name", named(epm.LRPC, "", ""), epm.StatusInvalidEntry},
		{"name of 255 bytes", named(epm.LRPC, strings.Repeat("x", 255), ""), 0},
		{"name of 256 bytes", named(epm.LRPC, strings.Repeat("x", 256), ""), epm.StatusInvalidEntry},
	} {
		for _, op := range []epm.Op{epm.OpInsert, epm.OpDelete, epm.OpMgmtDelete} {
			m := newDCE(t, DCEConfig{})
			c := client(t, m, asUser)
			e := []epm.Entry{{Tower: tt.tower}}
			want := tt.want
			if want == 0 && op != epm.OpInsert {
				want = epm.StatusNotRegistered
			}
			a := map[epm.Op]arguments{epm.OpInsert: epm.Insert{Entries: e}, epm.OpDelete: epm.Delete{Entries: e}, epm.OpMgmtDelete: epm.MgmtDelete{Tower: tt.tower}}[op]
			if status, fault := c.change(op, a); status != want || fault != 0 {
				t.Errorf("%s, %s: %v, %v, want %v", tt.name, op, status, fault, want)
			}
		}
	}
}

// TestAnnotations: what is kept of a text, and what is not taken.
func TestAnnotations(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	c := client(t, m, asUser)
	long := strings.Repeat("x", 63)
	for _, tt := range []struct {
		text, want string
		status     epm.Status
	}{
		{"first", "first", 0},
		{"", "first", 0}, // who says nothing changes nothing
		{"second", "second", 0},
		{long, long, 0},
		{long + "y", long, 0}, // cut by this client
		{"Ünïcödé — €", "Ünïcödé — €", 0},
		{"latin\xe91", "latin?1", 0},
		{strings.Repeat("x", 62) + "é", strings.Repeat("x", 62) + "?", 0}, // cut within a character
		{"\x1b[31m", "", epm.StatusInvalidEntry},
		{"two\nlines", "", epm.StatusInvalidEntry},
	} {
		e := at(2001)
		e.Annotation = tt.text
		status, fault := c.change(epm.OpInsert, epm.Insert{Entries: []epm.Entry{e}})
		if status != tt.status || fault != 0 {
			t.Errorf("annotation %q: %v, %v, want %v", tt.text, status, fault, tt.status)
		}
		if got := c.lookup(epm.Lookup{MaxEntries: 5}).Entries; tt.status == 0 && (len(got) != 1 || got[0].Annotation != tt.want) {
			t.Errorf("annotation %q: told %+v, want %q", tt.text, got, tt.want)
		}
	}
	// 65 bytes with the NUL are over ept_max_annotation_size (C706, appendix O).
	e := at(2002)
	e.Annotation = long
	stub := epm.Insert{Entries: []epm.Entry{e}}.Append(nil, ndr.LittleEndian)
	i := bytes.Index(stub, []byte(long))
	stub[i-4] = 65
	if _, fault := c.request(dcerpc.Request{ContextID: mapperContext, Opnum: uint16(epm.OpInsert), Stub: stub}); fault != dcerpc.StatusBadStubData {
		t.Errorf("annotation of 65 bytes: %v", fault)
	}
}

// TestFull: what a limit says is a status.
func TestFull(t *testing.T) {
	m := openDCE(t, registry.Config{MaxRows: 20, MaxUserRows: 2}, nil, DCEConfig{})
	user, other, root := client(t, m, asUser), client(t, m, asOther), client(t, m, asRoot)
	ofB := func(port uint16) epm.Entry { return epm.Entry{Tower: tcpTower(syntax(uuidB, 1, 0), "", port)} }
	user.insert(at(2001), ofB(2002))
	// One in the place of another needs no room.
	if status, fault := user.change(epm.OpInsert, epm.Insert{Entries: []epm.Entry{ofB(2010)}, Replace: true}); status != 0 || fault != 0 {
		t.Errorf("replace: %v, %v", status, fault)
	}
	for _, tt := range []struct {
		name    string
		c       *dceClient
		entries []epm.Entry
		want    epm.Status
	}{
		{"a third of one user", user, []epm.Entry{at(2003)}, epm.StatusEptNoMemory},
		{"what stands", user, []epm.Entry{at(2001)}, 0},
		{"another user's three", other, []epm.Entry{at(2003), at(2004), at(2005)}, epm.StatusEptNoMemory},
		{"another user's", other, []epm.Entry{at(2003)}, 0},
		{"root's eighteen", root, ports(3000, 18), epm.StatusEptNoMemory},
		{"root's seventeen", root, ports(3000, 17), 0},
		{"nobody's any more", other, []epm.Entry{at(2004)}, epm.StatusEptNoMemory},
	} {
		if status, fault := tt.c.change(epm.OpInsert, epm.Insert{Entries: tt.entries}); status != tt.want || fault != 0 {
			t.Errorf("%s: %v, %v, want %v", tt.name, status, fault, tt.want)
		}
	}
}

func ports(from uint16, n int) (entries []epm.Entry) {
	for i := range n {
		entries = append(entries, at(from+uint16(i)))
	}
	return entries
}

// TestBadStubs: arguments that end too early or contradict themselves are a
// fault, and bytes after them are not.
func TestBadStubs(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	c := client(t, m, asRoot)
	c.insert(at(2001))
	for op, a := range map[epm.Op]arguments{
		epm.OpInsert: epm.Insert{Entries: ports(2002, 2)}, epm.OpDelete: epm.Delete{Entries: ports(2002, 2)}, epm.OpLookup: epm.Lookup{MaxEntries: 1},
		epm.OpMap: mapA(ndr.Handle{}, 1), epm.OpLookupHandleFree: epm.LookupHandleFree{}, epm.OpMgmtDelete: epm.MgmtDelete{Tower: at(2009).Tower},
	} {
		stub := a.Append(nil, c.label)
		for n := range len(stub) {
			if _, fault := c.request(dcerpc.Request{ContextID: mapperContext, Opnum: uint16(op), Stub: stub[:n]}); fault != dcerpc.StatusBadStubData {
				t.Fatalf("%s of %d bytes: %v", op, n, fault)
			}
		}
		if _, fault := c.request(dcerpc.Request{ContextID: mapperContext, Opnum: uint16(op), Stub: append(stub, "trailer"...)}); fault != 0 {
			t.Errorf("%s with a trailer: %v", op, fault)
		}
	}
	// A tower of three floors, cut: what is no tower is no argument.
	stub := epm.Insert{Entries: ports(2005, 1)}.Append(nil, c.label)
	i := bytes.Index(stub, []byte{75, 0, 0, 0, 75, 0, 0, 0})
	stub[i+8] = 9 // floors
	if _, fault := c.request(dcerpc.Request{ContextID: mapperContext, Opnum: uint16(epm.OpInsert), Stub: stub}); fault != dcerpc.StatusBadStubData {
		t.Errorf("a tower of 9 floors: %v", fault)
	}
	// 501 entries are more than there can be.
	if _, fault := c.do(epm.OpInsert, epm.Insert{Entries: ports(3000, 501)}); fault != dcerpc.StatusBadStubData {
		t.Errorf("501 entries: %v", fault)
	}
}

// TestDCEDumpers: who may have all rows told; one at a time everybody may.
func TestDCEDumpers(t *testing.T) {
	for _, tt := range []struct {
		dumpers []string // nil: everybody
		w       way
		want    dcerpc.Status
	}{
		{nil, tcpFar, 0}, {nil, tcp6Far, 0}, {[]string{}, tcpFar, dcerpc.StatusAccessDenied}, {[]string{}, tcpSelf, 0}, {[]string{}, tcp6Lo, 0},
		{[]string{}, asUser, 0}, {[]string{"10.98.0.0/24"}, tcpFar, 0}, {[]string{"10.98.0.0/24"}, tcp6Far, dcerpc.StatusAccessDenied},
	} {
		m := newDCE(t, DCEConfig{})
		client(t, m, asRoot).insert(at(2001))
		var set *netipx.IPSet
		if tt.dumpers != nil {
			set = prefixes(t, tt.dumpers...)
		}
		m.SetDumpers(set)
		c := client(t, m, tt.w)
		if _, fault := c.do(epm.OpLookup, epm.Lookup{MaxEntries: 1}); fault != tt.want {
			t.Errorf("%q, %v: %v, want %v", tt.dumpers, tt.w, fault, tt.want)
		}
		if got := c.find(mapA(ndr.Handle{}, 1)); len(got.Towers) != 1 {
			t.Errorf("%q, %v: map %+v", tt.dumpers, tt.w, got)
		}
	}
}
