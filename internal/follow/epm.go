package follow

import (
	"bytes"
	"errors"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// What is held of a connection to an endpoint mapper.
const (
	maxDCERequests = 16 << 10  // bytes of requests that are not whole; one has some 200
	maxDCEAnswers  = 512 << 10 // bytes of answers that are not whole: one of 500 entries, as long as they get
	maxDCECalls    = 64        // calls without an answer
	maxDCEBinds    = 8         // binds and alter_contexts without an answer
	maxDCEContexts = 256       // contexts that were accepted
)

// epmFollower follows a connection to port 135. The calls of the endpoint mapper's interface are put together, read, and
// passed on or answered as a whole, so that nobody is told a part of what is not read yet; those of other interfaces,
// such as DCOM's, go on unread, and nothing is promised for them.
//
// Only the port of a tower counts: whatever address it names, the promise is for the server that was asked.
type epmFollower struct {
	policy    Policy
	pdus      [2]dcerpc.PDUReader
	binds     []proposal // that have no answer
	bound     bool       // a bind was accepted
	maxFrag   uint16     // bytes of the largest fragment that the client takes and the server sends
	contexts  map[uint16]dceContext
	calls     map[uint32]*dceCall // that have no answer, by their ID
	requests  dcerpc.Assembler
	responses dcerpc.Assembler
	held      [2]int // bytes of PDUs of calls that are not whole
	ended     *Refusal
}

// NewEPM returns a follower of a TCP connection to an endpoint mapper (C706, appendix O; MS-RPCE). Lookups
// pass; calls that change the map are answered with a fault.
func NewEPM(p Policy) Follower {
	f := &epmFollower{policy: p.clean(), contexts: map[uint16]dceContext{}, calls: map[uint32]*dceCall{}}
	for i := range f.pdus {
		f.pdus[i].Reset(dcerpc.MaxFrag) // a bind with a ticket has any size
	}
	return f
}

// Follow implements [Follower].
func (f *epmFollower) Follow(from Side, data []byte) ([]Step, error) {
	var steps []Step
	for f.ended == nil {
		used, pdu, err := f.pdus[from].Feed(data)
		data = data[used:]
		switch {
		case err != nil:
			f.ended = dceRefusal("syntax", "the %v sent what is no PDU: %v", from, pduError(err))
		case pdu == nil:
			return steps, nil
		default:
			var s Step
			if s, f.ended = f.pdu(from, pdu); f.ended == nil && (len(s.Data) > 0 || s.Refused != nil) {
				steps = append(steps, s)
			}
		}
	}
	return steps, f.ended
}

// Quiet implements [Follower].
func (f *epmFollower) Quiet() bool { return len(f.calls) == 0 && len(f.binds) == 0 }

// pduError returns what is wrong with a stream, in words that do not depend on how much of it had come.
func pduError(err error) error {
	for _, e := range []error{dcerpc.ErrVersion, dcerpc.ErrFragLength, ndr.ErrLabel} {
		if errors.Is(err, e) {
			return e
		}
	}
	return err
}

// A fragment is a PDU with what stands in its header and its trailer.
type fragment struct {
	dcerpc.Header
	auth dcerpc.Auth
	pdu  []byte
}

// pdu returns what becomes of a PDU, or why the connection cannot be followed any more.
func (f *epmFollower) pdu(from Side, pdu []byte) (Step, *Refusal) {
	h, err := dcerpc.ParseHeader(pdu)
	if err != nil {
		return Step{}, dceRefusal("syntax", "%v", err)
	}
	auth, err := dcerpc.ParseAuth(h, pdu)
	if err != nil {
		return Step{}, dceRefusal("syntax", "%v", err)
	}
	g := fragment{h, auth, pdu}
	if f.policy.RefuseUnreadable && g.protection() == unreadable {
		return Step{}, dceRefusal("unreadable", "%v at the level %v", h.PType, auth.Level)
	}
	if from == Client {
		return f.fromClient(g)
	}
	return f.fromServer(g)
}

func (f *epmFollower) fromClient(g fragment) (Step, *Refusal) {
	switch {
	case g.PType == dcerpc.PTypeBind:
		return f.propose(g)
	case !f.bound:
		return Step{}, dceRefusal("state", "%v before a bind was accepted", g.PType)
	}
	switch g.PType {
	case dcerpc.PTypeAlterContext:
		return f.propose(g)
	case dcerpc.PTypeAuth3:
		return passPDU(Server, g.pdu), nil
	case dcerpc.PTypeRequest:
		return f.request(g)
	case dcerpc.PTypeCoCancel:
		return f.cancel(g)
	case dcerpc.PTypeOrphaned:
		return f.orphan(g)
	}
	return Step{}, dceRefusal("state", "%v from the client", g.PType)
}

func (f *epmFollower) fromServer(g fragment) (Step, *Refusal) {
	switch g.PType {
	case dcerpc.PTypeBindAck, dcerpc.PTypeAlterContextResp:
		return f.accept(g)
	case dcerpc.PTypeBindNak:
		return f.reject(g)
	case dcerpc.PTypeResponse:
		return f.response(g)
	case dcerpc.PTypeFault:
		return f.fault(g)
	case dcerpc.PTypeShutdown:
		return passPDU(Client, g.pdu), nil
	}
	return Step{}, dceRefusal("state", "%v from the server", g.PType)
}

// passPDU passes a PDU on.
func passPDU(to Side, pdu []byte) Step { return Step{To: to, Data: bytes.Clone(pdu)} }

// A protection is what a PDU's security provider lets others do with it.
type protection uint8

const (
	unprotected protection = iota // it can be read and changed
	signed                        // it can be read; the receiver notices a change
	unreadable                    // it is encrypted
)

// protection returns how a PDU is protected. Levels that there are none of count as encrypted.
func (g *fragment) protection() protection {
	switch {
	case g.AuthLength == 0 || g.auth.Level <= dcerpc.LevelConnect:
		return unprotected
	case g.auth.Level <= dcerpc.LevelIntegrity:
		return signed
	}
	return unreadable
}

// isMapper tells whether a syntax is the endpoint mapper's interface, of any version.
func isMapper(s dcerpc.Syntax) bool { return s.UUID == epm.Interface.UUID }

func dceRefusal(rule, format string, args ...any) *Refusal {
	return refuse(rule, endpoint.Interface{}, format, args...)
}
