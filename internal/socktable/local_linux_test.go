package socktable

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// openLocal opens a socket of the UNIX domain that, unless it is idle, listens.
func openLocal(t *testing.T, kind int, name string, idle bool) *descriptor {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := descriptor(fd)
	t.Cleanup(d.Close)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		t.Fatalf("bind %q: %v", name, err)
	}
	if !idle && kind != unix.SOCK_DGRAM {
		if err := unix.Listen(fd, 1); err != nil {
			t.Fatal(err)
		}
	}
	return &d
}

// checkLocal holds what the table and a snapshot say of a path against the users
// who are wanted there.
func checkLocal(t *testing.T, table *Table, path string, users ...uint32) {
	t.Helper()
	e := at("local " + path)
	sockets, err := table.At(e)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := table.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for from, sockets := range map[string][]Socket{"Table": sockets, "Snapshot": snapshot.At(e)} {
		var got []uint32
		for _, s := range sockets {
			if s.Path != path {
				t.Errorf("%s.At(%s) = %v", from, path, s)
			}
			got = append(got, s.UID)
		}
		slices.Sort(got)
		if !slices.Equal(got, users) {
			t.Errorf("%s.At(%s) has sockets of users %v, want %v", from, path, got, users)
		}
	}
}

func TestAtPath(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	table := openTable(t)
	dir := t.TempDir()
	for _, tt := range []struct {
		name, path string
		kind       int
		idle       bool
		want       []uint32
	}{
		{name: "path", path: dir + "/x", kind: unix.SOCK_STREAM, want: []uint32{0}},
		{name: "path with blanks", path: dir + "/a b  1", kind: unix.SOCK_STREAM, want: []uint32{0}},
		{name: "records", path: dir + "/r", kind: unix.SOCK_SEQPACKET, want: []uint32{0}},
		{name: "abstract", path: "@x", kind: unix.SOCK_STREAM, want: []uint32{0}},
		{name: "abstract, like a path", path: "@" + dir + "/z", kind: unix.SOCK_STREAM, want: []uint32{0}},
		{name: "longest", path: "/run/" + strings.Repeat("x", 102), kind: unix.SOCK_STREAM, want: []uint32{0}},
		{name: "bound only", path: dir + "/b", kind: unix.SOCK_STREAM, idle: true},
		{name: "datagrams", path: dir + "/d", kind: unix.SOCK_DGRAM},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := openLocal(t, tt.kind, tt.path, tt.idle)
			checkLocal(t, table, tt.path, tt.want...)
			checkLocal(t, table, tt.path[:len(tt.path)-1]+"y")
			if tt.path[0] == '@' {
				checkLocal(t, table, "/"+tt.path[1:])
			} else {
				checkLocal(t, table, "@"+tt.path[1:])
			}
			d.Close() // its file stays
			checkLocal(t, table, tt.path)
		})
	}
	t.Run("a name that is no path of ours", func(t *testing.T) {
		t.Chdir(dir)
		openLocal(t, unix.SOCK_STREAM, "./@like-abstract", false)
		checkLocal(t, table, "@like-abstract")
	})
	t.Run("connection", func(t *testing.T) {
		path := dir + "/c"
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		checkLocal(t, table, path, 0)
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
		checkLocal(t, table, path)
	})
}

// A socket lives on when its path goes, and keeps its name.
func TestAtChangedPath(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	table := openTable(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	path := dir + "/x"
	remove := func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	first := openLocal(t, unix.SOCK_STREAM, path, false)
	checkLocal(t, table, path, 0)
	remove()
	checkLocal(t, table, path)
	checkLocal(t, table, path+"/y")

	asUser(t, 1001, func() { openLocal(t, unix.SOCK_STREAM, path, false) })
	checkLocal(t, table, path, 1001)
	first.Close()
	checkLocal(t, table, path, 1001)

	if err := os.Rename(path, dir+"/y"); err != nil {
		t.Fatal(err)
	}
	checkLocal(t, table, path)
	checkLocal(t, table, dir+"/y") // it has the other name
	if err := os.Symlink("y", path); err != nil {
		t.Fatal(err)
	}
	checkLocal(t, table, path, 1001)
	remove()
	if err := os.Symlink("x", path); err != nil {
		t.Fatal(err)
	}
	checkLocal(t, table, path) // no end of links
	remove()
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	checkLocal(t, table, path)
	remove()
	if err := os.Mkdir(path, 0o777); err != nil {
		t.Fatal(err)
	}
	checkLocal(t, table, path)
	remove()
	if err := os.Rename(dir+"/y", path); err != nil {
		t.Fatal(err)
	}
	checkLocal(t, table, path, 1001)
}

func TestAtHiddenPath(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	table := openTable(t)
	path := "/run/x"
	d := openLocal(t, unix.SOCK_STREAM, path, false)
	if err := os.Chmod("/run", 0o700); err != nil {
		t.Fatal(err)
	}
	asUser(t, 1001, func() { checkLocal(t, table, path, 0) })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	checkLocal(t, table, path)
	asUser(t, 1001, func() { checkLocal(t, table, path, 0) }) // as far as we can tell
	d.Close()
	asUser(t, 1001, func() { checkLocal(t, table, path) })
}

// On overlayfs, as in containers, a file has other numbers than the one below it.
func TestAtPathOfOverlay(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	for _, dir := range []string{"/run/upper/u", "/run/upper/w", "/run/all"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lower := t.TempDir() // on another file system
	err := unix.Mount("overlay", "/run/all", "overlay", 0, "lowerdir="+lower+",upperdir=/run/upper/u,workdir=/run/upper/w")
	if err != nil {
		nstest.Unavailable(t, "the kernel refuses overlayfs: %v", err)
	}
	table := openTable(t)
	const path = "/run/all/x"
	openLocal(t, unix.SOCK_STREAM, path, false)
	checkLocal(t, table, path, 0)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	checkLocal(t, table, path)
	openLocal(t, unix.SOCK_STREAM, path, false)
	checkLocal(t, table, path, 0)
}

// The second choice tells of the same sockets, and of owners what their files say.
func TestLocalOfProc(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	table := openTable(t)
	fromProc := openTable(t)
	fromProc.fromProc = true
	names := func(table *Table) []string {
		sockets, err := table.local()
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, s := range sockets {
			all = append(all, s.Path)
		}
		slices.Sort(all)
		return all
	}
	if err := os.Chmod("/run", 0o777); err != nil {
		t.Fatal(err)
	}
	asUser(t, 1001, func() {
		for _, name := range []string{"/run/x", "/run/a b", "@x", "@"} {
			openLocal(t, unix.SOCK_STREAM, name, false)
		}
	})
	openLocal(t, unix.SOCK_STREAM, "/run/idle", true)
	openLocal(t, unix.SOCK_DGRAM, "/run/datagrams", false)
	want := []string{"/run/a b", "/run/x", "@x"}
	for from, got := range map[string][]string{"unix_diag": names(table), "/proc": names(fromProc)} {
		got = slices.DeleteFunc(got, func(name string) bool { return name != "@x" && !strings.HasPrefix(name, "/run/") })
		if !slices.Equal(got, want) {
			t.Errorf("%s tells of %q, want %q", from, got, want)
		}
	}
	checkLocal(t, fromProc, "/run/x", 1001)
	checkLocal(t, fromProc, "@x", NoUID)
	if err := os.Remove("/run/x"); err != nil {
		t.Fatal(err)
	}
	checkLocal(t, fromProc, "/run/x")
}
