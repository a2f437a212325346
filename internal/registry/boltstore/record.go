package boltstore

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A row is a registration or a grant as it stands in the file. The key is the id in
// six bytes, big endian; the value is the CRC-32C of the key and the text in four,
// and the text.
type row struct {
	key, value []byte
}

const (
	keySize = 6
	crcSize = 4
)

// A moment is one on two clocks. It translates between a time.Time, whose
// monotonic reading means nothing outside the process, and CLOCK_MONOTONIC,
// which every process of a boot reads the same and which, unlike the wall clock,
// stands still while the host is suspended, as leases do.
type moment struct {
	time      time.Time // as time.Now tells it
	monotonic int64     // CLOCK_MONOTONIC, ns
}

// reading returns what CLOCK_MONOTONIC reads at t.
func (m moment) reading(t time.Time) int64 {
	d := int64(t.Sub(m.time))
	if d > 0 && m.monotonic > math.MaxInt64-d {
		return math.MaxInt64
	}
	return m.monotonic + d
}

// at returns when CLOCK_MONOTONIC reads so, with a monotonic reading.
func (m moment) at(reading int64) time.Time {
	return m.time.Add(time.Duration(max(reading, math.MinInt64+m.monotonic) - m.monotonic))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, text []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, text)
}

func keyOf(id endpoint.ID) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(id))[8-keySize:]
}

func idOf(key []byte) endpoint.ID {
	var id [8]byte
	copy(id[8-keySize:], key)
	return endpoint.ID(binary.BigEndian.Uint64(id[:]))
}

// storable tells whether there is a key for an id.
func storable(id endpoint.ID) bool { return id != 0 && id <= endpoint.MaxID }

func badID(id endpoint.ID) error {
	return fmt.Errorf("id %d: it has %d bytes and is not 0", uint64(id), keySize)
}

// encode returns the row of a record. It refuses what decode would not return.
func encode(r *registry.Record, now moment) (row, error) {
	_, evidenceErr := endpoint.ParseEvidence(r.Evidence.String())
	switch {
	case !storable(r.ID):
		return row{}, badID(r.ID)
	case r.Own:
		return row{}, fmt.Errorf("%s: the mapper's own rows are not stored", r.ID)
	case evidenceErr != nil:
		return row{}, fmt.Errorf("%s: %w", r.ID, evidenceErr)
	}
	if err := r.Validate(); err != nil {
		return row{}, fmt.Errorf("%s: %w", r.ID, err)
	}
	t := text{
		Dialect: r.Dialect, Program: r.Program, Version: r.Version, UUID: r.UUID, Major: r.Major, Minor: r.Minor, Object: r.Object,
		Addr: r.Addr, Path: r.Path,
		Annotation: r.Annotation, UID: r.Owner.UID, Host: r.Owner.Host, Since: r.Since.UTC(),
		Evidence: r.Evidence.String(), PID: r.PID, Order: r.Order,
		Seen: r.Seen, SocketUID: r.SocketUID, Started: r.Started, Elsewhere: r.Elsewhere,
	}
	if r.ProtSeq != 0 { // which says the netid as well
		t.ProtSeq = r.ProtSeq.String()
	} else {
		t.NetID = r.NetID.String()
	}
	if !r.Until.IsZero() {
		until := now.reading(r.Until)
		t.Until = &until
	}
	b, err := t.append(make([]byte, crcSize, usualSize))
	if err != nil {
		return row{}, fmt.Errorf("%s: %w", r.ID, err)
	}
	return sealed(keyOf(r.ID), b), nil
}

// usualSize is room for the value of most rows.
const usualSize = 208

// rowFor returns the row with this key and text.
func rowFor(key, text []byte) row { return sealed(key, append(make([]byte, crcSize), text...)) }

// sealed returns the row with this key and a value that lacks the checksum only.
func sealed(key, value []byte) row {
	binary.BigEndian.PutUint32(value, checksum(key, value[crcSize:]))
	return row{key, value}
}

// sound tells whether the checksum is right.
func (w row) sound() bool {
	return binary.BigEndian.Uint32(w.value) == checksum(w.key, w.value[crcSize:])
}

// check tells whether the row is as it was written.
func (w row) check() error {
	if len(w.key) != keySize || len(w.value) < crcSize {
		return fmt.Errorf("row %x of %d bytes", w.key, len(w.value))
	}
	if !w.sound() {
		return fmt.Errorf("row %x: the checksum is another", w.key)
	}
	return nil
}

// weight is what the row adds to the sum of all: that no row is lost and none is
// of an older state of the file, which no checksum of a single row tells.
func (w row) weight() uint64 { return 1<<32 | uint64(binary.BigEndian.Uint32(w.value)) }

// endpoint returns where the row listens; ok is false if there is no such transport.
func (t *text) endpoint() (_ endpoint.Endpoint, ok bool) {
	if t.ProtSeq != "" {
		p, ok := epm.ParseProtSeq(t.ProtSeq)
		e := endpoint.At(p, t.Addr)
		e.Path = t.Path
		return e, ok && t.NetID == ""
	}
	n, ok := rpcbind.ParseNetID(t.NetID)
	return endpoint.Endpoint{NetID: n, Addr: t.Addr, Path: t.Path}, ok
}

// decode adds to c what a row says.
func decode(c *registry.Contents, w row, now moment) error {
	if err := w.check(); err != nil {
		return err
	}
	var t struct {
		text
		Grant *grantText `json:"grant"`
	}
	err := json.Unmarshal(w.value[crcSize:], &t)
	id := idOf(w.key)
	switch {
	case err != nil:
	case id == 0:
		err = errors.New("id 0")
	case t.Grant == nil:
		var r registry.Record
		if r, err = t.record(id, now); err == nil {
			c.Rows = append(c.Rows, r)
		}
	case t.text != text{}:
		err = errors.New("a grant and more")
	default:
		var g registry.GrantRecord
		if g, err = t.Grant.record(id); err == nil {
			c.Grants = append(c.Grants, g)
		}
	}
	if err != nil {
		return fmt.Errorf("row %x: %w", w.key, err)
	}
	return nil
}

// record returns the registration that the text describes.
func (t *text) record(id endpoint.ID, now moment) (registry.Record, error) {
	at, ok := t.endpoint()
	if !ok {
		return registry.Record{}, fmt.Errorf("unknown netid %q, protocol sequence %q", t.NetID, t.ProtSeq)
	}
	evidence, err := endpoint.ParseEvidence(t.Evidence)
	if err != nil {
		return registry.Record{}, err
	}
	r := registry.Record{
		Registration: endpoint.Registration{
			ID:         id,
			Interface:  endpoint.Interface{Dialect: t.Dialect, Program: t.Program, Version: t.Version, UUID: t.UUID, Major: t.Major, Minor: t.Minor},
			Endpoint:   at,
			Object:     t.Object,
			Annotation: t.Annotation, Owner: endpoint.Owner{UID: t.UID, Host: t.Host},
			Since:    t.Since.Local(), // as what time.Now tells
			Evidence: evidence, PID: t.PID,
		},
		Order: t.Order, Seen: t.Seen, SocketUID: t.SocketUID, Started: t.Started, Elsewhere: t.Elsewhere,
	}
	if t.Until != nil {
		r.Until = now.at(*t.Until)
	}
	return r, r.Validate()
}
