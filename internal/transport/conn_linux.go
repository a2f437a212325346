package transport

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A conn is one connection. It is not read while an answer is not taken, so
// that a slow reader stops only itself.
type conn struct {
	fd      int
	call    Call // what all calls have in common
	records oncrpc.RecordReader
	moved   time.Time // when bytes last went either way

	// An answer that the client has not taken yet, and what was read behind the
	// call that it answers.
	out     []byte
	body    []byte // shared, after out
	pending []byte
	waiting bool // the poll watches for room to write
}

// blocked tells whether something must be written before more is read.
func (c *conn) blocked() bool { return len(c.out) > 0 || len(c.body) > 0 }

// describe returns a call without a message: who connected, and where. (Package
// syscall's addresses cost one system call less than those of package unix.)
func describe(fd int, from syscall.Sockaddr) (Call, error) {
	client, ok := addrPort(from)
	if !ok {
		peer, err := peerOfFD(fd)
		return Call{NetID: rpcbind.Local, Peer: peer}, err
	}
	local, err := syscall.Getsockname(fd)
	if err != nil {
		return Call{}, os.NewSyscallError("getsockname", err)
	}
	server, _ := addrPort(local)
	return Call{NetID: netIDOf(client.Addr(), rpcbind.TCP, rpcbind.TCP6), Client: client, Server: server.Addr()}, nil
}

func addrPort(s syscall.Sockaddr) (netip.AddrPort, bool) {
	switch s := s.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port)), true
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(s.Addr).Unmap(), uint16(s.Port)), true
	}
	return netip.AddrPort{}, false
}

// Bounds of one turn, so that a connection with much to do does not keep others waiting.
const (
	maxOut  = 32 << 10  // answers that are sent together
	maxTurn = 512 << 10 // bytes written
)

// errHandler ends a connection because its handler said so.
var errHandler = errors.New("the message cannot be answered")

// turn does what can be done on a connection now, and has the poll watch for the rest.
func (l *loop) turn(c *conn) {
	t := turn{loop: l, conn: c, left: maxTurn}
	err := t.run()
	l.out = l.out[:0] // whatever happened, the next connection does not get it
	switch {
	case err == nil:
		err = l.watch(c)
	case errors.Is(err, io.EOF):
		l.end(c)
		return
	}
	if err != nil {
		l.fail(c, err)
	}
}

// watch has the poll wait for what the connection waits for.
func (l *loop) watch(c *conn) error {
	if c.blocked() == c.waiting {
		return nil
	}
	c.waiting = c.blocked()
	if c.waiting {
		return l.poll.change(c.fd, unix.EPOLLOUT)
	}
	return l.poll.change(c.fd, unix.EPOLLIN)
}

// A turn is the work on one connection when the poll says that there is some.
type turn struct {
	*loop
	*conn
	left int // bytes that may still be written
}

func (t *turn) run() error {
	if t.blocked() {
		return t.resume()
	}
	n, err := unix.Read(t.fd, t.in[:])
	switch {
	case err == unix.EAGAIN, err == unix.EINTR:
		return nil
	case err != nil:
		return os.NewSyscallError("read", err)
	case n == 0:
		return io.EOF
	}
	t.moved = t.now
	return t.answer(t.in[:n])
}

// resume goes on with an answer, and then with the calls behind it.
func (t *turn) resume() error {
	if err := t.send(t.conn.out, t.body); err != nil || t.blocked() {
		return err
	}
	pending := t.pending
	t.pending = nil
	return t.answer(pending)
}

// answer answers every record that ends in b, in order. If the client does not
// take the answers, what is left of b waits.
func (t *turn) answer(b []byte) error {
	for len(b) > 0 {
		used, record, err := t.records.Feed(b)
		if err != nil { // what came before it is answered
			return errors.Join(t.flush(nil), err)
		}
		b = b[used:]
		if record == nil {
			break
		}
		t.call.Message = record
		if err := t.reply(); err != nil {
			return err
		}
		if t.blocked() {
			t.pending = append([]byte(nil), b...)
			return nil
		}
	}
	return t.flush(nil)
}

// reply answers one call. Small answers are collected and sent together.
func (t *turn) reply() error {
	start := len(t.loop.out)
	buf := oncrpc.AppendRecordMark(t.loop.out, 0, true) // its size is not known yet
	r := t.handler.Answer(&t.call, buf)
	if r.Head != nil {
		t.loop.out = r.Head
		oncrpc.AppendRecordMark(t.loop.out[:start], len(r.Head)-len(buf)+len(r.Body), true)
	}
	if r.Close {
		return errors.Join(t.flush(nil), errHandler)
	}
	if len(r.Body) > 0 || len(t.loop.out) > maxOut/2 {
		return t.flush(r.Body)
	}
	return nil
}

// flush sends the collected answers and body.
func (t *turn) flush(body []byte) error {
	out := t.loop.out
	t.loop.out = out[:0]
	if cap(out) > 2*maxOut {
		t.loop.out = make([]byte, 0, maxOut)
	}
	return t.send(out, body)
}

// send writes out and then body, as much as the client takes in this turn, and
// keeps the rest in the connection: a copy of out, and body itself.
func (t *turn) send(out, body []byte) error {
	out, err := t.write(out)
	if err == nil && len(out) == 0 {
		body, err = t.write(body)
	}
	if err != nil {
		return err
	}
	t.conn.out = append(t.conn.out[:0], out...)
	t.body = body
	if len(t.conn.out) == 0 {
		t.conn.out = nil
	}
	if len(body) == 0 {
		t.body = nil
	}
	return nil
}

// write writes b until all of it is gone, the client takes no more, or the turn
// is over, and returns the rest.
func (t *turn) write(b []byte) ([]byte, error) {
	for len(b) > 0 && t.left > 0 {
		n, err := unix.Write(t.fd, b[:min(len(b), t.left)])
		switch {
		case err == unix.EAGAIN:
			return b, nil
		case err == unix.EINTR:
			continue
		case err != nil:
			return b, os.NewSyscallError("write", err)
		}
		b = b[n:]
		t.left -= n
		t.moved = t.now
	}
	return b, nil
}
