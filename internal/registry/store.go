package registry

import (
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

// A Store is a registry's journal. Its methods are called by one goroutine at a
// time.
type Store interface {
	// Load returns what is stored, in order. The records are the caller's.
	Load() ([]Record, error)
	// Write stores put, each in place of what has its id, and forgets what has
	// the ids in gone: all of it or, with an error, nothing, unless the store turns
	// out to be damaged and is made anew, empty. After an error writing everything
	// again is right in either case. Ids that are not there are no error. It keeps
	// nothing that it was given.
	Write(put []Record, gone []endpoint.ID) error
	// Close ends the use of the store.
	Close() error
}
