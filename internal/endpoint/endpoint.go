// Package endpoint is the vocabulary of the port mapper as types: what is
// located (an [Interface]), where it listens (an [Endpoint]), and the row that
// says so (a [Registration]).
package endpoint

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A Dialect is a family of RPC protocols.
type Dialect uint8

// ONC is the RPC of RFC 5531: programs and versions, located by rpcbind.
const ONC Dialect = 1

func (d Dialect) String() string {
	if d == ONC {
		return "onc"
	}
	return fmt.Sprintf("Dialect(%d)", uint8(d))
}

// An Interface is what is located: an ONC program and version.
type Interface struct {
	Dialect Dialect
	Program uint32
	Version uint32
}

// Program returns the interface of an ONC program and version.
func Program(program, version uint32) Interface {
	return Interface{Dialect: ONC, Program: program, Version: version}
}

func (i Interface) String() string {
	return fmt.Sprintf("%s %d version %d", i.Dialect, i.Program, i.Version)
}

// An Endpoint is where an interface listens.
type Endpoint struct {
	NetID rpcbind.NetID
	Addr  netip.AddrPort // of an IP transport; an unspecified address means every address of this host
	Path  string         // of the local transport; "@" first for an abstract name
}

// Everywhere returns the address that means every address of this host on an IP transport.
func Everywhere(n rpcbind.NetID) netip.Addr {
	if n.IsIPv6() {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// UniversalAddress returns the address as rpcbind tells it (RFC 5665, section 5.2.3).
func (e Endpoint) UniversalAddress() string {
	if e.NetID.IsIP() {
		return rpcbind.UniversalAddress(e.Addr)
	}
	return e.Path
}

// FromUniversalAddress returns the endpoint that a universal address names on a transport.
func FromUniversalAddress(n rpcbind.NetID, uaddr string) (Endpoint, error) {
	if !n.IsIP() {
		return Endpoint{NetID: n, Path: uaddr}, nil
	}
	a, err := rpcbind.ParseUniversalAddress(uaddr)
	if err != nil {
		return Endpoint{}, err
	}
	return Endpoint{NetID: n, Addr: a}, nil
}

func (e Endpoint) String() string {
	if e.NetID.IsIP() {
		return e.NetID.String() + " " + e.Addr.String()
	}
	return e.NetID.String() + " " + e.Path
}

// MaxPath is the most bytes of a local endpoint's path, what a socket address holds.
const MaxPath = 107

// Validate returns nil for an endpoint that a server could listen on, or an
// error that says what is wrong with it.
func (e Endpoint) Validate() error {
	if !e.NetID.IsIP() {
		return e.validatePath()
	}
	addr := e.Addr.Addr()
	switch {
	case !e.Addr.IsValid():
		return fmt.Errorf("%s needs an address and a port", e.NetID)
	case addr.Is4() != e.NetID.IsIPv4(), addr.Is4In6():
		return fmt.Errorf("%s is no address of %s", addr, e.NetID)
	case addr.Zone() != "":
		return fmt.Errorf("%s: scope ids cannot be registered", addr)
	case e.Addr.Port() == 0:
		return fmt.Errorf("%s: port 0 cannot be registered", e.Addr)
	case e.Path != "":
		return fmt.Errorf("%s has no path", e.NetID)
	}
	return nil
}

func (e Endpoint) validatePath() error {
	switch {
	case e.NetID != rpcbind.Local:
		return fmt.Errorf("unknown transport %s", e.NetID)
	case !strings.HasPrefix(e.Path, "/") && !strings.HasPrefix(e.Path, "@"):
		return fmt.Errorf("%s: path %q does not begin with / or @", e.NetID, e.Path)
	case len(e.Path) < 2 || len(e.Path) > MaxPath:
		return fmt.Errorf("%s: path of %d bytes; 2 to %d are possible", e.NetID, len(e.Path), MaxPath)
	case !printable(e.Path):
		return fmt.Errorf("%s: path %q is not printable", e.NetID, e.Path)
	case e.Addr != netip.AddrPort{}:
		return fmt.Errorf("%s has no address and port", e.NetID)
	}
	return nil
}
