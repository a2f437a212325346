package probe

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"time"
)

func (p *Prober) timeout() time.Duration { return cmp.Or(p.Timeout, DefaultTimeout) }

// retries returns how often a datagram is sent again.
func (p *Prober) retries() int {
	switch {
	case p.Retries < 0:
		return 0
	case p.Retries == 0:
		return DefaultRetries
	}
	return p.Retries
}

// hostSlots bound the connections to one host.
type hostSlots struct {
	slots chan struct{}
	users int // who has or waits for one
}

// acquire waits until a connection to the host may be opened; release lets others go on.
func (p *Prober) acquire(ctx context.Context, host netip.Addr) (release func(), err error) {
	return p.place(host, func(slots chan struct{}) error {
		select {
		case slots <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// acquireNow is acquire for who does not wait.
func (p *Prober) acquireNow(host netip.Addr) (release func(), err error) {
	return p.place(host, func(slots chan struct{}) error {
		select {
		case slots <- struct{}{}:
			return nil
		default:
			return errNoPlace
		}
	})
}

// place returns a place within the bounds, of which enter takes a slot each.
func (p *Prober) place(host netip.Addr, enter func(slots chan struct{}) error) (release func(), err error) {
	p.once.Do(func() {
		p.all = make(chan struct{}, cmp.Or(p.Conns, DefaultConns))
		p.silent = make(chan struct{}, silentPerConn*cap(p.all))
	})
	p.mu.Lock()
	if p.hosts == nil {
		p.hosts = map[netip.Addr]*hostSlots{}
	}
	h := p.hosts[host]
	if h == nil {
		h = &hostSlots{slots: make(chan struct{}, cmp.Or(p.HostConn, DefaultHostConns))}
		p.hosts[host] = h
	}
	h.users++
	p.mu.Unlock()
	leave := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(p.hosts, host)
		}
	}
	// The host's first: who waits for that keeps nobody from other hosts.
	if err := enter(h.slots); err != nil {
		leave()
		return nil, err
	}
	if err := enter(p.all); err != nil {
		<-h.slots
		leave()
		return nil, err
	}
	return func() {
		<-p.all
		<-h.slots
		leave()
	}, nil
}

// connect connects within the prober's time, for who has a place. The error of a connection
// that did not come about has a [StateOf].
func (p *Prober) connect(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	dial := p.Dial
	if dial == nil {
		dial = (&net.Dialer{KeepAlive: -1}).DialContext
	}
	return dial(ctx, network, address)
}

// limit gives a connection the prober's time for what comes next, but not longer than
// the context has; stop ends that the context's end ends it.
func (p *Prober) limit(ctx context.Context, c net.Conn, timeout time.Duration) (stop func() bool) {
	deadline := time.Now().Add(timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	c.SetDeadline(deadline)
	return context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
}

// maxDatagram is the most bytes of a datagram.
const maxDatagram = 1 << 16

// exchange sends a datagram and returns the first answer that accept takes, having
// sent it again when none came in time. The answer is good until the next call with
// the same buffer, and no longer than that.
func (p *Prober) exchange(ctx context.Context, c net.Conn, message, buf []byte, accept func(answer []byte) bool) ([]byte, error) {
	timeout := p.timeout() / time.Duration(1<<(p.retries()+1)-1) // so that all tries together have the prober's time
	for try := 0; ; try++ {
		answer, err := p.ask(ctx, c, message, buf, timeout, accept)
		if err == nil || StateOf(err) != Filtered || try == p.retries() || ctx.Err() != nil {
			return answer, err
		}
		timeout *= 2
	}
}

func (p *Prober) ask(ctx context.Context, c net.Conn, message, buf []byte, timeout time.Duration, accept func([]byte) bool) ([]byte, error) {
	defer p.limit(ctx, c, timeout)()
	if _, err := c.Write(message); err != nil {
		return nil, err
	}
	const strays = 64 // answers to somebody else's question, before it is a flood
	for range strays {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if accept(buf[:n]) {
			return buf[:n], nil
		}
	}
	return nil, errFlood
}
