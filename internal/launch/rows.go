package launch

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/socktable"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A row is a registration to be.
type row struct {
	endpoint.Document
	place    endpoint.Place
	sockets  []uint32 // the numbers of those that receive there
	replaces string   // id of a registration that has to go for it
}

// rowsOf returns what to register of interfaces for the sockets of a network, "tcp" or
// "udp", that receive at its port: none if there are none, or none that could be told to
// a client.
func rowsOf(interfaces []endpoint.Document, network string, sockets []socktable.Socket) []row {
	var rows []row
	for _, d := range interfaces {
		if d.Dialect == endpoint.DCE.String() { // towers have IPv4 addresses only
			d.ProtSeq = protSeqOf(network).String()
			for _, a := range addresses(sockets, true) {
				rows = appendRow(rows, d, a)
			}
			continue
		}
		for _, n := range netIDsOf(network) { // each of which a program has one row on
			d.NetID = n.String()
			if all := addresses(sockets, n.IsIPv4()); len(all) > 0 {
				rows = appendRow(rows, d, all[0])
			}
		}
	}
	return rows
}

func appendRow(rows []row, d endpoint.Document, a address) []row {
	d.Address, d.Port = a.Addr().String(), a.Port()
	r, err := d.Registration()
	if err != nil {
		return rows // an address that cannot be registered
	}
	return append(rows, row{Document: d, place: r.Place(), sockets: a.sockets})
}

func protSeqOf(network string) epm.ProtSeq {
	if network == "udp" {
		return epm.UDP
	}
	return epm.TCP
}

func netIDsOf(network string) []rpcbind.NetID {
	if network == "udp" {
		return []rpcbind.NetID{rpcbind.UDP, rpcbind.UDP6}
	}
	return []rpcbind.NetID{rpcbind.TCP, rpcbind.TCP6}
}

// An address is one at which sockets receive.
type address struct {
	netip.AddrPort
	sockets []uint32
}

// addresses returns those of a family at which sockets receive, best first: the wildcard,
// which stands for all and is alone then, addresses that other hosts can reach, loopback.
func addresses(sockets []socktable.Socket, ipv4 bool) []address {
	var all []address
	for _, s := range sockets {
		a := s.Addr.Addr()
		if ipv4 && s.DualStack {
			a = netip.IPv4Unspecified()
		}
		// A link-local address means nothing without an interface, and that cannot be told.
		if a.Is4() != ipv4 || a.IsMulticast() || a.Is6() && a.IsLinkLocalUnicast() {
			continue
		}
		at := netip.AddrPortFrom(a, s.Addr.Port())
		i := slices.IndexFunc(all, func(o address) bool { return o.AddrPort == at })
		if i < 0 {
			i = len(all)
			all = append(all, address{AddrPort: at})
		}
		all[i].sockets = append(all[i].sockets, s.Inode)
	}
	slices.SortFunc(all, func(a, b address) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Compare(b.AddrPort)) })
	if len(all) > 0 && all[0].Addr().IsUnspecified() {
		all = all[:1]
	}
	return all
}

func rank(a address) int {
	switch {
	case a.Addr().IsUnspecified():
		return 0
	case a.Addr().IsLoopback():
		return 2
	}
	return 1
}
