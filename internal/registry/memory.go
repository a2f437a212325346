package registry

import (
	"maps"
	"slices"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// Memory is a [Store] that forgets everything when the process ends.
type Memory struct {
	rows   map[endpoint.ID]Record
	grants map[endpoint.ID]GrantRecord // of other ids than the rows
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{rows: map[endpoint.ID]Record{}, grants: map[endpoint.ID]GrantRecord{}}
}

// Load implements [Store]; there is no error.
func (m *Memory) Load() (Contents, error) {
	c := Contents{Rows: slices.Collect(maps.Values(m.rows)), Grants: slices.Collect(maps.Values(m.grants))}
	c.Sort()
	return c, nil
}

// Write implements [Store]; there is no error.
func (m *Memory) Write(b Batch) error {
	for _, id := range b.Gone {
		delete(m.rows, id)
		delete(m.grants, id)
	}
	for _, r := range b.Rows {
		delete(m.grants, r.ID)
		m.rows[r.ID] = r
	}
	for _, g := range b.Grants {
		delete(m.rows, g.ID)
		m.grants[g.ID] = g
	}
	return nil
}

// Close implements [Store]. The store can be used again.
func (m *Memory) Close() error { return nil }
