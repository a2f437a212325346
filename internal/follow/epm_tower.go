package follow

import (
	"net/netip"
	"slices"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// maxTurns is how many pages, of which nothing may be told, are turned for one call: as many as a list may have entries.
const maxTurns = epm.MaxEntries

// tell is what becomes of a whole answer of the endpoint mapper. One that may not be changed is passed on as it is, or the call
// fails.
func (f *epmFollower) tell(g fragment, c *dceCall, m dcerpc.Response, pdus []byte) Step {
	told := towers{list: list{policy: &f.policy}, signed: c.protection == signed}
	var stub []byte
	var err error
	switch c.op() {
	case epm.OpMap:
		stub, err = told.mapReply(c, g, m.Stub)
	case epm.OpLookup:
		stub, err = told.lookupReply(g, m.Stub)
	}
	s := Step{To: Client, Data: pdus, Promises: told.promises, Refused: told.refusal()}
	switch {
	case err != nil:
		return Step{To: Client, Data: faultPDU(g, c, dcerpc.StatusBadStubData), Refused: dceRefusal("syntax", "results of %v: %v", c.op(), err)}
	case told.dropped > 0 && told.signed:
		return Step{To: Client, Data: faultPDU(g, c, dcerpc.StatusAccessDenied), Refused: s.Refused}
	case told.dropped > 0 && !told.next.IsNil() && c.turns < maxTurns:
		// Clients that ask for one entry at a time take an empty page for an error.
		c.turns++
		c.answering = false
		f.calls[g.CallID] = c
		return Step{To: Server, Data: c.next(told.next), Refused: s.Refused}
	case told.rewritten():
		m.Stub = stub
		s.Data = dcerpc.AppendResponse(nil, g.Reply(), m, f.maxFrag)
	}
	if len(s.Promises) > 0 {
		s.Else, s.ElseTo = f.nothing(g, c), Client
	}
	return s
}

// nothing returns the answer to c that nothing is registered, or a fault where the client would notice
// that the server did not sign it.
func (f *epmFollower) nothing(g fragment, c *dceCall) []byte {
	if c.protection == signed {
		return faultPDU(g, c, dcerpc.StatusAccessDenied)
	}
	// Without towers or entries the results of ept_map and ept_lookup look the same.
	stub := epm.MapReply{Max: c.most(), Status: epm.StatusNotRegistered}.Append(nil, g.Label)
	return dcerpc.AppendResponse(nil, g.Reply(), dcerpc.Response{ContextID: c.context, Stub: stub}, f.maxFrag)
}

// towers are what one answer tells.
type towers struct {
	list
	signed  bool       // it may not be changed
	changed bool       // a tower names another address than it did
	dropped int        // how many may not be told
	next    ndr.Handle // of the next page, where nothing of this one may be told; nil: there is none
}

// mapReply returns the results of ept_map as they may be told.
func (ts *towers) mapReply(c *dceCall, g fragment, b []byte) ([]byte, error) {
	m, err := epm.ParseMapReply(b, g.Label)
	if err != nil {
		return nil, err
	}
	asked := c.mapped.Tower
	var kept []epm.Tower
	for _, t := range m.Towers {
		if t.Interface.UUID != asked.Interface.UUID || t.Interface.Major != asked.Interface.Major || t.ProtSeq != asked.ProtSeq {
			i := endpoint.FromSyntax(t.Interface)
			ts.drop(refuse("interface", i, "%v was told, and another interface or protocol sequence asked for", i))
			continue
		}
		if ts.add(&t) {
			kept = append(kept, t)
		}
	}
	m.Towers = kept
	if ts.rewritten() {
		m.Towers = slices.DeleteFunc(kept, isUnknown)
	}
	if len(m.Towers) == 0 {
		ts.next = m.Handle
		m = epm.MapReply{Max: m.Max, Status: epm.StatusNotRegistered}
	}
	return m.Append(nil, g.Label), nil
}

// lookupReply returns the results of ept_lookup as they may be told.
func (ts *towers) lookupReply(g fragment, b []byte) ([]byte, error) {
	m, err := epm.ParseLookupReply(b, g.Label)
	if err != nil {
		return nil, err
	}
	var kept []epm.Entry
	for _, e := range m.Entries {
		if ts.add(&e.Tower) {
			kept = append(kept, e)
		}
	}
	m.Entries = kept
	if ts.rewritten() {
		m.Entries = slices.DeleteFunc(kept, func(e epm.Entry) bool { return isUnknown(e.Tower) })
	}
	if len(m.Entries) == 0 {
		ts.next = m.Handle
		if m.Handle.IsNil() {
			m.Status = epm.StatusNotRegistered
		}
	}
	return m.Append(nil, g.Label), nil
}

// add takes a tower and reports whether it may be told, having promised its port and put the server's address in it.
func (ts *towers) add(t *epm.Tower) bool {
	i := endpoint.FromSyntax(t.Interface)
	protocol := protocolOf(t.ProtSeq)
	if protocol == 0 || t.Port == 0 { // nothing to promise
		if ts.policy.allows(i) {
			return true
		}
		return ts.drop(refuse("interface", i, "%v may not be looked up", i))
	}
	// Towers have addresses of IPv4 only: over IPv6 what they name says nothing.
	own := ts.policy.Ends[Server].Addr()
	if !own.Is4() {
		own = netip.Addr{}
	}
	foreign := t.Addr.IsValid() && t.Addr != own
	if foreign && ts.signed && own.IsValid() { // the client may go there, and cannot be told better
		if r := ts.policy.check(i, protocol, t.Port); r != nil {
			return ts.drop(r)
		}
		ts.refuse(refuse("address", i, "%s was told and signed, which is not %s that was asked: nothing is promised", t.Addr, own))
		return true
	}
	if !ts.list.add(i, protocol, t.Port) {
		ts.dropped++
		return false
	}
	if foreign && !ts.signed {
		t.Addr = own
		ts.changed = true
	}
	return true
}

// rewritten tells whether the answer is not passed on as it is.
func (ts *towers) rewritten() bool { return ts.changed || ts.dropped > 0 }

// isUnknown tells whether a tower is of a protocol sequence that cannot be written again.
func isUnknown(t epm.Tower) bool { return t.ProtSeq == 0 }

func (ts *towers) drop(r *Refusal) bool {
	ts.refuse(r)
	ts.dropped++
	return false
}

// protocolOf returns the protocol that a protocol sequence with ports runs over; 0 for others.
func protocolOf(p epm.ProtSeq) uint8 {
	switch p {
	case epm.TCP, epm.HTTP:
		return protocolTCP
	case epm.UDP:
		return protocolUDP
	}
	return 0
}
