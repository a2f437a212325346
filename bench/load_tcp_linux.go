package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/wire/oncrpc"
)

const tcpPatience = 5 * time.Second // without any answer

// A connectLoad is a client that opens a TCP connection for every call and
// closes it after the answer, as programs do that look up one service. It
// waits in the kernel as they do: several clients are as many threads.
type connectLoad struct {
	server   netip.AddrPort
	rows     int
	first    uint32 // xid
	question question

	xid   uint32
	row   int
	reply []byte // of the record: its mark too
	buf   [256]byte
}

// newConnectLoads returns so many clients, each for a thread of its own.
func newConnectLoads(clients int, server netip.AddrPort, rows int, q question) threads {
	var all threads
	for i := range clients {
		all = append(all, &connectLoad{server: server, rows: rows, question: q, first: uint32(i) << 24})
	}
	return all
}

func (c *connectLoad) open() error { return nil }

func (c *connectLoad) close() {}

func (c *connectLoad) run(window time.Duration, t *tally) error {
	pick := rowPicker{rows: c.rows}
	c.xid = c.first
	for start := time.Now(); time.Since(start) < window; {
		c.xid++
		c.row = pick.next()
		fd, err := c.call()
		if err != nil {
			return fmt.Errorf("tcp %v: %w", c.server, err)
		}
		err = c.answer(fd)
		unix.Close(fd)
		switch {
		case errors.Is(err, unix.EAGAIN):
			t.Lost++
		case err != nil:
			t.wrong(err)
		default:
			t.Requests++
		}
	}
	return nil
}

// call connects and sends the call.
func (c *connectLoad) call() (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	patience := unix.NsecToTimeval(int64(tcpPatience))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("SO_RCVTIMEO: %w", err)
	}
	if err := unix.Connect(fd, sockaddr(c.server)); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("connect: %w", err)
	}
	record := c.question.appendCall(c.buf[:4], c.xid, c.row)
	oncrpc.AppendRecordMark(record[:0], len(record)-oncrpc.RecordMarkSize, true)
	if _, err := unix.Write(fd, record); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("write: %w", err)
	}
	c.reply = c.buf[:0]
	return fd, nil
}

// answer reads the reply. An error is an answer that is not the right one, or
// unix.EAGAIN if none came.
func (c *connectLoad) answer(fd int) error {
	for {
		n, err := unix.Read(fd, c.buf[len(c.reply):])
		if err == unix.EINTR { // by the Go runtime's own signals
			continue
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if n == 0 {
			return fmt.Errorf("closed after %d bytes of the answer", len(c.reply))
		}
		c.reply = c.buf[:len(c.reply)+n]
		if len(c.reply) < 4 {
			continue
		}
		mark := binary.BigEndian.Uint32(c.reply)
		length := int(mark &^ oncrpc.LastFragment)
		if mark&oncrpc.LastFragment == 0 || length > len(c.buf)-4 {
			return fmt.Errorf("record mark %#x: %w", mark, errRefused)
		}
		if len(c.reply) >= 4+length {
			return c.question.check(c.reply[4:], c.xid, c.row)
		}
	}
}
