package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/internal/probe"
	"github.com/quaymaster/quaymaster/internal/probe/auth"
)

const (
	hostsTogether = 256                    // hosts at a time, within the prober's bounds
	namesTogether = 64                     // that are looked up at a time: resolvers have bounds too
	mostAddresses = 8                      // of a name that are asked
	mostKnown     = 64                     // of a name that are known: what is told at these is tried
	mostEntries   = 10 * probe.MaxEntries  // of all hosts that are kept
	headStart     = 250 * time.Millisecond // of an address before the next one of its name
	hostPatience  = 50                     // times the timeout, for trying all that a host's mappers tell
)

// An asker asks hosts one question.
type asker struct {
	*probe.Prober
	question askQuestion
	own      map[netip.Addr]bool  // this host's addresses
	names    map[askedPort]string // of the question's ports
	onc      probe.ONCOptions
	dce      probe.DCEOptions
	identity *auth.Identity // who asks over DCE; nil: nobody in particular
	lookups  chan struct{}  // has who looks up a name
}

// ownAddresses returns this host's. Where the system does not tell them, as Wine does not,
// there are none, and this host is known by its loopback addresses only.
func ownAddresses() map[netip.Addr]bool {
	networks, _ := net.InterfaceAddrs()
	own := map[netip.Addr]bool{}
	for _, n := range networks {
		if n, ok := n.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(n.IP); ok {
				own[a.Unmap()] = true
			}
		}
	}
	return own
}

// hosts asks many, and calls done after each. It returns them in order when all have answered or
// the context has ended.
func (a *asker) hosts(ctx context.Context, names []string, done func()) []*askHost {
	a.Rows.Store(mostEntries)
	answers := make([]*askHost, len(names))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(hostsTogether, len(names)) {
		workers.Go(func() {
			for i := range next {
				answers[i] = a.host(ctx, names[i])
				done()
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	workers.Wait()
	return answers
}

// host asks one.
func (a *asker) host(ctx context.Context, name string) *askHost {
	h := newAskHost(name)
	if ctx.Err() != nil {
		h.Error = errInterrupted.Error()
		return h
	}
	addrs, err := a.resolve(ctx, name)
	if err != nil {
		h.Error = err.Error()
		return h
	}
	found := a.choose(ctx, name, addrs)
	a.try(ctx, found)
	h.Address = found.addr.String()
	h.addMapper(a.question.facts, found.onc)
	h.addMapper(a.question.facts, found.dce)
	if a.question.statistics {
		h.Statistics = a.statistics(ctx, found)
		if a.Rows.Add(-int64(h.Statistics.rows())) < 0 {
			h.Statistics.drop()
		}
	}
	h.Missing = append(h.Missing, found.missing...)
	h.Unanswered = found.unanswered
	h.addPorts(a.question.facts, found.ports, a.names, a.question.role)
	return h
}

var errInterrupted = errors.New("interrupted before it was asked")

// resolve returns the addresses of a host.
func (a *asker) resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	}
	select {
	case a.lookups <- struct{}{}:
		defer func() { <-a.lookups }()
	case <-ctx.Done():
		return nil, errInterrupted
	}
	const least = 2 * time.Second // resolvers are not as near as hosts
	ctx, cancel := context.WithTimeout(ctx, max(2*a.Timeout, least))
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound, err == nil && len(addrs) == 0:
		return nil, errors.New("no such host: neither DNS nor the hosts file know the name")
	case err != nil:
		return nil, fmt.Errorf("the name leads nowhere: %w", err)
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return bothFamilies(addrs[:min(len(addrs), mostKnown)]), nil
}

// bothFamilies returns addresses such that among those which are asked there is one of each family, if there is.
func bothFamilies(addrs []netip.Addr) []netip.Addr {
	other := func(a netip.Addr) bool { return a.Is4() != addrs[0].Is4() }
	if i := slices.IndexFunc(addrs, other); i >= mostAddresses {
		addrs[mostAddresses-1], addrs[i] = addrs[i], addrs[mostAddresses-1]
	}
	return addrs
}

// findings are what was found at one address of a host.
type findings struct {
	addr     netip.Addr
	options  probe.ONCOptions
	dceKnown probe.DCEOptions
	onc, dce []*probe.Report
	missing  []string
	ports    []probe.PortResult

	unanswered []unansweredWord
}

// rank is that of what was found.
func (f *findings) rank() int {
	best := 0
	for _, r := range slices.Concat(f.onc, f.dce) {
		best = max(best, rankOf(r.State))
	}
	for _, p := range f.ports {
		best = max(best, rankOf(p.State))
	}
	return best
}

// choose asks the addresses of a host, each a little after the one before, and returns what the first that answers
// has told; if none does, what tells most.
func (a *asker) choose(ctx context.Context, name string, addrs []netip.Addr) *findings {
	asked := min(len(addrs), mostAddresses)
	found := make([]*findings, asked)
	cancels := make([]context.CancelFunc, asked)
	ended, heard := make(chan int), make(chan int)
	winner, started, running := -1, 0, 0
	start := func() {
		i := started
		started++
		running++
		var one context.Context
		one, cancels[i] = context.WithCancel(ctx)
		go func() {
			f := a.address(one, name, addrs, i, func() { heard <- i })
			found[i] = f
			ended <- i
		}()
	}
	start()
	for running > 0 {
		var late <-chan time.Time
		if winner < 0 && started < asked {
			late = time.After(headStart)
		}
		select {
		case i := <-heard:
			if winner >= 0 {
				continue
			}
			winner = i
			for j, cancel := range cancels[:started] {
				if j != i {
					cancel()
				}
			}
		case i := <-ended:
			running--
			cancels[i]()
			if winner < 0 && started < asked && ctx.Err() == nil {
				start()
			}
		case <-late:
			start()
		}
	}
	if winner >= 0 {
		return found[winner]
	}
	return slices.MaxFunc(found[:started], func(a, b *findings) int { return a.rank() - b.rank() })
}

// address asks one address, and calls heard when something answers there.
func (a *asker) address(ctx context.Context, name string, addrs []netip.Addr, i int, heard func()) *findings {
	f := &findings{addr: addrs[i], options: a.onc, dceKnown: a.dce}
	f.options.Addrs = slices.Delete(slices.Clone(addrs), i, i+1)
	f.options.Here = f.options.Here || f.addr.IsLoopback() || a.own[f.addr.WithZone("")]
	f.dceKnown.Addrs = f.options.Addrs
	if a.identity != nil {
		f.dceKnown.Auth = a.identity.At(name)
	}
	if f.options.Here {
		f.dceKnown.Addrs = slices.AppendSeq(slices.Clone(f.dceKnown.Addrs), maps.Keys(a.own))
	}
	q := &a.question
	type job struct {
		into *[]*probe.Report
		at   int
		ask  func() *probe.Report
	}
	var jobs []job
	report := func(list *[]*probe.Report, ask func() *probe.Report) {
		jobs = append(jobs, job{list, len(*list), ask})
		*list = append(*list, nil)
	}
	if q.onc {
		report(&f.onc, func() *probe.Report { return a.ONC(ctx, f.addr, f.options) })
	}
	if q.dce {
		report(&f.dce, func() *probe.Report { return a.DCE(ctx, f.addr, f.dceKnown) })
	}
	type span struct{ onc, dce int } // where the reports of a wanted interface end
	var spans []span
	for _, w := range q.wanted {
		for _, p := range w.programs {
			report(&f.onc, func() *probe.Report { return a.LocateONC(ctx, f.addr, p.Program, p.Version, w.netid, f.options) })
		}
		for _, d := range w.interfaces {
			report(&f.dce, func() *probe.Report { return a.LocateDCE(ctx, f.addr, d, f.dceKnown) })
		}
		spans = append(spans, span{len(f.onc), len(f.dce)})
	}
	var work sync.WaitGroup
	for _, j := range jobs {
		work.Go(func() {
			r := j.ask()
			(*j.into)[j.at] = r
			if r.State == probe.Listening {
				heard()
			}
		})
	}
	if len(q.ports) > 0 {
		work.Go(func() {
			questions := slices.Clone(q.ports)
			if _, err := netip.ParseAddr(name); err != nil {
				for i := range questions {
					questions[i].Name = name
				}
			}
			f.ports = a.Ports(ctx, f.addr, questions)
			if slices.ContainsFunc(f.ports, func(r probe.PortResult) bool { return r.State == probe.Listening }) {
				heard()
			}
		})
	}
	work.Wait()
	var from span
	listens := func(r *probe.Report) bool { return r.State == probe.Listening }
	anyListens := slices.ContainsFunc(f.onc, listens) || slices.ContainsFunc(f.dce, listens)
	for i, to := range spans {
		reports := slices.Concat(f.onc[from.onc:to.onc], f.dce[from.dce:to.dce])
		from = to
		switch word := q.wanted[i].word; {
		case slices.ContainsFunc(reports, func(r *probe.Report) bool { return len(r.Entries) > 0 }):
		case slices.ContainsFunc(reports, listens):
			f.missing = append(f.missing, word)
		case anyListens && len(reports) > 0: // else the mappers' states say it all
			f.unanswered = append(f.unanswered, unansweredWord{word, mapperNames[reports[0].Dialect.String()] + ": " + reports[0].Why})
		}
	}
	return f
}

// try finds out whether what the mappers told is true.
func (a *asker) try(ctx context.Context, f *findings) {
	if !a.question.try {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, hostPatience*a.Timeout) // a mapper could tell any number of ports that are filtered
	defer cancel()
	var work sync.WaitGroup
	for _, r := range f.onc {
		work.Go(func() { a.TryONC(ctx, f.addr, r.Entries, f.options) })
	}
	for _, r := range f.dce {
		work.Go(func() { a.TryDCE(ctx, f.addr, r.Entries, f.dceKnown) })
	}
	work.Wait()
}
