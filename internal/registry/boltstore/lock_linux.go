package boltstore

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lock opens the file at path, makes it if there is none, and keeps other
// daemons from it until it is released.
func lock(path string) (*os.File, error) {
	for {
		file, err := open(path, os.O_RDWR|os.O_CREATE)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%s: in use by another daemon%s: stop it or choose --state", path, holder(file))
		} else if err != nil {
			err = &os.PathError{Op: "flock", Path: path, Err: err}
		}
		if err != nil {
			file.Close()
			return nil, err
		}
		here, hereErr := os.Lstat(path)
		locked, lockedErr := file.Stat()
		if hereErr == nil && lockedErr == nil && os.SameFile(here, locked) {
			return file, nil
		}
		file.Close() // another daemon has put a file in its place meanwhile
	}
}

// open opens a regular file; its errors name the path.
func open(path string, flag int) (*os.File, error) {
	info, err := os.Lstat(path) // first, since to open a device can have effects
	if err == nil && !info.Mode().IsRegular() {
		return nil, notRegular(path, info)
	}
	file, err := os.OpenFile(path, flag|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if info, err = file.Stat(); err == nil && !info.Mode().IsRegular() {
		err = notRegular(path, info)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func notRegular(path string, info os.FileInfo) error {
	what := "no regular file"
	if info.Mode()&os.ModeSymlink != 0 {
		what = "a symbolic link"
	}
	return fmt.Errorf("%s: it is %s: remove it or choose --state", path, what)
}

// release lets other daemons have the file. Closing it is not enough where bbolt
// was left with a mapping of it, to which the lock belongs as well.
func release(file *os.File) {
	unix.Flock(int(file.Fd()), unix.LOCK_UN) // nobody can do anything about an error
	file.Close()
}

// holder returns " (pid N)" of the process that keeps the lock on a file, or "" if
// the kernel does not tell: the process may be of another PID namespace.
func holder(file *os.File) string {
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return ""
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer locks.Close()
	inode := fmt.Sprintf("%02x:%02x:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev), stat.Ino)
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 1234 00:1b:5678 0 EOF
		f := strings.Fields(lines.Text())
		if len(f) < 6 || f[1] != "FLOCK" || f[5] != inode { // who only waits has "->" before FLOCK
			continue
		}
		if pid, err := strconv.Atoi(f[4]); err == nil && pid > 0 {
			return fmt.Sprintf(" (pid %d)", pid)
		}
	}
	return ""
}
