package gate

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/follow"
	"github.com/quaymaster/quaymaster/internal/nowait"
)

const maxQueued = 8 // datagrams that wait for a flow's turn

// A flowKey is what there is one flow of.
type flowKey struct{ client, server netip.AddrPort }

// A flow is what a port of a client and a server say to each other in datagrams.
type flow struct {
	session
	watch           // of the socket that stands for the client; none for TFTP
	on    *listener // that answers leave from
	queue []queued  // that came while a step waited for the kernel
}

type queued struct {
	from follow.Side
	data []byte
}

// receive takes datagrams of clients.
func (l *loop) receive(ln *listener) {
	for range maxReceive {
		n, errno := l.came.receive(ln.fd)
		if errno != 0 && errno != unix.EAGAIN {
			l.gate.log.Debug("datagrams not received", "err", errno)
		}
		for i := range n {
			data, client, server := l.came.datagram(i)
			if f := l.flow(ln, client, server); f != nil {
				f.say(follow.Client, data)
			}
		}
		if n < batch {
			return
		}
	}
}

// flow returns the flow of a datagram, nil if it may have none.
func (l *loop) flow(ln *listener, client, server netip.AddrPort) *flow {
	key := flowKey{client, server}
	if at := l.flows[key]; at != nil {
		l.recent.MoveToFront(at)
		return at.Value.(*flow)
	}
	e, ok := l.policy.Entry(udp, client.Addr(), server)
	if !ok {
		l.refuse(udp, e, client, server, "policy", "the policy has no such control channel")
		return nil
	}
	l.makeRoom(client)
	f := &flow{watch: watch{fd: -1}, on: ln}
	f.owner = f
	f.loop, f.Transport, f.Client, f.Server = l, udp, client, server
	if e.Protocol != TFTP { // whose servers answer past this host
		var err error
		if f.fd, err = dial(udp, client.Addr(), server); err == nil {
			err = l.poll.want(&f.watch, unix.EPOLLIN)
		}
		if err != nil {
			l.poll.end(&f.watch)
			l.refuse(udp, e, client, server, "kernel", "the server: "+err.Error())
			return nil
		}
	}
	l.flows[key] = l.recent.PushFront(f)
	f.begin(e, f)
	return f
}

// makeRoom ends the flow that was used longest ago, where there are as many as there may be, or of the client. Whoever is answered is
// answered at once, so nobody who waits loses anything.
func (l *loop) makeRoom(client netip.AddrPort) {
	from := sourceOf(udp, client)
	all, share := len(l.flows) >= l.policy.Limits.Sessions, l.bySource[from] >= l.share()
	if !all && !share {
		return
	}
	for at := l.recent.Back(); at != nil; at = at.Prev() {
		if f := at.Value.(*flow); all || sourceOf(udp, f.Client) == from {
			f.end("another one needed its place")
			return
		}
	}
}

func (f *flow) end(why string) {
	if f.over {
		return
	}
	key := flowKey{f.Client, f.Server}
	f.loop.recent.Remove(f.loop.flows[key])
	delete(f.loop.flows, key)
	f.loop.poll.end(&f.watch)
	f.queue = nil
	f.session.end(why)
}

// ready implements [waiter]: the server answered. There is one answer mostly, and a read to see that there is no other costs as much as that one; of others the
// poll tells again.
func (f *flow) ready(*watch, uint32) {
	if n, err := nowait.Read(f.fd, f.loop.in[:]); err == nil { // or nobody is there, which clients notice
		f.say(follow.Server, f.loop.in[:n])
	}
}

// say does what follows from a datagram, in its turn.
func (f *flow) say(from follow.Side, data []byte) {
	if f.busy {
		if len(f.queue) < maxQueued {
			f.queue = append(f.queue, queued{from, append([]byte(nil), data...)})
		}
		return
	}
	f.Last = f.loop.now
	steps, err := f.follower.Follow(from, data)
	f.take(steps)
	if err != nil {
		f.end(err.Error())
	}
}

// worked implements [carrier].
func (f *flow) worked() {
	if len(f.queue) > 0 && !f.busy && !f.over {
		next := f.queue[0]
		f.queue = f.queue[1:]
		f.say(next.from, next.data)
	}
}

// send implements [carrier].
func (f *flow) send(to follow.Side, data []byte) {
	var err error
	switch {
	case to == follow.Client && f.on.fd < 0: // another policy does without
	case to == follow.Client:
		f.loop.leave.add(f.on.fd, f.Server.Addr(), f.Client, data)
	case f.fd >= 0:
		_, err = nowait.Write(f.fd, data)
	case f.outside != nil:
		err = unix.Sendto(f.outside.fd, data, 0, sockaddr(f.Server))
	default:
		err = sendAs(f.Client, f.Server, data)
	}
	if err != nil {
		f.loop.gate.log.Debug("datagram not sent", "session", f.ID, "client", f.Client, "server", f.Server, "err", err)
	}
}

// sweepFlows ends those over which nothing was said for a while.
func (l *loop) sweepFlows() {
	for at := l.recent.Back(); at != nil; {
		f, before := at.Value.(*flow), at.Prev()
		if l.now.Sub(f.Last) < l.gate.times.flow {
			return
		}
		if !f.busy {
			f.end(fmt.Sprintf("nothing was said for %s", l.gate.times.flow))
		}
		at = before
	}
}
