//go:build linux

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/daemon"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

const (
	killedRounds   = 200
	killedClients  = 4
	killedPrograms = 5   // of each client
	killedCalls    = 400 // of all clients in a round, at most

	killedFirst = 0x20000000 // number of the first program
)

// killedSeed in the environment repeats the choices of an earlier run, though not its timing.
const killedSeed = "QUAYMASTER_TEST_SEED"

// TestKilled kills the daemon over and over while clients register as fast as they can: what was
// answered is still true when it is back, and nothing else is.
func TestKilled(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv(killedSeed); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("%s: %v", killedSeed, err)
		}
	}
	t.Logf("%s=%d", killedSeed, seed)
	k := killing{random: rand.New(rand.NewPCG(seed, 0))}
	for i := range killedClients {
		k.clients = append(k.clients, newKilledClient(t, uint32(i), rand.New(rand.NewPCG(seed, uint64(i)+1))))
	}
	rounds := killedRounds
	if testing.Short() {
		rounds /= 10
	}
	for round := range rounds {
		// Each with the processes that it starts: the log of 200 daemons is nothing to read.
		if !t.Run(strconv.Itoa(round), k.round) {
			return
		}
	}
	t.Logf("%d calls answered; of %d in flight %d were done; %d daemons killed while they started; %d rows at the end",
		k.answered, k.inFlight, k.done, k.early, k.rows)
	if k.answered == 0 || k.inFlight == 0 {
		t.Error("no call was answered, or none was in flight when the daemon was killed")
	}
}

// A killing is the state of TestKilled between its rounds.
type killing struct {
	random  *rand.Rand
	clients []*killedClient

	answered       int // calls
	inFlight, done int // calls when the daemon was killed, and those of them that it had made true
	early          int // daemons that were killed before they were ready
	rows           int // that were there at the beginning of the last round
}

// round starts the daemon that the round before killed, looks at what it knows, and kills it.
func (k *killing) round(t *testing.T) {
	if k.random.IntN(8) == 0 {
		k.killEarly(t)
	}
	p := startQuaymaster(t)
	rows := killedRows(t)
	k.rows = len(rows)
	for _, c := range k.clients {
		var own []killedRow
		own, rows = c.split(rows)
		if c.inFlight != nil {
			k.inFlight++
		}
		if c.check(t, own) {
			k.done++
		}
	}
	if len(rows) > 0 {
		t.Errorf("nobody has registered %v", rows)
	}
	if !t.Failed() {
		k.hammer(t, p)
	}
}

// killEarly kills a daemon that starts, at whatever it is doing. How long that
// takes is part of the chance.
func (k *killing) killEarly(t *testing.T) {
	p := nstest.Start(t, "quaymaster", "serve")
	time.Sleep(time.Duration(k.random.IntN(int(50 * time.Millisecond))))
	p.Signal(syscall.SIGKILL)
	p.Wait(t, startTime)
	k.early++
}

// hammer has all clients call, and kills the daemon when it has some call to answer.
func (k *killing) hammer(t *testing.T, p *nstest.Process) {
	t.Helper()
	left, enough := atomic.Int64{}, make(chan struct{})
	left.Store(int64(k.random.IntN(killedCalls)) + 1)
	var over atomic.Bool // from when on a call may fail
	var running sync.WaitGroup
	for _, c := range k.clients {
		running.Go(func() {
			c.failure = c.call(&over, func() {
				if left.Add(-1) == 0 {
					close(enough)
				}
			})
		})
	}
	ended := make(chan struct{})
	go func() { running.Wait(); close(ended) }()
	select {
	case <-enough:
		// The call takes so long that it may be met at any stage. To sleep would be too long.
		for began, wait := time.Now(), time.Duration(k.random.IntN(int(150*time.Microsecond))); time.Since(began) < wait; {
		}
	case <-ended: // by a failure
	}
	over.Store(true)
	p.Signal(syscall.SIGKILL)
	p.Wait(t, startTime)
	<-ended
	for _, c := range k.clients {
		k.answered += c.answered
		c.answered = 0
		if c.failure != nil {
			t.Error(c.failure)
		}
	}
}

// A killedClient registers programs of its own, at sockets that outlive every daemon.
type killedClient struct {
	number    uint32
	random    *rand.Rand
	addresses []rpcbind.RPCB // NetID and Address where it listens
	rows      []killedRow    // that it knows to stand, oldest first
	inFlight  *killedCall    // whose answer it never got
	answered  int            // calls in this round
	failure   error
}

// A killedRow is a registration; Owner is not used.
type killedRow struct {
	rpcbind.RPCB
	id string // empty while it is not known
}

// A killedCall is a SET or UNSET; of an UNSET without a netid all transports are meant.
type killedCall struct {
	proc rpcbind.Proc
	row  rpcbind.RPCB
}

func newKilledClient(t *testing.T, number uint32, random *rand.Rand) *killedClient {
	t.Helper()
	c := &killedClient{number: number, random: random}
	for _, n := range rpcbind.NetIDs {
		for i := range 2 {
			c.addresses = append(c.addresses, rpcbind.RPCB{NetID: n.String(), Address: openSocket(t, n, fmt.Sprintf("/run/killed%d-%d.sock", number, i))})
		}
	}
	return c
}

// openSocket opens a socket that stays to the end of the test, and returns its universal
// address. The path is for the local transport, others get a port.
func openSocket(t *testing.T, n rpcbind.NetID, path string) string {
	t.Helper()
	var closer interface{ Close() error }
	var at net.Addr
	var err error
	any := netip.IPv4Unspecified()
	if n.IsIPv6() {
		any = netip.IPv6Unspecified()
	}
	network := map[rpcbind.NetID]string{rpcbind.UDP: "udp4", rpcbind.TCP: "tcp4", rpcbind.UDP6: "udp6", rpcbind.TCP6: "tcp6", rpcbind.Local: "unix"}[n]
	switch network {
	case "udp4", "udp6":
		var conn net.PacketConn
		if conn, err = net.ListenPacket(network, netip.AddrPortFrom(any, 0).String()); err == nil {
			closer, at = conn, conn.LocalAddr()
		}
	default:
		address := path
		if n.IsIP() {
			address = netip.AddrPortFrom(any, 0).String()
		}
		var ln net.Listener
		if ln, err = net.Listen(network, address); err == nil {
			closer, at = ln, ln.Addr()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closer.Close() })
	if !n.IsIP() {
		return path
	}
	return rpcbind.UniversalAddress(netip.AddrPortFrom(any, netip.MustParseAddrPort(at.String()).Port()))
}

// call goes on until a call fails, which is all right when it is over. It tells before each.
func (c *killedClient) call(over *atomic.Bool, calling func()) error {
	conn, err := dialMapper("unix")
	for err == nil {
		c.inFlight = c.choose()
		calling()
		var done bool
		if done, err = c.inFlight.make(conn); err != nil {
			break
		}
		rows, want := c.inFlight.after(c.rows)
		if done != want {
			err = fmt.Errorf("%+v = %v, want %v; registered are %v", *c.inFlight, done, want, c.rows)
			over = new(atomic.Bool) // or it would pass for the daemon's end
			break
		}
		c.rows, c.inFlight = rows, nil
		c.answered++
	}
	if conn != nil {
		conn.Close()
	}
	if over.Load() {
		return nil
	}
	return fmt.Errorf("client %d: %w", c.number, err)
}

func (c *killedClient) choose() *killedCall {
	row := c.addresses[c.random.IntN(len(c.addresses))]
	row.Program, row.Version = killedFirst+c.number*killedPrograms+c.random.Uint32N(killedPrograms), 1
	switch {
	case c.random.IntN(6) == 0:
		row.NetID, row.Address = "", ""
		return &killedCall{rpcbind.ProcUnset, row}
	case c.random.IntN(3) == 0:
		row.Address = ""
		return &killedCall{rpcbind.ProcUnset, row}
	}
	return &killedCall{rpcbind.ProcSet, row}
}

func (k *killedCall) make(c *client) (bool, error) {
	results, err := c.call(rpcbind.Version4, k.proc, k.row.Append(nil))
	if err != nil {
		return false, err
	}
	r := xdr.NewReader(results)
	done := r.Bool()
	return done, r.Err()
}

// after returns the rows after the call, and its answer. It leaves the slice as it is.
func (k *killedCall) after(rows []killedRow) ([]killedRow, bool) {
	meant := func(r killedRow) bool {
		return r.Program == k.row.Program && (r.NetID == k.row.NetID || k.row.NetID == "")
	}
	if k.proc == rpcbind.ProcUnset {
		return slices.DeleteFunc(slices.Clone(rows), meant), true
	}
	if i := slices.IndexFunc(rows, meant); i >= 0 {
		return rows, rows[i].Address == k.row.Address
	}
	return append(slices.Clip(rows), killedRow{RPCB: k.row}), true
}

// split returns the client's own rows and the others'.
func (c *killedClient) split(rows []killedRow) (own, others []killedRow) {
	first := killedFirst + c.number*killedPrograms
	for _, r := range rows {
		if r.Program >= first && r.Program < first+killedPrograms {
			own = append(own, r)
		} else {
			others = append(others, r)
		}
	}
	return own, others
}

// check compares the client's rows, in their order, with what it knows: of the call in flight all
// may be true or nothing. It goes on from what is there, and returns whether that call was done.
func (c *killedClient) check(t *testing.T, rows []killedRow) (done bool) {
	t.Helper()
	call, before := c.inFlight, c.rows
	c.rows, c.inFlight = rows, nil
	if sameKilledRows(rows, before) {
		return false
	}
	if call == nil {
		t.Errorf("client %d: %d rows are there\n%v\nof %d that were answered\n%v", c.number, len(rows), rows, len(before), before)
		return false
	}
	after, _ := call.after(before)
	if !sameKilledRows(rows, after) {
		t.Errorf("client %d: %d rows are there\n%v\nof %d that were answered\n%v\nwith %+v in flight", c.number, len(rows), rows, len(before), before, *call)
	}
	return true
}

// sameKilledRows compares ids where they were known.
func sameKilledRows(got, want []killedRow) bool {
	return slices.EqualFunc(got, want, func(g, w killedRow) bool { return g.RPCB == w.RPCB && (w.id == "" || g.id == w.id) })
}

// killedRows returns what is registered, oldest first, but for the mapper's own rows.
func killedRows(t *testing.T) []killedRow {
	t.Helper()
	l, err := api.NewClient(daemon.SystemControl).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var rows []killedRow
	for _, d := range l.Endpoints {
		reg, err := d.Registration()
		if d.Evidence != endpoint.Listening.String() {
			err = errors.Join(err, fmt.Errorf("evidence %s, want listening", d.Evidence))
		}
		if err != nil {
			t.Errorf("%+v: %v", d, err)
		}
		if !isMappers(&d) {
			rows = append(rows, killedRow{rpcbind.RPCB{Program: d.Program, Version: d.Version.Major, NetID: d.NetID, Address: reg.UniversalAddress()}, d.ID})
		}
	}
	return rows
}
