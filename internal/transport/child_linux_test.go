package transport_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// childVar makes the test binary a client, with what stands in it: what to do,
// a socket's path, and how often.
const childVar = "TRANSPORT_TEST_CHILD"

func TestMain(m *testing.M) {
	if do := os.Getenv(childVar); do != "" {
		if err := child(strings.Fields(do)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	m.Run()
}

func child(do []string) error {
	path := do[1]
	if do[0] == "connect" { // with a socket that the parent keeps
		return unix.Connect(childSocket, &unix.SockaddrUnix{Name: path})
	}
	n, err := strconv.Atoi(do[2])
	if err != nil {
		return err
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	served := 0
	for range n {
		conn, err := net.Dial("unix", path)
		if err != nil {
			return err
		}
		defer conn.Close()
		if isServed(conn) {
			served++
		}
	}
	fmt.Printf("served %d of %d\n", served, n)
	<-end
	return nil
}

// isServed tells whether the server at the other end answers.
func isServed(conn net.Conn) bool {
	conn.SetDeadline(time.Now().Add(patience))
	defer conn.SetDeadline(time.Time{})
	if _, err := conn.Write(record(words(1, 1))); err != nil {
		return false
	}
	_, err := readRecord(conn)
	if err != nil && !isEnd(err) {
		panic(err) // neither an answer nor an end
	}
	return err == nil
}

// Descriptors that a child finds open.
const (
	childProgram = 3
	childSocket  = 4
)

// childCommand is the test binary as a client, which does what it is told.
func childCommand(t *testing.T, do string, attr *syscall.SysProcAttr) *exec.Cmd {
	t.Helper()
	self, err := os.Open("/proc/self/exe") // the folder of the test binary is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { self.Close() })
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", childProgram))
	cmd.ExtraFiles = []*os.File{self}
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), childVar+"="+do, "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = attr
	return cmd
}

// startChild has another process connect to a local socket n times, keep what it
// gets, and say how many connections were served.
func startChild(t *testing.T, path string, n int, attr *syscall.SysProcAttr) (p *nstest.Process, served int) {
	t.Helper()
	p = nstest.StartCommand(t, childCommand(t, fmt.Sprintf("open %s %d", path, n), attr))
	nstest.WaitFor(t, "a process to connect", patience, func() bool { return p.Ended() || strings.HasSuffix(p.Output(), "\n") })
	of := 0
	if _, err := fmt.Sscanf(p.Output(), "served %d of %d\n", &served, &of); err != nil || of != n {
		t.Fatalf("a process that connects says %q", p.Output())
	}
	return p, served
}

// as is another user.
func as(uid uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
}
