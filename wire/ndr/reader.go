package ndr

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors that a [Reader] reports, wrapped in an [*Error] with the offset.
var (
	ErrShort   = errors.New("short data")
	ErrTooLong = errors.New("length over the limit")
)

// An Error tells where in the input decoding failed.
type Error struct {
	Offset int // bytes from the start of the reader's slice
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("ndr: offset %d: %v", e.Offset, e.Err) }

// Unwrap returns the reason: one of this package's errors, or what was given to [Reader.Fail].
func (e *Error) Unwrap() error { return e.Err }

// A Reader decodes items from a stub, which it does not modify or copy. After
// the first failure every method returns the zero value and [Reader.Err] the
// failure. What is left at the end is the caller's business: authenticated
// clients append a verification trailer (MS-RPCE, section 2.2.2.13).
//
// The zero Reader is at the end of empty input.
type Reader struct {
	b   []byte
	off int
	big bool
	err error
}

// NewReader returns a reader at the start of b, from which alignment is counted,
// for integers in the label's byte order. It holds b.
func NewReader(b []byte, l Label) Reader { return Reader{b: b, big: l.IsBigEndian()} }

// Err returns the first failure, an [*Error], or nil.
func (r *Reader) Err() error { return r.err }

// Offset returns how many bytes have been read, alignment included.
func (r *Reader) Offset() int { return r.off }

// Rest returns what has not been read, a part of the reader's slice, without
// reading it; nil after a failure.
func (r *Reader) Rest() []byte {
	if r.err != nil {
		return nil
	}
	return r.b[r.off:]
}

// Fail records err as a failure at the present offset, unless one stands already.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = &Error{r.off, err}
	}
}

// Align reads over padding, whatever its value, up to a multiple of n, a power of two.
func (r *Reader) Align(n int) { r.Bytes(-r.off & (n - 1)) }

// Bytes reads n bytes, not negative, that are not aligned: a part of the reader's slice.
func (r *Reader) Bytes(n int) []byte {
	switch {
	case r.err != nil:
		return nil
	case n > len(r.b)-r.off:
		r.Fail(ErrShort)
		return nil
	}
	p := r.b[r.off : r.off+n : r.off+n]
	r.off += n
	return p
}

// take returns n bytes aligned to their size.
func (r *Reader) take(n int) []byte {
	r.Align(n)
	return r.Bytes(n)
}

// order returns the byte order of integers.
func (r *Reader) order() binary.ByteOrder {
	if r.big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// Uint8 reads a small integer or octet, 1 byte.
func (r *Reader) Uint8() uint8 {
	p := r.take(1)
	if p == nil {
		return 0
	}
	return p[0]
}

// Uint16 reads a short, 2 bytes.
func (r *Reader) Uint16() uint16 {
	p := r.take(2)
	if p == nil {
		return 0
	}
	if r.big {
		return binary.BigEndian.Uint16(p)
	}
	return binary.LittleEndian.Uint16(p)
}

// Uint32 reads a long, 4 bytes; also the referent of a pointer, which is 0 for
// the null pointer and else has no meaning (C706, section 14.3.10).
func (r *Reader) Uint32() uint32 {
	p := r.take(4)
	if p == nil {
		return 0
	}
	if r.big {
		return binary.BigEndian.Uint32(p)
	}
	return binary.LittleEndian.Uint32(p)
}

// Count reads a conformance or variance, 4 bytes, that may be at most limit.
func (r *Reader) Count(limit uint32) uint32 {
	n := r.Uint32()
	if n > limit {
		r.off -= 4
		r.Fail(ErrTooLong)
		return 0
	}
	return n
}

// UUID reads a UUID, 16 bytes aligned to 4.
func (r *Reader) UUID() UUID {
	r.Align(4)
	p := r.Bytes(UUIDSize)
	if p == nil {
		return UUID{}
	}
	return DecodeUUID(p, r.order())
}

// Handle reads a context handle, 20 bytes aligned to 4.
func (r *Reader) Handle() Handle {
	return Handle{Attributes: r.Uint32(), UUID: r.UUID()}
}
