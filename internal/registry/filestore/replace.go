package filestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/quaymaster/quaymaster/internal/config"
)

// resolve returns the file that path means. That is what a symbolic link leads
// to: who made the link wants it to stay. A link to nothing is an error and no
// empty file, for what it should lead to may only not be mounted.
func resolve(path string) (string, error) {
	file, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	if to, err := os.Readlink(path); err == nil {
		return "", fmt.Errorf("%s is a link to %s, which is not there: make that file or remove the link", path, to)
	}
	return path, nil
}

// read returns the text of a file, a little more than can be decoded at most;
// nothing if there is no file.
func read(path string) ([]byte, error) {
	file, err := resolve(path)
	if err != nil {
		return nil, err
	}
	switch info, err := os.Stat(file); { // before it is opened, or a pipe would keep us waiting
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, config.MaxSize+1))
}

// replace makes text the content of a file, and its folder if need be. Who reads
// the file, now or after a power cut, finds the old content or the new. It asks
// may last of all before the new is there. With an error for which replaced is
// false all is as it was.
func replace(path string, text []byte, may func() error) (replaced bool, err error) {
	file, err := resolve(path)
	if err != nil {
		return false, err
	}
	folder := filepath.Dir(file)
	if err := makeFolder(folder); err != nil {
		return false, fmt.Errorf("%s is as it was: cannot make %s: %w", path, folder, reason(err))
	}
	f, err := os.CreateTemp(folder, filepath.Base(file)+".*.new")
	if err == nil {
		defer os.Remove(f.Name()) // gone already if all went well
		err = fill(f, text)
	}
	if err != nil {
		return false, fmt.Errorf("%s is as it was: cannot write in %s: %w", path, folder, reason(err))
	}
	if err := may(); err != nil {
		return false, err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return false, fmt.Errorf("%s is as it was: cannot replace it: %w", path, reason(err))
	}
	if err := syncFolder(folder); err != nil {
		return true, fmt.Errorf("%s is written, but a power cut may undo that: %w", path, err)
	}
	return true, nil
}

// fill writes a file to the disk and closes it.
func fill(f *os.File, text []byte) error {
	defer f.Close() // a second time does no harm
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil { // or the new name could be on the disk before the content is
		return err
	}
	return f.Close()
}

// makeFolder makes a folder that is not there.
func makeFolder(folder string) error {
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(folder))
}

// syncFolder has the names in a folder written to the disk.
func syncFolder(folder string) error {
	if runtime.GOOS == "windows" {
		return nil // which has no such call
	}
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil // nor have some file systems
}

// reason returns what the system said of an error, without the names of our
// temporary files.
func reason(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
