package socktable

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// answerSize is the most bytes that the kernel tells at once. Those of a dump are
// as many as are read, but not more than this.
const answerSize = 32 << 10

// overdue is when an answer does not come any more. The kernel has it, or the
// first part of a dump, before the question is sent.
const overdue = time.Second

// A link is a socket on which one question after the other is asked. It blocks:
// there is nothing to wait for, and asking the poller costs more than the answer.
type link struct {
	fd       int
	sequence uint32               // of the last question
	buffer   [answerSize + 1]byte // messages end at multiples of 4 bytes: what fills it was cut off
}

func openLink() (*link, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	l := &link{fd: fd}
	// Once it is connected to the kernel, nobody else can send to it.
	if err := unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		l.close()
		return nil, os.NewSyscallError("connect", err)
	}
	timeout := unix.NsecToTimeval(overdue.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		l.close()
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return l, nil
}

// send asks a question, which must fit into the buffer.
func (l *link) send(flags uint16, request []byte) error {
	l.sequence++
	b := l.buffer[:messageHeader+len(request)]
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(b[8:], l.sequence)
	binary.NativeEndian.PutUint32(b[12:], 0) // the kernel knows our port
	copy(b[messageHeader:], request)
	_, err := uninterrupted(unix.Write, l.fd, b)
	return os.NewSyscallError("write", err)
}

// receive returns the next datagram, which is good until the next call.
func (l *link) receive() ([]byte, error) {
	n, err := uninterrupted(unix.Read, l.fd, l.buffer[:])
	switch {
	case err != nil:
		return nil, os.NewSyscallError("read", err)
	case n == len(l.buffer):
		return nil, fmt.Errorf("%w: more than %d bytes at once", errAnswer, answerSize)
	}
	return l.buffer[:n], nil
}

// uninterrupted repeats a call that a signal ends, as it may where there is a timeout (signal(7)).
func uninterrupted(call func(int, []byte) (int, error), fd int, b []byte) (n int, err error) {
	for {
		if n, err = call(fd, b); err != unix.EINTR {
			return n, err
		}
	}
}

func (l *link) close() { unix.Close(l.fd) }
