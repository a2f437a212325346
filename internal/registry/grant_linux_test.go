package registry_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/internal/process"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/portset"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

const both = portpool.TCP | portpool.UDP

// poolOf returns pools of which ordinary servers get those ports, and others 61000-61009.
func poolOf(t interface{ Fatal(...any) }, ports string) registry.Pools {
	var list, rest []portset.Range
	parse := func(text string) (all []portset.Range) {
		s, err := portset.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Collect(s.Ranges())
	}
	list, rest = parse(ports), parse("32768-60999,61010-65535")
	return registry.Pools{
		Source: "policy.reg",
		Policy: &portpool.Policy{Ports: list, PortsInternetAvailable: true, UseInternetPorts: true},
		Host:   &portpool.Host{Local: portset.Of(rest...)},
	}
}

// grant asks for ports with the child's process, for an ONC program.
func (c child) grant(g *registry.Registry, o endpoint.Owner, on portpool.Transport) (*endpoint.Grant, error) {
	claim := c.claim()
	claim.Owner = o
	return g.Grant(claim, registry.Wanted{Dialect: endpoint.ONC, On: on, Command: "rpc.mountd"})
}

func (c child) mustGrant(t *testing.T, g *registry.Registry, o endpoint.Owner, on portpool.Transport) *endpoint.Grant {
	t.Helper()
	r, err := c.grant(g, o, on)
	if err != nil {
		t.Fatalf("Grant = %v", err)
	}
	return r
}

// grants returns what was given, as "tcp 5000 udp 5000 by uid 1", with "run gone".
func grants(t *testing.T, g *registry.Registry) string {
	t.Helper()
	given, err := g.Given()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, r := range given.Grants {
		text := fmt.Sprintf("%d/%d", r.TCP, r.UDP)
		if r.RunGone {
			text += " run gone"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func expectGrants(t *testing.T, g *registry.Registry, want string) {
	t.Helper()
	if got := grants(t, g); got != want {
		t.Errorf("given: %s, want %s", got, want)
	}
}

func TestGrant(t *testing.T) {
	c := start(t)
	g := openWith(t, registry.Config{Sockets: &table{}, Pools: poolOf(t, "5000-5009")})
	for _, tt := range []struct {
		w    registry.Wanted
		pool endpoint.Pool
		want string
	}{
		{registry.Wanted{On: both}, endpoint.InternetPool, "5000/5000"},
		{registry.Wanted{On: portpool.TCP}, endpoint.InternetPool, "5001/0"},
		{registry.Wanted{On: portpool.UDP}, endpoint.InternetPool, "0/5002"},
		{registry.Wanted{On: both, Apart: true}, endpoint.InternetPool, "5003/5004"},
		{registry.Wanted{On: both, For: portpool.Internet}, endpoint.InternetPool, "5005/5005"},
		{registry.Wanted{On: both, For: portpool.Intranet}, endpoint.IntranetPool, "61000/61000"},
	} {
		tt.w.Dialect, tt.w.Command = endpoint.ONC, "sleep"
		r, err := g.Grant(c.claim(), tt.w)
		if err != nil {
			t.Fatalf("Grant(%+v) = %v", tt.w, err)
		}
		if got := fmt.Sprintf("%d/%d", r.TCP, r.UDP); got != tt.want || r.Pool != tt.pool || r.PID != c.pid || r.Owner != alice || r.Command != "sleep" || r.ID == 0 || r.Since.IsZero() {
			t.Errorf("Grant(%+v) = %+v, want ports %s of the %s pool", tt.w, r, tt.want, tt.pool)
		}
	}
	expectGrants(t, g, "5000/5000, 5001/0, 0/5002, 5003/5004, 5005/5005, 61000/61000")
}

// TestGrantRefused: what cannot be given, nobody has then.
func TestGrantRefused(t *testing.T) {
	c, ended := start(t), start(t)
	ended.end()
	elsewhere := c.elsewhere()
	for _, tt := range []struct {
		name  string
		pools registry.Pools
		claim registry.Claim
		w     registry.Wanted
		want  string
		is    error
	}{
		{"no pools", registry.Pools{}, c.claim(), registry.Wanted{Dialect: endpoint.ONC, On: both},
			"no port to give: the daemon does not know which ports this host gives to outgoing connections", registry.ErrNoPorts},
		{"empty pool", poolOf(t, "80"), c.claim(), registry.Wanted{Dialect: endpoint.ONC, On: both}, "no port to give: the internet pool is empty", registry.ErrNoPorts},
		{"elsewhere", poolOf(t, "5000"), elsewhere, registry.Wanted{Dialect: endpoint.ONC, On: both},
			"not allowed: the caller is in another network namespace, where these ports mean nothing", registry.ErrRight},
		{"no process", poolOf(t, "5000"), registry.Claim{Owner: alice}, registry.Wanted{Dialect: endpoint.ONC, On: both}, "there is no process to live with", nil},
		{"ended process", poolOf(t, "5000"), ended.claim(), registry.Wanted{Dialect: endpoint.ONC, On: both}, fmt.Sprintf("process %d cannot be watched: process %d: no such process", ended.pid, ended.pid), nil},
		{"no transport", poolOf(t, "5000"), c.claim(), registry.Wanted{Dialect: endpoint.ONC}, "no port", nil},
		{"long command", poolOf(t, "5000"), c.claim(), registry.Wanted{Dialect: endpoint.ONC, On: both, Command: strings.Repeat("x", 64)}, "command of 64 bytes; at most 63 are possible", nil},
		{"unprintable command", poolOf(t, "5000"), c.claim(), registry.Wanted{Dialect: endpoint.ONC, On: both, Command: "\x1b[2J"}, `command "\x1b[2J" is not printable`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := openWith(t, registry.Config{Sockets: &table{}, Pools: tt.pools})
			before := descriptors(t)
			r, err := g.Grant(tt.claim, tt.w)
			if err == nil || err.Error() != tt.want || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("Grant = %v, %v, want the error %q", r, err, tt.want)
			}
			expectGrants(t, g, "")
			leaks(t, g, before)
		})
	}
}

// TestUsedPorts: what somebody uses is not given: a socket is there, something is
// registered there, or the kernel lets nobody listen.
func TestUsedPorts(t *testing.T) {
	c := start(t)
	var sockets table
	asked := 0
	g := openWith(t, registry.Config{Sockets: &sockets, Pools: poolOf(t, "5000-5006"), Free: func(udp bool, port uint16) bool {
		asked++
		return port != 5004 || !udp
	}})
	sockets.open(bob, row(bob, 1, 1, rpcbind.TCP, 5000).Endpoint)
	sockets.open(bob, row(bob, 1, 1, rpcbind.UDP, 5001).Endpoint)
	mustAdd(t, g, row(bob, 1, 1, rpcbind.TCP, 5002))
	if r := c.mustGrant(t, g, alice, both); r.TCP != 5003 {
		t.Errorf("given: %d, want 5003: before it sockets are, or something is registered", r.TCP)
	}
	if r := c.mustGrant(t, g, alice, both); r.TCP != 5005 {
		t.Errorf("given: %d, want 5005: at 5004 nobody can listen", r.TCP)
	}
	if asked != 6 { // of two transports of three ports
		t.Errorf("the kernel was asked %d times whether somebody can listen, want 6", asked)
	}
	if r := c.mustGrant(t, g, alice, portpool.TCP); r.TCP != 5006 {
		t.Errorf("given: tcp %d, want 5006", r.TCP)
	}
	if r := c.mustGrant(t, g, alice, portpool.TCP); r.TCP != 5001 {
		t.Errorf("given: tcp %d, want 5001, which is used on UDP only", r.TCP)
	}
	given, err := g.Given()
	want := []registry.BusyPort{{Port: 5000, Listening: true, UID: bob.UID}, {UDP: true, Port: 5001, Listening: true, UID: bob.UID}, {Port: 5002, UID: endpoint.NoUID}}
	if err != nil || !slices.Equal(given.Busy, want) {
		t.Errorf("busy: %+v, %v, want %+v", given.Busy, err, want)
	}
	if n := given.Free(); n != 1 { // 5004
		t.Errorf("%d ports are free, want 1", n)
	}
}

// TestOneDialect: a port is never given to both dialects, on whatever transport.
func TestOneDialect(t *testing.T) {
	c := start(t)
	g := openWith(t, registry.Config{Sockets: &table{}, Pools: poolOf(t, "5000")})
	give := func(d endpoint.Dialect, on portpool.Transport) error {
		_, err := g.Grant(c.claim(), registry.Wanted{Dialect: d, On: on})
		return err
	}
	if err := give(endpoint.ONC, portpool.TCP); err != nil {
		t.Fatal(err)
	}
	if err := give(endpoint.DCE, portpool.UDP); !errors.Is(err, registry.ErrNoPorts) {
		t.Errorf("the port of an ONC program is given to DCE: %v", err)
	}
	if err := give(endpoint.ONC, portpool.UDP); err != nil {
		t.Errorf("the other transport to the same dialect: %v", err)
	}
	given, _ := g.Given()
	for i, r := range given.Grants {
		if err := g.Release(alice, r.ID); err != nil {
			t.Fatal(err)
		}
		if err := give(endpoint.DCE, both); (err == nil) != (i == 1) {
			t.Errorf("with %d of 2 grants given back, for DCE: %v", i+1, err)
		}
	}
}

func TestExhausted(t *testing.T) {
	c := start(t)
	var sockets table
	g := openWith(t, registry.Config{Sockets: &sockets, Pools: poolOf(t, "5000-5019"), MaxUserGrants: 16})
	stands := mustAdd(t, g, row(bob, 1, 1, rpcbind.TCP, 5000))
	sockets.open(bob, row(bob, 1, 1, rpcbind.UDP, 5001).Endpoint)
	w := g.Watch(nil)
	defer w.Close()
	w.Fetch()
	for i := range 16 {
		c.mustGrant(t, g, alice, both)
		if i == 0 {
			c.mustGrant(t, g, bob, both)
		}
	}
	refused := func(o endpoint.Owner, want string, is error) {
		t.Helper()
		if _, err := c.grant(g, o, both); err == nil || err.Error() != want || !errors.Is(err, is) {
			t.Errorf("Grant = %v, want %q", err, want)
		}
	}
	refused(alice, "the registry is full: uid 1000 has 16 grants and may have 16", registry.ErrFull)
	c.mustGrant(t, g, bob, portpool.UDP) // 18 of 20, and two for root
	refused(bob, "no port to give: of the 20 ports of the pool, 5000-5019 on tcp and udp, none is left (uid 1000 has 16, uid 1001 has 2, 2 kept for root)", registry.ErrNoPorts)
	refused(root, "no port to give: of the 20 ports of the pool, 5000-5019 on tcp and udp, none is left (uid 1000 has 16, uid 1001 has 2, 2 in use without having been given)", registry.ErrNoPorts)
	c.mustGrant(t, g, root, portpool.TCP)
	refused(root, "no port to give: of the 20 ports of the pool, 5000-5019 on tcp and udp, none is left (uid 1000 has 16, uid 1001 has 2, uid 0 has 1, 1 in use without having been given)", registry.ErrNoPorts)

	var exhausted []*endpoint.Grant
	for _, e := range w.Fetch() {
		if e.Kind == registry.Exhausted {
			exhausted = append(exhausted, e.Grant)
			if e.By == nil || *e.By != e.Grant.Owner || !errors.Is(e.Err, registry.ErrNoPorts) {
				t.Errorf("event %+v, want by %v for want of ports", e, e.Grant.Owner)
			}
		}
	}
	if n := g.Counts().Exhausted; len(exhausted) != 3 || n != 3 {
		t.Errorf("%d events, %d counted, want 3", len(exhausted), n)
	}
	if !g.Has(stands[0].Place()) {
		t.Error("what was registered is lost")
	}
}

// TestProcessEnds: with its process a grant ends, unless something of the owner's listens
// there; what is registered there then stands on that alone, and goes with it.
func TestProcessEnds(t *testing.T) {
	c := start(t)
	before := descriptors(t) - c.fds
	var sockets table
	g := openWith(t, registry.Config{Sockets: &sockets, Pools: poolOf(t, "5000-5009")})
	for range 5 {
		c.mustGrant(t, g, alice, both)
	}
	listens, theirs, udp := row(alice, 1, 1, rpcbind.TCP, 5001), row(bob, 2, 1, rpcbind.TCP, 5002), row(alice, 3, 1, rpcbind.UDP6, 5003)
	for _, r := range []endpoint.Registration{listens, theirs, udp} {
		sockets.open(r.Owner, r.Endpoint)
	}
	mustAdd(t, g, listens)
	check(t, g)
	expectGrants(t, g, "5000/5000, 5001/5001, 5002/5002, 5003/5003, 5004/5004")

	w := g.Watch(nil)
	defer w.Close()
	w.Fetch()
	c.end()
	check(t, g)
	expectGrants(t, g, "5001/5001 run gone, 5003/5003 run gone")
	evidence(t, g, listens, "listening, run gone")
	kinds := map[registry.Kind]int{}
	for _, e := range w.Fetch() {
		kinds[e.Kind]++
	}
	if kinds[registry.Returned] != 3 || kinds[registry.Renewed] != 1 || len(kinds) != 2 {
		t.Errorf("events %v, want 3 returned and 1 renewed", kinds)
	}
	check(t, g)
	evidence(t, g, listens, "listening, run gone")
	mustAdd(t, g, listens) // again
	evidence(t, g, listens, "listening, run gone")

	sockets.close(listens.Endpoint)
	check(t, g)
	expectGrants(t, g, "5003/5003 run gone")
	evidence(t, g, listens, "nothing")
	sockets.close(udp.Endpoint)
	check(t, g)
	expectGrants(t, g, "")
	if n := g.Counts(); n.Granted != 5 || n.Returned != 5 {
		t.Errorf("counted %d granted, %d returned, want 5 of each", n.Granted, n.Returned)
	}
	leaks(t, g, before)
}

// TestRunGoneOfRoot: what root starts may run as another user.
func TestRunGoneOfRoot(t *testing.T) {
	c := start(t)
	var sockets table
	g := openWith(t, registry.Config{Sockets: &sockets, Pools: poolOf(t, "5000-5009")})
	c.mustGrant(t, g, root, both)
	status := row(bob, 100024, 1, rpcbind.TCP, 5000)
	sockets.open(bob, status.Endpoint)
	c.end()
	check(t, g)
	expectGrants(t, g, "5000/5000 run gone")
}

// TestPortStays: a port stays with its process until that ends or gives it back, whatever
// becomes of what is registered there.
func TestPortStays(t *testing.T) {
	c := start(t)
	var sockets table
	g := openWith(t, registry.Config{Sockets: &sockets, Pools: poolOf(t, "5000-5001")})
	given := c.mustGrant(t, g, alice, both)
	r := row(alice, 1, 1, rpcbind.TCP, given.TCP)
	sockets.open(alice, r.Endpoint)
	mustAdd(t, g, r)
	if n, err := g.Remove(alice, r.Interface, rpcbind.TCP); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	sockets.close(r.Endpoint)
	check(t, g)
	expectGrants(t, g, "5000/5000")
	if next := c.mustGrant(t, g, alice, both); next.TCP != 5001 {
		t.Errorf("given: %d, want 5001", next.TCP)
	}
	for _, tt := range []struct {
		by   endpoint.Owner
		id   endpoint.ID
		want error
	}{{bob, given.ID, registry.ErrNotOwner}, {alice, given.ID + 1, registry.ErrNoGrant}, {alice, given.ID, nil}, {alice, given.ID, registry.ErrNoGrant}} {
		if err := g.Release(tt.by, tt.id); !errors.Is(err, tt.want) {
			t.Errorf("Release of %s by %v = %v, want %v", tt.id, tt.by, err, tt.want)
		}
	}
	expectGrants(t, g, "5001/5001")
	if again := c.mustGrant(t, g, alice, both); again.TCP != 5000 {
		t.Errorf("given: %d, want 5000, which was given back", again.TCP)
	}
}

// TestAddWithGrant: only at a port of the grant is registered, where a socket of the owner's is.
func TestAddWithGrant(t *testing.T) {
	c := start(t)
	var sockets table
	g := openWith(t, registry.Config{Sockets: &sockets, Pools: poolOf(t, "5000-5009")})
	hers, roots := c.mustGrant(t, g, alice, both), c.mustGrant(t, g, root, both)
	next := c.mustGrant(t, g, alice, portpool.TCP)
	sockets.open(alice, row(alice, 1, 1, rpcbind.TCP, 5000).Endpoint)
	sockets.open(bob, row(bob, 1, 1, rpcbind.UDP, 5000).Endpoint)
	sockets.open(bob, row(bob, 1, 1, rpcbind.TCP, 5001).Endpoint)
	sockets.open(alice, row(alice, 1, 1, rpcbind.TCP, 5002).Endpoint)
	for _, tt := range []struct {
		name  string
		by    endpoint.Owner
		grant endpoint.ID
		r     endpoint.Registration
		want  string
	}{
		{"hers", alice, hers.ID, row(alice, 1, 1, rpcbind.TCP, 5000), ""},
		{"another's socket", alice, hers.ID, row(alice, 1, 1, rpcbind.UDP, 5000), "not allowed: no socket of uid 1000 listens there"},
		{"no socket", root, roots.ID, row(root, 1, 1, rpcbind.UDP, 5001), "not allowed: no socket of uid 0 listens there"},
		{"root's, another user's socket", root, roots.ID, row(root, 2, 1, rpcbind.TCP, 5001), ""},
		{"another's grant", bob, hers.ID, row(bob, 3, 1, rpcbind.UDP, 5000), fmt.Sprintf("grant %s: only its owner or root may change it (owner: uid 1000)", hers.ID)},
		{"root with hers", root, hers.ID, row(root, 3, 1, rpcbind.TCP, 5000), ""},
		{"a port of another grant of hers", alice, hers.ID, row(alice, 4, 1, rpcbind.TCP, 5002), fmt.Sprintf("not allowed: it is not at a port of grant %s", hers.ID)},
		{"a transport that was not given", alice, next.ID, row(alice, 4, 1, rpcbind.UDP, 5002), fmt.Sprintf("not allowed: it is not at a port of grant %s", next.ID)},
		{"a pipe", alice, hers.ID, dce(alice, x1, `np \pipe\x`), fmt.Sprintf("not allowed: it is not at a port of grant %s", hers.ID)},
		{"the other dialect", alice, hers.ID, dce(alice, x1, "tcp 0.0.0.0:5000"), fmt.Sprintf("not allowed: it is not at a port of grant %s", hers.ID)},
		{"no such grant", alice, 1, row(alice, 4, 1, rpcbind.TCP, 5000), "grant 000000000001: not given"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := g.Add(registry.Claim{Owner: tt.by, Grant: tt.grant}, tt.r)
			text := ""
			var refused *registry.RowError
			if errors.As(err, &refused) {
				text = refused.Reason.Error()
			}
			if text != tt.want || (err == nil) != (tt.want == "") {
				t.Errorf("Add = %v, want %q", err, tt.want)
			}
			if err == nil {
				evidence(t, g, tt.r, "listening")
			}
		})
	}
}

// TestGivenPortIsTheirs: at a port that was given to one user, another registers only where
// they listen: a child that changed its user does.
func TestGivenPortIsTheirs(t *testing.T) {
	c := start(t)
	var sockets table
	g := openWith(t, registry.Config{Sockets: &sockets, Pools: poolOf(t, "5000-5009")})
	c.mustGrant(t, g, alice, portpool.TCP)
	r := row(bob, 1, 1, rpcbind.TCP, 5000)
	if _, err := g.Add(registry.Claim{Owner: bob}, r); !errors.Is(err, registry.ErrRight) {
		t.Errorf("Add = %v, want %v", err, registry.ErrRight)
	}
	mustAdd(t, g, row(bob, 1, 1, rpcbind.UDP, 5000), row(alice, 2, 1, rpcbind.TCP, 5000), row(root, 3, 1, rpcbind.TCP, 5000))
	sockets.open(bob, r.Endpoint)
	mustAdd(t, g, r)
}

// TestGrantsSurvive: a restarted daemon knows what was given, and takes back what was given
// to processes that have ended meanwhile.
func TestGrantsSurvive(t *testing.T) {
	c, short := start(t), start(t)
	before := descriptors(t) - short.fds
	var sockets table
	store := registry.NewMemory()
	config := registry.Config{Sockets: &sockets, Store: store, Pools: poolOf(t, "5000-5009")}
	g, err := registry.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	first := c.mustGrant(t, g, alice, both)
	c.mustGrant(t, g, alice, portpool.TCP)
	short.mustGrant(t, g, alice, both)
	short.mustGrant(t, g, alice, portpool.UDP)
	gone := row(alice, 1, 1, rpcbind.TCP, 5002)
	sockets.open(alice, gone.Endpoint)
	mustAdd(t, g, gone)
	for _, err := range []error{g.Release(alice, c.mustGrant(t, g, alice, both).ID), g.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	short.end()

	again, err := registry.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	expectGrants(t, again, "5000/5000, 5001/0, 5002/5002 run gone")
	evidence(t, again, gone, "listening, run gone")
	if given, _ := again.Given(); given.Grants[0].ID != first.ID || *given.Grants[0] != *first {
		t.Errorf("the first is %+v, want %+v", given.Grants[0], first)
	}
	if next := c.mustGrant(t, again, alice, both); next.TCP != 5003 {
		t.Errorf("given: %d, want 5003", next.TCP)
	}
	c.end()
	sockets.close(gone.Endpoint)
	check(t, again)
	expectGrants(t, again, "")
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if kept, err := store.Load(); err != nil || len(kept.Grants)+len(kept.Rows) > 0 {
		t.Errorf("the journal holds %+v, %v, want nothing", kept, err)
	}
	leaks(t, again, before-c.fds)
}

// TestGrantsOfBrokenJournal: what could not be written is, once it can.
func TestGrantsOfBrokenJournal(t *testing.T) {
	c := start(t)
	store := newFailing()
	g := openWith(t, registry.Config{Sockets: &table{}, Store: store, Pools: poolOf(t, "5000-5009")})
	old := c.mustGrant(t, g, alice, both)
	store.fail(errors.New("no space"))
	c.mustGrant(t, g, alice, both)
	if err := g.Release(alice, old.ID); err != nil {
		t.Fatal(err)
	}
	store.fail(nil)
	check(t, g)
	kept, err := store.Load()
	if err != nil || len(kept.Grants) != 1 || kept.Grants[0].TCP != 5001 || kept.Grants[0].Started == 0 {
		t.Errorf("the journal holds %+v, %v, want the second grant", kept, err)
	}
}

func TestSetPools(t *testing.T) {
	c := start(t)
	g := openWith(t, registry.Config{Sockets: &table{}, Pools: poolOf(t, "5000-5001")})
	c.mustGrant(t, g, alice, both)
	g.SetPools(poolOf(t, "5000,6000"))
	c.mustGrant(t, g, alice, both)
	expectGrants(t, g, "5000/5000, 6000/6000")
	none := poolOf(t, "5000")
	none.Policy = nil
	g.SetPools(none)
	if r, err := g.Grant(c.claim(), registry.Wanted{Dialect: endpoint.DCE, For: portpool.Internet, On: both}); err != nil || r.TCP != 61000 || r.Pool != endpoint.DynamicPool {
		t.Errorf("Grant without a policy = %+v, %v, want port 61000 of the dynamic pool", r, err)
	}
}

// TestGrantLaws: whatever is given, given back and ended, no port is given twice on a
// transport or to both dialects, all are of the pool, and what was not taken back is there.
func TestGrantLaws(t *testing.T) {
	children := []child{start(t), start(t), start(t)}
	rapid.Check(t, func(t *rapid.T) {
		var sockets table
		pools := poolOf(t, "5000-5029")
		store := registry.NewMemory()
		config := registry.Config{Sockets: &sockets, Pools: pools, Store: store, Seed: rapid.Uint64().Draw(t, "seed"), MaxUserGrants: 12}
		g, err := registry.Open(config)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { g.Close() }()
		model := map[endpoint.ID]endpoint.Grant{}
		has := func(o endpoint.Owner) (n int) {
			for _, r := range model {
				if r.Owner == o {
					n++
				}
			}
			return n
		}
		t.Repeat(map[string]func(*rapid.T){
			"give": func(t *rapid.T) {
				c, o := rapid.SampledFrom(children).Draw(t, "child"), rapid.SampledFrom([]endpoint.Owner{root, alice, bob}).Draw(t, "owner")
				claim := c.claim()
				claim.Owner = o
				w := registry.Wanted{
					Dialect: rapid.SampledFrom([]endpoint.Dialect{endpoint.ONC, endpoint.DCE}).Draw(t, "dialect"),
					On:      rapid.SampledFrom([]portpool.Transport{portpool.TCP, portpool.UDP, both}).Draw(t, "on"), Apart: rapid.Bool().Draw(t, "apart"),
				}
				r, err := g.Grant(claim, w)
				switch {
				case errors.Is(err, registry.ErrFull):
					if o == root || has(o) < config.MaxUserGrants {
						t.Fatalf("%v, but %v has %d", err, o, has(o))
					}
				case errors.Is(err, registry.ErrNoPorts):
				case err != nil:
					t.Fatal(err)
				default:
					model[r.ID] = *r
				}
			},
			"release": func(t *rapid.T) {
				for id, r := range model {
					if err := g.Release(r.Owner, id); err != nil {
						t.Fatal(err)
					}
					delete(model, id)
					break
				}
			},
			"restart": func(t *rapid.T) {
				if err := g.Close(); err != nil {
					t.Fatal(err)
				}
				if g, err = registry.Open(config); err != nil {
					t.Fatal(err)
				}
			},
			"check": func(t *rapid.T) {
				if err := g.Check(); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				given, err := g.Given()
				if err != nil || len(given.Grants) != len(model) {
					t.Fatalf("%d grants, %v, want %d", len(given.Grants), err, len(model))
				}
				tcp, udp, dialects := map[uint16]bool{}, map[uint16]bool{}, map[uint16]endpoint.Dialect{}
				for _, r := range given.Grants {
					if *r != model[r.ID] {
						t.Fatalf("grant %+v, want %+v", r, model[r.ID])
					}
					if r.TCP != 0 && tcp[r.TCP] || r.UDP != 0 && udp[r.UDP] {
						t.Fatalf("given twice: a port of %+v", r)
					}
					tcp[r.TCP], udp[r.UDP] = true, true
					for _, port := range []uint16{r.TCP, r.UDP} {
						if port == 0 {
							continue
						}
						if d := dialects[port]; d != 0 && d != r.Dialect {
							t.Fatalf("port %d is given to both dialects", port)
						}
						dialects[port] = r.Dialect
						if !pools.Ports(portpool.Default).Contains(port) {
							t.Fatalf("port %d is not of the pool", port)
						}
					}
				}
			},
		})
	})
}

// BenchmarkGrant gives a port and takes it back, while others are given.
func BenchmarkGrant(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("given=%d", n), func(b *testing.B) {
			pools := poolOf(b, "1024-65535")
			g := openWith(b, registry.Config{Sockets: &table{}, Pools: pools})
			me := registry.Claim{Owner: root, PID: 1, Process: func() (*process.Process, error) { return process.Open(1) }}
			w := registry.Wanted{Dialect: endpoint.ONC, On: portpool.TCP}
			for i := range n {
				w.On = portpool.TCP + portpool.Transport(i%2)
				if _, err := g.Grant(me, w); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				r, err := g.Grant(me, w)
				if err != nil {
					b.Fatal(err)
				}
				if err := g.Release(root, r.ID); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
