// Package dist_test holds the units of this folder to what they promise.
package dist_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/daemon"
	"github.com/quaymaster/quaymaster/internal/nstest"
)

const (
	service  = "systemd/quaymaster.service"
	socket   = "systemd/quaymaster.socket"
	gateUnit = "systemd/quaymaster-gate.service"
	sysusers = "sysusers.d/quaymaster.conf"
)

// mostExposure is what systemd-analyze may find, in tenths of its scale from 0
// to 10. What it finds is the network, and that others can be seen.
const mostExposure = "25"

func TestExposure(t *testing.T) {
	analyze := nstest.Path(t, "systemd-analyze")
	for _, unit := range []string{service, gateUnit} {
		out, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", "--threshold="+mostExposure, unit).CombinedOutput()
		if err != nil {
			t.Errorf("%v:\n%s", err, out)
		}
	}
}

// TestVerify has systemd read the units as they are when they are enabled: with
// their aliases, through which they meet themselves.
func TestVerify(t *testing.T) {
	analyze := nstest.Path(t, "systemd-analyze")
	root := t.TempDir()
	for _, unit := range []string{service, socket} {
		name := filepath.Base(unit)
		copyFile(t, unit, filepath.Join(root, "usr/lib/systemd/system", name), 0o644)
		alias := filepath.Join(root, "etc/systemd/system", strings.Replace(name, "quaymaster", "rpcbind", 1))
		makeFolder(t, alias)
		if err := os.Symlink("/usr/lib/systemd/system/"+name, alias); err != nil {
			t.Fatal(err)
		}
	}
	copyFile(t, gateUnit, filepath.Join(root, "usr/lib/systemd/system", filepath.Base(gateUnit)), 0o644)
	for _, program := range []string{"usr/bin/quaymaster", "bin/kill"} { // looked at, not started
		copyFile(t, service, filepath.Join(root, program), 0o755)
	}
	out, err := exec.Command(analyze, "verify", "--root="+root, filepath.Base(service), filepath.Base(socket), filepath.Base(gateUnit)).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v:\n%s", err, out)
	}
}

// TestSysusers makes the account, in a folder in place of the host's.
func TestSysusers(t *testing.T) {
	program := nstest.Path(t, "systemd-sysusers")
	root := t.TempDir()
	file, err := filepath.Abs(sysusers)
	if err != nil {
		t.Fatal(err)
	}
	makeFolder(t, filepath.Join(root, "etc/passwd"))
	if out, err := exec.Command(program, "--root="+root, file).CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	if err != nil || !strings.HasPrefix(string(passwd), "quaymaster:x:") || !strings.HasSuffix(string(passwd), ":/usr/sbin/nologin\n") {
		t.Errorf("passwd has %q, %v, want an account quaymaster that nobody can log in to", passwd, err)
	}
}

// TestPaths holds the units and the daemon to the same paths.
func TestPaths(t *testing.T) {
	for _, want := range []struct{ unit, line string }{
		{socket, "ListenStream=" + daemon.SystemONCSocket},
		{socket, "ListenStream=@" + daemon.SystemONCSocket},
		{socket, "ListenStream=" + daemon.SystemDCESocket},
		{service, "RuntimeDirectory=" + filepath.Base(filepath.Dir(daemon.SystemDCESocket))},
		{service, "RuntimeDirectory=" + filepath.Base(filepath.Dir(daemon.SystemControl))},
		{gateUnit, "RuntimeDirectory=" + filepath.Base(filepath.Dir(api.SystemGate))},
	} {
		text, err := os.ReadFile(want.unit)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "\n"+want.line+"\n") {
			t.Errorf("%s lacks %q", want.unit, want.line)
		}
	}
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	makeFolder(t, to)
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// makeFolder makes the folder of a file.
func makeFolder(t *testing.T, file string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
}
