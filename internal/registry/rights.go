package registry

import (
	"errors"
	"fmt"
	"slices"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/socktable"
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
		text += fmt.Sprintf(" (owner: %s)", titleOf(*e.Owner))
	}
	return text
}

// titleOf returns an owner for messages: a number, since who has which name is not known here.
func titleOf(o endpoint.Owner) string {
	if o.Host.IsValid() {
		return o.Host.String()
	}
	return fmt.Sprintf("uid %d", o.UID)
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
	if reason == nil && c.Grant != 0 {
		reason = g.mayUseGrant(c, r)
	}
	if reason == nil && r.IsMapper() {
		reason = fmt.Errorf("%w: the %s is the mapper's own", ErrRight, r.Kind())
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
	if to := g.grantAt(r); to != nil && to.Owner != c.Owner && !g.listens(c.Owner, r.Endpoint) {
		return fmt.Errorf("%w: the port was given to %s, and is for them and for who listens there", ErrRight, titleOf(to.Owner))
	}
	return g.portIsFree(c.Owner, r)
}

// portIsFree returns nil unless, in the other dialect, a port is registered at
// which another user's socket listens: one host has one set of ports.
func (g *Registry) portIsFree(o endpoint.Owner, r *endpoint.Registration) error {
	at, ok := portOf(r)
	at.dialect = other(r.Dialect)
	if !ok || g.held[at] == nil || !g.ours(r.Endpoint) {
		return nil
	}
	for x := g.held[at]; x != nil; x = x.links[atPort].next {
		if !x.reg.Evidence.Listens() || !g.ours(x.reg.Endpoint) {
			continue
		}
		uid := x.socketUID
		if x.reg.Own { // whose socket is not looked at
			uid = x.reg.Owner.UID
		}
		if uid == o.UID {
			continue
		}
		if holds, _ := g.holds(x); holds { // or the check ends it
			return fmt.Errorf("%w: uid %d listens at port %d, for %s", ErrRight, uid, at.port, x.reg.Interface)
		}
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
	case asked.Dialect == endpoint.ONC && asked.Annotation != "" && asked.Annotation != standing.Annotation:
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
