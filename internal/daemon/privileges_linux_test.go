package daemon

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// Privileges are given up for good, so a process of its own does it: an errand
// for the test binary, which reports what became of it.

// errandVar makes the test binary run the errand in its value, in JSON.
const errandVar = "DAEMON_TEST_ERRAND"

// runErrand does what the text says, and does not return.
func runErrand(text string) {
	var e errand
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		panic(err)
	}
	if e.Another {
		beAnother()
	}
	if err := json.NewEncoder(os.Stdout).Encode(e.settle()); err != nil {
		panic(err)
	}
	os.Exit(0)
}

// An errand is to settle, with these arguments, in a process that is busy.
type errand struct {
	Options  Options
	Files    []string
	Visitors []visitor // that call at the listener passed as descriptor 3; who can be seen of them afterwards is reported
	Another  bool      // only stand beside, as [beAnother] does
}

// A visitor is a process with a user of its own.
type visitor struct{ PID, UID int }

// A report is how an errand went.
type report struct {
	Err, Log string
	Threads  int                 // at least; some come and go
	Has      map[string][]string // of the lines in /proc/PID/status that tell privileges: each value that a thread has
	Before   string              // error of listening at port 111 before it
	After    string              // and afterwards
	Unable   map[string]string   // what a part of the daemon must be able to do, and the error
}

func (e errand) settle() (r report) {
	busy := startBusy()
	defer busy.end()
	r.Before = tryPort()
	var log bytes.Buffer
	a, err := accountFor(e.Options.User, !e.Options.Dev)
	if err == nil {
		err = a.settle(&e.Options, e.Files, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: noTime})))
	}
	r.Err, r.Log = errorText(err), log.String()
	busy.grow()
	r.Has, r.Threads = privileges()
	r.After = tryPort()
	if e.Visitors != nil {
		r.Unable = unable(e.Visitors, e.Files)
	}
	return r
}

// tryPort returns the error of listening at a port that takes a capability.
func tryPort() string {
	l, err := net.Listen("tcp", "127.0.0.1:111")
	if err == nil {
		l.Close()
	}
	return errorText(err)
}

func noTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// busy is a process with many threads: that sleep in the runtime, that are held
// in system calls, and that come and go.
type busy struct {
	stop    chan struct{}
	running sync.WaitGroup
}

// still is how many threads sleep, and how many are held; as many sleep more after grow.
const still = 16

func startBusy() *busy {
	b := &busy{stop: make(chan struct{})}
	var pipe [2]int
	if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC); err != nil {
		panic(err)
	}
	b.grow()
	var held sync.WaitGroup
	for range still {
		held.Add(1)
		go func() {
			runtime.LockOSThread()
			held.Done()
			syscall.Read(pipe[0], make([]byte, 1)) // to the end of the process
		}()
	}
	held.Wait()
	b.running.Go(func() {
		for {
			select {
			case <-b.stop:
				return
			default:
			}
			var brief sync.WaitGroup
			for range 4 {
				brief.Go(runtime.LockOSThread) // a thread ends with the goroutine that is locked to it
			}
			brief.Wait()
		}
	})
	return b
}

// grow adds threads that sleep.
func (b *busy) grow() {
	var there sync.WaitGroup
	for range still {
		there.Add(1)
		b.running.Go(func() {
			runtime.LockOSThread()
			there.Done()
			<-b.stop
		})
	}
	there.Wait()
}

func (b *busy) end() {
	close(b.stop)
	b.running.Wait()
}

// privileges returns what the threads of this process have, and how many they are.
func privileges() (map[string][]string, int) {
	has, threads := map[string][]string{}, 0
	files, _ := filepath.Glob("/proc/self/task/*/status")
	for _, f := range files {
		status, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		threads++
		for line := range strings.Lines(string(status)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			value = strings.TrimSpace(value)
			if slices.Contains([]string{"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"}, key) && !slices.Contains(has[key], value) {
				has[key] = append(has[key], value)
			}
		}
	}
	return has, threads
}

// run runs the errand in a binary, as a command with these changes.
func (e errand) run(t *testing.T, binary string, changes ...func(*exec.Cmd)) (r report) {
	t.Helper()
	p := e.start(t, binary, changes...)
	if status := p.Wait(t, patience); status != 0 {
		t.Fatalf("exit status %d:\n%s", status, p.Output())
	}
	if err := json.Unmarshal([]byte(p.Output()), &r); err != nil {
		t.Fatalf("%v:\n%s", err, p.Output())
	}
	return r
}

func (e errand) start(t *testing.T, binary string, changes ...func(*exec.Cmd)) *nstest.Process {
	t.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), errandVar+"="+string(text))
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	cmd.Dir = "/"
	for _, change := range changes {
		change(cmd)
	}
	return nstest.StartCommand(t, cmd)
}

// thisBinary is the test's own, also for users to whom the way to it is closed.
const thisBinary = "/proc/self/exe"

// withoutCgo builds the test binary as it is where there is no C compiler.
func withoutCgo(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(passable(t, t.TempDir()), "daemon.test")
	build := exec.Command(nstest.Path(t, "go"), "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	return binary
}

// passable opens the way to a temporary folder to other users, and returns it.
func passable(t *testing.T, dir string) string {
	t.Helper()
	for path := dir; path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	visited     = "/run/visited.sock" // where visitors call
	anothersUID = 4800
	anothers    = "127.0.0.1:4800" // where that user listens: tcp, udp, and the abstract name
)

// beAnother is another user's process: it listens, calls, and stays.
func beAnother() {
	l1, err1 := net.Listen("tcp", anothers)
	l2, err2 := net.ListenPacket("udp", anothers)
	l3, err3 := net.Listen("unix", "@"+anothers)
	conn, err4 := net.Dial("unix", visited)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		panic(err)
	}
	fmt.Println("called")
	conn.Read(make([]byte, 1)) // to the end of the test
	runtime.KeepAlive([]any{l1, l2, l3})
}

// unable returns what cannot be done of all that parts of the daemon do when
// it has settled; a name says what and the value why.
func unable(visitors []visitor, files []string) map[string]string {
	failed := map[string]string{}
	check := func(what string, err error) {
		if err != nil {
			failed[what] = err.Error()
		}
	}
	check("inet_diag tcp", diagnose(inetRequest(unix.IPPROTO_TCP), isAnothers))
	check("inet_diag udp", diagnose(inetRequest(unix.IPPROTO_UDP), isAnothers))
	check("unix_diag", diagnose(unixRequest, isAnothersPath))
	check("groups of SOCK_DESTROY", joinDestroyed())
	check("peers", meet(visitors))
	for _, v := range visitors {
		fd, err := unix.PidfdOpen(v.PID, 0)
		check("pidfd_open", err)
		unix.Close(fd)
		_, err = os.ReadFile(fmt.Sprintf("/proc/%d/stat", v.PID))
		check(fmt.Sprintf("/proc/PID/stat of user %d", v.UID), withoutPath(err))
	}
	for _, f := range files {
		check(f, rewrite(f))
	}
	return failed
}

// withoutPath returns the reason of an error alone.
func withoutPath(err error) error {
	if e := (*os.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// diagnose asks for all sockets and returns an error if none is the one sought (sock_diag(7)).
func diagnose(request []byte, sought func(answer []byte) bool) error {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	answers, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request | netlink.Dump},
		Data:   request,
	})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(answers, func(m netlink.Message) bool { return sought(m.Data) }) {
		return fmt.Errorf("another user's socket is not among %d answers", len(answers))
	}
	return nil
}

// inetRequest is a struct inet_diag_req_v2 for IPv4 sockets in every state.
func inetRequest(protocol byte) []byte {
	b := make([]byte, 56)
	b[0], b[1] = unix.AF_INET, protocol
	binary.NativeEndian.PutUint32(b[4:], ^uint32(0))
	return b
}

// isAnothers reads a struct inet_diag_msg: source port and uid.
func isAnothers(b []byte) bool {
	return len(b) >= 72 && binary.BigEndian.Uint16(b[4:]) == 4800 && binary.NativeEndian.Uint32(b[64:]) == anothersUID
}

// unixRequest is a struct unix_diag_req for sockets in every state, their names and uids.
var unixRequest = func() []byte {
	const showName, showUID = 1, 0x40 // UDIAG_SHOW_NAME, UDIAG_SHOW_UID
	b := make([]byte, 24)
	b[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(b[4:], ^uint32(0))
	binary.NativeEndian.PutUint32(b[12:], showName|showUID)
	return b
}()

// isAnothersPath reads what follows a struct unix_diag_msg: name and uid.
func isAnothersPath(b []byte) bool {
	const name, uid = 0, 7 // UNIX_DIAG_NAME, UNIX_DIAG_UID
	if len(b) < 16 {
		return false
	}
	attributes, err := netlink.UnmarshalAttributes(b[16:])
	has := func(kind uint16, data []byte) bool {
		return slices.ContainsFunc(attributes, func(a netlink.Attribute) bool { return a.Type == kind && bytes.Equal(a.Data, data) })
	}
	return err == nil && has(name, []byte("\x00"+anothers)) && has(uid, binary.NativeEndian.AppendUint32(nil, anothersUID))
}

// joinDestroyed joins the groups that tell of closed sockets: SKNLGRP_INET_TCP_DESTROY to SKNLGRP_INET6_UDP_DESTROY.
func joinDestroyed() error {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	for group := range uint32(4) {
		if err := conn.JoinGroup(group + 1); err != nil {
			return fmt.Errorf("group %d: %w", group+1, err)
		}
	}
	return nil
}

// meet takes the visitors in and looks at who they are.
func meet(visitors []visitor) error {
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	defer l.Close()
	l.(*net.UnixListener).SetDeadline(time.Now().Add(patience))
	var met []visitor
	for range visitors {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		defer conn.Close()
		raw, err := conn.(*net.UnixConn).SyscallConn()
		if err != nil {
			return err
		}
		var peer visitor
		raw.Control(func(fd uintptr) { peer, err = peerOf(int(fd)) })
		if err != nil {
			return err
		}
		met = append(met, peer)
	}
	if !slices.Equal(met, visitors) {
		return fmt.Errorf("met %v, want %v", met, visitors)
	}
	return nil
}

// peerOf returns who is at the other end of a local connection, and an error
// if the process cannot be held by a descriptor, as it can from Linux 6.5 on.
func peerOf(fd int) (visitor, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return visitor{}, fmt.Errorf("SO_PEERCRED: %w", err)
	}
	pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return visitor{}, fmt.Errorf("SO_PEERPIDFD: %w", err)
	}
	if err == nil {
		defer unix.Close(pidfd)
		if err := unix.PidfdSendSignal(pidfd, 0, nil, 0); err != nil && !errors.Is(err, unix.EPERM) { // EPERM: it lives, as another's
			return visitor{}, fmt.Errorf("the descriptor of SO_PEERPIDFD: %w", err)
		}
	}
	return visitor{int(cred.Pid), int(cred.Uid)}, nil
}

// rewrite does to a file what the daemon does: adds to it, replaces it, removes it, makes it anew.
func rewrite(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err1 := f.WriteString("more\n")
	err2 := f.Close()
	err3 := os.WriteFile(file+".new", []byte("new\n"), 0o644)
	err4 := os.Rename(file+".new", file)
	err5 := os.Remove(file)
	l, err6 := net.Listen("unix", file)
	if err6 == nil {
		err6 = l.Close() // and takes it away
	}
	return errors.Join(err1, err2, err3, err4, err5, err6, os.WriteFile(file, nil, 0o644))
}

// TestAbilities does, after everything was given up, what parts of the daemon
// rely on: as the account, as root without capabilities, and where /proc hides
// the processes of others.
func TestAbilities(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	accounts(t, "")
	nstest.TmpFS(t, "/var/lib", "quaymaster")
	const permanent = systemState + "/permanent.yaml"
	ln, err := net.Listen("unix", visited)
	if err != nil {
		t.Fatal(err)
	}
	passed, err := ln.(filer).File()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(visited, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, user string
		hide       bool
		want       map[string]string
	}{
		{"account", "quay", false, map[string]string{}},
		{"root", "", false, map[string]string{}},
		{"account, others hidden", "quay", true, map[string]string{
			"/proc/PID/stat of user 0":    "no such file or directory",
			"/proc/PID/stat of user 4800": "no such file or directory",
		}},
		{"root, others hidden", "", true, map[string]string{}}, // from all but group 0
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.hide {
				if err := unix.Mount("proc", "/proc", "proc", 0, "hidepid=2"); err != nil {
					nstest.Unavailable(t, "/proc cannot hide processes: %v", err)
				}
				defer unix.Unmount("/proc", 0)
			}
			if err := os.WriteFile(permanent, []byte("old\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial("unix", visited)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			another := errand{Another: true}.start(t, thisBinary, as(anothersUID))
			nstest.WaitFor(t, "the other user to call", patience, func() bool { return another.Output() == "called\n" || another.Ended() })
			e := errand{
				Options:  Options{User: tt.user},
				Files:    []string{SystemControl, "/run/quaymaster/journal", permanent},
				Visitors: []visitor{{os.Getpid(), 0}, {another.PID(), anothersUID}},
			}
			r := e.run(t, thisBinary, func(c *exec.Cmd) { c.ExtraFiles = []*os.File{passed} })
			if r.Err != "" || !slices.Equal(r.Has["CapEff"], noCapability) {
				t.Errorf("settle: %q; threads have %v", r.Err, r.Has)
			}
			if diff := cmp.Diff(tt.want, r.Unable); diff != "" {
				t.Errorf("afterwards it is unable to do, and why (-want +got):\n%s", diff)
			}
		})
	}
}
