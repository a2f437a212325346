package registry

import (
	"fmt"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// firstUnprivileged is the first port that a process without privileges can
// listen on by default.
const firstUnprivileged = 1024

// mayAdd returns nil if the registration's owner may make it.
func mayAdd(r *endpoint.Registration) error {
	switch {
	case r.Own:
		return nil
	case r.Dialect == endpoint.ONC && r.Program == rpcbind.Program:
		return fmt.Errorf("registry: %s: %w: the program is the mapper's own", r.Interface, ErrRight)
	case r.NetID.IsIP() && r.Addr.Port() < firstUnprivileged && r.Owner != endpoint.Superuser:
		return fmt.Errorf("registry: %s on %s: %w: ports below %d are root's", r.Interface, r.Endpoint, ErrRight, firstUnprivileged)
	}
	return nil
}
