package nstest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A test passes through two processes of its own: the first is process 1 of the new PID
// namespace, makes the namespaces fit to live in and then only waits, also for orphans; the
// second runs the test. When the first ends, the kernel ends all the rest.
const (
	stageInit = "init"
	stageTest = "test"
)

// verdictFD is the descriptor on which the inner processes find the verdict file.
const verdictFD = 3

// What stands in the verdict file. A process that ends without a verdict has failed.
const (
	verdictPass    = "pass"
	verdictFail    = "fail"
	verdictSkip    = "skip"
	verdictRefused = "refused: " // by the kernel; the reason follows
)

// Inside returns true in the namespaces, where the test goes on. Outside it runs this very test
// again in new network, mount, PID and UTS namespaces (and a user namespace that maps user and
// group 0 when not root), takes over the result and returns false: the caller must return.
//
// Inside, the loopback interface is up with 127.0.0.1 and ::1, /run is empty, what changes below
// /var/lib changes for the test only, /proc shows only its own processes, mounts do not spread, and
// all processes end with the test. A subtest of a test that is inside already is inside as well.
func Inside(t *testing.T) bool {
	t.Helper()
	switch {
	case os.Getenv(stageVar) == "":
		outside(t)
		return false
	case os.Getenv(stageVar) == stageInit && os.Getenv(nameVar) == t.Name():
		initProcess(t)
	case os.Getenv(nameVar) == t.Name():
		verdict := os.NewFile(verdictFD, "verdict")
		syscall.CloseOnExec(verdictFD) // servers the test starts have no business with it
		t.Cleanup(func() {             // the first registered runs last, when all others may have failed the test
			if err := writeVerdict(verdict, verdictOf(t)); err != nil {
				t.Errorf("nstest: %v", err)
			}
		})
	}
	return true
}

func verdictOf(t *testing.T) string {
	switch {
	case t.Failed():
		return verdictFail
	case t.Skipped():
		return verdictSkip
	}
	return verdictPass
}

func writeVerdict(f *os.File, verdict string) error {
	_, err := f.WriteAt([]byte(verdict), 0)
	return err
}

// outside runs the test in the namespaces and reports what became of it.
func outside(t *testing.T) {
	t.Helper()
	verdict, err := os.CreateTemp(t.TempDir(), "verdict")
	if err != nil {
		t.Fatal(err)
	}
	defer verdict.Close()

	var output bytes.Buffer
	cmd, err := startInit(t, &output, verdict)
	if err != nil {
		Unavailable(t, "the kernel refuses namespaces: %v", err)
	}
	waitErr := cmd.Wait()

	text := strings.TrimRight(output.String(), "\n")
	text = "\n| " + strings.ReplaceAll(text, "\n", "\n| ") // or test2json takes inner result lines for ours
	b, err := os.ReadFile(verdict.Name())
	if err != nil {
		t.Fatal(err)
	}
	switch said := string(b); {
	case strings.HasPrefix(said, verdictRefused):
		Unavailable(t, "the kernel refuses what a namespace needs: %s", strings.TrimPrefix(said, verdictRefused))
	case said == verdictSkip && waitErr == nil:
		t.Skipf("in its namespaces:%s", text)
	case said == verdictPass && waitErr == nil:
		if testing.Verbose() {
			t.Logf("in its namespaces:%s", text)
		}
	default:
		t.Fatalf("in its namespaces (verdict %q, %v):%s", said, cmd.ProcessState, text)
	}
}

// startInit starts the first inner process. Root without the right to make namespaces, as in
// many containers, tries the way of ordinary users.
func startInit(t *testing.T, output *bytes.Buffer, verdict *os.File) (*exec.Cmd, error) {
	// The death signal follows the thread that forked, so this thread must last.
	runtime.LockOSThread()
	defer t.Cleanup(runtime.UnlockOSThread)

	if os.Geteuid() == 0 {
		cmd := initCommand(t, output, verdict)
		if err := cmd.Start(); !errors.Is(err, syscall.EPERM) {
			return cmd, err
		}
	}
	cmd := initCommand(t, output, verdict)
	cmd.Env = append(cmd.Env, userVar+"=1")
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	return cmd, cmd.Start()
}

func initCommand(t *testing.T, output *bytes.Buffer, verdict *os.File) *exec.Cmd {
	cmd := command(t, stageInit)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.ExtraFiles = []*os.File{verdict}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	return cmd
}

// command is this test binary again, running this test only.
func command(t *testing.T, stage string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run="+pattern(t.Name()), "-test.count=1", "-test.timeout="+remaining(t).String())
	if stage == stageTest {
		cmd.Args = append(cmd.Args, "-test.v")
	}
	if testing.Short() {
		cmd.Args = append(cmd.Args, "-test.short")
	}
	for _, arg := range os.Args[1:] {
		if !strings.HasPrefix(strings.TrimLeft(arg, "-"), "test.") {
			cmd.Args = append(cmd.Args, arg) // the package's own flags, such as -update
		}
	}
	cmd.Env = append(os.Environ(), stageVar+"="+stage, nameVar+"="+t.Name(),
		"GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE")) // or every process of a -race test sleeps a second at its end
	return cmd
}

// pattern is the -test.run value that selects just the named test or subtest.
func pattern(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

// remaining is how long the inner test may take: a little less than what is left for this one,
// so that it is the inner one that says where it hung. Zero, as in go test, is no limit.
func remaining(t *testing.T) time.Duration {
	deadline, ok := t.Deadline()
	if !ok {
		return 0
	}
	left := time.Until(deadline)
	return max(left-min(left/10, 5*time.Second), time.Millisecond).Round(time.Millisecond)
}

// initProcess is the life of process 1. It does not return.
func initProcess(t *testing.T) {
	t.Helper()
	verdict := os.NewFile(verdictFD, "verdict")
	if err := setUp(); err != nil {
		if err := writeVerdict(verdict, verdictRefused+err.Error()); err != nil {
			t.Error(err)
		}
		t.SkipNow()
	}
	cmd := command(t, stageTest)
	process, err := os.StartProcess(cmd.Path, cmd.Args, &os.ProcAttr{
		Env:   cmd.Environ(), // without the first of two values
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, verdict},
	})
	if err != nil {
		t.Fatal(err)
	}
	for { // wait4 by hand: os.Process.Wait would leave orphans unburied
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			t.Fatalf("wait4: %v", err)
		case pid == process.Pid && status.Signaled():
			t.Fatalf("the test ended by signal: %v", status.Signal())
		case pid == process.Pid && status.ExitStatus() != 0:
			t.Fatalf("the test ended with exit status %d", status.ExitStatus())
		case pid == process.Pid:
			t.SkipNow() // what the caller does after Inside is for the outermost process
		}
	}
}

// setUp makes fresh namespaces usable. Its errors are the kernel's refusals.
func setUp() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := setUpFolders(); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", flags, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	// A host may have switched IPv6 off for new namespaces. Duplicate address detection would
	// keep a link-local address unusable for a second, and here nobody else is on the link.
	for _, iface := range []string{"all", "default", "lo"} {
		for _, key := range []string{"disable_ipv6", "accept_dad"} {
			err := os.WriteFile("/proc/sys/net/ipv6/conf/"+iface+"/"+key, []byte("0"), 0)
			if err != nil {
				return fmt.Errorf("switching IPv6 on: %w", err)
			}
		}
	}
	if err := linkUp("lo"); err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		conn, err := net.ListenPacket("udp", address)
		if err != nil {
			return fmt.Errorf("the loopback interface is up: %w", err)
		}
		conn.Close()
	}
	return nil
}

// setUpFolders gives the test an empty /run, and a /var/lib in which its changes are its own.
func setUpFolders() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	for _, below := range []bool{true, false} { // the first /run, soon out of sight, keeps the changes
		if err := unix.Mount("tmpfs", "/run", "tmpfs", flags, "mode=0755"); err != nil {
			return fmt.Errorf("mounting a tmpfs on /run: %w", err)
		}
		if !below {
			continue
		}
		for _, dir := range []string{"/run/changes", "/run/work"} {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
		}
		if err := unix.Mount("overlay", "/var/lib", "overlay", flags, "lowerdir=/var/lib,upperdir=/run/changes,workdir=/run/work"); err != nil {
			return fmt.Errorf("mounting an overlay on /var/lib: %w", err)
		}
	}
	return nil
}

// linkUp sets an interface up, as `ip link set NAME up` does; loopback must work without ip.
func linkUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}
