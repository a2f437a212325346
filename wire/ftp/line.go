package ftp

import (
	"errors"
	"fmt"
)

// Errors of a [LineReader]. After one the stream cannot be followed any more.
var (
	ErrLineTooLong = fmt.Errorf("ftp: line of more than %d bytes", MaxLine)
	ErrLineEnd     = errors.New("ftp: CR and LF do not come as a pair")
	ErrByte        = errors.New("ftp: NUL or a telnet command within a line")
)

// Bytes of Telnet (RFC 854) that clients send before ABOR (RFC 959, section 4.1.3): "Interrupt Process" and "Synch".
const (
	telnetIAC = 0xff
	telnetIP  = 0xf4
	telnetDM  = 0xf2
)

// maxSignal is the most bytes of Telnet before a command. Clients send four.
const maxSignal = 8

// A LineReader cuts a stream into lines, fed to it in slices of any size. A line ends with CR LF, and has
// neither of them, no NUL and no byte 255 in it: those are what servers and clients read in different ways. The zero
// value is at the start of a stream.
type LineReader struct {
	line   []byte
	cr     bool // the last byte was CR
	done   bool // line was returned
	signal int  // bytes of Telnet before line
}

// Feed reads from b until a line is complete or b is used up, and returns how many bytes it used. A complete
// line is without its end, not nil, and valid until the next Feed; otherwise line is nil.
//
// Interrupt and Synch of Telnet at the start of a line are left out. They may lack a byte, which then
// was sent as urgent data.
func (r *LineReader) Feed(b []byte) (used int, line []byte, err error) {
	if r.done {
		r.line, r.done, r.signal = r.line[:0], false, 0
	}
	for _, c := range b {
		switch {
		case r.cr != (c == '\n'):
			return used, nil, ErrLineEnd
		case c == '\n':
			r.cr, r.done = false, true
			if r.line == nil {
				r.line = []byte{}
			}
			return used + 1, r.line, nil
		case c == '\r':
			r.cr = true
		case len(r.line) == 0 && (c == telnetIAC || c == telnetIP || c == telnetDM):
			if r.signal++; r.signal > maxSignal {
				return used, nil, ErrByte
			}
		case c == 0 || c == telnetIAC:
			return used, nil, ErrByte
		case len(r.line) == MaxLine:
			return used, nil, ErrLineTooLong
		default:
			r.line = append(r.line, c)
		}
		used++
	}
	return used, nil, nil
}

// Signalled reports whether Interrupt or Synch of Telnet came before the line.
func (r *LineReader) Signalled() bool { return r.signal > 0 }

// Partial reports whether part of a line has arrived.
func (r *LineReader) Partial() bool { return !r.done && (len(r.line) > 0 || r.cr || r.signal > 0) }
