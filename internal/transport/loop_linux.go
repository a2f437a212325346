package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A loop serves connections of a listener that it may share with other loops.
// It belongs to one goroutine.
type loop struct {
	handler Handler
	log     *slog.Logger
	ln      net.Listener // owns lnFD, and is not the loop's
	lnFD    int
	limits  limits
	poll    *poll
	conns   map[int]*conn // by descriptor

	now    time.Time // when the loop last woke
	armed  bool      // the loop will wake for a sweep
	paused bool      // nothing is accepted until then

	in  [16 << 10]byte // what is being read
	out []byte         // answers on their way; empty between turns
}

// limits are for how long nothing may move on a connection.
type limits struct {
	idle, write time.Duration // while a call is awaited, while an answer is not taken
	sweep       time.Duration // how often that is looked into
}

func (l limits) orUsual() limits {
	return cmp.Or(l, limits{IdleTimeout, WriteTimeout, time.Second})
}

// acceptPause is how long a loop waits that cannot accept: for want of descriptors or memory.
const acceptPause = 50 * time.Millisecond

// newLoop returns a loop that accepts from ln, which must stay open while the loop runs.
func newLoop(ln net.Listener, h Handler, lim limits, log *slog.Logger) (*loop, error) {
	socket, ok := ln.(syscall.Conn)
	if !ok {
		return nil, errors.New("not a socket")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	l := &loop{handler: h, log: log, ln: ln, limits: lim, conns: map[int]*conn{}, now: time.Now(), out: make([]byte, 0, maxOut)}
	if err := raw.Control(func(fd uintptr) { l.lnFD = int(fd) }); err != nil {
		return nil, err
	}
	// Connections inherit it: no answer waits until the client has acknowledged
	// the one before. Local sockets do not know it, nor need it.
	unix.SetsockoptInt(l.lnFD, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if l.poll, err = newPoll(); err != nil {
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
		l.now = time.Now()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			l.sweep()
		case err != nil:
			return err
		}
		for _, e := range events {
			if int(e.Fd) == l.lnFD {
				l.accept()
			} else if c := l.conns[int(e.Fd)]; c != nil {
				l.turn(c)
			}
		}
	}
}

func (l *loop) arm(d time.Duration) {
	l.armed = true
	l.poll.wakeAt(l.now.Add(d))
}

// sweep ends connections on which nothing moved for too long, and accepts
// again where that had to pause.
func (l *loop) sweep() {
	l.armed = false
	l.poll.wakeAt(time.Time{})
	for _, c := range l.conns {
		limit := l.limits.idle
		if c.blocked() {
			limit = l.limits.write
		}
		if l.now.Sub(c.moved) > limit {
			l.fail(c, fmt.Errorf("nothing moved for %s", limit))
		}
	}
	if l.paused {
		l.paused = l.listen() != nil
	}
}

// listen has the poll watch for clients that connect; of the loops that share
// the listener the kernel wakes one.
func (l *loop) listen() error { return l.poll.add(l.lnFD, unix.EPOLLIN|unix.EPOLLEXCLUSIVE) }

// accept takes one connection in: the poll says so if there are more, and
// meanwhile another loop may have them.
func (l *loop) accept() {
	fd, from, err := syscall.Accept4(l.lnFD, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	switch err {
	case nil:
		l.begin(fd, from)
	case syscall.EAGAIN, syscall.EINTR, syscall.ECONNABORTED:
	default: // out of descriptors or memory: what is open goes on
		l.log.Warn("connection not accepted", "server", l.ln.Addr(), "err", err)
		l.poll.remove(l.lnFD)
		l.paused = true
		l.arm(acceptPause)
	}
}

// begin serves a new connection.
func (l *loop) begin(fd int, from syscall.Sockaddr) {
	call, err := describe(fd, from)
	if err == nil {
		err = l.poll.add(fd, unix.EPOLLIN)
	}
	if err != nil {
		l.log.Warn("connection refused", "server", l.ln.Addr(), "err", err)
		unix.Close(fd)
		return
	}
	c := &conn{fd: fd, call: call, moved: l.now}
	c.records.Reset(MaxMessage)
	l.conns[fd] = c
	l.turn(c)
}

// end closes a connection.
func (l *loop) end(c *conn) {
	delete(l.conns, c.fd)
	unix.Close(c.fd)
}

// fail closes a connection so that the client knows at once that nothing more is read.
func (l *loop) fail(c *conn, err error) {
	l.log.Debug("connection ended", "client", c.call.Client, "err", err)
	unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	l.end(c)
}
