package rpcbind

import (
	"fmt"

	"github.com/quaymaster/quaymaster/wire/xdr"
)

// MaxCallArgs is the most bytes of arguments that a forwarded call may have,
// what fits a datagram of 9,000 bytes as other port mappers take.
const MaxCallArgs = 8800

// A RemoteCall is the arguments of CALLIT, BCAST and INDIRECT (rpcb_rmtcallargs,
// RFC 1833, sections 2.1 and 3.1): a call to be passed on.
type RemoteCall struct {
	Program   uint32
	Version   uint32
	Procedure uint32
	Args      []byte // at most MaxCallArgs bytes; after decoding part of the message
}

// ParseRemoteCall decodes the arguments of CALLIT, BCAST and INDIRECT. Errors wrap those of package xdr.
func ParseRemoteCall(b []byte) (RemoteCall, error) {
	r := xdr.NewReader(b)
	c := RemoteCall{Program: r.Uint32(), Version: r.Uint32(), Procedure: r.Uint32(), Args: r.Opaque(MaxCallArgs)}
	if err := r.Err(); err != nil {
		return RemoteCall{}, fmt.Errorf("rpcbind: remote call: %w", err)
	}
	return c, nil
}

// Append appends the arguments.
func (c RemoteCall) Append(b []byte) []byte {
	b = xdr.AppendUint32(b, c.Program)
	b = xdr.AppendUint32(b, c.Version)
	b = xdr.AppendUint32(b, c.Procedure)
	return xdr.AppendOpaque(b, c.Args)
}
