package ndr

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// unhex decodes hexadecimal digits with any blanks between them.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

var labels = []Label{LittleEndian, BigEndian}

// An item is one value in the way the tests read and write it.
type item struct {
	name        string
	little, big string
	want        any
	read        func(*Reader) any
	write       func(*Writer)
}

var (
	epmapper = MustParseUUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa")
	cursor   = Handle{UUID: MustParseUUID("2fc720f7-2134-4ab3-ae1e-031b93fe966a")}
)

// Big-endian rows are built from C706, section 14.2, where no capture is named.
var items = []item{
	{"C706 14.2.5: small integer", "ff", "ff", uint8(255),
		func(r *Reader) any { return r.Uint8() }, func(w *Writer) { w.Uint8(255) }},
	{"impacket-rpcdump: max_xmit_frag of a bind", "b810", "10b8", uint16(4280),
		func(r *Reader) any { return r.Uint16() }, func(w *Writer) { w.Uint16(4280) }},
	{"Samba 4.17.12 as AD DC: status of an ept_lookup at its end", "d6a0c916", "16c9a0d6", uint32(0x16c9a0d6),
		func(r *Reader) any { return r.Uint32() }, func(w *Writer) { w.Uint32(0x16c9a0d6) }},
	{"impacket-rpcdump: max_ents of an ept_lookup", "f4010000", "000001f4", uint32(500),
		func(r *Reader) any { return r.Count(500) }, func(w *Writer) { w.Uint32(500) }},
	{"impacket-rpcdump: the endpoint mapper's interface", "0883afe1 1f5d c911 91a408002b14a0fa", "e1af8308 5d1f 11c9 91a408002b14a0fa", epmapper,
		func(r *Reader) any { return r.UUID() }, func(w *Writer) { w.UUID(epmapper) }},
	{"Samba 4.17.12 as AD DC: entry_handle of an ept_lookup", "00000000 f720c72f3421b34aae1e031b93fe966a", "00000000 2fc720f721344ab3ae1e031b93fe966a", cursor,
		func(r *Reader) any { return r.Handle() }, func(w *Writer) { w.Handle(cursor) }},
	{"C706 14.3.3: octets", "0102030405", "0102030405", []byte{1, 2, 3, 4, 5},
		func(r *Reader) any { return r.Bytes(5) }, func(w *Writer) { w.Bytes([]byte{1, 2, 3, 4, 5}) }},
	{"octets of a text", "6d676d74", "6d676d74", []byte("mgmt"),
		func(r *Reader) any { return r.Bytes(4) }, func(w *Writer) { w.String("mgmt") }},
	{"C706 14.2.2: a short aligned to 2", "01 00 0200", "01 00 0002", [2]uint16{1, 2},
		func(r *Reader) any { return [2]uint16{uint16(r.Uint8()), r.Uint16()} }, func(w *Writer) { w.Uint8(1); w.Uint16(2) }},
	{"C706 14.2.2: a long aligned to 4", "01 000000 02000000", "01 000000 00000002", [2]uint32{1, 2},
		func(r *Reader) any { return [2]uint32{uint32(r.Uint8()), r.Uint32()} }, func(w *Writer) { w.Uint8(1); w.Uint32(2) }},
	{"a UUID aligned to 4", "0100 0000 0883afe11f5dc91191a408002b14a0fa", "0001 0000 e1af83085d1f11c991a408002b14a0fa", epmapper,
		func(r *Reader) any { r.Uint16(); return r.UUID() }, func(w *Writer) { w.Uint16(1); w.UUID(epmapper) }},
	{"padding to 8", "01 00000000000000", "01 00000000000000", uint8(1),
		func(r *Reader) any { v := r.Uint8(); r.Align(8); return v }, func(w *Writer) { w.Uint8(1); w.Align(8) }},
}

// data returns the item as it is under label.
func (tt item) data(l Label) []byte {
	if l.IsBigEndian() {
		return unhex(tt.big)
	}
	return unhex(tt.little)
}

func TestItems(t *testing.T) {
	for _, tt := range items {
		for _, l := range labels {
			b := tt.data(l)
			r := NewReader(b, l)
			if got := tt.read(&r); r.Err() != nil || !cmp.Equal(got, tt.want) || r.Offset() != len(b) || len(r.Rest()) != 0 {
				t.Errorf("%s: read %x = %v, %v at %d, want %v", tt.name, b, got, r.Err(), r.Offset(), tt.want)
			}
			w := NewWriter([]byte{0xee, 0xee, 0xee}, l) // alignment counts from behind them
			tt.write(&w)
			if got := w.Result(); !bytes.Equal(got, append(unhex("eeeeee"), b...)) || w.Len() != len(b) {
				t.Errorf("%s: written after eeeeee = %x, %d bytes, want eeeeee%x", tt.name, got, w.Len(), b)
			}
			for n := range b {
				r := NewReader(b[:n], l)
				if got := tt.read(&r); !errors.Is(r.Err(), ErrShort) {
					t.Errorf("%s: read %x = %v, %v, want ErrShort", tt.name, b[:n], got, r.Err())
				}
			}
		}
	}
}

func TestAlign(t *testing.T) {
	for _, n := range []int{1, 2, 4, 8} {
		for at := range 17 {
			want := (at + n - 1) / n * n
			r := NewReader(make([]byte, 32), LittleEndian)
			r.Bytes(at)
			if r.Align(n); r.Offset() != want || r.Err() != nil {
				t.Errorf("Align(%d) at %d: offset %d, %v, want %d", n, at, r.Offset(), r.Err(), want)
			}
			w := NewWriter([]byte{1}, BigEndian)
			w.Bytes(make([]byte, at))
			if w.Align(n); w.Len() != want {
				t.Errorf("Writer: Align(%d) at %d: %d bytes, want %d", n, at, w.Len(), want)
			}
		}
	}
}

// The value of padding does not matter.
func TestPaddingIsSkipped(t *testing.T) {
	r := NewReader(unhex("01 ffffff 02000000"), LittleEndian)
	if u, v := r.Uint8(), r.Uint32(); u != 1 || v != 2 || r.Err() != nil {
		t.Errorf("Uint8(), Uint32() = %d, %d, %v, want 1, 2", u, v, r.Err())
	}
}

func TestReaderFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		data string
		read func(*Reader)
		want string
	}{
		{"nothing", "", func(r *Reader) { r.Uint8() }, "ndr: offset 0: short data"},
		{"padding cut", "01 0000", func(r *Reader) { r.Uint8(); r.Uint32() }, "ndr: offset 1: short data"},
		{"long cut", "01000000 0200", func(r *Reader) { r.Uint32(); r.Uint32() }, "ndr: offset 4: short data"},
		{"one over the limit", "05000000", func(r *Reader) { r.Count(4) }, "ndr: offset 0: length over the limit"},
		{"2^32-1", "01000000 ffffffff", func(r *Reader) { r.Uint32(); r.Count(500) }, "ndr: offset 4: length over the limit"},
		{"2^31, negative in 32 bits", "00000080", func(r *Reader) { r.Count(math.MaxInt32) }, "ndr: offset 0: length over the limit"},
		{"limit 0", "01000000", func(r *Reader) { r.Count(0) }, "ndr: offset 0: length over the limit"},
		{"count cut", "010000", func(r *Reader) { r.Count(4) }, "ndr: offset 0: short data"},
		{"most bytes", "0102", func(r *Reader) { r.Bytes(math.MaxInt) }, "ndr: offset 0: short data"},
		{"given by the caller", "0102", func(r *Reader) { r.Uint16(); r.Fail(errors.ErrUnsupported) }, "ndr: offset 2: unsupported operation"},
		{"first failure stays", "02000000", func(r *Reader) { r.Count(1); r.Fail(errors.ErrUnsupported) }, "ndr: offset 0: length over the limit"},
	} {
		r := NewReader(unhex(tt.data), LittleEndian)
		tt.read(&r)
		err := r.Err()
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: Err() = %v, want %s", tt.name, err, tt.want)
			continue
		}
		at := r.Offset()
		a, b, c, u, h, p := r.Uint8(), r.Uint16(), r.Uint32(), r.UUID(), r.Handle(), r.Bytes(0)
		if r.Align(8); a != 0 || b != 0 || c != 0 || !u.IsNil() || !h.IsNil() || p != nil || r.Rest() != nil || r.Offset() != at || r.Err() != err {
			t.Errorf("%s: after a failure: values, Offset() = %d, Err() = %v, want none, %d, %v", tt.name, r.Offset(), r.Err(), at, err)
		}
	}
}

func TestCount(t *testing.T) {
	for _, tt := range []struct {
		data        string
		limit, want uint32
	}{
		{"00000000", 0, 0}, {"04000000", 4, 4}, {"ffffffff", math.MaxUint32, math.MaxUint32},
	} {
		r := NewReader(unhex(tt.data), LittleEndian)
		if got := r.Count(tt.limit); got != tt.want || r.Err() != nil {
			t.Errorf("Count(%d) of %s = %d, %v, want %d", tt.limit, tt.data, got, r.Err(), tt.want)
		}
	}
}

func TestZeroReader(t *testing.T) {
	var r Reader
	if r.Offset() != 0 || len(r.Rest()) != 0 || r.Err() != nil {
		t.Errorf("zero Reader: Offset() = %d, Rest() = %x, Err() = %v", r.Offset(), r.Rest(), r.Err())
	}
	if v := r.Uint32(); v != 0 || !errors.Is(r.Err(), ErrShort) {
		t.Errorf("zero Reader: Uint32() = %d, %v, want 0, %v", v, r.Err(), ErrShort)
	}
}

func TestZeroWriter(t *testing.T) {
	var w Writer
	w.Uint16(1)
	w.Uint32(2)
	if got := w.Result(); !bytes.Equal(got, unhex("0100 0000 02000000")) {
		t.Errorf("Result() = %x", got)
	}
}

func TestWriterSet(t *testing.T) {
	for _, l := range labels {
		w := NewWriter([]byte{0xee}, l)
		w.Uint32(0)
		w.Uint16(0)
		w.SetUint32(0, 0x01020304)
		w.SetUint16(4, 0x0506)
		r := NewReader(w.Result()[1:], l)
		if u, v := r.Uint32(), r.Uint16(); u != 0x01020304 || v != 0x0506 || w.Result()[0] != 0xee {
			t.Errorf("label %x: %x, %x, want 1020304, 506", l, u, v)
		}
	}
}

// What a reader gives out ends where the item ends, so that appending to it
// cannot write into the caller's slice.
func TestBytesHaveNoRoom(t *testing.T) {
	r := NewReader(unhex("0102"), LittleEndian)
	if p := r.Bytes(1); cap(p) != 1 {
		t.Errorf("cap(Bytes(1)) = %d, want 1", cap(p))
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := rapid.SampledFrom(labels).Draw(t, "label")
		values := rapid.SliceOf(rapid.Custom(drawValue)).Draw(t, "values")
		w := NewWriter(rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "before"), l)
		for _, v := range values {
			write(&w, v)
		}
		stub := w.Result()[len(w.Result())-w.Len():]
		r := NewReader(stub, l)
		for i, v := range values {
			if got := readLike(&r, v); r.Err() != nil || !cmp.Equal(got, v) {
				t.Fatalf("%x: value %d = %v, %v, want %v", stub, i, got, r.Err(), v)
			}
		}
		if r.Offset() != len(stub) {
			t.Fatalf("%x: Offset() = %d, want %d", stub, r.Offset(), len(stub))
		}
	})
}

func drawValue(t *rapid.T) any {
	uuid := rapid.Custom(func(t *rapid.T) UUID { return UUID(rapid.SliceOfN(rapid.Byte(), UUIDSize, UUIDSize).Draw(t, "uuid")) })
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		return rapid.Uint8().Draw(t, "8")
	case 1:
		return rapid.Uint16().Draw(t, "16")
	case 2:
		return rapid.Uint32().Draw(t, "32")
	case 3:
		return uuid.Draw(t, "uuid")
	case 4:
		return Handle{rapid.Uint32().Draw(t, "attributes"), uuid.Draw(t, "uuid")}
	}
	return rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "bytes")
}

func write(w *Writer, v any) {
	switch v := v.(type) {
	case uint8:
		w.Uint8(v)
	case uint16:
		w.Uint16(v)
	case uint32:
		w.Uint32(v)
	case UUID:
		w.UUID(v)
	case Handle:
		w.Handle(v)
	case []byte:
		w.Bytes(v)
	}
}

// readLike reads a value of v's type.
func readLike(r *Reader, v any) any {
	switch v := v.(type) {
	case uint8:
		return r.Uint8()
	case uint16:
		return r.Uint16()
	case uint32:
		return r.Uint32()
	case UUID:
		return r.UUID()
	case Handle:
		return r.Handle()
	case []byte:
		return r.Bytes(len(v))
	}
	panic("no such value")
}

// Any sequence of reads either fails for good or moves on within the data.
func FuzzReader(f *testing.F) {
	for _, tt := range items {
		f.Add(unhex(tt.little), []byte{0, 1, 2, 3, 4, 5, 6, 7}, false)
		f.Add(unhex(tt.big), []byte{5, 4, 3, 2, 1, 0}, true)
	}
	f.Add(unhex("ffffffff"), []byte{3, 3}, false)
	f.Fuzz(func(t *testing.T, b, script []byte, big bool) {
		l := LittleEndian
		if big {
			l = BigEndian
		}
		r := NewReader(b, l)
		for _, op := range script {
			before, failed := r.Offset(), r.Err()
			n := int(op >> 3)
			switch op & 7 {
			case 0:
				r.Uint8()
			case 1:
				r.Uint16()
			case 2:
				r.Uint32()
			case 3:
				if c := r.Count(uint32(n)); c > uint32(n) {
					t.Fatalf("Count(%d) = %d", n, c)
				}
			case 4:
				r.UUID()
			case 5:
				r.Handle()
			case 6:
				r.Align(1 << (n & 3))
			case 7:
				if p := r.Bytes(n); r.Err() == nil && len(p) != n {
					t.Fatalf("Bytes(%d) = %d bytes", n, len(p))
				}
			}
			at := r.Offset()
			switch {
			case at < before || at > len(b):
				t.Fatalf("Offset() = %d after %d, of %d", at, before, len(b))
			case failed != nil && (r.Err() != failed || at != before):
				t.Fatalf("Err() = %v at %d, want %v at %d for ever", r.Err(), at, failed, before)
			case r.Err() == nil && len(r.Rest()) != len(b)-at:
				t.Fatalf("Rest() = %d bytes at %d of %d", len(r.Rest()), at, len(b))
			}
		}
	})
}

func TestNothingIsAllocated(t *testing.T) {
	for _, l := range labels {
		buf := make([]byte, 0, 64)
		n := testing.AllocsPerRun(100, func() {
			w := NewWriter(buf, l)
			w.Uint16(1)
			w.UUID(epmapper)
			w.Handle(cursor)
			r := NewReader(w.Result(), l)
			r.Uint16()
			r.UUID()
			if r.Handle() != cursor || r.Err() != nil {
				t.Fatal(r.Err())
			}
		})
		if n != 0 {
			t.Errorf("%v allocations, want 0", n)
		}
	}
}

func BenchmarkReader(b *testing.B) {
	data := unhex("00000000 f720c72f3421b34aae1e031b93fe966a 35000000 f4010000 00000000 35000000 00000000000000000000000000000000 01000000 00000000 0a000000")
	b.ReportAllocs()
	for b.Loop() {
		r := NewReader(data, LittleEndian)
		r.Handle()
		r.Uint32()
		r.Count(500)
		r.Uint32()
		r.Uint32()
		r.UUID()
		r.Uint32()
		r.Uint32()
		r.Uint32()
		if r.Err() != nil || len(r.Rest()) != 0 {
			b.Fatal(r.Err())
		}
	}
}
