package mapper

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// find returns where a program and version listens on a transport, or with
// fallback its youngest version: clients that do not know the version ask for
// any and learn the range from the server itself.
func (m *ONC) find(program, version uint32, n rpcbind.NetID, fallback bool) (endpoint.Endpoint, bool) {
	e, ok := m.Registry.Locate(endpoint.Program(program, version), n)
	if ok || !fallback {
		return e, ok
	}
	if r := m.Registry.Latest(program, n); r != nil {
		return r.Endpoint, true
	}
	return e, false
}

// getPort is GETPORT of version 2: the port, or 0 (RFC 1833, section 3.2).
func (m *ONC) getPort(q *question, b []byte) ([]byte, oncrpc.AcceptStat) {
	a, err := rpcbind.ParseMapping(q.args)
	if err != nil {
		return b, oncrpc.GarbageArgs
	}
	var port uint16
	if n, ok := rpcbind.NetIDOf(a.Protocol); ok {
		e, found := m.find(a.Program, a.Version, n, true)
		port = e.Addr.Port() // 0 of none
		m.stats.lookup(q.version, lookup{a.Program, a.Version, n}, found)
	}
	return xdr.AppendUint32(b, uint32(port)), oncrpc.Success
}

// getAddr is GETADDR, and without fallback GETVERSADDR: the universal address
// on the transport of the call, whatever the arguments name, or an empty string
// (RFC 1833, section 2.2.1).
func (m *ONC) getAddr(q *question, b []byte, fallback bool) ([]byte, oncrpc.AcceptStat) {
	program, version, hint, err := rpcbind.ParseQuery(q.args)
	if err != nil {
		return b, oncrpc.GarbageArgs
	}
	e, found := m.find(program, version, q.NetID, fallback)
	m.stats.lookup(q.version, lookup{program, version, q.NetID}, found)
	if !found {
		return xdr.AppendString(b, ""), oncrpc.Success
	}
	return appendUAddr(b, m.toward(q, e, hint)), oncrpc.Success
}

// appendUAddr appends an endpoint's universal address as a string.
func appendUAddr(b []byte, e endpoint.Endpoint) []byte {
	if !e.NetID.IsIP() {
		return xdr.AppendString(b, e.Path)
	}
	at := len(b)
	b = xdr.AppendUint32(b, 0) // its length is not known yet
	b = rpcbind.AppendUniversalAddress(b, e.Addr)
	n := len(b) - at - 4
	binary.BigEndian.PutUint32(b[at:], uint32(n))
	var zero [3]byte
	return append(b, zero[:-n&3]...)
}

// toward returns the endpoint as this client can reach it: where a server
// listens on every address, one of ours takes the place of the unspecified one.
// The client may hint from which address it looks.
func (m *ONC) toward(q *question, e endpoint.Endpoint, hint []byte) endpoint.Endpoint {
	if q.NetID == rpcbind.Local || !e.NetID.IsIP() || !e.Addr.Addr().IsUnspecified() {
		return e
	}
	from := q.Client.Addr()
	if len(hint) > 0 {
		h, ok := parseHint(hint)
		if !ok || h.Is4() != from.Is4() {
			return e
		}
		from = h
	}
	if isLinkLocal(from) && isLinkLocal(q.Client.Addr()) && q.Server.Addr().IsValid() {
		// Such an address means something on one link only: the one the call came
		// over, where the client has found us at this address.
		e.Addr = netip.AddrPortFrom(q.Server.Addr(), e.Addr.Port())
		return e
	}
	if ours, ok := m.Addresses.Toward(from); ok {
		e.Addr = netip.AddrPortFrom(ours, e.Addr.Port())
	}
	return e
}

func isLinkLocal(a netip.Addr) bool { return a.Is6() && a.IsLinkLocalUnicast() }

// getAddrList is GETADDRLIST: every transport of the protocol family that the
// call came over (RFC 1833, section 2.2.1).
func (m *ONC) getAddrList(q *question, b []byte) ([]byte, oncrpc.AcceptStat) {
	program, version, hint, err := rpcbind.ParseQuery(q.args)
	if err != nil {
		return b, oncrpc.GarbageArgs
	}
	for _, n := range family(q.NetID) {
		if e, ok := m.find(program, version, n, false); ok {
			e = m.toward(q, e, hint)
			b = rpcbind.AppendNext(b)
			b = rpcbind.EntryFor(n, e.UniversalAddress()).Append(b)
		}
	}
	return rpcbind.AppendEnd(b), oncrpc.Success
}

func family(n rpcbind.NetID) []rpcbind.NetID {
	switch {
	case n.IsIPv4():
		return []rpcbind.NetID{rpcbind.TCP, rpcbind.UDP}
	case n.IsIPv6():
		return []rpcbind.NetID{rpcbind.TCP6, rpcbind.UDP6}
	}
	return []rpcbind.NetID{rpcbind.Local}
}

// uaddr2taddr is UADDR2TADDR: a socket address, of no length if there is none
// for that text on the transport of the call.
func (m *ONC) uaddr2taddr(q *question, b []byte) ([]byte, oncrpc.AcceptStat) {
	r := xdr.NewReader(q.args)
	uaddr := r.String(rpcbind.MaxAddress)
	if r.Err() != nil {
		return b, oncrpc.GarbageArgs
	}
	return rpcbind.TAddr(q.NetID, uaddr).Append(b), oncrpc.Success
}

// taddr2uaddr is TADDR2UADDR, the way back.
func (m *ONC) taddr2uaddr(q *question, b []byte) ([]byte, oncrpc.AcceptStat) {
	n, err := rpcbind.ParseNetBuf(q.args)
	if err != nil {
		return b, oncrpc.GarbageArgs
	}
	return xdr.AppendString(b, rpcbind.UAddr(q.NetID, n.Buf)), oncrpc.Success
}

// parseHint returns the address in a client's hint. The text is read in place,
// so as not to allocate; nothing of it is kept.
func parseHint(hint []byte) (netip.Addr, bool) {
	a, err := rpcbind.ParseUniversalAddress(unsafe.String(unsafe.SliceData(hint), len(hint)))
	return a.Addr(), err == nil
}
