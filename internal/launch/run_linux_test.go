package launch

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
)

const limit = 20 * time.Second

// self is the test binary, as a program to run.
func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// mountd is a job that does what words say, in place of rpc.mountd.
func mountd(t *testing.T, words ...string) script {
	return script{Command: append([]string{self(t)}, words...), Interfaces: []endpoint.Document{mountd3}, Wait: limit}
}

// command returns the process that runs a job.
func (f *fake) command(t *testing.T, s script) *exec.Cmd {
	t.Helper()
	s.Socket = f.path
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), jobVar+"="+string(text))
	return cmd
}

func (f *fake) start(t *testing.T, s script) *nstest.Process {
	t.Helper()
	return nstest.StartCommand(t, f.command(t, s))
}

// await waits until a process has written what matches, and returns the match and its groups.
func await(t *testing.T, p *nstest.Process, want string) []string {
	t.Helper()
	pattern := regexp.MustCompile("(?m)" + want)
	var found []string
	nstest.WaitFor(t, fmt.Sprintf("%s in what it writes", want), limit, func() bool {
		found = pattern.FindStringSubmatch(p.Output())
		if found == nil && p.Ended() {
			found = pattern.FindStringSubmatch(p.Output())
			if found == nil {
				t.Fatalf("it has ended, without %s in what it wrote", want)
			}
		}
		return found != nil
	})
	return found
}

// ended waits for a process' end with an exit status, after which nothing is left of its grant.
func (f *fake) ended(t *testing.T, p *nstest.Process, status int) {
	t.Helper()
	if got := p.Wait(t, limit); got != status {
		t.Errorf("exit status %d, want %d:\n%s", got, status, p.Output())
	}
	if n := f.open(); n != 0 {
		t.Errorf("%d grants were not given back", n)
	}
}

func (f *fake) isListed(t *testing.T, want string) {
	t.Helper()
	nstest.WaitFor(t, fmt.Sprintf("%s to be registered", want), limit, func() bool { return f.listed() == want })
}

// file returns a name that nothing has, and what makes a file of it.
func file(t *testing.T, name string) (path string, create func()) {
	path = filepath.Join(t.TempDir(), name)
	return path, func() {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func running(pid string) bool {
	n, err := strconv.Atoi(pid)
	return err == nil && runs(n)
}

func gone(t *testing.T, pid string) {
	t.Helper()
	nstest.WaitFor(t, "the end of process "+pid, limit, func() bool { return !running(pid) })
}

func TestListens(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	for _, tt := range []struct {
		name     string
		words    []string
		tcp, udp bool
		dce      bool
		want     string
	}{
		{name: "wildcard", words: []string{"tcp=0.0.0.0:{port}"}, want: "3 tcp 0.0.0.0:5001"},
		{name: "loopback only", words: []string{"tcp=127.0.0.1:{port}"}, want: "3 tcp 127.0.0.1:5001"},
		{name: "IPv6 only", words: []string{"tcp6=[::]:{port}"}, want: "3 tcp6 [::]:5001"},
		{name: "dual-stack", words: []string{"tcp=[::]:{port}"}, want: "3 tcp 0.0.0.0:5001, 3 tcp6 [::]:5001"},
		{name: "all", words: []string{"tcp=0.0.0.0:{port}", "tcp6=[::]:{port}", "udp=[::]:{port}"}, tcp: true, udp: true,
			want: "3 tcp 0.0.0.0:5001, 3 tcp6 [::]:5001, 3 udp 0.0.0.0:5001, 3 udp6 [::]:5001"},
		{name: "UDP", words: []string{"udp=0.0.0.0:{port}"}, udp: true, want: "3 udp 0.0.0.0:5001"},
		{name: "apart", words: []string{"tcp=0.0.0.0:{tcp}", "udp=0.0.0.0:{udp}"}, want: "3 tcp 0.0.0.0:5001, 3 udp 0.0.0.0:5002"},
		{name: "UDP by its placeholder", words: []string{"udp=0.0.0.0:{udp}"}, want: "3 udp 0.0.0.0:5001"},
		{name: "only what is asked for", words: []string{"tcp=0.0.0.0:{port}", "udp=0.0.0.0:{port}"}, tcp: true, want: "3 tcp 0.0.0.0:5001"},
		{name: "DCE", words: []string{"tcp=127.0.0.1:{port}", "tcp=127.0.0.2:{port}", "tcp6=[::1]:{port}"}, dce: true,
			want: "1.0 tcp 127.0.0.1:5001, 1.0 tcp 127.0.0.2:5001"},
		{name: "DCE over UDP", words: []string{"udp=[::]:{port}"}, dce: true, udp: true, want: "1.0 udp 0.0.0.0:5001"},
		{name: "child", words: []string{"fork", "tcp=0.0.0.0:{port}"}, want: "3 tcp 0.0.0.0:5001"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := startFake(t)
			s := mountd(t, append(tt.words, "serve")...)
			s.TCP, s.UDP = tt.tcp, tt.udp
			if tt.dce {
				s.Interfaces = []endpoint.Document{samr}
			}
			p := f.start(t, s)
			await(t, p, `^pid \d+ listens: `+regexp.QuoteMeta(tt.want)+`$`)
			if got := f.additions(); got != tt.want {
				t.Errorf("registered: %s, want %s", got, tt.want)
			}
			p.Signal(unix.SIGTERM)
			if len(tt.words) > 0 && tt.words[0] == "fork" {
				// The signal is the parent's alone; its child listens on until it gets one itself.
				nstest.WaitFor(t, "the end by a second signal", limit, func() bool { p.Signal(unix.SIGTERM); return p.Ended() })
			}
			f.ended(t, p, 128+15)
		})
	}
}

func TestExitStatus(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	plain := filepath.Join(t.TempDir(), "plain")
	script := filepath.Join(t.TempDir(), "script")
	for name, text := range map[string]string{plain: "text", script: "#!/nonexistent\n"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(script, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		command []string
		status  int
		says    string // matches
	}{
		{"0", []string{"", "tcp=0.0.0.0:{port}", "await=%s", "exit=0"}, 0, `listens`},
		{"7", []string{"", "tcp=0.0.0.0:{port}", "await=%s", "exit=7"}, 7, `listens`},
		{"signal", []string{"", "tcp=0.0.0.0:{port}", "await=%s", "die=9"}, 137, `listens`},
		{"0 before it listens", []string{"", "exit=0"}, 0, `^say: .* \(pid \d+\) ended with exit status 0 before it listened on tcp port 5001$`},
		{"7 before it listens", []string{"", "exit=7"}, 7, `^say: .* ended with exit status 7 before`},
		{"signal before it listens", []string{"", "die=9"}, 137, `^say: .* ended with signal SIGKILL before`},
		{"no such program", []string{"no-such-program"}, 127, `^error: no-such-program: there is no such program$`},
		{"no such file", []string{"./no/such/program"}, 127, `^error: \./no/such/program: there is no such program$`},
		{"not executable", []string{plain}, 126, `^error: .*/plain: permission denied: it cannot be executed$`},
		{"a folder", []string{"/"}, 126, `^error: /: .*: it cannot be executed$`},
		{"no interpreter", []string{script}, 126, `^error: .*/script: its interpreter: no such file or directory: it cannot be executed$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := startFake(t)
			wait, create := file(t, "go")
			s := mountd(t)
			s.Command = tt.command
			if s.Command[0] == "" {
				s.Command[0] = self(t)
			}
			for i := range s.Command {
				s.Command[i] = strings.Replace(s.Command[i], "%s", wait, 1)
			}
			p := f.start(t, s)
			await(t, p, tt.says)
			create()
			f.ended(t, p, tt.status)
		})
	}
}

func TestWordsAndEnvironment(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	for _, tt := range []struct {
		words []string
		want  string
	}{
		{[]string{"{port}", "-p={port}", "{other}", "a b", ""}, "5001: 5001 -p=5001 {other} a b "},
		{[]string{"x"}, "5001: x"},
		{[]string{"{tcp}+{udp}"}, "5001: 5001+5002"},
		{[]string{"{udp}"}, "5001: 5001"},
	} {
		f := startFake(t)
		s := mountd(t)
		s.Command = append([]string{"sh", "-c", `echo "$QUAYMASTER_PORT: $*"`, "sh"}, tt.words...)
		p := f.start(t, s)
		await(t, p, "^"+regexp.QuoteMeta(tt.want)+"$")
		f.ended(t, p, 0)
		f.mu.Lock()
		if got := f.requests[0].Command; len(f.requests) != 1 || got != "sh" {
			t.Errorf("%d requests, of %q; want one", len(f.requests), got)
		}
		f.mu.Unlock()
	}
}

// Standard input, output and error are the program's, as are group and session.
func TestLeavesTheRestAlone(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	f := startFake(t)
	s := mountd(t)
	s.Command = []string{"sh", "-c", "cat; echo to stderr >&2; cut -d' ' -f5,6 /proc/self/stat"}
	cmd := f.command(t, s)
	cmd.Stdin = strings.NewReader("from stdin\n")
	p := nstest.StartCommand(t, cmd)
	stat := await(t, p, `^from stdin\nto stderr\n(\d+) (\d+)$`)
	group, session := unix.Getpgrp(), 0
	if id, err := unix.Getsid(0); err == nil {
		session = id
	}
	if want := fmt.Sprint(group, " ", session); stat[1]+" "+stat[2] != want {
		t.Errorf("group and session %s %s, want %s", stat[1], stat[2], want)
	}
	f.ended(t, p, 0)
}

func TestDaemon(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	for name, words := range map[string][]string{
		"listens afterwards": {"daemon", "trap", "say=%", "tcp=0.0.0.0:{port}"},
		"listened before":    {"fork", "daemon", "trap", "tcp=0.0.0.0:{port}", "say=%"},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t)
			stop, create := file(t, "stop")
			p := f.start(t, mountd(t, append(words, "await="+stop, "close", "say=closed", "serve")...))
			pid := await(t, p, `^(\d+)$`)[1]
			if got := await(t, p, `^pid (\d+) listens: 3 tcp 0\.0\.0\.0:5001$`)[1]; got != pid {
				t.Errorf("%s is said to listen, want %s", got, pid)
			}
			nstest.WaitFor(t, "the end of the program", limit, func() bool { return fmt.Sprint(childrenByParent()[p.PID()]) == "["+pid+"]" })
			p.Signal(unix.SIGUSR1) // which is for what the program has left behind
			await(t, p, "^got SIGUSR1$")
			p.Signal(unix.SIGTERM)
			await(t, p, "^got SIGTERM$")
			if p.Ended() {
				t.Errorf("it has ended, while process %s listens", pid)
			}
			create()
			f.ended(t, p, 0) // though that goes on
			if !running(pid) {
				t.Errorf("process %s was ended", pid)
			}
			kill(t, pid, unix.SIGKILL)
		})
	}
}

func kill(t *testing.T, pid string, n syscall.Signal) {
	t.Helper()
	var number int
	if _, err := fmt.Sscan(pid, &number); err != nil || number <= 1 {
		t.Fatalf("pid %q", pid)
	}
	unix.Kill(number, n)
}

func TestDaemonThatEnds(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	f := startFake(t)
	p := f.start(t, mountd(t, "daemon", "say=%", "tcp=0.0.0.0:{port}", "serve"))
	pid := await(t, p, `^(\d+)$`)[1]
	await(t, p, "listens")
	kill(t, pid, unix.SIGKILL)
	f.ended(t, p, 0)
}

// A daemon may close its sockets for a while. Its orphans are waited for, and make that seen.
func TestDaemonThatBindsAgain(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	f := startFake(t)
	again, bindAgain := file(t, "again")
	open, create := file(t, "open")
	stop, end := file(t, "stop")
	p := f.start(t, mountd(t, "daemon", "tcp=0.0.0.0:{port}", "await="+again, "close", "orphan", "orphan", "say=closed", "await="+open, "tcp=0.0.0.0:{port}", "await="+stop))
	await(t, p, "listens")
	f.change(func() { f.rows = nil })
	bindAgain()
	await(t, p, "^closed$")
	create()
	f.isListed(t, "3 tcp 0.0.0.0:5001")
	if p.Ended() {
		t.Error("it has ended")
	}
	end()
	f.ended(t, p, 0)
}

// A shell may have children when it becomes quaymaster: those are nobody's here.
func TestEarlierChildren(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	for name, tt := range map[string]struct {
		words  []string
		wait   time.Duration
		status int
	}{
		"ends":          {[]string{"exit=5"}, limit, 5},
		"never listens": {[]string{"serve"}, 200 * time.Millisecond, ExitFailed},
		"listens":       {[]string{"tcp=0.0.0.0:{port}", "exit=6"}, limit, 6},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t)
			s := mountd(t, tt.words...)
			s.Wait = tt.wait
			cmd := f.command(t, s)
			cmd.Path = nstest.Path(t, "sh")
			cmd.Args = []string{"sh", "-c", fmt.Sprintf(`%s= %s=1 "$0" serve & echo early-$!; exec "$0"`, jobVar, playVar), self(t)}
			p := nstest.StartCommand(t, cmd)
			pid := await(t, p, `^early-(\d+)$`)[1]
			f.ended(t, p, tt.status)
			if !running(pid) {
				t.Error("the other child has ended too")
			}
			kill(t, pid, unix.SIGKILL)
		})
	}
}

func TestAddressesThatComeLater(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	f := startFake(t)
	late, bindLate := file(t, "late")
	six, bindSix := file(t, "six")
	again, bindAgain := file(t, "again")
	stop, create := file(t, "stop")
	p := f.start(t, mountd(t, "await="+late, "tcp=127.0.0.1:{port}", "await="+six, "tcp6=[::]:{port}",
		"await="+again, "close", "tcp=0.0.0.0:{port}", "await="+stop))
	nstest.WaitFor(t, "its grant", limit, func() bool { return f.open() == 1 })
	if got := f.listed(); got != "" {
		t.Errorf("registered before it listens: %s", got)
	}
	bindLate()
	f.isListed(t, "3 tcp 127.0.0.1:5001")
	bindSix()
	f.isListed(t, "3 tcp 127.0.0.1:5001, 3 tcp6 [::]:5001")
	bindAgain()
	f.isListed(t, "3 tcp6 [::]:5001, 3 tcp 0.0.0.0:5001") // the fake has still the row of IPv6, as the daemon has for a moment
	create()
	f.ended(t, p, 0)
}

// Bound again where it was, between two looks: what the daemon may have ended is registered again.
func TestBoundAgain(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	f := startFake(t)
	again, bindAgain := file(t, "again")
	p := f.start(t, mountd(t, "tcp=0.0.0.0:{port}", "await="+again, "close", "tcp=0.0.0.0:{port}", "serve"))
	await(t, p, "listens")
	f.change(func() { f.rows = nil })
	bindAgain()
	f.isListed(t, "3 tcp 0.0.0.0:5001")
}

func TestNeverListens(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	for _, tt := range []struct {
		name     string
		words    []string
		tcp, udp bool
		dce      bool
		want     string
	}{
		{name: "not at all", words: []string{"say=%"}, want: `did not listen on tcp port 5001 within 200ms: does it take the port from \{port\} or QUAYMASTER_PORT\? --wait TIME gives it longer$`},
		{name: "elsewhere", words: []string{"say=%", "tcp=0.0.0.0:20048", "udp=0.0.0.0:20048", "tcp6=[::]:20048"},
			want: `within 200ms: it listens on tcp 20048, udp 20048: does it take the port`},
		{name: "on one of two", words: []string{"say=%", "tcp=0.0.0.0:{port}"}, tcp: true, udp: true, want: `did not listen on udp port 5001 within 200ms: it listens on tcp 5001: leave --udp out if that is all$`},
		{name: "on none of two", words: []string{"say=%"}, tcp: true, udp: true, want: `did not listen on tcp and udp port 5001 within`},
		{name: "apart", words: []string{"say=%{tcp}{udp}"}, want: `did not listen on tcp port 5001 and udp port 5002 within 200ms: does it take the port from \{tcp\}, \{udp\} or`},
		{name: "DCE with IPv6", words: []string{"say=%", "tcp6=[::]:{port}"}, dce: true, want: `did not listen on tcp port 5001 within 200ms: it listens there with IPv6 only,`},
		{name: "bound to an address of nobody", words: []string{"say=%", "udp=224.0.0.7:{port}"}, udp: true, want: `it listens there at addresses only that no client could be told`},
		{name: "grandchild", words: []string{"daemon", "say=%"}, want: `did not listen on tcp port 5001`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := startFake(t)
			s := mountd(t, append(tt.words, "serve")...)
			s.TCP, s.UDP, s.Wait = tt.tcp, tt.udp, 200*time.Millisecond
			if tt.dce {
				s.Interfaces = []endpoint.Document{samr}
			}
			p := f.start(t, s)
			pid := await(t, p, `^(\d+)$`)[1]
			await(t, p, `^error: \S+ \(pid \d+\) did not listen`)
			await(t, p, tt.want)
			f.ended(t, p, ExitFailed)
			gone(t, strings.TrimSuffix(pid, "50015002"))
			if got := f.additions(); got != "" {
				t.Errorf("registered: %s", got)
			}
		})
	}
}

// A program that ignores SIGTERM gets SIGKILL in the end.
func TestDoesNotEnd(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	f := startFake(t)
	s := mountd(t, "trap", "say=%", "serve")
	s.Wait, s.Mercy = 200*time.Millisecond, 200*time.Millisecond
	p := f.start(t, s)
	pid := await(t, p, `^(\d+)$`)[1]
	await(t, p, "^got SIGTERM$")
	f.ended(t, p, ExitFailed)
	gone(t, pid)
}

// occupy listens, as a stranger, and returns what stops it.
func occupy(t *testing.T, network, at string) func() {
	t.Helper()
	fd, err := listen(network, netip.MustParseAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	return func() { unix.Close(fd) }
}

func TestTaken(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/5002", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, network, at string
		words             []string
		wait              time.Duration
		want              string
	}{
		{"TCP", "tcp", "0.0.0.0:5001", []string{"tcp=0.0.0.0:{port}", "serve"}, limit, fmt.Sprintf(`tcp port 5001 was taken by \S+ \(pid %d\) before`, os.Getpid())},
		{"UDP", "udp", "[::]:5001", []string{"udp=0.0.0.0:{port}", "tcp=0.0.0.0:{port}", "serve"}, limit, `udp port 5001 was taken by`},
		{"from a grandchild", "tcp", "0.0.0.0:5001", []string{"fork", "tcp=0.0.0.0:{port}", "serve"}, limit, `tcp port 5001 was taken by`},
		{"from one that goes on", "tcp", "127.0.0.1:5001", []string{"await=" + dir + "/{port}", "tcp=0.0.0.0:{port}", "serve"}, 300 * time.Millisecond, `tcp port 5001 was taken by`},
		{"at another address", "tcp", "127.0.0.2:5001", []string{"tcp=127.0.0.1:{port}", "serve"}, limit, `tcp port 5001 is used by \S+ \(pid \d+\) as well`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := startFake(t)
			defer occupy(t, tt.network, tt.at)()
			s := mountd(t, tt.words...)
			s.Wait = tt.wait
			p := f.start(t, s)
			await(t, p, "^say: "+tt.want+`.*: trying another \(1 of 5\)$`)
			await(t, p, `^pid \d+ listens: 3 tcp [0-9.]+:5002$`)
			if n := f.open(); n != 1 {
				t.Errorf("%d grants, want the second only", n)
			}
			nstest.WaitFor(t, "its end", limit, func() bool { p.Signal(unix.SIGTERM); return p.Ended() }) // a grandchild's comes second
			f.ended(t, p, 128+15)
		})
	}
	t.Run("all", func(t *testing.T) {
		f := startFake(t)
		for i := range 6 {
			defer occupy(t, "tcp", fmt.Sprintf("0.0.0.0:%d", 5001+i))()
		}
		p := f.start(t, mountd(t, "tcp=0.0.0.0:{port}", "serve"))
		f.ended(t, p, ExitFailed)
		for _, want := range []string{`^say: tcp port 5005 .*: trying another \(5 of 5\)$`, `^error: tcp port 5006 was taken by .*, as were 5 ports before: `} {
			await(t, p, want)
		}
	})
	t.Run("by a connection", func(t *testing.T) {
		f := startFake(t)
		defer occupy(t, "tcp", "127.0.0.1:7001")()
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		loopback := [4]byte{127, 0, 0, 1}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 5001, Addr: loopback}); err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 7001, Addr: loopback}); err != nil {
			t.Fatal(err)
		}
		p := f.start(t, mountd(t, "tcp=127.0.0.1:{port}", "serve"))
		await(t, p, `^say: tcp port 5001 was taken by a socket of uid 0 before`)
		await(t, p, `^pid \d+ listens: 3 tcp 127\.0\.0\.1:5002$`)
	})
	t.Run("told to end meanwhile", func(t *testing.T) {
		f := startFake(t)
		defer occupy(t, "tcp", "0.0.0.0:5001")()
		p := f.start(t, mountd(t, "say=%", "serve"))
		await(t, p, `^\d+$`)
		p.Signal(unix.SIGTERM)
		f.ended(t, p, 128+15)
	})
}

// A stranger who comes to the port later, at another address, is none of ours, and stops nobody.
func TestStrangerBeside(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	f := startFake(t)
	there := t.TempDir() + "/there"
	p := f.start(t, mountd(t, "tcp=127.0.0.2:{port}", "await="+there, "tcp=127.0.0.1:{port}", "serve"))
	await(t, p, `listens: 3 tcp 127\.0\.0\.2:5001$`)
	defer occupy(t, "tcp", "127.0.0.7:5001")()
	if err := os.WriteFile(there, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	nstest.WaitFor(t, "the socket at 127.0.0.1", limit, func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:5001")
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	p.Signal(unix.SIGTERM)
	f.ended(t, p, 128+15)
	if strings.Contains(p.Output(), "127.0.0.7") || strings.Contains(p.Output(), "trying another") {
		t.Errorf("it wrote:\n%s", p.Output())
	}
}

func TestSignals(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	f := startFake(t)
	p := f.start(t, mountd(t, "trap", "tcp=0.0.0.0:{port}", "say=%", "serve"))
	pid := await(t, p, `^(\d+)$`)[1]
	for _, n := range passed {
		if n == unix.SIGCONT {
			continue
		}
		p.Signal(n)
		await(t, p, "^got "+unix.SignalName(n.(syscall.Signal))+"$")
	}
	kill(t, pid, unix.SIGSTOP)
	nstest.WaitFor(t, "it to stop", limit, func() bool {
		text, _ := os.ReadFile("/proc/" + pid + "/stat")
		return strings.Contains(string(text), ") T ")
	})
	p.Signal(unix.SIGCONT)
	p.Signal(unix.SIGUSR1)
	nstest.WaitFor(t, "it to go on", limit, func() bool { return strings.Count(p.Output(), "got SIGUSR1") == 2 })
	kill(t, pid, unix.SIGKILL)
	f.ended(t, p, 128+9)
}

func TestKillWithMe(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	for _, with := range []bool{true, false} {
		f := startFake(t)
		s := mountd(t, "tcp=0.0.0.0:{port}", "say=%", "serve")
		s.KillWithMe = with
		p := f.start(t, s)
		pid := await(t, p, `^(\d+)$`)[1]
		await(t, p, "listens")
		p.Signal(unix.SIGKILL)
		p.Wait(t, limit)
		if with {
			gone(t, pid)
			continue
		}
		if !running(pid) {
			t.Error("without --kill-with-me it has ended too")
		}
		kill(t, pid, unix.SIGKILL)
	}
}

func TestRegistersItself(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	f := startFake(t)
	s := mountd(t, "tcp=0.0.0.0:{port}", "self="+f.path, "tcp6=[::]:{port}", "serve")
	p := f.start(t, s)
	await(t, p, `^pid \d+ listens: 3 tcp 0\.0\.0\.0:5001, 3 tcp6 \[::\]:5001$`)
	if got, want := f.additions(), "3 tcp 0.0.0.0:5001, 3 tcp6 [::]:5001"; got != want {
		t.Errorf("registered: %s, want each once: %s", got, want)
	}
}

func TestRefused(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	t.Run("no port", func(t *testing.T) {
		f := startFake(t)
		f.change(func() { f.noGrant = "the pool is empty" })
		f.ended(t, f.start(t, mountd(t, "say=started")), ExitFailed)
	})
	t.Run("every row", func(t *testing.T) {
		f := startFake(t)
		f.change(func() { f.refuse = func(d *endpoint.Document) string { return d.NetID + " is not for you" } })
		p := f.start(t, mountd(t, "say=%", "tcp=[::]:{port}", "serve"))
		pid := await(t, p, `^(\d+)$`)[1]
		await(t, p, "^error: tcp is not for you\ntcp6 is not for you$")
		f.ended(t, p, ExitFailed)
		gone(t, pid)
	})
	t.Run("a row", func(t *testing.T) {
		f := startFake(t)
		unwanted := func(d *endpoint.Document) string {
			if d.NetID == "tcp6" {
				return "tcp6 is not for you"
			}
			return ""
		}
		f.change(func() { f.refuse = unwanted })
		p := f.start(t, mountd(t, "tcp=[::]:{port}", "serve"))
		await(t, p, "^say: tcp6 is not for you$")
		await(t, p, `listens: 3 tcp 0\.0\.0\.0:5001$`)
	})
}

func TestNoDaemon(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	t.Run("at the beginning", func(t *testing.T) {
		f := startFake(t)
		f.server.Close()
		p := f.start(t, mountd(t, "say=started"))
		await(t, p, `^error: daemon: dial unix .*: connect: no such file or directory$`)
		f.ended(t, p, ExitFailed)
		if strings.Contains(p.Output(), "started") {
			t.Error("the program was started")
		}
	})
	t.Run("before it listens", func(t *testing.T) {
		f := startFake(t)
		late, bindLate := file(t, "late")
		s := mountd(t, "say=%", "await="+late, "tcp=0.0.0.0:{port}", "serve")
		s.Wait = time.Second
		p := f.start(t, s)
		pid := await(t, p, `^(\d+)$`)[1]
		f.server.Close()
		bindLate()
		await(t, p, "^say: daemon: ")
		if status := p.Wait(t, limit); status != ExitFailed {
			t.Errorf("exit status %d, want %d", status, ExitFailed)
		}
		gone(t, pid)
	})
	t.Run("at the end", func(t *testing.T) {
		f := startFake(t)
		stop, create := file(t, "stop")
		p := f.start(t, mountd(t, "tcp=0.0.0.0:{port}", "await="+stop, "exit=3"))
		await(t, p, "listens")
		f.server.Close()
		create()
		if status := p.Wait(t, limit); status != 3 {
			t.Errorf("exit status %d, want 3", status)
		}
	})
}
