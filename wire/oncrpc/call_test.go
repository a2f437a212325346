package oncrpc

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// unhex decodes hexadecimal digits with any blanks between them.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// diff compares values; nil and empty slices are the same on the wire.
func diff(got, want any) string { return cmp.Diff(want, got, cmpopts.EquateEmpty()) }

// berth is the body of the AUTH_SYS credential that the recorded libtirpc client sent.
var berth = unhex("6b038c2a 00000005 62657274 68000000 000003e8 000003e8 00000004 00000004 00000018 0000001b 000003e8")

// Recorded with rpcbind 1.2.6 at the other end.
var calls = []struct {
	name string
	data string
	want Call
	args string
}{
	{"libtirpc 1.3.3 client, udp: NULL", "6b0eceb0 00000000 00000002 000186a0 00000002 00000000 00000000 00000000 00000000 00000000",
		Call{XID: 0x6b0eceb0, Program: 100000, Version: 2}, ""},
	{"rpc.statd 2.6.2, local: SET version 3", `
			2783d80e 00000000 00000002 000186a0 00000003 00000001 00000000 00000000 00000000 00000000 000186b8 00000001
			00000003 75647000 0000000e 302e302e 302e302e 3233372e 36350000 00000003 31303300`,
		Call{XID: 0x2783d80e, Program: 100000, Version: 3, Procedure: 1},
		"000186b8 00000001 00000003 75647000 0000000e 302e302e 302e302e 3233372e 36350000 00000003 31303300"},
	{"rpcinfo -l ::1 100024 1, tcp6: GETADDRLIST", `
			843392f0 00000000 00000002 000186a0 00000004 0000000b 00000000 00000000 00000000 00000000 000186b8 00000001
			00000004 74637036 00000009 3a3a312e 302e3131 31000000 00000000`,
		Call{XID: 0x843392f0, Program: 100000, Version: 4, Procedure: 11},
		"000186b8 00000001 00000004 74637036 00000009 3a3a312e 302e3131 31000000 00000000"},
	{"rpcinfo -T udp6 ::1 100000: NULL version 0, to learn the range", "6b071da5 00000000 00000002 000186a0 00000000 00000000 00000000 00000000 00000000 00000000",
		Call{XID: 0x6b071da5, Program: 100000}, ""},
	{"libtirpc 1.3.3 client, udp: GETPORT with AUTH_SYS", `
			6b03d058 00000000 00000002 000186a0 00000002 00000003 00000001 0000002c 6b038c2a 00000005 62657274 68000000
			000003e8 000003e8 00000004 00000004 00000018 0000001b 000003e8 00000000 00000000 20000001 00000001 00000011
			00000000`,
		Call{XID: 0x6b03d058, Program: 100000, Version: 2, Procedure: 3,
			Cred: OpaqueAuth{AuthSys, berth}},
		"20000001 00000001 00000011 00000000"},
	{"hand-built, rpcbind answers AUTH_REJECTEDCRED: AUTH_SHORT", "00000005 00000000 00000002 000186a0 00000004 00000000 00000002 00000004 61626364 00000000 00000000",
		Call{XID: 5, Program: 100000, Version: 4, Cred: OpaqueAuth{AuthShort, []byte("abcd")}}, ""},
	{"hand-built, rpcbind answers AUTH_FAILED: AUTH_DH", `
			00000006 00000000 00000002 000186a0 00000004 00000000 00000003 00000010 00000000 00000000 00000000 00000000
			00000000 00000000`,
		Call{XID: 6, Program: 100000, Version: 4, Cred: OpaqueAuth{AuthDH, make([]byte, 16)}}, ""},
	{"hand-built, rpcbind answers AUTH_REJECTEDCRED: unknown flavor", "00000008 00000000 00000002 000186a0 00000004 00000000 00000063 00000000 00000000 00000000",
		Call{XID: 8, Program: 100000, Version: 4, Cred: OpaqueAuth{Flavor: 99}}, ""},
	{"hand-built, rpcbind answers: a verifier", `
			00000018 00000000 00000002 000186a0 00000004 00000000 00000000 00000000 00000001 0000001c 00005eed 00000005
			62657274 68000000 00000000 00000000 00000000`,
		Call{XID: 24, Program: 100000, Version: 4, Verf: OpaqueAuth{AuthSys, unhex("00005eed 00000005 62657274 68000000 00000000 00000000 00000000")}}, ""},
	{"RFC 5531 9: largest numbers", "ffffffff 00000000 00000002 ffffffff ffffffff ffffffff ffffffff 00000000 ffffffff 00000000",
		Call{XID: 1<<32 - 1, Program: 1<<32 - 1, Version: 1<<32 - 1, Procedure: 1<<32 - 1,
			Cred: OpaqueAuth{Flavor: 1<<32 - 1}, Verf: OpaqueAuth{Flavor: 1<<32 - 1}}, ""},
}

func TestParseCall(t *testing.T) {
	for _, tt := range calls {
		b, wantArgs := unhex(tt.data), unhex(tt.args)
		got, args, err := ParseCall(b)
		if err != nil || !bytes.Equal(args, wantArgs) {
			t.Errorf("%s: ParseCall(%x) = %x, %v, want arguments %x", tt.name, b, args, err, wantArgs)
		}
		if d := diff(got, tt.want); d != "" {
			t.Errorf("%s: ParseCall(%x) (-want +got):\n%s", tt.name, b, d)
		}
		if got := append(tt.want.Append(nil), args...); !bytes.Equal(got, b) {
			t.Errorf("%s: Append = %x, want %x", tt.name, got, b)
		}
		header := len(b) - len(args)
		for n := range b { // cut in the header it is none; after it, the arguments are shorter
			got, args, err := ParseCall(b[:n])
			if n < header && !errors.Is(err, ErrNotCall) || n >= header && (err != nil || len(args) != n-header) {
				t.Errorf("%s: ParseCall(%x) = %+v, %x, %v, want ErrNotCall or fewer arguments", tt.name, b[:n], got, args, err)
			}
		}
	}
}

// Calls that are answered without being read to their end, or not at all.
var badCalls = []struct {
	name string
	data string
	want error
}{
	{"empty datagram", "", ErrNotCall},
	{"rpcbind 1.2.6's own answer to NULL", "6b0eceb0 00000001 00000000 00000000 00000000 00000000", ErrNotCall},
	{"message type 2", "00000001 00000002 00000002 000186a0 00000004 00000000 00000000 00000000 00000000 00000000", ErrNotCall},
	{"HTTP", hex.EncodeToString([]byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")), ErrNotCall},
	{"hand-built, rpcbind 1.2.6 is silent: rpcvers 3", "0000000d 00000000 00000003 000186a0 00000004 00000000 00000000 00000000 00000000 00000000", ErrRPCVersion},
	{"rpcvers 3, the least that is answered", "0000000d 00000000 00000003 000186a0", ErrRPCVersion},
	{"rpcvers 3, shorter: no answer", "0000000d 00000000 00000003 000186", ErrNotCall},
	{"hand-built, rpcbind 1.2.6 is silent: credential of 401 bytes", "0000001b 00000000 00000002 000186a0 00000004 00000000 00000001 00000191" + strings.Repeat("00", 404+8), ErrCredentialSize},
	{"hand-built, rpcbind 1.2.6 is silent: verifier of 401 bytes", "00000019 00000000 00000002 000186a0 00000004 00000000 00000000 00000000 00000001 00000191" + strings.Repeat("61", 401) + "000000", ErrCredentialSize},
	{"credential of 2^32-1 bytes", "00000001 00000000 00000002 000186a0 00000004 00000000 00000001 ffffffff 00000000 00000000", ErrCredentialSize},
	{"credential of 2^31 bytes", "00000001 00000000 00000002 000186a0 00000004 00000000 00000001 80000000 00000000 00000000", ErrCredentialSize},
	{"verifier of 2^32-1 bytes", "00000001 00000000 00000002 000186a0 00000004 00000000 00000000 00000000 00000000 ffffffff", ErrCredentialSize},
	{"credential of 400 bytes, none there", "00000001 00000000 00000002 000186a0 00000004 00000000 00000001 00000190", ErrNotCall},
}

func TestParseCallFails(t *testing.T) {
	for _, tt := range badCalls {
		b := unhex(tt.data)
		got, args, err := ParseCall(b)
		if !errors.Is(err, tt.want) || args != nil {
			t.Errorf("%s: ParseCall(%x) = %+v, %x, %v, want %v", tt.name, b, got, args, err, tt.want)
		}
		if tt.want != ErrNotCall && got.XID != binary.BigEndian.Uint32(b) {
			t.Errorf("%s: ParseCall(%x): XID = %#x, want the call's for the answer", tt.name, b, got.XID)
		}
	}
}

// The largest credential is accepted, whole.
func TestLargestCredential(t *testing.T) {
	want := Call{XID: 1, Program: 100000, Version: 4, Cred: OpaqueAuth{RPCSecGSS, bytes.Repeat([]byte{7}, MaxAuthBody)}}
	b := want.Append(nil)
	got, args, err := ParseCall(b)
	if d := diff(got, want); err != nil || len(args) != 0 || d != "" {
		t.Errorf("ParseCall(%x) = %x, %v (-want +got):\n%s", b, args, err, d)
	}
}

func FuzzParseCall(f *testing.F) {
	for _, tt := range calls {
		f.Add(unhex(tt.data))
	}
	for _, tt := range badCalls {
		f.Add(unhex(tt.data))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, args, err := ParseCall(b)
		if err != nil {
			if !errors.Is(err, ErrNotCall) && !errors.Is(err, ErrRPCVersion) && !errors.Is(err, ErrCredentialSize) {
				t.Fatalf("ParseCall(%x) = %v, no error that is documented", b, err)
			}
			return
		}
		again := append(c.Append(nil), args...)
		got, gotArgs, err := ParseCall(again)
		if d := diff(got, c); err != nil || d != "" || !bytes.Equal(gotArgs, args) {
			t.Fatalf("ParseCall(%x) = %x, %v, want %x (-want +got):\n%s", again, gotArgs, err, args, d)
		}
	})
}

func TestMsgTypeString(t *testing.T) {
	for m, want := range map[MsgType]string{MsgCall: "CALL", MsgReply: "REPLY", 2: "MsgType(2)"} {
		if got := m.String(); got != want {
			t.Errorf("MsgType(%d).String() = %s, want %s", uint32(m), got, want)
		}
	}
}

func TestCallsAllocateNothing(t *testing.T) {
	b := unhex(calls[4].data) // with AUTH_SYS
	buf := make([]byte, 0, 512)
	n := testing.AllocsPerRun(100, func() {
		c, _, err := ParseCall(b)
		if err != nil || CheckSysCredential(c.Cred.Body) != nil {
			t.Fatal(err)
		}
		c.Append(buf)
		AppendRecordMark(buf, len(b), true)
		AppendAccepted(buf, c.XID, Success)
		AppendProgMismatch(buf, c.XID, 2, 4)
		AppendRPCMismatch(buf, c.XID)
		AppendAuthError(buf, c.XID, AuthTooWeak)
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	for _, tt := range badCalls {
		b := unhex(tt.data)
		if n := testing.AllocsPerRun(100, func() { ParseCall(b) }); n > 1 { // what a stranger can send
			t.Errorf("%s: %v allocations, want 1 at most", tt.name, n)
		}
	}
}

func BenchmarkParseCall(b *testing.B) {
	for _, tt := range calls[:5] {
		data := unhex(tt.data)
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := ParseCall(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendCall(b *testing.B) {
	c := calls[4].want
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		c.Append(buf)
	}
}
