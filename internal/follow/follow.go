// Package follow reads what two sides of a control channel say to each other, and tells what was
// promised to whom: the port that an endpoint mapper or a port mapper named, the one that FTP or TFTP
// sends data to. It is pure: bytes in, steps out, no sockets and no clock.
//
// A follower stands between the sides. It gets what one of them sent and returns what the other is
// to be sent, and before which of it a port has to be open. What it cannot understand it does
// not let through.
package follow

import (
	"net/netip"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// A Side is one end of a control channel.
type Side uint8

// Sides.
const (
	Client Side = iota // that opened it
	Server
)

// Other returns the other side.
func (s Side) Other() Side { return 1 - s }

func (s Side) String() string { return [...]string{"client", "server"}[s] }

// A Promise is a port that one side was told the other waits at. There is no address in it: who connects and
// whereto are the two ends of the control channel, whatever address was told.
type Promise struct {
	By        Side               // who will connect
	Protocol  uint8              // of IP: 6 is TCP, 17 UDP
	Port      uint16             // of the other side
	Once      bool               // one connection, or datagrams of one pair of ports, and no more
	Interface endpoint.Interface // that is there; zero: none
	For       string             // what it is for, for people: "drsuapi", "ftp data (passive)"
}

// A Step is what is to be done next.
type Step struct {
	To       Side
	Data     []byte    // what To is sent; empty: nothing. It is the caller's until the next call
	Promises []Promise // to be kept before Data is sent; if one cannot be, Else is sent in its place
	Forget   bool      // what was promised on this channel before is void, and is closed first

	// Else is what is sent where a promise cannot be kept, and to whom: an error in the words of the
	// protocol, or what makes the other side answer with one. Without promises it means nothing.
	Else   []byte
	ElseTo Side

	// Rewrite is what has to be sent instead of Data where the address of the client is
	// translated: it names the address and port that stand for the client's there. Nil: Data names no address of
	// the client.
	Rewrite func(outside netip.AddrPort) []byte

	Refused *Refusal // what was not let through; nil: all was
}

// A Refusal is something that a follower did not let through, answered itself, or let through with nothing promised, for the log.
type Refusal struct {
	Rule      string             // a word for the rule that it broke: "interface", "port", "address", "state", "syntax", "verb", "procedure", "limit", "unreadable"
	Interface endpoint.Interface // that it was about; zero: none
	Why       string             // in a sentence; it may hold text from the network
}

func (r *Refusal) Error() string { return r.Rule + ": " + r.Why }

// A Follower follows one control channel, or over UDP one client's datagrams to a server. It is not for
// use by several goroutines at once.
type Follower interface {
	// Follow takes what a side sent: of a stream any piece of it, of datagrams one whole. The steps are to be done in
	// their order. Data is the caller's, and not kept.
	//
	// The error is a *Refusal: what was sent cannot be let through, and the channel has to end. Steps that
	// come with it are done first.
	Follow(from Side, data []byte) ([]Step, error)

	// Quiet reports whether all that was asked is answered and nothing waits: if a side ends now, there is no more to be said.
	Quiet() bool
}

// A Policy says what may be promised. The zero value allows everything that is exact.
type Policy struct {
	// Allow reports whether an interface may be looked up; nil allows all.
	Allow func(endpoint.Interface) bool

	// Port reports whether a port of the server may be promised to the client; nil allows all. In an answer that
	// lists many, those at other ports are left out, so that one does not make the whole answer impossible.
	Port func(protocol uint8, port uint16) bool

	// Name returns what people call an interface, "" where it has no name; nil knows none.
	Name func(endpoint.Interface) string

	// Ends are the addresses of the two sides as they see each other, which control channels name: the client's and
	// the server's.
	Ends [2]netip.AddrPort

	// RefuseUnreadable refuses a channel that goes on encrypted, in the words of the protocol, or ends it. Else it is passed
	// on unread, and nothing that it says is promised.
	RefuseUnreadable bool
}
