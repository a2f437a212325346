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

// A connectLoad is a client that opens a connection for every call and closes
// it after the answer, as programs do that look up one service, and servers
// that register. It waits in the kernel as they do: several clients are as
// many threads.
type connectLoad struct {
	domain    int // of the server's address
	server    unix.Sockaddr
	firstRow  int
	rows      int        // from firstRow on
	questions []question // about the same row in turn: one request
	firstXID  uint32

	xid   uint32
	poll  [1]unix.PollFd
	reply []byte // of the record: its mark too
	buf   [256]byte
}

// newConnectLoads returns so many TCP clients, each for a thread of its own.
func newConnectLoads(clients int, server netip.AddrPort, rows int, q question) threads {
	var all threads
	for i := range clients {
		all = append(all, &connectLoad{
			domain: unix.AF_INET, server: sockaddr(server),
			rows: rows, questions: []question{q}, firstXID: uint32(i) << 24,
		})
	}
	return all
}

// firstPairRow is beyond the rows that stay registered.
const firstPairRow = 1 << 20

// newPairLoads returns so many clients, each for a thread of its own, that
// register a row of their own over the local socket and take it back.
func newPairLoads(clients int, path string) threads {
	var all threads
	for i := range clients {
		all = append(all, &connectLoad{
			domain: unix.AF_UNIX, server: &unix.SockaddrUnix{Name: path},
			firstRow: firstPairRow + i, rows: 1, questions: []question{setRow{}, unsetRow{}}, firstXID: uint32(i) << 24,
		})
	}
	return all
}

func (c *connectLoad) open() error { return nil }

func (c *connectLoad) close() {}

func (c *connectLoad) run(window time.Duration, t *tally) error {
	pick := rowPicker{rows: c.rows}
	c.xid = c.firstXID
	for start := time.Now(); time.Since(start) < window; {
		if err := c.request(c.firstRow+pick.next(), t); err != nil {
			return err
		}
	}
	return nil
}

// request asks all questions about a row, until one is not answered right.
func (c *connectLoad) request(row int, t *tally) error {
	for _, q := range c.questions {
		c.xid++
		fd, err := c.call(q, row)
		if err != nil {
			return err
		}
		err = c.answer(fd, q, row)
		unix.Close(fd)
		switch {
		case errors.Is(err, unix.EAGAIN):
			t.Lost++
			return nil
		case err != nil:
			t.wrong(err)
			return nil
		}
	}
	t.Requests++
	return nil
}

// call connects and sends the call.
func (c *connectLoad) call(q question, row int) (fd int, err error) {
	fd, err = unix.Socket(c.domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	if err := unix.Connect(fd, c.server); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("connect: %w", err)
	}
	record := q.appendCall(c.buf[:4], c.xid, row)
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
func (c *connectLoad) answer(fd int, q question, row int) error {
	for {
		if err := c.await(fd); err != nil {
			return err
		}
		n, err := unix.Read(fd, c.buf[len(c.reply):])
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
			return q.check(c.reply[4:], c.xid, row)
		}
	}
}

// await waits until there is something to read, as libtirpc does. (On a local
// socket, who waits in read(2) is woken already when the server takes the call.)
func (c *connectLoad) await(fd int) error {
	c.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	for {
		n, err := unix.Poll(c.poll[:], int(tcpPatience/time.Millisecond))
		switch {
		case err == unix.EINTR: // by the Go runtime's own signals
		case err != nil:
			return fmt.Errorf("poll: %w", err)
		case n == 0:
			return unix.EAGAIN
		default:
			return nil
		}
	}
}
