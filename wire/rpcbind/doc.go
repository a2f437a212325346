// Package rpcbind is the port mapper protocol in its three versions: 2 (portmap),
// 3 and 4 (rpcbind), RFC 1833, with the universal addresses of RFC 5665. It
// knows the arguments and results of the procedures; the messages that carry
// them are of package oncrpc.
package rpcbind

import "fmt"

// Program is the number of the port mapper's own program (RFC 1833, section 2.1).
const Program = 100000

// Port is the well-known port of the mapper, TCP and UDP (RFC 1833, section 1).
const Port = 111

// Versions of the protocol.
const (
	Version2 = 2 // portmap
	Version3 = 3 // rpcbind
	Version4 = 4
)

// Limits of strings, in bytes. The specification sets none; these hold every
// value that real peers send.
const (
	MaxNetID   = 64
	MaxAddress = 128
	MaxOwner   = 64
)

// A Proc is a procedure number. What it means depends on the version.
type Proc uint32

// Procedures of version 2 (RFC 1833, section 3.2) and their numbers in versions
// 3 and 4 (sections 2.2.1 and 2.2.2), where GETPORT became GETADDR.
const (
	ProcNull    Proc = 0
	ProcSet     Proc = 1
	ProcUnset   Proc = 2
	ProcGetPort Proc = 3 // version 2
	ProcGetAddr Proc = 3 // versions 3 and 4
	ProcDump    Proc = 4
	ProcCallIt  Proc = 5 // BCAST in version 4

	ProcGetTime     Proc = 6 // from version 3 on
	ProcUAddr2TAddr Proc = 7
	ProcTAddr2UAddr Proc = 8

	ProcGetVersAddr Proc = 9 // from version 4 on
	ProcIndirect    Proc = 10
	ProcGetAddrList Proc = 11
	ProcGetStat     Proc = 12
)

var procNames = [...]string{"NULL", "SET", "UNSET", "GETADDR", "DUMP", "CALLIT", "GETTIME",
	"UADDR2TADDR", "TADDR2UADDR", "GETVERSADDR", "INDIRECT", "GETADDRLIST", "GETSTAT"}

// Procs returns how many procedures a version has, counted from 0; 0 for a
// version that does not exist.
func Procs(version uint32) Proc {
	switch version {
	case Version2:
		return ProcCallIt + 1
	case Version3:
		return ProcTAddr2UAddr + 1
	case Version4:
		return ProcGetStat + 1
	}
	return 0
}

// Name returns the procedure's name in a version, as RFC 1833 has it.
func (p Proc) Name(version uint32) string {
	switch {
	case p >= Procs(version):
		return fmt.Sprintf("Proc(%d)", uint32(p))
	case p == ProcGetPort && version == Version2:
		return "GETPORT"
	case p == ProcCallIt && version == Version4:
		return "BCAST"
	}
	return procNames[p]
}
