package transport_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// listenUDP returns a socket and its port.
func listenUDP(t *testing.T, network, address string) (*net.UDPConn, uint16) {
	t.Helper()
	conn, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.UDPConn), conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// serveUDP answers on a socket of its own and returns its address.
func serveUDP(t *testing.T, network, address string, h transport.Handler) netip.AddrPort {
	t.Helper()
	conn, _ := listenUDP(t, network, address)
	at := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	s := transport.DatagramServer{Handler: h}
	start(t, func(ctx context.Context) error { return s.Serve(ctx, conn) })
	return at
}

// roundTrip sends a datagram over a connected socket and returns the answer.
func roundTrip(t *testing.T, conn net.Conn, message []byte) []byte {
	t.Helper()
	if _, err := conn.Write(message); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1<<16)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatalf("%s, asked at %s: %v", conn.LocalAddr(), conn.RemoteAddr(), err)
	}
	return b[:n]
}

// usable waits until this host can be asked at its new addresses: an interface
// comes up behind the back of the command that sets it up.
func usable(t *testing.T, addresses ...string) {
	t.Helper()
	for _, address := range addresses {
		a := netip.MustParseAddr(address)
		if a.Zone() != "" {
			continue
		}
		self, port := listenUDP(t, "udp", ":0")
		nstest.WaitFor(t, address+" to be usable", patience, func() bool {
			if _, err := self.WriteToUDPAddrPort([]byte{1}, netip.AddrPortFrom(a, port)); err != nil {
				return false
			}
			if err := self.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			_, from, err := self.ReadFromUDPAddrPort(make([]byte, 1))
			return err == nil && from.Port() == port
		})
	}
}

// TestAddressAsked: the answer leaves from the address the question went to,
// which the handler is told. Clients with connected sockets, as here, get no other.
func TestAddressAsked(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Veth(t, "v0", "10.99.0.1/24", "10.99.0.2/24", "fd99::1/64", "fd99::2/64", "fe80::99/64")
	v4 := []string{"127.0.0.1", "127.0.0.2", "10.99.0.1", "10.99.0.2"}
	v6 := []string{"::1", "fd99::1", "fd99::2", "fe80::99%v0"}
	usable(t, append(v4, v6...)...)
	for _, tt := range []struct {
		name, network, listen string
		ask                   []string
	}{
		{"IPv4", "udp4", "0.0.0.0:0", v4},
		{"IPv4 at one address", "udp4", "10.99.0.2:0", []string{"10.99.0.2"}},
		{"IPv6", "udp6", "[::]:0", v6},
		{"IPv6 at one address", "udp6", "[fd99::2]:0", []string{"fd99::2"}},
		{"both on one socket", "udp", "[::]:0", append(v4, v6...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &scribe{}
			at := serveUDP(t, tt.network, tt.listen, s)
			for i, address := range tt.ask {
				server := netip.MustParseAddr(address)
				conn := dial(t, "udp", netip.AddrPortFrom(server, at.Port()).String())
				message := words(uint32(i), 10)
				same(t, address, roundTrip(t, conn, message), message)

				call := s.last()
				if call.Server.Addr() != server.WithZone("") {
					t.Errorf("asked at %s, the handler is told %s", address, call.Server)
				}
				client := conn.LocalAddr().(*net.UDPAddr).AddrPort()
				if client.Addr().WithZone("") != call.Client.Addr() || client.Port() != call.Client.Port() {
					t.Errorf("asked from %s, the handler is told %s", client, call.Client)
				}
				want := rpcbind.UDP
				if server.Is6() {
					want = rpcbind.UDP6
				}
				if call.NetID != want || call.Peer != nil || call.MaxReply != transport.MaxMessage {
					t.Errorf("asked at %s, the handler is told %s, peer %v, at most %d bytes", address, call.NetID, call.Peer, call.MaxReply)
				}
			}
		})
	}
}

// TestGroups: questions to everybody, from another host, are answered from the
// address of the link they came over.
func TestGroups(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Veth(t, "v0", "10.99.0.1/24") // another network, whose address is not to be used
	nstest.NewHost(t, "far", "10.98.0.1/24", "10.98.0.2/24")
	ip(t, "address", "add", "fe80::98/64", "dev", "far", "nodad")
	ip(t, "address", "add", "fd98::1/64", "dev", "far", "nodad")
	ip(t, "-n", "far", "address", "add", "fe80::97/64", "dev", "eth0", "nodad")
	ip(t, "-n", "far", "route", "add", "default", "via", "10.98.0.1")
	usable(t, "10.98.0.1", "fd98::1")
	onHost(t, "far", func() { usable(t, "10.98.0.2") })
	link, err := net.InterfaceByName("far")
	if err != nil {
		t.Fatal(err)
	}
	const group4, group6 = "239.1.2.3", "ff02::202"
	for _, tt := range []struct{ name, network, listen, ask, want string }{
		{"broadcast", "udp4", "0.0.0.0:0", "10.98.0.255", "10.98.0.1"},
		{"broadcast to every network", "udp4", "0.0.0.0:0", "255.255.255.255", "10.98.0.1"},
		{"multicast", "udp4", "0.0.0.0:0", group4, "10.98.0.1"},
		{"multicast, IPv6", "udp6", "[::]:0", group6 + "%eth0", "fe80::"},
		{"broadcast, one socket for both", "udp", "[::]:0", "10.98.0.255", "10.98.0.1"},
		{"broadcast to every network, one socket for both", "udp", "[::]:0", "255.255.255.255", "10.98.0.1"},
		{"multicast, IPv6, one socket for both", "udp", "[::]:0", group6 + "%eth0", "fe80::"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, port := listenUDP(t, tt.network, tt.listen)
			control(t, conn, func(fd int) error {
				if tt.network == "udp4" {
					return unix.SetsockoptIPMreqn(fd, unix.SOL_IP, unix.IP_ADD_MEMBERSHIP,
						&unix.IPMreqn{Multiaddr: netip.MustParseAddr(group4).As4(), Ifindex: int32(link.Index)})
				}
				return unix.SetsockoptIPv6Mreq(fd, unix.SOL_IPV6, unix.IPV6_JOIN_GROUP,
					&unix.IPv6Mreq{Multiaddr: netip.MustParseAddr(group6).As16(), Interface: uint32(link.Index)})
			})
			s := &scribe{}
			server := transport.DatagramServer{Handler: s}
			start(t, func(ctx context.Context) error { return server.Serve(ctx, conn) })
			if tt.network != "udp6" { // or the question could come before the server asks for addresses; see TestEarly
				roundTrip(t, dial(t, "udp", fmt.Sprintf("10.98.0.1:%d", port)), words(1, 1))
			}

			var client *net.UDPConn
			onHost(t, "far", func() { client, _ = listenUDP(t, "udp", ":0") })
			deadline(t, client)
			control(t, client, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1) })
			to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(tt.ask), port))
			message := words(7, 10)
			if _, err := client.WriteTo(message, to); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 100)
			n, from, err := client.ReadFromUDPAddrPort(b)
			if err != nil {
				t.Fatalf("asked at %s: %v; the handler got %d calls", tt.ask, err, s.count())
			}
			same(t, "the answer", b[:n], message)
			addr := from.Addr().Unmap().WithZone("")
			if linkLocal := tt.want == "fe80::"; linkLocal && !addr.IsLinkLocalUnicast() || !linkLocal && addr.String() != tt.want {
				t.Errorf("asked at %s, answered from %s, want %s", tt.ask, from, tt.want)
			}
			// What the handler is told of an IPv4 broadcast over an IPv6 socket is no use to anybody.
			if told := s.last().Server.Addr(); tt.network != "udp" && told.IsValid() && told != addr {
				t.Errorf("the handler is told %s, but the answer comes from %s", told, addr)
			}
			if tt.network == "udp4" {
				return
			}
			// The next question, in the same memory, goes to one address again: not
			// that which routing would answer this client from.
			d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.MustParseAddrPort("[::1]:0"))}
			one, err := d.Dial("udp6", fmt.Sprintf("[fd98::1]:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			defer one.Close()
			deadline(t, one)
			same(t, "the answer to the next question", roundTrip(t, one, message), message)
		})
	}
}

// TestEarly: what arrived before anybody served the socket, as the datagram does
// that has a service manager start the server, is answered from the address it
// went to as well.
func TestEarly(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Veth(t, "v0", "10.99.0.1/24", "10.99.0.2/24", "fd99::1/64", "fd99::2/64")
	v4, v6 := []string{"127.0.0.2", "10.99.0.1", "10.99.0.2", "10.99.0.255"}, []string{"::1", "fd99::1", "fd99::2"}
	usable(t, append(v4, v6...)...)
	for _, tt := range []struct {
		network, listen string
		ask             []string
	}{
		{"udp4", "0.0.0.0:0", v4}, {"udp6", "[::]:0", v6}, {"udp", "[::]:0", append(v4, v6...)},
	} {
		t.Run(tt.network, func(t *testing.T) {
			conn, port := listenUDP(t, tt.network, tt.listen)
			var clients []*net.UDPConn
			for i, address := range tt.ask {
				client, _ := listenUDP(t, "udp", ":0")
				deadline(t, client)
				if _, err := client.WriteToUDPAddrPort(words(uint32(i), 5), netip.AddrPortFrom(netip.MustParseAddr(address), port)); err != nil {
					t.Fatal(err)
				}
				clients = append(clients, client)
			}
			s := transport.DatagramServer{Handler: echo}
			start(t, func(ctx context.Context) error { return s.Serve(ctx, conn) })
			for i, address := range tt.ask {
				b := make([]byte, 100)
				n, from, err := clients[i].ReadFromUDPAddrPort(b)
				if err != nil {
					t.Fatalf("asked at %s: %v", address, err)
				}
				same(t, address, b[:n], words(uint32(i), 5))
				if got := from.Addr().Unmap().String(); got != address && address != "10.99.0.255" {
					t.Errorf("asked at %s, answered from %s", address, got)
				}
			}
		})
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(nstest.Path(t, "ip"), args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}

func control(t *testing.T, conn syscall.Conn, f func(fd int) error) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var inner error
	if err := errors.Join(raw.Control(func(fd uintptr) { inner = f(int(fd)) }), inner); err != nil {
		t.Fatal(err)
	}
}

// onHost runs f on a thread in the network namespace of a host that nstest made:
// sockets that f opens stay there.
func onHost(t *testing.T, name string, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var files [2]*os.File
	for i, path := range []string{"/proc/thread-self/ns/net", "/run/netns/" + name} {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		files[i] = file
	}
	if err := unix.Setns(int(files[1].Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setns(int(files[0].Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // this thread is of no use to other tests
		}
	}()
	f()
}

// TestDatagramSizes: what is longer than any call is not answered, and does not
// disturb what comes after it; nor does a datagram of no bytes.
func TestDatagramSizes(t *testing.T) {
	s := &scribe{}
	at := serveUDP(t, "udp4", "127.0.0.1:0", handler(func(c *transport.Call, buf []byte) transport.Reply {
		if len(c.Message) == 0 {
			return transport.Reply{Close: true} // as a mapper does
		}
		return s.Answer(c, buf)
	}))
	conn := dial(t, "udp", at.String())
	for _, size := range []int{0, transport.MaxMessage + 1, 65507, 0} {
		if _, err := conn.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		// Datagrams of one socket do not overtake each other, so the next answer is to these.
		for _, fits := range []int{4, 1, transport.MaxMessage} {
			message := make([]byte, fits)
			message[0] = byte(size)
			same(t, fmt.Sprintf("after %d bytes", size), roundTrip(t, conn, message), message)
		}
	}
	if got, want := s.count(), 12; got != want {
		t.Errorf("the handler was asked %d times, want %d", got, want)
	}
}

// TestDatagramReplies: head and body make one datagram, in the buffer or not;
// what does not fit is not sent, and nothing is sent without a head.
func TestDatagramReplies(t *testing.T) {
	at := serveUDP(t, "udp6", "[::1]:0", handler(func(c *transport.Call, buf []byte) transport.Reply {
		head, body := binary.BigEndian.Uint16(c.Message), binary.BigEndian.Uint16(c.Message[2:])
		if head == 0 {
			return transport.Reply{Body: c.Message, Close: true}
		}
		return transport.Reply{Head: append(buf, make([]byte, head)...), Body: make([]byte, body)}
	}))
	conn := dial(t, "udp", at.String())
	for _, tt := range []struct{ head, body, want int }{
		{24, 0, 24}, {24, 4, 28}, {24, 8976, 9000}, {9000, 0, 9000}, {1, 1, 2},
		{24, 8977, 0}, {9001, 0, 0}, {60000, 0, 0}, {24, 60000, 0}, {0, 0, 0},
	} {
		ask := func(head, body int) {
			b := binary.BigEndian.AppendUint16(nil, uint16(head))
			if _, err := conn.Write(binary.BigEndian.AppendUint16(b, uint16(body))); err != nil {
				t.Fatal(err)
			}
		}
		ask(tt.head, tt.body)
		if tt.want == 0 {
			ask(77, 0) // answered in its place
			tt.want = 77
		}
		b := make([]byte, 1<<16)
		if n, err := conn.Read(b); n != tt.want || err != nil {
			t.Errorf("head %d, body %d: %d bytes, %v, want %d", tt.head, tt.body, n, err, tt.want)
		}
	}
}

// TestBacklog: what has arrived before anybody reads is answered in order,
// however many system calls that takes.
func TestBacklog(t *testing.T) {
	for _, n := range []int{1, 15, 16, 17, 64, 65, 200} {
		conn, port := listenUDP(t, "udp4", "127.0.0.1:0")
		client := dial(t, "udp", fmt.Sprintf("127.0.0.1:%d", port))
		for i := range n {
			if _, err := client.Write(words(uint32(i)<<8, 1+i%5)); err != nil {
				t.Fatal(err)
			}
		}
		s := transport.DatagramServer{Handler: echo}
		stop := start(t, func(ctx context.Context) error { return s.Serve(ctx, conn) })
		for i := range n {
			b := make([]byte, 100)
			got, err := client.Read(b)
			if err != nil {
				t.Fatalf("answer %d of %d: %v", i, n, err)
			}
			same(t, fmt.Sprintf("answer %d of %d", i, n), b[:got], words(uint32(i)<<8, 1+i%5))
		}
		stop()
	}
}

// TestManyClients: everybody gets the answers to their own questions, IPv4 and
// IPv6 on one socket.
func TestManyClients(t *testing.T) {
	at := serveUDP(t, "udp", "[::]:0", echo)
	var clients sync.WaitGroup
	for i := range 100 {
		host := []string{"127.0.0.1", "::1"}[i%2]
		conn := dial(t, "udp", net.JoinHostPort(host, fmt.Sprint(at.Port())))
		clients.Go(func() {
			b := make([]byte, 100)
			for j := range 50 {
				message := words(uint32(i<<16|j<<8), 1+(i+j)%20)
				if _, err := conn.Write(message); err != nil {
					t.Error(err)
					return
				}
				n, err := conn.Read(b)
				if err != nil {
					t.Errorf("client %d, question %d: %v", i, j, err)
					return
				}
				same(t, fmt.Sprintf("client %d, question %d", i, j), b[:n], message)
			}
		})
	}
	clients.Wait()
}

// TestGoneClients: answers that reach nobody are nobody else's trouble.
func TestGoneClients(t *testing.T) {
	conn, port := listenUDP(t, "udp4", "127.0.0.1:0")
	address := fmt.Sprintf("127.0.0.1:%d", port)
	stays := dial(t, "udp", address)
	for i := range 40 { // in the same batches as those who stay
		gone := dial(t, "udp", address)
		if _, err := gone.Write(words(99, 4)); err != nil {
			t.Fatal(err)
		}
		gone.Close()
		if _, err := stays.Write(words(uint32(i), 3)); err != nil {
			t.Fatal(err)
		}
	}
	s := transport.DatagramServer{Handler: echo}
	start(t, func(ctx context.Context) error { return s.Serve(ctx, conn) })
	for i := range 40 {
		b := make([]byte, 100)
		n, err := stays.Read(b)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		same(t, fmt.Sprintf("answer %d", i), b[:n], words(uint32(i), 3))
	}
}

// TestDatagramAllocations: from the kernel and back to it, a question costs no allocation.
func TestDatagramAllocations(t *testing.T) {
	const rounds = 2000
	body := make([]byte, 300)
	h := handler(func(c *transport.Call, buf []byte) transport.Reply {
		return transport.Reply{Head: append(buf, c.Message...), Body: body}
	})
	for _, tt := range []struct{ network, listen, ask string }{
		{"udp4", "127.0.0.1:0", "127.0.0.1"}, {"udp6", "[::1]:0", "::1"}, {"udp", "[::]:0", "127.0.0.1"},
	} {
		at := serveUDP(t, tt.network, tt.listen, h)
		client, _ := listenUDP(t, "udp", net.JoinHostPort(tt.ask, "0"))
		deadline(t, client)
		to := netip.AddrPortFrom(netip.MustParseAddr(tt.ask), at.Port())
		message, b := words(1, 14), make([]byte, 1000)
		ask := func() {
			_, err := client.WriteToUDPAddrPort(message, to)
			n, _, readErr := client.ReadFromUDPAddrPort(b)
			if err != nil || readErr != nil || n != len(message)+len(body) {
				t.Fatalf("%v, %v, %d bytes", err, readErr, n)
			}
		}
		for range 100 { // the first ones may warm something up
			ask()
		}
		n := mallocs(func() {
			for range rounds {
				ask()
			}
		})
		t.Logf("%s at %s: %.4f allocations per request", tt.network, tt.ask, float64(n)/rounds)
		if float64(n)/rounds >= 0.1 {
			t.Errorf("%s at %s: %d allocations for %d requests", tt.network, tt.ask, n, rounds)
		}
	}
}

// TestDatagramServe: how serving ends.
func TestDatagramServe(t *testing.T) {
	s := transport.DatagramServer{Handler: echo}
	t.Run("cancelled", func(t *testing.T) {
		conn, port := listenUDP(t, "udp4", "127.0.0.1:0")
		client := dial(t, "udp", fmt.Sprintf("127.0.0.1:%d", port))
		stop := start(t, func(ctx context.Context) error { return s.Serve(ctx, conn) })
		roundTrip(t, client, words(1, 2))
		stop()
		if _, err := conn.Write(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the socket is not closed: %v", err)
		}
		listenUDP(t, "udp4", fmt.Sprintf("127.0.0.1:%d", port)) // its port is free
	})
	t.Run("cancelled before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for range 50 { // the context's function runs at once or later
			conn, _ := listenUDP(t, "udp4", "127.0.0.1:0")
			if err := s.Serve(ctx, conn); err != nil {
				t.Fatalf("Serve = %v, want nil", err)
			}
			if _, err := conn.Write(nil); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("the socket is not closed: %v", err)
			}
		}
	})
	t.Run("closed by another", func(t *testing.T) {
		conn, port := listenUDP(t, "udp4", "127.0.0.1:0")
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(context.Background(), conn) }()
		roundTrip(t, dial(t, "udp", fmt.Sprintf("127.0.0.1:%d", port)), words(1, 2))
		conn.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve = %v, want %v", err, net.ErrClosed)
		}
	})
}
