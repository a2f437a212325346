// Package oncrpc is the message format of ONC RPC version 2, RFC 5531: calls,
// replies, credentials, and the record marking that carries them over streams.
package oncrpc

import "errors"

// Version is the only version of the RPC protocol, the rpcvers field (RFC 5531, section 9).
const Version = 2

// Errors of [ParseCall] that a server answers in different ways.
var (
	// ErrNotCall: too short for a call, or another kind of message. No answer can be given.
	ErrNotCall = errors.New("oncrpc: not a call")
	// ErrRPCVersion: a call of another version of RPC; its xid is known. Answer with [AppendRPCMismatch].
	ErrRPCVersion = errors.New("oncrpc: rpc version is not 2")
	// ErrCredentialSize: a credential or verifier over [MaxAuthBody] bytes. Answer with [AppendAuthError] and [AuthBadCred].
	ErrCredentialSize = errors.New("oncrpc: credential body over 400 bytes")
)
