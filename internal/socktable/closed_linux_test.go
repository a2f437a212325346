package socktable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// A record is what a watch has heard.
type record struct {
	mu    sync.Mutex
	heard []string
	delay sync.Mutex // held to keep the watch from hearing more
}

func (l *record) add(network string, port uint16) {
	l.delay.Lock()
	defer l.delay.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = append(l.heard, fmt.Sprint(network, " ", port))
}

func (l *record) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.heard)
}

func (l *record) has(one string) bool { return slices.Contains(l.all(), one) }

// watch starts a watch that ends with the test, and returns when it hears.
func watch(t *testing.T) *record {
	t.Helper()
	l := &record{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- WatchClosed(ctx, l.add) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("WatchClosed of a cancelled context = %v, want nil", err)
		}
	})
	nstest.WaitFor(t, "the watch to begin", patience, func() bool { return l.has(" 0") })
	return l
}

func TestWatchClosed(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	l := watch(t)
	for i, p := range []plan{
		{network: "tcp", addr: "0.0.0.0:%d"},
		{network: "tcp", addr: "127.0.0.1:%d"},
		{network: "tcp", addr: "[::]:%d"},
		{network: "tcp", addr: "[::1]:%d", v6only: true},
		{network: "tcp", addr: "[::ffff:127.0.0.1]:%d"},
		{network: "udp", addr: "0.0.0.0:%d"},
		{network: "udp", addr: "127.0.0.1:%d"},
		{network: "udp", addr: "[::]:%d"},
		{network: "udp", addr: "[::1]:%d", v6only: true},
		{network: "udp", addr: "[::ffff:127.0.0.1]:%d"},
	} {
		p.addr = fmt.Sprintf(p.addr, 1000+i)
		d := p.open(t)
		want := fmt.Sprint(p.network, " ", 1000+i)
		if l.has(want) {
			t.Errorf("heard of %s before it was closed", want)
		}
		d.Close()
		nstest.WaitFor(t, "news of "+want, patience, func() bool { return l.has(want) })
	}
}

func TestWatchClosedHearsDeath(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	l := watch(t)
	a := start(t, nil, "listen", "127.0.0.1:1000")
	a.line(t, 0)
	a.Signal(unix.SignalNum("SIGKILL"))
	nstest.WaitFor(t, "news of both sockets", patience, func() bool { return l.has("tcp 1000") && l.has("udp 1000") })
}

// everything hears of each closed socket, as WatchClosed does without its filter.
func everything(t *testing.T) *netlink.Conn {
	t.Helper()
	link, err := dialClosed()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { link.Close() })
	if err := errors.Join(link.RemoveBPF(), link.SetReadDeadline(time.Now().Add(patience))); err != nil {
		t.Fatal(err)
	}
	return link
}

// What is closed without having received is not told, nor does it need to be read.
func TestWatchClosedHearsNoConnections(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	all := everything(t)
	l := watch(t)
	tcp := plan{network: "tcp", addr: "127.0.0.1:1000"}.open(t)
	client := plan{network: "tcp", addr: "127.0.0.1:1001", peer: "127.0.0.1:1000"}.open(t)
	fd, _, err := unix.Accept(int(*tcp))
	if err != nil {
		t.Fatal(err)
	}
	server := descriptor(fd)
	unbound, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	server.Close()
	unix.Close(unbound)
	plan{network: "udp", addr: "127.0.0.1:1002", peer: "127.0.0.1:9"}.open(t).Close()
	plan{network: "udp", addr: "[::1]:1003", peer: "[::1]:9"}.open(t).Close()

	filter, err := bpf.NewVM(disassemble(t))
	if err != nil {
		t.Fatal(err)
	}
	for told := map[uint16]bool{}; len(told) < 5; { // four ports, and none
		messages, err := all.Receive()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			s, err := parseInet(m.Data)
			if err != nil {
				t.Fatal(err)
			}
			if s.local.Port() > 1003 {
				continue // closed before the test began
			}
			told[s.local.Port()] = true
			if n, err := filter.Run(append(make([]byte, messageHeader), m.Data...)); n != 0 || err != nil {
				t.Errorf("the filter lets %+v through (%d, %v)", s, n, err)
			}
		}
	}
	tcp.Close()
	nstest.WaitFor(t, "news of the listener", patience, func() bool { return l.has("tcp 1000") })
	for _, other := range []string{"tcp 0", "udp 0", "tcp 1001", "udp 1002", "udp 1003"} {
		if l.has(other) {
			t.Errorf("heard %q, want only of the listener", l.all())
		}
	}
}

func disassemble(t *testing.T) []bpf.Instruction {
	t.Helper()
	program, ok := bpf.Disassemble(mayHaveReceived)
	if !ok {
		t.Fatal("the filter has unknown instructions")
	}
	return program
}

// When more is told than is read, the watch says so and goes on.
func TestWatchClosedOverrun(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	l := watch(t)
	l.delay.Lock()
	nstest.WaitFor(t, "the kernel to drop messages", patience, func() bool {
		for range 100 {
			plan{network: "udp", addr: "127.0.0.1:1000"}.open(t).Close()
		}
		return drops(t) > 0
	})
	l.delay.Unlock()
	nstest.WaitFor(t, "news of the loss", patience, func() bool {
		return slices.Index(l.all()[1:], " 0") >= 0
	})
	nstest.WaitFor(t, "news of what was closed afterwards", patience, func() bool {
		plan{network: "tcp", addr: "127.0.0.1:1001"}.open(t).Close() // again: the former ones may be among the lost
		return l.has("tcp 1001")
	})
}

// drops returns how many messages netlink sockets of this namespace have missed.
func drops(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/net/netlink")
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for line := range bytes.Lines(text) {
		var n int
		if fields := strings.Fields(string(line)); len(fields) > 8 {
			fmt.Sscan(fields[8], &n)
		}
		sum += n
	}
	return sum
}

func TestClosedSocketOfNonsense(t *testing.T) {
	for _, message := range [][]byte{nil, make([]byte, 10), make([]byte, 100)} {
		if network, port := closedSocket(message); network != "" || port != 0 {
			t.Errorf("closedSocket(%x) = %q, %d, want any", message, network, port)
		}
	}
}
