package gate

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nowait"
)

// A waiter is told when something can be done with a descriptor that it waits for.
type waiter interface {
	ready(w *watch, events uint32)
}

// A watch is a descriptor that somebody waits for.
type watch struct {
	fd     int
	events uint32 // of epoll(7); 0: the poll does not know it
	turn   int32  // tells it from others that had the same descriptor before
	owner  waiter
}

// A poll waits for many descriptors, and for what others have to say to its goroutine.
type poll struct {
	fd, wake int
	watched  map[int]*watch
	turn     int32
	happened [128]unix.EpollEvent

	mu     sync.Mutex // guards what follows
	posted []func()
	closed bool
}

func newPoll() (*poll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("eventfd", err)
	}
	p := &poll{fd: fd, wake: wake, watched: map[int]*watch{}}
	if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}); err != nil {
		p.close()
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return p, nil
}

func (p *poll) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.posted = true, nil
	unix.Close(p.wake)
	unix.Close(p.fd)
}

// post has the poll's goroutine call do, soon. It reports whether there still is one to do so.
func (p *poll) post(do func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if p.posted = append(p.posted, do); len(p.posted) == 1 {
		unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // it fails only if the poll is woken anyway
	}
	return true
}

// wait waits until something happens, at most for a time, and returns how much did.
func (p *poll) wait(most time.Duration) (n int, err error) {
	if n, err = nowait.Poll(p.fd, p.happened[:]); n == 0 && err == nil {
		n, err = unix.EpollWait(p.fd, p.happened[:], int(most.Milliseconds()))
	}
	if err != nil && err != unix.EINTR {
		return 0, os.NewSyscallError("epoll_wait", err)
	}
	return max(n, 0), nil
}

// tell tells those who wait for the first n things that happened.
func (p *poll) tell(n int) {
	for i := range n {
		e := &p.happened[i]
		if int(e.Fd) == p.wake {
			p.called()
		} else if w := p.watched[int(e.Fd)]; w != nil && w.turn == e.Pad {
			w.owner.ready(w, e.Events)
		}
	}
}

// called does what was posted.
func (p *poll) called() {
	var b [8]byte
	unix.Read(p.wake, b[:])
	p.mu.Lock()
	all := p.posted
	p.posted = nil
	p.mu.Unlock()
	for _, do := range all {
		do()
	}
}

// want waits for other events than before; for none with 0, not even for errors.
func (p *poll) want(w *watch, events uint32) error {
	op := unix.EPOLL_CTL_MOD
	switch {
	case events == w.events:
		return nil
	case events == 0:
		op = unix.EPOLL_CTL_DEL
		delete(p.watched, w.fd)
	case w.events == 0:
		op = unix.EPOLL_CTL_ADD
		p.turn++
		w.turn = p.turn
		p.watched[w.fd] = w
	}
	w.events = events
	return nowait.Watch(p.fd, op, w.fd, &unix.EpollEvent{Events: events, Fd: int32(w.fd), Pad: w.turn})
}

// end closes the descriptor.
func (p *poll) end(w *watch) {
	if w.events != 0 {
		delete(p.watched, w.fd)
		w.events = 0
	}
	if w.fd >= 0 {
		nowait.Close(w.fd)
		w.fd = -1
	}
}
