package probe

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/hostaddr"
	"github.com/quaymaster/quaymaster/internal/mapper"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// An ownMapper is our endpoint mapper over sockets.
type ownMapper struct {
	tcp, tcp6 netip.AddrPort
	local     string
}

// serveMapper serves our endpoint mapper, with these rows registered over the local socket.
func serveMapper(t *testing.T, config mapper.DCEConfig, rows ...epm.Entry) *ownMapper {
	t.Helper()
	g, err := registry.Open(registry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	var addresses hostaddr.Table
	addresses.Set([]hostaddr.Address{{Prefix: netip.MustParsePrefix("127.0.0.1/8"), Loopback: true}, {Prefix: netip.MustParsePrefix("::1/128"), Loopback: true}})
	m := mapper.NewDCE(mapper.New(mapper.Config{Registry: g, Addresses: &addresses}), config)
	streams := transport.StreamServer{Framing: transport.PDUs, Sessions: m.Session}
	dir, err := os.MkdirTemp("", "probe") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
		os.RemoveAll(dir)
	})
	serve := func(network, address string) net.Addr {
		ln, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			if err := streams.Serve(ctx, ln); err != nil {
				t.Error(err)
			}
		})
		return ln.Addr()
	}
	own := &ownMapper{local: filepath.Join(dir, "sock")}
	own.tcp = serve("tcp4", "127.0.0.1:0").(*net.TCPAddr).AddrPort()
	own.tcp6 = serve("tcp6", "[::1]:0").(*net.TCPAddr).AddrPort()
	serve("unix", own.local)
	if len(rows) > 0 {
		own.insert(t, rows)
	}
	return own
}

// insert registers rows, with the client that is tested.
func (own *ownMapper) insert(t *testing.T, rows []epm.Entry) {
	t.Helper()
	c, err := new(Prober).DialDCE(t.Context(), endpoint.Endpoint{ProtSeq: epm.LRPC, Path: own.local}, DCEOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Bind(t.Context(), epm.Interface); err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(rows, epm.MaxEntries) {
		results, l, err := c.Call(t.Context(), ndr.UUID{}, uint16(epm.OpInsert), epm.Insert{Entries: part}.Append(nil, ndr.LittleEndian))
		if err != nil {
			t.Fatal(err)
		}
		if s, err := epm.ParseStatus(results, l); s != 0 || err != nil {
			t.Fatalf("ept_insert = %s, %v", s, err)
		}
	}
}

// ownRows have every protocol sequence, objects and annotations.
var ownRows = []epm.Entry{
	{Tower: tower(uuidA, 1, 0, epm.TCP, "0.0.0.0:2001"), Annotation: "a note"},
	{Tower: tower(uuidA, 1, 2, epm.TCP, "127.0.0.1:2002"), Object: objectX},
	{Tower: tower(uuidA, 2, 0, epm.UDP, "0.0.0.0:2003")},
	{Tower: tower(uuidB, 1, 0, epm.HTTP, "127.0.0.1:2004")},
	{Tower: tower(uuidB, 1, 0, epm.NP, `\pipe\b`), Annotation: "the pipe"},
	{Tower: tower(uuidB, 1, 0, epm.LRPC, "b-endpoint")},
	{Tower: tower(uuidB, 1, 0, epm.TCP, "192.0.2.7:2005")},
}

func ownLines(host netip.Addr, told string) []string {
	any := func(port uint16) string { return netip.AddrPortFrom(host, port).String() + told }
	return []string{
		"a 1.0 tcp " + any(2001) + " a note",
		"a 1.2 tcp 127.0.0.1:2002 object 1",
		"a 2.0 udp " + any(2003),
		"b 1.0 http 127.0.0.1:2004",
		`b 1.0 np \pipe\b the pipe`,
		"b 1.0 lrpc b-endpoint",
		"b 1.0 tcp 192.0.2.7:2005",
	}
}

// TestDCEOwnMapper: all that is registered is told, by each way to ask, in parts of every size,
// and with both ways to end a list.
func TestDCEOwnMapper(t *testing.T) {
	const atEnd = "it ends a list with a status that says nothing was found (ept_s_not_registered), beside rows"
	for _, handle := range []bool{false, true} {
		own := serveMapper(t, mapper.DCEConfig{EndWithHandle: handle}, ownRows...)
		http := serveHTTP(t, own.tcp)
		for _, tt := range []struct {
			name string
			host netip.Addr
			o    DCEOptions
			via  string
			told string
		}{
			{"tcp", dceHost, DCEOptions{Port: own.tcp.Port()}, fmt.Sprintf("tcp %d", own.tcp.Port()), ""},
			{"tcp6", netip.IPv6Loopback(), DCEOptions{Port: own.tcp6.Port()}, fmt.Sprintf("tcp %d", own.tcp6.Port()), " told 0.0.0.0"},
			{"local", netip.Addr{}, DCEOptions{Socket: own.local}, own.local, ""},
			{"http", dceHost, DCEOptions{HTTP: true, Port: http.Port()}, fmt.Sprintf("http %d", http.Port()), ""},
			{"big-endian", dceHost, DCEOptions{Port: own.tcp.Port(), BigEndian: true}, fmt.Sprintf("tcp %d", own.tcp.Port()), ""},
		} {
			for _, rows := range []uint32{0, 1, 2, 7, 1000} {
				t.Run(fmt.Sprintf("%s/handle=%v/%d", tt.name, handle, rows), func(t *testing.T) {
					tt.o.Rows = rows
					r := new(Prober).DCE(t.Context(), tt.host, tt.o)
					if r.State != Listening || r.Why != "" || r.Cut || r.Via != tt.via || r.Dialect != endpoint.DCE || r.Time <= 0 {
						t.Errorf("report %+v", r)
					}
					if diff := cmp.Diff(ownLines(r.Host, tt.told), lines(r.Entries)); diff != "" {
						t.Error(diff)
					}
					var want []string
					if rows == 2 && !handle { // 2, 2, 2 and 1 with the status
						want = []string{atEnd}
					}
					if !slices.Equal(r.Problems, want) {
						t.Errorf("problems %q, want %q", r.Problems, want)
					}
				})
			}
		}
	}
}

// serveHTTP puts the greeting of ncacn_http before a mapper.
func serveHTTP(t *testing.T, to netip.AddrPort) netip.AddrPort {
	return serveConns(t, func(conn net.Conn) {
		there, err := net.Dial("tcp", to.String())
		if err != nil {
			t.Error(err)
			return
		}
		defer there.Close()
		for _, b := range []byte(httpGreeting) { // in pieces, as it may come
			conn.Write([]byte{b})
		}
		go func() {
			io.Copy(there, conn)
			there.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(conn, there)
	})
}

func TestLocateDCE(t *testing.T) {
	own := serveMapper(t, mapper.DCEConfig{}, ownRows...)
	o := DCEOptions{Port: own.tcp.Port()}
	for _, tt := range []struct {
		name string
		q    DCEQuery
		want []string
	}{
		{"version", DCEQuery{UUID: uuidA, Major: 1}, []string{"a 1.0 tcp 127.0.0.1:2001"}},
		{"object", DCEQuery{UUID: uuidA, Major: 1, Object: objectX}, []string{"a 1.2 tcp 127.0.0.1:2002"}},
		{"minor", DCEQuery{UUID: uuidA, Major: 1, Minor: 1, Object: objectX}, []string{"a 1.2 tcp 127.0.0.1:2002"}},
		{"newer", DCEQuery{UUID: uuidA, Major: 1, Minor: 3}, nil},
		{"every protocol sequence", DCEQuery{UUID: uuidB, Major: 1}, []string{
			"b 1.0 tcp 192.0.2.7:2005", `b 1.0 np \pipe\b`, "b 1.0 lrpc b-endpoint", "b 1.0 http 127.0.0.1:2004",
		}},
		{"one", DCEQuery{UUID: uuidB, Major: 1, ProtSeqs: []epm.ProtSeq{epm.NP}}, []string{`b 1.0 np \pipe\b`}},
		{"any version", DCEQuery{UUID: uuidA, AnyVersion: true}, []string{"a 1.0 tcp 127.0.0.1:2001 a note", "a 1.2 tcp 127.0.0.1:2002 object 1", "a 2.0 udp 127.0.0.1:2003"}},
		{"any version, object", DCEQuery{UUID: uuidA, AnyVersion: true, Object: objectX}, []string{"a 1.2 tcp 127.0.0.1:2002 object 1"}},
		{"any version, another object", DCEQuery{UUID: uuidA, AnyVersion: true, Object: uuidB}, []string{"a 1.0 tcp 127.0.0.1:2001 a note", "a 2.0 udp 127.0.0.1:2003"}},
		{"nothing", DCEQuery{UUID: objectX, Major: 1}, nil},
	} {
		r := new(Prober).LocateDCE(t.Context(), dceHost, tt.q, o)
		if diff := cmp.Diff(tt.want, lines(r.Entries)); diff != "" || r.State != Listening || len(r.Problems) > 0 || r.Cut {
			t.Errorf("%s: %+v\n%s", tt.name, r, diff)
		}
	}
}

// TestDCEManyRows: of more rows than are read the first are.
func TestDCEManyRows(t *testing.T) {
	var rows []epm.Entry
	for port := range uint16(2345) {
		rows = append(rows, epm.Entry{Tower: tower(uuidA, 1, 0, epm.TCP, fmt.Sprintf("127.0.0.1:%d", 2000+port))})
	}
	own := serveMapper(t, mapper.DCEConfig{}, rows...)
	r := new(Prober).DCE(t.Context(), dceHost, DCEOptions{Port: own.tcp.Port()})
	if len(r.Entries) != len(rows) || r.Cut || len(r.Problems) > 0 {
		t.Errorf("%d entries of %d, cut %v, %q", len(r.Entries), len(rows), r.Cut, r.Problems)
	}
}

// TestInterfacesDCE asks our own mapper, and others that are none.
func TestInterfacesDCE(t *testing.T) {
	own := serveMapper(t, mapper.DCEConfig{})
	s := new(Prober).InterfacesDCE(t.Context(), own.tcp, DCEOptions{})
	if s.State != Listening || s.Stopped || s.Time <= 0 || !slices.Contains(s.Interfaces, endpoint.FromSyntax(epm.Interface)) {
		t.Errorf("our own = %+v", s)
	}
	if s := new(Prober).InterfacesDCE(t.Context(), netip.AddrPortFrom(dceHost, closedPort(t)), DCEOptions{}); s.State != NotListening {
		t.Errorf("a closed port = %+v", s)
	}
}

// TestTryDCEOwnMapper: interfaces at one port share a connection.
func TestTryDCEOwnMapper(t *testing.T) {
	own := serveMapper(t, mapper.DCEConfig{})
	var dialed int
	p := &Prober{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed++
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	entries := []Entry{
		dceEntryAt(epm.Interface, epm.TCP, own.tcp),
		dceEntryAt(dcerpc.Syntax{UUID: uuidA, Major: 1}, epm.TCP, own.tcp),
		dceEntryAt(epm.Management, epm.TCP, own.tcp),
		dceEntryAt(epm.Interface, epm.TCP, own.tcp),
		dceEntryAt(epm.Interface, epm.TCP, netip.MustParseAddrPort("192.0.2.7:135")),
		dceEntryAt(epm.Interface, epm.UDP, own.tcp),
		{Interface: endpoint.FromSyntax(epm.Interface), Endpoint: endpoint.Endpoint{ProtSeq: epm.NP, Path: `\pipe\x`}},
		{Interface: endpoint.FromSyntax(epm.Interface), Endpoint: endpoint.Endpoint{ProtSeq: epm.LRPC, Path: "x"}},
		{Interface: endpoint.FromSyntax(epm.Interface)},
	}
	p.TryDCE(t.Context(), dceHost, entries, DCEOptions{})
	checkTried(t, entries, []string{
		"listening", "wrong: the server there does not have the interface", "listening", "listening",
		"not tried: is told at another address", "not tried: connectionless", "not tried: needs SMB 445", "not tried: is reached", "not tried: nothing",
	})
	if dialed != 1 {
		t.Errorf("%d connections", dialed)
	}
}

// TestRowsOfAll: what many mappers tell is bounded together, and texts count.
func TestRowsOfAll(t *testing.T) {
	var rows []epm.Entry
	for port := range uint16(300) {
		rows = append(rows, epm.Entry{Tower: tower(uuidA, 1, 0, epm.TCP, fmt.Sprintf("127.0.0.1:%d", 2000+port))})
	}
	dce := DCEOptions{Port: serveMapper(t, mapper.DCEConfig{}, rows...).tcp.Port()}
	onc := ONCOptions{Port: serveONC(t, func(call oncrpc.Call, _ []byte) []byte {
		b := oncrpc.AppendAccepted(nil, call.XID, oncrpc.Success)
		for version := range uint32(300) {
			b = rpcbind.RPCB{Program: 7, Version: version, NetID: "tcp", Address: "127.0.0.1.0.9", Owner: strings.Repeat("x", rowText)}.Append(rpcbind.AppendNext(b))
		}
		return rpcbind.AppendEnd(b)
	}, "tcp")}
	const most = 1000
	p := &Prober{Rows: new(atomic.Int64)}
	p.Rows.Store(most)
	reports := make([]*Report, 8)
	var asking sync.WaitGroup
	for i := range reports {
		asking.Go(func() {
			if i%2 == 0 {
				reports[i] = p.DCE(t.Context(), dceHost, dce)
			} else {
				reports[i] = p.ONC(t.Context(), dceHost, onc)
			}
		})
	}
	asking.Wait()
	kept, cut := 0, 0
	for _, r := range reports {
		if r.State != Listening || r.Cut != (len(r.Entries) < 300) || r.Cut != (len(r.Problems) > 0) {
			t.Errorf("%s %s, %d entries, cut %v, %q", r.State, r.Why, len(r.Entries), r.Cut, r.Problems)
		}
		if r.Cut {
			cut++
		}
		for i := range r.Entries {
			kept += 1 + len(r.Entries[i].Owner)/rowText
		}
	}
	if kept > most || kept < most-len(reports) || cut == 0 {
		t.Errorf("rows that count as %d were kept, want about %d; %d reports are cut", kept, most, cut)
	}
}
