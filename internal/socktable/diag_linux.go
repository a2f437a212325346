package socktable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// What is asked and answered here is described in sock_diag(7), and in the
// kernel's linux/inet_diag.h and linux/unix_diag.h. Ports and addresses are in
// network order, the rest in the machine's.

// A state is that of a socket, TCP's or the nearest to it (tcp_states.h).
type state uint8

const (
	tcpEstablished state = 1
	tcpSynSent     state = 2
	tcpFinWait1    state = 4
	tcpFinWait2    state = 5
	tcpTimeWait    state = 6
	tcpClose       state = 7 // of UDP: not connected
	tcpListen      state = 10
)

// A stateSet has bit 1<<s for state s.
type stateSet uint32

const anyState stateSet = 1<<32 - 1

func (s state) alone() stateSet { return 1 << s }

// Attributes of answers.
const (
	attributeKind = 0x3fff // NLA_TYPE_MASK, the rest are flags

	inetDiagProtocol = 10 // INET_DIAG_PROTOCOL, a byte
	inetDiagV6Only   = 11 // INET_DIAG_SKV6ONLY, a byte

	unixDiagName = 0 // UNIX_DIAG_NAME, as in sun_path
	unixDiagVFS  = 1 // UNIX_DIAG_VFS, the path's inode and device
	unixDiagUID  = 7 // UNIX_DIAG_UID, since Linux 5.3
)

// An inetRequest asks for sockets of IP, as struct inet_diag_req_v2.
type inetRequest struct {
	family   uint8 // AF_INET or AF_INET6
	protocol uint8 // IPPROTO_TCP or IPPROTO_UDP
	states   stateSet
	source   netip.AddrPort // in a dump only the port counts; 0 for any
	dest     netip.AddrPort
	device   uint32 // index of the interface to which the socket is bound; in a dump 0 for any
}

// Sizes of the kernel's structures, in bytes.
const (
	inetRequestSize  = 56
	inetAnswerSize   = 72
	localRequestSize = 24
	localAnswerSize  = 16
)

func (r inetRequest) bytes() (b [inetRequestSize]byte) {
	b[0], b[1] = r.family, r.protocol
	binary.NativeEndian.PutUint32(b[4:], uint32(r.states))
	binary.BigEndian.PutUint16(b[8:], r.source.Port())
	binary.BigEndian.PutUint16(b[10:], r.dest.Port())
	copy(b[12:28], r.source.Addr().AsSlice())
	copy(b[28:44], r.dest.Addr().AsSlice())
	binary.NativeEndian.PutUint32(b[44:], r.device)
	for i := 48; i < 56; i++ {
		b[i] = 0xff // INET_DIAG_NOCOOKIE
	}
	return b
}

// An inetSocket is a socket of IP as the kernel answers, struct inet_diag_msg.
type inetSocket struct {
	state         state
	local, remote netip.AddrPort // never IPv4-mapped, without a zone
	dualStack     bool           // at the wildcard and not restricted to IPv6
	protocol      uint8          // only told of sockets that were closed
	uid, inode    uint32         // both may be 0 once the socket's owner has closed it
}

var errAnswer = errors.New("the kernel's answer is not understood")

func parseInet(b []byte) (inetSocket, error) {
	if len(b) < inetAnswerSize {
		return inetSocket{}, fmt.Errorf("%w: %d bytes", errAnswer, len(b))
	}
	addr := func(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }
	switch b[0] {
	case unix.AF_INET:
	case unix.AF_INET6:
		addr = func(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)).Unmap() }
	default:
		return inetSocket{}, fmt.Errorf("%w: family %d", errAnswer, b[0])
	}
	s := inetSocket{
		state:  state(b[1]),
		local:  netip.AddrPortFrom(addr(b[8:]), binary.BigEndian.Uint16(b[4:])),
		remote: netip.AddrPortFrom(addr(b[24:]), binary.BigEndian.Uint16(b[6:])),
		uid:    binary.NativeEndian.Uint32(b[64:]),
		inode:  binary.NativeEndian.Uint32(b[68:]),
	}
	err := eachAttribute(b[inetAnswerSize:], func(kind uint16, value []byte) {
		switch {
		case kind == inetDiagV6Only && len(value) == 1:
			s.dualStack = value[0] == 0 && s.local.Addr() == netip.IPv6Unspecified()
		case kind == inetDiagProtocol && len(value) == 1:
			s.protocol = value[0]
		}
	})
	return s, err
}

// socket returns s as what others see.
func (s inetSocket) socket() Socket {
	return Socket{Addr: s.local, DualStack: s.dualStack, UID: s.uid, Inode: s.inode}
}

// receiver returns s as what others see; ok is false unless it receives.
func (s inetSocket) receiver(protocol uint8) (_ Socket, ok bool) {
	return s.socket(), s.state == receiving(protocol) && s.local.Port() != 0
}

// receiving is the state of the protocol's sockets that receive.
func receiving(protocol uint8) state {
	if protocol == unix.IPPROTO_TCP {
		return tcpListen
	}
	return tcpClose
}

// localRequest asks for every socket of the UNIX domain that listens, as struct
// unix_diag_req: its name, the file it was bound to and its owner.
func localRequest() (b [localRequestSize]byte) {
	const show = 1<<unixDiagName | 1<<unixDiagVFS | 1<<6 // UDIAG_SHOW_NAME, _VFS, _UID
	b[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(b[4:], uint32(tcpListen.alone()))
	binary.NativeEndian.PutUint32(b[12:], show)
	return b
}

// parseLocal reads struct unix_diag_msg. ok is false for a socket without a name.
func parseLocal(b []byte) (l localSocket, ok bool, err error) {
	if len(b) < localAnswerSize || b[0] != unix.AF_UNIX {
		return localSocket{}, false, fmt.Errorf("%w: %d bytes", errAnswer, len(b))
	}
	l.UID = NoUID
	err = eachAttribute(b[localAnswerSize:], func(kind uint16, value []byte) {
		switch {
		case kind == unixDiagName:
			l.Path = pathOf(value)
		case kind == unixDiagVFS && len(value) >= 8:
			l.inode = binary.NativeEndian.Uint32(value)
		case kind == unixDiagUID && len(value) == 4:
			l.UID, l.hasUID = binary.NativeEndian.Uint32(value), true
		}
	})
	return l, state(b[2]) == tcpListen && l.Path != "", err
}

// pathOf returns a socket's name as people write it.
func pathOf(name []byte) string {
	if len(name) > 0 && name[0] == 0 {
		return "@" + string(name[1:]) // every byte counts, 0 too
	}
	path := unix.ByteSliceToString(name)
	if path != "" && path[0] == '@' {
		return "./" + path // relative, and no abstract name
	}
	return path
}

// eachAttribute calls f for each netlink attribute of an answer.
func eachAttribute(b []byte, f func(kind uint16, value []byte)) error {
	const head = unix.SizeofNlAttr
	for len(b) > 0 {
		if len(b) < head {
			return fmt.Errorf("%w: attribute of %d bytes", errAnswer, len(b))
		}
		size := int(binary.NativeEndian.Uint16(b))
		if size < head || size > len(b) {
			return fmt.Errorf("%w: attribute of %d bytes, of which %d are there", errAnswer, size, len(b))
		}
		f(binary.NativeEndian.Uint16(b[2:])&attributeKind, b[head:size])
		b = b[aligned(size, len(b)):]
	}
	return nil
}
