package socktable

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// ours are addresses of the namespace in TestAtProperty.
var ours = map[bool][]string{ // by whether they are IPv4
	true:  {"127.0.0.1", "127.0.0.2", "10.99.0.1"},
	false: {"::1", "fd99::1"},
}

// Sockets of all kinds: what the table and a snapshot tell of them is the same, is
// what the sockets were opened for, and is what becomes of what is sent there.
func TestAtProperty(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	eth0(t)
	table := openTable(t)
	where := rapid.SampledFrom([]string{
		"0.0.0.0", "127.0.0.1", "127.0.0.2", "10.99.0.1", "::", "::1", "fd99::1",
		"::ffff:0.0.0.0", "::ffff:127.0.0.1", "::ffff:10.99.0.1",
	})
	draw := rapid.Custom(func(t *rapid.T) plan {
		addr := netip.MustParseAddr(where.Draw(t, "addr"))
		p := plan{
			network: rapid.SampledFrom([]string{"tcp", "udp"}).Draw(t, "network"),
			addr:    netip.AddrPortFrom(addr, rapid.Uint16Range(1000, 1001).Draw(t, "port")).String(),
			v6only:  rapid.Bool().Draw(t, "v6only"),
		}
		switch some := rapid.IntRange(0, 3).Draw(t, "kind") == 0; {
		case some && p.network == "tcp":
			p.idle = true
		case some && addr.Is4():
			p.peer = "127.0.0.1:9"
		case some && p.v6only:
			p.peer = "[::1]:9"
		case some:
			p.peer = "[::ffff:127.0.0.1]:9"
		}
		return p
	})
	rapid.Check(t, func(rt *rapid.T) {
		sockets := map[string][]Socket{}
		var receivers []unix.PollFd
		for _, p := range rapid.SliceOfN(draw, 0, 6).Draw(rt, "plans") {
			d, err := p.try(t)
			if err != nil {
				continue // as for an IPv4 address of a socket that takes IPv6 only
			}
			defer d.Close()
			if p.idle || p.peer != "" {
				continue
			}
			at := netip.MustParseAddrPort(p.addr)
			sockets[p.network] = append(sockets[p.network], Socket{
				Addr:      netip.AddrPortFrom(at.Addr().Unmap(), at.Port()),
				DualStack: at.Addr() == netip.IPv6Unspecified() && !p.v6only,
			})
			if p.network == "udp" {
				receivers = append(receivers, unix.PollFd{Fd: int32(*d), Events: unix.POLLIN})
			}
		}
		model := NewSnapshot(sockets["tcp"], sockets["udp"], nil)
		snapshot, err := table.Snapshot()
		if err != nil {
			rt.Fatal(err)
		}
		for _, network := range []string{"tcp", "udp"} {
			for _, addr := range []string{"0.0.0.0", "127.0.0.1", "127.0.0.2", "10.99.0.1", "::", "::1", "fd99::1"} {
				for port := uint16(1000); port <= 1001; port++ {
					a := netip.AddrPortFrom(netip.MustParseAddr(addr), port)
					name := network + " " + a.String()
					if a.Addr().Is6() {
						name = network + "6 " + a.String()
					}
					e := at(name)
					want := text(model.At(e))
					all := snapshot.At(e)
					if got := text(all); got != want {
						rt.Errorf("Snapshot.At(%s) = %q, want %q", name, got, want)
					}
					some, err := table.At(e)
					if err != nil || (len(some) == 0) != (want == "") {
						rt.Errorf("Table.At(%s) = %q, %v, want some of %q", name, text(some), err, want)
					}
					for _, s := range some {
						if !contains(all, s) {
							rt.Errorf("Table.At(%s) = %q, not in %q", name, text(some), want)
						}
					}
					if got := delivers(t, network, a, receivers); got != (want != "") {
						rt.Errorf("the kernel delivers to %s: %t; want %q", name, got, want)
					}
				}
			}
		}
	})
}

// delivers tells whether what is sent to an address arrives at a socket, for a
// wildcard at any of our addresses.
func delivers(t *testing.T, network string, a netip.AddrPort, receivers []unix.PollFd) bool {
	t.Helper()
	if !a.Addr().IsUnspecified() {
		return arrives(t, network, a, receivers)
	}
	for _, addr := range ours[a.Addr().Is4()] {
		if arrives(t, network, netip.AddrPortFrom(netip.MustParseAddr(addr), a.Port()), receivers) {
			return true
		}
	}
	return false
}

func arrives(t *testing.T, network string, a netip.AddrPort, receivers []unix.PollFd) bool {
	t.Helper()
	from := "0.0.0.0:0"
	if a.Addr().Is6() {
		from = "[::]:0"
	}
	d, err := plan{network: network, addr: from, peer: a.String()}.try(t)
	if network == "tcp" {
		if err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatal(err)
		}
		if err == nil {
			d.Close()
		}
		return err == nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := unix.Write(int(*d), []byte("x")); err != nil {
		t.Fatal(err)
	}
	all := append([]unix.PollFd{{Fd: int32(*d)}}, receivers...) // an error is always polled for
	nstest.WaitFor(t, fmt.Sprintf("the datagram to %s, or its refusal", a), patience, func() bool {
		n, _ := unix.Poll(all, int(time.Second/time.Millisecond))
		return n > 0
	})
	arrived := false
	for _, r := range receivers {
		if _, _, err := unix.Recvfrom(int(r.Fd), make([]byte, 1), unix.MSG_DONTWAIT); err == nil {
			arrived = true
		}
	}
	return arrived
}
