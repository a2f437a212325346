package registry

import (
	"errors"
	"fmt"
	"slices"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/socktable"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// Errors of changes; more is in the text around them.
var (
	ErrNotFound = errors.New("not registered")
	ErrConflict = errors.New("registered already")
	ErrNotOwner = errors.New("only its owner or root may change it")
	ErrRight    = errors.New("not allowed")
	ErrFull     = errors.New("the registry is full")
)

// A RowError is why one registration cannot be made or ended.
type RowError struct {
	Interface endpoint.Interface // what was to be registered or to end
	Endpoint  endpoint.Endpoint  // and where
	Reason    error              // wraps ErrConflict, ErrRight or ErrNotOwner, or tells what is wrong with the endpoint
	Owner     *endpoint.Owner    // of the registration that stands in the way; nil if there is none
}

func (e *RowError) Error() string {
	text := fmt.Sprintf("%s on %s: %v", e.Interface, e.Endpoint, e.Reason)
	if e.Owner != nil {
		text += fmt.Sprintf(" (owner: uid %d)", e.Owner.UID)
	}
	return text
}

func (e *RowError) Unwrap() error { return e.Reason }

// firstUnprivileged is the first port that a process without privileges can
// listen on by default.
const firstUnprivileged = 1024

// mayAdd returns nil if the registration can be and the claim's owner may make it.
func (g *Registry) mayAdd(c *Claim, r *endpoint.Registration) error {
	reason := r.Validate()
	if reason == nil && c.Owner != endpoint.Superuser {
		reason = g.mayUserAdd(c, r)
	}
	if reason == nil && r.Dialect == endpoint.ONC && r.Program == rpcbind.Program {
		reason = fmt.Errorf("%w: the program is the mapper's own", ErrRight)
	}
	if reason == nil {
		return nil
	}
	return &RowError{Interface: r.Interface, Endpoint: r.Endpoint, Reason: reason}
}

// mayUserAdd returns why a user other than root may not add the registration.
func (g *Registry) mayUserAdd(c *Claim, r *endpoint.Registration) error {
	users, reserved := g.c.Reserved[r.Program]
	switch {
	case c.Evidence == endpoint.Permanent:
		return fmt.Errorf("%w: permanent registrations are for root", ErrRight)
	case reserved && r.Dialect == endpoint.ONC && !slices.Contains(users, c.Owner.UID):
		return fmt.Errorf("%w: the program is reserved for %s", ErrRight, rootAnd(users))
	case r.NetID.IsIP() && r.Addr.Port() < firstUnprivileged && !g.listens(c.Owner, r.Endpoint):
		return fmt.Errorf("%w: ports below %d are for root and for who listens there", ErrRight, firstUnprivileged)
	}
	return nil
}

// rootAnd names root and users.
func rootAnd(users []uint32) string {
	text := "root"
	for _, uid := range users {
		text += fmt.Sprintf(", uid %d", uid)
	}
	return text
}

// listens tells whether a socket of the owner's receives at the endpoint, as far
// as the kernel can tell users apart.
func (g *Registry) listens(o endpoint.Owner, e endpoint.Endpoint) bool {
	if g.c.Sockets == nil || o.UID == socktable.NoUID {
		return false
	}
	sockets, err := g.c.Sockets.At(e)
	return err == nil && belongsTo(sockets, o.UID)
}

// sameAs returns nil if the standing registration says what asked does.
func sameAs(asked, standing *endpoint.Registration) error {
	var reason error
	switch {
	case asked.Endpoint != standing.Endpoint:
		reason = fmt.Errorf("%w at %s", ErrConflict, standing.Endpoint)
	case asked.Annotation != "" && asked.Annotation != standing.Annotation:
		reason = fmt.Errorf("%w with annotation %q", ErrConflict, standing.Annotation)
	default:
		return nil
	}
	return &RowError{asked.Interface, asked.Endpoint, reason, &standing.Owner}
}

// mayEnd returns nil if the registration is by's to end.
func mayEnd(by endpoint.Owner, r *endpoint.Registration) error {
	switch {
	case r.Own:
		return &RowError{r.Interface, r.Endpoint, fmt.Errorf("%w: it is the mapper's own", ErrRight), nil}
	case !by.MayChange(r):
		return &RowError{r.Interface, r.Endpoint, ErrNotOwner, &r.Owner}
	}
	return nil
}
