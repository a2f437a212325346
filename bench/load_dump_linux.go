package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A dumpLoad calls version 4 DUMP over several TCP connections, each with one
// call outstanding.
//
// A dump is so long that to read it costs more than to send it from a cache.
// So the rows of the first are checked one by one, of the others every
// wholeEvery-th is compared with that one, and the rest have their headers
// checked and are then dropped within the kernel. Their length is checked by
// what follows: the header of the next reply. A server is expected to divide
// the same dump into the same fragments every time.
type dumpLoad struct {
	server  netip.AddrPort
	clients int
	rows    int
}

const (
	wholeEvery = 64
	wakeAfter  = 128 << 10 // bytes that have come, or the rest of the reply
	maxDump    = 64 << 20  // bytes of a reply: 100,000 rows are under 8 MiB
)

// fetch calls DUMP once and checks the rows of the reply. It returns the reply
// as the stream carries it, with its record marks.
func (l dumpLoad) fetch() ([]byte, error) {
	conn, err := net.DialTimeout("tcp", l.server.String(), tcpPatience)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(6 * tcpPatience))
	const xid = 1
	if _, err := conn.Write(dumpRecord(xid)); err != nil {
		return nil, err
	}
	var stream bytes.Buffer
	reply, err := readRecord(io.TeeReader(conn, &stream), maxDump)
	if err != nil {
		return nil, err
	}
	return stream.Bytes(), checkDump(reply, xid, l.rows)
}

func dumpRecord(xid uint32) []byte {
	return appendRecord(nil, appendCall(nil, xid, 4, rpcbind.ProcDump))
}

// readRecord reads one record of any number of fragments.
func readRecord(r io.Reader, limit int) ([]byte, error) {
	var record []byte
	for {
		var word [4]byte
		if _, err := io.ReadFull(r, word[:]); err != nil {
			return nil, fmt.Errorf("record mark: %w", err)
		}
		mark := binary.BigEndian.Uint32(word[:])
		length := int(mark &^ oncrpc.LastFragment)
		if length > limit-len(record) {
			return nil, errors.New("record too long")
		}
		start := len(record)
		record = append(record, make([]byte, length)...)
		if _, err := io.ReadFull(r, record[start:]); err != nil {
			return nil, fmt.Errorf("fragment: %w", err)
		}
		if mark&oncrpc.LastFragment != 0 {
			return record, nil
		}
	}
}

// A dumpRun is the state of a dumpLoad at work.
type dumpRun struct {
	dumpLoad
	*tally
	length     int    // of a reply in the stream
	sum        uint32 // of a reply without its head
	dumpers    []dumper
	poll       []unix.PollFd // of the dumpers
	buf        []byte
	xid        uint32 // of the last call
	unanswered int
	start      time.Time
	window     time.Duration
}

// A dumper is one connection of a dumpRun.
type dumper struct {
	fd   int
	xid  uint32
	head [dumpHead]byte
	got  int    // bytes of the reply
	sum  uint32 // of those after the head, when they are looked at
	want int    // bytes poll(2) waits for
}

// dumpHead is the part of a reply that is always checked: the first record
// mark and the header.
const dumpHead = 4 + replyHeaderLength

func (r *dumpRun) open() error {
	stream, err := r.fetch()
	if err != nil {
		return fmt.Errorf("dump %v: %w", r.server, err)
	}
	if len(stream) < dumpHead {
		return fmt.Errorf("dump %v: a first fragment without a header", r.server)
	}
	r.length, r.sum = len(stream), crc32.ChecksumIEEE(stream[dumpHead:])
	r.buf = make([]byte, 1<<20)
	for range r.clients {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		r.dumpers = append(r.dumpers, dumper{fd: fd})
		r.poll = append(r.poll, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		if err := unix.Connect(fd, sockaddr(r.server)); err != nil {
			return fmt.Errorf("connect %v: %w", r.server, err)
		}
	}
	return nil
}

func (r *dumpRun) close() {
	for _, d := range r.dumpers {
		unix.Close(d.fd)
	}
}

func (r *dumpRun) run(window time.Duration, t *tally) error {
	r.start, r.window, r.tally = time.Now(), window, t
	for i := range r.dumpers {
		if err := r.ask(&r.dumpers[i]); err != nil {
			return err
		}
	}
	for r.unanswered > 0 {
		n, err := unix.Poll(r.poll, int(tcpPatience/time.Millisecond))
		if err != nil && err != unix.EINTR {
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
			if err := r.read(&r.dumpers[i]); err != nil {
				return fmt.Errorf("dump %v: %w", r.server, err)
			}
		}
	}
	return nil
}

// ask calls on d, unless the time is over.
func (r *dumpRun) ask(d *dumper) error {
	if time.Since(r.start) >= r.window {
		return nil
	}
	r.xid++
	d.xid, d.got, d.sum = r.xid, 0, 0
	r.unanswered++
	if err := r.await(d); err != nil {
		return err
	}
	if _, err := unix.Write(d.fd, dumpRecord(d.xid)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// await has poll(2) wake us for a large part of the reply, not for each of
// the small ones a server may write.
func (r *dumpRun) await(d *dumper) error {
	want := min(r.length-d.got, wakeAfter)
	if want == d.want {
		return nil
	}
	d.want = want
	if err := unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, want); err != nil {
		return fmt.Errorf("SO_RCVLOWAT: %w", err)
	}
	return nil
}

// read takes what has come of the reply on d; when it is whole, d asks again.
// After a wrong one nothing is to be found in the stream any more.
func (r *dumpRun) read(d *dumper) error {
	into, flags := d.head[min(d.got, dumpHead):], 0
	whole := d.xid%wholeEvery == 0
	if d.got >= dumpHead {
		into = r.buf[:min(len(r.buf), r.length-d.got)]
		if !whole {
			flags = unix.MSG_TRUNC // dropped, not copied: see tcp(7)
		}
	}
	n, _, err := unix.Recvfrom(d.fd, into, flags)
	if err != nil {
		return fmt.Errorf("recvfrom: %w", err)
	}
	if n == 0 {
		return errors.New("closed within a reply")
	}
	if whole && d.got >= dumpHead {
		d.sum = crc32.Update(d.sum, crc32.IEEETable, into[:n])
	}
	if d.got += n; d.got == dumpHead {
		if _, err := checkReply(d.head[4:], d.xid); err != nil {
			return err
		}
	}
	if d.got < r.length {
		return r.await(d)
	}
	if whole && d.sum != r.sum {
		return errors.New("a reply differs from the first")
	}
	r.unanswered--
	r.Requests++
	return r.ask(d)
}
