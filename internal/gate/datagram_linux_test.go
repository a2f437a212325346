package gate

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// portmapperFrom is a socket of the host of clients for datagrams to the port mapper.
func portmapperFrom(t testing.TB, from string) net.Conn {
	t.Helper()
	var conn net.Conn
	var err error
	at(t, "c0", func() {
		local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
		conn, err = net.DialUDP("udp", local, &net.UDPAddr{IP: net.IPv4(10, 3, 0, 2), Port: 111})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// A client that has its share of flows takes the place of its own, and all together have no more than there may be. What flows
// promised stays when they end.
func TestFlowsOfOthers(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	command(t, "ip", "-n", "c0", "address", "add", "10.1.0.3/24", "dev", "eth0")
	serveUDP(t)
	g := quickGate(t, "limits: {sessions: 20}\n", usualTimes) // of which 16 are a client's share
	call := func(from string) {
		t.Helper()
		if err := callOver(portmapperFrom(t, from), 1000, patience); err != nil {
			t.Error(err)
		}
	}
	flowsOf := func(client string) (n int) {
		for _, s := range g.Sessions() {
			if s.Client.Addr().String() == client {
				n++
			}
		}
		return n
	}
	call("10.1.0.3")
	for range 18 {
		call("10.1.0.2")
	}
	if one, other := flowsOf("10.1.0.2"), flowsOf("10.1.0.3"); one != 16 || other != 1 {
		t.Errorf("a client with many flows has %d, and one with a single flow %d, want 16 and 1", one, other)
	}
	for range 10 {
		call("10.1.0.3")
	}
	if n := len(g.Sessions()); n != 20 {
		t.Errorf("there are %d flows, want 20", n)
	}
	g.ask(func(l *loop) {
		for _, s := range l.open {
			l.endSession(s, "so says the test")
		}
		l.beside.Wait()
	})
	if all, err := g.holes.List(); err != nil || len(all) != 2 {
		t.Errorf("pinholes %v, %v, want one for each client", all, err)
	}
}

// While the kernel is waited for a flow's datagrams wait for their turn, as many as it may have.
func TestFlowBusy(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	serveUDP(t)
	g := quickGate(t, "", usualTimes)
	open := make(chan struct{})
	g.ask(func(*loop) {
		g.openHoles = func(ctx context.Context, all []Pinhole) error {
			<-open
			return g.holes.Open(ctx, all)
		}
	})
	say := func(conn net.Conn, xid uint32, p rpcbind.Proc) {
		t.Helper()
		call := oncrpc.Call{XID: xid, Program: rpcbind.Program, Version: rpcbind.Version2, Procedure: uint32(p)}
		if _, err := conn.Write(rpcbind.Mapping{Program: 1000, Version: 1, Protocol: tcp}.Append(call.Append(nil))); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(conn net.Conn) (xid uint32) {
		t.Helper()
		b := make([]byte, 1000)
		conn.SetReadDeadline(time.Now().Add(patience))
		if n, err := conn.Read(b); err != nil || n < 4 {
			t.Fatalf("read %d bytes, %v", n, err)
		}
		return binary.BigEndian.Uint32(b)
	}
	flows := func(do func(*flow)) {
		g.ask(func(l *loop) {
			for _, at := range l.flows {
				do(at.Value.(*flow))
			}
		})
	}

	conn := portmapperFrom(t, "10.1.0.2")
	say(conn, 0, rpcbind.ProcGetPort)
	nstest.WaitFor(t, "the promise", patience, func() (busy bool) {
		flows(func(f *flow) { busy = f.busy })
		return busy
	})
	for i := range uint32(20) {
		say(conn, i+1, rpcbind.ProcGetPort)
	}
	last := portmapperFrom(t, "10.1.0.2")
	say(last, 99, rpcbind.ProcSet) // which is answered here, after all of those have come
	if got := hear(last); got != 99 {
		t.Errorf("SET is answered with xid %d", got)
	}
	flows(func(f *flow) {
		if want := map[bool]int{true: maxQueued}[f.busy]; len(f.queue) != want {
			t.Errorf("%d datagrams wait, want %d", len(f.queue), want)
		}
	})
	close(open)
	var got, want []uint32
	for i := range uint32(1 + maxQueued) {
		got, want = append(got, hear(conn)), append(want, i)
	}
	if !slices.Equal(got, want) {
		t.Errorf("answered are %d, want %d", got, want)
	}
}
