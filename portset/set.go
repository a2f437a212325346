// Package portset computes with sets of TCP or UDP port numbers: a pool of
// dynamic ports, what a firewall has open, what a plan needs.
//
// A set is written as ports and inclusive ranges, "80,443,5000-5020", the way
// firewalls and the Windows Rpc\Internet policy write one.
package portset

import (
	"iter"
	"math"
	"slices"
	"sort"
)

// A Set is an immutable set of port numbers from 0 to 65535; the zero value is
// the empty set. Copying a Set is cheap, copies share memory that is never
// written, and any number of goroutines may use one.
//
// Sets are compared with [Set.Equal]; == does not compile.
type Set struct {
	ranges []Range // sorted, disjoint, never adjacent, none empty
}

// Of returns the set of all ports in the given ranges, which may overlap and
// come in any order. Of keeps no reference to its arguments.
func Of(ranges ...Range) Set {
	return normalize(slices.Clone(ranges))
}

// Ports returns the set of the given ports.
func Ports(ports ...uint16) Set {
	ranges := make([]Range, len(ports))
	for i, p := range ports {
		ranges[i] = Range{p, p}
	}
	return normalize(ranges)
}

// normalize brings ranges, which it takes over, into the form a Set keeps.
func normalize(ranges []Range) Set {
	ranges = slices.DeleteFunc(ranges, func(r Range) bool { return r.Len() == 0 })
	slices.SortFunc(ranges, func(a, b Range) int { return int(a.First) - int(b.First) })
	merged := ranges[:0]
	for _, r := range ranges {
		if n := len(merged); n > 0 && int(r.First) <= int(merged[n-1].Last)+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
		} else {
			merged = append(merged, r)
		}
	}
	return Set{slices.Clone(merged)} // the size it needs, not the size it was read in
}

// Contains reports whether port is in s. It takes time logarithmic in the
// number of ranges and allocates nothing.
func (s Set) Contains(port uint16) bool {
	i := sort.Search(len(s.ranges), func(i int) bool { return s.ranges[i].Last >= port })
	return i < len(s.ranges) && s.ranges[i].First <= port
}

// Len returns the number of ports in s, from 0 to 65536.
func (s Set) Len() int {
	n := 0
	for _, r := range s.ranges {
		n += r.Len()
	}
	return n
}

// IsEmpty reports whether s has no ports.
func (s Set) IsEmpty() bool { return len(s.ranges) == 0 }

// Equal reports whether s and t hold the same ports.
func (s Set) Equal(t Set) bool { return slices.Equal(s.ranges, t.ranges) }

// Union returns the ports that are in s, in t or in both.
func (s Set) Union(t Set) Set {
	return normalize(slices.Concat(s.ranges, t.ranges))
}

// Intersect returns the ports that are both in s and in t.
func (s Set) Intersect(t Set) Set {
	var both []Range
	a, b := s.ranges, t.ranges
	for len(a) > 0 && len(b) > 0 {
		r := Range{max(a[0].First, b[0].First), min(a[0].Last, b[0].Last)}
		if r.Len() > 0 {
			both = append(both, r)
		}
		if a[0].Last < b[0].Last { // the range that ends first meets nothing more
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return Set{both} // pieces of sets without adjacent ranges are not adjacent either
}

// Minus returns the ports that are in s and not in t.
func (s Set) Minus(t Set) Set { return s.Intersect(t.complement()) }

// complement returns the ports that are not in s: the gaps between its ranges.
func (s Set) complement() Set {
	var gaps []Range
	next := 0 // the first port not yet decided; 65536 when all are
	for _, r := range s.ranges {
		if next < int(r.First) {
			gaps = append(gaps, Range{uint16(next), r.First - 1})
		}
		next = int(r.Last) + 1
	}
	if next <= math.MaxUint16 {
		gaps = append(gaps, Range{uint16(next), math.MaxUint16})
	}
	return Set{gaps}
}

// Ranges returns the fewest ranges that make up s, in ascending order.
func (s Set) Ranges() iter.Seq[Range] { return slices.Values(s.ranges) }

// All returns every port of s, in ascending order.
func (s Set) All() iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for _, r := range s.ranges {
			for p := int(r.First); p <= int(r.Last); p++ { // an int: a uint16 would wrap after 65535
				if !yield(uint16(p)) {
					return
				}
			}
		}
	}
}
