// Package mapper answers "where is it" from the registry, in both dialects: as
// the port mapper of ONC RPC, versions 2, 3 and 4 (RFC 1833), and as the endpoint
// mapper of DCE/RPC (C706, appendix O; MS-RPCE).
package mapper

import (
	"cmp"
	"log/slog"
	"sync"
	"sync/atomic"

	"go4.org/netipx"

	"github.com/quaymaster/quaymaster/internal/hostaddr"
	"github.com/quaymaster/quaymaster/internal/registry"
)

// Config is what mappers are made of.
type Config struct {
	Registry  *registry.Registry
	Addresses *hostaddr.Table // of this host: told to clients of servers that listen on all of them
	Owners    Owners          // who calls from this host; nil: that is not known
	Log       *slog.Logger    // nil discards

	// TrustLowPorts takes who calls over loopback from a port that needs
	// privileges for root, where the kernel does not tell whose socket it is.
	TrustLowPorts bool
}

// Shared is what the mappers of both dialects share: what they answer from, and
// who may do what.
type Shared struct {
	Config
	dumpers atomic.Pointer[netipx.IPSet]
}

// New returns what both mappers are made with.
func New(c Config) *Shared {
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return &Shared{Config: c}
}

// A latest is something made of all rows, when it is asked for, and kept until a
// row changes.
type latest[T any] struct {
	registry *registry.Registry
	make     func() (_ T, seq uint64) // and at which change

	now    atomic.Pointer[state[T]]
	making sync.Mutex // one at a time, so that many who ask after a change cost one
}

type state[T any] struct {
	seq uint64 // of the registry when it was made
	T   T
}

// get returns what is shared and must not be changed.
func (l *latest[T]) get() T {
	if s := l.fresh(); s != nil {
		return s.T
	}
	l.making.Lock()
	defer l.making.Unlock()
	if s := l.fresh(); s != nil {
		return s.T
	}
	made, seq := l.make()
	l.now.Store(&state[T]{seq, made})
	return made
}

// fresh returns the state if no row has changed since, else nil.
func (l *latest[T]) fresh() *state[T] {
	if s := l.now.Load(); s != nil && s.seq == l.registry.Seq() {
		return s
	}
	return nil
}
