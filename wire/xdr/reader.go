package xdr

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors that a [Reader] reports, wrapped in an [*Error] with the offset.
var (
	ErrShort    = errors.New("short data")
	ErrTooLong  = errors.New("length over the limit")
	ErrBool     = errors.New("boolean is neither 0 nor 1")
	ErrTrailing = errors.New("data after the last field")
)

// An Error tells where in the input decoding failed.
type Error struct {
	Offset int // bytes from the start of the reader's slice
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("xdr: offset %d: %v", e.Offset, e.Err) }

// Unwrap returns the reason: one of this package's errors, or what was given to [Reader.Fail].
func (e *Error) Unwrap() error { return e.Err }

// A Reader decodes items from a slice, which it does not modify or copy.
// After the first failure every method returns the zero value and [Reader.Err]
// the failure. The zero Reader is at the end of empty input.
type Reader struct {
	b   []byte
	off int
	err error
}

// NewReader returns a reader at the start of b. It holds b.
func NewReader(b []byte) Reader { return Reader{b: b} }

// Err returns the first failure, an [*Error], or nil.
func (r *Reader) Err() error { return r.err }

// Offset returns how many bytes have been read.
func (r *Reader) Offset() int { return r.off }

// Rest returns what has not been read, a part of the reader's slice, without
// reading it; nil after a failure.
func (r *Reader) Rest() []byte {
	if r.err != nil {
		return nil
	}
	return r.b[r.off:]
}

// Finish returns the first failure, or [ErrTrailing] if data is left: for
// formats that end exactly. Others leave the rest to the caller.
func (r *Reader) Finish() error {
	if r.err == nil && r.off < len(r.b) {
		r.Fail(ErrTrailing)
	}
	return r.err
}

// Fail records err as a failure at the present offset, unless one stands already.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = &Error{r.off, err}
	}
}

// take returns the next n bytes and reads over their padding too.
func (r *Reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	rest := len(r.b) - r.off
	if n > rest || pad(n) > rest-n {
		r.Fail(ErrShort)
		return nil
	}
	p := r.b[r.off : r.off+n : r.off+n]
	r.off += n + pad(n)
	return p
}

// pad returns how many bytes, 0 to 3, follow an opaque of n bytes (RFC 4506, section 3).
func pad(n int) int { return -n & 3 }

// Uint32 reads an unsigned integer, 4 bytes (RFC 4506, section 4.2).
func (r *Reader) Uint32() uint32 {
	p := r.take(4)
	if p == nil {
		return 0
	}
	return binary.BigEndian.Uint32(p)
}

// Bool reads a boolean, 4 bytes (RFC 4506, section 4.4). Also the word before an
// element of optional data, section 4.19: true when an element follows.
func (r *Reader) Bool() bool {
	v := r.Uint32()
	if v > 1 {
		r.off -= 4
		r.Fail(ErrBool)
	}
	return v == 1 && r.err == nil
}

// Fixed reads n bytes, not negative, of fixed-length opaque data and their
// padding (RFC 4506, section 4.9). The result is part of the reader's slice.
// The value of padding bytes is not looked at, as no other implementation does.
func (r *Reader) Fixed(n int) []byte { return r.take(n) }

// Opaque reads variable-length opaque data of at most limit bytes (RFC 4506,
// section 4.10). The result is part of the reader's slice.
func (r *Reader) Opaque(limit uint32) []byte {
	n := r.Uint32()
	switch { // compared before it is an int: 0xffffffff is negative where that has 32 bits
	case r.err != nil:
		return nil
	case n > limit:
		r.off -= 4
		r.Fail(ErrTooLong)
		return nil
	case uint64(n) > uint64(len(r.b)-r.off):
		r.Fail(ErrShort)
		return nil
	}
	return r.take(int(n))
}

// String reads a string of at most limit bytes (RFC 4506, section 4.11). Its
// bytes are what the peer sent: not necessarily ASCII, UTF-8 or printable.
func (r *Reader) String(limit uint32) string { return string(r.Opaque(limit)) }
