package control

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/api"
)

// told are events that a test has told.
type told chan api.GateEvent

func (c told) Next(ctx context.Context) ([]api.GateEvent, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case e := <-c:
		return []api.GateEvent{e}, nil
	}
}

func (c told) Close() {}

// startGate serves g, whatever of it is missing is made up.
func startGate(t *testing.T, g *Gate) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // for other users
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(dir, "gate.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(ln.Addr().String(), 0o666); err != nil {
		t.Fatal(err)
	}
	g.Log = slog.New(slog.DiscardHandler)
	g.Totals = func() api.GateTotals {
		return api.GateTotals{Pinholes: 9, Sessions: 3, Refused: map[string]uint64{"port": 2}}
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Serve of a cancelled context = %v, want nil", err)
		}
	})
	return ln.Addr().String()
}

var somePinholes = []api.Pinhole{
	{Client: "192.0.2.20", Server: "10.0.0.10", By: "client", Protocol: "tcp", Port: 49671, For: "netlogon <&>", Since: time.Unix(1, 0).UTC(), Until: time.Unix(61, 0).UTC(), Used: 2},
	{Client: "192.0.2.31", Server: "10.0.0.30", By: "server", Protocol: "udp", Port: 40000, Once: true, Session: 7, Outside: "203.0.113.1:50000", Since: time.Unix(1, 0).UTC(), Until: time.Unix(31, 0).UTC()},
}

func TestGate(t *testing.T) {
	var lists atomic.Int32
	sessions := []api.GateSession{{Session: 7, Follows: "tftp", Transport: "udp", Client: "192.0.2.31:40000", Server: "10.0.0.30:69", Promised: 1}}
	path := startGate(t, &Gate{
		Pinholes: func() ([]api.Pinhole, error) { lists.Add(1); return somePinholes, nil },
		Sessions: func() []api.GateSession { return sessions },
		Counters: func() api.Counters { return api.Counters{"sessions": 3} },
	})
	for _, c := range []*api.Client{api.NewClient(path), clientAs(t, 65534, path)} {
		l, err := c.Pinholes(t.Context())
		want := api.GateListing{Pinholes: somePinholes, Totals: api.GateTotals{Pinholes: 2, Sessions: 3, Refused: map[string]uint64{"port": 2}}}
		if diff := cmp.Diff(want, l); err != nil || diff != "" {
			t.Errorf("Pinholes: %v (-want +got)\n%s", err, diff)
		}
		s, err := c.Sessions(t.Context())
		want = api.GateListing{Sessions: sessions, Totals: api.GateTotals{Pinholes: 9, Sessions: 3, Refused: map[string]uint64{"port": 2}}}
		if diff := cmp.Diff(want, s); err != nil || diff != "" {
			t.Errorf("Sessions: %v (-want +got)\n%s", err, diff)
		}
	}
	for range 100 { // everybody may ask, and a list costs the kernel seconds
		if _, err := api.NewClient(path).Pinholes(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := lists.Load(); n > 20 {
		t.Errorf("102 questions within a moment cost %d lists", n)
	}
	answer, err := api.NewClient(path).HTTP.Post("http://quaymaster"+api.PinholesPath, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST of pinholes: status %d, want %d", answer.StatusCode, http.StatusMethodNotAllowed)
	}
}

func TestGateCannotList(t *testing.T) {
	path := startGate(t, &Gate{Pinholes: func() ([]api.Pinhole, error) { return nil, errors.New("the kernel says no") }, Watch: func() GateWatcher { return told(nil) }})
	if _, err := api.NewClient(path).Pinholes(t.Context()); err == nil || err.Error() != "the kernel says no" {
		t.Errorf("Pinholes = %v, want what the kernel says", err)
	}
	if err := api.NewClient(path).WatchGate(t.Context(), nil); err == nil || err.Error() != "the kernel says no" {
		t.Errorf("WatchGate = %v, want what the kernel says", err)
	}
}

func TestGateWatch(t *testing.T) {
	events := make(told)
	path := startGate(t, &Gate{Pinholes: func() ([]api.Pinhole, error) { return somePinholes, nil }, Watch: func() GateWatcher { return events }})
	got := make(chan api.GateEvent)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- api.NewClient(path).WatchGate(ctx, func(e api.GateEvent) error { got <- e; return nil })
	}()
	if e := <-got; e.Event != "snapshot" || e.Listing == nil || cmp.Diff(somePinholes, e.Listing.Pinholes) != "" {
		t.Errorf("the first event is %+v, want a snapshot", e)
	}
	for _, want := range []api.GateEvent{
		{Event: "refused", Time: time.Unix(2, 0).UTC(), Client: "192.0.2.9:1024", Server: "10.0.0.10:135", Rule: "interface", Why: "not allowed\x1b[2J"},
		{Event: "promised", Time: time.Unix(3, 0).UTC(), Session: 8, Pinholes: somePinholes[:1], LeftOut: 5},
	} {
		events <- want
		if diff := cmp.Diff(want, <-got); diff != "" {
			t.Errorf("event (-want +got)\n%s", diff)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("WatchGate of a cancelled context = %v, want nil", err)
	}
}
