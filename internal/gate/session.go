package gate

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// A Session is a control channel that the gate stands in: a connection of TCP, or over UDP what a port of a client and
// a server say to each other.
type Session struct {
	ID        uint64 // that its pinholes and events have; no two sessions of a gate share one
	Protocol  Protocol
	Transport uint8 // protocol of IP: 6 is TCP, 17 UDP
	Client    netip.AddrPort
	Server    netip.AddrPort // that the client called
	Since     time.Time
	Last      time.Time // when either side last said something
	Promised  int       // ports, so far
	Unread    bool      // what is said is encrypted, or was once, and is passed on with nothing promised
}

// A Kind says what an [Event] tells.
type Kind uint8

// Kinds of events.
const (
	Began    Kind = iota // a session
	Ended                // a session
	Refused              // something was not let through, or with nothing promised
	Promised             // ports were promised, and pinholes opened for them
	kinds
)

var kindNames = [...]string{"began", "ended", "refused", "promised"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// An Event is what happened to a session, or to somebody who was not given one.
type Event struct {
	At        time.Time
	Kind      Kind
	Session   uint64 // 0: there is none
	Protocol  Protocol
	Transport uint8 // protocol of IP
	Client    netip.AddrPort
	Server    netip.AddrPort

	// Of Refused: the rule is a word of [follow.Refusal], or "pinholes", "sessions", "policy", "time" or "kernel" where the gate says so.
	Rule      string
	Interface endpoint.Interface // that it was about; zero: none
	Why       string             // in a sentence, of Ended too; it may hold text from the network

	Pinholes []Pinhole // of Promised; never changed
}

// SessionCounts say how much there was of sessions since the gate was made.
type SessionCounts struct {
	Open     int // now, datagrams' too
	Begun    uint64
	Promised uint64            // ports
	Refused  map[string]uint64 // by rule
}
