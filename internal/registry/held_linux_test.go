package registry_test

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/process"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A child is a process that runs until it is ended.
type child struct {
	pid int32
	fds int    // descriptors that the test has for it
	end func() // returns when it has ended, and the test's descriptors are closed
}

func start(t *testing.T) child {
	t.Helper()
	before := descriptors(t)
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end := func() {
		if !ended {
			ended = true
			in.Close()
			cmd.Wait()
		}
	}
	t.Cleanup(end)
	return child{int32(cmd.Process.Pid), descriptors(t) - before, end}
}

// claim returns a claim of alice's whose process is the child.
func (c child) claim() registry.Claim {
	return registry.Claim{Owner: alice, PID: c.pid, Process: func() (*process.Process, error) { return process.Open(c.pid) }}
}

// asked is claim that asks for a life with the process.
func (c child) asked() registry.Claim {
	claim := c.claim()
	claim.Evidence = endpoint.Process
	return claim
}

// elsewhere is claim from another network namespace.
func (c child) elsewhere() registry.Claim {
	claim := c.claim()
	claim.Elsewhere = true
	return claim
}

// descriptors counts those that are open.
func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// leaks fails the test unless as many descriptors are open as at first, and
// nothing is held.
func leaks(t *testing.T, g *registry.Registry, before int) {
	t.Helper()
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors are open, want %d", n, before)
	}
	if processes, uses := g.Held(); processes != 0 || uses != 0 {
		t.Errorf("%d processes are held for %d uses, want none", processes, uses)
	}
}

func check(t *testing.T, g *registry.Registry) {
	t.Helper()
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
}

// TestProcess has a row stand on a process in two ways, and end with it or leave
// a lease.
func TestProcess(t *testing.T) {
	for _, tt := range []struct {
		name  string
		claim func(child) registry.Claim
		grace time.Duration
		want  string // afterwards
		ended string
	}{
		{"asked for, ends at once", child.asked, time.Hour, "nothing", registry.ProcessOver.String()},
		{"asked for, ends later", child.asked, 1, "nothing", registry.ProcessOver.String()},
		{"elsewhere, ends at once", child.elsewhere, time.Hour, "lease", ""},
		{"elsewhere, ends later", child.elsewhere, 1, "nothing", registry.ProcessOver.String()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t)
			before := descriptors(t)
			g := openWith(t, registry.Config{Sockets: &table{}, Grace: tt.grace, Lease: time.Hour})
			ended := endings(g)
			claim(t, g, tt.claim(c), hers, row(alice, 8, 1, rpcbind.TCP, 2000))
			if r := evidence(t, g, hers, "process"); r.PID != c.pid {
				t.Errorf("pid %d, want %d", r.PID, c.pid)
			}
			check(t, g)
			evidence(t, g, hers, "process")
			if n := descriptors(t); n != before+1 {
				t.Errorf("%d descriptors for two rows of a process, want one", n-before)
			}
			g.Remove(alice, endpoint.Program(8, 1), rpcbind.TCP)
			ended()
			evidence(t, g, hers, "process")
			at := descriptors(t)
			c.end()
			check(t, g)
			evidence(t, g, hers, tt.want)
			checkEndings(t, ended, tt.ended)
			if n := descriptors(t); n != at-c.fds-1 {
				t.Errorf("%d descriptors of %d less after its end, want one of the registry's", at-n, c.fds)
			}
			if processes, _ := g.Held(); processes != 0 {
				t.Errorf("%d processes are held", processes)
			}
		})
	}
}

// TestTool: a lease that tools renew, each of which ends at once, lasts.
func TestTool(t *testing.T) {
	g := openWith(t, registry.Config{Sockets: &table{}, Grace: time.Hour})
	first := start(t)
	claim(t, g, first.elsewhere(), hers)
	first.end()
	check(t, g)
	made := evidence(t, g, hers, "lease")
	g.Age(hers, 2*time.Hour) // its own grace is long over, that of its renewal is not
	second := start(t)
	claim(t, g, second.elsewhere(), hers)
	evidence(t, g, hers, "process")
	second.end()
	check(t, g)
	if r := evidence(t, g, hers, "lease"); !r.Until.After(made.Until) || r.PID != second.pid {
		t.Errorf("pid %d, until %v, want %d and later than %v", r.PID, r.Until, second.pid, made.Until)
	}
	third := start(t)
	claim(t, g, third.elsewhere(), hers)
	g.Age(hers, 2*time.Hour)
	third.end()
	check(t, g)
	evidence(t, g, hers, "nothing")
}

// A row whose process ended a moment ago, and that will have a lease, is not given away.
func TestToolsPlaceIsNotTaken(t *testing.T) {
	for _, tt := range []struct {
		claim func(child) registry.Claim
		is    error
	}{{child.elsewhere, registry.ErrConflict}, {child.asked, nil}} {
		g := openWith(t, registry.Config{Sockets: &table{}, Grace: time.Hour})
		c := start(t)
		claim(t, g, tt.claim(c), hers)
		c.end()
		if _, err := add(g, row(bob, 7, 1, rpcbind.TCP, 3000)); !errors.Is(err, tt.is) {
			t.Errorf("Add in its place = %v, want %v", err, tt.is)
		}
	}
}

// A process that cannot be had, or has ended, leaves a lease at once, unless it was asked for.
func TestNoProcess(t *testing.T) {
	gone := errors.New("gone")
	c := start(t)
	dead, err := process.Open(c.pid)
	if err != nil {
		t.Fatal(err)
	}
	c.end()
	fails := func() (*process.Process, error) { return nil, gone }
	before := descriptors(t)
	for _, tt := range []struct {
		name    string
		process func() (*process.Process, error)
		is      error
	}{
		{"cannot be had", fails, gone},
		{"nobody to ask", nil, nil},
	} {
		g := openWith(t, registry.Config{Sockets: &table{}})
		claim(t, g, registry.Claim{Owner: alice, PID: 5, Elsewhere: true, Process: tt.process}, hers)
		evidence(t, g, hers, "lease")
		claim(t, g, registry.Claim{Owner: alice, PID: 5, Process: tt.process}, row(alice, 8, 1, rpcbind.TCP, 2000))
		evidence(t, g, row(alice, 8, 1, rpcbind.TCP, 2000), "waiting")
		refused := g.Counts().Refused
		_, err := g.Add(registry.Claim{Owner: alice, PID: 5, Evidence: endpoint.Process, Process: tt.process}, row(alice, 9, 1, rpcbind.TCP, 2000), row(alice, 9, 2, rpcbind.TCP, 2000))
		if len(lines(err)) != 1 || tt.is != nil && !errors.Is(err, tt.is) || g.Counts().Refused != refused+1 {
			t.Errorf("%s: asked for: Add = %v and %d refusals, want %v, once", tt.name, err, g.Counts().Refused-refused, tt.is)
		}
		leaks(t, g, before)
	}
	g := openWith(t, registry.Config{Sockets: &table{}})
	claim(t, g, registry.Claim{Owner: alice, PID: c.pid, Elsewhere: true, Process: func() (*process.Process, error) { return dead, nil }}, hers)
	evidence(t, g, hers, "lease")
	leaks(t, g, before-1) // dead is the registry's to close
}

// TestProcessIsLetGo: what does not stand on a process holds none, and nothing is
// left of a claim that is refused.
func TestProcessIsLetGo(t *testing.T) {
	c := start(t)
	before := descriptors(t)
	var sockets table
	sockets.open(alice, hers.Endpoint)
	full := &failing{Store: registry.NewMemory()}
	g := openWith(t, registry.Config{Sockets: &sockets, MaxUserRows: 3, Permanent: full})
	waits := row(alice, 8, 1, rpcbind.TCP, 3000)

	claim(t, g, c.claim(), hers)
	leaks(t, g, before) // listening

	for name, rows := range map[string][]endpoint.Registration{
		"right":    {waits, row(alice, 9, 1, rpcbind.TCP, 80)},
		"conflict": {waits, row(alice, 7, 1, rpcbind.TCP, 3000)},
		"full":     {waits, row(alice, 8, 2, rpcbind.TCP, 3000), row(alice, 8, 3, rpcbind.TCP, 3000)},
	} {
		for _, how := range []registry.Claim{c.claim(), c.asked(), c.elsewhere()} {
			if _, err := g.Add(how, rows...); err == nil {
				t.Errorf("%s: Add succeeded", name)
			}
			leaks(t, g, before)
		}
	}

	claim(t, g, c.claim(), waits)
	claim(t, g, c.claim(), waits)
	if processes, uses := g.Held(); processes != 1 || uses != 1 {
		t.Errorf("%d processes for %d uses, want one for one", processes, uses)
	}
	sockets.open(alice, waits.Endpoint)
	check(t, g)
	evidence(t, g, waits, "listening")
	leaks(t, g, before)

	claim(t, g, c.asked(), waits)
	check(t, g)
	evidence(t, g, waits, "process")
	if processes, uses := g.Held(); processes != 1 || uses != 1 {
		t.Errorf("%d processes for %d uses of a row that was listening, want one for one", processes, uses)
	}
	lease := c.claim()
	lease.Evidence, lease.TTL = endpoint.Lease, time.Hour
	claim(t, g, lease, waits)
	leaks(t, g, before)

	claim(t, g, c.asked(), waits)
	full.fail(errors.New("no space"))
	permanent := registry.Claim{Owner: root, Evidence: endpoint.Permanent}
	if _, err := g.Add(permanent, waits); !errors.Is(err, registry.ErrStore) {
		t.Errorf("Add = %v, want %v", err, registry.ErrStore)
	}
	evidence(t, g, waits, "process")
	full.fail(nil)
	claim(t, g, permanent, waits)
	leaks(t, g, before)

	claim(t, g, c.asked(), row(alice, 8, 2, rpcbind.TCP, 3000))
	g.Close()
	leaks(t, g, before)
}

// TestProcessInItsOwnPlace: a process whose row is dead registers again, so that
// the last row that held it ends as another comes to hold it.
func TestProcessInItsOwnPlace(t *testing.T) {
	c := start(t)
	before := descriptors(t)
	g := openWith(t, registry.Config{Sockets: &table{}, Grace: 1})
	claim(t, g, c.claim(), hers) // waits, but no longer than that
	other := row(alice, 7, 1, rpcbind.TCP, 3000)
	asked := c.asked()
	claim(t, g, asked, other)
	if n := descriptors(t); n != before+1 {
		t.Fatalf("%d descriptors for a process, want one", n-before)
	}
	check(t, g)
	evidence(t, g, other, "process")
	c.end()
	check(t, g)
	evidence(t, g, other, "nothing")
	leaks(t, g, before-c.fds)
}

// TestWaitingWithoutItsProcess: nobody is left who could open the socket, so who
// asks for the place gets it. Nobody asking, the row waits.
func TestWaitingWithoutItsProcess(t *testing.T) {
	for _, tt := range []struct {
		name   string
		asked  endpoint.Registration
		socket bool
		is     error
		ended  string
	}{
		{"another endpoint", row(bob, 7, 1, rpcbind.TCP, 3000), false, nil, registry.NeverThere.String()},
		{"the same endpoint", hers, false, nil, registry.NeverThere.String()},
		{"its socket came", row(bob, 7, 1, rpcbind.TCP, 3000), true, registry.ErrConflict, ""},
	} {
		var sockets table
		g := openWith(t, registry.Config{Sockets: &sockets, Grace: time.Hour})
		ended := endings(g)
		c := start(t)
		id := claim(t, g, c.claim(), hers)[0].ID
		if _, err := add(g, row(bob, 7, 1, rpcbind.TCP, 3000)); !errors.Is(err, registry.ErrConflict) {
			t.Errorf("%s: Add while its process runs = %v, want %v", tt.name, err, registry.ErrConflict)
		}
		c.end()
		check(t, g)
		evidence(t, g, hers, "waiting")
		if tt.socket {
			sockets.open(alice, hers.Endpoint)
		}
		tt.asked.Owner = bob
		rows, err := add(g, tt.asked)
		if !errors.Is(err, tt.is) {
			t.Errorf("%s: Add = %v, want %v", tt.name, err, tt.is)
		}
		if err == nil && (rows[0].Owner != bob || rows[0].ID == id) {
			t.Errorf("%s: Add = %+v, want a new row of bob's", tt.name, rows[0])
		}
		checkEndings(t, ended, tt.ended)
	}
}

// Whether the caller may have a process is asked even if the registry holds it.
func TestHeldProcessIsAskedFor(t *testing.T) {
	c := start(t)
	g := openWith(t, registry.Config{})
	claim(t, g, c.asked(), hers)
	his := registry.Claim{Owner: bob, PID: c.pid, Evidence: endpoint.Process, Process: func() (*process.Process, error) { return nil, registry.ErrRight }}
	if _, err := g.Add(his, row(bob, 8, 1, rpcbind.TCP, 2000)); !errors.Is(err, registry.ErrRight) {
		t.Errorf("Add with a process that is another's = %v, want %v", err, registry.ErrRight)
	}
}

// A process of another namespace has no number here, and is held all the same.
func TestProcessWithoutNumber(t *testing.T) {
	c := start(t)
	before := descriptors(t)
	g := openWith(t, registry.Config{Sockets: &table{}, Grace: 1})
	nameless := registry.Claim{Owner: alice, Elsewhere: true, Process: func() (*process.Process, error) {
		p, err := process.Open(c.pid)
		if err == nil {
			p.PID, p.Started = 0, 0
		}
		return p, err
	}}
	claim(t, g, nameless, hers)
	claim(t, g, nameless, row(alice, 8, 1, rpcbind.TCP, 2000))
	check(t, g)
	evidence(t, g, hers, "process")
	c.end()
	check(t, g)
	evidence(t, g, hers, "nothing")
	leaks(t, g, before-c.fds)
}

// TestNumberUsedAgain: two processes that had one number, one after the other, are
// not taken for one.
func TestNumberUsedAgain(t *testing.T) {
	for _, began := range [][2]uint64{{1, 2}, {0, 0}} { // 0 is unknown
		first, second := start(t), start(t)
		before := descriptors(t)
		g := openWith(t, registry.Config{})
		as := func(c child, began uint64) registry.Claim {
			return registry.Claim{Owner: alice, PID: 5, Evidence: endpoint.Process, Process: func() (*process.Process, error) {
				p, err := process.Open(c.pid)
				if err == nil {
					p.PID, p.Started = 5, began
				}
				return p, err
			}}
		}
		claim(t, g, as(first, began[0]), program(1))
		claim(t, g, as(second, began[1]), program(2))
		first.end()
		check(t, g)
		checkStanding(t, g, "2 process")
		if processes, uses := g.Held(); processes != 1 || uses != 1 {
			t.Errorf("%d processes for %d uses, want the second for one", processes, uses)
		}
		second.end()
		check(t, g)
		checkStanding(t, g, "")
		leaks(t, g, before-first.fds-second.fds)
	}
}

// TestProcessAfterRestart: a process is found again by its number and start.
func TestProcessAfterRestart(t *testing.T) {
	lives, dies, tool, waits := start(t), start(t), start(t), start(t)
	before := descriptors(t)
	store := registry.NewMemory()
	c := registry.Config{Sockets: &table{}, Store: store, Grace: time.Hour}
	g := openWith(t, c)
	at := func(program uint32) endpoint.Registration { return row(alice, program, 1, rpcbind.TCP, 2000) }
	claim(t, g, lives.asked(), at(1), at(2))
	claim(t, g, dies.asked(), at(3))
	claim(t, g, tool.elsewhere(), at(4))
	claim(t, g, waits.claim(), at(5))
	nameless := lives.claim()
	nameless.Elsewhere = true
	open := nameless.Process
	nameless.PID, nameless.Process = 0, func() (*process.Process, error) {
		p, err := open()
		if err == nil {
			p.PID, p.Started = 0, 0
		}
		return p, err
	}
	claim(t, g, nameless, at(6))
	g.Close()
	leaks(t, g, before)
	dies.end()
	tool.end()

	g = openWith(t, c)
	before -= dies.fds + tool.fds
	if n := descriptors(t); n != before+2 {
		t.Errorf("%d descriptors more after opening again, want 2", n-before)
	}
	for program, want := range map[uint32]string{1: "process", 2: "process", 3: "nothing", 4: "lease", 5: "waiting", 6: "lease"} {
		evidence(t, g, at(program), want)
	}
	if n := g.Counts().Ended[registry.ProcessOver]; n != 1 {
		t.Errorf("%d rows are counted that ended with their process, want 1", n)
	}
	waits.end()
	if _, err := add(g, row(bob, 5, 1, rpcbind.TCP, 3000)); err != nil {
		t.Errorf("Add in place of a row that waits for nobody = %v", err)
	}
	journal, err := store.Load()
	if err != nil || slices.ContainsFunc(journal.Rows, func(r registry.Record) bool { return r.Program == 3 }) {
		t.Errorf("the journal has %+v, %v, want the ended row gone", journal.Rows, err)
	}
	for _, rec := range journal.Rows {
		if rec.Evidence != g.Lookup(rec.Interface, rec.NetID).Evidence {
			t.Errorf("program %d is journalled with evidence %s", rec.Program, rec.Evidence)
		}
	}
	lives.end()
	check(t, g)
	evidence(t, g, at(1), "nothing")
	g.Close()
	leaks(t, g, before-waits.fds-lives.fds)
}

// A pipe or a name lives with the process that registered it, for no socket of it
// can be seen; what a tool registered and left gets a lease.
func TestPipeWithItsProcess(t *testing.T) {
	for _, tt := range []struct {
		grace time.Duration
		want  string // after the process
	}{{1, "nothing"}, {time.Hour, "lease"}} {
		for _, at := range []string{`np \pipe\x`, "lrpc x"} {
			c := start(t)
			before := descriptors(t)
			g := openWith(t, registry.Config{Sockets: &table{}, Grace: tt.grace})
			pipe := dce(alice, x1, at)
			claim(t, g, c.claim(), pipe)
			check(t, g)
			if r := evidence(t, g, pipe, "process"); r.PID != c.pid {
				t.Errorf("%s lives with process %d, want %d", at, r.PID, c.pid)
			}
			c.end()
			check(t, g)
			evidence(t, g, pipe, tt.want)
			leaks(t, g, before-c.fds)
		}
	}
}
