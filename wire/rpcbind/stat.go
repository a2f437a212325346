package rpcbind

import (
	"fmt"

	"github.com/quaymaster/quaymaster/wire/xdr"
)

// statProcs is RPCBSTAT_HIGHPROC: counters per version, whether the version has
// the procedure or not (RFC 1833, section 2.1).
const statProcs = 13

// A Stat is what a mapper counted for one version (rpcb_stat, RFC 1833, section 2.1).
type Stat struct {
	Calls   [statProcs]uint32 // by procedure
	Sets    uint32            // successful SETs
	Unsets  uint32            // successful UNSETs
	Lookups []LookupStat      // GETPORT and GETADDR
	Remote  []RemoteStat      // CALLIT, BCAST and INDIRECT
}

// A LookupStat counts lookups of one program, version and transport (rpcbs_addrlist).
type LookupStat struct {
	Program, Version uint32
	Found, Missed    uint32
	NetID            string
}

// A RemoteStat counts forwarded calls of one procedure and transport (rpcbs_rmtcalllist).
type RemoteStat struct {
	Program, Version, Procedure uint32
	Done, Failed                uint32
	Indirect                    uint32 // of these by INDIRECT, not CALLIT or BCAST
	NetID                       string
}

// Stats is the result of GETSTAT: versions 2, 3, 4 in that order (rpcb_stat_byvers).
type Stats [3]Stat

// Append appends the statistics. The arrays have fixed sizes, so no length words.
func (s *Stats) Append(b []byte) []byte {
	for i := range s {
		b = s[i].append(b)
	}
	return b
}

func (s *Stat) append(b []byte) []byte {
	for _, n := range s.Calls {
		b = xdr.AppendUint32(b, n)
	}
	b = xdr.AppendUint32(b, s.Sets)
	b = xdr.AppendUint32(b, s.Unsets)
	for _, l := range s.Lookups {
		b = AppendNext(b)
		b = xdr.AppendUint32(b, l.Program)
		b = xdr.AppendUint32(b, l.Version)
		b = xdr.AppendUint32(b, l.Found)
		b = xdr.AppendUint32(b, l.Missed)
		b = xdr.AppendString(b, l.NetID)
	}
	b = AppendEnd(b)
	for _, c := range s.Remote {
		b = AppendNext(b)
		b = xdr.AppendUint32(b, c.Program)
		b = xdr.AppendUint32(b, c.Version)
		b = xdr.AppendUint32(b, c.Procedure)
		b = xdr.AppendUint32(b, c.Done)
		b = xdr.AppendUint32(b, c.Failed)
		b = xdr.AppendUint32(b, c.Indirect)
		b = xdr.AppendString(b, c.NetID)
	}
	return AppendEnd(b)
}

// ParseStats decodes the result of GETSTAT. Errors wrap those of package xdr.
func ParseStats(b []byte) (Stats, error) {
	r := xdr.NewReader(b)
	var s Stats
	for i := range s {
		s[i] = readStat(&r)
	}
	if err := r.Err(); err != nil {
		return Stats{}, fmt.Errorf("rpcbind: statistics: %w", err)
	}
	return s, nil
}

func readStat(r *xdr.Reader) Stat {
	var s Stat
	for i := range s.Calls {
		s.Calls[i] = r.Uint32()
	}
	s.Sets = r.Uint32()
	s.Unsets = r.Uint32()
	s.Lookups = readList(r, func(r *xdr.Reader) LookupStat {
		return LookupStat{Program: r.Uint32(), Version: r.Uint32(), Found: r.Uint32(), Missed: r.Uint32(), NetID: r.String(MaxNetID)}
	})
	s.Remote = readList(r, func(r *xdr.Reader) RemoteStat {
		return RemoteStat{
			Program: r.Uint32(), Version: r.Uint32(), Procedure: r.Uint32(),
			Done: r.Uint32(), Failed: r.Uint32(), Indirect: r.Uint32(), NetID: r.String(MaxNetID),
		}
	})
	return s
}
