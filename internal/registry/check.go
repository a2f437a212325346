package registry

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/process"
	"github.com/quaymaster/quaymaster/internal/socktable"
)

const (
	// checkEvery is how often the evidence of every row is looked at: what died is
	// gone after twice that at the latest.
	checkEvery = time.Second
	// checkPause is how soon after a look the next one may come, however many hints there are.
	checkPause = 100 * time.Millisecond
)

// Run keeps the registry true until ctx is cancelled, then returns nil.
func (g *Registry) Run(ctx context.Context) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for failed := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-g.hints:
		}
		err := g.check()
		if err != nil && !failed {
			g.c.Log.Error("evidence not checked; registrations stay", "err", err)
		}
		failed = err != nil
		select {
		case <-ctx.Done():
		case <-time.After(checkPause):
		}
	}
}

// WatchProcesses has [Registry.Run] look as soon as a process ends that was given
// ports, until ctx is cancelled. Without it Run looks every second all the same.
func (g *Registry) WatchProcesses(ctx context.Context) error {
	ends, err := process.NewEnds()
	if err != nil {
		return err
	}
	defer ends.Close()
	g.change.Lock()
	g.given.ends = ends
	for p := range g.given.alive {
		g.watchEnd(p)
	}
	g.change.Unlock()
	err = ends.Watch(ctx, func() { g.Hint(0) })
	g.change.Lock()
	defer g.change.Unlock()
	g.given.ends = nil
	return err
}

// watchEnd has the registry look when a process ends.
func (g *Registry) watchEnd(p *held) {
	if g.given.ends == nil {
		return
	}
	if err := g.given.ends.Add(p.Process); err != nil {
		g.c.Log.Debug("the end of a process will not be told", "pid", p.PID, "err", err)
	}
}

// Hint says that a socket closed at a port, of TCP or UDP; 0 is any port. If
// something is registered there, [Registry.Run] looks soon.
func (g *Registry) Hint(port uint16) {
	if port != 0 && !g.ports.has(port) {
		return
	}
	select {
	case g.hints <- struct{}{}:
	default:
	}
}

// check looks at the evidence of every row, and ends those that do not hold.
func (g *Registry) check() error {
	g.looking.Lock()
	defer g.looking.Unlock()
	granting := g.checkGrants()
	g.change.Lock()
	g.catchUp()
	now := looked{seq: g.seq.Load()}
	quiet := g.restless == 0
	g.change.Unlock()
	if quiet && g.unchanged(now.seq) {
		return granting
	}
	g.change.Lock()
	rows := g.glimpses[:0]
	for r := g.order.first; r != nil; r = r.links[inOrder].next {
		if r.bySocket() {
			rows = append(rows, glimpse{r, *r})
		}
	}
	g.change.Unlock()

	verdicts, table, err := g.look(rows)
	clear(rows) // or what ended would be kept
	g.glimpses = rows

	g.change.Lock()
	defer g.change.Unlock()
	var c change
	g.execute(&c, verdicts)
	g.checkOthers(&c)
	if now.table = table; err != nil || !c.empty() {
		now = looked{}
	}
	g.looked = now
	return errors.Join(granting, err, g.commit(&c))
}

// A looked is what was seen when every row was looked at and nothing had to
// change: while it is the same, nothing has to change.
type looked struct {
	seq   uint64
	table *socktable.Snapshot // nil: there was nothing to look at, or something had to change
}

// unchanged tells whether everything is as it was seen last, of so many rows
// that one by one they would take a while. Rows whose evidence ends by itself are
// not seen this way.
func (g *Registry) unchanged(seq uint64) bool {
	if g.looked.table == nil || g.looked.seq != seq {
		return false
	}
	table, err := g.c.Sockets.Snapshot()
	return err == nil && table.Same(g.looked.table)
}

// A glimpse is a row as it was at one time.
type glimpse struct {
	at *row
	row
}

// changed tells whether the row did since then.
func (g *Registry) changed(l *glimpse) bool {
	return g.rows[l.reg.ID] != l.at || l.at.reg != l.reg
}

// A verdict is what the sockets mean for a row: that it ends, or that a socket was first seen.
type verdict struct {
	glimpse
	holds   bool
	why     Reason
	sockets []socktable.Socket // if it holds
}

// execute plans what verdicts say of rows that are still what they were.
func (g *Registry) execute(c *change, verdicts []verdict) {
	for i := range verdicts {
		v := &verdicts[i]
		switch {
		case g.changed(&v.glimpse):
		case v.holds:
			reg, b := *v.reg, v.belief
			b.see(&reg, v.sockets)
			c.renewed = append(c.renewed, renewal{v.at, &reg, b})
		case v.at.affirmed == v.affirmed: // or its socket is back, and somebody was told that it stands
			c.end(v.at, v.why)
		}
	}
}

// checkOthers plans what becomes of rows whose evidence is no socket.
func (g *Registry) checkOthers(c *change) {
	now := time.Now()
	for r := g.order.first; r != nil; r = r.links[inOrder].next {
		switch f, why := g.judgeOther(r, now); f {
		case becomesLease:
			reg, b := *r.reg, r.belief
			g.lease(&reg, &b, now)
			c.renewed = append(c.renewed, renewal{r, &reg, b})
		case ends:
			c.end(r, why)
		}
	}
}

// look asks the kernel about rows that stand and fall with sockets, and returns
// verdicts about those for which something changes. A table that is read while
// sockets come and go may lack one that was there all the time: what is missing
// must be missing twice.
//
// It returns a table by which every row holds, nil if there is none or there are no rows.
func (g *Registry) look(rows []glimpse) (_ []verdict, by *socktable.Snapshot, _ error) {
	var ending, seen []verdict
	for again := range 2 {
		ending = nil
		if len(rows) == 0 {
			break
		}
		table, err := g.c.Sockets.Snapshot()
		if err != nil {
			return nil, nil, err
		}
		now := time.Now()
		var doubtful []glimpse
		for _, r := range rows {
			sockets := table.At(r.reg.Endpoint)
			if holds, why := r.judge(sockets, now); !holds {
				ending = append(ending, verdict{glimpse: r, why: why})
				doubtful = append(doubtful, r)
			} else if !r.seen && len(sockets) > 0 {
				seen = append(seen, verdict{glimpse: r, holds: true, sockets: sockets})
			}
		}
		if again == 0 && len(doubtful) == 0 {
			by = table
		}
		rows = doubtful
	}
	return append(seen, ending...), by, nil
}

// ports counts what is registered at each port, so that hints about others cost nothing.
type ports [1 << 16]atomic.Int32

func (p *ports) add(e endpoint.Endpoint, n int) { p[e.Addr.Port()].Add(int32(n)) }
func (p *ports) has(port uint16) bool           { return p[port].Load() > 0 }
