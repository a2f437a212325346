package registry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// hers is the row that most tests of evidence are about.
var hers = row(alice, 7, 1, rpcbind.TCP, 2000)

// running returns a registry that looks at sockets and keeps itself true.
// It is for bubbles of synctest: what a test does, a whole number of seconds
// later, is done between two checks.
func running(t *testing.T, c registry.Config) *registry.Registry {
	t.Helper()
	g := openWith(t, c)
	go g.Run(t.Context())
	time.Sleep(500 * time.Millisecond)
	return g
}

// claim registers rows and fails the test if it cannot be done.
func claim(t testing.TB, g *registry.Registry, c registry.Claim, rows ...endpoint.Registration) []*endpoint.Registration {
	t.Helper()
	standing, err := g.Add(c, rows...)
	if err != nil || len(standing) != len(rows) {
		t.Fatalf("Add = %d rows, %v, want %d", len(standing), err, len(rows))
	}
	return standing
}

// evidence fails the test unless r stands for a reason; nil stands for no reason.
func evidence(t testing.TB, g *registry.Registry, r endpoint.Registration, want string) *endpoint.Registration {
	t.Helper()
	now := g.Standing(r)
	got := "nothing"
	if now != nil {
		got = now.Evidence.String()
		if until := now.Until; (now.Evidence == endpoint.Waiting || now.Evidence == endpoint.Lease) == until.IsZero() {
			t.Errorf("%s until %v", got, until)
		}
	}
	if got != want {
		t.Fatalf("%s stands by %s, want %s", r.Interface, got, want)
	}
	return now
}

// endings returns a function that tells why rows ended since it was last called,
// and who did it.
func endings(g *registry.Registry) func() string {
	w := g.Watch(nil)
	w.Fetch() // the snapshot
	return func() string {
		var why []string
		for _, e := range w.Fetch() {
			if e.Kind == registry.Ended {
				text := e.Reason.String()
				if e.By != nil {
					text += ", by uid " + fmt.Sprint(e.By.UID)
				}
				why = append(why, text)
			}
		}
		return strings.Join(why, "; ")
	}
}

// checkEndings fails the test unless just this ended.
func checkEndings(t testing.TB, ended func() string, want string) {
	t.Helper()
	if got := ended(); got != want {
		t.Errorf("what ended: %q, want %q", got, want)
	}
}

func TestSocketEnds(t *testing.T) {
	dual := row(alice, 7, 1, rpcbind.TCP, 2001)
	local := endpoint.Registration{Interface: endpoint.Program(7, 1), Endpoint: endpoint.Endpoint{NetID: rpcbind.Local, Path: "/run/x.sock"}}
	for _, tt := range []struct {
		name  string
		row   endpoint.Registration
		open  func(*table)
		close func(*table)
		want  string
	}{
		{
			"its socket closes", hers,
			func(s *table) { s.open(alice, hers.Endpoint) },
			func(s *table) { s.close(hers.Endpoint) },
			registry.Gone.String(),
		},
		{
			"a path's socket closes", local,
			func(s *table) { s.open(alice, local.Endpoint) },
			func(s *table) { s.close(local.Endpoint) },
			registry.Gone.String(),
		},
		{
			"a socket of both families closes", dual,
			func(s *table) { s.openDual(alice, rpcbind.TCP6, 2001) },
			func(s *table) { s.close(row(alice, 7, 1, rpcbind.TCP6, 2001).Endpoint) },
			registry.Gone.String(),
		},
		{
			"another user's comes in its place", hers,
			func(s *table) { s.open(alice, hers.Endpoint) },
			func(s *table) { s.close(hers.Endpoint); s.open(bob, hers.Endpoint) },
			registry.TakenOver.String(),
		},
		{
			"it was another user's from the beginning, and the owner's comes in its place", hers,
			func(s *table) { s.open(bob, hers.Endpoint) },
			func(s *table) { s.close(hers.Endpoint); s.open(alice, hers.Endpoint) },
			registry.TakenOver.String(),
		},
		{
			"the owner's of several closes", hers,
			func(s *table) { s.open(bob, hers.Endpoint); s.open(alice, hers.Endpoint) },
			func(s *table) { s.closeOf(alice, hers.Endpoint) },
			registry.TakenOver.String(),
		},
		{
			"another than the owner's of several closes", hers,
			func(s *table) { s.open(bob, hers.Endpoint); s.open(alice, hers.Endpoint) },
			func(s *table) { s.closeOf(bob, hers.Endpoint) },
			"",
		},
		{
			"one of her two closes", hers,
			func(s *table) {
				s.open(alice, hers.Endpoint)
				s.open(alice, endpoint.Endpoint{NetID: rpcbind.TCP, Addr: netip.MustParseAddrPort("127.0.0.1:2000")})
			},
			func(s *table) { s.close(hers.Endpoint) },
			"",
		},
		{
			"a socket at another port closes", hers,
			func(s *table) { s.open(alice, hers.Endpoint); s.open(alice, dual.Endpoint) },
			func(s *table) { s.close(dual.Endpoint) },
			"",
		},
	} {
		for _, first := range []string{"there at once", "there later"} {
			t.Run(tt.name+", "+first, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var sockets table
					g := running(t, registry.Config{Sockets: &sockets})
					ended := endings(g)
					if first == "there later" {
						claim(t, g, registry.Claim{Owner: alice, PID: 5}, tt.row)
						evidence(t, g, tt.row, "waiting")
						tt.open(&sockets)
						time.Sleep(2 * time.Second)
					} else {
						tt.open(&sockets)
						claim(t, g, registry.Claim{Owner: alice, PID: 5}, tt.row)
					}
					if r := evidence(t, g, tt.row, "listening"); r.PID != 5 {
						t.Errorf("pid %d, want 5", r.PID)
					}
					time.Sleep(time.Minute)
					checkEndings(t, ended, "")
					tt.close(&sockets)
					time.Sleep(2 * time.Second)
					checkEndings(t, ended, tt.want)
					if standing, _ := g.All(); (len(standing) == 0) != (tt.want != "") {
						t.Errorf("%d rows stand", len(standing))
					}
				})
			})
		}
	}
}

func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sockets table
		g := running(t, registry.Config{Sockets: &sockets, MaxUserRows: 2})
		ended := endings(g)
		begun := time.Now()
		r := claim(t, g, registry.Claim{Owner: alice}, hers)[0]
		if r.Evidence != endpoint.Waiting || !r.Until.Equal(begun.Add(registry.DefaultGrace)) {
			t.Fatalf("a row without a socket: %s until %v, want to wait for %v", r.Evidence, r.Until, registry.DefaultGrace)
		}
		if _, err := g.Add(registry.Claim{Owner: alice}, row(alice, 8, 1, rpcbind.TCP, 2000), row(alice, 8, 2, rpcbind.TCP, 2000)); !errors.Is(err, registry.ErrFull) {
			t.Errorf("Add of two more = %v, want that waiting rows count against their owner", err)
		}
		time.Sleep(registry.DefaultGrace - time.Second)
		if again := claim(t, g, registry.Claim{Owner: alice}, hers)[0]; again != r {
			t.Errorf("asking again: until %v, want %v as before", again.Until, r.Until)
		}
		if other := claim(t, g, registry.Claim{Owner: bob}, hers)[0]; other != r {
			t.Errorf("somebody else asking: %+v, want what stood there", other)
		}
		time.Sleep(900 * time.Millisecond)
		evidence(t, g, hers, "waiting")
		time.Sleep(2 * time.Second)
		evidence(t, g, hers, "nothing")
		checkEndings(t, ended, registry.NeverThere.String())
	})
}

// A row that waits longer than it may is given to who asks for its place, before
// any check.
func TestWaitingIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sockets table
		g := openWith(t, registry.Config{Sockets: &sockets, Grace: time.Second})
		ended := endings(g)
		id := claim(t, g, registry.Claim{Owner: alice}, hers)[0].ID
		elsewhere := row(bob, 7, 1, rpcbind.TCP, 3000)
		if _, err := g.Add(registry.Claim{Owner: bob}, elsewhere); !errors.Is(err, registry.ErrConflict) {
			t.Errorf("Add in place of a row that waits = %v, want %v", err, registry.ErrConflict)
		}
		time.Sleep(time.Second + 1)
		if r := claim(t, g, registry.Claim{Owner: bob}, elsewhere)[0]; r.Owner != bob || r.ID == id {
			t.Errorf("Add = %+v, want a new row of bob's", r)
		}
		checkEndings(t, ended, registry.NeverThere.String())
	})
}

func TestHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sockets table
		sockets.open(alice, hers.Endpoint)
		g := running(t, registry.Config{Sockets: &sockets, Own: []endpoint.Registration{row(root, rpcbind.Program, 4, rpcbind.TCP, rpcbind.Port)}})
		claim(t, g, registry.Claim{Owner: alice}, hers)
		time.Sleep(time.Second)

		before := sockets.timesListed()
		for _, port := range []uint16{1, 1999, 2001, 65535, rpcbind.Port} {
			g.Hint(port)
		}
		time.Sleep(time.Millisecond)
		if n := sockets.timesListed() - before; n != 0 {
			t.Errorf("%d looks after hints about ports at which no other's row is, want 0", n)
		}
		sockets.close(hers.Endpoint)
		g.Hint(2000)
		time.Sleep(time.Millisecond)
		evidence(t, g, hers, "nothing")

		sockets.open(alice, hers.Endpoint)
		claim(t, g, registry.Claim{Owner: alice}, hers)
		time.Sleep(time.Second)
		before = sockets.timesListed()
		for range 1000 {
			g.Hint(0)
			time.Sleep(time.Millisecond)
		}
		if n := sockets.timesListed() - before; n < 9 || n > 11 {
			t.Errorf("%d looks in a second full of hints, want one each 100 ms", n)
		}
		g.RemoveID(alice, evidence(t, g, hers, "listening").ID)
		time.Sleep(1100 * time.Millisecond)
		before = sockets.timesListed()
		g.Hint(2000)
		time.Sleep(time.Millisecond)
		if n := sockets.timesListed() - before; n != 0 {
			t.Errorf("%d looks after a hint about a row that is no more, want 0", n)
		}
	})
}

func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sockets table
		sockets.open(alice, hers.Endpoint)
		g := openWith(t, registry.Config{Sockets: &sockets})
		claim(t, g, registry.Claim{Owner: alice}, hers)
		for _, after := range []time.Duration{0, 500 * time.Millisecond, 1050 * time.Millisecond} { // waiting for a tick, and pausing after it
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- g.Run(ctx) }()
			time.Sleep(after)
			synctest.Wait()
			cancel()
			synctest.Wait()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("Run = %v, want nil", err)
				}
			default:
				t.Errorf("Run goes on, %v after it began", after)
			}
		}
	})
}

// A table that is read while sockets come and go may lack one that was there all the time.
func TestMissingOnce(t *testing.T) {
	var sockets table
	sockets.open(alice, hers.Endpoint)
	g := openWith(t, registry.Config{Sockets: &sockets})
	ended := endings(g)
	claim(t, g, registry.Claim{Owner: alice}, hers)
	sockets.missing = 1
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	evidence(t, g, hers, "listening")
	sockets.missing = 3 // for the look whether anything has changed, too
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	evidence(t, g, hers, "nothing")
	checkEndings(t, ended, registry.Gone.String())
}

// Where nothing changes, a check looks at the table once and at no row.
func TestUnchanged(t *testing.T) {
	var sockets table
	sockets.open(alice, hers.Endpoint)
	g := openWith(t, registry.Config{Sockets: &sockets})
	check := func(what string, shots int) {
		t.Helper()
		sockets.listed = 0
		if err := g.Check(); err != nil || sockets.listed != shots {
			t.Errorf("%s: Check = %v after %d snapshots, want %d", what, err, sockets.listed, shots)
		}
	}
	claim(t, g, registry.Claim{Owner: alice}, hers)
	check("the first time", 1)
	check("nothing has changed", 1)
	other := row(bob, 9, 1, rpcbind.UDP, 2000)
	claim(t, g, registry.Claim{Owner: bob}, other)
	check("a row that waits", 1)
	check("it still does", 1)
	sockets.open(bob, other.Endpoint)
	check("it waits no more", 1)
	evidence(t, g, other, "listening")
	check("all listen", 1)
	check("nothing has changed again", 1)
	sockets.open(bob, row(bob, 9, 1, rpcbind.UDP, 2001).Endpoint)
	check("another socket", 2)
	sockets.close(hers.Endpoint)
	check("hers is gone", 3)
	evidence(t, g, hers, "nothing")
}

// A socket that closes between the two looks at a table is missed by the next check:
// it must not be taken for a host on which nothing changes.
func TestChangedBetweenLooks(t *testing.T) {
	var sockets table
	other := row(bob, 9, 1, rpcbind.UDP, 2001)
	sockets.open(alice, hers.Endpoint)
	sockets.open(bob, other.Endpoint)
	g := openWith(t, registry.Config{Sockets: &sockets})
	claim(t, g, registry.Claim{Owner: alice}, hers)
	claim(t, g, registry.Claim{Owner: bob}, other)
	sockets.close(hers.Endpoint) // and it is back for the second look
	sockets.during = func() {
		sockets.open(alice, hers.Endpoint)
		sockets.close(other.Endpoint)
	}
	for range 2 {
		if err := g.Check(); err != nil {
			t.Fatal(err)
		}
	}
	evidence(t, g, hers, "listening")
	evidence(t, g, other, "nothing")
}

// What a check saw counts for nothing if the row changed before it could act.
func TestChangedMeanwhile(t *testing.T) {
	for _, tt := range []struct {
		name   string
		during func(*testing.T, *registry.Registry, *table)
		want   string
		ended  string
	}{
		{
			"its socket is back, and it was registered again",
			func(t *testing.T, g *registry.Registry, s *table) {
				s.missing = 0
				s.open(alice, hers.Endpoint)
				claim(t, g, registry.Claim{Owner: alice}, hers)
			},
			"listening", "",
		},
		{
			"it has a lease now",
			func(t *testing.T, g *registry.Registry, s *table) {
				s.open(alice, hers.Endpoint)
				claim(t, g, registry.Claim{Owner: alice, Evidence: endpoint.Lease, TTL: time.Hour}, hers)
			},
			"lease", "",
		},
		{
			"it was removed",
			func(t *testing.T, g *registry.Registry, s *table) { g.Remove(alice, hers.Interface, hers.NetID) },
			"nothing", "removed, by uid 1000",
		},
		{
			"it was removed and registered again",
			func(t *testing.T, g *registry.Registry, s *table) {
				g.Remove(alice, hers.Interface, hers.NetID)
				claim(t, g, registry.Claim{Owner: alice}, hers)
			},
			"waiting", "removed, by uid 1000",
		},
		{
			"nothing happened",
			func(*testing.T, *registry.Registry, *table) {},
			"nothing", registry.Gone.String(),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var sockets table
			sockets.open(alice, hers.Endpoint)
			g := openWith(t, registry.Config{Sockets: &sockets})
			ended := endings(g)
			claim(t, g, registry.Claim{Owner: alice}, hers)
			sockets.close(hers.Endpoint)
			// The second snapshot is the one that decides.
			sockets.during = func() { sockets.during = func() { tt.during(t, g, &sockets) } }
			if err := g.Check(); err != nil {
				t.Fatal(err)
			}
			evidence(t, g, hers, tt.want)
			checkEndings(t, ended, tt.ended)
		})
	}
}

// Nor does that a socket was seen, if the row stands on something else by then.
func TestSeenTooLate(t *testing.T) {
	var sockets table
	g := openWith(t, registry.Config{Sockets: &sockets})
	claim(t, g, registry.Claim{Owner: alice}, hers)
	sockets.open(alice, hers.Endpoint)
	sockets.during = func() {
		claim(t, g, registry.Claim{Owner: alice, Evidence: endpoint.Lease, TTL: time.Hour}, hers)
	}
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	evidence(t, g, hers, "lease")
}

// logged is what was logged.
type logged struct {
	mu   sync.Mutex // guards what follows
	text strings.Builder
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// count returns how often a text was logged.
func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func TestTableError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sockets table
		var log logged
		sockets.open(alice, hers.Endpoint)
		g := running(t, registry.Config{Sockets: &sockets, Log: log.logger()})
		ended := endings(g)
		old := claim(t, g, registry.Claim{Owner: alice}, hers)[0]
		lent := row(alice, 9, 1, rpcbind.TCP, 2000)
		claim(t, g, registry.Claim{Owner: alice, Evidence: endpoint.Lease, TTL: time.Second}, lent)
		sockets.fail(errors.New("no memory"))
		sockets.close(hers.Endpoint)
		sockets.open(bob, hers.Endpoint)
		waits := row(bob, 8, 1, rpcbind.TCP, 3000)
		claim(t, g, registry.Claim{Owner: bob}, waits)
		if again := claim(t, g, registry.Claim{Owner: alice}, hers)[0]; again != old {
			t.Errorf("registered again: %+v, want %+v", again, old)
		}
		if _, err := g.Add(registry.Claim{Owner: bob}, row(bob, 7, 1, rpcbind.TCP, 3000)); !errors.Is(err, registry.ErrConflict) {
			t.Errorf("Add in place of a row that cannot be looked at = %v, want %v", err, registry.ErrConflict)
		}
		time.Sleep(time.Minute)
		evidence(t, g, hers, "listening")
		evidence(t, g, waits, "waiting")
		checkEndings(t, ended, registry.LeaseOver.String()) // which needs no table
		if n := log.count("no memory"); n != 1 {
			t.Errorf("the table's error was logged %d times, want once:\n%s", n, &log.text)
		}
		sockets.fail(nil)
		time.Sleep(2 * time.Second)
		checkEndings(t, ended, registry.TakenOver.String()+"; "+registry.NeverThere.String())
		sockets.fail(errors.New("no memory"))
		claim(t, g, registry.Claim{Owner: bob}, waits)
		time.Sleep(2 * time.Second)
		if n := log.count("no memory"); n != 2 {
			t.Errorf("the table's error came back and was logged %d times, want twice", n)
		}
	})
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := running(t, registry.Config{})
		ended := endings(g)
		c := registry.Claim{Owner: alice, Evidence: endpoint.Lease, TTL: 30 * time.Second}
		claim(t, g, c, hers)
		for range 3 {
			time.Sleep(29 * time.Second)
			claim(t, g, c, hers)
		}
		time.Sleep(29 * time.Second)
		evidence(t, g, hers, "lease")
		time.Sleep(3 * time.Second)
		evidence(t, g, hers, "nothing")
		checkEndings(t, ended, registry.LeaseOver.String())
	})
}

// Sockets at addresses of other hosts cannot be looked for.
func TestOurs(t *testing.T) {
	var sockets table
	here, there := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	g := openWith(t, registry.Config{Sockets: &sockets, Ours: func(a netip.Addr) bool { return a == here }})
	local := endpoint.Registration{Interface: endpoint.Program(9, 1), Endpoint: endpoint.Endpoint{NetID: rpcbind.Local, Path: "/run/x.sock"}}
	at := func(program uint32, a netip.Addr) endpoint.Registration {
		r := row(alice, program, 1, rpcbind.UDP, 2000)
		r.Addr = netip.AddrPortFrom(a, 2000)
		return r
	}
	claim(t, g, registry.Claim{Owner: alice}, at(7, here), at(8, there), local, hers)
	evidence(t, g, at(7, here), "waiting")
	evidence(t, g, at(8, there), "lease")
	evidence(t, g, local, "waiting")
	evidence(t, g, hers, "waiting")
}

// Whoever is not to be looked at is believed, and what was asked for all the same ends.
func TestUnchecked(t *testing.T) {
	for name, c := range map[string]registry.Config{
		"told not to look": {Sockets: &table{}, Unchecked: true},
		"no table":         {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := running(t, c)
				claim(t, g, registry.Claim{Owner: alice}, hers)
				claim(t, g, registry.Claim{Owner: alice, Elsewhere: true}, row(alice, 8, 1, rpcbind.TCP, 2000))
				lent := row(alice, 9, 1, rpcbind.TCP, 2000)
				claim(t, g, registry.Claim{Owner: alice, Evidence: endpoint.Lease, TTL: time.Minute}, lent)
				if _, err := add(g, row(bob, 7, 1, rpcbind.TCP, 3000)); !errors.Is(err, registry.ErrConflict) {
					t.Errorf("Add = %v, want %v", err, registry.ErrConflict)
				}
				time.Sleep(2 * time.Hour)
				evidence(t, g, hers, "unchecked")
				evidence(t, g, row(alice, 8, 1, rpcbind.TCP, 2000), "unchecked")
				evidence(t, g, lent, "nothing")
			})
		})
	}
}
