package dcerpc

import (
	"fmt"

	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A Request is the body of a request: a call, or one fragment of it (C706, section
// 12.6.4.9).
type Request struct {
	AllocHint uint32   // bytes of stub from here to the end of the call; only a hint, often 0
	ContextID uint16   // of the Context in which the interface was bound
	Opnum     uint16   // number of the operation
	Object    ndr.UUID // the object that is called; nil where the header has no ObjectUUID
	Stub      []byte   // the arguments; part of the PDU
}

// A Response is the body of a response, or of one fragment of it (C706, section
// 12.6.4.10).
type Response struct {
	AllocHint   uint32 // as in Request
	ContextID   uint16
	CancelCount uint8
	Stub        []byte // the results; part of the PDU
}

// ParseRequest decodes the body of a request. The stub is without the auth
// trailer and its padding. Success allocates nothing.
func ParseRequest(h Header, pdu []byte) (Request, error) {
	r, err := body(h, pdu)
	if err != nil {
		return Request{}, err
	}
	m := Request{AllocHint: r.Uint32(), ContextID: r.Uint16(), Opnum: r.Uint16()}
	if h.Flags&ObjectUUID != 0 {
		m.Object = r.UUID()
	}
	m.Stub = r.Rest()
	if err := r.Err(); err != nil {
		return Request{}, fmt.Errorf("dcerpc: request: %w", err)
	}
	return m, nil
}

// ParseResponse decodes the body of a response. The stub is without the auth
// trailer and its padding. Success allocates nothing.
func ParseResponse(h Header, pdu []byte) (Response, error) {
	r, err := body(h, pdu)
	if err != nil {
		return Response{}, err
	}
	m := Response{AllocHint: r.Uint32(), ContextID: r.Uint16(), CancelCount: r.Uint8()}
	r.Uint8() // reserved
	m.Stub = r.Rest()
	if err := r.Err(); err != nil {
		return Response{}, fmt.Errorf("dcerpc: response: %w", err)
	}
	return m, nil
}

// callSize is the size in bytes of a request without an object, or of a
// response, up to the stub.
const callSize = HeaderSize + 8

// AppendRequest appends a call, in as many fragments of at most maxFrag bytes as
// its stub takes; a maxFrag under [MustRecvFragSize] counts as that. The hints are
// computed, and an object that is not nil stands in every fragment. Of h count
// the minor version, the label, the call, and the flags beyond [FirstFrag],
// [LastFrag] and [ObjectUUID].
func AppendRequest(b []byte, h Header, m Request, maxFrag uint16) []byte {
	size := callSize
	h.Flags &^= ObjectUUID
	if !m.Object.IsNil() {
		size += ndr.UUIDSize
		h.Flags |= ObjectUUID
	}
	h = first(h, PTypeRequest)
	for stub := m.Stub; ; h.Flags &^= FirstFrag {
		n := h.fit(size, len(stub), maxFrag)
		w := ndr.NewWriter(b, h.Label)
		h.write(&w)
		w.Uint32(uint32(len(stub)))
		w.Uint16(m.ContextID)
		w.Uint16(m.Opnum)
		if h.Flags&ObjectUUID != 0 {
			w.UUID(m.Object)
		}
		w.Bytes(stub[:n])
		b, stub = w.Result(), stub[n:]
		if len(stub) == 0 {
			return b
		}
	}
}

// AppendResponse appends an answer, in fragments as [AppendRequest] does. It
// allocates nothing if b has room for them.
func AppendResponse(b []byte, h Header, m Response, maxFrag uint16) []byte {
	h = first(h, PTypeResponse)
	for stub := m.Stub; ; h.Flags &^= FirstFrag {
		n := h.fit(callSize, len(stub), maxFrag)
		w := ndr.NewWriter(b, h.Label)
		h.write(&w)
		w.Uint32(uint32(len(stub)))
		w.Uint16(m.ContextID)
		w.Uint8(m.CancelCount)
		w.Uint8(0) // reserved
		w.Bytes(stub[:n])
		b, stub = w.Result(), stub[n:]
		if len(stub) == 0 {
			return b
		}
	}
}

// first returns the header of a call's first fragment, without its length.
func first(h Header, t PType) Header {
	h.Version, h.PType, h.AuthLength = Version, t, 0
	h.Flags = h.Flags&^LastFrag | FirstFrag
	return h
}

// fit makes h the header of a fragment whose stub starts after size bytes, and
// returns how many of the left bytes of stub are in it: a multiple of 8 unless
// they are the last ones (C706, section 12.6.3.1).
func (h *Header) fit(size, left int, maxFrag uint16) int {
	n := (int(max(maxFrag, MustRecvFragSize)) - size) &^ 7
	if left <= n {
		n = left
		h.Flags |= LastFrag
	}
	h.FragLength = uint16(size + n)
	return n
}
