package gate

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nowait"
)

// Bounds of one turn, so that a listener with much to do does not keep others waiting.
const (
	maxAccept  = 16 // connections
	maxReceive = 2  // batches of datagrams
)

// A loop serves all sessions of a gate. It belongs to one goroutine, which only waits for sockets: what takes the kernel its time
// is done beside it.
type loop struct {
	gate     *Gate
	policy   *Policy
	poll     *poll
	ctx      context.Context // of what is done beside
	beside   sync.WaitGroup
	stopping bool
	ended    chan struct{} // closed when nothing is served any more

	listeners map[listenerKey]*listener
	open      map[uint64]*session
	bySource  map[source]int // sessions
	streams   int
	flows     map[flowKey]*list.Element
	recent    list.List // of *flow, which was used last first
	unsent    int       // bytes that sides of streams have not taken

	now   time.Time // when the loop last woke
	swept time.Time
	in    [64 << 10]byte // what is being read
	came  inbox
	leave outbox // at the end of the turn
}

type listenerKey struct {
	protocol uint8 // of IP
	at       netip.AddrPort
}

// A listener is a socket that control channels come to.
type listener struct {
	watch
	listenerKey
	loop *loop
}

func newLoop(g *Gate, p *Policy) (*loop, error) {
	poll, err := newPoll()
	if err != nil {
		return nil, err
	}
	l := &loop{
		gate: g, policy: p, poll: poll, listeners: map[listenerKey]*listener{}, open: map[uint64]*session{},
		bySource: map[source]int{}, flows: map[flowKey]*list.Element{}, now: time.Now(), ended: make(chan struct{}),
	}
	l.leave.failed = func(to netip.AddrPort, err error) { g.log.Debug("datagram not sent", "client", to, "err", err) }
	if err := l.listen(p); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// run serves until stopping, for which ctx has to be cancelled.
func (l *loop) run(ctx context.Context) error {
	l.ctx = ctx
	// One thread: to be moved to another each time that it waited costs a tenth of what it does.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer l.close()
	for !l.stopping {
		n, err := l.poll.wait(l.gate.times.sweep)
		if err != nil {
			return fmt.Errorf("gate: %w", err)
		}
		l.now = time.Now()
		l.poll.tell(n)
		l.leave.flush()
		if l.now.Sub(l.swept) >= l.gate.times.sweep {
			l.sweep()
		}
	}
	return nil
}

// close ends all, listeners first.
func (l *loop) close() {
	l.stopping = true
	l.leave.flush()
	for _, ln := range l.listeners {
		l.poll.end(&ln.watch)
	}
	for _, c := range l.open {
		l.endSession(c, "the gate stops")
	}
	l.beside.Wait()
	l.poll.close()
	close(l.ended)
}

func (l *loop) endSession(c *session, why string) {
	switch on := c.carrier.(type) {
	case *stream:
		on.end(why)
	case *flow:
		on.end(why)
	}
}

// listen has the listeners be those of a policy. After an error they are as before.
func (l *loop) listen(p *Policy) error {
	wanted := map[listenerKey]bool{}
	var fresh []*listener
	for _, protocol := range []uint8{tcp, udp} {
		for _, at := range p.Listeners(protocol) {
			key := listenerKey{protocol, at}
			wanted[key] = true
			if l.listeners[key] != nil {
				continue
			}
			fd, err := listen(protocol, at)
			if at.Addr().Is6() && (errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT)) {
				continue // a host without IPv6
			}
			ln := &listener{watch: watch{fd: fd}, listenerKey: key, loop: l}
			ln.owner = ln
			if err == nil {
				err = l.poll.want(&ln.watch, unix.EPOLLIN)
				fresh = append(fresh, ln)
			}
			if err != nil {
				for _, ln := range fresh {
					l.poll.end(&ln.watch)
				}
				return fmt.Errorf("gate: %s/%s: %w", at, transportName(protocol), err)
			}
		}
	}
	l.leave.flush() // before sockets close
	for _, ln := range fresh {
		l.listeners[ln.listenerKey] = ln
	}
	for key, ln := range l.listeners {
		if !wanted[key] {
			delete(l.listeners, key)
			l.poll.end(&ln.watch)
		}
	}
	return nil
}

// reload has another policy hold.
func (l *loop) reload(p *Policy) error {
	if err := l.listen(p); err != nil {
		return err
	}
	l.policy = p
	l.gate.policy.Store(p)
	for _, c := range l.open {
		e, ok := p.Entry(c.Transport, c.Client.Addr(), c.Server)
		if f, isFlow := c.carrier.(*flow); isFlow && f.on.fd < 0 {
			ok = false
		}
		if !ok || e.Protocol != c.Protocol {
			l.endSession(c, "the policy does not have it any more")
			continue
		}
		c.entry = e
	}
	return nil
}

// sessions returns those that are open.
func (l *loop) sessions() []Session {
	all := make([]Session, 0, len(l.open))
	for _, c := range l.open {
		all = append(all, c.Session)
	}
	slices.SortFunc(all, func(a, b Session) int { return int(int64(a.ID) - int64(b.ID)) })
	return all
}

// ready implements [waiter].
func (ln *listener) ready(*watch, uint32) {
	if ln.protocol == udp {
		ln.loop.receive(ln)
		return
	}
	ln.loop.accept(ln)
}

// accept takes in connections that wait at a listener.
func (l *loop) accept(ln *listener) {
	for range maxAccept {
		fd, name, err := nowait.Accept(ln.fd)
		switch err {
		case nil:
			client, _ := name.AddrPort()
			l.admit(fd, client)
		case unix.EAGAIN:
			return
		case unix.EINTR, unix.ECONNABORTED:
		default: // out of descriptors or memory: what is open goes on
			l.gate.log.Warn("connection not accepted", "err", err)
			l.poll.want(&ln.watch, 0) // until the next sweep
			return
		}
	}
}

// admit begins a session on a connection, if it may have one.
func (l *loop) admit(fd int, client netip.AddrPort) {
	server, err := addressOf(fd)
	e, ok := l.policy.Entry(tcp, client.Addr(), server)
	rule, why := "", ""
	switch {
	case err != nil:
		rule, why = "kernel", err.Error()
	case !ok:
		rule, why = "policy", "the policy has no such control channel"
	case l.streams >= l.policy.Limits.Sessions:
		rule, why = "sessions", fmt.Sprintf("there are %d sessions", l.streams)
	case l.bySource[sourceOf(tcp, client)] >= l.share():
		rule, why = "sessions", fmt.Sprintf("the client has %d sessions", l.share())
	}
	if rule != "" {
		l.refuse(tcp, e, client, server, rule, why)
		breakOff(fd)
		unix.Close(fd)
		return
	}
	l.beginStream(fd, e, client, server)
}

// share is how many sessions over each transport one client may have: a tenth of all, or a few.
func (l *loop) share() int {
	all := l.policy.Limits.Sessions
	return max(all/10, min(all, 16))
}

// refuse tells of somebody who was not given a session.
func (l *loop) refuse(transport uint8, e *Entry, client, server netip.AddrPort, rule, why string) {
	one := Event{At: l.now, Kind: Refused, Transport: transport, Client: client, Server: server, Rule: rule, Why: why}
	if e != nil {
		one.Protocol = e.Protocol
	}
	l.gate.events.publish(one)
}

// sweep ends what took too long, and accepts again where that had to pause.
func (l *loop) sweep() {
	l.swept = l.now
	for _, c := range l.open {
		if s, ok := c.carrier.(*stream); ok {
			s.sweep()
		}
	}
	l.sweepFlows()
	for _, ln := range l.listeners {
		if err := l.poll.want(&ln.watch, unix.EPOLLIN); err != nil {
			l.gate.log.Warn("listener lost", "err", err)
		}
	}
}

// A source is what sessions are counted by: an address of IPv4, or a /64 of IPv6, all of which one host may have. Those over UDP are counted by
// themselves, since sources of datagrams can be forged.
type source struct {
	transport uint8
	network   netip.Prefix
}

func sourceOf(transport uint8, client netip.AddrPort) source {
	bits := 64
	if client.Addr().Is4() {
		bits = 32
	}
	return source{transport, netip.PrefixFrom(client.Addr(), bits).Masked()}
}
