package mapper

import (
	"sync"
	"sync/atomic"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// dump is DUMP of every version: all rows it can tell (RFC 1833, sections 2.2.1 and 3.2).
func (m *ONC) dump(q *question, b []byte) ([]byte, oncrpc.AcceptStat) {
	if !m.mayDump(q) {
		return b, weak
	}
	if q.version == rpcbind.Version2 {
		q.body = m.mappings.get()
	} else {
		q.body = m.rpcbs.get()
	}
	return b, oncrpc.Success
}

// A dump is the encoding of all rows, made when it is asked for and kept until a row changes.
type dump struct {
	registry *registry.Registry
	encode   func(b []byte, r *endpoint.Registration) []byte

	latest atomic.Pointer[encoding]
	making sync.Mutex // one at a time, so that many who ask after a change cost one encoding
}

type encoding struct {
	seq  uint64 // of the registry when it was made
	list []byte
}

// get returns the encoded list; it is shared and must not be changed.
func (d *dump) get() []byte {
	if e := d.latest.Load(); e != nil && e.seq == d.registry.Seq() {
		return e.list
	}
	d.making.Lock()
	defer d.making.Unlock()
	if e := d.latest.Load(); e != nil && e.seq == d.registry.Seq() {
		return e.list
	}
	rows, seq := d.registry.All()
	e := &encoding{seq: seq, list: make([]byte, 0, 4+72*len(rows))}
	for _, r := range rows {
		e.list = d.encode(e.list, r)
	}
	e.list = rpcbind.AppendEnd(e.list)
	d.latest.Store(e)
	return e.list
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
