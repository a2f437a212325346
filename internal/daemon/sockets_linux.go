package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/socktable"
)

// sockets are everything the daemon listens on.
type sockets struct {
	datagrams []*net.UDPConn
	streams   []net.Listener // TCP and local, of the port mapper
	dce       []net.Listener // TCP and local, of the endpoint mapper
	control   net.Listener
}

// bound returns the port mapper's addresses, TCP first.
func (s *sockets) bound() []Bound {
	all := tcpOf(s.streams)
	for _, c := range s.datagrams {
		all = append(all, Bound{Network: "udp", Addr: c.LocalAddr().(*net.UDPAddr).AddrPort(), DualStack: dualStack(c)})
	}
	return append(all, localOf(s.streams)...)
}

// boundDCE returns the endpoint mapper's addresses, TCP first.
func (s *sockets) boundDCE() []Bound { return append(tcpOf(s.dce), localOf(s.dce)...) }

func tcpOf(listeners []net.Listener) (all []Bound) {
	for _, l := range listeners {
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			all = append(all, Bound{Network: "tcp", Addr: a.AddrPort(), DualStack: dualStack(l.(*net.TCPListener))})
		}
	}
	return all
}

func localOf(listeners []net.Listener) (all []Bound) {
	for _, l := range listeners {
		if l.Addr().Network() == "unix" {
			all = append(all, Bound{Network: "unix", Path: l.Addr().String()})
		}
	}
	return all
}

// dualStack tells whether an IPv6 wildcard socket takes IPv4 too.
func dualStack(c syscall.Conn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	only := 1
	raw.Control(func(fd uintptr) {
		if v, err := unix.GetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_V6ONLY); err == nil {
			only = v
		}
	})
	return only == 0
}

func (s *sockets) close() {
	for _, c := range s.datagrams {
		c.Close()
	}
	for _, l := range slices.Concat(s.streams, s.dce) {
		l.Close()
	}
	if s.control != nil {
		s.control.Close()
	}
}

// open opens every socket, or takes it from passed. What cannot be opened is
// an error, all of them joined, or with KeepGoing a line in the log.
func open(o *Options, passed *sockets, log *slog.Logger) (*sockets, error) {
	p := opening{s: passed}
	onc, oncErr := oncDoor.addresses(o)
	dce, dceErr := dceDoor.addresses(o)
	if err := errors.Join(oncErr, dceErr); err != nil {
		p.s.close()
		return nil, err
	}
	passed = &sockets{datagrams: slices.Clone(p.s.datagrams), streams: slices.Clone(p.s.streams), dce: slices.Clone(p.s.dce)}
	for _, a := range p.wanted(onc, &oncDoor, passed) {
		tcp, udp := p.tcp(a, oncDoor.flag, p.s.bound(), &p.s.streams), p.udp(a, oncDoor.flag)
		p.note(attempt{a.String() + " tcp", tcp}, attempt{a.String() + " udp", udp}, a.String()+" tcp udp")
	}
	for _, a := range p.wanted(dce, &dceDoor, passed) {
		if err := p.tcp(a, dceDoor.flag, p.s.boundDCE(), &p.s.dce); err != nil {
			p.fail(a.String()+" tcp", err)
		}
	}
	if len(p.leftOut) > 0 {
		log.Warn("IPv6 is switched off on this host and left out", "server", strings.Join(p.leftOut, " "))
	}
	p.local(o.oncSocket())
	p.localDCE(o.dceSocket())
	p.controlSocket(o.control())

	err := errors.Join(p.failures...)
	if err != nil && o.KeepGoing && p.s.control != nil && len(p.s.streams)+len(p.s.datagrams)+len(p.s.dce) > 0 {
		for _, f := range p.failures {
			log.Error("not served", "err", f)
		}
		return p.s, nil
	}
	if err != nil {
		p.s.close()
		return nil, err
	}
	return p.s, nil
}

// opening is the work of opening: what stands and what failed.
type opening struct {
	s        *sockets
	leftOut  []string // addresses of IPv6 that nobody chose, where it is switched off
	failures []error
}

// An attempt is one socket that was to be opened, and why it could not be.
type attempt struct {
	where string
	err   error
}

// note keeps what failed of two attempts, as one if both have the same reason.
func (p *opening) note(a, b attempt, joined string) {
	if a.err != nil && b.err != nil && a.err.Error() == b.err.Error() {
		a.where, b.err = joined, nil
	}
	for _, x := range [...]attempt{a, b} {
		if x.err != nil {
			p.failures = append(p.failures, fmt.Errorf("%s: %w", x.where, x.err))
		}
	}
}

func (p *opening) fail(where string, err error) { p.note(attempt{where, err}, attempt{}, "") }

// wanted returns which of the addresses to open. Sockets that were passed in, for
// either mapper, take the place of addresses that nobody chose.
func (p *opening) wanted(addrs []listenAddr, d *door, passed *sockets) (all []netip.AddrPort) {
	for _, a := range addrs {
		switch {
		case passed.anyIP() && !a.chosen:
		case a.Addr().Is6() && ipv6Off(a.Addr()) && !a.chosen:
			p.leftOut = append(p.leftOut, a.String())
		case a.Addr().Is6() && ipv6Off(a.Addr()):
			p.fail(a.String(), fmt.Errorf("IPv6 is switched off on this host: leave %s %s out", d.flag, a.AddrPort))
		default:
			all = append(all, a.AddrPort)
		}
	}
	return all
}

// tcp opens an address, unless it is among those that are bound already, for a mapper.
func (p *opening) tcp(a netip.AddrPort, flag string, bound []Bound, into *[]net.Listener) error {
	if has(bound, "tcp", a) {
		return nil
	}
	ln, err := listenTCP.Listen(context.Background(), family("tcp", a), a.String())
	if err != nil {
		return explain("tcp", a, flag, err)
	}
	*into = append(*into, ln)
	return nil
}

// listenTCP opens TCP listeners for short conversations: what idles is ended by
// its server without keep-alive probes, and a connection counts once the client
// has said something, or after deferAccept.
var listenTCP = net.ListenConfig{
	KeepAlive: -1,
	Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, deferAccept) // where it cannot be had, nothing is lost
		})
	},
}

// deferAccept is how many seconds the kernel keeps a connection on which nothing was said to itself.
const deferAccept = 5

func (p *opening) udp(a netip.AddrPort, flag string) error {
	if has(p.s.bound(), "udp", a) {
		return nil
	}
	conn, err := net.ListenUDP(family("udp", a), net.UDPAddrFromAddrPort(a))
	if err != nil {
		return explain("udp", a, flag, err)
	}
	enlarge(conn)
	p.s.datagrams = append(p.s.datagrams, conn)
	return nil
}

// family makes Go open an IPv6 socket for IPv6 alone, as netids have it.
func family(network string, a netip.AddrPort) string {
	if a.Addr().Is4() {
		return network + "4"
	}
	return network + "6"
}

// receiveBuffer is how many bytes of datagrams the kernel may keep for us: a
// burst of 64 clients after a reboot of many hosts, with room to spare.
const receiveBuffer = 4 << 20

// enlarge asks for a larger receive buffer, beyond the host's usual limit where
// we may. What the kernel gives is what there is.
func enlarge(conn *net.UDPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
		}
	})
}

// ipv6Off tells whether this host has no IPv6 to listen on at a.
func ipv6Off(a netip.Addr) bool {
	text, err := os.ReadFile("/proc/sys/net/ipv6/conf/all/disable_ipv6")
	if errors.Is(err, fs.ErrNotExist) || strings.TrimSpace(string(text)) == "1" {
		return true
	}
	if !a.IsLoopback() {
		return false
	}
	conn, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback}) // it is gone where only the loopback has none
	if err != nil {
		return errors.Is(err, syscall.EADDRNOTAVAIL)
	}
	conn.Close()
	return false
}

// explain says who holds an address and what to do.
func explain(network string, a netip.AddrPort, flag string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		holder, ok := socktable.HolderOf(network, a)
		switch {
		case !ok:
			return fmt.Errorf("address in use: stop the program that holds it or choose %s", flag)
		case holder.PID == os.Getpid():
			return errors.New("another address of --listen-onc or --listen-dce covers it: leave it out")
		}
		return fmt.Errorf("address in use by %s: %s or choose %s", holder, remedy(holder, flag), flag)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("permission denied: it needs CAP_NET_BIND_SERVICE: run as root, choose %s, or try serve --dev", flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("this host has no such address: choose %s", flag)
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		return sys
	}
	return err
}

// remedy says how to stop a program that listens in our place, which the flag names.
func remedy(p socktable.Process, flag string) string {
	dce := flag == dceDoor.flag || flag == dceSocketFlag
	switch {
	case dce && isSamba(p.Name):
		return "stop it (it is Samba's own endpoint mapper)"
	case dce && p.PID == 1 && p.Name == "systemd":
		return "stop it (systemctl stop quaymaster.socket quaymaster)"
	case p.Name == "rpcbind", p.PID == 1 && p.Name == "systemd":
		return "stop it (systemctl stop rpcbind.socket rpcbind)"
	case p.Name == "quaymaster":
		return "stop it (it is this program)"
	}
	return "stop it"
}

// isSamba tells whether a process, by the name that it gives itself, is of Samba: as
// a domain controller "samba", "rpc[master]" or "rpc(0)", else one of its RPC servers.
func isSamba(name string) bool {
	return name == "samba" || name == "samba-dcerpcd" || slices.ContainsFunc([]string{"rpc[", "rpc(", "rpcd_"}, func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

// local opens the port mapper's socket of the UNIX domain and its abstract
// twin, which newer clients try first.
func (p *opening) local(path string) {
	twin := "@" + path
	p.note(attempt{path, p.localAt(path)}, attempt{twin, p.localAt(twin)}, path+" and "+twin)
}

const dceSocketFlag = "--dce-socket"

// localDCE opens the endpoint mapper's socket of the UNIX domain.
func (p *opening) localDCE(path string) {
	if atPath(p.s.boundDCE(), path) {
		return
	}
	if err := makeFolder(path, dceSocketFlag); err != nil {
		p.fail(path, err)
		return
	}
	ln, err := listenPath(path, dceSocketFlag)
	if err != nil {
		p.fail(path, err)
		return
	}
	p.s.dce = append(p.s.dce, ln)
}

// makeFolder makes the folder of a socket.
func makeFolder(path, flag string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("%w: choose %s", errors.Unwrap(err), flag)
	}
	return nil
}

func (p *opening) localAt(name string) error {
	if atPath(p.s.bound(), name) {
		return nil
	}
	ln, err := listenPath(name, "--onc-socket")
	if err != nil {
		return err
	}
	p.s.streams = append(p.s.streams, ln)
	return nil
}

func (p *opening) controlSocket(path string) {
	if p.s.control != nil {
		return
	}
	if err := makeFolder(path, "--control"); err != nil {
		p.fail(path, err)
		return
	}
	ln, err := listenPath(path, "--control")
	if err != nil {
		p.fail(path, err)
		return
	}
	p.s.control = ln
}

// listenPath listens at a path, or an abstract name after "@", open to every
// user: what one may do is decided by who the kernel says it is. A socket that
// a daemon left behind is replaced; one that somebody answers is not.
func listenPath(path, flag string) (net.Listener, error) {
	abstract := strings.HasPrefix(path, "@")
	if !abstract {
		if err := removeLeftOver(path, flag); err != nil {
			return nil, err
		}
	}
	// Made with this mode: to change it afterwards would follow a link that the
	// daemon's account could have put there.
	umask := unix.Umask(0o111)
	ln, err := net.Listen("unix", path)
	unix.Umask(umask)
	switch {
	case err == nil:
		return ln, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, inUse(path, flag)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return nil, fmt.Errorf("permission denied: run as root, choose %s, or try serve --dev", flag)
	case errors.Is(err, syscall.EINVAL) && len(strings.TrimPrefix(path, "@")) > endpoint.MaxPath:
		return nil, fmt.Errorf("too long for a socket's path, which has at most %d bytes: choose %s", endpoint.MaxPath, flag)
	case errors.Is(err, syscall.ENOENT):
		return nil, fmt.Errorf("its folder does not exist: make it or choose %s", flag)
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		return nil, sys
	}
	return nil, err
}

// answerTime is how long a socket that stands in our place may take to answer.
const answerTime = time.Second

func inUse(path, flag string) error {
	holder, ok := socktable.HolderOfPath(path)
	if !ok {
		return fmt.Errorf("in use: stop the program that listens there or choose %s", flag)
	}
	return fmt.Errorf("in use by %s: %s or choose %s", holder, remedy(holder, flag), flag)
}

func removeLeftOver(path, flag string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%w: choose %s", errors.Unwrap(err), flag)
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("a file that is no socket stands there: move it away or choose %s", flag)
	}
	var d net.Dialer
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	conn, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) { // it answers, or is too busy to
		return inUse(path, flag)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("left over from a daemon that is gone, and not removable: %w", errors.Unwrap(err))
	}
	return nil
}
