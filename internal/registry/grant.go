package registry

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/internal/process"
	"github.com/quaymaster/quaymaster/internal/socktable"
	"github.com/quaymaster/quaymaster/portset"
)

// ErrNoPorts: there is no port to give.
var ErrNoPorts = errors.New("no port to give")

// Wanted are the ports that somebody asks for.
type Wanted struct {
	Dialect endpoint.Dialect    // of what is to listen
	For     portpool.Preference // of which pool
	On      portpool.Transport  // one port of each
	Apart   bool                // that of UDP may be another number than that of TCP
	Command string              // what is to listen, for people
}

// A given is what was given to whom, and from what.
type given struct {
	pools  pools
	grants map[endpoint.ID]*grant
	users  map[endpoint.Owner]int               // grants
	at     map[givenPort]*grant                 // by each of its ports
	taken  map[endpoint.Dialect]*portpool.Marks // what cannot be given to a dialect: a port is never given to both
	alive  map[*held]struct{}                   // processes that have ports
	rest   map[*grant]struct{}                  // whose process is not there, or not known to be
	used   usedPorts
	ends   *process.Ends // tells when one of alive ends; nil: nobody does
}

// A givenPort is a port of one transport.
type givenPort struct {
	on   portpool.Transport
	port uint16
}

// A grant is an [endpoint.Grant], and the process that it stands on.
type grant struct {
	*endpoint.Grant       // never changes; replaced
	proc            *held // nil: it has ended
	place           int   // in proc.grants
}

func newGiven(c *Config) given {
	return given{
		pools: newPools(c.Pools, c.Seed, pools{}), grants: map[endpoint.ID]*grant{}, users: map[endpoint.Owner]int{}, at: map[givenPort]*grant{},
		taken: map[endpoint.Dialect]*portpool.Marks{endpoint.ONC: {}, endpoint.DCE: {}},
		alive: map[*held]struct{}{}, rest: map[*grant]struct{}{},
	}
}

// ports calls f for each port of a grant.
func (r *grant) ports(f func(givenPort)) {
	if r.TCP != 0 {
		f(givenPort{portpool.TCP, r.TCP})
	}
	if r.UDP != 0 {
		f(givenPort{portpool.UDP, r.UDP})
	}
}

// Grant gives ports to the claim's process, which must be there, until it ends or
// [Registry.Release] takes them back. Nothing else of the claim counts but its owner. The
// error wraps [ErrNoPorts] if there are none to give, [ErrFull] if the owner has too many.
func (g *Registry) Grant(c Claim, w Wanted) (*endpoint.Grant, error) {
	g.change.Lock()
	defer g.change.Unlock()
	r := &endpoint.Grant{Dialect: w.Dialect, Command: w.Command, Owner: c.Owner, PID: c.PID, Since: time.Now()}
	err := g.give(&c, &w, r)
	if err != nil {
		if errors.Is(err, ErrNoPorts) {
			g.tell(Event{Kind: Exhausted, Grant: r, By: &c.Owner, Err: err})
		}
		return nil, err
	}
	return r, nil
}

// give fills in the grant, and enters it.
func (g *Registry) give(c *Claim, w *Wanted, r *endpoint.Grant) error {
	if c.Elsewhere {
		return fmt.Errorf("%w: the caller is in another network namespace, where these ports mean nothing", ErrRight)
	}
	if err := endpoint.ValidText("command", w.Command); err != nil {
		return err
	}
	if has := g.given.users[c.Owner]; c.Owner != endpoint.Superuser && has >= g.c.MaxUserGrants {
		return fmt.Errorf("%w: %s has %d grants and may have %d", ErrFull, titleOf(c.Owner), has, g.c.MaxUserGrants)
	}
	if err := g.choose(c, w, r); err != nil {
		return err
	}
	if err := r.Validate(); err != nil {
		return err
	}
	proc, err := g.processes.get(c)
	if proc == nil {
		return cmp.Or(err, errNoProcess)
	}
	defer g.processes.drop(proc)
	if !proc.Alive() {
		return errNoProcess
	}
	r.ID = g.newID()
	g.keep(&Batch{Grants: []GrantRecord{g.insertGrant(r, proc).record()}})
	g.tell(Event{Kind: Granted, Grant: r, By: &c.Owner})
	return nil
}

// choose finds ports that can be given.
func (g *Registry) choose(c *Claim, w *Wanted, r *endpoint.Grant) (err error) {
	name, rotation, err := g.given.pools.of(w.For)
	if err != nil {
		return err
	}
	r.Pool = name
	one := func(on portpool.Transport) uint16 {
		port, next := g.choosePort(c.Owner, rotation, w.Dialect, on)
		err = cmp.Or(err, next)
		return port
	}
	if w.On == bothTransports && !w.Apart {
		r.TCP = one(w.On)
		r.UDP = r.TCP
		return err
	}
	if w.On&portpool.TCP != 0 {
		r.TCP = one(portpool.TCP)
	}
	if w.On&portpool.UDP != 0 && err == nil {
		r.UDP = one(portpool.UDP)
	}
	return err
}

// choosePort returns a port of the pool that can be given on the transports.
func (g *Registry) choosePort(o endpoint.Owner, pool *portpool.Rotation, d endpoint.Dialect, on portpool.Transport) (uint16, error) {
	taken, size, kept := g.given.taken[d], pool.Ports().Len(), 0
	if o != endpoint.Superuser {
		kept = size / 10
	}
	if pool.Count(taken, on) >= size-kept {
		return 0, g.exhausted(pool, d, on, kept)
	}
	// What is known to be used may be a second old. That a port is not used is asked anew.
	for _, young := range []time.Duration{usedFor, checkPause} {
		used, err := g.usedSince(young)
		if err != nil {
			return 0, err
		}
		port, ok := pool.Next(on, func(port uint16) bool { return !g.ports.has(port) && g.canListen(on, port, used) }, taken, used)
		if ok {
			return port, nil
		}
	}
	return 0, g.exhausted(pool, d, on, 0)
}

// canListen asks the kernel whether somebody could listen at a port on all of the
// transports, and notes where not.
func (g *Registry) canListen(on portpool.Transport, port uint16, used *portpool.Marks) bool {
	if g.c.Free == nil {
		return true
	}
	for _, t := range portpool.Transports {
		if on&t != 0 && !g.c.Free(t == portpool.UDP, port) {
			used.Set(t, port)
			return false
		}
	}
	return true
}

// usedPorts are those at which a socket receives, as they were seen.
type usedPorts struct {
	portpool.Marks
	at time.Time
}

// usedFor is how long it is believed that a port is used.
const usedFor = time.Second

// usedSince returns where sockets receive, as it was seen not longer ago than that.
func (g *Registry) usedSince(young time.Duration) (*portpool.Marks, error) {
	used := &g.given.used
	if g.c.Sockets == nil || !used.at.IsZero() && time.Since(used.at) < young {
		return &used.Marks, nil
	}
	table, err := g.c.Sockets.Snapshot()
	if err != nil {
		return nil, err
	}
	*used = usedPorts{at: time.Now()}
	table.EachPort(func(udp bool, port uint16) { used.Set(transportOf(udp), port) })
	return &used.Marks, nil
}

func transportOf(udp bool) portpool.Transport {
	if udp {
		return portpool.UDP
	}
	return portpool.TCP
}

// exhausted returns why no port of a pool can be given.
func (g *Registry) exhausted(pool *portpool.Rotation, d endpoint.Dialect, on portpool.Transport, kept int) error {
	e := &ExhaustedError{Ports: pool.Ports(), On: on}
	counts := map[endpoint.Owner]int{}
	given := map[uint16]bool{} // of both transports a port is in the way once
	for p, r := range g.given.at {
		if e.Ports.Contains(p.port) && !given[p.port] && (p.on&on != 0 || r.Dialect != d) {
			given[p.port] = true
			counts[r.Owner]++
		}
	}
	for o, n := range counts {
		e.Holders = append(e.Holders, Holder{o, n})
	}
	slices.SortFunc(e.Holders, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(b.Ports, a.Ports), cmp.Compare(a.Owner.UID, b.Owner.UID))
	})
	if e.Used = e.Ports.Len() - len(given); kept > 0 {
		e.Kept, e.Used = e.Used, 0
	}
	return e
}

// An ExhaustedError is why no port of a pool could be given. It wraps [ErrNoPorts].
type ExhaustedError struct {
	Ports   portset.Set // of the pool
	On      portpool.Transport
	Holders []Holder // who was given how many, most first
	Used    int      // by who was not given them
	Kept    int      // for root
}

// A Holder has so many ports of a pool.
type Holder struct {
	Owner endpoint.Owner
	Ports int
}

func (e *ExhaustedError) Error() string { return e.Text(titleOf) }
func (e *ExhaustedError) Unwrap() error { return ErrNoPorts }

// maxHolders is how many holders are named.
const maxHolders = 5

// Text returns the error with names for owners.
func (e *ExhaustedError) Text(name func(endpoint.Owner) string) string {
	var parts []string
	more := 0
	for i, h := range e.Holders {
		if i < maxHolders {
			parts = append(parts, fmt.Sprintf("%s has %d", name(h.Owner), h.Ports))
		} else {
			more += h.Ports
		}
	}
	for _, p := range []struct {
		n    int
		text string
	}{{more, "others have %d"}, {e.Used, "%d in use without having been given"}, {e.Kept, "%d kept for root"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf(p.text, p.n))
		}
	}
	return fmt.Sprintf("%v: of the %d ports of the pool, %s on %s, none is left (%s)", ErrNoPorts, e.Ports.Len(), e.Ports, e.On, strings.Join(parts, ", "))
}

// Release takes a grant back, which is by's or, of root, anybody's.
func (g *Registry) Release(by endpoint.Owner, id endpoint.ID) error {
	g.change.Lock()
	defer g.change.Unlock()
	r := g.given.grants[id]
	switch {
	case r == nil:
		return fmt.Errorf("grant %s: %w", id, ErrNoGrant)
	case by != endpoint.Superuser && by != r.Owner:
		return fmt.Errorf("grant %s: %w (owner: %s)", id, ErrNotOwner, titleOf(r.Owner))
	}
	g.keep(&Batch{Gone: []endpoint.ID{id}})
	g.takeBack(r, &by)
	return nil
}

// ErrNoGrant: there is no such grant, or no longer.
var ErrNoGrant = errors.New("not given")

// takeBack ends a grant; by is who gave it back, nil if its process ended.
func (g *Registry) takeBack(r *grant, by *endpoint.Owner) {
	g.removeGrant(r)
	g.tell(Event{Kind: Returned, Grant: r.Grant, By: by})
}

// insertGrant enters a grant that stands on a process, or on none.
func (g *Registry) insertGrant(r *endpoint.Grant, on *held) *grant {
	n := &grant{Grant: r}
	g.given.grants[r.ID] = n
	g.given.users[r.Owner]++
	n.ports(func(p givenPort) {
		g.given.at[p] = n
		g.given.taken[r.Dialect].Set(p.on, p.port)
		g.given.taken[other(r.Dialect)].Set(bothTransports, p.port)
	})
	g.stand(n, on)
	return n
}

func (g *Registry) removeGrant(r *grant) {
	g.stand(r, nil)
	delete(g.given.rest, r)
	delete(g.given.grants, r.ID)
	add(g.given.users, r.Owner, -1)
	r.ports(func(p givenPort) {
		delete(g.given.at, p)
		g.given.taken[r.Dialect].Clear(p.on, p.port)
		if g.given.at[givenPort{bothTransports &^ p.on, p.port}] == nil {
			g.given.taken[other(r.Dialect)].Clear(bothTransports, p.port)
		}
	})
}

const bothTransports = portpool.TCP | portpool.UDP

// grantAt returns the grant of the port at which a registration is, or nil.
func (g *Registry) grantAt(r *endpoint.Registration) *grant {
	k, ok := portOf(r)
	if !ok {
		return nil
	}
	return g.given.at[givenPort{transportOf(k.udp), k.port}]
}

// mayUseGrant returns nil if the claim's grant is the owner's to use, and for the registration.
func (g *Registry) mayUseGrant(c *Claim, r *endpoint.Registration) error {
	asked := g.given.grants[c.Grant]
	switch at := g.grantAt(r); {
	case asked == nil:
		return fmt.Errorf("grant %s: %w", c.Grant, ErrNoGrant)
	case c.Owner != endpoint.Superuser && c.Owner != asked.Owner:
		return fmt.Errorf("grant %s: %w (owner: %s)", c.Grant, ErrNotOwner, titleOf(asked.Owner))
	case at != asked || r.Dialect != asked.Dialect:
		return fmt.Errorf("%w: it is not at a port of grant %s", ErrRight, c.Grant)
	case g.looks() && !g.listensFor(c.Owner, r.Endpoint):
		return fmt.Errorf("%w: no socket of %s listens there", ErrRight, titleOf(c.Owner))
	}
	return nil
}

// listensFor tells whether a socket receives at the endpoint that counts for the owner:
// of root's any does, since what root starts may be another user's.
func (g *Registry) listensFor(o endpoint.Owner, e endpoint.Endpoint) bool {
	if o != endpoint.Superuser {
		return g.listens(o, e)
	}
	sockets, err := g.c.Sockets.At(e)
	return err == nil && len(sockets) > 0
}

// other returns the other dialect.
func other(d endpoint.Dialect) endpoint.Dialect { return endpoint.ONC + endpoint.DCE - d }

// stand has a grant stand on a process, or on none.
func (g *Registry) stand(r *grant, on *held) {
	if was := r.proc; was != nil && was != on {
		last := len(was.grants) - 1
		was.grants[r.place] = was.grants[last]
		was.grants[r.place].place = r.place
		was.grants[last] = nil
		if was.grants = was.grants[:last]; last == 0 {
			delete(g.given.alive, was)
		}
		g.processes.drop(was)
	}
	if r.proc = on; on == nil {
		g.given.rest[r] = struct{}{}
		return
	}
	delete(g.given.rest, r)
	g.processes.take(on)
	r.place = len(on.grants)
	on.grants = append(on.grants, r)
	if r.place == 0 {
		g.given.alive[on] = struct{}{}
		g.watchEnd(on)
	}
}

// tell publishes an event that is no change of a registration.
func (g *Registry) tell(e Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e.Seq = g.seq.Load()
	g.publish(e)
}

// record returns the grant as a store keeps it.
func (r *grant) record() GrantRecord {
	rec := GrantRecord{Grant: *r.Grant}
	if r.proc != nil {
		rec.Started = r.proc.Started
	}
	return rec
}

// loadGrants enters the grants of the journal. Those whose process has ended stand on
// none, for checkGrants to judge.
func (g *Registry) loadGrants(recs []GrantRecord) {
	var b Batch
	for i := range recs {
		r := &recs[i].Grant
		free := g.rows[r.ID] == nil && g.given.grants[r.ID] == nil
		(&grant{Grant: r}).ports(func(p givenPort) {
			free = free && g.given.at[p] == nil && !g.given.taken[r.Dialect].Has(p.on, p.port)
		})
		if !free { // another run's mistake
			b.Gone = append(b.Gone, r.ID)
			continue
		}
		proc := g.processes.reopen(r.PID, recs[i].Started)
		g.insertGrant(r, proc)
		g.processes.drop(proc)
	}
	g.keep(&b)
}

// catchUpGrants adds to b what makes the stored grants those that there are.
func (g *Registry) catchUpGrants(stored []GrantRecord, b *Batch) {
	for i := range stored {
		if g.given.grants[stored[i].ID] == nil {
			b.Gone = append(b.Gone, stored[i].ID)
		}
	}
	for _, r := range g.given.grants {
		b.Grants = append(b.Grants, r.record())
	}
}

// checkGrants takes back what was given to processes that have ended, unless
// something of theirs listens there still. What is registered there then stands on that
// alone.
func (g *Registry) checkGrants() error {
	g.change.Lock()
	defer g.change.Unlock()
	for p := range g.given.alive {
		for n := len(p.grants); n > 0 && !p.Alive(); n-- { // the last one may close p
			g.stand(p.grants[n-1], nil)
		}
	}
	if len(g.given.rest) == 0 {
		return nil
	}
	var table *socktable.Snapshot
	if g.c.Sockets != nil {
		var err error
		if table, err = g.c.Sockets.Snapshot(); err != nil {
			return err
		}
	}
	var b Batch
	var c change
	for r := range g.given.rest {
		switch {
		case !r.listens(table):
			b.Gone = append(b.Gone, r.ID)
			g.takeBack(r, nil)
		case !r.RunGone:
			now := *r.Grant
			now.RunGone = true
			r.Grant = &now
			b.Grants = append(b.Grants, r.record())
			r.ports(func(p givenPort) { g.orphan(&c, p) })
		}
	}
	g.keep(&b)
	return g.commit(&c)
}

// listens tells whether a socket of the owner's receives at one of the grant's ports. Of
// root's any does: what root starts may be another user's.
func (r *grant) listens(table *socktable.Snapshot) (found bool) {
	r.ports(func(p givenPort) {
		for _, s := range table.AtPort(p.on == portpool.UDP, p.port) {
			found = found || s.UID == r.Owner.UID || r.Owner == endpoint.Superuser
		}
	})
	return found
}

// orphan plans that what listens at a port stands without the process that started it.
func (g *Registry) orphan(c *change, p givenPort) {
	for _, d := range []endpoint.Dialect{endpoint.ONC, endpoint.DCE} {
		for r := g.held[portKey{d, p.on == portpool.UDP, p.port}]; r != nil; r = r.links[atPort].next {
			if r.reg.Evidence == endpoint.Listening && !r.reg.Own {
				now := *r.reg
				now.Evidence = endpoint.RunGone
				c.renewed = append(c.renewed, renewal{r, &now, r.belief})
			}
		}
	}
}
