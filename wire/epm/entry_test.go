package epm

import (
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/wire/ndr"
)

var inserts = codec[Insert]{"ParseInsert", ParseInsert, Insert.Append}

const twoEntries = "02000000 02000000" +
	objUUID + "01000000 00000000 05000000 73616d7200 000000" +
	nilUUID + "02000000 00000000 01000000 00 000000" + samrTCP + "00" + samrPipe + "000000 "

var insertRows = []row[Insert]{
	{name: "C706, appendix O: two entries beside others", data: twoEntries + "00000000",
		want: Insert{Entries: []Entry{{object, samrTower, "samr"}, {Tower: pipeTower}}}},
	{name: "C706, appendix O: two entries in place of others", data: twoEntries + "01000000",
		want: Insert{Entries: []Entry{{object, samrTower, "samr"}, {Tower: pipeTower}}, Replace: true}},
	{name: "C706, appendix O: any other number is true", data: "00000000 00000000 00000080", lax: true, want: Insert{Replace: true}},
	{name: "C706, appendix O: nothing", data: "00000000 00000000 00000000"},
	{name: "C706, appendix O: no tower", data: "01000000 01000000" + objUUID + "00000000 00000000 01000000 00 000000 00000000",
		want: Insert{Entries: []Entry{{Object: object}}}},
}

var badInserts = []badRow{
	{"two numbers of entries", "02000000 01000000", errCount},
	{"501 entries", "f5010000 f5010000", ndr.ErrTooLong},
	{"2^32-1 entries", "ffffffff ffffffff", ndr.ErrTooLong},
	{"an annotation of 65 bytes", "01000000 01000000" + nilUUID + "00000000 00000000 41000000" + strings.Repeat("61", 65), ndr.ErrTooLong},
	{"a malformed tower", "01000000 01000000" + nilUUID + "01000000 00000000 01000000 00 000000 02000000 02000000 0000 0000 00000000", errFloor},
}

func TestInsert(t *testing.T) {
	inserts.check(t, insertRows)
	inserts.checkFails(t, badInserts)
}

func FuzzParseInsert(f *testing.F) { inserts.fuzz(f, insertRows, badInserts) }
func BenchmarkInsert(b *testing.B) { inserts.bench(b, insertRows[:1]) }

// An annotation is for people: what does not fit is cut.
func TestAnnotationIsCut(t *testing.T) {
	in := Insert{Entries: []Entry{{Annotation: strings.Repeat("a", 100)}, {Annotation: "b\x00c"}}}
	got, err := ParseInsert(in.Append(nil, ndr.LittleEndian), ndr.LittleEndian)
	want := Insert{Entries: []Entry{{Annotation: strings.Repeat("a", 63)}, {Annotation: "b"}}}
	if d := diff(got, want); err != nil || d != "" {
		t.Errorf("ParseInsert = %v (-want +got):\n%s", err, d)
	}
}

var deletes = codec[Delete]{"ParseDelete", ParseDelete, Delete.Append}

var deleteRows = []row[Delete]{
	{name: "C706, appendix O: two entries", data: strings.TrimSuffix(twoEntries, "000000 "), // nothing to align after the tower
		want: Delete{[]Entry{{object, samrTower, "samr"}, {Tower: pipeTower}}}},
	{name: "C706, appendix O: nothing", data: "00000000 00000000"},
	{name: "C706, appendix O: one entry without a tower", data: "01000000 01000000" + objUUID + "00000000 00000000 04000000 61626300",
		want: Delete{[]Entry{{Object: object, Annotation: "abc"}}}},
}

func TestDelete(t *testing.T) {
	deletes.check(t, deleteRows)
	deletes.checkFails(t, badInserts)
}

func FuzzParseDelete(f *testing.F) { deletes.fuzz(f, deleteRows, badInserts) }

var mgmtDeletes = codec[MgmtDelete]{"ParseMgmtDelete", ParseMgmtDelete, MgmtDelete.Append}

var mgmtDeleteRows = []row[MgmtDelete]{
	{name: "C706, appendix O: of an object", data: "01000000 01000000" + objUUID + "02000000" + samrTCP,
		want: MgmtDelete{true, object, samrTower}},
	{name: "C706, appendix O: of any object", data: "00000000 00000000 01000000" + samrPipe,
		want: MgmtDelete{Tower: pipeTower}},
	{name: "C706, appendix O: nothing", data: "00000000 00000000 00000000"},
}

var badMgmtDeletes = []badRow{
	{"a malformed tower", "00000000 00000000 01000000 02000000 02000000 0000", errFloor},
}

func TestMgmtDelete(t *testing.T) {
	mgmtDeletes.check(t, mgmtDeleteRows)
	mgmtDeletes.checkFails(t, badMgmtDeletes)
}

func FuzzParseMgmtDelete(f *testing.F) { mgmtDeletes.fuzz(f, mgmtDeleteRows, badMgmtDeletes) }
