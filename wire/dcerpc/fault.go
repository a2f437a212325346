package dcerpc

import "fmt"

// A Status says why a call failed (C706, appendix E; MS-ERREF, section 2.2).
type Status uint32

// Statuses of faults.
const (
	StatusAccessDenied          Status = 0x00000005
	StatusCantPerformOp         Status = 0x000006d8
	StatusBadStubData           Status = 0x000006f7 // the arguments cannot be decoded
	StatusContextMismatch       Status = 0x1c00001a // the context handle is not known
	StatusInvalidPresContextID  Status = 0x1c00001c // the context was not bound
	StatusUnsupportedAuthnLevel Status = 0x1c00001d
	StatusOpRngError            Status = 0x1c010002 // no such operation
	StatusUnkIf                 Status = 0x1c010003 // no such interface
	StatusProtoError            Status = 0x1c01000b
	StatusServerTooBusy         Status = 0x1c010014
)

func (s Status) String() string {
	switch s {
	case StatusAccessDenied:
		return "rpc_s_access_denied"
	case StatusCantPerformOp:
		return "ept_s_cant_perform_op"
	case StatusBadStubData:
		return "rpc_x_bad_stub_data"
	case StatusContextMismatch:
		return "nca_s_fault_context_mismatch"
	case StatusInvalidPresContextID:
		return "nca_s_invalid_pres_context_id"
	case StatusUnsupportedAuthnLevel:
		return "nca_s_unsupported_authn_level"
	case StatusOpRngError:
		return "nca_s_op_rng_error"
	case StatusUnkIf:
		return "nca_s_unk_if"
	case StatusProtoError:
		return "nca_s_proto_error"
	case StatusServerTooBusy:
		return "nca_s_server_too_busy"
	}
	return fmt.Sprintf("0x%08x", uint32(s))
}

// refused tells whether the status alone means that the call was not begun.
func (s Status) refused() bool {
	switch s {
	case StatusInvalidPresContextID, StatusUnsupportedAuthnLevel, StatusOpRngError, StatusUnkIf, StatusProtoError, StatusServerTooBusy:
		return true
	}
	return false
}

// A Fault is the body of a fault, with which a server answers a call that failed
// (C706, section 12.6.4.7; MS-RPCE, section 2.2.2.8). A client can return it as an
// error.
type Fault struct {
	ContextID   uint16
	CancelCount uint8
	Status      Status
}

// Error implements error.
func (f Fault) Error() string { return "dcerpc: fault: " + f.Status.String() }

// ParseFault decodes the body of a fault. It does not look at a stub or extended
// error information that may follow.
func ParseFault(h Header, pdu []byte) (Fault, error) {
	r, err := body(h, pdu)
	if err != nil {
		return Fault{}, err
	}
	r.Uint32() // alloc_hint
	m := Fault{ContextID: r.Uint16(), CancelCount: r.Uint8()}
	r.Uint8() // reserved
	m.Status = Status(r.Uint32())
	if err := r.Err(); err != nil {
		return Fault{}, fmt.Errorf("dcerpc: fault: %w", err)
	}
	return m, nil
}

// FaultSize is the size in bytes of the PDU that [AppendFault] appends.
const FaultSize = 32

// AppendFault appends a fault without a stub. Of h count the minor version, the
// label, the call and the flags; [DidNotExecute] is set where the status says so,
// and can be set for others.
func AppendFault(b []byte, h Header, m Fault) []byte {
	if m.Status.refused() {
		h.Flags |= DidNotExecute
	}
	w := begin(b, h, PTypeFault)
	w.Uint32(FaultSize) // alloc_hint, from which Windows subtracts 32 (MS-RPCE, section 2.2.2.8)
	w.Uint16(m.ContextID)
	w.Uint8(m.CancelCount)
	w.Uint8(0) // reserved
	w.Uint32(uint32(m.Status))
	w.Uint32(0) // reserved2
	return end(&w)
}
