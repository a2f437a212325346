package socktable

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// messageHeader is the size of struct nlmsghdr (netlink(7)), in bytes.
const messageHeader = unix.SizeofNlMsghdr

// A message is one of netlink.
type message struct {
	kind, flags uint16
	sequence    uint32 // that of the question it answers
	data        []byte
}

// cutMessage returns the first message of a datagram, and what follows it.
func cutMessage(b []byte) (m message, rest []byte, err error) {
	if len(b) < messageHeader {
		return message{}, nil, fmt.Errorf("%w: message of %d bytes", errAnswer, len(b))
	}
	size := binary.NativeEndian.Uint32(b)
	if size < messageHeader || uint64(size) > uint64(len(b)) {
		return message{}, nil, fmt.Errorf("%w: message of %d bytes, of which %d are there", errAnswer, size, len(b))
	}
	m = message{
		kind:     binary.NativeEndian.Uint16(b[4:]),
		flags:    binary.NativeEndian.Uint16(b[6:]),
		sequence: binary.NativeEndian.Uint32(b[8:]),
		data:     b[messageHeader:size],
	}
	return m, b[aligned(int(size), len(b)):], nil
}

// aligned returns where what follows size bytes begins, of length bytes in all.
func aligned(size, length int) int {
	return min((size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), length)
}

// hear calls each with what a datagram tells in answer to a question. If over is
// true, there is no more to come, and an error is what the kernel answers.
func hear(datagram []byte, sequence uint32, each func(answer []byte) error) (over bool, err error) {
	for more := true; more; more = len(datagram) > 0 {
		var m message
		if m, datagram, err = cutMessage(datagram); err != nil {
			return false, err
		}
		switch {
		case m.sequence != sequence:
			return false, fmt.Errorf("%w: it is to question %d, not %d", errAnswer, m.sequence, sequence)
		case m.kind == unix.NLMSG_ERROR, m.kind == unix.NLMSG_DONE:
			return m.end()
		case m.kind != unix.SOCK_DIAG_BY_FAMILY:
			return false, fmt.Errorf("%w: message of kind %d", errAnswer, m.kind)
		}
		if err := each(m.data); err != nil {
			return false, err
		}
		if m.flags&unix.NLM_F_MULTI == 0 {
			return true, nil
		}
	}
	return false, nil
}

// end reads how an answer ends, as a whole dump or with an error: both have a
// number first, 0 or an errno below it.
func (m message) end() (over bool, err error) {
	if len(m.data) < 4 {
		return false, fmt.Errorf("%w: end of %d bytes", errAnswer, len(m.data))
	}
	code := int32(binary.NativeEndian.Uint32(m.data))
	switch {
	case code == 0:
		return true, nil
	case code > 0 || code < -maxErrno:
		return false, fmt.Errorf("%w: error %d", errAnswer, code)
	}
	return true, unix.Errno(-code)
}

// maxErrno is MAX_ERRNO, the largest that the kernel has.
const maxErrno = 4095
