package mapper

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// ONC is the port mapper, a [transport.Handler]. Answering lookups allocates nothing.
type ONC struct {
	*Shared
	ignored  atomic.Uint64
	stats    stats
	mappings latest[[]byte] // encoded for DUMP of version 2
	rpcbs    latest[[]byte] // of versions 3 and 4
}

// NewONC returns a port mapper.
func NewONC(c *Shared) *ONC {
	encoded := func(encode encoder) latest[[]byte] {
		return latest[[]byte]{registry: c.Registry, make: func() ([]byte, uint64) { return encodeAll(c.Registry, encode) }}
	}
	return &ONC{Shared: c, mappings: encoded(appendMappings), rpcbs: encoded(appendRPCBs)}
}

// Ignored returns how many messages were no calls and got no answer.
func (m *ONC) Ignored() uint64 { return m.ignored.Load() }

// A question is a call to the port mapper on its way through a procedure.
type question struct {
	*transport.Call
	oncrpc  oncrpc.Call
	version uint32
	args    []byte
	body    []byte // shared part of the answer
}

// Answer implements [transport.Handler].
func (m *ONC) Answer(c *transport.Call, buf []byte) transport.Reply {
	call, args, err := oncrpc.ParseCall(c.Message)
	switch {
	case err == nil:
	case errors.Is(err, oncrpc.ErrRPCVersion):
		return transport.Reply{Head: oncrpc.AppendRPCMismatch(buf, call.XID)}
	case errors.Is(err, oncrpc.ErrCredentialSize):
		return transport.Reply{Head: oncrpc.AppendAuthError(buf, call.XID, oncrpc.AuthBadCred)}
	default: // on a connection nobody will ever get an answer to this: end it
		m.ignored.Add(1)
		return transport.Reply{Close: true}
	}
	if stat := credential(call.Cred); stat != 0 {
		return transport.Reply{Head: oncrpc.AppendAuthError(buf, call.XID, stat)}
	}
	proc := rpcbind.Proc(call.Procedure)
	switch {
	case call.Program != rpcbind.Program:
		return transport.Reply{Head: oncrpc.AppendAccepted(buf, call.XID, oncrpc.ProgUnavail)}
	case rpcbind.Procs(call.Version) == 0:
		return transport.Reply{Head: oncrpc.AppendProgMismatch(buf, call.XID, rpcbind.Version2, rpcbind.Version4)}
	case proc >= rpcbind.Procs(call.Version):
		return transport.Reply{Head: oncrpc.AppendAccepted(buf, call.XID, oncrpc.ProcUnavail)}
	}
	m.stats.call(call.Version, proc)
	q := question{Call: c, oncrpc: call, version: call.Version, args: args}
	return m.dispatch(proc, &q, buf)
}

// credential says with what error a credential is refused; 0 if it is not. What
// AUTH_SYS claims is not believed, but it must be well formed.
func credential(a oncrpc.OpaqueAuth) oncrpc.AuthStat {
	switch a.Flavor {
	case oncrpc.AuthNone:
		return 0
	case oncrpc.AuthSys:
		if oncrpc.CheckSysCredential(a.Body) != nil {
			return oncrpc.AuthBadCred
		}
		return 0
	case oncrpc.AuthDH:
		return oncrpc.AuthFailed
	case oncrpc.RPCSecGSS:
		return oncrpc.GSSCredProblem
	}
	return oncrpc.AuthRejectedCred
}

// silent is an outcome no message has: no answer is given.
const silent oncrpc.AcceptStat = 1 << 31

// weak is an outcome that is no acceptance: AUTH_TOOWEAK.
const weak oncrpc.AcceptStat = 1<<31 + 1

// dispatch calls the procedure with the header of a successful answer already
// written, and replaces that if the outcome is another.
func (m *ONC) dispatch(proc rpcbind.Proc, q *question, buf []byte) transport.Reply {
	head := oncrpc.AppendAccepted(buf, q.oncrpc.XID, oncrpc.Success)
	head, stat := m.call(proc, q, head)
	switch {
	case stat == silent:
		return transport.Reply{}
	case stat == weak:
		return transport.Reply{Head: oncrpc.AppendAuthError(buf, q.oncrpc.XID, oncrpc.AuthTooWeak)}
	case stat == oncrpc.ProgMismatch: // the procedure wrote it, with the versions
		return transport.Reply{Head: head}
	case stat == oncrpc.Success && m.tooLarge(q, len(head)-len(buf)+len(q.body)):
		stat = oncrpc.SystemErr
	}
	if stat != oncrpc.Success {
		return transport.Reply{Head: oncrpc.AppendAccepted(buf, q.oncrpc.XID, stat)}
	}
	return transport.Reply{Head: head, Body: q.body}
}

func (m *ONC) call(proc rpcbind.Proc, q *question, b []byte) ([]byte, oncrpc.AcceptStat) {
	switch proc {
	case rpcbind.ProcNull:
		return b, oncrpc.Success
	case rpcbind.ProcSet:
		return m.set(q, b)
	case rpcbind.ProcUnset:
		return m.unset(q, b)
	case rpcbind.ProcGetAddr: // and GETPORT
		if q.version == rpcbind.Version2 {
			return m.getPort(q, b)
		}
		return m.getAddr(q, b, true)
	case rpcbind.ProcGetVersAddr:
		return m.getAddr(q, b, false)
	case rpcbind.ProcDump:
		return m.dump(q, b)
	case rpcbind.ProcCallIt: // and BCAST
		return m.callIt(q, b)
	case rpcbind.ProcGetTime:
		return binary.BigEndian.AppendUint32(b, uint32(time.Now().Unix())), oncrpc.Success
	case rpcbind.ProcUAddr2TAddr:
		return m.uaddr2taddr(q, b)
	case rpcbind.ProcTAddr2UAddr:
		return m.taddr2uaddr(q, b)
	case rpcbind.ProcIndirect:
		return m.indirect(q, b)
	case rpcbind.ProcGetAddrList:
		return m.getAddrList(q, b)
	case rpcbind.ProcGetStat:
		return m.getStat(q, b)
	}
	return b, oncrpc.ProcUnavail
}
