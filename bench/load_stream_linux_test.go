package main

import (
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
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
	got, err := measure(newPairRun(8, path), 20*time.Millisecond, os.Getpid())
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
	got, err := measure(newPairRun(1, path), time.Millisecond, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if got.err() == nil || got.Wrong == 0 || got.Requests != 0 {
		t.Errorf("measure = %+v, want wrong answers and nothing else", got)
	}
}
