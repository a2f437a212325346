package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
)

// logEvents writes what happens in the registry into the log until ctx is cancelled.
func logEvents(ctx context.Context, g *registry.Registry, log *slog.Logger) {
	w := g.Watch(wanted(log))
	defer w.Close()
	l := newEventLog(log)
	for {
		events, err := l.next(ctx, w)
		if ctx.Err() != nil {
			l.refusals.more()
			return
		}
		if err != nil {
			l.refusals.more()
		}
		for i := range events {
			l.write(&events[i], time.Now())
		}
	}
}

// next waits for events, or until it is time to tell how many refusals there were.
func (l *eventLog) next(ctx context.Context, w *registry.Watcher) ([]registry.Event, error) {
	due := l.refusals.due()
	if due.IsZero() {
		return w.Next(ctx)
	}
	ctx, cancel := context.WithDeadline(ctx, due)
	defer cancel()
	return w.Next(ctx)
}

// wanted returns which events are worth a line in the log, or nil for all of them.
func wanted(log *slog.Logger) func(*registry.Event) bool {
	if log.Enabled(context.Background(), slog.LevelDebug) {
		return nil
	}
	return func(e *registry.Event) bool {
		return e.Kind == registry.Refused || e.Kind == registry.Exhausted || e.Kind == registry.Ended && e.Reason != registry.Removed
	}
}

// An eventLog writes events as lines.
type eventLog struct {
	log      *slog.Logger
	begun    bool
	refusals bounded
}

func newEventLog(log *slog.Logger) eventLog {
	return eventLog{log: log, refusals: bounded{log: log, level: slog.LevelWarn, others: "more refused"}}
}

func (l *eventLog) write(e *registry.Event, now time.Time) {
	switch e.Kind {
	case registry.Snapshot:
		if l.begun {
			l.log.Warn("events came faster than they could be told", "registrations", len(e.All))
		}
		l.begun = true
	case registry.Made, registry.Renewed:
		l.log.Debug("registration "+e.Kind.String(), about(e)...)
	case registry.Ended:
		level := slog.LevelInfo // what its owner did not ask for
		if e.Reason == registry.Removed {
			level = slog.LevelDebug
		}
		l.log.Log(context.Background(), level, "registration ended", append(about(e), "why", e.Reason.String())...)
	case registry.Refused:
		l.refusals.tell(now, "registration refused", append(about(e), "why", reason(e))...)
	case registry.Granted, registry.Returned:
		l.log.Debug("ports "+e.Kind.String(), aboutGrant(e)...)
	case registry.Exhausted:
		l.refusals.tell(now, "no port to give", append(aboutGrant(e), "why", e.Err.Error())...)
	}
}

// reason returns the first of the reasons of a refusal, without what the rest of
// the line says of the registration.
func reason(e *registry.Event) string {
	text, rest, _ := strings.Cut(e.Err.Error(), "\n")
	var row *registry.RowError
	if errors.As(e.Err, &row) && row.Interface == e.Registration.Interface && row.Endpoint == e.Registration.Endpoint {
		text = row.Reason.Error()
	}
	if rest != "" || e.More > 0 {
		text += "; and more"
	}
	return text
}

// about returns what the line of an event says of its registration.
func about(e *registry.Event) []any {
	r := e.Registration
	about := []any{"program", r.Program, "version", r.Version}
	if r.Dialect == endpoint.DCE {
		about = []any{"uuid", r.UUID.String(), "version", fmt.Sprintf("%d.%d", r.Major, r.Minor)}
	}
	if r.Endpoint != (endpoint.Endpoint{}) { // or it was refused for having none
		about = append(about, "endpoint", r.Endpoint.String())
	}
	if e.Kind != registry.Refused {
		about = append(about, "evidence", r.Evidence.String())
	}
	switch {
	case e.By == nil:
	case e.By.Host.IsValid():
		about = append(about, "client", e.By.Host.String())
	default:
		about = append(about, "uid", e.By.UID)
	}
	return about
}

// aboutGrant returns what the line of an event says of its grant.
func aboutGrant(e *registry.Event) []any {
	g := e.Grant
	about := []any{"pool", g.Pool.String(), "uid", g.Owner.UID, "pid", g.PID}
	if g.TCP != 0 {
		about = append(about, "tcp", g.TCP)
	}
	if g.UDP != 0 {
		about = append(about, "udp", g.UDP)
	}
	if g.Command != "" {
		about = append(about, "command", g.Command)
	}
	return about
}
