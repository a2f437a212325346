package boltstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// A changeLog is the file of changes beside a database, which has its name. The
// lock of the database covers it.
//
// A change that is in the page cache survives the process, and to put it there
// takes a tenth of a transaction of bbolt's.
type changeLog struct {
	path string
	file *os.File // nil if there is none yet
	name string   // of the log, which the database knows
	size int64    // of the entries
	sum  uint32   // of the last of them
	torn bool     // there may be something behind them
	buf  []byte
}

// maxBuf is the size of a buffer that is kept.
const maxBuf = 64 << 10

// openIfThere opens the log that an earlier process left.
func (l *changeLog) openIfThere() error {
	file, err := open(l.path, os.O_RDWR)
	if err == nil {
		l.file = file
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// read returns the changes of the file if it has this name, and how many bytes are sound.
func (l *changeLog) read(name string) ([]change, int64, error) {
	if l.file == nil {
		return nil, 0, nil
	}
	b, err := io.ReadAll(io.NewSectionReader(l.file, 0, maxLog+1))
	if err != nil {
		return nil, 0, err
	}
	changes, sound, err := readLog(b, name)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", l.path, err)
	}
	return changes, sound, nil
}

// append writes the entry of these changes at the end: all of it or, with an error,
// nothing.
func (l *changeLog) append(changes []change) error {
	if err := l.mend(); err != nil {
		return err
	}
	b, sum := l.buf[:0], l.sum
	if l.size == 0 {
		b, sum = appendName(b, l.name)
	}
	b, sum = appendEntry(b, sum, changes)
	if cap(b) <= maxBuf {
		l.buf = b
	}
	if _, err := l.file.WriteAt(b, l.size); err != nil {
		l.torn = true
		return errors.Join(err, l.mend())
	}
	l.size += int64(len(b))
	l.sum = sum
	return nil
}

// mend makes a file that ends with the last entry.
func (l *changeLog) mend() error {
	if l.file == nil {
		file, err := open(l.path, os.O_RDWR|os.O_CREATE)
		if err != nil {
			return err
		}
		l.file, l.torn = file, true // it may be one that forget could not remove
	}
	if !l.torn {
		return nil
	}
	if err := l.file.Truncate(l.size); err != nil {
		return err
	}
	l.torn = false
	return nil
}

// restart empties the log for the database that knows it by this name. If the
// file cannot be emptied now, its name is the old one, and append tries again.
func (l *changeLog) restart(name string) {
	l.name, l.size, l.sum, l.torn = name, 0, 0, true
	if l.file != nil {
		l.mend()
	}
}

// forget leaves the file to whoever has linked it, and restarts with another. It does
// not matter if the path leads to the old one still, whose name is another.
func (l *changeLog) forget(name string) {
	l.close()
	os.Remove(l.path)
	*l = changeLog{path: l.path, name: name, buf: l.buf}
}

// close ends the use of the file. One that says nothing is removed.
func (l *changeLog) close() {
	if l.file == nil {
		return
	}
	if info, err := l.file.Stat(); err == nil && info.Size() == 0 {
		os.Remove(l.path)
	}
	l.file.Close()
	l.file = nil
}

// moveAside keeps the file at another path as well, in place of what is there.
func moveAside(path, aside string) error {
	if err := os.Remove(aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Link(path, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// isFull tells whether there is no room, which may change.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
