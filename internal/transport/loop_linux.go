package transport

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nowait"
)

// A loop serves connections of a listener that it may share with other loops.
// It belongs to one goroutine.
type loop struct {
	server *StreamServer
	guard  *Guard
	log    *slog.Logger
	ln     net.Listener // owns lnFD, and is not the loop's
	lnFD   int
	home   uint64 // the network namespace of the listener
	limits limits
	poll   *poll
	conns  map[int]*conn // by descriptor
	fresh  []*conn       // answered once and, unless they were closed since, not watched by the poll

	now    time.Time     // when the loop last woke
	asked  time.Duration // the same by the guard's clock; 0: not read yet
	armed  bool          // the loop will wake for a sweep
	paused bool          // nothing is accepted until then

	in  [16 << 10]byte // what is being read
	out []byte         // answers on their way; empty between turns
}

// limits are how long connections may take.
type limits struct {
	idle, write time.Duration // nothing moves: while a call is awaited, while an answer is not taken
	record      time.Duration // a call comes
	sweep       time.Duration // how often that is looked into
}

func (l limits) orUsual() limits {
	return cmp.Or(l, limits{IdleTimeout, WriteTimeout, RecordTimeout, time.Second})
}

// sendBuffer is how many bytes of answers the kernel takes of a connection, which doubles it for
// its own needs.
const sendBuffer = 128 << 10

// acceptPause is how long a loop waits that cannot accept: for want of descriptors or memory.
const acceptPause = 50 * time.Millisecond

// newLoop returns a loop of a server that accepts from ln, which must stay open while the loop runs.
func newLoop(ln net.Listener, s *StreamServer) (*loop, error) {
	socket, ok := ln.(syscall.Conn)
	if !ok {
		return nil, errors.New("not a socket")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	l := &loop{
		server: s, guard: s.Guard, log: logger(s.Log), ln: ln, limits: s.limits.orUsual(),
		conns: map[int]*conn{}, now: time.Now(), out: make([]byte, 0, maxOut),
	}
	if err := raw.Control(func(fd uintptr) { l.lnFD = int(fd) }); err != nil {
		return nil, err
	}
	l.home = namespaceOfFD(l.lnFD)
	// Connections inherit it: no answer waits until the client has acknowledged
	// the one before. Local sockets do not know it, nor need it.
	unix.SetsockoptInt(l.lnFD, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	// Else the kernel takes up to 4 MiB for each client that reads nothing.
	unix.SetsockoptInt(l.lnFD, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	if l.poll, err = newPoll(func() { l.settle(len(l.fresh), l.mind) }); err != nil {
		return nil, err
	}
	if err := l.listen(); err != nil {
		l.poll.close()
		return nil, err
	}
	return l, nil
}

// close closes every connection.
func (l *loop) close() {
	for _, c := range l.conns {
		l.end(c)
	}
	l.poll.close()
}

// run serves until ctx is cancelled, which must interrupt the poll, and returns nil.
func (l *loop) run(ctx context.Context) error {
	for {
		if !l.armed && len(l.conns) > 0 {
			l.arm(l.limits.sweep)
		}
		if ctx.Err() != nil { // asked after arm, which would undo the interruption
			return nil
		}
		events, err := l.poll.wait()
		l.now, l.asked = time.Now(), 0
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			l.sweep()
		case err != nil:
			return err
		}
		fresh := len(l.fresh)
		for _, e := range events {
			if int(e.Fd) == l.lnFD {
				l.accept()
			} else if c := l.conns[int(e.Fd)]; c != nil {
				l.turn(c)
			}
		}
		l.settle(fresh, l.turn)
	}
}

// settle does something with the first n fresh connections, which are fresh no more.
//
// Most connections live for one call, and many clients have closed them by the
// time that something else has been done: to read once more costs less
// than to have the poll watch.
func (l *loop) settle(n int, do func(*conn)) {
	for _, c := range l.fresh[:n] {
		if c.fd >= 0 {
			do(c)
		}
	}
	l.fresh = slices.Delete(l.fresh, 0, n)
}

func (l *loop) arm(d time.Duration) {
	l.armed = true
	l.poll.wakeAt(l.now.Add(d))
}

// sweep ends connections that took too long, and accepts again where that had
// to pause.
func (l *loop) sweep() {
	l.armed = false
	l.poll.wakeAt(time.Time{})
	for _, c := range l.conns {
		if err := c.overdue(l.now, l.limits); err != nil {
			l.fail(c, err)
		}
	}
	if l.paused {
		l.paused = l.listen() != nil
	}
}

// listen has the poll watch for clients that connect; of the loops that share
// the listener the kernel wakes one.
func (l *loop) listen() error { return l.poll.add(l.lnFD, unix.EPOLLIN|unix.EPOLLEXCLUSIVE) }

// maxAccept is how many connections are taken in at a time, so that many that
// come do not keep those that are there waiting.
const maxAccept = 16

// accept takes in connections that wait at the listener: the poll says so if there
// are more, and meanwhile another loop may have them.
func (l *loop) accept() {
	for range maxAccept {
		fd, from, err := nowait.Accept(l.lnFD)
		switch err {
		case nil:
			l.begin(fd, &from)
		case syscall.EAGAIN:
			return
		case syscall.EINTR, syscall.ECONNABORTED:
		default: // out of descriptors or memory: what is open goes on
			l.log.Warn("connection not accepted", "server", l.ln.Addr(), "err", err)
			l.poll.remove(l.lnFD)
			l.paused = true
			l.arm(acceptPause)
			return
		}
	}
}

// begin serves a new connection.
func (l *loop) begin(fd int, from *nowait.Address) {
	c := &conn{fd: fd, moved: l.now}
	if err := c.describe(from, l.home); err != nil {
		l.log.Warn("connection refused", "server", l.ln.Addr(), "err", err)
		nowait.Close(fd)
		return
	}
	var err error
	if c.guest, err = l.guard.enter(&c.call); err != nil {
		l.log.Debug("connection refused", "server", l.ln.Addr(), "client", c.call.Client, "err", err)
		resetAtClose(fd)
		nowait.Close(fd)
		return
	}
	c.messages = l.server.Framing.reader()
	c.handler, c.session = l.server.handler()
	l.conns[fd] = c
	switch open := l.serve(c); {
	case open && c.blocked():
		l.mind(c)
	case open:
		l.fresh = append(l.fresh, c)
	}
}

// end closes a connection.
func (l *loop) end(c *conn) {
	delete(l.conns, c.fd)
	nowait.Close(c.fd)
	c.fd = -1 // whoever kept a call or a peer must not meet another connection
	l.guard.leave(c.guest)
	l.server.held.Add(int64(-c.held))
	l.server.unsent.Add(int64(-c.unsent))
	if c.session != nil {
		c.session.End()
	}
}

// fail closes a connection so that the client knows at once that nothing more is read.
func (l *loop) fail(c *conn, err error) {
	l.log.Debug("connection ended", "client", c.call.Client, "err", err)
	resetAtClose(c.fd)
	l.end(c)
}

// resetAtClose has closing a TCP connection tell the client at once, and leave nothing in the kernel.
func resetAtClose(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}
