package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// lookupReply is the stub of an answer to ept_lookup.
func lookupReply(h ndr.Handle, s epm.Status, rows ...epm.Entry) []byte {
	return epm.LookupReply{Handle: h, Max: epm.MaxEntries, Entries: rows, Status: s}.Append(nil, ndr.LittleEndian)
}

func rowAt(port int) epm.Entry {
	return epm.Entry{Tower: tower(uuidA, 1, 0, epm.TCP, fmt.Sprintf("127.0.0.1:%d", port))}
}

// TestDCEEnds: a list is read to its end, however the mapper says that it is there, and a
// handle that is alive then is given back.
func TestDCEEnds(t *testing.T) {
	const notFound = "it ends a list with a status that says nothing was found (ept_s_not_registered), beside rows"
	type part struct {
		handle ndr.Handle
		status epm.Status
		ports  []int
		fault  dcerpc.Status
	}
	h1, h2 := aHandle(1), aHandle(2)
	for _, tt := range []struct {
		name     string
		parts    []part
		ports    []int
		freed    bool
		problems []string
		cut      bool
		why      string
	}{
		{"nothing there", []part{{status: epm.StatusNotRegistered}}, nil, false, nil, false, ""},
		{"nothing there, no status", []part{{}}, nil, false, nil, false, ""},
		{"no handle", []part{{ports: []int{1, 2}}}, []int{1, 2}, false, nil, false, ""},
		{"no handle in the second part", []part{{handle: h1, ports: []int{1}}, {ports: []int{2}}}, []int{1, 2}, false, nil, false, ""},
		{"status beside rows", []part{{handle: h1, ports: []int{1}}, {status: epm.StatusNotRegistered, ports: []int{2}}}, []int{1, 2}, false, []string{notFound}, false, ""},
		{"status in a part of its own", []part{{handle: h1, ports: []int{1}}, {handle: h1, status: epm.StatusNotRegistered}}, []int{1}, true, nil, false, ""},
		{"empty part", []part{{handle: h1, ports: []int{1}}, {handle: h2}}, []int{1}, true, nil, false, ""},
		{"status too early", []part{{handle: h1, status: epm.StatusNotRegistered, ports: []int{1}}, {ports: []int{2}}}, []int{1, 2}, false, []string{notFound}, false, ""},
		{"another status", []part{{handle: h1, ports: []int{1}}, {handle: h1, status: epm.StatusCantPerformOp, ports: []int{2}}}, []int{1, 2}, true, []string{"it ends a list with ept_s_cant_perform_op"}, false, ""},
		{"another status at once", []part{{status: epm.StatusDatabaseInvalid}}, nil, false, []string{"it ends a list with ept_s_database_invalid"}, false, "it answers ept_s_database_invalid"},
		{"fault", []part{{handle: h1, ports: []int{1}}, {fault: dcerpc.StatusContextMismatch}}, []int{1}, false, []string{"its list broke off: it answers with fault nca_s_fault_context_mismatch"}, true, ""},
		{"rows twice", []part{{handle: h1, ports: []int{1, 1}}, {ports: []int{1, 2}}}, []int{1, 2}, false, []string{"it tells rows twice"}, false, ""},
	} {
		var n int
		var freed atomic.Bool
		at := serveCalls(t, func(h dcerpc.Header, m dcerpc.Request) []byte {
			if epm.Op(m.Opnum) == epm.OpLookupHandleFree {
				freed.Store(true)
				return respond(h, epm.LookupHandleFreeReply{}.Append(nil, ndr.LittleEndian))
			}
			if n == len(tt.parts) {
				t.Errorf("%s: asked again after the end", tt.name)
				return nil
			}
			p := tt.parts[n]
			n++
			if p.fault != 0 {
				return fault(h, p.fault)
			}
			var rows []epm.Entry
			for _, port := range p.ports {
				rows = append(rows, rowAt(port))
			}
			return respond(h, lookupReply(p.handle, p.status, rows...))
		})
		r := new(Prober).DCE(t.Context(), dceHost, DCEOptions{Port: at.Port()})
		var ports []int
		for _, e := range r.Entries {
			ports = append(ports, int(e.Addr.Port()))
		}
		if r.State != Listening || r.Cut != tt.cut || r.Why != tt.why || !slices.Equal(ports, tt.ports) || freed.Load() != tt.freed || n != len(tt.parts) {
			t.Errorf("%s: ports %v, freed %v after %d parts, %+v", tt.name, ports, freed.Load(), n, r)
		}
		if diff := cmp.Diff(tt.problems, r.Problems); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// TestDCEEndless: lists without an end are cut, and their handles given back.
func TestDCEEndless(t *testing.T) {
	manyRows := func(from, n int) []epm.Entry {
		var rows []epm.Entry
		for i := range n {
			e := rowAt(1 + (from+i)%60000)
			e.Object = ndr.UUID{byte((from + i) >> 24), byte((from + i) >> 16), byte((from + i) >> 8), byte(from + i)}
			e.Annotation = strings.Repeat("x", epm.MaxAnnotation-1)
			rows = append(rows, e)
		}
		return rows
	}
	for _, tt := range []struct {
		name    string
		rows    func(call int) []epm.Entry
		want    int
		problem string
	}{
		{"the same again and again", func(int) []epm.Entry { return manyRows(0, 3) }, 3, "it tells the same rows again and again, and comes to no end"},
		{"by the million", func(call int) []epm.Entry { return manyRows(call*500, 500) }, MaxEntries, "it tells more than is read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			calls := 0
			var freed atomic.Bool
			at := serveCalls(t, func(h dcerpc.Header, m dcerpc.Request) []byte {
				if epm.Op(m.Opnum) == epm.OpLookupHandleFree {
					freed.Store(true)
					return respond(h, epm.LookupHandleFreeReply{}.Append(nil, ndr.LittleEndian))
				}
				calls++
				return respond(h, lookupReply(aHandle(1), epm.StatusOK, tt.rows(calls-1)...))
			})
			r := new(Prober).DCE(t.Context(), dceHost, DCEOptions{Port: at.Port()})
			if !r.Cut || !freed.Load() || r.State != Listening || len(r.Entries) != tt.want || !slices.Contains(r.Problems, tt.problem) {
				t.Errorf("after %d calls, freed %v: %d entries, cut %v, %q", calls, freed.Load(), len(r.Entries), r.Cut, r.Problems)
			}
			if tt.want == MaxEntries {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				if m.HeapAlloc > 150<<20 {
					t.Errorf("%d MB are in use", m.HeapAlloc>>20)
				}
				t.Logf("%d MB in use", m.HeapAlloc>>20)
				runtime.KeepAlive(r)
			}
		})
	}
}

// TestDCESlow: a list that comes row by row, each just in time, does not take for ever.
func TestDCESlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		p := &Prober{Dial: func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go script(there, func(h dcerpc.Header, pdu []byte) []byte {
				if h.PType != dcerpc.PTypeRequest {
					return ack(h, pdu)
				}
				time.Sleep(DefaultTimeout - time.Second)
				n++
				return respond(h, lookupReply(aHandle(1), epm.StatusOK, rowAt(n)))
			})
			return here, nil
		}}
		start := time.Now()
		r := p.DCE(t.Context(), dceHost, DCEOptions{})
		if took := time.Since(start); !r.Cut || !slices.Equal(r.Problems, []string{"its list takes too long"}) || took > (dumpTimes+2)*DefaultTimeout {
			t.Errorf("after %v: %+v", took, r)
		}
	})
}

// TestDCEHostile: a mapper that does not answer as one does is told what it is, in time.
func TestDCEHostile(t *testing.T) {
	const timeout = 300 * time.Millisecond
	lookup := func(answer func(h dcerpc.Header) []byte) func(testing.TB) netip.AddrPort {
		return func(t testing.TB) netip.AddrPort {
			return serveCalls(t, func(h dcerpc.Header, m dcerpc.Request) []byte { return answer(h) })
		}
	}
	bound := func(answer func(h dcerpc.Header, pdu []byte) []byte) func(testing.TB) netip.AddrPort {
		return func(t testing.TB) netip.AddrPort { return serveScript(t, answer) }
	}
	fragment := func(h dcerpc.Header, flags dcerpc.Flags, stub []byte) []byte {
		b := respond(h, stub)
		b[3] = byte(flags)
		return b
	}
	silence := []byte{}
	for _, tt := range []struct {
		name  string
		serve func(testing.TB) netip.AddrPort
		state State
		why   string
	}{
		{"silent", bound(func(dcerpc.Header, []byte) []byte { return silence }), Wrong, silentWords},
		{"silent after the bind", lookup(func(dcerpc.Header) []byte { return silence }), Wrong, silentWords},
		{"hangs up", bound(func(dcerpc.Header, []byte) []byte { return nil }), Wrong, "it ends the connection"},
		{"HTTP", bound(func(dcerpc.Header, []byte) []byte { return []byte("HTTP/1.1 400 \x1b[31m\r\n") }), Wrong, `it does not speak DCE/RPC: "HTTP/1.1 400 \x1b[31m\r\n"`},
		{"a length under the header's", bound(func(h dcerpc.Header, pdu []byte) []byte {
			b := ack(h, pdu)
			binary.LittleEndian.PutUint16(b[fragLengthAt:], 3)
			return b
		}), Wrong, "it does not speak DCE/RPC: dcerpc: fragment length out of range"},
		{"a length over what comes", bound(func(h dcerpc.Header, pdu []byte) []byte {
			b := ack(h, pdu)
			binary.LittleEndian.PutUint16(b[fragLengthAt:], 60000)
			return b
		}), Wrong, "the answer is not understood: it began and did not come to an end in time"},
		{"a trailer over the PDU", bound(func(h dcerpc.Header, pdu []byte) []byte {
			b := ack(h, pdu)
			binary.LittleEndian.PutUint16(b[authLengthAt:], 60000)
			return b
		}), Wrong, "the answer is not understood"},
		{"no result", bound(func(h dcerpc.Header, pdu []byte) []byte { return ackWith(h, pdu) }), Wrong, "the answer is not understood: a bind is acknowledged without a result"},
		{"NDR64", bound(func(h dcerpc.Header, pdu []byte) []byte {
			return ackWith(h, pdu, dcerpc.Result{Transfer: dcerpc.NDR64})
		}),
			Wrong, "the answer is not understood: it chose the transfer syntax 71710533"},
		{"a response to a bind", bound(func(h dcerpc.Header, pdu []byte) []byte { return respond(h, nil) }), Wrong, "the answer is not understood: a bind is answered with response"},
		{"not a mapper", bound(func(h dcerpc.Header, pdu []byte) []byte {
			return ackWith(h, pdu, dcerpc.Result{Result: dcerpc.ProviderRejection, Reason: dcerpc.AbstractSyntaxNotSupported})
		}), Wrong, "the server there does not"},
		{"refused", bound(func(h dcerpc.Header, pdu []byte) []byte {
			return dcerpc.AppendBindNak(nil, h.Reply(), dcerpc.BindNak{Reason: dcerpc.RejectAuthenticationTypeNotRecognized})
		}), Rejected, "the server refuses the connection: it does not know this way"},
		{"access denied to the bind", bound(func(h dcerpc.Header, pdu []byte) []byte { return fault(h, dcerpc.StatusAccessDenied) }), Rejected, "access denied"},
		{"access denied to the call", lookup(func(h dcerpc.Header) []byte { return fault(h, dcerpc.StatusAccessDenied) }), Rejected, "access denied"},
		{"no such operation", lookup(func(h dcerpc.Header) []byte { return fault(h, dcerpc.StatusOpRngError) }), Wrong, "it does not have the operation"},
		{"other calls", lookup(func(h dcerpc.Header) []byte {
			h.CallID += 7
			return slices.Repeat(respond(h, nil), 200)
		}), Wrong, "the answer is not understood: it answers calls that were not made"},
		{"fragments without a last", lookup(func(h dcerpc.Header) []byte {
			b := fragment(h, dcerpc.FirstFrag, make([]byte, 4000))
			return append(b, slices.Repeat(fragment(h, 0, make([]byte, 4000)), 300)...)
		}), Wrong, "the answer is not understood: dcerpc: fragment: over the limit of bytes held"},
		{"empty fragments", lookup(func(h dcerpc.Header) []byte {
			return append(fragment(h, dcerpc.FirstFrag, make([]byte, 8)), fragment(h, 0, nil)...)
		}), Wrong, "the answer is not understood: dcerpc: fragment: empty and not the last"},
		{"a fragment and no more", lookup(func(h dcerpc.Header) []byte { return fragment(h, dcerpc.FirstFrag, make([]byte, 8)) }),
			Wrong, "the answer is not understood: it began and did not come to an end in time"},
		{"byte by byte", func(t testing.TB) netip.AddrPort {
			return serveConns(t, func(conn net.Conn) {
				h, pdu, err := readPDU(conn)
				if err != nil {
					return
				}
				for _, b := range ack(h, pdu) {
					time.Sleep(20 * time.Millisecond)
					if _, err := conn.Write([]byte{b}); err != nil {
						return
					}
				}
			})
		}, Wrong, "the answer is not understood: it began and did not come to an end in time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := tt.serve(t)
			start := time.Now()
			r := (&Prober{Timeout: timeout}).DCE(t.Context(), dceHost, DCEOptions{Port: at.Port()})
			if r.State != tt.state || !strings.HasPrefix(r.Why, tt.why) || len(r.Entries) > 0 {
				t.Errorf("%+v, want %s: %s", r, tt.state, tt.why)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestDCEContext: a context that ends leaves nothing to wait for.
func TestDCEContext(t *testing.T) {
	at := serveScript(t, func(dcerpc.Header, []byte) []byte { return []byte{} })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	r := (&Prober{Timeout: time.Hour}).DCE(ctx, dceHost, DCEOptions{Port: at.Port()})
	if r.State != NotTried || r.Why != "the time was up" || time.Since(start) > 20*time.Second {
		t.Errorf("after %v: %+v", time.Since(start), r)
	}
	if r := new(Prober).DCE(t.Context(), dceHost, DCEOptions{Port: closedPort(t)}); r.State != NotListening || r.Why == "" {
		t.Errorf("a closed port: %+v", r)
	}
	if r := new(Prober).DCE(t.Context(), netip.Addr{}, DCEOptions{Socket: "/nonexistent"}); hasLocal && (r.State != NotListening || r.Why != "there is no such socket") {
		t.Errorf("no socket: %+v", r)
	}
	at = serveConns(t, func(conn net.Conn) { conn.Write([]byte("220 mail.example ESMTP\r\n")) })
	if r := new(Prober).DCE(t.Context(), dceHost, DCEOptions{HTTP: true, Port: at.Port()}); r.State != Wrong || !strings.Contains(r.Why, "220 mail.exam") {
		t.Errorf("another greeting: %+v", r)
	}
}

// TestDCEContextMidway: what was read before the time was up is kept, and is not the mapper's mistake.
func TestDCEContextMidway(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	at := serveCalls(t, func(h dcerpc.Header, m dcerpc.Request) []byte {
		if n++; n == 2 {
			cancel()
			return []byte{}
		}
		return respond(h, lookupReply(aHandle(1), epm.StatusOK, rowAt(n)))
	})
	r := (&Prober{Timeout: time.Hour}).DCE(ctx, dceHost, DCEOptions{Port: at.Port()})
	if r.State != Listening || !r.Cut || r.Why != "the time was up" || len(r.Entries) != 1 || len(r.Problems) > 0 {
		t.Errorf("%+v", r)
	}
}

// TestDCERecorded: Samba's mapper of a domain controller, as it was recorded, whose list ends
// with a part that has no rows.
func TestDCERecorded(t *testing.T) {
	text, err := os.ReadFile("../../wire/dcerpc/testdata/rpcdump.txt")
	if err != nil {
		t.Fatal(err)
	}
	var answers [][]byte // to each PDU of the client
	for line := range strings.Lines(string(text)) {
		from, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		if from == "client" {
			answers = append(answers, nil)
		} else if from == "server" {
			b, err := hex.DecodeString(digits)
			if err != nil {
				t.Fatal(err)
			}
			answers[len(answers)-1] = append(answers[len(answers)-1], b...)
		}
	}
	at := serveScript(t, func(h dcerpc.Header, _ []byte) []byte {
		if len(answers) == 0 {
			return nil
		}
		b := answers[0]
		answers = answers[1:]
		for rest := b; len(rest) > 0; rest = rest[binary.LittleEndian.Uint16(rest[fragLengthAt:]):] {
			binary.LittleEndian.PutUint32(rest[12:], h.CallID)
		}
		return b
	})
	r := new(Prober).DCE(t.Context(), dceHost, DCEOptions{Port: at.Port()})
	if r.State != Listening || r.Cut || len(r.Entries) != 53 {
		t.Errorf("%d entries, %+v", len(r.Entries), r)
	}
	for _, e := range r.Entries {
		if e.ProtSeq.HasPort() && (e.Told != "0.0.0.0" || e.Addr.Addr() != dceHost) || len(e.Problems) > 0 {
			t.Errorf("%+v", e)
		}
	}
	if want := []string{"it tells 0.0.0.0: clients have to know that it is the host that they asked"}; !slices.Equal(r.Problems, want) {
		t.Errorf("problems %q", r.Problems)
	}
}

// brokenReply is an answer to ept_lookup with towers of any bytes.
func brokenReply(annotation string, towers ...[]byte) []byte {
	w := ndr.NewWriter(nil, ndr.LittleEndian)
	w.Handle(ndr.Handle{})
	w.Uint32(uint32(len(towers)))
	w.Uint32(epm.MaxEntries)
	w.Uint32(0)
	w.Uint32(uint32(len(towers)))
	for i, b := range towers {
		w.UUID(ndr.UUID{byte(i)})
		if b == nil {
			w.Uint32(0)
		} else {
			w.Uint32(uint32(i + 1))
		}
		w.Uint32(0)
		w.Uint32(uint32(len(annotation) + 1))
		w.String(annotation)
		w.Uint8(0)
	}
	for _, b := range towers {
		if b == nil {
			continue
		}
		w.Uint32(uint32(len(b)))
		w.Uint32(uint32(len(b)))
		w.Bytes(b)
	}
	w.Uint32(uint32(epm.StatusOK))
	return w.Result()
}

// TestDCEBrokenRows: rows that cannot be used are kept and named, and the others are as they are.
func TestDCEBrokenRows(t *testing.T) {
	good := tower(uuidA, 1, 0, epm.TCP, "127.0.0.1:2001").Append(nil)
	floors := func(n int) []byte {
		b := slices.Clone(good)
		binary.LittleEndian.PutUint16(b, uint16(n))
		return append(b, slices.Repeat([]byte{1, 0, 9, 0, 0}, n-5)...)
	}
	change := func(at int, b ...byte) []byte {
		c := slices.Clone(good)
		copy(c[at:], b)
		return c
	}
	transport := 2 + 2*(2+19+2+2) + 7 + 2 // of the floor that says TCP
	address := func(b ...byte) []byte {   // in place of an IPv4 address
		c := append(slices.Clone(good[:len(good)-6]), byte(len(b)), 0)
		return append(c, b...)
	}
	v6 := netip.MustParseAddr("2001:db8::1").As16()
	other := tower(uuidA, 1, 0, epm.TCP, "127.0.0.1:2002")
	other.Transfer = dcerpc.NDR64
	pipe := tower(uuidB, 1, 0, epm.NP, `\pipe\b`)
	pipe.Host = `\\FS1`
	annotation := "\x1b]0;x\a \xff\u202e" + strings.Repeat("y", 5000)
	stub := brokenReply(annotation,
		good, nil, good[:30], change(transport, 0x16), floors(1000), []byte{}, change(transport+3, 0, 0), change(len(good)-4, 0, 0, 0, 0),
		address(), address(v6[:]...), address(1, 2, 3),
		other.Append(nil), pipe.Append(nil), tower(uuidB, 1, 0, epm.LRPC, "").Append(nil))
	at := serveCalls(t, func(h dcerpc.Header, m dcerpc.Request) []byte { return respond(h, stub) })
	r := new(Prober).DCE(t.Context(), dceHost, DCEOptions{Port: at.Port()})
	for i := range r.Entries {
		if e := &r.Entries[i]; e.Annotation != annotation[:maxAnnotation] {
			t.Errorf("annotation of %d: %q", i, e.Annotation)
		} else {
			e.Annotation, e.Object = "", ndr.UUID{}
		}
	}
	want := []string{
		"a 1.0 tcp 127.0.0.1:2001",
		"0 0.0 NetID(0) ; the row has no tower: it does not say where",
		"a 1.0 NetID(0)  told 050013000d000000a0..; its tower cannot be read: epm: tower: ndr: offset 29: short data",
		"a 1.0 NetID(0)  told ncacn 0000, Protocol(0x16) 07d1, ip 7f000001; its protocol sequence is not known",
		"a 1.0 NetID(0)  told e803..; its tower cannot be read: epm: tower: ndr: offset 0: length over the limit",
		"0 0.0 NetID(0) ; its tower cannot be read: epm: tower: ndr: offset 0: short data",
		"a 1.0 tcp 127.0.0.1:0; it has no port",
		"a 1.0 tcp 127.0.0.1:2001 told 0.0.0.0",
		"a 1.0 tcp 127.0.0.1:2001 told no address",
		"a 1.0 tcp 127.0.0.1:2001 told 2001:db8::1",
		"a 1.0 tcp 127.0.0.1:2001 told 010203",
		"a 1.0 tcp 127.0.0.1:2002; it is told for the transfer syntax 71710533-beba-4937-8319-b5dbef9ccc36 1.0",
		`b 1.0 np \\FS1\pipe\b`,
		"b 1.0 lrpc ; it has no name",
	}
	got := lines(r.Entries)
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i := range want {
		before, after, _ := strings.Cut(want[i], "..")
		if !strings.HasPrefix(got[i], before) || !strings.HasSuffix(got[i], after) {
			t.Errorf("row %d: %q, want %q", i, got[i], want[i])
		}
	}
	problems := []string{
		"it tells annotations of more than 64 bytes, which clients refuse",
		"it tells rows that cannot be used: has no tower",
		"it tells rows that cannot be used: its tower cannot be read",
		"it tells rows that cannot be used: its protocol sequence is not known",
		"it tells 0.0.0.0: clients have to know that it is the host that they asked",
	}
	if diff := cmp.Diff(problems, r.Problems); diff != "" || r.Cut {
		t.Errorf("cut %v, problems %s", r.Cut, diff)
	}
}

// TestDCEBrokenAnswers: what can be read of an answer that breaks off is kept, with counts that are wrong too.
func TestDCEBrokenAnswers(t *testing.T) {
	whole := lookupReply(ndr.Handle{}, epm.StatusOK, rowAt(1), rowAt(2), rowAt(3))
	for _, tt := range []struct {
		name    string
		stub    []byte
		rows    int
		cut     bool
		problem string
	}{
		{"within the last tower", whole[:len(whole)-20], 3, true, "an answer breaks off"},
		{"within the rows", whole[:20+16+30], 0, true, "an answer breaks off"},
		{"nothing", []byte{}, 0, true, "an answer breaks off"},
		{"more than there are", patched(whole, 20, 9), 3, false, "counts in its answers contradict each other"},
		{"millions", patched(whole, 32, 1<<30), 0, true, "an answer breaks off, or its counts are wrong"},
		{"another maximum", patched(whole, 24, 26), 3, false, "its answers name another maximum than was asked for"},
	} {
		at := serveCalls(t, func(h dcerpc.Header, m dcerpc.Request) []byte { return respond(h, tt.stub) })
		r := new(Prober).DCE(t.Context(), dceHost, DCEOptions{Port: at.Port()})
		named := slices.ContainsFunc(r.Problems, func(p string) bool { return strings.HasPrefix(p, tt.problem) })
		if len(r.Entries) != tt.rows || r.Cut != tt.cut || !named || r.State != Listening {
			t.Errorf("%s: %d rows, cut %v, %s, %q", tt.name, len(r.Entries), r.Cut, r.State, r.Problems)
		}
	}
}

// patched returns b with a long of its own in one place.
func patched(b []byte, at int, v uint32) []byte {
	b = slices.Clone(b)
	binary.LittleEndian.PutUint32(b[at:], v)
	return b
}

// TestLocateDCEIgnored: of a mapper that tells everything to everybody only the answer is shown.
func TestLocateDCEIgnored(t *testing.T) {
	rows := []epm.Tower{
		tower(uuidB, 1, 0, epm.TCP, "127.0.0.1:1"), tower(uuidA, 2, 0, epm.TCP, "127.0.0.1:2"), tower(uuidA, 1, 0, epm.TCP, "127.0.0.1:3"),
		tower(uuidA, 1, 4, epm.TCP, "127.0.0.1:4"), tower(uuidA, 1, 4, epm.NP, `\pipe\a`),
	}
	at := serveCalls(t, func(h dcerpc.Header, m dcerpc.Request) []byte {
		if epm.Op(m.Opnum) == epm.OpMap {
			return respond(h, epm.MapReply{Max: epm.MaxEntries, Towers: rows}.Append(nil, ndr.LittleEndian))
		}
		var all []epm.Entry
		for _, tower := range rows {
			all = append(all, epm.Entry{Tower: tower})
		}
		return respond(h, lookupReply(ndr.Handle{}, 0, all...))
	})
	ignores := func(what ...string) (all []string) {
		for _, w := range what {
			all = append(all, "it ignores the "+w+" it was asked for")
		}
		return all
	}
	for _, tt := range []struct {
		name     string
		q        DCEQuery
		want     []string
		problems []string
	}{
		{"a version", DCEQuery{UUID: uuidA, Major: 1, Minor: 3}, []string{"a 1.4 tcp 127.0.0.1:4", `a 1.4 np \pipe\a`}, append([]string{"it ignores the interface it was asked for, and tells of others"}, ignores("version", "protocol sequence")...)},
		{"any version", DCEQuery{UUID: uuidA, AnyVersion: true, ProtSeqs: []epm.ProtSeq{epm.NP}}, []string{`a 1.4 np \pipe\a`}, []string{"it ignores the interface it was asked for, and tells of others"}},
	} {
		r := new(Prober).LocateDCE(t.Context(), dceHost, tt.q, DCEOptions{Port: at.Port()})
		if diff := cmp.Diff(tt.want, lines(r.Entries)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		if diff := cmp.Diff(tt.problems, r.Problems); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// TestLocateDCEFaults: a mapper that does not know of a protocol sequence is asked for the others.
func TestLocateDCEFaults(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers map[epm.ProtSeq]bool
		want    []string
		state   State
		cut     bool
	}{
		{"all but one", map[epm.ProtSeq]bool{epm.TCP: true, epm.UDP: true, epm.LRPC: true, epm.HTTP: true}, []string{"a 1.0 tcp 127.0.0.1:1"}, Listening, true},
		{"only the last", map[epm.ProtSeq]bool{epm.HTTP: true}, nil, Listening, true},
		{"none", nil, nil, Rejected, false},
	} {
		at := serveCalls(t, func(h dcerpc.Header, m dcerpc.Request) []byte {
			q, err := epm.ParseMap(m.Stub, h.Label)
			if err != nil {
				t.Error(err)
			}
			if !tt.answers[q.Tower.ProtSeq] {
				return fault(h, dcerpc.StatusCantPerformOp)
			}
			reply := epm.MapReply{Max: epm.MaxEntries, Status: epm.StatusNotRegistered}
			if q.Tower.ProtSeq == epm.TCP {
				reply.Towers, reply.Status = []epm.Tower{rowAt(1).Tower}, epm.StatusOK
			}
			return respond(h, reply.Append(nil, ndr.LittleEndian))
		})
		r := new(Prober).LocateDCE(t.Context(), dceHost, DCEQuery{UUID: uuidA, Major: 1}, DCEOptions{Port: at.Port()})
		if diff := cmp.Diff(tt.want, lines(r.Entries)); diff != "" || r.State != tt.state || r.Cut != tt.cut || len(r.Problems) != map[bool]int{true: 1}[tt.cut] {
			t.Errorf("%s: %+v %s", tt.name, r, diff)
		}
	}
}

// TestInterfacesDCEScript: servers that answer a part of what they are asked.
func TestInterfacesDCEScript(t *testing.T) {
	ids := epm.InqIfIDsReply{Interfaces: []dcerpc.Syntax{{UUID: uuidA, Major: 1, Minor: 2}}}.Append(nil, ndr.LittleEndian)
	for _, tt := range []struct {
		name    string
		answers map[epm.MgmtOp][]byte
		want    DCEServer
	}{
		{"all", map[epm.MgmtOp][]byte{
			epm.MgmtInqIfIDs: ids, epm.MgmtIsServerListening: epm.IsServerListeningReply{Listening: true}.Append(nil, ndr.LittleEndian),
			epm.MgmtInqPrincName: epm.InqPrincNameReply{Size: 256, Name: "host/dc1"}.Append(nil, ndr.LittleEndian),
		}, DCEServer{State: Listening, Principal: "host/dc1"}},
		{"stopped", map[epm.MgmtOp][]byte{epm.MgmtInqIfIDs: ids, epm.MgmtIsServerListening: epm.IsServerListeningReply{}.Append(nil, ndr.LittleEndian)},
			DCEServer{State: Listening, Stopped: true}},
		{"only the first", map[epm.MgmtOp][]byte{epm.MgmtInqIfIDs: ids},
			DCEServer{State: Listening, Problems: []string{"mgmt_is_server_listening: it does not have the operation (nca_s_op_rng_error)"}}},
		{"nothing", nil, DCEServer{State: Wrong, Why: "it does not have the operation (nca_s_op_rng_error)"}},
		{"rubbish", map[epm.MgmtOp][]byte{epm.MgmtInqIfIDs: {1, 2, 3}}, DCEServer{State: Wrong, Why: "the answer is not understood: epm: inq if ids reply: ndr: offset 0: short data"}},
		{"a status", map[epm.MgmtOp][]byte{epm.MgmtInqIfIDs: epm.InqIfIDsReply{Status: epm.StatusMgmtDisallowed}.Append(nil, ndr.LittleEndian), epm.MgmtIsServerListening: {}},
			DCEServer{State: Listening, Problems: []string{"mgmt_inq_if_ids: rpc_s_mgmt_op_disallowed", "mgmt_is_server_listening: epm: is server listening reply: ndr: offset 0: short data"}}},
	} {
		at := serveCalls(t, func(h dcerpc.Header, m dcerpc.Request) []byte {
			if stub, ok := tt.answers[epm.MgmtOp(m.Opnum)]; ok {
				return respond(h, stub)
			}
			return fault(h, dcerpc.StatusOpRngError)
		})
		s := new(Prober).InterfacesDCE(t.Context(), at, DCEOptions{})
		if bytes.Equal(tt.answers[epm.MgmtInqIfIDs], ids) {
			tt.want.Interfaces = []endpoint.Interface{{Dialect: endpoint.DCE, UUID: uuidA, Major: 1, Minor: 2}}
		}
		if s.Time <= 0 {
			t.Errorf("%s: no time", tt.name)
		}
		s.Time = 0
		if diff := cmp.Diff(&tt.want, s); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// FuzzDCEReply: whatever an answer is, it is read in bounds, and what the strict reader takes is read the same.
func FuzzDCEReply(f *testing.F) {
	f.Add(lookupReply(aHandle(1), epm.StatusOK, ownRowsOf(3)...), false)
	f.Add(lookupReply(ndr.Handle{}, epm.StatusNotRegistered), false)
	f.Add(epm.MapReply{Handle: aHandle(1), Max: 2, Towers: []epm.Tower{rowAt(1).Tower, {}}}.Append(nil, ndr.LittleEndian), true)
	f.Add(brokenReply("x", []byte{}, nil, []byte{5, 0, 19}), false)
	f.Fuzz(func(t *testing.T, b []byte, isMap bool) {
		var q dceReply
		var strict error
		var rows int
		var status epm.Status
		if isMap {
			q = readDCEMap(b, ndr.LittleEndian)
			m, err := epm.ParseMapReply(b, ndr.LittleEndian)
			rows, status, strict = len(m.Towers), m.Status, err
		} else {
			q = readDCELookup(b, ndr.LittleEndian)
			m, err := epm.ParseLookupReply(b, ndr.LittleEndian)
			rows, status, strict = len(m.Entries), m.Status, err
		}
		if len(q.rows) > len(b)/4 {
			t.Errorf("%d rows of %d bytes", len(q.rows), len(b))
		}
		if strict == nil && (q.err != nil || len(q.rows) != rows || q.status != status) {
			t.Errorf("%d rows, %s, %v; want %d, %s", len(q.rows), q.status, q.err, rows, status)
		}
		for i := range q.rows {
			e, _ := q.rows[i].entry(dceHost)
			if len(e.Annotation) > maxAnnotation || len(e.Told) > 8*(2*maxTold+40) || len(e.Path) > 3*epm.MaxName {
				t.Errorf("%+v", e)
			}
		}
	})
}

func ownRowsOf(n int) (rows []epm.Entry) {
	for i := range n {
		rows = append(rows, rowAt(i+1))
	}
	return rows
}
