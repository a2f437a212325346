package portset_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/portset"
)

func TestOf(t *testing.T) {
	tests := []struct {
		name   string
		ranges []portset.Range
		want   string
	}{
		{"none", nil, ""},
		{"reversed holds nothing", []portset.Range{{5020, 5000}}, ""},
		{"one port", []portset.Range{{111, 111}}, "111"},
		{"out of order", []portset.Range{{5000, 5020}, {80, 80}}, "80,5000-5020"},
		{"overlapping", []portset.Range{{5000, 5020}, {5010, 5030}}, "5000-5030"},
		{"one inside the other", []portset.Range{{5000, 5020}, {5005, 5006}}, "5000-5020"},
		{"adjacent", []portset.Range{{5000, 5009}, {5010, 5020}}, "5000-5020"},
		{"one port between", []portset.Range{{5000, 5009}, {5011, 5020}}, "5000-5009,5011-5020"},
		{"up to the last port", []portset.Range{{65535, 65535}, {49152, 65534}, {0, 0}}, "0,49152-65535"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := slices.Clone(tt.ranges)
			if got := portset.Of(tt.ranges...).String(); got != tt.want {
				t.Errorf("Of(%v) = %q, want %q", tt.ranges, got, tt.want)
			}
			if !slices.Equal(tt.ranges, before) {
				t.Errorf("Of changed its argument %v to %v", before, tt.ranges)
			}
		})
	}
}

func TestPorts(t *testing.T) {
	if got, want := portset.Ports(445, 135, 139, 138, 137, 135).String(), "135,137-139,445"; got != want {
		t.Errorf("Ports(445, 135, 139, 138, 137, 135) = %q, want %q", got, want)
	}
}

// The dynamic ranges of Windows (KB 832017) and what the Rpc\Internet policy
// does with them.
func TestAlgebra(t *testing.T) {
	all, old, current, policy := parse(t, "0-65535"), parse(t, "1025-5000"), parse(t, "49152-65535"), parse(t, "5000-5020")
	tests := []struct {
		name string
		got  portset.Set
		want string
		size int
	}{
		{"union of both generations", old.Union(current), "1025-5000,49152-65535", 20360},
		{"union that closes a gap", old.Union(parse(t, "5001-49151")).Union(current), "1025-65535", 64511},
		{"union with nothing", old.Union(portset.Set{}), "1025-5000", 3976},
		{"what is not in the policy", all.Minus(policy), "0-4999,5021-65535", 65515},
		{"minus the last port", current.Minus(portset.Ports(65535)), "49152-65534", 16383},
		{"minus everything", current.Minus(all), "", 0},
		{"minus nothing", current.Minus(portset.Set{}), "49152-65535", 16384},
		{"everything", all, "0-65535", 65536},
		{"common port", old.Intersect(policy), "5000", 1},
		{"nothing in common", old.Intersect(current), "", 0},
		{"pieces", parse(t, "1-10,20-30,40").Intersect(parse(t, "5-25,30-50")), "5-10,20-25,30,40", 14},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.got.String(); got != tt.want {
				t.Errorf("= %q, want %q", got, tt.want)
			}
			if got := tt.got.Len(); got != tt.size {
				t.Errorf("Len() = %d, want %d", got, tt.size)
			}
			if got, want := tt.got.IsEmpty(), tt.size == 0; got != want {
				t.Errorf("IsEmpty() = %v, want %v", got, want)
			}
		})
	}
}

func TestAllStops(t *testing.T) {
	var got []uint16
	for p := range parse(t, "1-3,65534-65535").All() {
		if got = append(got, p); p == 65534 {
			break
		}
	}
	if want := []uint16{1, 2, 3, 65534}; !slices.Equal(got, want) {
		t.Errorf("All() until 65534 = %v, want %v", got, want)
	}
}

// A model is a set of ports as a map, too simple to be wrong.
type model map[uint16]bool

// drawSet draws a set and its model from ports so few that ranges often touch,
// overlap and reach both ends of the number space.
func drawSet(t *rapid.T, label string) (portset.Set, model) {
	port := rapid.OneOf(rapid.Uint16Range(0, 12), rapid.Uint16Range(65525, 65535))
	m := model{}
	ranges := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) portset.Range {
		first := port.Draw(t, "first")
		return portset.Range{First: first, Last: first + min(65535-first, rapid.Uint16Range(0, 5).Draw(t, "more"))}
	}), 0, 6).Draw(t, label)
	for _, r := range ranges {
		for i := range r.Len() {
			m[r.First+uint16(i)] = true
		}
	}
	return portset.Of(ranges...), m
}

// checkSame fails t unless s holds the ports of m, in the one form a Set has.
func checkSame(t *rapid.T, what string, s portset.Set, m model) {
	t.Helper()
	if got, want := slices.Collect(s.All()), slices.Sorted(maps.Keys(m)); !slices.Equal(got, want) {
		t.Fatalf("%s = %v, want %v", what, got, want)
	}
	if s.Len() != len(m) || s.IsEmpty() != (len(m) == 0) {
		t.Fatalf("%s: Len() = %d, IsEmpty() = %v, want %d ports", what, s.Len(), s.IsEmpty(), len(m))
	}
	end := -2 // last port of the range before
	for r := range s.Ranges() {
		if int(r.First) <= end+1 || r.Last < r.First {
			t.Fatalf("%s has ranges %v that are not sorted, disjoint and apart", what, slices.Collect(s.Ranges()))
		}
		end = int(r.Last)
	}
}

func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, inA := drawSet(t, "a")
		b, inB := drawSet(t, "b")
		union, both, only := model{}, model{}, model{}
		for p := range inA {
			union[p] = true
			if inB[p] {
				both[p] = true
			} else {
				only[p] = true
			}
		}
		for p := range inB {
			union[p] = true
		}
		checkSame(t, "a", a, inA)
		checkSame(t, "a union b", a.Union(b), union)
		checkSame(t, "a intersect b", a.Intersect(b), both)
		checkSame(t, "a minus b", a.Minus(b), only)
		checkSame(t, "a, after all that", a, inA)

		if got, want := a.Equal(b), maps.Equal(inA, inB); got != want {
			t.Fatalf("Equal(%v, %v) = %v, want %v", a, b, got, want)
		}
		p := rapid.Uint16().Draw(t, "port")
		for _, p := range []uint16{p, 0, 65535, p % 20, 65535 - p%20} {
			if got := a.Contains(p); got != inA[p] {
				t.Fatalf("(%v).Contains(%d) = %v, want %v", a, p, got, inA[p])
			}
		}
		back, err := portset.Parse(a.String())
		if err != nil || !back.Equal(a) {
			t.Fatalf("Parse(%q) = %v, %v, want the set that was printed", a, back, err)
		}
	})
}

func BenchmarkContains(b *testing.B) {
	sets := []struct {
		name string
		set  portset.Set
	}{
		{"pool", portset.Of(portset.Range{First: 49152, Last: 65535})},
		{"services", portset.Ports(53, 88, 111, 123, 135, 389, 445, 464, 636, 2049, 3268, 3269, 5722, 9389, 20048)},
		{"scattered", everyOther()},
	}
	for _, bb := range sets {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			var port uint16
			for b.Loop() {
				bb.set.Contains(port)
				port += 7919 // a prime, to visit every port
			}
		})
	}
}

// everyOther returns the set with the most ranges there can be.
func everyOther() portset.Set {
	var ports []uint16
	for p := 0; p <= 65535; p += 2 {
		ports = append(ports, uint16(p))
	}
	return portset.Ports(ports...)
}

func parse(t *testing.T, s string) portset.Set {
	t.Helper()
	set, err := portset.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
