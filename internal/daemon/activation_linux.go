package daemon

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstPassed is the first descriptor that a service manager passes (sd_listen_fds(3)).
const firstPassed = 3

// epmapperName is what a service manager calls the endpoint mapper's sockets, where
// neither port nor path tells.
const epmapperName = "epmapper"

// passedSockets takes the sockets that a service manager opened for us: the
// control socket is known by its name "control" or its path, the endpoint mapper's
// by the name "epmapper", their port or path, and every other is the port mapper's.
func passedSockets(env Environment, o *Options, log *slog.Logger) (*sockets, error) {
	s := &sockets{}
	if pid, err := strconv.Atoi(env.ListenPID); err != nil || pid != os.Getpid() {
		return s, nil
	}
	n, err := strconv.Atoi(env.ListenFDs)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("LISTEN_FDS=%q is no number of sockets", env.ListenFDs)
	}
	names := strings.Split(env.ListenFDNames, ":")
	for i := range n {
		unix.CloseOnExec(firstPassed + i)
		name := ""
		if i < len(names) {
			name = names[i]
		}
		if err := s.take(firstPassed+i, name, o); err != nil {
			s.close()
			return nil, fmt.Errorf("socket %d passed by the service manager: %w", firstPassed+i, err)
		}
	}
	log.Info("sockets taken from the service manager", "sockets", n)
	return s, nil
}

// take adds a descriptor to the sockets and closes the original.
func (s *sockets) take(fd int, name string, o *Options) error {
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return fmt.Errorf("%q is no socket: %w", name, err)
	}
	accepts, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	switch {
	case kind == unix.SOCK_DGRAM && name == epmapperName:
		return fmt.Errorf("%q is no stream socket: the endpoint mapper has no other", name)
	case kind == unix.SOCK_DGRAM:
		return s.takeDatagrams(f)
	case kind != unix.SOCK_STREAM:
		return fmt.Errorf("%q is neither a stream nor a datagram socket", name)
	case err == nil && accepts == 0:
		return fmt.Errorf("%q does not listen: its unit needs Accept=no", name)
	}
	ln, err := net.FileListener(f)
	if err != nil {
		return err
	}
	switch local := ln.Addr().Network() == "unix"; {
	case s.control == nil && local && (name == "control" || ln.Addr().String() == o.control()):
		s.control = ln
	case name == epmapperName, local && ln.Addr().String() == o.dceSocket(), !local && isPortOf(&dceDoor, o, ln):
		s.dce = append(s.dce, ln)
	default:
		s.streams = append(s.streams, ln)
	}
	return nil
}

// isPortOf tells whether a listener has a port that a mapper would listen on.
func isPortOf(d *door, o *Options, ln net.Listener) bool {
	addrs, err := d.addresses(o)
	tcp, ok := ln.Addr().(*net.TCPAddr)
	return err == nil && ok && slices.ContainsFunc(append(addrs, d.defaultAddresses(o)...), func(a listenAddr) bool {
		return int(a.Port()) == tcp.Port
	})
}

func (s *sockets) takeDatagrams(f *os.File) error {
	c, err := net.FilePacketConn(f)
	if err != nil {
		return err
	}
	conn, ok := c.(*net.UDPConn)
	if !ok {
		c.Close()
		return fmt.Errorf("%q is no UDP socket", f.Name())
	}
	enlarge(conn)
	s.datagrams = append(s.datagrams, conn)
	return nil
}

// anyIP tells whether a TCP or UDP socket is there.
func (s *sockets) anyIP() bool {
	return slices.ContainsFunc(append(s.bound(), s.boundDCE()...), func(b Bound) bool { return b.Addr.IsValid() })
}

// has tells whether a TCP or UDP socket at an address is among those.
func has(bound []Bound, network string, a netip.AddrPort) bool {
	return slices.ContainsFunc(bound, func(b Bound) bool {
		both := b.DualStack && a == netip.AddrPortFrom(netip.IPv4Unspecified(), b.Addr.Port())
		return b.Network == network && (b.Addr == a || both)
	})
}

// atPath tells whether a listener at a path or abstract name is among those.
func atPath(bound []Bound, path string) bool {
	return slices.Contains(bound, Bound{Network: "unix", Path: path})
}
