package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// A State is what became of an attempt to reach a port, an endpoint or a mapper.
type State uint8

// States. The first three are what PortQry calls them.
const (
	NotTried     State = iota
	Listening          // something answers; of an endpoint, the interface does
	NotListening       // the host says that nothing is there
	Filtered           // nobody says anything: a firewall drops it, or the host is not there
	Wrong              // something is there that is not the interface, version or protocol that was asked for, or accepts and is silent
	Rejected           // the interface is there and does not let us in
	Failed             // it could not be tried: no route, no socket, a name that leads nowhere
)

var stateNames = [...]string{"not tried", "listening", "not listening", "filtered", "wrong", "rejected", "failed"}

// String returns the word for the state.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText returns what String does, and never an error.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText sets s to the state that String calls text.
func (s *State) UnmarshalText(text []byte) error {
	for i, name := range stateNames {
		if name == string(text) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("unknown state %q", text)
}

// StateOf returns the state that an error of connecting, sending or receiving stands
// for; Listening if there is none.
func StateOf(err error) State {
	var timeout net.Error
	switch {
	case err == nil:
		return Listening
	case isRefused(err):
		return NotListening
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout(), isProhibited(err):
		return Filtered
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), isReset(err):
		return Wrong // it was connected, and the other side hung up
	}
	return Failed
}
