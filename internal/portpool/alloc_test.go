package portpool_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/portset"
)

func parseSet(t interface{ Fatal(...any) }, text string) portset.Set {
	s, err := portset.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func anyPort(uint16) bool { return true }

// take returns the next n ports, which stay taken.
func take(r *portpool.Rotation, taken *portpool.Marks, on portpool.Transport, n int) []uint16 {
	var all []uint16
	for range n {
		port, ok := r.Next(on, anyPort, taken)
		if !ok {
			break
		}
		taken.Set(on, port)
		all = append(all, port)
	}
	return all
}

func TestRotation(t *testing.T) {
	for _, tt := range []struct {
		ports string
		seed  uint64
		want  []uint16
	}{
		{"5000-5003", 0, []uint16{5000, 5001, 5002, 5003}},
		{"5000-5003", 2, []uint16{5002, 5003, 5000, 5001}},
		{"5000-5003", 6, []uint16{5002, 5003, 5000, 5001}},
		{"1024,5000,65535", 1, []uint16{5000, 65535, 1024}},
		{"65535", 7, []uint16{65535}},
		{"63-65,127-128", 1, []uint16{64, 65, 127, 128, 63}}, // words end at 63 and 127
		{"", 3, nil},
	} {
		r := portpool.NewRotation(parseSet(t, tt.ports), tt.seed)
		if got := take(r, &portpool.Marks{}, portpool.TCP, 10); !slices.Equal(got, tt.want) {
			t.Errorf("pool %s, seed %d: %v, want %v", tt.ports, tt.seed, got, tt.want)
		}
	}
}

// TestComesBackLast: a port that was given back is given again when the others were.
func TestComesBackLast(t *testing.T) {
	r, taken := portpool.NewRotation(parseSet(t, "5000-5004"), 0), portpool.Marks{}
	take(r, &taken, portpool.TCP, 2)
	taken.Clear(portpool.TCP, 5000)
	if got, want := take(r, &taken, portpool.TCP, 9), []uint16{5002, 5003, 5004, 5000}; !slices.Equal(got, want) {
		t.Errorf("then %v, want %v", got, want)
	}
}

func TestTransports(t *testing.T) {
	var taken portpool.Marks
	taken.Set(portpool.TCP, 5000)
	taken.Set(portpool.UDP, 5001)
	for _, tt := range []struct {
		on   portpool.Transport
		want []uint16
	}{
		{portpool.TCP, []uint16{5001, 5002}},
		{portpool.UDP, []uint16{5000, 5002}},
		{portpool.TCP | portpool.UDP, []uint16{5002}},
	} {
		marks := taken
		r := portpool.NewRotation(parseSet(t, "5000-5002"), 0)
		if n := r.Count(&marks, tt.on); n != 3-len(tt.want) {
			t.Errorf("%s: %d of 3 ports are taken, want %d", tt.on, n, 3-len(tt.want))
		}
		if got := take(r, &marks, tt.on, 3); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.on, got, tt.want)
		}
		if !marks.Has(tt.on, 5002) || marks.Has(tt.on, 5003) {
			t.Errorf("%s: 5002 is not marked, or 5003 is", tt.on)
		}
	}
}

// TestRotationLaws: nothing is given twice, nothing that is not in the pool or not
// free, everything before anything comes twice; and the same again with the same seed.
func TestRotationLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ports := portset.Ports(rapid.SliceOfN(rapid.Uint16Range(4990, 5140), 1, 100).Draw(t, "ports")...)
		unusable := portset.Ports(rapid.SliceOfN(rapid.Uint16Range(4990, 5140), 0, 50).Draw(t, "unusable")...)
		seed := rapid.Uint64().Draw(t, "seed")
		free := func(port uint16) bool { return !unusable.Contains(port) }
		on := rapid.SampledFrom([]portpool.Transport{portpool.TCP, portpool.UDP, portpool.TCP | portpool.UDP}).Draw(t, "on")
		var first []uint16
		for range 2 {
			r, taken := portpool.NewRotation(ports, seed), portpool.Marks{}
			var got []uint16
			for {
				port, ok := r.Next(on, free, &taken)
				if !ok {
					break
				}
				if !ports.Contains(port) || !free(port) || taken.Has(on, port) {
					t.Fatalf("%d was given: it is not in the pool, not free, or was given before", port)
				}
				taken.Set(on, port)
				got = append(got, port)
			}
			if want := ports.Minus(unusable); !portset.Ports(got...).Equal(want) {
				t.Fatalf("given %v, want all of %v", got, want)
			}
			if first != nil && !slices.Equal(got, first) {
				t.Fatalf("given %v, then with the same seed %v", first, got)
			}
			first = got
		}
	})
}

// BenchmarkNext takes a port of a large pool of which all others are taken.
func BenchmarkNext(b *testing.B) {
	var taken portpool.Marks
	ports := parseSet(b, "1024-65535")
	for port := range ports.All() {
		taken.Set(portpool.TCP, port)
	}
	taken.Clear(portpool.TCP, 5000)
	r := portpool.NewRotation(ports, 0)
	for b.Loop() {
		if port, ok := r.Next(portpool.TCP, anyPort, &taken); port != 5000 || !ok {
			b.Fatal(port, ok)
		}
	}
}
