package gate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/follow"
	"github.com/quaymaster/quaymaster/internal/nstest"
)

// short is how long a packet is waited for that should not come.
const short = 200 * time.Millisecond

// at calls do in the network namespace of a host, so that sockets it makes are there.
func at(t testing.TB, host string, do func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		f, err := os.Open("/run/netns/" + host)
		if err == nil {
			defer f.Close()
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// edge makes a client on c0 and a server on s0, of both families, with this host between them.
func edge(t testing.TB) {
	t.Helper()
	nstest.Need(t, "nft", "ip")
	gateway(t)
	for _, side := range []struct{ name, net4, net6 string }{{"c0", "10.1.0.", "fd00:1::"}, {"s0", "10.3.0.", "fd00:3::"}} {
		nstest.NewHost(t, side.name, side.net4+"1/24", side.net4+"2/24")
		command(t, "ip", "address", "add", side.net6+"1/64", "dev", side.name, "nodad")
		command(t, "ip", "-n", side.name, "address", "add", side.net6+"2/64", "dev", "eth0", "nodad")
		command(t, "ip", "-n", side.name, "route", "add", "default", "via", side.net4+"1")
		command(t, "ip", "-n", side.name, "-6", "route", "add", "default", "via", side.net6+"1")
	}
}

// serve listens on a host at a port of TCP and UDP, and answers each line and datagram with the address that it came from.
func serve(t testing.TB, host string, port int) {
	t.Helper()
	for _, network := range []string{"4", "6"} {
		var l net.Listener
		var u net.PacketConn
		var err error
		at(t, host, func() {
			l, err = net.Listen("tcp"+network, fmt.Sprintf(":%d", port))
			if err == nil {
				u, err = net.ListenPacket("udp"+network, fmt.Sprintf(":%d", port))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { u.Close() })
		nstest.Answer(t, l, func(conn net.Conn) {
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				fmt.Fprintf(conn, "%s from %s\n", lines.Text(), ipOf(conn.RemoteAddr()))
			}
		})
		go func() {
			b := make([]byte, 1500)
			for {
				n, from, err := u.ReadFrom(b)
				if err != nil {
					return
				}
				u.WriteTo(fmt.Appendf(nil, "%s from %s", b[:n], ipOf(from)), from)
			}
		}()
	}
}

func ipOf(a net.Addr) netip.Addr {
	return netip.MustParseAddrPort(a.String()).Addr().Unmap()
}

// call connects from a host, and returns what it is answered.
func call(t testing.TB, host, network, to string, patience time.Duration) (string, error) {
	t.Helper()
	var conn net.Conn
	var err error
	at(t, host, func() { conn, err = net.DialTimeout(network, to, patience) })
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return talk(conn, patience)
}

func talk(conn net.Conn, patience time.Duration) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(conn, "ahoy"); err != nil {
		return "", err
	}
	b := make([]byte, 200)
	n, err := conn.Read(b)
	return strings.ReplaceAll(string(b[:n]), "\n", ""), err
}

// transparent makes a socket able to have addresses of others.
func transparent(_, address string, c syscall.RawConn) error {
	var errs []error
	err := c.Control(func(fd uintptr) {
		if strings.Contains(address, "[") {
			errs = append(errs, unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1), unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_RECVORIGDSTADDR, 1))
		} else {
			errs = append(errs, unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1), unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_RECVORIGDSTADDR, 1))
		}
	})
	return errors.Join(append(errs, err)...)
}

// relay passes control channels on as they are, until the test ends: the least that can stand in one.
func relay(t testing.TB, p *Policy) {
	t.Helper()
	config := net.ListenConfig{Control: transparent}
	for _, a := range p.Listeners(tcp) {
		l, err := config.Listen(t.Context(), "tcp", a.String())
		if err != nil {
			t.Fatal(err)
		}
		nstest.Answer(t, l, func(conn net.Conn) {
			from := net.TCPAddrFromAddrPort(netip.AddrPortFrom(ipOf(conn.RemoteAddr()), 0))
			d := net.Dialer{Control: transparent, LocalAddr: from, Timeout: patience}
			up, err := d.Dial("tcp", conn.LocalAddr().String())
			if err != nil {
				return
			}
			defer up.Close()
			go io.Copy(up, conn)
			io.Copy(conn, up)
		})
	}
	for _, a := range p.Listeners(udp) {
		l, err := config.ListenPacket(t.Context(), "udp", a.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go relayDatagrams(l.(*net.UDPConn))
	}
}

func relayDatagrams(l *net.UDPConn) {
	b, oob := make([]byte, 1500), make([]byte, 200)
	config := net.ListenConfig{Control: transparent}
	for {
		n, on, _, from, err := l.ReadMsgUDPAddrPort(b, oob)
		if err != nil {
			return
		}
		messages, _ := unix.ParseSocketControlMessage(oob[:on])
		var to netip.AddrPort
		for i := range messages {
			switch sa, err := unix.ParseOrigDstAddr(&messages[i]); a := sa.(type) {
			case *unix.SockaddrInet4:
				to = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
			case *unix.SockaddrInet6:
				to = netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
			default:
				_ = err
			}
		}
		up, err := config.ListenPacket(context.Background(), "udp", netip.AddrPortFrom(from.Addr().Unmap(), 0).String())
		if err != nil {
			continue
		}
		up.WriteTo(b[:n], net.UDPAddrFromAddrPort(to))
		up.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, _, err = up.ReadFrom(b)
		up.Close()
		if err != nil {
			continue
		}
		control := (&ipv4.ControlMessage{Src: to.Addr().AsSlice()}).Marshal()
		if to.Addr().Is6() {
			control = (&ipv6.ControlMessage{Src: to.Addr().AsSlice()}).Marshal()
		}
		l.WriteMsgUDPAddrPort(b[:n], control, from)
	}
}

// packetPolicy is of all protocols, whose ports are those of edge.
const packetPolicy = `client_side: [c0]
server_side: [s0]
follow:
  portmapper: {clients: [10.1.0.0/16, "fd00:1::/64"], servers: [10.3.0.0/24, "fd00:3::/64"]}
  ftp: {clients: [10.1.0.0/16, "fd00:1::/64"], servers: [10.3.0.0/24, "fd00:3::/64"]}
`

// The rules of a host that drops what it does not know, and looks for the way back to sources as firewalld does.
const hostRules = `table inet filter {
	chain prerouting { type filter hook prerouting priority filter + 10; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; fib saddr . mark . iif oif missing drop; }
	chain forward { type filter hook forward priority filter; policy drop; ct state established accept; }
	chain input { type filter hook input priority filter; policy drop; iifname "lo" accept; ct state established accept; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }
}
`

// startGate puts a policy in place with a relay on its channels, and returns what opens pinholes.
func startGate(t testing.TB, p *Policy) *Pinholes {
	t.Helper()
	relay(t, p)
	s := &System{Policy: p}
	if err := s.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	h, _ := startPinholes(t, p)
	return h
}

func TestPackets(t *testing.T) {
	for _, tt := range []struct {
		name, text      string
		host            bool   // has rules of its own
		client, client6 string // as servers see them
	}{
		{"own", "forward: own\n", false, "10.1.0.2", "fd00:1::2"},
		{"mark", "", true, "10.1.0.2", "fd00:1::2"},
		{"masquerade", "forward: own\nnat: masquerade\n", false, "10.3.0.1", "fd00:3::1"},
		{"snat", "forward: own\nnat: snat 10.3.0.1\n", false, "10.3.0.1", "fd00:1::2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !nstest.Inside(t) {
				return
			}
			edge(t)
			p := readPolicy(t, tt.text+packetPolicy)
			for _, port := range []int{21, 111, 5001, 5002} {
				serve(t, "s0", port)
			}
			serve(t, "c0", 6001)
			if tt.host {
				nft(t, hostRules, "-f", "-")
				rules := p.HostRules()[0]
				for _, r := range append(rules.Forward, rules.Input...) {
					command(t, "sh", "-c", r)
				}
			}
			h := startGate(t, p)
			for _, f := range []struct{ client, server, seen string }{{"10.1.0.2", "10.3.0.2", tt.client}, {"fd00:1::2", "fd00:3::2", tt.client6}} {
				to := func(port int) string { return net.JoinHostPort(f.server, fmt.Sprint(port)) }
				expect := func(what, network string, port int) {
					t.Helper()
					if got, err := call(t, "c0", network, to(port), patience); err != nil || strings.TrimSpace(got) != "ahoy from "+f.seen {
						t.Errorf("%s: %s %s answers %q, %v, want from %s", what, network, to(port), got, err, f.seen)
					}
				}
				refuse := func(what, network, host, to string) {
					t.Helper()
					if got, err := call(t, host, network, to, short); err == nil {
						t.Errorf("%s: %s %s answers %q", what, network, to, got)
					}
				}
				expect("control channel", "tcp", 21)
				expect("control channel", "tcp", 111)
				expect("control channel", "udp", 111)
				refuse("data without a pinhole", "tcp", "c0", to(5001))
				refuse("data without a pinhole", "udp", "c0", to(5001))

				pinhole := Pinhole{By: follow.Client, From: netip.MustParseAddr(f.client), To: netip.MustParseAddrPort(to(5001)), Protocol: tcp, Once: true, Lifetime: time.Minute}
				open := func(p Pinhole) {
					t.Helper()
					if err := h.Open(t.Context(), []Pinhole{p}); err != nil {
						t.Fatal(err)
					}
				}
				open(pinhole)
				refuse("another port than the pinhole's", "tcp", "c0", to(5002))
				refuse("another protocol than the pinhole's", "udp", "c0", to(5001))
				var conn net.Conn
				var err error
				at(t, "c0", func() { conn, err = net.DialTimeout("tcp", to(5001), patience) })
				if err != nil {
					t.Fatalf("data through a pinhole: %v", err)
				}
				refuse("a second connection", "tcp", "c0", to(5001))
				for range 2 { // the first goes on
					if got, err := talk(conn, patience); err != nil || got != "ahoy from "+f.seen {
						t.Errorf("data: %q, %v", got, err)
					}
				}
				conn.Close()

				pinhole.Once, pinhole.To = false, netip.MustParseAddrPort(to(5002))
				open(pinhole)
				expect("first connection", "tcp", 5002)
				expect("second connection", "tcp", 5002)
				pinhole.Protocol = udp
				open(pinhole)
				expect("datagram", "udp", 5002)

				// The server connects to the client, or to what stands for it.
				back := netip.MustParseAddrPort(net.JoinHostPort(f.client, "6001"))
				called, outside := back, netip.AddrPort{}
				if p.NAT.Translates(back.Addr()) {
					outside = netip.AddrPortFrom(netip.MustParseAddr(f.seen), 7001)
					called = outside
				}
				refuse("a client without a pinhole", "tcp", "s0", called.String())
				open(Pinhole{By: follow.Server, From: netip.MustParseAddr(f.server), To: back, Protocol: tcp, Once: true, Lifetime: time.Minute, Outside: outside})
				if got, err := call(t, "s0", "tcp", called.String(), patience); err != nil || got != "ahoy from "+f.server {
					t.Errorf("active data: %q, %v", got, err)
				}
				refuse("a second active connection", "tcp", "s0", called.String())
			}
			list, err := h.List()
			if err != nil {
				t.Fatal(err)
			}
			var used []string
			for _, o := range list {
				used = append(used, fmt.Sprintf("%s once %t used %d", &o.Pinhole, o.Once, o.Used))
			}
			for _, want := range []string{"10.1.0.2 to tcp 10.3.0.2:5001 once true used 1", "10.1.0.2 to tcp 10.3.0.2:5002 once false used 2", "fd00:1::2 to udp [fd00:3::2]:5002 once false used 1"} {
				if !strings.Contains(strings.Join(used, "\n"), want) {
					t.Errorf("the list lacks %q:\n%s", want, strings.Join(used, "\n"))
				}
			}
		})
	}
}

// A connection whose first packet is lost behind the gate gets through its pinhole by the second one.
func TestPacketsSentAgain(t *testing.T) {
	for _, mode := range []string{"own", "mark"} {
		t.Run(mode, func(t *testing.T) {
			if !nstest.Inside(t) {
				return
			}
			edge(t)
			serve(t, "s0", 5001)
			lossy := "table inet lossy {\nset seen { type inet_service; flags dynamic; size 16; timeout 1m; }\n" +
				"chain input { type filter hook input priority 0; tcp dport 5001 tcp flags syn tcp sport != @seen add @seen { tcp sport } counter drop; }\n}\n"
			cmd := exec.Command("ip", "netns", "exec", "s0", nstest.Path(t, "nft"), "-f", "-")
			cmd.Stdin = strings.NewReader(lossy)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			p := readPolicy(t, "forward: "+mode+"\n"+packetPolicy)
			if mode == "mark" {
				nft(t, hostRules, "-f", "-")
				command(t, "sh", "-c", p.HostRules()[0].Forward[0])
			}
			h := startGate(t, p)
			for _, f := range []struct{ client, server string }{{"10.1.0.2", "10.3.0.2"}, {"fd00:1::2", "fd00:3::2"}} {
				to := net.JoinHostPort(f.server, "5001")
				one := Pinhole{By: follow.Client, From: netip.MustParseAddr(f.client), To: netip.MustParseAddrPort(to), Protocol: tcp, Once: true, Lifetime: time.Minute}
				if err := h.Open(t.Context(), []Pinhole{one}); err != nil {
					t.Fatal(err)
				}
				if got, err := call(t, "c0", "tcp", to, patience); err != nil || got != "ahoy from "+f.client {
					t.Errorf("%s answers %q, %v", to, got, err)
				}
				if _, err := call(t, "c0", "tcp", to, short); err == nil {
					t.Errorf("%s is reached twice", to)
				}
			}
			if text := command(t, "ip", "netns", "exec", "s0", "nft", "list", "table", "inet", "lossy"); strings.Contains(text, "counter packets 0") {
				t.Errorf("no packet was lost:\n%s", text)
			}
		})
	}
}

// What System refuses would not work, and what it does not refuse does.
func TestPacketsReversePath(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	serve(t, "s0", 21)
	p := readPolicy(t, packetPolicy)
	startGate(t, p)
	for _, filter := range []string{"0", "1", "2"} {
		for _, valid := range []string{"0", "1"} {
			for _, of := range []string{"all", "c0", "s0"} {
				sysctl(t, "net/ipv4/conf/"+of+"/rp_filter", filter)
			}
			sysctl(t, "net.ipv4.conf.all.src_valid_mark", valid)
			fit := true
			for _, c := range p.checkSettings(p.interfaces()) {
				fit = fit && c.State == Fit
			}
			_, err := call(t, "c0", "tcp", "10.3.0.2:21", map[bool]time.Duration{true: patience, false: short}[fit])
			if (err == nil) != fit {
				t.Errorf("with rp_filter=%s src_valid_mark=%s control channels end with %v, and it is checked as fit: %v", filter, valid, err, fit)
			}
		}
	}
}

// While nobody listens control channels are dropped, whatever else the host lets through.
func TestPacketsWithoutListener(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	serve(t, "s0", 21)
	serve(t, "s0", 2100)
	if _, err := call(t, "c0", "tcp", "10.3.0.2:21", patience); err != nil {
		t.Fatalf("before the gate: %v", err)
	}
	s := &System{Policy: readPolicy(t, packetPolicy)}
	if err := s.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"10.3.0.2:21", "[fd00:3::2]:21"} {
		if got, err := call(t, "c0", "tcp", to, short); err == nil {
			t.Errorf("%s answers %q", to, got)
		}
	}
	if _, err := call(t, "c0", "tcp", "10.3.0.2:2100", patience); err != nil {
		t.Errorf("what is not followed: %v", err)
	}
	if err := s.Down(); err != nil {
		t.Fatal(err)
	}
	if _, err := call(t, "c0", "tcp", "10.3.0.2:21", patience); err != nil {
		t.Errorf("after the gate: %v", err)
	}
}

// What is printed for hosts with iptables is taken there, and lets through what a pinhole is open for.
func TestPacketsIptables(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "iptables", "sh")
	edge(t)
	serve(t, "s0", 21)
	serve(t, "s0", 5001)
	for _, c := range []string{
		"iptables -P FORWARD DROP", "iptables -P INPUT DROP", "iptables -A INPUT -i lo -j ACCEPT",
		"iptables -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT", "iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
	} {
		command(t, "sh", "-c", c)
	}
	p := readPolicy(t, packetPolicy)
	h := startGate(t, p)
	open := func() error {
		err := h.Open(t.Context(), []Pinhole{{By: follow.Client, From: netip.MustParseAddr("10.1.0.2"), To: netip.MustParseAddrPort("10.3.0.2:5001"), Protocol: tcp, Once: true, Lifetime: time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = call(t, "c0", "tcp", "10.3.0.2:5001", short)
		return err
	}
	if _, err := call(t, "c0", "tcp", "10.3.0.2:21", short); err == nil {
		t.Error("a control channel gets in without the rule")
	}
	if open() == nil {
		t.Error("data gets through without the rule")
	}
	for _, r := range p.HostRules() {
		if r.Of != "iptables" {
			continue
		}
		for _, c := range append(r.Forward, r.Input...) {
			command(t, "sh", "-c", c)
		}
	}
	if _, err := call(t, "c0", "tcp", "10.3.0.2:21", patience); err != nil {
		t.Errorf("a control channel: %v", err)
	}
	nstest.WaitFor(t, "data", patience, func() bool { return open() == nil })
	if _, err := call(t, "c0", "tcp", "10.3.0.2:5001", short); err == nil {
		t.Error("data gets through twice")
	}
}
