package socktable

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

const patience = 20 * time.Second

// A plan is a socket to be opened.
type plan struct {
	network string // "tcp" or "udp"
	addr    string // "[::ffff:127.0.0.1]:111" makes an IPv6 socket
	v6only  bool
	device  string // an interface to bind it to
	idle    bool   // of TCP: it does not listen
	peer    string // where it is connected to
}

// sockaddr returns an address for the system call, with the family's number.
func sockaddr(t testing.TB, addr string) (unix.Sockaddr, int) {
	t.Helper()
	a := netip.MustParseAddrPort(addr)
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, unix.AF_INET
	}
	to := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		i, err := net.InterfaceByName(zone)
		if err != nil {
			t.Fatal(err)
		}
		to.ZoneId = uint32(i.Index)
	}
	return to, unix.AF_INET6
}

// A descriptor is an open socket. It is closed with the test, if not before.
type descriptor int

func (d *descriptor) Close() {
	if *d >= 0 {
		unix.Close(int(*d))
	}
	*d = -1
}

// try opens a socket.
func (p plan) try(t testing.TB) (*descriptor, error) {
	t.Helper()
	kind := unix.SOCK_STREAM
	if p.network == "udp" {
		kind = unix.SOCK_DGRAM
	}
	to, family := sockaddr(t, p.addr)
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	d := descriptor(fd)
	steps := []error{unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)}
	if family == unix.AF_INET6 {
		v6only := 0
		if p.v6only {
			v6only = 1
		}
		steps = append(steps, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only))
	}
	if p.device != "" {
		steps = append(steps, unix.BindToDevice(fd, p.device))
	}
	steps = append(steps, unix.Bind(fd, to))
	switch {
	case p.peer != "":
		peer, _ := sockaddr(t, p.peer)
		steps = append(steps, unix.Connect(fd, peer))
	case p.network == "tcp" && !p.idle:
		steps = append(steps, unix.Listen(fd, 64))
	}
	if err := errors.Join(steps...); err != nil {
		d.Close()
		return nil, err
	}
	return &d, nil
}

func (p plan) open(t testing.TB) *descriptor {
	t.Helper()
	d, err := p.try(t)
	if err != nil {
		t.Fatalf("%+v: %v", p, err)
	}
	t.Cleanup(d.Close)
	return d
}

// addr returns the address of the socket, never IPv4-mapped.
func (d *descriptor) addr(t testing.TB) netip.AddrPort {
	t.Helper()
	sa, err := unix.Getsockname(int(*d))
	if err != nil {
		t.Fatal(err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	t.Fatalf("address %v", sa)
	return netip.AddrPort{}
}

// asUser runs f with sockets and files that it makes belonging to a user.
func asUser(t testing.TB, uid int, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	was, err := unix.SetfsuidRetUid(uid)
	if now, _ := unix.SetfsuidRetUid(-1); err != nil || now != uid {
		t.Fatalf("this thread has the files of user %d, want %d (%v)", now, uid, err)
	}
	defer unix.SetfsuidRetUid(was)
	f()
}

func openTable(t testing.TB) *Table {
	t.Helper()
	table, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	return table
}

// eth0 adds an interface of 10.99.0.1, fd99::1 and fe80::99, and returns when all are ours.
func eth0(t *testing.T) {
	t.Helper()
	nstest.Veth(t, "eth0", "10.99.0.1/24", "fd99::1/64", "fe80::99/64")
	for _, addr := range []string{"fd99::1", "fe80::99"} { // of IPv6, some time after the interface is up
		nstest.WaitFor(t, addr+" to be local", patience, func() bool {
			out, err := exec.Command(nstest.Path(t, "ip"), "-6", "route", "get", addr, "oif", "eth0").Output()
			return err == nil && strings.HasPrefix(string(out), "local ")
		})
	}
}

// partVar makes the test binary play a part beside a test, instead of testing.
const partVar = "SOCKTABLE_PART"

func TestMain(m *testing.M) {
	if part := os.Getenv(partVar); part != "" {
		if err := play(strings.Fields(part)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// play plays a part: it writes what it found, then does what it reads, until its
// input ends.
func play(part []string) error {
	switch part[0] {
	case "listen":
		tcp, err := net.Listen("tcp", part[1])
		if err != nil {
			return err
		}
		udp, err := net.ListenPacket("udp", part[1])
		if err != nil {
			return err
		}
		fmt.Println("ready")
		io.Copy(io.Discard, os.Stdin)
		runtime.KeepAlive([]any{tcp, udp})
	case "connect":
		c, err := net.Dial("tcp", part[1])
		if err != nil {
			return err
		}
		fmt.Println(c.LocalAddr())
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			switch in.Text() {
			case "shutdown":
				err = c.(*net.TCPConn).CloseWrite()
			case "close":
				err = c.Close()
			}
			fmt.Println(in.Text(), err)
		}
	case "ask":
		table, err := Open()
		if err != nil {
			return err
		}
		defer table.Close()
		to := netip.MustParseAddrPort(part[1])
		_, err = table.SenderOwner(to)
		sockets, err2 := table.At(at("udp " + part[1]))
		for _, s := range sockets {
			fmt.Println(errors.Is(err, ErrOwner), err, s.Addr, s.UID, err2)
		}
		fmt.Println("done")
	}
	return nil
}

// An actor is a process that plays a part.
type actor struct {
	*nstest.Process
	in io.Writer
}

func start(t *testing.T, attr *syscall.SysProcAttr, part ...string) actor {
	t.Helper()
	cmd := exec.Command("/proc/self/exe") // another user may not look into the folder of go test
	cmd.Env = append(os.Environ(), partVar+"="+strings.Join(part, " "))
	cmd.SysProcAttr = attr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	return actor{nstest.StartCommand(t, cmd), in}
}

func user(uid uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
}

// line waits for the actor's nth line, counted from 0, and returns it.
func (a actor) line(t *testing.T, n int) string {
	t.Helper()
	var lines []string
	nstest.WaitFor(t, fmt.Sprintf("line %d of %s", n, a.Output()), patience, func() bool {
		lines = strings.Split(a.Output(), "\n")
		return len(lines) > n+1
	})
	return lines[n]
}

// do has the actor do something, and waits until it is done: its nth line.
func (a actor) do(t *testing.T, what string, n int) {
	t.Helper()
	fmt.Fprintln(a.in, what)
	if got, want := a.line(t, n), what+" <nil>"; got != want {
		t.Fatalf("the actor says %q, want %q", got, want)
	}
}
