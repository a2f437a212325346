package daemon

import (
	"net/netip"
	"strings"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A Bound is an address that a mapper answers on.
type Bound struct {
	Network string         // tcp, udp, unix
	Addr    netip.AddrPort // of tcp and udp
	Path    string         // of unix; "@" first for an abstract name

	DualStack bool // an IPv6 socket that takes IPv4 too, as only a service manager passes
}

// ownRows returns the port mapper's own registrations, one for each version and
// transport it answers on: version 2 knows IPv4 only (RFC 1833, section 3). Of
// several addresses on a transport the widest stands, else the first.
func ownRows(bound []Bound, owner endpoint.Owner) []endpoint.Registration {
	at := map[rpcbind.NetID]endpoint.Endpoint{}
	for _, b := range bound {
		for _, e := range b.endpoints() {
			held, ok := at[e.NetID]
			if !ok || e.Addr.Addr().IsUnspecified() && !held.Addr.Addr().IsUnspecified() {
				at[e.NetID] = e
			}
		}
	}
	var rows []endpoint.Registration
	// The order of rpcbind's own rows, which rpcinfo shows.
	for _, n := range []rpcbind.NetID{rpcbind.TCP6, rpcbind.UDP6, rpcbind.TCP, rpcbind.UDP, rpcbind.Local} {
		e, ok := at[n]
		if !ok {
			continue
		}
		for _, v := range []uint32{rpcbind.Version4, rpcbind.Version3, rpcbind.Version2} {
			if v == rpcbind.Version2 && !n.IsIPv4() {
				continue
			}
			rows = append(rows, endpoint.Registration{
				Interface: endpoint.Program(rpcbind.Program, v), Endpoint: e, Owner: owner, Own: true,
			})
		}
	}
	return rows
}

// ownDCE returns the endpoint mapper's own registrations: one for each IPv4 address,
// of which those of IPv6 have no tower.
func ownDCE(bound []Bound, owner endpoint.Owner) []endpoint.Registration {
	var rows []endpoint.Registration
	for _, b := range bound {
		for _, e := range b.endpoints() {
			if e.NetID != rpcbind.TCP {
				continue
			}
			rows = append(rows, endpoint.Registration{
				Interface: endpoint.FromSyntax(epm.Interface), Endpoint: endpoint.At(epm.TCP, e.Addr), Owner: owner, Own: true,
			})
		}
	}
	return rows
}

// endpoints returns what b is to clients: nothing for an abstract name, which
// stands beside a path.
func (b Bound) endpoints() []endpoint.Endpoint {
	v4, v6 := rpcbind.TCP, rpcbind.TCP6
	switch b.Network {
	case "unix":
		if strings.HasPrefix(b.Path, "@") {
			return nil
		}
		return []endpoint.Endpoint{{NetID: rpcbind.Local, Path: b.Path}}
	case "udp":
		v4, v6 = rpcbind.UDP, rpcbind.UDP6
	}
	if b.Addr.Addr().Is4() {
		return []endpoint.Endpoint{{NetID: v4, Addr: b.Addr}}
	}
	rows := []endpoint.Endpoint{{NetID: v6, Addr: netip.AddrPortFrom(b.Addr.Addr().WithZone(""), b.Addr.Port())}}
	if b.DualStack {
		rows = append(rows, endpoint.Endpoint{NetID: v4, Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), b.Addr.Port())})
	}
	return rows
}
