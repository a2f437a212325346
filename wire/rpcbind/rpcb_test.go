package rpcbind

import (
	"bytes"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/wire/xdr"
	"pgregory.net/rapid"
)

var rpcb = codec[RPCB]{"ParseRPCB", ParseRPCB, func(b []byte, m RPCB) []byte { return m.Append(b) }}

var rpcbRows = []row[RPCB]{
	{"rpc.statd 2.6.2, local: SET", "000186b8 00000001 00000003 75647000 0000000e 302e302e 302e302e 3233372e 36350000 00000003 31303300", RPCB{100024, 1, "udp", "0.0.0.0.237.65", "103"}},
	{"rpc.statd 2.6.2, local: UNSET", "000186b8 00000001 00000000 00000000 00000001 30000000", RPCB{100024, 1, "", "", "0"}},
	{"rpc.mountd 2.6.2, local: SET", "000186a5 00000001 00000003 75647000 0000000d 302e302e 302e302e 3135302e 31000000 00000001 30000000", RPCB{100005, 1, "udp", "0.0.0.0.150.1", "0"}},
	{"rpcinfo -p 127.0.0.1, tcp: GETADDR with a hint", "000186a0 00000002 00000003 74637000 0000000f 3132372e 302e302e 312e302e 31313100 00000008 6c696274 69727063", RPCB{100000, 2, "tcp", "127.0.0.1.0.111", "libtirpc"}},
	{"rpcinfo -T udp6 ::1 100000: GETADDR with a hint", "000186a0 00000000 00000004 75647036 00000009 3a3a312e 302e3131 31000000 00000008 6c696274 69727063", RPCB{100000, 0, "udp6", "::1.0.111", "libtirpc"}},
	{"rpcinfo -l ::1 100024 1, tcp6: GETADDRLIST", "000186b8 00000001 00000004 74637036 00000009 3a3a312e 302e3131 31000000 00000000", RPCB{100024, 1, "tcp6", "::1.0.111", ""}},
	{"rpcinfo -d 100005 1, local: UNSET", "000186a5 00000001 00000000 00000000 00000001 30000000", RPCB{100005, 1, "", "", "0"}},
	{"libtirpc 1.3.3 client, local: SET of a path", "20000001 00000002 00000005 6c6f6361 6c000000 0000000b 2f72756e 2f782e73 6f636b00 00000001 30000000", RPCB{0x20000001, 2, "local", "/run/x.sock", "0"}},
	{"libtirpc 1.3.3 client, udp: GETVERSADDR", "20000001 00000002 00000003 75647000 00000000 00000000", RPCB{0x20000001, 2, "udp", "", ""}},
	{"RFC 1833 2.1: all empty", "00000000 00000000 00000000 00000000 00000000", RPCB{}},
	{"longest strings", "ffffffff ffffffff 00000040" + strings.Repeat("6e", 64) + "00000080" + strings.Repeat("61", 128) + "00000040" + strings.Repeat("6f", 64),
		RPCB{1<<32 - 1, 1<<32 - 1, strings.Repeat("n", MaxNetID), strings.Repeat("a", MaxAddress), strings.Repeat("o", MaxOwner)}},
	{"bytes that are no text", "00000001 00000002 00000003 00ff0a00 00000002 c3280000 00000001 7f000000",
		RPCB{1, 2, "\x00\xff\n", "\xc3\x28", "\x7f"}},
}

var badRPCBs = []badRow{
	{"netid of 65 bytes", "00000001 00000001 00000041" + strings.Repeat("61", 68) + "00000000 00000000", xdr.ErrTooLong},
	{"address of 129 bytes", "00000001 00000001 00000000 00000081" + strings.Repeat("61", 132) + "00000000", xdr.ErrTooLong},
	{"owner of 65 bytes", "00000001 00000001 00000000 00000000 00000041" + strings.Repeat("61", 68), xdr.ErrTooLong},
	{"netid of 2^32-1 bytes", "00000001 00000001 ffffffff 00000000 00000000", xdr.ErrTooLong},
	{"address of 2^31 bytes", "00000001 00000001 00000000 80000000 00000000", xdr.ErrTooLong},
	{"owner of 2^31-1 bytes", "00000001 00000001 00000000 00000000 7fffffff", xdr.ErrTooLong},
	{"hand-built, rpcbind 1.2.6 answers GARBAGE_ARGS: netid of 3 bytes that are not there", "00000001 00000002 00000003", xdr.ErrShort},
}

func TestRPCB(t *testing.T) {
	rpcb.check(t, rpcbRows)
	rpcb.checkFails(t, badRPCBs)
	rpcb.appendAllocatesNothing(t, rpcbRows)
}

func FuzzParseRPCB(f *testing.F) { rpcb.fuzz(f, rpcbRows, badRPCBs) }
func BenchmarkRPCB(b *testing.B) { rpcb.bench(b, rpcbRows[:1]) }

func genRPCB(t *rapid.T) RPCB {
	return RPCB{
		Program: rapid.Uint32().Draw(t, "program"), Version: rapid.Uint32().Draw(t, "version"),
		NetID:   rapid.StringN(0, -1, MaxNetID).Draw(t, "netid"),
		Address: rapid.StringN(0, -1, MaxAddress).Draw(t, "address"),
		Owner:   rapid.StringN(0, -1, MaxOwner).Draw(t, "owner"),
	}
}

func TestRPCBRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(genRPCB), 0, 8).Draw(t, "rows")
		b := appendList(nil, want)
		got, err := ParseRPCBs(b)
		if d := diff(got, want); err != nil || d != "" {
			t.Fatalf("ParseRPCBs(%x) = %v (-want +got):\n%s", b, err, d)
		}
	})
}

// agrees holds ParseQuery to ParseRPCB: same failures, same values, and the
// hint is part of the message.
func agrees(t *testing.T, b []byte) {
	t.Helper()
	want, wantErr := ParseRPCB(b)
	program, version, hint, err := ParseQuery(b)
	if wantErr != nil {
		if err == nil || err.Error() != wantErr.Error() || program != 0 || version != 0 || hint != nil {
			t.Errorf("ParseQuery(%x) = %d, %d, %q, %v, want %v", b, program, version, hint, err, wantErr)
		}
		return
	}
	if err != nil || program != want.Program || version != want.Version || string(hint) != want.Address {
		t.Errorf("ParseQuery(%x) = %d, %d, %q, %v, want %d, %d, %q", b, program, version, hint, err, want.Program, want.Version, want.Address)
	}
	if at := bytes.Index(b, hint); len(hint) > 0 && (at < 0 || cap(hint) != len(hint)) {
		t.Errorf("ParseQuery(%x): hint %q is no part of it", b, hint)
	}
}

func TestParseQuery(t *testing.T) {
	for _, tt := range rpcbRows {
		b := unhex(tt.data)
		for n := range len(b) + 1 {
			agrees(t, b[:n])
		}
		agrees(t, append(b, 1, 2, 3))
	}
	for _, tt := range badRPCBs {
		agrees(t, unhex(tt.data))
	}
}

func FuzzParseQuery(f *testing.F) {
	for _, tt := range rpcbRows {
		f.Add(unhex(tt.data))
	}
	for _, tt := range badRPCBs {
		f.Add(unhex(tt.data))
	}
	f.Fuzz(agrees)
}

func TestParseQueryAllocatesNothing(t *testing.T) {
	for _, tt := range rpcbRows {
		b := unhex(tt.data)
		if n := testing.AllocsPerRun(100, func() { ParseQuery(b) }); n != 0 {
			t.Errorf("%s: ParseQuery: %v allocations, want 0", tt.name, n)
		}
	}
}

func BenchmarkParseQuery(b *testing.B) {
	data := unhex(rpcbRows[3].data)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := ParseQuery(data); err != nil {
			b.Fatal(err)
		}
	}
}

var rpcbs = codec[[]RPCB]{"ParseRPCBs", ParseRPCBs, func(b []byte, list []RPCB) []byte { return appendList(b, list) }}

var rpcbsRows = []row[[]RPCB]{
	{"rpcbind 1.2.6, udp: answer to DUMP version 3 of a libtirpc 1.3.3 client", `
			00000001 000186a0 00000004 00000004 74637036 00000008 3a3a2e30 2e313131 00000009 73757065 72757365 72000000
			00000001 000186a0 00000003 00000004 74637036 00000008 3a3a2e30 2e313131 00000009 73757065 72757365 72000000
			00000001 000186a0 00000004 00000004 75647036 00000008 3a3a2e30 2e313131 00000009 73757065 72757365 72000000
			00000001 000186a0 00000003 00000004 75647036 00000008 3a3a2e30 2e313131 00000009 73757065 72757365 72000000
			00000001 000186a0 00000004 00000003 74637000 0000000d 302e302e 302e302e 302e3131 31000000 00000009 73757065
			72757365 72000000 00000001 000186a0 00000003 00000003 74637000 0000000d 302e302e 302e302e 302e3131 31000000
			00000009 73757065 72757365 72000000 00000001 000186a0 00000002 00000003 74637000 0000000d 302e302e 302e302e
			302e3131 31000000 00000009 73757065 72757365 72000000 00000001 000186a0 00000004 00000003 75647000 0000000d
			302e302e 302e302e 302e3131 31000000 00000009 73757065 72757365 72000000 00000001 000186a0 00000003 00000003
			75647000 0000000d 302e302e 302e302e 302e3131 31000000 00000009 73757065 72757365 72000000 00000001 000186a0
			00000002 00000003 75647000 0000000d 302e302e 302e302e 302e3131 31000000 00000009 73757065 72757365 72000000
			00000001 000186a0 00000004 00000005 6c6f6361 6c000000 00000011 2f72756e 2f727063 62696e64 2e736f63 6b000000
			00000009 73757065 72757365 72000000 00000001 000186a0 00000003 00000005 6c6f6361 6c000000 00000011 2f72756e
			2f727063 62696e64 2e736f63 6b000000 00000009 73757065 72757365 72000000 00000001 20000001 00000002 00000003
			75647000 0000000b 302e302e 302e302e 382e3100 00000009 73757065 72757365 72000000 00000000`, []RPCB{
		{100000, 4, "tcp6", "::.0.111", "superuser"},
		{100000, 3, "tcp6", "::.0.111", "superuser"},
		{100000, 4, "udp6", "::.0.111", "superuser"},
		{100000, 3, "udp6", "::.0.111", "superuser"},
		{100000, 4, "tcp", "0.0.0.0.0.111", "superuser"},
		{100000, 3, "tcp", "0.0.0.0.0.111", "superuser"},
		{100000, 2, "tcp", "0.0.0.0.0.111", "superuser"},
		{100000, 4, "udp", "0.0.0.0.0.111", "superuser"},
		{100000, 3, "udp", "0.0.0.0.0.111", "superuser"},
		{100000, 2, "udp", "0.0.0.0.0.111", "superuser"},
		{100000, 4, "local", "/run/rpcbind.sock", "superuser"},
		{100000, 3, "local", "/run/rpcbind.sock", "superuser"},
		{0x20000001, 2, "udp", "0.0.0.0.8.1", "superuser"},
	}},
	{"RFC 1833 2.1: no row", "00000000", nil},
}

var badRPCBLists = []badRow{
	{"list word 2", "00000002 00000000", xdr.ErrBool},
	{"list word 2 after a row", "00000001 00000001 00000001 00000000 00000000 00000000 00000002", xdr.ErrBool},
	{"netid of 2^32-1 bytes in the second row", "00000001 00000001 00000001 00000000 00000000 00000000 00000001 00000001 00000001 ffffffff", xdr.ErrTooLong},
	{"no end", "00000001 00000001 00000001 00000000 00000000 00000000", xdr.ErrShort},
}

func TestRPCBs(t *testing.T) {
	rpcbs.check(t, rpcbsRows)
	rpcbs.checkFails(t, badRPCBLists)
	rpcbs.appendAllocatesNothing(t, rpcbsRows)
}

func FuzzParseRPCBs(f *testing.F) { rpcbs.fuzz(f, rpcbsRows, badRPCBLists) }
func BenchmarkRPCBs(b *testing.B) { rpcbs.bench(b, rpcbsRows[:1]) }
