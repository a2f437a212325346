package daemon

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// stranger is a uid that is nobody's here.
const stranger = 4711

// a place is a folder of the test's with a file in it.
type place struct {
	dir, file string
}

func newPlace(t *testing.T) place {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "etc")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := place{dir, filepath.Join(dir, "policy.reg")}
	write(t, p.file, "text")
	chmod(t, dir, 0o755) // whatever the umask
	chmod(t, p.file, 0o644)
	return p
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func lchown(t *testing.T, path string, uid int) {
	t.Helper()
	nstest.NeedRoot(t)
	if err := os.Lchown(path, uid, -1); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// TestOpenTrusted: a file that others can change is not read. FILE and DIR stand for
// the paths.
func TestOpenTrusted(t *testing.T) {
	const only = ": only root, or who starts the daemon, may own it: "
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, p place)
		starter int
		want    string // error; empty: it is read
	}{
		{"root's", func(*testing.T, place) {}, os.Geteuid(), ""},
		{"readable for the owner alone", func(t *testing.T, p place) { chmod(t, p.file, 0o600); chmod(t, p.dir, 0o700) }, os.Geteuid(), ""},
		{"the starter's", func(t *testing.T, p place) { lchown(t, p.file, stranger); lchown(t, p.dir, stranger) }, stranger, ""},
		{"another's", func(t *testing.T, p place) { lchown(t, p.file, stranger) }, os.Geteuid(), "FILE: it belongs to user 4711" + only + "chown root FILE"},
		{"its group can write", func(t *testing.T, p place) { chmod(t, p.file, 0o664) }, os.Geteuid(), "FILE: it can be written by its group: chmod go-w FILE"},
		{"everybody can write", func(t *testing.T, p place) { chmod(t, p.file, 0o646) }, os.Geteuid(), "FILE: it can be written by everybody: chmod go-w FILE"},
		{"a sticky file is as open", func(t *testing.T, p place) { chmod(t, p.file, 0o646|os.ModeSticky) }, os.Geteuid(), "FILE: it can be written by everybody: chmod go-w FILE"},
		{"another's folder", func(t *testing.T, p place) { lchown(t, p.dir, stranger) }, os.Geteuid(), "FILE: its folder DIR belongs to user 4711" + only + "chown root DIR"},
		{"a folder that its group can write", func(t *testing.T, p place) { chmod(t, p.dir, 0o775) }, os.Geteuid(), "FILE: its folder DIR can be written by its group: chmod go-w DIR"},
		{"a folder that everybody can write", func(t *testing.T, p place) { chmod(t, p.dir, 0o777) }, os.Geteuid(), "FILE: its folder DIR can be written by everybody: chmod go-w DIR"},
		{"a sticky folder", func(t *testing.T, p place) { chmod(t, p.dir, 0o777|os.ModeSticky) }, os.Geteuid(), ""},
		{"another's in a sticky folder", func(t *testing.T, p place) { chmod(t, p.dir, 0o777|os.ModeSticky); lchown(t, p.file, stranger) }, os.Geteuid(),
			"FILE: it belongs to user 4711" + only + "chown root FILE"},
		{"all of it", func(t *testing.T, p place) {
			chmod(t, p.dir, 0o777)
			chmod(t, p.file, 0o666)
			lchown(t, p.file, stranger)
		}, os.Geteuid(),
			"FILE: it belongs to user 4711" + only + "chown root FILE\nFILE: it can be written by everybody: chmod go-w FILE\nFILE: its folder DIR can be written by everybody: chmod go-w DIR"},
		{"not there", func(t *testing.T, p place) { remove(t, p.file) }, os.Geteuid(), "open FILE: no such file or directory"},
		{"no folder", func(t *testing.T, p place) { remove(t, p.file); remove(t, p.dir) }, os.Geteuid(), "open FILE: no such file or directory"},
		{"a folder", func(t *testing.T, p place) {
			remove(t, p.file)
			if err := os.Mkdir(p.file, 0o755); err != nil {
				t.Fatal(err)
			}
		}, os.Geteuid(), "FILE: it is no regular file: name one"},
		{"a pipe, at whose other end is nobody", func(t *testing.T, p place) {
			remove(t, p.file)
			if err := syscall.Mkfifo(p.file, 0o644); err != nil {
				t.Fatal(err)
			}
		}, os.Geteuid(), "FILE: it is no regular file: name one"},
		{"a link", func(t *testing.T, p place) { move(t, p.file, p.dir+"/real"); symlink(t, "real", p.file) }, os.Geteuid(), ""},
		{"links over folders", func(t *testing.T, p place) {
			move(t, p.dir, p.dir+"2")
			symlink(t, p.dir+"2", p.dir)
			move(t, p.file, filepath.Dir(p.dir)+"/real")
			chmod(t, filepath.Dir(p.dir), 0o755)
			symlink(t, "../real", p.file)
		}, os.Geteuid(), ""},
		{"another's link", func(t *testing.T, p place) {
			move(t, p.file, p.dir+"/real")
			symlink(t, "real", p.file)
			lchown(t, p.file, stranger)
		}, os.Geteuid(), "FILE: the link belongs to user 4711" + only + "chown -h root FILE"},
		{"a link that others can replace", func(t *testing.T, p place) {
			chmod(t, filepath.Dir(p.dir), 0o755)
			move(t, p.file, filepath.Dir(p.dir)+"/real")
			symlink(t, "../real", p.file)
			chmod(t, p.dir, 0o777)
		}, os.Geteuid(), "FILE: its folder DIR can be written by everybody: chmod go-w DIR"},
		{"a link into another's folder", func(t *testing.T, p place) {
			theirs := filepath.Dir(p.dir) + "/theirs"
			if err := os.Mkdir(theirs, 0o755); err != nil {
				t.Fatal(err)
			}
			move(t, p.file, theirs+"/real")
			symlink(t, "../theirs/real", p.file)
			lchown(t, theirs, stranger)
		}, os.Geteuid(), "DIR/../theirs/real: its folder " + "UP/theirs belongs to user 4711" + only + "chown root UP/theirs"},
		{"links in a circle", func(t *testing.T, p place) {
			remove(t, p.file)
			symlink(t, "other", p.file)
			symlink(t, "policy.reg", p.dir+"/other")
		}, os.Geteuid(), "open FILE: too many levels of symbolic links"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			tt.prepare(t, p)
			f, err := openTrusted(p.file, tt.starter)
			want := strings.NewReplacer("FILE", p.file, "DIR", p.dir, "UP", filepath.Dir(p.dir)).Replace(tt.want)
			if errorText(err) != want {
				t.Fatalf("openTrusted: %v, want %s", err, want)
			}
			if err != nil {
				return
			}
			defer f.Close()
			if text, err := io.ReadAll(f); string(text) != "text" || err != nil {
				t.Errorf("it reads %q, %v", text, err)
			}
		})
	}
}

// A name without a folder is one of the folder that the daemon is in.
func TestOpenTrustedHere(t *testing.T) {
	p := newPlace(t)
	t.Chdir(p.dir)
	f, err := openTrusted("policy.reg", os.Geteuid())
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	chmod(t, p.dir, 0o777)
	if _, err := openTrusted("policy.reg", os.Geteuid()); errorText(err) != "policy.reg: its folder "+p.dir+" can be written by everybody: chmod go-w "+p.dir {
		t.Errorf("openTrusted in a folder that everybody can write: %v", err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestLoadFile: a configuration may be anybody's, unless it holds a policy.
func TestLoadFile(t *testing.T) {
	const pool = "pool: {ports: [5100], ports_internet_available: true, use_internet_ports: true}\n"
	for _, tt := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{"user: a\n", 0o666, ""},
		{pool, 0o644, ""},
		{pool, 0o666, "FILE: it can be written by everybody: chmod go-w FILE"},
		{"pool: {}\n", 0o666, "FILE:1:7: ports is missing, and the policy needs all three values: add it, or remove the whole key"},
		{"usr: a\n", 0o666, "FILE:1:1: unknown key "},
	} {
		p := newPlace(t)
		write(t, p.file, tt.text)
		chmod(t, p.file, tt.mode)
		o, err := LoadFile(p.file, os.Geteuid())
		want := strings.ReplaceAll(tt.want, "FILE", p.file)
		if (err == nil) != (want == "") || !strings.HasPrefix(errorText(err), want) {
			t.Errorf("LoadFile of %q with mode %v: %v, want %s", tt.text, tt.mode, err, want)
		}
		if (o.Policy != nil) != (err == nil && tt.text == pool) {
			t.Errorf("LoadFile of %q with mode %v: the policy is %v", tt.text, tt.mode, o.Policy)
		}
	}
	if _, err := LoadFile(filepath.Join(t.TempDir(), "x"), os.Geteuid()); !os.IsNotExist(err) {
		t.Errorf("LoadFile of a file that is not there: %v", err)
	}
	if o, err := LoadFile("/dev/null", os.Geteuid()); err != nil || o.Policy != nil {
		t.Errorf("LoadFile of a device: %+v, %v", o, err)
	}
}
