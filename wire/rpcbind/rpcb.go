package rpcbind

import (
	"fmt"

	"github.com/quaymaster/quaymaster/wire/xdr"
)

// An RPCB is one row of the version 3 and 4 map, and the arguments of their
// calls (struct rpcb, RFC 1833, section 2.1).
type RPCB struct {
	Program uint32
	Version uint32
	NetID   string // at most MaxNetID bytes; empty in an UNSET of every transport
	Address string // universal address, at most MaxAddress bytes; the caller's hint in a GETADDR call
	Owner   string // at most MaxOwner bytes; what a client writes here is not believed
}

// ParseRPCB decodes the arguments of a call. Bytes after them are accepted, as
// all port mappers do. Errors wrap those of package xdr.
func ParseRPCB(b []byte) (RPCB, error) {
	r := xdr.NewReader(b)
	m := ReadRPCB(&r)
	if err := r.Err(); err != nil {
		return RPCB{}, fmt.Errorf("rpcbind: rpcb: %w", err)
	}
	return m, nil
}

// ReadRPCB reads a row, of which a list that is long may be read one by one.
func ReadRPCB(r *xdr.Reader) RPCB {
	return RPCB{
		Program: r.Uint32(), Version: r.Uint32(),
		NetID: r.String(MaxNetID), Address: r.String(MaxAddress), Owner: r.String(MaxOwner),
	}
}

// ParseQuery decodes the arguments of a GETADDR, GETVERSADDR or GETADDRLIST
// call as [ParseRPCB] does, without allocating: the transport and the owner,
// which mean nothing there, are checked and left out, and the hint is part of b.
func ParseQuery(b []byte) (program, version uint32, hint []byte, err error) {
	r := xdr.NewReader(b)
	program, version = r.Uint32(), r.Uint32()
	r.Opaque(MaxNetID)
	hint = r.Opaque(MaxAddress)
	r.Opaque(MaxOwner)
	if err := r.Err(); err != nil {
		return 0, 0, nil, fmt.Errorf("rpcbind: rpcb: %w", err)
	}
	return program, version, hint, nil
}

// Append appends the row.
func (m RPCB) Append(b []byte) []byte {
	b = xdr.AppendUint32(b, m.Program)
	b = xdr.AppendUint32(b, m.Version)
	b = xdr.AppendString(b, m.NetID)
	b = xdr.AppendString(b, m.Address)
	return xdr.AppendString(b, m.Owner)
}

// ParseRPCBs decodes the result of a version 3 or 4 DUMP (rpcblist, RFC 1833,
// section 2.1). Bytes after it are accepted. Errors wrap those of package xdr.
func ParseRPCBs(b []byte) ([]RPCB, error) { return parseList(b, "rpcblist", ReadRPCB) }
