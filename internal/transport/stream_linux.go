package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
)

// A StreamServer answers the messages on the connections of a listener, TCP or local.
//
// A few loops share a listener, each with connections of its own. Most
// connections live for one call, and a goroutine for each would cost more than
// answering it does.
type StreamServer struct {
	Framing  Framing
	Handler  Handler        // of all connections, unless each has a session of its own:
	Sessions func() Session // called for each connection; may be called by several goroutines
	Guard    *Guard         // nil serves everybody
	Log      *slog.Logger   // nil discards

	limits limits       // of a test; else the usual
	held   atomic.Int64 // bytes of messages that are not complete
	unsent atomic.Int64 // bytes of answers that are not taken
}

// handler returns what answers on a new connection, and its session if it has one.
func (s *StreamServer) handler() (Handler, Session) {
	if s.Sessions == nil {
		return s.Handler, nil
	}
	session := s.Sessions()
	return session, session
}

// maxLoops is how many loops share a listener at most: more would find nothing to do.
const maxLoops = 4

// Serve answers until ctx is cancelled, then closes ln and every connection and
// returns nil. It owns ln.
func (s *StreamServer) Serve(ctx context.Context, ln net.Listener) error {
	defer ln.Close()
	var loops []*loop
	for range min(runtime.GOMAXPROCS(0), maxLoops) {
		l, err := newLoop(ln, s)
		if err != nil {
			closeAll(loops)
			return fmt.Errorf("transport: %s: %w", ln.Addr(), err)
		}
		loops = append(loops, l)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	for _, l := range loops {
		running.Go(func() {
			stop := context.AfterFunc(ctx, l.poll.interrupt)
			defer stop()
			cancel(l.run(ctx)) // one that fails ends the others
		})
	}
	running.Wait()
	closeAll(loops)
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("transport: %s: %w", ln.Addr(), err)
	}
	return nil
}

func closeAll(loops []*loop) {
	for _, l := range loops {
		l.close()
	}
}
