package mapper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go4.org/netipx"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/socktable"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// owners tell whose socket a call came from, as a test would have it.
type owners struct {
	uid   uint32
	err   error
	asked []string
}

func (o *owners) ConnectionOwner(client, server netip.AddrPort) (uint32, error) {
	o.asked = append(o.asked, fmt.Sprintf("%s to %s", client, server))
	return o.uid, o.err
}

func (o *owners) SenderOwner(client netip.AddrPort) (uint32, error) {
	o.asked = append(o.asked, client.String())
	return o.uid, o.err
}

// errUnknown is what the kernel says of a socket that was closed.
var errUnknown = fmt.Errorf("%w: it was closed", socktable.ErrOwner)

// open returns a mapper of a registry with the mapper's own rows.
func open(t testing.TB, c registry.Config, o Owners) *ONC {
	t.Helper()
	c.Own = ownRows(t)
	g, err := registry.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return NewONC(New(Config{Registry: g, Addresses: hostAddresses(), Owners: o}))
}

// watch returns a watcher that has had its snapshot.
func watch(t *testing.T, m *ONC) *registry.Watcher {
	t.Helper()
	w := m.Registry.Watch(nil)
	t.Cleanup(w.Close)
	if _, err := w.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// told returns what a watcher was told since it was last asked. It causes one
// more event and waits for that.
func told(t *testing.T, m *ONC, w *registry.Watcher) []registry.Event {
	t.Helper()
	last := errors.New("the last one")
	m.Registry.Refuse(nil, &endpoint.Registration{}, last)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var all []registry.Event
	for {
		events, err := w.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, events...); all[len(all)-1].Err == last {
			return all[:len(all)-1]
		}
	}
}

// ofProgram returns the rows of a program.
func ofProgram(m *ONC, program uint32) []*endpoint.Registration {
	rows, _ := m.Registry.All()
	return slices.DeleteFunc(rows, func(r *endpoint.Registration) bool { return r.Program != program })
}

// TestLoopbackOwner: over loopback it is the user who has the caller's socket
// that registers and removes.
func TestLoopbackOwner(t *testing.T) {
	for w, want := range map[way]string{
		udpLo:  "127.0.0.1:40000",
		udp6Lo: "[::1]:40000",
		tcpLo:  "127.0.0.1:40000 to 127.0.0.1:111",
		tcp6Lo: "[::1]:40000 to [::1]:111",
	} {
		for version := uint32(2); version <= 4; version++ {
			args := rpcb(progA, 1, "tcp", "0.0.0.0.19.139")
			if version == 2 {
				args = mapping(progA, 1, 6, 5003)
			}
			o := &owners{uid: 1000}
			m := open(t, registry.Config{}, o)
			if got := askUint32(t, m, w, version, set, args); got != 1 {
				t.Errorf("%v v%d SET = %d, want 1", w, version, got)
			}
			if rows := ofProgram(m, progA); len(rows) != 1 || rows[0].Owner.UID != 1000 || rows[0].PID != 0 {
				t.Errorf("%v v%d SET made %+v, want a row of uid 1000, by nobody knows which process", w, version, rows)
			}
			if !slices.Equal(o.asked, []string{want}) {
				t.Errorf("%v v%d SET: asked about %q, want %q", w, version, o.asked, want)
			}
			o.uid = 1001
			if got := askUint32(t, m, w, version, unset, args); got != 0 {
				t.Errorf("%v v%d UNSET by another user = %d, want 0", w, version, got)
			}
			o.uid = 1000
			if got := askUint32(t, m, w, version, unset, args); got != 1 || len(ofProgram(m, progA)) != 0 {
				t.Errorf("%v v%d UNSET by the owner = %d, want 1 and no row", w, version, got)
			}
		}
	}
}

// TestLoopbackUnknown: who cannot be shown to be anybody changes nothing, and who
// watches is told of it, but not of garbage, which is about no registration.
func TestLoopbackUnknown(t *testing.T) {
	for _, w := range []way{udpLo, udp6Lo, tcpLo, tcp6Lo} {
		m := open(t, registry.Config{}, &owners{err: errUnknown})
		if _, err := m.Registry.Add(registry.Claim{}, row(t, progA, 1, rpcbind.UDP, "0.0.0.0.19.139")); err != nil {
			t.Fatal(err)
		}
		before := m.Registry.Seq()
		watcher := watch(t, m)
		for version := uint32(2); version <= 4; version++ {
			args := rpcb(progA, version, "udp", "0.0.0.0.19.139")
			if version == 2 {
				args = mapping(progA, version, 17, 5003)
			}
			for _, p := range []rpcbind.Proc{set, unset} {
				for _, args := range [][]byte{args, nil} {
					got := bytesOf(m.Answer(w.call(message(version, p, args)), nil))
					if want := denied(oncrpc.AuthTooWeak); !bytes.Equal(got, want) {
						t.Errorf("%v %s version %d (%x): %x, want %x", w, p.Name(version), version, args, got, want)
					}
				}
			}
		}
		events := told(t, m, watcher)
		if len(events) != 6 || m.Registry.Seq() != before {
			t.Fatalf("%v: %d events and change %d, want 6 and %d as before", w, len(events), m.Registry.Seq(), before)
		}
		for i, e := range events {
			r := e.Registration
			if e.Kind != registry.Refused || e.By != nil || !errors.Is(e.Err, socktable.ErrOwner) || r.Program != progA || r.Version != uint32(2+i/2) {
				t.Errorf("%v: event %d = %+v, want a refusal by nobody of version %d", w, i, e, 2+i/2)
			}
			if isSet := i%2 == 0; isSet != (r.NetID == rpcbind.UDP && r.Addr.Port() == 5003) {
				t.Errorf("%v: event %d is about %s", w, i, r.Endpoint)
			}
		}
	}
}

func TestTrustLowPorts(t *testing.T) {
	first := privilegedPorts()
	if first > 1024 {
		t.Errorf("ports below %d are trusted, want 1024 at most", first)
	}
	low, trusted := max(first, 2)-1, yes
	if first < 2 { // containers often have it so that anybody may have any port
		trusted = denied(oncrpc.AuthTooWeak)
	}
	for _, tt := range []struct {
		name  string
		trust bool
		port  uint16
		o     Owners
		want  []byte
		uid   uint32
	}{
		{"trusted", true, low, &owners{err: errUnknown}, trusted, 0},
		{"trusted where the kernel is not asked", true, low, nil, trusted, 0},
		{"a port that anybody may have", true, max(first, 1), &owners{err: errUnknown}, denied(oncrpc.AuthTooWeak), 0},
		{"not trusted", false, low, &owners{err: errUnknown}, denied(oncrpc.AuthTooWeak), 0},
		{"a user who is known", true, low, &owners{uid: 1000}, yes, 1000},
	} {
		for _, w := range []way{udpLo, tcpLo, udp6Lo, tcp6Lo, udpFar, tcpFar, udpSelf, tcpSelf} {
			m := open(t, registry.Config{}, tt.o)
			m.TrustLowPorts = tt.trust
			want := tt.want
			c := w.call(message(4, set, rpcb(progA, 1, "tcp", "0.0.0.0.19.139")))
			c.Client = netip.AddrPortFrom(c.Client.Addr(), tt.port)
			if !c.Client.Addr().IsLoopback() {
				want = denied(oncrpc.AuthTooWeak)
			}
			if got := bytesOf(m.Answer(c, nil)); !bytes.Equal(got, want) {
				t.Errorf("%s (%v): %x, want %x", tt.name, w, got, want)
			}
			rows := ofProgram(m, progA)
			if made := len(rows) == 1; made != bytes.Equal(want, yes) || made && rows[0].Owner.UID != tt.uid {
				t.Errorf("%s (%v): rows %v, want uid %d's", tt.name, w, rows, tt.uid)
			}
		}
	}
}

// TestRootOverUDP: root's word over UDP counts from ports that nobody else can
// have: of others the sender may be gone, and root have its port.
func TestRootOverUDP(t *testing.T) {
	low, below := max(privilegedPorts(), 2)-1, yes
	if privilegedPorts() < 2 {
		below = denied(oncrpc.AuthTooWeak)
	}
	for _, tt := range []struct {
		w    way
		port uint16
		want []byte
	}{
		{udpLo, 40000, denied(oncrpc.AuthTooWeak)}, {udp6Lo, 40000, denied(oncrpc.AuthTooWeak)}, {udpLo, low, below}, {udp6Lo, low, below},
		{tcpLo, 40000, yes}, {tcp6Lo, low, yes},
	} {
		for _, trust := range []bool{false, true} {
			m := open(t, registry.Config{}, &owners{uid: 0})
			m.TrustLowPorts = trust
			watcher := watch(t, m)
			c := tt.w.call(message(4, set, rpcb(progA, 1, "tcp", "0.0.0.0.19.139")))
			c.Client = netip.AddrPortFrom(c.Client.Addr(), tt.port)
			if got := bytesOf(m.Answer(c, nil)); !bytes.Equal(got, tt.want) {
				t.Errorf("%v from port %d: %x, want %x", tt.w, tt.port, got, tt.want)
			}
			events := told(t, m, watcher)
			if refused := len(events) == 1 && events[0].Kind == registry.Refused && events[0].By == nil; refused == bytes.Equal(tt.want, yes) {
				t.Errorf("%v from port %d: events %+v", tt.w, tt.port, events)
			}
		}
	}
}

// TestNotLoopback: from other hosts, and from this host's other addresses, SET and
// UNSET are refused before anything is looked at, and nobody but the log is told.
func TestNotLoopback(t *testing.T) {
	o := &owners{uid: 1000}
	m := open(t, registry.Config{}, o)
	m.TrustLowPorts = true
	watcher := watch(t, m)
	before := m.Registry.Seq()
	for _, w := range []way{udpSelf, tcpSelf, udp6Self, udpFar, tcpFar, udp6Far, {netid: rpcbind.Local}} {
		for version := uint32(2); version <= 4; version++ {
			for _, p := range []rpcbind.Proc{set, unset} {
				for _, args := range [][]byte{nil, {1, 2, 3}, mapping(progA, 1, 6, 5003), rpcb(progA, 1, "tcp", "0.0.0.0.19.139")} {
					c := w.call(message(version, p, args))
					c.Peer = nil // of the local transport: the kernel did not tell
					if got, want := bytesOf(m.Answer(c, nil)), denied(oncrpc.AuthTooWeak); !bytes.Equal(got, want) {
						t.Errorf("%v %s version %d (%x): %x, want %x", w, p.Name(version), version, args, got, want)
					}
				}
			}
		}
	}
	if events := told(t, m, watcher); len(events) > 0 || len(o.asked) > 0 || m.Registry.Seq() != before {
		t.Errorf("events %v, asked about %q, change %d; want none, none, %d", events, o.asked, m.Registry.Seq(), before)
	}
}

// TestReserved: a program for root and some users is refused to others with
// false, and who watches is told whose it would have been.
func TestReserved(t *testing.T) {
	m := open(t, registry.Config{Reserved: map[uint32][]uint32{progA: nil, progB: {1000}}}, nil)
	watcher := watch(t, m)
	for _, tt := range []struct {
		w       way
		program uint32
		want    uint32
	}{
		{asUser, progA, 0}, {way{netid: rpcbind.Local, uid: 1001}, progB, 0}, {asUser, progB, 1}, {asRoot, progA, 1}, {asUser, progC, 1},
	} {
		for version := uint32(2); version <= 4; version++ {
			args := rpcb(tt.program, version, "tcp", "0.0.0.0.19.139")
			if version == 2 {
				args = mapping(tt.program, version, 6, 5003)
			}
			if got := askUint32(t, m, tt.w, version, set, args); got != tt.want {
				t.Errorf("%v v%d SET of %#x = %d, want %d", tt.w, version, tt.program, got, tt.want)
			}
		}
	}
	var refused []string
	for _, e := range told(t, m, watcher) {
		if e.Kind == registry.Refused {
			refused = append(refused, fmt.Sprintf("%#x by %s: %v", e.Registration.Program, e.By, errors.Is(e.Err, registry.ErrRight)))
		}
	}
	want := slices.Concat(slices.Repeat([]string{"0x20000001 by 1000: true"}, 3), slices.Repeat([]string{"0x20000002 by 1001: true"}, 3))
	if !slices.Equal(refused, want) {
		t.Errorf("refused: %q, want %q", refused, want)
	}
}

// noSockets is a kernel's table in which nothing receives.
type noSockets struct{}

func (noSockets) Snapshot() (*socktable.Snapshot, error) {
	return socktable.NewSnapshot(nil, nil, nil), nil
}

func (noSockets) At(endpoint.Endpoint) ([]socktable.Socket, error) { return nil, nil }

// TestEvidence: why a row is believed follows from where the caller is.
func TestEvidence(t *testing.T) {
	const nobody = 1<<31 - 1 // a process number that no kernel gives
	ours := func(a netip.Addr) bool { return hostAddresses().Ours(a) }
	for _, tt := range []struct {
		name  string
		peer  transport.Peer
		uaddr string
		want  endpoint.Evidence
		pid   int32
	}{
		{"on this host, nothing listens yet", transport.Peer{PID: int32(os.Getpid())}, "0.0.0.0.19.139", endpoint.Waiting, int32(os.Getpid())},
		{"in another network namespace", transport.Peer{PID: int32(os.Getpid()), Elsewhere: true}, "0.0.0.0.19.139", endpoint.Process, int32(os.Getpid())},
		{"there, of a process that cannot be seen", transport.Peer{Elsewhere: true}, "0.0.0.0.19.139", endpoint.Lease, 0},
		{"there, of one that has ended", transport.Peer{PID: nobody, Elsewhere: true}, "0.0.0.0.19.139", endpoint.Lease, nobody},
		{"at another host's address", transport.Peer{PID: int32(os.Getpid())}, "192.0.2.1.19.139", endpoint.Process, int32(os.Getpid())},
	} {
		m := open(t, registry.Config{Sockets: noSockets{}, Ours: ours}, nil)
		c := asRoot.call(message(4, set, rpcb(progA, 1, "tcp", tt.uaddr)))
		c.Peer = &tt.peer
		if got := bytesOf(m.Answer(c, nil)); !bytes.Equal(got, yes) {
			t.Errorf("%s: SET = %x, want %x", tt.name, got, yes)
		}
		rows := ofProgram(m, progA)
		if len(rows) != 1 || rows[0].Evidence != tt.want || rows[0].PID != tt.pid {
			t.Errorf("%s: rows %+v, want evidence %s of process %d", tt.name, rows, tt.want, tt.pid)
		}
	}
}

// prefixes are the addresses of networks.
func prefixes(t testing.TB, networks ...string) *netipx.IPSet {
	t.Helper()
	var b netipx.IPSetBuilder
	for _, n := range networks {
		b.AddPrefix(netip.MustParsePrefix(n))
	}
	set, err := b.IPSet()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestDumpers: who may have everything told at once.
func TestDumpers(t *testing.T) {
	systemErr, tooWeak := accepted(oncrpc.SystemErr), denied(oncrpc.AuthTooWeak)
	for _, tt := range []struct {
		name    string
		dumpers *netipx.IPSet
		w       way
		want    []byte // nil: the list
	}{
		{"everybody, over TCP", nil, tcpFar, nil},
		{"everybody, but not over UDP", nil, udpFar, systemErr},
		{"everybody, but not over UDP, IPv6", nil, udp6Far, systemErr},
		{"this host", nil, udpSelf, nil},
		{"loopback", nil, udp6Lo, nil},
		{"local", nil, asUser, nil},
		{"named, TCP", prefixes(t, "10.98.0.0/24"), tcpFar, nil},
		{"named, UDP", prefixes(t, "10.98.0.2/32"), udpFar, nil},
		{"named, UDP over IPv6", prefixes(t, "fd98::/64"), udp6Far, nil},
		{"not named, TCP", prefixes(t, "10.97.0.0/16"), tcpFar, tooWeak},
		{"not named, UDP", prefixes(t, "10.97.0.0/16"), udpFar, tooWeak},
		{"not named, but this host", prefixes(t), udp6Self, nil},
		{"not named, but loopback", prefixes(t), tcpLo, nil},
		{"not named, but local", prefixes(t), asUser, nil},
		{"nobody named", prefixes(t), udpFar, tooWeak},
	} {
		m := newMapper(t, row(t, progA, 1, rpcbind.UDP, "0.0.0.0.19.139"))
		m.SetDumpers(tt.dumpers)
		for _, q := range []struct {
			version uint32
			p       rpcbind.Proc
		}{{2, dumpP}, {3, dumpP}, {4, dumpP}, {4, rpcbind.ProcGetStat}} {
			got := bytesOf(m.Answer(tt.w.call(message(q.version, q.p, nil)), nil))
			if whole := len(got) > 24+strangerReply && bytes.HasPrefix(got, success()); whole != (tt.want == nil) || !whole && !bytes.Equal(got, tt.want) {
				t.Errorf("%s: v%d %s = %d bytes, %.48x, want %x", tt.name, q.version, q.p.Name(q.version), len(got), got, tt.want)
			}
		}
	}
}

// TestStrangerReply: whatever a stranger asks over UDP, and whatever is registered,
// the answer is no longer than the longest one to GETADDR, so that a question in
// another's name does them no harm.
func TestStrangerReply(t *testing.T) {
	const v6 = "2001:db8:1111:2222:3333:4444:5555:6666"
	m := newMapper(t,
		row(t, progA, 1, rpcbind.UDP, "203.113.213.123.255.255"), row(t, progA, 1, rpcbind.TCP, "203.113.213.123.255.255"),
		row(t, progA, 1, rpcbind.UDP6, v6+".255.255"), row(t, progA, 1, rpcbind.TCP6, v6+".255.255"),
		row(t, progA, 1, rpcbind.Local, "/"+strings.Repeat("x", 106)),
		row(t, progB, 7, rpcbind.UDP, "0.0.0.0.255.255"), row(t, progB, 7, rpcbind.UDP6, "::.255.255"))
	longest := 0
	check := func(t interface{ Fatalf(string, ...any) }, w way, call []byte) {
		answer := bytesOf(m.Answer(w.call(call), nil))
		longest = max(longest, len(answer))
		if len(answer) > strangerReply {
			t.Fatalf("%v: %x is answered with %d bytes", w, call, len(answer))
		}
	}
	strangers := []way{
		udpFar, udp6Far, {netid: rpcbind.UDP6, client: "fe80::7", server: "fe80::98"}, {netid: rpcbind.UDP6, client: v6, server: "fd98::1"},
		{netid: rpcbind.UDP, client: "203.113.213.124", server: "10.98.0.1"},
	}
	for _, w := range strangers {
		for _, call := range valid() {
			check(t, w, call)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		w := rapid.SampledFrom(strangers).Draw(r, "way")
		m.SetDumpers(rapid.SampledFrom([]*netipx.IPSet{nil, prefixes(t, "192.0.2.0/24")}).Draw(r, "dumpers"))
		version := rapid.Uint32Range(2, 4).Draw(r, "version")
		p := rapid.Uint32Range(0, uint32(rpcbind.ProcGetStat)+1).Draw(r, "procedure")
		program := rapid.SampledFrom([]uint32{progA, progB, progD, rpcbind.Program}).Draw(r, "program")
		of := rapid.SampledFrom([]uint32{1, 2, 4, 7}).Draw(r, "version of the program")
		uaddr := rapid.SampledFrom([]string{"", v6 + ".255.255", "10.98.0.1.255.255", "fe80::98.0.111", strings.Repeat("1", 128)}).Draw(r, "address")
		args := rapid.SampledFrom([][]byte{
			nil, mapping(program, of, rapid.SampledFrom([]uint32{6, 17, 99}).Draw(r, "protocol"), 0),
			rpcb(program, of, rapid.SampledFrom([]string{"", "udp", "tcp6", "local"}).Draw(r, "netid"), uaddr),
			remoteCall(program, of, 0, make([]byte, 64)...), text(uaddr), text("/" + strings.Repeat("x", 106)),
			rpcbind.TAddr(rpcbind.UDP6, v6+".255.255").Append(nil), rpcbind.TAddr(rpcbind.Local, "/"+strings.Repeat("x", 106)).Append(nil),
		}).Draw(r, "arguments")
		check(r, w, messageTo(rpcbind.Program, version, p, args))
	})
	if longest != strangerReply {
		t.Errorf("the longest answer had %d bytes, want %d", longest, strangerReply)
	}
}
