package registry

import (
	"errors"
	"fmt"

	"github.com/quaymaster/quaymaster/internal/endpoint"
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

// mayAdd returns nil if the registration can be and its owner may make it.
func (g *Registry) mayAdd(r *endpoint.Registration) error {
	reason := r.Validate()
	switch {
	case reason != nil || r.Own:
	case r.Dialect == endpoint.ONC && r.Program == rpcbind.Program:
		reason = fmt.Errorf("%w: the program is the mapper's own", ErrRight)
	case !r.NetID.IsIP() || r.Addr.Port() >= firstUnprivileged || r.Owner == endpoint.Superuser:
	case g.Listens == nil || !g.Listens(r.Owner, r.Endpoint):
		reason = fmt.Errorf("%w: ports below %d are for root and for who listens there", ErrRight, firstUnprivileged)
	}
	if reason == nil {
		return nil
	}
	return &RowError{Interface: r.Interface, Endpoint: r.Endpoint, Reason: reason}
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

// full returns an error about so many registrations that are too many.
func full(more int) error {
	return fmt.Errorf("%d more: %w with %d", more, ErrFull, MaxRows)
}
