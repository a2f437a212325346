package boltstore_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/registry/boltstore"
	"github.com/quaymaster/quaymaster/internal/registry/storetest"
)

// A place is where a test keeps a store, and what the store has logged.
type place struct {
	path  string
	log   bytes.Buffer
	merge int64 // bound of the store's log, if not 0
}

// newPlace returns an empty place, on a tmpfs as /run is, if the host has one.
func newPlace(t testing.TB) *place {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "boltstore")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &place{path: filepath.Join(dir, "registry.db")}
}

// open opens the store there until the test ends, or it is closed.
func (p *place) open(t testing.TB) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(p.path, slog.New(slog.NewTextHandler(&p.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if p.merge > 0 {
		s.SetBounds(p.merge, 16<<20)
	}
	return s
}

// write writes what there is in b, and that others are gone.
func write(t testing.TB, s registry.Store, b registry.Batch, gone ...endpoint.ID) {
	t.Helper()
	b.Gone = append(b.Gone, gone...)
	if err := s.Write(b); err != nil {
		t.Fatal(err)
	}
}

// known are the rows and grants that tests store, by id.
var known = sync.OnceValue(func() (known struct {
	rows   map[endpoint.ID]registry.Record
	grants map[endpoint.ID]registry.GrantRecord
}) {
	known.rows, known.grants = map[endpoint.ID]registry.Record{}, map[endpoint.ID]registry.GrantRecord{}
	all := storetest.Mixed(0, 2000)
	for _, r := range all.Rows {
		known.rows[r.ID] = r
	}
	for _, g := range all.Grants {
		known.grants[g.ID] = g
	}
	return known
})

// count loads what there is, each as storetest.Mixed made it, and returns how many.
func count(t testing.TB, s registry.Store) int {
	t.Helper()
	got, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range got.Rows {
		if !storetest.Same(r, known().rows[r.ID]) {
			t.Fatalf("Load gives %+v, which nobody stored", r)
		}
	}
	for _, g := range got.Grants {
		if !storetest.SameGrant(g, known().grants[g.ID]) {
			t.Fatalf("Load gives %+v, which nobody stored", g)
		}
	}
	return len(got.Rows) + len(got.Grants)
}

// holds checks that the store has so many rows and grants.
func holds(t testing.TB, s registry.Store, want int) {
	t.Helper()
	if n := count(t, s); n != want {
		t.Fatalf("Load = %d rows and grants, want %d", n, want)
	}
}

// logged checks that one line was logged, of that level, which names the files,
// and with the reason.
func (p *place) logged(t testing.TB, level, reason string) {
	t.Helper()
	line := p.log.String()
	for _, want := range []string{"level=" + level, " file=" + p.path, " moved=" + p.path + ".bad", " err=", reason} {
		if !strings.Contains(line, want) || strings.Count(line, "\n") != 1 {
			t.Errorf("logged\n%swant one line with %q", line, want)
		}
	}
}

func TestStore(t *testing.T) {
	own, nowhere := storetest.Record(0), storetest.Grant(0)
	own.Own = true
	nowhere.TCP, nowhere.UDP = 0, 0
	for _, merge := range []int64{0, 1500} {
		t.Run(fmt.Sprintf("merge=%d", merge), func(t *testing.T) {
			storetest.Run(t, storetest.Subject{
				Place: func(t *testing.T) func() registry.Store {
					p := newPlace(t)
					p.merge = merge
					return func() registry.Store { return p.open(t) }
				},
				Record: storetest.Record, Grant: storetest.Grant, Durable: true,
				Refused: []registry.Batch{{Rows: []registry.Record{own}}, {Grants: []registry.GrantRecord{nowhere}}},
			})
		})
	}
}

// What nobody has to be told is not logged.
func TestQuiet(t *testing.T) {
	p := newPlace(t)
	s := p.open(t)
	write(t, s, storetest.Mixed(0, 3))
	s.Close()
	holds(t, p.open(t), 3)
	files, err := os.ReadDir(filepath.Dir(p.path))
	if err != nil || len(files) != 1 || p.log.Len() > 0 {
		t.Errorf("there are files %v, %v, and it logged %s", files, err, &p.log)
	}
	if info, err := os.Stat(p.path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
}

// A lease runs on the clock that stands still while the host is suspended, so a
// loaded Until has to be comparable by it.
func TestUntilIsMonotonic(t *testing.T) {
	p := newPlace(t)
	r := storetest.Record(2)
	r.Until = time.Now().Add(time.Minute)
	s := p.open(t)
	write(t, s, registry.Batch{Rows: []registry.Record{r}})
	s.Close()
	got, err := p.open(t).Load()
	if err != nil || len(got.Rows) != 1 || !strings.Contains(got.Rows[0].Until.String(), " m=+") {
		t.Fatalf("Load = %v, %v, want Until with a monotonic reading", got, err)
	}
	if off := got.Rows[0].Until.Sub(r.Until).Abs(); off > time.Millisecond {
		t.Errorf("Until is off by %v", off)
	}
}

func TestClosed(t *testing.T) {
	p := newPlace(t)
	s := p.open(t)
	write(t, s, storetest.Mixed(0, 3))
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if _, err := s.Load(); err == nil {
		t.Error("Load after Close is no error")
	}
	if err := s.Write(storetest.Mixed(3, 4)); err == nil {
		t.Error("Write after Close is no error")
	}
	holds(t, p.open(t), 3)
}

// A process that was killed leaves the new file that it was making.
func TestLeftBehind(t *testing.T) {
	p := newPlace(t)
	s := p.open(t)
	write(t, s, storetest.Mixed(0, 3))
	s.Close()
	if err := os.WriteFile(p.path+".new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	holds(t, p.open(t), 3)
	if _, err := os.Stat(p.path + ".new"); err == nil {
		t.Error("it is still there")
	}
}

func TestMakesFolder(t *testing.T) {
	dir := t.TempDir()
	p := &place{path: filepath.Join(dir, "run", "quaymaster", "registry.db")}
	holds(t, p.open(t), 0)
	if info, err := os.Stat(filepath.Dir(p.path)); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the folder has mode %v, %v", info.Mode(), err)
	}
}

func TestRefusedPaths(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(in("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", in("link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"fifo", "beside.log"} {
		if err := unix.Mkfifo(in(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ path, want string }{
		{in("link"), in("link") + ": it is a symbolic link: remove it or choose --state"},
		{in("fifo"), in("fifo") + ": it is no regular file: remove it or choose --state"},
		{in("beside"), in("beside.log") + ": it is no regular file: remove it or choose --state"},
		{dir, dir + ": it is no regular file: remove it or choose --state"},
		{in("file/registry.db"), "mkdir " + in("file") + ": not a directory"},
	} {
		if _, err := boltstore.Open(tt.path, slog.New(slog.DiscardHandler)); err == nil || err.Error() != tt.want {
			t.Errorf("Open(%s) = %v, want %s", tt.path, err, tt.want)
		}
	}
}

func TestRights(t *testing.T) {
	dir, err := os.MkdirTemp("", "boltstore") // t.TempDir has a parent that nobody else may enter
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	foreign := filepath.Join(dir, "foreign.db")
	if err := os.WriteFile(foreign, nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		for path, want := range map[string]string{
			filepath.Join(dir, "registry.db"):     "open " + filepath.Join(dir, "registry.db") + ": permission denied",
			filepath.Join(dir, "run/registry.db"): "mkdir " + filepath.Join(dir, "run") + ": permission denied",
			foreign:                               "open " + foreign + ": permission denied",
		} {
			if _, err := boltstore.Open(path, slog.New(slog.DiscardHandler)); err == nil || err.Error() != want {
				t.Errorf("Open(%s) = %v, want %s", path, err, want)
			}
		}
	})
}

// asNobody calls f with the rights to files of a user that owns none.
func asNobody(t *testing.T, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		if err := unix.Setfsuid(65534); err != nil {
			t.Error(err)
		}
		f()
	}()
	<-done
}
