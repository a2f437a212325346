package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// BroadcastOptions say whom a broadcast goes to. The zero value is every network of this host.
type BroadcastOptions struct {
	Interfaces []string         // by name; none: all that are up
	To         []netip.AddrPort // in place of the interfaces' broadcast and multicast addresses
	For        time.Duration    // how long answers are waited for; 0: the prober's time
}

// Bounds of a broadcast.
const (
	MaxAnswers       = 4096
	maxBroadcastRead = 16 * MaxAnswers // datagrams, with those that are no answers
)

// multicast is where port mappers listen over IPv6 in place of broadcasts, on each link.
var multicast = netip.MustParseAddr("ff02::202")

// An Answer is one to a broadcast.
type Answer struct {
	From  netip.AddrPort // a port mapper, which need not answer from the port that was asked
	Entry                // where it says the program is
}

// Answers are those to a broadcast, in the order in which they came.
type Answers struct {
	Sent     []netip.AddrPort // whereto
	Answers  []Answer
	Problems []string // what was wrong, each once
	Cut      bool     // there were more than MaxAnswers, or a flood of other datagrams
}

// BroadcastONC asks the port mappers of whole networks for a program: each calls procedure 0 of
// it and, where that succeeds, tells where it is; the others are silent. Many port mappers are
// always silent: rpcbind unless it runs with -r, and over IPv6 who is not in the multicast group.
// The error is that nothing could be sent.
func (p *Prober) BroadcastONC(ctx context.Context, program, version uint32, o BroadcastOptions) (*Answers, error) {
	to := slices.Clone(o.To)
	if len(to) == 0 {
		var err error
		if to, err = broadcastAddresses(o.Interfaces); err != nil {
			return nil, err
		}
	}
	if len(to) == 0 {
		return nil, errors.New("no interface that is up can broadcast")
	}
	for i, a := range to {
		to[i] = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.For, p.timeout()))
	defer cancel()

	all := &Answers{}
	var report Report // for its problems
	found := make(chan Answer)
	var failed []error
	running := 0
	ended := make(chan bool) // whether there was more
	for _, family := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		b := &broadcast{p: p, what: endpoint.Program(program, version), found: found}
		for _, a := range to {
			if a.Addr().Is4() == family.Is4() {
				b.to = append(b.to, a)
			}
		}
		if len(b.to) == 0 {
			continue
		}
		sent, err := b.start(ctx, family)
		failed = append(failed, err...)
		all.Sent = append(all.Sent, sent...)
		if len(sent) == 0 {
			continue
		}
		running++
		go func() { ended <- b.collect(ctx) }()
	}
	if running == 0 {
		return nil, errors.Join(failed...)
	}
	for _, err := range failed {
		report.problem("%v", err)
	}
	type who struct{ from, at netip.AddrPort }
	seen := map[who]bool{}
	for running > 0 {
		select {
		case cut := <-ended:
			running--
			all.Cut = all.Cut || cut
		case a := <-found:
			key := who{a.From, a.Addr}
			switch {
			case seen[key]: // of an earlier call, or by another network
				continue
			case len(all.Answers) == MaxAnswers:
				all.Cut = true
				cancel()
				continue
			}
			seen[key] = true
			for _, text := range a.Problems {
				report.problem("%s: %s", a.From.Addr(), text)
			}
			all.Answers = append(all.Answers, a)
		}
	}
	all.Problems = report.Problems
	return all, nil
}

// A broadcast is that of one family, on one socket.
type broadcast struct {
	p       *Prober
	what    endpoint.Interface
	to      []netip.AddrPort
	found   chan<- Answer
	socket  net.PacketConn
	release func()
	xid     uint32
	begin   time.Time
}

// version is that of the port mapper: 2 is what all of them answer over IPv4, and knows no IPv6.
func (b *broadcast) version() uint32 {
	if b.to[0].Addr().Is4() {
		return rpcbind.Version2
	}
	return rpcbind.Version4
}

// start opens the socket and sends the call, and returns whereto that succeeded.
func (b *broadcast) start(ctx context.Context, family netip.Addr) ([]netip.AddrPort, []error) {
	var err error
	if b.release, err = b.p.acquire(ctx, family); err != nil {
		return nil, []error{err}
	}
	network := "udp4" // which may broadcast: package net asks for that
	if family.Is6() {
		network = "udp6"
	}
	if b.socket, err = (&net.ListenConfig{}).ListenPacket(ctx, network, netip.AddrPortFrom(family, 0).String()); err != nil {
		b.release()
		return nil, []error{err}
	}
	b.xid, b.begin = rand.Uint32(), time.Now()
	sent, failed := b.send()
	if len(sent) == 0 {
		b.socket.Close()
		b.release()
	}
	return sent, failed
}

func (b *broadcast) send() (sent []netip.AddrPort, failed []error) {
	call := oncrpc.Call{XID: b.xid, Program: rpcbind.Program, Version: b.version(), Procedure: uint32(rpcbind.ProcCallIt)}
	message := rpcbind.RemoteCall{Program: b.what.Program, Version: b.what.Version}.Append(call.Append(nil))
	for _, a := range b.to {
		if _, err := b.socket.WriteTo(message, net.UDPAddrFromAddrPort(a)); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", a, err))
			continue
		}
		sent = append(sent, a)
	}
	return sent, failed
}

// collect takes answers until the context ends, having sent the call twice more, and tells
// whether it ended before that.
func (b *broadcast) collect(ctx context.Context) (cut bool) {
	defer b.release()
	defer b.socket.Close()
	deadline, _ := ctx.Deadline()
	defer context.AfterFunc(ctx, func() { b.socket.SetReadDeadline(time.Unix(1, 0)) })()
	span := time.Until(deadline)
	again := []time.Time{b.begin.Add(span / 7), b.begin.Add(3 * span / 7)} // each after twice the time
	buf := make([]byte, maxDatagram)
	for range maxBroadcastRead {
		until := deadline
		if len(again) > 0 {
			until = again[0]
		}
		b.socket.SetReadDeadline(until)
		if ctx.Err() != nil {
			return false
		}
		n, from, err := b.socket.ReadFrom(buf)
		switch {
		case err != nil && ctx.Err() != nil:
			return false
		case err != nil && StateOf(err) == Filtered && len(again) > 0:
			again = again[1:]
			b.send() // what failed the first time is known
			continue
		case err != nil && StateOf(err) == Filtered && !time.Now().Before(deadline):
			return false
		case err != nil:
			continue // what ICMP says of one of many
		}
		udp, ok := from.(*net.UDPAddr)
		if !ok {
			continue
		}
		at := udp.AddrPort()
		answer, ok := b.read(buf[:n], netip.AddrPortFrom(at.Addr().Unmap(), at.Port()))
		if !ok {
			continue
		}
		select {
		case b.found <- answer:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// read reads an answer, if a datagram is one.
func (b *broadcast) read(datagram []byte, from netip.AddrPort) (Answer, bool) {
	reply, rest, err := oncrpc.ParseReply(datagram)
	if err != nil || reply.XID != b.xid {
		return Answer{}, false
	}
	var r Report
	to := teller{from.Addr(), ONCOptions{}, &r}
	a := Answer{From: from, Entry: Entry{Interface: b.what}}
	x := xdr.NewReader(rest)
	switch {
	case reply.Err() != nil:
		a.State, a.Why = judgeRefusal(reply)
	case b.version() == rpcbind.Version2:
		port := x.Uint32()
		if x.Err() == nil {
			a.Entry = to.mapping(rpcbind.Mapping{Program: b.what.Program, Version: b.what.Version, Protocol: rpcbind.ProtocolUDP, Port: port})
		}
	default:
		uaddr := x.String(rpcbind.MaxAddress)
		if x.Err() == nil {
			a.Entry = to.row(rpcbind.RPCB{Program: b.what.Program, Version: b.what.Version, NetID: rpcbind.UDP6.String(), Address: uaddr})
		}
	}
	if x.Err() != nil {
		a.State, a.Why = Wrong, "its answer cannot be read"
	} else if reply.Err() == nil {
		a.State = Listening // it has called the program
	}
	a.Time = time.Since(b.begin)
	a.Problems = r.Problems
	if a.Why != "" {
		a.Problems = append(a.Problems, a.Why)
	}
	return a, true
}

// broadcastAddresses returns the addresses that reach the networks of interfaces.
func broadcastAddresses(names []string) ([]netip.AddrPort, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("the networks of this host are not known: %w", err)
	}
	for _, name := range names {
		if !slices.ContainsFunc(interfaces, func(i net.Interface) bool { return i.Name == name }) {
			return nil, fmt.Errorf("there is no interface %q", name)
		}
	}
	var to []netip.AddrPort
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || names != nil && !slices.Contains(names, i.Name) {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			network, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			addr, _ := netip.AddrFromSlice(network.IP)
			bits, _ := network.Mask.Size()
			switch addr = addr.Unmap(); {
			case addr.Is4() && i.Flags&net.FlagBroadcast != 0 && bits < 31:
				to = append(to, netip.AddrPortFrom(broadcastOf(netip.PrefixFrom(addr, bits)), rpcbind.Port))
			case addr.IsLinkLocalUnicast() && addr.Is6() && i.Flags&net.FlagMulticast != 0 && i.Flags&net.FlagLoopback == 0:
				to = append(to, netip.AddrPortFrom(multicast.WithZone(i.Name), rpcbind.Port))
			}
		}
	}
	slices.SortFunc(to, netip.AddrPort.Compare)
	return slices.Compact(to), nil
}

// broadcastOf returns the last address of an IPv4 network.
func broadcastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}
