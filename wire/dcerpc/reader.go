package dcerpc

import "fmt"

// A PDUReader cuts a stream, fed to it in slices of any size, into PDUs. The zero
// value takes none; [PDUReader.Reset] sets the limit.
type PDUReader struct {
	limit int
	pdu   []byte // the start of a PDU that was not whole in one slice
	size  int    // that PDU's size; 0 while its header has not come
}

// keepSize is the most bytes that a reader holds on to between PDUs: room for most
// calls, of which few come in pieces, and little where thousands of connections idle.
const keepSize = 1 << 10

// Reset makes f ready for a new stream whose PDUs have at most limit bytes; it
// keeps its memory. A bind may have [MaxFrag] bytes, whatever is agreed upon later.
func (f *PDUReader) Reset(limit int) { *f = PDUReader{limit: limit, pdu: f.pdu[:0]} }

// Feed reads from b until a PDU is complete or b is used up, and returns how many
// bytes it used. A complete PDU, which is one fragment of a call, is part of b if
// it lies wholly within, and else valid until the next Feed; otherwise pdu is nil.
//
// Errors come as soon as there are bytes that tell, and wrap [ErrVersion],
// [ErrFragLength] or [ndr.ErrLabel]. The stream cannot be followed after them.
func (f *PDUReader) Feed(b []byte) (used int, pdu []byte, err error) {
	if f.size > 0 && len(f.pdu) == f.size { // the one returned before
		f.pdu, f.size = f.pdu[:0], 0
		if cap(f.pdu) > keepSize {
			f.pdu = nil
		}
	}
	if len(f.pdu) == 0 {
		size, err := f.measure(b)
		if err != nil {
			return 0, nil, err
		}
		if size > 0 && size <= len(b) {
			return size, b[:size:size], nil
		}
	}
	for used < len(b) {
		n := min(max(f.size, HeaderSize)-len(f.pdu), len(b)-used)
		f.pdu = append(f.pdu, b[used:used+n]...)
		used += n
		if f.size == 0 {
			if f.size, err = f.measure(f.pdu); err != nil {
				return used, nil, err
			}
		}
		if len(f.pdu) == f.size {
			return used, f.pdu, nil
		}
	}
	return used, nil, nil
}

// measure returns the size of the PDU that b starts with, or 0 if b ends within
// the header.
func (f *PDUReader) measure(b []byte) (int, error) {
	if len(b) < HeaderSize {
		if !supported(b) {
			return 0, fmt.Errorf("%w: stream starts with %x", ErrVersion, b)
		}
		return 0, nil
	}
	h, err := ParseHeader(b)
	switch {
	case err != nil:
		return 0, err
	case int(h.FragLength) > f.limit:
		return 0, fmt.Errorf("%w: %d bytes, over the limit of %d", ErrFragLength, h.FragLength, f.limit)
	}
	return int(h.FragLength), nil
}

// Partial tells whether part of a PDU has arrived.
func (f *PDUReader) Partial() bool { return len(f.pdu) > 0 && len(f.pdu) != f.size }

// Held returns how many bytes of a PDU that is not complete are kept.
func (f *PDUReader) Held() int {
	if !f.Partial() {
		return 0
	}
	return len(f.pdu)
}
