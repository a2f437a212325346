package boltstore

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/registry/storetest"
)

// A snapshot is what the files were at some time, and the ids that were stored.
type snapshot struct {
	db, log []byte
	ids     []endpoint.ID
}

// take copies the files of a store as a process leaves them that is killed now.
func take(t testing.TB, path string, there map[endpoint.ID]bool) snapshot {
	t.Helper()
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return b
	}
	return snapshot{read(path), read(path + ".log"), slices.Sorted(maps.Keys(there))}
}

// history returns snapshots after each of some Writes, with a merge now and then.
func history(t testing.TB, merge int64, writes int) []snapshot {
	t.Helper()
	path := filepath.Join(folder(t), "registry.db")
	s, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.SetBounds(merge, maxLog)
	there := map[endpoint.ID]bool{}
	all := []snapshot{take(t, path, there)}
	for i := range writes {
		put, gone := i, storetest.MixedID(i*7%(i+1))
		if i%4 == 3 {
			put = i - 3 // what was there before, or has gone
		}
		b := storetest.Mixed(put, put+1)
		b.Gone = []endpoint.ID{gone}
		if err := s.Write(b); err != nil {
			t.Fatal(err)
		}
		delete(there, gone)
		there[storetest.MixedID(put)] = true
		all = append(all, take(t, path, there))
	}
	return all
}

// folder returns one on a tmpfs, if the host has one.
func folder(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "boltstore")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// opened puts files where there are none, and returns what a store finds there,
// at once and again after it is opened anew, and what it logged.
func opened(t *testing.T, db, log []byte) (ids []endpoint.ID, dir, logged string) {
	t.Helper()
	dir = folder(t)
	path := filepath.Join(dir, "registry.db")
	for name, b := range map[string][]byte{path: db, path + ".log": log} {
		if b == nil {
			continue
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var text bytes.Buffer
	for i := range 2 {
		s, err := Open(path, slog.New(slog.NewTextHandler(&text, nil)))
		if err != nil {
			t.Fatal(err)
		}
		found := stored(t, s)
		if i > 0 && !slices.Equal(found, ids) {
			t.Fatalf("opened again it has %d rows, and had %d", len(found), len(ids))
		}
		ids = found
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return ids, dir, text.String()
}

func stored(t *testing.T, s *Store) []endpoint.ID {
	t.Helper()
	c, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	var ids []endpoint.ID
	for _, r := range c.Rows {
		ids = append(ids, r.ID)
	}
	for _, g := range c.Grants {
		ids = append(ids, g.ID)
	}
	slices.Sort(ids)
	return ids
}

// TestCrashPoints pairs the database of each time with the log of each: those of
// one database that belong together are read, and of others the database only, which
// has all that the log had when it took another name.
func TestCrashPoints(t *testing.T) {
	all := history(t, 1500, 30)
	other := history(t, maxLog, 5)
	merges, merged := 0, all[0].ids // of the database alone
	for i, s := range all {
		if i > 0 && !bytes.Equal(s.db, all[i-1].db) {
			merges++
			if merged = s.ids; len(s.log) > 0 {
				t.Fatalf("after a merge the log has %d bytes", len(s.log))
			}
		}
		check := func(what string, log []byte, want []endpoint.ID) {
			t.Helper()
			if ids, _, logged := opened(t, s.db, log); !slices.Equal(ids, want) || logged != "" {
				t.Fatalf("database %d with %s: %d rows, want %d; it logged %s", i, what, len(ids), len(want), logged)
			}
		}
		for j, o := range all {
			want := merged
			if bytes.Equal(o.db, s.db) {
				want = o.ids
			}
			check(fmt.Sprintf("log %d", j), o.log, want)
		}
		check("no log", nil, merged)
		check("the log of another", other[5].log, merged)
	}
	if merges < 4 {
		t.Errorf("there were %d merges", merges)
	}
	for what, db := range map[string][]byte{"no database": nil, "an empty one": {}} {
		if ids, _, logged := opened(t, db, all[len(all)-1].log); len(ids) > 0 || logged != "" {
			t.Errorf("%s: %d rows, it logged %s", what, len(ids), logged)
		}
	}
}

// A process that is killed after a merge leaves the log that was merged; so does one
// that could not empty it, and that one goes on.
func TestLogNotEmptied(t *testing.T) {
	path := filepath.Join(folder(t), "registry.db")
	s, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	there := map[endpoint.ID]bool{}
	write := func(from, to int, gone ...int) {
		t.Helper()
		for i := from; i < to; i++ {
			if err := s.Write(storetest.Mixed(i, i+1)); err != nil {
				t.Fatal(err)
			}
			there[storetest.MixedID(i)] = true
		}
		for _, i := range gone {
			if err := s.Write(registry.Batch{Gone: []endpoint.ID{storetest.MixedID(i)}}); err != nil {
				t.Fatal(err)
			}
			delete(there, storetest.MixedID(i))
		}
	}
	write(0, 10)
	readOnly, err := os.Open(path + ".log")
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	file := s.changes.file
	s.changes.file = readOnly // which cannot be emptied
	if err := s.mergeWith([]change{{key: keyOf(storetest.MixedID(3))}}); err != nil {
		t.Fatal(err)
	}
	delete(there, storetest.MixedID(3))
	left := take(t, path, there)
	if len(left.log) == 0 {
		t.Fatal("the log was emptied")
	}
	if ids, _, logged := opened(t, left.db, left.log); !slices.Equal(ids, left.ids) || logged != "" {
		t.Errorf("%d rows, want %d; it logged %s", len(ids), len(left.ids), logged)
	}
	if err := s.Write(storetest.Mixed(99, 100)); err == nil {
		t.Error("an entry is written behind those that are merged")
	}
	s.changes.file = file
	if ids := stored(t, s); !slices.Equal(ids, left.ids) {
		t.Errorf("Load = %d rows, want %d", len(ids), len(left.ids))
	}
	write(20, 23, 5)
	left = take(t, path, there)
	if ids, _, logged := opened(t, left.db, left.log); !slices.Equal(ids, left.ids) || logged != "" {
		t.Errorf("%d rows, want %d; it logged %s", len(ids), len(left.ids), logged)
	}
}

// A log that ends anywhere says what its whole entries say.
func TestLogCutOff(t *testing.T) {
	all := history(t, maxLog, 8)
	last := all[len(all)-1]
	for size := range len(last.log) + 1 {
		want := all[0].ids
		for _, s := range all {
			if len(s.log) <= size {
				want = s.ids
			}
		}
		if ids, _, logged := opened(t, last.db, last.log[:size]); !slices.Equal(ids, want) || logged != "" {
			t.Fatalf("the first %d of %d bytes: %d rows, want %d; it logged %s", size, len(last.log), len(ids), len(want), logged)
		}
	}
}

// Of a damaged log nothing is believed, and nothing of its database.
func TestLogDamaged(t *testing.T) {
	all := history(t, 6000, 30)
	last := all[len(all)-1]
	if ids, _, _ := opened(t, last.db, nil); len(ids) == 0 || len(last.log) == 0 {
		t.Fatalf("%d rows are in the database, and %d bytes in the log", len(ids), len(last.log))
	}
	check := func(what string, log []byte) {
		t.Helper()
		ids, dir, logged := opened(t, last.db, log)
		if len(ids) > 0 || strings.Count(logged, "\n") != 1 || !strings.Contains(logged, "level=WARN") || !strings.Contains(logged, "registry.db.log: ") {
			t.Fatalf("%s: %d rows, it logged %s", what, len(ids), logged)
		}
		for name, want := range map[string][]byte{"registry.db.bad": last.db, "registry.db.log.bad": log} {
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: %s has %d bytes, %v, want %d", what, name, len(got), err, len(want))
			}
		}
	}
	for i := 0; i < len(last.log); i += 5 { // TestReadLogFlippedBits takes all
		log := slices.Clone(last.log)
		log[i] ^= 1 << (i % 8)
		check(fmt.Sprintf("bit %d of byte %d", i%8, i), log)
	}
	check("text", []byte("registry: {}\n"))
	check("too long", make([]byte, maxLog+1))
}

// What befalls the log of a running daemon is found out by Load, and does not stop Write.
func TestLogDamagedInUse(t *testing.T) {
	for name, damage := range map[string]func(*os.File) error{
		"cut off": func(f *os.File) error { return f.Truncate(1000) },
		"emptied": func(f *os.File) error { return f.Truncate(0) },
		"one bit": func(f *os.File) error {
			b := make([]byte, 1)
			if _, err := f.ReadAt(b, 500); err != nil {
				return err
			}
			b[0] ^= 4
			_, err := f.WriteAt(b, 500)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, merged := range []bool{false, true} {
				path := filepath.Join(folder(t), "registry.db")
				var text bytes.Buffer
				s, err := Open(path, slog.New(slog.NewTextHandler(&text, nil)))
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				write := func(i int) {
					t.Helper()
					if err := s.Write(storetest.Mixed(i, i+1)); err != nil {
						t.Fatal(err)
					}
				}
				for i := range 10 {
					write(i)
				}
				f, err := os.OpenFile(path+".log", os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if err := damage(f); err != nil {
					t.Fatal(err)
				}
				write(10)
				want := 0
				if merged {
					if err := s.mergeWith(nil); err != nil { // what is in memory is right
						t.Fatal(err)
					}
					want = 11
				}
				if ids := stored(t, s); len(ids) != want || (want == 0) != strings.Contains(text.String(), "level=WARN") {
					t.Errorf("%d rows, want %d; it logged %s", len(ids), want, &text)
				}
				write(20)
				if ids := stored(t, s); len(ids) != want+1 {
					t.Errorf("%d rows, want %d", len(ids), want+1)
				}
			}
		})
	}
}

// Of rows that come and go nothing is pending, and the log is bounded.
func TestComeAndGo(t *testing.T) {
	path := filepath.Join(folder(t), "registry.db")
	s, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.SetBounds(5000, maxLog)
	emptied := 0
	for i := range 200 {
		size := s.changes.size
		if err := s.Write(storetest.Mixed(i, i+1)); err != nil {
			t.Fatal(err)
		}
		if err := s.Write(registry.Batch{Gone: []endpoint.ID{storetest.MixedID(i)}}); err != nil {
			t.Fatal(err)
		}
		if s.changes.size < size {
			emptied++
		}
		if s.changes.size > 6000 || len(s.pending) > 1 {
			t.Fatalf("the log has %d bytes, and %d changes are pending", s.changes.size, len(s.pending))
		}
	}
	if emptied < 5 {
		t.Errorf("the log was emptied %d times", emptied)
	}
	if ids := stored(t, s); len(ids) > 0 {
		t.Errorf("%d rows are left", len(ids))
	}
}
