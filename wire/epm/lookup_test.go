package epm

import (
	"os"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

var lookups = codec[Lookup]{"ParseLookup", ParseLookup, Lookup.Append}

var lookupRows = []row[Lookup]{
	{name: "capture: impacket-rpcdump against Samba 4.17.12",
		data: "00000000 00000000 00000000 01000000" + nilHnd + "f4010000",
		want: Lookup{VersOption: VersAll, MaxEntries: 500}},
	{name: "capture: impacket-rpcdump against Samba 4.17.12, the second call",
		data: "00000000 00000000 00000000 01000000" + someHnd + "f4010000",
		want: Lookup{VersOption: VersAll, Handle: handle, MaxEntries: 500}},
	{name: "capture: go-msrpc against Samba 4.17.12, signed",
		data: "00000000 00000000 00000000 00000000" + nilHnd + "02000000",
		want: Lookup{MaxEntries: 2}},
	{name: "MS-RPCE 2.2.1.2.4: by interface and object",
		data: "03000000 01000000" + objUUID + "02000000 785734123412cdabef000123456789ac 0100 0700 02000000" + nilHnd + "01000000",
		want: Lookup{Inquiry: InquiryByBoth, Object: object, Interface: dcerpc.Syntax{UUID: samr.UUID, Major: 1, Minor: 7}, VersOption: VersCompatible, MaxEntries: 1}},
	{name: "MS-RPCE 2.2.1.2.4: by interface; values without a name",
		data: "ffffffff 00000000 01000000 785734123412cdabef000123456789ac 0100 0000 06000000" + nilHnd + "ffffffff",
		want: Lookup{Inquiry: 1<<32 - 1, Interface: samr, VersOption: 6, MaxEntries: 1<<32 - 1}},
	{name: "MS-RPCE 2.2.1.2.4: the nil object and interface", lax: true,
		data: "00000000 01000000" + nilUUID + "02000000" + nilUUID + "00000000 01000000" + nilHnd + "64000000",
		want: Lookup{VersOption: VersAll, MaxEntries: 100}},
}

func TestLookup(t *testing.T) {
	lookups.check(t, lookupRows)
	lookups.appendAllocatesNothing(t, lookupRows)
}

func FuzzParseLookup(f *testing.F) { lookups.fuzz(f, lookupRows, nil) }
func BenchmarkLookup(b *testing.B) { lookups.bench(b, lookupRows[:1]) }

var lookupReplies = codec[LookupReply]{"ParseLookupReply", ParseLookupReply, LookupReply.Append}

// A row of the map with a pipe, as Samba has it.
const dnsPipe = "0100 0b 0200 0000 0100 0f 1000 5c706970655c646e7373657276657200 0100 11 0100 00"

var lookupReplyRows = []row[LookupReply]{
	{name: "capture: go-msrpc against Samba 4.17.12 as domain controller, signed", lax: true,
		data: `00000000 5b64513e9146d64590e4d9dc24aef73c 02000000 02000000 00000000 02000000` +
			nilUUID + `01000000 00000000 0a000000 646e7373657276657200 0000` +
			nilUUID + `02000000 00000000 05000000 6d676d7400 000000
			56000000 56000000 0500 1300 0d a4c2ab504d57b3409d66ee4fd5fba076 0500 0200 0000` + ndrFloor + dnsPipe + `0000
			56000000 56000000 0500 1300 0d 80bda8af8a7dc911bef408002b102989 0100 0200 0000` + ndrFloor + dnsPipe + `0000
			00000000`,
		want: LookupReply{
			Handle: ndr.Handle{UUID: ndr.MustParseUUID("3e51645b-4691-45d6-90e4-d9dc24aef73c")}, Max: 2,
			Entries: []Entry{
				{Tower: Tower{Interface: dnsserver, Transfer: dcerpc.NDR, ProtSeq: NP, Name: `\pipe\dnsserver`}, Annotation: "dnsserver"},
				{Tower: Tower{Interface: Management, Transfer: dcerpc.NDR, ProtSeq: NP, Name: `\pipe\dnsserver`}, Annotation: "mgmt"},
			},
		}},
	{name: "capture: impacket-rpcdump against Samba 4.17.12 as domain controller, the end",
		data: nilHnd + "00000000 f4010000 00000000 00000000 d6a0c916",
		want: LookupReply{Max: 500, Status: StatusNotRegistered}},
	{name: "C706, appendix O: annotations of 63, 0 and 2 bytes, an object, no tower",
		data: nilHnd + "03000000 04000000 00000000 03000000" +
			objUUID + "03000000 00000000 40000000" + strings.Repeat("61", 63) + "00" +
			nilUUID + "00000000 00000000 01000000 00 000000" +
			nilUUID + "04000000 00000000 03000000 c3bc00 00" + samrTCP + "00" + samrPipe + "000000 00000000",
		want: LookupReply{Max: 4, Entries: []Entry{
			{Object: object, Tower: samrTower, Annotation: strings.Repeat("a", 63)}, {}, {Tower: pipeTower, Annotation: "ü"},
		}}},
	{name: "C706, appendix O: annotations without a NUL, with text after it, and of no bytes", lax: true,
		data: nilHnd + "03000000 03000000 00000000 03000000" +
			nilUUID + "00000000 00000000 03000000 616263 00" +
			nilUUID + "00000000 00000000 04000000 61006263" +
			nilUUID + "00000000 00000000 00000000 00000000",
		want: LookupReply{Max: 3, Entries: []Entry{{Annotation: "abc"}, {Annotation: "a"}, {}}}},
	{name: "C706, appendix O: 64 bytes without a NUL, a tower of another protocol sequence", lax: true,
		data: nilHnd + "01000000 01000000 00000000 01000000" + nilUUID + "01000000 00000000 40000000" + strings.Repeat("61", 64) + samrSPX + "00 00000000",
		want: LookupReply{Max: 1, Entries: []Entry{{Tower: Tower{Interface: samr, Transfer: dcerpc.NDR}, Annotation: strings.Repeat("a", 63)}}}},
}

var badLookupReplies = []badRow{
	{"two numbers of entries", nilHnd + "01000000 02000000 00000000 02000000", errCount},
	{"more than at most", nilHnd + "02000000 01000000 00000000 02000000", errCount},
	{"501 entries", nilHnd + "f5010000 f5010000 00000000 f5010000", ndr.ErrTooLong},
	{"an annotation of 65 bytes", nilHnd + "01000000 01000000 00000000 01000000" + nilUUID + "00000000 00000000 41000000", ndr.ErrTooLong},
	{"an annotation of 2^32-1 bytes", nilHnd + "01000000 01000000 00000000 01000000" + nilUUID + "00000000 00000000 ffffffff", ndr.ErrTooLong},
	{"an offset of an annotation", nilHnd + "01000000 01000000 00000000 01000000" + nilUUID + "00000000 01000000 01000000 00", errCount},
	{"lengths of a tower that differ", nilHnd + "01000000 01000000 00000000 01000000" + nilUUID + "01000000 00000000 01000000 00000000 02000000 03000000", errCount},
}

func TestLookupReply(t *testing.T) {
	lookupReplies.check(t, lookupReplyRows)
	lookupReplies.checkFails(t, badLookupReplies)
	lookupReplies.appendAllocatesNothing(t, lookupReplyRows)
}

func FuzzParseLookupReply(f *testing.F) { lookupReplies.fuzz(f, lookupReplyRows, badLookupReplies) }

// dump returns the stub in testdata, a reply with 500 as its maximum.
func dump(tb testing.TB) []byte {
	tb.Helper()
	file, err := os.ReadFile("testdata/dump.hex")
	if err != nil {
		tb.Fatal(err)
	}
	var digits strings.Builder
	for line := range strings.Lines(string(file)) {
		if !strings.HasPrefix(line, "#") {
			digits.WriteString(line)
		}
	}
	return unhex(digits.String())
}

// A dump is written as it was read, but for referents that count from 3, not from 1.
func TestDump(t *testing.T) {
	b := dump(t)
	k, err := ParseLookupReply(b, ndr.LittleEndian)
	if err != nil || k.Max != 500 || len(k.Entries) != 53 || k.Handle != handle || k.Status != StatusOK {
		t.Fatalf("ParseLookupReply(%x) = %+v, %v", b, k, err)
	}
	count := map[ProtSeq]int{}
	for _, e := range k.Entries {
		count[e.Tower.ProtSeq]++
		if e.Tower.Transfer != dcerpc.NDR || e.Tower.ProtSeq.HasPort() != (e.Tower.Port != 0) || e.Tower.ProtSeq.HasPort() != (e.Tower.Name == "") {
			t.Errorf("%+v", e)
		}
	}
	again := k.Append(nil, ndr.LittleEndian)
	if len(again) != len(b) {
		t.Fatalf("Append: %d bytes, want %d", len(again), len(b))
	}
	var referents int
	for i := range b {
		if again[i] != b[i] {
			referents++
			if again[i] != b[i]+2 || int(b[i]) != referents {
				t.Errorf("Append: %#x at %d, want %#x", again[i], i, b[i])
			}
		}
	}
	if referents != len(k.Entries) {
		t.Errorf("Append: %d bytes differ, want those of %d referents", referents, len(k.Entries))
	}
	for n := range b {
		if k, err := ParseLookupReply(b[:n], ndr.LittleEndian); err == nil {
			t.Fatalf("ParseLookupReply of %d bytes = %+v", n, k)
		}
	}
}

func BenchmarkLookupReply(b *testing.B) {
	data := dump(b)
	k, err := ParseLookupReply(data, ndr.LittleEndian)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("parse/53 entries", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ParseLookupReply(data, ndr.LittleEndian)
		}
	})
	b.Run("append/53 entries", func(b *testing.B) {
		buf := make([]byte, 0, len(data))
		b.ReportAllocs()
		for b.Loop() {
			k.Append(buf, ndr.LittleEndian)
		}
	})
}

var handleFrees = codec[LookupHandleFree]{"ParseLookupHandleFree", ParseLookupHandleFree, LookupHandleFree.Append}

var handleFreeRows = []row[LookupHandleFree]{
	{name: "capture: go-msrpc against Samba 4.17.12, signed", data: "00000000 5b64513e9146d64590e4d9dc24aef73c",
		want: LookupHandleFree{ndr.Handle{UUID: ndr.MustParseUUID("3e51645b-4691-45d6-90e4-d9dc24aef73c")}}},
	{name: "C706, appendix O: attributes", data: "01000000" + objUUID, want: LookupHandleFree{ndr.Handle{Attributes: 1, UUID: object}}},
}

var handleFreeReplies = codec[LookupHandleFreeReply]{"ParseLookupHandleFreeReply", ParseLookupHandleFreeReply, LookupHandleFreeReply.Append}

var handleFreeReplyRows = []row[LookupHandleFreeReply]{
	{name: "capture: go-msrpc against Samba 4.17.12, signed", data: nilHnd + "00000000"},
	{name: "C706, appendix O: not ours", data: "01000000" + objUUID + "d5a0c916",
		want: LookupHandleFreeReply{ndr.Handle{Attributes: 1, UUID: object}, StatusInvalidContext}},
}

func TestLookupHandleFree(t *testing.T) {
	handleFrees.check(t, handleFreeRows)
	handleFreeReplies.check(t, handleFreeReplyRows)
}

func FuzzParseLookupHandleFree(f *testing.F) { handleFrees.fuzz(f, handleFreeRows, nil) }
func FuzzParseLookupHandleFreeReply(f *testing.F) {
	handleFreeReplies.fuzz(f, handleFreeReplyRows, nil)
}

var inqObjectReplies = codec[InqObjectReply]{"ParseInqObjectReply", ParseInqObjectReply, InqObjectReply.Append}

var inqObjectReplyRows = []row[InqObjectReply]{
	{name: "C706, appendix O", data: objUUID + "00000000", want: InqObjectReply{Object: object}},
	{name: "C706, appendix O: refused", data: nilUUID + "cda0c916", want: InqObjectReply{Status: StatusCantPerformOp}},
}

func TestInqObjectReply(t *testing.T)      { inqObjectReplies.check(t, inqObjectReplyRows) }
func FuzzParseInqObjectReply(f *testing.F) { inqObjectReplies.fuzz(f, inqObjectReplyRows, nil) }
