package gate

import (
	"container/heap"
	"net/netip"
	"slices"
	"time"

	"go4.org/netipx"

	"github.com/quaymaster/quaymaster/internal/follow"
)

// linger is how much longer than its lifetime a pinhole is remembered: the kernel's clock may be a little behind.
const linger = 2 * time.Second

// A place is what there is one pinhole of.
type place struct {
	from     netip.Addr
	to       netip.AddrPort
	protocol uint8
	once     bool
}

func (p *Pinhole) place() place { return place{p.From, p.To, p.Protocol, p.Once} }

// An outsidePlace is what stands for one client's port: for a server, on a protocol.
type outsidePlace struct {
	from     netip.Addr
	outside  netip.AddrPort
	protocol uint8
}

func (p *Pinhole) outsidePlace() outsidePlace { return outsidePlace{p.From, p.Outside, p.Protocol} }

// A held is a pinhole in the books.
type held struct {
	Pinhole
	since, ends time.Time
	committed   bool // the kernel has it, for all that is known
	index       int  // in the heap
}

// The books say which pinholes there are, without asking the kernel. They are not for several goroutines at once.
type books struct {
	policy    *Policy
	networks  []entryNetworks // in the order of policy.Follow
	held      map[place]*held
	outside   map[outsidePlace]*held
	sessions  map[uint64][]*held // those of known sessions
	perClient map[netip.Addr]int
	perServer map[netip.Addr]int
	byEnd     endHeap
}

// entryNetworks are the clients and servers of an entry, quickly found.
type entryNetworks struct{ clients, servers *netipx.IPSet }

func newBooks(p *Policy) *books {
	b := &books{
		held: map[place]*held{}, outside: map[outsidePlace]*held{}, sessions: map[uint64][]*held{},
		perClient: map[netip.Addr]int{}, perServer: map[netip.Addr]int{},
	}
	b.setPolicy(p)
	return b
}

func (b *books) setPolicy(p *Policy) {
	b.policy, b.networks = p, nil
	for _, e := range p.Follow {
		b.networks = append(b.networks, entryNetworks{ipSet(e.Clients), ipSet(e.Servers)})
	}
}

func ipSet(all []netip.Prefix) *netipx.IPSet {
	var b netipx.IPSetBuilder
	for _, p := range all {
		b.AddPrefix(p)
	}
	set, err := b.IPSet()
	if err != nil {
		panic("gate: networks: " + err.Error()) // they are valid
	}
	return set
}

// allowed reports whether any entry of the policy lets a pinhole be.
func (b *books) allowed(p *Pinhole) bool {
	for i := range b.policy.Follow {
		e := &b.policy.Follow[i]
		if e.Protocol.Once() == p.Once && e.Promised(p.By, p.To.Port()) && b.networks[i].clients.Contains(p.client()) && b.networks[i].servers.Contains(p.server()) {
			return true
		}
	}
	return false
}

// side returns who opens connections from one address to another.
func (b *books) side(from, to netip.Addr) (follow.Side, bool) {
	for _, n := range b.networks {
		switch {
		case n.clients.Contains(from) && n.servers.Contains(to):
			return follow.Client, true
		case n.clients.Contains(to) && n.servers.Contains(from):
			return follow.Server, true
		}
	}
	return 0, false
}

// forget drops what has been over for a while.
func (b *books) forget(now time.Time) {
	for len(b.byEnd) > 0 && now.After(b.byEnd[0].ends.Add(linger)) {
		b.remove(b.byEnd[0])
	}
}

// room returns nil if there is room for one more pinhole.
func (b *books) room(p *Pinhole) error {
	l := b.policy.Limits
	switch {
	case b.perClient[p.client()] >= l.PerClient:
		return ErrPerClient
	case b.perServer[p.server()] >= l.PerServer:
		return ErrPerServer
	case len(b.held) >= l.Pinholes:
		return ErrPinholes
	}
	return nil
}

// add enters a pinhole at a place where none is.
func (b *books) add(p Pinhole, since, ends time.Time) *held {
	h := &held{Pinhole: p, since: since, ends: ends}
	b.held[p.place()] = h
	heap.Push(&b.byEnd, h)
	b.perClient[p.client()]++
	b.perServer[p.server()]++
	if p.Outside.IsValid() {
		b.outside[p.outsidePlace()] = h
	}
	if p.Session != 0 {
		b.sessions[p.Session] = append(b.sessions[p.Session], h)
	}
	return h
}

// renew has h last from now on, for the pinhole that was asked for at its place.
func (b *books) renew(h *held, p Pinhole, since, ends time.Time) {
	b.unlink(h)
	h.Pinhole, h.since, h.ends = p, since, ends
	if p.Outside.IsValid() {
		b.outside[p.outsidePlace()] = h
	}
	if p.Session != 0 {
		b.sessions[p.Session] = append(b.sessions[p.Session], h)
	}
	heap.Fix(&b.byEnd, h.index)
}

// commit notes that the kernel has h, since a moment before now. It ends no later there than here.
func (b *books) commit(h *held, now time.Time) {
	h.committed, h.ends = true, now.Add(h.Lifetime)
	heap.Fix(&b.byEnd, h.index)
}

// unlink takes h out of what leads to it beside its place.
func (b *books) unlink(h *held) {
	if at := h.outsidePlace(); h.Outside.IsValid() && b.outside[at] == h {
		delete(b.outside, at)
	}
	if h.Session == 0 {
		return
	}
	b.sessions[h.Session] = slices.DeleteFunc(b.sessions[h.Session], func(o *held) bool { return o == h })
	if len(b.sessions[h.Session]) == 0 {
		delete(b.sessions, h.Session)
	}
}

// remove takes h out of the books.
func (b *books) remove(h *held) {
	if b.held[h.place()] != h {
		return // it was removed meanwhile
	}
	b.unlink(h)
	delete(b.held, h.place())
	heap.Remove(&b.byEnd, h.index)
	decrease(b.perClient, h.client())
	decrease(b.perServer, h.server())
}

func decrease(m map[netip.Addr]int, a netip.Addr) {
	if m[a]--; m[a] <= 0 {
		delete(m, a)
	}
}

// An endHeap has the pinhole that ends first on top.
type endHeap []*held

func (h endHeap) Len() int           { return len(h) }
func (h endHeap) Less(i, j int) bool { return h[i].ends.Before(h[j].ends) }
func (h endHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements [heap.Interface].
func (h *endHeap) Push(x any) {
	one := x.(*held)
	one.index = len(*h)
	*h = append(*h, one)
}

// Pop implements [heap.Interface].
func (h *endHeap) Pop() any {
	last := len(*h) - 1
	one := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return one
}
