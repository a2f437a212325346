package mapper

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// TestCachedDump: after any changes a DUMP is what the rows are, however often
// and by whichever version it was asked for before.
func TestCachedDump(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := newMapper(t)
		netids := []string{"udp", "tcp", "udp6", "tcp6", "local", ""}
		uaddr := map[string]string{"udp": "0.0.0.0.4.", "tcp": "10.99.0.1.4.", "udp6": "::.4.", "tcp6": "fd99::1.4.", "local": "/run/"}
		small := rapid.Uint32Range(1, 3)
		change := func(p rpcbind.Proc) func(*rapid.T) {
			return func(r *rapid.T) {
				w := rapid.SampledFrom([]way{asRoot, asUser}).Draw(r, "way")
				program, version := progA+small.Draw(r, "program"), small.Draw(r, "version")
				if rapid.Bool().Draw(r, "v2") {
					protocol := rapid.SampledFrom([]uint32{6, 17}).Draw(r, "protocol")
					ask(t, m, w, 2, p, mapping(program, version, protocol, 2048+small.Draw(r, "port")))
					return
				}
				netid := rapid.SampledFrom(netids).Draw(r, "netid")
				ask(t, m, w, 4, p, rpcb(program, version, netid, uaddr[netid]+fmt.Sprint(small.Draw(r, "port"))))
			}
		}
		dumped := func(*rapid.T) {
			for version := uint32(2); version <= 4; version++ {
				want := freshDump(t, m.Registry, version)
				for _, w := range []way{udpLo, tcpLo} {
					if got := ask(t, m, w, version, dumpP, nil); !bytes.Equal(got, want) {
						r.Fatalf("v%d DUMP = %x, want %x", version, got, want)
					}
				}
			}
		}
		r.Repeat(map[string]func(*rapid.T){"set": change(set), "set again": change(set), "unset": change(unset), "": dumped})
	})
}

// TestConcurrent: lookups and dumps by many while a row comes and goes; each dump
// is one state, whole. It is for the race detector.
func TestConcurrent(t *testing.T) {
	m := newMapper(t)
	own := len(ownRows(t))
	var changing, asking sync.WaitGroup
	done := make(chan struct{})
	changing.Go(func() {
		for i := range uint32(300) {
			m.Answer(asRoot.call(message(4, set, rpcb(progA, i, "local", "/run/a.sock"))), nil)
			m.Answer(asRoot.call(message(4, unset, rpcb(progA, i, "", ""))), nil)
		}
	})
	for _, w := range []way{udpLo, tcpFar, asUser} {
		asking.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				for _, call := range valid() {
					if p := rpcbind.Proc(binary.BigEndian.Uint32(call[20:])); p != set && p != unset {
						m.Answer(w.call(call), nil)
					}
				}
				_, results, err := oncrpc.ParseReply(bytesOf(m.Answer(w.call(message(4, dumpP, nil)), nil)))
				if err != nil {
					t.Error(err)
				}
				if rows, err := rpcbind.ParseRPCBs(results); err != nil || len(rows) < own || len(rows) > own+1 {
					t.Errorf("DUMP: %d rows, %v, want %d or one more", len(rows), err, own)
				}
			}
		})
	}
	changing.Wait()
	close(done)
	asking.Wait()
	all, _ := m.Registry.All()
	if got := ask(t, m, tcpLo, 4, dumpP, nil); len(all) != own || !bytes.Equal(got, freshDump(t, m.Registry, 4)) {
		t.Errorf("the last DUMP is not what %d rows are: %x", len(all), got)
	}
}

// FuzzAnswer: whatever comes on whatever transport, an answer is a reply to that
// call, and fits a datagram where it goes into one. Seeds are the recorded calls.
func FuzzAnswer(f *testing.F) {
	ways := append(slices.Clone(ipWays), asUser, asRoot,
		way{netid: rpcbind.UDP6, client: "fe80::7", server: "fe80::99"}, way{netid: rpcbind.TCP6, client: "fe80::7%eth0", server: "fe80::99%eth0"})
	for _, e := range readRecording(f) {
		for i := range ways {
			f.Add(uint8(i), e.call)
		}
	}
	for _, call := range valid() {
		f.Add(uint8(0), call)
		f.Add(uint8(10), call)
	}
	m := newMapper(f, row(f, progA, 1, rpcbind.UDP, "0.0.0.0.19.139"), row(f, progA, 1, rpcbind.TCP6, "::.19.139"))
	buf := make([]byte, 4, transportBuf)
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		c := ways[int(which)%len(ways)].call(b)
		copyOf := bytes.Clone(b)
		r := m.Answer(c, buf)
		if !bytes.Equal(b, copyOf) {
			t.Fatal("the message was changed")
		}
		call, _, err := oncrpc.ParseCall(b)
		noCall := errors.Is(err, oncrpc.ErrNotCall)
		if r.Close != noCall || noCall && r.Head != nil {
			t.Fatalf("close %v, answer %x, but ParseCall says %v", r.Close, r.Head, err)
		}
		answer := bytesOf(r)
		if answer == nil {
			if len(r.Body) > 0 || !noCall && call.Procedure != uint32(callIt) {
				t.Fatalf("no answer to %x, body %x", b, r.Body)
			}
			return
		}
		answer = answer[len(buf):]
		if c.MaxReply > 0 && len(answer) > transport.MaxMessage {
			t.Fatalf("an answer of %d bytes in a datagram", len(answer))
		}
		p, results, err := oncrpc.ParseReply(answer)
		if err != nil || p.XID != call.XID || len(answer)%4 != 0 {
			t.Fatalf("%x answered with %x: %+v, %v", b, answer, p, err)
		}
		if p.Err() != nil && len(results) > 0 {
			t.Fatalf("%x answered with %v and %x after it", b, p.Err(), results)
		}
	})
}
