package dcerpc

import (
	"fmt"

	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A BindNak is the body of bind_nak, with which a server refuses a connection's
// first bind (C706, section 12.6.4.5). A client can return it as an error.
type BindNak struct {
	Reason   RejectReason
	Versions []ProtocolVersion // that the server speaks, with RejectProtocolVersionNotSupported only
}

// A ProtocolVersion is a version of the protocol: p_rt_version_t (C706, section 12.6.3.1).
type ProtocolVersion struct{ Major, Minor uint8 }

// A RejectReason is why a bind was refused: p_reject_reason_t (C706, section
// 12.6.3.1; MS-RPCE, section 2.2.2.5).
type RejectReason uint16

// Reasons to refuse a bind.
const (
	RejectReasonNotSpecified              RejectReason = 0
	RejectTemporaryCongestion             RejectReason = 1
	RejectLocalLimitExceeded              RejectReason = 2
	RejectProtocolVersionNotSupported     RejectReason = 4 // also for a bind that is malformed
	RejectAuthenticationTypeNotRecognized RejectReason = 8
	RejectInvalidChecksum                 RejectReason = 9 // the security provider failed
)

func (r RejectReason) String() string {
	switch r {
	case RejectReasonNotSpecified:
		return "reason_not_specified"
	case RejectTemporaryCongestion:
		return "temporary_congestion"
	case RejectLocalLimitExceeded:
		return "local_limit_exceeded"
	case RejectProtocolVersionNotSupported:
		return "protocol_version_not_supported"
	case RejectAuthenticationTypeNotRecognized:
		return "authentication_type_not_recognized"
	case RejectInvalidChecksum:
		return "invalid_checksum"
	}
	return fmt.Sprintf("RejectReason(%d)", uint16(r))
}

// Error implements error.
func (n BindNak) Error() string { return "dcerpc: bind refused: " + n.Reason.String() }

// ParseBindNak decodes the body of a bind_nak. It does not look at the extended
// error information that may follow (MS-RPCE, section 2.2.2.9).
func ParseBindNak(h Header, pdu []byte) (BindNak, error) {
	r, err := body(h, pdu)
	if err != nil {
		return BindNak{}, err
	}
	m := BindNak{Reason: RejectReason(r.Uint16())}
	n := 0
	if m.Reason == RejectProtocolVersionNotSupported { // else some servers send no list
		n = int(r.Uint8())
	}
	if 2*n > len(r.Rest()) {
		r.Fail(ndr.ErrShort)
	}
	if r.Err() == nil && n > 0 {
		m.Versions = make([]ProtocolVersion, n)
		for i := range m.Versions {
			m.Versions[i] = ProtocolVersion{r.Uint8(), r.Uint8()}
		}
	}
	if err := r.Err(); err != nil {
		return BindNak{}, fmt.Errorf("dcerpc: %v: %w", h.PType, err)
	}
	return m, nil
}

// AppendBindNak appends a bind_nak. Of h count the minor version, the label and
// the call.
func AppendBindNak(b []byte, h Header, m BindNak) []byte {
	w := begin(b, h, PTypeBindNak)
	w.Uint16(uint16(m.Reason))
	if m.Reason != RejectProtocolVersionNotSupported {
		m.Versions = nil
	}
	writeCount(&w, len(m.Versions))
	for _, v := range m.Versions {
		w.Uint8(v.Major)
		w.Uint8(v.Minor)
	}
	return end(&w)
}
