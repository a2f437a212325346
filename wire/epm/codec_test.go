package epm

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// unhex decodes hexadecimal digits with any blanks between them.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// octets returns the bytes of s in hexadecimal, for rows that are built.
func octets(s string) string { return hex.EncodeToString([]byte(s)) }

// diff compares values; nil and empty slices are the same on the wire.
func diff(got, want any) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}))
}

// trailer is the verification trailer that go-msrpc put after the arguments of ept_lookup.
const trailer = `8ae3137102f43671 01000400 01000000 02402800 083a fe11 f5dc 9111a408 002b14a0fa
	03000000 045d888aeb1cc9119fe808002b104860 02000000`

// A codec is the two directions of one kind of arguments or results.
type codec[T any] struct {
	name   string
	parse  func([]byte, ndr.Label) (T, error)
	append func(T, []byte, ndr.Label) []byte
}

type row[T any] struct {
	name string // source: a capture (who against whom), or a section
	data string // little-endian
	want T
	lax  bool // Append writes it otherwise: other referents, padding, null pointers or floors
}

// A badRow is refused with an error that wraps want.
type badRow struct {
	name string
	data string
	want error
}

// check decodes every row and encodes it again, in both byte orders, cuts it
// everywhere, and adds a trailer that must be overlooked.
func (c codec[T]) check(t *testing.T, rows []row[T]) {
	t.Helper()
	for _, tt := range rows {
		b := unhex(tt.data)
		again := c.append(tt.want, []byte{0xee}, ndr.LittleEndian)
		if again[0] != 0xee || !tt.lax && !bytes.Equal(again[1:], b) {
			t.Errorf("%s: Append to ee = %x, want ee%x", tt.name, again, b)
		}
		c.reads(t, tt, b, ndr.LittleEndian)
		c.reads(t, tt, again[1:], ndr.LittleEndian)
		twin := c.append(tt.want, nil, ndr.BigEndian)
		if len(twin) != len(again)-1 {
			t.Errorf("%s: Append in big-endian order has %d bytes, want %d", tt.name, len(twin), len(again)-1)
		}
		c.reads(t, tt, twin, ndr.BigEndian)
	}
}

func (c codec[T]) reads(t *testing.T, tt row[T], b []byte, l ndr.Label) {
	t.Helper()
	got, err := c.parse(b, l)
	if d := diff(got, tt.want); err != nil || d != "" {
		t.Errorf("%s: %s(%x, %x) = %v (-want +got):\n%s", tt.name, c.name, b, l, err, d)
	}
	for n := range b {
		got, err := c.parse(b[:n], l)
		var zero T
		if !errors.Is(err, ndr.ErrShort) || diff(got, zero) != "" {
			t.Errorf("%s: %s(%x, %x) = %v, %v, want ErrShort", tt.name, c.name, b[:n], l, got, err)
		}
	}
	if got, err := c.parse(append(bytes.Clone(b), unhex(trailer)...), l); err != nil || diff(got, tt.want) != "" {
		t.Errorf("%s: %s with a trailer = %v, %v, want %v", tt.name, c.name, got, err, tt.want)
	}
}

func (c codec[T]) checkFails(t *testing.T, rows []badRow) {
	t.Helper()
	for _, tt := range rows {
		b := unhex(tt.data)
		got, err := c.parse(b, ndr.LittleEndian)
		var zero T
		if !errors.Is(err, tt.want) || diff(got, zero) != "" || !strings.HasPrefix(err.Error(), "epm: ") {
			t.Errorf("%s: %s(%x) = %v, %v, want %v", tt.name, c.name, b, got, err, tt.want)
		}
	}
}

// fuzz holds that what decodes encodes and decodes to the same value.
func (c codec[T]) fuzz(f *testing.F, rows []row[T], bad []badRow) {
	for _, tt := range rows {
		f.Add(unhex(tt.data), false)
		f.Add(c.append(tt.want, nil, ndr.BigEndian), true)
	}
	for _, tt := range bad {
		f.Add(unhex(tt.data), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, big bool) {
		l := ndr.LittleEndian
		if big {
			l = ndr.BigEndian
		}
		want, err := c.parse(b, l)
		if err != nil {
			return
		}
		for _, l := range []ndr.Label{ndr.LittleEndian, ndr.BigEndian} {
			again := c.append(want, nil, l)
			got, err := c.parse(again, l)
			if d := diff(got, want); err != nil || d != "" {
				t.Fatalf("%s(%x, %x) = %v (-want +got):\n%s", c.name, again, l, err, d)
			}
		}
	})
}

// bench decodes the rows' bytes and encodes their values.
func (c codec[T]) bench(b *testing.B, rows []row[T]) {
	for _, tt := range rows {
		data := unhex(tt.data)
		b.Run("parse/"+tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.parse(data, ndr.LittleEndian); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("append/"+tt.name, func(b *testing.B) {
			buf := make([]byte, 0, 2*len(data))
			b.ReportAllocs()
			for b.Loop() {
				c.append(tt.want, buf, ndr.LittleEndian)
			}
		})
	}
}

// appendAllocatesNothing appends every row's value to a buffer that is large enough.
func (c codec[T]) appendAllocatesNothing(t *testing.T, rows []row[T]) {
	t.Helper()
	buf := make([]byte, 0, 16<<10)
	for _, tt := range rows {
		if n := testing.AllocsPerRun(10, func() { c.append(tt.want, buf, ndr.LittleEndian) }); n != 0 {
			t.Errorf("%s: Append: %v allocations, want 0", tt.name, n)
		}
	}
}

// What rows are about.
var (
	samr      = dcerpc.Syntax{UUID: ndr.MustParseUUID("12345778-1234-abcd-ef00-0123456789ac"), Major: 1}
	lsarpc    = dcerpc.Syntax{UUID: ndr.MustParseUUID("12345778-1234-abcd-ef00-0123456789ab")}
	dnsserver = dcerpc.Syntax{UUID: ndr.MustParseUUID("50abc2a4-574d-40b3-9d66-ee4fd5fba076"), Major: 5}
	object    = ndr.MustParseUUID("01020304-0506-0708-090a-0b0c0d0e0f10")
	handle    = ndr.Handle{UUID: ndr.MustParseUUID("2fc720f7-2134-4ab3-ae1e-031b93fe966a")}
)

// Pieces of rows.
const (
	nilUUID = " 00000000000000000000000000000000 "
	nilHnd  = " 00000000" + nilUUID
	someHnd = " 00000000 f720c72f3421b34aae1e031b93fe966a "
	objUUID = " 0403020106050807090a0b0c0d0e0f10 "
)
