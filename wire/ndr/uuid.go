package ndr

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// UUIDSize is the size of a [UUID] in bytes, on the wire as in memory.
const UUIDSize = 16

// A UUID is a universal unique identifier (C706, appendix A). Its bytes stand in
// the order of its text, whatever the byte order it came in. The zero value is
// the nil UUID.
type UUID [UUIDSize]byte

// IsNil tells whether u is the nil UUID.
func (u UUID) IsNil() bool { return u == UUID{} }

// String returns the text, in lower case: 12345778-1234-abcd-ef00-0123456789ac.
func (u UUID) String() string {
	var b [36]byte
	at := 0
	for i, group := range [...][]byte{u[0:4], u[4:6], u[6:8], u[8:10], u[10:16]} {
		if i > 0 {
			b[at] = '-'
			at++
		}
		at += hex.Encode(b[at:], group)
	}
	return string(b[:])
}

// ParseUUID reads what [UUID.String] writes, in lower or upper case.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return UUID{}, errUUID(s)
	}
	if _, err := hex.Decode(u[:], []byte(s[0:8]+s[9:13]+s[14:18]+s[19:23]+s[24:])); err != nil {
		return UUID{}, errUUID(s)
	}
	return u, nil
}

func errUUID(s string) error {
	return fmt.Errorf("%q is no UUID such as 12345778-1234-abcd-ef00-0123456789ac", s)
}

// MustParseUUID is [ParseUUID] for constants; it panics where that fails.
func MustParseUUID(s string) UUID {
	u, err := ParseUUID(s)
	if err != nil {
		panic("ndr: " + err.Error())
	}
	return u
}

// MarshalText implements [encoding.TextMarshaler] with [UUID.String].
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler] with [ParseUUID].
func (u *UUID) UnmarshalText(b []byte) error {
	v, err := ParseUUID(string(b))
	*u = v
	return err
}

// DecodeUUID returns the UUID in the first 16 bytes of b, which must be there, in
// that byte order.
func DecodeUUID(b []byte, order binary.ByteOrder) UUID {
	var u UUID
	binary.BigEndian.PutUint32(u[0:], order.Uint32(b[0:]))
	binary.BigEndian.PutUint16(u[4:], order.Uint16(b[4:]))
	binary.BigEndian.PutUint16(u[6:], order.Uint16(b[6:]))
	copy(u[8:], b[8:UUIDSize])
	return u
}

// AppendUUID appends the 16 bytes of u in that byte order.
func AppendUUID(b []byte, u UUID, order binary.AppendByteOrder) []byte {
	b = order.AppendUint32(b, binary.BigEndian.Uint32(u[0:]))
	b = order.AppendUint16(b, binary.BigEndian.Uint16(u[4:]))
	b = order.AppendUint16(b, binary.BigEndian.Uint16(u[6:]))
	return append(b, u[8:]...)
}
