package main

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const tcpPatience = 5 * time.Second // without any answer

// A streamLoad is several clients over connections, each with one call
// outstanding. One thread does it all, with as few system calls as there are,
// so that the server is the limit: what its clients take of a machine with two
// processors, a server that can use both does not get.
type streamLoad struct {
	domain    int // of the server's address
	server    unix.Sockaddr
	clients   []caller
	greeting  streamQuestion   // the first on every connection; nil: none, where they do not last
	questions []streamQuestion // about the same row in turn: one request
	lasting   bool             // connections, which are opened beforehand if there is a greeting; else each question has one of its own
	room      int              // bytes of the longest reply
}

// shortReply has room for every reply but those that list all rows.
const shortReply = 256

// shortHTTP has room for a reply of the control socket about one thing.
const shortHTTP = 1 << 10

// newConnectRun returns so many clients that ask a port mapper about any of the
// rows, with a connection for every call, as programs do that look up one service.
func newConnectRun(clients int, server netip.AddrPort, rows int, q question) *streamRun {
	return &streamRun{streamLoad: streamLoad{
		domain: unix.AF_INET, server: sockaddr(server), clients: newCallers(clients, rows),
		questions: []streamQuestion{record{q}}, room: shortReply,
	}}
}

// firstPairRow is beyond the rows that stay registered.
const firstPairRow = 1 << 20

// newPairRun returns so many clients that register a row of their own over the
// local socket and take it back, with a connection for each, as servers do.
func newPairRun(clients int, path string) *streamRun {
	r := &streamRun{streamLoad: streamLoad{
		domain: unix.AF_UNIX, server: &unix.SockaddrUnix{Name: path}, clients: newCallers(clients, 1),
		questions: []streamQuestion{record{setRow{}}, record{unsetRow{}}}, room: shortReply,
	}}
	for i := range r.clients {
		r.clients[i].first = firstPairRow + i
	}
	return r
}

// newGrantRun returns so many clients that are given a port over the control
// socket and give it back, each over its connection, as a program does that starts servers.
func newGrantRun(clients int, path string) *streamRun {
	given := make(grants, clients)
	r := &streamRun{streamLoad: streamLoad{
		domain: unix.AF_UNIX, server: &unix.SockaddrUnix{Name: path}, clients: newCallers(clients, 1),
		questions: []streamQuestion{grantPort{given}, releasePort{given}}, lasting: true, room: shortHTTP,
	}}
	for i := range r.clients {
		r.clients[i].first = i
	}
	return r
}

// newBindRun returns so many clients that ask an endpoint mapper about any of the
// rows, with a connection for every call.
func newBindRun(clients int, server netip.AddrPort, rows int, q streamQuestion) *streamRun {
	return &streamRun{streamLoad: streamLoad{
		domain: unix.AF_INET, server: sockaddr(server), clients: newCallers(clients, rows),
		greeting: bind{}, questions: []streamQuestion{q}, room: shortReply,
	}}
}

// newLastingRun returns so many clients as newBindRun does, but they keep their connections.
func newLastingRun(clients int, server netip.AddrPort, rows int, q streamQuestion, room int) *streamRun {
	r := newBindRun(clients, server, rows, q)
	r.lasting, r.room = true, room
	return r
}

// A caller is one client of a streamRun.
type caller struct {
	first int       // row
	rows  rowPicker // from the first on

	fd      int // -1: none
	greeted bool
	row     int
	asked   int           // questions about it that were answered
	began   time.Duration // with the first of them, since the start of the run
	xid     uint32
	got     int // bytes of the reply
	reply   []byte
}

func newCallers(n, rows int) []caller {
	clients := make([]caller, n)
	for i := range clients {
		clients[i] = caller{fd: -1, rows: rowPicker{rows: rows}}
	}
	return clients
}

// A streamRun is the state of a streamLoad at work.
type streamRun struct {
	streamLoad
	*tally
	poll       int
	call       [512]byte
	xid        uint32 // of the last call
	opening    bool   // the lasting connections: nothing but the greeting is asked
	unanswered int
	start      time.Time
	window     time.Duration
	latency    histogram
}

func (r *streamRun) open() (err error) {
	if r.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		r.poll = -1
		return fmt.Errorf("epoll_create1: %w", err)
	}
	for i := range r.clients {
		r.clients[i].reply = make([]byte, r.room)
	}
	if !r.lasting || r.greeting == nil {
		return nil
	}
	t := new(tally)
	r.opening = true
	err = r.everybody(t, 0, r.ask)
	r.opening = false
	if err == nil && t.Wrong+t.Lost > 0 {
		err = fmt.Errorf("of %d connections %d lost, %d refused: %s", len(r.clients), t.Lost, t.Wrong, t.FirstWrong)
	}
	return err
}

func (r *streamRun) close() {
	for i := range r.clients {
		r.clients[i].hangUp()
	}
	if r.poll >= 0 {
		unix.Close(r.poll)
	}
}

func (r *streamRun) run(window time.Duration, t *tally) error {
	if err := r.everybody(t, window, r.request); err != nil {
		return err
	}
	t.time(&r.latency)
	return nil
}

// everybody has every client begin, and takes the replies until no call is outstanding.
func (r *streamRun) everybody(t *tally, window time.Duration, begin func(client int) error) error {
	r.start, r.window, r.tally = time.Now(), window, t
	for i := range r.clients {
		if err := begin(i); err != nil {
			return err
		}
	}
	events := make([]unix.EpollEvent, len(r.clients))
	for r.unanswered > 0 {
		n, err := unix.EpollWait(r.poll, events, int(tcpPatience/time.Millisecond))
		if err != nil && err != unix.EINTR { // by the Go runtime's own signals
			return fmt.Errorf("epoll_wait: %w", err)
		}
		if err == nil && n == 0 {
			t.Lost += r.unanswered
			r.latency.add(tcpPatience)
			return nil
		}
		for _, event := range events[:max(n, 0)] {
			if err := r.read(int(event.Fd)); err != nil {
				return err
			}
		}
	}
	return nil
}

// request has client i begin to ask about a row, unless the time is over.
func (r *streamRun) request(i int) error {
	c := &r.clients[i]
	c.began = time.Since(r.start)
	if c.began >= r.window {
		return nil
	}
	c.row, c.asked = c.first+c.rows.next(), 0
	return r.ask(i)
}

// ask has client i send its next question, over a new connection if it has none.
func (r *streamRun) ask(i int) error {
	c := &r.clients[i]
	if c.fd < 0 {
		if err := r.connect(i); err != nil {
			return err
		}
	}
	r.xid++
	c.xid, c.got = r.xid, 0
	if _, err := unix.Write(c.fd, r.question(c).appendCall(r.call[:0], c.xid, c.row)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	r.unanswered++
	return nil
}

func (r *streamRun) connect(i int) (err error) {
	c := &r.clients[i]
	if c.fd, err = unix.Socket(r.domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		c.fd = -1
		return fmt.Errorf("socket: %w", err)
	}
	c.greeted = r.greeting == nil
	if err := unix.Connect(c.fd, r.server); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	// (On a local socket, who waits in read(2) is woken already when the server
	// takes the call.)
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
	if err := unix.EpollCtl(r.poll, unix.EPOLL_CTL_ADD, c.fd, &event); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// question returns what c asks next, or has asked.
func (r *streamRun) question(c *caller) streamQuestion {
	if !c.greeted {
		return r.greeting
	}
	return r.questions[c.asked]
}

// read takes what has come of the reply to client i. When that is whole the client
// goes on, after a wrong one with another request over another connection.
func (r *streamRun) read(i int) error {
	c := &r.clients[i]
	n, err := unix.Read(c.fd, c.reply[c.got:])
	if err == nil && n == 0 {
		err = fmt.Errorf("closed after %d bytes of the answer", c.got)
	}
	whole := false
	if err == nil {
		c.got += n
		whole, err = c.check(r.question(c))
	}
	if err == nil && !whole {
		return nil
	}
	r.unanswered--
	if err != nil {
		r.wrong(err)
		c.hangUp()
		return r.request(i)
	}
	return r.answered(i)
}

// answered has client i go on after a reply that was right.
func (r *streamRun) answered(i int) error {
	c := &r.clients[i]
	if !c.greeted {
		c.greeted = true
		if r.opening {
			return nil
		}
		return r.ask(i)
	}
	if !r.lasting {
		c.hangUp()
	}
	if c.asked++; c.asked < len(r.questions) {
		return r.ask(i)
	}
	r.Requests++
	r.latency.add(time.Since(r.start) - c.began)
	return r.request(i)
}

// hangUp closes the connection of c, if it has one.
func (c *caller) hangUp() {
	if c.fd >= 0 {
		unix.Close(c.fd)
		c.fd = -1
	}
}

// check tells whether the whole reply is there, and what is wrong with it.
func (c *caller) check(q streamQuestion) (whole bool, err error) {
	length, err := q.replyLength(c.reply[:c.got])
	switch {
	case err != nil:
		return false, err
	case length > len(c.reply):
		return false, fmt.Errorf("a reply of %d bytes, %d are expected at most", length, len(c.reply))
	case length == 0 || c.got < length:
		return false, nil
	}
	return true, q.check(c.reply[:length], c.xid, c.row)
}
