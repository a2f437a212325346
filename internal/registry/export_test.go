package registry

import (
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// Lookup returns the registration of an interface on a transport, or nil.
func (g *Registry) Lookup(i endpoint.Interface, n rpcbind.NetID) *endpoint.Registration {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if r := g.exact.get(keyOf(i, n)); r != nil {
		return &r.reg
	}
	return nil
}
