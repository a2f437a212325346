package daemon

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// accounts shows the test root, an account quay, and one more.
func accounts(t *testing.T, more string) {
	t.Helper()
	nstest.File(t, "/etc/passwd", "root:x:0:0::/root:/bin/sh\nquay:x:4711:4712::/:/bin/false\n"+more+"\n")
	nstest.File(t, "/etc/group", "root:x:0:\nquay:x:4712:\nharbour:x:4713:root,quay\n")
}

// as makes a command run as a user, with these capabilities ambient.
func as(uid uint32, capabilities ...uintptr) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
		cmd.SysProcAttr.AmbientCaps = capabilities
	}
}

// systemLine makes the account that the daemon becomes when none is chosen.
const systemLine = "quaymaster:x:4811:4812::/:/bin/false"

// noCapability is an empty set as /proc shows it, alike in all threads.
var noCapability = []string{"0000000000000000"}

// TestSettle looks at every thread of a busy process after it has settled, with
// cgo, as it is built where there is a C compiler, and without.
func TestSettle(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	before, _ := privileges()
	roots, anothers := passable(t, t.TempDir()), passable(t, t.TempDir())
	if err := os.Chown(anothers, 4711, 4712); err != nil {
		t.Fatal(err)
	}
	const (
		rootServes = `level=WARN msg="root serves, without capabilities: make an account to take its place (useradd --system quaymaster) and restart"` + "\n"
		noSuchID   = "this user namespace has no user 4711, or not all its groups: map them, or choose another account (--user root stays root)"
		elsewhere  = "/proc is missing, or that of another PID namespace: mount this one's"
	)
	type state = map[string][]string
	ids := func(id string) []string { return []string{id + "\t" + id + "\t" + id + "\t" + id} }
	settled := func(uid string, more ...state) state {
		s := state{"Uid": ids(uid), "CapInh": noCapability, "CapPrm": noCapability, "CapEff": noCapability, "CapBnd": noCapability, "CapAmb": noCapability, "NoNewPrivs": {"1"}}
		for _, m := range more {
			maps.Copy(s, m)
		}
		return s
	}
	foreignProc := func(cmd *exec.Cmd) { cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID }
	unmapped := func(cmd *exec.Cmd) {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: 0, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: 0, Size: 1}}
		cmd.SysProcAttr.GidMappingsEnableSetgroups = true
	}
	unchanged := state{"Uid": before["Uid"], "NoNewPrivs": {"0"}}
	noBounding := state{"CapBnd": before["CapBnd"]} // to be given up only by root
	for build, binary := range map[string]string{"this": thisBinary, "without cgo": withoutCgo(t)} {
		for _, tt := range []struct {
			name     string
			harbour  string // line of passwd
			o        Options
			file     string
			as       func(*exec.Cmd)
			cannot   bool // listen below 1024 to begin with
			err, log string
			has      state
		}{
			{name: "chosen", o: Options{User: "quay"}, has: settled("4711", state{"Gid": ids("4712"), "Groups": {"4712 4713"}})},
			{name: "the system's", harbour: systemLine, has: settled("4811", state{"Gid": ids("4812"), "Groups": {"4812"}})},
			{name: "the system's, another chosen", harbour: systemLine, o: Options{User: "quay"}, has: settled("4711")},
			{name: "no account", log: rootServes, has: settled("0")},
			{name: "root chosen", harbour: systemLine, o: Options{User: "root"}, has: settled("0")},
			{name: "development", harbour: systemLine, o: Options{Dev: true}, file: roots + "/control.sock", has: settled("0")},
			{
				name: "development in another's folder", o: Options{Dev: true}, file: anothers + "/control.sock",
				has: settled("0", state{"CapEff": before["CapEff"], "CapPrm": before["CapPrm"], "CapBnd": before["CapBnd"]}),
			},
			{name: "not root", harbour: systemLine, as: as(4711), cannot: true, has: settled("4711", noBounding)},
			{name: "not root, with a capability", as: as(4711, unix.CAP_NET_BIND_SERVICE), has: settled("4711", noBounding)},
			{name: "not root, chooses itself", o: Options{User: "quay"}, as: as(4711, unix.CAP_NET_BIND_SERVICE), has: settled("4711", noBounding)},
			{
				name: "not root, chooses root", o: Options{User: "root"}, as: as(4711), cannot: true,
				err: "--user root: only root can become another user", has: state{"Uid": ids("4711"), "NoNewPrivs": {"0"}},
			},
			{name: "unmapped", o: Options{User: "quay"}, as: unmapped, cannot: true, err: "--user quay: setgroups: invalid argument: " + noSuchID, has: unchanged},
			{
				name: "unmapped, with a folder", o: Options{User: "quay"}, file: SystemControl, as: unmapped, cannot: true,
				err: "--user quay: chown /run/quaymaster: invalid argument: " + noSuchID, has: unchanged,
			},
			{
				name: "unmapped, the system's", harbour: systemLine, as: unmapped, cannot: true,
				err: "account quaymaster: setgroups: invalid argument: " + strings.Replace(noSuchID, "4711", "4811", 1), has: unchanged,
			},
			{name: "foreign /proc", o: Options{User: "quay"}, as: foreignProc, err: "--user quay: " + elsewhere, has: before},
			{name: "foreign /proc, no account", as: foreignProc, log: `level=WARN msg="privileges are not given up" err="` + elsewhere + "\"\n", has: before},
			{name: "foreign /proc, development", o: Options{Dev: true}, as: foreignProc, has: before},
		} {
			t.Run(build+"/"+tt.name, func(t *testing.T) {
				accounts(t, tt.harbour)
				e := errand{Options: tt.o}
				if tt.file != "" {
					e.Files = []string{tt.file}
				}
				r := e.run(t, binary, func(cmd *exec.Cmd) {
					if tt.as != nil {
						tt.as(cmd)
					}
				})
				if r.Err != tt.err || r.Log != tt.log {
					t.Errorf("settle: %q; log %q, want %q, %q", r.Err, r.Log, tt.err, tt.log)
				}
				for key, want := range tt.has {
					if !slices.Equal(r.Has[key], want) {
						t.Errorf("%s of the threads is %q, want %q for all", key, r.Has[key], want)
					}
				}
				if r.Threads < 3*still {
					t.Errorf("only %d threads were looked at", r.Threads)
				}
				const refused = "listen tcp 127.0.0.1:111: bind: permission denied"
				if tt.cannot != (r.Before == refused) || slices.Equal(tt.has["CapEff"], noCapability) != (r.After == refused) && !tt.cannot {
					t.Errorf("listening below 1024: before %q, afterwards %q", r.Before, r.After)
				}
			})
		}
	}
}

// TestHandOver has root give folders and files, in some of which somebody tries
// to be given more.
func TestHandOver(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	const state, secret = systemState + "/permanent.yaml", "/var/lib/secret"
	chown := func(path string, uid int) {
		t.Helper()
		if err := os.Lchown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T)
		uid     int
		want    string // owners of folder, file and secret, and the folder's mode
		err     string
	}{
		{"folder missing", func(*testing.T) { must(os.Remove(systemState)) }, 4711, "4711 - 0 drwxr-xr-x", ""},
		{"no file", func(*testing.T) {}, 4711, "4711 - 0 drwxr-xr-x", ""},
		{"root's file", func(t *testing.T) { write(t, state, "") }, 4711, "4711 4711 0 drwxr-xr-x", ""},
		{"link", func(*testing.T) { must(os.Symlink(secret, state)) }, 4711, "4711 0 0 drwxr-xr-x", ""},
		{"second name", func(*testing.T) { must(os.Link(secret, state)) }, 4711, "4711 0 0 drwxr-xr-x", ""},
		{"folder", func(*testing.T) { must(os.Mkdir(state, 0o755)) }, 4711, "4711 0 0 drwxr-xr-x", ""},
		{"moved to a folder of the account", func(*testing.T) { must(os.Rename(secret, state)); chown(systemState, 4711) }, 4711, "4711 0 - drwxr-xr-x", ""},
		{"moved to a folder open to all", func(*testing.T) { must(os.Rename(secret, state)); must(os.Chmod(systemState, 0o777)) }, 4711, "4711 0 - drwxrwxrwx", ""},
		{"another account before", func(t *testing.T) { write(t, state, ""); chown(systemState, 4800); chown(state, 4800) }, 4711, "4711 4800 0 drwxr-xr-x", ""},
		{"back to root", func(t *testing.T) { write(t, state, ""); chown(systemState, 4800); chown(state, 4800) }, 0, "0 0 0 drwxr-xr-x", ""},
		{"linked folder", func(t *testing.T) {
			must(os.Remove(systemState))
			must(os.Mkdir("/var/lib/other", 0o755))
			must(os.Symlink("other", systemState))
		}, 4711, "0 - 0 Lrwxrwxrwx", "open /var/lib/quaymaster: not a directory"},
		{"nobody can write", func(t *testing.T) { must(unix.Mount("", "/var/lib", "", unix.MS_REMOUNT|unix.MS_RDONLY, "")) }, 4711, "0 - 0 drwxr-xr-x", ""},
		{"nobody can write, folder missing", func(t *testing.T) {
			must(os.Remove(systemState))
			must(unix.Mount("", "/var/lib", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		}, 4711, "- - 0", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nstest.TmpFS(t, "/var/lib", "quaymaster")
			defer unix.Unmount("/var/lib", 0)
			write(t, secret, "secret")
			tt.prepare(t)
			defer syscall.Umask(syscall.Umask(0o077))
			err := handOver([]string{state, "/var/lib/chosen/file"}, tt.uid, tt.uid)
			mode := ""
			if info, err := os.Lstat(systemState); err == nil {
				mode = " " + info.Mode().String()
			}
			got := owner(systemState) + " " + owner(state) + " " + owner(secret) + mode
			if got != tt.want || errorText(err) != tt.err {
				t.Errorf("handOver: %v; owners and mode %q, want %q, %q", err, got, tt.err, tt.want)
			}
			if exists("/var/lib/chosen") {
				t.Error("a folder that somebody chose was made")
			}
		})
	}
}

// owner returns the uid of what is at a path, "-" for nothing.
func owner(path string) string {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "-"
	}
	return strconv.Itoa(int(st.Uid))
}

func TestRootsOwn(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	dir := passable(t, t.TempDir())
	deep := filepath.Join(dir, "anothers", "roots")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Dir(deep), 4711, 4711); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		files []string
		want  bool
	}{
		{nil, true},
		{[]string{dir + "/x", "/x"}, true},
		{[]string{dir + "/missing/x"}, false},
		{[]string{dir + "/anothers/x"}, false},
		{[]string{"/x", deep + "/x"}, false},
	} {
		if got := rootsOwn(tt.files); got != tt.want {
			t.Errorf("rootsOwn(%q) = %v, want %v", tt.files, got, tt.want)
		}
	}
}
