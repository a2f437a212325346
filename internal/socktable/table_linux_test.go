package socktable

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// check holds the answers of the table and of a snapshot against what is wanted:
// the table may know fewer, but not none.
func check(t *testing.T, table *Table, where, want string) {
	t.Helper()
	e := at(where)
	snapshot, err := table.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	all := snapshot.At(e)
	if got := text(all); got != want {
		t.Errorf("Snapshot.At(%s) = %q, want %q", where, got, want)
	}
	sockets, err := table.At(e)
	if err != nil || (len(sockets) == 0) != (want == "") {
		t.Errorf("Table.At(%s) = %q, %v, want some of %q", where, text(sockets), err, want)
	}
	for _, s := range sockets {
		if !contains(all, s) {
			t.Errorf("Table.At(%s) has %v, the snapshot only %v", where, s, all)
		}
	}
}

func contains(all []Socket, one Socket) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

func TestAt(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	eth0(t)
	table := openTable(t)
	const (
		none = "\x00"
		is   = "" // the one socket of the case
	)
	for _, tt := range []struct {
		name    string
		sockets []plan // of each network in turn
		want    map[string]string
	}{
		{"IPv4 wildcard", []plan{{addr: "0.0.0.0:111"}}, map[string]string{
			"4 0.0.0.0:111": is, "4 127.0.0.1:111": is, "4 10.99.0.1:111": is,
			"6 [::]:111": none, "6 [::1]:111": none, "4 0.0.0.0:112": none,
		}},
		{"IPv4 address", []plan{{addr: "10.99.0.1:111"}}, map[string]string{
			"4 10.99.0.1:111": is, "4 0.0.0.0:111": is,
			"4 127.0.0.1:111": none, "4 10.99.0.2:111": none, "6 [::]:111": none,
		}},
		{"IPv6 wildcard alone", []plan{{addr: "[::]:111", v6only: true}}, map[string]string{
			"6 [::]:111": is, "6 [::1]:111": is, "6 [fd99::1]:111": is, "6 [fe80::99]:111": is,
			"4 0.0.0.0:111": none, "4 127.0.0.1:111": none,
		}},
		{"dual-stack", []plan{{addr: "[::]:111"}}, map[string]string{
			"6 [::]:111": "[::]:111*", "6 [::1]:111": "[::]:111*", "4 0.0.0.0:111": "[::]:111*", "4 10.99.0.1:111": "[::]:111*",
			"4 0.0.0.0:112": none,
		}},
		{"IPv6 address", []plan{{addr: "[fd99::1]:111"}}, map[string]string{
			"6 [fd99::1]:111": is, "6 [::]:111": is, "6 [::1]:111": none, "4 0.0.0.0:111": none,
		}},
		{"IPv4 address of an IPv6 socket", []plan{{addr: "[::ffff:10.99.0.1]:111"}}, map[string]string{
			"4 10.99.0.1:111": "10.99.0.1:111", "4 0.0.0.0:111": "10.99.0.1:111",
			"4 127.0.0.1:111": none, "6 [::]:111": none, "6 [::1]:111": none,
		}},
		{"IPv4 wildcard of an IPv6 socket", []plan{{addr: "[::ffff:0.0.0.0]:111"}}, map[string]string{
			"4 10.99.0.1:111": "0.0.0.0:111", "4 0.0.0.0:111": "0.0.0.0:111", "6 [::]:111": none, "6 [::1]:111": none,
		}},
		{"link-local", []plan{{addr: "[fe80::99%eth0]:111"}}, map[string]string{
			"6 [fe80::99]:111": "[fe80::99]:111", "6 [::]:111": "[fe80::99]:111", "6 [::1]:111": none,
		}},
		{"bound to an interface", []plan{{addr: "0.0.0.0:111", device: "eth0"}}, map[string]string{
			"4 10.99.0.1:111": is, "4 0.0.0.0:111": is, "6 [::]:111": none,
		}},
		{"both families", []plan{{addr: "0.0.0.0:111"}, {addr: "[::]:111", v6only: true}}, map[string]string{
			"4 0.0.0.0:111": "0.0.0.0:111", "6 [::1]:111": "[::]:111",
		}},
		{"shared port", []plan{{addr: "127.0.0.1:111"}, {addr: "127.0.0.1:111"}}, map[string]string{
			"4 127.0.0.1:111": "127.0.0.1:111 127.0.0.1:111", "4 0.0.0.0:111": "127.0.0.1:111 127.0.0.1:111", "4 10.99.0.1:111": none,
		}},
		{"address and wildcard", []plan{{addr: "127.0.0.1:111"}, {addr: "0.0.0.0:111"}, {addr: "[::]:111"}}, map[string]string{
			"4 127.0.0.1:111": "0.0.0.0:111 127.0.0.1:111 [::]:111*", "4 10.99.0.1:111": "0.0.0.0:111 [::]:111*",
			"6 [::1]:111": "[::]:111*",
		}},
		{"two addresses", []plan{{addr: "127.0.0.1:111"}, {addr: "10.99.0.1:111"}, {addr: "10.99.0.1:112"}}, map[string]string{
			"4 0.0.0.0:111": "10.99.0.1:111 127.0.0.1:111", "4 10.99.0.1:111": "10.99.0.1:111", "4 127.0.0.1:112": none,
		}},
	} {
		for _, network := range []string{"tcp", "udp"} {
			t.Run(network+" "+tt.name, func(t *testing.T) {
				var opened []*descriptor
				for _, p := range tt.sockets {
					p.network = network
					opened = append(opened, p.open(t))
				}
				for where, want := range tt.want {
					switch want {
					case none:
						want = ""
					case is:
						want = tt.sockets[0].addr
					}
					family, addr, _ := strings.Cut(where, " ")
					netid := strings.TrimSuffix(network+family, "4")
					check(t, table, netid+" "+addr, want)
					other := map[string]string{"tcp": "udp", "udp": "tcp"}[network]
					check(t, table, strings.Replace(netid, network, other, 1)+" "+addr, "")
				}
				for _, d := range opened {
					d.Close()
				}
				for where := range tt.want {
					family, addr, _ := strings.Cut(where, " ")
					check(t, table, strings.TrimSuffix(network+family, "4")+" "+addr, "")
				}
			})
		}
	}
}

// Sockets that have the port, but do not receive.
func TestAtOfOthers(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	table := openTable(t)
	for _, tt := range []struct {
		name  string
		plan  plan
		netid string
	}{
		{"bound only", plan{network: "tcp", addr: "127.0.0.1:111", idle: true}, "tcp 127.0.0.1:111"},
		{"bound only, IPv6", plan{network: "tcp", addr: "[::]:111", idle: true}, "tcp6 [::1]:111"},
		{"connected UDP", plan{network: "udp", addr: "127.0.0.1:111", peer: "127.0.0.1:9"}, "udp 127.0.0.1:111"},
		{"connected UDP of any address", plan{network: "udp", addr: "0.0.0.0:111", peer: "127.0.0.1:9"}, "udp 0.0.0.0:111"},
		{"connected UDP, IPv6", plan{network: "udp", addr: "[::]:111", peer: "[::1]:9"}, "udp6 [::1]:111"},
		{"connected UDP, dual-stack", plan{network: "udp", addr: "[::]:111", peer: "[::ffff:127.0.0.1]:9"}, "udp 127.0.0.1:111"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := tt.plan.open(t)
			defer d.Close()
			check(t, table, tt.netid, "")
			netid, _, _ := strings.Cut(tt.netid, " ")
			wildcard := " 0.0.0.0:111"
			if strings.HasSuffix(netid, "6") {
				wildcard = " [::]:111"
			}
			check(t, table, netid+wildcard, "")
		})
	}
	t.Run("connection", func(t *testing.T) { // whose listener is gone
		l := plan{network: "tcp", addr: "127.0.0.1:111"}.open(t)
		plan{network: "tcp", addr: "127.0.0.1:112", peer: "127.0.0.1:111"}.open(t)
		fd, _, err := unix.Accept(int(*l))
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		check(t, table, "tcp 127.0.0.1:111", "127.0.0.1:111")
		l.Close()
		check(t, table, "tcp 127.0.0.1:111", "")
		check(t, table, "tcp 0.0.0.0:111", "")
		check(t, table, "tcp 127.0.0.1:112", "")
	})
	t.Run("TCP of several paths", func(t *testing.T) { // which Go's listeners are
		var lc net.ListenConfig
		lc.SetMultipathTCP(true)
		l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:113")
		if err != nil {
			t.Fatal(err)
		}
		check(t, table, "tcp 127.0.0.1:113", "127.0.0.1:113")
		l.Close()
		check(t, table, "tcp 127.0.0.1:111", "")
	})
}

func TestAtTellsUsers(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	table := openTable(t)
	for _, p := range []plan{{network: "tcp", addr: "127.0.0.1:111"}, {network: "udp", addr: "[::]:111"}} {
		asUser(t, 1001, func() { p.open(t) })
	}
	snapshot, err := table.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{"tcp 127.0.0.1:111", "tcp 0.0.0.0:111", "udp 127.0.0.1:111", "udp6 [::1]:111"} {
		got, err := table.At(at(where))
		if err != nil || len(got) != 1 || got[0].UID != 1001 {
			t.Errorf("Table.At(%s) = %v, %v, want a socket of user 1001", where, got, err)
		}
		if got := snapshot.At(at(where)); len(got) != 1 || got[0].UID != 1001 {
			t.Errorf("Snapshot.At(%s) = %v, want a socket of user 1001", where, got)
		}
	}
}

func TestTableFromManyGoroutines(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	table := openTable(t)
	where := plan{network: "tcp", addr: "127.0.0.1:0"}.open(t).addr(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				sockets, err := table.At(at("tcp " + where.String()))
				if err != nil || len(sockets) != 1 || sockets[0].Addr != where {
					t.Errorf("At(%s) = %v, %v", where, sockets, err)
				}
				if snapshot, err := table.Snapshot(); err != nil || len(snapshot.At(at("tcp "+where.String()))) != 1 {
					t.Errorf("Snapshot without %s, %v", where, err)
				}
			}
		})
	}
	all.Wait()
}

func TestClosedTable(t *testing.T) {
	table := openTable(t)
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := table.At(at("tcp 127.0.0.1:111"))
	_, err2 := table.Snapshot()
	_, err3 := table.SenderOwner(netip.MustParseAddrPort("127.0.0.1:111"))
	for _, err := range []error{err, err2, err3} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("a closed table says %v, want %v", err, net.ErrClosed)
		}
	}
}

// What Open sees where the kernel lacks inet_diag for a protocol.
func TestDumpOfUnknownProtocol(t *testing.T) {
	table := openTable(t)
	err := table.dump(inetRequest{family: unix.AF_INET, protocol: 253}, func(inetSocket) {}) // for experiments (RFC 3692)
	if !errors.Is(err, unix.ENOENT) {
		t.Errorf("dump = %v, want %v", err, unix.ENOENT)
	}
}

// listeners opens sockets at addresses of the loopback network.
func listeners(b *testing.B, n int) netip.AddrPort {
	b.Helper()
	var last *descriptor
	for i := range n {
		last = plan{network: "tcp", addr: fmt.Sprintf("127.%d.%d.1:%d", 1+i/250, 1+i%250, 20000+i%250)}.open(b)
	}
	return last.addr(b)
}

func BenchmarkAt(b *testing.B) {
	table := openTable(b)
	tcp := listeners(b, 2000)
	udp := plan{network: "udp", addr: "127.0.0.1:0"}.open(b).addr(b)
	wildcard := func(a netip.AddrPort) string { return netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port()).String() }
	l, err := net.Listen("unix", "@socktable benchmark")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for _, bb := range []struct {
		name, at string
		none     bool
	}{
		{name: "exact", at: "tcp " + tcp.String()},
		{name: "exact udp", at: "udp " + udp.String()},
		{name: "listed", at: "tcp " + wildcard(tcp)},
		{name: "listed udp", at: "udp " + wildcard(udp)},
		{name: "none", at: "tcp 127.0.0.1:1", none: true},
		{name: "local", at: "local @socktable benchmark"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			e := at(bb.at)
			b.ReportAllocs()
			for b.Loop() {
				if sockets, err := table.At(e); err != nil || (len(sockets) == 0) != bb.none {
					b.Fatal(sockets, err)
				}
			}
		})
	}
}

func BenchmarkSnapshot(b *testing.B) {
	for _, n := range []int{2000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := openTable(b)
			e := at("tcp " + listeners(b, n).String())
			b.ReportAllocs()
			for b.Loop() {
				if s, err := table.Snapshot(); err != nil || len(s.At(e)) != 1 {
					b.Fatal(s, err)
				}
			}
		})
	}
}
