package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// The environment that makes the test binary a daemon.
const (
	optionsVar = "DAEMON_TEST_OPTIONS" // Options in JSON
	orphanVar  = "DAEMON_TEST_ORPHAN"  // leave a process behind that reads descriptor 3 to its end
	reloadVar  = "DAEMON_TEST_RELOAD"  // path of a file with other Options in JSON, which are taken with SIGHUP
)

func TestMain(m *testing.M) {
	if text := os.Getenv(optionsVar); text != "" {
		if err := runDaemon(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if file := os.Getenv(gateVar); file != "" {
		if err := runGate(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if text := os.Getenv(errandVar); text != "" {
		runErrand(text)
	}
	os.Exit(m.Run())
}

// runDaemon does what the verb serve does.
func runDaemon(text string) error {
	var o Options
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	if os.Getenv(orphanVar) != "" {
		cmd := exec.Command("sh", "-c", "cat <&3 >/dev/null &")
		cmd.ExtraFiles = []*os.File{os.NewFile(3, "pipe")}
		if err := cmd.Run(); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	env := Environment{
		ListenPID: os.Getenv("LISTEN_PID"), ListenFDs: os.Getenv("LISTEN_FDS"), ListenFDNames: os.Getenv("LISTEN_FDNAMES"),
		NotifySocket: os.Getenv("NOTIFY_SOCKET"),
	}
	return Run(ctx, o, env, slog.New(slog.NewTextHandler(os.Stderr, nil)), reloaded(ctx), func(Listening) {})
}

// reloaded returns the options of the file that is named, each time there is a SIGHUP.
func reloaded(ctx context.Context) <-chan Options {
	path := os.Getenv(reloadVar)
	if path == "" {
		return nil
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	out := make(chan Options)
	go func() {
		for range hangup {
			var o Options
			text, err := os.ReadFile(path)
			if err == nil {
				err = json.Unmarshal(text, &o)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			select {
			case out <- o:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// command returns the daemon as a command.
func command(t *testing.T, o Options) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), optionsVar+"="+string(text), "LISTEN_PID=", "LISTEN_FDS=", "NOTIFY_SOCKET=")
	return cmd
}

// A server is a daemon that runs, and the socket on which it tells its state.
type server struct {
	*nstest.Process
	notify *net.UnixConn
}

// startReady starts a daemon and waits until it says that it is ready.
func startReady(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	return startReadyAt(t, cmd, filepath.Join(t.TempDir(), "notify"))
}

func startReadyAt(t *testing.T, cmd *exec.Cmd, notify string) *server {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if !strings.HasPrefix(notify, "@") { // it may become another user
		for path := notify; path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
			if err := os.Chmod(path, 0o777); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+notify)
	s := &server{nstest.StartCommand(t, cmd), conn}
	s.expect(t, "READY=1")
	return s
}

// expect waits for the daemon to tell a state.
func (s *server) expect(t *testing.T, state string) {
	t.Helper()
	b := make([]byte, 100)
	for deadline := time.Now().Add(patience); ; {
		s.notify.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // or the end of the daemon goes unseen
		n, err := s.notify.Read(b)
		switch {
		case err == nil && string(b[:n]) == state:
			return
		case err == nil:
			t.Fatalf("the daemon tells %q, want %q", b[:n], state)
		case s.Ended(), time.Now().After(deadline):
			t.Fatalf("no %q: %v; the daemon has ended: %v; it wrote:\n%s", state, err, s.Ended(), s.Output())
		}
	}
}

// stop ends the daemon as a service manager does.
func (s *server) stop(t *testing.T) {
	t.Helper()
	s.Signal(syscall.SIGTERM)
	s.expect(t, "STOPPING=1")
	if status := s.Wait(t, patience); status != 0 {
		t.Errorf("exit status %d after SIGTERM, want 0", status)
	}
}

// answers fails the test unless the port mapper's NULL is answered at an address.
func answers(t *testing.T, network, address string) {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Errorf("%s %s: %v", network, address, err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	header := oncrpc.Call{XID: 7, Program: rpcbind.Program, Version: rpcbind.Version4}
	call := header.Append(nil)
	reply := make([]byte, 1000)
	if strings.HasPrefix(network, "udp") {
		conn.Write(call)
		n, err := conn.Read(reply)
		checkReply(t, network+" "+address, reply[:n], err)
		return
	}
	conn.Write(append(oncrpc.AppendRecordMark(nil, len(call), true), call...))
	n, err := io.ReadAtLeast(conn, reply, 4+24)
	checkReply(t, network+" "+address, reply[4:max(4, n)], err)
}

func checkReply(t *testing.T, where string, reply []byte, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	header, _, err := oncrpc.ParseReply(reply)
	if err != nil || header.Err() != nil || header.XID != 7 {
		t.Errorf("%s: NULL = %+v, %v, want success", where, header, err)
	}
}

// registered returns what a daemon tells of its own rows: "version netid address:port", of
// the endpoint mapper's with the protocol sequence.
func registered(t *testing.T, path string) []string {
	t.Helper()
	l, err := api.NewClient(path).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, d := range l.Endpoints {
		rows = append(rows, fmt.Sprintf("%s %s %s:%d", d.Version, cmp.Or(d.NetID, d.ProtSeq), d.Address, d.Port))
	}
	return rows
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestRun(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	if err := os.Mkdir(filepath.Dir(SystemDCESocket), 0o755); err != nil {
		t.Fatal(err)
	}
	letGo(listen(t, "unix", SystemONCSocket)) // left over from a daemon that was killed
	letGo(listen(t, "unix", SystemDCESocket))
	s := startReady(t, command(t, Options{}))
	answers(t, "udp", "127.0.0.1:111")
	answers(t, "udp", "[::1]:111")
	answers(t, "tcp", "127.0.0.1:111")
	answers(t, "tcp", "[::1]:111")
	answers(t, "unix", SystemONCSocket)
	answers(t, "unix", "@"+SystemONCSocket)
	answersDCE(t, "tcp", "127.0.0.1:135")
	answersDCE(t, "tcp", "[::1]:135")
	answersDCE(t, "unix", SystemDCESocket)
	want := []string{
		"4 tcp6 :::111", "3 tcp6 :::111", "4 udp6 :::111", "3 udp6 :::111",
		"4 tcp 0.0.0.0:111", "3 tcp 0.0.0.0:111", "2 tcp 0.0.0.0:111", "4 udp 0.0.0.0:111", "3 udp 0.0.0.0:111", "2 udp 0.0.0.0:111",
		"4 local /run/rpcbind.sock:0", "3 local /run/rpcbind.sock:0", ownDCERow,
	}
	if got := registered(t, SystemControl); !slices.Equal(got, want) {
		t.Errorf("own rows = %q, want %q", got, want)
	}
	s.stop(t)
	nothingListens(t)
}

// A client that holds its connections must not keep the daemon from ending.
func TestStopWithClients(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	s := startReadyAt(t, command(t, Options{}), "@notify-of-the-test") // as some service managers have it
	var conns []net.Conn
	for _, a := range []struct{ network, address string }{{"tcp", "127.0.0.1:111"}, {"unix", SystemONCSocket}, {"tcp", "127.0.0.1:135"}, {"unix", SystemDCESocket}, {"unix", SystemControl}} {
		conn, err := net.Dial(a.network, a.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	conns[0].Write([]byte{0x80, 0, 0, 40}) // the beginning of a record
	conns[2].Write([]byte{5, 0, 11, 3})    // and of a bind
	dialDCE(t, "unix", SystemDCESocket)
	watching := make(chan error, 1)
	begun := make(chan struct{}, 1)
	go func() {
		watching <- api.NewClient(SystemControl).Watch(t.Context(), func(api.Event) error { begun <- struct{}{}; return nil })
	}()
	<-begun
	s.stop(t)
	if err := <-watching; err == nil {
		t.Error("a watch ended without an error when the daemon did")
	}
	nothingListens(t)
}

func TestRunFails(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	for _, tt := range []struct {
		name string
		o    Options
		env  Environment
		want string
	}{
		{"account", Options{User: "no-such-user"}, Environment{}, "--user no-such-user: there is no such account: make it (useradd --system no-such-user) or choose another"},
		{"state folder", Options{Dev: true, StateDir: "/proc/no/state"}, Environment{}, "state folder: mkdir /proc/no: no such file or directory"},
		{"number of sockets", Options{}, Environment{ListenPID: fmt.Sprint(os.Getpid()), ListenFDs: "many"}, `LISTEN_FDS="many" is no number of sockets`},
		{"address", Options{ListenONC: []string{"x"}}, Environment{}, `--listen-onc x: "x" is no address: want 192.0.2.1, 192.0.2.1:111, [2001:db8::1]:111 or :111`},
		{"address of DCE", Options{ListenDCE: []string{"x"}}, Environment{}, `--listen-dce x: "x" is no address: want 192.0.2.1, 192.0.2.1:135, [2001:db8::1]:135 or :135`},
	} {
		err := Run(t.Context(), tt.o, tt.env, slog.New(slog.DiscardHandler), nil, func(Listening) { t.Error("it says that it listens") })
		if errorText(err) != tt.want {
			t.Errorf("%s: Run = %v, want %s", tt.name, err, tt.want)
		}
		nothingListens(t)
	}
}

// passing makes the command get the sockets as a service manager passes them,
// under these names. The daemon's own pid comes from the shell that becomes it.
func passing(t *testing.T, cmd *exec.Cmd, names string, files ...*os.File) *exec.Cmd {
	t.Helper()
	sh := exec.Command(nstest.Path(t, "sh"), "-c", `LISTEN_PID=$$ exec "$0"`, cmd.Path)
	sh.Env = append(cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", len(files)), "LISTEN_FDNAMES="+names)
	sh.ExtraFiles = files
	return sh
}

// fileOf returns a descriptor of a socket and lets go of the socket itself.
func fileOf(t *testing.T, s filer) *os.File {
	t.Helper()
	f, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	letGo(s)
	return f
}

func TestActivation(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	dir := t.TempDir()
	onc, control := dir+"/rpcbind.sock", dir+"/c.sock"
	cmd := passing(t, command(t, Options{ONCSocket: onc}), "rpcbind.socket:rpcbind.socket:rpcbind.socket:rpcbind.socket:control",
		fileOf(t, listen(t, "tcp4", "127.0.0.1:1111")), fileOf(t, listen(t, "udp4", "127.0.0.1:1111")),
		fileOf(t, listen(t, "unix", onc)), fileOf(t, listen(t, "unix", "@/some/other.sock")), fileOf(t, listen(t, "unix", control)))
	s := startReady(t, cmd)
	answers(t, "tcp", "127.0.0.1:1111")
	answers(t, "udp", "127.0.0.1:1111")
	answers(t, "unix", onc)
	answers(t, "unix", "@/some/other.sock")
	answers(t, "unix", "@"+onc) // not passed, so opened
	want := []string{
		"4 tcp 127.0.0.1:1111", "3 tcp 127.0.0.1:1111", "2 tcp 127.0.0.1:1111", "4 udp 127.0.0.1:1111", "3 udp 127.0.0.1:1111", "2 udp 127.0.0.1:1111",
		"4 local " + onc + ":0", "3 local " + onc + ":0",
	}
	if got := registered(t, control); !slices.Equal(got, want) {
		t.Errorf("own rows = %q, want %q", got, want)
	}
	if exists(SystemControl) || exists(SystemONCSocket) {
		t.Error("the daemon opened the default sockets beside those that were passed")
	}
	dialDCE(t, "unix", SystemDCESocket) // of which none was passed
	refuses(t, "127.0.0.1:135")
	s.stop(t)
	if !exists(onc) || !exists(control) {
		t.Error("the daemon removed paths that are the service manager's")
	}
}

// A service manager's default is one IPv6 socket that takes IPv4 too.
func TestActivationDualStack(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	o := Options{ListenONC: []string{":111"}} // which is there already, in both families
	s := startReady(t, passing(t, command(t, o), "", fileOf(t, listen(t, "tcp", ":111")), fileOf(t, listen(t, "udp", ":111"))))
	for _, network := range []string{"tcp", "udp"} {
		answers(t, network, "127.0.0.1:111")
		answers(t, network, "[::1]:111")
	}
	got := registered(t, SystemControl)
	for _, want := range []string{"2 tcp 0.0.0.0:111", "2 udp 0.0.0.0:111", "4 tcp6 :::111", "4 udp6 :::111"} {
		if !slices.Contains(got, want) {
			t.Errorf("own rows = %q, want %q among them", got, want)
		}
	}
	s.stop(t)
}

// The control socket is also known by its path, whatever it is called.
func TestActivationControlByPath(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	path := t.TempDir() + "/c.sock"
	s := startReady(t, passing(t, command(t, Options{Control: path}), "", fileOf(t, listen(t, "unix", path))))
	if got := registered(t, path); len(got) != 13 {
		t.Errorf("own rows = %q, want those of the default addresses, of which none was passed", got)
	}
	answers(t, "udp", "127.0.0.1:111")
	s.stop(t)
}

func TestActivationForAnother(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	cmd := command(t, Options{})
	cmd.ExtraFiles = []*os.File{fileOf(t, listen(t, "tcp4", "127.0.0.1:1111"))}
	cmd.Env = append(cmd.Env, "LISTEN_PID=1", "LISTEN_FDS=1")
	s := startReady(t, cmd)
	answers(t, "tcp", "127.0.0.1:111")
	s.stop(t)
}

func TestActivationMistakes(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	dir := t.TempDir()
	file, err := os.Create(dir + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unixgram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/d.sock", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.Listen("unixpacket", dir+"/p.sock")
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t, "tcp4", "127.0.0.1:1")
	client, err := net.Dial("tcp", "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, tt := range []struct {
		name string
		file *os.File
		want string
	}{
		{"a file", file, `socket 4 passed by the service manager: "b" is no socket: socket operation on non-socket`},
		{"datagrams of the UNIX domain", fileOf(t, unixgram), `socket 4 passed by the service manager: "b" is no UDP socket`},
		{"packets", fileOf(t, packets.(filer)), `socket 4 passed by the service manager: "b" is neither a stream nor a datagram socket`},
		{"a connection", fileOf(t, client.(filer)), `socket 4 passed by the service manager: "b" does not listen: its unit needs Accept=no`},
	} {
		p := nstest.StartCommand(t, passing(t, command(t, Options{}), "a:b", fileOf(t, listen(t, "unix", dir+"/x.sock")), tt.file))
		if status := p.Wait(t, patience); status != 1 || p.Output() != tt.want+"\n" {
			t.Errorf("%s: exit status %d, %q, want 1, %q", tt.name, status, p.Output(), tt.want)
		}
		os.Remove(dir + "/x.sock")
		nothingListens(t)
	}
	ln.Close()
}

// asNobody makes a command run without any right.
func asNobody(cmd *exec.Cmd) *exec.Cmd {
	cmd.Path = "/proc/self/exe" // the way to the test binary may be closed to others
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
	return cmd
}

func TestMissingCapability(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	p := nstest.StartCommand(t, asNobody(command(t, Options{})))
	const want = `0.0.0.0:111 tcp udp: permission denied: it needs CAP_NET_BIND_SERVICE: run as root, choose --listen-onc, or try serve --dev
[::]:111 tcp udp: permission denied: it needs CAP_NET_BIND_SERVICE: run as root, choose --listen-onc, or try serve --dev
0.0.0.0:135 tcp: permission denied: it needs CAP_NET_BIND_SERVICE: run as root, choose --listen-dce, or try serve --dev
[::]:135 tcp: permission denied: it needs CAP_NET_BIND_SERVICE: run as root, choose --listen-dce, or try serve --dev
/run/rpcbind.sock: permission denied: run as root, choose --onc-socket, or try serve --dev
/run/quaymaster/epmapper.sock: permission denied: choose --dce-socket
/run/quaymaster/control.sock: permission denied: choose --control
`
	if status := p.Wait(t, patience); status != 1 || p.Output() != want {
		t.Errorf("exit status %d, want 1; it wrote\n%swant\n%s", status, p.Output(), want)
	}
	nothingListens(t)
}

func TestOnlyRootBecomesAnother(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	dir := t.TempDir()
	for path := dir; path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	p := nstest.StartCommand(t, asNobody(command(t, Options{Dev: true, StateDir: dir + "/state", User: "root"})))
	if want := "--user root: only root can become another user\n"; p.Wait(t, patience) != 1 || p.Output() != want {
		t.Errorf("the daemon wrote %q, want %q", p.Output(), want)
	}
	if exists(dir+"/state/rpcbind.sock") || exists(dir+"/state/epmapper.sock") {
		t.Error("a socket is left after the failure")
	}
}

// TestUser has the daemon give up root for an account with groups of its own.
func TestUser(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	nstest.File(t, "/etc/passwd", "root:x:0:0::/root:/bin/sh\nquay:x:4711:4712::/:/bin/false\n")
	nstest.File(t, "/etc/group", "root:x:0:\nquay:x:4712:\nharbour:x:4713:root,quay\nother:x:4714:root\n")
	s := startReady(t, command(t, Options{User: "quay"}))
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.PID()))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("threads of the daemon: %v, %v", tasks, err)
	}
	for _, task := range tasks {
		status, err := os.ReadFile(task)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"Uid:\t4711\t4711\t4711\t4711", "Gid:\t4712\t4712\t4712\t4712", "Groups:\t4712 4713 ",
			"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000",
		} {
			if !strings.Contains(string(status), "\n"+want+"\n") {
				t.Errorf("%s lacks %q:\n%s", task, want, status)
			}
		}
	}
	answers(t, "udp", "127.0.0.1:111")
	answers(t, "tcp", "[::1]:111")
	answers(t, "unix", SystemONCSocket)
	answersDCE(t, "tcp", "127.0.0.1:135")
	answersDCE(t, "unix", SystemDCESocket)
	l, err := api.NewClient(SystemControl).Add(t.Context(), api.Addition{Endpoints: []endpoint.Document{{Dialect: "onc", Program: 7, Version: endpoint.Version{Major: 1}, NetID: "tcp", Address: "0.0.0.0", Port: 700}}})
	if err != nil || l.Endpoints[0].Owner != "root" {
		t.Errorf("Add as root = %+v, %v", l, err)
	}
	s.stop(t)
	if exists(SystemControl) || exists(SystemDCESocket) {
		t.Error("a socket is left in the folder that was given to the account")
	}
	again := startReady(t, command(t, Options{})) // takes over what could not be removed
	again.stop(t)
	nothingListens(t)
}

// childrenOf returns the processes whose parent is pid, with their states.
func childrenOf(pid int) map[string]string {
	children := map[string]string{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(text), ") ") // after the name: state and parent (proc_pid_stat(5))
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == fmt.Sprint(pid) {
			children[f] = fields[0]
		}
	}
	return children
}

func TestFirstProcess(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	orphansEnd, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	cmd := command(t, Options{})
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	cmd.ExtraFiles = []*os.File{orphansEnd}
	cmd.Env = append(cmd.Env, orphanVar+"=1")
	s := startReady(t, cmd)
	orphansEnd.Close()
	if c := childrenOf(s.PID()); len(c) != 1 {
		t.Fatalf("process 1 has the children %v, want the orphan", c)
	}
	ours.Close() // the orphan ends
	nstest.WaitFor(t, "the orphan to be taken leave of", patience, func() bool { return len(childrenOf(s.PID())) == 0 })
	answers(t, "udp", "127.0.0.1:111")
	s.stop(t)
	nothingListens(t)
}
