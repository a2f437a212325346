package probe

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// program answers procedure 0 of one program and, to others, that it has only that.
func program(number, low, high uint32) answerer {
	return func(call oncrpc.Call, _ []byte) []byte {
		switch {
		case call.Program != number:
			return oncrpc.AppendAccepted(nil, call.XID, oncrpc.ProgUnavail)
		case call.Version < low || call.Version > high:
			return oncrpc.AppendProgMismatch(nil, call.XID, low, high)
		}
		return success(call)
	}
}

func entryAt(number, version uint32, n rpcbind.NetID, port uint16) Entry {
	return Entry{Interface: endpoint.Program(number, version), Endpoint: endpoint.Endpoint{NetID: n, Addr: netip.AddrPortFrom(oncHost, port)}}
}

// tried returns what trying an entry found, in a line.
func tried(e Entry) string {
	return strings.TrimSpace(fmt.Sprintf("%s %d-%d %s", e.State, e.Low, e.High, e.Why))
}

func try(t *testing.T, p *Prober, entries []Entry, o ONCOptions) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p.TryONC(ctx, oncHost, entries, o)
	var got []string
	for _, e := range entries {
		got = append(got, tried(e))
		if answered := e.State == Listening || e.State == Rejected; answered != (e.Time > 0) && e.State != Wrong {
			t.Errorf("%s took %v", tried(e), e.Time)
		}
	}
	return got
}

// TestTryONC: each way in which a server answers, over both transports.
func TestTryONC(t *testing.T) {
	refuse := func(stat oncrpc.AcceptStat) answerer {
		return func(call oncrpc.Call, _ []byte) []byte { return oncrpc.AppendAccepted(nil, call.XID, stat) }
	}
	for _, tt := range []struct {
		name   string
		answer answerer
		want   string // of version 3 of program 100005
	}{
		{"listening", program(100005, 1, 3), "listening 1-3"},
		{"every version", program(100005, 0, math.MaxUint32), "listening 0-4294967295"},
		{"version 0 too", program(100005, 0, 7), "listening 0-7"},
		{"another version", program(100005, 4, 5), "wrong 4-5 the program answers in versions 4 to 5 only"},
		{"another program", program(100003, 1, 3), "wrong 0-0 an RPC server without this program answers"},
		{"no procedure 0", refuse(oncrpc.ProcUnavail), "listening 0-0 it has no procedure 0"},
		{"own error", refuse(oncrpc.SystemErr), "wrong 0-0 it has an error of its own (SYSTEM_ERR)"},
		{"unknown refusal", refuse(77), "wrong 0-0 it refuses for the unknown reason 77"},
		{"not let in", func(call oncrpc.Call, _ []byte) []byte {
			return oncrpc.AppendAuthError(nil, call.XID, oncrpc.AuthTooWeak)
		},
			"rejected 0-0 " + authErrors[oncrpc.AuthTooWeak]},
		{"unknown reason", func(call oncrpc.Call, _ []byte) []byte { return oncrpc.AppendAuthError(nil, call.XID, math.MaxUint32) },
			"rejected 0-0 authentication error 4294967295"},
		{"garbage", func(call oncrpc.Call, _ []byte) []byte { return xdr.AppendUint32(nil, call.XID) }, "wrong 0-0 what it answers is not ONC RPC"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			port := serveONC(t, tt.answer, "tcp", "udp")
			got := try(t, &Prober{Timeout: 200 * time.Millisecond}, []Entry{entryAt(100005, 3, rpcbind.TCP, port), entryAt(100005, 3, rpcbind.UDP, port)}, ONCOptions{})
			if diff := cmp.Diff([]string{tt.want, tt.want}, got); diff != "" {
				t.Errorf("tcp and udp (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTryONCSilence: a server that hangs is told from a port that is dropped, where that can be.
func TestTryONCSilence(t *testing.T) {
	port := serveONC(t, func(oncrpc.Call, []byte) []byte { return nil }, "tcp", "udp")
	got := try(t, &Prober{Timeout: 200 * time.Millisecond}, []Entry{entryAt(100005, 3, rpcbind.TCP, port), entryAt(100005, 3, rpcbind.UDP, port)}, ONCOptions{})
	want := []string{"wrong 0-0 " + silentWords, "filtered 0-0 no answer in 200ms"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tcp and udp (-want +got):\n%s", diff)
	}
}

// TestTryONCNot: what is not called, and why.
func TestTryONCNot(t *testing.T) {
	at := func(n rpcbind.NetID, addr string) Entry {
		return Entry{Interface: endpoint.Program(100005, 3), Endpoint: endpoint.Endpoint{NetID: n, Addr: netip.MustParseAddrPort(addr)}}
	}
	local := Entry{Interface: endpoint.Program(100005, 3), Endpoint: endpoint.Endpoint{NetID: rpcbind.Local, Path: "/run/x.sock"}}
	entries := []Entry{
		local, {}, {Endpoint: endpoint.Endpoint{NetID: rpcbind.TCP}}, at(rpcbind.TCP, "192.0.2.1:0"), at(rpcbind.TCP, "0.0.0.0:1"), at(rpcbind.TCP6, "[::]:1"),
		at(rpcbind.TCP, "127.0.0.1:1"), at(rpcbind.UDP, "192.0.2.2:1"), at(rpcbind.UDP, "255.255.255.255:1"),
	}
	p := &Prober{Dial: func(_ context.Context, network, address string) (net.Conn, error) {
		t.Errorf("dialed %s %s", network, address)
		return nil, net.ErrClosed
	}}
	p.TryONC(t.Context(), netip.MustParseAddr("192.0.2.1"), entries, ONCOptions{})
	want := []string{
		"a local socket of that host", "a transport that is not known", "an address that cannot be read", "port 0", "no IPv4 address of the host is known", "no IPv6 address of the host is known",
		"only the host itself reaches its loopback address", "not the address that was asked, and perhaps of another host", "the address of no host",
	}
	for i, e := range entries {
		if e.State != NotTried || e.Why != want[i] {
			t.Errorf("entry %d: %v, %q, want %q", i, e.State, e.Why, want[i])
		}
	}
	var dialed []string
	p.Dial = func(_ context.Context, network, address string) (net.Conn, error) {
		dialed = append(dialed, network+" "+address)
		return nil, net.ErrClosed
	}
	p.TryONC(t.Context(), netip.MustParseAddr("192.0.2.1"), entries, ONCOptions{Foreign: true})
	if diff := cmp.Diff([]string{"udp 192.0.2.2:1"}, dialed); diff != "" {
		t.Errorf("of what is said to be at other hosts (-want +dialed):\n%s", diff)
	}
}

// TestTryONCConnections: entries of one address share a connection, a server that takes one call
// for each connection is no worse for that, and where nothing listens one attempt is enough.
func TestTryONCConnections(t *testing.T) {
	var dialed atomic.Int32
	count := func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	shared := serveONC(t, program(100005, 1, 3), "tcp")
	single := serveRaw(t, func(c net.Conn) {
		b := make([]byte, 44)
		if _, err := bufio.NewReader(c).Read(b); err != nil {
			return
		}
		reply := program(100005, 1, 3)(oncrpc.Call{XID: binary.BigEndian.Uint32(b[4:]), Program: binary.BigEndian.Uint32(b[16:]), Version: binary.BigEndian.Uint32(b[20:])}, nil)
		c.Write(append(oncrpc.AppendRecordMark(nil, len(reply), true), reply...))
	}, nil, "tcp")
	closed := serveONC(t, nil)
	for _, tt := range []struct {
		name  string
		port  uint16
		conns int32
		want  string
	}{
		{"shared", shared, 1, "listening 1-3"},
		{"one call each", single, 4, "listening 1-3"}, // one more for the range of versions
		{"closed", closed, 1, "not listening 0-0 nothing listens"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dialed.Store(0)
			var entries []Entry
			for v := range uint32(3) {
				entries = append(entries, entryAt(100005, v+1, rpcbind.TCP, tt.port))
			}
			if got := try(t, &Prober{Dial: count}, entries, ONCOptions{}); !slices.Equal(got, []string{tt.want, tt.want, tt.want}) {
				t.Errorf("%q, want %q for each", got, tt.want)
			}
			if n := dialed.Load(); n != tt.conns {
				t.Errorf("%d connections, want %d", n, tt.conns)
			}
		})
	}
}

// TestTryONCBounds: no more connections than the prober allows, and none when the time is over.
func TestTryONCBounds(t *testing.T) {
	var mu sync.Mutex
	open, most := 0, 0
	p := &Prober{Conns: 4, HostConn: 3, Timeout: 5 * time.Millisecond, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		mu.Lock()
		open++
		most = max(most, open)
		mu.Unlock()
		<-ctx.Done()
		mu.Lock()
		open--
		mu.Unlock()
		return nil, ctx.Err()
	}}
	entries := make([]Entry, 20_000)
	for i := range entries {
		entries[i] = entryAt(100005, 3, rpcbind.TCP, uint16(i+1))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	start := time.Now()
	p.TryONC(ctx, oncHost, entries, ONCOptions{})
	if bound := 3 + 4*silentPerConn; most > bound || time.Since(start) > 20*time.Second {
		t.Errorf("%d attempts at a time, want at most %d; took %v", most, bound, time.Since(start))
	}
	if e := entries[0]; e.State != Filtered || e.Why != "no answer in 5ms" {
		t.Errorf("first %v, %q", e.State, e.Why)
	}
	if e := entries[len(entries)-1]; e.State != NotTried || e.Why != "the time was over before it answered" {
		t.Errorf("last %v, %q", e.State, e.Why)
	}
}

// mapperFor answers lookups of versions 2, or 3 and 4 too, as rpcbind does: with the last
// row of the program, if it has not the version.
func mapperFor(high uint32, port uint16, has ...uint32) answerer {
	return func(call oncrpc.Call, args []byte) []byte {
		if call.Version < 2 || call.Version > high {
			return oncrpc.AppendProgMismatch(nil, call.XID, 2, high)
		}
		x := xdr.NewReader(args)
		number, version := x.Uint32(), x.Uint32()
		known := number == 100005 && (rpcbind.Proc(call.Procedure) == rpcbind.ProcGetAddr || slices.Contains(has, version))
		switch {
		case call.Version == 2 && known:
			return success(call, xdr.AppendUint32(nil, uint32(port))...)
		case call.Version == 2:
			return success(call, 0, 0, 0, 0)
		case known:
			return success(call, xdr.AppendString(nil, rpcbind.UniversalAddress(netip.AddrPortFrom(netip.IPv4Unspecified(), port)))...)
		}
		return success(call, 0, 0, 0, 0)
	}
}

func TestLocateONC(t *testing.T) {
	server := serveONC(t, program(100005, 1, 3), "tcp", "udp")
	for _, tt := range []struct {
		name            string
		high            uint32 // of the mapper
		networks        string
		number, version uint32
		want            []string // netid, version, and problems
		why             string   // contained
		problems        []string
	}{
		{"version 4", 4, "tcp udp", 100005, 3, []string{"tcp 3 []", "udp 3 []"}, "", nil},
		{"version 3", 3, "tcp udp", 100005, 3, []string{"tcp 3 []", "udp 3 []"}, "", nil},
		{"version 2", 2, "tcp udp", 100005, 3, []string{"tcp 3 []", "udp 3 []"}, "", nil},
		{"any version", 4, "tcp udp", 100005, 0, []string{"tcp 3 []", "udp 3 []"}, "", nil},
		{"UDP tells of TCP too", 4, "udp", 100005, 3, []string{"udp 3 []", "tcp 3 []"}, "nothing listens", nil},
		{"unknown", 4, "tcp udp", 100004, 2, nil, "it does not know the program", nil},
		{"another version, version 4", 4, "tcp udp", 100005, 9,
			[]string{"tcp 9 [the address is that of another version]", "udp 9 [the address is that of another version]"}, "",
			[]string{"it does not know mountd 9 on tcp, and tells the address of another version", "it does not know mountd 9 on udp, and tells the address of another version"}},
		{"another version, version 2", 2, "tcp udp", 100005, 9,
			[]string{"tcp 9 [the address is that of another version: the program has versions 1 to 3]", "udp 9 [the address is that of another version: the program has versions 1 to 3]"}, "",
			[]string{"it does not know mountd 9 on tcp, and tells the address of another version", "it does not know mountd 9 on udp, and tells the address of another version"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			port := serveONC(t, mapperFor(tt.high, server, 1, 2, 3), strings.Fields(tt.networks)...)
			r := (&Prober{}).LocateONC(t.Context(), oncHost, tt.number, tt.version, 0, ONCOptions{Port: port})
			var got []string
			for _, e := range r.Entries {
				got = append(got, fmt.Sprintf("%s %d %s", e.NetID, e.Version, e.Problems))
				if e.Addr.Port() != server {
					t.Errorf("%s, want port %d", e.Addr, server)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.problems, r.Problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if r.State != Listening || r.Time <= 0 || !strings.Contains(r.Why, tt.why) || tt.why == "" && r.Why != "" {
				t.Errorf("%v, %v, %q, want %q", r.State, r.Time, r.Why, tt.why)
			}
			if want := fmt.Sprintf("%d, version %d", port, tt.high); !strings.Contains(r.Via, want) {
				t.Errorf("via %q, want %q", r.Via, want)
			}
		})
	}
	o := ONCOptions{Port: serveONC(t, mapperFor(4, server, 1, 2, 3), "tcp", "udp")}
	for netid, why := range map[rpcbind.NetID]string{
		rpcbind.TCP: "", rpcbind.UDP: "", rpcbind.UDP6: "no address of the host is known for udp6", rpcbind.Local: "a local socket of that host",
	} {
		r := (&Prober{}).LocateONC(t.Context(), oncHost, 100005, 3, netid, o)
		if r.Why != why || why == "" && (len(r.Entries) != 1 || r.Entries[0].NetID != netid) || why != "" && r.State != NotTried {
			t.Errorf("over %s alone: %v, %q, %v; want %q", netid, r.State, r.Why, r.Entries, why)
		}
	}
	r := (&Prober{}).LocateONC(t.Context(), oncHost, 100005, 3, 0, ONCOptions{Port: serveONC(t, nil)})
	if r.State != NotListening || strings.Count(r.Why, "nothing listens") != 2 {
		t.Errorf("without a mapper: %v, %q", r.State, r.Why)
	}
}

// TestStatisticsRefused: what only version 4 has is refused by others in words.
func TestStatisticsRefused(t *testing.T) {
	o := ONCOptions{Port: serveONC(t, mapperWith(nil, []rpcbind.Mapping{}), "tcp")}
	p := &Prober{}
	if _, err := p.StatisticsONC(t.Context(), oncHost, o); err == nil || !strings.Contains(err.Error(), "version 2 only") {
		t.Errorf("StatisticsONC: %v", err)
	}
	if _, err := p.TimeONC(t.Context(), oncHost, o); err == nil || !strings.Contains(err.Error(), "version 2 only") {
		t.Errorf("TimeONC: %v", err)
	}
	endless := serveRaw(t, func(c net.Conn) {
		call := oncrpc.Call{XID: firstXID(c)}
		c.Write(append(oncrpc.AppendRecordMark(nil, oncrpc.MaxFragment, true), success(call)...))
		for {
			if _, err := c.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	}, nil, "tcp")
	if _, err := p.StatisticsONC(t.Context(), oncHost, ONCOptions{Port: endless}); err == nil || !strings.Contains(err.Error(), errEnd.Error()) {
		t.Errorf("StatisticsONC of an endless answer: %v", err)
	}
}

// TestBroadcastONC: all who answer are named, with what is wrong, and no answer counts twice.
func TestBroadcastONC(t *testing.T) {
	var calls atomic.Int32
	callIt := func(answer func(call oncrpc.Call) []byte) netip.AddrPort {
		return netip.AddrPortFrom(oncHost, serveONC(t, func(call oncrpc.Call, args []byte) []byte {
			calls.Add(1)
			remote, err := rpcbind.ParseRemoteCall(args)
			if err != nil || call.Program != rpcbind.Program || rpcbind.Proc(call.Procedure) != rpcbind.ProcCallIt || remote.Program != 100005 || remote.Version != 3 || remote.Procedure != 0 {
				t.Errorf("call %+v, %+v, %v", call, remote, err)
			}
			return answer(call)
		}, "udp"))
	}
	port := func(n uint32) func(oncrpc.Call) []byte {
		return func(call oncrpc.Call) []byte {
			return success(call, xdr.AppendOpaque(xdr.AppendUint32(nil, n), nil)...)
		}
	}
	one, two := callIt(port(20048)), callIt(port(20049))
	odd := callIt(port(0))
	short := callIt(func(call oncrpc.Call) []byte { return success(call) })
	refuses := callIt(func(call oncrpc.Call) []byte { return oncrpc.AppendAccepted(nil, call.XID, oncrpc.SystemErr) })
	stranger := callIt(func(call oncrpc.Call) []byte { call.XID++; return port(5)(call) })
	silent := callIt(func(oncrpc.Call) []byte { return nil })

	to := []netip.AddrPort{one, two, odd, short, refuses, stranger, silent, netip.AddrPortFrom(oncHost, serveONC(t, nil))}
	got, err := (&Prober{}).BroadcastONC(t.Context(), 100005, 3, BroadcastOptions{To: to, For: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	rows := map[netip.AddrPort]string{}
	for _, a := range got.Answers {
		if rows[a.From] != "" || a.Time <= 0 {
			t.Errorf("answer %+v", a)
		}
		rows[a.From] = fmt.Sprintf("%s %s", a.State, a.Addr)
	}
	want := map[netip.AddrPort]string{
		one: "listening 127.0.0.1:20048", two: "listening 127.0.0.1:20049", odd: "listening 127.0.0.1:0",
		short: "wrong invalid AddrPort", refuses: "wrong invalid AddrPort",
	}
	if diff := cmp.Diff(want, rows, equalReports...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	wantProblems := []string{
		"127.0.0.1: it has an error of its own (SYSTEM_ERR)", "127.0.0.1: it tells port 0 for mountd 3 on udp", "127.0.0.1: its answer cannot be read",
	}
	if slices.Sort(got.Problems); !slices.Equal(got.Problems, wantProblems) {
		t.Errorf("problems %q, want %q", got.Problems, wantProblems)
	}
	if !slices.Equal(got.Sent, to) || got.Cut {
		t.Errorf("sent to %v, cut %v", got.Sent, got.Cut)
	}
	nstest.WaitFor(t, "each call to arrive three times", 20*time.Second, func() bool { return calls.Load() == 3*7 })
}

// TestBroadcastFlood: no flood takes more time or memory than there is.
func TestBroadcastFlood(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answer  func(call oncrpc.Call, n uint32) []byte
		answers int
	}{
		{"answers", func(call oncrpc.Call, n uint32) []byte { return success(call, xdr.AppendUint32(nil, 1+n%65535)...) }, MaxAnswers},
		{"others", func(call oncrpc.Call, n uint32) []byte { return []byte("zzzz") }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: oncHost.AsSlice()})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			go func() {
				buf := make([]byte, 4096)
				n, from, err := c.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				call, _, _ := oncrpc.ParseCall(buf[:n])
				for i := uint32(0); ; i++ {
					if _, err := c.WriteToUDPAddrPort(tt.answer(call, i), from); err != nil {
						return
					}
				}
			}()
			to := []netip.AddrPort{c.LocalAddr().(*net.UDPAddr).AddrPort()}
			start := time.Now()
			got, err := (&Prober{}).BroadcastONC(t.Context(), 100005, 3, BroadcastOptions{To: to, For: 10 * time.Second})
			if err != nil || len(got.Answers) != tt.answers || !got.Cut {
				t.Fatalf("%d answers, cut %v, %v", len(got.Answers), got.Cut, err)
			}
			if took := time.Since(start); took > 9*time.Second {
				t.Errorf("took %v: the flood was not cut", took)
			}
		})
	}
}

func TestBroadcastOf(t *testing.T) {
	for prefix, want := range map[string]string{"10.99.0.1/24": "10.99.0.255", "10.99.0.130/25": "10.99.0.255", "10.0.0.1/8": "10.255.255.255", "10.0.0.1/30": "10.0.0.3"} {
		if got := broadcastOf(netip.MustParsePrefix(prefix)); got.String() != want {
			t.Errorf("broadcastOf(%s) = %s, want %s", prefix, got, want)
		}
	}
	if _, err := (&Prober{}).BroadcastONC(t.Context(), 100005, 3, BroadcastOptions{Interfaces: []string{"no such"}}); err == nil {
		t.Error("no error for an interface that is not there")
	}
}
