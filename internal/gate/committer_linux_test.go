package gate

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/follow"
	"github.com/quaymaster/quaymaster/internal/nstest"
)

const patience = 20 * time.Second

// nft runs nft(8) with text as its input, and returns what it wrote.
func nft(t testing.TB, text string, args ...string) string {
	t.Helper()
	cmd := exec.Command(nstest.Path(t, "nft"), args...)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

const pinholePolicy = `client_side: [c0]
server_side: [s0]
forward: own
nat: snat 10.3.0.1
follow:
  epm: {clients: [10.1.0.0/16, "fd00:1::/64"], servers: [10.3.0.0/16, "fd00:3::/64"]}
  ftp: {clients: [10.1.0.0/16, "fd00:1::/64"], servers: [10.3.0.0/16, "fd00:3::/64"]}
`

// startPinholes loads a policy's table and runs what opens pinholes in it, until the test ends or stop is called.
func startPinholes(t testing.TB, p *Policy) (h *Pinholes, stop func()) {
	t.Helper()
	nft(t, p.Ruleset(), "-f", "-")
	h, err := NewPinholes(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return h, stop
}

func rpcPinhole(from, to string) Pinhole {
	return Pinhole{By: follow.Client, From: netip.MustParseAddr(from), To: netip.MustParseAddrPort(to), Protocol: tcp, Lifetime: time.Minute, For: "drsuapi"}
}

func ftpPinhole(session uint64, from, to string) Pinhole {
	p := rpcPinhole(from, to)
	p.Once, p.Session, p.For = true, session, "ftp data (passive)"
	return p
}

// openAll opens many, as many at once as can be.
func openAll(t testing.TB, h *Pinholes, many []Pinhole) {
	t.Helper()
	var wait sync.WaitGroup
	for part := range slices.Chunk(many, chunk) {
		wait.Go(func() {
			if err := h.Open(t.Context(), part); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

func elementsOf(t testing.TB, set string) int {
	t.Helper()
	return strings.Count(nft(t, "", "list", "set", "inet", Table, set), "expires")
}

func TestPinholes(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft")
	p := readPolicy(t, pinholePolicy)
	h, stop := startPinholes(t, p)
	ctx := t.Context()

	all := []Pinhole{rpcPinhole("10.1.0.1", "10.3.0.1:49664"), rpcPinhole("fd00:1::1", "[fd00:3::1]:49664"), ftpPinhole(1, "10.1.0.1", "10.3.0.1:5001")}
	if err := h.Open(ctx, all); err != nil {
		t.Fatal(err)
	}
	list, err := h.List()
	if err != nil || len(list) != 3 {
		t.Fatalf("List = %v, %v, want 3 pinholes", list, err)
	}
	for _, one := range list {
		if !slices.Contains(all, one.Pinhole) || one.Used != 0 || time.Until(one.Ends) < 50*time.Second {
			t.Errorf("listed is %+v", one)
		}
	}
	text := nft(t, "", "list", "table", "inet", Table)
	for _, want := range []string{"10.1.0.1 . 10.3.0.1 . tcp . 49664", "fd00:1::1 . fd00:3::1 . tcp . 49664", "10.1.0.1 . 10.3.0.1 . tcp . 5001"} {
		if !strings.Contains(text, want) {
			t.Errorf("the kernel lacks %s:\n%s", want, text)
		}
	}

	t.Run("what is open for long enough is left alone", func(t *testing.T) {
		before := h.Counts()
		if err := h.Open(ctx, all[:2]); err != nil {
			t.Fatal(err)
		}
		if c := h.Counts(); c.Fresh != before.Fresh+2 || c.Commits != before.Commits {
			t.Errorf("counts are %+v after %+v", c, before)
		}
	})
	t.Run("a longer lifetime renews", func(t *testing.T) {
		longer := all[0]
		longer.Lifetime = 10 * time.Minute
		if err := h.Open(ctx, []Pinhole{longer}); err != nil {
			t.Fatal(err)
		}
		if text := nft(t, "", "list", "set", "inet", Table, "multi4"); !strings.Contains(text, "timeout 10m expires") {
			t.Errorf("it was not renewed:\n%s", text)
		}
	})
	t.Run("a session has one", func(t *testing.T) {
		if err := h.Open(ctx, []Pinhole{ftpPinhole(1, "10.1.0.1", "10.3.0.1:5002")}); err != nil {
			t.Fatal(err)
		}
		if text := nft(t, "", "list", "set", "inet", Table, "once4"); strings.Contains(text, "5001") || !strings.Contains(text, "5002") {
			t.Errorf("the set is\n%s", text)
		}
	})
	t.Run("the same again is renewed, since it may be used up", func(t *testing.T) {
		nft(t, "", "delete", "element", "inet", Table, "once4", "{ 10.1.0.1 . 10.3.0.1 . tcp . 5002 }")
		if err := h.Open(ctx, []Pinhole{ftpPinhole(1, "10.1.0.1", "10.3.0.1:5002")}); err != nil {
			t.Fatal(err)
		}
		if n := elementsOf(t, "once4"); n != 1 {
			t.Errorf("the set has %d elements, want 1", n)
		}
	})
	t.Run("another gate takes over", func(t *testing.T) {
		stop()
		if err := h.Open(ctx, []Pinhole{ftpPinhole(1, "10.1.0.1", "10.3.0.1:5003")}); !errors.Is(err, ErrStopped) {
			t.Errorf("after the end Open says %v", err)
		}
		next, _ := startPinholes(t, p) // which loads the table again
		list, err := next.List()
		if err != nil || len(list) != 3 {
			t.Fatalf("List = %v, %v, want 3 pinholes", list, err)
		}
		for _, one := range list {
			if one.By != follow.Client || one.Lifetime < 30*time.Second || one.Protocol != tcp {
				t.Errorf("taken over is %+v", one)
			}
		}
		before := next.Counts()
		if err := next.Open(ctx, all[1:2]); err != nil {
			t.Fatal(err)
		}
		if c := next.Counts(); c.Fresh != before.Fresh+1 {
			t.Errorf("what was taken over is not known: %+v", c)
		}
	})
}

func TestPinholesOfTranslatedClients(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft")
	p := readPolicy(t, pinholePolicy)
	h, stop := startPinholes(t, p)
	active := Pinhole{
		By: follow.Server, From: netip.MustParseAddr("10.3.0.9"), To: netip.MustParseAddrPort("10.1.0.1:5001"), Protocol: tcp, Once: true, Lifetime: time.Minute, Session: 7,
		Outside: netip.MustParseAddrPort("10.3.0.1:6001"),
	}
	if err := h.Open(t.Context(), []Pinhole{active}); err != nil {
		t.Fatal(err)
	}
	const want = "10.3.0.9 . 10.3.0.1 . tcp . 6001"
	if text := nft(t, "", "list", "map", "inet", Table, "dnat4"); !strings.Contains(text, want) || !strings.Contains(text, "10.1.0.1 . 5001") {
		t.Errorf("the map lacks %s:\n%s", want, text)
	}
	other := active
	other.To, other.Session = netip.MustParseAddrPort("10.1.0.2:5001"), 8
	if err := h.Open(t.Context(), []Pinhole{other}); !errors.Is(err, ErrOutside) {
		t.Errorf("a second client at the same address outside: %v", err)
	}
	moved := active
	moved.Outside = netip.MustParseAddrPort("10.3.0.1:6002")
	if err := h.Open(t.Context(), []Pinhole{moved}); err != nil {
		t.Fatal(err)
	}
	if text := nft(t, "", "list", "map", "inet", Table, "dnat4"); strings.Contains(text, want) || !strings.Contains(text, "tcp . 6002") {
		t.Errorf("the map is\n%s", text)
	}
	stop()
	next, _ := startPinholes(t, p)
	list, err := next.List()
	if err != nil || len(list) != 1 || list[0].Outside != moved.Outside || list[0].By != follow.Server {
		t.Fatalf("taken over is %+v, %v", list, err)
	}
	moved.Session = 9
	if err := next.Open(t.Context(), []Pinhole{moved}); err != nil {
		t.Fatal(err)
	}
	if err := next.Close(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	if text := nft(t, "", "list", "table", "inet", Table); strings.Contains(text, "expires") {
		t.Errorf("after Close there is\n%s", text)
	}
}

func TestPinholesRefused(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft")
	p := readPolicy(t, pinholePolicy+"limits: {pinholes: 10, per_client: 3, per_server: 5}\n")
	h, _ := startPinholes(t, p)
	open := func(all ...Pinhole) error { return h.Open(t.Context(), all) }
	for _, one := range []Pinhole{
		rpcPinhole("10.1.0.1", "10.3.0.1:445"),
		rpcPinhole("10.1.0.1", "10.3.0.1:3389"),
		rpcPinhole("10.1.0.1", "10.9.0.1:49664"),
		rpcPinhole("10.9.0.1", "10.3.0.1:49664"),
		rpcPinhole("10.3.0.1", "10.1.0.1:49664"),
	} {
		if err := open(one); !errors.Is(err, ErrPort) {
			t.Errorf("Open(%s) = %v, want %v", &one, err, ErrPort)
		}
	}
	bad := rpcPinhole("10.1.0.1", "10.3.0.1:49664")
	for _, change := range []func(p *Pinhole){
		func(p *Pinhole) { p.From = netip.Addr{} },
		func(p *Pinhole) { p.From = netip.MustParseAddr("::ffff:10.1.0.1") },
		func(p *Pinhole) { p.From = netip.MustParseAddr("fd00:1::1") },
		func(p *Pinhole) { p.To = netip.MustParseAddrPort("10.3.0.1:0") },
		func(p *Pinhole) { p.Protocol = 1 },
		func(p *Pinhole) { p.Lifetime = 0 },
		func(p *Pinhole) { p.Lifetime = 2 * time.Hour },
		func(p *Pinhole) { p.Outside = netip.MustParseAddrPort("[fd00::1]:1") },
		func(p *Pinhole) { *p = rpcPinhole("fd00:1::1%c0", "[fd00:3::1]:49664") },
		func(p *Pinhole) { *p = rpcPinhole("fd00:1::1", "[fd00:3::1%s0]:49664") },
		func(p *Pinhole) { // whose address is not translated
			*p = rpcPinhole("fd00:1::1", "[fd00:3::1]:49664")
			p.Outside = netip.MustParseAddrPort("[fd00:3::9]:1")
		},
	} {
		one := bad
		change(&one)
		if err := open(one); err == nil {
			t.Errorf("Open(%+v) is done", one)
		}
	}
	if n := h.Counts().Open; n != 0 {
		t.Fatalf("%d are open", n)
	}
	for i := range 3 {
		if err := open(rpcPinhole("10.1.0.1", fmt.Sprintf("10.3.0.1:%d", 49664+i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(rpcPinhole("10.1.0.1", "10.3.0.2:50000")); !errors.Is(err, ErrPerClient) {
		t.Errorf("the client's fourth: %v", err)
	}
	if err := open(rpcPinhole("10.1.0.1", "10.3.0.1:49664")); err != nil {
		t.Errorf("one that is open: %v", err)
	}
	// All or none.
	if err := open(rpcPinhole("10.1.0.2", "10.3.0.1:50001"), rpcPinhole("10.1.0.2", "10.3.0.1:50002"), rpcPinhole("10.1.0.2", "10.3.0.1:50003")); !errors.Is(err, ErrPerServer) {
		t.Errorf("the server's sixth: %v", err)
	}
	if n := h.Counts().Open; n != 3 || elementsOf(t, "multi4") != 3 {
		t.Errorf("%d are open, and %d in the kernel, want 3", n, elementsOf(t, "multi4"))
	}
	for i := range 7 {
		if err := open(rpcPinhole(fmt.Sprintf("10.1.0.%d", 10+i), fmt.Sprintf("10.3.0.%d:50000", 10+i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(rpcPinhole("10.1.0.99", "10.3.0.99:50000")); !errors.Is(err, ErrPinholes) {
		t.Errorf("the eleventh: %v", err)
	}
	want := map[string]uint64{"port": 5, "per_client": 1, "per_server": 1, "pinholes": 1, "outside": 0, "other": 11}
	if c := h.Counts(); fmt.Sprint(c.Refused) != fmt.Sprint(want) {
		t.Errorf("refused are %v, want %v", c.Refused, want)
	}
}

func TestPinholesEnd(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft")
	h, _ := startPinholes(t, readPolicy(t, pinholePolicy+"limits: {pinholes: 1, per_client: 1, per_server: 1}\n"))
	short := rpcPinhole("10.1.0.1", "10.3.0.1:49664")
	short.Lifetime = time.Second
	if err := h.Open(t.Context(), []Pinhole{short}); err != nil {
		t.Fatal(err)
	}
	other := []Pinhole{rpcPinhole("10.1.0.2", "10.3.0.2:49664")}
	if err := h.Open(t.Context(), other); !errors.Is(err, ErrPinholes) {
		t.Errorf("a second: %v", err)
	}
	nstest.WaitFor(t, "its end in the kernel", patience, func() bool { return elementsOf(t, "multi4") == 0 })
	again := []Pinhole{rpcPinhole("10.1.0.1", "10.3.0.1:49665")}
	nstest.WaitFor(t, "room for another of the same client and server", patience, func() bool { return h.Open(t.Context(), again) == nil })
}

// Whose a pinhole is that either side may open is what it was counted as, until it ends.
func TestPinholesOfEither(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft")
	h, _ := startPinholes(t, readPolicy(t, strings.NewReplacer("10.1.0.0/16", "10.0.0.0/8", "10.3.0.0/16", "10.0.0.0/8").Replace(pinholePolicy)))
	one := ftpPinhole(1, "10.1.0.1", "10.3.0.1:50000")
	back := one
	back.By, back.Session = follow.Server, 2
	for _, p := range []Pinhole{one, back} {
		if err := h.Open(t.Context(), []Pinhole{p}); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Close(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if b := h.books; len(b.held)+len(b.perClient)+len(b.perServer) != 0 {
		t.Errorf("after the end there are %v, counted for clients %v, for servers %v", b.held, b.perClient, b.perServer)
	}
}

// What packets used up makes room where the limits are reached.
func TestPinholesUsed(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft")
	h, _ := startPinholes(t, readPolicy(t, pinholePolicy+"limits: {per_client: 2}\n"))
	open := func(session uint64, to string) error {
		return h.Open(t.Context(), []Pinhole{ftpPinhole(session, "10.1.0.1", to)})
	}
	for session := range uint64(2) {
		if err := open(1+session, fmt.Sprintf("10.3.0.1:%d", 5001+session)); err != nil {
			t.Fatal(err)
		}
	}
	nft(t, "", "delete", "element", "inet", Table, "once4", "{ 10.1.0.1 . 10.3.0.1 . tcp . 5001 }") // as a packet does
	if err := open(3, "10.3.0.1:5003"); err != nil {
		t.Errorf("in the place of one that was used: %v", err)
	}
	if n := elementsOf(t, "once4"); n != 2 {
		t.Errorf("%d are open, want that which was not used and the new one", n)
	}
	if err := open(4, "10.3.0.1:5004"); !errors.Is(err, ErrPerClient) {
		t.Errorf("in the place of none: %v", err)
	}
}

// Requests of many wait for few batches, and none suffers for another's.
func TestPinholesTogether(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft")
	p := readPolicy(t, pinholePolicy)
	h, _ := startPinholes(t, p)
	const clients, each = 50, 20
	var wait sync.WaitGroup
	for c := range clients {
		wait.Go(func() {
			for i := range each {
				if err := h.Open(t.Context(), []Pinhole{rpcPinhole(fmt.Sprintf("10.1.1.%d", c), fmt.Sprintf("10.3.0.1:%d", 50000+i))}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	if n := elementsOf(t, "multi4"); n != clients*each {
		t.Errorf("the kernel has %d, want %d", n, clients*each)
	}
	t.Logf("%d pinholes in %d batches", clients*each, h.Counts().Commits)

	many := make([]Pinhole, 1700) // several batches
	for i := range many {
		many[i] = rpcPinhole(fmt.Sprintf("fd00:1::%x", i/50), fmt.Sprintf("[fd00:3::1]:%d", 50000+i))
	}
	if err := h.Open(t.Context(), many); err == nil {
		t.Errorf("%d at once are opened", len(many))
	}
	openAll(t, h, many)
	if n := elementsOf(t, "multi6"); n != len(many) {
		t.Errorf("the kernel has %d, want %d", n, len(many))
	}

	nft(t, "", "flush", "ruleset")
	if err := h.Open(t.Context(), []Pinhole{ftpPinhole(1, "10.1.0.1", "10.3.0.1:5001")}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("without the table Open says %v", err)
	}
	nft(t, p.Ruleset(), "-f", "-")
	if err := h.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := elementsOf(t, "multi6") + elementsOf(t, "multi4"); n != len(many)+clients*each {
		t.Errorf("restored are %d, want %d", n, len(many)+clients*each)
	}
	if err := h.Open(t.Context(), []Pinhole{ftpPinhole(1, "10.1.0.1", "10.3.0.1:5001")}); err != nil {
		t.Errorf("with the table again: %v", err)
	}
}

// Whoever opens, renews and closes the same pinholes at a time, the kernel has at the end what the books have.
func TestPinholesAgree(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft")
	p := readPolicy(t, pinholePolicy)
	h, _ := startPinholes(t, p)
	var wait sync.WaitGroup
	for g := range 8 {
		wait.Go(func() {
			for i := range 300 {
				session := uint64(1 + (g+i)%5)
				one := ftpPinhole(session, "10.1.0.1", fmt.Sprintf("10.3.0.1:%d", 50000+(g*i)%7))
				one.Once = i%3 != 0
				one.Lifetime = time.Duration(60+i%9) * time.Second
				ctx, cancel := context.WithCancel(t.Context())
				if i%11 == 0 {
					cancel() // and it may be opened nevertheless
				}
				if err := h.Open(ctx, []Pinhole{one}); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				cancel()
				if i%4 == 0 {
					if err := h.Close(t.Context(), session); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wait.Wait()
	if err := h.Open(t.Context(), []Pinhole{rpcPinhole("10.1.0.9", "10.3.0.1:50000")}); err != nil { // behind all that waits
		t.Fatal(err)
	}
	found, err := h.kernel.list()
	if err != nil {
		t.Fatal(err)
	}
	inKernel := map[place]time.Duration{}
	for _, e := range found {
		inKernel[e.place()] = e.Lifetime
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for at, one := range h.books.held {
		lifetime, there := inKernel[at]
		if one.committed && (!there || lifetime != one.Lifetime) {
			t.Errorf("the books have %s for %s, the kernel %v for %s", &one.Pinhole, one.Lifetime, there, lifetime)
		}
	}
	for at := range inKernel {
		if h.books.held[at] == nil {
			t.Errorf("the kernel has %+v, and the books do not", at)
		}
	}
	if n, heaped := len(h.books.held), len(h.books.byEnd); n != heaped || h.books.perClient[netip.MustParseAddr("10.1.0.1")] != n-1 {
		t.Errorf("%d pinholes are held, %d in the heap, %d of the client", n, heaped, h.books.perClient[netip.MustParseAddr("10.1.0.1")])
	}
}

// A set that is full refuses, and nothing stays in the books.
func TestPinholesFull(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft")
	p := readPolicy(t, pinholePolicy)
	small := *p
	small.Limits.Pinholes = 1 // of which the set's size is made
	nft(t, small.Ruleset(), "-f", "-")
	h, err := NewPinholes(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	defer func() { cancel(); <-done }()
	var last error
	n := 0
	for ; n < 20 && last == nil; n++ {
		last = h.Open(ctx, []Pinhole{rpcPinhole("10.1.0.1", fmt.Sprintf("10.3.0.1:%d", 50000+n))})
	}
	if !errors.Is(last, ErrPinholes) || !errors.Is(last, unix.ENFILE) {
		t.Errorf("the %dth: %v", n, last)
	}
	if open := h.Counts().Open; open != n-1 || elementsOf(t, "multi4") != n-1 {
		t.Errorf("%d are in the books and %d in the kernel, want %d", open, elementsOf(t, "multi4"), n-1)
	}
}

// What could not be closed is not taken for closed: opened again, it lasts as long as was asked.
func TestPinholesInDoubt(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "nft")
	p := readPolicy(t, pinholePolicy)
	nft(t, p.Ruleset(), "-f", "-")
	h, err := NewPinholes(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.kernel.close()
	h.queue = make(chan *request) // so that what is cancelled never gets to the kernel
	one := ftpPinhole(1, "10.1.0.1", "10.3.0.1:5001")
	open := func() {
		t.Helper()
		go func() { h.commit([]*request{<-h.queue}) }()
		if err := h.Open(t.Context(), []Pinhole{one}); err != nil {
			t.Fatal(err)
		}
	}
	open()
	for _, fail := range []func(ctx context.Context) error{
		func(ctx context.Context) error { return h.Close(ctx, 1) },
		func(ctx context.Context) error {
			return h.Open(ctx, []Pinhole{ftpPinhole(1, "10.1.0.1", "10.3.0.1:5002")})
		}, // which closes the other
	} {
		h.doubt = time.Time{}
		left := func() time.Duration {
			list, err := h.kernel.list()
			if err != nil || len(list) != 1 || list[0].place() != one.place() {
				t.Fatalf("the kernel has %+v, %v, want %s", list, err, &one)
			}
			return list[0].left
		}
		nstest.WaitFor(t, "a part of its time to be over", patience, func() bool { return left() < one.Lifetime-time.Second })
		before := left()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := fail(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled it says %v", err)
		}
		open()
		if after := left(); after <= before {
			t.Errorf("opened again it lasts for %s, after %s before: want %s", after, before, one.Lifetime)
		}
	}
}

// inNamespace returns what opens pinholes in a network namespace of its own.
func inNamespace(b *testing.B, p *Policy) *Pinholes {
	b.Helper()
	nstest.NeedRoot(b)
	nstest.Need(b, "nft")
	var h *Pinholes
	done := make(chan struct{})
	go func() { // not the benchmark's own goroutine: one that is bound to a thread waits longer
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine, the namespace with the sockets
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			b.Errorf("no network namespace: %v", err)
			return
		}
		h, _ = startPinholes(b, p)
	}()
	<-done
	if h == nil {
		b.FailNow()
	}
	return h
}

func benchmarkPolicy(b *testing.B) *Policy {
	p := readPolicy(b, pinholePolicy)
	p.Limits = Limits{Pinholes: maxPinholes * 4, PerClient: maxPinholes * 4, PerServer: maxPinholes * 4, Sessions: 1}
	return p
}

// numbered is the n-th of many pinholes.
func numbered(n int) Pinhole {
	return Pinhole{
		By: follow.Client, From: netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}),
		To: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 3, byte(n >> 24), byte(n >> 16)}), 50000), Protocol: tcp, Lifetime: 10 * time.Minute,
	}
}

// BenchmarkOpenTogether has many sessions wait at a time, whose pinholes go to the kernel in groups.
func BenchmarkOpenTogether(b *testing.B) {
	h := inNamespace(b, benchmarkPolicy(b))
	var n atomic.Int64
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := h.Open(b.Context(), []Pinhole{numbered(int(n.Add(1)))}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pinholes/s")
	b.ReportMetric(float64(b.N)/float64(h.Counts().Commits), "pinholes/batch")
}

func BenchmarkOpen(b *testing.B) {
	for _, of := range []struct{ there, each int }{{0, 1}, {100_000, 1}, {0, 16}, {0, 256}} {
		b.Run(fmt.Sprintf("there=%d/batch=%d", of.there, of.each), func(b *testing.B) {
			h := inNamespace(b, benchmarkPolicy(b))
			n := 0
			next := func(count int) []Pinhole {
				all := make([]Pinhole, count)
				for i := range all {
					all[i] = numbered(n)
					n++
				}
				return all
			}
			if of.there > 0 {
				openAll(b, h, next(of.there))
			}
			var took []time.Duration
			for b.Loop() {
				all := next(of.each)
				begun := time.Now()
				if err := h.Open(b.Context(), all); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begun))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-us")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-us")
			b.ReportMetric(float64(of.each*b.N)/b.Elapsed().Seconds(), "pinholes/s")
		})
	}
}
