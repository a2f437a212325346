package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/wire/oncrpc"
)

const tcpPatience = 5 * time.Second // without any answer

// A connectLoad is several clients that open a connection for every call and
// close it after the answer, as programs do that look up one service, and
// servers that register. One thread does it all, with as few system calls as
// there are, so that the server is the limit: what its clients take of a machine
// with two processors, a server that can use both does not get.
type connectLoad struct {
	domain    int // of the server's address
	server    unix.Sockaddr
	clients   []caller
	questions []question // about the same row in turn: one request
}

// newConnectRun returns so many TCP clients, which ask about any of the rows.
func newConnectRun(clients int, server netip.AddrPort, rows int, q question) *connectRun {
	r := &connectRun{connectLoad: connectLoad{domain: unix.AF_INET, server: sockaddr(server), questions: []question{q}}}
	for range clients {
		r.clients = append(r.clients, caller{rows: rowPicker{rows: rows}})
	}
	return r
}

// firstPairRow is beyond the rows that stay registered.
const firstPairRow = 1 << 20

// newPairRun returns so many clients that register a row of their own over the
// local socket and take it back.
func newPairRun(clients int, path string) *connectRun {
	r := &connectRun{connectLoad: connectLoad{
		domain: unix.AF_UNIX, server: &unix.SockaddrUnix{Name: path}, questions: []question{setRow{}, unsetRow{}},
	}}
	for i := range clients {
		r.clients = append(r.clients, caller{first: firstPairRow + i, rows: rowPicker{rows: 1}})
	}
	return r
}

// A caller is one client of a connectRun.
type caller struct {
	first int       // row
	rows  rowPicker // from the first on

	row   int
	asked int // questions about it that were answered
	xid   uint32
	got   int       // bytes of the reply
	reply [256]byte // the record: its mark too
}

// A connectRun is the state of a connectLoad at work.
type connectRun struct {
	connectLoad
	*tally
	poll       []unix.PollFd // of the clients; a negative descriptor is left out
	call       [256]byte
	xid        uint32 // of the last call
	unanswered int
	start      time.Time
	window     time.Duration
}

func (r *connectRun) open() error {
	for range r.clients {
		r.poll = append(r.poll, unix.PollFd{Fd: -1, Events: unix.POLLIN})
	}
	return nil
}

func (r *connectRun) close() {
	for i := range r.poll {
		r.hangUp(i)
	}
}

func (r *connectRun) run(window time.Duration, t *tally) error {
	r.start, r.window, r.tally = time.Now(), window, t
	for i := range r.clients {
		if err := r.request(i); err != nil {
			return err
		}
	}
	for r.unanswered > 0 {
		// (On a local socket, who waits in read(2) is woken already when the server
		// takes the call.)
		n, err := unix.Poll(r.poll, int(tcpPatience/time.Millisecond))
		if err != nil && err != unix.EINTR { // by the Go runtime's own signals
			return fmt.Errorf("poll: %w", err)
		}
		if err == nil && n == 0 {
			t.Lost += r.unanswered
			return nil
		}
		for i := range r.poll {
			if r.poll[i].Revents == 0 {
				continue
			}
			if err := r.read(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// request has client i ask the first question about a row, unless the time is over.
func (r *connectRun) request(i int) error {
	if time.Since(r.start) >= r.window {
		return nil
	}
	c := &r.clients[i]
	c.row, c.asked = c.first+c.rows.next(), 0
	return r.ask(i)
}

// ask has client i connect and send its next question.
func (r *connectRun) ask(i int) error {
	c := &r.clients[i]
	fd, err := unix.Socket(r.domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	r.poll[i].Fd, c.got = int32(fd), 0
	if err := unix.Connect(fd, r.server); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	r.xid++
	c.xid = r.xid
	record := r.questions[c.asked].appendCall(r.call[:4], c.xid, c.row)
	oncrpc.AppendRecordMark(record[:0], len(record)-oncrpc.RecordMarkSize, true)
	if _, err := unix.Write(fd, record); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	r.unanswered++
	return nil
}

// read takes what has come of the reply to client i. When that is whole the client
// goes on, after a wrong one with another request.
func (r *connectRun) read(i int) error {
	c := &r.clients[i]
	n, err := unix.Read(int(r.poll[i].Fd), c.reply[c.got:])
	if err == nil && n == 0 {
		err = fmt.Errorf("closed after %d bytes of the answer", c.got)
	}
	whole := false
	if err == nil {
		c.got += n
		whole, err = c.check(r.questions[c.asked])
	}
	if err == nil && !whole {
		return nil
	}
	r.hangUp(i)
	r.unanswered--
	if err != nil {
		r.wrong(err)
		return r.request(i)
	}
	if c.asked++; c.asked < len(r.questions) {
		return r.ask(i)
	}
	r.Requests++
	return r.request(i)
}

// hangUp closes the connection of client i, if it has one.
func (r *connectRun) hangUp(i int) {
	if r.poll[i].Fd >= 0 {
		unix.Close(int(r.poll[i].Fd))
		r.poll[i].Fd = -1
	}
}

// check tells whether the whole reply is there, and what is wrong with it.
func (c *caller) check(q question) (whole bool, err error) {
	if c.got < oncrpc.RecordMarkSize {
		return false, nil
	}
	mark := binary.BigEndian.Uint32(c.reply[:])
	length := int(mark &^ oncrpc.LastFragment)
	switch {
	case mark&oncrpc.LastFragment == 0 || length > len(c.reply)-oncrpc.RecordMarkSize:
		return false, fmt.Errorf("record mark %#x: %w", mark, errRefused)
	case c.got < oncrpc.RecordMarkSize+length:
		return false, nil
	}
	return true, q.check(c.reply[oncrpc.RecordMarkSize:][:length], c.xid, c.row)
}
