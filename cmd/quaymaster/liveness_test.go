//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/api"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

const (
	// goneAfter is how long a registration may outlive its server.
	goneAfter = 2 * time.Second
	// eventTime is how long to wait for an event whose time is looked at later, or does not matter.
	eventTime = 10 * time.Second
)

// userProgram is the first of the programs that tests register by hand.
const userProgram = 0x21000000

// A watch is "quaymaster endpoints --watch -o json", read as it writes.
type watch struct {
	mu   sync.Mutex
	seen []arrival
}

// An arrival is an event and when it came.
type arrival struct {
	api.Event
	at time.Time
}

// startWatch returns when the watch has its snapshot: it misses nothing from then on.
func startWatch(t *testing.T) *watch {
	t.Helper()
	cmd := exec.Command(nstest.Path(t, "quaymaster"), "endpoints", "--watch", "-o", "json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := &watch{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for d := json.NewDecoder(out); ; {
			var e api.Event
			if d.Decode(&e) != nil { // at its end
				return
			}
			w.mu.Lock()
			w.seen = append(w.seen, arrival{e, time.Now()})
			w.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-read
		cmd.Wait()
	})
	w.wait(t, "the snapshot", func(e arrival) bool { return e.Event.Event == registry.Snapshot.String() })
	return w
}

// find returns the events so far that are meant.
func (w *watch) find(meant func(arrival) bool) []arrival {
	w.mu.Lock()
	defer w.mu.Unlock()
	var some []arrival
	for _, a := range w.seen {
		if meant(a) {
			some = append(some, a)
		}
	}
	return some
}

// wait returns the first event that is meant, when it is there.
func (w *watch) wait(t *testing.T, what string, meant func(arrival) bool) arrival {
	t.Helper()
	var some []arrival
	nstest.WaitFor(t, what, eventTime, func() bool {
		some = w.find(meant)
		return len(some) > 0
	})
	return some[0]
}

// waitEnd returns the event that the registration with this id ended.
func (w *watch) waitEnd(t *testing.T, d endpoint.Document) arrival {
	t.Helper()
	return w.wait(t, "the end of "+describe(&d), func(a arrival) bool {
		return a.Event.Event == registry.Ended.String() && a.Endpoint.ID == d.ID
	})
}

// mustEnd fails the test if a registration does not end soon after its server, or for another reason.
func (w *watch) mustEnd(t *testing.T, d endpoint.Document, after time.Time, why ...registry.Reason) {
	t.Helper()
	a := w.waitEnd(t, d)
	if took := a.at.Sub(after); took > goneAfter {
		t.Errorf("%s ended after %v, want %v at most", describe(&d), took, goneAfter)
	}
	if !slices.ContainsFunc(why, func(r registry.Reason) bool { return a.Why == r.String() }) {
		t.Errorf("%s ended because %q, want one of %v", describe(&d), a.Why, why)
	}
}

// listed returns what "endpoints -o json" tells of some programs, oldest first; of all but the
// mapper's own without any.
func listed(t *testing.T, programs ...uint32) []endpoint.Document {
	t.Helper()
	r := run(t, "quaymaster", "endpoints", "-o", "json")
	var all []endpoint.Document
	if err := json.Unmarshal([]byte(r.Stdout), &all); r.Exit != 0 || err != nil {
		t.Fatalf("endpoints = %+v, %v", r, err)
	}
	return slices.DeleteFunc(all, func(d endpoint.Document) bool {
		return isMappers(&d) || len(programs) > 0 && !slices.Contains(programs, d.Program)
	})
}

// isMappers tells whether a row is one of the mapper's own, of either dialect.
func isMappers(d *endpoint.Document) bool {
	return d.Program == rpcbind.Program || d.UUID == epm.Interface.UUID.String()
}

// onlyRow is listed for a program that must have one row, with this evidence.
func onlyRow(t *testing.T, program uint32, want endpoint.Evidence) endpoint.Document {
	t.Helper()
	rows := listed(t, program)
	if len(rows) != 1 || rows[0].Evidence != want.String() {
		t.Fatalf("program %d has %+v, want one row, %s", program, rows, want)
	}
	return rows[0]
}

func ids(rows []endpoint.Document) []string {
	var all []string
	for _, d := range rows {
		all = append(all, d.ID)
	}
	slices.Sort(all)
	return all
}

// TestServicesKilled kills real servers, which have no time to unregister.
func TestServicesKilled(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "rpcinfo")
	prepareServices(t)
	startQuaymaster(t)
	w := startWatch(t)
	for _, s := range services {
		nstest.Start(t, s.command[0], s.command[1:]...)
	}
	for _, s := range services {
		nstest.WaitFor(t, s.command[0]+" to register", startTime, func() bool { return len(rowsOf(t, s.program)) >= len(s.rows) })
	}
	for _, d := range listed(t) {
		if d.Evidence != endpoint.Listening.String() {
			t.Errorf("%s has the evidence %s, want listening", describe(&d), d.Evidence)
		}
	}
	for _, s := range services {
		killService(t, w, s)
	}
	if rows := listed(t); len(rows) > 0 {
		t.Errorf("all servers are dead, and registered are %+v", rows)
	}
}

// killService kills one server and looks whether its registrations end, and only these.
func killService(t *testing.T, w *watch, s service) {
	t.Helper()
	var theirs []string
	rows := listed(t, uint32(s.program))
	for _, d := range listed(t) {
		if int(d.Program) != s.program {
			theirs = append(theirs, d.ID)
		}
	}
	slices.Sort(theirs)
	if len(rows) != len(s.rows) {
		t.Fatalf("%s has %+v, want %q", s.command[0], rows, s.rows)
	}
	killed := time.Now()
	for _, pid := range processesOf(t, s.command[0]) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range rows {
		w.mustEnd(t, d, killed, registry.Gone)
	}
	t.Logf("%s: the last registration ended %v after it was killed", s.command[0], w.waitEnd(t, rows[len(rows)-1]).at.Sub(killed))
	if rest := ids(listed(t)); !slices.Equal(rest, theirs) {
		t.Errorf("without %s there are %q, want %q", s.command[0], rest, theirs)
	}
}

// TestDaemonKilled has servers die, live and begin while there is no daemon.
func TestDaemonKilled(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	first := startQuaymaster(t)
	living, dying := startPeer(t, nil), startPeer(t, nil)
	const alive, dead = userProgram, userProgram + 1
	for _, netid := range everyNetID {
		living.register(t, "unix", alive, netid)
		dying.register(t, "unix", dead, netid)
	}
	mustAnswer(t, "true", living.do(t, "set unix %d 1 local %s", alive, living.do(t, "listen unix /run/alive.sock")))
	mustAnswer(t, "true", dying.do(t, "set unix %d 1 local %s", dead, dying.do(t, "listen unix /run/dead.sock")))
	add(t, "onc", fmt.Sprint(userProgram+2), "1", "tcp", "127.0.0.1:4711", "--pid", fmt.Sprint(living.PID()))
	add(t, "onc", fmt.Sprint(userProgram+3), "1", "tcp", "127.0.0.1:4711", "--pid", fmt.Sprint(dying.PID()))
	add(t, "onc", fmt.Sprint(userProgram+4), "1", "tcp", "127.0.0.1:4711", "--ttl", "1h")
	want := listed(t, alive, userProgram+2, userProgram+4)
	if len(want) != len(everyNetID)+3 {
		t.Fatalf("registered are %+v", want)
	}

	kill(t, first)
	kill(t, dying.Process)
	nstest.Start(t, "quaymaster", "serve")
	firstAnswers(t, func(rows []rpcbind.RPCB) {
		for _, r := range rows {
			if r.Program == dead || r.Program == userProgram+3 {
				t.Errorf("the first answer has %+v, whose server is dead", r)
			}
		}
	}, alive, dead)

	got := listed(t)
	if !slices.EqualFunc(got, want, sameRow) {
		t.Errorf("after the restart there are\n%+v, want\n%+v", got, want)
	}
	mustAnswer(t, "true", living.do(t, "unset unix %d 1 tcp", alive)) // whose it still is
}

// sameRow tells whether two documents are of one row that was believed for the same reason all
// the time. An end that is counted from the host's start is as exact as its clocks are.
func sameRow(a, b endpoint.Document) bool {
	if (a.Until == nil) != (b.Until == nil) || a.Until != nil && a.Until.Sub(*b.Until).Abs() > time.Second || !a.Since.Equal(b.Since) {
		return false
	}
	a.Until, a.Since = b.Until, b.Since
	return a == b
}

// firstAnswers asks a daemon that begins for everything, and over UDP for two programs, of
// which only the first is there, before anybody else has had an answer.
func firstAnswers(t *testing.T, check func([]rpcbind.RPCB), there, gone uint32) {
	t.Helper()
	var c *client
	nstest.WaitFor(t, "the daemon to take a connection", startTime, func() bool {
		var err error
		c, err = dialMapper("unix")
		return err == nil
	})
	defer c.Close()
	results, err := c.call(rpcbind.Version4, rpcbind.ProcDump, nil)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := rpcbind.ParseRPCBs(results)
	if err != nil {
		t.Fatal(err)
	}
	check(rows)
	u, err := dialMapper("udp")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for program, want := range map[uint32]bool{there: true, gone: false} {
		port, err := u.getPort(program, 1, rpcbind.TCP.Protocol())
		if err != nil || (port != 0) != want {
			t.Errorf("GETPORT of program %d = %d, %v, want a port: %v", program, port, err, want)
		}
	}
}

// TestServerRestarted: a server that comes back at another port registers at once, in place of
// what its predecessor left.
func TestServerRestarted(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startQuaymaster(t)
	w := startWatch(t)
	asker, err := dialMapper("unix")
	if err != nil {
		t.Fatal(err)
	}
	defer asker.Close()
	server := startPeer(t, nil)
	server.register(t, "unix", userProgram, "tcp")
	old := onlyRow(t, userProgram, endpoint.Listening)
	stood := 0 // how often the old row was there when the new one came
	for range 20 {
		next, bait := startPeer(t, nil), startPeer(t, nil)
		bait.register(t, "unix", userProgram+1, "udp")
		lure := onlyRow(t, userProgram+1, endpoint.Listening)
		kill(t, bait.Process)
		w.waitEnd(t, lure) // the daemon has looked just now, and will not look again so soon
		killed := time.Now()
		kill(t, server.Process)
		port, err := asker.getPort(userProgram, 1, rpcbind.TCP.Protocol())
		if err != nil {
			t.Fatal(err)
		}
		next.register(t, "unix", userProgram, "tcp")
		if took := time.Since(killed); took > 100*time.Millisecond {
			t.Logf("the restart took %v", took)
		}
		now := onlyRow(t, userProgram, endpoint.Listening)
		if now.ID == old.ID || now.Port == old.Port || int(now.PID) != next.PID() {
			t.Errorf("after the restart there is %+v, before %+v", now, old)
		}
		if port == uint32(old.Port) {
			stood++
		}
		w.waitEnd(t, old)
		server, old = next, now
	}
	t.Logf("%d of 20 old rows stood when the server came back", stood)
	if stood == 0 {
		t.Error("the old row never stood when the server came back")
	}
}

// TestDualStack: IPv4 registrations of a server whose only socket is of IPv6.
func TestDualStack(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startQuaymaster(t)
	w := startWatch(t)
	server := startPeer(t, nil)
	var ports []uint16
	for _, netid := range []string{"tcp", "udp"} {
		port := atoi(t, server.do(t, "listen %s [::]:0", netid)) // without a 4 or 6 both
		ports = append(ports, uint16(port))
		mustAnswer(t, "true", server.do(t, "set unix %d 1 %s %s", userProgram, netid, universal("0.0.0.0", port)))
	}
	for i, proto := range []string{"tcp", "udp"} {
		if own, err := netip.ParseAddrPort(fmt.Sprintf("0.0.0.0:%d", ports[i])); err != nil || listensIPv4(t, proto, own) {
			t.Fatalf("there is a socket of IPv4 at %s %s (%v)", proto, own, err)
		}
	}
	rows := listed(t, userProgram)
	stays(t, w, rows)
	killed := time.Now()
	kill(t, server.Process)
	for _, d := range rows {
		w.mustEnd(t, d, killed, registry.Gone)
	}
}

// listensIPv4 looks into the kernel's table for a socket of IPv4 at an address.
func listensIPv4(t *testing.T, proto string, at netip.AddrPort) bool {
	t.Helper()
	r := run(t, "cat", "/proc/net/"+proto)
	return strings.Contains(r.Stdout, fmt.Sprintf(" 00000000:%04X ", at.Port()))
}

// stays fails the test unless the rows are there after the daemon has looked several times: each
// time it sees the end of another row.
func stays(t *testing.T, w *watch, rows []endpoint.Document) {
	t.Helper()
	var programs []uint32
	for _, d := range rows {
		programs = append(programs, d.Program)
		if d.Evidence != endpoint.Listening.String() {
			t.Errorf("%s has the evidence %s, want listening", describe(&d), d.Evidence)
		}
	}
	if len(rows) == 0 {
		t.Fatal("no rows to look at")
	}
	for range 4 {
		bait := startPeer(t, nil)
		bait.register(t, "unix", userProgram+99, "tcp")
		lure := onlyRow(t, userProgram+99, endpoint.Listening)
		kill(t, bait.Process)
		w.waitEnd(t, lure)
	}
	if now := listed(t, programs...); !slices.EqualFunc(now, rows, sameRow) {
		t.Errorf("registered are\n%+v, want\n%+v", now, rows)
	}
}

// TestForkingServer: it registers, leaves its sockets to a child and ends.
func TestForkingServer(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startQuaymaster(t)
	w := startWatch(t)
	server := startPeer(t, nil)
	for _, netid := range everyNetID {
		server.register(t, "unix", userProgram, netid)
	}
	mustAnswer(t, "true", server.do(t, "set unix %d 1 local %s", userProgram, server.do(t, "listen unix /run/fork.sock")))
	rows := listed(t, userProgram)
	child := atoi(t, server.do(t, "fork"))
	if status := server.Wait(t, startTime); status != 0 {
		t.Fatalf("the parent ended with %d", status)
	}
	stays(t, w, rows)
	killed := time.Now()
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, d := range rows {
		w.mustEnd(t, d, killed, registry.Gone)
	}
}

func mustAnswer(t *testing.T, want, got string) {
	t.Helper()
	if got != want {
		t.Fatalf("the answer is %q, want %q", got, want)
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// universal returns a universal address.
func universal(address string, port int) string {
	return rpcbind.UniversalAddress(netip.AddrPortFrom(netip.MustParseAddr(address), uint16(port)))
}

// kill kills a program and waits for its end.
func kill(t *testing.T, p *nstest.Process) {
	t.Helper()
	p.Signal(syscall.SIGKILL)
	p.Wait(t, startTime)
}

// add is "quaymaster endpoints add", which must succeed.
func add(t *testing.T, args ...string) {
	t.Helper()
	if r := run(t, "quaymaster", append([]string{"endpoints", "add"}, args...)...); r.Exit != 0 {
		t.Fatalf("endpoints add %q = %+v", args, r)
	}
}
