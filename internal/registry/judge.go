package registry

import (
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/socktable"
)

// bySocket tells whether the row stands and falls with a socket.
func (r *row) bySocket() bool {
	return !r.reg.Own && (r.reg.Evidence.Listens() || r.reg.Evidence == endpoint.Waiting)
}

// judge says what sockets at its endpoint mean for a row that stands and falls
// with them: whether it holds, and if not why.
func (r *row) judge(sockets []socktable.Socket, now time.Time) (holds bool, why Reason) {
	switch {
	case r.seen && len(sockets) == 0:
		return false, Gone
	case r.seen && !belongsTo(sockets, r.socketUID):
		return false, TakenOver
	case !r.seen && len(sockets) == 0 && now.After(r.reg.Until):
		return false, NeverThere
	}
	return true, 0
}

// A fate is what becomes of a row whose evidence is no socket.
type fate uint8

const (
	stays fate = iota
	becomesLease
	ends
)

// judgeOther is judge for rows of other evidence.
func (g *Registry) judgeOther(r *row, now time.Time) (fate, Reason) {
	switch {
	case r.reg.Evidence == endpoint.Lease && now.After(r.reg.Until):
		return ends, LeaseOver
	case r.reg.Evidence != endpoint.Process || r.proc != nil && r.proc.Alive():
		return stays, 0
	case r.elsewhere && now.Sub(r.at) < g.c.Grace:
		return becomesLease, 0 // it registered and went: a tool, or a server that left a child behind
	}
	return ends, ProcessOver
}

// holds asks now whether a row does. It is asked on behalf of somebody who
// wants its place: of a row that waits the process must still be there.
func (g *Registry) holds(r *row) (holds bool, why Reason) {
	now := time.Now()
	if !r.bySocket() {
		f, why := g.judgeOther(r, now)
		return f != ends, why
	}
	if r.proc != nil && !r.proc.Alive() && !now.After(r.reg.Until) {
		now = r.reg.Until.Add(1) // nobody is left to wait for
	}
	// The short question need not name every socket, and what is listed while
	// sockets come and go may lack one: the row is dead if both say so.
	for _, ask := range []func(endpoint.Endpoint) ([]socktable.Socket, error){g.c.Sockets.At, g.listed} {
		sockets, err := ask(r.reg.Endpoint)
		if err != nil { // Run tells of it
			return true, 0
		}
		if holds, why = r.judge(sockets, now); holds {
			break
		}
	}
	return holds, why
}

// listed returns the sockets of a new snapshot that receive at an endpoint.
func (g *Registry) listed(e endpoint.Endpoint) ([]socktable.Socket, error) {
	table, err := g.c.Sockets.Snapshot()
	if err != nil {
		return nil, err
	}
	return table.At(e), nil
}
