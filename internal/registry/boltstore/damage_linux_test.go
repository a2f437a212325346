package boltstore_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry/storetest"
)

// soundRows is how many rows the sound file has.
const soundRows = 100

// sound returns a file that was written to for a while: it has branches, free
// pages, and pages of older states.
func sound(t testing.TB) []byte {
	t.Helper()
	p := newPlace(t)
	p.merge = 1
	s := p.open(t)
	for i := range soundRows + 20 {
		var gone []endpoint.ID
		if i >= soundRows {
			gone = append(gone, storetest.MixedID(i-soundRows))
		}
		write(t, s, storetest.Mixed(i, i+1), gone...)
	}
	s.Close()
	file, err := os.ReadFile(p.path)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// patience is how long a store may take over any file.
const patience = 20 * time.Second

// survives puts a file at the place and checks that the store opens there, has
// all rows or none, with the file aside, and takes others. It tells which.
func (p *place) survives(t *testing.T, what string, file []byte) (found bool) {
	t.Helper()
	os.Remove(p.path + ".bad")
	if err := os.WriteFile(p.path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	p.log.Reset()
	late := time.AfterFunc(patience, func() { panic(what + ": the store hangs") })
	defer late.Stop()
	s := p.open(t)
	n := count(t, s)
	if n != 0 && n != soundRows {
		t.Fatalf("%s: %d rows, want %d or none", what, n, soundRows)
	}
	bad, err := os.ReadFile(p.path + ".bad")
	if n == 0 && len(file) > 0 {
		if err != nil || !bytes.Equal(bad, file) {
			t.Fatalf("%s: the file is not kept aside: %d bytes, %v", what, len(bad), err)
		}
		p.logged(t, "WARN", "")
	} else if err == nil || p.log.Len() > 0 {
		t.Fatalf("%s: a file is aside, or something logged: %s", what, &p.log)
	}
	write(t, s, storetest.Mixed(500, 503))
	holds(t, s, n+3)
	s.Close()
	s = p.open(t)
	holds(t, s, n+3)
	s.Close()
	return n > 0
}

func TestTruncated(t *testing.T) {
	p, file := newPlace(t), sound(t)
	random := rand.New(rand.NewPCG(3, 4))
	sizes := []int{1, 15, 16, 79, 80, 4095, 4097, len(file) - 1}
	for size := 0; size < len(file); size += os.Getpagesize() {
		sizes = append(sizes, size)
	}
	for range 30 {
		sizes = append(sizes, random.IntN(len(file)))
	}
	for _, size := range sizes {
		p.survives(t, fmt.Sprintf("the first %d of %d bytes", size, len(file)), file[:size])
	}
}

func TestFlippedBits(t *testing.T) {
	p, file := newPlace(t), sound(t)
	random := rand.New(rand.NewPCG(5, 6))
	found := 0
	for range 300 {
		i := random.IntN(len(file) * 8)
		file[i/8] ^= 1 << (i % 8)
		if p.survives(t, fmt.Sprintf("bit %d of byte %d", i%8, i/8), file) {
			found++
		}
		file[i/8] ^= 1 << (i % 8)
	}
	if found == 0 || found == 300 {
		t.Errorf("the rows are found in %d of 300 files", found)
	}
}

// edited returns a sound file in which bbolt has changed something.
func edited(t *testing.T, edit func(*bbolt.Tx) error) []byte {
	t.Helper()
	p := newPlace(t)
	if err := os.WriteFile(p.path, sound(t), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(p.path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(edit); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(p.path)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestForeign(t *testing.T) {
	in := func(bucket string, change func(*bbolt.Bucket) error) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error { return change(tx.Bucket([]byte(bucket))) }
	}
	put := func(bucket, key, value string) func(*bbolt.Tx) error {
		return in(bucket, func(b *bbolt.Bucket) error { return b.Put([]byte(key), []byte(value)) })
	}
	without := func(bucket string) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte(bucket)) }
	}
	for _, tt := range []struct {
		name   string
		file   []byte
		reason string
	}{
		{"text", []byte("registry: {}\n"), "13 bytes are no whole file of bbolt"},
		{"pages of text", bytes.Repeat([]byte("registry\n"), 4096), "no file of bbolt"},
		{"zeros", make([]byte, 1<<20), "no file of bbolt"},
		{"another program's", edited(t, func(tx *bbolt.Tx) error {
			if err := without("meta")(tx); err != nil {
				return err
			}
			_, err := tx.CreateBucket([]byte("members"))
			return err
		}), "no bucket meta: a file of another program"},
		{"no rows", edited(t, without("rows")), "no bucket rows: a file of another program"},
		{"another format", edited(t, put("meta", "format", "2")), `format \"2\": this program knows \"1\"`},
		{"no format", edited(t, in("meta", func(b *bbolt.Bucket) error { return b.Delete([]byte("format")) })), `format \"\": this program knows`},
		{"another log", edited(t, put("meta", "log", "sixchr")), "the name of the log is another"},
		{"no log", edited(t, in("meta", func(b *bbolt.Bucket) error { return b.Delete([]byte("log")) })), "the name of the log is another"},
		{"another row", edited(t, put("rows", "sixchr", "and a value")), "row 736978636872: the checksum is another"},
		{"another key", edited(t, put("rows", "key", "and a value")), "row 6b6579 of 11 bytes"},
		{"a row less", edited(t, in("rows", func(b *bbolt.Bucket) error {
			key, _ := b.Cursor().First()
			return b.Delete(key)
		})), "rows are missing, or older than the rest"},
		{"a bucket among rows", edited(t, in("rows", func(b *bbolt.Bucket) error {
			_, err := b.CreateBucket([]byte("sixchr"))
			return err
		})), "row 736978636872: the checksum is another"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			if err := os.WriteFile(p.path+".bad", []byte("older"), 0o600); err != nil {
				t.Fatal(err)
			}
			if p.survives(t, tt.name, tt.file) {
				t.Error("its rows are believed")
			}
			if !strings.Contains(p.log.String(), tt.reason) {
				t.Errorf("logged\n%swant %s", &p.log, tt.reason)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) { newPlace(t).survives(t, "nothing", nil) })
}

// A row that is as it was written, and means nothing.
func TestForeignRow(t *testing.T) {
	p := newPlace(t)
	file := edited(t, func(tx *bbolt.Tx) error {
		rows := tx.Bucket([]byte("rows"))
		checksum := crc32.Checksum([]byte("sixchr{}"), crc32.MakeTable(crc32.Castagnoli))
		if err := rows.SetSequence(rows.Sequence() + 1<<32 + uint64(checksum)); err != nil {
			return err
		}
		return rows.Put([]byte("sixchr"), append(binary.BigEndian.AppendUint32(nil, checksum), "{}"...))
	})
	if err := os.WriteFile(p.path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	s := p.open(t)
	holds(t, s, 0)
	p.logged(t, "WARN", `row 736978636872: unknown netid`)
	if bad, err := os.ReadFile(p.path + ".bad"); err != nil || !bytes.Contains(bad, []byte("sixchr")) {
		t.Errorf("the file is not kept aside: %d bytes, %v", len(bad), err)
	}
	write(t, s, storetest.Mixed(0, 3))
	holds(t, s, 3)
}

func TestOtherBoot(t *testing.T) {
	p := newPlace(t)
	file := edited(t, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("meta")).Put([]byte("boot"), []byte("0d2a1b5e-7f3c-4a55-9f5e-2b8f3d1c6a70"))
	})
	if err := os.WriteFile(p.path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	s := p.open(t)
	holds(t, s, 0)
	p.logged(t, "INFO", "of another boot")
	if bad, err := os.ReadFile(p.path + ".bad"); err != nil || !bytes.Equal(bad, file) {
		t.Errorf("the file is not kept aside: %d bytes, %v", len(bad), err)
	}
	write(t, s, storetest.Mixed(0, 3))
	s.Close()
	holds(t, p.open(t), 3)
}

// What befalls the file of a running daemon ends neither it nor the store.
func TestDamagedInUse(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(*os.File) error
	}{
		{"cut off", func(f *os.File) error { return f.Truncate(int64(3 * os.Getpagesize())) }},
		{"cut off within a page", func(f *os.File) error { return f.Truncate(100) }},
		{"overwritten", func(f *os.File) error {
			info, err := f.Stat()
			if err != nil {
				return err
			}
			_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, int(info.Size())-8192), 8192)
			return err
		}},
		{"overwritten from the beginning", func(f *os.File) error {
			_, err := f.WriteAt(make([]byte, 8192), 0)
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, merge := range []int64{0, 1, 2000} { // without a merge only Load finds the damage
				p := newPlace(t)
				p.merge = merge
				s := p.open(t)
				write(t, s, storetest.Mixed(0, 100))
				f, err := os.OpenFile(p.path, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				if err := tt.damage(f); err != nil {
					t.Fatal(err)
				}
				f.Close()
				if merge > 0 {
					var err error
					for i := 100; err == nil && i < 120; i++ {
						err = s.Write(storetest.Mixed(i, i+1))
					}
					if err == nil || !strings.HasPrefix(err.Error(), p.path+": bbolt: ") || !strings.HasSuffix(err.Error(), ": the file was made anew, write everything again") {
						t.Errorf("Write = %v", err)
					}
				}
				holds(t, s, 0)
				p.logged(t, "WARN", "")
				write(t, s, storetest.Mixed(0, 50))
				holds(t, s, 50)
				if err := refusesOthers(p); err != nil {
					t.Error(err)
				}
				s.Close()
				holds(t, p.open(t), 50)
			}
		})
	}
}
