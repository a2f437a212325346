package follow

import (
	"errors"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A dceCall is a call that has no answer.
type dceCall struct {
	context    uint16
	protection protection // of its request or its answer, whichever is the stronger
	read       bool       // of the endpoint mapper and not encrypted; else it goes on unread
	asked      bool       // all of the request was passed on
	answered   bool       // with a fault, before all of the request had come
	answering  bool       // a part of the answer has come
	held       []byte     // the PDUs of the request, or then of the answer, that have come and were not passed on

	// What was asked, without the stub, and its arguments by the operation.
	header  dcerpc.Header
	request dcerpc.Request
	mapped  epm.Map
	lookup  epm.Lookup
	turns   int // how many pages were asked for in the client's place
}

func (c *dceCall) op() epm.Op { return epm.Op(c.request.Opnum) }

// most returns how many towers or entries the client takes.
func (c *dceCall) most() uint32 {
	if c.op() == epm.OpMap {
		return c.mapped.MaxTowers
	}
	return c.lookup.MaxEntries
}

// next returns the same request for the page that a handle stands for.
func (c *dceCall) next(handle ndr.Handle) []byte {
	m := c.request
	if c.op() == epm.OpMap {
		c.mapped.Handle = handle
		m.Stub = c.mapped.Append(nil, c.header.Label)
	} else {
		c.lookup.Handle = handle
		m.Stub = c.lookup.Append(nil, c.header.Label)
	}
	return dcerpc.AppendRequest(nil, c.header, m, dcerpc.MustRecvFragSize)
}

// request is what becomes of a request, or a fragment of one.
func (f *epmFollower) request(g fragment) (Step, *Refusal) {
	m, err := dcerpc.ParseRequest(g.Header, g.pdu)
	if err != nil {
		return Step{}, dceRefusal("syntax", "%v", err)
	}
	c, begun := f.calls[g.CallID]
	if !begun {
		var refused *Refusal
		if c, refused = f.begin(g, m); refused != nil {
			return Step{}, refused
		}
	}
	switch {
	case c.asked:
		return Step{}, dceRefusal("state", "request with the call ID %d of one that has no answer", g.CallID)
	case m.ContextID != c.context, g.protection() != c.protection, begun && g.Flags&dcerpc.FirstFrag != 0:
		return Step{}, dceRefusal("state", "a fragment that does not go with those before it")
	}
	if !c.read {
		return f.passUnread(g, c, begun), nil
	}
	if refused := f.hold(Client, g, c); refused != nil {
		return Step{}, refused
	}
	whole, ok, err := f.requests.Add(g.Header, m)
	switch {
	case err != nil:
		return Step{}, assembleRefusal(err)
	case !ok:
		return Step{}, nil
	}
	return f.ask(g, c, whole, f.release(Client, c)), nil
}

// begin takes the first fragment of a call.
func (f *epmFollower) begin(g fragment, m dcerpc.Request) (*dceCall, *Refusal) {
	context, ok := f.contexts[m.ContextID]
	switch {
	case g.Flags&dcerpc.FirstFrag == 0 && g.Flags&dcerpc.LastFrag != 0:
		return nil, dceRefusal("state", "the last fragment of a call that has not begun")
	case !ok:
		return nil, dceRefusal("state", "request in the context %d, which was not accepted", m.ContextID)
	case len(f.calls) == maxDCECalls:
		return nil, dceRefusal("limit", "over %d calls without an answer", maxDCECalls)
	}
	c := &dceCall{context: m.ContextID, protection: g.protection()}
	c.read = isMapper(context.abstract) && c.protection != unreadable
	f.calls[g.CallID] = c
	return c, nil
}

// passUnread passes a request on that is not read.
func (f *epmFollower) passUnread(g fragment, c *dceCall, begun bool) Step {
	// With neither flag a fragment is a whole call, or in the middle of one that has begun.
	c.asked = g.Flags&dcerpc.LastFrag != 0 || !begun && g.Flags&dcerpc.FirstFrag == 0
	if c.asked && (c.answered || g.Flags&dcerpc.Maybe != 0) {
		delete(f.calls, g.CallID)
	}
	s := passPDU(Server, g.pdu)
	if !begun && isMapper(f.contexts[c.context].abstract) {
		s.Refused = dceRefusal("unreadable", "an encrypted request was passed on unread: nothing is promised for it")
	}
	return s
}

// hold keeps a PDU of a call that is not whole.
func (f *epmFollower) hold(from Side, g fragment, c *dceCall) *Refusal {
	limit := maxDCERequests
	if from == Server {
		limit = maxDCEAnswers
	}
	if f.held[from]+len(g.pdu) > limit {
		return dceRefusal("limit", "over %d bytes of the %v are not whole", limit, from)
	}
	f.held[from] += len(g.pdu)
	c.held = append(c.held, g.pdu...)
	return nil
}

// release returns what is held of a call.
func (f *epmFollower) release(from Side, c *dceCall) []byte {
	held := c.held
	f.held[from] -= len(held)
	c.held = nil
	return held
}

// ask is what becomes of a whole request to the endpoint mapper.
func (f *epmFollower) ask(g fragment, c *dceCall, m dcerpc.Request, pdus []byte) Step {
	c.header, c.request = g.Reply(), m
	c.request.Stub = nil
	var err error
	switch c.op() {
	case epm.OpMap:
		c.mapped, err = epm.ParseMap(m.Stub, g.Label)
	case epm.OpLookup:
		c.lookup, err = epm.ParseLookup(m.Stub, g.Label)
	case epm.OpLookupHandleFree, epm.OpInqObject:
	case epm.OpInsert, epm.OpDelete, epm.OpMgmtDelete:
		return f.answer(g, c, dcerpc.StatusAccessDenied, dceRefusal("procedure", "call of %v", c.op()))
	default:
		return f.answer(g, c, dcerpc.StatusOpRngError, dceRefusal("procedure", "call of %v", c.op()))
	}
	asked := endpoint.FromSyntax(c.mapped.Tower.Interface)
	switch {
	case err != nil:
		return f.answer(g, c, dcerpc.StatusBadStubData, dceRefusal("syntax", "arguments of %v: %v", c.op(), err))
	case c.op() == epm.OpMap && !f.policy.allows(asked):
		delete(f.calls, g.CallID)
		if g.Flags&dcerpc.Maybe != 0 {
			return Step{Refused: refuse("interface", asked, "%v may not be looked up", asked)}
		}
		return Step{To: Client, Data: f.nothing(g, c), Refused: refuse("interface", asked, "%v may not be looked up", asked)}
	}
	c.asked = true
	if g.Flags&dcerpc.Maybe != 0 {
		delete(f.calls, g.CallID)
	}
	return Step{To: Server, Data: pdus}
}

// answer answers a call with a fault, in the place of the server; one that wants no answer gets none.
func (f *epmFollower) answer(g fragment, c *dceCall, status dcerpc.Status, r *Refusal) Step {
	delete(f.calls, g.CallID)
	if g.Flags&dcerpc.Maybe != 0 {
		return Step{Refused: r}
	}
	return Step{To: Client, Data: faultPDU(g, c, status), Refused: r}
}

// faultPDU returns the fault that answers a call.
func faultPDU(g fragment, c *dceCall, status dcerpc.Status) []byte {
	return dcerpc.AppendFault(nil, g.Reply(), dcerpc.Fault{ContextID: c.context, Status: status})
}

// cancel is what becomes of a co_cancel: it follows the request.
func (f *epmFollower) cancel(g fragment) (Step, *Refusal) {
	c, ok := f.calls[g.CallID]
	switch {
	case !ok:
		return unasked(g), nil
	case c.read && !c.asked:
		return Step{}, f.hold(Client, g, c)
	}
	return passPDU(Server, g.pdu), nil
}

// orphan is what becomes of an orphaned PDU, after which the client waits for no answer.
func (f *epmFollower) orphan(g fragment) (Step, *Refusal) {
	c, ok := f.calls[g.CallID]
	if !ok {
		return unasked(g), nil
	}
	delete(f.calls, g.CallID)
	if c.read && !c.asked { // the server knows nothing of it
		f.release(Client, c)
		f.requests.Drop(g.CallID)
		return Step{}, nil
	}
	f.release(Server, c)
	f.responses.Drop(g.CallID)
	return passPDU(Server, g.pdu), nil
}

// response is what becomes of a response, or a fragment of one.
func (f *epmFollower) response(g fragment) (Step, *Refusal) {
	m, err := dcerpc.ParseResponse(g.Header, g.pdu)
	if err != nil {
		return Step{}, dceRefusal("syntax", "%v", err)
	}
	c, ok := f.calls[g.CallID]
	if !ok || !c.asked {
		return unasked(g), nil
	}
	var refused *Refusal
	if c.read && g.protection() == unreadable {
		if c.answering {
			return Step{}, dceRefusal("state", "a fragment that does not go with those before it")
		}
		c.read = false
		refused = dceRefusal("unreadable", "an encrypted answer was passed on unread: nothing is promised for it")
	}
	begun := c.answering
	c.answering = true
	if !c.read {
		if g.Flags&dcerpc.LastFrag != 0 || !begun && g.Flags&dcerpc.FirstFrag == 0 {
			delete(f.calls, g.CallID)
		}
		s := passPDU(Client, g.pdu)
		s.Refused = refused
		return s, nil
	}
	c.protection = max(c.protection, g.protection())
	if refused := f.hold(Server, g, c); refused != nil {
		return Step{}, refused
	}
	whole, ok, err := f.responses.AddResponse(g.Header, m)
	switch {
	case err != nil:
		return Step{}, assembleRefusal(err)
	case !ok:
		return Step{}, nil
	}
	delete(f.calls, g.CallID)
	return f.tell(g, c, whole, f.release(Server, c)), nil
}

// fault is what becomes of a fault.
func (f *epmFollower) fault(g fragment) (Step, *Refusal) {
	if _, err := dcerpc.ParseFault(g.Header, g.pdu); err != nil {
		return Step{}, dceRefusal("syntax", "%v", err)
	}
	c, ok := f.calls[g.CallID]
	switch {
	case ok && !c.asked && !c.read: // the rest of the request is still to come
		c.answered = true
	case ok && c.asked:
		f.release(Server, c)
		f.responses.Drop(g.CallID)
		delete(f.calls, g.CallID)
	default:
		if _, ok := f.answered(g, dcerpc.PTypeAlterContext); !ok {
			return unasked(g), nil
		}
	}
	return passPDU(Client, g.pdu), nil
}

// assembleRefusal returns why fragments do not go together.
func assembleRefusal(err error) *Refusal {
	var e *dcerpc.AssembleError
	if errors.As(err, &e) && e.Status == dcerpc.StatusServerTooBusy {
		return dceRefusal("limit", "%v", err)
	}
	return dceRefusal("state", "%v", err)
}
