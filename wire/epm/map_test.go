package epm

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// Towers of rows, with length and octets.
const (
	lsaAny   = " 4b000000 4b000000 0500" + lsaFloor + ndrFloor + "0100 0b 0200 0000 0100 07 0200 0000" + noAddr
	lsaTCP   = " 4b000000 4b000000 0500" + lsaFloor + ndrFloor + "0100 0b 0200 0000 0100 07 0200 c000 0100 09 0400 0a620001 "
	samrAny  = " 4b000000 4b000000 0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 07 0200 0000" + noAddr
	samrTCP  = " 4b000000 4b000000 0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 07 0200 c000 0100 09 0400 0a620001 "
	samrPipe = " 51000000 51000000 0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 0f 0b00 5c706970655c73616d7200 0100 11 0100 00 "
	samrSPX  = " 4b000000 4b000000 0500" + samrFloor + ndrFloor + "0100 0b 0200 0000 0100 13 0200 0087 0100 14 0400 00000000 "
)

var (
	lsaTower  = Tower{Interface: lsarpc, Transfer: dcerpc.NDR, ProtSeq: TCP, Port: 49152, Addr: netip.AddrFrom4([4]byte{10, 98, 0, 1})}
	samrTower = Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: TCP, Port: 49152, Addr: netip.AddrFrom4([4]byte{10, 98, 0, 1})}
	pipeTower = Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: NP, Name: `\pipe\samr`}
)

var maps = codec[Map]{"ParseMap", ParseMap, Map.Append}

var mapRows = []row[Map]{
	{name: "capture: rpcclient epmmap against Samba 4.17.12",
		data: "00000000 01000000" + lsaAny + "00" + nilHnd + "01000000",
		want: Map{Tower: Tower{Interface: lsarpc, Transfer: dcerpc.NDR, ProtSeq: TCP}, MaxTowers: 1}},
	{name: "capture: impacket hept_map against Samba 4.17.12, the nil object", lax: true,
		data: "01000000" + nilUUID + "02000000" + samrAny + "ab" + nilHnd + "01000000",
		want: Map{Tower: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: TCP}, MaxTowers: 1}},
	{name: "capture: impacket hept_map against Samba 4.17.12, a pipe", lax: true,
		data: "01000000" + nilUUID + "02000000 50000000 50000000 0500" + samrFloor + ndrFloor +
			"0100 0b 0200 0000 0100 0f 0100 00 0100 11 0a00 31302e39382e302e3100" + nilHnd + "01000000",
		want: Map{Tower: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: NP, Host: "10.98.0.1"}, MaxTowers: 1}},
	{name: "C706, appendix O: an object, a handle, many",
		data: "01000000" + objUUID + "02000000" + samrAny + "00" + someHnd + "ffffffff",
		want: Map{Object: object, Tower: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: TCP}, Handle: handle, MaxTowers: 1<<32 - 1}},
	{name: "C706, appendix O: referents the other way round", lax: true,
		data: "02000000" + objUUID + "01000000" + samrAny + "00" + nilHnd + "00000000",
		want: Map{Object: object, Tower: Tower{Interface: samr, Transfer: dcerpc.NDR, ProtSeq: TCP}}},
	{name: "C706, appendix O: no tower", data: "00000000 00000000" + nilHnd + "01000000", want: Map{MaxTowers: 1}},
	{name: "MS-RPCE 2.1.1.3: a tower of another protocol sequence", lax: true,
		data: "00000000 01000000" + samrSPX + "00" + nilHnd + "01000000",
		want: Map{Tower: Tower{Interface: samr, Transfer: dcerpc.NDR}, MaxTowers: 1}},
}

var badMaps = []badRow{
	{"lengths of the tower that differ", "00000000 01000000" + strings.Replace(lsaAny, "4b", "4c", 1) + "00" + nilHnd + "01000000", errCount},
	{"a tower of 2049 bytes", "00000000 01000000 01080000 01080000", ndr.ErrTooLong},
	{"a tower of 2^32-1 bytes", "00000000 01000000 ffffffff ffffffff", ndr.ErrTooLong},
	{"a tower that is shorter than its floors", "00000000 01000000 04000000 04000000 05001300" + nilHnd + "01000000", ndr.ErrShort},
	{"a tower of one floor", "00000000 01000000 1b000000 1b000000 0100" + samrFloor + "00" + nilHnd + "01000000", errFloor},
}

func TestMap(t *testing.T) {
	maps.check(t, mapRows)
	maps.checkFails(t, badMaps)
	maps.appendAllocatesNothing(t, mapRows)
}

func FuzzParseMap(f *testing.F) { maps.fuzz(f, mapRows, badMaps) }
func BenchmarkMap(b *testing.B) { maps.bench(b, mapRows[:1]) }

func TestParseMapAllocatesNothing(t *testing.T) {
	for _, tt := range mapRows {
		if tt.want.Tower.Host != "" {
			continue
		}
		b := unhex(tt.data)
		if n := testing.AllocsPerRun(100, func() { ParseMap(b, ndr.LittleEndian) }); n != 0 {
			t.Errorf("%s: ParseMap: %v allocations, want 0", tt.name, n)
		}
	}
}

// A tower's octets are the same in both byte orders.
func TestTowerIsNotSwapped(t *testing.T) {
	m := Map{Tower: samrTower, MaxTowers: 1}
	for _, l := range []ndr.Label{ndr.LittleEndian, ndr.BigEndian} {
		if b := m.Append(nil, l); !bytes.Contains(b, unhex(samrTCP)[8:]) {
			t.Errorf("Append in order %x = %x, want the tower %s in it", l, b, samrTCP)
		}
	}
}

var mapReplies = codec[MapReply]{"ParseMapReply", ParseMapReply, MapReply.Append}

var mapReplyRows = []row[MapReply]{
	{name: "capture: impacket hept_map against Samba 4.17.12",
		data: nilHnd + "01000000 01000000 00000000 01000000 03000000" + samrTCP + "00 00000000",
		want: MapReply{Max: 1, Towers: []Tower{samrTower}}},
	{name: "capture: rpcclient epmmap against Samba 4.17.12, other referents", lax: true,
		data: nilHnd + "01000000 01000000 00000000 01000000 02000000" + lsaTCP + "00 00000000",
		want: MapReply{Max: 1, Towers: []Tower{lsaTower}}},
	{name: "capture: impacket hept_map against Samba 4.17.12, a pipe",
		data: nilHnd + "01000000 01000000 00000000 01000000 03000000" + samrPipe + "000000 00000000",
		want: MapReply{Max: 1, Towers: []Tower{pipeTower}}},
	{name: "capture: impacket hept_map against Samba 4.17.12, HTTP: nothing found, but a handle",
		data: "00000000 dc214b9af21a68499464754390b2aff8 00000000 01000000 00000000 00000000 d6a0c916",
		want: MapReply{Handle: ndr.Handle{UUID: ndr.MustParseUUID("9a4b21dc-1af2-4968-9464-754390b2aff8")}, Max: 1, Status: StatusNotRegistered}},
	{name: "capture: impacket hept_map against Samba 4.17.12, a version that is not there",
		data: nilHnd + "00000000 01000000 00000000 00000000 d6a0c916",
		want: MapReply{Max: 1, Status: StatusNotRegistered}},
	{name: "C706, appendix O: three of at most 500, one of another protocol sequence", lax: true,
		data: someHnd + "03000000 f4010000 00000000 03000000 03000000 04000000 05000000" + samrPipe + "000000" + samrSPX + "00" + samrTCP + "00 00000000",
		want: MapReply{Handle: handle, Max: 500, Towers: []Tower{pipeTower, {Interface: samr, Transfer: dcerpc.NDR}, samrTower}}},
	{name: "C706, appendix O: a null pointer among towers",
		data: nilHnd + "02000000 ffffffff 00000000 02000000 00000000 03000000" + samrTCP + "00 00000000",
		want: MapReply{Max: 1<<32 - 1, Towers: []Tower{{}, samrTower}}},
}

var badMapReplies = []badRow{
	{"two numbers of towers", nilHnd + "02000000 04000000 00000000 01000000 03000000" + samrTCP + "00 00000000", errCount},
	{"more than at most", nilHnd + "02000000 01000000 00000000 02000000 00000000 00000000 00000000", errCount},
	{"an offset", nilHnd + "01000000 02000000 01000000 01000000 00000000 00000000", errCount},
	{"501 towers", nilHnd + "f5010000 f5010000 00000000 f5010000", ndr.ErrTooLong},
	{"2^32-1 towers", nilHnd + "ffffffff ffffffff 00000000 ffffffff", ndr.ErrTooLong},
	{"a malformed tower", nilHnd + "01000000 01000000 00000000 01000000 03000000 02000000 02000000 0000 0000 00000000", errFloor},
}

func TestMapReply(t *testing.T) {
	mapReplies.check(t, mapReplyRows)
	mapReplies.checkFails(t, badMapReplies)
	mapReplies.appendAllocatesNothing(t, mapReplyRows)
	if _, err := ParseMapReply(unhex(badMapReplies[0].data), ndr.LittleEndian); errors.Is(err, ndr.ErrShort) {
		t.Errorf("counts that contradict each other: %v", err)
	}
}

func FuzzParseMapReply(f *testing.F) { mapReplies.fuzz(f, mapReplyRows, badMapReplies) }
func BenchmarkMapReply(b *testing.B) { mapReplies.bench(b, mapReplyRows[:1]) }
