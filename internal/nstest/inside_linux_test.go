package nstest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestInside(t *testing.T) {
	if !Inside(t) {
		if _, err := os.Stat("/run/nstest-was-here"); err == nil {
			t.Error("a file made in the inner /run appeared on the host")
		}
		return
	}
	if pid := os.Getpid(); pid == 1 {
		t.Error("the test is process 1: who reaps orphans?")
	}
	entries, err := os.ReadDir("/run")
	if err != nil || len(entries) != 0 {
		t.Errorf("/run holds %v (%v), want nothing", entries, err)
	}
	if err := os.WriteFile("/run/nstest-was-here", nil, 0o600); err != nil {
		t.Error(err)
	}
	if comm, err := os.ReadFile("/proc/1/cmdline"); err != nil || !strings.Contains(string(comm), "TestInside") {
		t.Errorf("/proc/1/cmdline = %q, %v, want this test", comm, err)
	}
	if links, err := net.Interfaces(); err != nil || len(links) == 0 || links[0].Flags&net.FlagUp == 0 {
		t.Errorf("interfaces %v, %v, want lo and up", links, err)
	}
	for _, network := range []string{"tcp4", "tcp6"} { // privileged, and free here
		l, err := net.Listen(network, ":111")
		if err != nil {
			t.Error(err)
			continue
		}
		defer l.Close()
	}
}

func TestInsideSubtests(t *testing.T) {
	for _, name := range []string{"one", "with space, slash and (parens)"} {
		t.Run(name, func(t *testing.T) {
			if !Inside(t) {
				return
			}
			if got := os.Getenv(nameVar); got != t.Name() {
				t.Errorf("inside %q, want %q", got, t.Name())
			}
			t.Run("inner", func(t *testing.T) {
				if !Inside(t) {
					t.Error("a subtest of a test that is inside is outside")
				}
			})
		})
	}
}

// outcomeVar makes TestOutcome behave in one way; without it, it tries all of them.
const outcomeVar = "NSTEST_OUTCOME"

func TestOutcome(t *testing.T) {
	if how := os.Getenv(outcomeVar); how != "" {
		if Inside(t) {
			behave(t, how)
		}
		return
	}
	for _, tt := range []struct {
		how, ci string
		fails   bool
		says    []string
	}{
		{how: "pass", says: []string{"--- PASS: TestOutcome", "| ", "inner words"}},
		{how: "fail", fails: true, says: []string{"--- FAIL: TestOutcome", "inner words"}},
		{how: "cleanup", fails: true, says: []string{"--- FAIL: TestOutcome", "failed while cleaning up"}},
		{how: "panic", fails: true, says: []string{"--- FAIL: TestOutcome", "panic: inner words"}},
		{how: "exit", fails: true, says: []string{"--- FAIL: TestOutcome", `verdict ""`}},
		{how: "skip", says: []string{"--- SKIP: TestOutcome", "inner words"}},
		{how: "need", says: []string{"--- SKIP: TestOutcome", "no-such-program is not installed"}},
		{how: "need", ci: "true", fails: true, says: []string{"--- FAIL: TestOutcome", "apt-get install no-such-program"}},
		{how: "server", fails: true, says: []string{"sh -c echo words of a server", "words of a server\n"}},
		{how: "vain", fails: true, says: []string{"waited 10ms in vain for: godot"}},
	} {
		t.Run(tt.how+tt.ci, func(t *testing.T) {
			out, failed := rerun(t, "TestOutcome", []string{outcomeVar + "=" + tt.how, "CI=" + tt.ci}, nil)
			if failed != tt.fails {
				t.Errorf("failed = %v, want %v", failed, tt.fails)
			}
			for _, want := range tt.says {
				if !strings.Contains(out, want) {
					t.Errorf("the output lacks %q", want)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

func behave(t *testing.T, how string) {
	switch how {
	case "pass":
		t.Log("inner words")
	case "fail":
		t.Error("inner words")
	case "cleanup":
		t.Cleanup(func() { t.Error("failed while cleaning up") })
	case "panic":
		panic("inner words")
	case "exit":
		os.Exit(0)
	case "skip":
		t.Skip("inner words")
	case "need":
		Need(t, "no-such-program")
	case "server":
		p := Start(t, "sh", "-c", "echo words of a server; exit 7")
		t.Errorf("exit status %d", p.Wait(t, time.Minute))
	case "vain":
		WaitFor(t, "godot", 10*time.Millisecond, func() bool { return false })
	}
}

// rerun runs one of our own tests again, from outside, and returns what it wrote.
func rerun(t *testing.T, name string, env []string, attr *syscall.SysProcAttr) (output string, failed bool) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if attr != nil { // another user may not look into the folder of go test
		self = copyForAll(t, self)
	}
	cmd := exec.Command(self, "-test.run="+pattern(name), "-test.v", "-test.timeout="+remaining(t).String())
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = attr
	cmd.Dir = "/"
	b, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(b), err != nil
}

func copyForAll(t *testing.T, path string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nstest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(dir, filepath.Base(path)), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return to.Name()
}

func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the other tests run as an ordinary user already")
	}
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, failed := rerun(t, "TestInside", []string{"CI=", "TMPDIR=/tmp"}, nobody)
	switch {
	case failed:
		t.Errorf("TestInside as user 65534 failed:\n%s", out)
	case strings.Contains(out, "--- SKIP: TestInside"):
		Unavailable(t, "the kernel refuses user namespaces to ordinary users:\n%s", out)
	case !strings.Contains(out, "--- PASS: TestInside"):
		t.Errorf("TestInside as user 65534 did not run:\n%s", out)
	}
	out, failed = rerun(t, "TestNeedRoot", []string{"CI=", "TMPDIR=/tmp"}, nobody)
	if failed || !strings.Contains(out, "needs root") {
		t.Errorf("TestNeedRoot as user 65534 was not skipped:\n%s", out)
	}
}

func TestNeedRoot(t *testing.T) {
	if !Inside(t) {
		return
	}
	NeedRoot(t)
	if b, err := os.ReadFile("/proc/self/uid_map"); err != nil || strings.HasSuffix(strings.TrimSpace(string(b)), " 1") {
		t.Errorf("uid_map = %q, %v: NeedRoot let a one-user namespace pass", b, err)
	}
}

func TestProcessesEnd(t *testing.T) {
	const mark = "86399.25" // no other sleep lasts so long
	if !Inside(t) {
		if pid := findProcess(t, mark); pid != 0 {
			t.Errorf("process %d lives on after its test", pid)
		}
		return
	}
	p := Start(t, "sh", "-c", "sleep "+mark+" & exec true")
	if status := p.Wait(t, time.Minute); status != 0 || !p.Ended() {
		t.Errorf("Wait = %d, Ended = %v, want 0, true", status, p.Ended())
	}
	WaitFor(t, "the orphan to run", 10*time.Second, func() bool { return findProcess(t, mark) != 0 })
}

func TestOrphansAreReaped(t *testing.T) {
	if !Inside(t) {
		return
	}
	p := Start(t, "sh", "-c", "sleep 86398 & echo $!")
	p.Wait(t, time.Minute)
	orphan, err := strconv.Atoi(strings.TrimSpace(p.Output()))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(orphan, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	WaitFor(t, "process 1 to reap the orphan", 10*time.Second, func() bool {
		return errors.Is(syscall.Kill(orphan, 0), syscall.ESRCH)
	})
}

// findProcess returns the id of a process with this word in its arguments, 0 for none.
func findProcess(t *testing.T, word string) int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		b, _ := os.ReadFile(path) // it may have ended since
		if strings.Contains(string(b), "sleep\x00"+word+"\x00") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	return 0
}

func TestMounts(t *testing.T) {
	if !Inside(t) {
		return
	}
	TmpFS(t, "/var/lib", "nfs/sm")
	entries, err := os.ReadDir("/var/lib")
	if err != nil || len(entries) != 1 || entries[0].Name() != "nfs" {
		t.Errorf("/var/lib holds %v (%v), want nfs only", entries, err)
	}
	t.Run("file", func(t *testing.T) {
		File(t, "/etc/hosts", "127.0.0.1 quay\n")
		if b, err := os.ReadFile("/etc/hosts"); err != nil || string(b) != "127.0.0.1 quay\n" {
			t.Errorf("/etc/hosts = %q, %v", b, err)
		}
	})
	if b, err := os.ReadFile("/etc/hosts"); err != nil || string(b) == "127.0.0.1 quay\n" {
		t.Errorf("after the subtest /etc/hosts = %q, %v", b, err)
	}
}

func TestVeth(t *testing.T) {
	if !Inside(t) {
		return
	}
	Veth(t, "v0", "10.99.0.1/24", "fd99::1/64")
	for _, address := range []string{"10.99.0.1:111", "[fd99::1]:111"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Error(err)
			continue
		}
		defer l.Close()
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Error(err)
			continue
		}
		conn.Close()
	}
	WaitFor(t, "v0 to run", 10*time.Second, func() bool { // which the kernel says a little later
		link, err := net.InterfaceByName("v0")
		return err == nil && link.Flags&net.FlagRunning != 0
	})
}

func TestHost(t *testing.T) {
	if !Inside(t) {
		return
	}
	Need(t, "bash")
	host := NewHost(t, "client", "10.98.0.1/24", "10.98.0.2/24")
	l, err := net.Listen("tcp", "10.98.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	p := StartCommand(t, host.Command("bash", "-c", fmt.Sprintf("echo ahoy > /dev/tcp/10.98.0.1/%d", port)))
	conn, err := l.Accept()
	if err != nil {
		t.Fatalf("%v; the other host's program wrote %q", err, p.Output())
	}
	defer conn.Close()
	if from := conn.RemoteAddr().(*net.TCPAddr).IP.String(); from != "10.98.0.2" {
		t.Errorf("called from %s, want 10.98.0.2", from)
	}
	if b, err := io.ReadAll(conn); err != nil || string(b) != "ahoy\n" {
		t.Errorf("read %q, %v, want ahoy", b, err)
	}
	if status := p.Wait(t, 10*time.Second); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func TestPeaceableEnd(t *testing.T) {
	var p *Process
	t.Run("server", func(t *testing.T) {
		p = Start(t, "sh", "-c", "trap 'echo asked to end; exit 3' TERM; echo ready; while :; do sleep 0.01; done")
		WaitFor(t, "the server to be ready", 10*time.Second, func() bool { return strings.Contains(p.Output(), "ready") })
		if p.Ended() {
			t.Error("the server has ended")
		}
		if err := unix.Kill(p.PID(), 0); err != nil {
			t.Errorf("PID() = %d: %v", p.PID(), err)
		}
		p.path = filepath.Join(t.TempDir(), "gone") // the folder goes with the subtest; see below
	})
	if got := p.cmd.ProcessState.ExitCode(); got != 3 {
		t.Errorf("after the test the server ended with %d, want 3 from its handler of SIGTERM", got)
	}
}
