package probe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// FuzzRecord: what is read piece by piece is the record that package oncrpc puts together, and
// where one fails, so does the other.
func FuzzRecord(f *testing.F) {
	mark := func(size int, last bool, body string) []byte {
		return append(oncrpc.AppendRecordMark(nil, size, last), body...)
	}
	f.Add(mark(4, true, "abcd"))
	f.Add(append(mark(2, false, "ab"), mark(2, true, "cdrest")...))
	f.Add(append(mark(0, false, ""), mark(0, true, "")...))
	f.Add(mark(5, true, "abcd"))
	f.Add(mark(oncrpc.MaxFragment, false, "abcd"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		var records oncrpc.RecordReader
		records.Reset(oncrpc.MaxFragment)
		used, want, wantErr := records.Feed(stream)
		whole := want != nil
		for name, r := range map[string]io.Reader{"at once": bytes.NewReader(stream), "byte by byte": iotest.OneByteReader(bytes.NewReader(stream))} {
			rec := &record{stream: bufio.NewReader(r)}
			got, err := io.ReadAll(rec)
			switch {
			case wantErr != nil: // the fragments' sizes together exceed what an int of 32 bits holds
			case whole != (err == nil) || whole != rec.done():
				t.Errorf("%s: %x, %v, want %x", name, got, err, want)
			case whole && (!bytes.Equal(got, want) || rec.size != used):
				t.Errorf("%s: %x of %d bytes, want %x of %d", name, got, rec.size, want, used)
			case !whole && !errors.Is(err, io.ErrUnexpectedEOF):
				t.Errorf("%s: %v, want %v", name, err, io.ErrUnexpectedEOF)
			}
		}
	})
}

// FuzzDump: a list that is read piece by piece becomes the rows that package rpcbind decodes, and
// of one with a mistake those before it. No row fails to become an entry.
func FuzzDump(f *testing.F) {
	rows := []rpcbind.RPCB{
		{Program: 100005, Version: 3, NetID: "tcp", Address: "0.0.0.0.78.80", Owner: "superuser"}, {Program: 100005, Version: 3, NetID: "x", Address: "zzz"},
		{Program: 1, NetID: "local", Address: "/run/x"}, {NetID: "udp6", Address: "::.0.0"}, {NetID: "tcp6", Address: "1.2.3.4.0.1"},
	}
	mappings := []rpcbind.Mapping{{Program: 100005, Version: 3, Protocol: 6, Port: 20048}, {Protocol: 17, Port: 70000}, {Protocol: 1}}
	f.Add(listOf(rows), false)
	f.Add(listOf(mappings), true)
	f.Add(listOf(rows)[:100], false)
	f.Fuzz(func(t *testing.T, list []byte, two bool) {
		version := uint32(rpcbind.Version4)
		var want []string
		var wantErr error
		if two {
			version = rpcbind.Version2
			var all []rpcbind.Mapping
			all, wantErr = rpcbind.ParseMappings(list)
			for _, m := range all {
				want = append(want, fmt.Sprintf("%d %d", m.Program, m.Version))
			}
		} else {
			var all []rpcbind.RPCB
			all, wantErr = rpcbind.ParseRPCBs(list)
			for _, m := range all {
				want = append(want, fmt.Sprintf("%d %d", m.Program, m.Version))
			}
		}
		for name, res := range map[string]*results{
			"datagram": {buf: list}, "at once": {from: bytes.NewReader(list)}, "byte by byte": {from: iotest.OneByteReader(bytes.NewReader(list))},
		} {
			r := &Report{}
			err := new(Prober).readDump(res, version, teller{oncHost, ONCOptions{}, r})
			if (err == nil) != (wantErr == nil) || err != nil && !errors.Is(err, errAnswer) {
				t.Errorf("%s: %v, want %v", name, err, wantErr)
			}
			var got []string
			for _, e := range r.Entries {
				got = append(got, fmt.Sprintf("%d %d", e.Program, e.Version))
				odd := e.NetID == 0 || e.NetID.IsIP() && (!e.Addr.IsValid() || e.Addr.Port() == 0)
				if odd && (len(e.Problems) == 0 || len(r.Problems) == 0) {
					t.Errorf("%s: nothing is said of %+v", name, e)
				}
			}
			if wantErr == nil {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		}
	})
}

// FuzzAnswer: no datagram and no stream leads to anything but an answer or a state.
func FuzzAnswer(f *testing.F) {
	f.Add(success(oncrpc.Call{}, 0, 0, 0, 0))
	f.Add(oncrpc.AppendProgMismatch(nil, 0, 2, 4))
	f.Add(oncrpc.AppendAuthError(nil, 0, 99))
	f.Add([]byte("SSH-2.0-OpenSSH"))
	f.Fuzz(func(t *testing.T, message []byte) {
		reply, rest, wantErr := oncrpc.ParseReply(message)
		res := &results{from: iotest.OneByteReader(bytes.NewReader(message))}
		got, err := readReply(res)
		if (err == nil) != (wantErr == nil) || err == nil && (got.XID != reply.XID || got.Accept != reply.Accept) {
			t.Fatalf("%+v, %v, want %+v, %v", got, err, reply, wantErr)
		}
		if err == nil {
			all, readErr := res.all(1 << 20)
			if readErr != nil || !bytes.Equal(all, rest) {
				t.Fatalf("rest %x, %v, want %x", all, readErr, rest)
			}
			err = reply.Err()
		}
		if state, why := (&Prober{}).judge(t.Context(), err); err != nil && (state == Listening || why == "") {
			t.Errorf("%v is %v, %q", err, state, why)
		}
	})
}
