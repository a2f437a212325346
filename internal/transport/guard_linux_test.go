package transport_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/transport"
)

// serveGuarded answers on a listener of its own and returns its address.
func serveGuarded(t *testing.T, g *transport.Guard, network, address string, h transport.Handler) string {
	t.Helper()
	ln := listen(t, network, address)
	s := transport.StreamServer{Handler: h, Guard: g}
	start(t, func(ctx context.Context) error { return s.Serve(ctx, ln) })
	return ln.Addr().String()
}

// serveDatagrams answers on a socket of its own and returns its address.
func serveDatagrams(t *testing.T, g *transport.Guard, network, address string, h transport.Handler) netip.AddrPort {
	t.Helper()
	conn, _ := listenUDP(t, network, address)
	at := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	s := transport.DatagramServer{Handler: h, Guard: g}
	start(t, func(ctx context.Context) error { return s.Serve(ctx, conn) })
	return at
}

// A way of connecting returns nil if the server has reset the connection already.
type way func() net.Conn

// open opens n connections, each asking at once, and returns those that are served.
func open(t *testing.T, n int, connect way) (served []net.Conn) {
	t.Helper()
	for range n {
		conn := connect()
		switch {
		case conn == nil:
		case isServed(conn):
			served = append(served, conn)
		default:
			conn.Close()
		}
	}
	return served
}

func connect(t *testing.T, d net.Dialer, network, address string) net.Conn {
	t.Helper()
	conn, err := d.Dial(network, address)
	switch {
	case errors.Is(err, syscall.ECONNRESET):
		return nil
	case err != nil:
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func dialing(t *testing.T, network, address string) way {
	return func() net.Conn { return connect(t, net.Dialer{}, network, address) }
}

// from dials from one address of another host.
func from(t *testing.T, host, local, address string) way {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(local), 0))}
	return func() (conn net.Conn) {
		onHost(t, host, func() { conn = connect(t, d, "tcp", address) })
		return conn
	}
}

// TestConnections: of all connections, TCP and local, over servers and the
// guard's listener, so many are served as may be open; when one ends there is
// room for one.
func TestConnections(t *testing.T) {
	g := transport.NewGuard(transport.Rules{Connections: 8})
	ways := []way{
		dialing(t, "tcp", serveGuarded(t, g, "tcp4", "127.0.0.1:0", echo)),
		dialing(t, "tcp", serveGuarded(t, g, "tcp6", "[::1]:0", echo)),
		dialing(t, "unix", serveGuarded(t, g, "unix", localSocket(t), echo)),
		dialing(t, "unix", serveAccepted(t, g, localSocket(t))),
	}
	var served []net.Conn
	for i := range 10 {
		served = append(served, open(t, 1, ways[i%len(ways)])...)
	}
	if got := g.Counts(); len(served) != 8 || got != (transport.Counts{Open: 8, Busy: 2}) {
		t.Fatalf("of 10 connections %d are served: %+v, want 8", len(served), got)
	}
	refused := uint64(2)
	for i, again := range ways {
		served[i].Close()
		nstest.WaitFor(t, "the end of a connection to count", patience, func() bool { return g.Counts().Open == 7 })
		more := open(t, 2, again)
		if len(more) != 1 {
			t.Fatalf("in the place of one connection %d of 2 are served", len(more))
		}
		served[i] = more[0]
		if refused++; g.Counts() != (transport.Counts{Open: 8, Busy: refused}) {
			t.Errorf("counts %+v, want 8 open, %d refused", g.Counts(), refused)
		}
	}
	for _, conn := range served {
		if !isServed(conn) {
			t.Errorf("the connection to %s is served no more", conn.RemoteAddr())
		}
	}
	g.SetRules(transport.Rules{Connections: 10})
	if more := open(t, 4, ways[0]); len(more) != 0 {
		t.Errorf("of a limit of 10 TCP gets the last two tenths: %d more", len(more))
	}
	g.SetRules(transport.Rules{Connections: 20})
	if more := open(t, 9, ways[0]); len(more) != 8 {
		t.Errorf("of a limit of 20 TCP gets %d more, want 8", len(more))
	}
	g.SetRules(transport.Rules{Connections: 2}) // what is open stays
	for _, conn := range served {
		if !isServed(conn) {
			t.Errorf("the connection to %s is served no more", conn.RemoteAddr())
		}
	}
	if more := open(t, 3, ways[2]); len(more) != 0 {
		t.Errorf("beyond a limit that was lowered %d more are served", len(more))
	}
}

// serveAccepted answers on the guard's listener, a goroutine for each connection,
// and closes each connection twice.
func serveAccepted(t *testing.T, g *transport.Guard, path string) string {
	t.Helper()
	ln := g.Listener(listen(t, "unix", path))
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				defer conn.Close()
				for {
					message, err := readRecord(conn)
					if err != nil {
						return
					}
					if _, err := conn.Write(record(message)); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(running.Wait)
	t.Cleanup(func() { ln.Close() })
	return path
}

// TestLastConnections: of twenty connections the last two are root's, and two
// before them for local users, whoever opens how many over TCP.
func TestLastConnections(t *testing.T) {
	nstest.NeedRoot(t)
	g := transport.NewGuard(transport.Rules{Connections: 20})
	path, accepted := serveGuarded(t, g, "unix", localSocket(t), echo), serveAccepted(t, g, localSocket(t))
	tcp := dialing(t, "tcp", serveGuarded(t, g, "tcp", "127.0.0.1:0", echo))
	public(t, path, accepted)

	hogs := open(t, 20, tcp)
	if len(hogs) != 16 {
		t.Fatalf("over TCP %d of 20 are served, want 16", len(hogs))
	}
	user, served := startChild(t, path, 5, as(65534))
	if served != 2 {
		t.Errorf("then %d of a user's 5 are served, want 2", served)
	}
	if n := len(open(t, 2, dialing(t, "unix", path))) + len(open(t, 2, dialing(t, "unix", accepted))); n != 2 {
		t.Errorf("then %d of root's 4 are served, want 2", n)
	}
	if got, want := g.Counts(), (transport.Counts{Open: 20, Busy: 4 + 3 + 2}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	user.Signal(syscall.SIGTERM)
	user.Wait(t, patience)
	nstest.WaitFor(t, "the user's connections to end", patience, func() bool { return g.Counts().Open == 18 })
	if _, served := startChild(t, accepted, 1, as(65534)); served != 0 {
		t.Error("a user is served, though root has the first of the last tenth")
	}
	for _, conn := range hogs[:3] {
		conn.Close()
	}
	nstest.WaitFor(t, "connections to end", patience, func() bool { return g.Counts().Open == 15 })
	if _, served := startChild(t, accepted, 5, as(65534)); served != 3 {
		t.Errorf("then %d of a user's 5 are served, want 3", served)
	}
}

// public lets other users connect to local sockets.
func public(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := syscall.Chmod(path, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPerUser: a user has so many local connections, however they are divided;
// other users and root have theirs.
func TestPerUser(t *testing.T) {
	nstest.NeedRoot(t)
	g := transport.NewGuard(transport.Rules{PerUser: 3})
	path, accepted := serveGuarded(t, g, "unix", localSocket(t), echo), serveAccepted(t, g, localSocket(t))
	public(t, path, accepted)
	if n := len(open(t, 5, dialing(t, "unix", path))) + len(open(t, 5, dialing(t, "unix", accepted))); n != 10 {
		t.Errorf("%d of root's 10 are served", n)
	}
	first, served := startChild(t, path, 2, as(65534))
	if served != 2 {
		t.Errorf("%d of a user's 2 are served", served)
	}
	if _, served = startChild(t, accepted, 3, as(65534)); served != 1 {
		t.Errorf("then %d of the user's 3 are served, want 1", served)
	}
	if _, served = startChild(t, path, 4, as(65533)); served != 3 {
		t.Errorf("%d of another user's 4 are served, want 3", served)
	}
	if got, want := g.Counts(), (transport.Counts{Open: 10 + 3 + 3, BusyUser: 2 + 1}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	first.Signal(syscall.SIGTERM)
	first.Wait(t, patience)
	nstest.WaitFor(t, "the user's connections to end", patience, func() bool { return g.Counts().Open == 14 })
	if _, served = startChild(t, path, 3, as(65534)); served != 2 {
		t.Errorf("then %d of the user's 3 are served, want 2", served)
	}
}

// far makes a host with several addresses, and returns this host's toward it.
func far(t *testing.T) (here4, here6 string) {
	t.Helper()
	nstest.NewHost(t, "far", "10.98.0.1/24", "10.98.0.2/24")
	ip(t, "address", "add", "fd98::1/64", "dev", "far", "nodad")
	ip(t, "address", "add", "fd97::1/64", "dev", "far", "nodad")
	ip(t, "-n", "far", "address", "add", "10.98.0.3/24", "dev", "eth0")
	for _, a := range []string{"fd98::2/64", "fd98::3/64", "fd97::2/64"} {
		ip(t, "-n", "far", "address", "add", a, "dev", "eth0", "nodad")
	}
	usable(t, "10.98.0.1", "fd98::1", "fd97::1")
	onHost(t, "far", func() { usable(t, "10.98.0.2", "10.98.0.3", "fd98::2", "fd98::3", "fd97::2") })
	return "10.98.0.1", "fd98::1"
}

// isHere knows the addresses that far gives this host.
func isHere(a netip.Addr) bool {
	return a == netip.MustParseAddr("10.98.0.1") || a == netip.MustParseAddr("fd98::1") || a == netip.MustParseAddr("fd97::1")
}

// TestPerSource: a source has so many connections, and this host has no such bound.
func TestPerSource(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	here4, here6 := far(t)
	g := transport.NewGuard(transport.Rules{PerSource: 3})
	g.ThisHost = isHere
	v4, v6 := serveGuarded(t, g, "tcp4", "0.0.0.0:0", echo), serveGuarded(t, g, "tcp6", "[::]:0", echo)
	at := func(host, listening string) string {
		_, port, err := net.SplitHostPort(listening)
		if err != nil {
			t.Fatal(err)
		}
		return net.JoinHostPort(host, port)
	}
	var last net.Conn
	for _, tt := range []struct {
		name         string
		dial         way
		asked, given int
	}{
		{"an address", from(t, "far", "10.98.0.2", at(here4, v4)), 5, 3},
		{"another address", from(t, "far", "10.98.0.3", at(here4, v4)), 5, 3},
		{"a network", from(t, "far", "fd98::2", at(here6, v6)), 2, 2},
		{"the same network", from(t, "far", "fd98::3", at(here6, v6)), 2, 1},
		{"another network", from(t, "far", "fd97::2", at("fd97::1", v6)), 5, 3},
		{"loopback", dialing(t, "tcp", at("127.0.0.1", v4)), 5, 5},
		{"loopback, IPv6", dialing(t, "tcp", at("::1", v6)), 5, 5},
		{"this host", dialing(t, "tcp", at(here4, v4)), 5, 5},
	} {
		served := open(t, tt.asked, tt.dial)
		if len(served) != tt.given {
			t.Errorf("%s: %d of %d are served, want %d", tt.name, len(served), tt.asked, tt.given)
		}
		if tt.name == "the same network" {
			last = served[0]
		}
	}
	if got, want := g.Counts(), (transport.Counts{Open: 27, BusySource: 7}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	last.Close()
	nstest.WaitFor(t, "the end of a connection to count", patience, func() bool { return g.Counts().Open == 26 })
	if n := len(open(t, 2, from(t, "far", "fd98::2", at(here6, v6)))); n != 1 {
		t.Errorf("in the place of one connection %d of 2 are served", n)
	}
}

func network(t *testing.T, prefixes ...string) *netipx.IPSet {
	t.Helper()
	var b netipx.IPSetBuilder
	for _, p := range prefixes {
		b.AddPrefix(netip.MustParsePrefix(p))
	}
	set, err := b.IPSet()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestStrangers: who may not ask gets no answer, over UDP not even a sign; this
// host may always. New rules hold at once, also for connections that are open.
func TestStrangers(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	here4, here6 := far(t)
	g := transport.NewGuard(transport.Rules{Ask: network(t, "10.98.0.2/32", "fd97::/64")})
	g.ThisHost = isHere
	s := &scribe{}
	udp := serveDatagrams(t, g, "udp", "[::]:0", s).Port()
	tcp := netip.MustParseAddrPort(serveGuarded(t, g, "tcp", "[::]:0", s)).Port()
	at := func(host string, port uint16) string {
		return netip.AddrPortFrom(netip.MustParseAddr(host), port).String()
	}
	over := map[string]net.Conn{} // UDP, by the client's address
	for _, a := range []string{"10.98.0.2", "10.98.0.3", "fd98::2", "fd97::2"} {
		server := here4
		switch a {
		case "fd98::2":
			server = here6
		case "fd97::2":
			server = "fd97::1"
		}
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(a), 0))}
		onHost(t, "far", func() {
			conn, err := d.Dial("udp", at(server, udp))
			if err != nil {
				t.Fatal(err)
			}
			deadline(t, conn)
			t.Cleanup(func() { conn.Close() })
			over[a] = conn
		})
	}
	asked := 0
	answered := func(message []byte, conn net.Conn) {
		t.Helper()
		same(t, conn.LocalAddr().String(), roundTrip(t, conn, message), message)
		if asked++; s.count() != asked {
			t.Errorf("%s: the handler was asked %d times, want %d", conn.LocalAddr(), s.count(), asked)
		}
	}
	// A datagram of this host comes after those before it, so these were dropped.
	for _, stranger := range []string{"10.98.0.3", "fd98::2"} {
		mustWrite(t, over[stranger], words(13, 2))
		answered(words(1, 3), over["10.98.0.2"])
		answered(words(2, 3), over["fd97::2"])
	}
	for _, host := range []string{"127.0.0.1", "::1", here4, here6} {
		answered(words(3, 3), dial(t, "udp", at(host, udp)))
		if n := len(open(t, 2, dialing(t, "tcp", at(host, tcp)))); n != 2 {
			t.Errorf("this host over TCP at %s: %d of 2 are served", host, n)
		}
		asked += 2
	}
	if got := g.Counts(); got.Strangers != 2 {
		t.Errorf("counts %+v, want 2 strangers", got)
	}

	may, mayNot := from(t, "far", "10.98.0.2", at(here4, tcp)), from(t, "far", "10.98.0.3", at(here4, tcp))
	served := open(t, 2, may)
	if asked += 2; len(served) != 2 || len(open(t, 3, mayNot)) != 0 {
		t.Errorf("over TCP %d of 2 are served, and strangers", len(served))
	}
	if got, want := g.Counts(), (transport.Counts{Open: 10, Strangers: 2 + 3}); got != want || s.count() != asked {
		t.Errorf("counts %+v, %d calls, want %+v, %d", got, s.count(), want, asked)
	}
	if conn := mayNot(); conn != nil {
		deadline(t, conn)
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a stranger who says nothing reads %v, want %v", err, syscall.ECONNRESET)
		}
	}

	g.SetRules(transport.Rules{Ask: network(t, "10.98.0.3/32")})
	answered(words(4, 3), over["10.98.0.3"])
	if asked++; len(open(t, 1, mayNot)) != 1 {
		t.Error("who may ask by new rules is not served")
	}
	for _, conn := range served {
		if isServed(conn) {
			t.Error("a connection is served of who may not ask any more")
		}
	}
	if s.count() != asked {
		t.Errorf("the handler was asked %d times, want %d", s.count(), asked)
	}
}

// TestQueries: a source is answered so many calls, over UDP and over TCP, and
// more after a while; who has used up one may still use the other. This host has
// no such bound.
func TestQueries(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	here4, _ := far(t)
	const rate, burst = 5, 7
	g := transport.NewGuard(transport.Rules{Queries: rate, Burst: burst})
	g.ThisHost = isHere
	s := &scribe{}
	udp := serveDatagrams(t, g, "udp4", "0.0.0.0:0", s).Port()
	tcp := netip.MustParseAddrPort(serveGuarded(t, g, "tcp4", "0.0.0.0:0", s)).Port()
	at := func(host string, port uint16) string {
		return netip.AddrPortFrom(netip.MustParseAddr(host), port).String()
	}
	began := time.Now()
	due := func(what string, answered int) { // some more in the time that the test takes
		t.Helper()
		if most := burst + int(time.Since(began)*rate/time.Second) + 1; answered < burst || answered > most {
			t.Errorf("%s: %d calls are answered, want %d, at most %d", what, answered, burst, most)
		}
	}

	const calls = 100
	var client net.Conn
	onHost(t, "far", func() { client = dial(t, "udp", at(here4, udp)) })
	for i := range calls {
		mustWrite(t, client, words(uint32(i), 3))
	}
	nstest.WaitFor(t, "all datagrams to be looked at", patience, func() bool {
		return s.count()+int(g.Counts().Throttled) == calls
	})
	due("datagrams", s.count())
	before, throttled := s.count(), g.Counts().Throttled

	conn := from(t, "far", "10.98.0.2", at(here4, tcp))()
	if conn == nil {
		t.Fatal("not served over TCP")
	}
	deadline(t, conn)
	mustWrite(t, conn, bytes.Repeat(record(words(7, 3)), calls))
	answers, err := io.ReadAll(conn)
	if !errors.Is(err, syscall.ECONNRESET) || len(answers) > calls*len(record(words(7, 3))) {
		t.Errorf("over TCP %d bytes, then %v, want %v", len(answers), err, syscall.ECONNRESET)
	}
	due("over TCP", s.count()-before)
	if got := g.Counts().Throttled - throttled; got != 1 {
		t.Errorf("%d connections are ended, want 1", got)
	}
	nstest.WaitFor(t, "a call to be answered over TCP again", patience, func() bool {
		return len(open(t, 1, from(t, "far", "10.98.0.2", at(here4, tcp)))) == 1
	})
	before = s.count()
	nstest.WaitFor(t, "a datagram to be answered again", patience, func() bool {
		mustWrite(t, client, words(1, 3))
		return s.count() > before
	})

	ours := func(client netip.Addr) bool { return client != netip.MustParseAddr("10.98.0.2") }
	before = s.countOf(ours)
	for _, host := range []string{"127.0.0.1", here4} {
		here, stream := dial(t, "udp", at(host, udp)), dial(t, "tcp", at(host, tcp))
		for i := range calls {
			same(t, "this host's answer", roundTrip(t, here, words(uint32(i), 3)), words(uint32(i), 3))
			mustWrite(t, stream, record(words(uint32(i), 3)))
			same(t, "this host's answer over TCP", mustRead(t, stream), words(uint32(i), 3))
		}
	}
	if got := s.countOf(ours) - before; got != 4*calls { // of the other host's last datagrams one may still be let in
		t.Errorf("of this host's %d calls %d are answered", 4*calls, got)
	}
}

// TestManySources: however many others ask, more than the guard has places for,
// each is answered; so is who keeps to the rate, and who does not is not.
func TestManySources(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	here4, _ := far(t)
	const (
		sources, step = 20_000, 100
		burst         = 10
	)
	ip(t, "route", "add", "10.200.0.0/16", "via", "10.98.0.2")
	ip(t, "-n", "far", "route", "add", "local", "10.200.0.0/16", "dev", "lo") // all of it is that host's
	g := transport.NewGuard(transport.Rules{Queries: 1, Burst: burst})
	var asked atomic.Int64
	at := serveDatagrams(t, g, "udp4", here4+":0", inspect(func(*transport.Call) { asked.Add(1) }))
	var many *net.UDPConn
	var honest net.Conn
	onHost(t, "far", func() {
		many, _ = listenUDP(t, "udp4", "0.0.0.0:0")
		honest = dial(t, "udp", at.String())
	})
	send := func(source uint16) {
		t.Helper()
		info := unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte{10, 200, byte(source >> 8), byte(source)}})
		if _, _, err := many.WriteMsgUDPAddrPort(words(uint32(source), 3), info, at); err != nil {
			t.Fatal(err)
		}
	}
	const greedy = 0xffff
	sent, calls, began := 0, 0, time.Now()
	for source := range sources {
		send(uint16(source))
		send(greedy)
		if sent += 2; (source+1)%step != 0 {
			continue
		}
		nstest.WaitFor(t, "all datagrams to be looked at", patience, func() bool { // or the kernel would drop some
			return int(asked.Load())+int(g.Counts().Throttled) == sent
		})
		if source%(sources/burst) < step { // as often as it may
			sent++
			message := words(uint32(calls), 4)
			same(t, "the answer to who keeps to the rate", roundTrip(t, honest, message), message)
			calls++
		}
	}
	let := int(asked.Load()) - sources - calls
	if most := burst + int(time.Since(began)/time.Second) + 1; let < burst || let > most {
		t.Errorf("of the %d calls of one source %d are answered, want %d, at most %d", sources, let, burst, most)
	}
	if calls != burst {
		t.Errorf("%d calls were made within the rate, want %d", calls, burst)
	}
}

// TestGuardedAllocations: a guard that has to look at every datagram allocates nothing.
func TestGuardedAllocations(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Veth(t, "v0", "10.99.0.1/24", "fd99::1/64")
	usable(t, "10.99.0.1", "fd99::1")
	g := transport.NewGuard(transport.Rules{Ask: network(t, "10.99.0.0/16", "fd00::/8"), Queries: 1 << 30}) // and no ThisHost
	const rounds = 2000
	for _, address := range []string{"10.99.0.1", "fd99::1"} {
		at := serveDatagrams(t, g, "udp", "[::]:0", echo)
		conn := dial(t, "udp", netip.AddrPortFrom(netip.MustParseAddr(address), at.Port()).String())
		message, b := words(1, 14), make([]byte, 1000)
		ask := func() {
			_, err := conn.Write(message)
			n, readErr := conn.Read(b)
			if err != nil || readErr != nil || n != len(message) {
				t.Fatalf("%v, %v, %d bytes", err, readErr, n)
			}
		}
		for range 100 {
			ask()
		}
		n := mallocs(func() {
			for range rounds {
				ask()
			}
		})
		t.Logf("at %s: %.4f allocations per request", address, float64(n)/rounds)
		if float64(n)/rounds >= 0.1 {
			t.Errorf("at %s: %d allocations for %d requests", address, n, rounds)
		}
	}
}

// TestGuardedRush: many that come and go at once, over every way, never have
// more open than may be, and leave nothing.
func TestGuardedRush(t *testing.T) {
	const limit, clients, each = 12, 16, 50
	g := transport.NewGuard(transport.Rules{Connections: limit})
	var mu sync.Mutex // guards what follows
	served, most := 0, 0
	h := handler(func(c *transport.Call, buf []byte) transport.Reply {
		mu.Lock()
		most = max(most, g.Counts().Open)
		mu.Unlock()
		return echo(c, buf)
	})
	ways := []way{
		dialing(t, "tcp", serveGuarded(t, g, "tcp", "127.0.0.1:0", h)),
		dialing(t, "unix", serveGuarded(t, g, "unix", localSocket(t), h)),
		dialing(t, "unix", serveAccepted(t, g, localSocket(t))),
	}
	var running sync.WaitGroup
	for i := range clients {
		running.Go(func() {
			for range each {
				for _, conn := range open(t, 1, ways[i%len(ways)]) {
					mu.Lock()
					served++
					mu.Unlock()
					conn.Close()
				}
			}
		})
	}
	running.Wait()
	nstest.WaitFor(t, "all connections to end", patience, func() bool { return g.Counts().Open == 0 })
	got := g.Counts()
	if most > limit || served+int(got.Busy) != clients*each || served == 0 {
		t.Errorf("of %d connections %d were served, at most %d at a time, %+v", clients*each, served, most, got)
	}
	t.Logf("%d served, %d refused, at most %d open", served, got.Busy, most)
}
