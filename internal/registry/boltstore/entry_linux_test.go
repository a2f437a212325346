package boltstore

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry/storetest"
)

// logOf returns a log of so many entries, where each ends, and their changes.
func logOf(t testing.TB, name string, entries int) (log []byte, ends []int, all []change) {
	t.Helper()
	log, sum := appendName(nil, name)
	ends = append(ends, len(log))
	for i := range entries {
		b := storetest.Mixed(10*i, 10*i+i%3)
		b.Gone = []endpoint.ID{storetest.MixedID(i)}
		changes, err := encodeAll(&b)
		if err != nil {
			t.Fatal(err)
		}
		log, sum = appendEntry(log, sum, changes)
		ends = append(ends, len(log))
		all = append(all, changes...)
	}
	return log, ends, all
}

func sameChanges(a, b []change) bool {
	return slices.EqualFunc(a, b, func(a, b change) bool {
		return bytes.Equal(a.key, b.key) && bytes.Equal(a.value, b.value) && (a.value == nil) == (b.value == nil)
	})
}

// However much of the last entry is there, those before it count.
func TestReadLogCutOff(t *testing.T) {
	log, ends, all := logOf(t, "name", 8)
	for size := range len(log) + 1 {
		got, sound, err := readLog(log[:size], "name")
		end := 0
		for _, e := range ends {
			if e <= size {
				end = e
			}
		}
		if err != nil || sound != int64(end) || !sameChanges(got, all[:len(got)]) || size == len(log) && len(got) != len(all) {
			t.Fatalf("of the first %d bytes %d are sound with %d changes, %v, want %d", size, sound, len(got), err, end)
		}
	}
}

// Each bit counts.
func TestReadLogFlippedBits(t *testing.T) {
	log, _, _ := logOf(t, "name", 8)
	for i := range len(log) * 8 {
		log[i/8] ^= 1 << (i % 8)
		if got, _, err := readLog(log, "name"); err == nil {
			t.Fatalf("bit %d of byte %d: %d changes, want an error", i%8, i/8, len(got))
		}
		log[i/8] ^= 1 << (i % 8)
	}
}

func TestReadLogRefuses(t *testing.T) {
	log, ends, _ := logOf(t, "name", 8)
	entry := func(payload string) []byte {
		name, sum := appendName(nil, "name")
		e := append(make([]byte, entryHead), payload...)
		seal(e, sum)
		return append(name, e...)
	}
	foreign := append(make([]byte, entryHead), "quaymaster log 2 name"...)
	seal(foreign, 0)
	for _, tt := range []struct {
		name string
		log  []byte
		want string
	}{
		{"text", []byte("registry: {}\n"), "byte 0: the length's checksum is another"},
		{"zeros", make([]byte, 100), "byte 0: the length's checksum is another"},
		{"zeros behind", append(slices.Clone(log), make([]byte, entryHead)...), "the length's checksum is another"},
		{"another format", foreign, "byte 0: a log of another program"},
		{"an entry twice", append(slices.Clone(log), log[ends[7]:]...), "the length's checksum is another"},
		{"an entry less", append(slices.Clone(log[:ends[2]]), log[ends[3]:]...), "the length's checksum is another"},
		{"nothing", entry(""), "an entry of 0 bytes"},
		{"a short change", entry("sixchr"), "6 bytes are no change"},
		{"a short value", entry("sixchr\x00\x00\x00\x05abcd"), "a value of 5 bytes in 4"},
		{"a bad row", entry("sixchr\x00\x00\x00\x04abcd"), "row 736978636872: the checksum is another"},
		{"no checksum", entry("sixchr\x00\x00\x00\x01a"), "row 736978636872 of 1 bytes"},
		{"too long", make([]byte, maxLog+1), "too long"},
	} {
		if got, _, err := readLog(tt.log, "name"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %d changes, %v, want %s", tt.name, len(got), err, tt.want)
		}
	}
	for _, name := range []string{"", "nam", "name ", "other"} {
		if got, sound, err := readLog(log, name); len(got) > 0 || sound != 0 || err != nil {
			t.Errorf("under the name %q there are %d changes, %d bytes, %v", name, len(got), sound, err)
		}
	}
}

// Whatever the order of changes, the database has after them what the log says.
func TestPending(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	rowAt := func() row { return rowOf(endpoint.ID(1+random.IntN(12)), "text") }
	for range 500 {
		var rows []row
		for id := endpoint.ID(1); id <= 12; id += 2 {
			rows = append(rows, rowOf(id, "stored"))
		}
		var j journal
		j.stored = map[endpoint.ID]struct{}{}
		j.keep(rows)
		p := pending{}
		var all []change
		for range random.IntN(30) {
			c := rowAt()
			if random.IntN(2) == 0 {
				c.value = nil
			}
			p.add([]change{c}, j.stored)
			all = append(all, c)
		}
		if got, want := changed(rows, sorted(p.with(nil))), changed(rows, all); !sameChanges(sorted(got), sorted(want)) {
			t.Fatalf("%d rows, want %d", len(got), len(want))
		}
	}
	p, w := pending{}, rowOf(7, "text")
	p.add([]change{w}, nil)
	if p.add([]change{{key: w.key}}, nil); len(p) > 0 {
		t.Errorf("of a row that came and went stays %v", p)
	}
}

// FuzzReadLog gives any bytes as a log, raw and as the payload of a sound entry.
func FuzzReadLog(f *testing.F) {
	log, ends, _ := logOf(f, "name", 5)
	f.Add(log)
	f.Add(log[:len(log)-1])
	f.Add(log[ends[3]+entryHead : ends[4]])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		name, sum := appendName(nil, "name")
		entry := append(make([]byte, entryHead), b...)
		seal(entry, sum)
		for _, log := range [][]byte{b, append(name, entry...)} {
			all, sound, err := readLog(log, "name")
			if err != nil && (all != nil || sound != 0) || sound > int64(len(log)) {
				t.Errorf("%d changes of %d bytes, and %v", len(all), sound, err)
			}
			for _, c := range all {
				if len(c.key) != keySize || c.value != nil && c.check() != nil {
					t.Errorf("a change %x, %x", c.key, c.value)
				}
			}
			if again, _, err := readLog(log[:sound], "name"); err != nil || !sameChanges(again, all) {
				t.Errorf("what is sound has %d changes, not %d, %v", len(again), len(all), err)
			}
		}
	})
}
