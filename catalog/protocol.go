package catalog

import (
	"fmt"
	"slices"
)

// A Protocol is the number of a protocol of IP (IANA, Assigned Internet Protocol
// Numbers), which [Protocol.String] names. The zero value is none.
type Protocol uint8

const (
	ICMP Protocol = 1
	TCP  Protocol = 6
	UDP  Protocol = 17
	GRE  Protocol = 47
	ESP  Protocol = 50
	AH   Protocol = 51
)

var protocols = []Protocol{TCP, UDP, ICMP, GRE, ESP, AH}

// String returns the name in lower case: tcp.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case ICMP:
		return "icmp"
	case GRE:
		return "gre"
	case ESP:
		return "esp"
	case AH:
		return "ah"
	default:
		return fmt.Sprintf("Protocol(%d)", uint8(p))
	}
}

// HasPorts reports whether p is one of the protocols that have port numbers.
func (p Protocol) HasPorts() bool { return p == TCP || p == UDP }

// ParseProtocol returns the protocol that [Protocol.String] calls name.
func ParseProtocol(name string) (Protocol, error) {
	i := slices.IndexFunc(protocols, func(p Protocol) bool { return p.String() == name })
	if i < 0 {
		return 0, fmt.Errorf("protocol %q: want one of %v", name, protocols)
	}
	return protocols[i], nil
}

// MarshalText returns what String does, and never an error.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText sets p as [ParseProtocol] does.
func (p *Protocol) UnmarshalText(text []byte) error {
	q, err := ParseProtocol(string(text))
	if err != nil {
		return err
	}
	*p = q
	return nil
}
