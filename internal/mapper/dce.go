package mapper

import (
	"crypto/rand"
	"net/netip"

	"go4.org/netipx"

	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// DCEConfig is what only the endpoint mapper has. The zero value is the default.
type DCEConfig struct {
	// Who may register over the network, for an hour at a time. Over the local
	// socket everybody may.
	InsertLoopback bool          // callers of this host, who are identified by their sockets
	Insert         *netipx.IPSet // other hosts; nil: none

	// Address is told of servers that listen on every address; the zero Addr: the
	// one that the client reached this host at.
	Address netip.Addr

	// EndWithHandle ends every dump in parts as Windows does, with success and a nil
	// handle. Else its last part, if it is not full and the client asks for less than
	// it could, says "not registered" beside its entries, for clients that read until
	// they are told so.
	EndWithHandle bool
}

// DCE is the endpoint mapper: interface e1af8308-5d1f-11c9-91a4-08002b14a0fa 3.0, and
// the management interface beside it.
type DCE struct {
	*Shared
	DCEConfig
	object ndr.UUID                   // of the mapper itself
	rows   latest[[]registry.Ordered] // all of DCE, oldest first
	groups groups                     // of associations
	calls  dceCalls
	stats  dceStats
}

// NewDCE returns an endpoint mapper.
func NewDCE(s *Shared, c DCEConfig) *DCE {
	return &DCE{
		Shared: s, DCEConfig: c, object: newUUID(),
		rows:   latest[[]registry.Ordered]{registry: s.Registry, make: s.Registry.AllDCE},
		groups: groups{byID: map[uint32]*group{}},
	}
}

// Session returns what answers on one connection, for [transport.StreamServer].
func (m *DCE) Session() transport.Session { return &session{mapper: m} }

// newUUID returns a random UUID (RFC 9562, section 5.4).
func newUUID() ndr.UUID {
	var u ndr.UUID
	rand.Read(u[:])
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return u
}
