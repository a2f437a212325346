package registry

import (
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// Lookup returns the registration of an interface on a transport, or nil.
func (g *Registry) Lookup(i endpoint.Interface, n rpcbind.NetID) *endpoint.Registration {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if r := g.exact.get(keyOf(i, n)); r != nil {
		return r.reg
	}
	return nil
}

// Standing returns the registration in the place of r, or nil.
func (g *Registry) Standing(r endpoint.Registration) *endpoint.Registration {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if r := g.standing(&r); r != nil {
		return r.reg
	}
	return nil
}

// Check looks at the evidence of every row now.
func (g *Registry) Check() error { return g.check() }

// Fetch takes the events that are there, and does not wait.
func (w *Watcher) Fetch() []Event { return w.fetch() }

// Age has a row be as old as if it had been registered so much earlier.
func (g *Registry) Age(r endpoint.Registration, by time.Duration) {
	g.change.Lock()
	defer g.change.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	aged := g.exact.get(keyOf(r.Interface, r.NetID))
	reg := *aged.reg
	reg.Since = reg.Since.Add(-by)
	aged.reg, aged.at = &reg, aged.at.Add(-by)
}

// Held returns how many processes are held whose number is known, and the uses of them all.
func (g *Registry) Held() (processes, uses int) {
	g.change.Lock()
	defer g.change.Unlock()
	for _, h := range g.processes {
		uses += h.uses
	}
	return len(g.processes), uses
}

// Rows returns how many rows are counted for a user.
func (g *Registry) Rows(o endpoint.Owner) int {
	g.change.Lock()
	defer g.change.Unlock()
	return g.users[o]
}
