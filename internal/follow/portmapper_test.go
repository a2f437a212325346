package follow

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden holds text against a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// A recording is a call to rpcbind and its answer, with record marks on streams: those that
// wire/rpcbind/testdata/README.md describes.
type recording struct {
	name, netid string
	call, reply []byte // no reply: silence
}

func recordings(tb testing.TB) []recording {
	tb.Helper()
	file, err := os.ReadFile("../../wire/rpcbind/testdata/conversations.txt")
	if err != nil {
		tb.Fatal(err)
	}
	var all []recording
	for block := range strings.SplitSeq(strings.TrimSpace(string(file)), "\n\n") {
		lines := strings.Split(block, "\n")
		netid, _, _ := strings.Cut(lines[0], ":")
		if netid[0] == '#' || netid == "local" {
			continue
		}
		r := recording{name: lines[0], netid: netid}
		r.call, err = hex.DecodeString(lines[1])
		if err == nil && lines[2] != "silence" {
			r.reply, err = hex.DecodeString(lines[2])
		}
		if err != nil {
			tb.Fatalf("%s: %v", lines[0], err)
		}
		all = append(all, r)
	}
	if len(all) < 100 {
		tb.Fatalf("%d conversations", len(all))
	}
	return all
}

func (r recording) talk() []said {
	talk := []said{{Client, r.call}}
	if r.reply != nil {
		talk = append(talk, said{Server, r.reply})
	}
	return talk
}

func (r recording) follower(p Policy) Follower {
	p.Ends = ends("127.0.0.1:40000", "127.0.0.1:111")
	if strings.HasSuffix(r.netid, "6") {
		p.Ends = ends("[::1]:40000", "[::1]:111")
	}
	return NewPortmapper(p, r.netid[0] == 't')
}

// Conversations with rpcbind, and what of them is promised, refused and changed.
func TestPortmapperRecordings(t *testing.T) {
	var b strings.Builder
	for _, r := range recordings(t) {
		f := r.follower(Policy{Name: func(i endpoint.Interface) string { return fmt.Sprintf("%d v%d", i.Program, i.Version) }})
		steps, err := f.Follow(Client, r.call)
		if asked := len(sent(steps, Server)) > 0; asked && r.reply != nil && err == nil {
			var more []Step
			more, err = f.Follow(Server, r.reply)
			steps = append(steps, more...)
		}
		fmt.Fprintf(&b, "%s\n", r.name)
		for _, p := range promised(steps) {
			fmt.Fprintf(&b, "\tpromises %s\n", p)
		}
		for _, s := range steps {
			if s.Refused != nil {
				fmt.Fprintf(&b, "\trefuses %v\n", s.Refused)
			}
		}
		if err != nil {
			fmt.Fprintf(&b, "\tends: %v\n", err)
		}
		switch got := sent(steps, Server); {
		case len(got) == 0:
			fmt.Fprintf(&b, "\tis not passed on\n")
		case !bytes.Equal(got, r.call):
			t.Errorf("%s: the server is sent %x, want the call as it was", r.name, got)
		}
		if got := sent(steps, Client); !bytes.Equal(got, r.reply) { // than rpcbind
			fmt.Fprintf(&b, "\tanswers %x\n", got)
		}
	}
	golden(t, "portmapper.txt", b.String())
}

// The steps are the same however a stream is cut.
func TestPortmapperSegments(t *testing.T) {
	var talk []said
	var f func() Follower
	for _, r := range recordings(t) {
		if r.netid == "tcp" && len(r.reply) < 2000 {
			talk = append(talk, r.talk()...)
			f = func() Follower { return r.follower(Policy{Allow: only(endpoint.Program(100005, 3))}) }
		}
	}
	if len(talk) < 10 {
		t.Fatalf("%d messages", len(talk))
	}
	checkSegments(t, f, talk)
	// All calls before all answers: they are outstanding at the same time.
	slices.SortStableFunc(talk, func(a, b said) int { return int(a.by) - int(b.by) })
	checkSegments(t, f, talk)
	checkSegments(t, f, merged(talk))
}

var nfs, mountd = endpoint.Program(100003, 3), endpoint.Program(100005, 3)

var oncEnds = ends("192.0.2.20:700", "10.0.0.5:111")

func oncCallOf(xid, version uint32, p rpcbind.Proc, args []byte) []byte {
	c := oncrpc.Call{XID: xid, Program: rpcbind.Program, Version: version, Procedure: uint32(p)}
	return append(c.Append(nil), args...)
}

func getPort(xid uint32, i endpoint.Interface, protocol uint32) []byte {
	return oncCallOf(xid, 2, rpcbind.ProcGetPort, rpcbind.Mapping{Program: i.Program, Version: i.Version, Protocol: protocol}.Append(nil))
}

func getAddr(xid uint32, i endpoint.Interface, netid string) []byte {
	return oncCallOf(xid, 4, rpcbind.ProcGetAddr, rpcbind.RPCB{Program: i.Program, Version: i.Version, NetID: netid}.Append(nil))
}

func oncReply(xid uint32, results []byte) []byte {
	return append(oncrpc.AppendAccepted(nil, xid, oncrpc.Success), results...)
}

func portReply(xid, port uint32) []byte { return oncReply(xid, xdr.AppendUint32(nil, port)) }

func addrReply(xid uint32, address string) []byte {
	return oncReply(xid, xdr.AppendString(nil, address))
}

func record(b []byte) []byte {
	return append(oncrpc.AppendRecordMark(nil, len(b), true), b...)
}

const nfsPromise = "client port 2049/udp: onc 100003 version 3"

// What a forged, late or foreign answer does, and what is not asked at all: over UDP, one datagram after the other.
func TestPortmapperAttacks(t *testing.T) {
	allowNFS := Policy{Allow: only(nfs), Ends: oncEnds}
	noLow := allowNFS
	noLow.Port = func(_ uint8, port uint16) bool { return port >= 1024 }
	addrList := oncCallOf(7, 4, rpcbind.ProcGetAddrList, rpcbind.RPCB{Program: nfs.Program, Version: nfs.Version}.Append(nil))
	entry := func(netid rpcbind.NetID, address string) []byte {
		return rpcbind.EntryFor(netid, address).Append(rpcbind.AppendNext(nil))
	}
	row := func(protocol, port uint32) []byte {
		return rpcbind.Mapping{Program: nfs.Program, Version: nfs.Version, Protocol: protocol, Port: port}.Append(rpcbind.AppendNext(nil))
	}
	for _, tt := range []struct {
		name     string
		policy   Policy
		talk     []said
		promises []string
		rules    []string
		answer   []byte // that the client gets
	}{
		{"nothing wrong", allowNFS, []said{{Client, getPort(7, nfs, 17)}, {Server, portReply(7, 2049)}},
			[]string{nfsPromise}, nil, portReply(7, 2049)},
		{"nothing registered", allowNFS, []said{{Client, getPort(7, nfs, 17)}, {Server, portReply(7, 0)}},
			nil, nil, portReply(7, 0)},
		{"answer that nobody asked for", allowNFS, []said{{Server, portReply(7, 2049)}},
			nil, []string{"state"}, nil},
		{"another xid", allowNFS, []said{{Client, getPort(7, nfs, 17)}, {Server, portReply(8, 2049)}},
			nil, []string{"state"}, nil},
		{"two answers", allowNFS, []said{{Client, getPort(7, nfs, 17)}, {Server, portReply(7, 2049)}, {Server, portReply(7, 22)}},
			[]string{nfsPromise}, []string{"state"}, portReply(7, 2049)},
		{"sent again, two answers", allowNFS, []said{{Client, getPort(7, nfs, 17)}, {Client, getPort(7, nfs, 17)}, {Server, portReply(7, 2049)}, {Server, portReply(7, 22)}},
			[]string{nfsPromise}, []string{"state"}, portReply(7, 2049)},
		{"sent again after the answer", allowNFS, []said{{Client, getPort(7, nfs, 17)}, {Server, portReply(7, 2049)}, {Client, getPort(7, nfs, 17)}, {Server, portReply(7, 2049)}},
			[]string{nfsPromise, nfsPromise}, nil, append(portReply(7, 2049), portReply(7, 2049)...)},
		{"an xid for two calls", Policy{Ends: oncEnds}, []said{{Client, getPort(7, nfs, 17)}, {Client, getPort(7, nfs, 6)}, {Server, portReply(7, 2049)}},
			[]string{nfsPromise}, []string{"state"}, portReply(7, 2049)},
		{"the client answers itself", allowNFS, []said{{Client, portReply(7, 2049)}},
			nil, []string{"syntax"}, nil},
		{"the server asks", allowNFS, []said{{Server, getPort(7, nfs, 17)}},
			nil, []string{"syntax"}, nil},
		{"program that is not allowed, which the server is not asked for", allowNFS, []said{{Client, getPort(7, mountd, 17)}, {Server, portReply(7, 700)}},
			nil, []string{"interface", "state"}, portReply(7, 0)},
		{"address of a program that is not allowed", allowNFS, []said{{Client, getAddr(7, mountd, "udp")}},
			nil, []string{"interface"}, addrReply(7, "")},
		{"port that is not allowed", noLow, []said{{Client, getPort(7, nfs, 17)}, {Server, portReply(7, 22)}},
			nil, []string{"port"}, portReply(7, 0)},
		{"port over 65535, which is 22 in 16 bits", allowNFS, []said{{Client, getPort(7, nfs, 17)}, {Server, portReply(7, 65536+22)}},
			nil, []string{"syntax"}, portReply(7, 0)},
		{"protocol 132", allowNFS, []said{{Client, getPort(7, nfs, 132)}},
			nil, []string{"address"}, portReply(7, 0)},
		{"address of the server", allowNFS, []said{{Client, getAddr(7, nfs, "udp")}, {Server, addrReply(7, "10.0.0.5.8.1")}},
			[]string{nfsPromise}, nil, addrReply(7, "10.0.0.5.8.1")},
		{"any address", allowNFS, []said{{Client, getAddr(7, nfs, "")}, {Server, addrReply(7, "0.0.0.0.8.1")}},
			[]string{nfsPromise}, nil, addrReply(7, "10.0.0.5.8.1")},
		{"forged address of another host", allowNFS, []said{{Client, getAddr(7, nfs, "udp")}, {Server, addrReply(7, "10.0.0.6.8.1")}},
			nil, []string{"address"}, addrReply(7, "")},
		{"address of another family", allowNFS, []said{{Client, getAddr(7, nfs, "udp")}, {Server, addrReply(7, "::.8.1")}},
			nil, []string{"address"}, addrReply(7, "")},
		{"address of the server, mapped into IPv6", allowNFS, []said{{Client, getAddr(7, nfs, "udp")}, {Server, addrReply(7, "::ffff:10.0.0.5.8.1")}},
			nil, []string{"syntax"}, addrReply(7, "")},
		{"address that is none", allowNFS, []said{{Client, getAddr(7, nfs, "udp")}, {Server, addrReply(7, "10.0.0.5.008.1")}},
			nil, []string{"syntax"}, addrReply(7, "")},
		{"another transport than that of the call: of which is the answer?", allowNFS, []said{{Client, getAddr(7, nfs, "tcp")}},
			nil, []string{"address"}, addrReply(7, "")},
		{"an answer with more than a port", allowNFS, []said{{Client, getPort(7, nfs, 17)}, {Server, append(portReply(7, 2049), 0, 0, 0, 22)}},
			[]string{nfsPromise}, nil, portReply(7, 2049)},
		{"an answer without a port", allowNFS, []said{{Client, getPort(7, nfs, 17)}, {Server, oncReply(7, nil)}},
			nil, []string{"syntax"}, oncrpc.AppendAccepted(nil, 7, oncrpc.SystemErr)},
		{"an answer with a port, of a version that there is none of", allowNFS, []said{{Client, oncCallOf(7, 5, rpcbind.ProcNull, nil)}, {Server, portReply(7, 2049)}},
			nil, nil, oncReply(7, nil)},
		{"a call of a version that there is none of", allowNFS, []said{{Client, oncCallOf(7, 5, rpcbind.ProcGetAddr, nil)}},
			nil, []string{"procedure"}, oncrpc.AppendProgMismatch(nil, 7, 2, 4)},
		{"a dump with rows that name no port of TCP or UDP", allowNFS, []said{{Client, oncCallOf(7, 2, rpcbind.ProcDump, nil)}, {Server, oncReply(7, rpcbind.AppendEnd(slices.Concat(
			row(17, 0), row(17, 65536+22), row(132, 2049), row(17+256, 2049), row(17, 2049))))}},
			[]string{nfsPromise}, []string{"syntax"}, oncReply(7, rpcbind.AppendEnd(row(17, 2049)))},
		{"a dump that does not end", allowNFS, []said{{Client, oncCallOf(7, 2, rpcbind.ProcDump, nil)}, {Server, oncReply(7, rpcbind.AppendNext(nil))}},
			nil, []string{"syntax"}, oncrpc.AppendAccepted(nil, 7, oncrpc.SystemErr)},
		{"a dump of version 3 that does not end", allowNFS, []said{{Client, oncCallOf(7, 3, rpcbind.ProcDump, nil)}, {Server, oncReply(7, rpcbind.AppendNext(nil))}},
			nil, []string{"syntax"}, oncrpc.AppendAccepted(nil, 7, oncrpc.SystemErr)},
		{"a list that does not end", allowNFS, []said{{Client, addrList}, {Server, oncReply(7, rpcbind.AppendNext(nil))}},
			nil, []string{"syntax"}, oncrpc.AppendAccepted(nil, 7, oncrpc.SystemErr)},
		{"a list with another transport", allowNFS, []said{{Client, addrList}, {Server, oncReply(7, rpcbind.AppendEnd(
			rpcbind.Entry{Address: "10.0.0.5.8.9", NetID: "sctp"}.Append(rpcbind.AppendNext(nil))))}},
			nil, []string{"address"}, oncReply(7, rpcbind.AppendEnd(nil))},
		{"an answer without an address", allowNFS, []said{{Client, getAddr(7, nfs, "udp")}, {Server, oncReply(7, nil)}},
			nil, []string{"syntax"}, oncrpc.AppendAccepted(nil, 7, oncrpc.SystemErr)},
		{"an address that does not end", allowNFS, []said{{Client, oncCallOf(7, 4, rpcbind.ProcUAddr2TAddr, []byte{0, 0, 0, 9})}},
			nil, []string{"syntax"}, oncrpc.AppendAccepted(nil, 7, oncrpc.GarbageArgs)},
		{"an error with a port", allowNFS, []said{{Client, getPort(7, nfs, 17)}, {Server, append(oncrpc.AppendAccepted(nil, 7, oncrpc.SystemErr), 0, 0, 8, 1)}},
			nil, nil, oncrpc.AppendAccepted(nil, 7, oncrpc.SystemErr)},
		{"arguments too short", allowNFS, []said{{Client, getPort(7, nfs, 17)[:44]}},
			nil, []string{"syntax"}, oncrpc.AppendAccepted(nil, 7, oncrpc.GarbageArgs)},
		{"SET", Policy{Ends: oncEnds}, []said{{Client, oncCallOf(7, 2, rpcbind.ProcSet, rpcbind.Mapping{Program: 1 << 29, Version: 1, Protocol: 17, Port: 22}.Append(nil))}},
			nil, []string{"procedure"}, oncrpc.AppendAuthError(nil, 7, oncrpc.AuthTooWeak)},
		{"UNSET", Policy{Ends: oncEnds}, []said{{Client, oncCallOf(7, 4, rpcbind.ProcUnset, rpcbind.RPCB{Program: 100003, Version: 3}.Append(nil))}},
			nil, []string{"procedure"}, oncrpc.AppendAuthError(nil, 7, oncrpc.AuthTooWeak)},
		{"CALLIT", Policy{Ends: oncEnds}, []said{{Client, oncCallOf(7, 2, rpcbind.ProcCallIt, rpcbind.RemoteCall{Program: 100003, Version: 3}.Append(nil))}},
			nil, []string{"procedure"}, oncrpc.AppendAccepted(nil, 7, oncrpc.ProcUnavail)},
		{"BCAST", Policy{Ends: oncEnds}, []said{{Client, oncCallOf(7, 4, rpcbind.ProcCallIt, rpcbind.RemoteCall{Program: 100003, Version: 3}.Append(nil))}},
			nil, []string{"procedure"}, oncrpc.AppendAccepted(nil, 7, oncrpc.ProcUnavail)},
		{"INDIRECT", Policy{Ends: oncEnds}, []said{{Client, oncCallOf(7, 4, rpcbind.ProcIndirect, rpcbind.RemoteCall{Program: 100003, Version: 3}.Append(nil))}},
			nil, []string{"procedure"}, oncrpc.AppendAccepted(nil, 7, oncrpc.ProcUnavail)},
		{"the mapper itself, for which nothing need be open", allowNFS, []said{{Client, getPort(7, endpoint.Program(100000, 2), 17)}, {Server, portReply(7, 111)}},
			nil, nil, portReply(7, 111)},
		{"the mapper itself, at another port", allowNFS, []said{{Client, getPort(7, endpoint.Program(100000, 2), 17)}, {Server, portReply(7, 22)}},
			nil, []string{"interface"}, portReply(7, 0)},
		{"a list with addresses of others", allowNFS, []said{{Client, addrList}, {Server, oncReply(7, rpcbind.AppendEnd(slices.Concat(
			entry(rpcbind.UDP, "10.0.0.6.8.1"), entry(rpcbind.UDP, "0.0.0.0.8.1"), entry(rpcbind.TCP6, "::.0.22"), entry(rpcbind.Local, "/run/x"), entry(rpcbind.TCP, "10.0.0.5.8.2"))))}},
			[]string{nfsPromise, "client port 2050/tcp: onc 100003 version 3"}, []string{"address"},
			oncReply(7, rpcbind.AppendEnd(slices.Concat(entry(rpcbind.UDP, "10.0.0.5.8.1"), entry(rpcbind.TCP, "10.0.0.5.8.2"))))},
		{"another program than the port mapper", Policy{Ends: oncEnds}, []said{{Client, (&oncrpc.Call{XID: 7, Program: 100003, Version: 3}).Append(nil)}},
			nil, []string{"interface"}, oncrpc.AppendAccepted(nil, 7, oncrpc.ProgUnavail)},
		{"a credential under which arguments may be encrypted", allowNFS, []said{{Client, slices.Concat(
			(&oncrpc.Call{XID: 7, Program: 100000, Version: 2, Procedure: 3, Cred: oncrpc.OpaqueAuth{Flavor: oncrpc.RPCSecGSS, Body: make([]byte, 20)}}).Append(nil), make([]byte, 16))}},
			nil, []string{"unreadable"}, oncrpc.AppendAuthError(nil, 7, oncrpc.GSSCredProblem)},
		{"a datagram over the limit", allowNFS, []said{{Client, append(getPort(7, nfs, 17), make([]byte, maxONCCall)...)}},
			nil, []string{"limit"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			steps, err := followAll(NewPortmapper(tt.policy, false), tt.talk)
			if diff := cmp.Diff(tt.promises, promised(steps)); diff != "" {
				t.Errorf("promises (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.rules, rules(steps, err)); diff != "" {
				t.Errorf("refused by (-want +got):\n%s", diff)
			}
			if got := sent(steps, Client); !bytes.Equal(got, tt.answer) {
				t.Errorf("the client is sent %x, want %x", got, tt.answer)
			}
		})
	}
}

// Where the firewall cannot keep a promise, it is as if nothing was registered.
func TestPortmapperElse(t *testing.T) {
	f := NewPortmapper(Policy{Ends: oncEnds}, true)
	steps, err := followAll(f, []said{{Client, record(getPort(7, nfs, 6))}, {Server, record(portReply(7, 2049))}})
	if err != nil || len(steps) != 2 || len(steps[1].Promises) != 1 || steps[1].ElseTo != Client || !bytes.Equal(steps[1].Else, record(portReply(7, 0))) {
		t.Errorf("steps %s, want Else to be the answer of port 0", text(steps, err))
	}
}

func TestPortmapperDump(t *testing.T) {
	rows := func(all ...rpcbind.RPCB) []byte {
		var b []byte
		for _, m := range all {
			m.Owner = "superuser"
			b = m.Append(rpcbind.AppendNext(b))
		}
		return rpcbind.AppendEnd(b)
	}
	p := Policy{Ends: oncEnds, Allow: only(nfs), Port: func(_ uint8, port uint16) bool { return port >= 1024 }}
	steps, err := followAll(NewPortmapper(p, false), []said{{Client, oncCallOf(1, 4, rpcbind.ProcDump, nil)}, {Server, oncReply(1, rows(
		rpcbind.RPCB{Program: 100000, Version: 4, NetID: "udp", Address: "0.0.0.0.0.111"},
		rpcbind.RPCB{Program: 100003, Version: 3, NetID: "tcp", Address: "0.0.0.0.8.1"},
		rpcbind.RPCB{Program: 100003, Version: 4, NetID: "tcp", Address: "10.0.0.5.8.1"},
		rpcbind.RPCB{Program: 100003, Version: 3, NetID: "udp", Address: "0.0.0.0.8.1"},
		rpcbind.RPCB{Program: 100003, Version: 3, NetID: "udp", Address: "0.0.0.0.0.22"},
		rpcbind.RPCB{Program: 100003, Version: 3, NetID: "udp", Address: "127.0.0.1.8.1"},
		rpcbind.RPCB{Program: 100003, Version: 3, NetID: "tcp6", Address: "::.8.1"},
		rpcbind.RPCB{Program: 100003, Version: 3, NetID: "tcp6", Address: "2001:db8::1.8.1"},
		rpcbind.RPCB{Program: 100003, Version: 3, NetID: "local", Address: "/run/nfs.sock"},
		rpcbind.RPCB{Program: 100003, Version: 3, NetID: "sctp", Address: "0.0.0.0.8.1"},
		rpcbind.RPCB{Program: 100005, Version: 3, NetID: "tcp", Address: "0.0.0.0.78.80"},
		rpcbind.RPCB{Program: 100005, Version: 3, NetID: "local", Address: "/run/mountd.sock"},
	))}})
	if err != nil {
		t.Fatal(err)
	}
	want := oncReply(1, rows(
		rpcbind.RPCB{Program: 100000, Version: 4, NetID: "udp", Address: "0.0.0.0.0.111"},
		rpcbind.RPCB{Program: 100003, Version: 3, NetID: "tcp", Address: "0.0.0.0.8.1"},
		rpcbind.RPCB{Program: 100003, Version: 4, NetID: "tcp", Address: "10.0.0.5.8.1"},
		rpcbind.RPCB{Program: 100003, Version: 3, NetID: "udp", Address: "0.0.0.0.8.1"},
		rpcbind.RPCB{Program: 100003, Version: 3, NetID: "tcp6", Address: "::.8.1"},
		rpcbind.RPCB{Program: 100003, Version: 3, NetID: "local", Address: "/run/nfs.sock"},
	))
	if got := sent(steps, Client); !bytes.Equal(got, want) {
		t.Errorf("the client is sent\n%q, want\n%q", got, want)
	}
	if diff := cmp.Diff([]string{"client port 2049/tcp: onc 100003 version 3", nfsPromise}, promised(steps)); diff != "" {
		t.Errorf("promises (-want +got):\n%s", diff)
	}
	if r := steps[1].Refused; r == nil || r.Rule != "port" || !strings.HasSuffix(r.Why, "(and 5 more)") {
		t.Errorf("refused: %v, want the first of six rows", r)
	}
}

// The addresses of a channel may be written as a socket of both families has them, or with the link that they are on.
func TestPortmapperEnds(t *testing.T) {
	for _, tt := range []struct{ client, server, netid, told string }{
		{"[::ffff:192.0.2.20]:700", "[::ffff:10.0.0.5]:111", "udp", "10.0.0.5.8.1"},
		{"[fe80::2%eth0]:700", "[fe80::1%eth0]:111", "udp6", "fe80::1.8.1"},
	} {
		steps, err := followAll(NewPortmapper(Policy{Ends: ends(tt.client, tt.server)}, false), []said{{Client, getAddr(7, nfs, tt.netid)}, {Server, addrReply(7, tt.told)}})
		if got := promised(steps); err != nil || !slices.Equal(got, []string{nfsPromise}) || !bytes.Equal(sent(steps, Client), addrReply(7, tt.told)) {
			t.Errorf("%s, told by %s: %s", tt.told, tt.server, text(steps, err))
		}
	}
}

// What follows the results of a call is not passed on.
func TestPortmapperTrailing(t *testing.T) {
	own := rpcbind.TAddr(rpcbind.UDP, "10.0.0.5.8.1").Append(nil)
	address := xdr.AppendString(nil, "10.0.0.5.8.1")
	for _, tt := range []struct {
		procedure     rpcbind.Proc
		args, results []byte
	}{
		{rpcbind.ProcGetTime, nil, xdr.AppendUint32(nil, 1<<30)},
		{rpcbind.ProcTAddr2UAddr, own, address},
		{rpcbind.ProcUAddr2TAddr, address, own},
		{rpcbind.ProcGetStat, nil, new(rpcbind.Stats).Append(nil)},
	} {
		more := append(bytes.Clone(tt.results), portReply(7, 22)...)
		steps, err := followAll(NewPortmapper(Policy{Ends: oncEnds}, false), []said{{Client, oncCallOf(7, 4, tt.procedure, tt.args)}, {Server, oncReply(7, more)}})
		if got := sent(steps, Client); err != nil || !bytes.Equal(got, oncReply(7, tt.results)) || len(promised(steps)) > 0 {
			t.Errorf("%s: the client is sent %x, want %x", tt.procedure.Name(4), got, oncReply(7, tt.results))
		}
	}
}

// A dump opens no more ports than the limit; what is over it is not told either.
func TestPortmapperDumpLimit(t *testing.T) {
	var all []byte
	for i := range uint32(maxPromises + 10) {
		all = rpcbind.Mapping{Program: 100003, Version: 3, Protocol: 6, Port: 2000 + i}.Append(rpcbind.AppendNext(all))
	}
	steps, err := followAll(NewPortmapper(Policy{Ends: oncEnds}, false), []said{{Client, oncCallOf(1, 2, rpcbind.ProcDump, nil)}, {Server, oncReply(1, rpcbind.AppendEnd(all))}})
	_, results, errReply := oncrpc.ParseReply(sent(steps, Client))
	rows, errRows := rpcbind.ParseMappings(results)
	if err != nil || errReply != nil || errRows != nil || len(promised(steps)) != maxPromises || len(rows) != maxPromises || !slices.Equal(rules(steps, nil), []string{"limit"}) {
		t.Errorf("%d promises, %d rows, %v, want %d of each", len(promised(steps)), len(rows), rules(steps, err), maxPromises)
	}
}

// A stream that cannot be read to the end is not passed on, whichever side sends it.
func TestPortmapperEndless(t *testing.T) {
	for _, tt := range []struct {
		name string
		by   Side
		data []byte
		rule string
	}{
		{"a record of 2 GB", Client, []byte("\xff\xff\xff\xff"), "limit, end"},
		{"HTTP", Client, []byte("POST / HTTP/1.1\r\n"), "limit, end"},
		{"an answer of 2 GB", Server, []byte("\xff\xff\xff\xff"), "limit, end"},
		{"an answer whose fragments have no last", Server, bytes.Repeat(append(oncrpc.AppendRecordMark(nil, 1<<16, false), make([]byte, 1<<16)...), maxONCAnswer>>16+1), "limit, end"},
		{"fragments that have no last", Client, bytes.Repeat([]byte("\x00\x00\x00\x04aaaa"), 3000), "limit, end"},
		{"empty fragments that have no last", Client, bytes.Repeat([]byte("\x00\x00\x00\x00"), 10000), "limit, end"},
		{"an empty record", Client, []byte("\x80\x00\x00\x00"), "syntax, end"},
		{"calls that are never answered", Client, func() (b []byte) {
			for i := range uint32(maxONCCalls + 1) {
				b = append(b, record(getPort(i, nfs, 6))...)
			}
			return b
		}(), "limit, end"},
	} {
		f := NewPortmapper(Policy{Ends: oncEnds}, true)
		steps, err := f.Follow(tt.by, tt.data)
		if got := rules(steps, err); !slices.Equal(got, []string{tt.rule}) {
			t.Errorf("%s: refused by %q, want %q", tt.name, got, tt.rule)
		}
		if steps, err := f.Follow(Client, record(getPort(1, nfs, 6))); err == nil || len(steps) > 0 {
			t.Errorf("%s: after the end: %s, want the same end", tt.name, text(steps, err))
		}
	}
}

// Over UDP answers get lost: the oldest call makes room.
func TestPortmapperForgets(t *testing.T) {
	f := NewPortmapper(Policy{Ends: oncEnds}, false)
	for i := range uint32(maxONCCalls + 1) {
		if steps, err := f.Follow(Client, getPort(i, nfs, 17)); err != nil || len(sent(steps, Server)) == 0 {
			t.Fatalf("call %d: %s", i, text(steps, err))
		}
	}
	for xid, want := range map[uint32]int{0: 0, 1: 1, maxONCCalls: 1} {
		steps, err := f.Follow(Server, portReply(xid, 2049))
		if err != nil || len(promised(steps)) != want {
			t.Errorf("answer to call %d: %s, want %d promises", xid, text(steps, err), want)
		}
	}
}

// A record goes on in one fragment, in however many it came: both sides see what was read.
func TestPortmapperFragments(t *testing.T) {
	f := NewPortmapper(Policy{Ends: oncEnds}, true)
	call := getPort(7, nfs, 6)
	var b []byte
	for i := 0; i < len(call); i += 8 {
		b = append(append(oncrpc.AppendRecordMark(b, 0, false), oncrpc.AppendRecordMark(nil, 8, i+8 == len(call))...), call[i:i+8]...)
	}
	steps, err := f.Follow(Client, b)
	if got := sent(steps, Server); err != nil || !bytes.Equal(got, record(call)) {
		t.Errorf("the server is sent %x, %v, want %x", got, err, record(call))
	}
}

// holdsPortmapper fails unless a conversation keeps to what the follower is for: a promise is of a port that the server
// told in answer to a call for the very interface, which is allowed.
func holdsPortmapper(t interface{ Fatalf(string, ...any) }, stream bool, talk []said) {
	f := NewPortmapper(Policy{Ends: oncEnds, Allow: only(nfs, mountd)}, stream)
	steps, _ := followAll(f, talk)
	var heard []byte
	for _, s := range talk {
		if s.by == Server {
			heard = append(heard, s.data...)
		}
	}
	asked, dumps := map[endpoint.Interface]bool{}, false
	for _, s := range steps {
		if s.To == Server && len(s.Data) > 0 {
			b := s.Data
			if stream {
				b = b[oncrpc.RecordMarkSize:]
			}
			c, args, err := oncrpc.ParseCall(b)
			if err != nil || c.Program != rpcbind.Program {
				t.Fatalf("the server is sent %x: %+v, %v", b, c, err)
			}
			r := xdr.NewReader(args)
			asked[endpoint.Program(r.Uint32(), r.Uint32())] = true
			dumps = dumps || c.Procedure == uint32(rpcbind.ProcDump)
		}
		for _, p := range s.Promises {
			told := bytes.Contains(heard, xdr.AppendUint32(nil, uint32(p.Port))) || bytes.Contains(heard, fmt.Appendf(nil, ".%d.%d", p.Port>>8, p.Port&0xff))
			switch {
			case s.To != Client || p.By != Client || p.Once || p.Port == 0 || p.Port == 111:
				t.Fatalf("promise %+v to the %v", p, s.To)
			case p.Interface.Program != nfs.Program && p.Interface.Program != mountd.Program:
				t.Fatalf("promise %+v of a program that is not allowed", p)
			case !asked[p.Interface] && !dumps:
				t.Fatalf("promise %+v of what was not asked for", p)
			case !told && !stream:
				t.Fatalf("promise %+v that the server did not tell", p)
			}
		}
	}
}

// Whatever a server answers, only what was asked for is promised.
func TestPortmapperPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		xid := rapid.Uint32Range(1, 4)
		port := rapid.SampledFrom([]uint32{0, 22, 111, 2049, 65535, 65558})
		host := rapid.SampledFrom([]string{"10.0.0.5", "10.0.0.6", "0.0.0.0", "::", "x"})
		i := rapid.SampledFrom([]endpoint.Interface{nfs, mountd, endpoint.Program(100024, 1), endpoint.Program(100000, 2)})
		var talk []said
		for range rapid.IntRange(1, 12).Draw(t, "messages") {
			x, p, who := xid.Draw(t, "xid"), port.Draw(t, "port"), i.Draw(t, "interface")
			address := fmt.Sprintf("%s.%d.%d", host.Draw(t, "host"), p>>8, p&0xff)
			row := rpcbind.RPCB{Program: who.Program, Version: who.Version, NetID: "udp", Address: address}
			m := rpcbind.Mapping{Program: who.Program, Version: who.Version, Protocol: 17, Port: p}
			talk = append(talk, rapid.SampledFrom([]said{
				{Client, getPort(x, who, 17)}, {Client, getAddr(x, who, "udp")},
				{Client, oncCallOf(x, 2, rpcbind.ProcDump, nil)}, {Client, oncCallOf(x, 4, rpcbind.ProcDump, nil)},
				{Server, portReply(x, p)}, {Server, addrReply(x, address)},
				{Server, oncReply(x, rpcbind.AppendEnd(m.Append(rpcbind.AppendNext(nil))))},
				{Server, oncReply(x, rpcbind.AppendEnd(row.Append(rpcbind.AppendNext(nil))))},
			}).Draw(t, "message"))
		}
		holdsPortmapper(t, false, talk)
	})
}

func FuzzPortmapper(f *testing.F) {
	for _, r := range recordings(f) {
		f.Add(asScript(r.talk()), r.netid[0] == 't')
	}
	f.Fuzz(func(t *testing.T, b []byte, stream bool) { holdsPortmapper(t, stream, script(b)) })
}
