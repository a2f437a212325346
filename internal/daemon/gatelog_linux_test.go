package daemon

import (
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/gate"
)

func gateEvent(kind gate.Kind) *gate.Event {
	return &gate.Event{
		Kind: kind, Session: 7, Protocol: gate.Portmapper, Transport: 17,
		Client: netip.MustParseAddrPort("192.0.2.20:700"), Server: netip.MustParseAddrPort("10.0.0.9:111"),
	}
}

func TestGateLines(t *testing.T) {
	refused := gateEvent(gate.Refused)
	refused.Rule, refused.Interface, refused.Why = "interface", endpoint.Program(100003, 3), "not allowed\n\x1b"
	kept := gateEvent(gate.Promised)
	kept.Pinholes = []gate.Pinhole{{
		From: netip.MustParseAddr("192.0.2.20"), To: netip.MustParseAddrPort("10.0.0.9:2049"), Protocol: 6, Lifetime: time.Minute,
		Interface: endpoint.Program(100003, 3), For: "nfs",
	}}
	ended := gateEvent(gate.Ended)
	ended.Why = "idle"
	const about = ` client=192.0.2.20:700 server=10.0.0.9:111 service=portmapper session=7`
	for _, tt := range []struct {
		e     *gate.Event
		level slog.Level
		want  string
	}{
		{refused, slog.LevelWarn, `level=WARN msg=refused` + about + ` for=nfs interface=100003:3 rule=interface why="not allowed\n\x1b"` + "\n"},
		{kept, slog.LevelInfo, `level=INFO msg="pinhole opened"` + about + ` pinhole="192.0.2.20 to tcp 10.0.0.9:2049" lifetime=1m0s for=nfs interface=100003:3` + "\n"},
		{kept, slog.LevelWarn, ""},
		{ended, slog.LevelDebug, `level=DEBUG msg="session ended"` + about + " why=idle\n"},
		{ended, slog.LevelInfo, ""},
		{gateEvent(gate.Began), slog.LevelDebug, `level=DEBUG msg="session began"` + about + "\n"},
	} {
		log, text := testLog(tt.level)
		l := newGateLog(log)
		l.write(tt.e, time.Now())
		if got := text.Take(); got != tt.want {
			t.Errorf("%s is logged as\n%swant\n%s", tt.e.Kind, got, tt.want)
		}
	}
}

// Who causes refusals and pinholes without end fills no disk, and does not hide the ones behind the others.
func TestGateLogIsBounded(t *testing.T) {
	log, text := testLog(slog.LevelInfo)
	l := newGateLog(log)
	kept := gateEvent(gate.Promised)
	kept.Pinholes = make([]gate.Pinhole, 3)
	begin := time.Now()
	for i := range 10_000 { // in two seconds
		now := begin.Add(time.Duration(i) * 200 * time.Microsecond)
		l.write(gateEvent(gate.Refused), now)
		if i%2 == 0 {
			l.write(kept, now)
		}
	}
	if l.refusals.due().IsZero() || l.pinholes.due().IsZero() {
		t.Error("lines were left out, and nobody will be told")
	}
	l.more()
	if !l.refusals.due().IsZero() || !l.pinholes.due().IsZero() {
		t.Error("all was told, and more is to be")
	}
	got := text.Take()
	if n := strings.Count(got, "\n"); n != 2*2*maxLines+4 {
		t.Errorf("15,000 events and more make %d lines, want %d", n, 2*2*maxLines+4)
	}
	for _, want := range []string{`msg="more refused" count=4990`, `msg="more pinholes opened" count=7490`} {
		if strings.Count(got, want) != 2 {
			t.Errorf("it lacks %s twice:\n%s", want, got)
		}
	}
}

func TestRefusedPast(t *testing.T) {
	var p refusedPast
	if got := p.since(map[string]uint64{"port": 2}); got["port"] != 2 {
		t.Errorf("before the first look: %v, want all", got)
	}
	for i := range uint64(200) {
		p.add(map[string]uint64{"port": 10 * i, "once": min(i, 1)})
	}
	if len(p.were) != pastSteps {
		t.Errorf("%d looks are kept, want %d", len(p.were), pastSteps)
	}
	got := p.since(map[string]uint64{"port": 10 * 200, "once": 1, "new": 3})
	if want := map[string]uint64{"port": 10 * pastSteps, "new": 3}; !maps.Equal(got, want) {
		t.Errorf("in the last hour: %v, want %v", got, want)
	}
}
