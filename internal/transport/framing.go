package transport

import (
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
)

// A Framing tells the messages of a stream apart.
type Framing uint8

const (
	Records Framing = iota // of ONC RPC: each after its record marks (RFC 5531, section 11)
	PDUs                   // of DCE/RPC: each with its header, which tells its length (C706, section 12.6.3.1)
)

// A reader puts messages together from a stream, fed to it in slices of any size.
type reader interface {
	// Feed reads until a message is complete or b is used up, and returns how many
	// bytes it used. A message is valid until the next Feed; it is nil if none is complete.
	Feed(b []byte) (used int, message []byte, err error)
	Partial() bool // part of a message has arrived
	Held() int     // bytes of that part which the reader keeps
}

// maxHeld is how many bytes of messages that are not complete all connections of
// a server may keep together: one that would go beyond is ended.
const maxHeld = 16 << 20

// maxUnsent is the same of answers that clients do not take. What several
// connections share of an answer is not counted.
const maxUnsent = 8 << 20

// reader returns a reader for a connection.
func (f Framing) reader() reader {
	if f == PDUs {
		r := &dcerpc.PDUReader{}
		r.Reset(dcerpc.MaxFrag)
		return r
	}
	r := &oncrpc.RecordReader{}
	r.Reset(MaxMessage)
	return r
}

// begin appends room for what stands before an answer; end fills it in, once it is
// known that the answer has size bytes.
func (f Framing) begin(b []byte) []byte {
	if f == PDUs {
		return b
	}
	return oncrpc.AppendRecordMark(b, 0, true)
}

func (f Framing) end(b []byte, size int) {
	if f == Records {
		oncrpc.AppendRecordMark(b[:0], size, true)
	}
}
