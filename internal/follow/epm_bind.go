package follow

import (
	"bytes"
	"slices"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A proposal is a bind or alter_context without an answer.
type proposal struct {
	ptype    dcerpc.PType
	callID   uint32
	maxRecv  uint16
	contexts []dcerpc.Context // with the transfer syntaxes that the server was told
}

// A dceContext is what was agreed upon.
type dceContext struct{ abstract, transfer dcerpc.Syntax }

// noSyntax is a transfer syntax that nobody has. It takes the place of NDR64 where a client proposes that for the endpoint
// mapper, so that both sides agree on NDR, which every client of 64 bits proposes as well. So there is one
// representation to read. The PDU keeps its size, and the answer has a result for each context, which the server
// itself gives. No signature is over a bind: security providers sign requests and responses only
// (MS-RPCE, section 3.3.1.5.2.2).
var noSyntax = dcerpc.Syntax{UUID: ndr.MustParseUUID("6ac0d257-9f4c-4a0e-8a35-2b1dbb0e7f64"), Major: 1}

// Offsets in a bind (C706, section 12.6.4.3).
const (
	firstContext  = dcerpc.HeaderSize + 12
	syntaxSize    = ndr.UUIDSize + 4
	firstTransfer = 4 + syntaxSize // of a context
)

// propose is what becomes of a bind or alter_context.
func (f *epmFollower) propose(g fragment) (Step, *Refusal) {
	m, err := dcerpc.ParseBind(g.Header, g.pdu)
	switch {
	case err != nil:
		return Step{}, dceRefusal("syntax", "%v", err)
	case !g.Flags.Whole():
		return Step{}, dceRefusal("syntax", "%v in fragments", g.PType)
	case g.PType == dcerpc.PTypeBind && (f.bound || len(f.binds) > 0):
		return Step{}, dceRefusal("state", "a second bind")
	case len(f.binds) == maxDCEBinds:
		return Step{}, dceRefusal("limit", "over %d proposals without an answer", maxDCEBinds)
	case f.proposal(g.CallID) >= 0:
		return Step{}, dceRefusal("state", "%v with the call ID %d of one that has no answer", g.PType, g.CallID)
	}
	// What a context is must not change while calls may be under way in it.
	abstract := map[uint16]dcerpc.Syntax{}
	for id, c := range f.contexts {
		abstract[id] = c.abstract
	}
	for _, p := range f.binds {
		for _, c := range p.contexts {
			abstract[c.ID] = c.Abstract
		}
	}
	pdu := bytes.Clone(g.pdu)
	at := firstContext
	for _, c := range m.Contexts {
		if before, ok := abstract[c.ID]; ok && before != c.Abstract {
			return Step{}, dceRefusal("state", "context %d is of two interfaces", c.ID)
		}
		abstract[c.ID] = c.Abstract
		at += firstTransfer
		for i, s := range c.Transfers {
			if isMapper(c.Abstract) && s.UUID == dcerpc.NDR64.UUID {
				c.Transfers[i] = noSyntax
				w := ndr.NewWriter(nil, g.Label)
				w.UUID(noSyntax.UUID)
				w.Uint32(uint32(noSyntax.Major))
				copy(pdu[at:], w.Result())
			}
			at += syntaxSize
		}
	}
	f.binds = append(f.binds, proposal{g.PType, g.CallID, m.MaxRecvFrag, m.Contexts})
	return Step{To: Server, Data: pdu}, nil
}

func (f *epmFollower) proposal(callID uint32) int {
	return slices.IndexFunc(f.binds, func(p proposal) bool { return p.callID == callID })
}

// answered takes the proposal that a PDU answers, which must be of one of the types.
func (f *epmFollower) answered(g fragment, ptypes ...dcerpc.PType) (proposal, bool) {
	i := f.proposal(g.CallID)
	if i < 0 || !slices.Contains(ptypes, f.binds[i].ptype) {
		return proposal{}, false
	}
	p := f.binds[i]
	f.binds = slices.Delete(f.binds, i, i+1)
	return p, true
}

// accept is what becomes of a bind_ack or alter_context_resp.
func (f *epmFollower) accept(g fragment) (Step, *Refusal) {
	proposed := dcerpc.PTypeBind
	if g.PType == dcerpc.PTypeAlterContextResp {
		proposed = dcerpc.PTypeAlterContext
	}
	p, ok := f.answered(g, proposed)
	if !ok {
		return unasked(g), nil
	}
	m, err := dcerpc.ParseBindAck(g.Header, g.pdu)
	switch {
	case err != nil:
		return Step{}, dceRefusal("syntax", "%v", err)
	case !g.Flags.Whole():
		return Step{}, dceRefusal("syntax", "%v in fragments", g.PType)
	case len(m.Results) != len(p.contexts):
		return Step{}, dceRefusal("syntax", "%v with %d results for %d contexts", g.PType, len(m.Results), len(p.contexts))
	}
	for i, r := range m.Results {
		if r.Result != dcerpc.Acceptance {
			continue
		}
		c := p.contexts[i]
		agreed := dceContext{c.Abstract, r.Transfer}
		before, again := f.contexts[c.ID]
		switch {
		case !slices.Contains(c.Transfers, r.Transfer) || r.Transfer == noSyntax:
			return Step{}, dceRefusal("state", "the server chose the transfer syntax %v, which was not proposed", r.Transfer)
		case isMapper(c.Abstract) && r.Transfer != dcerpc.NDR:
			return Step{}, dceRefusal("state", "the transfer syntax %v of the endpoint mapper cannot be read", r.Transfer)
		case again && before != agreed:
			return Step{}, dceRefusal("state", "context %d has another transfer syntax than before", c.ID)
		case !again && len(f.contexts) == maxDCEContexts:
			return Step{}, dceRefusal("limit", "over %d contexts", maxDCEContexts)
		}
		f.contexts[c.ID] = agreed
	}
	if g.PType == dcerpc.PTypeBindAck {
		f.bound, f.maxFrag = true, min(p.maxRecv, m.MaxXmitFrag)
	}
	return passPDU(Client, g.pdu), nil
}

// reject is what becomes of a bind_nak.
func (f *epmFollower) reject(g fragment) (Step, *Refusal) {
	if _, ok := f.answered(g, dcerpc.PTypeBind, dcerpc.PTypeAlterContext); !ok {
		return unasked(g), nil
	}
	return passPDU(Client, g.pdu), nil
}

// unasked drops an answer that nobody asked for.
func unasked(g fragment) Step {
	return Step{Refused: dceRefusal("state", "%v to nothing that was passed on and has no answer, call ID %d", g.PType, g.CallID)}
}
