package oncrpc

import (
	"bytes"
	"errors"
	"testing"

	"github.com/quaymaster/quaymaster/wire/xdr"
)

// appendHeader appends the header of p as its peer would: an accepted reply of
// rpcbind has a verifier of AUTH_NONE, other servers' may have another.
func appendHeader(b []byte, p Reply) []byte {
	switch {
	case p.Stat == MsgDenied && p.Reject == RPCMismatch:
		b = xdr.AppendUint32(xdr.AppendUint32(appendReply(b, p.XID, MsgDenied), 0), p.Low)
		return xdr.AppendUint32(b, p.High)
	case p.Stat == MsgDenied:
		return AppendAuthError(b, p.XID, p.Auth)
	case p.Verf.Flavor != AuthNone || len(p.Verf.Body) > 0:
		b = appendAuth(appendReply(b, p.XID, MsgAccepted), p.Verf)
		b = xdr.AppendUint32(b, uint32(p.Accept))
	case p.Accept == ProgMismatch:
		return AppendProgMismatch(b, p.XID, p.Low, p.High)
	default:
		return AppendAccepted(b, p.XID, p.Accept)
	}
	if p.Accept == ProgMismatch {
		b = xdr.AppendUint32(xdr.AppendUint32(b, p.Low), p.High)
	}
	return b
}

// Answers of rpcbind 1.2.6, but where another source is named.
var replies = []struct {
	name    string
	data    string
	want    Reply
	results string
	err     string // of Reply.Err
}{
	{"NULL", "6b0eceb0 00000001 00000000 00000000 00000000 00000000",
		Reply{XID: 0x6b0eceb0}, "", ""},
	{"GETPORT with AUTH_SYS", "6b03d058 00000001 00000000 00000000 00000000 00000000 00000801",
		Reply{XID: 0x6b03d058}, "00000801", ""},
	{"GETADDR, rpcinfo -T tcp6 ::1 100005 3", "27265fe7 00000001 00000000 00000000 00000000 00000000 0000000b 3a3a312e 3138302e 31353100",
		Reply{XID: 0x27265fe7}, "0000000b 3a3a312e 3138302e 31353100", ""},
	{"version 5", "6b0e19a8 00000001 00000000 00000000 00000000 00000002 00000002 00000004",
		Reply{XID: 0x6b0e19a8, Accept: ProgMismatch, Low: 2, High: 4}, "",
		"oncrpc: PROG_MISMATCH: versions 2 to 4 are supported"},
	{"another program", "00000009 00000001 00000000 00000000 00000000 00000001",
		Reply{XID: 9, Accept: ProgUnavail}, "", "oncrpc: PROG_UNAVAIL"},
	{"procedure 13", "0000000c 00000001 00000000 00000000 00000000 00000003",
		Reply{XID: 12, Accept: ProcUnavail}, "", "oncrpc: PROC_UNAVAIL"},
	{"GETADDR with too short arguments", "0000000e 00000001 00000000 00000000 00000000 00000004",
		Reply{XID: 14, Accept: GarbageArgs}, "", "oncrpc: GARBAGE_ARGS"},
	{"INDIRECT to a procedure the server has not", "0000006b 00000001 00000000 00000000 00000000 00000005",
		Reply{XID: 107, Accept: SystemErr}, "", "oncrpc: SYSTEM_ERR"},
	{"SET from 192.0.2.1", "6b0573a9 00000001 00000001 00000001 00000005",
		Reply{XID: 0x6b0573a9, Stat: MsgDenied, Reject: AuthError, Auth: AuthTooWeak}, "",
		"oncrpc: AUTH_ERROR: AUTH_TOOWEAK"},
	{"UNSET with AUTH_SYS from 2001:db8::1", "efb5d75c 00000001 00000001 00000001 00000005",
		Reply{XID: 0xefb5d75c, Stat: MsgDenied, Reject: AuthError, Auth: AuthTooWeak}, "",
		"oncrpc: AUTH_ERROR: AUTH_TOOWEAK"},
	{"AUTH_SYS of 17 gids", "00000001 00000001 00000001 00000001 00000001",
		Reply{XID: 1, Stat: MsgDenied, Reject: AuthError, Auth: AuthBadCred}, "", "oncrpc: AUTH_ERROR: AUTH_BADCRED"},
	{"AUTH_SHORT", "00000005 00000001 00000001 00000001 00000002",
		Reply{XID: 5, Stat: MsgDenied, Reject: AuthError, Auth: AuthRejectedCred}, "", "oncrpc: AUTH_ERROR: AUTH_REJECTEDCRED"},
	{"AUTH_DH", "00000006 00000001 00000001 00000001 00000007",
		Reply{XID: 6, Stat: MsgDenied, Reject: AuthError, Auth: AuthFailed}, "", "oncrpc: AUTH_ERROR: AUTH_FAILED"},
	{"RFC 5531 9: RPC_MISMATCH", "0000000d 00000001 00000001 00000000 00000002 00000002",
		Reply{XID: 13, Stat: MsgDenied, Reject: RPCMismatch, Low: 2, High: 2}, "", "oncrpc: RPC_MISMATCH: rpc versions 2 to 2 are supported"},
	{"RFC 5531 appendix A: verifier of AUTH_SHORT", "00000007 00000001 00000000 00000002 00000005 01020304 05000000 00000000 0000006f",
		Reply{XID: 7, Verf: OpaqueAuth{AuthShort, []byte{1, 2, 3, 4, 5}}}, "0000006f", ""},
	{"RFC 5531 9: PROG_MISMATCH behind a verifier", "00000007 00000001 00000000 00000002 00000001 01000000 00000002 00000001 00000003",
		Reply{XID: 7, Verf: OpaqueAuth{AuthShort, []byte{1}}, Accept: ProgMismatch, Low: 1, High: 3}, "",
		"oncrpc: PROG_MISMATCH: versions 1 to 3 are supported"},
	{"a status RFC 5531 does not have", "00000007 00000001 00000000 00000000 00000000 00000006",
		Reply{XID: 7, Accept: 6}, "", "oncrpc: AcceptStat(6)"},
	{"a reason RFC 5531 does not have", "00000007 00000001 00000001 00000001 0000000f",
		Reply{XID: 7, Stat: MsgDenied, Reject: AuthError, Auth: 15}, "", "oncrpc: AUTH_ERROR: AuthStat(15)"},
}

func TestParseReply(t *testing.T) {
	for _, tt := range replies {
		b, wantResults := unhex(tt.data), unhex(tt.results)
		got, results, err := ParseReply(b)
		if err != nil || !bytes.Equal(results, wantResults) {
			t.Errorf("%s: ParseReply(%x) = %x, %v, want results %x", tt.name, b, results, err, wantResults)
		}
		if d := diff(got, tt.want); d != "" {
			t.Errorf("%s: ParseReply(%x) (-want +got):\n%s", tt.name, b, d)
		}
		if got := append(appendHeader(nil, tt.want), results...); !bytes.Equal(got, b) {
			t.Errorf("%s: appended %x, want %x", tt.name, got, b)
		}
		header := len(b) - len(results)
		for n := range b { // cut in the header it is none; after it, the results are shorter
			got, results, err := ParseReply(b[:n])
			if n < header && !errors.Is(err, xdr.ErrShort) || n >= header && (err != nil || len(results) != n-header) {
				t.Errorf("%s: ParseReply(%x) = %+v, %x, %v, want ErrShort or fewer results", tt.name, b[:n], got, results, err)
			}
		}
	}
}

func TestReplyErr(t *testing.T) {
	for _, tt := range replies {
		err := tt.want.Err()
		var refused *ReplyError
		switch {
		case tt.err == "" && err != nil:
			t.Errorf("%s: Err() = %v, want nil", tt.name, err)
		case tt.err != "" && (!errors.As(err, &refused) || err.Error() != tt.err || diff(refused.Reply, tt.want) != ""):
			t.Errorf("%s: Err() = %v, want %s", tt.name, err, tt.err)
		}
	}
}

// AppendRPCMismatch answers what rpcbind leaves unanswered.
func TestAppendRPCMismatch(t *testing.T) {
	if got, want := AppendRPCMismatch(nil, 13), unhex("0000000d 00000001 00000001 00000000 00000002 00000002"); !bytes.Equal(got, want) {
		t.Errorf("AppendRPCMismatch(nil, 13) = %x, want %x", got, want)
	}
}

var badReplies = []struct {
	name string
	data string
	want error
}{
	{"a call: libtirpc 1.3.3 client, NULL", "6b0eceb0 00000000 00000002 000186a0 00000002 00000000 00000000 00000000 00000000 00000000", ErrNotReply},
	{"message type 2", "00000001 00000002 00000000 00000000 00000000 00000000", ErrNotReply},
	{"reply status 2", "00000001 00000001 00000002 00000000 00000000 00000000", ErrNotReply},
	{"reject status 2", "00000001 00000001 00000001 00000002 00000000 00000000", ErrNotReply},
	{"verifier of 2^32-1 bytes", "00000001 00000001 00000000 00000000 ffffffff 00000000", xdr.ErrTooLong},
	{"verifier of 401 bytes", "00000001 00000001 00000000 00000000 00000191 00000000", xdr.ErrTooLong},
	{"empty datagram", "", xdr.ErrShort},
}

func TestParseReplyFails(t *testing.T) {
	for _, tt := range badReplies {
		b := unhex(tt.data)
		if got, results, err := ParseReply(b); !errors.Is(err, tt.want) || results != nil {
			t.Errorf("%s: ParseReply(%x) = %+v, %x, %v, want %v", tt.name, b, got, results, err, tt.want)
		}
	}
}

func FuzzParseReply(f *testing.F) {
	for _, tt := range replies {
		f.Add(unhex(tt.data))
	}
	for _, tt := range badReplies {
		f.Add(unhex(tt.data))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, results, err := ParseReply(b)
		if err != nil {
			return
		}
		if refused := p.Err(); refused != nil && refused.Error() == "" {
			t.Fatalf("%+v: an error without words", p)
		}
		again := append(appendHeader(nil, p), results...)
		got, gotResults, err := ParseReply(again)
		if d := diff(got, p); err != nil || d != "" || !bytes.Equal(gotResults, results) {
			t.Fatalf("ParseReply(%x) = %x, %v, want %x (-want +got):\n%s", again, gotResults, err, results, d)
		}
	})
}

func TestStatStrings(t *testing.T) {
	for _, tt := range []struct {
		got, want string
	}{
		{MsgAccepted.String(), "MSG_ACCEPTED"}, {MsgDenied.String(), "MSG_DENIED"}, {ReplyStat(2).String(), "ReplyStat(2)"},
		{Success.String(), "SUCCESS"}, {ProgUnavail.String(), "PROG_UNAVAIL"}, {ProgMismatch.String(), "PROG_MISMATCH"},
		{ProcUnavail.String(), "PROC_UNAVAIL"}, {GarbageArgs.String(), "GARBAGE_ARGS"}, {SystemErr.String(), "SYSTEM_ERR"},
		{AcceptStat(1 << 31).String(), "AcceptStat(2147483648)"},
		{RPCMismatch.String(), "RPC_MISMATCH"}, {AuthError.String(), "AUTH_ERROR"}, {RejectStat(2).String(), "RejectStat(2)"},
		{AuthBadCred.String(), "AUTH_BADCRED"}, {AuthRejectedCred.String(), "AUTH_REJECTEDCRED"}, {AuthTooWeak.String(), "AUTH_TOOWEAK"},
		{AuthFailed.String(), "AUTH_FAILED"}, {GSSCredProblem.String(), "RPCSEC_GSS_CREDPROBLEM"}, {AuthStat(0).String(), "AuthStat(0)"},
	} {
		if tt.got != tt.want {
			t.Errorf("String() = %s, want %s", tt.got, tt.want)
		}
	}
}

func BenchmarkParseReply(b *testing.B) {
	for _, tt := range replies[1:4] {
		data := unhex(tt.data)
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := ParseReply(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
