package transport

import (
	"net/netip"
	"testing"

	"go4.org/netipx"
	"pgregory.net/rapid"
)

// networks returns a set of the prefixes.
func networks(t testing.TB, prefixes ...string) *netipx.IPSet {
	t.Helper()
	var b netipx.IPSetBuilder
	for _, p := range prefixes {
		b.AddPrefix(netip.MustParsePrefix(p))
	}
	set, err := b.IPSet()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// A visitor is a client of TestGuests, with what the guard should make of it.
type visitor struct {
	address string // empty: local
	uid     uint32
	counts  string // whose connections count together; empty: not bounded
	asks    bool   // where the rules have networks
}

var visitors = []visitor{
	{uid: 0}, {uid: 0}, {uid: 1000, counts: "user 1000"}, {uid: 1001, counts: "user 1001"},
	{address: "127.0.0.1", asks: true}, {address: "::1", asks: true}, {address: "10.9.9.9", asks: true}, // this host
	{address: "10.0.0.1", counts: "a", asks: true}, {address: "10.0.0.2", counts: "b", asks: true}, {address: "192.0.2.1", counts: "c"},
	{address: "2001:db8::1", counts: "d", asks: true}, {address: "2001:db8::2:0:0:2", counts: "d", asks: true},
	{address: "2001:db8:0:1::1", counts: "e"}, {address: "fe80::1", counts: "f"}, {address: "fe80::2", counts: "g"},
}

func (v visitor) call() *Call {
	if v.address == "" {
		return &Call{Peer: &Peer{UID: v.uid}}
	}
	return &Call{Client: netip.AddrPortFrom(netip.MustParseAddr(v.address), 700)}
}

// TestGuests: whoever comes and goes under whatever rules, those are let in who
// may be, as counting everybody anew each time says.
func TestGuests(t *testing.T) {
	ask := networks(t, "10.0.0.0/8", "2001:db8::/64")
	limit := rapid.OneOf(rapid.Just(0), rapid.IntRange(1, 30))
	rapid.Check(t, func(t *rapid.T) {
		var r Rules
		draw := func() {
			r = Rules{Connections: limit.Draw(t, "connections"), PerSource: limit.Draw(t, "per source"), PerUser: limit.Draw(t, "per user")}
			if rapid.Bool().Draw(t, "networks") {
				r.Ask = ask
			}
		}
		draw()
		g := NewGuard(r)
		g.ThisHost = func(a netip.Addr) bool { return a == netip.MustParseAddr("10.9.9.9") }
		type open struct {
			visitor
			guest
		}
		var in []open
		var want Counts
		t.Repeat(map[string]func(*rapid.T){
			"come": func(t *rapid.T) {
				v := rapid.SampledFrom(visitors).Draw(t, "visitor")
				same, local := 0, v.address == ""
				for _, o := range in {
					if o.counts == v.counts {
						same++
					}
				}
				most := r.Connections
				if !local || v.uid != 0 {
					most -= r.Connections / 10
				}
				if !local {
					most -= r.Connections / 10
				}
				var why error
				switch {
				case r.Ask != nil && !local && !v.asks:
					why = stranger
					want.Strangers++
				case r.Connections > 0 && len(in) >= most:
					why = busy
					want.Busy++
				case !local && v.counts != "" && r.PerSource > 0 && same >= r.PerSource:
					why = busySource
					want.BusySource++
				case local && v.counts != "" && r.PerUser > 0 && same >= r.PerUser:
					why = busyUser
					want.BusyUser++
				}
				got, err := g.enter(v.call())
				if err != why {
					t.Fatalf("%+v under %+v with %d in, %d of the same: %v, want %v", v, r, len(in), same, err, why)
				}
				if err == nil {
					in = append(in, open{v, got})
				}
			},
			"go": func(t *rapid.T) {
				if len(in) == 0 {
					t.Skip("nobody is in")
				}
				i := rapid.IntRange(0, len(in)-1).Draw(t, "who")
				g.leave(in[i].guest)
				in = append(in[:i], in[i+1:]...)
			},
			"new rules": func(t *rapid.T) {
				draw()
				g.SetRules(r)
			},
			"": func(t *rapid.T) {
				want.Open = len(in)
				if got := g.Counts(); got != want {
					t.Fatalf("%+v, want %+v", got, want)
				}
			},
		})
		for _, o := range in {
			g.leave(o.guest)
		}
		if g.open != 0 || len(g.sources) != 0 || len(g.users) != 0 {
			t.Fatalf("all have gone, and %d connections, %v, %v are left", g.open, g.sources, g.users)
		}
	})
}

// TestShares: who gets the last connections.
func TestShares(t *testing.T) {
	root, user, tcp := guest{local: true}, guest{local: true, uid: 1000}, guest{}
	for _, tt := range []struct{ n, root, user, tcp int }{
		{1, 1, 1, 1}, {9, 9, 9, 9}, {10, 10, 9, 8}, {19, 19, 18, 17}, {1000, 1000, 900, 800},
	} {
		if r, u, c := root.share(tt.n), user.share(tt.n), tcp.share(tt.n); r != tt.root || u != tt.user || c != tt.tcp {
			t.Errorf("of %d: root %d, users %d, TCP %d, want %d, %d, %d", tt.n, r, u, c, tt.root, tt.user, tt.tcp)
		}
	}
}
