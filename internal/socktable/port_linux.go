package socktable

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Receivers returns the sockets that receive at a port, or with port 0 at any, in no
// order; network is "tcp" or "udp". As in a [Snapshot], one that is there may rarely
// be left out.
func (t *Table) Receivers(network string, port uint16) ([]Socket, error) {
	protocol, err := protocolOfNetwork(network)
	if err != nil {
		return nil, err
	}
	return t.receivers(nil, protocol, bothFamilies, port)
}

// Users returns the sockets whose local port it is, whether they receive or not; network
// is "tcp" or "udp". Of TCP those are connections too, and what the kernel keeps of some
// that were closed: each may be in the way of who wants to listen there. Sockets that are
// bound and neither listen nor are connected are not listed.
func (t *Table) Users(network string, port uint16) ([]Socket, error) {
	protocol, err := protocolOfNetwork(network)
	if err != nil {
		return nil, err
	}
	var all []Socket
	for _, family := range bothFamilies {
		r := inetRequest{family: family, protocol: protocol, states: anyState, source: netip.AddrPortFrom(netip.Addr{}, port)}
		if err := t.dump(r, func(s inetSocket) { all = append(all, s.socket()) }); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func protocolOfNetwork(network string) (uint8, error) {
	switch network {
	case "tcp":
		return unix.IPPROTO_TCP, nil
	case "udp":
		return unix.IPPROTO_UDP, nil
	}
	return 0, fmt.Errorf("socktable: network %q: want tcp or udp", network)
}
