package probe

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// serveConns has connections to a port of loopback served, each in a goroutine, until the test ends.
func serveConns(t testing.TB, serve func(net.Conn)) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex // guards conns
	conns := map[net.Conn]struct{}{}
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[conn] = struct{}{}
			mu.Unlock()
			running.Go(func() {
				serve(conn)
				conn.Close()
				mu.Lock()
				delete(conns, conn)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for conn := range conns {
			conn.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// serveScript answers each PDU with what answer returns; nil ends the connection.
func serveScript(t testing.TB, answer func(h dcerpc.Header, pdu []byte) []byte) netip.AddrPort {
	return serveConns(t, func(conn net.Conn) { script(conn, answer) })
}

func script(conn net.Conn, answer func(h dcerpc.Header, pdu []byte) []byte) {
	defer conn.Close()
	for {
		h, pdu, err := readPDU(conn)
		if err != nil {
			return
		}
		b := answer(h, pdu)
		if b == nil {
			return
		}
		if _, err := conn.Write(b); err != nil {
			return
		}
	}
}

func readPDU(conn net.Conn) (dcerpc.Header, []byte, error) {
	b := make([]byte, dcerpc.HeaderSize)
	if _, err := io.ReadFull(conn, b); err != nil {
		return dcerpc.Header{}, nil, err
	}
	h, err := dcerpc.ParseHeader(b)
	if err != nil {
		return h, nil, err
	}
	b = append(b, make([]byte, int(h.FragLength)-len(b))...)
	_, err = io.ReadFull(conn, b[dcerpc.HeaderSize:])
	return h, b, err
}

// ack accepts every context.
func ack(h dcerpc.Header, pdu []byte) []byte {
	return ackWith(h, pdu, dcerpc.Result{Transfer: dcerpc.NDR})
}

func ackWith(h dcerpc.Header, pdu []byte, results ...dcerpc.Result) []byte {
	m := dcerpc.BindAck{MaxXmitFrag: 4280, MaxRecvFrag: 4280, AssocGroup: 1, Results: results}
	if h.PType == dcerpc.PTypeAlterContext {
		return dcerpc.AppendAlterContextResp(nil, h.Reply(), m)
	}
	m.SecondaryAddr = "135"
	return dcerpc.AppendBindAck(nil, h.Reply(), m)
}

// respond answers a call with results.
func respond(h dcerpc.Header, stub []byte) []byte {
	return dcerpc.AppendResponse(nil, h.Reply(), dcerpc.Response{Stub: stub}, 4280)
}

func fault(h dcerpc.Header, s dcerpc.Status) []byte {
	return dcerpc.AppendFault(nil, h.Reply(), dcerpc.Fault{Status: s})
}

// serveCalls is serveScript that accepts what is bound and has calls answered.
func serveCalls(t testing.TB, answer func(h dcerpc.Header, m dcerpc.Request) []byte) netip.AddrPort {
	return serveScript(t, func(h dcerpc.Header, pdu []byte) []byte {
		if h.PType != dcerpc.PTypeRequest {
			return ack(h, pdu)
		}
		m, err := dcerpc.ParseRequest(h, pdu)
		if err != nil {
			t.Error(err)
			return nil
		}
		return answer(h, m)
	})
}

// aHandle returns a handle of some number.
func aHandle(n byte) ndr.Handle { return ndr.Handle{UUID: ndr.UUID{n}} }

var (
	uuidA   = ndr.MustParseUUID("a0000000-0000-4000-8000-00000000000a")
	uuidB   = ndr.MustParseUUID("b0000000-0000-4000-8000-00000000000b")
	objectX = ndr.MustParseUUID("10000000-0000-4000-8000-000000000001")
	dceHost = netip.MustParseAddr("127.0.0.1")
)

func tower(u ndr.UUID, major, minor uint16, p epm.ProtSeq, at string) epm.Tower {
	t := epm.Tower{Interface: dcerpc.Syntax{UUID: u, Major: major, Minor: minor}, Transfer: dcerpc.NDR, ProtSeq: p}
	if !p.HasPort() {
		t.Name = at
		return t
	}
	a := netip.MustParseAddrPort(at)
	t.Port = a.Port()
	if !a.Addr().IsUnspecified() {
		t.Addr = a.Addr()
	}
	return t
}

// lines returns entries as text.
func lines(entries []Entry) []string {
	var all []string
	for _, e := range entries {
		text := fmt.Sprintf("%s %d.%d %s", e.UUID.String()[:1], e.Major, e.Minor, e.Endpoint)
		if e.Told != "" {
			text += " told " + e.Told
		}
		if !e.Object.IsNil() {
			text += " object " + e.Object.String()[:1]
		}
		if e.Annotation != "" {
			text += " " + e.Annotation
		}
		for _, p := range e.Problems {
			text += "; " + p
		}
		all = append(all, text)
	}
	return all
}

// closedPort returns a port at which nothing listens.
func closedPort(t *testing.T) uint16 {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).AddrPort().Port()
}

func dceEntryAt(s dcerpc.Syntax, p epm.ProtSeq, at netip.AddrPort) Entry {
	return Entry{Interface: endpoint.FromSyntax(s), Endpoint: endpoint.At(p, at)}
}

// checkTried compares states and the beginnings of reasons.
func checkTried(t *testing.T, entries []Entry, want []string) {
	t.Helper()
	for i, e := range entries {
		got := e.State.String()
		if e.Why != "" {
			got += ": " + e.Why
		}
		if !strings.HasPrefix(got, want[i]) || (want[i] == "listening") != (got == "listening") {
			t.Errorf("%s = %q, want %q", e.Endpoint, got, want[i])
		}
		if answered := e.State == Listening || e.State == Rejected; answered && (e.Time <= 0 || e.Time > time.Minute) {
			t.Errorf("%s took %v", e.Endpoint, e.Time)
		}
	}
}

// serveHTTPScript accepts whatever is bound over ncacn_http.
func serveHTTPScript(t testing.TB) netip.AddrPort {
	return serveConns(t, func(conn net.Conn) {
		conn.Write([]byte(httpGreeting))
		script(conn, ack)
	})
}
