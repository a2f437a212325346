package mapper

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A dceServer is an endpoint mapper that answers over sockets.
type dceServer struct {
	tcp, tcp6, local string // addresses; tcp6 is empty where there is none
	stop             func()
	sessions         atomic.Int32 // that were made
}

func serveDCE(t testing.TB, m *DCE) *dceServer {
	t.Helper()
	dir, err := os.MkdirTemp("", "mapper") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	s := &dceServer{local: filepath.Join(dir, "sock")}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	streams := transport.StreamServer{Framing: transport.PDUs, Sessions: func() transport.Session {
		s.sessions.Add(1)
		return m.Session()
	}}
	serve := func(network, address string) string {
		ln, err := net.Listen(network, address)
		if err != nil {
			if network == "tcp6" {
				return ""
			}
			t.Fatal(err)
		}
		running.Go(func() {
			if err := streams.Serve(ctx, ln); err != nil {
				t.Error(err)
			}
		})
		return ln.Addr().String()
	}
	s.tcp, s.tcp6 = serve("tcp4", "127.0.0.1:0"), serve("tcp6", "[::1]:0")
	serve("unix", s.local)
	s.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		os.RemoveAll(dir)
	})
	t.Cleanup(s.stop)
	return s
}

// connect returns a connection, and what sends over it and returns the answer to a call.
func connect(t testing.TB, network, address string) (net.Conn, func([]byte) []byte) {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn, func(pdus []byte) []byte {
		t.Helper()
		if _, err := conn.Write(pdus); err != nil {
			t.Fatal(err)
		}
		answer, err := readAnswer(conn)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
}

// readAnswer reads PDUs up to the last fragment of an answer.
func readAnswer(conn net.Conn) (answer []byte, err error) {
	for {
		at := len(answer)
		answer = append(answer, make([]byte, dcerpc.HeaderSize)...)
		if _, err := io.ReadFull(conn, answer[at:]); err != nil {
			return answer[:at], err
		}
		h, err := dcerpc.ParseHeader(answer[at:])
		if err != nil {
			return nil, err
		}
		answer = append(answer, make([]byte, int(h.FragLength)-dcerpc.HeaderSize)...)
		if _, err := io.ReadFull(conn, answer[at+dcerpc.HeaderSize:]); err != nil {
			return nil, err
		}
		if h.Flags&dcerpc.LastFrag != 0 {
			return answer, nil
		}
	}
}

// TestInquiriesServed: over real sockets, registering over loopback where that is
// allowed and over the local socket, everything is as it is without them.
func TestInquiriesServed(t *testing.T) {
	m := openDCE(t, registry.Config{}, kernelTable(t), DCEConfig{InsertLoopback: true, Address: loopback})
	at := serveDCE(t, m)
	for network, address := range map[string]string{"tcp4": at.tcp, "unix": at.local, "tcp6": at.tcp6} {
		if address == "" {
			continue
		}
		t.Run(network, func(t *testing.T) {
			testInquiries(t, func(t *testing.T, l ndr.Label) *dceClient {
				_, exchange := connect(t, network, address)
				c := newClient(t, exchange, l, 0)
				want := localName
				if network != "unix" {
					_, want, _ = net.SplitHostPort(address)
				}
				if c.ack.SecondaryAddr != want {
					t.Errorf("secondary address %q, want %q", c.ack.SecondaryAddr, want)
				}
				return c
			})
		})
	}
	at.stop()
	checkNothingLeft(t, m)
}

// TestFragmentsServed: a dump of 500 entries, in fragments of all sizes and in
// two writes of a request, arrives whole over a socket.
func TestFragmentsServed(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	at := serveDCE(t, m)
	_, exchange := connect(t, "unix", at.local)
	insertMany(newClient(t, exchange, ndr.LittleEndian, 0), 500)
	for _, size := range []uint16{0, 1432, 4280, 65535} {
		conn, _ := connect(t, "tcp4", at.tcp)
		c := &dceClient{t: t, label: ndr.LittleEndian, maxFrag: size}
		c.exchange = func(pdus []byte) []byte {
			for _, part := range [][]byte{pdus[:9], pdus[9:]} {
				if _, err := conn.Write(part); err != nil {
					t.Fatal(err)
				}
			}
			answer, err := readAnswer(conn)
			if err != nil {
				t.Fatal(err)
			}
			return answer
		}
		c.bind(0)
		if got := c.lookup(epm.Lookup{MaxEntries: 500}); len(got.Entries) != 500 || got.Entries[499].Tower.Port != 2499 {
			t.Errorf("client's %d: %d entries", size, len(got.Entries))
		}
	}
}

// TestRefusedServed: who breaks the protocol is told so before the connection ends,
// and who wants to be authenticated may go on without.
func TestRefusedServed(t *testing.T) {
	m := newDCE(t, DCEConfig{})
	at := serveDCE(t, m)
	for _, tt := range []struct {
		name   string
		stream []byte
		want   string
	}{
		{"bind without contexts", bindPDU(), "bind_nak 1 protocol_version_not_supported"},
		{"request before bind", inqObject(le), "fault 1 nca_s_proto_error"},
		{"bind with a trailer, then without", join(withAuth(goodBind), goodBind, bare(dcerpc.PTypeShutdown, 1)), "bind_nak 1 authentication_type_not_recognized, bind_ack 1 acceptance:0 acceptance:0"},
	} {
		conn, _ := connect(t, "tcp4", at.tcp)
		if _, err := conn.Write(tt.stream); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if got := outcome(t, answer, false); got != tt.want || err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %s, %v, want %s", tt.name, got, err, tt.want)
		}
	}
}

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// TestHalfOpen: a thousand connections that have sent the half of a bind take little,
// and keep nobody from being served.
func TestHalfOpen(t *testing.T) {
	const connections, most = 1000, 4 << 10 // bytes each
	m := newDCE(t, DCEConfig{})
	at := serveDCE(t, m)
	_, exchange := connect(t, "unix", at.local)
	insertMany(newClient(t, exchange, ndr.LittleEndian, 0), 1)
	before := heap()
	conns := make([]net.Conn, 0, connections)
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	for len(conns) < connections {
		conn, err := net.Dial("unix", at.local)
		if err != nil {
			if errors.Is(err, syscall.EMFILE) {
				nstest.Unavailable(t, "%v", err)
			}
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if _, err := conn.Write(goodBind[:len(goodBind)/2]); err != nil {
			t.Fatal(err)
		}
	}
	nstest.WaitFor(t, "all connections to be accepted", 20*time.Second, func() bool { return at.sessions.Load() == connections+1 })
	_, exchange = connect(t, "tcp4", at.tcp)
	c := newClient(t, exchange, ndr.LittleEndian, 0)
	for range 100 {
		if got := c.find(mapA(ndr.Handle{}, 1)); len(got.Towers) != 1 {
			t.Fatalf("another client is told %+v", got)
		}
	}
	each := (heap() - before) / connections
	t.Logf("%d bytes of heap for each half of a bind, with the client's end", each)
	if each > most {
		t.Errorf("each takes %d bytes, want at most %d", each, most)
	}
	if n := m.stats.packetsIn.Load(); n > 200 {
		t.Errorf("%d PDUs came", n)
	}
	for i, conn := range conns { // the other half
		if _, err := conn.Write(goodBind[len(goodBind)/2:]); err != nil {
			t.Fatal(err)
		}
		if answer, err := readAnswer(conn); err != nil || !bytes.Contains(answer, []byte(localName)) {
			t.Fatalf("bind %d: %x, %v", i, answer, err)
		}
	}
	m.groups.mu.Lock()
	groups := len(m.groups.byID)
	m.groups.mu.Unlock()
	if groups < connections {
		t.Errorf("%d groups of %d connections", groups, connections)
	}
	at.stop()
	checkNothingLeft(t, m)
}

// TestNeverEndingServed: calls that never end have a bound on all connections
// together; others are served meanwhile, and what ends gives its part back.
func TestNeverEndingServed(t *testing.T) {
	const parts, size = 17, 60_000 // nearly as much as one connection may have
	const room = maxAssembling / (parts * size)
	m := newDCE(t, DCEConfig{})
	at := serveDCE(t, m)
	_, exchange := connect(t, "tcp4", at.tcp)
	other := newClient(t, exchange, ndr.LittleEndian, 0)
	part := make([]byte, size)
	begin := func() (conn net.Conn, fits bool) {
		conn, exchange := connect(t, "tcp4", at.tcp)
		exchange(goodBind)
		stream := fragmentOf(part)
		for range parts - 1 {
			stream = append(stream, withFlags(fragmentOf(part), 0)...)
		}
		conn.Write(append(stream, inqObject(callID(2))...)) // which fails where the mapper ends it before
		answer, err := readAnswer(conn)
		switch got := outcome(t, answer, false); {
		case got == "response 2":
			return conn, true
		case got == "fault 1 nca_s_server_too_busy", errors.Is(err, syscall.ECONNRESET):
			return conn, false
		default:
			t.Fatalf("%s, %v", got, err)
		}
		return nil, false
	}
	var conns []net.Conn
	for i := range room + 20 {
		conn, fits := begin()
		if conns = append(conns, conn); fits != (i < room) {
			t.Errorf("connection %d fits: %v, though there is room for %d", i, fits, room)
		}
		if got := other.find(mapA(ndr.Handle{}, 1)); got.Status != epm.StatusNotRegistered {
			t.Fatalf("another client: %+v", got)
		}
		// What was one too many may be counted until its connection has ended.
		nstest.WaitFor(t, "those that are too many to be forgotten", 20*time.Second, func() bool {
			return m.stats.assembling.Load() == int64(min(i+1, room)*parts*size)
		})
	}
	conns[0].Close()
	nstest.WaitFor(t, "one that ended to be forgotten", 20*time.Second, func() bool {
		return m.stats.assembling.Load() == (room-1)*parts*size
	})
	if _, fits := begin(); !fits {
		t.Error("there is no room where one has ended")
	}
	at.stop()
	checkNothingLeft(t, m)
}

// TestHandlesServed: who never gives a handle back, and begins another inquiry with
// every call, takes no more than the first ones did.
func TestHandlesServed(t *testing.T) {
	const calls, most = 5000, 64 << 10 // bytes in all
	m := newDCE(t, DCEConfig{})
	at := serveDCE(t, m)
	_, exchange := connect(t, "unix", at.local)
	c := newClient(t, exchange, ndr.LittleEndian, 0)
	insertMany(c, 3)
	begin := func(n int) {
		for range n {
			if c.find(mapA(ndr.Handle{}, 1)).Handle.IsNil() || c.lookup(epm.Lookup{MaxEntries: 1}).Handle.IsNil() {
				t.Fatal("no handle")
			}
		}
	}
	begin(100)
	before := heap()
	begin(calls)
	if more := heap() - before; more > most {
		t.Errorf("after %d handles %d bytes more are in use, want at most %d", 2*calls, more, most)
	}
	if n := handlesOf(t, m); n != maxHandles {
		t.Errorf("%d handles, want %d", n, maxHandles)
	}
}
