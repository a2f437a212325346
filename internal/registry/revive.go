package registry

import (
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// loadJournal inserts the rows of the journal that hold, forgets the others, and
// writes what has changed.
func (g *Registry) loadJournal(recs []Record) {
	revived := make([]*row, len(recs))
	var bySocket []glimpse
	for i := range recs {
		r := g.revive(&recs[i])
		defer g.processes.drop(r.proc) // what restore takes it keeps
		revived[i] = r
		if r.bySocket() {
			bySocket = append(bySocket, glimpse{r, *r})
		}
	}
	verdicts, _, err := g.look(bySocket)
	if err != nil {
		g.c.Log.Error("registrations of an earlier run are believed until they can be checked", "err", err)
	}
	dead := map[*row]Reason{}
	for _, v := range verdicts {
		if v.holds {
			v.at.see(v.at.reg, v.sockets)
		} else {
			dead[v.at] = v.why
		}
	}
	var b Batch
	for i, r := range revived {
		why, ended := dead[r]
		if !ended {
			why, ended = g.reviveOther(r)
		}
		g.settle(r, &recs[i], ended, why, &b)
	}
	g.keep(&b)
}

// reviveOther is judgeOther for a row of the journal, which it changes.
func (g *Registry) reviveOther(r *row) (why Reason, ended bool) {
	now := time.Now()
	f, why := g.judgeOther(r, now)
	if f == becomesLease {
		g.lease(r.reg, &r.belief, now)
	}
	return why, f == ends
}

// settle inserts a row of the journal that holds, and notes in b what the journal
// should say other than the record rec.
func (g *Registry) settle(r *row, rec *Record, ended bool, why Reason, b *Batch) {
	if ended || !g.fits(r) {
		b.Gone = append(b.Gone, rec.ID)
		if ended {
			g.counters.count(Event{Kind: Ended, Reason: why})
			g.c.Log.Info("registration of an earlier run ended", "interface", r.reg.Interface, "endpoint", r.reg.Endpoint, "why", why.String())
		}
		return
	}
	if g.rows[r.reg.ID] != nil { // a permanent row has it: who wrote the file copied more than they should
		b.Gone = append(b.Gone, rec.ID)
		r.reg.ID = g.newID()
	}
	g.restore(r)
	if now := r.record(); now != *rec {
		b.Rows = append(b.Rows, now)
	}
}

// fits tells whether there is a place for a row of the journal. The registry of
// the run before took care of that, but a permanent row may have come since.
func (g *Registry) fits(r *row) bool {
	return r.reg.Validate() == nil && !r.reg.Own && !r.reg.IsMapper() && r.reg.ID != 0 &&
		r.reg.Evidence != endpoint.Permanent && g.standing(r.reg) == nil
}

// revive returns the row of a record, as the present configuration believes it.
// If it stands on a process, that is held for one use.
func (g *Registry) revive(rec *Record) *row {
	reg := rec.Registration
	r := &row{reg: &reg, order: rec.Order, belief: belief{
		seen: rec.Seen, socketUID: rec.SocketUID, elsewhere: rec.Elsewhere, at: rec.Since,
	}}
	now := time.Now()
	switch {
	case reg.Evidence == endpoint.Unchecked && g.looks():
		g.doubt(r, now)
	case r.bySocket() && !g.looks():
		reg.Evidence, reg.Until = endpoint.Unchecked, time.Time{}
	case reg.Evidence == endpoint.Process && rec.Started == 0: // it cannot be found again
		g.lease(&reg, &r.belief, now)
	}
	if reg.Evidence == endpoint.Process || reg.Evidence == endpoint.Waiting {
		r.proc = g.processes.reopen(reg.PID, rec.Started)
	}
	return r
}

// doubt has a row looked at that the run before did not look at.
func (g *Registry) doubt(r *row, now time.Time) {
	switch {
	case r.seen: // by a run before that
		r.reg.Evidence = endpoint.Listening
	case r.elsewhere:
		g.lease(r.reg, &r.belief, now)
	default:
		r.reg.Evidence, r.reg.Until = endpoint.Waiting, now.Add(g.c.Grace)
	}
}
