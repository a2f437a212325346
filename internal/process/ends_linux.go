package process

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Ends tells when processes end. Its methods may be called from any goroutine.
type Ends struct{ epoll *os.File }

// NewEnds returns one that watches no process yet. The caller closes it.
func NewEnds() (*Ends, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("process: %w", os.NewSyscallError("epoll_create1", err))
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that the runtime waits for it
		unix.Close(fd)
		return nil, fmt.Errorf("process: %w", err)
	}
	return &Ends{os.NewFile(uintptr(fd), "epoll")}, nil
}

// Add watches a process until it ends, which is told once, or is closed.
func (e *Ends) Add(p *Process) error {
	return e.control(func(epoll int) error {
		// A descriptor that is closed leaves the set by itself.
		return unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, p.fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(p.fd)})
	})
}

func (e *Ends) control(f func(epoll int) error) error {
	raw, err := e.epoll.SyscallConn()
	if err != nil {
		return fmt.Errorf("process: %w", err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return fmt.Errorf("process: %w", err)
	}
	if failed != nil {
		return fmt.Errorf("process: %w", os.NewSyscallError("epoll_ctl", failed))
	}
	return nil
}

// Watch calls ended when processes have ended, once for those that end together, until ctx
// is cancelled or e is closed.
func (e *Ends) Watch(ctx context.Context, ended func()) error {
	raw, err := e.epoll.SyscallConn()
	if err != nil {
		return fmt.Errorf("process: %w", err)
	}
	defer context.AfterFunc(ctx, func() { e.epoll.SetReadDeadline(time.Unix(1, 0)) })()
	var events [64]unix.EpollEvent
	for {
		var n int
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, failed = unix.EpollWait(int(fd), events[:], 0)
			return n != 0 || failed != nil && failed != unix.EINTR
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("process: %w", err)
		case failed != nil:
			return fmt.Errorf("process: %w", os.NewSyscallError("epoll_wait", failed))
		}
		ended()
	}
}

// Close ends the watching.
func (e *Ends) Close() error { return e.epoll.Close() }
