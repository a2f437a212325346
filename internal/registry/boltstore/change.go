package boltstore

import (
	"bytes"
	"maps"
	"slices"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// A change is a row that is put or, without a value, one whose id is forgotten.
// To make it twice is to make it once.
type change = row

// pending are the changes that the log has and the database has not: of each id
// the last.
type pending map[endpoint.ID][]byte

// add makes the changes pending. What the database does not have and is not to
// have cancels out, as of a row that came and went: only stored has to be known.
func (p pending) add(changes []change, stored map[endpoint.ID]struct{}) {
	for _, c := range changes {
		id := idOf(c.key)
		if _, ok := stored[id]; !ok && c.value == nil {
			delete(p, id)
		} else {
			p[id] = c.value
		}
	}
}

// with returns what is pending, and others after it.
func (p pending) with(others []change) []change {
	all := make([]change, 0, len(p)+len(others))
	for id, value := range p {
		all = append(all, change{keyOf(id), value})
	}
	return append(all, others...)
}

// sorted returns changes in the order of keys, those of one key as they were.
// bbolt would move all rows behind a new one otherwise: of many rows each time.
func sorted(changes []change) []change {
	slices.SortStableFunc(changes, func(a, b change) int { return bytes.Compare(a.key, b.key) })
	return changes
}

// changed returns the rows after the changes.
func changed(rows []row, changes []change) []row {
	if len(changes) == 0 {
		return rows
	}
	all := make(map[endpoint.ID]row, len(rows))
	for _, w := range rows {
		all[idOf(w.key)] = w
	}
	for _, c := range changes {
		if c.value == nil {
			delete(all, idOf(c.key))
		} else {
			all[idOf(c.key)] = c
		}
	}
	return sorted(slices.Collect(maps.Values(all)))
}
