package process_test

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/process"
)

func TestProcess(t *testing.T) {
	child := exec.Command("cat")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pid := int32(child.Process.Pid)
	p, err := process.Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()

	if p.PID != pid || p.Started == 0 || !p.Alive() {
		t.Errorf("Open(%d) = pid %d, started %d, alive %v, want it alive with a start", pid, p.PID, p.Started, p.Alive())
	}
	if uid, err := p.UID(); err != nil || uid != uint32(os.Getuid()) {
		t.Errorf("UID = %d, %v, want %d", uid, err, os.Getuid())
	}
	if state, parent := process.State(int(pid)); state == 0 || state == 'Z' || parent != os.Getpid() {
		t.Errorf("State(%d) = %q, child of %d, want one that runs and is a child of %d", pid, state, parent, os.Getpid())
	}
	again, ok := process.Reopen(pid, p.Started)
	if !ok {
		t.Fatalf("Reopen(%d, %d) finds nothing while it runs", pid, p.Started)
	}
	again.Close()
	for _, other := range []struct {
		pid   int32
		began uint64
	}{{pid, p.Started + 1}, {pid, 0}, {0, p.Started}, {-1, 1}} {
		if q, ok := process.Reopen(other.pid, other.began); ok {
			t.Errorf("Reopen(%d, %d) = %v, want nothing", other.pid, other.began, q)
		}
	}

	in.Close()
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	if p.Alive() {
		t.Error("Alive after its end")
	}
	if _, err := p.UID(); err == nil {
		t.Error("UID of a process that ended: want an error")
	}
	if state, parent := process.State(int(pid)); state != 0 || parent != 0 {
		t.Errorf("State after its end = %q, child of %d, want nothing", state, parent)
	}
	if q, ok := process.Reopen(pid, p.Started); ok {
		t.Errorf("Reopen after its end = %v, want nothing", q)
	}
	if _, err := process.Open(pid); err == nil {
		t.Errorf("Open(%d) after its end: want an error", pid)
	}
}

// When a process began is asked for unless it is known.
func TestFromFD(t *testing.T) {
	p, err := process.Open(int32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, tt := range []struct{ known, want uint64 }{{0, p.Started}, {7, 7}} {
		fd, err := unix.PidfdOpen(os.Getpid(), 0)
		if err != nil {
			t.Fatal(err)
		}
		q := process.FromFD(p.PID, fd, tt.known)
		if q.PID != p.PID || q.Started != tt.want || !q.Alive() {
			t.Errorf("FromFD(%d, %d, %d) = pid %d, started %d, alive %v, want %d alive, started %d",
				p.PID, fd, tt.known, q.PID, q.Started, q.Alive(), p.PID, tt.want)
		}
		q.Close()
	}
}

// TestZombie: a process whose parent has not waited for it has ended all the same.
func TestZombie(t *testing.T) {
	child := exec.Command("cat")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	p, err := process.Open(int32(child.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	in.Close()
	out.Read(make([]byte, 1)) // returns when the child's end is closed: it is ending
	for p.Alive() {           // the test's own time limit ends this if it fails
	}
}
