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
	reg, err := m.asked(q)
	if err == errGarbage {
		return b, oncrpc.GarbageArgs
	}
	if err == nil {
		reg.Owner = owner(q.Peer)
		_, err = m.registry.Add(reg)
	}
	if err != nil {
		return m.refused(q, b, reg.Interface, err)
	}
	m.stats.set(q.version)
	return xdr.AppendBool(b, true), oncrpc.Success
}

func (m *ONC) refused(q *question, b []byte, i endpoint.Interface, err error) ([]byte, oncrpc.AcceptStat) {
	m.log.Warn("registration refused", "client", owner(q.Peer), "program", i.Program, "version", i.Version, "err", err)
	return xdr.AppendBool(b, false), oncrpc.Success
}

// errGarbage: the arguments cannot be decoded.
var errGarbage = errors.New("mapper: arguments cannot be decoded")

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
			return reg, fmt.Errorf("mapper: protocol %d, port %d: want 6 or 17, and 1 to 65535", a.Protocol, a.Port)
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
		return reg, fmt.Errorf("mapper: unknown netid %q", a.NetID)
	}
	reg.Endpoint, err = endpoint.FromUniversalAddress(n, a.Address)
	return reg, err
}

// unset is UNSET of every version. That nothing was registered is a success:
// servers remove before they register.
func (m *ONC) unset(q *question, b []byte) ([]byte, oncrpc.AcceptStat) {
	program, version, on, err := unsetArgs(q)
	if err != nil {
		return b, oncrpc.GarbageArgs
	}
	i := endpoint.Program(program, version)
	if _, err := m.registry.Remove(owner(q.Peer), i, on...); err != nil {
		return m.refused(q, b, i, err)
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
