package socktable

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

func TestConnectionOwner(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	eth0(t)
	table := openTable(t)
	for _, where := range []string{"127.0.0.1:111", "10.99.0.1:111", "[::1]:111", "[fd99::1]:111", "[fe80::99%eth0]:111"} {
		t.Run(where, func(t *testing.T) {
			l, err := net.Listen("tcp", where)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			a := start(t, user(1001), "connect", where)
			client := netip.MustParseAddrPort(a.line(t, 0))
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			from, to := server.RemoteAddr().(*net.TCPAddr).AddrPort(), server.LocalAddr().(*net.TCPAddr).AddrPort()
			if plain(from) != plain(client) {
				t.Fatalf("%s has connected, want %s", from, client)
			}
			owns := func(when string, client, server netip.AddrPort, want uint32) {
				t.Helper()
				if uid, err := table.ConnectionOwner(client, server); uid != want || err != nil {
					t.Errorf("%s: ConnectionOwner(%s, %s) = %d, %v, want %d", when, client, server, uid, err, want)
				}
			}
			refused := func(when string, client, server netip.AddrPort, reason string) {
				t.Helper()
				uid, err := table.ConnectionOwner(client, server)
				if !errors.Is(err, ErrOwner) || !strings.Contains(err.Error(), reason) {
					t.Errorf("%s: ConnectionOwner(%s, %s) = %d, %v, want ErrOwner and %q", when, client, server, uid, err, reason)
				}
			}
			owns("connected", from, to, 1001)
			owns("the other end", to, from, 0)
			if from.Addr().Is4() {
				mapped := func(a netip.AddrPort) netip.AddrPort {
					return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
				}
				owns("mapped", mapped(from), mapped(to), 1001)
			}
			refused("no connection", netip.AddrPortFrom(from.Addr(), from.Port()^1), to, "nothing at")
			refused("another server", from, netip.AddrPortFrom(to.Addr(), 112), "nothing at")

			a.do(t, "shutdown", 1)
			owns("half closed", from, to, 1001)
			a.do(t, "close", 2)
			refused("closed", from, to, "was closed")
			server.Close()
			nstest.WaitFor(t, "the connection to be over", patience, func() bool {
				s, ok, err := table.lookup(unix.IPPROTO_TCP, plain(from), plain(to), 0)
				return err == nil && (!ok || s.state == tcpTimeWait)
			})
			refused("over", from, to, "")
		})
	}
}

// refusedOwner fails the test unless err is why an owner is not told.
func refusedOwner(t *testing.T, uid uint32, err error, reason string) {
	t.Helper()
	if !errors.Is(err, ErrOwner) || !strings.Contains(err.Error(), reason) {
		t.Errorf("owner %d, %v, want ErrOwner and %q", uid, err, reason)
	}
}

// What listens at the client's port is not what has connected from it.
func TestConnectionOwnerIsNoListener(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	table := openTable(t)
	server := netip.MustParseAddrPort("127.0.0.1:111")
	for _, listener := range []string{"127.0.0.1:1000", "0.0.0.0:1001", "[::]:1002"} {
		at := plan{network: "tcp", addr: listener}.open(t).addr(t)
		client := netip.AddrPortFrom(server.Addr(), at.Port())
		if s, ok, err := table.lookup(unix.IPPROTO_TCP, client, server, 0); !ok || err != nil || s.state != tcpListen {
			t.Errorf("the kernel answers %+v, %t, %v; this test wants the listener", s, ok, err)
		}
		uid, err := table.ConnectionOwner(client, server)
		refusedOwner(t, uid, err, "nothing at "+client.String()+" is connected to "+server.String())
	}
}

// Nor is what is about to connect.
func TestConnectionOwnerBeforeItConnects(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	table := openTable(t)
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listener)
	server := netip.MustParseAddrPort("127.0.0.1:111")
	at := &unix.SockaddrInet4{Addr: server.Addr().As4(), Port: int(server.Port())}
	if err := errors.Join(unix.Bind(listener, at), unix.Listen(listener, 0)); err != nil {
		t.Fatal(err)
	}
	for port := 1000; port < 1010; port++ { // the listener takes few, and lets the others try again
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: server.Addr().As4(), Port: port}); err != nil {
			t.Fatal(err)
		}
		unix.Connect(fd, at)
		client := netip.AddrPortFrom(server.Addr(), uint16(port))
		if s, ok, err := table.lookup(unix.IPPROTO_TCP, client, server, 0); !ok || err != nil || s.state != tcpSynSent {
			continue
		}
		uid, err := table.ConnectionOwner(client, server)
		refusedOwner(t, uid, err, "has ended")
		return
	}
	t.Error("every socket connects at once: this test wants one that waits")
}

// The same, of a port from which another user's connection was broken off.
func TestConnectionOwnerAfterReset(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	table := openTable(t)
	server := plan{network: "tcp", addr: "127.0.0.1:111"}.open(t).addr(t)
	plan{network: "tcp", addr: "0.0.0.0:1000"}.open(t) // root's
	var client *descriptor
	asUser(t, 1001, func() {
		client = plan{network: "tcp", addr: "0.0.0.0:0", peer: "127.0.0.1:111"}.open(t)
	})
	from := client.addr(t)
	if uid, err := table.ConnectionOwner(from, server); uid != 1001 || err != nil {
		t.Fatalf("ConnectionOwner = %d, %v, want 1001", uid, err)
	}
	if err := unix.SetsockoptLinger(int(*client), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		t.Fatal(err)
	}
	client.Close()
	plan{network: "tcp", addr: from.String()}.open(t) // root's
	uid, err := table.ConnectionOwner(from, server)
	refusedOwner(t, uid, err, "nothing at")
}

// An IPv6 socket may have connected to an IPv4 address.
func TestConnectionOwnerOfDualStack(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	table := openTable(t)
	server := plan{network: "tcp", addr: "127.0.0.1:111"}.open(t).addr(t)
	var client *descriptor
	asUser(t, 1001, func() {
		client = plan{network: "tcp", addr: "[::]:0", peer: "[::ffff:127.0.0.1]:111"}.open(t)
	})
	if uid, err := table.ConnectionOwner(client.addr(t), server); uid != 1001 || err != nil {
		t.Errorf("ConnectionOwner = %d, %v, want 1001", uid, err)
	}
}

func TestSenderOwner(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	table := openTable(t)
	type owned struct {
		uid int
		plan
	}
	for _, tt := range []struct {
		name    string
		sockets []owned
		ask     string
		want    uint32 // or
		reason  string // why it is not told
	}{
		{name: "any address", sockets: []owned{{1001, plan{addr: "0.0.0.0:1000"}}}, ask: "127.0.0.1:1000", want: 1001},
		{name: "one address", sockets: []owned{{1001, plan{addr: "127.0.0.1:1000"}}}, ask: "127.0.0.1:1000", want: 1001},
		{name: "connected", sockets: []owned{{1001, plan{addr: "127.0.0.1:1000", peer: "127.0.0.1:111"}}}, ask: "127.0.0.1:1000", want: 1001},
		{name: "dual-stack", sockets: []owned{{1001, plan{addr: "[::]:1000"}}}, ask: "127.0.0.1:1000", want: 1001},
		{name: "dual-stack, asked as mapped", sockets: []owned{{1001, plan{addr: "[::]:1000"}}}, ask: "[::ffff:127.0.0.1]:1000", want: 1001},
		{name: "dual-stack, connected", sockets: []owned{{1001, plan{addr: "[::]:1000", peer: "[::ffff:127.0.0.1]:111"}}}, ask: "127.0.0.1:1000", want: 1001},
		{name: "mapped", sockets: []owned{{1001, plan{addr: "[::ffff:127.0.0.1]:1000"}}}, ask: "127.0.0.1:1000", want: 1001},
		{name: "IPv6", sockets: []owned{{1001, plan{addr: "[::1]:1000"}}, {0, plan{addr: "127.0.0.1:1000"}}}, ask: "[::1]:1000", want: 1001},
		{name: "several of one user", sockets: []owned{{1001, plan{addr: "127.0.0.1:1000"}}, {1001, plan{addr: "127.0.0.1:1000"}}, {1001, plan{addr: "[::]:1000"}}}, ask: "127.0.0.1:1000", want: 1001},
		{name: "another port", sockets: []owned{{1001, plan{addr: "127.0.0.1:1000"}}}, ask: "127.0.0.1:1001", reason: "none at port 1001"},
		{name: "TCP", sockets: []owned{{1001, plan{network: "tcp", addr: "127.0.0.1:1000"}}}, ask: "127.0.0.1:1000", reason: "none at port 1000"},
		{name: "IPv4 only, asked for IPv6", sockets: []owned{{1001, plan{addr: "127.0.0.1:1000"}}}, ask: "[::1]:1000", reason: "none at port 1000"},
		{name: "two users", sockets: []owned{{1001, plan{addr: "127.0.0.1:1000"}}, {0, plan{addr: "127.0.0.2:1000"}}}, ask: "127.0.0.1:1000", reason: "have sockets at port 1000"},
		{name: "two users, two families", sockets: []owned{{1001, plan{addr: "127.0.0.1:1000"}}, {1002, plan{addr: "[::1]:1000"}}}, ask: "127.0.0.1:1000", reason: "have sockets at port 1000"},
		{name: "nobody", sockets: []owned{{65534, plan{addr: "127.0.0.1:1000"}}}, ask: "127.0.0.1:1000", reason: "has no uid here"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var opened []*descriptor
			for _, s := range tt.sockets {
				if s.network == "" {
					s.network = "udp"
				}
				asUser(t, s.uid, func() { opened = append(opened, s.open(t)) })
			}
			ask := netip.MustParseAddrPort(tt.ask)
			uid, err := table.SenderOwner(ask)
			if tt.reason != "" {
				refusedOwner(t, uid, err, tt.reason)
			} else if uid != tt.want || err != nil {
				t.Errorf("SenderOwner(%s) = %d, %v, want %d", ask, uid, err, tt.want)
			}
			for _, d := range opened {
				d.Close()
			}
			uid, err = table.SenderOwner(ask)
			refusedOwner(t, uid, err, "none at port")
		})
	}
}

// The IPv4 datagram of an IPv6 socket arrives as from its owner.
func TestSenderOwnerOfDatagram(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	table := openTable(t)
	server, err := net.ListenUDP("udp", &net.UDPAddr{Port: 111}) // dual-stack as well
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var client net.PacketConn
	asUser(t, 1001, func() { client, err = net.ListenPacket("udp", "[::]:0") })
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 111}); err != nil {
		t.Fatal(err)
	}
	_, from, err := server.ReadFromUDPAddrPort(make([]byte, 1))
	if err != nil {
		t.Fatal(err)
	}
	if uid, err := table.SenderOwner(from); uid != 1001 || err != nil {
		t.Errorf("SenderOwner(%s) = %d, %v, want 1001", from, uid, err)
	}
}

// A table in a user namespace that lacks the owner does not tell a wrong one.
func TestOwnerWithoutUID(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	asUser(t, 1001, func() { plan{network: "udp", addr: "127.0.0.1:1000"}.open(t) })
	only0 := []syscall.SysProcIDMap{{HostID: 0, Size: 1}}
	a := start(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: only0, GidMappings: only0}, "ask", "127.0.0.1:1000")
	a.line(t, 1)
	if got := a.line(t, 0); !strings.HasPrefix(got, "true ") || !strings.HasSuffix(got, " 65534 <nil>") {
		t.Errorf("in the user namespace: %s", got)
	}
}

func TestOwnerOfClosed(t *testing.T) { // what Linux before 6.17 puts for the uid
	for _, s := range []inetSocket{{uid: 0, inode: 0}, {uid: 1001, inode: 0}, {uid: NoUID, inode: 1}} {
		uid, err := s.owner()
		refusedOwner(t, uid, err, "")
	}
	if uid, err := (inetSocket{uid: 1001, inode: 1}).owner(); uid != 1001 || err != nil {
		t.Errorf("owner = %d, %v, want 1001", uid, err)
	}
}

func TestDeviceOf(t *testing.T) {
	i, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for zone, want := range map[string]uint32{"": 0, "lo": uint32(i.Index), "7": 7} {
		if got, err := deviceOf(zone); got != want || err != nil {
			t.Errorf("deviceOf(%q) = %d, %v, want %d", zone, got, err, want)
		}
	}
	if got, err := deviceOf("no such interface"); err == nil {
		t.Errorf("deviceOf of no interface = %d", got)
	}
}

func BenchmarkOwner(b *testing.B) {
	table := openTable(b)
	server := plan{network: "tcp", addr: "127.0.0.1:0"}.open(b).addr(b)
	client := plan{network: "tcp", addr: "127.0.0.1:0", peer: server.String()}.open(b).addr(b)
	sender := plan{network: "udp", addr: "0.0.0.0:0"}.open(b).addr(b)
	b.Run("connection", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := table.ConnectionOwner(client, server); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sender", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := table.SenderOwner(netip.AddrPortFrom(server.Addr(), sender.Port())); err != nil {
				b.Fatal(err)
			}
		}
	})
}
