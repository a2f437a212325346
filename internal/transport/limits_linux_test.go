package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/wire/oncrpc"
)

// handlerFunc answers with what it returns.
type handlerFunc func(c *Call, buf []byte) Reply

func (f handlerFunc) Answer(c *Call, buf []byte) Reply { return f(c, buf) }

// dialLimited returns a connection to a server that ends connections early.
func dialLimited(t *testing.T, h Handler, lim limits) net.Conn {
	t.Helper()
	return dialTo(t, serveLimited(t, h, lim))
}

// serveLimited returns the address of a server that ends connections early.
func serveLimited(t *testing.T, h Handler, lim limits) (at string) {
	t.Helper()
	return run(t, &StreamServer{Handler: h, limits: lim})
}

// run has a server answer on loopback, and returns the address.
func run(t *testing.T, s *StreamServer) (at string) {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
	})
	return ln.Addr().String()
}

func dialTo(t *testing.T, at string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp4", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

func TestIdleConnectionEnds(t *testing.T) {
	echo := handlerFunc(func(c *Call, buf []byte) Reply { return Reply{Head: append(buf, c.Message...)} })
	conn := dialLimited(t, echo, limits{idle: 300 * time.Millisecond, write: time.Hour, record: time.Hour, sweep: 10 * time.Millisecond})
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
	conn := dialLimited(t, large, limits{idle: time.Hour, write: 50 * time.Millisecond, record: time.Hour, sweep: 10 * time.Millisecond})
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

// slow is for tests of how long a call may take.
var slow = limits{idle: time.Hour, write: time.Hour, record: 400 * time.Millisecond, sweep: 10 * time.Millisecond}

// TestSlowCallEnds: a client that sends a byte now and then does not keep its
// connection, whatever it has said before.
func TestSlowCallEnds(t *testing.T) {
	echo := handlerFunc(func(c *Call, buf []byte) Reply { return Reply{Head: append(buf, c.Message...)} })
	whole := append(oncrpc.AppendRecordMark(nil, 4, true), "call"...)
	long := append(oncrpc.AppendRecordMark(nil, MaxMessage, true), make([]byte, MaxMessage)...)
	for _, tt := range []struct {
		name   string
		stream []byte
		atOnce int // bytes of it
	}{
		{"from the beginning", long, 1},
		{"half of it at once", long, len(long) / 2},
		{"behind a call", append(whole, long...), len(whole) + 2},
		{"empty fragments", make([]byte, 4*MaxMessage), 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conn := dialLimited(t, echo, slow)
			drip := time.NewTicker(5 * time.Millisecond)
			defer drip.Stop()
			began := time.Now()
			_, err := conn.Write(tt.stream[:tt.atOnce])
			sent := tt.atOnce
			for ; err == nil && sent < len(tt.stream); sent++ {
				<-drip.C
				_, err = conn.Write(tt.stream[sent : sent+1])
			}
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("after %d bytes: %v, want ECONNRESET or EPIPE", sent, err)
			}
			if took := time.Since(began); took < slow.record {
				t.Errorf("ended after %s already", took)
			}
		})
	}
}

// TestLongConversation: what is bounded is the time of a call, not of the
// connection; time in which the server does not read does not count.
func TestLongConversation(t *testing.T) {
	body := make([]byte, 64<<20) // more than any socket buffer holds
	h := handlerFunc(func(c *Call, buf []byte) Reply {
		if len(c.Message) == 0 {
			return Reply{Head: append(buf, 1), Body: body}
		}
		return Reply{Head: append(buf, c.Message...)}
	})
	at := serveLimited(t, h, slow)
	ask := append(oncrpc.AppendRecordMark(nil, 4, true), "call"...)
	answer := make([]byte, len(ask))

	// One that takes nothing of a large answer for a while, with half a call sent behind it.
	patient := dialTo(t, at)
	stream := append(bytes.Clone(ask), oncrpc.AppendRecordMark(nil, 0, true)...)
	stream = append(stream, ask[:6]...)
	if _, err := patient.Write(stream); err != nil {
		t.Fatal(err)
	}

	// One that goes on talking, for twice as long as a call may take.
	busy := dialTo(t, at)
	for began := time.Now(); time.Since(began) < 2*slow.record; {
		for _, part := range [][]byte{ask[:3], ask[3:7], ask[7:]} {
			if _, err := busy.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.ReadFull(busy, answer); err != nil || !bytes.Equal(answer, ask) {
			t.Fatalf("answer = %q, %v, want %q", answer, err, ask)
		}
	}

	large := int64(oncrpc.RecordMarkSize + 1 + len(body))
	if _, err := io.ReadFull(patient, answer); err != nil || !bytes.Equal(answer, ask) {
		t.Fatalf("answer = %q, %v, want %q", answer, err, ask)
	}
	if n, err := io.CopyN(io.Discard, patient, large); err != nil {
		t.Fatalf("%d bytes of the large answer: %v", n, err)
	}
	if _, err := patient.Write(ask[6:]); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(patient, answer); err != nil || !bytes.Equal(answer, ask) {
		t.Fatalf("answer = %q, %v, want %q", answer, err, ask)
	}
}

// TestCallBehindAnswer: while an answer is not taken, the time of the call behind
// it, of which a part has come, does not run.
func TestCallBehindAnswer(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	p, err := newPoll(func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if err := p.add(fds[0], unix.EPOLLOUT); err != nil {
		t.Fatal(err)
	}
	early := time.Now()
	l := &loop{poll: p, server: &StreamServer{}, now: early.Add(time.Hour)}
	c := &conn{fd: fds[0], out: []byte("answer"), watched: unix.EPOLLOUT, began: early, moved: l.now}
	c.messages = Records.reader()
	if _, _, err := c.messages.Feed(oncrpc.AppendRecordMark(nil, 4, true)); err != nil {
		t.Fatal(err)
	}
	lim := limits{idle: 2 * time.Hour, write: 2 * time.Hour, record: time.Minute}
	if err := c.overdue(l.now, lim); err != nil {
		t.Errorf("while the answer is not taken: %v", err)
	}
	l.turn(c)
	if err := c.overdue(l.now, lim); err != nil || c.blocked() {
		t.Errorf("when the answer is taken: %v", err)
	}
	if err := c.overdue(l.now.Add(2*time.Minute), lim); err == nil {
		t.Error("then the call may take for ever")
	}
}

// TestUnsentAnswers: clients that do not take their answers have so much memory together, and
// who would need more is not served.
func TestUnsentAnswers(t *testing.T) {
	const size = 3 << 20
	const room = maxUnsent / size
	s := &StreamServer{Handler: handlerFunc(func(c *Call, buf []byte) Reply { return Reply{Head: append(buf, make([]byte, size)...)} })}
	at := run(t, s)
	ask := func() net.Conn {
		conn := dialTo(t, at)
		if _, err := conn.Write(append(oncrpc.AppendRecordMark(nil, 4, true), "call"...)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	kept := func(what string, enough func(int64) bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !enough(s.unsent.Load()); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s, and %d bytes of answers are kept", what, s.unsent.Load())
			}
		}
	}
	var waiting []net.Conn
	for i := range int64(room) {
		waiting = append(waiting, ask())
		kept("a client does not read", func(n int64) bool { return n >= (i+1)*(size-maxTurn) })
	}
	if _, err := io.Copy(io.Discard, ask()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client that is too many: %v, want ECONNRESET", err)
	}
	for _, conn := range waiting {
		if n, err := io.CopyN(io.Discard, conn, oncrpc.RecordMarkSize+size); err != nil {
			t.Errorf("%d bytes of an answer: %v", n, err)
		}
	}
	kept("all answers are taken", func(n int64) bool { return n == 0 })
	if n, err := io.CopyN(io.Discard, ask(), oncrpc.RecordMarkSize+size); err != nil {
		t.Errorf("%d bytes of an answer, when there is room again: %v", n, err)
	}
	ask().Close()
	kept("the last client has closed", func(n int64) bool { return n == 0 })
}
