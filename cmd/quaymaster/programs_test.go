//go:build linux

package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// programsVar hands the built programs on to the same test in its namespaces.
const programsVar = "QUAYMASTER_TEST_PROGRAMS"

// buildPrograms builds the libtirpc programs of testdata/rpcgen, with rpcgen where a protocol is
// concerned, and returns the folder that holds server, client and register.
func buildPrograms(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv(programsVar); dir != "" {
		return dir
	}
	nstest.Need(t, "rpcgen", "gcc", "pkg-config")
	dir := t.TempDir()
	sources, err := fs.Glob(os.DirFS("testdata/rpcgen"), "*")
	if err != nil || len(sources) == 0 {
		t.Fatalf("testdata/rpcgen holds %v, %v", sources, err)
	}
	if err := os.CopyFS(dir, os.DirFS("testdata/rpcgen")); err != nil {
		t.Fatal(err)
	}
	for flag, output := range map[string]string{"-h": "echo.h", "-c": "echo_xdr.c", "-l": "echo_clnt.c", "-m": "echo_svc.c"} {
		build(t, dir, "rpcgen", flag, "-o", output, "echo.x")
	}
	libtirpc := strings.Fields(build(t, dir, "pkg-config", "--cflags", "--libs", "libtirpc"))
	for program, sources := range map[string][]string{
		"server":   {"server.c", "echo_svc.c", "echo_xdr.c"},
		"client":   {"client.c", "echo_clnt.c", "echo_xdr.c"},
		"register": {"register.c"},
	} {
		args := append([]string{"-O1", "-Wall", "-Wno-unused-variable", "-o", program}, sources...)
		build(t, dir, "gcc", append(args, libtirpc...)...)
	}
	t.Setenv(programsVar, dir)
	return dir
}

func build(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(nstest.Path(t, name), args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		if name == "pkg-config" {
			nstest.Unavailable(t, "libtirpc cannot be linked (%v: %s): apt-get install libtirpc-dev", err, out)
		}
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// startServer starts the echo server, with dynamic ports or with the given addresses, and
// returns when it is registered.
func startServer(t *testing.T, programs string, addresses ...string) *nstest.Process {
	t.Helper()
	p := nstest.Start(t, filepath.Join(programs, "server"), addresses...)
	nstest.WaitFor(t, "the echo server to register", startTime, func() bool {
		if p.Ended() {
			t.Fatalf("the echo server ended; it wrote:\n%s", p.Output())
		}
		return strings.Contains(p.Output(), "ready\n")
	})
	return p
}
