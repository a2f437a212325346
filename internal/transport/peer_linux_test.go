package transport_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/transport"
)

// pidOf returns the number of the process that a descriptor means, -1 if it has
// ended, and closes the descriptor.
func pidOf(t *testing.T, fd int) (pid int) {
	t.Helper()
	defer unix.Close(fd)
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor %d has flags %#x, %v, want close-on-exec", fd, flags, err)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		t.Error(err)
		return 0
	}
	_, after, _ := strings.Cut(string(text), "\nPid:")
	if _, err := fmt.Sscan(after, &pid); err != nil {
		t.Errorf("descriptor %d is no process's: %v\n%s", fd, err, text)
	}
	return pid
}

// inspect is a handler that has a look at every call while it is answered.
func inspect(look func(*transport.Call)) transport.Handler {
	return handler(func(c *transport.Call, buf []byte) transport.Reply {
		look(c)
		return echo(c, buf)
	})
}

// TestElsewhere: a process in another network namespace is told from one in the
// server's, on every way to ask who it is.
func TestElsewhere(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	if _, err := os.Stat("/proc/self/ns/net"); err != nil {
		t.Fatal(err)
	}
	probe, _ := listenUDP(t, "udp4", "127.0.0.1:0")
	control(t, probe, func(fd int) error {
		if _, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err != nil {
			nstest.Unavailable(t, "the kernel does not tell namespaces: SO_NETNS_COOKIE: %v", err)
		}
		return nil
	})
	elsewhere := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	peers := make(chan transport.Peer, 1)
	h := inspect(func(c *transport.Call) { peers <- *c.Peer })

	loop := localSocket(t)
	serve(t, "unix", loop, h)
	paths := map[string]string{"a server": loop}
	for name, wrap := range map[string]func(net.Listener) net.Listener{
		"no guard's listener":    func(ln net.Listener) net.Listener { return ln },
		"a nil guard's listener": (*transport.Guard)(nil).Listener,
		"a guard's listener":     transport.NewGuard(transport.Rules{}).Listener,
	} {
		paths[name] = localSocket(t)
		ln := wrap(listen(t, "unix", paths[name]))
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				if peer, err := transport.PeerOf(conn); err != nil {
					t.Errorf("%s: %v", name, err)
				} else {
					peers <- *peer
				}
				readRecord(conn)
				conn.Write(record(words(1, 1)))
				conn.Close()
			}
		}()
	}
	for name, path := range paths {
		for _, tt := range []struct {
			from string
			attr *syscall.SysProcAttr
			want bool
		}{{"here", nil, false}, {"elsewhere", elsewhere, true}, {"here again", nil, false}} {
			p, _ := startChild(t, path, 1, tt.attr)
			peer := <-peers
			if peer.Elsewhere != tt.want || int(peer.PID) != p.PID() || peer.UID != 0 {
				t.Errorf("%s, from %s: process %d, user %d, elsewhere %t, want %d, 0, %t",
					name, tt.from, peer.PID, peer.UID, peer.Elsewhere, p.PID(), tt.want)
			}
		}
	}

	// A server that a service manager put into a namespace of its own has its
	// sockets from outside: these count, not where the server is.
	nstest.NewHost(t, "far", "10.98.0.1/24", "10.98.0.2/24")
	path := localSocket(t)
	var ln net.Listener
	onHost(t, "far", func() { ln = listen(t, "unix", path) })
	s := transport.StreamServer{Handler: h}
	start(t, func(ctx context.Context) error { return s.Serve(ctx, ln) })
	if startChild(t, path, 1, nil); !(<-peers).Elsewhere {
		t.Error("who is in the server's namespace, not in its socket's, is not elsewhere")
	}
	var conn net.Conn
	onHost(t, "far", func() { conn = dial(t, "unix", path) })
	if !isServed(conn) || (<-peers).Elsewhere {
		t.Error("who is in the namespace of the server's socket is elsewhere")
	}
}

// TestPIDFD: the descriptor means the process that connected.
func TestPIDFD(t *testing.T) {
	type answer struct {
		fd  int
		err error
	}
	got := make(chan answer, 1)
	h := inspect(func(c *transport.Call) {
		fd, err := c.Peer.PIDFD()
		got <- answer{fd, err}
	})
	path := localSocket(t)
	serve(t, "unix", path, h)
	want := func(what string, pid int) {
		t.Helper()
		if a := <-got; a.err != nil {
			t.Errorf("%s: %v", what, a.err)
		} else if p := pidOf(t, a.fd); p != pid {
			t.Errorf("%s: process %d, want %d", what, p, pid)
		}
	}
	if !isServed(dial(t, "unix", path)) {
		t.Fatal("not served")
	}
	want("this process", os.Getpid())
	other, _ := startChild(t, path, 1, nil)
	want("another process", other.PID())

	t.Run("ended", func(t *testing.T) {
		// The process that connects ends; this one goes on with its socket.
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		socket := os.NewFile(uintptr(fd), "socket")
		defer socket.Close()
		cmd := childCommand(t, "connect "+path, nil)
		cmd.ExtraFiles = append(cmd.ExtraFiles, socket)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		conn, err := net.FileConn(socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if !isServed(conn) {
			t.Fatal("not served")
		}
		switch a := <-got; {
		case errors.Is(a.err, syscall.EINVAL), errors.Is(a.err, syscall.ESRCH):
			t.Logf("of a process that has ended: %v", a.err)
		case a.err != nil:
			t.Error(a.err)
		default:
			if pid := pidOf(t, a.fd); pid != -1 {
				t.Errorf("of a process that has ended the descriptor means %d", pid)
			}
			t.Log("of a process that has ended: a descriptor of nothing")
		}
	})

	t.Run("by number", func(t *testing.T) { // as on kernels that know no better
		fd, err := (&transport.Peer{PID: int32(os.Getpid())}).PIDFD()
		if err != nil {
			t.Fatal(err)
		}
		if pid := pidOf(t, fd); pid != os.Getpid() {
			t.Errorf("process %d, want %d", pid, os.Getpid())
		}
		if fd, err := (&transport.Peer{}).PIDFD(); err == nil {
			t.Errorf("of no process: descriptor %d of %d", fd, pidOf(t, fd))
		}
	})
}

// TestPIDFDClosed: once the connection is closed there is an error, and never a
// descriptor from whatever has its number now.
func TestPIDFDClosed(t *testing.T) {
	path := localSocket(t)
	plain := listen(t, "unix", path)
	guarded := transport.NewGuard(transport.Rules{}).Listener(plain)
	for _, ln := range []net.Listener{plain, guarded} {
		for i := range 100 {
			client := dial(t, "unix", path)
			conn, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			peer, err := transport.PeerOf(conn)
			if err != nil {
				t.Fatal(err)
			}
			var both sync.WaitGroup
			both.Go(func() { conn.Close() })
			if i%2 == 0 {
				both.Wait()
			}
			both.Go(func() {
				fd, err := peer.PIDFD()
				if err == nil {
					if pid := pidOf(t, fd); pid != os.Getpid() {
						t.Errorf("process %d, want %d", pid, os.Getpid())
					}
				} else if !errors.Is(err, net.ErrClosed) {
					t.Errorf("%v, want %v", err, net.ErrClosed)
				}
			})
			both.Wait()
			if fd, err := peer.PIDFD(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("of a closed connection: descriptor %d, %v", fd, err)
			}
			client.Close()
		}
	}
}

// TestConnected: a call knows whether its connection stands.
func TestConnected(t *testing.T) {
	ask, answer := make(chan bool), make(chan bool)
	h := handler(func(c *transport.Call, buf []byte) transport.Reply {
		for range ask {
			answer <- c.Connected()
		}
		return echo(c, buf)
	})
	connected := func() bool {
		ask <- true
		return <-answer
	}
	done := func(conn net.Conn) {
		close(ask)
		conn.Close()
		ask = make(chan bool)
	}
	at, stop := serve(t, "tcp", "127.0.0.1:0", h)
	call := func() *net.TCPConn {
		conn := dial(t, "tcp", at).(*net.TCPConn)
		mustWrite(t, conn, record(words(1, 1)))
		return conn
	}
	conn := call()
	if !connected() {
		t.Error("an established connection does not count as connected")
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if !connected() {
		t.Error("a half-closed connection does not count as connected")
	}
	if err := conn.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	nstest.WaitFor(t, "the reset of a half-closed connection to be seen", patience, func() bool { return !connected() })
	done(conn)

	stop() // so that nothing waits on the channels before
	at, _ = serve(t, "tcp", "127.0.0.1:0", h)
	conn = call()
	if !connected() {
		t.Error("an established connection does not count as connected")
	}
	if err := conn.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	nstest.WaitFor(t, "the reset to be seen", patience, func() bool { return !connected() })
	done(conn)

	path := localSocket(t)
	serve(t, "unix", path, h)
	local := dial(t, "unix", path)
	mustWrite(t, local, record(words(1, 1)))
	if !connected() {
		t.Error("a local call does not count as connected")
	}
	done(local)
	datagram := dial(t, "udp", serveUDP(t, "udp4", "127.0.0.1:0", h).String())
	mustWrite(t, datagram, words(1, 1))
	if !connected() {
		t.Error("a datagram does not count as connected")
	}
	done(datagram)
}
