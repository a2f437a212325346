package follow

import (
	"bytes"
	"errors"
	"slices"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// What is held of a conversation with a port mapper.
const (
	maxONCCall   = 9000      // bytes of a call: what rpcbind takes
	maxONCAnswer = 256 << 10 // bytes of an answer: a dump of some thousands of rows
	maxONCCalls  = 64        // calls without an answer
)

// portmapper follows the calls of one client to a port mapper, and its answers.
//
// Only the port of an answer counts. Where it names an address, that is the server's, or it is as if nothing
// was registered. A record is passed on in one fragment, and one that is not whole not at all.
type portmapper struct {
	policy  Policy
	stream  bool
	netids  [2]rpcbind.NetID // of the channel's family: for TCP, for UDP
	records [2]oncrpc.RecordReader
	calls   []oncCall // that were passed on and have no answer, the oldest first
	ended   *Refusal
}

// An oncCall is what was asked.
type oncCall struct {
	xid       uint32
	version   uint32
	procedure rpcbind.Proc
	asked     endpoint.Interface // for the place of which; zero: for none
	protocol  uint8              // of GETPORT, GETADDR and GETVERSADDR
}

// NewPortmapper returns a follower of the port mapper protocol in versions 2 to 4 (RFC 1833): of its datagrams or, with
// stream, of a TCP connection with record marks. Lookups and what cannot do harm pass; calls that
// change the map or have the mapper call others are answered with an error.
func NewPortmapper(p Policy, stream bool) Follower {
	f := &portmapper{policy: p.clean(), stream: stream, netids: [2]rpcbind.NetID{rpcbind.TCP, rpcbind.UDP}}
	if f.policy.Ends[Server].Addr().Is6() {
		f.netids = [2]rpcbind.NetID{rpcbind.TCP6, rpcbind.UDP6}
	}
	f.records[Client].Reset(maxONCCall)
	f.records[Server].Reset(maxONCAnswer)
	return f
}

// Follow implements [Follower].
func (f *portmapper) Follow(from Side, data []byte) ([]Step, error) {
	if !f.stream {
		s, refused := f.datagram(from, data)
		if refused != nil { // another one may be better
			s = Step{Refused: refused}
		}
		return []Step{s}, nil
	}
	var steps []Step
	for f.ended == nil {
		used, record, err := f.records[from].Feed(data)
		data = data[used:]
		switch {
		case err != nil:
			f.ended = oncRefusal("limit", "record of the %v: %v", from, err)
		case record == nil:
			return steps, nil
		default:
			var s Step
			if s, f.ended = f.message(from, record); f.ended == nil {
				steps = append(steps, s)
			}
		}
	}
	return steps, f.ended
}

// Quiet implements [Follower].
func (f *portmapper) Quiet() bool { return len(f.calls) == 0 }

func (f *portmapper) datagram(from Side, data []byte) (Step, *Refusal) {
	if from == Client && len(data) > maxONCCall {
		return Step{}, oncRefusal("limit", "call of %d bytes", len(data))
	}
	return f.message(from, data)
}

// message returns what becomes of a message, or why the conversation cannot be followed any more.
func (f *portmapper) message(from Side, b []byte) (Step, *Refusal) {
	if from == Client {
		return f.call(b)
	}
	return f.reply(b)
}

// call is what becomes of a call.
func (f *portmapper) call(b []byte) (Step, *Refusal) {
	c, args, err := oncrpc.ParseCall(b)
	switch {
	case errors.Is(err, oncrpc.ErrRPCVersion):
		return f.answer(oncrpc.AppendRPCMismatch(nil, c.XID), oncRefusal("syntax", "%v", err)), nil
	case errors.Is(err, oncrpc.ErrCredentialSize):
		return f.answer(oncrpc.AppendAuthError(nil, c.XID, oncrpc.AuthBadCred), oncRefusal("syntax", "%v", err)), nil
	case err != nil:
		return Step{}, oncRefusal("syntax", "%v", err)
	case c.Cred.Flavor == oncrpc.RPCSecGSS: // the arguments may be encrypted, and no port mapper knows it
		return f.answer(oncrpc.AppendAuthError(nil, c.XID, oncrpc.GSSCredProblem), oncRefusal("unreadable", "call with a credential of %v", c.Cred.Flavor)), nil
	case c.Program != rpcbind.Program:
		i := endpoint.Program(c.Program, c.Version)
		return f.answer(oncrpc.AppendAccepted(nil, c.XID, oncrpc.ProgUnavail), refuse("interface", i, "call of program %d, which is no port mapper", c.Program)), nil
	}
	call := oncCall{xid: c.XID, version: c.Version, procedure: rpcbind.Proc(c.Procedure)}
	switch procs := rpcbind.Procs(c.Version); {
	case procs == 0 && call.procedure != rpcbind.ProcNull: // NULL of a version that is none asks for the versions that are
		return f.answer(oncrpc.AppendProgMismatch(nil, c.XID, rpcbind.Version2, rpcbind.Version4), oncRefusal("procedure", "call of version %d of the port mapper", c.Version)), nil
	case procs != 0 && call.procedure >= procs:
		return f.answerProcedure(call, oncrpc.AppendAccepted(nil, c.XID, oncrpc.ProcUnavail)), nil
	}
	return f.pass(call, args, b)
}

// pass passes a call of a procedure that there is on, if its arguments may be asked.
func (f *portmapper) pass(c oncCall, args, b []byte) (Step, *Refusal) {
	r := xdr.NewReader(args)
	var err error
	switch {
	case c.changes():
		return f.answerProcedure(c, oncrpc.AppendAuthError(nil, c.xid, oncrpc.AuthTooWeak)), nil
	case c.forwards(): // the mapper would call others in the client's place
		return f.answerProcedure(c, oncrpc.AppendAccepted(nil, c.xid, oncrpc.ProcUnavail)), nil
	case c.isGetPort():
		m := rpcbind.ReadMapping(&r)
		netid, _ := rpcbind.NetIDOf(m.Protocol)
		c.ask(m.Program, m.Version, netid)
	case c.isGetAddr(), c.isGetAddrList():
		m := rpcbind.ReadRPCB(&r)
		netid, _ := rpcbind.ParseNetID(m.NetID)
		// Mappers answer for the transport of the call or for the one that the call names, and the answer does
		// not say for which: only where they are one is it known what is promised.
		if own := f.netid(); m.NetID == "" || c.isGetAddrList() || netid == own {
			netid = own
		} else {
			netid = 0
		}
		c.ask(m.Program, m.Version, netid)
	case c.version != rpcbind.Version2 && c.procedure == rpcbind.ProcUAddr2TAddr:
		r.Opaque(rpcbind.MaxAddress)
	case c.version != rpcbind.Version2 && c.procedure == rpcbind.ProcTAddr2UAddr:
		_, err = rpcbind.ParseNetBuf(args)
	}
	if err == nil {
		err = r.Err()
	}
	switch {
	case err != nil:
		return f.answer(oncrpc.AppendAccepted(nil, c.xid, oncrpc.GarbageArgs), oncRefusal("syntax", "arguments of %s: %v", c.name(), err)), nil
	case c.asks() && !f.policy.allows(c.asked):
		return f.answer(f.nothing(c), refuse("interface", c.asked, "%v may not be looked up", c.asked)), nil
	case c.asks() && c.protocol == 0:
		return f.answer(f.nothing(c), refuse("address", c.asked, "%v on another transport than TCP and UDP, or than that of the call", c.asked)), nil
	}
	if refused := f.remember(c); refused != nil {
		if refused.Rule == "limit" {
			return Step{}, refused
		}
		return Step{Refused: refused}, nil
	}
	return Step{To: Server, Data: f.frame(b)}, nil
}

// netid returns the transport of the channel.
func (f *portmapper) netid() rpcbind.NetID {
	if f.stream {
		return f.netids[0]
	}
	return f.netids[1]
}

// remember takes a call that is passed on. A call that is sent again is one with that before it.
func (f *portmapper) remember(c oncCall) *Refusal {
	if i := f.find(c.xid); i >= 0 {
		if f.calls[i] != c {
			return refuse("state", c.asked, "xid %#x of a call that has no answer, for another one", c.xid)
		}
		return nil
	}
	if len(f.calls) == maxONCCalls {
		if f.stream {
			return oncRefusal("limit", "over %d calls without an answer", maxONCCalls)
		}
		f.calls = slices.Delete(f.calls, 0, 1) // its answer may have been lost
	}
	f.calls = append(f.calls, c)
	return nil
}

func (f *portmapper) find(xid uint32) int {
	return slices.IndexFunc(f.calls, func(c oncCall) bool { return c.xid == xid })
}

// frame returns a message as it travels.
func (f *portmapper) frame(b []byte) []byte {
	if !f.stream {
		return bytes.Clone(b)
	}
	return append(oncrpc.AppendRecordMark(make([]byte, 0, oncrpc.RecordMarkSize+len(b)), len(b), true), b...)
}

// answer answers a call in the place of the server.
func (f *portmapper) answer(b []byte, r *Refusal) Step {
	return Step{To: Client, Data: f.frame(b), Refused: r}
}

// answerProcedure is answer for procedures that are not passed on.
func (f *portmapper) answerProcedure(c oncCall, b []byte) Step {
	return f.answer(b, oncRefusal("procedure", "call of %s", c.name()))
}

// nothing returns the answer that nothing is registered: port 0, an empty address and an empty list look the same.
func (f *portmapper) nothing(c oncCall) []byte {
	return xdr.AppendUint32(oncrpc.AppendAccepted(nil, c.xid, oncrpc.Success), 0)
}

func (c *oncCall) name() string { return c.procedure.Name(c.version) }

func (c *oncCall) ask(program, version uint32, n rpcbind.NetID) {
	c.asked = endpoint.Program(program, version)
	switch n {
	case rpcbind.TCP, rpcbind.TCP6:
		c.protocol = protocolTCP
	case rpcbind.UDP, rpcbind.UDP6:
		c.protocol = protocolUDP
	}
}

// asks tells whether a place is asked for.
func (c *oncCall) asks() bool { return c.asked != endpoint.Interface{} }

// changes tells whether the call would change the map.
func (c *oncCall) changes() bool {
	return c.known() && (c.procedure == rpcbind.ProcSet || c.procedure == rpcbind.ProcUnset)
}

// forwards tells whether the call would have the mapper call somebody.
func (c *oncCall) forwards() bool {
	return c.known() && c.procedure == rpcbind.ProcCallIt || c.version == rpcbind.Version4 && c.procedure == rpcbind.ProcIndirect
}

func (c *oncCall) known() bool { return rpcbind.Procs(c.version) > 0 }

func (c *oncCall) isGetPort() bool {
	return c.version == rpcbind.Version2 && c.procedure == rpcbind.ProcGetPort
}

func (c *oncCall) isGetAddr() bool {
	return c.version == rpcbind.Version3 && c.procedure == rpcbind.ProcGetAddr ||
		c.version == rpcbind.Version4 && (c.procedure == rpcbind.ProcGetAddr || c.procedure == rpcbind.ProcGetVersAddr)
}

func (c *oncCall) isGetAddrList() bool {
	return c.version == rpcbind.Version4 && c.procedure == rpcbind.ProcGetAddrList
}

func oncRefusal(rule, format string, args ...any) *Refusal {
	return refuse(rule, endpoint.Interface{}, format, args...)
}
