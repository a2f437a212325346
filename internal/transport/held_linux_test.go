package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// TestHeld: connections that keep PDUs incomplete have so much memory together and
// no more; who goes beyond is ended, others are served, and what ends gives its part back.
func TestHeld(t *testing.T) {
	s := StreamServer{Framing: PDUs, Handler: handlerFunc(func(c *Call, buf []byte) Reply { return Reply{Head: append(buf, c.Message...)} })}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	header := func(size uint16) []byte {
		return dcerpc.Header{Version: dcerpc.Version, Label: ndr.LittleEndian, FragLength: size}.Append(nil)
	}
	partial := append(header(dcerpc.MaxFrag), make([]byte, dcerpc.MaxFrag-dcerpc.HeaderSize-1)...)
	whole := header(dcerpc.HeaderSize)

	var holders []net.Conn
	for held := len(partial); held <= maxHeld; held += len(partial) {
		conn := dialTo(t, at)
		if _, err := conn.Write(partial); err != nil {
			t.Fatal(err)
		}
		holders = append(holders, conn)
	}
	want := int64(len(holders) * len(partial))
	nstest.WaitFor(t, "as much as there can be to be held", 20*time.Second, func() bool { return s.held.Load() == want })
	// One more, while another client is served.
	tooMany := dialTo(t, at)
	tooMany.Write(partial)
	if _, err := tooMany.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("one connection too many: %v, want its end", err)
	}
	other := dialTo(t, at)
	for range 100 {
		if _, err := other.Write(whole); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(other, make([]byte, len(whole))); err != nil {
			t.Fatalf("another client: %v", err)
		}
	}
	nstest.WaitFor(t, "the one too many to be forgotten", 20*time.Second, func() bool { return s.held.Load() == want })
	// A PDU that is completed is answered and counts no more.
	if _, err := holders[0].Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(holders[0], make([]byte, dcerpc.MaxFrag)); err != nil {
		t.Errorf("a PDU that is completed: %v", err)
	}
	want -= int64(len(partial))
	nstest.WaitFor(t, "the answered PDU to be forgotten", 20*time.Second, func() bool { return s.held.Load() == want })
	for _, conn := range holders[:len(holders)/2] {
		conn.Close()
	}
	want = int64((len(holders) - len(holders)/2) * len(partial))
	nstest.WaitFor(t, "those that ended to be forgotten", 20*time.Second, func() bool { return s.held.Load() == want })
	cancel()
	if err := <-ended; err != nil || s.held.Load() != 0 {
		t.Errorf("Serve = %v, %d bytes held at the end", err, s.held.Load())
	}
}

// A counted session answers with what it is told to, and counts its end.
type counted struct {
	Handler
	ends *atomic.Int32
}

func (c counted) End() { c.ends.Add(1) }

// TestOverdueSessions: a connection that takes too long ends its session once,
// whatever it is that does: a call, a part of one, or an answer, be it the last.
func TestOverdueSessions(t *testing.T) {
	const soon, never = 50 * time.Millisecond, time.Hour
	big := make([]byte, 16<<20)
	header := dcerpc.Header{Version: dcerpc.Version, Label: ndr.LittleEndian, FragLength: dcerpc.HeaderSize}.Append(nil)
	for _, tt := range []struct {
		name string
		lim  limits
		send []byte
		last bool
	}{
		{"nothing comes", limits{idle: soon, write: never, record: never}, nil, false},
		{"half a header", limits{idle: never, write: never, record: soon}, header[:9], false},
		{"an answer is not taken", limits{idle: never, write: soon, record: never}, header, false},
		{"the last answer is not taken", limits{idle: never, write: soon, record: never}, header, true},
	} {
		var ends atomic.Int32
		tt.lim.sweep = 10 * time.Millisecond
		s := StreamServer{Framing: PDUs, limits: tt.lim, Sessions: func() Session {
			return counted{handlerFunc(func(c *Call, buf []byte) Reply {
				return Reply{Head: append(buf, c.Message...), Body: big, Close: tt.last}
			}), &ends}
		}}
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, ln) }()
		conn := dialTo(t, ln.Addr().String())
		if _, err := conn.Write(tt.send); err != nil {
			t.Fatal(err)
		}
		nstest.WaitFor(t, tt.name+": the session's end", 20*time.Second, func() bool { return ends.Load() > 0 })
		cancel()
		if err := <-ended; err != nil || ends.Load() != 1 || s.held.Load() != 0 {
			t.Errorf("%s: Serve = %v, the session ended %d times, %d bytes are held", tt.name, err, ends.Load(), s.held.Load())
		}
	}
}
