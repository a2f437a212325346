package rpcbind

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// unhex decodes hexadecimal digits with any blanks between them.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// text returns the bytes of s in hexadecimal, for rows that are built.
func text(s string) string { return hex.EncodeToString([]byte(s)) }

// diff compares values; nil and empty slices are the same on the wire.
func diff(got, want any) string { return cmp.Diff(want, got, cmpopts.EquateEmpty()) }

// A codec is the two directions of one kind of arguments or results.
type codec[T any] struct {
	name   string
	parse  func([]byte) (T, error)
	append func([]byte, T) []byte
}

type row[T any] struct {
	name string // source: a tool and its transport, or a section
	data string
	want T
}

// A badRow is refused with an error that wraps want.
type badRow struct {
	name string
	data string
	want error
}

// check decodes every row and encodes it again, cuts it everywhere, and adds
// bytes that a port mapper must overlook.
func (c codec[T]) check(t *testing.T, rows []row[T]) {
	t.Helper()
	for _, tt := range rows {
		b := unhex(tt.data)
		got, err := c.parse(b)
		if d := diff(got, tt.want); err != nil || d != "" {
			t.Errorf("%s: %s(%x) = %v (-want +got):\n%s", tt.name, c.name, b, err, d)
		}
		if got := c.append([]byte{0xee}, tt.want); !bytes.Equal(got[1:], b) || got[0] != 0xee {
			t.Errorf("%s: append to ee = %x, want ee%x", tt.name, got, b)
		}
		for n := range b {
			if got, err := c.parse(b[:n]); !errors.Is(err, xdr.ErrShort) {
				t.Errorf("%s: %s(%x) = %v, %v, want ErrShort", tt.name, c.name, b[:n], got, err)
			}
		}
		if got, err := c.parse(append(bytes.Clone(b), 0, 0, 0, 1, 2)); err != nil || diff(got, tt.want) != "" {
			t.Errorf("%s: %s with bytes after it = %v, %v, want %v", tt.name, c.name, got, err, tt.want)
		}
	}
}

func (c codec[T]) checkFails(t *testing.T, rows []badRow) {
	t.Helper()
	for _, tt := range rows {
		b := unhex(tt.data)
		got, err := c.parse(b)
		var zero T
		if !errors.Is(err, tt.want) || diff(got, zero) != "" || !strings.HasPrefix(err.Error(), "rpcbind: ") {
			t.Errorf("%s: %s(%x) = %v, %v, want %v", tt.name, c.name, b, got, err, tt.want)
		}
	}
}

// fuzz holds that what decodes encodes and decodes to the same value.
func (c codec[T]) fuzz(f *testing.F, rows []row[T], bad []badRow) {
	for _, tt := range rows {
		f.Add(unhex(tt.data))
	}
	for _, tt := range bad {
		f.Add(unhex(tt.data))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		want, err := c.parse(b)
		if err != nil {
			return
		}
		again := c.append(nil, want)
		if len(again) > len(b) {
			t.Fatalf("%s(%x): encoded %x is longer", c.name, b, again)
		}
		got, err := c.parse(again)
		if d := diff(got, want); err != nil || d != "" {
			t.Fatalf("%s(%x) = %v (-want +got):\n%s", c.name, again, err, d)
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
				if _, err := c.parse(data); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("append/"+tt.name, func(b *testing.B) {
			buf := make([]byte, 0, len(data))
			b.ReportAllocs()
			for b.Loop() {
				c.append(buf, tt.want)
			}
		})
	}
}

// appendAllocatesNothing appends every row's value to a buffer that is large enough.
func (c codec[T]) appendAllocatesNothing(t *testing.T, rows []row[T]) {
	t.Helper()
	buf := make([]byte, 0, 16<<10)
	for _, tt := range rows {
		if n := testing.AllocsPerRun(10, func() { c.append(buf, tt.want) }); n != 0 {
			t.Errorf("%s: append: %v allocations, want 0", tt.name, n)
		}
	}
}

// appendList appends a list of RFC 1833.
func appendList[T interface{ Append([]byte) []byte }](b []byte, list []T) []byte {
	for _, e := range list {
		b = e.Append(AppendNext(b))
	}
	return AppendEnd(b)
}
