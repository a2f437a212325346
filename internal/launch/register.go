package launch

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// A ledger knows what was registered, or need not be.
type ledger map[endpoint.Place]*entry

// An entry is what became of a row.
type entry struct {
	row
	ours    bool          // we have registered it; else it stands without us, or was refused
	gone    bool          // nothing listened there at some time since then
	refused bool          // for now
	again   time.Time     // of what was refused: when to try it next
	pause   time.Duration // between the last two tries
}

// How long to wait before what was refused is tried again: longer each time, since the
// daemon tells its log of every refusal.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// due returns the rows that have to be registered now. What comes back after nothing
// listened there is registered anew, since the daemon may have ended it.
func (l ledger) due(rows []row, now time.Time) []row {
	for _, e := range l {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.place == e.place }) {
			e.gone = true // until it is registered again
		}
	}
	var due []row
	for _, r := range rows {
		e := l[r.place]
		switch {
		case e == nil, e.refused && !now.Before(e.again):
			due = append(due, r)
		case e.refused:
		case e.gone || e.Address != r.Address || !e.shares(r): // or it was closed and bound again between two looks
			if e.ours && e.Address != r.Address {
				r.replaces = e.ID // of a program, which has one row
			}
			due = append(due, r)
		default:
			e.sockets = r.sockets
		}
	}
	return due
}

// shares tells whether a socket on which the entry stood is still there for the row.
func (e *entry) shares(r row) bool {
	return slices.ContainsFunc(r.sockets, func(s uint32) bool { return slices.Contains(e.sockets, s) })
}

// ids returns what the daemon calls the registrations that are ours.
func (l ledger) ids() map[string]bool {
	ids := map[string]bool{}
	for _, e := range l {
		if e.ours {
			ids[e.ID] = true
		}
	}
	return ids
}

// An outcome is what became of rows that were due.
type outcome struct {
	made    []row // with their ids
	left    []row // stand without us
	refused []row
	why     []string // they were refused, each reason once
	err     error    // the daemon could not be asked, and nothing is known of the rest
}

// take enters what became of rows.
func (l ledger) take(o outcome, now time.Time) {
	for _, r := range o.made {
		l[r.place] = &entry{row: r, ours: true}
	}
	for _, r := range o.left {
		l[r.place] = &entry{row: r}
	}
	for _, r := range o.refused {
		pause := firstPause
		if e := l[r.place]; e != nil && e.refused {
			pause = min(2*e.pause, lastPause)
		}
		l[r.place] = &entry{row: r, refused: true, again: now.Add(pause), pause: pause}
	}
}

// standing returns the rows that stand, whoever registered them.
func (l ledger) standing() []endpoint.Document {
	var all []endpoint.Document
	for _, e := range l {
		if !e.refused && !e.gone {
			all = append(all, e.Document)
		}
	}
	slices.SortFunc(all, func(a, b endpoint.Document) int {
		return cmp.Or(cmp.Compare(a.Program, b.Program), cmp.Compare(a.UUID, b.UUID), cmp.Compare(a.Version.Major, b.Version.Major),
			cmp.Compare(a.Version.Minor, b.Version.Minor), cmp.Compare(a.Transport(), b.Transport()), cmp.Compare(a.Address, b.Address))
	})
	return all
}

// register registers rows at ports of a grant; ours are the ids of what was registered
// before. What the server has registered itself is left alone.
func register(ctx context.Context, daemon *api.Client, grant string, rows []row, ours map[string]bool) (o outcome) {
	rest, err := o.leave(ctx, daemon, rows, ours)
	if err != nil || len(rest) == 0 {
		o.err = err
		return o
	}
	for _, r := range rest {
		if id, err := endpoint.ParseID(r.replaces); err == nil {
			daemon.RemoveID(ctx, id) // it may have ended; if it stands still, the next call is refused
		}
	}
	err = o.add(ctx, daemon, grant, rest...)
	if !isRefusal(err) {
		o.err = err
		return o
	}
	// All or none was asked for: so what may be of them, one by one.
	var refused []row
	why := map[endpoint.Place]string{}
	for _, r := range rest {
		switch err := o.add(ctx, daemon, grant, r); {
		case isRefusal(err):
			refused = append(refused, r)
			why[r.place] = err.Error()
		case err != nil:
			o.err = err
			return o
		}
	}
	o.refused, o.err = o.leave(ctx, daemon, refused, ours) // the server may have been quicker
	for _, r := range o.refused {
		if text := why[r.place]; !slices.Contains(o.why, text) {
			o.why = append(o.why, text)
		}
	}
	return o
}

// leave finds out which rows stand already, but for ours, and returns the rest.
func (o *outcome) leave(ctx context.Context, daemon *api.Client, rows []row, ours map[string]bool) (rest []row, err error) {
	if len(rows) == 0 {
		return nil, nil
	}
	l, err := daemon.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		i := slices.IndexFunc(l.Endpoints, func(d endpoint.Document) bool { return !ours[d.ID] && standsFor(&d, &r.Document) })
		if i >= 0 {
			o.left = append(o.left, r)
		} else {
			rest = append(rest, r)
		}
	}
	return rest, nil
}

// standsFor tells whether a registration d makes another one, for the row r, needless. One
// of a program at another port does not: its server may have died a moment ago, and if it
// has not the daemon says so.
func standsFor(d, r *endpoint.Document) bool {
	return d.Dialect == r.Dialect && d.Program == r.Program && d.UUID == r.UUID && d.Version == r.Version && d.Object == r.Object &&
		d.NetID == r.NetID && d.ProtSeq == r.ProtSeq && d.Port == r.Port
}

// add registers rows, all or none.
func (o *outcome) add(ctx context.Context, daemon *api.Client, grant string, rows ...row) error {
	a := api.Addition{Grant: grant}
	for _, r := range rows {
		a.Endpoints = append(a.Endpoints, r.Document)
	}
	l, err := daemon.Add(ctx, a)
	if err != nil {
		return err
	}
	for i, r := range rows {
		if i < len(l.Endpoints) {
			r.ID = l.Endpoints[i].ID
		}
		o.made = append(o.made, r)
	}
	return nil
}

func isRefusal(err error) bool {
	var refused *api.RefusedError
	return errors.As(err, &refused)
}
