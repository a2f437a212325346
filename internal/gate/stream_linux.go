package gate

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/follow"
	"github.com/quaymaster/quaymaster/internal/nowait"
)

// Times say how long sessions may take.
type times struct {
	connect time.Duration // for the server to accept
	first   time.Duration // for what the client says first, after the server last said something
	write   time.Duration // in which a side takes nothing
	half    time.Duration // in which nothing moves after one side ended
	idle    time.Duration // in which nothing moves
	idleFTP time.Duration // the same of FTP: a transfer may take that long
	last    time.Duration // for the client to take the last words
	flow    time.Duration // in which no datagram comes
	sweep   time.Duration // how often that is looked into
}

var usualTimes = times{
	connect: 30 * time.Second, first: 30 * time.Second, write: time.Minute, half: 5 * time.Minute,
	idle: time.Hour, idleFTP: 12 * time.Hour, last: 2 * time.Second, flow: 30 * time.Second, sweep: time.Second,
}

// Bounds of what sides have not taken.
const (
	maxAnswers = 64 << 10 // bytes for a side that says more meanwhile
	maxUnsent  = 64 << 20 // of all
	readAtOnce = 16 << 10
)

// A stream is a session over TCP. What one side says is read when the other has taken what was said before, so
// that nothing piles up.
type stream struct {
	session
	ends       [2]end // by side
	connecting bool
	spoke      bool      // something that the client said was passed on
	failed     error     // what the follower cannot follow: the session ends when the steps are done
	kept       bool      // the connections have what those that last have
	last       time.Time // since when the client only gets the last words; zero: the session goes on
}

// An end is a connection of a stream.
type end struct {
	watch
	out   []byte    // what it has not taken yet
	moved time.Time // when it last said or took something
	eof   bool      // it says no more
	shut  bool      // it was told that the other says no more
}

// beginStream begins a session on a connection.
func (l *loop) beginStream(fd int, e *Entry, client, server netip.AddrPort) {
	up, err := dial(tcp, client.Addr(), server)
	if err != nil {
		l.refuse(tcp, e, client, server, "kernel", "the server: "+err.Error())
		breakOff(fd)
		unix.Close(fd)
		return
	}
	s := &stream{connecting: true}
	s.loop, s.Transport, s.Client, s.Server = l, tcp, client, server
	for side, fd := range []int{fd, up} {
		s.ends[side] = end{watch: watch{fd: fd, owner: s}, moved: l.now}
	}
	l.streams++
	s.begin(e, s)
	s.read(follow.Client) // who calls a mapper speaks first, and has mostly done so by now
	s.settle()
}

// end closes both connections: each side is told that the other says no more.
func (s *stream) end(why string) {
	if s.over {
		return
	}
	l := s.loop
	l.streams--
	for i := range s.ends {
		l.unsent -= len(s.ends[i].out)
		s.ends[i].out = nil
		l.poll.end(&s.ends[i].watch)
	}
	s.session.end(why)
}

// fail ends the session at once, and has both sides know.
func (s *stream) fail(why string) {
	for i := range s.ends {
		if fd := s.ends[i].fd; fd >= 0 {
			breakOff(fd)
		}
	}
	s.end(why)
}

// ready implements [waiter].
func (s *stream) ready(w *watch, events uint32) {
	side := follow.Client
	if w == &s.ends[follow.Server].watch {
		side = follow.Server
	}
	if s.connecting && side == follow.Server {
		s.connected()
		return
	}
	if events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		s.flush(side)
	}
	if !s.over && events&(unix.EPOLLIN|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		if s.mayRead(side) {
			s.read(side)
		} else if s.busy { // it is not looked at before the kernel has answered
			s.await(side)
		}
	}
	s.settle()
}

// connected handles that the server accepted, or did not.
func (s *stream) connected() {
	code, err := unix.GetsockoptInt(s.ends[follow.Server].fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if err != nil {
		s.fail("the server: " + err.Error())
		return
	}
	s.connecting = false
	s.ends[follow.Server].moved = s.loop.now
	s.flush(follow.Server)
	s.settle()
}

// mayRead reports whether more may be read of a side.
func (s *stream) mayRead(side follow.Side) bool {
	e, other := &s.ends[side], &s.ends[side.Other()]
	switch {
	case s.connecting && side == follow.Server || e.fd < 0 || e.eof:
		return false
	case !s.last.IsZero():
		return side == follow.Client
	}
	return !s.busy && s.failed == nil && len(other.out) == 0 && len(e.out) < maxAnswers
}

// read takes what a side says.
func (s *stream) read(side follow.Side) {
	l, e := s.loop, &s.ends[side]
	n, err := nowait.Read(e.fd, l.in[:readAtOnce])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return
	case err != nil:
		s.fail(fmt.Sprintf("the %s: %v", side, err))
		return
	case n == 0:
		e.eof = true
		return
	case !s.last.IsZero():
		return // nobody is told
	}
	e.moved, s.Last = l.now, l.now
	steps, err := s.follower.Follow(side, l.in[:n])
	s.failed = err
	s.take(steps)
}

// send implements [carrier].
func (s *stream) send(to follow.Side, data []byte) {
	e := &s.ends[to]
	if e.fd < 0 {
		return
	}
	s.spoke = s.spoke || to == follow.Server
	if len(e.out) == 0 {
		n, err := nowait.Write(e.fd, data)
		switch {
		case err == nil:
			data, e.moved = data[n:], s.loop.now
			s.connecting = s.connecting && to == follow.Client
		case err == unix.EAGAIN || err == unix.EINTR:
		default:
			s.fail(fmt.Sprintf("the %s: %v", to, err))
			return
		}
	}
	if len(data) == 0 {
		return
	}
	e.out = append(e.out, data...)
	if s.loop.unsent += len(data); s.loop.unsent > maxUnsent {
		s.refuse("limit", endpoint.Interface{}, fmt.Sprintf("over %d MiB are not taken by those they are for", maxUnsent>>20))
		s.fail("too much is not taken")
	}
}

// flush sends what a side had not taken.
func (s *stream) flush(to follow.Side) {
	e := &s.ends[to]
	if len(e.out) == 0 {
		return
	}
	n, err := nowait.Write(e.fd, e.out)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return
	case err != nil:
		s.fail(fmt.Sprintf("the %s: %v", to, err))
		return
	}
	e.moved = s.loop.now
	s.loop.unsent -= n
	if e.out = e.out[n:]; len(e.out) == 0 {
		e.out = nil
	}
}

// worked implements [carrier].
func (s *stream) worked() {
	if s.failed != nil && s.last.IsZero() {
		s.finish(s.failed)
	}
	s.settle()
}

// finish ends a session that cannot be followed: the client gets the last words.
func (s *stream) finish(err error) {
	s.last, s.connecting = s.loop.now, false
	if r := (*follow.Refusal)(nil); errors.As(err, &r) {
		s.report(r)
	}
	s.loop.poll.end(&s.ends[follow.Server].watch)
}

// settle does what follows from how both ends stand now, and waits for the rest.
func (s *stream) settle() {
	client, server := &s.ends[follow.Client], &s.ends[follow.Server]
	switch {
	case s.over || s.busy:
		return
	case !s.last.IsZero():
		if len(client.out) == 0 && !client.shut {
			client.shut = true
			unix.Shutdown(client.fd, unix.SHUT_WR) // an error will be read
		}
		if client.eof {
			s.end(s.failed.Error())
			return
		}
	case client.eof && s.quiet():
		s.end("the client ended it")
		return
	case server.eof && s.quiet():
		s.end("the server ended it")
		return
	default:
		s.passEnd(follow.Client)
		s.passEnd(follow.Server)
		if client.shut && server.shut {
			s.end("both sides ended it")
			return
		}
	}
	s.await(follow.Client)
	s.await(follow.Server)
}

// quiet reports whether both sides have all that they are to get.
func (s *stream) quiet() bool {
	return len(s.ends[follow.Client].out)+len(s.ends[follow.Server].out) == 0 && s.follower.Quiet()
}

// passEnd tells the other side that a side says no more, when it has all that was said before.
func (s *stream) passEnd(side follow.Side) {
	e, other := &s.ends[side], &s.ends[side.Other()]
	if !e.eof || len(other.out) > 0 || other.shut || s.connecting {
		return
	}
	if w, ok := s.follower.(interface{ Waiting() bool }); ok && side == follow.Client && w.Waiting() {
		return // there is more for the server
	}
	other.shut = true
	unix.Shutdown(other.fd, unix.SHUT_WR)
}

// await has the poll watch for what an end waits for.
func (s *stream) await(side follow.Side) {
	e := &s.ends[side]
	if s.over || e.fd < 0 {
		return
	}
	events := uint32(0)
	if s.mayRead(side) {
		events |= unix.EPOLLIN
	}
	if len(e.out) > 0 || s.connecting && side == follow.Server {
		events |= unix.EPOLLOUT
	}
	if err := s.loop.poll.want(&e.watch, events); err != nil {
		s.fail(err.Error())
	}
}

// keep has the kernel look after the connection to the server, once it has lasted for a sweep: most that ask a mapper are over by then. That
// of the client has it from its listener.
func (s *stream) keep() {
	if e := &s.ends[follow.Server]; !s.kept && e.fd >= 0 && s.loop.now.Sub(s.Since) >= s.loop.gate.times.sweep {
		s.kept = true
		if err := setAll(e.fd, keepOptions); err != nil {
			s.fail(err.Error())
		}
	}
}

// sweep ends the session if it took too long.
func (s *stream) sweep() {
	if s.keep(); s.over {
		return
	}
	now, times := s.loop.now, &s.loop.gate.times
	client, server := &s.ends[follow.Client], &s.ends[follow.Server]
	still := func(d time.Duration, since ...time.Time) bool {
		for _, t := range since {
			if now.Sub(t) < d {
				return false
			}
		}
		return true
	}
	idle := times.idle
	if s.Protocol == FTP {
		idle = times.idleFTP
	}
	why := ""
	switch {
	case s.connecting && still(times.connect, s.Since):
		why = fmt.Sprintf("the server did not answer for %s", times.connect)
	case s.connecting, s.busy:
	case !s.last.IsZero() && still(times.last, s.last):
		why = s.failed.Error()
	case !s.spoke && still(times.first, s.Since, server.moved):
		why = fmt.Sprintf("the client said nothing for %s", times.first)
	case len(client.out) > 0 && still(times.write, client.moved):
		why = fmt.Sprintf("the client took nothing for %s", times.write)
	case len(server.out) > 0 && still(times.write, server.moved):
		why = fmt.Sprintf("the server took nothing for %s", times.write)
	case (client.eof || server.eof) && still(times.half, client.moved, server.moved):
		why = fmt.Sprintf("one side ended it, and the other said nothing for %s", times.half)
	case still(idle, client.moved, server.moved):
		why = fmt.Sprintf("nothing was said for %s", idle)
	}
	if why == "" {
		return
	}
	if s.last.IsZero() {
		s.refuse("time", endpoint.Interface{}, why)
	}
	s.fail(why)
}
