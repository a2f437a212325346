package mapper

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go4.org/netipx"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

var ipWays = []way{udpLo, tcpLo, udp6Lo, tcp6Lo, udpSelf, tcpSelf, udp6Self, udpFar, tcpFar, udp6Far}

// valid is a message of every kind, in every version that has it.
func valid() map[string][]byte {
	all := map[string][]byte{}
	add := func(version uint32, p rpcbind.Proc, args []byte) {
		all[fmt.Sprintf("v%d %s", version, p.Name(version))] = message(version, p, args)
	}
	for version := uint32(2); version <= 4; version++ {
		add(version, null, nil)
		add(version, dumpP, nil)
		add(version, callIt, remoteCall(progA, 1, 0, 1, 2, 3, 4, 5))
	}
	for _, p := range []rpcbind.Proc{set, unset, get} {
		add(2, p, mapping(progD, 1, 6, 5003))
		for version := uint32(3); version <= 4; version++ {
			add(version, p, rpcbind.RPCB{Program: progD, Version: 1, NetID: "tcp", Address: "0.0.0.0.19.139", Owner: "me"}.Append(nil))
		}
	}
	for version := uint32(3); version <= 4; version++ {
		add(version, rpcbind.ProcGetTime, nil)
		add(version, rpcbind.ProcUAddr2TAddr, text("10.99.0.1.19.139"))
		add(version, rpcbind.ProcTAddr2UAddr, rpcbind.TAddr(rpcbind.UDP, "10.99.0.1.19.139").Append(nil))
	}
	add(4, rpcbind.ProcGetVersAddr, rpcb(progA, 1, "udp", "10.99.0.1.0.111"))
	add(4, rpcbind.ProcIndirect, remoteCall(progA, 1, 0, 1))
	add(4, rpcbind.ProcGetAddrList, rpcb(progA, 1, "udp", "10.99.0.1.0.111"))
	add(4, rpcbind.ProcGetStat, nil)
	all["AUTH_SYS"] = messageWith(oncrpc.Call{
		XID: xid, Program: rpcbind.Program, Version: 2, Procedure: uint32(get),
		Cred: oncrpc.OpaqueAuth{Flavor: oncrpc.AuthSys, Body: sysCred(9, 3)},
		Verf: oncrpc.OpaqueAuth{Flavor: oncrpc.AuthShort, Body: []byte{1, 2, 3}},
	}, mapping(progA, 1, 17, 0))
	return all
}

// atTime makes two answers of GETTIME the same.
func atTime(c oncrpc.Call, answer []byte) []byte {
	if c.Version > 2 && rpcbind.Proc(c.Procedure) == rpcbind.ProcGetTime && len(answer) == 28 {
		return answer[:24]
	}
	return answer
}

// TestTruncated holds every beginning of every message against the contract: a
// header that is cut gets no answer, and arguments that are cut are garbage.
func TestTruncated(t *testing.T) {
	for name, whole := range valid() {
		for _, w := range []way{udpLo, tcpLo, udp6Far, asUser} {
			m := newMapper(t)
			c, args, err := oncrpc.ParseCall(whole)
			if err != nil {
				t.Fatal(err)
			}
			header := len(whole) - len(args)
			for n := range len(whole) {
				r := m.Answer(w.call(whole[:n]), make([]byte, 0, transportBuf))
				var want []byte
				p := rpcbind.Proc(c.Procedure)
				switch {
				case n < header:
				case p == callIt: // silent on every failure
				case w.netid != rpcbind.Local && (p == set || p == unset):
					want = denied(oncrpc.AuthTooWeak)
				default:
					want = accepted(oncrpc.GarbageArgs)
				}
				if got := bytesOf(r); !bytes.Equal(got, want) || r.Close != (n < header) {
					t.Errorf("%s cut at %d of %d (%v): %x, close %v, want %x", name, n, len(whole), w, got, r.Close, want)
				}
			}
			if seq := m.Registry.Seq(); seq != uint64(len(ownRows(t))) {
				t.Errorf("%s cut (%v) changed the registry", name, w)
			}
			if got, want := m.Ignored(), uint64(header); got != want {
				t.Errorf("%s cut (%v): %d messages ignored, want %d", name, w, got, want)
			}
		}
	}
}

// TestTrailing: bytes after the arguments change nothing.
func TestTrailing(t *testing.T) {
	for name, whole := range valid() {
		for _, w := range []way{udpLo, asRoot} {
			for n := 1; n <= 8; n++ {
				want := bytesOf(newMapper(t).Answer(w.call(whole), nil))
				got := bytesOf(newMapper(t).Answer(w.call(append(bytes.Clone(whole), make([]byte, n)...)), nil))
				c, _, _ := oncrpc.ParseCall(whole)
				if !bytes.Equal(atTime(c, got), atTime(c, want)) {
					t.Errorf("%s with %d bytes more (%v): %x, want %x", name, n, w, got, want)
				}
			}
		}
	}
}

// TestSameXID: a call that comes again is answered again, from what stands now.
func TestSameXID(t *testing.T) {
	m := newMapper(t)
	lookup := message(2, get, mapping(progA, 1, 17, 0))
	register := message(4, set, rpcb(progA, 1, "udp", "0.0.0.0.19.139"))
	remove := message(2, unset, mapping(progA, 1, 0, 0))
	port := func(p uint32) []byte { return success(xdr.AppendUint32(nil, p)...) }
	for i, s := range []struct {
		w          way
		call, want []byte
	}{
		{udpLo, lookup, port(0)}, {asRoot, register, yes}, {asRoot, register, yes}, {udpLo, lookup, port(5003)},
		{udpLo, lookup, port(5003)}, {asRoot, remove, yes}, {asRoot, remove, yes}, {udpLo, lookup, port(0)},
	} {
		if got := bytesOf(m.Answer(s.w.call(s.call), nil)); !bytes.Equal(got, s.want) {
			t.Errorf("step %d: %x, want %x", i, got, s.want)
		}
	}
}

// TestAnswerAppends: what is in the buffer already, such as a record mark, stays
// and does not count.
func TestAnswerAppends(t *testing.T) {
	m := newMapper(t)
	for name, whole := range valid() {
		for _, w := range []way{udpLo, asRoot} {
			want := bytesOf(m.Answer(w.call(whole), nil))
			c, _, _ := oncrpc.ParseCall(whole)
			if rpcbind.Proc(c.Procedure) == rpcbind.ProcGetStat {
				continue // counts itself
			}
			before := bytes.Repeat([]byte{0xee}, transport.MaxMessage)
			got := bytesOf(m.Answer(w.call(whole), before))
			switch {
			case want == nil && got == nil:
			case !bytes.HasPrefix(got, before), !bytes.Equal(atTime(c, got[len(before):]), atTime(c, want)):
				t.Errorf("%s (%v) after %d bytes: %d bytes, want %x after them", name, w, len(before), len(got), want)
			}
		}
	}
}

// TestSetRefused: what SET does not take, over the local socket.
func TestSetRefused(t *testing.T) {
	garbage := accepted(oncrpc.GarbageArgs)
	v4 := func(netid, uaddr string) []byte { return message(4, set, rpcb(progD, 1, netid, uaddr)) }
	for _, tt := range []struct {
		name string
		w    way
		call []byte
		want []byte
	}{
		{"tcp", asUser, v4("tcp", "0.0.0.0.4.0"), yes},
		{"highest port", asUser, v4("udp", "10.0.0.1.255.255"), yes},
		{"tcp6", asUser, v4("tcp6", "::.4.0"), yes},
		{"udp6 at one address", asUser, v4("udp6", "fd99::1.4.0"), yes},
		{"unix is local", asUser, v4("unix", "/run/x.sock"), yes},
		{"an abstract name", asUser, v4("local", "@x"), yes},
		{"port 1023 by root", asRoot, v4("tcp", "0.0.0.0.3.255"), yes},
		{"program 0", asUser, message(4, set, rpcb(0, 0, "tcp", "0.0.0.0.4.0")), yes},
		{"program 2^32-1", asUser, message(4, set, rpcb(0xffffffff, 0xffffffff, "tcp", "0.0.0.0.4.0")), yes},

		{"port 1023 by a user", asUser, v4("tcp", "0.0.0.0.3.255"), no},
		{"port 1023 by a user, udp6", asUser, v4("udp6", "::.3.255"), no},
		{"port 0", asRoot, v4("tcp", "0.0.0.0.0.0"), no},
		{"no netid", asRoot, v4("", "0.0.0.0.4.0"), no},
		{"unknown netid", asRoot, v4("sctp", "0.0.0.0.4.0"), no},
		{"netid in capitals", asRoot, v4("TCP", "0.0.0.0.4.0"), no},
		{"netid with a NUL", asRoot, v4("tcp\x00", "0.0.0.0.4.0"), no},
		{"no address", asRoot, v4("tcp", ""), no},
		{"only a port", asRoot, v4("tcp", "4.0"), no},
		{"no port", asRoot, v4("tcp", "0.0.0.0"), no},
		{"leading zero in the address", asRoot, v4("tcp", "010.0.0.1.4.0"), no},
		{"leading zero in the port", asRoot, v4("tcp", "10.0.0.1.04.0"), no},
		{"address part above 255", asRoot, v4("tcp", "256.0.0.1.4.0"), no},
		{"port byte above 255", asRoot, v4("tcp", "10.0.0.1.4.256"), no},
		{"port byte above 2^32", asRoot, v4("tcp", "10.0.0.1.4.4294967296"), no},
		{"negative port byte", asRoot, v4("tcp", "10.0.0.1.4.-1"), no},
		{"sign before a port byte", asRoot, v4("tcp", "10.0.0.1.+4.0"), no},
		{"trailing dot", asRoot, v4("tcp", "10.0.0.1.4.0."), no},
		{"leading dot", asRoot, v4("tcp", ".10.0.0.1.4.0"), no},
		{"blank", asRoot, v4("tcp", "10.0.0.1.4.0 "), no},
		{"scope id", asRoot, v4("tcp6", "fe80::1%lo.4.0"), no},
		{"brackets", asRoot, v4("tcp6", "[::].4.0"), no},
		{"IPv6 on tcp", asRoot, v4("tcp", "::.4.0"), no},
		{"IPv4 on udp6", asRoot, v4("udp6", "0.0.0.0.4.0"), no},
		{"IPv4 in IPv6", asRoot, v4("udp6", "::ffff:10.0.0.1.4.0"), no},
		{"a name", asRoot, v4("tcp", "localhost.4.0"), no},
		{"a path on tcp", asRoot, v4("tcp", "/run/x.sock"), no},
		{"an address on local", asRoot, v4("local", "0.0.0.0.4.0"), no},
		{"a relative path", asRoot, v4("local", "x.sock"), no},
		{"a path of one byte", asRoot, v4("local", "/"), no},
		{"a path of 108 bytes", asRoot, v4("local", "/"+strings.Repeat("x", 107)), no},
		{"a path with a newline", asRoot, v4("local", "/run/x\n.sock"), no},
		{"a path that is not UTF-8", asRoot, v4("local", "/run/\xff"), no},
		{"100000 by root", asRoot, message(4, set, rpcb(100000, 5, "tcp", "0.0.0.0.4.0")), no},
		{"100000, the same row", asRoot, message(4, set, rpcb(100000, 4, "tcp", "0.0.0.0.0.111")), no},
		{"100000, v2", asRoot, message(2, set, mapping(100000, 2, 6, 111)), no},
		{"v2 port 0", asRoot, message(2, set, mapping(progD, 1, 6, 0)), no},
		{"v2 port 65536", asRoot, message(2, set, mapping(progD, 1, 6, 65536+2049)), no},
		{"v2 port 2^32-1", asRoot, message(2, set, mapping(progD, 1, 6, 0xffffffff)), no},
		{"v2 protocol 0", asRoot, message(2, set, mapping(progD, 1, 0, 2049)), no},
		{"v2 protocol 132", asRoot, message(2, set, mapping(progD, 1, 132, 2049)), no},
		{"v2 protocol 6+256", asRoot, message(2, set, mapping(progD, 1, 262, 2049)), no},
		{"v2 port 1023 by a user", asUser, message(2, set, mapping(progD, 1, 17, 1023)), no},
		{"netid of 65 bytes", asRoot, v4(strings.Repeat("t", 65), "0.0.0.0.4.0"), garbage},
		{"address of 129 bytes", asRoot, v4("local", "/"+strings.Repeat("x", 128)), garbage},
		{"owner of 65 bytes", asRoot, message(4, set, rpcbind.RPCB{Program: progD, NetID: "tcp", Address: "0.0.0.0.4.0", Owner: strings.Repeat("o", 65)}.Append(nil)), garbage},
		{"address of 2^32-1 bytes", asRoot, message(4, set, append(rpcb(progD, 1, "tcp", "")[:16], 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0)), garbage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMapper(t)
			before := m.Registry.Seq()
			if got := bytesOf(m.Answer(tt.w.call(tt.call), nil)); !bytes.Equal(got, tt.want) {
				t.Errorf("%x, want %x", got, tt.want)
			}
			changed := m.Registry.Seq() != before
			if want := bytes.Equal(tt.want, yes); changed != want {
				t.Errorf("the registry changed: %v, want %v", changed, want)
			}
			stats := getStats(t, m)
			if got := stats[0].Sets+stats[2].Sets == 1; got != bytes.Equal(tt.want, yes) {
				t.Errorf("counted as a success: %v", got)
			}
		})
	}
}

// TestNotLocal: SET and UNSET over any network are refused, before their
// arguments are looked at, and change nothing.
func TestNotLocal(t *testing.T) {
	m := newMapper(t, row(t, progA, 1, rpcbind.TCP, "0.0.0.0.19.139"))
	before := m.Registry.Seq()
	for _, w := range ipWays {
		for version := uint32(2); version <= 4; version++ {
			for _, p := range []rpcbind.Proc{set, unset} {
				for _, args := range [][]byte{nil, mapping(progA, 1, 6, 5003), rpcb(progA, 1, "tcp", "0.0.0.0.19.139")} {
					got := bytesOf(m.Answer(w.call(message(version, p, args)), nil))
					if want := denied(oncrpc.AuthTooWeak); !bytes.Equal(got, want) {
						t.Errorf("%v %s version %d: %x, want %x", w, p.Name(version), version, got, want)
					}
				}
			}
		}
	}
	if m.Registry.Seq() != before {
		t.Error("the registry changed")
	}
}

// TestUnset: who may remove what, and that it is all or nothing.
func TestUnset(t *testing.T) {
	rows := func() []endpoint.Registration {
		mine := row(t, progA, 1, rpcbind.UDP, "0.0.0.0.19.139")
		mine.Owner.UID = 1000
		mine6 := row(t, progA, 1, rpcbind.UDP6, "::.19.139")
		mine6.Owner.UID = 1000
		theirs := row(t, progB, 1, rpcbind.TCP, "0.0.0.0.19.140")
		both := row(t, progB, 1, rpcbind.UDP, "0.0.0.0.19.140")
		both.Owner.UID = 1000
		return []endpoint.Registration{mine, mine6, theirs, both, row(t, progA, 2, rpcbind.UDP, "0.0.0.0.19.141")}
	}
	for _, tt := range []struct {
		name string
		w    way
		call []byte
		want []byte
		left int // of 5
	}{
		{"v2", asUser, message(2, unset, mapping(progA, 1, 0, 0)), yes, 4},
		{"v2, another protocol and port", asUser, message(2, unset, mapping(progA, 1, 6, 1)), yes, 4},
		{"v2, one of two rows is root's", asUser, message(2, unset, mapping(progB, 1, 17, 5004)), no, 5},
		{"v2 by root", asRoot, message(2, unset, mapping(progB, 1, 17, 5004)), yes, 3},
		{"v2, another version", asRoot, message(2, unset, mapping(progB, 2, 17, 5004)), yes, 5},
		{"v3, one transport", asUser, message(3, unset, rpcb(progA, 1, "udp6", "")), yes, 4},
		{"v4, every transport", asUser, message(4, unset, rpcb(progA, 1, "", "")), yes, 3},
		{"v4, every transport, one is root's", asUser, message(4, unset, rpcb(progB, 1, "", "")), no, 5},
		{"v4, own of both", asUser, message(4, unset, rpcb(progB, 1, "udp", "")), yes, 4},
		{"v4, root's", asUser, message(4, unset, rpcb(progA, 2, "udp", "")), no, 5},
		{"v4, by a third user", way{netid: rpcbind.Local, uid: 1001}, message(4, unset, rpcb(progA, 1, "udp", "")), no, 5},
		{"v4, the address is not looked at", asUser, message(4, unset, rpcb(progA, 1, "udp", "zzz")), yes, 4},
		{"v4, the owner in the arguments is not believed", asUser, message(4, unset,
			rpcbind.RPCB{Program: progA, Version: 2, NetID: "udp", Owner: "superuser"}.Append(nil)), no, 5},
		{"v4, unknown netid", asRoot, message(4, unset, rpcb(progA, 1, "sctp", "")), yes, 5},
		{"v4, nothing there", asUser, message(4, unset, rpcb(progD, 1, "", "")), yes, 5},
		{"v3, version 0", asRoot, message(3, unset, rpcb(progA, 0, "", "")), yes, 5},
		{"the mapper's rows by root, v2", asRoot, message(2, unset, mapping(100000, 2, 0, 0)), no, 5},
		{"the mapper's rows by root, v3", asRoot, message(3, unset, rpcb(100000, 3, "", "")), no, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMapper(t, rows()...)
			if got := bytesOf(m.Answer(tt.w.call(tt.call), nil)); !bytes.Equal(got, tt.want) {
				t.Errorf("%x, want %x", got, tt.want)
			}
			all, _ := m.Registry.All()
			if got := len(all) - len(ownRows(t)); got != tt.left {
				t.Errorf("%d rows are left, want %d", got, tt.left)
			}
		})
	}
}

// TestFallback: a version that is not registered leads to the youngest row of
// the program on that transport, whatever its version.
func TestFallback(t *testing.T) {
	m := newMapper(t)
	lookup := func(want3, want4 string, wantPort uint32) {
		t.Helper()
		if got := askUint32(t, m, udpLo, 2, get, mapping(progA, 77, 17, 0)); got != wantPort {
			t.Errorf("GETPORT = %d, want %d", got, wantPort)
		}
		if got := askString(t, m, udpLo, 3, get, rpcb(progA, 77, "", "")); got != want3 {
			t.Errorf("v3 GETADDR = %q, want %q", got, want3)
		}
		if got := askString(t, m, udpLo, 4, rpcbind.ProcGetVersAddr, rpcb(progA, 77, "", "")); got != want4 {
			t.Errorf("GETVERSADDR = %q, want %q", got, want4)
		}
	}
	change := func(p rpcbind.Proc, version uint32, netid, uaddr string) {
		t.Helper()
		if got := askUint32(t, m, asRoot, 4, p, rpcb(progA, version, netid, uaddr)); got != 1 {
			t.Fatalf("%s of version %d: %d", p.Name(4), version, got)
		}
	}
	lookup("", "", 0)
	change(set, 1, "tcp", "0.0.0.0.4.9") // another transport is none
	lookup("", "", 0)
	change(set, 1, "udp", "0.0.0.0.4.1")
	lookup("127.0.0.1.4.1", "", 1025)
	change(set, 3, "udp", "0.0.0.0.4.3")
	lookup("127.0.0.1.4.3", "", 1027)
	change(set, 2, "udp", "0.0.0.0.4.2") // younger, though not higher
	lookup("127.0.0.1.4.2", "", 1026)
	change(set, 3, "udp", "0.0.0.0.4.3") // stood already, so is no younger
	lookup("127.0.0.1.4.2", "", 1026)
	change(unset, 2, "udp", "")
	lookup("127.0.0.1.4.3", "", 1027)
	change(set, 77, "udp", "0.0.0.0.4.4")
	lookup("127.0.0.1.4.4", "127.0.0.1.4.4", 1028)
	change(unset, 77, "", "")
	change(unset, 3, "", "")
	change(unset, 1, "udp", "")
	lookup("", "", 0)
}

// TestToward: which address a client is told.
func TestToward(t *testing.T) {
	m := newMapper(t,
		row(t, progA, 1, rpcbind.UDP, "0.0.0.0.19.139"), row(t, progA, 1, rpcbind.TCP, "0.0.0.0.19.139"),
		row(t, progA, 1, rpcbind.UDP6, "::.19.139"), row(t, progA, 1, rpcbind.TCP6, "::.19.139"),
		row(t, progB, 1, rpcbind.UDP, "127.0.0.1.19.140"), row(t, progB, 1, rpcbind.UDP6, "fe80::99.19.140"))
	m.SetDumpers(everywhere(t)) // or GETADDRLIST would be too long for another host over UDP
	udp := func(client string) way { return way{netid: rpcbind.UDP, client: client, server: "10.99.0.1"} }
	link := way{netid: rpcbind.UDP6, client: "fe80::7", server: "fe80::98"}
	for _, tt := range []struct {
		name    string
		w       way
		program uint32
		hint    string
		want    string
	}{
		{"loopback", udpLo, progA, "", "127.0.0.1.19.139"},
		{"loopback's network", way{netid: rpcbind.TCP, client: "127.0.0.1", server: "127.0.0.2"}, progA, "", "127.0.0.1.19.139"},
		{"own address", udp("10.99.0.1"), progA, "", "10.99.0.1.19.139"},
		{"first network", udp("10.99.0.77"), progA, "", "10.99.0.1.19.139"},
		{"second network", udp("10.98.0.77"), progA, "", "10.98.0.1.19.139"},
		{"far", udp("192.0.2.7"), progA, "", "10.99.0.1.19.139"},
		{"hint before client", udp("192.0.2.7"), progA, "10.98.0.1.0.111", "10.98.0.1.19.139"},
		{"hint without an equal", udp("10.99.0.77"), progA, "192.0.2.1.0.111", "10.99.0.1.19.139"},
		{"hint's port does not matter", udp("10.99.0.77"), progA, "10.98.0.1.255.255", "10.98.0.1.19.139"},
		{"IPv6 own", udp6Self, progA, "", "fd99::1.19.139"},
		{"IPv6 second network", udp6Far, progA, "", "fd98::1.19.139"},
		{"IPv6 far", way{netid: rpcbind.UDP6, client: "2001:db8::1", server: "fd98::1"}, progA, "", "fd99::1.19.139"},
		{"hint of another family", udp("10.99.0.7"), progA, "fd99::1.0.111", "0.0.0.0.19.139"},
		{"hint of another family, IPv6", udp6Lo, progA, "10.99.0.1.0.111", "::.19.139"},
		{"hint with a scope id", udp6Lo, progA, "fe80::98%eth0.0.111", "::.19.139"},
		{"hint with a leading zero", udpLo, progA, "010.99.0.1.0.111", "0.0.0.0.19.139"},
		{"hint with a trailing dot", udpLo, progA, "10.99.0.1.0.111.", "0.0.0.0.19.139"},
		{"link-local: the link the call came over", link, progA, "", "fe80::98.19.139"},
		{"link-local over TCP", way{netid: rpcbind.TCP6, client: "fe80::7%eth1", server: "fe80::98%eth1"}, progA, "", "fe80::98.19.139"},
		{"link-local with its own hint", link, progA, "fe80::98.0.111", "fe80::98.19.139"},
		{"link-local with a global hint", link, progA, "fd98::1.0.111", "fd98::1.19.139"},
		{"link-local to a global address", way{netid: rpcbind.UDP6, client: "fe80::7", server: "fd98::1"}, progA, "", "fd98::1.19.139"},
		{"link-local to a global address, TCP", way{netid: rpcbind.TCP6, client: "fe80::7%eth1", server: "fd98::1"}, progA, "", "fd98::1.19.139"},
		{"one address only", udpFar, progB, "", "127.0.0.1.19.140"},
		{"one address only, with a hint", udpFar, progB, "10.98.0.1.0.111", "127.0.0.1.19.140"},
		{"one link-local address only", udp6Far, progB, "", "fe80::99.19.140"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for version := uint32(3); version <= 4; version++ {
				if got := askString(t, m, tt.w, version, get, rpcb(tt.program, 1, "", tt.hint)); got != tt.want {
					t.Errorf("v%d GETADDR with hint %q = %q, want %q", version, tt.hint, got, tt.want)
				}
			}
			list, err := rpcbind.ParseEntries(ask(t, m, tt.w, 4, rpcbind.ProcGetAddrList, rpcb(tt.program, 1, "", tt.hint)))
			if err != nil || len(list) == 0 || list[len(list)-1].Address != tt.want {
				t.Errorf("GETADDRLIST with hint %q = %v, %v, want %q", tt.hint, list, err, tt.want)
			}
		})
	}
}

// everywhere is the set of all addresses.
func everywhere(t *testing.T) *netipx.IPSet {
	t.Helper()
	var b netipx.IPSetBuilder
	b.AddPrefix(netip.MustParsePrefix("0.0.0.0/0"))
	b.AddPrefix(netip.MustParsePrefix("::/0"))
	set, err := b.IPSet()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestNoAddresses: with no interface known a row is told as it is.
func TestNoAddresses(t *testing.T) {
	m := newMapper(t, row(t, progA, 1, rpcbind.UDP, "0.0.0.0.19.139"))
	m.Addresses.Set(nil)
	if got, want := askString(t, m, udpFar, 4, get, rpcb(progA, 1, "", "")), "0.0.0.0.19.139"; got != want {
		t.Errorf("GETADDR = %q, want %q", got, want)
	}
}

// TestLongDump: what does not fit a datagram is an error there, and whole elsewhere.
func TestLongDump(t *testing.T) {
	const own2, row2 = 6, 20 // the mapper's rows in version 2, and the bytes of one
	const fit = (transport.MaxMessage-24-4)/row2 - own2
	m := newMapper(t)
	add := func(n int) {
		t.Helper()
		for i := range n {
			reg := row(t, progA+uint32(i), uint32(m.Registry.Seq()), rpcbind.UDP, "0.0.0.0.19.139")
			if _, err := m.Registry.Add(registry.Claim{}, reg); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(fit)
	if got := bytesOf(m.Answer(udpLo.call(message(2, dumpP, nil)), nil)); len(got) != 24+4+(fit+own2)*row2 {
		t.Errorf("a DUMP that fits has %d bytes", len(got))
	}
	add(1)
	for _, w := range []way{udpLo, udp6Far, tcpLo, tcp6Lo, asUser} {
		for version := uint32(2); version <= 4; version++ {
			got := bytesOf(m.Answer(w.call(message(version, dumpP, nil)), nil))
			if w.netid == rpcbind.UDP || w.netid == rpcbind.UDP6 {
				if want := accepted(oncrpc.SystemErr); !bytes.Equal(got, want) {
					t.Errorf("%v v%d DUMP: %d bytes, want %x", w, version, len(got), want)
				}
				continue
			}
			want := freshDump(t, m.Registry, version)
			if !bytes.Equal(got, success(want...)) {
				t.Errorf("%v v%d DUMP: %d bytes, want %d", w, version, len(got), 24+len(want))
			}
		}
	}
}

// freshDump encodes all rows by means of package rpcbind.
func freshDump(t testing.TB, g *registry.Registry, version uint32) []byte {
	t.Helper()
	rows, _ := g.All()
	var b []byte
	for _, r := range rows {
		if version > 2 {
			b = rpcbind.RPCB{
				Program: r.Program, Version: r.Version, NetID: r.NetID.String(),
				Address: r.UniversalAddress(), Owner: r.Owner.String(),
			}.Append(rpcbind.AppendNext(b))
		} else if p := r.NetID.Protocol(); p != 0 {
			b = rpcbind.Mapping{Program: r.Program, Version: r.Version, Protocol: p, Port: uint32(r.Addr.Port())}.Append(rpcbind.AppendNext(b))
		}
	}
	return rpcbind.AppendEnd(b)
}

func TestDumpOwners(t *testing.T) {
	m := newMapper(t)
	ask(t, m, asUser, 4, set, rpcb(progA, 1, "tcp", "10.99.0.1.19.139"))
	ask(t, m, asRoot, 2, set, mapping(progA, 2, 17, 5003))
	ask(t, m, way{netid: rpcbind.Local, uid: 65534}, 3, set, rpcb(progA, 3, "local", "/run/a.sock"))
	rows, err := rpcbind.ParseRPCBs(ask(t, m, tcpFar, 4, dumpP, nil))
	if err != nil {
		t.Fatal(err)
	}
	want := []rpcbind.RPCB{
		{Program: progA, Version: 1, NetID: "tcp", Address: "10.99.0.1.19.139", Owner: "1000"},
		{Program: progA, Version: 2, NetID: "udp", Address: "0.0.0.0.19.139", Owner: "superuser"},
		{Program: progA, Version: 3, NetID: "local", Address: "/run/a.sock", Owner: "65534"},
	}
	if diff := cmp.Diff(want, rows[len(ownRows(t)):]); diff != "" {
		t.Errorf("DUMP (-want +got):\n%s", diff)
	}
}

func TestGetTime(t *testing.T) {
	m := newMapper(t)
	for version := uint32(3); version <= 4; version++ {
		before := uint32(time.Now().Unix())
		got := askUint32(t, m, udpFar, version, rpcbind.ProcGetTime, nil)
		if after := uint32(time.Now().Unix()); got < before || got > after {
			t.Errorf("v%d GETTIME = %d, want %d to %d", version, got, before, after)
		}
	}
}

// TestAddressForms: UADDR2TADDR and back on the transport of the call.
func TestAddressForms(t *testing.T) {
	m := newMapper(t)
	for _, tt := range []struct {
		w     way
		uaddr string
		ok    bool
	}{
		{udpLo, "10.99.0.1.19.139", true},
		{tcpFar, "0.0.0.0.0.0", true},
		{udp6Lo, "fd99::1.255.255", true},
		{tcp6Lo, "::.0.111", true},
		{asUser, "/run/rpcbind.sock", true},
		{udpLo, "::.0.111", false},
		{udp6Lo, "10.99.0.1.19.139", false},
		{udp6Lo, "::ffff:10.99.0.1.19.139", false},
		{tcpLo, "/run/rpcbind.sock", false},
		{tcpLo, "10.99.0.1", false},
		{asUser, "", false},
		{asUser, "/" + strings.Repeat("x", 127), false},
	} {
		for version := uint32(3); version <= 4; version++ {
			b := ask(t, m, tt.w, version, rpcbind.ProcUAddr2TAddr, text(tt.uaddr))
			n, err := rpcbind.ParseNetBuf(b)
			if err != nil || len(n.Buf) > 0 != tt.ok || (n.MaxLen > 0) != tt.ok {
				t.Errorf("%v UADDR2TADDR(%q) = %v, %v", tt.w, tt.uaddr, n, err)
			}
			want := ""
			if tt.ok {
				want = tt.uaddr
			}
			if got := askString(t, m, tt.w, version, rpcbind.ProcTAddr2UAddr, b); got != want {
				t.Errorf("%v TADDR2UADDR(%x) = %q, want %q", tt.w, b, got, want)
			}
		}
	}
	for _, sockaddr := range [][]byte{nil, {2}, {0, 0}, {2, 0}, {2, 0, 1, 1, 1, 1, 1}, {10, 0, 1, 1}, {1, 0}, {99, 99, 1, 1, 1, 1, 1, 1}} {
		for _, w := range []way{udpLo, tcp6Lo, asUser} {
			if got := askString(t, m, w, 3, rpcbind.ProcTAddr2UAddr, rpcbind.NetBuf{MaxLen: 128, Buf: sockaddr}.Append(nil)); got != "" {
				t.Errorf("%v TADDR2UADDR(%x) = %q, want nothing", w, sockaddr, got)
			}
		}
	}
	long := rpcbind.NetBuf{MaxLen: 0xffffffff, Buf: make([]byte, 513)}.Append(nil)
	if got, want := bytesOf(m.Answer(udpLo.call(message(3, 8, long)), nil)), accepted(oncrpc.GarbageArgs); !bytes.Equal(got, want) {
		t.Errorf("TADDR2UADDR of 513 bytes: %x, want %x", got, want)
	}
}

// TestRemote: calls are not passed on. The broadcast kinds are silent whatever
// comes, INDIRECT says why.
func TestRemote(t *testing.T) {
	m := newMapper(t,
		row(t, progA, 4, rpcbind.UDP, "0.0.0.0.19.139"), row(t, progA, 2, rpcbind.UDP, "0.0.0.0.19.140"),
		row(t, progB, 1, rpcbind.Local, "/run/b.sock"))
	for _, w := range append(ipWays, asUser, asRoot) {
		for version := uint32(2); version <= 4; version++ {
			for _, args := range [][]byte{
				nil, remoteCall(progA, 2, 0), remoteCall(progD, 2, 0), remoteCall(100000, 2, 0), remoteCall(progA, 2, 1, make([]byte, 8800)...),
			} {
				r := m.Answer(w.call(message(version, callIt, args)), nil)
				if r.Head != nil || r.Body != nil || r.Close {
					t.Errorf("%v %s (%x): %+v, want silence", w, callIt.Name(version), args, r)
				}
			}
		}
	}
	mismatch := func(low, high uint32) []byte { return oncrpc.AppendProgMismatch(nil, xid, low, high) }
	for _, tt := range []struct {
		name string
		w    way
		args []byte
		want []byte
	}{
		{"unknown program", udpLo, remoteCall(progD, 1, 0), accepted(oncrpc.ProgUnavail)},
		{"program 0", tcpLo, remoteCall(0, 0, 0), accepted(oncrpc.ProgUnavail)},
		{"program 2^32-1", udpFar, remoteCall(0xffffffff, 0xffffffff, 0xffffffff), accepted(oncrpc.ProgUnavail)},
		{"other transport", tcpLo, remoteCall(progA, 2, 0), accepted(oncrpc.ProgUnavail)},
		{"other version", udpLo, remoteCall(progA, 3, 0), mismatch(2, 4)},
		{"version 0", udpFar, remoteCall(progA, 0, 0), mismatch(2, 4)},
		{"registered", udpLo, remoteCall(progA, 4, 0), accepted(oncrpc.SystemErr)},
		{"local", asUser, remoteCall(progB, 1, 0), accepted(oncrpc.SystemErr)},
		{"local, other version", asUser, remoteCall(progB, 2, 0), mismatch(1, 1)},
		{"the mapper", udpLo, remoteCall(100000, 2, 0), accepted(oncrpc.SystemErr)},
		{"arguments over the limit", tcpLo, remoteCall(progA, 4, 0, make([]byte, 8801)...), accepted(oncrpc.GarbageArgs)},
	} {
		before := []byte{0xee, 0xee, 0xee}
		got := bytesOf(m.Answer(tt.w.call(message(4, rpcbind.ProcIndirect, tt.args)), before))
		if want := append(before, tt.want...); !bytes.Equal(got, want) {
			t.Errorf("INDIRECT, %s: %x, want %x", tt.name, got, want)
		}
	}
}

func TestStats(t *testing.T) {
	m := newMapper(t, row(t, progA, 1, rpcbind.UDP, "0.0.0.0.19.139"))
	ask(t, m, udpLo, 2, null, nil)
	ask(t, m, udpLo, 2, null, nil)
	for _, p := range []uint32{17, 17, 6, 99} { // of protocol 99 there is nothing to count
		ask(t, m, udpLo, 2, get, mapping(progA, 1, p, 0))
	}
	ask(t, m, tcpLo, 3, get, rpcb(progA, 1, "udp", "")) // the transport that counts is the call's
	ask(t, m, udpLo, 3, get, rpcb(progA, 1, "", ""))
	ask(t, m, udpLo, 4, get, rpcb(progA, 7, "", ""))
	ask(t, m, udpLo, 4, rpcbind.ProcGetVersAddr, rpcb(progA, 7, "", ""))
	ask(t, m, asRoot, 4, set, rpcb(progB, 1, "tcp", "0.0.0.0.19.140"))
	ask(t, m, asRoot, 4, set, rpcb(progB, 1, "tcp", "0.0.0.0.19.141")) // refused
	ask(t, m, asRoot, 4, unset, rpcb(progB, 1, "tcp", ""))
	ask(t, m, asRoot, 3, unset, rpcb(progB, 1, "tcp", "")) // nothing there, but a success
	ask(t, m, asUser, 3, unset, rpcb(progA, 1, "", ""))    // refused
	m.Answer(udpLo.call(message(4, set, nil)), nil)        // refused
	m.Answer(udpLo.call(message(3, callIt, remoteCall(progA, 1, 5))), nil)
	m.Answer(udpLo.call(message(3, callIt, nil)), nil)
	m.Answer(tcpLo.call(message(4, rpcbind.ProcIndirect, remoteCall(progA, 1, 6))), nil)
	m.Answer(udpLo.call(message(4, 13, nil)), nil)
	m.Answer(udpLo.call(message(5, null, nil)), nil)

	var want rpcbind.Stats
	want[0].Calls[null], want[0].Calls[get] = 2, 4
	want[0].Lookups = []rpcbind.LookupStat{
		{Program: progA, Version: 1, NetID: "udp", Found: 2}, {Program: progA, Version: 1, NetID: "tcp", Missed: 1},
	}
	want[1].Calls[get], want[1].Calls[unset], want[1].Calls[callIt], want[1].Unsets = 2, 2, 2, 1
	want[1].Lookups = []rpcbind.LookupStat{
		{Program: progA, Version: 1, NetID: "tcp", Missed: 1}, {Program: progA, Version: 1, NetID: "udp", Found: 1},
	}
	want[1].Remote = []rpcbind.RemoteStat{{Program: progA, Version: 1, Procedure: 5, NetID: "udp", Failed: 1}}
	want[2].Calls[set], want[2].Calls[unset], want[2].Calls[get] = 3, 1, 1
	want[2].Calls[rpcbind.ProcGetVersAddr], want[2].Calls[rpcbind.ProcIndirect], want[2].Calls[rpcbind.ProcGetStat] = 1, 1, 1
	want[2].Sets, want[2].Unsets = 1, 1
	want[2].Lookups = []rpcbind.LookupStat{{Program: progA, Version: 7, NetID: "udp", Found: 1, Missed: 1}}
	want[2].Remote = []rpcbind.RemoteStat{{Program: progA, Version: 1, Procedure: 6, NetID: "tcp", Failed: 1, Indirect: 1}}
	if diff := cmp.Diff(want, getStats(t, m)); diff != "" {
		t.Errorf("GETSTAT (-want +got):\n%s", diff)
	}
}

// TestStatsBounded: strangers who ask for much do not make us hold much, and
// cannot crowd out what is registered.
func TestStatsBounded(t *testing.T) {
	m := newMapper(t)
	for i := range uint32(1000) {
		ask(t, m, udpFar, 2, get, mapping(0x30000000+i, 1, 17, 0))
		m.Answer(udpFar.call(message(2, callIt, remoteCall(0x30000000+i, 1, 0))), nil)
	}
	for i := range uint32(1000) {
		ask(t, m, asRoot, 2, set, mapping(progA+i, 1, 17, 5003))
		ask(t, m, udpFar, 2, get, mapping(progA+i, 1, 17, 0))
	}
	ask(t, m, udpFar, 2, get, mapping(0x30000000, 1, 17, 0)) // is counted still
	s := getStats(t, m)[0]
	if got, want := len(s.Lookups), 256; got != want {
		t.Fatalf("%d kinds of lookup, want %d", got, want)
	}
	for i, l := range s.Lookups {
		want := rpcbind.LookupStat{Program: 0x30000000 + uint32(i), Version: 1, NetID: "udp", Missed: 1}
		if i == 0 {
			want.Missed = 2
		}
		if i >= 128 {
			want.Program, want.Found, want.Missed = progA+uint32(i-128), 1, 0
		}
		if l != want {
			t.Errorf("lookup %d: %+v, want %+v", i, l, want)
		}
	}
	if got, want := len(s.Remote), 128; got != want {
		t.Errorf("%d kinds of remote call, want %d", got, want)
	}
	if got, want := s.Calls[get], uint32(2001); got != want {
		t.Errorf("%d calls of GETPORT, want %d", got, want)
	}
	if got := bytesOf(m.Answer(udpFar.call(message(4, rpcbind.ProcGetStat, nil)), nil)); len(got) > transport.MaxMessage || !bytes.Equal(got[:24], accepted(oncrpc.SystemErr)) {
		t.Errorf("GETSTAT over UDP: %d bytes, beginning %x", len(got), got[:24])
	}
}

// TestRegistryFull: the row over the limit gets false, and room comes back.
func TestRegistryFull(t *testing.T) {
	m := newMapper(t)
	var rows []endpoint.Registration
	for i := range registry.DefaultMaxRows - len(ownRows(t)) {
		rows = append(rows, endpoint.Registration{
			Interface: endpoint.Program(0x30000000+uint32(i), 1),
			Endpoint:  endpoint.Endpoint{NetID: rpcbind.TCP, Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), 2049)},
		})
	}
	if _, err := m.Registry.Add(registry.Claim{}, rows...); err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		p    rpcbind.Proc
		args []byte
		want uint32
	}{
		{set, rpcb(progA, 1, "tcp", "0.0.0.0.19.139"), 0},
		{unset, rpcb(0x30000000, 1, "", ""), 1},
		{set, rpcb(progA, 1, "tcp", "0.0.0.0.19.139"), 1},
		{set, rpcb(progA, 1, "tcp", "0.0.0.0.19.139"), 1},
		{set, rpcb(progA, 1, "udp", "0.0.0.0.19.139"), 0},
	} {
		if got := askUint32(t, m, asRoot, 4, s.p, s.args); got != s.want {
			t.Errorf("%s = %d, want %d", s.p.Name(4), got, s.want)
		}
	}
}

// TestXIDs: the answer has the call's xid, whatever the call is.
func TestXIDs(t *testing.T) {
	m := newMapper(t)
	for _, id := range []uint32{0, 1, 0x80000000, 0xffffffff} {
		for name, whole := range valid() {
			call := bytes.Clone(whole)
			binary.BigEndian.PutUint32(call, id)
			got := bytesOf(m.Answer(udpLo.call(call), nil))
			if got != nil && binary.BigEndian.Uint32(got) != id {
				t.Errorf("%s with xid %#x: %x", name, id, got)
			}
		}
	}
}
