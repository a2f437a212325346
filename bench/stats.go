package main

import (
	"slices"
	"time"
)

// A spread is the median of several rounds with their extremes. The zero
// value means that nothing was measured.
type spread struct{ median, low, high float64 }

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return spread{
		median: (sorted[(n-1)/2] + sorted[n/2]) / 2,
		low:    sorted[0],
		high:   sorted[n-1],
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (s spread) measured() bool { return s.high > 0 }

// A histogram counts durations in buckets of one microsecond; the last one
// takes everything longer.
type histogram struct {
	buckets [100_000]uint32
	longest time.Duration
}

func (h *histogram) add(d time.Duration) {
	h.buckets[min(max(int(d/time.Microsecond), 0), len(h.buckets)-1)]++
	h.longest = max(h.longest, d)
}

// quantile returns the upper edge of the bucket that holds the q-th part of
// what was added, 0 when nothing was.
func (h *histogram) quantile(q float64) time.Duration {
	var total uint64
	for _, n := range h.buckets {
		total += uint64(n)
	}
	if total == 0 {
		return 0
	}
	rank := uint64(q * float64(total))
	var sum uint64
	for i, n := range h.buckets {
		if sum += uint64(n); sum > rank {
			return time.Duration(i+1) * time.Microsecond
		}
	}
	return time.Duration(len(h.buckets)) * time.Microsecond
}
