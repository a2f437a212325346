package rpcbind

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/wire/xdr"
	"pgregory.net/rapid"
)

var netBuf = codec[NetBuf]{"ParseNetBuf", ParseNetBuf, func(b []byte, n NetBuf) []byte { return n.Append(b) }}

// Recorded on little-endian Linux: families have their low byte first.
var netBufRows = []row[NetBuf]{
	{"rpcbind 1.2.6, udp: answer to UADDR2TADDR 0.0.0.0.8.1", "00000010 00000010 02000801 00000000 00000000 00000000",
		NetBuf{16, unhex("0200 0801 00000000 0000000000000000")}},
	{"libtirpc 1.3.3 client, udp: TADDR2UADDR, back to 127.0.0.1.8.1", "00000010 00000010 02000801 7f000001 00000000 00000000",
		NetBuf{16, unhex("0200 0801 7f000001 0000000000000000")}},
	{"rpcbind 1.2.6, tcp6: answer to UADDR2TADDR ::1.8.1", "0000001c 0000001c 0a000801 00000000 00000000 00000000 00000000 00000001 00000000",
		NetBuf{28, unhex("0a00 0801 00000000 00000000000000000000000000000001 00000000")}},
	{"rpcbind 1.2.6, local: answer to UADDR2TADDR /run/x.sock", "0000006e 0000000d 01002f72 756e2f78 2e736f63 6b000000",
		NetBuf{110, append([]byte{1, 0}, "/run/x.sock"...)}},
	{"rpcbind 1.2.6, udp: answer to UADDR2TADDR zzz", "00000000 00000000", NetBuf{}},
	{"hand-built, rpcbind 1.2.6 answers: 4 bytes", "00000010 00000004 02000801", NetBuf{16, unhex("02000801")}},
	{"RFC 1833 2.1: room for 2^32-1 bytes, none used", "ffffffff 00000000", NetBuf{MaxLen: 1<<32 - 1}},
	{"longest", "00000200 00000200" + strings.Repeat("a5", 512), NetBuf{512, unhex(strings.Repeat("a5", 512))}},
}

var badNetBufs = []badRow{
	{"hand-built, rpcbind 1.2.6 answers GARBAGE_ARGS: longer than its maxlen", "00000008 00000010 02000801 7f000001 00000000 00000000", xdr.ErrTooLong},
	{"hand-built, too long for us: 600 bytes", `
			000002bc 00000258 02000801 7f000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
			00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
			00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
			00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
			00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
			00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
			00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
			00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
			00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
			00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
			00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
			00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
			00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000`, xdr.ErrTooLong},
	{"one byte over the limit", "00000400 00000201" + strings.Repeat("a5", 516), xdr.ErrTooLong},
	{"2^32-1 bytes", "ffffffff ffffffff", xdr.ErrTooLong},
	{"2^31 bytes", "ffffffff 80000000 00000000", xdr.ErrTooLong},
	{"one byte, room for none", "00000000 00000001 01000000", xdr.ErrTooLong},
}

func TestNetBuf(t *testing.T) {
	netBuf.check(t, netBufRows)
	netBuf.checkFails(t, badNetBufs)
	netBuf.appendAllocatesNothing(t, netBufRows)
}

func FuzzParseNetBuf(f *testing.F) { netBuf.fuzz(f, netBufRows, badNetBufs) }
func BenchmarkNetBuf(b *testing.B) { netBuf.bench(b, netBufRows[1:2]) }

// family returns the family field of a sockaddr on this machine.
func family(f uint16) []byte { return binary.NativeEndian.AppendUint16(nil, f) }

func TestTAddr(t *testing.T) {
	in := func(s string) NetBuf { return NetBuf{16, append(family(afInet), unhex(s)...)} }
	in6 := func(s string) NetBuf { return NetBuf{28, append(family(afInet6), unhex(s)...)} }
	un := func(s string) NetBuf { return NetBuf{110, append(family(afUnix), s...)} }
	for _, tt := range []struct {
		name  string
		n     NetID
		uaddr string
		want  NetBuf
	}{
		{"rpcbind 1.2.6, udp", UDP, "0.0.0.0.8.1", in("0801 00000000 0000000000000000")},
		{"rpcbind 1.2.6, udp", UDP, "127.0.0.1.8.1", in("0801 7f000001 0000000000000000")},
		{"rpcbind 1.2.6, tcp6", TCP6, "::1.8.1", in6("0801 00000000 00000000000000000000000000000001 00000000")},
		{"rpcbind 1.2.6, udp6", UDP6, "fe80::1.8.1", in6("0801 00000000 fe800000000000000000000000000001 00000000")},
		{"rpcbind 1.2.6, local", Local, "/run/x.sock", un("/run/x.sock")},
		{"longest path", Local, "/" + strings.Repeat("p", 106), un("/" + strings.Repeat("p", 106))},
		{"rpcbind 1.2.6: no universal address", UDP, "zzz", NetBuf{}},
		{"rpcbind 1.2.6: trailing dot", UDP, "1.2.3.4.0.111.", NetBuf{}},
		{"rpcbind 1.2.6: another family", UDP, "::1.0.111", NetBuf{}},
		{"another family", TCP6, "127.0.0.1.0.111", NetBuf{}},
		{"rpcbind 1.2.6: scope id", UDP6, "fe80::1%lo.8.1", NetBuf{}},
		{"rpcbind takes it, we do not: part of 256", UDP, "1.2.3.4.256.1", NetBuf{}},
		{"rpcbind takes it, we do not: leading zeros", UDP, "1.2.3.4.010.01", NetBuf{}},
		{"rpcbind takes it, we do not: IPv4 in IPv6", UDP6, "::ffff:192.0.2.1.8.1", NetBuf{}},
		{"empty", UDP, "", NetBuf{}},
		{"empty path", Local, "", NetBuf{}},
		{"path too long for a sockaddr", Local, "/" + strings.Repeat("p", 107), NetBuf{}},
		{"path that a sockaddr would cut", Local, "/run/a\x00b", NetBuf{}},
		{"no transport", 0, "127.0.0.1.0.111", NetBuf{}},
	} {
		got := TAddr(tt.n, tt.uaddr)
		if d := diff(got, tt.want); d != "" {
			t.Errorf("%s: TAddr(%v, %q) (-want +got):\n%s", tt.name, tt.n, tt.uaddr, d)
		}
		if back := UAddr(tt.n, got.Buf); got.Buf != nil && back != tt.uaddr {
			t.Errorf("%s: UAddr(%v, %x) = %q, want %q", tt.name, tt.n, got.Buf, back, tt.uaddr)
		}
	}
}

func TestUAddr(t *testing.T) {
	for _, tt := range []struct {
		name   string
		n      NetID
		family uint16
		rest   string
		want   string
	}{
		{"rpcbind 1.2.6, udp", UDP, afInet, "0801 7f000001 0000000000000000", "127.0.0.1.8.1"},
		{"without the zeros at its end", TCP, afInet, "0801 7f000001", "127.0.0.1.8.1"},
		{"rpcbind 1.2.6, udp6: IPv4 in IPv6", UDP6, afInet6, "0801 00000000 00000000000000000000ffffc0000201 00000000", "::ffff:192.0.2.1.8.1"},
		{"without its scope id", TCP6, afInet6, "0801 00000000 fe800000000000000000000000000001", "fe80::1.8.1"},
		{"with a scope id, which is left out", TCP6, afInet6, "0801 00000000 fe800000000000000000000000000001 00000002", "fe80::1.8.1"},
		{"rpcbind 1.2.6, local", Local, afUnix, text("/run/x.sock"), "/run/x.sock"},
		{"with the zeros of a whole sockaddr_un", Local, afUnix, text("/run/x.sock") + strings.Repeat("00", 97), "/run/x.sock"},
		{"longest path", Local, afUnix, strings.Repeat("61", 108), strings.Repeat("a", 108)},
		{"longer than a sockaddr_un", Local, afUnix, strings.Repeat("61", 109), ""},
		{"abstract socket", Local, afUnix, "00" + text("/run/rpcbind.sock"), ""},
		{"unnamed socket", Local, afUnix, "", ""},
		{"rpcbind 1.2.6: 4 bytes", UDP, afInet, "0801", ""},
		{"one byte short", UDP, afInet, "0801 7f0000", ""},
		{"one byte short", UDP6, afInet6, "0801 00000000 fe8000000000000000000000000000", ""},
		{"rpcbind takes it, we do not: family 77", UDP, 77, "0801 7f000001 0000000000000000", ""},
		{"another family", UDP6, afInet, "0801 7f000001 0000000000000000", ""},
		{"another family", UDP, afInet6, "0801 00000000 00000000000000000000000000000001 00000000", ""},
		{"another family", Local, afInet, "0801 7f000001 0000000000000000", ""},
		{"no transport", 0, afInet, "0801 7f000001 0000000000000000", ""},
	} {
		b := append(family(tt.family), unhex(tt.rest)...)
		if got := UAddr(tt.n, b); got != tt.want {
			t.Errorf("%s: UAddr(%v, %x) = %q, want %q", tt.name, tt.n, b, got, tt.want)
		}
	}
	for _, n := range NetIDs {
		for _, b := range [][]byte{nil, {2}} {
			if got := UAddr(n, b); got != "" {
				t.Errorf("UAddr(%v, %x) = %q, want none", n, b, got)
			}
		}
	}
}

// A universal address that has a socket address has the same again from it.
func TestTAddrRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		port := rapid.Uint16().Draw(t, "port")
		for _, n := range []NetID{UDP, TCP, UDP6, TCP6} {
			size := 16
			if n.IsIPv4() {
				size = 4
			}
			a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "address"))
			uaddr := UniversalAddress(netip.AddrPortFrom(a, port))
			b := TAddr(n, uaddr)
			if got := UAddr(n, b.Buf); got != uaddr && !a.Is4In6() || uint32(len(b.Buf)) > b.MaxLen {
				t.Fatalf("UAddr(%v, %x) = %q, want %q", n, b.Buf, got, uaddr)
			}
		}
		path := rapid.StringN(1, -1, 120).Draw(t, "path")
		b := TAddr(Local, path)
		if got := UAddr(Local, b.Buf); got != path && b.Buf != nil || bytes.Count(b.Buf[min(2, len(b.Buf)):], []byte{0}) > 0 {
			t.Fatalf("UAddr(Local, %x) = %q, want %q", b.Buf, got, path)
		}
	})
}
