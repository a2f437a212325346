package gate

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// udpSocket opens a socket for datagrams, and returns its descriptor and its address.
func udpSocket(t *testing.T, host string, options ...option) (fd int, at netip.AddrPort, conn *net.UDPConn) {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(f uintptr) { fd, err = int(f), setAll(int(f), options) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd, conn.LocalAddr().(*net.UDPAddr).AddrPort(), conn
}

// What goes out by an outbox comes in by an inbox: in order, from and to whom it was, however much there is.
func TestBatches(t *testing.T) {
	for _, tt := range []struct {
		host, from string // the latter is another address of this host
		told       option
	}{
		{"127.0.0.1", "127.0.0.2", option{unix.SOL_IP, unix.IP_RECVORIGDSTADDR, 1}},
		{"::1", "::1", option{unix.SOL_IPV6, unix.IPV6_RECVORIGDSTADDR, 1}},
	} {
		t.Run(tt.host, func(t *testing.T) {
			fd, to, _ := udpSocket(t, tt.host, tt.told, option{unix.SOL_SOCKET, unix.SO_RCVBUF, 4 << 20})
			out, sender, _ := udpSocket(t, map[bool]string{true: "0.0.0.0", false: "::"}[to.Addr().Is4()])
			from := netip.AddrPortFrom(netip.MustParseAddr(tt.from), sender.Port())

			var failed []netip.AddrPort
			o := outbox{failed: func(to netip.AddrPort, _ error) { failed = append(failed, to) }}
			var want [][]byte
			say := func(size int) {
				data := bytes.Repeat([]byte{byte(len(want))}, size)
				want = append(want, bytes.Clone(data))
				o.add(out, from.Addr(), to, data)
				clear(data) // the outbox has its own
			}
			for i := range 2*batch + 3 {
				say(i)
			}
			nowhere := netip.AddrPortFrom(to.Addr(), 0)
			o.add(out, from.Addr(), nowhere, []byte("lost")) // and nothing else is
			for range 20 {
				say(9000)
			}
			o.flush()
			if len(failed) != 1 || failed[0] != nowhere {
				t.Errorf("could not be sent: %v, want the one to %v", failed, nowhere)
			}

			var in inbox
			for deadline := time.Now().Add(patience); len(want) > 0 && time.Now().Before(deadline); {
				n, errno := in.receive(fd)
				if errno != 0 && errno != unix.EAGAIN {
					t.Fatal(errno)
				}
				for i := range n {
					data, gotFrom, gotTo := in.datagram(i)
					if !bytes.Equal(data, want[0]) || gotFrom != from || gotTo != to {
						t.Fatalf("%d bytes from %v to %v, want %d from %v to %v, %d still to come", len(data), gotFrom, gotTo, len(want[0]), from, to, len(want))
					}
					want = want[1:]
				}
			}
			if len(want) > 0 {
				t.Errorf("%d datagrams did not come", len(want))
			}
			if n, errno := in.receive(fd); n != 0 || errno != unix.EAGAIN {
				t.Errorf("an empty socket: %d, %v", n, errno)
			}
		})
	}
}

// A datagram that is longer than any follower takes comes in as one that is too long.
func TestBatchCut(t *testing.T) {
	fd, to, _ := udpSocket(t, "127.0.0.1")
	_, _, conn := udpSocket(t, "127.0.0.1")
	if _, err := conn.WriteToUDPAddrPort(make([]byte, receiveSize+1), to); err != nil {
		t.Fatal(err)
	}
	var in inbox
	n, errno := in.receive(fd)
	if n != 1 || errno != 0 {
		t.Fatal(n, errno)
	}
	if data, _, asked := in.datagram(0); len(data) != receiveSize || asked.IsValid() {
		t.Errorf("%d bytes to %v, want %d to nobody that is told", len(data), asked, receiveSize)
	}
}
