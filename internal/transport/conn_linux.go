package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nowait"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A conn is one connection. It is not read while an answer is not taken, so
// that a slow reader stops only itself.
type conn struct {
	fd       int   // -1 once it is closed
	guest    guest // whom it counts for
	call     Call  // what all calls have in common
	handler  Handler
	session  Session // the handler, if it is the connection's own; else nil
	messages reader
	held     int       // bytes that messages keeps, as the server counts them
	unsent   int       // the same of answers, and of what waits behind them
	began    time.Time // when the call that is not complete began; zero if there is none
	moved    time.Time // when bytes last went either way

	// An answer that the client has not taken yet, and what was read behind the
	// call that it answers.
	out     []byte
	body    []byte // shared, after out
	pending []byte
	watched uint32 // what the poll watches for; 0: it does not
	last    bool   // it is the last answer
}

// blocked tells whether something must be written before more is read.
func (c *conn) blocked() bool { return len(c.out) > 0 || len(c.body) > 0 }

// describe fills in what all calls have in common: who connected, and where; the
// listener is in the network namespace home.
func (c *conn) describe(from *nowait.Address, home uint64) error {
	client, ok := from.AddrPort()
	if !ok {
		peer, err := peerOfFD(c.fd, home, c)
		c.call = Call{NetID: rpcbind.Local, Peer: peer}
		return err
	}
	name, err := nowait.NameOf(c.fd)
	if err != nil {
		return err
	}
	server, _ := name.AddrPort()
	c.call = Call{
		NetID:  netIDOf(client.Addr(), rpcbind.TCP, rpcbind.TCP6),
		Client: client, Server: server, over: c,
	}
	return nil
}

// Control implements socket for the connection's peer, on the loop's goroutine.
func (c *conn) Control(f func(fd uintptr)) error {
	if c.fd < 0 {
		return net.ErrClosed
	}
	f(uintptr(c.fd))
	return nil
}

// States of a TCP connection, as TCP_INFO has them (netinet/tcp.h).
const (
	tcpEstablished = 1
	tcpCloseWait   = 8
)

// connected tells whether the TCP connection stands, for [Call.Connected].
func (c *conn) connected() bool {
	var state uint8 // the first field of struct tcp_info: the kernel tells as much as there is room for
	err := nowait.Option(c.fd, unix.IPPROTO_TCP, unix.TCP_INFO, &state)
	return err == nil && (state == tcpEstablished || state == tcpCloseWait)
}

// overdue says what took too long on a connection, nil if nothing did.
func (c *conn) overdue(now time.Time, l limits) error {
	still := now.Sub(c.moved)
	switch {
	case c.blocked() && still > l.write:
		return fmt.Errorf("nothing of an answer taken for %s", l.write)
	case c.blocked():
	case still > l.idle:
		return fmt.Errorf("nothing moved for %s", l.idle)
	case !c.began.IsZero() && now.Sub(c.began) > l.record:
		return fmt.Errorf("a call not complete after %s", l.record)
	}
	return nil
}

// Bounds of one turn, so that a connection with much to do does not keep others waiting.
const (
	maxOut  = 32 << 10  // answers that are sent together, unless one alone has more
	maxTurn = 128 << 10 // bytes written
)

// maxKeptOut is the largest memory for answers that the next turn uses again.
const maxKeptOut = 128 << 10

// Errors that end a connection because its handler said so.
var (
	errHandler = errors.New("the message cannot be answered")
	errLast    = errors.New("the last answer was given") // it must arrive, so the connection is not broken off
)

// turn does what can be done on a connection now, and has the poll watch for the rest.
func (l *loop) turn(c *conn) {
	if l.serve(c) {
		l.mind(c)
	}
}

// serve does what can be done on a connection now, and tells whether it is still open.
func (l *loop) serve(c *conn) (open bool) {
	t := turn{loop: l, conn: c, left: maxTurn}
	err := t.run()
	l.out = l.out[:0] // whatever happened, the next connection does not get it
	if err == nil {
		err = l.account(c)
	}
	switch {
	case err == io.EOF, err == errLast:
		l.end(c)
	case err != nil:
		l.fail(c, err)
	}
	return err == nil
}

// mind has the poll watch for what the connection waits for.
func (l *loop) mind(c *conn) {
	if err := l.watch(c); err != nil {
		l.fail(c, err)
	}
}

// account counts what the connection keeps of a message that is not complete, and
// of answers that its client does not take.
func (l *loop) account(c *conn) error {
	switch {
	case exceeds(&l.server.held, &c.held, c.messages.Held(), maxHeld):
		return errHeld
	case exceeds(&l.server.unsent, &c.unsent, cap(c.out)+cap(c.pending), maxUnsent):
		return errUnsent
	}
	return nil
}

// exceeds tells whether a connection that now keeps so many bytes, counted before
// as kept, has the sum of all go beyond the most there may be.
func exceeds(sum *atomic.Int64, kept *int, now int, most int64) bool {
	more := now - *kept
	*kept = now
	return sum.Add(int64(more)) > most && more > 0
}

var (
	errHeld   = fmt.Errorf("messages that are not complete take more than %d MiB", maxHeld>>20)
	errUnsent = fmt.Errorf("answers that are not taken take more than %d MiB", maxUnsent>>20)
)

func (l *loop) watch(c *conn) error {
	before := c.watched
	c.watched = unix.EPOLLIN
	if c.blocked() {
		c.watched = unix.EPOLLOUT
	}
	switch before {
	case c.watched:
		return nil
	case 0:
		return l.poll.add(c.fd, c.watched)
	}
	return l.poll.change(c.fd, c.watched)
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
	n, err := nowait.Read(t.fd, t.in[:])
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
	if t.last {
		return errLast
	}
	pending := t.pending
	t.pending = nil
	if !t.began.IsZero() {
		t.began = t.now // meanwhile nothing more of the call was read
	}
	return t.answer(pending)
}

// answer answers every message that ends in b, in order. If the client does not
// take the answers, what is left of b waits.
func (t *turn) answer(b []byte) error {
	for len(b) > 0 {
		used, message, err := t.messages.Feed(b)
		if err != nil { // what came before it is answered
			return errors.Join(t.flush(nil), err)
		}
		b = b[used:]
		if message == nil {
			break
		}
		t.began = time.Time{}
		t.call.Message = message
		if err := t.reply(); err != nil {
			return err
		}
		if t.blocked() {
			t.pending = append([]byte(nil), b...)
			return nil
		}
	}
	if t.began.IsZero() && t.messages.Partial() {
		t.began = t.now
	}
	return t.flush(nil)
}

// reply answers one call. Small answers are collected and sent together.
func (t *turn) reply() error {
	if err := t.guard.mayAsk(t.call.Client.Addr(), byConnection, &t.asked); err != nil {
		return errors.Join(t.flush(nil), err)
	}
	start := len(t.loop.out)
	buf := t.server.Framing.begin(t.loop.out) // its size is not known yet
	r := t.handler.Answer(&t.call, buf)
	if r.Head != nil {
		t.loop.out = r.Head
		t.server.Framing.end(t.loop.out[start:], len(r.Head)-len(buf)+len(r.Body))
	}
	switch {
	case r.Close && r.Head == nil:
		return errors.Join(t.flush(nil), errHandler)
	case r.Close:
		return t.finish(r.Body)
	}
	if len(r.Body) > 0 || len(t.loop.out) > maxOut/2 {
		return t.flush(r.Body)
	}
	return nil
}

// finish sends the last answers, and ends the connection when the client has taken them.
func (t *turn) finish(body []byte) error {
	t.last = true
	if err := t.flush(body); err != nil || t.blocked() {
		return err
	}
	return errLast
}

// flush sends the collected answers and body.
func (t *turn) flush(body []byte) error {
	out := t.loop.out
	t.loop.out = out[:0]
	if cap(out) > maxKeptOut {
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
		n, err := nowait.Write(t.fd, b[:min(len(b), t.left)])
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
