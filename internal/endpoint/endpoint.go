// Package endpoint is the vocabulary of the two mappers as types: what is
// located (an [Interface]), where it listens (an [Endpoint]), and the row that
// says so (a [Registration]).
package endpoint

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A Dialect is a family of RPC protocols.
type Dialect uint8

// Dialects.
const (
	ONC Dialect = 1 // the RPC of RFC 5531: programs and versions, located by rpcbind
	DCE Dialect = 2 // the RPC of C706 and MS-RPCE: interface UUIDs, located by the endpoint mapper
)

func (d Dialect) String() string {
	switch d {
	case ONC:
		return "onc"
	case DCE:
		return "dce"
	}
	return fmt.Sprintf("Dialect(%d)", uint8(d))
}

// An Interface is what is located: an ONC program and version, or a DCE interface
// UUID and version.
type Interface struct {
	Dialect      Dialect
	Program      uint32   // of ONC
	Version      uint32   // of ONC
	UUID         ndr.UUID // of DCE; the nil UUID is one like any other
	Major, Minor uint16   // of DCE
}

// Program returns the interface of an ONC program and version.
func Program(program, version uint32) Interface {
	return Interface{Dialect: ONC, Program: program, Version: version}
}

// FromSyntax returns the interface of a DCE abstract syntax.
func FromSyntax(s dcerpc.Syntax) Interface {
	return Interface{Dialect: DCE, UUID: s.UUID, Major: s.Major, Minor: s.Minor}
}

// Syntax returns the abstract syntax of a DCE interface.
func (i Interface) Syntax() dcerpc.Syntax {
	return dcerpc.Syntax{UUID: i.UUID, Major: i.Major, Minor: i.Minor}
}

// Kind returns what the dialect calls its interfaces.
func (i Interface) Kind() string {
	if i.Dialect == DCE {
		return "interface"
	}
	return "program"
}

// IsMapper tells whether the interface is one by which a mapper is asked: those
// are not registered, the mapper has them.
func (i Interface) IsMapper() bool {
	if i.Dialect == DCE {
		return i.UUID == epm.Interface.UUID
	}
	return i.Program == rpcbind.Program
}

func (i Interface) String() string {
	if i.Dialect == DCE {
		return fmt.Sprintf("%s %s version %d.%d", i.Dialect, i.UUID, i.Major, i.Minor)
	}
	return fmt.Sprintf("%s %d version %d", i.Dialect, i.Program, i.Version)
}

// An Endpoint is where an interface listens.
type Endpoint struct {
	NetID   rpcbind.NetID  // the transport, as sockets have it; 0 where no socket can be looked at
	ProtSeq epm.ProtSeq    // the protocol sequence of a DCE interface; 0 of ONC
	Addr    netip.AddrPort // of an IP transport; an unspecified address means every address of this host
	Path    string         // of the local transport, "@" first for an abstract name; of a named pipe, \pipe\winreg or \\FS1\pipe\winreg; the name of ncalrpc
}

// At returns the endpoint of a protocol sequence over IP.
func At(p epm.ProtSeq, addr netip.AddrPort) Endpoint {
	return Endpoint{NetID: netIDOf(p), ProtSeq: p, Addr: addr}
}

// netIDOf returns the transport under a protocol sequence. Towers have no IPv6
// addresses (C706, appendix I).
func netIDOf(p epm.ProtSeq) rpcbind.NetID {
	switch p {
	case epm.TCP, epm.HTTP:
		return rpcbind.TCP
	case epm.UDP:
		return rpcbind.UDP
	}
	return 0
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

// Transport returns the word for the way to the endpoint: a netid of ONC, of DCE
// the short name of the protocol sequence.
func (e Endpoint) Transport() string {
	if e.ProtSeq != 0 {
		return e.ProtSeq.Short()
	}
	return e.NetID.String()
}

func (e Endpoint) String() string {
	if e.NetID.IsIP() {
		return e.Transport() + " " + e.Addr.String()
	}
	return e.Transport() + " " + e.Path
}

// Bounds of names, in bytes.
const (
	MaxPath = 107 // of a local endpoint: what a socket address holds
	MaxPipe = 255 // of a named pipe with its host, and of a name of ncalrpc
)

// Validate returns nil for an endpoint that a server could listen on, or an
// error that says what is wrong with it.
func (e Endpoint) Validate() error {
	switch {
	case e.ProtSeq != 0 && e.NetID != netIDOf(e.ProtSeq):
		return fmt.Errorf("unknown protocol sequence %s on %s", e.ProtSeq, e.NetID)
	case e.ProtSeq != 0 && e.NetID == 0:
		return e.validateName()
	case !e.NetID.IsIP():
		return e.validatePath()
	}
	addr := e.Addr.Addr()
	switch {
	case !e.Addr.IsValid():
		return fmt.Errorf("%s needs an address and a port", e.Transport())
	case e.ProtSeq != 0 && !addr.Is4():
		return fmt.Errorf("%s: the endpoint mapper tells IPv4 addresses only; 0.0.0.0 is every address, of both families", addr)
	case addr.Is4() != e.NetID.IsIPv4(), addr.Is4In6():
		return fmt.Errorf("%s is no address of %s", addr, e.NetID)
	case addr.Zone() != "":
		return fmt.Errorf("%s: scope ids cannot be registered", addr)
	case e.Addr.Port() == 0:
		return fmt.Errorf("%s: port 0 cannot be registered", e.Addr)
	case e.Path != "":
		return fmt.Errorf("%s has no path", e.Transport())
	}
	return nil
}

// validateName checks what DCE knows by a name: a named pipe, or the way to a
// process of this host.
func (e Endpoint) validateName() error {
	switch {
	case e.ProtSeq != epm.NP && e.ProtSeq != epm.LRPC:
		return fmt.Errorf("unknown protocol sequence %s", e.ProtSeq)
	case e.Path == "" || len(e.Path) > MaxPipe:
		return fmt.Errorf("%s: name of %d bytes; 1 to %d are possible", e.Transport(), len(e.Path), MaxPipe)
	case e.ProtSeq == epm.NP && !strings.HasPrefix(e.Path, `\`):
		return fmt.Errorf(`%s: pipe %q does not begin with \, as \pipe\winreg does`, e.Transport(), e.Path)
	case !printable(e.Path):
		return fmt.Errorf("%s: name %q is not printable", e.Transport(), e.Path)
	case e.Addr != netip.AddrPort{}:
		return fmt.Errorf("%s has no address and port", e.Transport())
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
