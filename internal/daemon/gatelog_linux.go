package daemon

import (
	"context"
	"log/slog"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/gate"
)

// logPause is how long events are gathered for the log: fewer than a watcher may fall behind.
const logPause = 5 * time.Millisecond

// logEvents writes what happens in the gate into the log until ctx is cancelled; it closes begun when nothing is missed any more.
func (g *gateParts) logEvents(ctx context.Context, begun chan<- struct{}) {
	w := g.gate.Watch()
	defer w.Close()
	close(begun)
	l := newGateLog(g.log)
	for {
		events, missed, err := l.next(ctx, w)
		if err != nil {
			l.more()
		}
		if ctx.Err() != nil {
			return
		}
		if missed > 0 {
			g.log.Warn("events came faster than they could be told", "count", missed)
		}
		for i := range events {
			l.write(&events[i], time.Now())
		}
		select { // under load the others are woken once for many
		case <-ctx.Done():
		case <-time.After(logPause):
		}
	}
}

// A gateLog writes events of a gate as lines. Refusals and pinholes are bounded, each by themselves, so that many of the ones do not hide the others.
type gateLog struct {
	log      *slog.Logger
	refusals bounded
	pinholes bounded
}

func newGateLog(log *slog.Logger) gateLog {
	return gateLog{log, bounded{log: log, level: slog.LevelWarn, others: "more refused"}, bounded{log: log, level: slog.LevelInfo, others: "more pinholes opened"}}
}

// next waits for events, or until it is time to tell how many lines were left out.
func (l *gateLog) next(ctx context.Context, w *gate.Watcher) ([]gate.Event, uint64, error) {
	due := l.refusals.due()
	if other := l.pinholes.due(); due.IsZero() || !other.IsZero() && other.Before(due) {
		due = other
	}
	if due.IsZero() {
		return w.Next(ctx)
	}
	ctx, cancel := context.WithDeadline(ctx, due)
	defer cancel()
	return w.Next(ctx)
}

func (l *gateLog) more() {
	l.refusals.more()
	l.pinholes.more()
}

func (l *gateLog) write(e *gate.Event, now time.Time) {
	switch e.Kind {
	case gate.Refused:
		if l.refusals.may(now) {
			l.log.Warn("refused", append(append(aboutEvent(e), aboutInterface(e.Interface)...), "rule", e.Rule, "why", e.Why)...)
		}
	case gate.Promised:
		for i := range e.Pinholes {
			if p := &e.Pinholes[i]; l.pinholes.may(now) {
				about := append(aboutEvent(e), "pinhole", p.String(), "lifetime", p.Lifetime)
				if p.Interface == (endpoint.Interface{}) {
					about = append(about, "for", p.For)
				}
				l.log.Info("pinhole opened", append(about, aboutInterface(p.Interface)...)...)
			}
		}
	case gate.Began, gate.Ended:
		if !l.log.Enabled(context.Background(), slog.LevelDebug) {
			return
		}
		about := aboutEvent(e)
		if e.Kind == gate.Ended {
			about = append(about, "why", e.Why)
		}
		l.log.Debug("session "+e.Kind.String(), about...)
	}
}

// aboutEvent returns what the line of an event says of its control channel.
func aboutEvent(e *gate.Event) []any {
	about := []any{"client", e.Client.String(), "server", e.Server.String(), "service", string(e.Protocol)}
	if e.Session != 0 {
		about = append(about, "session", e.Session)
	}
	return about
}

func aboutInterface(i endpoint.Interface) []any {
	if i == (endpoint.Interface{}) {
		return nil
	}
	return []any{"for", interfaceName(i), "interface", interfaceText(i)}
}
