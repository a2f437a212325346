package oncrpc

import (
	"errors"
	"fmt"

	"github.com/quaymaster/quaymaster/wire/xdr"
)

// A MsgType tells calls from replies (RFC 5531, section 9).
type MsgType uint32

// The two kinds of message.
const (
	MsgCall  MsgType = 0
	MsgReply MsgType = 1
)

func (t MsgType) String() string {
	switch t {
	case MsgCall:
		return "CALL"
	case MsgReply:
		return "REPLY"
	}
	return fmt.Sprintf("MsgType(%d)", uint32(t))
}

// A Call is the header of a call message (RFC 5531, section 9).
type Call struct {
	XID       uint32 // pairs the reply with the call; a retransmission has the same
	Program   uint32
	Version   uint32
	Procedure uint32
	Cred      OpaqueAuth
	Verf      OpaqueAuth
}

// ParseCall decodes a call message and returns with it the arguments: what
// follows the header, a part of b, as are the bodies of Cred and Verf.
//
// Errors are [ErrNotCall], [ErrRPCVersion] and [ErrCredentialSize], told apart
// with errors.Is; with the last two the XID of the call is set. Success allocates nothing.
func ParseCall(b []byte) (c Call, args []byte, err error) {
	r := xdr.NewReader(b)
	c.XID = r.Uint32()
	kind := MsgType(r.Uint32())
	rpcvers := r.Uint32()
	c.Program = r.Uint32()
	switch {
	case r.Err() != nil || kind != MsgCall: // less than 16 bytes get no answer, whatever their version
		return c, nil, ErrNotCall
	case rpcvers != Version:
		return c, nil, ErrRPCVersion
	}
	c.Version = r.Uint32()
	c.Procedure = r.Uint32()
	c.Cred = readAuth(&r)
	c.Verf = readAuth(&r)
	if err := r.Err(); err != nil {
		if errors.Is(err, xdr.ErrTooLong) {
			return c, nil, ErrCredentialSize
		}
		return c, nil, ErrNotCall
	}
	return c, r.Rest(), nil
}

// Append appends the header of the call; the arguments follow it.
func (c *Call) Append(b []byte) []byte {
	b = xdr.AppendUint32(b, c.XID)
	b = xdr.AppendUint32(b, uint32(MsgCall))
	b = xdr.AppendUint32(b, Version)
	b = xdr.AppendUint32(b, c.Program)
	b = xdr.AppendUint32(b, c.Version)
	b = xdr.AppendUint32(b, c.Procedure)
	b = appendAuth(b, c.Cred)
	return appendAuth(b, c.Verf)
}
