package mapper

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// registrar returns who calls to change something, or an error if it may not.
// What comes over the network is believed for as long as a lease.
func (m *DCE) registrar(c *transport.Call) (registry.Claim, error) {
	if c.NetID == rpcbind.Local {
		return m.claim(c)
	}
	from := c.Client.Addr()
	ours := m.Addresses.Ours(from)
	if named := m.Insert != nil && m.Insert.Contains(from); !named && !(ours && m.InsertLoopback) {
		return registry.Claim{}, errRemote
	}
	claim := registry.Claim{Owner: endpoint.HostOwner(from)}
	if ours {
		uid, err := m.owner(c)
		if err != nil {
			return claim, err
		}
		claim.Owner = endpoint.Owner{UID: uid}
	}
	claim.Evidence = endpoint.Lease
	return claim, nil
}

// deniedTo tells of a call that somebody may not make.
func (m *DCE) deniedTo(c *dceCall, op epm.Op, err error) dcerpc.Status {
	m.Log.Debug("call denied", "client", c.Client, "operation", op.String(), "err", err)
	return dcerpc.StatusAccessDenied
}

// changed answers a change that was tried: with a status, or who may not with a fault.
func (m *DCE) changed(c *dceCall, b []byte, op epm.Op, err error) ([]byte, dcerpc.Status) {
	if errors.Is(err, registry.ErrRight) || errors.Is(err, registry.ErrNotOwner) {
		return nil, m.deniedTo(c, op, err)
	}
	return statusOf(err).Append(b, c.label()), 0
}

// insert is ept_insert (C706, appendix O): all entries or none.
func (m *DCE) insert(c *dceCall, b []byte) ([]byte, dcerpc.Status) {
	claim, err := m.registrar(c.Call)
	if err != nil {
		return nil, m.deniedTo(c, epm.OpInsert, err)
	}
	q, err := epm.ParseInsert(c.Stub, c.header.Label)
	if err != nil {
		return nil, dcerpc.StatusBadStubData
	}
	claim.Replace = q.Replace
	regs := make([]endpoint.Registration, len(q.Entries))
	for i := range q.Entries {
		if regs[i], err = m.registration(&q.Entries[i], c.Call); err != nil {
			m.Registry.Refuse(&claim.Owner, &regs[i], err)
			return statusOf(err).Append(b, c.label()), 0
		}
	}
	_, err = m.Registry.Add(claim, regs...)
	return m.changed(c, b, epm.OpInsert, err)
}

// delete is ept_delete: all entries or, if one is not there, none. Annotations do
// not count.
func (m *DCE) delete(c *dceCall, b []byte) ([]byte, dcerpc.Status) {
	claim, err := m.registrar(c.Call)
	if err != nil {
		return nil, m.deniedTo(c, epm.OpDelete, err)
	}
	q, err := epm.ParseDelete(c.Stub, c.header.Label)
	if err != nil {
		return nil, dcerpc.StatusBadStubData
	}
	var places []endpoint.Place
	for i := range q.Entries {
		reg, err := m.registration(&q.Entries[i], c.Call)
		if err != nil {
			return statusOf(err).Append(b, c.label()), 0
		}
		places = append(places, m.stored(reg.Place(), c.Call))
	}
	return m.changed(c, b, epm.OpDelete, m.Registry.RemoveAt(claim.Owner, places...))
}

// stored returns the place where a registration stands that clients were told is at
// p: of a server that listens everywhere they were told one address.
func (m *DCE) stored(p endpoint.Place, c *transport.Call) endpoint.Place {
	if p.Endpoint.ProtSeq.HasPort() && p.Endpoint.Addr.Addr() == m.here(c) && !m.Registry.Has(p) {
		p.Endpoint.Addr = netip.AddrPortFrom(netip.IPv4Unspecified(), p.Endpoint.Addr.Port())
	}
	return p
}

// mgmtDelete is ept_mgmt_delete: the entries of a tower, of one object or of all.
func (m *DCE) mgmtDelete(c *dceCall, b []byte) ([]byte, dcerpc.Status) {
	claim, err := m.registrar(c.Call)
	if err != nil {
		return nil, m.deniedTo(c, epm.OpMgmtDelete, err)
	}
	q, err := epm.ParseMgmtDelete(c.Stub, c.header.Label)
	if err != nil {
		return nil, dcerpc.StatusBadStubData
	}
	reg, err := m.registration(&epm.Entry{Object: q.Object, Tower: q.Tower}, c.Call)
	if err != nil {
		return statusOf(err).Append(b, c.label()), 0
	}
	at := m.stored(reg.Place(), c.Call).Endpoint
	n, err := m.Registry.RemoveUUID(claim.Owner, reg.UUID, func(r *endpoint.Registration) bool {
		return r.Interface == reg.Interface && r.Endpoint == at && (!q.ObjectSpeced || r.Object == q.Object)
	})
	if err == nil && n == 0 {
		err = registry.ErrNotFound
	}
	return m.changed(c, b, epm.OpMgmtDelete, err)
}

// Errors of entries.
var (
	errSequence = errors.New("a protocol sequence or transfer syntax that is not kept here")
	errAnyHost  = errors.New("an address is missing: another host's server is not everywhere on this one")
)

// registration returns what an entry says. Another host that says "everywhere"
// means itself.
func (m *DCE) registration(e *epm.Entry, c *transport.Call) (endpoint.Registration, error) {
	t := &e.Tower
	r := endpoint.Registration{
		Interface: endpoint.FromSyntax(t.Interface), Object: e.Object,
		Annotation: strings.ToValidUTF8(e.Annotation, "?"),
	}
	if t.ProtSeq == 0 || t.Transfer != dcerpc.NDR {
		return r, errSequence
	}
	addr := t.Addr
	switch {
	case !t.ProtSeq.HasPort():
	case addr.IsValid():
	case c.NetID == rpcbind.Local, m.Addresses.Ours(c.Client.Addr()):
		addr = netip.IPv4Unspecified()
	case c.Client.Addr().Is4():
		addr = c.Client.Addr()
	default:
		return r, errAnyHost
	}
	if t.ProtSeq.HasPort() {
		r.Endpoint = endpoint.At(t.ProtSeq, netip.AddrPortFrom(addr, t.Port))
	} else {
		r.Endpoint = endpoint.At(t.ProtSeq, netip.AddrPort{})
		r.Path = joinPipe(t.Host, t.Name)
	}
	return r, r.Validate()
}

// statusOf returns what a client is told.
func statusOf(err error) epm.Status {
	switch {
	case err == nil:
		return epm.StatusOK
	case errors.Is(err, errSequence):
		return epm.StatusCantPerformOp
	case errors.Is(err, registry.ErrNotFound):
		return epm.StatusNotRegistered
	case errors.Is(err, registry.ErrFull):
		return epm.StatusEptNoMemory
	case errors.Is(err, registry.ErrStore):
		return epm.StatusUpdateFailed
	}
	return epm.StatusInvalidEntry
}
