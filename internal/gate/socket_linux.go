package gate

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nowait"
	"github.com/quaymaster/quaymaster/internal/socktable"
)

// Of connections of control channels, in seconds: when a silent one is asked whether it is there, how often, and how
// long it may leave that and data unacknowledged.
const (
	keepIdle     = 120
	keepInterval = 30
	keepCount    = 4
	userTimeout  = 90
)

const backlog = 1024

// socketOf opens a socket that may have addresses of others.
func socketOf(protocol uint8, a netip.Addr) (fd int, err error) {
	domain, kind := unix.AF_INET, unix.SOCK_STREAM
	if a.Is6() {
		domain = unix.AF_INET6
	}
	if protocol == udp {
		kind = unix.SOCK_DGRAM
	}
	fd, err = unix.Socket(domain, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	options := []option{{unix.SOL_IP, unix.IP_TRANSPARENT, 1}}
	if a.Is6() {
		options = []option{{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1}, {unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, 1}}
	}
	return fd, set(fd, options)
}

type option struct{ level, name, value int }

// set sets options, and closes the socket if it cannot.
func set(fd int, all []option) error {
	err := setAll(fd, all)
	if err != nil {
		unix.Close(fd)
	}
	if errors.Is(err, unix.EPERM) {
		return errors.New("no right to stand for others: it needs CAP_NET_ADMIN: run as root")
	}
	return err
}

func setAll(fd int, all []option) error {
	for _, o := range all {
		if err := nowait.SetOption(fd, o.level, o.name, o.value); err != nil {
			return err
		}
	}
	return nil
}

// connectionOptions are those of both connections of a session. What is urgent stays where it was sent: who aborts a transfer of FTP does it
// with commands of telnet, the last byte of which is.
var connectionOptions = []option{
	{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	{unix.SOL_SOCKET, unix.SO_OOBINLINE, 1},
}

// keepOptions are those beside of connections that last.
var keepOptions = []option{
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepIdle},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepInterval},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepCount},
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, userTimeout * 1000},
}

// listen opens a socket that control channels come to.
func listen(protocol uint8, at netip.AddrPort) (fd int, err error) {
	fd, err = socketOf(protocol, at.Addr())
	if err != nil {
		return -1, err
	}
	var options []option
	switch {
	case protocol == tcp: // what is accepted inherits them
		options = slices.Concat([]option{{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}}, connectionOptions, keepOptions)
	case at.Addr().Is4():
		options = []option{{unix.SOL_IP, unix.IP_RECVORIGDSTADDR, 1}}
	default:
		options = []option{{unix.IPPROTO_IPV6, unix.IPV6_RECVORIGDSTADDR, 1}}
	}
	if err := set(fd, options); err != nil {
		return -1, err
	}
	err = unix.Bind(fd, sockaddr(at))
	if err == nil && protocol == tcp {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		unix.Close(fd)
		return -1, explainListen(protocol, at, err)
	}
	return fd, nil
}

// explainListen says who is in the way.
func explainListen(protocol uint8, at netip.AddrPort, err error) error {
	if !errors.Is(err, unix.EADDRINUSE) {
		return err
	}
	holder, ok := socktable.HolderOf(transportName(protocol), at)
	switch {
	case !ok:
		return fmt.Errorf("%w: stop the program that holds it", err)
	case holder.PID == os.Getpid():
		return fmt.Errorf("%w by this process: another gate runs in it", err)
	}
	return fmt.Errorf("%w by %s: stop it", err, holder)
}

// dialOptions are those of a connection to a server at first. Its port is chosen when the server is known, so that one serves for many.
var dialOptions = append([]option{{unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1}}, connectionOptions...)

// dial begins a connection to a server, or opens a socket for datagrams to it, from an address of somebody else; its port is any.
func dial(protocol uint8, from netip.Addr, to netip.AddrPort) (fd int, err error) {
	fd, err = socketOf(protocol, from)
	if err != nil {
		return -1, err
	}
	if protocol == tcp {
		if err := set(fd, dialOptions); err != nil {
			return -1, err
		}
	}
	err = os.NewSyscallError("bind", unix.Bind(fd, sockaddr(netip.AddrPortFrom(from, 0))))
	if err == nil {
		err = os.NewSyscallError("connect", unix.Connect(fd, sockaddr(to)))
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// sendAs sends one datagram from the address and port of somebody else.
func sendAs(from, to netip.AddrPort, data []byte) error {
	fd, err := socketOf(udp, from.Addr())
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, sockaddr(from)); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return os.NewSyscallError("sendto", unix.Sendto(fd, data, 0, sockaddr(to)))
}

// reserve takes a port of an address, and returns the socket that has it.
func reserve(protocol uint8, a netip.Addr) (fd int, at netip.AddrPort, err error) {
	fd, err = socketOf(protocol, a)
	if err != nil {
		return -1, at, err
	}
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(a, 0))); err != nil {
		unix.Close(fd)
		return -1, at, os.NewSyscallError("bind", err)
	}
	if at, err = addressOf(fd); err != nil {
		unix.Close(fd)
		return -1, at, err
	}
	return fd, at, nil
}

// sourceTo returns the address of this host from which it reaches another: the one that masquerading uses.
func sourceTo(server netip.AddrPort) (netip.Addr, error) {
	fd, err := socketOf(udp, server.Addr())
	if err != nil {
		return netip.Addr{}, err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, sockaddr(server)); err != nil {
		return netip.Addr{}, os.NewSyscallError("connect", err)
	}
	at, err := addressOf(fd)
	return at.Addr(), err
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// addressOf returns the address that a socket of IP is bound to.
func addressOf(fd int) (netip.AddrPort, error) {
	name, err := nowait.NameOf(fd)
	at, _ := name.AddrPort()
	return at, err
}

// breakOff has closing a connection tell the other side at once that it is over.
func breakOff(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}
