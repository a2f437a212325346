//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/daemon"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// Users that need not exist on the host.
const (
	alice = 1000
	bob   = 1001
)

// tooWeak is how a peer tells that it was not believed.
const tooWeak = "oncrpc: AUTH_ERROR: AUTH_TOOWEAK"

// A peer is a process of its own, of any user and in any network namespace, that listens and
// registers when the test says so.
type peer struct {
	*nstest.Process
	orders  io.Writer
	answers *bufio.Reader
	pipe    *os.File // of answers
}

// peerName is under which name the test binary is a peer.
const peerName = "quaymaster-peer"

// asUser is a process of a user that has no other groups.
func asUser(uid uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
}

// startPeer starts a peer; with nil it is like the test.
func startPeer(t *testing.T, attr *syscall.SysProcAttr) *peer {
	t.Helper()
	answers, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answers.Close() })
	defer theirs.Close()
	cmd := selfCommand(peerName, attr)
	cmd.ExtraFiles = []*os.File{theirs}
	orders, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return &peer{nstest.StartCommand(t, cmd), orders, bufio.NewReader(answers), answers}
}

// selfCommand is the test binary under another name. Another user finds it this way only: the
// folders where it lies are closed to others.
func selfCommand(name string, attr *syscall.SysProcAttr, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = name
	cmd.Dir = "/"
	cmd.SysProcAttr = attr
	return cmd
}

// quaymasterAs runs quaymaster as another user.
func quaymasterAs(t *testing.T, uid uint32, args ...string) result {
	t.Helper()
	return runCommand(t, selfCommand("quaymaster", asUser(uid), args...))
}

// do has the peer carry out an order, see peerOrders, and returns its answer.
func (p *peer) do(t *testing.T, format string, args ...any) string {
	t.Helper()
	order := fmt.Sprintf(format, args...)
	if err := p.pipe.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(p.orders, order); err != nil {
		t.Fatalf("%s: %v", order, err)
	}
	answer, err := p.answers.ReadString('\n')
	answer = strings.TrimSuffix(answer, "\n")
	if why, failed := strings.CutPrefix(answer, "error: "); err != nil || failed {
		t.Fatalf("%s: %s%v", order, why, err)
	}
	return answer
}

// register has the peer listen at some port of every address and register it, version 1, over a
// network of net.Dial. It returns the port.
func (p *peer) register(t *testing.T, over string, program uint32, netid string) int {
	t.Helper()
	network, any := netid+"4", "0.0.0.0"
	if strings.HasSuffix(netid, "6") {
		network, any = netid, "::"
	}
	port := atoi(t, p.do(t, "listen %s [%s]:0", network, any))
	mustAnswer(t, "true", p.do(t, "set %s %d 1 %s %s", over, program, netid, universal(any, port)))
	return port
}

// keepVar makes a peer that only keeps the sockets that it was given.
const keepVar = "QUAYMASTER_TEST_KEEP"

// beThePeer carries out orders until there are none any more.
func beThePeer() {
	if os.Getenv(keepVar) != "" {
		for {
			unix.Pause()
		}
	}
	answers := os.NewFile(3, "answers")
	syscall.CloseOnExec(3)
	var s peerSide
	for orders := bufio.NewScanner(os.Stdin); !s.over && orders.Scan(); {
		f := strings.Fields(orders.Text())
		answer, err := "", errors.New("no such order")
		if order := peerOrders[f[0]]; order != nil {
			answer, err = order(&s, f[1:])
		}
		if err != nil {
			answer = "error: " + err.Error()
		}
		fmt.Fprintln(answers, answer)
	}
}

// peerSide is the state of a peer.
type peerSide struct {
	listening []*os.File
	open      []net.Conn
	over      bool
}

// peerOrders are what a peer can do.
var peerOrders = map[string]func(*peerSide, []string) (string, error){
	// listen NETWORK ADDRESS: the port or the path. Others may listen there too, if they are as generous.
	"listen": (*peerSide).listen,
	// leave: ends all that listens
	"leave": (*peerSide).leave,
	// fork: leaves what listens to a child and ends; the child's number
	"fork": (*peerSide).fork,
	// set NETWORK PROGRAM VERSION NETID UADDR: true, false, or how it was refused
	"set": func(_ *peerSide, f []string) (string, error) { return peerCall(f[0], "", rpcbind.ProcSet, f[1:]) },
	// unset NETWORK PROGRAM VERSION NETID
	"unset": func(_ *peerSide, f []string) (string, error) {
		return peerCall(f[0], "", rpcbind.ProcUnset, append(f[1:], ""))
	},
	// setfrom LOCAL PROGRAM VERSION NETID UADDR: over UDP from this address
	"setfrom": func(_ *peerSide, f []string) (string, error) {
		return peerCall("udp4", f[0], rpcbind.ProcSet, f[1:])
	},
	// many FIRST COUNT NETID UADDR: how many programs could be registered over one connection
	"many": (*peerSide).many,
	// hasty HOW NETWORK FIRST COUNT NETID UADDR: as many programs, each over a connection that is
	// closed as soon as the call is written
	"hasty": (*peerSide).hasty,
	// connect: one more local connection; open or closed
	"connect": (*peerSide).connect,
	// watch: one more watch; the status, and the text of a refusal
	"watch": (*peerSide).watch,
}

// generous lets other sockets have the same port.
var generous = net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
}}

func (s *peerSide) listen(f []string) (string, error) {
	network, address := f[0], ""
	if len(f) > 1 {
		address = f[1]
	}
	// As files they can be given to a child.
	var file *os.File
	var at net.Addr
	if strings.HasPrefix(network, "udp") {
		conn, err := generous.ListenPacket(context.Background(), network, address)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		at = conn.LocalAddr()
		if file, err = conn.(*net.UDPConn).File(); err != nil {
			return "", err
		}
	} else {
		ln, err := generous.Listen(context.Background(), network, address)
		if err != nil {
			return "", err
		}
		defer ln.Close()
		if u, ok := ln.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		at = ln.Addr()
		if file, err = ln.(interface{ File() (*os.File, error) }).File(); err != nil {
			return "", err
		}
	}
	s.listening = append(s.listening, file)
	if network == "unix" {
		return address, nil
	}
	a, err := netip.ParseAddrPort(at.String())
	return strconv.Itoa(int(a.Port())), err
}

func (s *peerSide) leave([]string) (string, error) {
	for _, f := range s.listening {
		f.Close()
	}
	s.listening = nil
	return "left", nil
}

func (s *peerSide) fork([]string) (string, error) {
	child := selfCommand(peerName, nil)
	child.Env = append(os.Environ(), keepVar+"=1")
	child.ExtraFiles = s.listening
	if err := child.Start(); err != nil {
		return "", err
	}
	s.over = true
	return strconv.Itoa(child.Process.Pid), nil
}

// peerCall makes a call with PROGRAM VERSION NETID UADDR.
func peerCall(network, from string, proc rpcbind.Proc, f []string) (string, error) {
	c, err := dialMapper(network)
	if err == nil && from != "" {
		c.Close()
		var conn net.Conn
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from)), Control: generous.Control}
		conn, err = d.Dial(network, mapperAddress(network))
		c.Conn = conn
	}
	if err != nil {
		return "", err
	}
	defer c.Close()
	row, err := peerRow(f)
	if err != nil {
		return "", err
	}
	done, err := (&killedCall{proc, row}).make(c)
	if _, refused := errors.AsType[*oncrpc.ReplyError](err); refused {
		return err.Error(), nil
	}
	return strconv.FormatBool(done), err
}

func peerRow(f []string) (rpcbind.RPCB, error) {
	program, err1 := strconv.ParseUint(f[0], 10, 32)
	version, err2 := strconv.ParseUint(f[1], 10, 32)
	return rpcbind.RPCB{Program: uint32(program), Version: uint32(version), NetID: f[2], Address: f[3]}, errors.Join(err1, err2)
}

func (s *peerSide) many(f []string) (string, error) {
	row, err := peerRow([]string{f[0], "1", f[2], f[3]})
	if err != nil {
		return "", err
	}
	count, err := strconv.Atoi(f[1])
	if err != nil {
		return "", err
	}
	c, err := dialMapper("unix")
	if err != nil {
		return "", err
	}
	defer c.Close()
	taken := 0
	for range count {
		done, err := c.set(row)
		if err != nil {
			return "", err
		}
		if done {
			taken++
		}
		row.Program++
	}
	return strconv.Itoa(taken), nil
}

func (s *peerSide) hasty(f []string) (string, error) {
	how, network := f[0], f[1]
	row, err := peerRow([]string{f[2], "1", f[4], f[5]})
	if err != nil {
		return "", err
	}
	count, err := strconv.Atoi(f[3])
	if err != nil {
		return "", err
	}
	for i := range count {
		conn, err := net.Dial(network, mapperAddress(network))
		if err != nil {
			return "", err
		}
		stream := strings.HasPrefix(network, "tcp")
		if _, err := conn.Write(appendCall(nil, stream, 1, rpcbind.Version4, rpcbind.ProcSet, row.Append(nil))); err != nil {
			return "", err
		}
		if how == "reset" {
			if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
				return "", err
			}
		}
		for written := time.Now(); time.Since(written) < time.Duration(i%50)*2*time.Microsecond; { // each at another moment of what the daemon does
		}
		conn.Close()
		row.Program++
	}
	return "done", nil
}

func (s *peerSide) connect([]string) (string, error) {
	c, err := dialMapper("unix")
	if err != nil {
		return "", err
	}
	if _, err = c.call(rpcbind.Version4, rpcbind.ProcNull, nil); err != nil {
		c.Close()
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
			return "closed", nil
		}
		return "", err
	}
	s.open = append(s.open, c)
	return "open", nil
}

func (s *peerSide) watch([]string) (string, error) {
	conn, err := net.Dial("unix", daemon.SystemControl)
	if err != nil {
		return "", err
	}
	s.open = append(s.open, conn)
	if _, err := io.WriteString(conn, "GET /v1/endpoints?watch=true HTTP/1.1\r\nHost: quaymaster\r\n\r\n"); err != nil {
		return "", err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	if answer.StatusCode == http.StatusOK {
		return "200", nil
	}
	b, err := io.ReadAll(answer.Body)
	return fmt.Sprintf("%d %s", answer.StatusCode, strings.TrimSpace(string(b))), err
}

// mustOwn fails the test unless a program has one row, of this user's.
func mustOwn(t *testing.T, program, uid uint32) endpoint.Document {
	t.Helper()
	rows := listed(t, program)
	if len(rows) != 1 || rows[0].UID != uid {
		t.Fatalf("program %d has %+v, want one row of uid %d's", program, rows, uid)
	}
	return rows[0]
}

func mustNotBe(t *testing.T, program uint32) {
	t.Helper()
	if rows := listed(t, program); len(rows) > 0 {
		t.Errorf("program %d has %+v, want nothing", program, rows)
	}
}

// TestLoopbackOwner: over loopback a caller is whose the socket is that it calls from.
func TestLoopbackOwner(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	startQuaymaster(t)
	program := uint32(userProgram)
	for _, uid := range []uint32{0, alice} {
		p := startPeer(t, asUser(uid))
		for _, over := range []string{"unix", "udp4", "tcp4", "udp6", "tcp6"} {
			if uid == 0 && strings.HasPrefix(over, "udp") {
				continue // below
			}
			p.register(t, over, program, "tcp")
			mustOwn(t, program, uid)
			if uid == 0 && ownerOf(t, program) != "superuser" {
				t.Errorf("over %s: rpcinfo tells the owner %q, want superuser", over, ownerOf(t, program))
			}
			mustAnswer(t, "true", p.do(t, "unset %s %d 1 tcp", over, program))
			mustNotBe(t, program)
			program++
		}
	}
	// Over UDP root has a port that nobody else can have: the sender may be gone when
	// the kernel is asked who has its port.
	roots := startPeer(t, asUser(0))
	set := func(from string) string {
		return roots.do(t, "setfrom %s %d 1 tcp %s", from, program, universal("0.0.0.0", 4711))
	}
	mustAnswer(t, tooWeak, set("127.0.0.1:1024"))
	mustNotBe(t, program)
	mustAnswer(t, "true", set("127.0.0.1:1023"))
	mustOwn(t, program, 0)
	program++

	// To the kernel nobody is also who has no number here.
	p := startPeer(t, asUser(65534))
	for _, over := range []string{"udp4", "tcp4"} {
		mustAnswer(t, tooWeak, p.do(t, "set %s %d 1 tcp %s", over, program, universal("0.0.0.0", 4711)))
		mustNotBe(t, program)
	}
	p.register(t, "unix", program, "tcp")
	mustOwn(t, program, 65534)
}

// ownerOf returns the owner of a program's rows as rpcbind's protocol tells it.
func ownerOf(t *testing.T, program uint32) string {
	t.Helper()
	c, err := dialMapper("unix")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	results, err := c.call(rpcbind.Version4, rpcbind.ProcDump, nil)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := rpcbind.ParseRPCBs(results)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(rows, func(r rpcbind.RPCB) bool { return r.Program == program })
	if i < 0 {
		t.Fatalf("program %d is not in %v", program, rows)
	}
	return rows[i].Owner
}

const hastyRounds = 300

// TestHastyCallers: who is gone before the daemon asks whose call it was is refused, or was not
// gone; root it never was.
func TestHastyCallers(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	startQuaymaster(t)
	w := startWatch(t)
	program := uint32(userProgram)
	for _, how := range []string{"close tcp4", "close tcp6", "reset tcp4", "reset tcp6", "close udp4", "close udp6"} {
		p := startPeer(t, asUser(alice))
		at := universal("0.0.0.0", atoi(t, p.do(t, "listen tcp4 0.0.0.0:0")))
		first, end := program, program+hastyRounds
		p.do(t, "hasty %s %d %d tcp %s", how, first, hastyRounds, at)
		program = end
		ours := func(a arrival) bool {
			return a.Endpoint != nil && a.Endpoint.Program >= first && a.Endpoint.Program < end
		}
		count := func(kind registry.Kind) int {
			return len(w.find(func(a arrival) bool { return ours(a) && a.Event.Event == kind.String() }))
		}
		// Of a connection that was reset nobody knows whether the call was read.
		if strings.HasPrefix(how, "close") {
			nstest.WaitFor(t, "all calls to be taken or refused: "+how, eventTime, func() bool { return count(registry.Made)+count(registry.Refused) == hastyRounds })
		}
		waitIdle(t)
		t.Logf("%s: of %d calls %d were taken, %d refused", how, hastyRounds, count(registry.Made), count(registry.Refused))
		for _, a := range w.find(ours) {
			if a.Event.Event != registry.Refused.String() && a.Endpoint.UID != alice {
				t.Errorf("%s: %+v", how, a.Event)
			}
		}
		for _, d := range listed(t) {
			if d.UID != alice {
				t.Errorf("%s: registered is %+v, want uid %d or nothing", how, d, alice)
			}
		}
		last := listed(t)
		kill(t, p.Process) // or the next ones would be too many
		for _, d := range last {
			w.waitEnd(t, d)
		}
	}
}

// waitIdle waits until the daemon has no connections but watches.
func waitIdle(t *testing.T) {
	t.Helper()
	nstest.WaitFor(t, "the daemon to have done with all connections", eventTime, func() bool { return counters(t)["connections"] == 2 })
}

// counters are the daemon's, asked for over a connection that counts itself.
func counters(t *testing.T) api.Counters {
	t.Helper()
	c := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", daemon.SystemControl)
		},
	}}
	answer, err := c.Get("http://quaymaster/v1/counters")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var n api.Counters
	if err := json.NewDecoder(answer.Body).Decode(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestBorrowedConnection: what alice sent before she broke off is not root's, who connects from
// the same port while the daemon, which is stopped meanwhile, has not read it.
func TestBorrowedConnection(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	p := startQuaymaster(t)
	w := startWatch(t)
	const rounds = 20
	refused := func() int {
		return len(w.find(func(a arrival) bool { return a.Event.Event == registry.Refused.String() }))
	}
	for i := range rounds {
		program := userProgram + uint32(i)
		hers := connectAs(t, alice, netip.AddrPort{})
		at := hers.LocalAddr().(*net.TCPAddr).AddrPort()
		if i%2 == 0 { // else the daemon has not even taken the connection
			null(t, hers)
		}
		stop(t, p)
		row := rpcbind.RPCB{Program: program, Version: 1, NetID: "udp", Address: "0.0.0.0.39.16"}
		if _, err := hers.Write(appendCall(nil, true, 2, rpcbind.Version4, rpcbind.ProcSet, row.Append(nil))); err != nil {
			t.Fatal(err)
		}
		if err := hers.SetLinger(0); err != nil {
			t.Fatal(err)
		}
		hers.Close()
		roots := connectAs(t, 0, at)
		p.Signal(syscall.SIGCONT)
		null(t, roots)
		roots.Close()
		waitIdle(t)
		mustNotBe(t, program)
	}
	t.Logf("%d of %d calls were read and refused", refused(), rounds)
	if made := w.find(func(a arrival) bool { return a.Event.Event == registry.Made.String() }); len(made) > 0 {
		t.Errorf("registered was %+v", made)
	}
}

// stop returns when no thread of a program runs any more.
func stop(t *testing.T, p *nstest.Process) {
	t.Helper()
	p.Signal(syscall.SIGSTOP)
	nstest.WaitFor(t, "all threads to stop", eventTime, func() bool {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.PID()))
		if err != nil {
			t.Fatal(err)
		}
		return len(tasks) > 0 && !slices.ContainsFunc(tasks, func(task string) bool {
			b, _ := os.ReadFile(task)
			return !strings.Contains(string(b), ") T ")
		})
	})
}

// connectAs connects a user's socket to the mapper, from an address if one is given. Whose a
// socket is depends on the thread that makes it.
func connectAs(t *testing.T, uid int, from netip.AddrPort) *net.TCPConn {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	syscall.RawSyscall(syscall.SYS_SETFSUID, uintptr(uid), 0, 0)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	syscall.RawSyscall(syscall.SYS_SETFSUID, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close() // conn has its own
	if from.IsValid() {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		err = errors.Join(err, unix.Bind(fd, &unix.SockaddrInet4{Port: int(from.Port()), Addr: from.Addr().As4()}))
	}
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: rpcbind.Port, Addr: [4]byte{127, 0, 0, 1}})
	}
	var conn net.Conn
	if err == nil {
		conn, err = net.FileConn(f)
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// null has the daemon answer on a connection.
func null(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := conn.Write(appendCall(nil, true, 1, rpcbind.Version4, rpcbind.ProcNull, nil))
	err = errors.Join(err, conn.SetReadDeadline(time.Now().Add(eventTime)))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 100)); err != nil {
		t.Fatalf("NULL was answered with %d bytes, %v", n, err)
	}
}

// TestSharedPort: a datagram from a port where root has a socket too may be from either.
func TestSharedPort(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	startQuaymaster(t)
	p := startPeer(t, asUser(alice))
	at := universal("0.0.0.0", atoi(t, p.do(t, "listen tcp4 0.0.0.0:0")))
	program := uint32(userProgram)
	for _, roots := range []struct{ network, address string }{
		{"udp4", "127.0.0.2"}, {"udp4", "0.0.0.0"}, {"udp6", "::"}, {"udp", "::"}, {"udp6", "::1"},
	} {
		conn, err := generous.ListenPacket(t.Context(), roots.network, net.JoinHostPort(roots.address, "0"))
		if err != nil {
			t.Fatal(err)
		}
		from := fmt.Sprintf("127.0.0.1:%d", conn.LocalAddr().(*net.UDPAddr).Port)
		set := func() string { return p.do(t, "setfrom %s %d 1 tcp %s", from, program, at) }
		alone := roots.network == "udp6" // it can send over IPv6 only
		if !alone {
			if answer := set(); answer != tooWeak {
				t.Errorf("root has %s at the port: SET = %q, want AUTH_TOOWEAK", conn.LocalAddr(), answer)
			}
			mustNotBe(t, program)
		}
		conn.Close()
		if answer := set(); answer != "true" {
			t.Errorf("root has nothing at the port: SET = %q, want true", answer)
		}
		mustOwn(t, program, alice)
		program++
	}
}

// TestReservedPrograms: what NFS and NIS stand on is root's to register, status statd's too.
func TestReservedPrograms(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	nstest.Need(t, "rpc.statd") // its package makes the user
	startQuaymaster(t)
	a := startPeer(t, asUser(alice))
	a.do(t, "listen udp4 0.0.0.0:20048")
	root := startPeer(t, nil)
	root.do(t, "listen tcp4 0.0.0.0:20048")
	for _, name := range []string{"nfs", "mountd", "rquotad", "nlockmgr", "nfs_acl", "ypserv", "ypbind", "yppasswdd", "status"} {
		known, ok := catalog.Builtin().ProgramByName(name)
		if !ok {
			t.Fatalf("%s is not in the catalog", name)
		}
		program := known.Number
		for _, over := range []string{"unix", "tcp4", "tcp6", "udp4", "udp6"} {
			if answer := a.do(t, "set %s %d 3 udp 0.0.0.0.78.80", over, program); answer != "false" {
				t.Errorf("%s over %s as alice: SET = %q, want false", name, over, answer)
			}
		}
		mustNotBe(t, program)
		if answer := root.do(t, "set unix %d 3 tcp 0.0.0.0.78.80", program); answer != "true" {
			t.Errorf("%s as root: SET = %q, want true", name, answer)
		}
		mustOwn(t, program, 0)
	}
	u, err := user.Lookup("statd")
	if err != nil {
		t.Fatal(err)
	}
	uid := uint32(atoi(t, u.Uid))
	statd := startPeer(t, asUser(uid))
	for i, over := range []string{"unix", "tcp4", "udp4"} {
		port := atoi(t, statd.do(t, "listen udp4 0.0.0.0:0"))
		mustAnswer(t, "true", statd.do(t, "set %s 100024 %d udp %s", over, i+10, universal("0.0.0.0", port)))
		mustAnswer(t, "false", statd.do(t, "set %s 100003 %d udp %s", over, i+10, universal("0.0.0.0", port)))
	}
	if n := len(slices.DeleteFunc(listed(t, 100024), func(d endpoint.Document) bool { return d.UID != uid })); n != 3 {
		t.Errorf("%d rows are statd's, want 3", n)
	}
}

// TestPortTakenOver: a registration does not pass to who has the port next.
func TestPortTakenOver(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	startQuaymaster(t)
	w := startWatch(t)
	hers, his := startPeer(t, asUser(alice)), startPeer(t, asUser(bob))
	const slow, quick = userProgram, userProgram + 1

	// Both have the port for a while: it is never free.
	port := hers.register(t, "unix", slow, "udp")
	d := mustOwn(t, slow, alice)
	his.do(t, "listen udp4 0.0.0.0:%d", port)
	mustAnswer(t, "false", his.do(t, "unset unix %d 1 udp", slow))
	taken := time.Now()
	kill(t, hers.Process)
	w.mustEnd(t, d, taken, registry.TakenOver)
	mustNotBe(t, slow)
	mustAnswer(t, "true", his.do(t, "set unix %d 1 udp %s", slow, universal("0.0.0.0", port)))
	mustOwn(t, slow, bob)

	// He registers before anybody has noticed.
	hers = startPeer(t, asUser(alice))
	port = hers.register(t, "unix", quick, "udp")
	d = mustOwn(t, quick, alice)
	his.do(t, "listen udp4 0.0.0.0:%d", port)
	kill(t, hers.Process)
	mustAnswer(t, "true", his.do(t, "set unix %d 1 udp %s", quick, universal("0.0.0.0", port)))
	if now := mustOwn(t, quick, bob); now.ID == d.ID {
		t.Errorf("alice's row became bob's: %+v", now)
	}
	w.waitEnd(t, d)
	for _, a := range w.find(func(a arrival) bool { return a.Endpoint != nil && a.Endpoint.ID == d.ID }) {
		if a.Endpoint.UID != alice {
			t.Errorf("alice's row was told as %+v", a.Event)
		}
	}
}

// TestUserLimits: how much one user may have, and root is not bounded by.
func TestUserLimits(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	startQuaymaster(t)

	t.Run("rows", func(t *testing.T) {
		const most = registry.DefaultMaxUserRows
		users := map[uint32]*peer{}
		for i, uid := range []uint32{alice, bob, 0} {
			users[uid] = startPeer(t, asUser(uid))
			at := universal("0.0.0.0", atoi(t, users[uid].do(t, "listen tcp4 0.0.0.0:0")))
			want := most
			if uid == 0 {
				want = most + 10
			}
			if got := users[uid].do(t, "many %d %d tcp %s", userProgram+i*10000, most+10, at); got != strconv.Itoa(want) {
				t.Errorf("uid %d could register %s of %d, want %d", uid, got, most+10, want)
			}
		}
		if n := len(listed(t)); n != 3*most+10 {
			t.Errorf("registered are %d, want %d", n, 3*most+10)
		}
		// What is there can be registered again, and what goes makes room.
		at := universal("0.0.0.0", int(listed(t, userProgram)[0].Port))
		mustAnswer(t, "true", users[alice].do(t, "set unix %d 1 tcp %s", userProgram, at))
		mustAnswer(t, "false", users[alice].do(t, "set unix %d 1 udp %s", userProgram, at))
		mustAnswer(t, "true", users[alice].do(t, "unset unix %d 1 tcp", userProgram))
		mustAnswer(t, "true", users[alice].do(t, "set unix %d 1 udp %s", userProgram, at))
	})

	t.Run("connections", func(t *testing.T) {
		const most = 64
		for _, uid := range []uint32{alice, 0} {
			p := startPeer(t, asUser(uid))
			for range most {
				mustAnswer(t, "open", p.do(t, "connect"))
			}
			want := "open"
			if uid != 0 {
				want = "closed"
			}
			asked := time.Now()
			if got := p.do(t, "connect"); got != want || time.Since(asked) > time.Second {
				t.Errorf("connection %d of uid %d is %s after %v, want %s at once", most+1, uid, got, time.Since(asked), want)
			}
		}
		mustAnswer(t, "open", startPeer(t, asUser(bob)).do(t, "connect"))
	})

	t.Run("watches", func(t *testing.T) {
		p := startPeer(t, asUser(bob))
		for range api.MaxWatchers {
			mustAnswer(t, "200", p.do(t, "watch"))
		}
		want := fmt.Sprintf("uid %d has %d watches", bob, api.MaxWatchers)
		if got := p.do(t, "watch"); !strings.HasPrefix(got, "429 ") || !strings.Contains(got, want) {
			t.Errorf("the next watch = %q, want 429 and %q", got, want)
		}
		r := quaymasterAs(t, bob, "endpoints", "--watch", "-o", "json")
		if r.Exit != 1 || !strings.Contains(r.Stderr, want) {
			t.Errorf("endpoints --watch = %+v, want 1 and %q", r, want)
		}
		startWatch(t) // as root
		kill(t, p.Process)
		again := startPeer(t, asUser(bob))
		nstest.WaitFor(t, "bob's watches to be over", eventTime, func() bool { return again.do(t, "watch") == "200" })
	})
}
