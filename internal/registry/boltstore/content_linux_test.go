package boltstore

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry/storetest"
)

// A state is a file at some time, and the rows that it has.
type state struct {
	file []byte
	rows []row
}

// states returns a file as it was after each of some Writes, which replace and
// delete rows, so that pages are left that hold older ones.
func states(t testing.TB, rows, writes int) []state {
	t.Helper()
	path := filepath.Join(t.TempDir(), "registry.db")
	s, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.SetBounds(1, maxLog) // the rows are in the file at once
	if err := s.Write(storetest.Mixed(0, rows)); err != nil {
		t.Fatal(err)
	}
	var states []state
	for i := range writes {
		b := storetest.Mixed(1000+i, 1001+i)
		for k := range b.Rows {
			b.Rows[k].ID = storetest.MixedID(i * 7 % rows)
		}
		for k := range b.Grants {
			b.Grants[k].ID = storetest.MixedID(i * 7 % rows)
		}
		b.Gone = []endpoint.ID{storetest.MixedID(i * 11 % rows)}
		if err := s.Write(b); err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rows, _, err := readRows(bytes.NewReader(file), int64(len(file)), bootID())
		if err != nil || len(rows) == 0 {
			t.Fatalf("after %d writes: %d rows, %v", i, len(rows), err)
		}
		states = append(states, state{file, rows})
	}
	return states
}

// check reads a damaged file: it has the rows that it had, or there is an error.
func (s state) check(t *testing.T, what string, damaged []byte) (found bool) {
	t.Helper()
	rows, _, err := readRows(bytes.NewReader(damaged), int64(len(damaged)), bootID())
	if err == nil && !slices.EqualFunc(rows, s.rows, func(a, b row) bool { return bytes.Equal(a.key, b.key) && bytes.Equal(a.value, b.value) }) {
		t.Fatalf("%s: %d rows that are not the %d of the file", what, len(rows), len(s.rows))
	}
	return err == nil
}

// TestReadOlderPages puts a page of an earlier state into a file, as a branch that
// leads to an old page does. Each page is sound.
func TestReadOlderPages(t *testing.T) {
	all := states(t, 200, 10)
	last := all[len(all)-1]
	mixed, refused := 0, 0
	for _, older := range all[:len(all)-1] {
		for at := 2 * int(pageSize); at < min(len(older.file), len(last.file)); at += int(pageSize) {
			page := older.file[at : at+int(pageSize)]
			if bytes.Equal(page, last.file[at:at+int(pageSize)]) {
				continue
			}
			damaged := slices.Clone(last.file)
			copy(damaged[at:], page)
			mixed++
			if !last.check(t, "older page", damaged) {
				refused++
			}
		}
	}
	if mixed < 20 || refused < mixed/2 {
		t.Errorf("%d mixed files, %d of them refused: too few to tell anything", mixed, refused)
	}
}

func TestReadFlippedBits(t *testing.T) {
	for _, rows := range []int{3, 200} { // few rows are within the page of the buckets
		s := states(t, rows, 10)[9]
		random := rand.New(rand.NewPCG(1, 2))
		found := 0
		for range 1500 {
			i := random.IntN(len(s.file) * 8)
			s.file[i/8] ^= 1 << (i % 8)
			if s.check(t, "flipped bit", s.file) {
				found++
			}
			s.file[i/8] ^= 1 << (i % 8)
		}
		if found == 0 || found == 1500 {
			t.Errorf("%d of 1500 files are sound: some bits are unused, and some are not", found)
		}
	}
}

// FuzzReadRows gives any bytes as a file, whose first pages are made to look
// right: there are rows or an error, in bounded time.
func FuzzReadRows(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 4*pageSize))
	f.Add(states(f, 3, 1)[0].file)
	f.Add(states(f, 60, 5)[4].file)
	f.Fuzz(func(t *testing.T, file []byte) {
		for i := range min(2, len(file)/int(pageSize)) {
			m := file[i*int(pageSize)+pageHeader:][:metaSize]
			sum := fnv.New64a()
			sum.Write(m[:metaSize-8])
			binary.NativeEndian.PutUint64(m[metaSize-8:], sum.Sum64())
		}
		rows, _, err := readRows(bytes.NewReader(file), int64(len(file)), bootID())
		for _, w := range rows {
			if err := w.check(); err != nil {
				t.Error(err)
			}
		}
		if err != nil && rows != nil {
			t.Errorf("%d rows and %v", len(rows), err)
		}
	})
}
