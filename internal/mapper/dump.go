package mapper

import (
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// dump is DUMP of every version: all rows it can tell (RFC 1833, sections 2.2.1 and 3.2).
func (m *ONC) dump(q *question, b []byte) ([]byte, oncrpc.AcceptStat) {
	if !m.mayDump(q.Call) {
		return b, weak
	}
	if q.version == rpcbind.Version2 {
		q.body = m.mappings.get()
	} else {
		q.body = m.rpcbs.get()
	}
	return b, oncrpc.Success
}

// An encoder appends a row to a list, if it is one that the version can tell.
type encoder func(b []byte, r *endpoint.Registration) []byte

// encodeAll returns the encoded list of all rows, and the change it stands at.
func encodeAll(g *registry.Registry, encode encoder) (list []byte, seq uint64) {
	rows, seq := g.All()
	list = make([]byte, 0, 4+72*len(rows))
	for _, r := range rows {
		list = encode(list, r)
	}
	return rpcbind.AppendEnd(list), seq
}

// appendMappings appends a row that version 2 can tell: TCP or UDP over IPv4.
func appendMappings(b []byte, r *endpoint.Registration) []byte {
	if r.Dialect != endpoint.ONC || r.NetID.Protocol() == 0 {
		return b
	}
	b = rpcbind.AppendNext(b)
	m := rpcbind.Mapping{Program: r.Program, Version: r.Version, Protocol: r.NetID.Protocol(), Port: uint32(r.Addr.Port())}
	return m.Append(b)
}

// appendRPCBs appends a row for versions 3 and 4.
func appendRPCBs(b []byte, r *endpoint.Registration) []byte {
	if r.Dialect != endpoint.ONC {
		return b
	}
	b = rpcbind.AppendNext(b)
	m := rpcbind.RPCB{
		Program: r.Program, Version: r.Version,
		NetID: r.NetID.String(), Address: r.UniversalAddress(), Owner: r.Owner.String(),
	}
	return m.Append(b)
}
