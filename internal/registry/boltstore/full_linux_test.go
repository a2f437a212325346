package boltstore_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/registry/boltstore"
	"github.com/quaymaster/quaymaster/internal/registry/storetest"
)

// resize changes how many bytes a tmpfs has room for.
func resize(t *testing.T, dir string, size int) {
	t.Helper()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatal(err)
	}
}

// fill leaves no room in a folder.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(dir + "/filler")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, os.Getpagesize()))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

// TestFullDisk: what does not fit is an error and changes nothing, and with room
// all goes on.
func TestFullDisk(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	const dir, room = "/run", 300_000
	nstest.TmpFS(t, dir)
	resize(t, dir, room)
	p := &place{path: dir + "/registry.db"}
	s := p.open(t)
	n := 0
	var err error
	for err == nil {
		if err = s.Write(storetest.Mixed(n, n+1)); err == nil {
			n++
		}
	}
	if !errors.Is(err, unix.ENOSPC) || !strings.HasPrefix(err.Error(), p.path+": write "+p.path) || n < 100 {
		t.Fatalf("after %d records Write = %v, want that the disk is full", n, err)
	}
	holds(t, s, n)
	for range 50 { // bbolt must not lose pages
		if err := s.Write(storetest.Mixed(n, n+100)); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("Write = %v", err)
		}
	}
	holds(t, s, n)
	resize(t, dir, 10*room)
	write(t, s, storetest.Mixed(n, n+100))
	n += 100
	holds(t, s, n)

	// A daemon that begins on a full disk has its rows; it writes when there is room.
	s.Close()
	fill(t, dir)
	s = p.open(t)
	if line := p.log.String(); strings.Count(line, "\n") != 1 || !strings.Contains(line, "level=WARN") || !strings.Contains(line, "no space left on device") {
		t.Errorf("logged\n%swant one warning", line)
	}
	holds(t, s, n)
	if err := s.Write(storetest.Mixed(n, n+1)); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Write on a full disk = %v", err)
	}
	holds(t, s, n)
	if err := refusesOthers(p); err != nil {
		t.Error(err)
	}
	if err := os.Remove(dir + "/filler"); err != nil {
		t.Fatal(err)
	}
	write(t, s, storetest.Mixed(n, n+1), storetest.MixedID(0))
	holds(t, s, n)
	s.Close()
	s = p.open(t)
	holds(t, s, n)

	// One that finds a damaged file has none.
	s.Close()
	if err := os.Truncate(p.path, 10_000); err != nil {
		t.Fatal(err)
	}
	fill(t, dir)
	s = p.open(t)
	holds(t, s, 0)
	if err := s.Write(storetest.Mixed(0, 1)); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Write on a full disk = %v", err)
	}
	if err := os.Remove(dir + "/filler"); err != nil {
		t.Fatal(err)
	}
	write(t, s, storetest.Mixed(0, 1))
	holds(t, s, 1)
}

// narrow returns a store with a log that is merged from so many bytes on, and n
// records, on a disk with room for the log: but a merge writes most pages anew.
func narrow(t *testing.T, merge, limit int64, n int) (s *boltstore.Store, p *place, widen func()) {
	t.Helper()
	const dir = "/run"
	nstest.TmpFS(t, dir)
	p = &place{path: dir + "/registry.db"}
	s = p.open(t)
	s.SetBounds(merge, limit)
	write(t, s, storetest.Mixed(0, n)) // at once, as it is more than the log takes
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	used := int(fs.Blocks-fs.Bfree) * int(fs.Bsize)
	resize(t, dir, used+48<<10)
	return s, p, func() { resize(t, dir, 10*used) }
}

// logSize returns how many bytes the log has.
func (p *place) logSize(t *testing.T) int64 {
	t.Helper()
	info, err := os.Stat(p.path + ".log")
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestFullDiskWhileMerging: changes that the database has no room for stay in the
// log, which grows up to its limit.
func TestFullDiskWhileMerging(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	const limit = 30_000
	n := 500
	s, p, widen := narrow(t, 6000, limit, n)
	var err error
	for err == nil && n < 1000 {
		if err = s.Write(storetest.Mixed(n, n+1)); err == nil {
			n++
		}
	}
	if size := p.logSize(t); !errors.Is(err, unix.ENOSPC) || size > limit || size < limit-1000 {
		t.Fatalf("after %d records and a log of %d bytes Write = %v, want that the disk is full", n, size, err)
	}
	for range 20 {
		if err := s.Write(storetest.Mixed(n, n+10)); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("Write = %v", err)
		}
	}
	holds(t, s, n)

	// The log outlasts the store, also one that cannot write at all.
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	s = p.open(t)
	holds(t, s, n)
	if err := s.Write(storetest.Mixed(n, n+1)); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Write = %v", err)
	}
	s.Close()
	if line := p.log.String(); strings.Count(line, "\n") != 1 || !strings.Contains(line, "no space left on device") {
		t.Errorf("logged\n%swant one warning", line)
	}
	widen()
	s = p.open(t)
	holds(t, s, n)
	write(t, s, storetest.Mixed(n, n+1))
	holds(t, s, n+1)
}

// TestMergedLater: a merge for which there was no room is made up for.
func TestMergedLater(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	const merge = 6000
	n := 500
	s, p, widen := narrow(t, merge, 1<<20, n)
	for ; n == 500 || p.logSize(t) < 2*merge+1000; n++ {
		if n == 1000 {
			t.Fatal("there is room")
		}
		write(t, s, storetest.Mixed(n, n+1))
	}
	widen()
	for to := n + 25; n < to; n++ { // which are more than the bound
		write(t, s, storetest.Mixed(n, n+1))
	}
	if size := p.logSize(t); size > merge {
		t.Errorf("the log still has %d bytes", size)
	}
	holds(t, s, n)
}
