package main

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

const rowsOfTest = 3

// reply returns an accepted, successful reply with the given results.
func reply(xid uint32, results ...byte) []byte {
	return append(oncrpc.AppendAccepted(nil, xid, oncrpc.Success), results...)
}

func addressReply(xid uint32, address string) []byte {
	return reply(xid, xdr.AppendString(nil, address)...)
}

func TestCalls(t *testing.T) {
	const header = "00000007 00000000 00000002 000186a0"
	const auth = "00000000 00000000 00000000 00000000"
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"RFC 1833 3.2: GETPORT", getPort{}.appendCall(nil, 7, 1),
			header + "00000002 00000003" + auth + "20000001 00000001 00000011 00000000"},
		{"RFC 1833 2.2.1: GETADDR version 3", getAddr{}.appendCall(nil, 7, 2),
			header + "00000003 00000003" + auth + "20000002 00000001 00000003 75647000 00000000 00000000"},
		{"RFC 1833 2.2.1: GETADDR version 4", getAddr{}.appendCall(nil, 7, 1),
			header + "00000004 00000003" + auth + "20000001 00000001 00000003 75647000 00000000 00000000"},
		{"SET of rpcb_set, libtirpc 1.3.3, seen with strace, with another xid", setRow{}.appendCall(nil, 7, 1),
			header + "00000003 00000001" + auth + "20000001 00000001 00000003 75647000 0000000b 302e302e 302e302e 342e3100 00000001 30000000"},
		{"UNSET of rpcb_unset, likewise", unsetRow{}.appendCall(nil, 7, 1),
			header + "00000003 00000002" + auth + "20000001 00000001 00000003 75647000 00000000 00000001 30000000"},
		{"RFC 1833 2.2.1: DUMP", appendCall(nil, 7, 4, rpcbind.ProcDump), header + "00000004 00000004" + auth},
	} {
		if want := strings.ReplaceAll(tt.want, " ", ""); hex.EncodeToString(tt.got) != want {
			t.Errorf("%s: %x, want %s", tt.name, tt.got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	port := reply(7, 0, 0, 4, 1) // row 1: 1025
	refused := func(b []byte, at int) []byte {
		b = append([]byte(nil), b...)
		b[at] ^= 1
		return b
	}
	for _, tt := range []struct {
		name  string
		q     question
		reply []byte
		want  error
	}{
		{"GETPORT", getPort{}, port, nil},
		{"port of another row", getPort{}, reply(7, 0, 0, 4, 2), errMismatch},
		{"port 0: not registered", getPort{}, reply(7, 0, 0, 0, 0), errMismatch},
		{"results too long", getPort{}, append(port, 0, 0, 0, 0), errMismatch},
		{"another xid", getPort{}, reply(8, 0, 0, 4, 1), errXID},
		{"a call", getPort{}, refused(port, 7), errRefused},
		{"denied", getPort{}, refused(port, 11), errRefused},
		{"with a verifier", getPort{}, refused(port, 15), errRefused},
		{"PROG_UNAVAIL", getPort{}, refused(port, 23), errRefused},
		{"GETADDR", getAddr{}, addressReply(7, "127.0.0.1.4.1"), nil},
		{"not rewritten", getAddr{}, addressReply(7, "0.0.0.0.4.1"), errMismatch},
		{"empty: not registered", getAddr{}, addressReply(7, ""), errMismatch},
		{"SET", setRow{}, reply(7, 0, 0, 0, 1), nil},
		{"SET refused", setRow{}, reply(7, 0, 0, 0, 0), errFalse},
		{"UNSET", unsetRow{}, reply(7, 0, 0, 0, 1), nil},
		{"UNSET refused", unsetRow{}, reply(7, 0, 0, 0, 0), errFalse},
		{"echo", echoed{}, reply(7, 0, 0, 0, 0), nil},
		{"another xid from the echo", echoed{}, reply(8, 0, 0, 0, 0), errXID},
	} {
		if err := tt.q.check(tt.reply, 7, 1); !errors.Is(err, tt.want) {
			t.Errorf("%s: check(%x) = %v, want %v", tt.name, tt.reply, err, tt.want)
		}
		for n := range tt.reply {
			if tt.want != nil {
				break // it may be too long, and right when cut
			}
			if err := tt.q.check(tt.reply[:n], 7, 1); err == nil {
				t.Errorf("%s: check of %d bytes of %x = nil, want an error", tt.name, n, tt.reply)
			}
		}
	}
}

// dumpReply is a DUMP reply with one row of the mapper's own before the given.
func dumpReply(rows ...int) []byte {
	b := reply(7)
	row := func(program uint32, address string) {
		b = rpcbind.AppendNext(b)
		b = rpcbind.RPCB{Program: program, Version: 1, NetID: "udp", Address: address, Owner: "superuser"}.Append(b)
	}
	row(rpcbind.Program, "0.0.0.0.0.111")
	for _, i := range rows {
		row(firstProgram+uint32(i), rowAddress(i))
	}
	return rpcbind.AppendEnd(b)
}

func TestCheckDump(t *testing.T) {
	good := dumpReply(2, 0, 1) // in any order
	if err := checkDump(good, 7, rowsOfTest); err != nil {
		t.Errorf("checkDump(%x) = %v, want nil", good, err)
	}
	for n := range good {
		if err := checkDump(good[:n], 7, rowsOfTest); err == nil {
			t.Errorf("checkDump of %d bytes of %x = nil, want an error", n, good)
		}
	}
	for name, b := range map[string][]byte{
		"a row too few":   dumpReply(0, 2),
		"a row twice":     dumpReply(0, 1, 2, 1),
		"a string of 4 G": append(reply(7, 0, 0, 0, 1, 0, 1, 0x86, 0xa0, 0, 0, 0, 1), 0xff, 0xff, 0xff, 0xff),
	} {
		if err := checkDump(b, 7, rowsOfTest); err == nil {
			t.Errorf("%s: checkDump(%x) = nil, want an error", name, b)
		}
	}
}
