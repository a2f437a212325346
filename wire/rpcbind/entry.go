package rpcbind

import (
	"fmt"

	"github.com/quaymaster/quaymaster/wire/xdr"
)

// Semantics says what a transport promises (RFC 1833, section 2.1, and the
// nc_semantics of the netconfig database).
type Semantics uint32

// What transports promise.
const (
	Connectionless    Semantics = 1 // tpi_clts
	ConnectionOrient  Semantics = 2 // tpi_cots
	ConnectionOrdered Semantics = 3 // tpi_cots_ord
)

func (s Semantics) String() string {
	switch s {
	case Connectionless:
		return "tpi_clts"
	case ConnectionOrient:
		return "tpi_cots"
	case ConnectionOrdered:
		return "tpi_cots_ord"
	}
	return fmt.Sprintf("Semantics(%d)", uint32(s))
}

// An Entry is one address of a program and version, with what a client must
// know to use it (rpcb_entry, RFC 1833, section 2.1).
type Entry struct {
	Address   string
	NetID     string
	Semantics Semantics
	Family    string // "inet", "inet6" or "loopback"
	Protocol  string // "tcp", "udp" or "-"
}

// EntryFor returns the entry of a transport at an address.
func EntryFor(n NetID, address string) Entry {
	e := Entry{Address: address, NetID: n.String(), Semantics: ConnectionOrdered, Family: "loopback", Protocol: "-"}
	switch n {
	case TCP, TCP6:
		e.Protocol = "tcp"
	case UDP, UDP6:
		e.Protocol = "udp"
		e.Semantics = Connectionless
	}
	switch {
	case n.IsIPv4():
		e.Family = "inet"
	case n.IsIPv6():
		e.Family = "inet6"
	}
	return e
}

// Append appends the entry.
func (e Entry) Append(b []byte) []byte {
	b = xdr.AppendString(b, e.Address)
	b = xdr.AppendString(b, e.NetID)
	b = xdr.AppendUint32(b, uint32(e.Semantics))
	b = xdr.AppendString(b, e.Family)
	return xdr.AppendString(b, e.Protocol)
}

// ParseEntries decodes the result of GETADDRLIST (rpcb_entry_list, RFC 1833,
// section 2.1). Bytes after it are accepted. Errors wrap those of package xdr.
func ParseEntries(b []byte) ([]Entry, error) {
	return parseList(b, "rpcb_entry_list", func(r *xdr.Reader) Entry {
		return Entry{
			Address: r.String(MaxAddress), NetID: r.String(MaxNetID), Semantics: Semantics(r.Uint32()),
			Family: r.String(MaxNetID), Protocol: r.String(MaxNetID),
		}
	})
}
