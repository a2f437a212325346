package transport

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestSourceOf(t *testing.T) {
	for _, tt := range []struct{ address, want string }{
		{"192.0.2.1", "192.0.2.1"},
		{"169.254.1.1", "169.254.1.1"},
		{"2001:db8::1", "2001:db8::"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"},
		{"fd00::1", "fd00::"},
		{"fe80::1", "fe80::1"},
	} {
		if got := sourceOf(netip.MustParseAddr(tt.address)); got != netip.MustParseAddr(tt.want).As16() {
			t.Errorf("%s is of %s, want %s", tt.address, netip.AddrFrom16(got), tt.want)
		}
	}
}

// TestMayAsk: whose calls are answered, with a clock that stands still.
func TestMayAsk(t *testing.T) {
	g := NewGuard(Rules{Ask: networks(t, "10.0.0.0/8", "2001:db8::/32"), Queries: 3})
	g.ThisHost = func(a netip.Addr) bool {
		return a == netip.MustParseAddr("192.0.2.9") || a == netip.MustParseAddr("10.0.0.9")
	}
	at := time.Hour
	ask := func(address string, way byte, times int) (answered int, last error) {
		var from netip.Addr
		if address != "" {
			from = netip.MustParseAddr(address)
		}
		for range times {
			if last = g.mayAsk(from, way, &at); last == nil {
				answered++
			}
		}
		return answered, last
	}
	for _, tt := range []struct {
		name, from string
		way        byte
		answered   int // of ten
		last       error
	}{
		{"local", "", byConnection, 10, nil},
		{"loopback", "127.0.0.1", byDatagram, 10, nil},
		{"loopback, IPv6", "::1", byConnection, 10, nil},
		{"this host", "10.0.0.9", byDatagram, 10, nil},
		{"this host, a network that may not ask", "192.0.2.9", byConnection, 10, nil},
		{"a network that may not ask", "192.0.2.1", byDatagram, 0, stranger},
		{"a network that may not ask, IPv6", "fe80::1", byConnection, 0, stranger},
		{"a source", "10.0.0.1", byDatagram, 3, throttled},
		{"its connections", "10.0.0.1", byConnection, 3, throttled},
		{"another source", "10.0.0.2", byDatagram, 3, throttled},
		{"IPv6", "2001:db8::1", byDatagram, 3, throttled},
		{"the same network", "2001:db8::2", byDatagram, 0, throttled},
		{"another network", "2001:db8:0:1::1", byDatagram, 3, throttled},
	} {
		if answered, last := ask(tt.from, tt.way, 10); answered != tt.answered || last != tt.last {
			t.Errorf("%s: %d of 10 answered, then %v, want %d, %v", tt.name, answered, last, tt.answered, tt.last)
		}
	}
	if got, want := g.Counts(), (Counts{Strangers: 20, Throttled: 4*7 + 10 + 7}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}

	at += time.Second / 3
	if answered, _ := ask("10.0.0.1", byDatagram, 10); answered != 1 {
		t.Errorf("a third of a second later %d of 10 are answered, want 1", answered)
	}
	g.SetRules(Rules{Queries: 3, Burst: 5})
	if answered, _ := ask("192.0.2.1", byDatagram, 10); answered != 5 {
		t.Errorf("with a burst of 5, %d of 10 are answered", answered)
	}
	g.SetRules(Rules{Ask: networks(t)})
	if answered, last := ask("10.0.0.1", byDatagram, 10); answered != 0 || last != stranger {
		t.Errorf("where no network may ask %d of 10 are answered, then %v", answered, last)
	}
	g.SetRules(Rules{})
	if answered, _ := ask("10.0.0.1", byDatagram, 10); answered != 10 {
		t.Errorf("without rules %d of 10 are answered", answered)
	}
	g = nil
	if answered, _ := ask("10.0.0.1", byDatagram, 10); answered != 10 {
		t.Errorf("without a guard %d of 10 are answered", answered)
	}
}

// asked is who asks in the benchmarks, and a guard that has something to look at for them.
func asked(t testing.TB) (g *Guard, sources map[string][]netip.Addr) {
	var prefixes []string
	for i := range 16 {
		prefixes = append(prefixes, fmt.Sprintf("10.%d.0.0/16", 2*i), fmt.Sprintf("2001:db8:%x::/48", 2*i))
	}
	g = NewGuard(Rules{Ask: networks(t, prefixes...), Connections: 1000, PerSource: 50, Queries: 1 << 30})
	g.ThisHost = func(a netip.Addr) bool { return a == netip.MustParseAddr("10.0.0.9") }
	many := make([]netip.Addr, 1<<16)
	for i := range many {
		a := [4]byte{10, 2}
		binary.BigEndian.PutUint16(a[2:], uint16(i*31))
		many[i] = netip.AddrFrom4(a)
	}
	one := func(a string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(a)} }
	return g, map[string][]netip.Addr{
		"loopback": one("127.0.0.1"), "loopback6": one("::1"), "IPv4": one("10.4.0.1"), "IPv6": one("2001:db8:4::1"),
		"stranger": one("192.0.2.1"), "65536 sources": many,
	}
}

// TestMayAskAllocations: deciding costs no memory.
func TestMayAskAllocations(t *testing.T) {
	g, sources := asked(t)
	for name, from := range sources {
		i := 0
		if n := testing.AllocsPerRun(1000, func() {
			var at time.Duration
			g.mayAsk(from[i%len(from)], byDatagram, &at)
			i++
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkMayAsk(b *testing.B) {
	g, sources := asked(b)
	for name, from := range sources {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			at, i := time.Second, 0
			for b.Loop() {
				g.mayAsk(from[i&(len(from)-1)], byDatagram, &at) // of each there are a power of two
				if i++; i%16 == 0 {
					at += 16 * time.Microsecond
				}
			}
		})
	}
	far := sources["IPv4"][0]
	b.Run("IPv4, clock read", func(b *testing.B) {
		for b.Loop() {
			var at time.Duration
			g.mayAsk(far, byDatagram, &at)
		}
	})
	b.Run("IPv4, no rules", func(b *testing.B) {
		g := NewGuard(Rules{})
		at := time.Second
		for b.Loop() {
			g.mayAsk(far, byDatagram, &at)
		}
	})
}

func BenchmarkEnter(b *testing.B) {
	g, _ := asked(b)
	for _, address := range []string{"127.0.0.1", "10.4.0.1", "2001:db8:4::1"} {
		b.Run(address, func(b *testing.B) {
			b.ReportAllocs()
			c := &Call{Client: netip.AddrPortFrom(netip.MustParseAddr(address), 700)}
			for b.Loop() {
				v, err := g.enter(c)
				if err != nil {
					b.Fatal(err)
				}
				g.leave(v)
			}
		})
	}
}
