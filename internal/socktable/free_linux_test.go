package socktable_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/socktable"
)

func TestFree(t *testing.T) {
	if !nstest.Inside(t) { // where nobody else has ports
		return
	}
	for _, tt := range []struct{ network, address string }{
		{"tcp4", "0.0.0.0:0"}, {"tcp4", "127.0.0.1:0"}, {"tcp4", "127.3.2.1:0"}, {"tcp6", "[::1]:0"}, {"tcp6", "[::]:0"}, {"tcp", ":0"},
		{"udp4", "0.0.0.0:0"}, {"udp4", "127.0.0.1:0"}, {"udp6", "[::1]:0"}, {"udp", ":0"},
	} {
		t.Run(tt.network+" "+tt.address, func(t *testing.T) {
			port, stop := hold(t, tt.network, tt.address)
			udp := tt.network[0] == 'u'
			if socktable.Free(udp, port) {
				t.Errorf("Free(%v, %d) while a socket is there", udp, port)
			}
			if !socktable.Free(!udp, port) {
				t.Errorf("Free(%v, %d) is false, but the socket is of the other transport", !udp, port)
			}
			stop()
			for range 2 { // it leaves nothing behind
				if !socktable.Free(udp, port) {
					t.Errorf("Free(%v, %d) is false once the socket is closed", udp, port)
				}
			}
		})
	}
}

// hold opens a socket that receives.
func hold(t *testing.T, network, address string) (port uint16, stop func()) {
	t.Helper()
	if network[0] == 'u' {
		c, err := net.ListenPacket(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return netip.MustParseAddrPort(c.LocalAddr().String()).Port(), func() { c.Close() }
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return netip.MustParseAddrPort(ln.Addr().String()).Port(), func() { ln.Close() }
}

// TestFreeOfOutgoing: a port from which a connection goes out is not free.
func TestFreeOfOutgoing(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	server, stop := hold(t, "tcp4", "127.0.0.1:0")
	var d net.Dialer
	conn, err := d.DialContext(context.Background(), "tcp4", fmt.Sprintf("127.0.0.1:%d", server))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := netip.MustParseAddrPort(conn.LocalAddr().String()).Port()
	if socktable.Free(false, client) {
		t.Errorf("port %d is free, but a connection goes out from it", client)
	}
	stop()
}
