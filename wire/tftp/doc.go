// Package tftp is the Trivial File Transfer Protocol, RFC 1350, with the options of RFC 2347: their block
// size (RFC 2348), timeout and transfer size (RFC 2349) and window (RFC 7440). It knows the packets, each of
// which is a datagram.
//
// A client sends a request to port 69 of a server, which answers it from a port that it picks for the
// transfer. No packet holds an address or a port.
package tftp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Port is the well-known port of servers, UDP (RFC 1350, section 4).
const Port = 69

// Errors of the functions that decode packets; a caller gets them wrapped.
var (
	ErrShort    = errors.New("short packet")
	ErrTooLong  = errors.New("packet over the limit")
	ErrString   = errors.New("string without a NUL at its end")
	ErrEmpty    = errors.New("empty file name or option name")
	ErrMode     = errors.New("mode is neither netascii nor octet, nor mail in a write request")
	ErrOption   = errors.New("option that is there twice")
	ErrTrailing = errors.New("data after the last field")
	ErrOpcode   = errors.New("another opcode")
)

// An Opcode begins every packet: what it is (RFC 1350, section 5).
type Opcode uint16

// The opcodes.
const (
	OpRead      Opcode = 1 // RRQ
	OpWrite     Opcode = 2 // WRQ
	OpData      Opcode = 3
	OpAck       Opcode = 4
	OpError     Opcode = 5
	OpOptionAck Opcode = 6 // OACK, of RFC 2347
)

var opNames = [...]string{OpRead: "RRQ", OpWrite: "WRQ", OpData: "DATA", OpAck: "ACK", OpError: "ERROR", OpOptionAck: "OACK"}

// String returns the name that the RFCs have for it.
func (op Opcode) String() string {
	if op == 0 || int(op) >= len(opNames) {
		return fmt.Sprintf("Opcode(%d)", uint16(op))
	}
	return opNames[op]
}

// IsRequest tells whether packets of the opcode go to [Port]: all others are of a transfer.
func (op Opcode) IsRequest() bool { return op == OpRead || op == OpWrite }

// OpcodeOf returns what a packet is; 0, which is nothing, where it is too short to tell.
func OpcodeOf(b []byte) Opcode {
	if len(b) < opSize {
		return 0
	}
	return Opcode(binary.BigEndian.Uint16(b))
}

// opSize is the size in bytes of an opcode, and of the number after it.
const opSize = 2

// failed returns an error of decoding a packet of the opcode.
func failed(op Opcode, err error) error { return fmt.Errorf("tftp: %v: %w", op, err) }

// numbered returns the number behind the opcode, which must be op, and what follows.
func numbered(b []byte, op Opcode) (uint16, []byte, error) {
	switch got := OpcodeOf(b); {
	case got == 0 && len(b) < opSize, got == op && len(b) < 2*opSize:
		return 0, nil, failed(op, ErrShort)
	case got != op:
		return 0, nil, failed(op, fmt.Errorf("%w: %v", ErrOpcode, got))
	}
	return binary.BigEndian.Uint16(b[opSize:]), b[2*opSize:], nil
}

// cutString returns the string that b begins with, and what follows its NUL.
func cutString(b []byte) (s string, rest []byte, ok bool) {
	for i, c := range b {
		if c == 0 {
			return string(b[:i]), b[i+1:], true
		}
	}
	return "", nil, false
}

func appendString(b []byte, s string) []byte { return append(append(b, s...), 0) }
