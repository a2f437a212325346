package boltstore_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
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
		if err = s.Write(records(n, n+1), nil); err == nil {
			n++
		}
	}
	if !errors.Is(err, unix.ENOSPC) || !strings.HasPrefix(err.Error(), p.path+": write "+p.path) || n < 100 {
		t.Fatalf("after %d records Write = %v, want that the disk is full", n, err)
	}
	holds(t, s, n)
	for range 50 { // bbolt must not lose pages
		if err := s.Write(records(n, n+100), nil); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("Write = %v", err)
		}
	}
	holds(t, s, n)
	resize(t, dir, 10*room)
	write(t, s, records(n, n+100))
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
	if err := s.Write(records(n, n+1), nil); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Write on a full disk = %v", err)
	}
	holds(t, s, n)
	if err := refusesOthers(p); err != nil {
		t.Error(err)
	}
	if err := os.Remove(dir + "/filler"); err != nil {
		t.Fatal(err)
	}
	write(t, s, records(n, n+1), storetest.Record(0).ID)
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
	if err := s.Write(records(0, 1), nil); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Write on a full disk = %v", err)
	}
	if err := os.Remove(dir + "/filler"); err != nil {
		t.Fatal(err)
	}
	write(t, s, records(0, 1))
	holds(t, s, 1)
}
