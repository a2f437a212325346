package dcerpc

import (
	"fmt"

	"github.com/quaymaster/quaymaster/wire/ndr"
)

// MaxContexts is the most contexts that a [Bind] can have, transfer syntaxes that
// a [Context] can have and results that a [BindAck] can have: the wire counts
// them in one byte. With the PDU's length that bounds what decoding takes.
const MaxContexts = 255

// MaxSecondaryAddr is the most bytes, with the NUL, of a [BindAck]'s secondary
// address: a port number, or the name of a pipe.
const MaxSecondaryAddr = 256

// A Bind is the body of bind, the first PDU of a connection, and of alter_context,
// which comes later and has the same form (C706, sections 12.6.4.3 and 12.6.4.1).
type Bind struct {
	MaxXmitFrag uint16 // bytes of the largest fragment that the client wants to send
	MaxRecvFrag uint16 // and to receive
	AssocGroup  uint32 // 0 for a new association group
	Contexts    []Context
}

// A Context proposes to call an interface in one of several representations; later
// requests name it by its ID: p_cont_elem_t (C706, section 12.6.3.1).
type Context struct {
	ID        uint16
	Abstract  Syntax
	Transfers []Syntax
}

// ParseBind decodes the body of a bind or alter_context, which owns its memory.
func ParseBind(h Header, pdu []byte) (Bind, error) {
	r, err := body(h, pdu)
	if err != nil {
		return Bind{}, err
	}
	m := Bind{MaxXmitFrag: r.Uint16(), MaxRecvFrag: r.Uint16(), AssocGroup: r.Uint32()}
	n := int(r.Uint8())
	r.Bytes(3) // reserved, reserved2
	if n*contextSize > len(r.Rest()) {
		r.Fail(ndr.ErrShort)
	}
	if r.Err() == nil && n > 0 {
		m.Contexts = make([]Context, n)
		for i := range m.Contexts {
			m.Contexts[i] = readContext(&r)
		}
	}
	if err := r.Err(); err != nil {
		return Bind{}, fmt.Errorf("dcerpc: %v: %w", h.PType, err)
	}
	return m, nil
}

// Bytes of a syntax, and of a context without transfer syntaxes.
const (
	syntaxSize  = ndr.UUIDSize + 4
	contextSize = 4 + syntaxSize
)

func readContext(r *ndr.Reader) Context {
	c := Context{ID: r.Uint16()}
	n := int(r.Uint8())
	r.Uint8() // reserved
	c.Abstract = readSyntax(r)
	if n*syntaxSize > len(r.Rest()) {
		r.Fail(ndr.ErrShort)
	}
	if r.Err() == nil && n > 0 {
		c.Transfers = make([]Syntax, n)
		for i := range c.Transfers {
			c.Transfers[i] = readSyntax(r)
		}
	}
	return c
}

func readSyntax(r *ndr.Reader) Syntax {
	u := r.UUID()
	version := r.Uint32()
	return Syntax{UUID: u, Major: uint16(version), Minor: uint16(version >> 16)}
}

func writeSyntax(w *ndr.Writer, s Syntax) {
	w.UUID(s.UUID)
	w.Uint32(uint32(s.Minor)<<16 | uint32(s.Major))
}

// AppendBind appends a bind, and [AppendAlterContext] an alter_context. Of h count
// the minor version, the label, the call, and the flags beyond [FirstFrag] and
// [LastFrag].
func AppendBind(b []byte, h Header, m Bind) []byte { return appendBind(b, h, PTypeBind, m) }

// AppendAlterContext appends an alter_context: see [AppendBind].
func AppendAlterContext(b []byte, h Header, m Bind) []byte {
	return appendBind(b, h, PTypeAlterContext, m)
}

func appendBind(b []byte, h Header, t PType, m Bind) []byte {
	w := begin(b, h, t)
	w.Uint16(m.MaxXmitFrag)
	w.Uint16(m.MaxRecvFrag)
	w.Uint32(m.AssocGroup)
	writeCount(&w, len(m.Contexts))
	w.Uint8(0)
	w.Uint16(0)
	for _, c := range m.Contexts {
		w.Uint16(c.ID)
		writeCount(&w, len(c.Transfers))
		w.Uint8(0)
		writeSyntax(&w, c.Abstract)
		for _, s := range c.Transfers {
			writeSyntax(&w, s)
		}
	}
	return end(&w)
}

func writeCount(w *ndr.Writer, n int) {
	if n > MaxContexts {
		panic("dcerpc: more than 255 contexts, transfer syntaxes or results")
	}
	w.Uint8(uint8(n))
}

// A BindAck is the body of bind_ack and alter_context_resp (C706, sections
// 12.6.4.4 and 12.6.4.2).
type BindAck struct {
	MaxXmitFrag   uint16 // bytes of the largest fragment that the server will send
	MaxRecvFrag   uint16 // and receive
	AssocGroup    uint32 // not 0
	SecondaryAddr string // the port, without the NUL of the wire; empty in alter_context_resp
	Results       []Result
}

// A Result answers the [Context] in the same place: p_result_t (C706, section 12.6.3.1).
type Result struct {
	Result   ContextResult
	Reason   ProviderReason // of a ProviderRejection; with NegotiateAck the granted Features
	Transfer Syntax         // the one that was chosen; else the zero value
}

// A ContextResult says whether a context was accepted: p_cont_def_result_t (C706,
// section 12.6.3.1).
type ContextResult uint16

// What becomes of a context.
const (
	Acceptance        ContextResult = 0
	UserRejection     ContextResult = 1
	ProviderRejection ContextResult = 2
	NegotiateAck      ContextResult = 3 // it proposed features: MS-RPCE, section 2.2.2.4
)

func (r ContextResult) String() string {
	switch r {
	case Acceptance:
		return "acceptance"
	case UserRejection:
		return "user_rejection"
	case ProviderRejection:
		return "provider_rejection"
	case NegotiateAck:
		return "negotiate_ack"
	}
	return fmt.Sprintf("ContextResult(%d)", uint16(r))
}

// A ProviderReason says why a context was rejected: p_provider_reason_t (C706,
// section 12.6.3.1).
type ProviderReason uint16

// Reasons for the rejection of a context.
const (
	ReasonNotSpecified           ProviderReason = 0
	AbstractSyntaxNotSupported   ProviderReason = 1
	TransferSyntaxesNotSupported ProviderReason = 2
	LocalLimitExceeded           ProviderReason = 3
)

func (r ProviderReason) String() string {
	switch r {
	case ReasonNotSpecified:
		return "reason_not_specified"
	case AbstractSyntaxNotSupported:
		return "abstract_syntax_not_supported"
	case TransferSyntaxesNotSupported:
		return "proposed_transfer_syntaxes_not_supported"
	case LocalLimitExceeded:
		return "local_limit_exceeded"
	}
	return fmt.Sprintf("ProviderReason(%d)", uint16(r))
}

// resultSize is the size in bytes of a [Result].
const resultSize = 4 + syntaxSize

// ParseBindAck decodes the body of a bind_ack or alter_context_resp, which owns
// its memory.
func ParseBindAck(h Header, pdu []byte) (BindAck, error) {
	r, err := body(h, pdu)
	if err != nil {
		return BindAck{}, err
	}
	m := BindAck{MaxXmitFrag: r.Uint16(), MaxRecvFrag: r.Uint16(), AssocGroup: r.Uint32()}
	m.SecondaryAddr = readAddr(&r)
	r.Align(4)
	n := int(r.Uint8())
	r.Bytes(3) // reserved, reserved2
	if n*resultSize > len(r.Rest()) {
		r.Fail(ndr.ErrShort)
	}
	if r.Err() == nil && n > 0 {
		m.Results = make([]Result, n)
		for i := range m.Results {
			m.Results[i] = Result{ContextResult(r.Uint16()), ProviderReason(r.Uint16()), readSyntax(&r)}
		}
	}
	if err := r.Err(); err != nil {
		return BindAck{}, fmt.Errorf("dcerpc: %v: %w", h.PType, err)
	}
	return m, nil
}

// readAddr reads a port_any_t: a length that counts a NUL, which some servers leave out.
func readAddr(r *ndr.Reader) string {
	p := r.Bytes(int(r.Uint16()))
	if n := len(p); n > 0 && p[n-1] == 0 {
		p = p[:n-1]
	}
	if len(p) >= MaxSecondaryAddr {
		r.Fail(ndr.ErrTooLong)
		return ""
	}
	return string(p)
}

// AppendBindAck appends a bind_ack, and [AppendAlterContextResp] an
// alter_context_resp. Of h count the minor version, the label, the call, and the
// flags beyond [FirstFrag] and [LastFrag].
func AppendBindAck(b []byte, h Header, m BindAck) []byte { return appendBindAck(b, h, PTypeBindAck, m) }

// AppendAlterContextResp appends an alter_context_resp: see [AppendBindAck].
func AppendAlterContextResp(b []byte, h Header, m BindAck) []byte {
	return appendBindAck(b, h, PTypeAlterContextResp, m)
}

func appendBindAck(b []byte, h Header, t PType, m BindAck) []byte {
	w := begin(b, h, t)
	w.Uint16(m.MaxXmitFrag)
	w.Uint16(m.MaxRecvFrag)
	w.Uint32(m.AssocGroup)
	if m.SecondaryAddr == "" {
		w.Uint16(0)
	} else {
		w.Uint16(uint16(len(m.SecondaryAddr) + 1))
		w.String(m.SecondaryAddr)
		w.Uint8(0)
	}
	w.Align(4)
	writeCount(&w, len(m.Results))
	w.Uint8(0)
	w.Uint16(0)
	for _, s := range m.Results {
		w.Uint16(uint16(s.Result))
		w.Uint16(uint16(s.Reason))
		writeSyntax(&w, s.Transfer)
	}
	return end(&w)
}
