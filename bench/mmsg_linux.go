package main

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nowait"
)

// A batch is datagrams of a connected socket that go into or come out of the
// kernel by one system call.
type batch struct {
	headers []nowait.Message
	vectors []unix.Iovec
}

// newBatch returns a batch with room for n datagrams, none of which has a
// buffer yet.
func newBatch(n int) *batch {
	b := &batch{headers: make([]nowait.Message, n), vectors: make([]unix.Iovec, n)}
	for i := range b.headers {
		b.headers[i].Header.Iov = &b.vectors[i]
		b.headers[i].Header.SetIovlen(1)
	}
	return b
}

// set gives datagram i its buffer, which the batch holds on to.
func (b *batch) set(i int, buf []byte) {
	b.vectors[i].Base = &buf[0]
	b.vectors[i].SetLen(len(buf))
}

// length returns how many bytes of datagram i were received.
func (b *batch) length(i int) int { return int(b.headers[i].N) }

// receive takes up to n datagrams that are waiting and does not block: it
// returns 0 when there is none.
func (b *batch) receive(fd, n int) (int, error) {
	got, err := b.call(unix.SYS_RECVMMSG, fd, n)
	if err == unix.EAGAIN || err == unix.EINTR {
		return 0, nil
	}
	return got, err
}

// send sends the first n datagrams.
func (b *batch) send(fd, n int) error {
	_, err := b.call(unix.SYS_SENDMMSG, fd, n)
	if err == unix.EAGAIN || err == unix.ENOBUFS {
		return nil // as good as lost: the retransmission sees to it
	}
	return err
}

// call bypasses the Go scheduler: none of these calls blocks, and the
// generator owns its thread.
func (b *batch) call(number uintptr, fd, n int) (int, error) {
	got, _, errno := syscall.RawSyscall6(number, uintptr(fd),
		uintptr(unsafe.Pointer(&b.headers[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(got), nil
}
