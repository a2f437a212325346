package mapper

import (
	"sync"

	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A dceCall is a call of DCE/RPC on its way through an operation, and memory for
// what is said about it, to be used again.
type dceCall struct {
	*transport.Call
	dcerpc.Request // all of it, whatever fragments it came in
	header         dcerpc.Header
	session        *session

	stub    []byte // results
	rows    []registry.Ordered
	towers  []epm.Tower
	entries []epm.Entry
}

// label returns how results are written.
func (c *dceCall) label() ndr.Label { return reply(c.header).Label }

// What is used again at most: as much as an answer of epm.MaxEntries takes, and the
// rows of an interface that has about as many.
const (
	maxKept     = 128 << 10 // bytes of results
	maxKeptRows = 1 << 10
)

// dceCalls keep the memory of calls.
type dceCalls struct{ pool sync.Pool }

func (p *dceCalls) get() *dceCall {
	if c, ok := p.pool.Get().(*dceCall); ok {
		return c
	}
	return &dceCall{}
}

// put takes a call back, and keeps nothing that it led to.
func (p *dceCalls) put(c *dceCall) {
	if cap(c.stub) > maxKept {
		c.stub = nil
	}
	if cap(c.rows) > maxKeptRows {
		c.rows = nil
	}
	clear(c.rows)
	clear(c.towers)
	clear(c.entries)
	*c = dceCall{stub: c.stub[:0], rows: c.rows[:0], towers: c.towers[:0], entries: c.entries[:0]}
	p.pool.Put(c)
}

// A dceInterface is one that can be bound.
type dceInterface struct {
	syntax     dcerpc.Syntax
	operations []operation // by opnum
}

// An operation appends the results of a call to b, or returns the status of a fault.
type operation func(m *DCE, c *dceCall, b []byte) ([]byte, dcerpc.Status)

var dceInterfaces = []dceInterface{
	{epm.Interface, []operation{
		epm.OpInsert: (*DCE).insert, epm.OpDelete: (*DCE).delete, epm.OpLookup: (*DCE).lookup, epm.OpMap: (*DCE).find,
		epm.OpLookupHandleFree: (*DCE).freeHandle, epm.OpInqObject: (*DCE).inqObject, epm.OpMgmtDelete: (*DCE).mgmtDelete,
	}},
	{epm.Management, []operation{
		epm.MgmtInqIfIDs: (*DCE).inqIfIDs, epm.MgmtInqStats: (*DCE).inqStats, epm.MgmtIsServerListening: (*DCE).isListening,
		epm.MgmtStopServerListening: (*DCE).stopListening, epm.MgmtInqPrincName: (*DCE).inqPrincName,
	}},
}

// interfaceOf returns the interface that a client may call as what it asks for, or nil.
func interfaceOf(asked dcerpc.Syntax) *dceInterface {
	for i := range dceInterfaces {
		if has := dceInterfaces[i].syntax; has.UUID == asked.UUID && compatible(has, asked) {
			return &dceInterfaces[i]
		}
	}
	return nil
}

// compatible tells whether who has a version of an interface can be called by who
// asks for another: the same major version, and no older minor one (C706, section 6.1.2).
func compatible(has, asked dcerpc.Syntax) bool {
	return has.Major == asked.Major && has.Minor >= asked.Minor
}

// call answers a whole call.
func (s *session) call(c *transport.Call, h dcerpc.Header, q dcerpc.Request, b []byte) []byte {
	m := s.mapper
	m.stats.calls.Add(1)
	call := m.calls.get()
	defer m.calls.put(call)
	call.Call, call.Request, call.header, call.session = c, q, h, s
	status := call.perform()
	switch {
	case h.Flags&dcerpc.Maybe != 0: // nobody waits for an answer, not even for a fault
		m.stats.failed(status)
		return nil
	case status != 0:
		return s.fault(b, h, q.ContextID, status)
	}
	return dcerpc.AppendResponse(b, reply(h), dcerpc.Response{ContextID: q.ContextID, Stub: call.stub}, s.maxFrag)
}

// perform does what is called, and leaves the results in the stub; or it returns
// the status of a fault.
func (c *dceCall) perform() dcerpc.Status {
	iface := c.session.bound(c.ContextID)
	switch {
	case iface == nil:
		return dcerpc.StatusUnkIf
	case int(c.Opnum) >= len(iface.operations):
		return dcerpc.StatusOpRngError
	}
	stub, status := iface.operations[c.Opnum](c.session.mapper, c, c.stub)
	if status == 0 {
		c.stub = stub
	}
	return status
}
