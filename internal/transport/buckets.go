package transport

import (
	"sync"
	"time"
)

// buckets are the token buckets of the sources that asked lately, in fixed memory.
//
// A source has its place in one of the sets, by a keyed hash. If others have all
// places there, the newcomer gets the one whose bucket is fullest, and begins
// with a full bucket itself. So the table errs to one side: a source within its
// rate is answered whatever others do, if they forge a million sources a second,
// because forgetting a bucket only fills it. A source over its rate has an empty
// bucket and is forgotten last, only for four in its set that have emptied theirs
// as far; a flood of forged sources, with a call or two each, does not bring that
// about until there are more of them in one interval between calls than places.
//
// Two sources share a bucket if all 64 bits of their hashes are the same.
type buckets [4096]bucketSet

// A bucketSet has a lock of its own: servers seldom meet in one.
type bucketSet struct {
	mu     sync.Mutex // guards what follows
	places [4]bucket
}

// A bucket is a source's tokens, which come back at one per interval, written as
// the time at which none will be missing. Nothing needs to be done for a bucket to fill.
type bucket struct {
	id   uint64 // of the source
	full time.Duration
}

// take takes a token out of a source's bucket and tells whether there was one.
// The clock may be coarse, and differ a little between callers: time that does
// not pass fills no bucket.
func (b *buckets) take(id uint64, now time.Duration, r *rules) bool {
	s := &b[id%uint64(len(b))]
	s.mu.Lock()
	place := s.find(id)
	full := max(place.full, now) + r.interval
	ok := full-now <= r.window
	if ok {
		place.full = full
	}
	s.mu.Unlock()
	return ok
}

// find returns the place of a source, which may have been another's.
func (s *bucketSet) find(id uint64) *bucket {
	fullest := &s.places[0]
	for i := range s.places {
		p := &s.places[i]
		if p.id == id {
			return p
		}
		if p.full < fullest.full {
			fullest = p
		}
	}
	*fullest = bucket{id: id}
	return fullest
}
