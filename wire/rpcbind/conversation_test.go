package rpcbind

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// An exchange is a recorded call and its answer.
type exchange struct {
	name  string
	call  []byte
	reply []byte // nil: rpcbind was silent
}

// conversations reads what testdata/README.md describes, without record marks.
func conversations(tb testing.TB) []exchange {
	tb.Helper()
	file, err := os.ReadFile("testdata/conversations.txt")
	if err != nil {
		tb.Fatal(err)
	}
	var list []exchange
	for block := range strings.SplitSeq(strings.TrimSpace(string(file)), "\n\n") {
		lines := strings.Split(block, "\n")
		if strings.HasPrefix(lines[0], "#") {
			continue
		}
		if len(lines) != 3 {
			tb.Fatalf("%s: %d lines, want 3", lines[0], len(lines))
		}
		x := exchange{name: lines[0], call: message(tb, lines[0], lines[1])}
		if lines[2] != "silence" {
			x.reply = message(tb, lines[0], lines[2])
		}
		list = append(list, x)
	}
	return list
}

// message decodes a line, and takes the record mark off where there is one.
func message(tb testing.TB, name, line string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(line)
	if err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	if strings.HasPrefix(name, "udp") {
		return b
	}
	var f oncrpc.RecordReader
	f.Reset(9000)
	used, record, err := f.Feed(b)
	if err != nil || used != len(b) || record == nil {
		tb.Fatalf("%s: Feed(%x) = %d, %x, %v, want one record", name, b, used, record, err)
	}
	return record
}

// recode decodes arguments or results and encodes them again, or says that they are malformed.
type recode func(b []byte) ([]byte, error)

func nothing([]byte) ([]byte, error) { return nil, nil }

func number(b []byte) ([]byte, error) {
	r := xdr.NewReader(b)
	v := r.Uint32()
	return xdr.AppendUint32(nil, v), r.Err()
}

func boolean(b []byte) ([]byte, error) {
	r := xdr.NewReader(b)
	v := r.Bool()
	return xdr.AppendBool(nil, v), r.Err()
}

func address(b []byte) ([]byte, error) {
	r := xdr.NewReader(b)
	s := r.String(MaxAddress)
	return xdr.AppendString(nil, s), r.Err()
}

// The results of forwarded calls have no decoder yet: a port or an address, and an opaque.
func portAndOpaque(b []byte) ([]byte, error) {
	r := xdr.NewReader(b)
	port, p := r.Uint32(), r.Opaque(MaxCallArgs)
	return xdr.AppendOpaque(xdr.AppendUint32(nil, port), p), r.Err()
}

func addressAndOpaque(b []byte) ([]byte, error) {
	r := xdr.NewReader(b)
	s, p := r.String(MaxAddress), r.Opaque(MaxCallArgs)
	return xdr.AppendOpaque(xdr.AppendString(nil, s), p), r.Err()
}

func (c codec[T]) recode(b []byte) ([]byte, error) {
	v, err := c.parse(b)
	return c.append(nil, v), err
}

// procedures tells how the arguments and results of a procedure are decoded.
func procedures(version uint32, p Proc) (args, results recode) {
	switch {
	case p >= Procs(version) || p == ProcNull:
		return nothing, nothing
	case p == ProcCallIt && version == Version2:
		return remoteCall.recode, portAndOpaque
	case p == ProcDump && version == Version2:
		return nothing, mappings.recode
	case p == ProcGetPort && version == Version2:
		return mapping.recode, number
	case version == Version2:
		return mapping.recode, boolean
	}
	switch p {
	case ProcSet, ProcUnset:
		return rpcb.recode, boolean
	case ProcGetAddr, ProcGetVersAddr:
		return rpcb.recode, address
	case ProcDump:
		return nothing, rpcbs.recode
	case ProcCallIt, ProcIndirect:
		return remoteCall.recode, addressAndOpaque
	case ProcGetTime:
		return nothing, number
	case ProcUAddr2TAddr:
		return address, netBuf.recode
	case ProcTAddr2UAddr:
		return netBuf.recode, address
	case ProcGetAddrList:
		return rpcb.recode, entries.recode
	case ProcGetStat:
		return nothing, stats.recode
	}
	panic(fmt.Sprintf("procedure %d of version %d", p, version))
}

// Every message decodes and encodes to the same bytes, and cut anywhere it does not.
func TestConversations(t *testing.T) {
	seen := map[string]int{}
	for _, x := range conversations(t) {
		call, args, err := oncrpc.ParseCall(x.call)
		if err != nil {
			if x.reply != nil {
				t.Errorf("%s: ParseCall(%x) = %v, but rpcbind answers %x", x.name, x.call, err, x.reply)
			}
			continue
		}
		if got := append(call.Append(nil), args...); !bytes.Equal(got, x.call) {
			t.Errorf("%s: Append = %x, want %x", x.name, got, x.call)
		}
		seen[fmt.Sprint(Proc(call.Procedure).Name(call.Version), call.Version)]++
		recodeArgs, recodeResults := procedures(call.Version, Proc(call.Procedure))
		if x.reply == nil {
			check(t, x.name, args, recodeArgs)
			continue
		}
		reply, results, err := oncrpc.ParseReply(x.reply)
		if err != nil || reply.XID != call.XID {
			t.Errorf("%s: ParseReply(%x) = %+v, %v, want XID %#x", x.name, x.reply, reply, err, call.XID)
			continue
		}
		switch {
		case reply.Err() == nil:
			checkArgs(t, x.name, args, recodeArgs)
			check(t, x.name, results, recodeResults)
		case reply.Stat == oncrpc.MsgAccepted && reply.Accept == oncrpc.GarbageArgs:
			if again, err := recodeArgs(args); err == nil {
				t.Errorf("%s: arguments %x = %x, but rpcbind answers %v", x.name, args, again, reply.Accept)
			}
		default:
			checkArgs(t, x.name, args, recodeArgs)
			if len(results) > 0 {
				t.Errorf("%s: %v with results %x", x.name, reply.Err(), results)
			}
		}
	}
	for _, version := range []uint32{Version2, Version3, Version4} {
		for p := range Procs(version) {
			if name := fmt.Sprint(p.Name(version), version); seen[name] == 0 {
				t.Errorf("no call of %s recorded", name)
			}
		}
	}
}

// checkArgs is check, but for two calls that rpcbind takes.
func checkArgs(t *testing.T, name string, args []byte, f recode) {
	t.Helper()
	switch {
	case strings.Contains(name, "bytes after the arguments"):
		args = args[:16] // of a mapping
	case strings.Contains(name, "a netbuf of 600 bytes"):
		if again, err := f(args); err == nil {
			t.Errorf("%s: %x, want it over our limit", name, again)
		}
		return
	}
	check(t, name, args, f)
}

func check(t *testing.T, name string, b []byte, f recode) {
	t.Helper()
	if again, err := f(b); err != nil || !bytes.Equal(again, b) {
		t.Errorf("%s: %x, %v, want %x", name, again, err, b)
	}
	for n := range b {
		if again, err := f(b[:n]); err == nil {
			t.Errorf("%s: %x of %x = %x, want an error", name, b[:n], b, again)
		}
	}
}

func BenchmarkConversations(b *testing.B) {
	list := conversations(b)
	b.ReportAllocs()
	for b.Loop() {
		for _, x := range list {
			oncrpc.ParseCall(x.call)
			oncrpc.ParseReply(x.reply)
		}
	}
}
