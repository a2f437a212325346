package mapper

import (
	"errors"
	"strconv"

	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

const (
	// maxFrag is the most bytes of a fragment, either way: what Windows agrees to.
	maxFrag = 5840
	// maxBound is how many contexts one connection can have.
	maxBound = 256
	// maxAssembling is how many bytes of calls that are not complete all
	// connections may have here together.
	maxAssembling = 16 << 20
)

// A session is one connection: what was bound, and what came of calls that are not
// complete. It belongs to the goroutine that answers.
type session struct {
	mapper   *DCE
	group    *group // nil until a bind was accepted
	maxFrag  uint16 // bytes of a fragment that the client takes
	contexts []bound
	calls    dcerpc.Assembler
	held     int // bytes of calls, as the mapper counts them
}

// A bound context is an interface under a number that the client chose.
type bound struct {
	id    uint16
	iface *dceInterface
}

// End implements [transport.Session].
func (s *session) End() {
	s.mapper.stats.assembling.Add(int64(-s.held))
	s.mapper.groups.leave(s.group)
}

// Answer implements [transport.Handler] for one PDU.
func (s *session) Answer(c *transport.Call, buf []byte) transport.Reply {
	s.mapper.stats.packetsIn.Add(1)
	pdu := c.Message
	h, err := dcerpc.ParseHeader(pdu)
	if err != nil { // which the framing lets nothing through with
		return s.broken(nil)
	}
	switch h.PType {
	case dcerpc.PTypeRequest:
		return s.request(c, h, buf)
	case dcerpc.PTypeBind:
		return s.bind(c, h, buf)
	case dcerpc.PTypeAlterContext:
		return s.alterContext(c, h, buf)
	case dcerpc.PTypeOrphaned: // the rest of the call does not come
		s.calls.Drop(h.CallID)
		s.account()
		return transport.Reply{}
	case dcerpc.PTypeCoCancel: // the rest comes and is answered: no call takes long enough to be cancelled
		return transport.Reply{}
	}
	// Among them the third leg of an authentication that was refused.
	return s.broken(nil)
}

// broken ends the connection over which something came that must not, after an
// answer if there is one.
func (s *session) broken(answer []byte) transport.Reply {
	s.mapper.stats.broken.Add(1)
	r := s.sent(answer)
	r.Close = true
	return r
}

// reply returns the header of answers: in the client's byte order, and else as
// everybody writes.
func reply(h dcerpc.Header) dcerpc.Header {
	r := h.Reply()
	r.Label = ndr.LittleEndian
	if h.Label.IsBigEndian() {
		r.Label = ndr.BigEndian
	}
	return r
}

// fault appends a fault.
func (s *session) fault(b []byte, h dcerpc.Header, context uint16, status dcerpc.Status) []byte {
	s.mapper.stats.failed(status)
	return dcerpc.AppendFault(b, reply(h), dcerpc.Fault{ContextID: context, Status: status})
}

// versions are those of the protocol that are spoken here.
var versions = []dcerpc.ProtocolVersion{{Major: dcerpc.Version, Minor: 0}, {Major: dcerpc.Version, Minor: 1}}

// nak appends a bind_nak.
func (s *session) nak(b []byte, h dcerpc.Header, reason dcerpc.RejectReason) []byte {
	s.mapper.stats.naks.Add(1)
	return dcerpc.AppendBindNak(b, reply(h), dcerpc.BindNak{Reason: reason, Versions: versions})
}

// bind answers the first PDU of a connection. Who wants to be authenticated is told
// that nobody can be: a client may bind again without. What is no bind is refused for
// the reason of protocol errors (MS-RPCE, section 2.2.2.5).
func (s *session) bind(c *transport.Call, h dcerpc.Header, buf []byte) transport.Reply {
	m, err := dcerpc.ParseBind(h, c.Message)
	switch {
	case s.group != nil:
		return s.broken(s.nak(buf, h, dcerpc.RejectReasonNotSpecified))
	case err != nil, len(m.Contexts) == 0, !h.Flags.Whole():
		return s.broken(s.nak(buf, h, dcerpc.RejectProtocolVersionNotSupported))
	case h.AuthLength > 0:
		return s.sent(s.nak(buf, h, dcerpc.RejectAuthenticationTypeNotRecognized))
	}
	s.group = s.mapper.groups.join(m.AssocGroup, c.Client.Addr())
	s.maxFrag = max(dcerpc.MustRecvFragSize, min(m.MaxRecvFrag, maxFrag))
	ack := s.accept(&m, true)
	ack.SecondaryAddr = secondaryAddr(c)
	return s.sent(dcerpc.AppendBindAck(buf, reply(h), ack))
}

// localName is the name of the endpoint mapper's endpoint within a host (MS-RPCE,
// section 2.1.2.1).
const localName = "epmapper"

// secondaryAddr returns what a client may connect to as well: the same again.
func secondaryAddr(c *transport.Call) string {
	if c.NetID == rpcbind.Local {
		return localName
	}
	return strconv.Itoa(int(c.Server.Port()))
}

// alterContext binds more.
func (s *session) alterContext(c *transport.Call, h dcerpc.Header, buf []byte) transport.Reply {
	m, err := dcerpc.ParseBind(h, c.Message)
	if s.group == nil || err != nil || !h.Flags.Whole() || h.AuthLength > 0 || len(m.Contexts) == 0 {
		return s.broken(s.fault(buf, h, 0, dcerpc.StatusProtoError))
	}
	return s.sent(dcerpc.AppendAlterContextResp(buf, reply(h), s.accept(&m, false)))
}

// accept answers each context of a bind, or of an alter_context.
func (s *session) accept(m *dcerpc.Bind, first bool) dcerpc.BindAck {
	ack := dcerpc.BindAck{MaxXmitFrag: s.maxFrag, MaxRecvFrag: maxFrag, AssocGroup: s.group.id}
	for i := range m.Contexts {
		ack.Results = append(ack.Results, s.context(&m.Contexts[i], first))
	}
	return ack
}

// context binds one context, if it can be.
func (s *session) context(c *dcerpc.Context, first bool) dcerpc.Result {
	reject := func(why dcerpc.ProviderReason) dcerpc.Result {
		return dcerpc.Result{Result: dcerpc.ProviderRejection, Reason: why}
	}
	for _, t := range c.Transfers {
		if wanted, ok := t.Features(); ok && first {
			return dcerpc.Result{Result: dcerpc.NegotiateAck, Reason: dcerpc.ProviderReason(wanted & dcerpc.KeepConnectionOnOrphan)}
		}
	}
	iface := interfaceOf(c.Abstract)
	if iface == nil {
		return reject(dcerpc.AbstractSyntaxNotSupported)
	}
	for _, t := range c.Transfers {
		if t != dcerpc.NDR {
			continue
		}
		if !s.bindTo(c.ID, iface) {
			return reject(dcerpc.LocalLimitExceeded)
		}
		return dcerpc.Result{Result: dcerpc.Acceptance, Transfer: dcerpc.NDR}
	}
	return reject(dcerpc.TransferSyntaxesNotSupported)
}

// bindTo notes which interface a context is.
func (s *session) bindTo(id uint16, iface *dceInterface) bool {
	for i := range s.contexts {
		if s.contexts[i].id == id {
			s.contexts[i].iface = iface
			return true
		}
	}
	if len(s.contexts) == maxBound {
		return false
	}
	s.contexts = append(s.contexts, bound{id, iface})
	return true
}

func (s *session) bound(id uint16) *dceInterface {
	for i := range s.contexts {
		if s.contexts[i].id == id {
			return s.contexts[i].iface
		}
	}
	return nil
}

// request takes a call, or a fragment of one.
func (s *session) request(c *transport.Call, h dcerpc.Header, buf []byte) transport.Reply {
	m, err := dcerpc.ParseRequest(h, c.Message)
	if err != nil || s.group == nil || h.AuthLength > 0 {
		return s.broken(s.fault(buf, h, m.ContextID, dcerpc.StatusProtoError))
	}
	whole, ok, err := s.calls.Add(h, m)
	if full := s.account(); err == nil && full != nil {
		err = full
	}
	switch {
	case err != nil:
		return s.broken(s.fault(buf, h, m.ContextID, statusOfFragment(err)))
	case !ok:
		return transport.Reply{}
	}
	return s.sent(s.call(c, h, whole, buf))
}

// statusOfFragment returns the status that a fragment is refused with.
func statusOfFragment(err error) dcerpc.Status {
	var wrong *dcerpc.AssembleError
	if errors.As(err, &wrong) {
		return wrong.Status
	}
	return dcerpc.StatusServerTooBusy
}

// account counts what calls that are not complete take.
func (s *session) account() error {
	more := s.calls.Held() - s.held
	s.held += more
	if s.mapper.stats.assembling.Add(int64(more)) > maxAssembling && more > 0 {
		return errAssembling
	}
	return nil
}

var errAssembling = errors.New("calls that are not complete take more than there is for them")

// sent counts an answer.
func (s *session) sent(b []byte) transport.Reply {
	if b != nil {
		s.mapper.stats.packetsOut.Add(1)
	}
	return transport.Reply{Head: b}
}
