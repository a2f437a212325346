package registry

import (
	"errors"
	"fmt"
	"slices"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A change is what is done at once: journalled, then seen by everybody. A row is
// in it once, but for one that ends and another that is made in its place.
type change struct {
	by      *endpoint.Owner
	ended   []ending
	made    []*row
	renewed []renewal
	filed   bool // the file of permanent registrations says so already
}

type ending struct {
	*row
	why Reason
}

// A renewal is a row that another registration and belief are for.
type renewal struct {
	*row
	reg    *endpoint.Registration
	belief belief
}

func (c *change) empty() bool { return len(c.ended)+len(c.made)+len(c.renewed) == 0 }

func (c *change) end(r *row, why Reason) { c.ended = append(c.ended, ending{r, why}) }

// ends tells whether a row does.
func (c *change) ends(r *row) bool {
	return slices.ContainsFunc(c.ended, func(e ending) bool { return e.row == r })
}

// commit makes a change, unless what an administrator wants kept cannot be
// stored; then nothing is done. g.change is held.
func (g *Registry) commit(c *change) error {
	if c.empty() {
		return nil
	}
	if err := g.journal(c); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range c.ended {
		g.remove(e.row)
		by := c.by
		if e.why != Removed && e.why != FileChanged {
			by = nil // who wanted its place has only found it dead
		}
		g.publish(Event{Seq: g.seq.Add(1), Kind: Ended, Registration: e.reg, By: by, Reason: e.why})
	}
	for _, r := range c.made {
		g.insert(r)
		g.publish(Event{Seq: g.seq.Add(1), Kind: Made, Registration: r.reg, By: c.by})
	}
	for _, n := range c.renewed {
		g.renew(n)
		g.publish(Event{Seq: g.seq.Add(1), Kind: Renewed, Registration: n.reg, By: c.by})
	}
	return nil
}

func (g *Registry) insert(r *row) {
	g.rows[r.reg.ID] = r
	g.enter(r)
	g.order.push(r)
	g.processes.take(r.proc)
	g.count(r.reg, 1)
}

func (g *Registry) remove(r *row) {
	delete(g.rows, r.reg.ID)
	g.leave(r)
	g.order.remove(r)
	g.processes.drop(r.proc)
	g.count(r.reg, -1)
}

func (g *Registry) renew(n renewal) {
	old := *n.row
	n.row.reg, n.row.belief = n.reg, n.belief
	g.processes.take(n.belief.proc)
	g.processes.drop(old.proc)
	g.count(n.reg, 1)
	g.count(old.reg, -1)
}

// count counts one row more or less, of its owner and among what hints are about.
func (g *Registry) count(r *endpoint.Registration, n int) {
	add(g.users, r.Owner, n)
	if isRestless(r) {
		g.restless += n
	}
	if !r.Own { // whose sockets close with every connection, and are not looked at
		g.ports.add(r.Endpoint, n)
	}
}

// add adds n to the count of a key; what comes to 0 is left out.
func add[K comparable](counts map[K]int, k K, n int) {
	if counts[k] += n; counts[k] == 0 {
		delete(counts, k)
	}
}

// isRestless tells whether a registration must be looked at even if no socket of
// IP has changed: its evidence ends with time, a process or a path.
func isRestless(r *endpoint.Registration) bool {
	switch r.Evidence {
	case endpoint.Waiting, endpoint.Process, endpoint.Lease:
		return true
	case endpoint.Listening:
		return !r.Own && !r.NetID.IsIP()
	}
	return false
}

// Remove ends the registrations of an ONC program and version on some transports:
// all that there are or, if one of them is not by's to change, none. It returns
// how many ended; 0 is no error. The error joins a [RowError] for each that must
// stay, or wraps [ErrStore].
func (g *Registry) Remove(by endpoint.Owner, i endpoint.Interface, on ...rpcbind.NetID) (int, error) {
	g.change.Lock()
	defer g.change.Unlock()
	var rows []*row
	for _, n := range on {
		if r := g.exact.get(keyOf(i, n)); r != nil && !slices.Contains(rows, r) {
			rows = append(rows, r)
		}
	}
	return g.endAll(by, rows)
}

// RemoveAt ends the registrations at some places: all or, if one is not there or
// not by's to change, none. The error is as of [Registry.RemoveID].
func (g *Registry) RemoveAt(by endpoint.Owner, places ...endpoint.Place) error {
	g.change.Lock()
	defer g.change.Unlock()
	var rows []*row
	for i := range places {
		p := &places[i]
		r := g.at(p)
		if r == nil {
			return &RowError{Interface: p.Interface, Endpoint: p.Endpoint, Reason: ErrNotFound}
		}
		if !slices.Contains(rows, r) {
			rows = append(rows, r)
		}
	}
	return g.end(by, rows)
}

// RemoveUUID is [Registry.Remove] for those registrations of DCE interfaces with
// that UUID which wants is true of.
func (g *Registry) RemoveUUID(by endpoint.Owner, uuid ndr.UUID, wants func(*endpoint.Registration) bool) (int, error) {
	g.change.Lock()
	defer g.change.Unlock()
	return g.endAll(by, slices.Collect(g.family(uuid, wants)))
}

// endAll is end, and says how many.
func (g *Registry) endAll(by endpoint.Owner, rows []*row) (int, error) {
	if err := g.end(by, rows); err != nil {
		return 0, err
	}
	return len(rows), nil
}

// RemoveID ends the registrations with these ids: all or, if one is not there
// or not by's to change, none. The error wraps [ErrNotFound] or [ErrStore], or
// joins a [RowError] for each that must stay.
func (g *Registry) RemoveID(by endpoint.Owner, ids ...endpoint.ID) error {
	g.change.Lock()
	defer g.change.Unlock()
	var rows []*row
	for _, id := range ids {
		r := g.rows[id]
		if r == nil {
			return fmt.Errorf("%s: %w", id, ErrNotFound)
		}
		if !slices.Contains(rows, r) {
			rows = append(rows, r)
		}
	}
	return g.end(by, rows)
}

func (g *Registry) end(by endpoint.Owner, rows []*row) error {
	c := change{by: &by}
	var mistakes []error
	for _, r := range rows {
		if err := mayEnd(by, r.reg); err != nil {
			mistakes = append(mistakes, err)
			g.Refuse(&by, r.reg, err)
		}
		c.end(r, Removed)
	}
	if len(mistakes) > 0 {
		return errors.Join(mistakes...)
	}
	err := g.commit(&c)
	if err != nil {
		g.Refuse(&by, rows[0].reg, err)
	}
	return err
}

// Refuse tells who listens to events that a registration was refused, for the
// first few of the errors that are joined in err; by is nil if it is not known who asked.
func (g *Registry) Refuse(by *endpoint.Owner, r *endpoint.Registration, err error) {
	e := Event{Kind: Refused, Registration: r, By: by, Err: err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		if all := joined.Unwrap(); len(all) > maxReasons {
			e.Err, e.More = errors.Join(all[:maxReasons]...), len(all)-maxReasons
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	e.Seq = g.seq.Load()
	g.publish(e)
}
