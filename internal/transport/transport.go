// Package transport moves the messages of ONC RPC and DCE/RPC over sockets:
// datagrams, and records or PDUs over streams. It serves on sockets that others open, within the bounds of a
// [Guard], and understands no message; a [Handler] does.
package transport

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// Bounds of what one client can make the server hold.
const (
	// MaxMessage is the most bytes of a record or datagram from a client, and of a
	// reply in a datagram: what other port mappers take and send. PDUs tell their
	// length in 16 bits.
	MaxMessage = 9000
	// IdleTimeout ends a connection over which no call comes.
	IdleTimeout = 2 * time.Minute
	// RecordTimeout ends a connection over which a call comes too slowly: the
	// time from its first byte to its last.
	RecordTimeout = 30 * time.Second
	// WriteTimeout ends a connection whose client takes nothing of an answer.
	WriteTimeout = 30 * time.Second
)

// A Call is a message from a client, with what is known of its way here. A
// handler must not keep it or the message.
type Call struct {
	NetID    rpcbind.NetID
	Client   netip.AddrPort // zero on the local transport; IPv4 is never mapped into IPv6
	Server   netip.AddrPort // where the client called, a datagram's without the port; zero on the local transport
	Peer     *Peer          // the process at the other end of a local connection, else nil
	MaxReply int            // bytes; 0 where there is no bound
	Message  []byte

	over interface{ connected() bool } // the TCP connection, else nil
}

// Connected tells whether the TCP connection that a call came over stands at this
// moment: established, or closed by the client in its own direction only. It is
// true for a call that came another way. It must be called before Answer returns.
//
// Who has looked up whose the client's end is by its addresses and ports asks
// afterwards: as long as our end stands nobody else is connected from there,
// though somebody may be trying to, and the client may have gone.
func (c *Call) Connected() bool { return c.over == nil || c.over.connected() }

// A Peer is the process that connected to a local socket, as the kernel tells (SO_PEERCRED).
type Peer struct {
	PID int32 // 0 if it cannot be seen from here
	UID uint32
	GID uint32
	// Elsewhere: the socket with which it connected is in another network namespace
	// than the one that listens, as those of most containers are. False where the
	// kernel does not tell (before Linux 5.14).
	Elsewhere bool

	socket socket // our end; nil: only what stands above is known
}

// A socket lends its descriptor for the time of f, or fails because it is closed.
type socket interface {
	Control(f func(fd uintptr)) error
}

// A Reply is what a handler answers: Head and Body are sent one after the other.
type Reply struct {
	Head  []byte // appended to the buffer that the handler was given; nil: no answer
	Body  []byte // shared and never changed; may be nil
	Close bool   // a connection ends after this: at once if there is no answer, else when it is sent
}

// A Handler answers calls. Answer may be called from several goroutines.
type Handler interface {
	// Answer appends the reply, or its beginning, to buf.
	Answer(c *Call, buf []byte) Reply
}

// A Session answers the calls of one connection, one at a time.
type Session interface {
	Handler
	// End is called once, when the connection has ended; no call is under way then.
	End()
}

// netIDOf returns the transport of an address that is not mapped.
func netIDOf(a netip.Addr, v4, v6 rpcbind.NetID) rpcbind.NetID {
	if a.Is4() {
		return v4
	}
	return v6
}

// logger returns l, or one that discards.
func logger(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}
