package registry

import (
	"cmp"
	"slices"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/process"
	"github.com/quaymaster/quaymaster/internal/socktable"
)

// A Claim says who registers, and why the registrations are to be believed.
type Claim struct {
	Owner endpoint.Owner
	PID   int32 // of the process that registers or, for the evidence Process, that is meant; 0 if unknown
	// Process returns that process, which is the registry's to close, or an error.
	// It is asked once at most, with the registry locked; nil if there is nobody to ask.
	Process func() (*process.Process, error)
	// Elsewhere says that the owner is in another network namespace, so that its
	// sockets cannot be seen.
	Elsewhere bool
	// Evidence is Process, Lease or Permanent if that is asked for, and else
	// zero: by a socket or, where none can be seen, by the process or a lease.
	Evidence endpoint.Evidence
	TTL      time.Duration // of a lease that is asked for; 0: as long as every lease
	// Grant is one of the owner's, or for root anybody's, at whose ports everything
	// registered must be, where a socket of the owner's is already. 0: none.
	Grant endpoint.ID
	// Replace ends what has the DCE interface, object and protocol sequence of a
	// registration and is not itself registered anew.
	Replace bool
}

// A belief is what is known beyond the registration about its evidence.
type belief struct {
	seen      bool      // a socket received at the endpoint
	elsewhere bool      // no socket can be seen: a process or a lease stands in for it, which nobody asked for
	socketUID uint32    // of the socket that was seen
	proc      *held     // of Waiting and Process; nil if it cannot be had
	at        time.Time // when it was last registered, but for what changed nothing
}

// believe sets why a registration of the claim is believed.
func (p *plan) believe(r *endpoint.Registration) belief {
	g, c, now := p.g, p.claim, time.Now()
	b := belief{at: now}
	r.Until, r.PID = time.Time{}, c.PID
	switch c.Evidence {
	case endpoint.Permanent:
		r.Evidence, r.PID = endpoint.Permanent, 0
		return b
	case endpoint.Process:
		r.Evidence, b.proc = endpoint.Process, p.process()
		return b
	case endpoint.Lease:
		r.Evidence, r.Until = endpoint.Lease, now.Add(cmp.Or(c.TTL, g.c.Lease))
		return b
	}
	b.elsewhere = c.Elsewhere || !g.visible(r.Endpoint)
	switch {
	case !g.looks():
		r.Evidence = endpoint.Unchecked
	case b.elsewhere:
		r.Evidence, b.proc = endpoint.Process, p.process()
		if b.proc == nil || !b.proc.Alive() {
			g.lease(r, &b, now)
		}
	default:
		sockets, err := g.c.Sockets.At(r.Endpoint)
		if err == nil && len(sockets) > 0 {
			b.see(r, sockets)
			break
		}
		r.Evidence, r.Until, b.proc = endpoint.Waiting, now.Add(g.c.Grace), p.process()
	}
	return b
}

// looks tells whether sockets are looked at.
func (g *Registry) looks() bool { return g.c.Sockets != nil && !g.c.Unchecked }

// visible tells whether the sockets at an endpoint can be seen, where they are.
func (g *Registry) visible(e endpoint.Endpoint) bool { return e.NetID != 0 && g.ours(e) }

func (g *Registry) ours(e endpoint.Endpoint) bool {
	return !e.NetID.IsIP() || e.Addr.Addr().IsUnspecified() || g.c.Ours == nil || g.c.Ours(e.Addr.Addr())
}

// lease has a row believed for a time because there is nothing to look at.
func (g *Registry) lease(r *endpoint.Registration, b *belief, now time.Time) {
	r.Evidence, r.Until, b.proc = endpoint.Lease, now.Add(g.c.Lease), nil
}

// see notes that a socket receives: the owner's if there are several. From now
// on the row stands on that, and no process is needed.
func (b *belief) see(r *endpoint.Registration, sockets []socktable.Socket) {
	r.Evidence, r.Until, b.proc = endpoint.Listening, time.Time{}, nil
	b.seen, b.socketUID = true, sockets[0].UID
	if belongsTo(sockets, r.Owner.UID) {
		b.socketUID = r.Owner.UID
	}
}

func belongsTo(sockets []socktable.Socket, uid uint32) bool {
	return slices.ContainsFunc(sockets, func(s socktable.Socket) bool { return s.UID == uid })
}

// record returns the row as a store keeps it.
func (r *row) record() Record {
	rec := Record{Registration: *r.reg, Order: r.order, Seen: r.seen, SocketUID: r.socketUID, Elsewhere: r.elsewhere}
	if r.proc != nil {
		rec.Started = r.proc.Started
	}
	return rec
}
