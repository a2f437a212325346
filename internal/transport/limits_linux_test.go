package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/wire/oncrpc"
)

// handlerFunc answers with what it returns.
type handlerFunc func(c *Call, buf []byte) Reply

func (f handlerFunc) Answer(c *Call, buf []byte) Reply { return f(c, buf) }

// dialLimited returns a connection to a server that ends connections early.
func dialLimited(t *testing.T, h Handler, lim limits) net.Conn {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	s := StreamServer{Handler: h, limits: lim}
	go func() { ended <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
	})
	conn, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

func TestIdleConnectionEnds(t *testing.T) {
	echo := handlerFunc(func(c *Call, buf []byte) Reply { return Reply{Head: append(buf, c.Message...)} })
	conn := dialLimited(t, echo, limits{idle: 50 * time.Millisecond, write: time.Hour, sweep: 10 * time.Millisecond})
	record := append(oncrpc.AppendRecordMark(nil, 4, true), "call"...)
	if _, err := conn.Write(record); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len(record))
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != string(record) {
		t.Fatalf("answer = %q, %v, want %q", answer, err, record)
	}
	if n, err := conn.Read(answer); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Read on an idle connection = %d, %v, want ECONNRESET", n, err)
	}
}

func TestConnectionThatTakesNothingEnds(t *testing.T) {
	body := make([]byte, 64<<20) // more than any socket buffer holds
	large := handlerFunc(func(_ *Call, buf []byte) Reply { return Reply{Head: append(buf, 1), Body: body} })
	conn := dialLimited(t, large, limits{idle: time.Hour, write: 50 * time.Millisecond, sweep: 10 * time.Millisecond})
	if _, err := conn.Write(oncrpc.AppendRecordMark(nil, 0, true)); err != nil {
		t.Fatal(err)
	}
	// The client does not read. That the server has given up shows in a write
	// that fails, and no reading is needed for that.
	for {
		if _, err := conn.Write(oncrpc.AppendRecordMark(nil, 0, true)); err != nil {
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("Write after the server gave up = %v, want ECONNRESET or EPIPE", err)
			}
			return
		}
	}
}
