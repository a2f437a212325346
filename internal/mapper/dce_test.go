package mapper

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// Interfaces and objects of tests.
var (
	uuidA   = ndr.MustParseUUID("a0000000-0000-4000-8000-00000000000a")
	uuidB   = ndr.MustParseUUID("b0000000-0000-4000-8000-00000000000b")
	uuidC   = ndr.MustParseUUID("c0000000-0000-4000-8000-00000000000c")
	objectX = ndr.MustParseUUID("10000000-0000-4000-8000-000000000001")
	objectY = ndr.MustParseUUID("20000000-0000-4000-8000-000000000002")
	objectZ = ndr.MustParseUUID("30000000-0000-4000-8000-000000000003")
)

var labels = map[string]ndr.Label{"little-endian": ndr.LittleEndian, "big-endian": ndr.BigEndian}

func syntax(u ndr.UUID, major, minor uint16) dcerpc.Syntax {
	return dcerpc.Syntax{UUID: u, Major: major, Minor: minor}
}

// tcpTower is a tower of ncacn_ip_tcp; an empty address is none.
func tcpTower(s dcerpc.Syntax, addr string, port uint16) epm.Tower {
	return ipTower(epm.TCP, s, addr, port)
}

func ipTower(p epm.ProtSeq, s dcerpc.Syntax, addr string, port uint16) epm.Tower {
	t := epm.Tower{Interface: s, Transfer: dcerpc.NDR, ProtSeq: p, Port: port}
	if addr != "" {
		t.Addr = netip.MustParseAddr(addr)
	}
	return t
}

// asking is the tower of a call of ept_map.
func asking(p epm.ProtSeq, s dcerpc.Syntax) epm.Tower {
	return epm.Tower{Interface: s, Transfer: dcerpc.NDR, ProtSeq: p}
}

// newDCE returns an endpoint mapper of an empty registry.
func newDCE(t testing.TB, c DCEConfig) *DCE {
	t.Helper()
	return openDCE(t, registry.Config{}, nil, c)
}

func openDCE(t testing.TB, rc registry.Config, o Owners, c DCEConfig) *DCE {
	t.Helper()
	g, err := registry.Open(rc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	m := NewDCE(New(Config{Registry: g, Addresses: hostAddresses(), Owners: o}), c)
	t.Cleanup(func() { checkNothingLeft(t, m) })
	return m
}

// checkNothingLeft: when all connections have ended nothing of them is left. It is
// asked when the clients of a test are gone.
func checkNothingLeft(t testing.TB, m *DCE) {
	t.Helper()
	m.groups.mu.Lock()
	defer m.groups.mu.Unlock()
	if n, held := len(m.groups.byID), m.stats.assembling.Load(); n != 0 || held != 0 {
		t.Errorf("%d association groups and %d bytes of calls are left", n, held)
	}
}

// A line is a connection to a mapper without sockets.
type line struct {
	session transport.Session
	call    *transport.Call
	closed  bool // the mapper ended it
}

// dceLine returns a connection that comes this way.
func dceLine(t testing.TB, m *DCE, w way) *line {
	l := &line{session: m.Session(), call: w.call(nil)}
	if w.server != "" {
		l.call.Server = netip.AddrPortFrom(l.call.Server.Addr(), epm.Port)
	}
	t.Cleanup(l.end)
	return l
}

func (l *line) end() {
	if l.session != nil {
		l.session.End()
		l.session = nil
	}
}

// send gives the mapper a stream of whole PDUs, and returns what it sends.
func (l *line) send(stream []byte) (answer []byte) {
	var r dcerpc.PDUReader
	r.Reset(dcerpc.MaxFrag)
	for len(stream) > 0 && !l.closed {
		used, pdu, err := r.Feed(stream)
		if err != nil || pdu == nil {
			panic(fmt.Sprintf("a test sends what is no PDU: %x, %v", stream, err))
		}
		stream = stream[used:]
		l.call.Message = pdu
		reply := l.session.Answer(l.call, answer)
		if reply.Head != nil {
			answer = append(reply.Head, reply.Body...)
		}
		l.closed = reply.Close
	}
	return answer
}

// split returns the PDUs of a stream.
func split(t testing.TB, stream []byte) (pdus [][]byte) {
	t.Helper()
	for len(stream) > 0 {
		h, err := dcerpc.ParseHeader(stream)
		if err != nil || int(h.FragLength) > len(stream) {
			t.Fatalf("an answer of %d bytes is not whole PDUs: %v", len(stream), err)
		}
		pdus = append(pdus, stream[:h.FragLength:h.FragLength])
		stream = stream[h.FragLength:]
	}
	return pdus
}

// A dceClient calls an endpoint mapper over one connection.
type dceClient struct {
	t        testing.TB
	exchange func(pdus []byte) (answer []byte) // one call's
	label    ndr.Label
	call     uint32 // id of the last one
	maxFrag  uint16 // that it takes
	ack      dcerpc.BindAck
}

// Contexts that a client of newClient has bound.
const (
	mapperContext = 7
	mgmtContext   = 9
)

func ctx(id uint16, s dcerpc.Syntax, transfers ...dcerpc.Syntax) dcerpc.Context {
	return dcerpc.Context{ID: id, Abstract: s, Transfers: transfers}
}

// newClient returns a client that has bound both interfaces.
func newClient(t testing.TB, exchange func([]byte) []byte, l ndr.Label, group uint32) *dceClient {
	t.Helper()
	c := &dceClient{t: t, exchange: exchange, label: l, maxFrag: 4280}
	c.bind(group)
	return c
}

// client returns a client on a line of its own.
func client(t testing.TB, m *DCE, w way) *dceClient {
	t.Helper()
	return newClient(t, dceLine(t, m, w).send, ndr.LittleEndian, 0)
}

func (c *dceClient) header() dcerpc.Header {
	c.call++
	return dcerpc.Header{Label: c.label, CallID: c.call}
}

func (c *dceClient) bind(group uint32) {
	c.t.Helper()
	c.ack = c.bindWith(dcerpc.Bind{
		MaxXmitFrag: c.maxFrag, MaxRecvFrag: c.maxFrag, AssocGroup: group,
		Contexts: []dcerpc.Context{ctx(mapperContext, epm.Interface, dcerpc.NDR), ctx(mgmtContext, epm.Management, dcerpc.NDR)},
	})
	for i, r := range c.ack.Results {
		if want := (dcerpc.Result{Transfer: dcerpc.NDR}); r != want {
			c.t.Fatalf("result %d = %+v, want %+v", i, r, want)
		}
	}
}

func (c *dceClient) bindWith(b dcerpc.Bind) dcerpc.BindAck {
	c.t.Helper()
	h, pdu := c.one(c.exchange(dcerpc.AppendBind(nil, c.header(), b)), dcerpc.PTypeBindAck)
	ack, err := dcerpc.ParseBindAck(h, pdu)
	if err != nil {
		c.t.Fatal(err)
	}
	return ack
}

// one is an answer of one PDU, to the last call.
func (c *dceClient) one(answer []byte, want dcerpc.PType) (dcerpc.Header, []byte) {
	c.t.Helper()
	pdus := split(c.t, answer)
	if len(pdus) != 1 {
		c.t.Fatalf("%d PDUs, want one %s", len(pdus), want)
	}
	h, err := dcerpc.ParseHeader(pdus[0])
	if err != nil || h.PType != want || h.CallID != c.call || h.Label != c.label || !h.Flags.Whole() {
		c.t.Fatalf("answer %+v, %v, want a whole %s to call %d", h, err, want, c.call)
	}
	return h, pdus[0]
}

// request calls an operation, and returns the results or the status of a fault.
func (c *dceClient) request(q dcerpc.Request) ([]byte, dcerpc.Status) {
	c.t.Helper()
	h := c.header()
	return c.response(c.exchange(dcerpc.AppendRequest(nil, h, q, 4280)), q.ContextID)
}

// response puts the results of the last call together.
func (c *dceClient) response(answer []byte, context uint16) ([]byte, dcerpc.Status) {
	c.t.Helper()
	var a dcerpc.Assembler
	pdus := split(c.t, answer)
	for i, pdu := range pdus {
		h, err := dcerpc.ParseHeader(pdu)
		if err != nil || h.CallID != c.call || h.Label != c.label || len(pdu) > int(max(c.ack.MaxXmitFrag, 1)) {
			c.t.Fatalf("answer %+v, %v of %d bytes, want call %d, at most %d bytes", h, err, len(pdu), c.call, c.ack.MaxXmitFrag)
		}
		if h.PType == dcerpc.PTypeFault {
			f, err := dcerpc.ParseFault(h, pdu)
			if err != nil || len(pdus) != 1 || f.ContextID != context {
				c.t.Fatalf("fault %+v, %v, among %d PDUs, want one of context %d", f, err, len(pdus), context)
			}
			return nil, f.Status
		}
		m, err := dcerpc.ParseResponse(h, pdu)
		if err != nil || h.PType != dcerpc.PTypeResponse {
			c.t.Fatalf("answer %+v: %v", h, err)
		}
		whole, ok, err := a.AddResponse(h, m)
		if err != nil || ok != (i == len(pdus)-1) {
			c.t.Fatalf("fragment %d of %d: whole %v, %v", i, len(pdus), ok, err)
		}
		if ok {
			if whole.ContextID != context {
				c.t.Fatalf("response of context %d, want %d", whole.ContextID, context)
			}
			return whole.Stub, 0
		}
	}
	c.t.Fatalf("no answer to call %d", c.call)
	return nil, 0
}

// arguments of an operation.
type arguments interface {
	Append(b []byte, l ndr.Label) []byte
}

// do calls an operation of the mapper.
func (c *dceClient) do(op epm.Op, a arguments) ([]byte, dcerpc.Status) {
	c.t.Helper()
	return c.request(dcerpc.Request{ContextID: mapperContext, Opnum: uint16(op), Stub: a.Append(nil, c.label)})
}

// must is do for what must not fail.
func (c *dceClient) must(op epm.Op, a arguments) []byte {
	c.t.Helper()
	stub, fault := c.do(op, a)
	if fault != 0 {
		c.t.Fatalf("%s %+v: %v", op, a, fault)
	}
	return stub
}

func (c *dceClient) lookup(q epm.Lookup) epm.LookupReply {
	c.t.Helper()
	r, err := epm.ParseLookupReply(c.must(epm.OpLookup, q), c.label)
	if err != nil || r.Max != q.MaxEntries {
		c.t.Fatalf("lookup %+v = %+v, %v", q, r, err)
	}
	return r
}

func (c *dceClient) find(q epm.Map) epm.MapReply {
	c.t.Helper()
	r, err := epm.ParseMapReply(c.must(epm.OpMap, q), c.label)
	if err != nil || r.Max != q.MaxTowers {
		c.t.Fatalf("map %+v = %+v, %v", q, r, err)
	}
	return r
}

// change calls an operation that answers with a status.
func (c *dceClient) change(op epm.Op, a arguments) (epm.Status, dcerpc.Status) {
	c.t.Helper()
	stub, fault := c.do(op, a)
	if fault != 0 {
		return 0, fault
	}
	status, err := epm.ParseStatus(stub, c.label)
	if err != nil || len(stub) != 4 {
		c.t.Fatalf("%s: %x, %v", op, stub, err)
	}
	return status, 0
}

// insert registers entries, as rows of which each is younger than the one before.
func (c *dceClient) insert(entries ...epm.Entry) {
	c.t.Helper()
	if status, fault := c.change(epm.OpInsert, epm.Insert{Entries: entries}); status != 0 || fault != 0 {
		c.t.Fatalf("insert %+v: %v, %v", entries, status, fault)
	}
}

func entry(object ndr.UUID, t epm.Tower, annotation string) epm.Entry {
	return epm.Entry{Object: object, Tower: t, Annotation: annotation}
}

// compareAddrs compares addresses as values.
var compareAddrs = cmpopts.EquateComparable(netip.Addr{})

func checkEntries(t testing.TB, what string, got, want []epm.Entry) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %s", what, cmp.Diff(want, got, compareAddrs))
	}
}

func checkTowers(t testing.TB, what string, got, want []epm.Tower) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %s", what, cmp.Diff(want, got, compareAddrs))
	}
}
