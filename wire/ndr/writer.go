package ndr

import "encoding/binary"

// A Handle is a context handle (C706, section 14.2.16.6): it means something to the
// server that gave it out, within one association. The zero value is the nil
// handle, which is none.
type Handle struct {
	Attributes uint32
	UUID       UUID
}

// IsNil tells whether h is the nil handle.
func (h Handle) IsNil() bool { return h == Handle{} }

// A Writer appends items to a slice. The zero Writer appends to nothing, in
// little-endian order.
type Writer struct {
	b    []byte
	base int // where the stub starts
	big  bool
}

// NewWriter returns a writer that appends to b a stub whose alignment is counted
// from there, with integers in the label's byte order. It owns b until [Writer.Result].
func NewWriter(b []byte, l Label) Writer { return Writer{b: b, base: len(b), big: l.IsBigEndian()} }

// Result returns the slice with all that was appended.
func (w *Writer) Result() []byte { return w.b }

// Len returns how many bytes were appended.
func (w *Writer) Len() int { return len(w.b) - w.base }

// Align appends zeros up to a multiple of n, a power of two of at most 8.
func (w *Writer) Align(n int) {
	var zero [7]byte
	w.b = append(w.b, zero[:-w.Len()&(n-1)]...)
}

// Bytes appends bytes that are not aligned.
func (w *Writer) Bytes(p []byte) { w.b = append(w.b, p...) }

// String appends the bytes of a text that are not aligned.
func (w *Writer) String(s string) { w.b = append(w.b, s...) }

// Uint8 appends a small integer or octet, 1 byte.
func (w *Writer) Uint8(v uint8) { w.b = append(w.b, v) }

// Uint16 appends a short, 2 bytes.
func (w *Writer) Uint16(v uint16) {
	w.Align(2)
	if w.big {
		w.b = binary.BigEndian.AppendUint16(w.b, v)
		return
	}
	w.b = binary.LittleEndian.AppendUint16(w.b, v)
}

// Uint32 appends a long, 4 bytes; also the referent of a pointer.
func (w *Writer) Uint32(v uint32) {
	w.Align(4)
	if w.big {
		w.b = binary.BigEndian.AppendUint32(w.b, v)
		return
	}
	w.b = binary.LittleEndian.AppendUint32(w.b, v)
}

// SetUint16 replaces a short that was appended after off bytes.
func (w *Writer) SetUint16(off int, v uint16) {
	at := w.b[w.base+off:]
	if w.big {
		binary.BigEndian.PutUint16(at, v)
		return
	}
	binary.LittleEndian.PutUint16(at, v)
}

// SetUint32 replaces a long that was appended after off bytes, for counts that
// are known late.
func (w *Writer) SetUint32(off int, v uint32) {
	at := w.b[w.base+off:]
	if w.big {
		binary.BigEndian.PutUint32(at, v)
		return
	}
	binary.LittleEndian.PutUint32(at, v)
}

// UUID appends a UUID, 16 bytes aligned to 4.
func (w *Writer) UUID(u UUID) {
	w.Align(4)
	if w.big {
		w.b = AppendUUID(w.b, u, binary.BigEndian)
		return
	}
	w.b = AppendUUID(w.b, u, binary.LittleEndian)
}

// Handle appends a context handle, 20 bytes aligned to 4.
func (w *Writer) Handle(h Handle) {
	w.Uint32(h.Attributes)
	w.UUID(h.UUID)
}
