package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nowait"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A DatagramServer answers datagrams from the address they were sent to.
type DatagramServer struct {
	Handler Handler
	Guard   *Guard       // nil serves everybody
	Log     *slog.Logger // nil discards
}

// errorPause is how long a server waits after an error of its socket before it tries again.
const errorPause = 50 * time.Millisecond

// batch is how many datagrams one system call receives or sends at most. More
// gain nothing and cost memory that must be in the processor's caches.
const batch = 16

// Serve answers until ctx is cancelled, then closes conn and returns nil. It
// owns conn. It allocates nothing for an answer; what the handler does is its own.
func (s *DatagramServer) Serve(ctx context.Context, conn *net.UDPConn) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	x, err := newExchange(conn, s.Handler, s.Guard)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("transport: %s: %w", conn.LocalAddr(), err)
	}
	for {
		if err := x.round(); ctx.Err() != nil {
			return nil
		} else if errors.Is(err, net.ErrClosed) {
			return err
		} else if err != nil {
			logger(s.Log).Warn("datagrams not served", "server", conn.LocalAddr(), "err", err)
			time.Sleep(errorPause)
		}
	}
}

// controlSize holds one IP_PKTINFO or IPV6_PKTINFO message.
const controlSize = 64

// A slot is a datagram on its way in, and its answer on the way out.
type slot struct {
	in      [MaxMessage]byte
	out     [MaxMessage]byte
	name    nowait.Address
	control [controlSize / 8]uint64 // aligned for struct cmsghdr
	vecIn   unix.Iovec
	vecOut  unix.Iovec
}

// An exchange is the memory with which one goroutine serves one socket:
// everything the kernel is given pointers to, laid out once.
type exchange struct {
	raw     syscall.RawConn
	handler Handler
	guard   *Guard
	asked   time.Duration // when these datagrams came, by the guard's clock; 0: not read yet
	call    Call
	slots   [batch]slot
	in      [batch]nowait.Message
	out     [batch]nowait.Message
	got     int // datagrams received
	sending int // answers to send
	sent    int
	errno   syscall.Errno
	receive func(fd uintptr) bool // recvmmsg as RawConn.Read wants it, made once so as not to allocate
	send    func(fd uintptr) bool
}

func newExchange(conn *net.UDPConn, h Handler, g *Guard) (*exchange, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	x := &exchange{raw: raw, handler: h, guard: g}
	x.receive = func(fd uintptr) bool {
		x.got, x.errno = nowait.Receive(int(fd), x.in[:])
		return x.errno != unix.EAGAIN
	}
	x.send = func(fd uintptr) bool {
		var n int
		n, x.errno = nowait.Send(int(fd), x.out[x.sent:x.sending])
		x.sent += n
		return x.errno != unix.EAGAIN
	}
	for i := range x.slots {
		x.prepare(i)
	}
	return x, askForAddresses(raw)
}

// prepare tells the kernel where datagram i goes, and how much room there is;
// it writes over the latter each time.
func (x *exchange) prepare(i int) {
	s := &x.slots[i]
	s.vecIn.Base = &s.in[0]
	s.vecIn.SetLen(len(s.in))
	h := &x.in[i].Header
	*h = unix.Msghdr{
		Name: (*byte)(unsafe.Pointer(&s.name)), Namelen: uint32(unsafe.Sizeof(s.name)),
		Control: (*byte)(unsafe.Pointer(&s.control)), Iov: &s.vecIn,
	}
	h.SetIovlen(1)
	h.SetControllen(controlSize)
}

// askForAddresses has the kernel tell with each datagram to which address it was sent.
func askForAddresses(raw syscall.RawConn) error {
	var optErr error
	err := raw.Control(func(fd uintptr) {
		domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		switch {
		case err != nil:
			optErr = err
		case domain == unix.AF_INET6: // IPv4 over such a socket comes with IPV6_PKTINFO too, mapped
			optErr = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1)
		default:
			optErr = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_PKTINFO, 1)
		}
	})
	return errors.Join(err, optErr)
}

// round waits for datagrams and answers them.
func (x *exchange) round() error {
	for i := range x.got {
		x.prepare(i)
	}
	x.got = 0
	if err := x.raw.Read(x.receive); err != nil {
		return err
	}
	if x.errno != 0 {
		return fmt.Errorf("recvmmsg: %w", x.errno)
	}
	x.sending, x.sent, x.asked = 0, 0, 0
	for i := range x.got {
		x.answer(i)
	}
	for x.sent < x.sending {
		if err := x.raw.Write(x.send); err != nil {
			return err
		}
		if x.errno != 0 {
			x.unsent()
		}
	}
	return nil
}

// unsent deals with the answer that could not be sent.
func (x *exchange) unsent() {
	h := &x.out[x.sent].Header
	if (x.errno == unix.EINVAL || x.errno == unix.ENETUNREACH) && h.Controllen > 0 {
		// The question went to a broadcast address that could not be told from one of ours: let routing choose.
		h.Control = nil
		h.SetControllen(0)
		return
	}
	x.sent++ // no route, a filter: the client asks again or does not
}

// answer puts the answer to datagram i, if there is one, in line to be sent.
func (x *exchange) answer(i int) {
	s, m := &x.slots[i], &x.in[i]
	if m.Header.Flags&unix.MSG_TRUNC != 0 || !x.describe(s, m) {
		return // longer than any call, or from nobody
	}
	if x.guard.mayAsk(x.call.Client.Addr(), byDatagram, &x.asked) != nil {
		return
	}
	x.call.Message = s.in[:m.N]
	r := x.handler.Answer(&x.call, s.out[:0])
	if r.Head == nil || len(r.Head)+len(r.Body) > len(s.out) {
		return
	}
	n := copy(s.out[:], r.Head) // in place, unless the handler had to grow it
	n += copy(s.out[n:], r.Body)

	s.vecOut.Base = &s.out[0]
	s.vecOut.SetLen(n)
	o := &x.out[x.sending]
	o.Header = unix.Msghdr{Name: m.Header.Name, Namelen: m.Header.Namelen, Iov: &s.vecOut}
	o.Header.SetIovlen(1)
	if m.Header.Controllen > 0 {
		o.Header.Control = m.Header.Control
		o.Header.SetControllen(int(m.Header.Controllen))
	}
	x.sending++
}

// describe fills x.call from what the kernel said of the datagram, and turns
// the control message into the one that sends the answer from the same address.
func (x *exchange) describe(s *slot, m *nowait.Message) bool {
	client, ok := s.client(m.Header.Namelen)
	if !ok {
		return false
	}
	server := s.server(&m.Header)
	x.call = Call{
		NetID:  netIDOf(client.Addr(), rpcbind.UDP, rpcbind.UDP6),
		Client: client, Server: netip.AddrPortFrom(server, 0), MaxReply: MaxMessage,
	}
	return true
}

// client returns the sender's address, as the kernel wrote it into s.name.
func (s *slot) client(size uint32) (netip.AddrPort, bool) {
	client, ok := s.name.AddrPort()
	return client, ok && size >= unix.SizeofSockaddrInet4 && client.Port() != 0
}

// server returns the address of this host that the datagram was sent to. For a
// broadcast or multicast it is the one the answer leaves from, where the kernel
// tells it, or the zero value if routing will choose it.
func (s *slot) server(h *unix.Msghdr) netip.Addr {
	if h.Controllen < unix.SizeofCmsghdr {
		return netip.Addr{}
	}
	c := (*unix.Cmsghdr)(unsafe.Pointer(&s.control[0]))
	data := unsafe.Add(unsafe.Pointer(&s.control), unix.CmsgLen(0))
	switch {
	case c.Level == unix.SOL_IP && c.Type == unix.IP_PKTINFO:
		info := (*unix.Inet4Pktinfo)(data)
		info.Ifindex = 0 // the route decides which way; Spec_dst is the address
		if info.Spec_dst == [4]byte{} {
			info.Spec_dst = info.Addr // the datagram was there before IP_PKTINFO was asked for
		}
		return netip.AddrFrom4(info.Spec_dst)
	case c.Level == unix.SOL_IPV6 && c.Type == unix.IPV6_PKTINFO:
		info := (*unix.Inet6Pktinfo)(data)
		addr := netip.AddrFrom16(info.Addr)
		if addr.IsMulticast() {
			h.SetControllen(0)
			return netip.Addr{}
		}
		if !addr.IsLinkLocalUnicast() {
			info.Ifindex = 0
		}
		return addr.Unmap()
	}
	h.SetControllen(0)
	return netip.Addr{}
}
