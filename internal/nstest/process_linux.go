package nstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a program may take to end after SIGTERM before it is killed.
const patience = 3 * time.Second

// A Process is a real program that runs beside the test. It is ended with the test: by SIGTERM
// first, then by SIGKILL.
type Process struct {
	cmd  *exec.Cmd
	path string        // of the file its output goes to
	done chan struct{} // closed when the program has ended and cmd.ProcessState stands
}

// Start starts a program that [Need] finds. What it writes is shown if the test fails.
func Start(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	return StartCommand(t, exec.Command(Path(t, name), args...))
}

// StartCommand is Start for a command with its own environment, user or descriptors. Standard
// output and standard error are taken over.
func StartCommand(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	// A file and no pipe: a program that leaves a daemon behind would keep a pipe open.
	out, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", cmd, err)
	}
	p := &Process{cmd: cmd, path: out.Name(), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		cmd.Wait() // how it ended stands in ProcessState
	}()
	t.Cleanup(func() { p.end(t) })
	return p
}

func (p *Process) end(t testing.TB) {
	p.cmd.Process.Signal(syscall.SIGTERM) // an error says that it has ended
	select {
	case <-p.done:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		<-p.done
	}
	if t.Failed() {
		t.Logf("%s (%v) wrote:\n%s", strings.Join(p.cmd.Args, " "), p.cmd.ProcessState, p.Output())
	}
}

// PID is the program's process id, as seen in the test's /proc.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal; it is no error if the program has ended.
func (p *Process) Signal(signal os.Signal) { p.cmd.Process.Signal(signal) }

// Output is what the program has written so far, on both its outputs.
func (p *Process) Output() string {
	b, err := os.ReadFile(p.path)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Ended reports whether the program has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Wait waits for the program's end and returns its exit status, -1 if a signal ended it. It fails
// the test if the program goes on for longer than timeout.
func (p *Process) Wait(t testing.TB, timeout time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(timeout):
		t.Fatalf("%s still runs after %v; it wrote:\n%s", strings.Join(p.cmd.Args, " "), timeout, p.Output())
	}
	return p.cmd.ProcessState.ExitCode()
}
