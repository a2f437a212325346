package oncrpc

import (
	"errors"
	"fmt"

	"github.com/quaymaster/quaymaster/wire/xdr"
)

// A ReplyStat says whether a call was accepted (RFC 5531, section 9).
type ReplyStat uint32

// The two kinds of reply.
const (
	MsgAccepted ReplyStat = 0
	MsgDenied   ReplyStat = 1
)

func (s ReplyStat) String() string {
	switch s {
	case MsgAccepted:
		return "MSG_ACCEPTED"
	case MsgDenied:
		return "MSG_DENIED"
	}
	return fmt.Sprintf("ReplyStat(%d)", uint32(s))
}

// An AcceptStat is the outcome of an accepted call (RFC 5531, section 9).
type AcceptStat uint32

// Outcomes of an accepted call.
const (
	Success      AcceptStat = 0
	ProgUnavail  AcceptStat = 1
	ProgMismatch AcceptStat = 2
	ProcUnavail  AcceptStat = 3
	GarbageArgs  AcceptStat = 4
	SystemErr    AcceptStat = 5
)

func (s AcceptStat) String() string {
	switch s {
	case Success:
		return "SUCCESS"
	case ProgUnavail:
		return "PROG_UNAVAIL"
	case ProgMismatch:
		return "PROG_MISMATCH"
	case ProcUnavail:
		return "PROC_UNAVAIL"
	case GarbageArgs:
		return "GARBAGE_ARGS"
	case SystemErr:
		return "SYSTEM_ERR"
	}
	return fmt.Sprintf("AcceptStat(%d)", uint32(s))
}

// A RejectStat is the reason of a denied call (RFC 5531, section 9).
type RejectStat uint32

// Reasons of a denied call.
const (
	RPCMismatch RejectStat = 0
	AuthError   RejectStat = 1
)

func (s RejectStat) String() string {
	switch s {
	case RPCMismatch:
		return "RPC_MISMATCH"
	case AuthError:
		return "AUTH_ERROR"
	}
	return fmt.Sprintf("RejectStat(%d)", uint32(s))
}

// An AuthStat says why authentication failed (RFC 5531, section 9).
type AuthStat uint32

// Reasons for a failed authentication that a port mapper gives.
const (
	AuthBadCred      AuthStat = 1
	AuthRejectedCred AuthStat = 2
	AuthTooWeak      AuthStat = 5
	AuthFailed       AuthStat = 7
	GSSCredProblem   AuthStat = 13 // RPCSEC_GSS_CREDPROBLEM
)

func (s AuthStat) String() string {
	switch s {
	case AuthBadCred:
		return "AUTH_BADCRED"
	case AuthRejectedCred:
		return "AUTH_REJECTEDCRED"
	case AuthTooWeak:
		return "AUTH_TOOWEAK"
	case AuthFailed:
		return "AUTH_FAILED"
	case GSSCredProblem:
		return "RPCSEC_GSS_CREDPROBLEM"
	}
	return fmt.Sprintf("AuthStat(%d)", uint32(s))
}

// A Reply is the header of a reply (RFC 5531, section 9). Which fields count
// depends on those before them.
type Reply struct {
	XID       uint32
	Stat      ReplyStat
	Verf      OpaqueAuth // of an accepted reply only
	Accept    AcceptStat // of an accepted reply
	Reject    RejectStat // of a denied reply
	Auth      AuthStat   // with AuthError
	Low, High uint32     // supported versions, with ProgMismatch and RPCMismatch
}

// ErrNotReply: not a reply message.
var ErrNotReply = errors.New("oncrpc: not a reply")

// ParseReply decodes a reply and returns with it the results, a part of b: what
// follows the header of a successful reply. A refusal is a value, see
// [Reply.Err]; an error, which wraps [ErrNotReply] or one of package xdr, means
// that b is no reply, ends too early, or has a verifier over [MaxAuthBody] bytes.
func ParseReply(b []byte) (p Reply, results []byte, err error) {
	r := xdr.NewReader(b)
	p.XID = r.Uint32()
	kind := MsgType(r.Uint32())
	p.Stat = ReplyStat(r.Uint32())
	if r.Err() == nil && (kind != MsgReply || p.Stat > MsgDenied) {
		return p, nil, ErrNotReply
	}
	if p.Stat == MsgDenied {
		p.readDenied(&r)
	} else {
		p.Verf = readAuth(&r)
		p.Accept = AcceptStat(r.Uint32())
		if p.Accept == ProgMismatch {
			p.Low, p.High = r.Uint32(), r.Uint32()
		}
	}
	if err := r.Err(); err != nil {
		return p, nil, fmt.Errorf("oncrpc: reply: %w", err)
	}
	return p, r.Rest(), nil
}

func (p *Reply) readDenied(r *xdr.Reader) {
	p.Reject = RejectStat(r.Uint32())
	switch p.Reject {
	case RPCMismatch:
		p.Low, p.High = r.Uint32(), r.Uint32()
	case AuthError:
		p.Auth = AuthStat(r.Uint32())
	default:
		r.Fail(ErrNotReply)
	}
}

// Err returns nil if the call succeeded, or a [*ReplyError].
func (p Reply) Err() error {
	if p.Stat == MsgAccepted && p.Accept == Success {
		return nil
	}
	return &ReplyError{p}
}

// A ReplyError is a refusal that the peer answered with.
type ReplyError struct{ Reply Reply }

func (e *ReplyError) Error() string {
	p := e.Reply
	switch {
	case p.Stat == MsgAccepted && p.Accept == ProgMismatch:
		return fmt.Sprintf("oncrpc: %v: versions %d to %d are supported", p.Accept, p.Low, p.High)
	case p.Stat == MsgAccepted:
		return fmt.Sprintf("oncrpc: %v", p.Accept)
	case p.Reject == RPCMismatch:
		return fmt.Sprintf("oncrpc: %v: rpc versions %d to %d are supported", p.Reject, p.Low, p.High)
	}
	return fmt.Sprintf("oncrpc: %v: %v", p.Reject, p.Auth)
}

// AppendAccepted appends the header of an accepted reply with a verifier of
// AUTH_NONE; the results follow it if stat is [Success]. For [ProgMismatch],
// which carries versions, use [AppendProgMismatch].
func AppendAccepted(b []byte, xid uint32, stat AcceptStat) []byte {
	b = appendReply(b, xid, MsgAccepted)
	b = appendAuth(b, OpaqueAuth{})
	return xdr.AppendUint32(b, uint32(stat))
}

// AppendProgMismatch appends the reply to a call of a version outside low to high.
func AppendProgMismatch(b []byte, xid, low, high uint32) []byte {
	b = AppendAccepted(b, xid, ProgMismatch)
	return xdr.AppendUint32(xdr.AppendUint32(b, low), high)
}

// AppendRPCMismatch appends the reply to a call of another version of RPC.
func AppendRPCMismatch(b []byte, xid uint32) []byte {
	b = appendReply(b, xid, MsgDenied)
	b = xdr.AppendUint32(b, uint32(RPCMismatch))
	return xdr.AppendUint32(xdr.AppendUint32(b, Version), Version)
}

// AppendAuthError appends the reply to a call whose credential was not accepted.
func AppendAuthError(b []byte, xid uint32, stat AuthStat) []byte {
	b = appendReply(b, xid, MsgDenied)
	b = xdr.AppendUint32(b, uint32(AuthError))
	return xdr.AppendUint32(b, uint32(stat))
}

func appendReply(b []byte, xid uint32, stat ReplyStat) []byte {
	b = xdr.AppendUint32(b, xid)
	b = xdr.AppendUint32(b, uint32(MsgReply))
	return xdr.AppendUint32(b, uint32(stat))
}
