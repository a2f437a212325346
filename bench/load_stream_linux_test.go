package main

import (
	"encoding/binary"
	"net"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A pairServer answers one call per connection over a local socket, as a
// mapper does that has room for each row once.
type pairServer struct{ registered map[uint32]bool }

func (s *pairServer) serve(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		if record, err := readRecord(conn, maxDatagram); err == nil {
			conn.Write(appendRecord(nil, s.answer(record)))
		}
		conn.Close()
	}
}

func (s *pairServer) answer(call []byte) []byte {
	program, set := binary.BigEndian.Uint32(call[40:]), rpcbind.Proc(binary.BigEndian.Uint32(call[20:])) == rpcbind.ProcSet
	ok := s.registered[program] != set
	s.registered[program] = set
	if !ok {
		return reply(binary.BigEndian.Uint32(call), 0, 0, 0, 0)
	}
	return reply(binary.BigEndian.Uint32(call), 0, 0, 0, 1)
}

// Each client registers a row of its own and takes it back, in turn, and
// leaves nothing behind.
func TestPairRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := pairServer{map[uint32]bool{}}
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.serve(ln)
	}()
	got, err := measure(newPairRun(8, path), 20*time.Millisecond, ownClock)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	<-served
	if err := got.err(); err != nil || got.Requests < 8 {
		t.Errorf("measure = %+v, err() = %v", got, err)
	}
	if len(s.registered) != 8 {
		t.Errorf("%d programs, want 8: %v", len(s.registered), s.registered)
	}
	for program, left := range s.registered {
		if left {
			t.Errorf("program %#x was left registered", program)
		}
	}
}

// An answer of false is a wrong one.
func TestPairRunRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := pairServer{map[uint32]bool{firstProgram + firstPairRow: true}}
	go s.serve(ln)
	got, err := measure(newPairRun(1, path), time.Millisecond, ownClock)
	if err != nil {
		t.Fatal(err)
	}
	if got.err() == nil || got.Wrong == 0 || got.Requests != 0 {
		t.Errorf("measure = %+v, want wrong answers and nothing else", got)
	}
}

// listenCanned returns the address of a canned server on loopback.
func listenCanned(t *testing.T, answer func(net.Conn)) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn)
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

func TestBindRun(t *testing.T) {
	for _, tt := range []struct {
		name string
		load func(netip.AddrPort) *streamRun
	}{
		{"a connection each", func(a netip.AddrPort) *streamRun { return newBindRun(8, a, 10, new(canned)) }},
		{"lasting", func(a netip.AddrPort) *streamRun { return newLastingRun(8, a, 10, new(canned), shortReply) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var connections atomic.Int32
			address := listenCanned(t, func(conn net.Conn) {
				connections.Add(1)
				answerCanned(conn)
			})
			l := tt.load(address)
			got, err := measure(l, 20*time.Millisecond, ownClock)
			if err != nil {
				t.Fatal(err)
			}
			if err := got.err(); err != nil || got.Requests < 8 || got.P50 <= 0 || got.Longest < got.P50-time.Microsecond || got.Lost > 0 {
				t.Errorf("measure = %+v, err() = %v", got, err)
			}
			want := got.Requests
			if l.lasting {
				want = 8
			}
			if n := int(connections.Load()); n != want {
				t.Errorf("%d connections for %d requests, want %d", n, got.Requests, want)
			}
		})
	}
}

// The canned server's answer is to none of the rows.
func TestLastingRunCountsWrongAnswers(t *testing.T) {
	l := newLastingRun(2, listenCanned(t, answerCanned), 10, new(mapRow), shortReply)
	got, err := measure(l, time.Millisecond, ownClock)
	if err != nil {
		t.Fatal(err)
	}
	if got.err() == nil || got.Wrong < 2 || got.Requests != 0 {
		t.Errorf("measure = %+v, want wrong answers and nothing else", got)
	}
}

// A server that hangs up before anybody asked is none to measure.
func TestLastingRunRefused(t *testing.T) {
	l := newLastingRun(2, listenCanned(t, func(net.Conn) {}), 10, new(mapRow), shortReply)
	if got, err := measure(l, time.Millisecond, ownClock); err == nil {
		t.Errorf("measure = %+v, nil, want an error", got)
	}
}
