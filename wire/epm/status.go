package epm

import (
	"fmt"

	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A Status is how an operation ended, which its reply says last
// (error_status_t). The zero value is success. It is also the whole reply to
// ept_insert, ept_delete, ept_mgmt_delete and mgmt_stop_server_listening.
type Status uint32

// Values that mappers answer. C706 leaves the numbers to the
// implementation; all have those of DCE.
const (
	StatusOK                 Status = 0
	StatusNoAuth             Status = 0x16c9a010 // management: the server has no principal name
	StatusNoMemory           Status = 0x16c9a012 // Samba
	StatusMgmtDisallowed     Status = 0x16c9a06d // management: not for this caller
	StatusInvalidInquiryType Status = 0x16c9a0a9
	StatusInvalidVersOption  Status = 0x16c9a0bd
	StatusCantPerformOp      Status = 0x16c9a0cd
	StatusEptNoMemory        Status = 0x16c9a0ce // DCE
	StatusDatabaseInvalid    Status = 0x16c9a0cf
	StatusCantCreate         Status = 0x16c9a0d0
	StatusCantAccess         Status = 0x16c9a0d1
	StatusDatabaseOpen       Status = 0x16c9a0d2
	StatusInvalidEntry       Status = 0x16c9a0d3
	StatusUpdateFailed       Status = 0x16c9a0d4
	StatusInvalidContext     Status = 0x16c9a0d5 // a handle that is none of ours
	StatusNotRegistered      Status = 0x16c9a0d6 // nothing found, or nothing more
	StatusServerUnavailable  Status = 0x16c9a0d7
)

var statusNames = map[Status]string{
	StatusOK:                 "ok",
	StatusNoAuth:             "rpc_s_binding_has_no_auth",
	StatusNoMemory:           "rpc_s_no_memory",
	StatusMgmtDisallowed:     "rpc_s_mgmt_op_disallowed",
	StatusInvalidInquiryType: "rpc_s_invalid_inquiry_type",
	StatusInvalidVersOption:  "rpc_s_invalid_vers_option",
	StatusCantPerformOp:      "ept_s_cant_perform_op",
	StatusEptNoMemory:        "ept_s_no_memory",
	StatusDatabaseInvalid:    "ept_s_database_invalid",
	StatusCantCreate:         "ept_s_cant_create",
	StatusCantAccess:         "ept_s_cant_access",
	StatusDatabaseOpen:       "ept_s_database_already_open",
	StatusInvalidEntry:       "ept_s_invalid_entry",
	StatusUpdateFailed:       "ept_s_update_failed",
	StatusInvalidContext:     "ept_s_invalid_context",
	StatusNotRegistered:      "ept_s_not_registered",
	StatusServerUnavailable:  "ept_s_server_unavailable",
}

// String returns the name that C706 and DCE have for it.
func (s Status) String() string {
	if name, ok := statusNames[s]; ok {
		return name
	}
	return fmt.Sprintf("Status(%#x)", uint32(s))
}

// ParseStatus decodes a reply that is nothing but a status.
func ParseStatus(b []byte, l ndr.Label) (Status, error) {
	r := ndr.NewReader(b, l)
	s := Status(r.Uint32())
	return s, failed(&r, "status")
}

// Append appends a reply that is nothing but the status.
func (s Status) Append(b []byte, l ndr.Label) []byte {
	w := ndr.NewWriter(b, l)
	w.Uint32(uint32(s))
	return w.Result()
}
