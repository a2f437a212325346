package main

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/control"
	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/internal/registry"
)

// controlSocket answers as the daemon's does, from a registry that gives out ports by
// these pools, until the test ends.
func controlSocket(t *testing.T, pools registry.Pools) (path string, g *registry.Registry) {
	t.Helper()
	g, err := registry.Open(registry.Config{Pools: pools})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "control.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	s := &control.Server{Registry: g, Log: slog.New(slog.DiscardHandler)}
	go func() { served <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		g.Close()
	})
	return path, g
}

// poolsOfTest are those of the benchmark's policy.
func poolsOfTest(t *testing.T) registry.Pools {
	t.Helper()
	d, err := portpool.Read("pool.yaml", strings.NewReader(poolPolicy))
	if err != nil {
		t.Fatal(err)
	}
	policy, findings := d.Policy()
	if policy == nil {
		t.Fatal(findings)
	}
	return registry.Pools{Policy: policy, Host: &portpool.Host{}}
}

// Each client is given a port and gives it back, in turn, and keeps none.
func TestGrantRun(t *testing.T) {
	path, g := controlSocket(t, poolsOfTest(t))
	got, err := measure(newGrantRun(8, path), 20*time.Millisecond, ownClock)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.err(); err != nil || got.Requests < 8 {
		t.Errorf("measure = %+v, err() = %v", got, err)
	}
	counts := g.Counts()
	if counts.Granted != uint64(got.Requests) || counts.Returned != counts.Granted {
		t.Errorf("%d given, %d returned, want %d", counts.Granted, counts.Returned, got.Requests)
	}
}

// A refusal is a wrong answer: without a pool there is nothing to give.
func TestGrantRunRefused(t *testing.T) {
	path, _ := controlSocket(t, registry.Pools{})
	got, err := measure(newGrantRun(1, path), time.Millisecond, ownClock)
	if err != nil {
		t.Fatal(err)
	}
	if got.err() == nil || got.Requests != 0 {
		t.Errorf("measure = %+v, want wrong answers and no request", got)
	}
}

func TestHTTPReplyLength(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n"
	for _, tt := range []struct {
		reply string
		want  int
	}{
		{"", 0},
		{head[:len(head)-1], 0},
		{head, len(head) + 3},
		{head + "{}\n", len(head) + 3},
		{"HTTP/1.1 204 No Content\r\n\r\n", 27},
	} {
		if got, err := (grants{}).replyLength([]byte(tt.reply)); got != tt.want || err != nil {
			t.Errorf("replyLength(%q) = %d, %v, want %d", tt.reply, got, err, tt.want)
		}
	}
	if got, err := (grants{}).replyLength([]byte("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")); err == nil {
		t.Errorf("replyLength of a length that is none = %d, want an error", got)
	}
}
