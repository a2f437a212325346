package registry

import (
	"fmt"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// load fills the registry: the mapper's own rows, the permanent ones, and of
// the journal those that hold.
func (g *Registry) load() error {
	for i := range g.c.Own {
		r := g.c.Own[i]
		r.Own, r.ID, r.Since, r.Evidence = true, g.newID(), time.Now(), endpoint.Listening
		if err := r.Validate(); err != nil {
			return fmt.Errorf("the mapper's own row: %w", err)
		}
		g.restore(&row{reg: &r})
	}
	permanent, err := g.filed()
	if err != nil {
		return err
	}
	for _, r := range permanent {
		g.restore(r)
	}
	if g.c.Store == nil {
		return nil
	}
	stored, err := g.c.Store.Load()
	if err != nil { // a cache stops nobody
		g.behind = true
		g.c.Log.Error("what was registered before cannot be read", "err", err)
		return nil
	}
	g.loadGrants(stored.Grants)
	g.loadJournal(stored.Rows)
	if err := g.checkGrants(); err != nil {
		g.c.Log.Error("ports that were given in an earlier run stay given until that can be checked", "err", err)
	}
	return nil
}

// restore inserts a row that is stored already. It is the youngest, and keeps its
// order if that says so.
func (g *Registry) restore(r *row) {
	r.order = max(r.order, g.last+1)
	g.last = r.order
	g.insert(r)
	g.seq.Add(1)
}

// filed returns the rows of the file of permanent registrations, with no order yet.
func (g *Registry) filed() ([]*row, error) {
	if g.c.Permanent == nil {
		return nil, nil
	}
	stored, err := g.c.Permanent.Load()
	if err != nil {
		return nil, err
	}
	var rows []*row
	for i := range stored.Rows {
		reg := stored.Rows[i].Registration
		reg.Evidence = endpoint.Permanent
		if reg.Since.IsZero() {
			reg.Since = time.Now()
		}
		if !reg.IsMapper() {
			rows = append(rows, &row{reg: &reg})
		}
	}
	return rows, nil
}

// Reload reads the file of permanent registrations again, and does as it says:
// what is new there is registered, in whoever's place, and what is there no more
// ends. The file is not written. With an error everything stays as it is.
func (g *Registry) Reload() error {
	g.change.Lock()
	defer g.change.Unlock()
	filed, err := g.filed()
	if err != nil {
		return err
	}
	by := endpoint.Superuser
	c := change{by: &by, filed: true}
	same := map[*row]bool{}
	for _, f := range filed {
		r := g.standing(f.reg)
		switch {
		case r != nil && isFiled(r.reg, f.reg):
			same[r] = true
			continue
		case r != nil && r.reg.Evidence != endpoint.Permanent:
			c.end(r, FileChanged)
		}
		c.made = append(c.made, f)
	}
	for r := g.order.first; r != nil; r = r.links[inOrder].next {
		if r.reg.Evidence == endpoint.Permanent && !same[r] {
			c.end(r, FileChanged)
		}
	}
	for _, f := range c.made {
		if other := g.rows[f.reg.ID]; other != nil && !c.ends(other) {
			return fmt.Errorf("%s on %s: id %s is that of another registration: leave it out", f.reg.Interface, f.reg.Endpoint, f.reg.ID)
		}
		g.last++
		f.order = g.last
	}
	return g.commit(&c)
}

// isFiled tells whether a row is what the file says. The id counts, since the
// file knows its rows by that.
func isFiled(r, filed *endpoint.Registration) bool {
	return r.Evidence == endpoint.Permanent && r.ID == filed.ID && r.Endpoint == filed.Endpoint && r.Annotation == filed.Annotation
}
