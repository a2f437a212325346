package boltstore

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
)

// A Store keeps rows and grants in a database and in a log beside it. It implements
// [registry.Store].
//
// Write appends to the log. When that has grown, its changes go into the database,
// which in the same transaction takes another name for its log, and the log is
// emptied. So a log of the name that the database has comes after it, and one of
// any other name says nothing that is not in the database already, or of another
// database, whenever the process ended.
type Store struct {
	path    string
	log     *slog.Logger
	boot    string
	journal journal // the file at path; without db the next Write renews it
	changes changeLog
	pending pending // what changes has, if journal has db

	merge int64 // size of the log from which on its changes go into the database
	limit int64 // size that it may have if they cannot
	retry int64 // size from which on that is tried again
}

// Open returns the store in the file at path, and in path+".log", with what an
// earlier process of this boot stored. It makes the file, and its folder, if there
// is none.
//
// What cannot be understood is moved to path+".bad" and path+".log.bad", in place of
// older ones, with a warning; what is of another boot too, with a notice. Then the
// store is empty. An error says that the file is in use, or what the system
// refuses; a full disk is none, since there may be room later.
func Open(path string, log *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := lock(path)
	if err != nil {
		return nil, err
	}
	s := &Store{
		path: path, log: log, boot: bootID(), journal: journal{file: file},
		changes: changeLog{path: path + ".log"}, pending: pending{},
		merge: 1 << 20, limit: maxLog,
	}
	if err = s.changes.openIfThere(); err == nil {
		err = s.renewIfRoom(nil)
	}
	if err != nil {
		s.changes.close()
		s.journal.close()
		return nil, err
	}
	return s, nil
}

// Load implements [registry.Store]. If the file was damaged since it was opened,
// it is moved aside as by [Open] and there is nothing.
func (s *Store) Load() (registry.Contents, error) {
	if s.journal.file == nil {
		return registry.Contents{}, fs.ErrClosed
	}
	c, err := s.contents()
	if err != nil {
		return registry.Contents{}, s.renewIfRoom(err)
	}
	return c, nil
}

func (s *Store) contents() (c registry.Contents, err error) {
	rows, err := s.rows()
	if err != nil {
		return c, err
	}
	loaded := now()
	for _, w := range rows {
		if err := decode(&c, w, loaded); err != nil {
			return c, err
		}
	}
	c.Sort()
	return c, nil
}

// rows returns what the files say. While the log is in use it has to be all there.
func (s *Store) rows() ([]row, error) {
	info, err := s.journal.file.Stat()
	if err != nil {
		return nil, err
	}
	rows, name, err := readRows(s.journal.file, info.Size(), s.boot)
	if err != nil {
		return nil, err
	}
	changes, sound, err := s.changes.read(name)
	if err != nil {
		return nil, err
	}
	if s.journal.db != nil && sound != s.changes.size {
		return nil, fmt.Errorf("%s: only %d of %d bytes are there", s.changes.path, sound, s.changes.size)
	}
	return changed(rows, changes), nil
}

// Write implements [registry.Store]. A row or grant whose id is gone as well is
// stored. After an error because the disk is full the same Write may succeed
// later. If the file turns out to be damaged, it is moved aside as by [Open]: the
// error says so, and what was stored is to be written again.
func (s *Store) Write(b registry.Batch) error {
	if s.journal.file == nil {
		return fs.ErrClosed
	}
	changes, err := encodeAll(&b)
	if err != nil || len(changes) == 0 {
		return err
	}
	if s.journal.db == nil {
		if err := s.renew(nil); err != nil {
			return err
		}
	}
	if size := entrySize(changes); size > s.merge || s.changes.size+size > s.limit-nameSize {
		err = s.mergeWith(changes)
	} else if err = s.changes.append(changes); err == nil {
		s.pending.add(changes, s.journal.stored)
		err = s.mergeIfDue()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	return nil
}

// encodeAll returns the changes of a Write.
func encodeAll(b *registry.Batch) ([]change, error) {
	changes := make([]change, 0, len(b.Rows)+len(b.Grants)+len(b.Gone))
	for _, id := range b.Gone {
		if id <= endpoint.MaxID { // its key would be another id's
			changes = append(changes, change{key: keyOf(id)})
		}
	}
	var written moment
	for i := range b.Rows {
		if !b.Rows[i].Until.IsZero() && written.time.IsZero() {
			written = now()
		}
		w, err := encode(&b.Rows[i], written)
		if err != nil {
			return nil, err
		}
		changes = append(changes, w)
	}
	for i := range b.Grants {
		w, err := encodeGrant(&b.Grants[i])
		if err != nil {
			return nil, err
		}
		changes = append(changes, w)
	}
	return changes, nil
}

// mergeIfDue puts the changes of the log into the database if they are many. That
// it cannot be written does not matter as long as the log can; but damage does.
func (s *Store) mergeIfDue() error {
	if s.changes.size < max(s.merge, s.retry) {
		return nil
	}
	err := s.mergeWith(nil)
	if _, ok := errors.AsType[*fault](err); !ok && err != nil {
		s.retry = s.changes.size + s.merge
		return nil
	}
	return err
}

// mergeWith puts the changes of the log into the database, and others: all of them or,
// with an error, none.
func (s *Store) mergeWith(others []change) error {
	name := s.changes.name
	if all := sorted(s.pending.with(others)); len(all) > 0 { // otherwise the log says what the database does
		name = rand.Text()
		err := guard(func() error { return s.journal.update(all, name) })
		if _, ok := errors.AsType[*fault](err); ok {
			s.journal.db = nil
			if again := s.renew(nil); again != nil {
				return fmt.Errorf("%w, after %w", again, err)
			}
			return fmt.Errorf("%w: the file was made anew, write everything again", err)
		}
		if err != nil {
			return err
		}
	}
	s.changes.restart(name)
	s.begin()
	return nil
}

// begin notes that the log says nothing new.
func (s *Store) begin() {
	clear(s.pending)
	s.retry = 0
}

// Close implements [registry.Store]. The files stay, though of the log only what does
// not fit into the database.
func (s *Store) Close() error {
	if s.journal.file == nil {
		return nil
	}
	var err error
	if s.journal.db != nil && s.changes.size > 0 {
		if err = s.mergeWith(nil); isFull(err) {
			err = nil // the log is as good
		} else if err != nil {
			err = fmt.Errorf("%s: %w", s.path, err)
		}
	}
	s.changes.close()
	return errors.Join(err, s.journal.close())
}

// renew puts in place of the database a new one with the same rows and those of the
// log, for bbolt to work on: bbolt never meets a page that another process wrote, or
// a part of a file that no check has seen. If the files cannot be understood, or there
// is a reason against them, they are kept aside and the new one is empty.
//
// The new file is locked before it takes the old one's place, so that the path
// leads to a locked file at all times. The log is left as it is until then, and has
// another name than the new file's, if the process ends before it is removed. After
// an error the old files stay.
func (s *Store) renew(reason error) error {
	rows, err := s.rows()
	if err = cmp.Or(reason, err); err != nil {
		if err := s.moveAside(err); err != nil {
			return err
		}
		rows = nil
	}
	path := s.path + ".new"
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a process that was killed
		return err
	}
	var fresh journal
	name := rand.Text()
	err = guard(func() error { return fresh.create(path, rows, s.boot, name) })
	if err == nil {
		err = os.Rename(path, s.path)
	}
	if err != nil {
		if _, ok := errors.AsType[*fault](err); ok {
			fresh.db = nil
		}
		fresh.close()
		os.Remove(path)
		return fmt.Errorf("%s: %w", s.path, err)
	}
	s.journal.close() // whatever it says of the old file
	s.journal = fresh
	s.changes.forget(name)
	s.begin()
	return nil
}

// renewIfRoom is renew but for a full disk, which is worth a warning: Write tries
// again.
func (s *Store) renewIfRoom(reason error) error {
	err := s.renew(reason)
	if isFull(err) {
		s.log.Warn("registrations cannot be stored", "file", s.path, "err", err)
		return nil
	}
	return err
}

// moveAside keeps the files, which reason speaks of, as path+".bad" and path+".log.bad"
// as well, until new ones take their place.
func (s *Store) moveAside(reason error) error {
	bad := s.path + ".bad"
	if err := moveAside(s.path, bad); err != nil {
		return err
	}
	if err := moveAside(s.changes.path, s.changes.path+".bad"); err != nil {
		return err
	}
	if errors.Is(reason, errOtherBoot) {
		s.log.Info("the stored registrations are of another boot: beginning without", "file", s.path, "moved", bad, "err", reason)
	} else {
		s.log.Warn("the stored registrations cannot be read: beginning without", "file", s.path, "moved", bad, "err", reason)
	}
	return nil
}
