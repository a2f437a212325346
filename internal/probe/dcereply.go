package probe

import (
	"errors"

	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A dceRow is a row of an answer as it came. Its slices are parts of the answer.
type dceRow struct {
	object     ndr.UUID
	annotation []byte // with its NUL
	tower      []byte // nil if there is none
}

// A dceReply holds the results of ept_lookup or ept_map, read as far as they go: unlike
// [epm.ParseLookupReply] it takes each row by itself, and towers that cannot be read.
type dceReply struct {
	handle ndr.Handle
	most   uint32 // the maximum that the call named
	rows   []dceRow
	status epm.Status
	odd    bool  // counts contradict each other
	err    error // where it breaks off
}

var errRows = errors.New("more rows than bytes")

// readDCELookup reads the results of ept_lookup.
func readDCELookup(b []byte, l ndr.Label) dceReply {
	r := ndr.NewReader(b, l)
	q, n := readDCECounts(&r, ndr.UUIDSize+4+4+4)
	pointed := make([]bool, 0, n)
	for range n {
		row := dceRow{object: r.UUID()}
		tower := r.Uint32() != 0
		r.Uint32() // the offset of a varying array, always 0
		row.annotation = r.Bytes(count(&r))
		if r.Err() != nil {
			break
		}
		q.rows, pointed = append(q.rows, row), append(pointed, tower)
	}
	for i, tower := range pointed {
		if tower {
			q.rows[i].tower = q.readTower(&r)
		}
	}
	q.end(&r)
	return q
}

// readDCEMap reads the results of ept_map.
func readDCEMap(b []byte, l ndr.Label) dceReply {
	r := ndr.NewReader(b, l)
	q, n := readDCECounts(&r, 4)
	referents := r // the towers stand after all pointers
	r.Bytes(4 * n)
	for range n {
		var row dceRow
		if referents.Uint32() != 0 {
			row.tower = q.readTower(&r)
		}
		if r.Err() != nil {
			break
		}
		q.rows = append(q.rows, row)
	}
	q.end(&r)
	return q
}

// readDCECounts reads what stands before the rows, of which each has at least size bytes.
func readDCECounts(r *ndr.Reader, size int) (q dceReply, n int) {
	q.handle = r.Handle()
	num := r.Uint32()
	q.most = r.Uint32()
	r.Uint32() // offset
	actual := r.Uint32()
	q.odd = num != actual || actual > q.most
	if uint64(actual)*uint64(size) > uint64(len(r.Rest())) {
		r.Fail(errRows)
	}
	if r.Err() != nil {
		return q, 0
	}
	return q, int(actual)
}

func (q *dceReply) end(r *ndr.Reader) {
	q.status = epm.Status(r.Uint32())
	q.err = r.Err()
}

// readTower reads a twr_t; what is missing is nil.
func (q *dceReply) readTower(r *ndr.Reader) []byte {
	r.Align(4)
	n := count(r)
	length := r.Uint32()
	b := r.Bytes(n)
	if r.Err() != nil {
		return nil
	}
	if uint64(length) != uint64(n) {
		q.odd = true
		b = b[:min(uint64(length), uint64(n))]
	}
	return b
}

// count reads a count of bytes, which cannot be more than are left.
func count(r *ndr.Reader) int { return int(r.Count(uint32(len(r.Rest())))) }
