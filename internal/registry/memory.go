package registry

import (
	"cmp"
	"maps"
	"slices"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// Memory is a [Store] that forgets everything when the process ends.
type Memory struct {
	records map[endpoint.ID]Record
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{records: map[endpoint.ID]Record{}} }

// Load implements [Store]; there is no error.
func (m *Memory) Load() ([]Record, error) {
	return slices.SortedFunc(maps.Values(m.records), func(a, b Record) int { return cmp.Compare(a.Order, b.Order) }), nil
}

// Write implements [Store]; there is no error.
func (m *Memory) Write(put []Record, gone []endpoint.ID) error {
	for _, id := range gone {
		delete(m.records, id)
	}
	for _, r := range put {
		m.records[r.ID] = r
	}
	return nil
}

// Close implements [Store]. The store can be used again.
func (m *Memory) Close() error { return nil }
