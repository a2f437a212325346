package control

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/internal/api"
)

// listingAge is how old a list of pinholes may be that is told. The kernel takes seconds for a long one, and everybody may ask.
const listingAge = time.Second

// A Gate answers the control socket of a gate. Everybody may look, and nothing can be changed. Its functions may be called by any
// number of goroutines, but for Pinholes, which is called by one at a time.
type Gate struct {
	Pinholes func() ([]api.Pinhole, error)
	Sessions func() []api.GateSession
	Totals   func() api.GateTotals // those of Pinholes as far as it is known without a list
	Counters func() api.Counters
	Watch    func() GateWatcher
	Log      *slog.Logger // not nil

	watchers watchers

	mu     sync.Mutex // guards what follows, and is held while pinholes are listed
	listed []api.Pinhole
	asOf   time.Time
}

// A GateWatcher gets what happens in a gate. It belongs to one goroutine.
type GateWatcher interface {
	// Next waits for events, and returns the error of ctx.
	Next(ctx context.Context) ([]api.GateEvent, error)
	Close()
}

// Serve answers until ctx is cancelled, then closes ln and every connection and
// returns nil when all have ended. It owns ln.
func (g *Gate) Serve(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+api.PinholesPath, g.pinholes)
	mux.HandleFunc("GET "+api.SessionsPath, func(w http.ResponseWriter, _ *http.Request) {
		l := api.GateListing{Sessions: g.Sessions(), Totals: g.Totals()}
		g.list(w, &l)
	})
	mux.HandleFunc("GET "+api.CountersPath, func(w http.ResponseWriter, _ *http.Request) { answer(w, g.Counters()) })
	return serve(ctx, ln, mux, g.Log, readTimeout)
}

func (g *Gate) pinholes(w http.ResponseWriter, r *http.Request) {
	watch, err := wantsWatch(r)
	switch {
	case err != nil:
		refuse(w, err)
	case watch:
		g.watch(w, r)
	default:
		l, err := g.listing()
		if err != nil {
			g.failed(w, err)
			return
		}
		g.list(w, l)
	}
}

// failed answers where the kernel does not say which pinholes there are.
func (g *Gate) failed(w http.ResponseWriter, err error) {
	g.Log.Error("pinholes cannot be listed", "err", err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusInternalServerError)
	json.NewEncoder(w).Encode(api.Refusal{Mistakes: []string{err.Error()}})
}

// listing returns the pinholes that are open, or were a moment ago.
func (g *Gate) listing() (*api.GateListing, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.asOf) > listingAge {
		all, err := g.Pinholes()
		if err != nil {
			return nil, err
		}
		g.listed, g.asOf = all, time.Now()
	}
	totals := g.Totals()
	totals.Pinholes = len(g.listed)
	return &api.GateListing{Pinholes: g.listed, Totals: totals}, nil
}

// list answers with a listing, row by row: of a hundred thousand the text is not held.
func (g *Gate) list(w http.ResponseWriter, l *api.GateListing) {
	w.Header().Set("Content-Type", "application/json")
	out := newWriter(w)
	out.gateListing(l)
	out.end("\n")
}

func (w *writer) gateListing(l *api.GateListing) {
	w.text(`{`)
	if l.Pinholes != nil {
		member(w, "pinholes", l.Pinholes)
	}
	if l.Sessions != nil {
		member(w, "sessions", l.Sessions)
	}
	w.text(`"totals":`)
	w.value(l.Totals)
	w.text("}")
}

// member writes a list and the comma behind it.
func member[E any](w *writer, name string, all []E) {
	w.text(`"` + name + `":[`)
	for i := range all {
		if i > 0 {
			w.text(",")
		}
		w.value(&all[i])
	}
	w.text("],")
}

// watch tells what is open, then what happens. What happens while the list is made is told twice rather than not at all.
func (g *Gate) watch(w http.ResponseWriter, r *http.Request) {
	peer, err := caller(r)
	if err == nil {
		err = g.watchers.begin(peer.UID)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	defer g.watchers.end(peer.UID)
	watcher := g.Watch()
	defer watcher.Close()
	l, err := g.listing()
	if err != nil {
		g.failed(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := newWriter(w)
	out.text(`{"event":"snapshot","time":`)
	out.value(time.Now())
	out.text(`,"listing":`)
	out.gateListing(l)
	out.text("}\n")
	for out.flush() == nil {
		events, err := watcher.Next(r.Context())
		if err != nil {
			return
		}
		for i := range events {
			out.value(&events[i])
			out.text("\n")
		}
	}
}
