package probe

import (
	"encoding/asn1"
	"encoding/binary"
	"fmt"
)

// Tags of BER (X.690) in one byte, with class and form, as LDAP, SNMP and Kerberos use them.
const (
	berBool        = 0x01
	berInt         = 0x02
	berOctets      = 0x04
	berNull        = 0x05
	berOID         = 0x06
	berEnum        = 0x0a
	berSequence    = 0x30
	berSet         = 0x31
	berContext     = 0x80 // [0], primitive
	berNested      = 0xa0 // [0], constructed
	berApplication = 0x60 // [APPLICATION 0], constructed
)

// ber returns an element: its contents are the parts, one after the other.
func ber(tag byte, parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	b := make([]byte, 0, size+4)
	b = append(b, tag)
	switch {
	case size < 0x80:
		b = append(b, byte(size))
	case size <= 0xff:
		b = append(b, 0x81, byte(size))
	default: // nothing of ours is longer than 64 KiB
		b = append(b, 0x82, byte(size>>8), byte(size))
	}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func berString(tag byte, s string) []byte { return ber(tag, []byte(s)) }

// berNumber returns a number as a whole number of 1 to 5 bytes.
func berNumber(tag byte, v uint32) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0}, v) // the 0 is the sign
	for len(b) > 1 && b[0] == 0 && b[1] < 0x80 {
		b = b[1:]
	}
	return ber(tag, b)
}

// berSize returns the whole size of the element that begins with head, and how much of that
// is its tag and length; ok is false while head is too short to tell. Lengths need not be
// as short as can be: Active Directory writes them in four bytes. Tags of several bytes and lengths
// that are told at the end are not used by what we speak.
func berSize(head []byte) (size, header int, ok bool, err error) {
	if len(head) < 2 {
		return 0, 0, false, nil
	}
	n := int(head[1])
	if head[0]&0x1f == 0x1f || n == 0x80 || n > 0x84 {
		return 0, 0, false, fmt.Errorf("%w: element %#x of length %#x", errAnswer, head[0], n)
	}
	if n < 0x80 {
		return 2 + n, 2, true, nil
	}
	header = 2 + n&0x7f
	if len(head) < header {
		return 0, 0, false, nil
	}
	length := uint32(0)
	for _, b := range head[2:header] {
		length = length<<8 | uint32(b)
	}
	if length > maxGreeting {
		return 0, 0, false, fmt.Errorf("%w: element of %d bytes", errEnd, length)
	}
	return header + int(length), header, true, nil
}

// A berReader reads elements one after the other. Its first failure sticks.
type berReader struct {
	b   []byte
	err error
}

// more tells whether elements follow.
func (r *berReader) more() bool { return r.err == nil && len(r.b) > 0 }

// next returns the next element, whatever it is.
func (r *berReader) next() (tag byte, contents []byte) {
	if r.err != nil {
		return 0, nil
	}
	size, header, ok, err := berSize(r.b)
	if err == nil && (!ok || size > len(r.b)) {
		err = fmt.Errorf("%w: it ends within an element", errAnswer)
	}
	if err != nil {
		r.err = err
		return 0, nil
	}
	tag, contents, r.b = r.b[0], r.b[header:size], r.b[size:]
	return tag, contents
}

// bytes returns the contents of the next element, which must have the tag.
func (r *berReader) bytes(want byte) []byte {
	tag, contents := r.next()
	if r.err == nil && tag != want {
		r.err = fmt.Errorf("%w: element %#x where %#x belongs", errAnswer, tag, want)
		return nil
	}
	return contents
}

// inside returns a reader of what is within the next element, which must have the tag.
func (r *berReader) inside(want byte) *berReader {
	contents := r.bytes(want)
	return &berReader{b: contents, err: r.err}
}

// number returns a whole number of up to 64 bits.
func (r *berReader) number(want byte) int64 {
	contents := r.bytes(want)
	if r.err == nil && (len(contents) == 0 || len(contents) > 8) {
		r.err = fmt.Errorf("%w: a number of %d bytes", errAnswer, len(contents))
	}
	if r.err != nil {
		return 0
	}
	v := int64(int8(contents[0]))
	for _, b := range contents[1:] {
		v = v<<8 | int64(b)
	}
	return v
}

// berOf returns an object identifier.
func berOf(id asn1.ObjectIdentifier) []byte {
	b, err := asn1.Marshal(id)
	if err != nil {
		panic(err) // ours are valid
	}
	return b
}

// der returns the encoding of a question of ours.
func der(question any, params string) []byte {
	b, err := asn1.MarshalWithParams(question, params)
	if err != nil {
		panic(err) // ours are valid
	}
	return b
}
