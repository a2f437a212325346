// Package epm is the protocol of the DCE endpoint mapper: towers, which say how
// a server is reached (C706, appendices I and L), the mapper's operations
// (appendix O, with MS-RPCE, section 2.2.1.2), and those of the management
// interface that every server has (appendix Q). It knows the arguments and
// results, which are the stubs of requests and responses; the PDUs that carry
// them are of package dcerpc.
//
// Arguments have the name of their operation and results end in Reply. All are
// read by a function Parse…, which accepts bytes after the last argument, since
// authenticated clients append a verification trailer (MS-RPCE, section
// 2.2.2.13), and are written by a method Append, both in the byte order of a
// label. Errors of the former wrap those of package ndr. Only a [Floor] holds on
// to the bytes it was read from.
//
// A null pointer and a pointer to the nil value mean the same here. An object or
// an interface that is nil, and a tower that is zero, are written as null pointers.
package epm

import (
	"errors"
	"fmt"
	"strings"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// Port is the well-known port of the endpoint mapper, TCP and UDP (C706, appendix H).
const Port = 135

// Interfaces.
var (
	// Interface is the endpoint mapper (C706, appendix O).
	Interface = dcerpc.Syntax{UUID: ndr.MustParseUUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa"), Major: 3}
	// Management is the interface for managing a server (C706, appendix Q).
	Management = dcerpc.Syntax{UUID: ndr.MustParseUUID("afa8bd80-7d8a-11c9-bef4-08002b102989"), Major: 1}
)

// An Op is an operation of the endpoint mapper, the opnum of a request.
type Op uint16

// Operations of the endpoint mapper (C706, appendix O).
const (
	OpInsert           Op = 0
	OpDelete           Op = 1
	OpLookup           Op = 2
	OpMap              Op = 3
	OpLookupHandleFree Op = 4
	OpInqObject        Op = 5
	OpMgmtDelete       Op = 6
)

var opNames = [...]string{"ept_insert", "ept_delete", "ept_lookup", "ept_map", "ept_lookup_handle_free",
	"ept_inq_object", "ept_mgmt_delete"}

// String returns the name of C706.
func (op Op) String() string {
	if int(op) >= len(opNames) {
		return fmt.Sprintf("Op(%d)", uint16(op))
	}
	return opNames[op]
}

// A MgmtOp is an operation of the management interface, the opnum of a request.
type MgmtOp uint16

// Operations of the management interface (C706, appendix Q).
const (
	MgmtInqIfIDs            MgmtOp = 0
	MgmtInqStats            MgmtOp = 1
	MgmtIsServerListening   MgmtOp = 2
	MgmtStopServerListening MgmtOp = 3
	MgmtInqPrincName        MgmtOp = 4
)

var mgmtOpNames = [...]string{"mgmt_inq_if_ids", "mgmt_inq_stats", "mgmt_is_server_listening",
	"mgmt_stop_server_listening", "mgmt_inq_princ_name"}

// String returns the name of C706, without its rpc__.
func (op MgmtOp) String() string {
	if int(op) >= len(mgmtOpNames) {
		return fmt.Sprintf("MgmtOp(%d)", uint16(op))
	}
	return mgmtOpNames[op]
}

// errCount: two counts that must be equal are not, or one is over the other's bound.
var errCount = errors.New("counts that contradict each other")

// pointers hands out the referents of one stub.
type pointers uint32

// A referent of full pointers has one meaning in a request and its reply together
// (C706, sections 14.3.10 to 14.3.12), and clients number theirs from 1: a reply
// that had number 1 again would say that its tower is the request's object. No
// request whose reply has pointers has more than two.
const (
	inRequest pointers = 1
	inReply   pointers = 3
)

// append appends the referent of a pointer, or the null pointer.
func (p *pointers) append(w *ndr.Writer, present bool) {
	if !present {
		w.Uint32(0)
		return
	}
	w.Uint32(uint32(*p))
	*p++
}

// A pointer that is an argument by itself is followed by what it points to.

func (p *pointers) appendObject(w *ndr.Writer, object ndr.UUID) {
	p.append(w, !object.IsNil())
	if !object.IsNil() {
		w.UUID(object)
	}
}

func readObject(r *ndr.Reader) ndr.UUID {
	if r.Uint32() == 0 {
		return ndr.UUID{}
	}
	return r.UUID()
}

// rpc_if_id_t: like an interface in a PDU, but with two shorts for the version.

func appendIfID(w *ndr.Writer, s dcerpc.Syntax) {
	w.UUID(s.UUID)
	w.Uint16(s.Major)
	w.Uint16(s.Minor)
}

func readIfID(r *ndr.Reader) dcerpc.Syntax {
	return dcerpc.Syntax{UUID: r.UUID(), Major: r.Uint16(), Minor: r.Uint16()}
}

func appendBool(w *ndr.Writer, v bool) {
	if v {
		w.Uint32(1)
		return
	}
	w.Uint32(0)
}

// readCounts reads a maximum count, an offset and an actual count, which stand
// before a conformant and varying array, and returns the first and the last.
func readCounts(r *ndr.Reader, limit uint32) (most uint32, n int) {
	most = r.Uint32()
	n = readVariance(r, limit)
	if uint32(n) > most {
		r.Fail(errCount)
		return 0, 0
	}
	return most, n
}

// readVariance reads the offset and the actual count of a varying array. All
// that have one here begin with their first element.
func readVariance(r *ndr.Reader, limit uint32) int {
	if r.Uint32() != 0 {
		r.Fail(errCount)
	}
	return int(r.Count(limit))
}

// readText reads a text of n bytes with its NUL, which ends it earlier or may be missing.
func readText(r *ndr.Reader, n int) string { return text(r.Bytes(n)) }

// text returns the text in b up to a NUL.
func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// clip returns what of s can be written as a text of at most n bytes and a NUL;
// n may be negative.
func clip(s string, n int) string {
	s, _, _ = strings.Cut(s, "\x00")
	return s[:max(0, min(len(s), n))]
}

// failed returns nil, or the error of the reader that decoded what.
func failed(r *ndr.Reader, what string) error {
	if err := r.Err(); err != nil {
		return fmt.Errorf("epm: %s: %w", what, err)
	}
	return nil
}
