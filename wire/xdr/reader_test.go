package xdr

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

// An item is one value in the way the tests read and append it.
type item struct {
	name   string
	data   string
	want   any
	read   func(*Reader) any
	append func([]byte) []byte
}

var items = []item{
	{"RFC 4506 4.2: unsigned integer", "000186a0", uint32(100000),
		func(r *Reader) any { return r.Uint32() }, func(b []byte) []byte { return AppendUint32(b, 100000) }},
	{"RFC 4506 4.2: largest unsigned integer", "ffffffff", uint32(math.MaxUint32),
		func(r *Reader) any { return r.Uint32() }, func(b []byte) []byte { return AppendUint32(b, math.MaxUint32) }},
	{"RFC 4506 4.4: TRUE", "00000001", true,
		func(r *Reader) any { return r.Bool() }, func(b []byte) []byte { return AppendBool(b, true) }},
	{"RFC 4506 4.4: FALSE", "00000000", false,
		func(r *Reader) any { return r.Bool() }, func(b []byte) []byte { return AppendBool(b, false) }},
	{"RFC 4506 4.9: fixed-length opaque of 5", "0102030405 000000", []byte{1, 2, 3, 4, 5},
		func(r *Reader) any { return r.Fixed(5) }, func(b []byte) []byte { return AppendFixed(b, []byte{1, 2, 3, 4, 5}) }},
	{"RFC 4506 4.9: fixed-length opaque of 8", "0102030405060708", []byte{1, 2, 3, 4, 5, 6, 7, 8},
		func(r *Reader) any { return r.Fixed(8) }, func(b []byte) []byte { return AppendFixed(b, []byte{1, 2, 3, 4, 5, 6, 7, 8}) }},
	{"RFC 4506 4.10: variable-length opaque", "00000003 01020300", []byte{1, 2, 3},
		func(r *Reader) any { return r.Opaque(3) }, func(b []byte) []byte { return AppendOpaque(b, []byte{1, 2, 3}) }},
	{"RFC 4506 4.10: empty opaque", "00000000", []byte{},
		func(r *Reader) any { return r.Opaque(0) }, func(b []byte) []byte { return AppendOpaque(b, nil) }},
	{"RFC 4506 7: the string \"sillyprog\" of the example file", "00000009 73696c6c 7970726f 67000000", "sillyprog",
		func(r *Reader) any { return r.String(9) }, func(b []byte) []byte { return AppendString(b, "sillyprog") }},
	{"rpcinfo -p, libtirpc 1.3.3: r_addr of a GETADDR call", "0000000f 3132372e 302e302e 312e302e 31313100", "127.0.0.1.0.111",
		func(r *Reader) any { return r.String(128) }, func(b []byte) []byte { return AppendString(b, "127.0.0.1.0.111") }},
	{"libtirpc 1.3.3: r_owner of a GETADDR call, no padding", "00000008 6c696274 69727063", "libtirpc",
		func(r *Reader) any { return r.String(64) }, func(b []byte) []byte { return AppendString(b, "libtirpc") }},
}

func TestItems(t *testing.T) {
	for _, tt := range items {
		b := unhex(tt.data)
		r := NewReader(b)
		got := tt.read(&r)
		if err := r.Finish(); err != nil || !cmp.Equal(got, tt.want) {
			t.Errorf("%s: read %x = %v, %v, want %v", tt.name, b, got, err, tt.want)
		}
		if r.Offset() != len(b) {
			t.Errorf("%s: Offset() = %d, want %d", tt.name, r.Offset(), len(b))
		}
		if got := tt.append([]byte{0xee}); !bytes.Equal(got[1:], b) || got[0] != 0xee {
			t.Errorf("%s: append to ee = %x, want ee%x", tt.name, got, b)
		}
		for n := range b {
			r := NewReader(b[:n])
			got := tt.read(&r)
			if err := r.Err(); !errors.Is(err, ErrShort) {
				t.Errorf("%s: read %x = %v, %v, want ErrShort", tt.name, b[:n], got, err)
			}
		}
	}
}

func TestReaderFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		data string
		read func(*Reader)
		want string
	}{
		{"nothing", "", func(r *Reader) { r.Uint32() }, "xdr: offset 0: short data"},
		{"second word cut", "00000001 0000", func(r *Reader) { r.Uint32(); r.Uint32() }, "xdr: offset 4: short data"},
		{"boolean 2", "00000001 00000002", func(r *Reader) { r.Bool(); r.Bool() }, "xdr: offset 4: boolean is neither 0 nor 1"},
		{"boolean 2^32-1", "ffffffff", func(r *Reader) { r.Bool() }, "xdr: offset 0: boolean is neither 0 nor 1"},
		{"boolean 2^24, true in the other byte order", "01000000", func(r *Reader) { r.Bool() }, "xdr: offset 0: boolean is neither 0 nor 1"},
		{"one over the limit", "00000005 0102030405000000", func(r *Reader) { r.Opaque(4) }, "xdr: offset 0: length over the limit"},
		{"length 2^32-1", "ffffffff 01020304", func(r *Reader) { r.Opaque(400) }, "xdr: offset 0: length over the limit"},
		{"length 2^31, negative in 32 bits", "80000000 01020304", func(r *Reader) { r.Opaque(400) }, "xdr: offset 0: length over the limit"},
		{"length 2^32-1, no limit", "ffffffff 01020304", func(r *Reader) { r.Opaque(math.MaxUint32) }, "xdr: offset 4: short data"},
		{"length 2^31, no limit", "80000000 01020304", func(r *Reader) { r.Opaque(math.MaxUint32) }, "xdr: offset 4: short data"},
		{"length 2^31-1, no limit", "7fffffff 01020304", func(r *Reader) { r.Opaque(math.MaxUint32) }, "xdr: offset 4: short data"},
		{"string longer than the data", "00000008 61626364", func(r *Reader) { r.String(64) }, "xdr: offset 4: short data"},
		{"padding missing", "00000003 616263", func(r *Reader) { r.String(64) }, "xdr: offset 4: short data"},
		{"fixed, padding missing", "616263", func(r *Reader) { r.Fixed(3) }, "xdr: offset 0: short data"},
		{"fixed, largest number", "616263", func(r *Reader) { r.Fixed(math.MaxInt) }, "xdr: offset 0: short data"},
		{"trailing byte", "00000001 00", func(r *Reader) { r.Uint32(); r.Finish() }, "xdr: offset 4: data after the last field"},
		{"given by the caller", "00000001", func(r *Reader) { r.Uint32(); r.Fail(errors.ErrUnsupported) }, "xdr: offset 4: unsupported operation"},
		{"first failure stays", "00000002", func(r *Reader) { r.Bool(); r.Fail(errors.ErrUnsupported) }, "xdr: offset 0: boolean is neither 0 nor 1"},
	} {
		r := NewReader(unhex(tt.data))
		tt.read(&r)
		err := r.Err()
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: Err() = %v, want %s", tt.name, err, tt.want)
			continue
		}
		at := r.Offset()
		if v := r.Uint32(); v != 0 {
			t.Errorf("%s: Uint32() = %d after a failure, want 0", tt.name, v)
		}
		if r.Bool() || r.Opaque(4) != nil || r.Fixed(0) != nil || r.String(4) != "" || r.Rest() != nil {
			t.Errorf("%s: values after a failure, want zero values", tt.name)
		}
		if r.Finish() != err || r.Err() != err || r.Offset() != at {
			t.Errorf("%s: Err() = %v at %d, want %v at %d for ever", tt.name, r.Err(), r.Offset(), err, at)
		}
	}
}

// Other implementations do not look at padding, and some write what was in memory.
func TestPaddingIsNotLookedAt(t *testing.T) {
	b := unhex("00000001 61ffffff 00000001")
	r := NewReader(b)
	s, v := r.String(1), r.Uint32()
	if err := r.Finish(); err != nil || s != "a" || v != 1 {
		t.Errorf("String(1), Uint32() of %x = %q, %d, %v, want a, 1", b, s, v, err)
	}
}

func TestZeroReader(t *testing.T) {
	var r Reader
	if err := r.Finish(); err != nil || r.Offset() != 0 || len(r.Rest()) != 0 {
		t.Errorf("zero Reader: Finish() = %v, Offset() = %d, Rest() = %x, want nil, 0, nothing", err, r.Offset(), r.Rest())
	}
	if v := r.Uint32(); v != 0 || !errors.Is(r.Err(), ErrShort) {
		t.Errorf("zero Reader: Uint32() = %d, %v, want 0, %v", v, r.Err(), ErrShort)
	}
}

// What a reader gives out ends where the item ends, so that appending to it
// cannot write into the caller's slice.
func TestOpaqueHasNoRoom(t *testing.T) {
	b := unhex("00000001 61000000 00000002")
	r := NewReader(b)
	p := r.Opaque(1)
	if cap(p) != 1 {
		t.Errorf("cap(Opaque(1)) = %d, want 1", cap(p))
	}
	if rest := r.Rest(); !bytes.Equal(rest, b[8:]) || r.Offset() != 8 {
		t.Errorf("Rest() = %x at %d, want %x at 8: Rest reads nothing", rest, r.Offset(), b[8:])
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := rapid.Uint32().Draw(t, "u")
		v := rapid.Bool().Draw(t, "v")
		s := rapid.StringN(0, -1, 300).Draw(t, "s")
		p := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "p")
		b := AppendFixed(AppendOpaque(AppendString(AppendBool(AppendUint32(nil, u), v), s), p), p)
		if len(b)%4 != 0 {
			t.Fatalf("%d bytes, want a multiple of 4", len(b))
		}
		r := NewReader(b)
		if gu, gv, gs, gp, gf := r.Uint32(), r.Bool(), r.String(300), r.Opaque(300), r.Fixed(len(p)); r.Finish() != nil ||
			gu != u || gv != v || gs != s || !bytes.Equal(gp, p) || !bytes.Equal(gf, p) {
			t.Fatalf("%x = %d, %v, %q, %x, %x, %v, want %d, %v, %q, %x, %x", b, gu, gv, gs, gp, gf, r.Err(), u, v, s, p, p)
		}
	})
}

// Any sequence of reads either fails for good or moves on within the data.
func FuzzReader(f *testing.F) {
	for _, tt := range items {
		f.Add(unhex(tt.data), []byte{0, 1, 2, 3, 4})
		f.Add(unhex(tt.data), []byte{3, 2, 1, 0})
	}
	f.Add(unhex("ffffffff"), []byte{2, 3})
	f.Fuzz(func(t *testing.T, b, script []byte) {
		r := NewReader(b)
		for _, op := range script {
			before, failed := r.Offset(), r.Err()
			n := uint32(op >> 3)
			switch op & 7 {
			case 0:
				r.Uint32()
			case 1:
				r.Bool()
			case 2:
				if p := r.Opaque(n); uint32(len(p)) > n {
					t.Fatalf("Opaque(%d) = %d bytes", n, len(p))
				}
			case 3:
				if s := r.String(n); uint32(len(s)) > n {
					t.Fatalf("String(%d) = %d bytes", n, len(s))
				}
			case 4:
				if p := r.Fixed(int(n)); r.Err() == nil && len(p) != int(n) {
					t.Fatalf("Fixed(%d) = %d bytes", n, len(p))
				}
			case 5:
				r.Opaque(math.MaxUint32)
			case 6:
				r.Rest()
			case 7:
				r.String(math.MaxUint32 - n)
			}
			at := r.Offset()
			if at < 0 || at > len(b) {
				t.Fatalf("Offset() = %d of %d", at, len(b))
			}
			switch {
			case failed != nil && (r.Err() != failed || at != before):
				t.Fatalf("Err() = %v at %d, want %v at %d for ever", r.Err(), at, failed, before)
			case r.Err() == nil && (at < before || at%4 != 0 && op&7 != 6):
				t.Fatalf("Offset() = %d after %d", at, before)
			}
		}
		if r.Err() == nil && len(r.Rest()) != len(b)-r.Offset() {
			t.Fatalf("Rest() = %d bytes at %d of %d", len(r.Rest()), r.Offset(), len(b))
		}
	})
}

func TestNothingIsAllocated(t *testing.T) {
	b := unhex("000186a0 00000001 00000003 75647000")
	buf := make([]byte, 0, 64)
	n := testing.AllocsPerRun(100, func() {
		r := NewReader(b)
		r.Uint32()
		r.Bool()
		r.Opaque(64)
		if r.Finish() != nil {
			t.Fatal(r.Err())
		}
		AppendOpaque(AppendString(AppendBool(AppendUint32(buf, 100000), true), "udp"), b[:3])
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkReader(b *testing.B) {
	data := unhex("000186a5 00000003 00000003 75647000 0000000f 3132372e 302e302e 312e302e 31313100 00000008 6c696274 69727063")
	b.ReportAllocs()
	for b.Loop() {
		r := NewReader(data)
		r.Uint32()
		r.Uint32()
		r.Opaque(64)
		r.Opaque(128)
		r.Opaque(64)
		if r.Finish() != nil {
			b.Fatal(r.Err())
		}
	}
}
