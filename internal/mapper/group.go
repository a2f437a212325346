package mapper

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"

	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// Groups are the association groups that connections are in: context handles are
// valid in the group that they were given to, and end with its last connection
// (C706, section 9.3.2).
type groups struct {
	mu   sync.Mutex // guards what follows
	byID map[uint32]*group
}

// A group has at least one connection.
type group struct {
	id     uint32
	client netip.Addr // who may join; the zero Addr over the local socket
	size   int        // connections, guarded by groups.mu

	mu      sync.Mutex // guards what follows
	handles []cursor   // oldest first
}

// join returns the group that a client asks for if it is one of its own, else a new one.
func (s *groups) join(id uint32, client netip.Addr) *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.byID[id]
	if g == nil || g.client != client {
		for id = 0; id == 0 || s.byID[id] != nil; { // 0 means a new one
			id = rand.Uint32()
		}
		g = &group{id: id, client: client}
		s.byID[id] = g
	}
	g.size++
	return g
}

// leave takes a connection out; nil is none.
func (s *groups) leave(g *group) {
	if g == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.size--; g.size == 0 {
		delete(s.byID, g.id)
	}
}

// A cursor is what a context handle stands for: an inquiry of which a part was told.
type cursor struct {
	handle ndr.UUID
	op     epm.Op
	inquiry
	last uint64 // order of the row that was told last, of ept_map its rank
}

// maxHandles is how many handles a group can have. Few clients give theirs back,
// so that a new one takes the place of the oldest.
const maxHandles = 32

// open notes where an inquiry goes on, and returns a handle for it: that which it
// has, or a new one.
func (g *group) open(c cursor) ndr.Handle {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.handle.IsNil() {
		c.handle = newUUID()
	}
	g.drop(c.handle)
	if len(g.handles) == maxHandles {
		g.handles = slices.Delete(g.handles, 0, 1)
	}
	g.handles = append(g.handles, c)
	return ndr.Handle{UUID: c.handle}
}

// find returns the inquiry of a handle.
func (g *group) find(h ndr.Handle, op epm.Op) (cursor, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.index(h.UUID)
	if i < 0 || h.Attributes != 0 || g.handles[i].op != op {
		return cursor{}, false
	}
	return g.handles[i], true
}

// close ends a handle, and tells whether there was such a one.
func (g *group) close(h ndr.Handle) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return h.Attributes == 0 && g.drop(h.UUID)
}

func (g *group) drop(handle ndr.UUID) bool {
	i := g.index(handle)
	if i >= 0 {
		g.handles = slices.Delete(g.handles, i, i+1)
	}
	return i >= 0
}

func (g *group) index(handle ndr.UUID) int {
	return slices.IndexFunc(g.handles, func(c cursor) bool { return c.handle == handle })
}
