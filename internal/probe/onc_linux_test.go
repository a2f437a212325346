package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/hostaddr"
	"github.com/quaymaster/quaymaster/internal/mapper"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/transport"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

const startTime = 20 * time.Second

// TestONCOurs asks the mapper of this project, over each of its transports.
func TestONCOurs(t *testing.T) {
	o := serveOurs(t)
	p := &Prober{}
	server := serveONC(t, program(100005, 1, 3), "tcp", "udp")
	register := func(row rpcbind.RPCB) {
		c, err := p.callerAt(t.Context(), oncHost, endpoint.Endpoint{NetID: rpcbind.Local, Path: o.Socket})
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		set := question{program: rpcbind.Program, version: 4, proc: uint32(rpcbind.ProcSet), args: row.Append(nil)}
		if err := c.call(t.Context(), set, func(res *results) error {
			return res.next(func(x *xdr.Reader) {
				if !x.Bool() {
					t.Errorf("%v is refused", row)
				}
			})
		}); err != nil {
			t.Fatal(err)
		}
	}
	address := func(port uint16) string {
		return rpcbind.UniversalAddress(netip.AddrPortFrom(netip.IPv4Unspecified(), port))
	}
	register(rpcbind.RPCB{Program: 300005, Version: 3, NetID: "tcp", Address: address(server)})
	register(rpcbind.RPCB{Program: 100005, Version: 3, NetID: "tcp", Address: address(server)})
	register(rpcbind.RPCB{Program: 100005, Version: 3, NetID: "udp", Address: address(server)})

	for _, tt := range []struct {
		name string
		o    ONCOptions
		via  string
	}{
		{"local", o, "local @" + o.Socket + ", version 4"},
		{"tcp", ONCOptions{Port: o.Port}, fmt.Sprintf("tcp %d, version 4", o.Port)},
	} {
		r := p.ONC(t.Context(), oncHost, tt.o)
		if r.State != Listening || r.Via != tt.via || len(r.Problems) != 0 || len(r.Entries) != 3 {
			t.Errorf("%s: %+v", tt.name, r)
			continue
		}
		p.TryONC(t.Context(), oncHost, r.Entries, tt.o)
		var got []string
		for _, e := range r.Entries {
			got = append(got, fmt.Sprintf("%d %s %s", e.Program, e.NetID, tried(e)))
		}
		want := []string{"300005 tcp wrong 0-0 an RPC server without this program answers", "100005 tcp listening 1-3", "100005 udp listening 1-3"}
		slices.Sort(want)
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: tried %q, want %q", tt.name, got, want)
		}
	}
	o.Here = false
	if r := p.LocateONC(t.Context(), oncHost, 100005, 7, 0, o); len(r.Entries) != 2 || len(r.Problems) != 2 || r.Entries[0].Addr.Port() != server {
		t.Errorf("LocateONC = %+v", r)
	}
	if at, err := p.TimeONC(t.Context(), oncHost, o); err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("TimeONC = %v, %v", at, err)
	}
	stats, err := p.StatisticsONC(t.Context(), oncHost, o)
	if err != nil || stats[2].Sets != 3 || stats[2].Calls[rpcbind.ProcDump] != 2 {
		t.Errorf("StatisticsONC = %+v, %v", stats, err)
	}
}

// serveOurs has this project's mapper answer until the test ends, and returns how it is asked.
func serveOurs(t *testing.T) ONCOptions {
	t.Helper()
	rows := registry.New()
	t.Cleanup(func() { rows.Close() })
	var addresses hostaddr.Table
	addresses.Set([]hostaddr.Address{{Prefix: netip.MustParsePrefix("127.0.0.1/8"), Loopback: true}})
	m := mapper.NewONC(mapper.New(mapper.Config{Registry: rows, Addresses: &addresses}))

	dir, err := os.MkdirTemp("", "probe") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	o := ONCOptions{Here: true, Socket: filepath.Join(dir, "sock")}
	local, err := net.Listen("unix", o.Socket)
	if err != nil {
		t.Fatal(err)
	}
	abstract, err := net.Listen("unix", "@"+o.Socket)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Port = tcp.Addr().(*net.TCPAddr).AddrPort().Port()
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: oncHost.AsSlice(), Port: int(o.Port)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	streams, datagrams := transport.StreamServer{Handler: m}, transport.DatagramServer{Handler: m}
	for _, serve := range []func() error{
		func() error { return streams.Serve(ctx, local) },
		func() error { return streams.Serve(ctx, abstract) },
		func() error { return streams.Serve(ctx, tcp) },
		func() error { return datagrams.Serve(ctx, udp) },
	} {
		running.Go(func() {
			if err := serve(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
		os.RemoveAll(dir)
	})
	return o
}

// startRPC starts rpcbind, rpc.mountd and rpc.statd in the namespaces of the test.
func startRPC(t *testing.T) (statd *nstest.Process) {
	t.Helper()
	return startRPCOn(t, exec.Command)
}

// startRPCOn is startRPC on the host of a command.
func startRPCOn(t *testing.T, command func(name string, args ...string) *exec.Cmd, options ...string) (statd *nstest.Process) {
	t.Helper()
	nstest.NeedRoot(t) // they change to other users
	nstest.Need(t, "rpcbind", "rpcinfo", "rpc.mountd", "rpc.statd")
	nstest.NFSFolders(t, "")
	start := func(name string, args ...string) *nstest.Process {
		return nstest.StartCommand(t, command(nstest.Path(t, name), args...))
	}
	start("rpcbind", append([]string{"-f"}, options...)...)
	rows := func(program string) int { return strings.Count(rpcinfo(nil), "\n    "+program+" ") }
	nstest.WaitFor(t, "rpcbind to answer", startTime, func() bool { return rows("100000") > 0 })
	start("rpc.mountd", "-F")
	nstest.WaitFor(t, "rpc.mountd to register", startTime, func() bool { return rows("100005") == 12 })
	statd = start("rpc.statd", "-F", "-L", "-d")
	nstest.WaitFor(t, "rpc.statd to register", startTime, func() bool { return rows("100024") == 4 })
	return statd
}

// rpcinfo returns what rpcinfo prints; a failure ends the test, if there is one.
func rpcinfo(t *testing.T, args ...string) string {
	cmd := exec.Command("/usr/sbin/rpcinfo", args...)
	if t != nil {
		t.Helper()
		cmd = exec.Command(nstest.Path(t, "rpcinfo"), args...)
	}
	out, err := cmd.Output()
	if err != nil && t != nil {
		t.Fatalf("rpcinfo %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// words returns the lines of a text after its first, each with some of its words.
func words(text string, which ...int) []string {
	var lines []string
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		fields := strings.Fields(line)
		var kept []string
		for _, w := range which {
			if w < len(fields) {
				kept = append(kept, fields[w])
			}
		}
		if i > 0 {
			lines = append(lines, strings.Join(kept, " "))
		}
	}
	return lines
}

// told is an entry as rpcinfo prints it.
func told(e Entry) string {
	address := e.Told
	if address == "" {
		address = e.UniversalAddress()
	}
	return fmt.Sprintf("%d %d %s %s %s", e.Program, e.Version, e.NetID, address, e.Owner)
}

// folded is what rpcinfo -s says of entries: versions, netids and owner of each program.
func folded(entries []Entry) map[string]string {
	type program struct {
		versions, netids []string
		owner            string
	}
	programs := map[uint32]*program{}
	for _, e := range entries {
		p := programs[e.Program]
		if p == nil {
			p = &program{owner: e.Owner}
			programs[e.Program] = p
		}
		p.versions = append(p.versions, fmt.Sprint(e.Version))
		p.netids = append(p.netids, e.NetID.String())
	}
	lines := map[string]string{}
	for number, p := range programs {
		lines[fmt.Sprint(number)] = sortedList(p.versions) + " " + sortedList(p.netids) + " " + p.owner
	}
	return lines
}

func sortedList(words []string) string {
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ",")
}

// TestONCSameAsRPCInfo: the rows of the real rpcbind are those that rpcinfo prints, by every way
// and version.
func TestONCSameAsRPCInfo(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startRPC(t)
	p := &Prober{}
	six := netip.IPv6Loopback()
	for _, tt := range []struct {
		host netip.Addr
		o    ONCOptions
		via  string
	}{
		{oncHost, ONCOptions{Here: true}, "local /run/rpcbind.sock, version 4"},
		{oncHost, ONCOptions{}, "tcp 111, version 4"},
		{netip.MustParseAddr("::ffff:127.0.0.1"), ONCOptions{}, "tcp 111, version 4"},
		{six, ONCOptions{}, "tcp6 111, version 4"},
	} {
		r := p.ONC(t.Context(), tt.host, tt.o)
		if r.State != Listening || r.Via != tt.via || r.Cut || len(r.Problems) > 0 || r.Time <= 0 {
			t.Errorf("%s: %v, %q, %q, problems %q", tt.host, r.State, r.Why, r.Via, r.Problems)
		}
		var got []string
		for _, e := range r.Entries {
			got = append(got, told(e))
		}
		if diff := cmp.Diff(words(rpcinfo(t, "127.0.0.1"), 0, 1, 2, 3, 5), got); diff != "" {
			t.Errorf("rpcinfo, via %s (-want +got):\n%s", r.Via, diff)
		}
		want := map[string]string{}
		for _, line := range strings.Split(strings.TrimSpace(rpcinfo(t, "-s", "127.0.0.1")), "\n")[1:] {
			f := strings.Fields(line)
			want[f[0]] = sortedList(strings.Split(f[1], ",")) + " " + sortedList(strings.Split(f[2], ",")) + " " + f[len(f)-1]
		}
		if diff := cmp.Diff(want, folded(r.Entries)); diff != "" {
			t.Errorf("rpcinfo -s, via %s (-want +got):\n%s", r.Via, diff)
		}

		p.TryONC(t.Context(), tt.host, r.Entries, tt.o)
		for _, e := range r.Entries {
			switch {
			case e.NetID == rpcbind.Local && !tt.o.Here:
				if e.State != NotTried {
					t.Errorf("%s: %s", told(e), tried(e))
				}
			case e.State != Listening || e.Time <= 0:
				t.Errorf("%s: %s", told(e), tried(e))
			default:
				versions := map[uint32]string{100000: "2-4", 100005: "1-3", 100024: "1-1"}
				if got := fmt.Sprintf("%d-%d", e.Low, e.High); got != versions[e.Program] {
					t.Errorf("%s: versions %s, want %s", told(e), got, versions[e.Program])
				}
			}
		}
	}

	// Version 2, as rpcinfo -p asks.
	r := &Report{Host: oncHost}
	ok := p.askONC(t.Context(), r, ONCOptions{}.ways(oncHost), mapperVersions[2:], func(c *caller, version uint32) error {
		q := question{program: rpcbind.Program, version: version, proc: uint32(rpcbind.ProcDump), long: true}
		return c.call(t.Context(), q, func(list *results) error { return p.readDump(list, version, teller{oncHost, ONCOptions{}, r}) })
	})
	var got []string
	for _, e := range r.Entries {
		got = append(got, fmt.Sprintf("%d %d %s %d", e.Program, e.Version, e.NetID, e.Addr.Port()))
	}
	if diff := cmp.Diff(words(rpcinfo(t, "-p", "127.0.0.1"), 0, 1, 2, 3), got); !ok || diff != "" {
		t.Errorf("rpcinfo -p (-want +got):\n%s", diff)
	}
}

// TestTryONCKilled: of all rows that rpcbind tells, those of a server that was killed are named, and no other.
func TestTryONCKilled(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	statd := startRPC(t)
	statd.Signal(syscall.SIGKILL)
	statd.Wait(t, startTime)
	o := ONCOptions{Here: true}
	p := &Prober{}
	r := p.ONC(t.Context(), oncHost, o)
	p.TryONC(t.Context(), oncHost, r.Entries, o)
	lies := 0
	for _, e := range r.Entries {
		want := Listening
		if e.Program == 100024 {
			want = NotListening
			lies++
		}
		if e.State != want {
			t.Errorf("%s: %s, want %s", told(e), tried(e), want)
		}
	}
	if lies != 4 {
		t.Errorf("%d rows of rpc.statd are told, want 4", lies)
	}
}

// TestLocateONCReal: what rpcbind tells of one program, by each version, agrees with its rows.
func TestLocateONCReal(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startRPC(t)
	p := &Prober{}
	o := ONCOptions{Here: true, Addrs: []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1"), netip.IPv6Loopback()}}
	rows := map[string]netip.AddrPort{}
	for _, e := range p.ONC(t.Context(), oncHost, o).Entries {
		rows[fmt.Sprintf("%d %d %s", e.Program, e.Version, e.NetID)] = e.Addr
	}
	check := func(r *Report, version uint32, want int, problems int) {
		t.Helper()
		if r.State != Listening || len(r.Entries) != want || len(r.Problems) != problems {
			t.Errorf("%v, %q, %d entries, problems %q", r.State, r.Why, len(r.Entries), r.Problems)
		}
		for _, e := range r.Entries {
			if e.Version != version {
				t.Errorf("version %d, want %d", e.Version, version)
			}
			if at := rows[fmt.Sprintf("%d %d %s", e.Program, min(e.Version, 3), e.NetID)]; e.Addr != at || e.NetID != rpcbind.Local && !at.IsValid() {
				t.Errorf("%s at %s, want %s", told(e), e.Addr, at)
			}
		}
	}
	check(p.LocateONC(t.Context(), oncHost, 100005, 3, 0, o), 3, 4, 0) // not on the local socket
	check(p.LocateONC(t.Context(), oncHost, 100005, 0, 0, o), 3, 4, 0)
	check(p.LocateONC(t.Context(), oncHost, 100000, 3, 0, o), 3, 5, 0)
	r := p.LocateONC(t.Context(), oncHost, 100005, 77, 0, o)
	if len(r.Entries) != 4 || len(r.Problems) != 4 || !slices.Contains(r.Problems, "it does not know mountd 77 on tcp, and tells the address of another version") {
		t.Errorf("version 77: %d entries, problems %q", len(r.Entries), r.Problems)
	}
	if r := p.LocateONC(t.Context(), oncHost, 399999, 1, 0, o); r.State != Listening || len(r.Entries) != 0 || r.Why != "it does not know the program" {
		t.Errorf("unknown program: %+v", r)
	}
}

// TestStatisticsReal: rpcinfo -m prints the same numbers.
func TestStatisticsReal(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startRPC(t)
	p := &Prober{}
	p.LocateONC(t.Context(), oncHost, 100005, 3, 0, ONCOptions{})
	at, err := p.TimeONC(t.Context(), oncHost, ONCOptions{})
	if err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("TimeONC = %v, %v", at, err)
	}
	printed := rpcinfo(t, "-m", "127.0.0.1")
	stats, err := p.StatisticsONC(t.Context(), oncHost, ONCOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stats[2].Calls[rpcbind.ProcGetStat]-- // that of rpcinfo is not the last any more
	var got []string
	for i, s := range stats {
		procs := rpcbind.Procs(uint32(i) + 2)
		var row []string
		for proc, n := range s.Calls[:procs] {
			text := fmt.Sprint(n)
			switch rpcbind.Proc(proc) {
			case rpcbind.ProcSet:
				text = fmt.Sprintf("%d/%d", s.Sets, n)
			case rpcbind.ProcUnset:
				text = fmt.Sprintf("%d/%d", s.Unsets, n)
			case rpcbind.ProcGetAddr: // found of all
				var found uint32
				for _, l := range s.Lookups {
					found += l.Found
				}
				text = fmt.Sprintf("%d/%d", found, n)
			case rpcbind.ProcCallIt:
				text = fmt.Sprintf("0/%d", n)
			}
			row = append(row, text)
		}
		got = append(got, strings.Join(row, " "))
	}
	var want []string
	counts := regexp.MustCompile(`(?m)^(NULL|VERADDR)\b.*\n(.*)$`)
	for _, m := range counts.FindAllStringSubmatch(printed, -1) {
		line := strings.Join(strings.Fields(m[2]), " ")
		if m[1] == "VERADDR" { // the second line of version 4
			want[len(want)-1] += " " + line
			continue
		}
		want = append(want, line)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rpcinfo -m printed\n%s\n(-want +got):\n%s", printed, diff)
	}
}

// TestFiltered: a host that drops what it gets, one that a router does not let us reach, and a
// server that takes no connections more.
func TestFiltered(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "ip")
	far := nstest.NewHost(t, "far", "10.98.0.1/24", "10.98.0.2/24")
	on := func(args ...string) {
		t.Helper()
		if out, err := far.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %q: %v\n%s", args, err, out)
		}
	}
	on("address", "add", "10.98.0.3/24", "dev", "eth0")
	on("route", "add", "prohibit", "10.97.0.0/24")
	if out, err := far.Command("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command("ip", "route", "add", "10.97.0.0/24", "via", "10.98.0.2").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const timeout = 300 * time.Millisecond
	p := &Prober{Timeout: timeout}
	ask := func(host string) *Report {
		return p.ONC(t.Context(), netip.MustParseAddr(host), ONCOptions{})
	}
	// First with the way back open: the host says that nothing listens.
	if r := ask("10.98.0.2"); r.State != NotListening {
		t.Errorf("open: %v, %q", r.State, r.Why)
	}
	if r := ask("10.97.0.5"); r.State != Filtered || !strings.Contains(r.Why, "tcp 111: no route to host") {
		t.Errorf("prohibited: %v, %q", r.State, r.Why)
	}
	if r := ask("10.98.0.77"); r.State != Filtered { // nobody has the address
		t.Errorf("nobody: %v, %q", r.State, r.Why)
	}
	on("route", "add", "blackhole", "10.98.0.1") // what it answers is dropped
	start := time.Now()
	r := ask("10.98.0.2")
	if r.State != Filtered || r.Why != "tcp 111: no answer in 300ms; udp 111: no answer in 300ms" {
		t.Errorf("dropped: %v, %q", r.State, r.Why)
	}
	if took := time.Since(start); took < timeout {
		t.Errorf("took %v, want %v at least", took, timeout)
	}

	entries := []Entry{
		{Interface: endpoint.Program(100005, 1), Endpoint: endpoint.Endpoint{NetID: rpcbind.TCP, Addr: netip.MustParseAddrPort("10.98.0.2:20048")}},
		{Interface: endpoint.Program(100005, 3), Endpoint: endpoint.Endpoint{NetID: rpcbind.TCP, Addr: netip.MustParseAddrPort("10.98.0.2:20048")}},
		{Interface: endpoint.Program(100005, 3), Endpoint: endpoint.Endpoint{NetID: rpcbind.UDP, Addr: netip.MustParseAddrPort("10.98.0.2:20048")}},
	}
	p.TryONC(t.Context(), netip.MustParseAddr("10.98.0.2"), entries, ONCOptions{})
	for _, e := range entries {
		if tried(e) != "filtered 0-0 no answer in 300ms" || e.Time != 0 {
			t.Errorf("%s: %s", told(e), tried(e))
		}
	}
}

// TestFullBacklog: connections that a server does not take are as silent as a firewall.
func TestFullBacklog(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: oncHost.As4()}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(oncHost, uint16(name.(*unix.SockaddrInet4).Port))
	for range 2 { // one waits, one is being taken; a third may be dropped already
		if c, err := net.DialTimeout("tcp", at.String(), 200*time.Millisecond); err == nil {
			defer c.Close()
		}
	}
	got := try(t, &Prober{Timeout: 200 * time.Millisecond}, []Entry{entryAt(100005, 3, rpcbind.TCP, at.Port())}, ONCOptions{})
	if !slices.Equal(got, []string{"filtered 0-0 no answer in 200ms"}) {
		t.Errorf("%q", got)
	}
}

// TestBroadcastReal: rpcbind on this host's network answers for a server that is there, over both
// families, and only for that.
func TestBroadcastReal(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "ip")
	far := nstest.NewHost(t, "far", "10.98.0.1/24", "10.98.0.2/24")
	startRPCOn(t, far.Command, "-r")
	p := &Prober{}
	from := map[netip.Addr]rpcbind.NetID{}
	networks := BroadcastOptions{Interfaces: []string{"far"}, For: 300 * time.Millisecond}
	// This rpcbind is not in the multicast group of port mappers, but like all others in that of all nodes.
	nodes := BroadcastOptions{To: []netip.AddrPort{netip.MustParseAddrPort("[ff02::1%far]:111")}, For: 300 * time.Millisecond}
	nstest.WaitFor(t, "answers over IPv4 and IPv6", startTime, func() bool { // an interface's first moments are deaf
		got, err := p.BroadcastONC(t.Context(), 100005, 3, networks)
		if err != nil {
			t.Fatal(err)
		}
		six, err := p.BroadcastONC(t.Context(), 100005, 3, nodes)
		if err != nil {
			return false // the interface has no address yet
		}
		got.Answers = append(got.Answers, six.Answers...)
		for _, a := range got.Answers {
			from[a.From.Addr()] = a.NetID
			if a.State != Listening || a.Addr.Port() == 0 || len(a.Problems) > 0 {
				t.Errorf("answer %+v", a)
			}
		}
		return len(from) == 2
	})
	for addr, n := range from {
		if want := addr == netip.MustParseAddr("10.98.0.2") && n == rpcbind.UDP || addr.IsLinkLocalUnicast() && addr.Zone() == "far" && n == rpcbind.UDP6; !want {
			t.Errorf("an answer from %s on %s", addr, n)
		}
	}
	got, err := p.BroadcastONC(t.Context(), 100005, 77, networks)
	if err != nil || len(got.Answers) > 0 || len(got.Sent) != 2 {
		t.Errorf("for a version that is not there: %+v, %v", got, err)
	}
}
