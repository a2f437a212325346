// Package ndr is the Network Data Representation that DCE/RPC carries its
// arguments in (C706, chapter 14): bytes in, values out.
//
// Items are aligned to their size, counted from the start of the stub, and come
// in the byte order that the sender's format label names.
package ndr

import (
	"errors"
	"fmt"
)

// A Label is the NDR format label (C706, section 14.1), the first four bytes of
// which also stand in the header of every PDU: how the sender writes integers,
// characters and floating-point numbers.
type Label [4]byte

// LittleEndian is the label of nearly everybody: little-endian integers, ASCII,
// IEEE floating point.
var LittleEndian = Label{0x10}

// BigEndian is the label of big-endian integers, ASCII and IEEE floating point,
// which is also the zero value.
var BigEndian = Label{}

// ErrLabel: integers or characters in a representation that is not read here.
var ErrLabel = errors.New("ndr: unsupported data representation")

// IsBigEndian tells the byte order of integers.
func (l Label) IsBigEndian() bool { return l[0]>>4 == 0 }

// Check returns nil if integers and characters can be read, else an error that
// wraps [ErrLabel]. Floating-point numbers may be of any kind: nothing that is
// read here has any.
func (l Label) Check() error {
	integers, characters := l[0]>>4, l[0]&0xf
	if integers > 1 || characters != 0 { // 1 is EBCDIC
		return fmt.Errorf("%w: label %x", ErrLabel, l)
	}
	return nil
}
