package boltstore

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
)

// A Store keeps records in a file. It implements [registry.Store].
type Store struct {
	path    string
	log     *slog.Logger
	boot    string
	journal journal // the file at path; without db the next Write renews it
}

// Open returns the store in the file at path, with the records of an earlier
// process of this boot. It makes the file, and its folder, if there is none.
//
// A file that cannot be understood is moved to path+".bad", in place of an older
// one, with a warning; a file of another boot too, with a notice. Then the
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
	s := &Store{path: path, log: log, boot: bootID(), journal: journal{file: file}}
	if err := s.renewIfRoom(nil); err != nil {
		s.journal.close()
		return nil, err
	}
	return s, nil
}

// Load implements [registry.Store]. If the file was damaged since it was opened,
// it is moved aside as by [Open] and there are no records.
func (s *Store) Load() ([]registry.Record, error) {
	if s.journal.file == nil {
		return nil, fs.ErrClosed
	}
	records, err := s.records()
	if err != nil {
		return nil, s.renewIfRoom(err)
	}
	return records, nil
}

func (s *Store) records() ([]registry.Record, error) {
	rows, err := s.rows()
	if err != nil {
		return nil, err
	}
	loaded := now()
	records := make([]registry.Record, len(rows))
	for i, w := range rows {
		if records[i], err = decode(w, loaded); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(records, func(a, b registry.Record) int { return cmp.Compare(a.Order, b.Order) })
	return records, nil
}

func (s *Store) rows() ([]row, error) {
	info, err := s.journal.file.Stat()
	if err != nil {
		return nil, err
	}
	return readRows(s.journal.file, info.Size(), s.boot)
}

// Write implements [registry.Store]. A record whose id is in gone as well is
// stored. After an error because the disk is full the same Write may succeed
// later. If the file turns out to be damaged, it is moved aside as by [Open]: the
// error says so, and what was stored is to be written again.
func (s *Store) Write(put []registry.Record, gone []endpoint.ID) error {
	if s.journal.file == nil {
		return fs.ErrClosed
	}
	written := now()
	rows := make([]row, len(put))
	for i := range put {
		var err error
		if rows[i], err = encode(&put[i], written); err != nil {
			return err
		}
	}
	// In order, or bbolt moves all behind a new row: of many rows each time.
	slices.SortStableFunc(rows, func(a, b row) int { return bytes.Compare(a.key, b.key) })
	if s.journal.db == nil {
		if err := s.renew(nil); err != nil {
			return err
		}
	}
	err := guard(func() error { return s.journal.update(rows, gone) })
	if _, ok := errors.AsType[*fault](err); ok {
		s.journal.db = nil
		if again := s.renew(nil); again != nil {
			return fmt.Errorf("%w, after %w", again, err)
		}
		err = fmt.Errorf("%w: the file was made anew, write everything again", err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	return nil
}

// Close implements [registry.Store]. The file stays.
func (s *Store) Close() error { return s.journal.close() }

// renew puts in place of the file a new one with the same rows, for bbolt to
// work on: bbolt never meets a page that another process wrote, or a part of a
// file that no check has seen. If the file cannot be understood, or there is a
// reason against it, it is kept aside and the new one is empty.
//
// The new file is locked before it takes the old one's place, so that the path
// leads to a locked file at all times. After an error the old one stays.
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
	err = guard(func() error { return fresh.create(path, rows, s.boot) })
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
	return nil
}

// renewIfRoom is renew but for a full disk, which is worth a warning: Write tries
// again.
func (s *Store) renewIfRoom(reason error) error {
	err := s.renew(reason)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		s.log.Warn("registrations cannot be stored", "file", s.path, "err", err)
		return nil
	}
	return err
}

// moveAside keeps the file, which reason speaks of, as path+".bad" as well, until a
// new one takes its place.
func (s *Store) moveAside(reason error) error {
	bad := s.path + ".bad"
	if err := os.Remove(bad); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Link(s.path, bad); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if errors.Is(reason, errOtherBoot) {
		s.log.Info("the stored registrations are of another boot: beginning without", "file", s.path, "moved", bad, "err", reason)
	} else {
		s.log.Warn("the stored registrations cannot be read: beginning without", "file", s.path, "moved", bad, "err", reason)
	}
	return nil
}
