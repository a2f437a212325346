package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// mountd returns a registration of program 100005, version 3, on TCP.
func mountd() *endpoint.Registration {
	return &endpoint.Registration{
		Interface: endpoint.Program(100005, 3), Evidence: endpoint.Listening,
		Endpoint: endpoint.Endpoint{NetID: rpcbind.TCP, Addr: addrPorts("0.0.0.0:20048")[0]},
	}
}

func TestEventLines(t *testing.T) {
	user := &endpoint.Owner{UID: 1000}
	r := mountd()
	bare := &endpoint.Registration{Interface: endpoint.Program(7, 1)}
	notAllowed := &registry.RowError{Interface: r.Interface, Endpoint: r.Endpoint, Reason: fmt.Errorf("%w: the program is reserved", registry.ErrRight)}
	other := &registry.RowError{Interface: endpoint.Program(7, 1), Endpoint: r.Endpoint, Reason: registry.ErrConflict, Owner: user}
	const about = ` program=100005 version=3 endpoint="tcp 0.0.0.0:20048"`
	for _, tt := range []struct {
		e     registry.Event
		level slog.Level
		want  string
	}{
		{registry.Event{Kind: registry.Made, Registration: r, By: user}, slog.LevelDebug, `msg="registration made"` + about + ` evidence=listening uid=1000`},
		{registry.Event{Kind: registry.Made, Registration: r, By: user}, slog.LevelInfo, ""},
		{registry.Event{Kind: registry.Renewed, Registration: r}, slog.LevelDebug, `msg="registration renewed"` + about + ` evidence=listening`},
		{registry.Event{Kind: registry.Renewed, Registration: r}, slog.LevelInfo, ""},
		{registry.Event{Kind: registry.Ended, Registration: r, By: &endpoint.Superuser, Reason: registry.Removed}, slog.LevelDebug,
			`msg="registration ended"` + about + ` evidence=listening uid=0 why=removed`},
		{registry.Event{Kind: registry.Ended, Registration: r, By: user, Reason: registry.Removed}, slog.LevelInfo, ""},
		{registry.Event{Kind: registry.Ended, Registration: r, Reason: registry.Gone}, slog.LevelInfo,
			`msg="registration ended"` + about + ` evidence=listening why="nothing listens there any more"`},
		{registry.Event{Kind: registry.Ended, Registration: r, Reason: registry.Gone}, slog.LevelWarn, ""},
		{registry.Event{Kind: registry.Refused, Registration: r, By: user, Err: notAllowed}, slog.LevelWarn,
			`msg="registration refused"` + about + ` uid=1000 why="not allowed: the program is reserved"`},
		{registry.Event{Kind: registry.Refused, Registration: r, By: user, Err: notAllowed}, slog.LevelError, ""},
		{registry.Event{Kind: registry.Refused, Registration: r, By: user, Err: errors.Join(notAllowed, other)}, slog.LevelWarn,
			about + ` uid=1000 why="not allowed: the program is reserved; and more"`},
		{registry.Event{Kind: registry.Refused, Registration: r, By: user, Err: other}, slog.LevelWarn,
			about + ` uid=1000 why="onc 7 version 1 on tcp 0.0.0.0:20048: registered already (owner: uid 1000)"`},
		{registry.Event{Kind: registry.Refused, Registration: r, By: user, Err: fmt.Errorf("%w: %w", registry.ErrStore, errors.New("a.yaml:1:1: this\na.yaml:2:1: that"))}, slog.LevelWarn,
			about + ` uid=1000 why="cannot be kept: a.yaml:1:1: this; and more"`},
		{registry.Event{Kind: registry.Refused, Registration: bare, Err: errors.New(`unknown netid "tcp\n"`)}, slog.LevelWarn,
			`msg="registration refused" program=7 version=1 why="unknown netid \"tcp\\n\""`},
	} {
		log, text := testLog(tt.level)
		l := newEventLog(log)
		l.write(&tt.e, time.Now())
		if lines := strings.Count(text.String(), "\n"); !strings.Contains(text.String(), tt.want) || tt.want == "" && lines > 0 || lines > 1 {
			t.Errorf("%s at level %s: %q, want %q", tt.e.Kind, tt.level, text, tt.want)
		}
	}
}

func TestFallingBehind(t *testing.T) {
	log, text := testLog(slog.LevelInfo)
	l := newEventLog(log)
	l.write(&registry.Event{Kind: registry.Snapshot, All: []*endpoint.Registration{mountd()}}, time.Now())
	if text.String() != "" {
		t.Errorf("the first snapshot is told: %s", text)
	}
	l.write(&registry.Event{Kind: registry.Snapshot, All: []*endpoint.Registration{mountd(), mountd()}}, time.Now())
	if want := `level=WARN msg="events came faster than they could be told" registrations=2` + "\n"; text.String() != want {
		t.Errorf("the next one: %q, want %q", text, want)
	}
}

// TestRefusalsBounded: so many refusals a second have a line each, the others a
// number, soon, whether or not more come.
func TestRefusalsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := testLog(slog.LevelInfo)
		g := registry.New()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			logEvents(ctx, g, log)
			close(ended)
		}()
		synctest.Wait()
		refuse := func(n int) {
			for range n {
				g.Refuse(nil, mountd(), errors.New("no"))
			}
			synctest.Wait()
		}
		expect := func(what string, lines, count int) {
			t.Helper()
			synctest.Wait()
			want := ""
			if count > 0 {
				want = fmt.Sprintf("level=WARN msg=\"more refused\" count=%d\n", count)
			}
			wrote := text.Take()
			if got := strings.Count(wrote, `msg="registration refused"`); got != lines || !strings.HasSuffix(wrote, want) || strings.Contains(wrote, "more") != (count > 0) {
				t.Errorf("%s: %d lines, want %d and at the end %q:\n%s", what, got, lines, want, wrote)
			}
		}
		refuse(10)
		expect("ten", 10, 0)
		refuse(5)
		expect("more of them", 0, 0)
		time.Sleep(1100 * time.Millisecond)
		expect("a second later", 0, 5)
		time.Sleep(time.Hour)
		expect("quiet", 0, 0)
		refuse(100)
		expect("a hundred", 10, 0)
		time.Sleep(500 * time.Millisecond)
		refuse(100)
		expect("half a second later", 0, 0)
		time.Sleep(time.Second)
		expect("the rest", 0, 190)
		refuse(12)
		expect("the next second", 10, 0)
		cancel()
		<-ended
		expect("at the end", 0, 2)
	})
}
