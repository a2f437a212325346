package rpcbind

import "fmt"

// A NetID is a transport, named by its network identifier (RFC 5665, section
// 5.1). On the wire it is the name; the zero value is none.
type NetID uint8

// The transports a port mapper on a UNIX host knows.
const (
	UDP   NetID = 1 + iota // "udp"
	TCP                    // "tcp"
	UDP6                   // "udp6"
	TCP6                   // "tcp6"
	Local                  // "local": stream sockets of the UNIX domain
)

// NetIDs are all transports.
var NetIDs = [...]NetID{UDP, TCP, UDP6, TCP6, Local}

var netIDNames = [...]string{UDP: "udp", TCP: "tcp", UDP6: "udp6", TCP6: "tcp6", Local: "local"}

// String returns the network identifier, as it travels.
func (n NetID) String() string {
	if n == 0 || int(n) >= len(netIDNames) {
		return fmt.Sprintf("NetID(%d)", uint8(n))
	}
	return netIDNames[n]
}

// ParseNetID returns the transport of that name; "unix" is another word for local.
func ParseNetID(s string) (NetID, bool) {
	for _, n := range NetIDs {
		if netIDNames[n] == s {
			return n, true
		}
	}
	if s == "unix" {
		return Local, true
	}
	return 0, false
}

// IsIPv4 tells whether addresses of the transport are IPv4 addresses with a port.
func (n NetID) IsIPv4() bool { return n == UDP || n == TCP }

// IsIPv6 tells whether addresses of the transport are IPv6 addresses with a port.
func (n NetID) IsIPv6() bool { return n == UDP6 || n == TCP6 }

// IsIP tells whether addresses of the transport have a port.
func (n NetID) IsIP() bool { return n.IsIPv4() || n.IsIPv6() }

// IP protocol numbers, the prot field of a [Mapping] (RFC 1833, section 3.1).
const (
	ProtocolTCP = 6
	ProtocolUDP = 17
)

// Protocol returns the IP protocol number version 2 uses for the transport;
// 0 if version 2 cannot say it.
func (n NetID) Protocol() uint32 {
	switch n {
	case TCP:
		return ProtocolTCP
	case UDP:
		return ProtocolUDP
	}
	return 0
}

// NetIDOf returns the transport that version 2 means by an IP protocol number.
func NetIDOf(protocol uint32) (NetID, bool) {
	switch protocol {
	case ProtocolTCP:
		return TCP, true
	case ProtocolUDP:
		return UDP, true
	}
	return 0, false
}
