package tftp

import (
	"encoding/binary"
	"fmt"
)

// MaxRequest is the most bytes of a request (RFC 2347), which bounds its strings and its options too.
const MaxRequest = 512

// A Request asks a server for a file, or to take one (RRQ and WRQ, RFC 1350, section 5).
type Request struct {
	Op       Opcode // OpRead or OpWrite
	Filename string // never empty; any bytes but NUL
	Mode     Mode
	Options  []Option // no two of one name
}

// A Mode says what becomes of the bytes of a file on the way (RFC 1350, section 1).
type Mode uint8

// The modes.
const (
	Netascii Mode = 1 + iota
	Octet
	Mail // to a user in the place of a file; obsolete, of write requests only
)

var modeNames = [...]string{Netascii: "netascii", Octet: "octet", Mail: "mail"}

// String returns the word that travels.
func (m Mode) String() string {
	if m == 0 || int(m) >= len(modeNames) {
		return fmt.Sprintf("Mode(%d)", uint8(m))
	}
	return modeNames[m]
}

// parseMode reads a mode in upper or lower case, or both.
func parseMode(s string, op Opcode) (Mode, bool) {
	for m := Netascii; m <= Mail; m++ {
		if sameWord(s, modeNames[m]) {
			return m, m != Mail || op == OpWrite
		}
	}
	return 0, false
}

// ParseRequest decodes a request. What is not written in exactly the way of the RFCs is refused: bytes after the
// last string, a string that does not end, an unknown mode, an option twice. The values of options are
// not looked at: see [Option.Check].
func ParseRequest(b []byte) (Request, error) {
	q := Request{Op: OpcodeOf(b)}
	switch {
	case len(b) < opSize:
		return Request{}, failed(OpRead, ErrShort)
	case !q.Op.IsRequest():
		return Request{}, failed(OpRead, fmt.Errorf("%w: %v", ErrOpcode, q.Op))
	case len(b) > MaxRequest:
		return Request{}, failed(q.Op, ErrTooLong)
	}
	var mode string
	var ok, okMode bool
	b = b[opSize:]
	if q.Filename, b, ok = cutString(b); ok {
		mode, b, ok = cutString(b)
	}
	q.Mode, okMode = parseMode(mode, q.Op)
	switch {
	case !ok:
		return Request{}, failed(q.Op, ErrString)
	case q.Filename == "":
		return Request{}, failed(q.Op, ErrEmpty)
	case !okMode:
		return Request{}, failed(q.Op, fmt.Errorf("%w: %q", ErrMode, mode))
	}
	var err error
	if q.Options, err = readOptions(b); err != nil {
		return Request{}, failed(q.Op, err)
	}
	return q, nil
}

// Append appends the request.
func (q Request) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(q.Op))
	b = appendString(b, q.Filename)
	b = appendString(b, q.Mode.String())
	return appendOptions(b, q.Options)
}
