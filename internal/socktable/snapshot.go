// Package socktable asks the kernel about sockets: which of them receive what is
// sent to an endpoint, who owns a socket, and which process holds it.
package socktable

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A Socket receives: it is a TCP socket that listens, a UDP socket that is bound
// and not connected, or a stream socket of the UNIX domain that listens.
type Socket struct {
	Addr      netip.AddrPort // of TCP and UDP; never IPv4-mapped, without a zone
	DualStack bool           // an IPv6 socket at the wildcard that takes IPv4 as well
	Path      string         // of the UNIX domain; "@" first for an abstract name
	UID       uint32         // of the owner; NoUID if the kernel does not say
	Inode     uint32         // of TCP and UDP: its number, as in the link /proc/PID/fd/N of who holds it; 0 if nobody does
}

// NoUID is the uid that the kernel puts where it has none to show: for a user
// whom our user namespace does not map. The account nobody often has it too, so
// it proves nothing.
const NoUID uint32 = 65534

// backs tells whether what is sent to an endpoint of IP is delivered to the
// socket. An endpoint at the wildcard stands for every address of its family.
func (s Socket) backs(e endpoint.Endpoint) bool {
	at, want := s.Addr.Addr(), e.Addr.Addr()
	switch {
	case s.Addr.Port() != e.Addr.Port():
		return false
	case at.Is4() != want.Is4():
		return want.Is4() && s.DualStack && at.IsUnspecified()
	}
	return at == want || at.IsUnspecified() || want.IsUnspecified()
}

// A Snapshot is every socket of the host that receives, at one time. It does not
// change; its methods may be called from any goroutine.
type Snapshot struct {
	tcp, udp []Socket // by port
	local    map[string][]localSocket
	look     func(path string) file // nil: every path leads to its socket
}

// A localSocket is a socket of the UNIX domain.
type localSocket struct {
	Socket
	inode  uint32 // low bits of the inode number that its path had when it was bound; 0 if not known
	hasUID bool   // UID is what the kernel says
}

// A file is what a path leads to.
type file struct {
	hidden bool   // we may not know; the rest says nothing
	socket bool   // it is there and a socket
	inode  uint32 // low bits of its number
	uid    uint32 // of its owner
}

// NewSnapshot returns a snapshot of the sockets of TCP, of UDP and of the UNIX
// domain, of which every path leads to its socket. It takes over the slices.
func NewSnapshot(tcp, udp, local []Socket) *Snapshot {
	named := make([]localSocket, len(local))
	for i, s := range local {
		named[i] = localSocket{Socket: s, hasUID: true}
	}
	return newSnapshot(tcp, udp, named, nil)
}

func newSnapshot(tcp, udp []Socket, local []localSocket, look func(string) file) *Snapshot {
	s := &Snapshot{tcp: tcp, udp: udp, local: map[string][]localSocket{}, look: look}
	for _, sockets := range [][]Socket{tcp, udp} {
		slices.SortFunc(sockets, func(a, b Socket) int { return cmp.Compare(a.Addr.Port(), b.Addr.Port()) })
	}
	for _, l := range local {
		s.local[l.Path] = append(s.local[l.Path], l)
	}
	return s
}

// At returns the sockets that receive what is sent to a valid endpoint, in no
// order; the caller must not change them. A path is looked at when it is asked
// for: sockets of the UNIX domain are many, and registered ones few.
func (s *Snapshot) At(e endpoint.Endpoint) []Socket {
	switch e.NetID {
	case rpcbind.TCP, rpcbind.TCP6:
		return backing(s.tcp, e)
	case rpcbind.UDP, rpcbind.UDP6:
		return backing(s.udp, e)
	case rpcbind.Local:
		return s.atPath(e.Path)
	}
	return nil
}

// atPort returns those of the sockets, which are sorted by port, that have that port.
func atPort(sockets []Socket, port uint16) []Socket {
	first, ok := slices.BinarySearchFunc(sockets, port, func(s Socket, port uint16) int { return cmp.Compare(s.Addr.Port(), port) })
	if !ok {
		return nil
	}
	some := sockets[first:]
	if other := slices.IndexFunc(some, func(s Socket) bool { return s.Addr.Port() != port }); other >= 0 {
		some = some[:other:other]
	}
	return some
}

// backing returns those of the sockets, which are sorted by port, that back the endpoint.
func backing(sockets []Socket, e endpoint.Endpoint) []Socket {
	some := atPort(sockets, e.Addr.Port())
	if !slices.ContainsFunc(some, func(s Socket) bool { return !s.backs(e) }) {
		return some
	}
	var those []Socket
	for _, s := range some {
		if s.backs(e) {
			those = append(those, s)
		}
	}
	return those
}

// AtPort returns the sockets of TCP or UDP at a port, whatever their address; the caller must
// not change them. A nil s has none.
func (s *Snapshot) AtPort(udp bool, port uint16) []Socket {
	if s == nil {
		return nil
	}
	return atPort(s.of(udp), port)
}

// EachPort calls f for every port of TCP and UDP at which a socket receives, once.
func (s *Snapshot) EachPort(f func(udp bool, port uint16)) {
	for _, udp := range []bool{false, true} {
		last := uint16(0) // which is no port
		for _, socket := range s.of(udp) {
			if port := socket.Addr.Port(); port != last {
				f(udp, port)
				last = port
			}
		}
	}
}

func (s *Snapshot) of(udp bool) []Socket {
	if udp {
		return s.udp
	}
	return s.tcp
}

// atPath returns the sockets of the UNIX domain that a connection to the path reaches.
func (s *Snapshot) atPath(path string) []Socket {
	named := s.local[path]
	if len(named) == 0 {
		return nil
	}
	f := file{hidden: true}
	if s.look != nil && !strings.HasPrefix(path, "@") {
		f = s.look(path)
	}
	var those []Socket
	for _, l := range named {
		if l.isAt(f) {
			if !l.hasUID && !f.hidden {
				l.UID = f.uid // who binds a socket owns its file
			}
			those = append(those, l.Socket)
		}
	}
	return those
}

// isAt tells whether the socket, which has the name of the file, is the one that
// the file leads to. A name alone is not: sockets keep it when their path is
// removed, or taken by another socket, and anyone may bind the same name in a
// mount namespace of his own. The device is left out, since the one that stat
// tells is not the socket's on file systems like overlayfs and btrfs.
func (l localSocket) isAt(f file) bool {
	return f.hidden || f.socket && (l.inode == 0 || l.inode == f.inode)
}
