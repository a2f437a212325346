package mapper

import (
	"sync/atomic"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
)

// dceStats count what the endpoint mapper did.
type dceStats struct {
	calls, packetsIn, packetsOut atomic.Uint64
	found, notFound              atomic.Uint64 // lookups of either kind
	naks, broken, denied, faults atomic.Uint64
	assembling                   atomic.Int64 // bytes of calls that are not complete
}

// failed counts a call that ended with a status; 0 is none that failed.
func (s *dceStats) failed(status dcerpc.Status) {
	switch status {
	case 0:
	case dcerpc.StatusAccessDenied:
		s.denied.Add(1)
	default:
		s.faults.Add(1)
	}
}

// lookup counts an answer that told so many towers: the last part of a dump has
// some beside its "not registered".
func (s *dceStats) lookup(towers int, status epm.Status) {
	switch {
	case towers > 0:
		s.found.Add(1)
	case status == epm.StatusNotRegistered:
		s.notFound.Add(1)
	}
}

// DCECounts says how often things happened since the endpoint mapper was made.
type DCECounts struct {
	Calls           uint64
	Found, NotFound uint64 // answers to ept_map and ept_lookup
	Denied          uint64 // calls of who may not
	Faults          uint64 // calls that could not be understood
	Naks            uint64 // binds that were refused, most for wanting authentication
	Broken          uint64 // connections ended because something came that must not
}

// Counts returns the counters.
func (m *DCE) Counts() DCECounts {
	s := &m.stats
	return DCECounts{
		Calls: s.calls.Load(), Found: s.found.Load(), NotFound: s.notFound.Load(),
		Denied: s.denied.Load(), Faults: s.faults.Load(), Naks: s.naks.Load(), Broken: s.broken.Load(),
	}
}
