package socktable

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// ConnectionOwner returns who owns the socket at the client's end of a TCP
// connection between two sockets of this host; the error is an [ErrOwner] if the
// kernel does not tell, another if it cannot be asked.
//
// The answer is about the connection that there is now. A client may break off
// (RST) what it has sent on, and another user connect from the same port, so the
// caller must see afterwards, as by TCP_INFO, that its own end is still connected:
// then both were the same connection.
func (t *Table) ConnectionOwner(client, server netip.AddrPort) (uid uint32, err error) {
	device, err := deviceOf(client.Addr().Zone())
	if err != nil {
		return 0, err
	}
	client, server = plain(client), plain(server)
	s, ok, err := t.lookup(unix.IPPROTO_TCP, client, server, device)
	switch {
	case err != nil:
		return 0, err
	case !ok || s.local != client || s.remote != server: // the kernel falls back to what listens at the client's port
		return 0, fmt.Errorf("%w: nothing at %s is connected to %s", ErrOwner, client, server)
	}
	switch s.state {
	case tcpEstablished, tcpFinWait1, tcpFinWait2:
		return s.owner()
	}
	// What is about to connect from the same port (SYN_SENT) did not send what came
	// over the connection before, which its SYN ends a moment later.
	return 0, fmt.Errorf("%w: the connection from %s has ended", ErrOwner, client)
}

// SenderOwner returns who owns the UDP socket from which a datagram came, where
// all sockets that may have sent it have one owner; the error is an [ErrOwner] if
// the kernel does not tell. The caller must know that the datagram was sent on
// this host: another host's port says nothing about ours.
//
// The answer is about the sockets that there are now. A sender may close its
// socket and the port pass to another user's before the question is asked, so it
// is weaker than that of [Table.ConnectionOwner].
func (t *Table) SenderOwner(client netip.AddrPort) (uid uint32, err error) {
	client = plain(client)
	families := bothFamilies
	if client.Addr().Is6() {
		families = onlyIPv6
	}
	// Which address a socket sends from is not always in the table, so each at
	// the port is a suspect, connected or not.
	var suspects []inetSocket
	for _, family := range families {
		r := inetRequest{
			family: family, protocol: unix.IPPROTO_UDP, states: anyState,
			source: netip.AddrPortFrom(netip.Addr{}, client.Port()),
		}
		if err := t.dump(r, func(s inetSocket) { suspects = append(suspects, s) }); err != nil {
			return 0, err
		}
	}
	if len(suspects) == 0 {
		return 0, fmt.Errorf("%w: there is none at port %d any more", ErrOwner, client.Port())
	}
	for i, s := range suspects {
		u, err := s.owner()
		if err != nil {
			return 0, err
		}
		if i > 0 && u != uid {
			return 0, fmt.Errorf("%w: users %d and %d have sockets at port %d", ErrOwner, uid, u, client.Port())
		}
		uid = u
	}
	return uid, nil
}

// owner returns the user whose socket it is.
func (s inetSocket) owner() (uint32, error) {
	switch {
	case s.inode == 0: // and what the kernel puts for the uid then depends on its version
		return 0, fmt.Errorf("%w: the one at %s was closed", ErrOwner, s.local)
	case s.uid == NoUID:
		return 0, fmt.Errorf("%w: the user of the one at %s has no uid here", ErrOwner, s.local)
	}
	return s.uid, nil
}

// plain returns the address as it stands in the kernel's table.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// deviceOf returns the index of the interface that a zone names, 0 for none.
func deviceOf(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	i, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("socktable: zone %q: %w", zone, err)
	}
	return uint32(i.Index), nil
}
