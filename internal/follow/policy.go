package follow

import (
	"fmt"
	"net/netip"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// Protocols of IP.
const (
	protocolTCP = 6
	protocolUDP = 17
)

// clean returns the policy with addresses that can be compared with those of the wire: those of IPv4 are
// not mapped into IPv6, and none has a zone.
func (p Policy) clean() Policy {
	for i, end := range p.Ends {
		p.Ends[i] = netip.AddrPortFrom(end.Addr().Unmap().WithZone(""), end.Port())
	}
	return p
}

// allows reports whether an interface may be looked up. That of the mapper itself always may.
func (p *Policy) allows(i endpoint.Interface) bool {
	return i.IsMapper() || p.Allow == nil || p.Allow(i)
}

// isChannel tells whether a port of the server is the one that the control channel goes to, for which nothing is promised.
func (p *Policy) isChannel(port uint16) bool { return port == p.Ends[Server].Port() }

// check returns why a port of the server must not be told to the client as that of an interface, or nil.
func (p *Policy) check(i endpoint.Interface, protocol uint8, port uint16) *Refusal {
	switch {
	case p.isChannel(port) && i.IsMapper():
		return nil
	case p.Allow != nil && !p.Allow(i):
		return refuse("interface", i, "%v may not be looked up", i)
	case !p.isChannel(port) && p.Port != nil && !p.Port(protocol, port):
		return refuse("port", i, "%s of the server may not be promised", portName(protocol, port))
	}
	return nil
}

// promise returns the promise of a port of the server to the client.
func (p *Policy) promise(i endpoint.Interface, protocol uint8, port uint16) Promise {
	name := ""
	if p.Name != nil {
		name = p.Name(i)
	}
	if name == "" {
		name = i.String()
	}
	return Promise{By: Client, Protocol: protocol, Port: port, Interface: i, For: name}
}

func refuse(rule string, i endpoint.Interface, format string, args ...any) *Refusal {
	return &Refusal{Rule: rule, Interface: i, Why: fmt.Sprintf(format, args...)}
}

func portName(protocol uint8, port uint16) string {
	if protocol == protocolUDP {
		return fmt.Sprintf("port %d/udp", port)
	}
	return fmt.Sprintf("port %d/tcp", port)
}
