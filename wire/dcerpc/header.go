package dcerpc

import (
	"errors"
	"fmt"

	"github.com/quaymaster/quaymaster/wire/ndr"
)

// Version is the major version of the protocol, rpc_vers (C706, section 12.6.1);
// its minor version is 0 or 1.
const Version = 5

const maxMinorVersion = 1

// HeaderSize is the size in bytes of a [Header].
const HeaderSize = 16

// MaxFrag is the most bytes that a PDU can have: frag_length has 16 bits.
const MaxFrag = 0xffff

// MustRecvFragSize is the size in bytes of a fragment that every implementation
// takes, whatever it says when it binds (C706, appendix K).
const MustRecvFragSize = 1432

// Errors of [ParseHeader] and [PDUReader]. A stream cannot be followed past them.
var (
	// ErrVersion: neither version 5.0 nor 5.1; most often another protocol.
	ErrVersion = errors.New("dcerpc: version is neither 5.0 nor 5.1")
	// ErrFragLength: a PDU shorter than its header, or over its reader's limit.
	ErrFragLength = errors.New("dcerpc: fragment length out of range")
)

// A PType is the type of a PDU (C706, section 12.1; MS-RPCE, section 2.2.2.1).
type PType uint8

// Types of PDUs. Those of the connectionless protocol, 1 and 4 to 10, are left out.
const (
	PTypeRequest          PType = 0
	PTypeResponse         PType = 2
	PTypeFault            PType = 3
	PTypeBind             PType = 11
	PTypeBindAck          PType = 12
	PTypeBindNak          PType = 13
	PTypeAlterContext     PType = 14
	PTypeAlterContextResp PType = 15
	PTypeAuth3            PType = 16 // MS-RPCE, section 2.2.2.10; never answered
	PTypeShutdown         PType = 17
	PTypeCoCancel         PType = 18
	PTypeOrphaned         PType = 19
)

func (t PType) String() string {
	switch t {
	case PTypeRequest:
		return "request"
	case PTypeResponse:
		return "response"
	case PTypeFault:
		return "fault"
	case PTypeBind:
		return "bind"
	case PTypeBindAck:
		return "bind_ack"
	case PTypeBindNak:
		return "bind_nak"
	case PTypeAlterContext:
		return "alter_context"
	case PTypeAlterContextResp:
		return "alter_context_resp"
	case PTypeAuth3:
		return "rpc_auth_3"
	case PTypeShutdown:
		return "shutdown"
	case PTypeCoCancel:
		return "co_cancel"
	case PTypeOrphaned:
		return "orphaned"
	}
	return fmt.Sprintf("PType(%d)", uint8(t))
}

// Flags are the pfc_flags of a PDU (C706, section 12.6.3.1).
type Flags uint8

// The flags. One bit has two meanings, by the type of the PDU.
const (
	FirstFrag         Flags = 0x01
	LastFrag          Flags = 0x02
	PendingCancel     Flags = 0x04 // in requests
	SupportHeaderSign Flags = 0x04 // in bind and alter_context and their answers (MS-RPCE, section 2.2.2.3)
	Multiplex         Flags = 0x10 // several calls at a time on one connection
	DidNotExecute     Flags = 0x20 // in faults: nothing of the call was done
	Maybe             Flags = 0x40 // no answer is wanted
	ObjectUUID        Flags = 0x80 // in requests: an object stands before the stub
)

const wholeFrag = FirstFrag | LastFrag

// Whole tells whether a PDU that cannot be in fragments, such as bind, is whole:
// with both flags, or with neither as very old clients send it. With a request
// neither may also mean a fragment in the middle: see [Assembler].
func (f Flags) Whole() bool { return f&wholeFrag == wholeFrag || f&wholeFrag == 0 }

// A Header stands at the start of every PDU, 16 bytes (C706, section 12.6.3.1).
type Header struct {
	Version, MinorVersion uint8
	PType                 PType
	Flags                 Flags
	Label                 ndr.Label // packed_drep: how all integers of the PDU and its stub are written
	FragLength            uint16    // bytes of the PDU, this header and the trailer included
	AuthLength            uint16    // bytes of the token at the end; 0 means that there is no trailer
	CallID                uint32    // pairs answers with calls, and fragments with each other
}

// ParseHeader decodes the header at the start of b. Errors wrap [ErrVersion],
// [ErrFragLength], [ndr.ErrLabel] or [ndr.ErrShort].
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("dcerpc: header: %w", ndr.ErrShort)
	}
	h := Header{Version: b[0], MinorVersion: b[1], PType: PType(b[2]), Flags: Flags(b[3]), Label: ndr.Label(b[4:8])}
	if !supported(b) {
		return Header{}, fmt.Errorf("%w: %d.%d", ErrVersion, h.Version, h.MinorVersion)
	}
	if err := h.Label.Check(); err != nil {
		return Header{}, fmt.Errorf("dcerpc: header: %w", err)
	}
	r := ndr.NewReader(b[8:HeaderSize], h.Label)
	h.FragLength, h.AuthLength, h.CallID = r.Uint16(), r.Uint16(), r.Uint32()
	if h.FragLength < HeaderSize {
		return Header{}, fmt.Errorf("%w: %d bytes", ErrFragLength, h.FragLength)
	}
	return h, nil
}

// supported tells whether a PDU that starts like b, of which a byte or two may
// be there, can have a version that is spoken here.
func supported(b []byte) bool {
	return (len(b) < 1 || b[0] == Version) && (len(b) < 2 || b[1] <= maxMinorVersion)
}

// Append appends the header as it is.
func (h Header) Append(b []byte) []byte {
	w := ndr.NewWriter(b, h.Label)
	h.write(&w)
	return w.Result()
}

func (h Header) write(w *ndr.Writer) {
	w.Bytes([]byte{h.Version, h.MinorVersion, uint8(h.PType), uint8(h.Flags), h.Label[0], h.Label[1], h.Label[2], h.Label[3]})
	w.Uint16(h.FragLength)
	w.Uint16(h.AuthLength)
	w.Uint32(h.CallID)
}

// Reply returns a header for the answers to h, in which are set those fields
// that the functions which append PDUs do not set themselves: the minor version,
// the label and the call, all as the asker has them, and no flags.
func (h Header) Reply() Header {
	return Header{MinorVersion: h.MinorVersion, Label: h.Label, CallID: h.CallID}
}

// begin starts a PDU of one fragment. Of h count the minor version, the flags,
// the label and the call.
func begin(b []byte, h Header, t PType) ndr.Writer {
	w := ndr.NewWriter(b, h.Label)
	h.Version, h.PType, h.Flags = Version, t, h.Flags|wholeFrag
	h.FragLength, h.AuthLength = 0, 0
	h.write(&w)
	return w
}

// fragLengthOffset is where frag_length stands in a header.
const fragLengthOffset = 8

// end ends what begin started.
func end(w *ndr.Writer) []byte {
	if w.Len() > MaxFrag {
		panic("dcerpc: a PDU of more than 65535 bytes")
	}
	w.SetUint16(fragLengthOffset, uint16(w.Len()))
	return w.Result()
}

// body returns a reader that stands behind the header of a PDU, ends before its
// trailer, and aligns from the start of the PDU.
func body(h Header, pdu []byte) (ndr.Reader, error) {
	_, end, err := trailer(h, pdu)
	if err != nil {
		return ndr.Reader{}, err
	}
	r := ndr.NewReader(pdu[:end:end], h.Label)
	r.Bytes(HeaderSize)
	return r, nil
}
