package tftp

import (
	"encoding/binary"
	"fmt"
)

// MaxBlock is the most bytes of data in a packet (RFC 2348). Without that option there are 512, and fewer in the last.
const MaxBlock = 65464

// A Data packet is one block of a file (RFC 1350, section 5).
type Data struct {
	Block uint16 // counted from 1; after 65535 comes what the two ends take it to be
	Data  []byte // at most MaxBlock; after decoding part of the packet
}

// ParseData decodes a DATA packet.
func ParseData(b []byte) (Data, error) {
	n, rest, err := numbered(b, OpData)
	if err == nil && len(rest) > MaxBlock {
		err = failed(OpData, ErrTooLong)
	}
	if err != nil {
		return Data{}, err
	}
	return Data{n, rest}, nil
}

// Append appends the packet.
func (d Data) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(OpData))
	b = binary.BigEndian.AppendUint16(b, d.Block)
	return append(b, d.Data...)
}

// An Ack says which block has come; 0 answers a write request or an [OptionAck] (RFC 1350, section 5).
type Ack struct {
	Block uint16
}

// ParseAck decodes an ACK packet.
func ParseAck(b []byte) (Ack, error) {
	n, rest, err := numbered(b, OpAck)
	if err == nil && len(rest) > 0 {
		err = failed(OpAck, ErrTrailing)
	}
	if err != nil {
		return Ack{}, err
	}
	return Ack{n}, nil
}

// Append appends the packet.
func (a Ack) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(OpAck))
	return binary.BigEndian.AppendUint16(b, a.Block)
}

// An ErrorCode says why a transfer ends (RFC 1350, appendix I; RFC 2347).
type ErrorCode uint16

// The codes.
const (
	CodeUndefined    ErrorCode = 0 // see the message
	CodeNotFound     ErrorCode = 1
	CodeAccess       ErrorCode = 2
	CodeDiskFull     ErrorCode = 3
	CodeIllegal      ErrorCode = 4 // illegal operation
	CodeUnknownID    ErrorCode = 5 // from a port that is not of the transfer
	CodeExists       ErrorCode = 6
	CodeNoUser       ErrorCode = 7
	CodeOptionDenied ErrorCode = 8 // the options cannot be agreed upon
)

var codeNames = [...]string{"undefined", "file not found", "access violation", "disk full", "illegal operation",
	"unknown transfer ID", "file exists", "no such user", "option negotiation"}

func (c ErrorCode) String() string {
	if int(c) >= len(codeNames) {
		return fmt.Sprintf("ErrorCode(%d)", uint16(c))
	}
	return codeNames[c]
}

// An Error ends a transfer; nobody answers it (RFC 1350, section 7). A client can return it as an error.
type Error struct {
	Code    ErrorCode
	Message string // for people
}

// Error implements error.
func (e Error) Error() string { return fmt.Sprintf("tftp: %v: %s", e.Code, e.Message) }

// ParseError decodes an ERROR packet of at most [MaxRequest] bytes.
func ParseError(b []byte) (Error, error) {
	n, rest, err := numbered(b, OpError)
	if err != nil {
		return Error{}, err
	}
	if len(b) > MaxRequest {
		return Error{}, failed(OpError, ErrTooLong)
	}
	message, rest, ok := cutString(rest)
	switch {
	case !ok:
		return Error{}, failed(OpError, ErrString)
	case len(rest) > 0:
		return Error{}, failed(OpError, ErrTrailing)
	}
	return Error{ErrorCode(n), message}, nil
}

// Append appends the packet.
func (e Error) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(OpError))
	b = binary.BigEndian.AppendUint16(b, uint16(e.Code))
	return appendString(b, e.Message)
}
