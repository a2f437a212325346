package rpcbind

// A NetID names a transport (RFC 5665, section 4.2.1).
type NetID string

// The transports a port mapper on a UNIX host knows.
const (
	UDP   NetID = "udp"
	TCP   NetID = "tcp"
	UDP6  NetID = "udp6"
	TCP6  NetID = "tcp6"
	Local NetID = "local" // stream socket of the UNIX domain
)

// NetIDs returns the known transports.
func NetIDs() []NetID { return []NetID{UDP, TCP, UDP6, TCP6, Local} }

// ParseNetID returns the transport of that name; "unix" is another word for local.
func ParseNetID(s string) (NetID, bool) {
	switch n := NetID(s); n {
	case UDP, TCP, UDP6, TCP6, Local:
		return n, true
	case "unix":
		return Local, true
	}
	return "", false
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
	return "", false
}
