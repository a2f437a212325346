package transport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A StreamServer answers records on the connections of a listener, TCP or local.
type StreamServer struct {
	Handler Handler
	Log     *slog.Logger // nil discards
}

// Serve accepts connections until ctx is cancelled, then closes ln and every
// connection and returns nil when all have ended. It owns ln.
func (s *StreamServer) Serve(ctx context.Context, ln net.Listener) error {
	open := sessions{conns: map[net.Conn]struct{}{}}
	stop := context.AfterFunc(ctx, func() {
		ln.Close()
		open.close()
	})
	defer stop()
	defer open.running.Wait()
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // out of files or memory: what is open goes on, and more come when there is room
			logger(s.Log).Warn("connection not accepted", "server", ln.Addr(), "err", err)
			pause(ctx, 50*time.Millisecond)
			continue
		}
		if open.add(conn) {
			go func() {
				defer open.remove(conn)
				s.serveConn(conn)
			}()
		}
	}
}

// sessions are the open connections of a listener.
type sessions struct {
	running sync.WaitGroup
	mu      sync.Mutex // guards what follows
	conns   map[net.Conn]struct{}
	closed  bool
}

// add takes a new connection in, or closes it if all are to be closed.
func (s *sessions) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return false
	}
	s.conns[conn] = struct{}{}
	s.running.Add(1)
	return true
}

func (s *sessions) remove(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
	s.running.Done()
}

func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.conns {
		conn.Close()
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (s *StreamServer) serveConn(conn net.Conn) {
	call, err := describe(conn)
	if err != nil {
		logger(s.Log).Warn("connection refused", "server", conn.LocalAddr(), "err", err)
		return
	}
	b := buffers.Get().(*streamBuffers)
	defer buffers.Put(b)
	b.records.Reset(MaxMessage)
	b.out = b.out[:0]
	x := session{conn: conn, handler: s.Handler, call: call, streamBuffers: b}
	if err := x.run(); err != nil {
		logger(s.Log).Debug("connection ended", "client", conn.RemoteAddr(), "err", err)
	}
}

// describe returns a call without a message: what every call on conn has in common.
func describe(conn net.Conn) (Call, error) {
	local, ok := conn.LocalAddr().(*net.TCPAddr)
	if !ok {
		peer, err := PeerOf(conn)
		return Call{NetID: rpcbind.Local, Peer: peer}, err
	}
	remote := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	client := netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	server := local.AddrPort().Addr().Unmap()
	return Call{NetID: netIDOf(client.Addr(), rpcbind.TCP, rpcbind.TCP6), Client: client, Server: server}, nil
}

// streamBuffers are what a connection needs while it lives.
type streamBuffers struct {
	in      [4096]byte
	records oncrpc.RecordReader
	out     []byte
}

var buffers = sync.Pool{New: func() any { return &streamBuffers{out: make([]byte, 0, 1024)} }}

// A session is one connection, owned by one goroutine: it reads no further
// while an answer is not taken, so that a slow reader stops only itself.
type session struct {
	conn    net.Conn
	handler Handler
	call    Call
	*streamBuffers
}

// errHandler ends a connection because the handler said so.
var errHandler = errors.New("the message cannot be answered")

func (x *session) run() error {
	for {
		if err := x.conn.SetReadDeadline(time.Now().Add(IdleTimeout)); err != nil {
			return err
		}
		n, err := x.conn.Read(x.in[:])
		if err := x.answer(x.in[:n]); err != nil {
			reset(x.conn)
			return err
		}
		if err != nil {
			return err
		}
	}
}

// answer answers every record that ends in b, in order, and sends small answers together.
func (x *session) answer(b []byte) error {
	for len(b) > 0 {
		used, record, err := x.records.Feed(b)
		if err != nil {
			return err
		}
		b = b[used:]
		if record == nil {
			break
		}
		x.call.Message = record
		if err := x.reply(); err != nil {
			return err
		}
	}
	return x.flush()
}

// maxWrite bounds how much is written at once: the time a client has for it is WriteTimeout.
const maxWrite = 64 << 10

func (x *session) reply() error {
	start := len(x.out)
	x.out = oncrpc.AppendRecordMark(x.out, 0, true) // its size is not known yet
	r := x.handler.Answer(&x.call, x.out)
	if r.Head == nil {
		x.out = x.out[:start]
	} else {
		x.out = r.Head
		size := len(x.out) - start - oncrpc.RecordMarkSize + len(r.Body)
		oncrpc.AppendRecordMark(x.out[:start], size, true)
	}
	if len(r.Body) > 0 || len(x.out) > maxWrite/2 {
		if err := x.flush(); err != nil {
			return err
		}
		if err := x.write(r.Body); err != nil {
			return err
		}
	}
	if r.Close {
		return errors.Join(x.flush(), errHandler)
	}
	return nil
}

func (x *session) flush() error {
	err := x.write(x.out)
	x.out = x.out[:0]
	return err
}

func (x *session) write(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), maxWrite)
		if err := x.conn.SetWriteDeadline(time.Now().Add(WriteTimeout)); err != nil {
			return err
		}
		if _, err := x.conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// reset makes closing conn tell the client at once that nothing more is read.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
}
