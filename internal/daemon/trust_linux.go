package daemon

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/config"
)

// openTrusted opens a file to read that nobody but root and the user starter can
// change or replace: it is theirs and for no others to write, and so is the folder
// that it is in. What is judged is what was opened. Where the name is that of a link, that
// is followed if it and its folder are theirs as well.
//
// The error is a [config.Mistakes] that says what to do if somebody else can, and
// if the name is not that of a file; otherwise a [fs.PathError].
func openTrusted(name string, starter int) (*os.File, error) {
	const maxLinks = 40 // as the kernel has it
	t := truster{starter: uint32(starter)}
	path := name
	for range maxLinks {
		f, link, err := t.step(path)
		switch {
		case err != nil:
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		case len(t.mistakes) > 0: // where a link leads that anybody can make is not followed
			if f != nil {
				f.Close()
			}
			return nil, t.mistakes
		case link == "":
			return f, nil
		case !filepath.IsAbs(link):
			dir, _ := filepath.Split(path) // not cleaned: a folder before ".." may be a link
			link = dir + link
		}
		path = link
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: unix.ELOOP}
}

// A truster judges what stands between a name and its file.
type truster struct {
	starter  uint32
	mistakes config.Mistakes
}

// step opens the file that stands at path or, if a link does, returns where it leads.
// Neither comes with a mistake that leaves nothing to read.
func (t *truster) step(path string) (f *os.File, link string, err error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	folder, err := openAt(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, "", err
	}
	defer folder.Close()
	entry, err := openAt(int(folder.Fd()), base, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return nil, "", err
	}
	defer entry.Close()
	st, err := stat(entry)
	if err != nil {
		return nil, "", err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		if !t.owns(st) {
			t.note(path, "the link belongs to %s: only root, or who starts the daemon, may own it: chown -h root %s", userName(st.Uid), path)
		}
		link, err = readLink(entry)
	case unix.S_IFREG: // what else stands there is not even opened, since that can do something
		f, err = t.open(folder, base, path)
	default:
		t.note(path, "it is no regular file: name one")
	}
	if err != nil {
		return nil, "", err
	}
	st, err = stat(folder)
	if err != nil {
		return nil, "", err
	}
	t.judge(st, path, "its folder "+absolute(dir), absolute(dir), st.Mode&unix.S_ISVTX != 0)
	return f, link, nil
}

// open opens a file of a folder and judges what it has opened: another may stand
// there by now.
func (t *truster) open(folder *os.File, base, path string) (*os.File, error) {
	f, err := openAt(int(folder.Fd()), base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	st, err := stat(f)
	switch {
	case err != nil:
		f.Close()
		return nil, err
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		t.note(path, "it is no regular file: name one")
	default:
		t.judge(st, path, "it", path, false)
	}
	return f, nil
}

// judge notes what is wrong with a file or folder. Everybody may write to a sticky one, where
// nobody can move what is another's.
func (t *truster) judge(st *unix.Stat_t, path, what, name string, sticky bool) {
	if !t.owns(st) {
		t.note(path, "%s belongs to %s: only root, or who starts the daemon, may own it: chown root %s", what, userName(st.Uid), name)
	}
	switch {
	case sticky:
	case st.Mode&0o002 != 0:
		t.note(path, "%s can be written by everybody: chmod go-w %s", what, name)
	case st.Mode&0o020 != 0:
		t.note(path, "%s can be written by its group: chmod go-w %s", what, name)
	}
}

func (t *truster) owns(st *unix.Stat_t) bool { return st.Uid == 0 || st.Uid == t.starter }

func (t *truster) note(path, format string, args ...any) {
	t.mistakes = append(t.mistakes, config.Mistake{File: path, Message: fmt.Sprintf(format, args...)})
}

func openAt(folder int, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(folder, name, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func stat(f *os.File) (*unix.Stat_t, error) {
	var st unix.Stat_t
	return &st, unix.Fstat(int(f.Fd()), &st)
}

// readLink returns where a link leads that was opened with O_PATH.
func readLink(link *os.File) (string, error) {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(link.Fd()), "", target)
	return string(target[:max(0, n)]), err
}
