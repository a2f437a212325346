package rpcbind

import (
	"testing"

	"github.com/quaymaster/quaymaster/wire/xdr"
	"pgregory.net/rapid"
)

var mapping = codec[Mapping]{"ParseMapping", ParseMapping, func(b []byte, m Mapping) []byte { return m.Append(b) }}

var mappingRows = []row[Mapping]{
	{"libtirpc 1.3.3 client, udp: SET", "20000001 00000001 00000011 00000801", Mapping{0x20000001, 1, ProtocolUDP, 2049}},
	{"libtirpc 1.3.3 client, tcp: UNSET", "20000001 00000001 00000011 00000801", Mapping{0x20000001, 1, ProtocolUDP, 2049}},
	{"libtirpc 1.3.3 client, udp: GETPORT", "20000001 00000001 00000011 00000000", Mapping{0x20000001, 1, ProtocolUDP, 0}},
	{"libtirpc 1.3.3 client, udp: GETPORT, rpcbind answers 0", "20000008 00000001 00000006 00000000", Mapping{0x20000008, 1, ProtocolTCP, 0}},
	{"hand-built, rpcbind 1.2.6 answers 0: protocol 132", "000186a0 00000002 00000084 00000000", Mapping{100000, 2, 132, 0}},
	{"RFC 1833 3.2: GETPORT nfs v3 tcp", "000186a3 00000003 00000006 00000000", Mapping{Program: 100003, Version: 3, Protocol: ProtocolTCP}},
	{"RFC 1833 3.1: largest numbers", "ffffffff ffffffff ffffffff ffffffff", Mapping{1<<32 - 1, 1<<32 - 1, 1<<32 - 1, 1<<32 - 1}},
	{"RFC 1833 3.1: zeros", "00000000 00000000 00000000 00000000", Mapping{}},
}

func TestMapping(t *testing.T) {
	mapping.check(t, mappingRows)
	mapping.appendAllocatesNothing(t, mappingRows)
}

func FuzzParseMapping(f *testing.F) { mapping.fuzz(f, mappingRows, nil) }
func BenchmarkMapping(b *testing.B) { mapping.bench(b, mappingRows[:1]) }

func TestParseMappingAllocatesNothing(t *testing.T) {
	b := unhex(mappingRows[0].data)
	if n := testing.AllocsPerRun(100, func() { ParseMapping(b) }); n != 0 {
		t.Errorf("ParseMapping(%x): %v allocations, want 0", b, n)
	}
}

func TestMappingRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := func(name string) uint32 { return rapid.Uint32().Draw(t, name) }
		want := Mapping{u("program"), u("version"), u("protocol"), u("port")}
		b := want.Append(nil)
		if got, err := ParseMapping(b); err != nil || got != want || len(b) != 16 {
			t.Fatalf("ParseMapping(%x) = %v, %v, want %v", b, got, err, want)
		}
	})
}

var mappings = codec[[]Mapping]{"ParseMappings", ParseMappings, func(b []byte, list []Mapping) []byte { return appendList(b, list) }}

var mappingsRows = []row[[]Mapping]{
	{"rpcbind 1.2.6, tcp: answer to rpcinfo -p 127.0.0.1", `
			00000001 000186a0 00000004 00000006 0000006f 00000001 000186a0 00000003 00000006 0000006f 00000001 000186a0
			00000002 00000006 0000006f 00000001 000186a0 00000004 00000011 0000006f 00000001 000186a0 00000003 00000011
			0000006f 00000001 000186a0 00000002 00000011 0000006f 00000001 20000002 00000001 00000011 0000cb82 00000001
			20000002 00000001 00000006 0000d5d4 00000001 20000002 00000002 00000011 0000cb82 00000001 000186b8 00000001
			00000011 0000ed41 00000001 000186b8 00000001 00000006 0000d8b9 00000001 000186a5 00000001 00000011 00009601
			00000001 000186a5 00000001 00000006 0000e92f 00000001 000186a5 00000002 00000011 0000d404 00000001 000186a5
			00000002 00000006 000080d7 00000001 000186a5 00000003 00000011 0000a903 00000001 000186a5 00000003 00000006
			0000e8eb 00000000`, []Mapping{
		{100000, 4, ProtocolTCP, 111},
		{100000, 3, ProtocolTCP, 111},
		{100000, 2, ProtocolTCP, 111},
		{100000, 4, ProtocolUDP, 111},
		{100000, 3, ProtocolUDP, 111},
		{100000, 2, ProtocolUDP, 111},
		{0x20000002, 1, ProtocolUDP, 52098},
		{0x20000002, 1, ProtocolTCP, 54740},
		{0x20000002, 2, ProtocolUDP, 52098},
		{100024, 1, ProtocolUDP, 60737},
		{100024, 1, ProtocolTCP, 55481},
		{100005, 1, ProtocolUDP, 38401},
		{100005, 1, ProtocolTCP, 59695},
		{100005, 2, ProtocolUDP, 54276},
		{100005, 2, ProtocolTCP, 32983},
		{100005, 3, ProtocolUDP, 43267},
		{100005, 3, ProtocolTCP, 59627},
	}},
	{"RFC 1833 3.1: no row", "00000000", nil},
	{"RFC 1833 3.1: one row", "00000001 000186a0 00000002 00000011 0000006f 00000000", []Mapping{{100000, 2, ProtocolUDP, 111}}},
}

var badMappings = []badRow{
	{"list word 2", "00000002 000186a0 00000002 00000011 0000006f 00000000", xdr.ErrBool},
	{"last list word 2", "00000001 000186a0 00000002 00000011 0000006f 00000002", xdr.ErrBool},
	{"counted array of one, as a list it is not", "00000001 000186a0 00000002 00000011 0000006f", xdr.ErrShort},
	{"list word 2^32-1", "ffffffff", xdr.ErrBool},
}

func TestMappings(t *testing.T) {
	mappings.check(t, mappingsRows)
	mappings.checkFails(t, badMappings)
	mappings.appendAllocatesNothing(t, mappingsRows)
}

func FuzzParseMappings(f *testing.F) { mappings.fuzz(f, mappingsRows, badMappings) }
func BenchmarkMappings(b *testing.B) { mappings.bench(b, mappingsRows[:1]) }
