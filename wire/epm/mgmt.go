package epm

import (
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// Limits of the management interface. C706 sets none for the first and the last;
// these hold what real servers answer.
const (
	MaxInterfaces = 1000
	MaxStatistics = 4
	MaxPrincName  = 512 // bytes, with the NUL
)

// Indices of what mgmt_inq_stats counts (C706, rpc_mgmt_inq_stats).
const (
	StatCallsIn    = 0
	StatCallsOut   = 1
	StatPacketsIn  = 2
	StatPacketsOut = 3
)

// An InqIfIDsReply holds the results of mgmt_inq_if_ids, which has no arguments.
type InqIfIDsReply struct {
	Interfaces []dcerpc.Syntax // at most MaxInterfaces
	Status     Status
}

// ParseInqIfIDsReply decodes the results.
func ParseInqIfIDsReply(b []byte, l ndr.Label) (InqIfIDsReply, error) {
	r := ndr.NewReader(b, l)
	var q InqIfIDsReply
	if r.Uint32() != 0 {
		q.Interfaces = readIfIDs(&r)
	}
	q.Status = Status(r.Uint32())
	if err := failed(&r, "inq if ids reply"); err != nil {
		return InqIfIDsReply{}, err
	}
	return q, nil
}

// readIfIDs reads an rpc_if_id_vector_t: pointers, then what they point to.
func readIfIDs(r *ndr.Reader) []dcerpc.Syntax {
	n := r.Count(MaxInterfaces)
	if r.Uint32() != n {
		r.Fail(errCount)
	}
	var ids []dcerpc.Syntax
	referents := *r
	r.Bytes(4 * int(n))
	for range n {
		if r.Err() != nil {
			return nil
		}
		var id dcerpc.Syntax
		if referents.Uint32() != 0 {
			id = readIfID(r)
		}
		ids = append(ids, id)
	}
	return ids
}

// Append appends the results.
func (q InqIfIDsReply) Append(b []byte, l ndr.Label) []byte {
	w, p := ndr.NewWriter(b, l), inReply
	p.append(&w, len(q.Interfaces) > 0)
	if len(q.Interfaces) > 0 {
		w.Uint32(uint32(len(q.Interfaces))) // the array's maximum count
		w.Uint32(uint32(len(q.Interfaces))) // count
		for _, id := range q.Interfaces {
			p.append(&w, id != dcerpc.Syntax{})
		}
		for _, id := range q.Interfaces {
			if id != (dcerpc.Syntax{}) {
				appendIfID(&w, id)
			}
		}
	}
	w.Uint32(uint32(q.Status))
	return w.Result()
}

// An InqStats holds the argument of mgmt_inq_stats.
type InqStats struct {
	Count uint32 // the most statistics wanted; any number
}

// ParseInqStats decodes the argument.
func ParseInqStats(b []byte, l ndr.Label) (InqStats, error) {
	r := ndr.NewReader(b, l)
	q := InqStats{Count: r.Uint32()}
	return q, failed(&r, "inq stats")
}

// Append appends the argument.
func (q InqStats) Append(b []byte, l ndr.Label) []byte {
	w := ndr.NewWriter(b, l)
	w.Uint32(q.Count)
	return w.Result()
}

// An InqStatsReply holds the results of mgmt_inq_stats.
type InqStatsReply struct {
	Statistics []uint32 // by [StatCallsIn] and so on; at most the call's Count, and MaxStatistics
	Status     Status
}

// ParseInqStatsReply decodes the results.
func ParseInqStatsReply(b []byte, l ndr.Label) (InqStatsReply, error) {
	r := ndr.NewReader(b, l)
	var q InqStatsReply
	n := r.Count(MaxStatistics)
	if r.Uint32() != n {
		r.Fail(errCount)
	}
	for range n {
		q.Statistics = append(q.Statistics, r.Uint32())
	}
	q.Status = Status(r.Uint32())
	if err := failed(&r, "inq stats reply"); err != nil {
		return InqStatsReply{}, err
	}
	return q, nil
}

// Append appends the results.
func (q InqStatsReply) Append(b []byte, l ndr.Label) []byte {
	w := ndr.NewWriter(b, l)
	w.Uint32(uint32(len(q.Statistics))) // count
	w.Uint32(uint32(len(q.Statistics))) // the array's maximum count
	for _, n := range q.Statistics {
		w.Uint32(n)
	}
	w.Uint32(uint32(q.Status))
	return w.Result()
}

// An IsServerListeningReply holds the results of mgmt_is_server_listening, which has
// no arguments.
type IsServerListeningReply struct {
	Status    Status
	Listening bool // what the function returns, so it stands last
}

// ParseIsServerListeningReply decodes the results.
func ParseIsServerListeningReply(b []byte, l ndr.Label) (IsServerListeningReply, error) {
	r := ndr.NewReader(b, l)
	q := IsServerListeningReply{Status: Status(r.Uint32()), Listening: r.Uint32() != 0}
	if err := failed(&r, "is server listening reply"); err != nil {
		return IsServerListeningReply{}, err
	}
	return q, nil
}

// Append appends the results.
func (q IsServerListeningReply) Append(b []byte, l ndr.Label) []byte {
	w := ndr.NewWriter(b, l)
	w.Uint32(uint32(q.Status))
	appendBool(&w, q.Listening)
	return w.Result()
}

// An InqPrincName holds the arguments of mgmt_inq_princ_name.
type InqPrincName struct {
	AuthnProtocol uint32 // whose name: 9 SPNEGO, 10 NTLM, 16 Kerberos (MS-RPCE, section 2.2.1.1.7)
	Size          uint32 // room for the name with its NUL, in bytes; any number
}

// ParseInqPrincName decodes the arguments.
func ParseInqPrincName(b []byte, l ndr.Label) (InqPrincName, error) {
	r := ndr.NewReader(b, l)
	q := InqPrincName{AuthnProtocol: r.Uint32(), Size: r.Uint32()}
	if err := failed(&r, "inq princ name"); err != nil {
		return InqPrincName{}, err
	}
	return q, nil
}

// Append appends the arguments.
func (q InqPrincName) Append(b []byte, l ndr.Label) []byte {
	w := ndr.NewWriter(b, l)
	w.Uint32(q.AuthnProtocol)
	w.Uint32(q.Size)
	return w.Result()
}

// An InqPrincNameReply holds the results of mgmt_inq_princ_name.
type InqPrincNameReply struct {
	Size   uint32 // that of the call
	Name   string // cut to Size and MaxPrincName with its NUL when it is written
	Status Status
}

// ParseInqPrincNameReply decodes the results.
func ParseInqPrincNameReply(b []byte, l ndr.Label) (InqPrincNameReply, error) {
	r := ndr.NewReader(b, l)
	size, n := readCounts(&r, MaxPrincName)
	q := InqPrincNameReply{Size: size, Name: clip(readText(&r, n), int(min(size, MaxPrincName))-1)}
	q.Status = Status(r.Uint32())
	if err := failed(&r, "inq princ name reply"); err != nil {
		return InqPrincNameReply{}, err
	}
	return q, nil
}

// Append appends the results.
func (q InqPrincNameReply) Append(b []byte, l ndr.Label) []byte {
	w := ndr.NewWriter(b, l)
	w.Uint32(q.Size)
	w.Uint32(0)
	if q.Size == 0 { // not even a NUL fits
		w.Uint32(0)
	} else {
		name := clip(q.Name, int(min(q.Size, MaxPrincName))-1)
		w.Uint32(uint32(len(name) + 1))
		w.String(name)
		w.Uint8(0)
	}
	w.Uint32(uint32(q.Status))
	return w.Result()
}
