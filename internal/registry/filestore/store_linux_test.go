package filestore_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/registry/filestore"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

func TestFullDisk(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	const folder = "/mnt"
	nstest.TmpFS(t, folder)
	if err := unix.Mount("", folder, "", unix.MS_REMOUNT, "size=16k"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "permanent.yaml")
	s := open(t, path)
	standing := permanent(7, rpcbind.TCP, "10.0.0.5:7")
	write(t, s, standing)
	var many []registry.Record
	for i := range uint32(200) {
		many = append(many, permanent(300000+i, rpcbind.TCP, "10.0.0.5:7"))
	}
	err := s.Write(registry.Batch{Rows: many, Gone: []endpoint.ID{standing.ID}})
	says(t, "Write", err, path+" is as it was: cannot write in /mnt: no space left on device")
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Write = %v, want one that wraps ENOSPC", err)
	}
	alone(t, path)
	holds(t, s, path, standing)
	write(t, s, many[0])
	holds(t, s, path, standing, many[0])
}

// A daemon that gave up root may not write where only root may.
func TestNoPermission(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // which others may not enter
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "quaymaster")
	path := filepath.Join(folder, "permanent.yaml")
	s := open(t, path)
	row := permanent(7, rpcbind.TCP, "10.0.0.5:7")
	asNobody(t, dir, func() {
		err := s.Write(registry.Batch{Rows: []registry.Record{row}})
		says(t, "Write", err, path+" is as it was: cannot make "+folder+": permission denied")
	})
	write(t, s, row)
	asNobody(t, folder, func() {
		err := s.Write(registry.Batch{Gone: []endpoint.ID{7}})
		says(t, "Write", err, path+" is as it was: cannot write in "+folder+": permission denied")
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Write = %v, want one that wraps ErrPermission", err)
		}
	})
	alone(t, path)
	holds(t, s, path, row)
}

// asNobody runs f, in which files in a folder may be read and not be written.
func asNobody(t *testing.T, folder string, f func()) {
	t.Helper()
	if err := os.Chmod(folder, 0o555); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(folder, 0o755)
	if os.Geteuid() == 0 { // whom modes do not stop
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		const nobody = 65534
		if _, err := unix.SetfsuidRetUid(nobody); err != nil {
			t.Fatal(err)
		}
		defer unix.Setfsuid(0)
	}
	f()
}

// What must not be replaced by a file, nor be waited for.
func TestDevices(t *testing.T) {
	dir := t.TempDir()
	pipe, masked, loop := filepath.Join(dir, "pipe"), filepath.Join(dir, "masked"), filepath.Join(dir, "loop")
	if err := syscall.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{masked: "/dev/null", loop: "loop"} {
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		pipe: pipe + " is not a regular file", masked: masked + " is not a regular file", loop: "EvalSymlinks: too many links",
	} {
		_, err := filestore.Open(path)
		says(t, "Open", err, want)
	}
}

// A file that is mounted by itself, as in containers, can only be read.
func TestMountedFile(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	const path = "/run/quaymaster/permanent.yaml"
	nstest.TmpFS(t, "/run", "quaymaster")
	edit(t, path, "[]")
	nstest.File(t, path, "- {program: 7, version: 1, netid: tcp, address: 10.0.0.5, port: 7, id: '000000000007', since: 2026-11-02T10:00:00Z}")
	s := open(t, path)
	says(t, "Write", s.Write(registry.Batch{Gone: []endpoint.ID{7}}), path+" is as it was: cannot replace it: device or resource busy")
	alone(t, path)
	holds(t, s, path, permanent(7, rpcbind.TCP, "10.0.0.5:7"))
}
