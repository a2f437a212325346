package rpcbind

import (
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/wire/xdr"
)

var entries = codec[[]Entry]{"ParseEntries", ParseEntries, func(b []byte, list []Entry) []byte { return appendList(b, list) }}

var entriesRows = []row[[]Entry]{
	{"rpcbind 1.2.6, tcp: answer to rpcinfo -l 127.0.0.1 100005 3", `
			00000001 0000000f 3132372e 302e302e 312e3136 392e3300 00000003 75647000 00000001 00000004 696e6574 00000003
			75647000 00000001 00000011 3132372e 302e302e 312e3233 322e3233 35000000 00000003 74637000 00000003 00000004
			696e6574 00000003 74637000 00000000`,
		[]Entry{EntryFor(UDP, "127.0.0.1.169.3"), EntryFor(TCP, "127.0.0.1.232.235")}},
	{"rpcbind 1.2.6, tcp6: answer to rpcinfo -l ::1 100024 1", `
			00000001 0000000b 3a3a312e 3230332e 32313300 00000004 75647036 00000001 00000005 696e6574 36000000 00000003
			75647000 00000001 0000000b 3a3a312e 3134342e 32303500 00000004 74637036 00000003 00000005 696e6574 36000000
			00000003 74637000 00000000`,
		[]Entry{EntryFor(UDP6, "::1.203.213"), EntryFor(TCP6, "::1.144.205")}},
	{"rpcbind 1.2.6, local: answer to GETADDRLIST of a libtirpc 1.3.3 client", "00000000", nil},
	{"RFC 1833 2.1: all empty", "00000001 00000000 00000000 00000000 00000000 00000000 00000000", []Entry{{}}},
	{"longest strings", "00000001 00000080" + strings.Repeat("61", 128) + "00000040" + strings.Repeat("6e", 64) + "ffffffff" +
		"00000040" + strings.Repeat("66", 64) + "00000040" + strings.Repeat("70", 64) + "00000000",
		[]Entry{{strings.Repeat("a", 128), strings.Repeat("n", 64), 1<<32 - 1, strings.Repeat("f", 64), strings.Repeat("p", 64)}}},
}

var badEntries = []badRow{
	{"list word 2", "00000002", xdr.ErrBool},
	{"address of 2^32-1 bytes", "00000001 ffffffff", xdr.ErrTooLong},
	{"address of 129 bytes", "00000001 00000081" + strings.Repeat("61", 132), xdr.ErrTooLong},
	{"netid of 65 bytes", "00000001 00000000 00000041" + strings.Repeat("61", 68), xdr.ErrTooLong},
	{"family of 65 bytes", "00000001 00000000 00000000 00000001 00000041" + strings.Repeat("61", 68), xdr.ErrTooLong},
	{"protocol of 65 bytes", "00000001 00000000 00000000 00000001 00000000 00000041" + strings.Repeat("61", 68), xdr.ErrTooLong},
}

func TestEntries(t *testing.T) {
	entries.check(t, entriesRows)
	entries.checkFails(t, badEntries)
	entries.appendAllocatesNothing(t, entriesRows)
}

func FuzzParseEntries(f *testing.F) { entries.fuzz(f, entriesRows, badEntries) }
func BenchmarkEntries(b *testing.B) { entries.bench(b, entriesRows[:1]) }

func TestEntryFor(t *testing.T) {
	for _, want := range []Entry{
		{"192.0.2.1.8.1", "udp", Connectionless, "inet", "udp"},
		{"192.0.2.1.8.1", "tcp", ConnectionOrdered, "inet", "tcp"},
		{"2001:db8::1.8.1", "udp6", Connectionless, "inet6", "udp"},
		{"2001:db8::1.8.1", "tcp6", ConnectionOrdered, "inet6", "tcp"},
		{"/run/rpcbind.sock", "local", ConnectionOrdered, "loopback", "-"},
	} {
		n, _ := ParseNetID(want.NetID)
		if got := EntryFor(n, want.Address); got != want {
			t.Errorf("EntryFor(%v, %q) = %+v, want %+v", n, want.Address, got, want)
		}
	}
}

func TestSemanticsString(t *testing.T) {
	for s, want := range map[Semantics]string{
		Connectionless: "tpi_clts", ConnectionOrient: "tpi_cots", ConnectionOrdered: "tpi_cots_ord",
		0: "Semantics(0)", 1<<32 - 1: "Semantics(4294967295)",
	} {
		if got := s.String(); got != want {
			t.Errorf("Semantics(%d).String() = %s, want %s", uint32(s), got, want)
		}
	}
}
