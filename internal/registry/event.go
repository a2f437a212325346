package registry

import (
	"fmt"
	"sync/atomic"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// A Kind says what an [Event] tells.
type Kind uint8

// Kinds of events.
const (
	Snapshot  Kind = iota // everything that is registered
	Made                  // a registration was made
	Renewed               // a registration is believed anew: longer, or for another reason
	Ended                 // a registration ended
	Refused               // a registration or its end was refused
	Granted               // ports were given to a process
	Returned              // they came back: given back, or the process ended
	Exhausted             // there was no port to give
	kinds
)

var kindNames = [...]string{"snapshot", "made", "renewed", "ended", "refused", "granted", "returned", "exhausted"}

// changes tells whether such an event is a change of what is registered, which no watcher may miss.
func (k Kind) changes() bool { return k == Made || k == Renewed || k == Ended }

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// A Reason is why a registration ended.
type Reason uint8

// Reasons.
const (
	Removed     Reason = iota // its owner or root said so
	Gone                      // nothing receives at the endpoint any more
	TakenOver                 // another user's socket receives there now
	NeverThere                // nothing received there within the grace
	ProcessOver               // its process ended
	LeaseOver                 // its lease was not renewed
	FileChanged               // the file of permanent registrations says so no more
	reasons
)

var reasonNames = [...]string{
	"removed", "nothing listens there any more", "another user's socket is there", "nothing began to listen there",
	"its process ended", "its lease ended", "the file of permanent registrations was changed",
}

func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("Reason(%d)", uint8(r))
}

// An Event is a change, or the state that changes are counted from.
type Event struct {
	Seq          uint64 // of the change, or of the last one before; changes are numbered without gaps
	Kind         Kind
	Registration *endpoint.Registration   // as it stands or ended, or as it was refused; nil of grants
	Grant        *endpoint.Grant          // of Granted and Returned; of Exhausted what was asked for
	By           *endpoint.Owner          // who made, renewed, removed it or was refused; nil: nobody, its evidence ended or changed
	Reason       Reason                   // of Ended
	Err          error                    // of Refused and Exhausted: why, the first few errors if there are more
	More         int                      // how many more there are
	All          []*endpoint.Registration // of a snapshot, oldest first
}

// maxReasons is how many errors of a refusal an event has: a request can have tens
// of thousands, and events wait for who is slow to read them.
const maxReasons = 3

// counters count events.
type counters struct {
	kinds  [kinds]atomic.Uint64
	ending [reasons]atomic.Uint64
}

func (c *counters) count(e Event) {
	c.kinds[e.Kind].Add(1)
	if e.Kind == Ended {
		c.ending[e.Reason].Add(1)
	}
}

// Counts says how many events there were since the registry was opened.
type Counts struct {
	Made, Renewed, Refused       uint64
	Ended                        map[Reason]uint64
	Granted, Returned, Exhausted uint64
}

// Counts returns the counters.
func (g *Registry) Counts() Counts {
	c := Counts{
		Made: g.counters.kinds[Made].Load(), Renewed: g.counters.kinds[Renewed].Load(), Refused: g.counters.kinds[Refused].Load(),
		Ended:   map[Reason]uint64{},
		Granted: g.counters.kinds[Granted].Load(), Returned: g.counters.kinds[Returned].Load(), Exhausted: g.counters.kinds[Exhausted].Load(),
	}
	for r := range reasons {
		c.Ended[r] = g.counters.ending[r].Load()
	}
	return c
}
