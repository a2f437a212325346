package transport_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
)

// patience is how long anything may take that happens at once on a machine that is not busy.
const patience = 20 * time.Second

// A scribe answers every message with itself, and writes down what it was asked.
type scribe struct {
	mu    sync.Mutex // guards what follows
	calls []transport.Call
}

func (s *scribe) Answer(c *transport.Call, buf []byte) transport.Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := *c
	kept.Message = bytes.Clone(c.Message)
	s.calls = append(s.calls, kept)
	return transport.Reply{Head: append(buf, c.Message...)}
}

// last is the call that came last.
func (s *scribe) last() transport.Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[len(s.calls)-1]
}

func (s *scribe) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// countOf counts the calls of some clients.
func (s *scribe) countOf(is func(client netip.Addr) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if is(c.Client.Addr()) {
			n++
		}
	}
	return n
}

type handler func(c *transport.Call, buf []byte) transport.Reply

func (f handler) Answer(c *transport.Call, buf []byte) transport.Reply { return f(c, buf) }

// echo answers every message with itself.
var echo = handler(func(c *transport.Call, buf []byte) transport.Reply {
	return transport.Reply{Head: append(buf, c.Message...)}
})

// running is how many servers of the present test run.
var running atomic.Int32

// start runs a server until the test ends, or until the function it returns is
// called, and holds it to its promise: nil after a cancelled context, and no
// goroutine left.
func start(t *testing.T, serve func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	running.Add(1)
	go func() { ended <- serve(ctx) }()
	stopped := false
	stop = func() {
		t.Helper()
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve = %v after its context was cancelled, want nil", err)
			}
		case <-time.After(patience):
			t.Fatalf("Serve goes on %v after its context was cancelled; goroutines:\n%s", patience, stacks())
		}
		if running.Add(-1) == 0 {
			nstest.WaitFor(t, "the server's goroutines to end", patience, func() bool {
				return !bytes.Contains(stacks(), []byte("quaymaster/internal/transport."))
			})
		}
	}
	t.Cleanup(stop)
	return stop
}

func stacks() []byte {
	b := make([]byte, 1<<20)
	return b[:runtime.Stack(b, true)]
}

// deadline lets a client fail, not hang.
func deadline(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	deadline(t, conn)
	return conn
}

// words is a message of n words of which the first is an xid.
func words(xid uint32, n int) []byte {
	b := make([]byte, 4*n)
	for i := range n {
		binary.BigEndian.PutUint32(b[4*i:], xid+uint32(i))
	}
	return b
}

// record is a message with its mark.
func record(message []byte) []byte {
	return append(oncrpc.AppendRecordMark(nil, len(message), true), message...)
}

// same fails the test with a readable message if two byte strings differ.
func same(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes %s, want %d bytes %s", what, len(got), head(got), len(want), head(want))
	}
}

func head(b []byte) string {
	if len(b) > 64 {
		return hex.EncodeToString(b[:64]) + "…"
	}
	return hex.EncodeToString(b)
}

// mallocs is how many objects were allocated by everything while f ran.
func mallocs(f func()) uint64 {
	runtime.GC() // or its own few objects may fall into the time of f
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}
