package daemon

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/follow"
	"github.com/quaymaster/quaymaster/internal/gate"
)

// What a gate tells over its control socket.

func (g *gateParts) pinholes() ([]api.Pinhole, error) {
	open, err := g.holes.List()
	if err != nil {
		return nil, err
	}
	all := make([]api.Pinhole, 0, len(open))
	for i := range open {
		o := &open[i]
		p := pinholeDocument(&o.Pinhole)
		p.Since, p.Until, p.Used = o.Since, o.Ends, o.Used
		all = append(all, p)
	}
	return all, nil
}

// pinholeDocument returns a pinhole without its times and use.
func pinholeDocument(p *gate.Pinhole) api.Pinhole {
	d := api.Pinhole{
		Client: p.From.String(), Server: p.To.Addr().String(), By: p.By.String(), Protocol: transportWord(p.Protocol), Port: p.To.Port(),
		For: p.For, Interface: interfaceText(p.Interface), Once: p.Once, Session: p.Session,
	}
	if p.By == follow.Server {
		d.Client, d.Server = d.Server, d.Client
	}
	if p.Outside.IsValid() {
		d.Outside = p.Outside.String()
	}
	return d
}

func transportWord(protocol uint8) string {
	if protocol == 17 {
		return "udp"
	}
	return "tcp"
}

// interfaceText returns an interface as gate.yaml has it, "UUID:1.0" or "100003:3"; "" of none.
func interfaceText(i endpoint.Interface) string {
	switch {
	case i == endpoint.Interface{}:
		return ""
	case i.Dialect == endpoint.DCE:
		return fmt.Sprintf("%s:%d.%d", i.UUID, i.Major, i.Minor)
	}
	return fmt.Sprintf("%d:%d", i.Program, i.Version)
}

// interfaceName returns what people call an interface; "" if nobody calls it anything.
func interfaceName(i endpoint.Interface) string {
	if i.Dialect == endpoint.DCE {
		return catalog.Builtin().InterfaceName(i.UUID, i.Major, i.Minor)
	}
	p, _ := catalog.Builtin().Program(i.Program)
	return p.Name
}

func (g *gateParts) sessions() []api.GateSession {
	all := []api.GateSession{}
	for _, s := range g.gate.Sessions() {
		all = append(all, api.GateSession{
			Session: s.ID, Follows: string(s.Protocol), Transport: transportWord(s.Transport), Client: s.Client.String(), Server: s.Server.String(),
			Since: s.Since, Last: s.Last, Promised: s.Promised, Unread: s.Unread,
		})
	}
	return all
}

func (g *gateParts) totals() api.GateTotals {
	c := g.gate.Counts()
	return api.GateTotals{Pinholes: g.holes.Counts().Open, Sessions: c.Open, Refused: g.past.since(c.Refused)}
}

// counters returns what was counted since the gate began; docs/gate.md has the names.
func (g *gateParts) counters() api.Counters {
	h, s := g.holes.Counts(), g.gate.Counts()
	c := api.Counters{
		"pinholes_opened": h.Opened, "pinholes_fresh": h.Fresh, "pinholes": uint64(h.Open),
		"commits": h.Commits, "slowest_commit_us": uint64(h.Slowest.Microseconds()),
		"sessions": uint64(s.Open), "sessions_begun": s.Begun, "promised": s.Promised,
	}
	for rule, n := range s.Refused {
		c["refused_"+rule] = n
	}
	for reason, n := range h.Refused {
		c["pinholes_refused_"+reason] = n
	}
	return c
}

// pastStep is between two looks at how many refusals there were, and pastSteps of them are what is told.
const (
	pastStep  = time.Minute
	pastSteps = 60
)

// A refusedPast remembers how many refusals there were by rule, an hour back.
type refusedPast struct {
	mu   sync.Mutex          // guards what follows
	were []map[string]uint64 // the oldest first, not empty once keep runs
}

// keep looks until ctx is cancelled.
func (p *refusedPast) keep(ctx context.Context, counts func() gate.SessionCounts) {
	tick := time.NewTicker(pastStep)
	defer tick.Stop()
	for {
		p.add(counts().Refused)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *refusedPast) add(now map[string]uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.were = append(p.were, maps.Clone(now))
	if len(p.were) > pastSteps {
		p.were = append(p.were[:0:0], p.were[1:]...)
	}
}

// since returns how many there were in the last hour, of which now is the count since the beginning.
func (p *refusedPast) since(now map[string]uint64) map[string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	past := map[string]uint64{}
	for rule, n := range now {
		if len(p.were) > 0 {
			n -= min(n, p.were[0][rule])
		}
		if n > 0 {
			past[rule] = n
		}
	}
	return past
}

// A gateWatcher has events in the words of package api.
type gateWatcher struct{ *gate.Watcher }

func (g *gateParts) watcher() gateWatcher { return gateWatcher{g.gate.Watch()} }

// Next implements [control.GateWatcher].
func (w gateWatcher) Next(ctx context.Context) ([]api.GateEvent, error) {
	events, missed, err := w.Watcher.Next(ctx)
	all := make([]api.GateEvent, 0, len(events))
	for i := range events {
		all = append(all, eventDocument(&events[i]))
	}
	if len(all) > 0 {
		all[0].LeftOut = missed
	}
	return all, err
}

func eventDocument(e *gate.Event) api.GateEvent {
	d := api.GateEvent{
		Event: e.Kind.String(), Time: e.At, Session: e.Session, Follows: string(e.Protocol), Transport: transportWord(e.Transport),
		Client: e.Client.String(), Server: e.Server.String(), Rule: e.Rule, Interface: interfaceText(e.Interface), For: interfaceName(e.Interface), Why: e.Why,
	}
	for i := range e.Pinholes {
		p := pinholeDocument(&e.Pinholes[i])
		p.Since, p.Until = e.At, e.At.Add(e.Pinholes[i].Lifetime)
		d.Pinholes = append(d.Pinholes, p)
	}
	return d
}
