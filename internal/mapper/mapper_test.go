package mapper

import (
	"net/netip"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/hostaddr"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// xid is that of every call, unless a test is about others.
const xid = 0x51554159

// A way is how a call comes to the mapper. The zero netid is none.
type way struct {
	netid          rpcbind.NetID
	server, client string // IP addresses
	uid            uint32 // of the process at the other end of a local connection
}

// Ways from this host, over loopback and its other addresses, and from another one.
var (
	udpLo    = way{netid: rpcbind.UDP, server: "127.0.0.1", client: "127.0.0.1"}
	tcpLo    = way{netid: rpcbind.TCP, server: "127.0.0.1", client: "127.0.0.1"}
	udp6Lo   = way{netid: rpcbind.UDP6, server: "::1", client: "::1"}
	tcp6Lo   = way{netid: rpcbind.TCP6, server: "::1", client: "::1"}
	udpSelf  = way{netid: rpcbind.UDP, server: "10.99.0.1", client: "10.99.0.1"}
	tcpSelf  = way{netid: rpcbind.TCP, server: "10.99.0.1", client: "10.99.0.1"}
	udp6Self = way{netid: rpcbind.UDP6, server: "fd99::1", client: "fd99::1"}
	udpFar   = way{netid: rpcbind.UDP, server: "10.98.0.1", client: "10.98.0.2"}
	tcpFar   = way{netid: rpcbind.TCP, server: "10.98.0.1", client: "10.98.0.2"}
	udp6Far  = way{netid: rpcbind.UDP6, server: "fd98::1", client: "fd98::2"}
	asRoot   = way{netid: rpcbind.Local, uid: 0}
	asUser   = way{netid: rpcbind.Local, uid: 1000}
)

// call is a message that came this way, as package transport describes it.
func (w way) call(message []byte) *transport.Call {
	c := &transport.Call{NetID: w.netid, Message: message}
	if w.netid == rpcbind.Local {
		c.Peer = &transport.Peer{PID: 4711, UID: w.uid, GID: w.uid}
		return c
	}
	c.Server = netip.AddrPortFrom(netip.MustParseAddr(w.server), 0)
	c.Client = netip.AddrPortFrom(netip.MustParseAddr(w.client), 40000)
	if w.netid == rpcbind.UDP || w.netid == rpcbind.UDP6 {
		c.MaxReply = transport.MaxMessage
	} else {
		c.Server = netip.AddrPortFrom(c.Server.Addr(), rpcbind.Port)
	}
	return c
}

// hostAddresses are those of a host with a loopback interface and two networks.
func hostAddresses() *hostaddr.Table {
	var t hostaddr.Table
	t.Set([]hostaddr.Address{
		{Prefix: netip.MustParsePrefix("127.0.0.1/8"), Loopback: true},
		{Prefix: netip.MustParsePrefix("::1/128"), Loopback: true},
		{Prefix: netip.MustParsePrefix("10.99.0.1/24")},
		{Prefix: netip.MustParsePrefix("fd99::1/64")},
		{Prefix: netip.MustParsePrefix("fe80::99/64")},
		{Prefix: netip.MustParsePrefix("10.98.0.1/24")},
		{Prefix: netip.MustParsePrefix("fd98::1/64")},
		{Prefix: netip.MustParsePrefix("fe80::98/64")},
	})
	return &t
}

// ownRows are the mapper's registrations of itself, as rpcbind has them.
func ownRows(t testing.TB) []endpoint.Registration {
	t.Helper()
	var rows []endpoint.Registration
	for _, own := range []struct {
		netid    rpcbind.NetID
		uaddr    string
		versions []uint32
	}{
		{rpcbind.TCP6, "::.0.111", []uint32{4, 3}},
		{rpcbind.UDP6, "::.0.111", []uint32{4, 3}},
		{rpcbind.TCP, "0.0.0.0.0.111", []uint32{4, 3, 2}},
		{rpcbind.UDP, "0.0.0.0.0.111", []uint32{4, 3, 2}},
		{rpcbind.Local, "/run/rpcbind.sock", []uint32{4, 3}},
	} {
		for _, version := range own.versions {
			r := row(t, rpcbind.Program, version, own.netid, own.uaddr)
			rows = append(rows, r)
		}
	}
	return rows
}

// row is a registration by root.
func row(t testing.TB, program, version uint32, n rpcbind.NetID, uaddr string) endpoint.Registration {
	t.Helper()
	e, err := endpoint.FromUniversalAddress(n, uaddr)
	if err != nil {
		t.Fatal(err)
	}
	return endpoint.Registration{Interface: endpoint.Program(program, version), Endpoint: e}
}

// newRegistry returns a registry with the mapper's own rows and these, each by its owner.
func newRegistry(t testing.TB, rows ...endpoint.Registration) *registry.Registry {
	t.Helper()
	g, err := registry.Open(registry.Config{Own: ownRows(t)})
	if err != nil {
		t.Fatal(err)
	}
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].Owner == rows[0].Owner {
			n++
		}
		if _, err := g.Add(registry.Claim{Owner: rows[0].Owner}, rows[:n]...); err != nil {
			t.Fatal(err)
		}
		rows = rows[n:]
	}
	return g
}

// newMapper returns a mapper with its own rows and these.
func newMapper(t testing.TB, rows ...endpoint.Registration) *ONC {
	t.Helper()
	return NewONC(New(Config{Registry: newRegistry(t, rows...), Addresses: hostAddresses()}))
}

// message is a call of the mapper's program without a credential.
func message(version uint32, proc rpcbind.Proc, args []byte) []byte {
	return messageTo(rpcbind.Program, version, uint32(proc), args)
}

func messageTo(program, version, proc uint32, args []byte) []byte {
	return messageWith(oncrpc.Call{XID: xid, Program: program, Version: version, Procedure: proc}, args)
}

func messageWith(c oncrpc.Call, args []byte) []byte { return append(c.Append(nil), args...) }

// Arguments of procedures.

func mapping(program, version, protocol, port uint32) []byte {
	return rpcbind.Mapping{Program: program, Version: version, Protocol: protocol, Port: port}.Append(nil)
}

func rpcb(program, version uint32, netid, uaddr string) []byte {
	return rpcbind.RPCB{Program: program, Version: version, NetID: netid, Address: uaddr}.Append(nil)
}

func remoteCall(program, version, proc uint32, args ...byte) []byte {
	return rpcbind.RemoteCall{Program: program, Version: version, Procedure: proc, Args: args}.Append(nil)
}

func text(s string) []byte { return xdr.AppendString(nil, s) }

// Answers.

func success(results ...byte) []byte {
	return append(oncrpc.AppendAccepted(nil, xid, oncrpc.Success), results...)
}

func accepted(stat oncrpc.AcceptStat) []byte { return oncrpc.AppendAccepted(nil, xid, stat) }

func denied(stat oncrpc.AuthStat) []byte { return oncrpc.AppendAuthError(nil, xid, stat) }

var (
	yes = success(0, 0, 0, 1)
	no  = success(0, 0, 0, 0)
)

// bytesOf is the whole answer as it is sent; nil is none.
func bytesOf(r transport.Reply) []byte {
	if r.Head == nil {
		return nil
	}
	return append(append([]byte{}, r.Head...), r.Body...)
}

// ask asks for a procedure and returns its results; anything but success fails the test.
func ask(t testing.TB, m *ONC, w way, version uint32, proc rpcbind.Proc, args []byte) []byte {
	t.Helper()
	answer := bytesOf(m.Answer(w.call(message(version, proc, args)), nil))
	p, results, err := oncrpc.ParseReply(answer)
	if err == nil {
		err = p.Err()
	}
	if err != nil {
		t.Fatalf("%v %s version %d (%x): %v", w, proc.Name(version), version, args, err)
	}
	return results
}

func askString(t testing.TB, m *ONC, w way, version uint32, proc rpcbind.Proc, args []byte) string {
	t.Helper()
	r := xdr.NewReader(ask(t, m, w, version, proc, args))
	s := r.String(transport.MaxMessage)
	if err := r.Finish(); err != nil {
		t.Fatal(err)
	}
	return s
}

func askUint32(t testing.TB, m *ONC, w way, version uint32, proc rpcbind.Proc, args []byte) uint32 {
	t.Helper()
	r := xdr.NewReader(ask(t, m, w, version, proc, args))
	v := r.Uint32()
	if err := r.Finish(); err != nil {
		t.Fatal(err)
	}
	return v
}

func getStats(t testing.TB, m *ONC) rpcbind.Stats {
	t.Helper()
	s, err := rpcbind.ParseStats(ask(t, m, tcpLo, rpcbind.Version4, rpcbind.ProcGetStat, nil))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
