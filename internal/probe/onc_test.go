package probe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

var oncHost = netip.MustParseAddr("127.0.0.1")

// An answerer returns the whole message that answers a call; nil is silence.
type answerer func(call oncrpc.Call, args []byte) []byte

// serveONC answers calls on loopback until the test ends, over the networks given, all at one port.
func serveONC(t *testing.T, answer answerer, networks ...string) uint16 {
	t.Helper()
	return serveRaw(t, func(c net.Conn) {
		var records oncrpc.RecordReader
		records.Reset(1 << 16)
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			for b := buf[:n]; len(b) > 0; {
				used, rec, err := records.Feed(b)
				if err != nil {
					return
				}
				b = b[used:]
				if rec == nil {
					continue
				}
				call, args, err := oncrpc.ParseCall(rec)
				if err != nil {
					return
				}
				if reply := answer(call, args); reply != nil {
					c.Write(append(oncrpc.AppendRecordMark(nil, len(reply), true), reply...))
				}
			}
		}
	}, func(datagram []byte) [][]byte {
		call, args, err := oncrpc.ParseCall(datagram)
		if err != nil {
			return nil
		}
		if reply := answer(call, args); reply != nil {
			return [][]byte{reply}
		}
		return nil
	}, networks...)
}

// serveRaw has connections and datagrams on loopback handled until the test ends, all at one port.
func serveRaw(t *testing.T, handle func(net.Conn), datagram func([]byte) [][]byte, networks ...string) uint16 {
	t.Helper()
	for range 100 { // the port that UDP gets may be taken for TCP
		udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: oncHost.AsSlice()})
		if err != nil {
			t.Fatal(err)
		}
		port := udp.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		tcp, err := net.Listen("tcp4", netip.AddrPortFrom(oncHost, port).String())
		if err != nil {
			udp.Close()
			continue
		}
		if slices.Contains(networks, "tcp") {
			go acceptAll(t, tcp, handle)
			t.Cleanup(func() { tcp.Close() })
		} else {
			tcp.Close()
		}
		if slices.Contains(networks, "udp") {
			go receiveAll(udp, datagram)
			t.Cleanup(func() { udp.Close() })
		} else {
			udp.Close()
		}
		return port
	}
	t.Fatal("no port is free for both TCP and UDP")
	return 0
}

func acceptAll(t *testing.T, l net.Listener, handle func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		t.Cleanup(func() { c.Close() })
		go func() {
			defer c.Close()
			handle(c)
		}()
	}
}

func receiveAll(c *net.UDPConn, answers func([]byte) [][]byte) {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		for _, a := range answers(buf[:n]) {
			c.WriteToUDPAddrPort(a, from)
		}
	}
}

func success(call oncrpc.Call, results ...byte) []byte {
	return append(oncrpc.AppendAccepted(nil, call.XID, oncrpc.Success), results...)
}

// mapperWith tells rows in versions 3 and 4, mappings in version 2, and lacks what is nil.
func mapperWith(rows []rpcbind.RPCB, mappings []rpcbind.Mapping) answerer {
	return func(call oncrpc.Call, args []byte) []byte {
		low, high := uint32(2), uint32(4)
		if rows == nil {
			high = 2
		}
		if mappings == nil {
			low = 3
		}
		switch {
		case call.Program != rpcbind.Program:
			return oncrpc.AppendAccepted(nil, call.XID, oncrpc.ProgUnavail)
		case call.Version < low || call.Version > high:
			return oncrpc.AppendProgMismatch(nil, call.XID, low, high)
		case rpcbind.Proc(call.Procedure) != rpcbind.ProcDump:
			return oncrpc.AppendAccepted(nil, call.XID, oncrpc.ProcUnavail)
		case call.Version == 2:
			return success(call, listOf(mappings)...)
		}
		return success(call, listOf(rows)...)
	}
}

func listOf[T interface{ Append([]byte) []byte }](rows []T) []byte {
	var b []byte
	for _, row := range rows {
		b = row.Append(rpcbind.AppendNext(b))
	}
	return rpcbind.AppendEnd(b)
}

func onc(t *testing.T, p *Prober, o ONCOptions) *Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return p.ONC(ctx, oncHost, o)
}

// TestONCRows: what is odd is kept and named, and what is not is as it can be called.
func TestONCRows(t *testing.T) {
	row := func(version uint32, netid, address string) rpcbind.RPCB {
		return rpcbind.RPCB{Program: 100005, Version: version, NetID: netid, Address: address, Owner: "superuser"}
	}
	entry := func(version uint32, at endpoint.Endpoint, told string, problems ...string) Entry {
		return Entry{Interface: endpoint.Program(100005, version), Endpoint: at, Told: told, Owner: "superuser", Problems: problems}
	}
	at := func(n rpcbind.NetID, addr string) endpoint.Endpoint {
		return endpoint.Endpoint{NetID: n, Addr: netip.MustParseAddrPort(addr)}
	}
	local := endpoint.Endpoint{NetID: rpcbind.Local, Path: "/run/x.sock"}
	for _, tt := range []struct {
		name     string
		row      rpcbind.RPCB
		want     Entry
		problems []string
	}{
		{"every address", row(3, "tcp", "0.0.0.0.78.80"), entry(3, at(rpcbind.TCP, "127.0.0.1:20048"), "0.0.0.0.78.80"), nil},
		{"one address", row(3, "udp", "127.0.0.1.78.80"), entry(3, at(rpcbind.UDP, "127.0.0.1:20048"), ""), nil},
		{"another address", row(3, "udp", "192.0.2.7.78.80"), entry(3, at(rpcbind.UDP, "192.0.2.7:20048"), ""), nil},
		{"IPv6", row(3, "tcp6", "::.78.80"), entry(3, at(rpcbind.TCP6, "[::1]:20048"), "::.78.80"), nil},
		{"local", row(3, "local", "/run/x.sock"), entry(3, local, ""), nil},
		{"unix", row(3, "unix", "/run/x.sock"), entry(3, local, ""), nil},
		{"no path", row(3, "local", "x"), entry(3, endpoint.Endpoint{NetID: rpcbind.Local, Path: "x"}, "", `local: path "x" does not begin with / or @`),
			[]string{`it tells "x" for mountd 3 on local, which is no path of a socket`}},
		{"port 0", row(3, "udp", "0.0.0.0.0.0"), entry(3, at(rpcbind.UDP, "127.0.0.1:0"), "0.0.0.0.0.0", "port 0"), []string{"it tells port 0 for mountd 3 on udp"}},
		{"netid", row(3, "ticots", "x\x1b[2J"), entry(3, endpoint.Endpoint{}, "x\x1b[2J", `the netid "ticots" is not known`),
			[]string{`it tells the netid "ticots" for mountd 3, which is not known`}},
		{"no address", row(3, "tcp", "zzz\n"), entry(3, endpoint.Endpoint{NetID: rpcbind.TCP}, "zzz\n", `"zzz\n" is no address`),
			[]string{`it tells "zzz\n" for mountd 3 on tcp, which is no address`}},
		{"empty address", row(3, "tcp", ""), entry(3, endpoint.Endpoint{NetID: rpcbind.TCP}, "", `"" is no address`), []string{`it tells "" for mountd 3 on tcp, which is no address`}},
		{"family", row(3, "tcp", "::.78.80"), entry(3, at(rpcbind.TCP, "[::]:20048"), "", ":: is no address of tcp"),
			[]string{"it tells the address :: for mountd 3 on tcp, which is of the other family"}},
		{"multicast", row(3, "udp", "224.0.0.1.78.80"), entry(3, at(rpcbind.UDP, "224.0.0.1:20048"), "", "224.0.0.1 is the address of no host"),
			[]string{"it tells the address 224.0.0.1 for mountd 3 on udp, which is that of no host"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			port := serveONC(t, mapperWith([]rpcbind.RPCB{tt.row, tt.row}, nil), "tcp")
			r := onc(t, &Prober{}, ONCOptions{Port: port})
			want := &Report{
				Host: oncHost, Dialect: endpoint.ONC, Via: "tcp " + strconv.Itoa(int(port)) + ", version 4",
				State: Listening, Entries: []Entry{tt.want, tt.want}, Problems: tt.problems,
			}
			if diff := cmp.Diff(want, r, equalReports...); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if r.Time <= 0 {
				t.Error("no time of the first answer")
			}
		})
	}
}

var equalReports = []cmp.Option{cmpopts.IgnoreFields(Report{}, "Time"), cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})}

func TestONCMappings(t *testing.T) {
	port := serveONC(t, mapperWith(nil, []rpcbind.Mapping{
		{Program: 100005, Version: 3, Protocol: 6, Port: 20048}, {Program: 100005, Version: 3, Protocol: 132, Port: 20048},
		{Program: 300001, Version: 1, Protocol: 17, Port: 70000}, {Program: 300001, Version: 1, Protocol: 17},
	}), "udp")
	r := onc(t, &Prober{}, ONCOptions{Port: port})
	udp := func(port uint16) endpoint.Endpoint {
		return endpoint.Endpoint{NetID: rpcbind.UDP, Addr: netip.AddrPortFrom(oncHost, port)}
	}
	want := &Report{
		Host: oncHost, Dialect: endpoint.ONC, Via: "udp " + strconv.Itoa(int(port)) + ", version 2", State: Listening,
		Entries: []Entry{
			{Interface: endpoint.Program(100005, 3), Endpoint: endpoint.Endpoint{NetID: rpcbind.TCP, Addr: netip.AddrPortFrom(oncHost, 20048)}},
			{Interface: endpoint.Program(100005, 3), Told: "port 20048", Problems: []string{"the protocol 132 is not known"}},
			{Interface: endpoint.Program(300001, 1), Endpoint: endpoint.Endpoint{NetID: rpcbind.UDP}, Told: "port 70000", Problems: []string{"there is no such port"}},
			{Interface: endpoint.Program(300001, 1), Endpoint: udp(0), Problems: []string{"port 0"}},
		},
		Problems: []string{
			"it tells the protocol 132 for mountd 3: TCP is 6, UDP is 17",
			"it tells port 70000 for program 300001 version 1 on udp, and the last port is 65535",
			"it tells port 0 for program 300001 version 1 on udp",
		},
	}
	if diff := cmp.Diff(want, r, equalReports...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestONCWays: which version and transport answers in the end, and what is said when none does.
func TestONCWays(t *testing.T) {
	rows := []rpcbind.RPCB{{Program: 100005, Version: 3, NetID: "tcp", Address: "0.0.0.0.78.80"}}
	mappings := []rpcbind.Mapping{{Program: 100005, Version: 3, Protocol: 6, Port: 20048}}
	only := func(version uint32, dumps answerer, other func(oncrpc.Call) []byte) answerer {
		return func(call oncrpc.Call, args []byte) []byte {
			if call.Version == version {
				return dumps(call, args)
			}
			return other(call)
		}
	}
	refuse := func(stat oncrpc.AcceptStat) func(oncrpc.Call) []byte {
		return func(call oncrpc.Call) []byte { return oncrpc.AppendAccepted(nil, call.XID, stat) }
	}
	never := func(other func(oncrpc.Call) []byte) answerer { return only(99, nil, other) }
	all := mapperWith(rows, mappings)
	for _, tt := range []struct {
		name     string
		answer   answerer
		networks []string
		state    State
		via      string // "PORT" stands for the port
		why      string
		problems []string
	}{
		{"all", all, []string{"tcp", "udp"}, Listening, "tcp PORT, version 4", "", nil},
		{"UDP only", all, []string{"udp"}, Listening, "udp PORT, version 4", "", nil},
		{"version 2 only", mapperWith(nil, mappings), []string{"tcp"}, Listening, "tcp PORT, version 2", "", nil},
		{"version 3 by trial", only(3, all, refuse(oncrpc.SystemErr)), []string{"tcp"}, Listening, "tcp PORT, version 3", "", nil},
		{"version 2 by trial", only(2, all, refuse(oncrpc.ProcUnavail)), []string{"tcp"}, Listening, "tcp PORT, version 2", "", nil},
		{"contradiction", only(3, all, func(call oncrpc.Call) []byte { return oncrpc.AppendProgMismatch(nil, call.XID, 2, 4) }), []string{"tcp"}, Listening, "tcp PORT, version 3", "",
			[]string{"it refuses version 4 of the port mapper and says that it has versions 2 to 4"}},
		{"other versions", never(func(call oncrpc.Call) []byte { return oncrpc.AppendProgMismatch(nil, call.XID, 5, 9) }), []string{"tcp"}, Wrong, "",
			"tcp PORT: the program answers in versions 5 to 9 only; udp PORT: nothing listens", nil},
		{"no mapper", never(refuse(oncrpc.ProgUnavail)), []string{"tcp"}, Wrong, "", "tcp PORT: an RPC server without this program answers; udp PORT: nothing listens", nil},
		{"not let in", never(func(call oncrpc.Call) []byte { return oncrpc.AppendAuthError(nil, call.XID, oncrpc.AuthTooWeak) }), []string{"tcp"}, Rejected, "",
			"tcp PORT: " + authErrors[oncrpc.AuthTooWeak] + "; udp PORT: nothing listens", nil},
		{"another RPC", never(func(call oncrpc.Call) []byte { return oncrpc.AppendRPCMismatch(nil, call.XID) }), []string{"udp"}, Wrong, "",
			"tcp PORT: nothing listens; udp PORT: it speaks version 2 of ONC RPC, and not 2", nil},
		{"nothing", nil, nil, NotListening, "", "tcp PORT: nothing listens; udp PORT: nothing listens", nil},
		{"silence", never(func(oncrpc.Call) []byte { return nil }), []string{"udp"}, NotListening, "", "tcp PORT: nothing listens; udp PORT: no answer in 200ms", nil},
		{"TCP without answers", never(func(oncrpc.Call) []byte { return nil }), []string{"tcp", "udp"}, Wrong, "", "tcp PORT: " + silentWords + "; udp PORT: no answer in 200ms", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			port := serveONC(t, tt.answer, tt.networks...)
			p := &Prober{}
			if strings.Contains(tt.why, "no answer") {
				p.Timeout = 200 * time.Millisecond
			}
			r := onc(t, p, ONCOptions{Port: port})
			number := strconv.Itoa(int(port))
			if via, why := strings.ReplaceAll(tt.via, "PORT", number), strings.ReplaceAll(tt.why, "PORT", number); r.State != tt.state || r.Via != via || r.Why != why {
				t.Errorf("%v, via %q, why %q, want %v, %q, %q", r.State, r.Via, r.Why, tt.state, via, why)
			}
			if diff := cmp.Diff(tt.problems, r.Problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if (len(r.Entries) == 1) != (tt.state == Listening) {
				t.Errorf("entries %v", r.Entries)
			}
		})
	}
}

// TestONCHostile: whatever a mapper does, it ends, within its time and memory, and is named.
func TestONCHostile(t *testing.T) {
	const timeout = 500 * time.Millisecond
	row := rpcbind.RPCB{Program: 100005, Version: 3, NetID: "tcp", Address: "0.0.0.0.78.80", Owner: "superuser"}.Append(rpcbind.AppendNext(nil))
	// stream answers the first call of a connection with what write writes.
	stream := func(write func(w io.Writer, call oncrpc.Call)) func(net.Conn) {
		return func(c net.Conn) {
			buf := make([]byte, 4096)
			n, err := io.ReadAtLeast(c, buf, 44)
			if err != nil {
				return
			}
			call, _, err := oncrpc.ParseCall(buf[4:n])
			if err != nil {
				return
			}
			write(c, call)
			io.Copy(io.Discard, c) // and says nothing more until the client hangs up
		}
	}
	forever := func(w io.Writer, b []byte) {
		for b = bytes.Repeat(b, 1+16384/len(b)); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}
	mark := func(size int, last bool) []byte { return oncrpc.AppendRecordMark(nil, size, last) }
	for _, tt := range []struct {
		name     string
		handle   func(net.Conn)
		datagram func([]byte) [][]byte
		state    State
		why      string // contained
		entries  int
		problem  string // contained
	}{
		{name: "endless dump in one fragment", handle: stream(func(w io.Writer, call oncrpc.Call) {
			w.Write(append(mark(oncrpc.MaxFragment, true), success(call)...))
			forever(w, row)
		}), state: Listening, entries: MaxEntries, problem: "it tells more than 100000 rows: the rest was not read"},
		{name: "endless dump in small fragments", handle: stream(func(w io.Writer, call oncrpc.Call) {
			w.Write(append(mark(24, false), success(call)...))
			forever(w, append(mark(len(row), false), row...))
		}), state: Listening, entries: MaxEntries, problem: "it tells more than 100000 rows: the rest was not read"},
		{name: "empty fragments", handle: stream(func(w io.Writer, call oncrpc.Call) { forever(w, mark(0, false)) }), state: Wrong, why: "an end"}, // by number or by time
		{name: "rows, then empty fragments", handle: stream(func(w io.Writer, call oncrpc.Call) {
			b := append(success(call), row...)
			w.Write(append(mark(len(b), false), b...))
			forever(w, mark(0, false))
		}), state: Listening, entries: 1, problem: "its list breaks off after row 1: "},
		{name: "huge fragment and silence", handle: stream(func(w io.Writer, call oncrpc.Call) { w.Write(mark(oncrpc.MaxFragment, true)) }), state: Wrong, why: "does not come to an end"},
		{name: "trickle", handle: stream(func(w io.Writer, call oncrpc.Call) {
			for _, b := range append(mark(1<<20, true), success(call)...) {
				time.Sleep(50 * time.Millisecond)
				if _, err := w.Write([]byte{b}); err != nil {
					return
				}
			}
		}), state: Wrong, why: "does not come to an end"},
		{name: "trickle of rows", handle: stream(func(w io.Writer, call oncrpc.Call) {
			b := append(success(call), row...)
			w.Write(append(mark(1<<20, true), b...))
			for {
				for _, b := range row {
					time.Sleep(10 * time.Millisecond)
					if _, err := w.Write([]byte{b}); err != nil {
						return
					}
				}
			}
		}), state: Listening, entries: -1, problem: "does not come to an end"},
		{name: "string of 4 GiB", handle: stream(func(w io.Writer, call oncrpc.Call) {
			b := append(success(call), row...)
			b = append(b, row[:12]...) // program and version
			w.Write(append(mark(oncrpc.MaxFragment, true), xdr.AppendUint32(b, 0xffffffff)...))
			forever(w, []byte{'x'})
		}), state: Listening, entries: 1, problem: "its list breaks off after row 1: a text in its answer is longer than any should be"},
		{name: "answers to others", handle: stream(func(w io.Writer, call oncrpc.Call) {
			call.XID++
			b := success(call, listOf([]rpcbind.RPCB{})...)
			forever(w, append(mark(len(b), true), b...))
		}), state: Wrong, why: errFlood.Error()},
		{name: "answer to another of 2 GiB", handle: stream(func(w io.Writer, call oncrpc.Call) {
			call.XID++
			w.Write(append(mark(oncrpc.MaxFragment, true), success(call)...))
			forever(w, row)
		}), state: Wrong, why: errEnd.Error()},
		{name: "SSH", handle: stream(func(w io.Writer, _ oncrpc.Call) { io.WriteString(w, "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n") }), state: Wrong, why: "is not ONC RPC"},
		{name: "FTP", handle: stream(func(w io.Writer, _ oncrpc.Call) { io.WriteString(w, "220 ok\r\n") }), state: Wrong, why: "does not come to an end"},
		{name: "TLS", handle: func(c net.Conn) { c.Write([]byte{0x15, 3, 1, 0, 2, 2, 10}) }, state: Wrong, why: "does not come to an end"},
		{name: "hangs up", handle: func(c net.Conn) {}, state: Wrong, why: "hung up without an answer"},
		{name: "hangs up after a row", handle: func(c net.Conn) {
			call := oncrpc.Call{XID: firstXID(c)}
			b := append(success(call), row...)
			c.Write(append(mark(1000, true), b...))
		}, state: Listening, entries: 1, problem: "its list breaks off after row 1: its answer does not come to an end"},
		{name: "a call", handle: stream(func(w io.Writer, call oncrpc.Call) {
			b := call.Append(nil)
			w.Write(append(mark(len(b), true), b...))
		}), state: Wrong, why: "is not ONC RPC"},
		{name: "half an answer", handle: stream(func(w io.Writer, call oncrpc.Call) { w.Write(append(mark(10, true), success(call)[:10]...)) }), state: Wrong, why: "is not ONC RPC"},
		{name: "boolean 2", handle: stream(func(w io.Writer, call oncrpc.Call) { w.Write(append(mark(28, true), success(call, 0, 0, 0, 2)...)) }), state: Wrong, why: "is not ONC RPC"},

		{name: "UDP: echo", datagram: func(b []byte) [][]byte { return [][]byte{b} }, state: Wrong, why: "is not ONC RPC"},
		{name: "UDP: answers to others", datagram: func(b []byte) [][]byte {
			b[0]++
			return [][]byte{b}
		}, state: Wrong, why: "is not ONC RPC"},
		{name: "UDP: flood", datagram: func(b []byte) [][]byte { return slices.Repeat([][]byte{[]byte("zzzz")}, 1000) }, state: Wrong, why: errFlood.Error()},
		{name: "UDP: empty", datagram: func(b []byte) [][]byte { return [][]byte{{}} }, state: Wrong, why: "is not ONC RPC"},
		{name: "UDP: cut short", datagram: func(b []byte) [][]byte {
			return [][]byte{append(success(oncrpc.Call{XID: binary.BigEndian.Uint32(b)}), row...)}
		}, state: Listening, entries: 1, problem: "its list breaks off after row 1: what it answers is not ONC RPC"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			network := "tcp"
			if tt.datagram != nil {
				network = "udp"
			}
			port := serveRaw(t, tt.handle, tt.datagram, network)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			start := time.Now()
			r := onc(t, &Prober{Timeout: timeout}, ONCOptions{Port: port})
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if r.State != tt.state || !strings.Contains(r.Why, tt.why) {
				t.Errorf("%v, %q, want %v, %q", r.State, r.Why, tt.state, tt.why)
			}
			if tt.entries >= 0 && len(r.Entries) != tt.entries || tt.entries < 0 && len(r.Entries) == 0 {
				t.Errorf("%d entries, want %d", len(r.Entries), tt.entries)
			}
			if r.Cut != (tt.problem != "") || !strings.Contains(strings.Join(r.Problems, "\n"), tt.problem) {
				t.Errorf("cut %v, problems %q, want %q", r.Cut, r.Problems, tt.problem)
			}
			if limit := 2*longPatience*timeout + 5*time.Second; took > limit {
				t.Errorf("took %v, want at most %v", took, limit)
			}
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 100<<20 {
				t.Errorf("%d MiB more memory", grown>>20)
			}
		})
	}
}

func firstXID(c net.Conn) uint32 {
	b, _ := bufio.NewReader(c).Peek(8)
	return binary.BigEndian.Uint32(b[4:])
}

// TestONCManyOddRows: as many rows as are read, all with something wrong, stay within the bounds.
func TestONCManyOddRows(t *testing.T) {
	var n atomic.Uint32
	long := strings.Repeat("\x01", rpcbind.MaxNetID) // four bytes each when quoted
	handle := func(c net.Conn) {
		call := oncrpc.Call{XID: firstXID(c)}
		w := bufio.NewWriter(c)
		w.Write(append(oncrpc.AppendRecordMark(nil, oncrpc.MaxFragment, true), success(call)...))
		for {
			row := rpcbind.RPCB{Program: n.Add(1), NetID: long, Address: long, Owner: long}
			if _, err := w.Write(row.Append(rpcbind.AppendNext(nil))); err != nil {
				return
			}
		}
	}
	port := serveRaw(t, handle, nil, "tcp")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := onc(t, &Prober{}, ONCOptions{Port: port})
	runtime.GC()
	runtime.ReadMemStats(&after)
	if r.State != Listening || !r.Cut || len(r.Entries) < 50_000 || len(r.Problems) != maxProblems {
		t.Errorf("%v, cut %v, %d entries, %d problems", r.State, r.Cut, len(r.Entries), len(r.Problems))
	}
	grown := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) >> 20
	t.Logf("%d entries, %d MiB", len(r.Entries), grown)
	if grown > 100 {
		t.Errorf("%d MiB of memory", grown)
	}
}

// TestONCEnds: the end of the context ends everything, and is not taken for a firewall.
func TestONCEnds(t *testing.T) {
	port := serveRaw(t, func(c net.Conn) { io.Copy(io.Discard, c) }, func([]byte) [][]byte { return nil }, "tcp", "udp")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	r := (&Prober{Timeout: time.Minute}).ONC(ctx, oncHost, ONCOptions{Port: port})
	if time.Since(start) > 20*time.Second || r.State != NotTried || !strings.Contains(r.Why, "the time was over") {
		t.Errorf("after %v: %v, %q", time.Since(start), r.State, r.Why)
	}
}

// TestONCAddresses: the address of the host that is put in place of 0.0.0.0 and :: is one that
// is known, of the family, with the zone if it needs one.
func TestONCAddresses(t *testing.T) {
	const link = "fe80::1%eth0"
	for _, tt := range []struct {
		host        string
		options     ONCOptions
		netid, told string
		want        string
		same        bool // as told
	}{
		{"192.0.2.1", ONCOptions{}, "tcp", "0.0.0.0.0.111", "192.0.2.1:111", false},
		{"192.0.2.1", ONCOptions{}, "tcp6", "::.0.111", "[::]:111", true},
		{"192.0.2.1", ONCOptions{Addrs: []netip.Addr{netip.MustParseAddr("2001:db8::1")}}, "tcp6", "::.0.111", "[2001:db8::1]:111", false},
		{"192.0.2.1", ONCOptions{Here: true}, "udp6", "::.0.111", "[::1]:111", false},
		{"2001:db8::1", ONCOptions{Here: true}, "udp", "0.0.0.0.0.111", "127.0.0.1:111", false},
		{"2001:db8::1", ONCOptions{}, "udp", "0.0.0.0.0.111", "0.0.0.0:111", true},
		{"::1", ONCOptions{}, "udp", "0.0.0.0.0.111", "127.0.0.1:111", false},
		{link, ONCOptions{}, "udp6", "::.0.111", "[fe80::1%eth0]:111", false},
		{link, ONCOptions{}, "udp6", "fe80::1.0.111", "[fe80::1%eth0]:111", false},
		{link, ONCOptions{}, "udp6", "fe80::2.0.111", "[fe80::2]:111", true},
	} {
		to := teller{netip.MustParseAddr(tt.host), tt.options, &Report{}}
		e := to.row(rpcbind.RPCB{Program: 100005, Version: 3, NetID: tt.netid, Address: tt.told})
		told := tt.told
		if tt.same {
			told = ""
		}
		if e.Addr.String() != tt.want || e.Told != told || len(e.Problems) > 0 {
			t.Errorf("%s told by %s: %s, told %q, %q, want %s, %q", tt.told, tt.host, e.Addr, e.Told, e.Problems, tt.want, told)
		}
	}
}
