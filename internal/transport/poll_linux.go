package transport

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nowait"
)

// A poll waits for several descriptors at once (epoll(7)). Its own descriptor
// is in the Go runtime's poll, so that waiting holds no thread.
type poll struct {
	file   *os.File // owns fd
	fd     int
	raw    syscall.RawConn
	events [128]unix.EpollEvent
	ready  int
	err    error
	look   func(uintptr) bool // as RawConn.Read wants it, made once so as not to allocate
}

// newPoll returns a poll that calls idle each time before it waits.
func newPoll(idle func()) (*poll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // else os takes it for a file that cannot be waited for
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &poll{file: os.NewFile(uintptr(fd), "epoll"), fd: fd}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, err
	}
	p.look = func(uintptr) bool {
		p.ready, p.err = nowait.Poll(p.fd, p.events[:])
		if p.err == unix.EINTR {
			p.ready, p.err = 0, nil
		}
		if p.ready == 0 && p.err == nil {
			idle() // what this adds, and is ready, ends the wait
		}
		return p.ready > 0 || p.err != nil
	}
	return p, nil
}

func (p *poll) close() { p.file.Close() }

// wait returns what is ready; the slice is valid until the next wait. The error
// is [os.ErrDeadlineExceeded] once the time of wakeAt has come, or after interrupt.
func (p *poll) wait() ([]unix.EpollEvent, error) {
	if err := p.raw.Read(p.look); err != nil {
		return nil, err
	}
	if p.err != nil {
		return nil, os.NewSyscallError("epoll_wait", p.err)
	}
	return p.events[:p.ready], nil
}

// wakeAt ends waiting at a time; the zero time means never.
func (p *poll) wakeAt(t time.Time) { p.file.SetReadDeadline(t) }

// interrupt ends waiting now. It may be called from any goroutine.
func (p *poll) interrupt() { p.file.SetReadDeadline(time.Unix(1, 0)) }

// add watches fd for events; change watches it for others, remove no more.
// Closing fd removes it too.
func (p *poll) add(fd int, events uint32) error { return p.control(unix.EPOLL_CTL_ADD, fd, events) }

func (p *poll) change(fd int, events uint32) error { return p.control(unix.EPOLL_CTL_MOD, fd, events) }

func (p *poll) remove(fd int) error { return p.control(unix.EPOLL_CTL_DEL, fd, 0) }

func (p *poll) control(op, fd int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}))
}
