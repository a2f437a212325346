package epm

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"pgregory.net/rapid"
)

// Floors of towers.
const (
	samrFloor = " 1300 0d 785734123412cdabef000123456789ac 0100 0200 0000 "
	lsaFloor  = " 1300 0d 785734123412cdabef000123456789ab 0000 0200 0000 "
	ndrFloor  = " 1300 0d 045d888aeb1cc9119fe808002b104860 0200 0200 0000 "
	noAddr    = " 0100 09 0400 00000000 "
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// tower is ParseTower as a codec: a tower has one byte order, and one of
// another protocol sequence is a value.
var tower = codec[Tower]{"ParseTower",
	func(b []byte, _ ndr.Label) (Tower, error) {
		t, err := ParseTower(b)
		if err == ErrProtocol {
			err = nil
		}
		return t, err
	},
	func(t Tower, b []byte, _ ndr.Label) []byte { return t.Append(b) },
}

var towerRows = []row[Tower]{
	{name: "capture: rpcclient epmmap against Samba 4.17.12: what is asked for",
		data: "0500" + lsaFloor + ndrFloor + "0100 0b 0200 0000 0100 07 0200 0000" + noAddr,
		want: Tower{Interface: lsarpc, Transfer: dcerpc.NDR, ProtSeq: TCP}},
	{name: "capture: rpcclient epmmap against Samba 4.17.12: the answer",
		data: "0500" + lsaFloor + ndrFloor + "0100 0b 0200 0000 0100 07 0200 c000 0100 09 0400 0a620001",
		want: Tower{Interface: lsarpc, Transfer: dcerpc.NDR, ProtSeq: TCP, Port: 49152, Addr: addr("10.98.0.1")}},
	{name: "capture: impacket hept_map against Samba 4.17.12 as domain controller: the answer",
		data: "0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 07 0200 c002" + noAddr,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: TCP, Port: 49154}},
	{name: "capture: impacket hept_map against Samba 4.17.12: a pipe is asked for",
		data: "0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 0f 0100 00 0100 11 0a00 31302e39382e302e3100",
		want: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: NP, Host: "10.98.0.1"}},
	{name: "capture: impacket hept_map against Samba 4.17.12: the answer, a pipe",
		data: "0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 0f 0b00 5c706970655c73616d7200 0100 11 0100 00",
		want: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: NP, Name: `\pipe\samr`}},
	{name: "capture: impacket hept_map against Samba 4.17.12: HTTP is asked for",
		data: "0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 1f 0200 0000" + noAddr,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: HTTP}},
	{name: "capture: impacket-rpcdump against Samba 4.17.12 as domain controller: ncalrpc",
		data: "0400 1300 0d 98d0ff6b12a110369833012892020162 0000 0200 0000" + ndrFloor + "0100 0c 0200 0000 0100 10 0800 44454641554c5400",
		want: Tower{Interface: dcerpc.Syntax{UUID: ndr.MustParseUUID("6bffd098-a112-3610-9833-012892020162")}, Transfer: dcerpc.NDR, ProtSeq: LRPC, Name: "DEFAULT"}},
	{name: "C706, appendix L: UDP, minor versions",
		data: "0500 1300 0d 785734123412cdabef000123456789ac 0100 0200 0700" + ndrFloor + "0100 0a 0200 0000 0100 08 0200 0087 0100 09 0400 c0000201",
		want: Tower{Interface: dcerpc.Syntax{UUID: samr.UUID, Major: 1, Minor: 7}, Transfer: dcerpc.NDR, ProtSeq: UDP, Port: 135, Addr: addr("192.0.2.1")}},
	{name: "MS-RPCE 2.1.1: HTTP, as Windows writes it, with 0x20 for the address",
		data: "0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 1f 0200 0251 0100 20 0400 c0000201", lax: true,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: HTTP, Port: 593, Addr: addr("192.0.2.1")}},
	{name: "C706, appendix L: nothing on the right of floor 3",
		data: "0500" + samrFloor + ndrFloor + "0100 0b 0000 0100 07 0200 c000 0100 09 0400 c0000201", lax: true,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: TCP, Port: 49152, Addr: addr("192.0.2.1")}},
	{name: "C706, appendix L: nothing on the right of the port and the address",
		data: "0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 07 0000 0100 09 0000", lax: true,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: TCP}},
	{name: "C706, appendix L: no floor of the address",
		data: "0400" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 07 0200 c000", lax: true,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: TCP, Port: 49152}},
	{name: "C706, appendix L: an address of 16 bytes",
		data: "0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 07 0200 c000 0100 09 1000 20010db8000000000000000000000001", lax: true,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: TCP, Port: 49152}},
	{name: "C706, appendix L: a pipe with C706's identifier, no host",
		data: "0400" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 10 0b00 5c706970655c73616d7200", lax: true,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: NP, Name: `\pipe\samr`}},
	{name: "C706, appendix L: a pipe and a host without NUL",
		data: "0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 0f 0a00 5c706970655c73616d72 0100 11 0300 727331", lax: true,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: NP, Name: `\pipe\samr`, Host: "rs1"}},
	{name: "C706, appendix L: a pipe at an IPv4 address",
		data: "0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 0f 0a00 5c706970655c73616d72 0100 09 0400 c0000201", lax: true,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: NP, Name: `\pipe\samr`}},
	{name: "C706, appendix L: ncalrpc, no endpoint",
		data: "0300" + samrFloor + ndrFloor + "0100 0c 0200 0000", lax: true,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: LRPC}},
	{name: "C706, appendix L: ncalrpc for the nil interface",
		data: "0400 1300 0d" + nilUUID + "0000 0200 0000" + ndrFloor + "0100 0c 0200 0000 0100 10 0400 61626300",
		want: Tower{Transfer: dcerpc.NDR, ProtSeq: LRPC, Name: "abc"}},
	{name: "C706, appendix L: NDR as an interface, NDR64",
		data: "0400" + ndrFloor + "1300 0d 33057171babe37498319b5dbef9ccc36 0100 0200 0000 0100 0c 0200 0000 0100 10 0400 61626300",
		want: Tower{Interface: dcerpc.NDR, Transfer: dcerpc.NDR64, ProtSeq: LRPC, Name: "abc"}},
	{name: "C706, appendix L: the longest names",
		data: "0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 0f 0101" + strings.Repeat("61", 256) + "00 0100 11 0101" + strings.Repeat("62", 256) + "00",
		want: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: NP, Name: strings.Repeat("a", 256), Host: strings.Repeat("b", 256)}},

	{name: "unknown: no protocol at all", data: "0200" + samrFloor + ndrFloor,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR}},
	{name: "unknown: connection-oriented RPC over nobody knows what", data: "0300" + samrFloor + ndrFloor + "0100 0b 0200 0000", lax: true,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR}},
	{name: "unknown: SPX and IPX (MS-RPCE 2.1.1.3)", data: "0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 13 0200 0087 0100 14 0a00 00000000000000000000", lax: true,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR}},
	{name: "unknown: a socket of the UNIX domain", data: "0400" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 20 0500 2f746d7000", lax: true,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR}},
	{name: "unknown: connectionless RPC over TCP", data: "0500" + samrFloor + ndrFloor + "0100 0a 0200 0000 0100 07 0200 0087" + noAddr, lax: true,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR}},
	{name: "unknown: eight floors", data: "0800" + samrFloor + ndrFloor + strings.Repeat("0100 99 0000", 6), lax: true,
		want: Tower{Interface: samr, Transfer: dcerpc.NDR}},
}

var badTowers = []badRow{
	{"no floor", "0000", errFloor},
	{"one floor", "0100" + samrFloor, errFloor},
	{"nine floors", "0900" + samrFloor + ndrFloor + strings.Repeat("0100 99 0000", 7), ndr.ErrTooLong},
	{"65535 floors", "ffff" + samrFloor + ndrFloor, ndr.ErrTooLong},
	{"a floor without protocol", "0300" + samrFloor + ndrFloor + "0000 0200 0000", errFloor},
	{"a left-hand side of 65535 bytes", "0500" + samrFloor + ndrFloor + "ffff 0b 0200 0000", ndr.ErrShort},
	{"counts in big-endian order", "0005" + samrFloor + ndrFloor, ndr.ErrTooLong},
	{"floor 1 is none of an interface", "0200 1300 0e 785734123412cdabef000123456789ac 0100 0200 0000" + ndrFloor, errFloor},
	{"floor 1 without minor version", "0200 1300 0d 785734123412cdabef000123456789ac 0100 0000" + ndrFloor, errFloor},
	{"floor 1 without major version", "0200 1100 0d 785734123412cdabef000123456789ac 0200 0000" + ndrFloor, errFloor},
	{"floor 2 is none of a transfer syntax", "0200" + samrFloor + "0100 0b 0200 0000", errFloor},
	{"a port of one byte", "0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 07 0100 87" + noAddr, errFloor},
	{"a port of three bytes", "0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 07 0300 000087" + noAddr, errFloor},
	{"a pipe of 257 bytes", "0400" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 0f 0101" + strings.Repeat("61", 257), ndr.ErrTooLong},
	{"a host of 257 bytes", "0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 0f 0100 00 0100 11 0101" + strings.Repeat("61", 257), ndr.ErrTooLong},
	{"2049 bytes", "0200" + samrFloor + ndrFloor + strings.Repeat("00", 2049-52), ndr.ErrTooLong},
}

func TestTower(t *testing.T) {
	tower.check(t, towerRows)
	tower.checkFails(t, badTowers)
	tower.appendAllocatesNothing(t, towerRows)
	for _, tt := range towerRows {
		unknown := strings.HasPrefix(tt.name, "unknown: ")
		if got, err := ParseTower(unhex(tt.data)); got != tt.want || errors.Is(err, ErrProtocol) != unknown || !unknown && err != nil {
			t.Errorf("%s: ParseTower = %v, %v, want ErrProtocol: %v", tt.name, got, err, unknown)
		}
	}
}

func FuzzParseTower(f *testing.F) { tower.fuzz(f, towerRows, badTowers) }
func BenchmarkTower(b *testing.B) { tower.bench(b, towerRows[1:2]) }

// Only names are allocated.
func TestParseTowerAllocatesNothing(t *testing.T) {
	for _, tt := range towerRows {
		if tt.want.Name != "" || tt.want.Host != "" {
			continue
		}
		b := unhex(tt.data)
		if n := testing.AllocsPerRun(100, func() { ParseTower(b) }); n != 0 {
			t.Errorf("%s: ParseTower: %v allocations, want 0", tt.name, n)
		}
	}
}

// What cannot be read back as it was is cut or left out.
func TestAppendTower(t *testing.T) {
	for _, tt := range []struct{ t, want Tower }{
		{Tower{ProtSeq: TCP, Port: 1, Addr: addr("2001:db8::1")}, Tower{ProtSeq: TCP, Port: 1}},
		{Tower{ProtSeq: TCP, Port: 1, Addr: addr("::ffff:192.0.2.1")}, Tower{ProtSeq: TCP, Port: 1, Addr: addr("192.0.2.1")}},
		{Tower{ProtSeq: UDP, Port: 1, Addr: addr("0.0.0.0"), Name: "n", Host: "h"}, Tower{ProtSeq: UDP, Port: 1}},
		{Tower{ProtSeq: NP, Port: 1, Name: "a\x00b", Host: strings.Repeat("h", 70000)}, Tower{ProtSeq: NP, Name: "a", Host: strings.Repeat("h", MaxName)}},
		{Tower{ProtSeq: LRPC, Addr: addr("192.0.2.1"), Name: "n", Host: "h"}, Tower{ProtSeq: LRPC, Name: "n"}},
	} {
		if got, err := ParseTower(tt.t.Append(nil)); got != tt.want || err != nil {
			t.Errorf("ParseTower(Append(%v)) = %v, %v, want %v", tt.t, got, err, tt.want)
		}
	}
}

func TestTowerRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		syntax := func(name string) dcerpc.Syntax {
			u := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name)
			v := rapid.Uint16()
			return dcerpc.Syntax{UUID: ndr.UUID(u), Major: v.Draw(t, name+" major"), Minor: v.Draw(t, name+" minor")}
		}
		name := rapid.StringMatching(`[^\x00]{0,64}`)
		want := Tower{Interface: syntax("interface"), Transfer: syntax("transfer"), ProtSeq: rapid.SampledFrom(ProtSeqs[:]).Draw(t, "protseq")}
		switch {
		case want.ProtSeq.HasPort():
			want.Port = rapid.Uint16().Draw(t, "port")
			if a := rapid.Uint32().Draw(t, "addr"); a != 0 {
				want.Addr = netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
			}
		case want.ProtSeq == NP:
			want.Host = name.Draw(t, "host")
			fallthrough
		default:
			want.Name = name.Draw(t, "name")
		}
		b := want.Append(nil)
		if got, err := ParseTower(b); got != want || err != nil || len(b) > MaxTower {
			t.Fatalf("ParseTower(%x) = %v, %v, want %v", b, got, err, want)
		}
	})
}

func TestParseFloors(t *testing.T) {
	b := unhex(towerRows[1].data)
	floors, err := ParseFloors(nil, b)
	want := []Floor{
		{ProtocolUUID, b[5:23], b[25:27]}, {ProtocolUUID, b[30:48], b[50:52]},
		{ProtocolNCACN, nil, unhex("0000")}, {ProtocolTCP, nil, unhex("c000")}, {ProtocolIP, nil, unhex("0a620001")},
	}
	if d := diff(floors, want); err != nil || d != "" {
		t.Fatalf("ParseFloors(%x) = %v (-want +got):\n%s", b, err, d)
	}
	copy(floors[3].Right, "\x01\xbd") // parts of b, so that a tower can be changed in its place
	if got, err := ParseTower(b); got.Port != 445 || err != nil {
		t.Errorf("ParseTower(%x) = %v, %v, want port 445", b, got, err)
	}
	for _, f := range floors {
		if cap(f.Left) != len(f.Left) || cap(f.Right) != len(f.Right) {
			t.Errorf("%v: appending to a side overwrites what is after it", f.Protocol)
		}
	}
	for n := range b {
		if got, err := ParseFloors(nil, b[:n]); got != nil || !errors.Is(err, ndr.ErrShort) {
			t.Errorf("ParseFloors(%x) = %v, %v, want ErrShort", b[:n], got, err)
		}
	}
}

func FuzzParseFloors(f *testing.F) {
	for _, tt := range towerRows {
		f.Add(unhex(tt.data))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		floors, err := ParseFloors(nil, b)
		if err != nil {
			return
		}
		again := []byte{byte(len(floors)), 0}
		for _, f := range floors {
			again = append(again, byte((len(f.Left)+1)&0xff), byte((len(f.Left)+1)>>8), byte(f.Protocol))
			again = append(again, f.Left...)
			again = append(again, byte(len(f.Right)&0xff), byte(len(f.Right)>>8))
			again = append(again, f.Right...)
		}
		if !bytes.HasPrefix(b, again) {
			t.Fatalf("ParseFloors(%x) = %v, which is %x", b, floors, again)
		}
	})
}
