package mapper

import (
	"sync"
	"sync/atomic"

	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// stats are what GETSTAT tells, by version: index 0 is version 2.
type stats [3]versionStats

type versionStats struct {
	calls        [rpcbind.ProcGetStat + 1]atomic.Uint32
	sets, unsets atomic.Uint32
	lookups      tally[lookup]
	remotes      tally[remote]
}

// A lookup is what a GETPORT or GETADDR asked for.
type lookup struct {
	program, version uint32
	netid            rpcbind.NetID
}

// A remote is what was asked to be forwarded.
type remote struct {
	program, version, proc uint32
	netid                  rpcbind.NetID
	indirect               bool
}

func (s *stats) of(version uint32) *versionStats { return &s[version-rpcbind.Version2] }

func (s *stats) call(version uint32, p rpcbind.Proc) { s.of(version).calls[p].Add(1) }
func (s *stats) set(version uint32)                  { s.of(version).sets.Add(1) }
func (s *stats) unset(version uint32)                { s.of(version).unsets.Add(1) }

func (s *stats) lookup(version uint32, l lookup, found bool) {
	s.of(version).lookups.count(l, found)
}

func (s *stats) remote(version uint32, r remote) {
	s.of(version).remotes.count(r, false)
}

// maxTally bounds the kinds of question that are counted one by one. Only half
// of it goes to what was not found, so that nobody can crowd out what is
// registered by asking for what is not.
const maxTally = 256

// A tally counts successes and failures of each kind of question.
type tally[K comparable] struct {
	mu     sync.Mutex // guards what follows
	counts map[K]*outcomes
	order  []K
}

type outcomes struct{ good, bad uint32 }

func (t *tally[K]) count(k K, good bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.counts[k]
	if o == nil {
		if n := len(t.order); n == maxTally || n >= maxTally/2 && !good {
			return
		}
		if t.counts == nil {
			t.counts = map[K]*outcomes{}
		}
		o = &outcomes{}
		t.counts[k] = o
		t.order = append(t.order, k)
	}
	if good {
		o.good++
	} else {
		o.bad++
	}
}

// each calls f for every kind in the order in which they were first asked.
func (t *tally[K]) each(f func(K, outcomes)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.order {
		f(k, *t.counts[k])
	}
}

// getStat is GETSTAT (RFC 1833, section 2.2.1).
func (m *ONC) getStat(q *question, b []byte) ([]byte, oncrpc.AcceptStat) {
	switch {
	case !m.mayDump(q.Call):
		return b, weak
	case m.tooLarge(q, strangerReply+1): // as it always is: nothing is collected in vain
		return b, oncrpc.SystemErr
	}
	var out rpcbind.Stats
	for i := range m.stats {
		m.stats[i].copyTo(&out[i])
	}
	return out.Append(b), oncrpc.Success
}

func (v *versionStats) copyTo(out *rpcbind.Stat) {
	for p := range v.calls {
		out.Calls[p] = v.calls[p].Load()
	}
	out.Sets, out.Unsets = v.sets.Load(), v.unsets.Load()
	v.lookups.each(func(l lookup, o outcomes) {
		out.Lookups = append(out.Lookups, rpcbind.LookupStat{
			Program: l.program, Version: l.version, NetID: l.netid.String(), Found: o.good, Missed: o.bad,
		})
	})
	v.remotes.each(func(r remote, o outcomes) {
		s := rpcbind.RemoteStat{
			Program: r.program, Version: r.version, Procedure: r.proc, NetID: r.netid.String(),
			Done: o.good, Failed: o.bad,
		}
		if r.indirect {
			s.Indirect = o.good + o.bad
		}
		out.Remote = append(out.Remote, s)
	})
}
