package gate

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nowait"
)

// batch is how many datagrams one system call receives or sends at most.
const batch = 16

// receiveSize is the room for one datagram, more than any follower takes: what is cut off is refused for its length.
const receiveSize = 16 << 10

// A controlMessage holds what the kernel says beside a datagram, or is told: one message, aligned as it wants it.
type controlMessage [8]uint64

// header returns the head of the message, of so many bytes.
func (c *controlMessage) header() *unix.Cmsghdr { return (*unix.Cmsghdr)(unsafe.Pointer(c)) }

// data returns where the message begins.
func (c *controlMessage) data() unsafe.Pointer { return unsafe.Add(unsafe.Pointer(c), unix.CmsgLen(0)) }

// An inbox is where datagrams of clients come in. Its memory is laid out once; the zero value is ready.
type inbox struct {
	messages [batch]nowait.Message
	slots    [batch]struct {
		data    [receiveSize]byte
		name    nowait.Address
		control controlMessage
		vec     unix.Iovec
	}
}

// receive takes the datagrams that wait, and returns how many; none is [unix.EAGAIN].
func (in *inbox) receive(fd int) (int, syscall.Errno) {
	for i := range in.slots {
		s, h := &in.slots[i], &in.messages[i].Header
		s.vec.Base = &s.data[0]
		s.vec.SetLen(len(s.data))
		*h = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&s.name)), Namelen: uint32(unsafe.Sizeof(s.name)), Control: (*byte)(unsafe.Pointer(&s.control)), Iov: &s.vec}
		h.SetIovlen(1)
		h.SetControllen(int(unsafe.Sizeof(s.control)))
	}
	return nowait.Receive(fd, in.messages[:])
}

// datagram returns one of those that were received, who sent it, and to whom; it is valid until the next call of receive. A zero address is one that the kernel does not tell.
func (in *inbox) datagram(i int) (data []byte, from, to netip.AddrPort) {
	s, m := &in.slots[i], &in.messages[i]
	from, _ = s.name.AddrPort()
	if m.Header.Controllen >= unix.SizeofCmsghdr {
		c := s.control.header()
		if c.Level == unix.SOL_IP && c.Type == unix.IP_ORIGDSTADDR || c.Level == unix.SOL_IPV6 && c.Type == unix.IPV6_ORIGDSTADDR {
			to, _ = (*nowait.Address)(s.control.data()).AddrPort()
		}
	}
	return s.data[:m.N], from, to
}

// An outbox sends datagrams of one socket together. The zero value is ready, and empty.
type outbox struct {
	fd       int
	n        int // datagrams that wait
	data     []byte
	failed   func(to netip.AddrPort, err error) // told of what could not be sent; nil: nobody
	messages [batch]nowait.Message
	slots    [batch]struct {
		from, till int // of data
		to         netip.AddrPort
		name       nowait.Address
		control    controlMessage
		vec        unix.Iovec
	}
}

// maxOutbox is how many bytes wait at most; a datagram beyond that waits alone.
const maxOutbox = 64 << 10

// add has a datagram leave from an address of somebody else and the port of the socket, soon: when flush is called at the latest.
func (o *outbox) add(fd int, from netip.Addr, to netip.AddrPort, data []byte) {
	if o.n == batch || o.n > 0 && (o.fd != fd || len(o.data)+len(data) > maxOutbox) {
		o.flush()
	}
	o.fd = fd
	s, h := &o.slots[o.n], &o.messages[o.n].Header
	s.from = len(o.data)
	o.data = append(o.data, data...)
	s.till, s.to = len(o.data), to
	*h = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&s.name)), Namelen: s.name.Set(to), Control: (*byte)(unsafe.Pointer(&s.control)), Iov: &s.vec}
	h.SetIovlen(1)
	h.SetControllen(s.control.sendFrom(from))
	o.n++
}

// sendFrom makes it the message that names the address a datagram leaves from, and returns its size.
func (c *controlMessage) sendFrom(from netip.Addr) (size int) {
	*c = controlMessage{}
	h := c.header()
	if from.Is4() {
		*(*unix.Inet4Pktinfo)(c.data()) = unix.Inet4Pktinfo{Spec_dst: from.As4()}
		h.Level, h.Type = unix.SOL_IP, unix.IP_PKTINFO
		h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		return unix.CmsgSpace(unix.SizeofInet4Pktinfo)
	}
	*(*unix.Inet6Pktinfo)(c.data()) = unix.Inet6Pktinfo{Addr: from.As16()}
	h.Level, h.Type = unix.SOL_IPV6, unix.IPV6_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
	return unix.CmsgSpace(unix.SizeofInet6Pktinfo)
}

// flush sends what waits.
func (o *outbox) flush() {
	for i := range o.n { // only now, for data may have moved as it grew
		s := &o.slots[i]
		s.vec = unix.Iovec{}
		if s.from < s.till {
			s.vec.Base = &o.data[s.from]
		}
		s.vec.SetLen(s.till - s.from)
	}
	for sent := 0; sent < o.n; {
		n, errno := nowait.Send(o.fd, o.messages[sent:o.n])
		sent += n
		if errno != 0 {
			if o.failed != nil {
				o.failed(o.slots[sent].to, errno)
			}
			sent++
		}
	}
	o.n, o.data = 0, o.data[:0]
}
