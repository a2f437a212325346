package registry

import (
	"cmp"
	"slices"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// A Record is a row as a [Store] keeps it: the registration, and what is known
// of its evidence.
type Record struct {
	endpoint.Registration
	Order uint64 // rows stand in this order, oldest first

	Seen      bool   // a socket received at the endpoint
	SocketUID uint32 // that socket's, if Seen
	Started   uint64 // when the process PID began, in clock ticks since the host did; 0 if unknown or if the row does not need it
	Elsewhere bool   // the owner's sockets cannot be seen: another network namespace, or an address of another host
}

// A GrantRecord is a grant as a [Store] keeps it.
type GrantRecord struct {
	endpoint.Grant
	Started uint64 // when the process PID began, in clock ticks since the host did; 0 if unknown
}

// A Batch is what is written at once. An id is that of a row or of a grant, never
// of both.
type Batch struct {
	Rows   []Record      // each in place of what has its id
	Grants []GrantRecord // likewise
	Gone   []endpoint.ID // of rows and grants that are forgotten; ids that are not there are no error
}

func (b *Batch) empty() bool { return len(b.Rows)+len(b.Grants)+len(b.Gone) == 0 }

// Contents is what a [Store] holds.
type Contents struct {
	Rows   []Record      // in order
	Grants []GrantRecord // oldest first: by Since, then by ID
}

// Sort puts the rows and the grants in the order in which they are loaded.
func (c *Contents) Sort() {
	slices.SortFunc(c.Rows, func(a, b Record) int { return cmp.Compare(a.Order, b.Order) })
	slices.SortFunc(c.Grants, func(a, b GrantRecord) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
}

// A Store is a registry's journal. Its methods are called by one goroutine at a
// time.
type Store interface {
	// Load returns what is stored. The contents are the caller's.
	Load() (Contents, error)
	// Write stores the rows and grants of the batch, and forgets what is gone: all of
	// it or, with an error, nothing, unless the store turns out to be damaged and is
	// made anew, empty. After an error writing everything again is right in either
	// case. It keeps nothing that it was given.
	Write(Batch) error
	// Close ends the use of the store.
	Close() error
}
