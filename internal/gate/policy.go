// Package gate stands in the control channels of RPC, FTP and TFTP that cross this host, and opens a pinhole for
// each port that one side was promised by the other, before the answer that says so is passed on. Data does
// not come here: the kernel forwards it.
//
// What the kernel is told stands in one table of nftables, [Policy.Ruleset], beside a route that leads control
// channels to this host. [System] puts both there and keeps them there; [Pinholes] adds and removes what
// opens and ends by itself.
package gate

import (
	"net/netip"
	"slices"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/follow"
	"github.com/quaymaster/quaymaster/portset"
)

// A Policy is what gate.yaml says.
type Policy struct {
	ClientSide []string // interfaces that clients come in by; never empty
	ServerSide []string // interfaces that servers are behind; never empty
	Forward    Forward
	NAT        NAT
	Follow     []Entry // in the order of [Protocols], one for a protocol; never empty
	Limits     Limits
	Refuse     bool // unreadable: refuse: a control channel that goes on encrypted is ended
	Marks      Marks
}

// Entry returns the entry that follows a control channel to server, over the protocol of IP, from client; false
// if none does.
func (p *Policy) Entry(protocol uint8, client netip.Addr, server netip.AddrPort) (*Entry, bool) {
	for i := range p.Follow {
		e := &p.Follow[i]
		if slices.Contains(e.Protocol.Transports(), protocol) && e.Ports.Contains(server.Port()) && contains(e.Clients, client) && contains(e.Servers, server.Addr()) {
			return e, true
		}
	}
	return nil, false
}

// interfaces returns those of both sides.
func (p *Policy) interfaces() []string { return slices.Concat(p.ClientSide, p.ServerSide) }

// Forward says who decides what is forwarded.
type Forward string

// Ways to forward.
const (
	ForwardMark Forward = "mark" // the host's own rules, which accept what the gate marks
	ForwardOwn  Forward = "own"  // the gate's: what it does not let through is dropped
)

// NAT says how addresses of clients are translated. The zero value is not at all.
type NAT struct {
	Masquerade bool
	Address    netip.Addr // snat: the one that stands for clients of its family; zero: none
}

// On reports whether addresses are translated.
func (n NAT) On() bool { return n.Masquerade || n.Address.IsValid() }

// Translates reports whether a client's address is translated on its way to servers.
func (n NAT) Translates(client netip.Addr) bool {
	return n.Masquerade || n.Address.IsValid() && n.Address.Is4() == client.Is4()
}

// An Entry is the control channels of one protocol that are followed.
type Entry struct {
	Protocol    Protocol
	Clients     []netip.Prefix // masked; never empty
	Servers     []netip.Prefix // masked; never empty
	Ports       portset.Set    // where servers wait for control channels: 135, 111, 21, 69
	ServerPorts portset.Set    // of servers, that clients may be promised
	Lifetime    time.Duration  // of pinholes
	Interfaces  []Allowed      // that may be looked up; empty: all
}

// Allow reports whether clients may look an interface up.
func (e *Entry) Allow(i endpoint.Interface) bool {
	return len(e.Interfaces) == 0 || slices.ContainsFunc(e.Interfaces, func(a Allowed) bool { return a.Covers(i) })
}

// Promised reports whether a port of the other side may be promised to by.
func (e *Entry) Promised(by follow.Side, port uint16) bool {
	if by == follow.Server {
		return clientPorts.Contains(port)
	}
	return e.ServerPorts.Contains(port)
}

// An Allowed is an interface that may be looked up, in any minor version.
type Allowed struct {
	endpoint.Interface
	AnyVersion bool // that of Interface does not count
}

// Covers reports whether i is the interface that a is.
func (a Allowed) Covers(i endpoint.Interface) bool {
	if a.Dialect != i.Dialect || a.Program != i.Program || a.UUID != i.UUID {
		return false
	}
	return a.AnyVersion || a.Version == i.Version && a.Major == i.Major
}

// Ports that may be promised unless the policy says more. None is below 1024, and none is where a service that has a
// fixed port waits: whoever can make a server say so would be let in there.
var (
	unprivileged = portset.Of(portset.Range{First: 1024, Last: 65535})
	denied       = portset.Ports(
		1080,             // SOCKS
		1433, 1434, 1521, // databases
		2049,       // NFS
		2375, 2376, // Docker
		2379, 2380, // etcd
		3128,       // web proxies
		3260,       // iSCSI
		3306,       // MySQL
		3389,       // Remote Desktop
		4786,       // Smart Install
		5432,       // PostgreSQL
		5555,       // adb
		5900, 5901, // VNC
		5985, 5986, // WinRM
		6379,             // Redis
		6443,             // Kubernetes
		8080, 8443, 8888, // web
		9100, 9200, 9300, // printers, Elasticsearch
		10250, 11211, 27017, // kubelet, memcached, MongoDB
	)
	clientPorts = unprivileged.Minus(denied)
)

// A Protocol is a protocol whose control channels are followed.
type Protocol string

// Protocols.
const (
	EPM        Protocol = "epm"
	Portmapper Protocol = "portmapper"
	FTP        Protocol = "ftp"
	TFTP       Protocol = "tftp"
)

// Protocols are all of them.
var Protocols = []Protocol{EPM, Portmapper, FTP, TFTP}

// Protocols of IP.
const (
	tcp = 6
	udp = 17
)

// Transports returns the protocols of IP that a protocol is spoken over: 6 is TCP, 17 UDP.
func (p Protocol) Transports() []uint8 {
	switch p {
	case Portmapper:
		return []uint8{tcp, udp}
	case TFTP:
		return []uint8{udp}
	}
	return []uint8{tcp}
}

// Once reports whether pinholes of a protocol are for one connection each.
func (p Protocol) Once() bool { return p == FTP || p == TFTP }

// Limits bound what strangers can have of the gate.
type Limits struct {
	Pinholes  int // at a time, of all
	PerClient int // pinholes for one client
	PerServer int // pinholes to one server
	Sessions  int // control channels at a time
}

// Marks are the numbers that the gate uses of what the host has only once.
type Marks struct {
	Packet uint32 // bit of the packet mark on control channels, which come to this host
	Flow   uint32 // bit of the conntrack mark on what a pinhole let through
	Table  uint32 // routing table that leads control channels here; also the priority of its rules
	Port   uint16 // of the loopback addresses, where control channels over TCP are accepted
}

// Listeners returns where control channels come in. Over TCP it is one port for all, and the local address of what is accepted is the
// server that was called. Over UDP it is a port of its own for each that servers have, because answers have to come from there.
// All are of the loopback interface, so nobody else gets there.
func (p *Policy) Listeners(protocol uint8) []netip.AddrPort {
	var ports portset.Set
	for _, e := range p.Follow {
		if slices.Contains(e.Protocol.Transports(), protocol) {
			ports = ports.Union(e.Ports)
		}
	}
	if protocol == tcp && !ports.IsEmpty() {
		ports = portset.Ports(p.Marks.Port)
	}
	var all []netip.AddrPort
	for _, ip := range []netip.Addr{loopback4, netip.IPv6Loopback()} {
		for port := range ports.All() {
			all = append(all, netip.AddrPortFrom(ip, port))
		}
	}
	return all
}

var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func contains(all []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(a) })
}

// ofFamily returns those of IPv6, or of IPv4.
func ofFamily(all []netip.Prefix, ipv6 bool) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(all), func(p netip.Prefix) bool { return p.Addr().Is4() == ipv6 })
}
