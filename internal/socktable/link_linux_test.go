package socktable

import (
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

func newLink(t *testing.T) *link {
	t.Helper()
	l, err := openLink()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

func TestLinkIsNotInherited(t *testing.T) {
	flags, err := unix.FcntlInt(uintptr(newLink(t).fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("the descriptor has flags %x, %v", flags, err)
	}
}

// No other process can answer in the kernel's place, even one that may send to others.
func TestLinkHearsOnlyTheKernel(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	open := func() (fd int) {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	address := func(fd int) unix.Sockaddr {
		address, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		return address
	}
	other, open2 := open(), open()
	if err := unix.Bind(open2, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	b := datagram(end(unix.NLMSG_DONE, 0))
	if err := unix.Sendto(other, b, 0, address(open2)); err != nil {
		t.Fatalf("to a socket that is not connected: %v; this test wants it sent", err)
	}
	if err := unix.Sendto(other, b, 0, address(newLink(t).fd)); err != unix.ECONNREFUSED {
		t.Errorf("to a link: %v, want %v", err, unix.ECONNREFUSED)
	}
}

// Where no answer comes, reading ends, but not for a signal.
func TestLinkDoesNotWaitForever(t *testing.T) {
	l := newLink(t)
	thread := make(chan int)
	ended := make(chan error)
	began := time.Now()
	go func() {
		runtime.LockOSThread()
		thread <- unix.Gettid()
		_, err := l.receive()
		ended <- err
	}()
	id := <-thread
	for range 5 {
		time.Sleep(overdue / 20)
		if err := unix.Tgkill(os.Getpid(), id, unix.SIGURG); err != nil { // which Go's own signals are
			t.Fatal(err)
		}
	}
	if err := <-ended; !errors.Is(err, unix.EAGAIN) {
		t.Errorf("receive = %v, want %v", err, unix.EAGAIN)
	}
	if d := time.Since(began); d < overdue || d > overdue+patience {
		t.Errorf("it took %v, want about %v", d, overdue)
	}
}

// What does not fit into the buffer is no answer, nor is the part that does.
func TestLinkRefusesWhatIsCutOff(t *testing.T) {
	l := scripted(t, make([]byte, answerSize), make([]byte, answerSize+1), make([]byte, answerSize+4))
	t.Cleanup(l.close)
	if b, err := l.receive(); err != nil || len(b) != answerSize {
		t.Errorf("receive = %d bytes, %v, want %d", len(b), err, answerSize)
	}
	for range 2 {
		if b, err := l.receive(); !errors.Is(err, errAnswer) {
			t.Errorf("receive = %d bytes, %v, want %v", len(b), err, errAnswer)
		}
	}
}
