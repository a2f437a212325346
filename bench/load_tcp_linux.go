package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const tcpPatience = 5 * time.Second // without any answer

// A connectLoad opens a TCP connection for every call and closes it after the
// answer, several at a time.
type connectLoad struct {
	server   netip.AddrPort
	clients  int
	rows     int
	question question
}

// A caller is one connection of a connectLoad.
type caller struct {
	xid   uint32
	row   int
	reply []byte // of the record: its mark too
	buf   [256]byte
}

// A connectRun is the state of a connectLoad at work.
type connectRun struct {
	connectLoad
	callers []caller
	poll    []unix.PollFd // of the callers; -1, which poll(2) passes over, between calls
}

func newConnectRun(l connectLoad) *connectRun {
	r := &connectRun{
		connectLoad: l,
		callers:     make([]caller, l.clients),
		poll:        make([]unix.PollFd, l.clients),
	}
	for i := range r.poll {
		r.poll[i].Fd = -1
	}
	return r
}

func (r *connectRun) open() error { return nil }

func (r *connectRun) close() {
	for i := range r.poll {
		r.hangUp(i)
	}
}

func (r *connectRun) hangUp(i int) {
	if r.poll[i].Fd >= 0 {
		unix.Close(int(r.poll[i].Fd))
		r.poll[i].Fd = -1
	}
}

func (r *connectRun) run(window time.Duration, t *tally) error {
	pick := rowPicker{rows: r.rows}
	xid := uint32(0)
	start := time.Now()
	for open := 0; ; {
		for i := range r.poll {
			if r.poll[i].Fd >= 0 || time.Since(start) >= window {
				continue
			}
			xid++
			r.callers[i].xid, r.callers[i].row = xid, pick.next()
			fd, err := r.call(&r.callers[i])
			if err != nil {
				return fmt.Errorf("tcp %v: %w", r.server, err)
			}
			r.poll[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
			open++
		}
		if open == 0 {
			return nil
		}
		n, err := unix.Poll(r.poll, int(tcpPatience/time.Millisecond))
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("poll: %w", err)
		}
		if err == nil && n == 0 {
			t.Lost += open
			return nil
		}
		for i := range r.poll {
			if r.poll[i].Fd < 0 || r.poll[i].Revents == 0 {
				continue
			}
			done, err := r.answer(int(r.poll[i].Fd), &r.callers[i])
			switch {
			case err != nil:
				t.wrong(err)
			case done:
				t.Requests++
			default:
				continue
			}
			r.hangUp(i)
			open--
		}
	}
}

// call connects and sends the call of c. Over loopback the handshake is over
// when connect returns, so the socket may block in it.
func (r *connectRun) call(c *caller) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	if err := unix.Connect(fd, sockaddr(r.server)); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("connect: %w", err)
	}
	record := r.question.appendCall(c.buf[:4], c.xid, c.row)
	binary.BigEndian.PutUint32(record, lastFragment|uint32(len(record)-4))
	if _, err := unix.Write(fd, record); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("write: %w", err)
	}
	c.reply = c.buf[:0]
	return fd, nil
}

// answer reads what has come of the reply. An error is an answer that is not
// the right one.
func (r *connectRun) answer(fd int, c *caller) (done bool, err error) {
	n, err := unix.Read(fd, c.buf[len(c.reply):])
	if err != nil {
		return false, fmt.Errorf("read: %w", err)
	}
	if n == 0 {
		return false, fmt.Errorf("closed after %d bytes of the answer", len(c.reply))
	}
	c.reply = c.buf[:len(c.reply)+n]
	if len(c.reply) < 4 {
		return false, nil
	}
	mark := binary.BigEndian.Uint32(c.reply)
	length := int(mark &^ lastFragment)
	if mark&lastFragment == 0 || length > len(c.buf)-4 {
		return false, fmt.Errorf("record mark %#x: %w", mark, errRefused)
	}
	if len(c.reply) < 4+length {
		return false, nil
	}
	return true, r.question.check(c.reply[4:], c.xid, c.row)
}
