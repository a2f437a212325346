package registry

import (
	"errors"
	"fmt"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// ErrStore: what was to be kept could not be stored.
var ErrStore = errors.New("cannot be kept")

// journal writes a change to the stores, the permanent part first: without it
// nothing is done.
func (g *Registry) journal(c *change) error {
	kept, permanent := c.batches()
	if !permanent.empty() && !c.filed {
		if g.c.Permanent == nil {
			return fmt.Errorf("%w: there is no file of permanent registrations", ErrStore)
		}
		if err := g.c.Permanent.Write(permanent); err != nil {
			return fmt.Errorf("%w: %w", ErrStore, err)
		}
	}
	g.keep(&kept)
	return nil
}

// batches returns what is to be written: to the journal, and to the file of
// permanent registrations.
func (c *change) batches() (kept, permanent Batch) {
	of := func(r *endpoint.Registration) *Batch {
		if r.Evidence == endpoint.Permanent {
			return &permanent
		}
		return &kept
	}
	for _, e := range c.ended {
		b := of(e.reg)
		b.Gone = append(b.Gone, e.reg.ID)
	}
	for _, r := range c.made {
		b := of(r.reg)
		b.Rows = append(b.Rows, r.record())
	}
	for _, n := range c.renewed {
		from, to := of(n.row.reg), of(n.reg)
		if from != to {
			from.Gone = append(from.Gone, n.reg.ID)
		}
		to.Rows = append(to.Rows, (&row{reg: n.reg, belief: n.belief, order: n.row.order}).record())
	}
	return kept, permanent
}

// keep writes to the journal. That it cannot be written stops nobody: it is a
// cache, and is written again when it can be.
func (g *Registry) keep(b *Batch) {
	if g.c.Store == nil || g.behind || b.empty() {
		return
	}
	if err := g.c.Store.Write(*b); err != nil {
		g.behind = true
		g.c.Log.Error("registrations not kept for a restart, until the journal can be written", "err", err)
	}
}

// catchUp writes the whole journal after it could not be written. g.change is held.
func (g *Registry) catchUp() {
	if !g.behind {
		return
	}
	stored, err := g.c.Store.Load()
	if err != nil {
		return
	}
	var b Batch
	g.catchUpRows(stored.Rows, &b)
	g.catchUpGrants(stored.Grants, &b)
	if err := g.c.Store.Write(b); err == nil {
		g.behind = false
		g.c.Log.Info("journal written again")
	}
}

// catchUpRows adds to b what makes the stored rows those that stand.
func (g *Registry) catchUpRows(stored []Record, b *Batch) {
	for i := range stored {
		if r := g.rows[stored[i].ID]; r == nil || r.reg.Evidence == endpoint.Permanent {
			b.Gone = append(b.Gone, stored[i].ID)
		}
	}
	for r := g.order.first; r != nil; r = r.links[inOrder].next {
		if !r.reg.Own && r.reg.Evidence != endpoint.Permanent {
			b.Rows = append(b.Rows, r.record())
		}
	}
}
