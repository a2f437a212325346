// Package filestore keeps the permanent registrations in a file that people can
// read and edit: a YAML list of endpoints, replaced as a whole when it changes.
package filestore

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
)

// A Store is a [registry.Store] in a file, for rows whose evidence is Permanent.
// Of a row it keeps the interface, endpoint, annotation, id and time, and where it
// stands among the others; the owner is always root. It takes no grants, which end
// with a process. Make one with [Open].
type Store struct {
	path string
	rows []registry.Record // as last read or written
	sum  [sha256.Size]byte // of the file then
}

// Open returns the store in the file at path, which it reads. There need not be a
// file or a folder yet; the first Write makes them. Errors are those of Load.
func Open(path string) (*Store, error) {
	s := &Store{path: path}
	_, err := s.Load()
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Load reads the file again. A row without an id gets one that depends on its
// interface and transport, and stays the same as long as the file does; one that
// does not say since when it is there has a zero time. Order counts from 1 when
// the file is opened; later a row keeps its number unless it was moved.
//
// The error is a [config.Mistakes] if the file is damaged: then, as with every
// error, the store is as before.
func (s *Store) Load() (registry.Contents, error) {
	text, err := read(s.path)
	if err != nil {
		return registry.Contents{}, err
	}
	rows, err := decode(s.path, text)
	if err != nil {
		return registry.Contents{}, err
	}
	s.number(rows)
	s.rows, s.sum = rows, sha256.Sum256(text)
	return registry.Contents{Rows: slices.Clone(rows)}, nil
}

// number sets the Order of rows that were read: ascending, and where that goes
// what the caller of Write knows them by.
func (s *Store) number(rows []registry.Record) {
	known := map[endpoint.ID]uint64{}
	for i := range s.rows {
		known[s.rows[i].ID] = s.rows[i].Order
	}
	var last uint64
	for i := range rows {
		last = max(last+1, known[rows[i].ID])
		rows[i].Order = last
	}
}

// Write replaces the file, unless nothing changes. It refuses to if somebody else
// has changed the file since it was last read or written.
func (s *Store) Write(b registry.Batch) error {
	rows, err := s.after(b)
	if err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	if len(b.Rows) == 0 && len(rows) == len(s.rows) {
		return nil
	}
	text := encode(rows)
	if len(text) > config.MaxSize {
		return fmt.Errorf("%s is as it was: with %d rows it would be larger than %d bytes", s.path, len(rows), config.MaxSize)
	}
	replaced, err := replace(s.path, text, s.unchanged)
	if replaced {
		s.sum = sha256.Sum256(text)
	}
	if err != nil {
		return err
	}
	s.rows = rows
	return nil
}

// Close does nothing: between its calls a store holds nothing open.
func (s *Store) Close() error { return nil }

// unchanged returns nil if the file is what was last read or written.
func (s *Store) unchanged() error {
	text, err := read(s.path)
	if err != nil {
		return err
	}
	if sha256.Sum256(text) != s.sum {
		return fmt.Errorf("%s: changed by hand since it was read: send quaymaster SIGHUP first", s.path)
	}
	return nil
}

// after returns the rows as they are after a Write. Its errors are mistakes of
// the caller: the file could not be read again.
func (s *Store) after(b registry.Batch) ([]registry.Record, error) {
	if len(b.Grants) > 0 {
		return nil, errors.New("grants are kept in the journal only")
	}
	replaced := map[endpoint.ID]int{} // by their places in b.Rows; the last of an id counts
	for _, id := range b.Gone {
		replaced[id] = -1
	}
	for i := range b.Rows {
		replaced[b.Rows[i].ID] = i
	}
	var rows []registry.Record
	for _, r := range s.rows {
		if _, ok := replaced[r.ID]; !ok {
			rows = append(rows, r)
		}
	}
	taken := map[endpoint.Place]endpoint.ID{}
	for i := range rows {
		taken[rows[i].Place()] = rows[i].ID
	}
	for i := range b.Rows {
		r := &b.Rows[i]
		if replaced[r.ID] != i {
			continue
		}
		if err := storable(r); err != nil {
			return nil, fmt.Errorf("%s on %s: %w", r.Interface, r.Endpoint, err)
		}
		p := r.Place()
		if id, ok := taken[p]; ok {
			return nil, fmt.Errorf("%s on %s: %s has that place", r.Interface, r.Endpoint, id)
		}
		taken[p] = r.ID
		rows = append(rows, *r)
	}
	slices.SortStableFunc(rows, func(a, b registry.Record) int { return cmp.Compare(a.Order, b.Order) })
	return rows, nil
}

// storable returns nil for a row that comes back from the file as it is.
func storable(r *registry.Record) error {
	switch {
	case r.Evidence != endpoint.Permanent:
		return fmt.Errorf("evidence %s: only permanent rows are kept in a file", r.Evidence)
	case r.Own, r.IsMapper():
		return fmt.Errorf("the mapper's own rows are not kept in a file")
	case r.Owner.Host.IsValid():
		return fmt.Errorf("%s: only rows of root's are kept in a file", r.Owner)
	case r.Owner != endpoint.Superuser:
		return fmt.Errorf("uid %d: only rows of root's are kept in a file", r.Owner.UID)
	case r.ID == 0, r.ID > endpoint.MaxID:
		return fmt.Errorf("id %s cannot be", r.ID)
	}
	return r.Validate()
}

// decode returns the rows of a file.
func decode(name string, text []byte) ([]registry.Record, error) {
	places, ids := map[endpoint.Place]int{}, map[endpoint.ID]int{} // the lines where they are
	regs, err := parse(name, text, func(r *endpoint.Registration, line int) error {
		if first, ok := places[r.Place()]; ok {
			on := r.Transport()
			if r.Dialect == endpoint.DCE { // which may be there at other endpoints
				on = r.Endpoint.String()
			}
			return fmt.Errorf("%s on %s is on line %d already: keep one", r.Interface, on, first)
		}
		places[r.Place()] = line
		if first, ok := ids[r.ID]; ok && r.ID != 0 {
			return fmt.Errorf("id %s is on line %d already: leave it out here", r.ID, first)
		}
		ids[r.ID] = line
		return nil
	})
	if err != nil {
		return nil, err
	}
	rows := make([]registry.Record, len(regs))
	for i, r := range regs {
		if r.ID == 0 {
			r.ID = freeID(r.Place(), ids)
		}
		r.Owner, r.Evidence = endpoint.Superuser, endpoint.Permanent
		rows[i].Registration = r
	}
	return rows, nil
}

// freeID returns an id for a place, and takes it. It is the same whenever the same
// ids are taken: by a row, perhaps, that was at this place before somebody edited it.
func freeID(p endpoint.Place, taken map[endpoint.ID]int) endpoint.ID {
	b := []byte{byte(p.Interface.Dialect)}
	if p.Interface.Dialect == endpoint.ONC {
		b = binary.BigEndian.AppendUint32(b, p.Interface.Program)
		b = binary.BigEndian.AppendUint32(b, p.Interface.Version)
		b = append(b, byte(p.Endpoint.NetID))
	} else {
		b = fmt.Append(b, p.Interface, p.Object, p.Endpoint)
	}
	sum := sha256.Sum256(b)
	id := endpoint.ID(binary.BigEndian.Uint64(sum[:])) & endpoint.MaxID
	for {
		if _, ok := taken[id]; !ok && id != 0 {
			taken[id] = 0
			return id
		}
		id = (id + 1) & endpoint.MaxID
	}
}
