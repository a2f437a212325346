// Package probe asks other hosts: which port is an RPC service on, is that true,
// and is the way there open. It speaks the clients' side of both dialects of RPC, and
// enough of other protocols to have their servers answer.
//
// What comes from the network is bounded in size, number and time, and never trusted:
// texts are as they came, so who shows them cleans them.
package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A Prober asks, with bounds that hold for everything that it is asked to do. The
// zero value has the defaults. Its methods may be called from any goroutine.
type Prober struct {
	Timeout  time.Duration // for connecting, and for each answer; 0: DefaultTimeout
	Retries  int           // of a datagram that is not answered, each after twice the time; 0: DefaultRetries, -1: none
	Conns    int           // connections and UDP sockets at a time; 0: DefaultConns
	HostConn int           // of these to one host; 0: DefaultHostConns

	// Rows is how many rows mappers may still tell, all together: they are kept until the reports are
	// given up, and there may be any number of hosts. Longer texts count as more. nil: only one mapper's are bounded.
	Rows *atomic.Int64

	// Dial opens a connection; nil: a net.Dialer does. It is for tests and for going
	// out from some address.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	once   sync.Once
	all    chan struct{}
	silent chan struct{} // has who waits for a port that does not answer; see seat

	mu    sync.Mutex // guards what follows
	hosts map[netip.Addr]*hostSlots
}

// Defaults of a [Prober].
const (
	DefaultTimeout   = 3 * time.Second
	DefaultRetries   = 2
	DefaultConns     = 256
	DefaultHostConns = 4
)

// An Entry is one row of what a mapper told: an interface, and where it is said to
// listen.
type Entry struct {
	endpoint.Interface
	endpoint.Endpoint          // as it can be called from here: with the address of the host that was asked in place of 0.0.0.0
	Told              string   // the address as the mapper told it, where that is another or cannot be read
	Object            ndr.UUID // of DCE
	Annotation        string   // of DCE; as it came
	Owner             string   // of ONC; as it came

	State    State         // of trying it
	Time     time.Duration // from asking to the answer; 0 if there was none
	Why      string        // what the state is about, in words; may hold foreign text
	Low      uint32        // versions that a program says it has, of ONC and where it was asked
	High     uint32
	Problems []string // what is wrong with the row
}

// A Report is what one mapper of a host told.
type Report struct {
	Host    netip.Addr
	Dialect endpoint.Dialect
	Via     string        // how it was asked, for people: "tcp 111, version 4"
	State   State         // of the mapper
	Why     string        // what the state is about; may hold foreign text
	Time    time.Duration // of the first answer
	Entries []Entry       // in the order in which they were told
	// Problems are what this mapper gets wrong, each once. What was wrong was read all the same.
	Problems []string
	Cut      bool // there was more than is read
}

// problem notes what a mapper gets wrong, once.
func (r *Report) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for _, p := range r.Problems {
		if p == text {
			return
		}
	}
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, text)
	}
}

// rowText is how many bytes of texts a row may have, to count as one.
const rowText = 256

// room tells whether a row that a mapper told may be kept.
func (p *Prober) room(e *Entry) bool {
	if p.Rows == nil {
		return true
	}
	texts := len(e.Annotation) + len(e.Path) + len(e.Told) + len(e.Owner)
	for _, s := range e.Problems {
		texts += len(s)
	}
	return p.Rows.Add(-int64(1+texts/rowText)) >= 0
}

const (
	maxProblems = 32
	// MaxEntries is how many rows of one mapper are read.
	MaxEntries = 100_000
)
