package mapper

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// TestRecord, with -update, holds the conversation with rpcbind and writes the recording.
func TestRecord(t *testing.T) {
	if !*update || !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t) // rpcbind changes to another user, and so do we
	// Or there would be link-local addresses nobody can foretell.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/addr_gen_mode", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	nstest.Veth(t, "v0", "10.99.0.1/24", "fd99::1/64", "fe80::99/64")
	nstest.NewHost(t, "far", "10.98.0.1/24", "10.98.0.2/24")
	for _, add := range [][]string{{"address", "add", "fd98::1/64", "dev", "far", "nodad"}, {"address", "add", "fe80::98/64", "dev", "far", "nodad"}, {"-n", "far", "address", "add", "fd98::2/64", "dev", "eth0", "nodad"}} {
		if out, err := exec.Command(nstest.Path(t, "ip"), add...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v\n%s", add, err, out)
		}
	}
	nstest.Start(t, "rpcbind", "-f")
	for _, w := range []way{udpLo, tcpLo, udp6Lo, tcp6Lo, asRoot} {
		nstest.WaitFor(t, "rpcbind to answer", 10*time.Second, func() bool {
			answer, err := w.exchange(messageTo(0, 0, 0, nil), 100*time.Millisecond) // which is not counted
			return err == nil && len(answer) > len(closed)
		})
	}
	var b strings.Builder
	fmt.Fprintln(&b, "# What rpcbind 1.2.6 (libtirpc 1.3.3) answers: go test ./internal/mapper -run TestRecord -update")
	fmt.Fprintln(&b, "# name, way, call, answer; without record marks")
	for _, s := range conversation() {
		answer, err := s.way.exchange(s.call, 250*time.Millisecond)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		what := fmt.Sprintf("%x", answer)
		switch string(answer) {
		case string(silence):
			what = "silence"
		case string(closed):
			what = "closed"
		}
		fmt.Fprintf(&b, "%s\t%s\t%x\t%s\n", s.name, s.way, s.call, what)
	}
	if err := os.WriteFile(recording, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (w way) String() string {
	if w.netid == rpcbind.Local {
		return fmt.Sprintf("%s uid %d", w.netid, w.uid)
	}
	return fmt.Sprintf("%s %s to %s", w.netid, w.client, w.server)
}

// exchange sends a call to the mapper on port 111 and returns its answer.
func (w way) exchange(call []byte, patience time.Duration) ([]byte, error) {
	conn, err := w.dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	answer, err := exchangeOver(conn, w.netid != rpcbind.UDP && w.netid != rpcbind.UDP6, call)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return silence, nil
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET):
		return closed, nil
	case err != nil:
		return nil, err
	}
	return answer, nil
}

func (w way) dial() (conn net.Conn, err error) {
	if w.netid == rpcbind.Local {
		asUID(w.uid, func() { conn, err = net.Dial("unix", "/run/rpcbind.sock") })
		return conn, err
	}
	network := strings.TrimSuffix(w.netid.String(), "6")
	dial := func() { conn, err = net.Dial(network, net.JoinHostPort(w.server, "111")) }
	if w.client != w.server {
		err = errors.Join(err, inNamespace("far", dial))
		return conn, err
	}
	dial()
	return conn, err
}

// asUID runs f on a thread of that effective user.
func asUID(uid uint32, f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const same = ^uintptr(0)
	unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(uid), same) // unlike unix.Setresuid, this thread only
	defer unix.RawSyscall(unix.SYS_SETRESUID, same, 0, same)
	f()
}

// inNamespace runs f on a thread in a network namespace that ip(8) made.
func inNamespace(name string, f func()) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ours, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer ours.Close()
	theirs, err := os.Open("/run/netns/" + name)
	if err != nil {
		return err
	}
	defer theirs.Close()
	if err := unix.Setns(int(theirs.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	f()
	return unix.Setns(int(ours.Fd()), unix.CLONE_NEWNET)
}
