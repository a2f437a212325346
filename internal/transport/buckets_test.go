package transport

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// An exactBucket is what a bucket of the table is without limits of memory:
// tokens that come back at one per interval, as time.
type exactBucket struct {
	tokens time.Duration
	filled time.Duration // when tokens was right
}

type exactBuckets map[uint64]*exactBucket

func (e exactBuckets) take(id uint64, now time.Duration, r *rules) bool {
	b := e[id]
	if b == nil {
		b = &exactBucket{tokens: r.window, filled: now}
		e[id] = b
	}
	b.tokens = min(b.tokens+now-b.filled, r.window)
	b.filled = now
	if b.tokens < r.interval {
		return false
	}
	b.tokens -= r.interval
	return true
}

// TestBuckets: as long as sources have places the table does what buckets
// without limits do. If they have not, nobody is refused who would not be refused by those.
func TestBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRules(Rules{
			Queries: rapid.IntRange(1, 2000).Draw(t, "queries"),
			Burst:   rapid.IntRange(0, 20).Draw(t, "burst"),
		})
		const set = 17
		sources := rapid.IntRange(1, 9).Draw(t, "sources") // all of one set
		var table buckets
		exact, wasRefused := exactBuckets{}, map[uint64]bool{}
		now := time.Duration(1)
		for range rapid.IntRange(1, 200).Draw(t, "calls") {
			now += time.Duration(rapid.IntRange(0, int(2*r.interval)).Draw(t, "pause"))
			id := set + uint64(len(table))*rapid.Uint64Range(0, uint64(sources-1)).Draw(t, "source")
			got, want := table.take(id, now, r), exact.take(id, now, r)
			if !want {
				wasRefused[id] = true
			}
			if sources <= len(table[set].places) && got != want {
				t.Fatalf("source %d at %v: %t, want %t", id, now, got, want)
			}
			if !got && !wasRefused[id] {
				t.Fatalf("source %d at %v is refused within its rate", id, now)
			}
		}
	})
}

// TestBucketsFlooded: among a million forged sources a second, who keeps to the
// rate is never refused, and who does not is.
func TestBucketsFlooded(t *testing.T) {
	const (
		honest  = 200
		seconds = 2
		flood   = time.Microsecond // between two forged sources
	)
	r := newRules(Rules{Queries: 100})
	rng := rand.New(rand.NewPCG(1, 2))
	var ids [honest]uint64
	for i := range ids {
		ids[i] = rng.Uint64()
	}
	greedy, let, want := rng.Uint64(), 0, 0
	var table buckets
	exact := exactBuckets{}
	for now := flood; now <= seconds*time.Second; now += flood {
		if !table.take(rng.Uint64(), now, r) {
			t.Fatal("a source that was never seen is refused")
		}
		if now%(r.interval/10) == 0 { // ten times its rate
			if table.take(greedy, now, r) {
				let++
			}
			if exact.take(greedy, now, r) {
				want++
			}
		}
		if now%time.Second == time.Second/2 { // a burst, and time to come to rest
			for _, id := range ids {
				for range r.Queries {
					if !table.take(id, now, r) {
						t.Fatalf("after %v a source is refused within its rate", now)
					}
				}
			}
		}
	}
	if let < want || let > want+want/20 {
		t.Errorf("of %d calls at ten times the rate %d are answered, want %d", 10*r.Queries*seconds, let, want)
	}
}

// TestNewRules: whatever is asked for can be reckoned with.
func TestNewRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRules(Rules{Queries: rapid.Int().Draw(t, "queries"), Burst: rapid.Int().Draw(t, "burst")})
		if r.Queries <= 0 {
			return
		}
		var table buckets
		now := time.Duration(rapid.Int64Range(1, int64(100*365*24*time.Hour)).Draw(t, "now"))
		if r.interval <= 0 || r.window < r.interval || !table.take(1, now, r) {
			t.Fatalf("interval %d, window %d: the first call is refused", r.interval, r.window)
		}
	})
}
