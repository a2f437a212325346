package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of what is sent to the kernel at once.
const (
	chunk        = 500              // elements in a message, and pinholes in a request: a message with many more wraps the length of its list
	queueLength  = 1024             // requests that wait for the goroutine that commits
	commitPeriod = 10 * time.Second // for the kernel's answer to a batch
	socketBuffer = 1 << 20
)

// Pinholes opens pinholes in the sets of the gate's table, which must be loaded. Its methods may be called by any number of goroutines.
// Make one with [NewPinholes].
type Pinholes struct {
	log     *slog.Logger
	queue   chan *request
	stopped chan struct{} // closed when nothing is committed any more
	kernel  *kernelSets

	mu       sync.Mutex // guards what follows
	books    *books
	doubt    time.Time // until then the kernel may have pinholes that the books lack
	nextLook time.Time // for what was used up, at the earliest

	counts pinholeCounts
}

// Counts are what happened since the start.
type Counts struct {
	Opened  uint64            // pinholes that the kernel acknowledged, also renewed ones
	Fresh   uint64            // that were asked for while they were open for long enough
	Refused map[string]uint64 // by reason
	Commits uint64            // batches
	Slowest time.Duration     // of the batches
	Open    int               // now, for all that is known without asking the kernel
}

type pinholeCounts struct {
	opened, fresh, commits atomic.Uint64
	slowest                atomic.Int64
	refused                [6]atomic.Uint64 // in the order of refusals
}

// refusals are the reasons that are counted.
var refusals = []struct {
	err  error
	word string
}{
	{ErrPort, "port"}, {ErrPinholes, "pinholes"}, {ErrPerClient, "per_client"}, {ErrPerServer, "per_server"}, {ErrOutside, "outside"}, {nil, "other"},
}

// A request is changes that go to the kernel together, as far as they fit into a batch.
type request struct {
	changes []change
	done    chan error // of room for one
}

// A change is an element that is to be there for its pinhole's lifetime from now on, or not at all.
type change struct {
	Pinhole
	remove bool
	fresh  bool // the kernel has none at its place
}

// NewPinholes connects to the kernel and takes over the pinholes that are open: those of an earlier gate go on until their time is over. Nil discards the log.
// [Pinholes.Run] has to run for anything to be opened.
func NewPinholes(p *Policy, log *slog.Logger) (*Pinholes, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	kernel, err := dialSets(p)
	if err != nil {
		return nil, err
	}
	h := &Pinholes{log: log, queue: make(chan *request, queueLength), stopped: make(chan struct{}), kernel: kernel, books: newBooks(p)}
	if err := h.adopt(); err != nil {
		kernel.close()
		return nil, err
	}
	return h, nil
}

// adopt enters what is in the sets.
func (h *Pinholes) adopt() error {
	found, err := h.kernel.list()
	if err != nil {
		return err
	}
	now := time.Now()
	for _, e := range found {
		p := e.Pinhole
		by, ok := h.books.side(p.From, p.To.Addr())
		if !ok { // of another policy; it ends by itself
			h.mayLack()
			continue
		}
		p.By = by
		h.books.add(p, now.Add(e.left-p.Lifetime), now.Add(e.left)).committed = true
	}
	if n := len(h.books.held); n > 0 {
		h.log.Info("pinholes of an earlier gate taken over", "pinholes", n)
	}
	return nil
}

// Run commits what is asked for until ctx is cancelled, then returns nil. What is open stays open.
func (h *Pinholes) Run(ctx context.Context) error {
	defer h.kernel.close()
	defer close(h.stopped)
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-h.queue:
			h.commit(h.drain(r))
		}
	}
}

// drain returns first and what else waits, less than two requests of the largest.
func (h *Pinholes) drain(first *request) []*request {
	all, n := []*request{first}, len(first.changes)
	for n < chunk {
		select {
		case r := <-h.queue:
			all, n = append(all, r), n+len(r.changes)
		default:
			return all
		}
	}
	return all
}

// commit sends requests to the kernel and answers them. If they fail together each is tried by itself, so that nobody suffers for another.
func (h *Pinholes) commit(all []*request) {
	var together []change
	for _, r := range all {
		together = append(together, r.changes...)
	}
	err := h.apply(together)
	if err == nil || len(all) == 1 {
		for _, r := range all {
			r.done <- err
		}
		return
	}
	for _, r := range all {
		r.done <- h.apply(r.changes)
	}
}

// apply sends changes in one batch.
func (h *Pinholes) apply(all []change) error {
	begun := time.Now()
	err := h.kernel.apply(all)
	if errors.Is(err, unix.ENOENT) { // a packet took an element away between ours, or the table is not there
		err = h.kernel.apply(all)
	}
	if took := int64(time.Since(begun)); took > h.counts.slowest.Load() {
		h.counts.slowest.Store(took) // nobody else does
	}
	h.counts.commits.Add(1)
	return err
}

// Open opens all of these pinholes, or none, and returns when the kernel has them: what promised them may be passed on then. One that is open is
// renewed, unless it is for any number of connections and has more than half of its lifetime left. A session has as many pinholes for one connection each as it last opened: the former ones are closed.
//
// Errors are ErrPort, ErrPinholes, ErrPerClient, ErrPerServer, ErrOutside and ErrStopped, that of ctx, and what the kernel says.
// With an error nothing may be passed on.
func (h *Pinholes) Open(ctx context.Context, all []Pinhole) error {
	err := h.open(ctx, all)
	if full(err) {
		if some, lookErr := h.forgetUsed(ctx); some && lookErr == nil {
			err = h.open(ctx, all)
		}
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	for i, r := range refusals {
		if r.err == nil || errors.Is(err, r.err) {
			h.counts.refused[i].Add(1)
			break
		}
	}
	return err
}

func (h *Pinholes) open(ctx context.Context, all []Pinhole) error {
	h.mu.Lock()
	changes, entered, err := h.enter(all, time.Now())
	r, doErr := h.submit(ctx, changes)
	h.mu.Unlock()
	if doErr == nil {
		doErr = h.wait(ctx, r)
	}
	if err == nil { // with an error the changes are what was closed
		err = doErr
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if doErr != nil && slices.ContainsFunc(changes, func(c change) bool { return c.remove }) {
		h.mayLack() // what was to be closed, and is not in the books any more
	}
	if err != nil && ctx.Err() != nil {
		return err // they may be opened nevertheless: the books keep them, as not committed
	}
	h.settle(entered, err)
	return err
}

// An entered is what Open wrote into the books.
type entered struct {
	held  *held
	since time.Time
	fresh bool // it was not there
}

// enter writes pinholes into the books, and returns what has to be told to the kernel, also with an error.
func (h *Pinholes) enter(all []Pinhole, now time.Time) (changes []change, done []entered, err error) {
	b := h.books
	b.forget(now)
	if len(all) > chunk {
		return nil, nil, fmt.Errorf("gate: %d pinholes at once: at most %d", len(all), chunk)
	}
	for i := range all {
		p := &all[i]
		if err := p.check(); err != nil {
			return nil, nil, err
		}
		if !b.allowed(p) {
			return nil, nil, fmt.Errorf("gate: %s: %w", p, ErrPort)
		}
		if p.Outside.IsValid() && !b.policy.NAT.Translates(p.client()) {
			return nil, nil, fmt.Errorf("gate: %s by way of %s: addresses are not translated", p, p.Outside)
		}
		if o := b.outside[p.outsidePlace()]; p.Outside.IsValid() && o != nil && o.place() != p.place() {
			return nil, nil, fmt.Errorf("gate: %s by way of %s: %w", p, p.Outside, ErrOutside)
		}
	}
	changes = h.supersede(all)
	certain := now.After(h.doubt)
	for _, p := range all {
		old := b.held[p.place()]
		ends := now.Add(p.Lifetime)
		switch {
		case old == nil:
			if err := b.room(&p); err != nil {
				for _, e := range done {
					if e.fresh {
						b.remove(e.held)
					} else {
						e.held.committed = false
					}
				}
				// What was closed for these stays closed.
				return onlyRemovals(changes), nil, fmt.Errorf("gate: %s: %w", &p, err)
			}
			done = append(done, entered{b.add(p, now, ends), now, true})
		case !p.Once && old.committed && old.Outside == p.Outside && old.ends.Sub(now) > p.Lifetime/2:
			h.counts.fresh.Add(1)
			continue
		default:
			if old.Outside.IsValid() && old.Outside != p.Outside {
				changes = append(changes, change{Pinhole: old.Pinhole, remove: true})
			}
			p.By = old.By // whose it is was counted
			old.committed = false
			b.renew(old, p, now, ends)
			done = append(done, entered{old, now, false})
		}
		changes = append(changes, change{Pinhole: p, fresh: old == nil && certain})
	}
	return changes, done, nil
}

// supersede closes what a session opened before for one connection.
func (h *Pinholes) supersede(all []Pinhole) []change {
	var changes []change
	for _, p := range all {
		if !p.Once || p.Session == 0 {
			continue
		}
		for _, old := range slices.Clone(h.books.sessions[p.Session]) {
			if old.Once && !slices.ContainsFunc(all, func(n Pinhole) bool { return n.place() == old.place() }) {
				changes = append(changes, change{Pinhole: old.Pinhole, remove: true})
				h.books.remove(old)
			}
		}
	}
	return changes
}

func onlyRemovals(changes []change) []change {
	return slices.DeleteFunc(changes, func(c change) bool { return !c.remove })
}

// settle writes into the books what became of what was entered.
func (h *Pinholes) settle(all []entered, err error) {
	for _, e := range all {
		switch {
		case h.books.held[e.held.place()] != e.held: // it was closed meanwhile
		case !e.held.since.Equal(e.since): // it was renewed, by somebody who settles it
		case err == nil:
			h.books.commit(e.held, time.Now())
		case e.fresh:
			h.books.remove(e.held)
			if !errors.Is(err, unix.ENFILE) && !errors.Is(err, unix.ENOENT) { // with which nothing of it was done
				h.mayLack()
			}
		}
	}
	if err == nil {
		h.counts.opened.Add(uint64(len(all)))
	}
}

// Close closes what a session opened last. What was let through goes on.
func (h *Pinholes) Close(ctx context.Context, session uint64) error {
	h.mu.Lock()
	var changes []change
	for _, one := range slices.Clone(h.books.sessions[session]) {
		changes = append(changes, change{Pinhole: one.Pinhole, remove: true})
		h.books.remove(one)
	}
	var requests []*request
	var errs []error
	for part := range slices.Chunk(changes, chunk) {
		r, err := h.submit(ctx, part)
		requests, errs = append(requests, r), append(errs, err)
	}
	h.mu.Unlock()
	for _, r := range requests {
		errs = append(errs, h.wait(ctx, r))
	}
	err := errors.Join(errs...)
	if err != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.mayLack()
	}
	return err
}

// mayLack notes that the books lack what the kernel may have.
func (h *Pinholes) mayLack() { h.doubt = time.Now().Add(maxLifetime + linger) }

// submit has changes made. The caller holds mu since it wrote them into the books, so that the kernel is told in the order of the books;
// what it waits for needs no lock. No changes, and those that cannot be made, are a nil request, for which wait has nothing to wait.
func (h *Pinholes) submit(ctx context.Context, changes []change) (*request, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	r := &request{changes, make(chan error, 1)}
	select {
	case h.queue <- r:
		return r, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-h.stopped:
		return nil, ErrStopped
	}
}

// wait waits for what was submitted.
func (h *Pinholes) wait(ctx context.Context, r *request) error {
	if r == nil {
		return nil
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-h.stopped:
		return ErrStopped
	}
}

// Restore opens again what the books have, after somebody emptied the sets. What is for one connection is left out: it may have had it.
func (h *Pinholes) Restore(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	h.books.forget(now)
	var changes []change
	for _, one := range h.books.held {
		left := one.ends.Sub(now)
		if one.Once || left < minLifetime {
			continue
		}
		p := one.Pinhole
		p.Lifetime = left
		changes = append(changes, change{Pinhole: p})
	}
	for part := range slices.Chunk(changes, chunk) {
		r, err := h.submit(ctx, part)
		if err == nil {
			err = h.wait(ctx, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// List asks the kernel which pinholes are open, and how often each was used: among a hundred thousand that takes it seconds. Those that end first come first.
func (h *Pinholes) List() ([]Opened, error) {
	inKernel, err := h.kernel.list()
	if err != nil {
		return nil, err
	}
	used := make(map[place]uint64, len(inKernel))
	for _, e := range inKernel {
		used[e.place()] = e.packets
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	var all []Opened
	for at, one := range h.books.held {
		n, there := used[at]
		if now.After(one.ends) || !one.committed {
			continue
		}
		if !there && one.Once {
			n = 1 // a packet took it
		}
		all = append(all, Opened{one.Pinhole, one.since, one.ends, n})
	}
	slices.SortFunc(all, func(a, b Opened) int { return a.Ends.Compare(b.Ends) })
	return all, nil
}

// Counts returns what happened so far.
func (h *Pinholes) Counts() Counts {
	c := Counts{
		Opened: h.counts.opened.Load(), Fresh: h.counts.fresh.Load(), Commits: h.counts.commits.Load(),
		Slowest: time.Duration(h.counts.slowest.Load()), Refused: map[string]uint64{},
	}
	for i, r := range refusals {
		c.Refused[r.word] = h.counts.refused[i].Load()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.books.forget(time.Now())
	c.Open = len(h.books.held)
	return c
}
