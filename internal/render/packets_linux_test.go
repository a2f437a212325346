package render_test

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/gate"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/render"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// Packets decide what a text lets through: the rules are loaded between two networks, and all addresses of
// the plan, with neighbours that it knows nothing of, try each other. The office is made by hand, since it has what no one site
// has: every protocol, groups, firewalls of hosts, control channels that are followed. What was planned for sites is held to what
// somebody wrote down by hand.

func TestPackets(t *testing.T) {
	for _, tt := range []struct{ target, backend, subject string }{
		{"nftables", "", "edge"},
		{"nftables", "", "dc1"},
		{"iptables", "nft", "edge"},
		{"iptables", "nft", "dc1"},
		{"iptables", "legacy", "edge"},
		{"iptables", "legacy", "dc1"},
		{"firewalld", "", "edge"},
		{"firewalld", "", "dc1"},
	} {
		t.Run(strings.TrimRight(tt.target+"-"+tt.backend, "-")+" "+tt.subject, func(t *testing.T) {
			if !nstest.Inside(t) {
				return
			}
			nstest.Need(t, "ip")
			in := subjects()[tt.subject]
			n := newNetwork(t, in.Plan, officeGround)
			load(t, tt.target, tt.backend, in)
			to := "" // the zone that is asked
			if in.Host != nil {
				to = in.Host.Zone.Name
			}
			n.check(t, planned(in), to)
			if in.Firewall != nil {
				n.follow(t)
			}
			if in.Firewall != nil && tt.target != "firewalld" {
				n.mark(t)
			}
		})
	}
}

// load has the kernel take the rules of a target: those of a firewall here, those of a host in its zone.
func load(t *testing.T, target, backend string, in *render.Input) {
	t.Helper()
	zone := ""
	if in.Host != nil {
		zone = in.Host.Zone.Name
	}
	switch target {
	case "nftables":
		nstest.Need(t, "nft")
		sh(t, within(zone, headed(t, write(t, target, in), "load")[0]))
	case "iptables":
		useIptables(t, backend)
		for _, family := range familiesOf(target) {
			in.Family = family
			path := write(t, target, in)
			for _, command := range slices.Concat(headed(t, path, "load"), headed(t, path, "once")) {
				sh(t, within(zone, command))
			}
		}
		in.Family = render.Both
	case "firewalld":
		startFirewalld(t, zone, write(t, target, in))
	}
}

// From a site to packets: what flows.txt has comes through, and its neighbours do not.
func TestSitePackets(t *testing.T) {
	for _, tt := range []struct {
		target, backend, site string
		ground                ground
	}{
		{"nftables", "", "dual-stack", dualGround},
		{"iptables", "nft", "dual-stack", dualGround},
		{"iptables", "legacy", "dual-stack", dualGround},
		{"nftables", "", "rpc-policy", rangesGround},
		{"iptables", "nft", "rpc-policy", rangesGround},
		{"iptables", "legacy", "rpc-policy", rangesGround},
	} {
		t.Run(strings.TrimRight(tt.target+"-"+tt.backend, "-")+" "+tt.site, func(t *testing.T) {
			if !nstest.Inside(t) {
				return
			}
			nstest.Need(t, "ip")
			dir := filepath.Join("..", "plan", "testdata", tt.site)
			open := func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }
			text, err := open("site.yaml")
			if err != nil {
				t.Fatal(err)
			}
			s, err := site.Read("site.yaml", text, catalog.Builtin(), open)
			if err != nil {
				t.Fatal(err)
			}
			p, err := plan.Make(s)
			if err != nil {
				t.Fatal(err)
			}
			n := newNetwork(t, p, tt.ground)
			load(t, tt.target, tt.backend, render.ForFirewall(p, s.Firewalls[0]))
			n.check(t, writtenFlows(t, filepath.Join(dir, "flows.txt"), p), "")
		})
	}
}

// writtenFlows returns what the lines of a file say that somebody wrote by hand, as [planned] has it: ROW FROM > TO PROTOCOL/PORTS and more.
func writtenFlows(t *testing.T, path string, p *plan.Plan) map[pair]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := map[pair]portset.Set{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[2] != ">" {
			continue // a comment or a warning
		}
		name, words, _ := strings.Cut(f[4], "/")
		protocol, err := catalog.ParseProtocol(name)
		if err != nil {
			t.Fatal(err)
		}
		var ports portset.Set
		if protocol.HasPorts() {
			if ports, err = portset.Parse(words); err != nil {
				t.Fatal(err)
			}
		}
		for _, from := range hostNamed(p, f[1]).Addresses {
			for _, to := range hostNamed(p, f[3]).Addresses {
				if from.Addr().Is4() == to.Addr().Is4() {
					k := pair{from, to, protocol}
					all[k] = all[k].Union(ports)
				}
			}
		}
	}
	words := map[pair]string{}
	for k, ports := range all {
		words[k] = ports.String()
	}
	return words
}

// startFirewalld starts firewalld in the namespace of a zone with the files that a script has written.
func startFirewalld(t *testing.T, zone, script string) {
	t.Helper()
	dir := t.TempDir()
	sh(t, "touch "+dir+"/firewalld.conf && sh "+script+" "+dir)
	nstest.Firewalld(t, zone, dir)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", sh(t, within(zone, "nft list ruleset")))
		}
	})
}

// within returns a command of the shell that runs another in the namespace of a zone.
func within(zone, command string) string {
	if zone == "" {
		return command
	}
	return "ip netns exec " + zone + " sh -c '" + command + "'"
}

// A network is two zones, each a host that has all addresses of its zone, with the
// test's own namespace between.
type network struct {
	ground   ground
	inside   map[netip.Addr]string // the zone of an address
	sockets  []int                 // that take datagrams and packets
	tcp      []int                 // that listen
	received map[string]bool       // what they have taken
}

// A ground is what two zones are on, by their names.
type ground map[string]struct {
	networks  []string // the first of IPv4; their first two addresses are nobody's
	strangers []string // addresses that the plan knows nothing of
}

var (
	officeGround = ground{
		"dmz":  {[]string{"192.0.2.0/24", "2001:db8:2::/48"}, []string{"192.0.2.9", "192.0.2.127", "2001:db8:2::9"}},
		"core": {[]string{"10.0.0.0/24", "2001:db8:1::/64"}, []string{"10.0.0.9", "2001:db8:1::9"}},
	}
	dualGround = ground{
		"dmz":  {[]string{"192.0.2.0/24", "2001:db8:2::/48"}, []string{"192.0.2.21", "2001:db8:2::21"}},
		"core": {[]string{"10.0.0.0/24", "2001:db8:1::/64"}, []string{"10.0.0.11", "2001:db8:1::21"}},
	}
	rangesGround = ground{
		"offices": {[]string{"10.3.0.0/16"}, []string{"10.3.1.11"}},
		"servers": {[]string{"10.0.0.0/24"}, []string{"10.0.0.19", "10.0.0.24"}},
	}
)

// zones returns the names, in order.
func (g ground) zones() []string { return slices.Sorted(maps.Keys(g)) }

// network returns the network of a zone that has an address.
func (g ground) network(zone string, a netip.Addr) netip.Prefix {
	for _, text := range g[zone].networks {
		if p := netip.MustParsePrefix(text); p.Contains(a) {
			return p
		}
	}
	panic(fmt.Sprintf("%v is of no network of %s", a, zone))
}

func newNetwork(t *testing.T, p *plan.Plan, g ground) *network {
	t.Helper()
	for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := os.WriteFile("/proc/sys/net/"+key, []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
	}
	n := &network{ground: g, inside: map[netip.Addr]string{}, received: map[string]bool{}}
	for _, zone := range g.zones() {
		first := netip.MustParsePrefix(g[zone].networks[0])
		gateway := first.Addr().Next()
		nstest.NewHost(t, zone, netip.PrefixFrom(gateway, first.Bits()).String(), netip.PrefixFrom(gateway.Next(), first.Bits()).String())
		sh(t, fmt.Sprintf("ip -n %s route add default via %s", zone, gateway))
		for _, text := range g[zone].networks[1:] {
			p := netip.MustParsePrefix(text)
			sh(t, fmt.Sprintf("ip address add %s/%d dev %s nodad", p.Addr().Next(), p.Bits(), zone))
		}
	}
	for _, h := range p.Site.Hosts {
		for _, a := range h.Addresses {
			addr := a.Addr()
			if !a.IsSingleIP() {
				addr = addr.Next().Next() // of a group one is enough
			}
			n.add(t, h.Zone.Name, addr)
		}
	}
	for zone, on := range g {
		for _, a := range on.strangers {
			n.add(t, zone, netip.MustParseAddr(a))
		}
		for _, text := range on.networks[1:] {
			sh(t, fmt.Sprintf("ip -n %s route add default via %s", zone, netip.MustParsePrefix(text).Addr().Next()))
		}
		sh(t, "ip netns exec "+zone+" sh -c 'echo 0 0 >/proc/sys/net/ipv4/ping_group_range'")
	}
	return n
}

func (n *network) add(t *testing.T, zone string, a netip.Addr) {
	t.Helper()
	n.inside[a] = zone
	bits := n.ground.network(zone, a).Bits()
	sh(t, fmt.Sprintf("ip -n %s address add %s/%d dev eth0 %s", zone, a, bits, map[bool]string{true: "nodad"}[a.Is6()]))
}

// in runs f on a thread that is in the namespace of a zone, where sockets that it makes stay.
func in(t *testing.T, zone string, f func() error) {
	t.Helper()
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		failed <- func() error {
			fd, err := unix.Open("/run/netns/"+zone, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
				return err
			}
			return f()
		}()
	}()
	if err := <-failed; err != nil {
		t.Fatalf("in %s: %v", zone, err)
	}
}

// A probe is a try to reach an address.
type probe struct {
	from, to netip.Addr
	protocol catalog.Protocol
	port     uint16 // of protocols with ports
}

func (p probe) String() string {
	return fmt.Sprintf("%v -> %v %v/%d", p.from, p.to, p.protocol, p.port)
}

// probes returns everything that is tried: all ports at which a rule of the plan begins or ends, their neighbours, and one in the middle.
func (n *network) probes(plan map[pair]string) []probe {
	ports := map[uint16]bool{20: true, 21: true, 69: true}
	for k, text := range plan {
		if !k.protocol.HasPorts() || strings.Count(text, ",") > 8 {
			continue
		}
		set, err := portset.Parse(text)
		if err != nil {
			panic(err)
		}
		for r := range set.Ranges() {
			for _, p := range []uint16{r.First - 1, r.First, r.First + (r.Last-r.First)/2, r.Last, r.Last + 1} {
				if p != 0 {
					ports[p] = true
				}
			}
		}
	}
	var all []probe
	byAddress := slices.SortedFunc(maps.Keys(n.inside), netip.Addr.Compare)
	for _, from := range byAddress {
		for _, to := range byAddress {
			if from.Is4() != to.Is4() || n.inside[from] == n.inside[to] {
				continue
			}
			for _, port := range slices.Sorted(maps.Keys(ports)) {
				all = append(all, probe{from, to, catalog.TCP, port}, probe{from, to, catalog.UDP, port})
			}
			all = append(all, probe{from, to, catalog.ICMP, 0})
			for _, protocol := range []catalog.Protocol{catalog.ESP, catalog.AH, catalog.GRE} {
				// Without ports what comes back is what answers.
				if p := (probe{from, to, protocol, 0}); p.passes(plan) || !(probe{to, from, protocol, 0}).passes(plan) {
					all = append(all, p)
				}
			}
		}
	}
	return all
}

// passes reports whether the plan lets a probe through.
func (p probe) passes(plan map[pair]string) bool {
	for k, text := range plan {
		if !k.from.Contains(p.from) || !k.to.Contains(p.to) || k.protocol != 0 && k.protocol != p.protocol {
			continue
		}
		set, err := portset.Parse(text)
		if k.protocol == 0 || !p.protocol.HasPorts() || err == nil && set.Contains(p.port) {
			return true
		}
	}
	return false
}

// check tries all probes, those to one zone if it has a name, and compares who comes through with the plan.
func (n *network) check(t *testing.T, plan map[pair]string, to string) {
	t.Helper()
	all := n.probes(plan)
	if to != "" {
		all = slices.DeleteFunc(all, func(p probe) bool { return n.inside[p.to] != to })
	}
	n.serve(t, all)
	first := slices.IndexFunc(all, func(p probe) bool { return p.passes(plan) })
	passed, blocked := 0, 0
	for some := range slices.Chunk(all, 400) {
		p, b := n.try(t, append(slices.Clone(some), all[first]), plan) // one at least is answered
		passed, blocked = passed+p, blocked+b
	}
	for _, fd := range n.tcp {
		unix.Close(fd)
	}
	t.Logf("%d probes came through, %d did not", passed, blocked)
	if passed < 50 || blocked < 1000 {
		t.Error("these are too few to say anything")
	}
}

// serve takes all probes in both zones. Who connects by TCP has its answer of the kernel.
func (n *network) serve(t *testing.T, all []probe) {
	t.Helper()
	ports := map[uint16]bool{}
	for _, p := range all {
		if p.protocol.HasPorts() {
			ports[p.port] = true
		}
	}
	for _, zone := range n.ground.zones() {
		in(t, zone, func() error {
			for port := range ports {
				if err := n.listen(port); err != nil {
					return fmt.Errorf("port %d: %w", port, err)
				}
			}
			for _, p := range []catalog.Protocol{catalog.ESP, catalog.AH, catalog.GRE} {
				for _, domain := range []int{unix.AF_INET, unix.AF_INET6} {
					fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(p))
					if err != nil {
						return err
					}
					n.sockets = append(n.sockets, fd)
				}
			}
			return nil
		})
	}
}

func (n *network) listen(port uint16) error {
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
		fd, err := unix.Socket(unix.AF_INET6, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet6{Port: int(port)}); err != nil {
			return err
		}
		if kind == unix.SOCK_DGRAM {
			n.sockets = append(n.sockets, fd)
			continue
		}
		n.tcp = append(n.tcp, fd)
		if err := unix.Listen(fd, 4096); err != nil {
			return err
		}
	}
	return nil
}

// receive takes what has come.
func (n *network) receive() {
	b := make([]byte, 1500)
	for _, fd := range n.sockets {
		for {
			count, err := unix.Read(fd, b)
			if err != nil {
				break
			}
			if _, text, ok := bytes.Cut(b[:count], []byte("probe:")); ok {
				n.received[string(text)] = true
			}
		}
	}
}

// try sends some probes and waits until all that are planned are answered. Then those that are not
// have had their time: they were sent before the others, by the same ways.
func (n *network) try(t *testing.T, some []probe, plan map[pair]string) (passed, blocked int) {
	t.Helper()
	var tries []*try
	for _, wanted := range []bool{false, true} {
		for _, p := range some {
			if p.passes(plan) != wanted {
				continue
			}
			one := &try{probe: p, wanted: wanted}
			tries = append(tries, one)
			in(t, n.inside[p.from], one.open)
			defer unix.Close(one.fd)
		}
	}
	for deadline, again := time.Now().Add(20*time.Second), time.Now().Add(time.Second); ; time.Sleep(2 * time.Millisecond) {
		n.receive()
		missing := false
		for _, one := range tries {
			one.look(n)
			missing = missing || one.wanted && !one.answered
		}
		if !missing || time.Now().After(deadline) {
			break
		}
		if time.Now().After(again) { // a datagram may have been lost
			again = again.Add(time.Second)
			for _, one := range tries {
				if one.wanted && !one.answered {
					one.send()
				}
			}
		}
	}
	for _, one := range tries {
		switch {
		case one.answered && !one.wanted:
			t.Errorf("%v comes through, which is not planned", one.probe)
		case !one.answered && one.wanted:
			t.Errorf("%v does not come through", one.probe)
		}
		if one.answered {
			passed++
		} else {
			blocked++
		}
	}
	return passed, blocked
}

// A try is a probe that is under way.
type try struct {
	probe
	wanted   bool // it has to come through
	answered bool
	fd       int
}

// open makes the socket and sends for the first time.
func (o *try) open() error {
	domain := unix.AF_INET
	if o.from.Is6() {
		domain = unix.AF_INET6
	}
	kind, protocol := unix.SOCK_RAW, int(o.protocol)
	switch o.protocol {
	case catalog.TCP:
		kind = unix.SOCK_STREAM
	case catalog.UDP:
		kind = unix.SOCK_DGRAM
	case catalog.ICMP:
		kind = unix.SOCK_DGRAM // the kernel knows pings
		if o.from.Is6() {
			protocol = unix.IPPROTO_ICMPV6
		}
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return err
	}
	o.fd = fd
	if err := unix.Bind(fd, sockaddr(o.from, 0)); err != nil {
		return err
	}
	if err := unix.Connect(fd, sockaddr(o.to, o.port)); err != nil && err != unix.EINPROGRESS {
		return err
	}
	return o.send()
}

// send sends what says which probe it is; TCP sends by itself.
func (o *try) send() error {
	var head []byte
	switch o.protocol {
	case catalog.TCP:
		return nil
	case catalog.ICMP:
		head = []byte{8, 0, 0, 0, 0, 0, 0, 0}
		if o.from.Is6() {
			head[0] = 128
		}
	case catalog.ESP, catalog.GRE:
		head = make([]byte, 8)
	case catalog.AH:
		head = make([]byte, 24)
		head[0], head[1] = 253, 4 // what follows is for experiments; its own length
	}
	_, err := unix.Write(o.fd, append(head, "probe:"+o.String()...))
	return err
}

// look sees whether the probe has come through.
func (o *try) look(n *network) {
	switch o.protocol {
	case catalog.TCP:
		p := []unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLOUT}}
		if count, _ := unix.Poll(p, 0); count > 0 {
			errno, err := unix.GetsockoptInt(o.fd, unix.SOL_SOCKET, unix.SO_ERROR)
			o.answered = o.answered || err == nil && errno == 0
		}
	case catalog.ICMP:
		count, err := unix.Read(o.fd, make([]byte, 1500))
		o.answered = o.answered || err == nil && count > 0
	default:
		o.answered = n.received[o.String()]
	}
}

func sockaddr(a netip.Addr, port uint16) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: int(port)}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: int(port)}
}

// follow speaks FTP and TFTP: what is told on their control channels comes through, from the ports next to that nothing.
func (n *network) follow(t *testing.T) {
	t.Helper()
	for _, to := range []string{"10.0.0.30", "2001:db8:1::30"} {
		server, client := netip.MustParseAddr(to), netip.MustParseAddr("192.0.2.10")
		told := "227 Entering Passive Mode (10,0,0,30,195,80).\r\n" // port 50000
		if server.Is6() {
			client, told = netip.MustParseAddr("2001:db8:2::10"), "229 Entering Extended Passive Mode (|||50000|)\r\n"
		}
		var ln net.Listener
		var data [2]net.Listener
		in(t, "core", func() (err error) {
			if ln, err = net.Listen("tcp", netip.AddrPortFrom(server, 21).String()); err != nil {
				return err
			}
			for i := range data {
				if data[i], err = net.Listen("tcp", netip.AddrPortFrom(server, 50000+uint16(i)).String()); err != nil {
					return err
				}
			}
			return nil
		})
		defer ln.Close()
		defer data[0].Close()
		defer data[1].Close()
		var control net.Conn
		in(t, "dmz", func() (err error) {
			control, err = dial(client, server, 21, 20*time.Second)
			return err
		})
		defer control.Close()
		accepted, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		say := func(from, to net.Conn, line string) {
			fmt.Fprint(from, line)
			to.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := bufio.NewReader(to).ReadString('\n'); err != nil {
				t.Fatalf("%q does not arrive: %v", line, err)
			}
		}
		say(accepted, control, "220 ready\r\n")
		say(control, accepted, map[bool]string{false: "PASV\r\n", true: "EPSV\r\n"}[server.Is6()])
		say(accepted, control, told)
		in(t, "dmz", func() error {
			if conn, err := dial(client, server, 50001, 300*time.Millisecond); err == nil {
				conn.Close()
				t.Errorf("%v: a port comes through that FTP did not tell", server)
			}
			conn, err := dial(client, server, 50000, 20*time.Second)
			if err != nil {
				return fmt.Errorf("the port that FTP told: %w", err)
			}
			return conn.Close()
		})
		n.followTFTP(t, client, server)
	}
}

// mark has a connection come through that quaymaster gate would have marked, and others not.
func (n *network) mark(t *testing.T) {
	t.Helper()
	nstest.Need(t, "nft")
	const port = 50002
	sh(t, fmt.Sprintf("nft 'table inet gate { chain forward { type filter hook forward priority filter - 5; tcp dport %d ct mark set ct mark or 0x%08x; }; }'",
		port, gate.DefaultMarks.Flow))
	for _, ends := range [][2]string{{"192.0.2.10", "10.0.0.10"}, {"2001:db8:2::10", "2001:db8:1::10"}} {
		client, server := netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1])
		for _, p := range []uint16{port, port + 1} {
			var ln net.Listener
			in(t, "core", func() (err error) {
				ln, err = net.Listen("tcp", netip.AddrPortFrom(server, p).String())
				return err
			})
			defer ln.Close()
		}
		in(t, "dmz", func() error {
			if conn, err := dial(client, server, port+1, 300*time.Millisecond); err == nil {
				conn.Close()
				t.Errorf("%v: a connection without the mark comes through", server)
			}
			conn, err := dial(client, server, port, 20*time.Second)
			if err != nil {
				return fmt.Errorf("a connection with the mark: %w", err)
			}
			return conn.Close()
		})
	}
}

// followTFTP reads a file: the answer comes from another port than was asked.
func (n *network) followTFTP(t *testing.T, client, server netip.Addr) {
	t.Helper()
	var asks, answers, strays *net.UDPConn
	listen := func(conn **net.UDPConn, a netip.AddrPort) (err error) {
		*conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(a))
		return err
	}
	in(t, "dmz", func() error { return listen(&asks, netip.AddrPortFrom(client, 40000)) })
	defer asks.Close()
	in(t, "core", func() error { return listen(&answers, netip.AddrPortFrom(server, 0)) })
	defer answers.Close()
	in(t, "core", func() error { return listen(&strays, netip.AddrPortFrom(server, 0)) })
	defer strays.Close()

	request := "\x00\x01probe:tftp " + server.String() + "\x00octet\x00"
	if _, err := asks.WriteToUDPAddrPort([]byte(request), netip.AddrPortFrom(server, 69)); err != nil {
		t.Fatal(err)
	}
	nstest.WaitFor(t, "the request of TFTP", 20*time.Second, func() bool {
		n.receive()
		return n.received[request[len("\x00\x01probe:"):]]
	})
	b := make([]byte, 100)
	// What is expected is one connection: whichever comes first has it.
	if _, err := answers.WriteToUDPAddrPort([]byte("\x00\x03\x00\x01data"), asks.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
		t.Fatal(err)
	}
	asks.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, from, err := asks.ReadFromUDPAddrPort(b); err != nil || from.Port() != answers.LocalAddr().(*net.UDPAddr).AddrPort().Port() {
		t.Errorf("the answer of TFTP: %v", err)
	}
	if _, err := strays.WriteToUDPAddrPort([]byte("stray"), asks.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
		t.Fatal(err)
	}
	asks.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if count, _, err := asks.ReadFromUDPAddrPort(b); err == nil {
		t.Errorf("%q comes through from a port that nobody asked for", b[:count])
	}
}

func dial(from, to netip.Addr, port uint16, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: timeout}
	return d.Dial("tcp", netip.AddrPortFrom(to, port).String())
}
