package mapper

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// set is SET of every version: the answer is whether the row stands now.
func (m *ONC) set(q *question, b []byte) ([]byte, oncrpc.AcceptStat) {
	claim, unknown := m.claim(q.Call)
	reg, err := m.asked(q)
	switch {
	case unknown != nil:
		return m.unknown(q, b, &reg, unknown)
	case err == errGarbage:
		return b, oncrpc.GarbageArgs
	case err != nil:
		m.Registry.Refuse(&claim.Owner, &reg, err)
		return xdr.AppendBool(b, false), oncrpc.Success
	}
	if _, err = m.Registry.Add(claim, reg); err != nil {
		return xdr.AppendBool(b, false), oncrpc.Success
	}
	m.stats.set(q.version)
	return xdr.AppendBool(b, true), oncrpc.Success
}

// unknown refuses a change to a caller that cannot be shown to be anybody.
func (m *ONC) unknown(q *question, b []byte, r *endpoint.Registration, err error) ([]byte, oncrpc.AcceptStat) {
	switch {
	case err == errRemote: // of which there may be any number
		m.Log.Debug("registration refused", "client", q.Client, "program", r.Program, "version", r.Version, "err", err)
	case r.Dialect != 0: // or nothing is known of it
		m.Registry.Refuse(nil, r, err)
	}
	return b, weak
}

// errGarbage: the arguments cannot be decoded.
var errGarbage = errors.New("arguments cannot be decoded")

// asked returns the registration that the arguments of SET describe.
func (m *ONC) asked(q *question) (endpoint.Registration, error) {
	if q.version == rpcbind.Version2 {
		a, err := rpcbind.ParseMapping(q.args)
		if err != nil {
			return endpoint.Registration{}, errGarbage
		}
		reg := endpoint.Registration{Interface: endpoint.Program(a.Program, a.Version)}
		n, ok := rpcbind.NetIDOf(a.Protocol)
		if !ok || a.Port > 65535 {
			return reg, fmt.Errorf("protocol %d, port %d: want 6 or 17, and 1 to 65535", a.Protocol, a.Port)
		}
		reg.Endpoint = endpoint.Endpoint{NetID: n, Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(a.Port))}
		return reg, nil
	}
	a, err := rpcbind.ParseRPCB(q.args)
	if err != nil {
		return endpoint.Registration{}, errGarbage
	}
	reg := endpoint.Registration{Interface: endpoint.Program(a.Program, a.Version)}
	n, ok := rpcbind.ParseNetID(a.NetID)
	if !ok {
		return reg, fmt.Errorf("unknown netid %q", a.NetID)
	}
	reg.Endpoint, err = endpoint.FromUniversalAddress(n, a.Address)
	return reg, err
}

// unset is UNSET of every version. That nothing was registered is a success:
// servers remove before they register.
func (m *ONC) unset(q *question, b []byte) ([]byte, oncrpc.AcceptStat) {
	claim, unknown := m.claim(q.Call)
	program, version, on, err := unsetArgs(q)
	switch {
	case unknown != nil:
		var reg endpoint.Registration
		if err == nil {
			reg.Interface = endpoint.Program(program, version)
		}
		return m.unknown(q, b, &reg, unknown)
	case err != nil:
		return b, oncrpc.GarbageArgs
	}
	if _, err := m.Registry.Remove(claim.Owner, endpoint.Program(program, version), on...); err != nil {
		return xdr.AppendBool(b, false), oncrpc.Success
	}
	m.stats.unset(q.version)
	return xdr.AppendBool(b, true), oncrpc.Success
}

// unsetArgs returns what to remove: version 2 means TCP and UDP whatever its
// arguments say, later versions the transport they name, or all.
func unsetArgs(q *question) (program, version uint32, on []rpcbind.NetID, err error) {
	if q.version == rpcbind.Version2 {
		a, err := rpcbind.ParseMapping(q.args)
		return a.Program, a.Version, []rpcbind.NetID{rpcbind.TCP, rpcbind.UDP}, err
	}
	a, err := rpcbind.ParseRPCB(q.args)
	if a.NetID == "" {
		return a.Program, a.Version, rpcbind.NetIDs[:], err
	}
	if n, ok := rpcbind.ParseNetID(a.NetID); ok {
		on = append(on, n)
	}
	return a.Program, a.Version, on, err
}
