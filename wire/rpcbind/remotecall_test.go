package rpcbind

import (
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/wire/xdr"
)

var remoteCall = codec[RemoteCall]{"ParseRemoteCall", ParseRemoteCall, func(b []byte, c RemoteCall) []byte { return c.Append(b) }}

var remoteCallRows = []row[RemoteCall]{
	{"hand-built, rpcbind 1.2.6 -r forwards it: CALLIT version 2", "20000002 00000001 00000001 00000004 01020304",
		RemoteCall{0x20000002, 1, 1, []byte{1, 2, 3, 4}}},
	{"hand-built, rpcbind 1.2.6 -r forwards it: BCAST, udp6", "20000002 00000001 00000001 00000004 01020304",
		RemoteCall{0x20000002, 1, 1, []byte{1, 2, 3, 4}}},
	{"hand-built, rpcbind 1.2.6 answers PROG_MISMATCH 1 to 2: INDIRECT", "20000002 00000009 00000001 00000000",
		RemoteCall{0x20000002, 9, 1, nil}},
	{"hand-built, rpcbind 1.2.6 answers AUTH_TOOWEAK: INDIRECT to mountd", "000186a5 00000003 00000001 00000000",
		RemoteCall{100005, 3, 1, nil}},
	{"RFC 1833 2.1: arguments that need padding", "ffffffff ffffffff ffffffff 00000005 01020304 05000000",
		RemoteCall{1<<32 - 1, 1<<32 - 1, 1<<32 - 1, []byte{1, 2, 3, 4, 5}}},
	{"most arguments", "00000001 00000001 00000001 00002260" + strings.Repeat("a5", MaxCallArgs),
		RemoteCall{1, 1, 1, unhex(strings.Repeat("a5", MaxCallArgs))}},
}

var badRemoteCalls = []badRow{
	{"one byte over the limit", "00000001 00000001 00000001 00002261" + strings.Repeat("a5", MaxCallArgs+4), xdr.ErrTooLong},
	{"arguments of 2^32-1 bytes", "00000001 00000001 00000001 ffffffff 00000000", xdr.ErrTooLong},
	{"arguments of 2^31 bytes", "00000001 00000001 00000001 80000000 00000000", xdr.ErrTooLong},
}

func TestRemoteCall(t *testing.T) {
	remoteCall.check(t, remoteCallRows)
	remoteCall.checkFails(t, badRemoteCalls)
	remoteCall.appendAllocatesNothing(t, remoteCallRows)
}

func FuzzParseRemoteCall(f *testing.F) { remoteCall.fuzz(f, remoteCallRows, badRemoteCalls) }
func BenchmarkRemoteCall(b *testing.B) { remoteCall.bench(b, remoteCallRows[:1]) }
