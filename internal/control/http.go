package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
)

const (
	// readTimeout ends a connection on which nothing is asked, or not to the end.
	readTimeout = time.Minute
	// writeTimeout ends a connection whose client takes nothing of an answer.
	writeTimeout = 30 * time.Second
)

// serve has h answer until ctx is cancelled, then closes ln and every connection and returns nil when all have
// ended. It owns ln. A connection on which nothing is asked for that time is ended.
func serve(ctx context.Context, ln net.Listener, h http.Handler, log *slog.Logger, timeout time.Duration) error {
	var open sync.WaitGroup
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       timeout,
		WriteTimeout:      timeout + writeTimeout, // of a refusal; what is long counts from every write
		IdleTimeout:       timeout,
		MaxHeaderBytes:    8 << 10,
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed:
				open.Done()
			}
		},
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context { return withClient(ctx, conn, log) },
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	err := s.Serve(ln)
	s.Close() // those that are open, if it was not ctx that ended it
	open.Wait()
	if ctx.Err() == nil {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// A client is who connected. What was found out about it is kept for its next
// request, which comes when this one is answered.
type client struct {
	*transport.Peer
	began uint64 // when its process did, as [process.Process] has it; 0: not known yet
	names names
}

type clientKey struct{}

func withClient(ctx context.Context, conn net.Conn, log *slog.Logger) context.Context {
	peer, err := transport.PeerOf(conn)
	if err != nil {
		log.Warn("control connection without credentials", "err", err)
		return ctx
	}
	return context.WithValue(ctx, clientKey{}, &client{Peer: peer, names: names{}})
}

// caller returns who asks.
func caller(r *http.Request) (*client, error) {
	c, ok := r.Context().Value(clientKey{}).(*client)
	if !ok {
		return nil, fmt.Errorf("the kernel does not say who asks: %w", registry.ErrRight)
	}
	return c, nil
}

// wantsWatch reports whether a request is to go on with what happens.
func wantsWatch(r *http.Request) (bool, error) {
	watch, err := strconv.ParseBool(cmp.Or(r.URL.Query().Get("watch"), "false")) // FormValue would read a body of any size
	if err != nil {
		return false, errors.New("watch: want true or false")
	}
	return watch, nil
}

// errBusy: one user has enough of something.
var errBusy = errors.New("as many as one user may have")

// Watchers count the watches of each user. The zero value has none.
type watchers struct {
	mu    sync.Mutex // guards what follows
	byUID map[uint32]int
}

// begin counts a watch of a user.
func (w *watchers) begin(uid uint32) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byUID[uid] >= api.MaxWatchers {
		return fmt.Errorf("uid %d has %d watches, %w", uid, api.MaxWatchers, errBusy)
	}
	if w.byUID == nil {
		w.byUID = map[uint32]int{}
	}
	w.byUID[uid]++
	return nil
}

func (w *watchers) end(uid uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byUID[uid]--; w.byUID[uid] == 0 {
		delete(w.byUID, uid)
	}
}

// timed gives every write a deadline of its own.
type timed struct{ http.ResponseWriter }

func (t timed) Write(b []byte) (int, error) {
	http.NewResponseController(t.ResponseWriter).SetWriteDeadline(time.Now().Add(writeTimeout))
	return t.ResponseWriter.Write(b)
}
