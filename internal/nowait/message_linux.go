package nowait

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Message is struct mmsghdr of recvmmsg(2): the header of a datagram, and the bytes of it that were moved.
type Message struct {
	Header unix.Msghdr
	N      uint32
}

// Receive takes as many datagrams as there are, at most as many as messages, and returns how many; none is [unix.EAGAIN].
func Receive(fd int, m []Message) (int, syscall.Errno) { return move(unix.SYS_RECVMMSG, fd, m) }

// Send sends datagrams, and returns how many; it ends early at one that cannot be sent, and the error is that of the first only.
func Send(fd int, m []Message) (int, syscall.Errno) { return move(unix.SYS_SENDMMSG, fd, m) }

// move is told to the runtime: to receive or to send many takes a while.
func move(call uintptr, fd int, m []Message) (int, syscall.Errno) {
	for {
		n, _, errno := unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}
