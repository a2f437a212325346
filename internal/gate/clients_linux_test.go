package gate

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// edgePolicy is of all protocols, between the hosts of edge.
const edgePolicy = `client_side: [c0]
server_side: [s0]
follow:
  epm: {clients: [10.1.0.0/16, "fd00:1::/64"], servers: [10.3.0.0/24, "fd00:3::/64"]}
  portmapper: {clients: [10.1.0.0/16, "fd00:1::/64"], servers: [10.3.0.0/24, "fd00:3::/64"]}
  ftp: {clients: [10.1.0.0/16, "fd00:1::/64"], servers: [10.3.0.0/24, "fd00:3::/64"]}
  tftp: {clients: [10.1.0.0/16, "fd00:1::/64"], servers: [10.3.0.0/24, "fd00:3::/64"]}
`

// A mode is a way to have the gate on a host.
type mode struct {
	name, text string   // of gate.yaml
	host       string   // who has rules of its own: as HostRules says, or nobody
	rules      []string // commands
}

var modes = []mode{
	{"own", "forward: own\n", "", nil},
	{"nftables", "", "nftables", []string{"echo '" + hostRules + "' | nft -f -"}},
	{"iptables", "", "iptables", iptablesRules()},
	{"firewalld", "", "firewalld", nil},
	{"ufw", "", "ufw", nil},
	{"masquerade", "forward: own\nnat: masquerade\n", "", nil},
	{"masquerade-nftables", "nat: masquerade\n", "nftables", []string{"echo '" + hostRules + "' | nft -f -"}},
	{"snat", "forward: own\nnat: snat 10.3.0.1\n", "", nil},
}

func iptablesRules() []string {
	var all []string
	for _, program := range []string{"iptables-nft", "ip6tables-nft"} {
		for _, rule := range []string{
			"-P FORWARD DROP", "-P INPUT DROP", "-A INPUT -i lo -j ACCEPT",
			"-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT", "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
		} {
			all = append(all, program+" "+rule)
		}
	}
	return append(all, "ip6tables-nft -A INPUT -p icmpv6 -j ACCEPT")
}

// host gives this host the rules of the mode, with what is printed for them.
func (m *mode) prepare(t testing.TB, p *Policy) {
	t.Helper()
	for _, c := range m.rules {
		command(t, "sh", "-c", c)
	}
	for _, r := range p.HostRules() {
		switch {
		case r.Of != m.host:
			continue
		case m.host == "ufw": // whose rules stand in files
			startUFW(t, r)
			continue
		case m.host == "firewalld":
			startFirewalld(t)
		}
		for _, c := range append(r.Forward, r.Input...) {
			command(t, "sh", "-c", c)
			if m.host == "iptables" {
				command(t, "sh", "-c", strings.Replace(c, "iptables", "ip6tables", 1))
			}
		}
	}
}

// runGate puts a policy in place and serves it until the test ends.
func runGate(t testing.TB, p *Policy) *Gate {
	t.Helper()
	s := &System{Policy: p}
	if err := s.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	h, _ := startPinholes(t, p)
	g := New(p, h, nil)
	serveGate(t, g)
	return g
}

// serveGate runs a gate until the test ends or stop is called.
func serveGate(t testing.TB, g *Gate) (stop func()) {
	t.Helper()
	if err := g.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// vain is how long a client is given that should not get anything.
const vain = 2 * time.Second

// withoutPinholes has the gate promise ports, and open none.
func withoutPinholes(g *Gate) {
	g.ask(func(*loop) { g.openHoles = func(context.Context, []Pinhole) error { return nil } })
}

// on returns a program on a host.
func on(t testing.TB, host, name string, args ...string) *exec.Cmd {
	t.Helper()
	args = append([]string{"netns", "exec", host, nstest.Path(t, name)}, args...)
	return exec.Command(nstest.Path(t, "ip"), args...)
}

// waitToListen waits until a server on a host accepts connections.
func waitToListen(t testing.TB, p *nstest.Process, host, to string) {
	t.Helper()
	nstest.WaitFor(t, to+" to listen", patience, func() bool {
		if p.Ended() {
			t.Fatalf("it ended:\n%s", p.Output())
		}
		var err error
		at(t, host, func() {
			var conn net.Conn
			if conn, err = net.Dial("tcp", to); err == nil {
				conn.Close()
			}
		})
		return err == nil
	})
}

// cargo is what is transferred, and bulk what takes the server of FTP some seconds.
var (
	cargo = bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyz\n"), 8000)
	bulk  = bytes.Repeat([]byte("zyxwvutsrqponmlkjihgfedcba9876543210\n"), 340_000)
)

const maxRate = 4_000_000 // bytes per second

// startServers starts real servers of FTP and TFTP on the host of servers.
func startServers(t testing.TB) {
	t.Helper()
	nstest.NeedRoot(t)
	nstest.Need(t, "vsftpd", "curl", "lftp", "tnftp", "in.tftpd", "tftp")
	for _, dir := range []string{"/run/empty", "/run/ftp"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string][]byte{"cargo": cargo, "bulk": bulk} {
		if err := os.WriteFile("/run/ftp/"+name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, listen := range []string{"listen=YES\nlisten_ipv6=NO\n", "listen=NO\nlisten_ipv6=YES\nlisten_address6=fd00:3::2\n"} {
		config := filepath.Join(t.TempDir(), "vsftpd.conf")
		text := listen + "background=NO\nanonymous_enable=YES\nlocal_enable=NO\nno_anon_password=YES\nanon_root=/run/ftp\nsecure_chroot_dir=/run/empty\n" +
			"isolate=NO\nisolate_network=NO\nseccomp_sandbox=NO\nconnect_from_port_20=NO\n" +
			"pasv_min_port=40000\npasv_max_port=60000\n" + // else now and then one that the gate does not let be promised
			fmt.Sprintf("anon_max_rate=%d\n", maxRate)
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		p := nstest.StartCommand(t, on(t, "s0", "vsftpd", config))
		if strings.HasPrefix(listen, "listen=YES") {
			waitToListen(t, p, "s0", "10.3.0.2:21")
		} else {
			waitToListen(t, p, "s0", "[fd00:3::2]:21")
		}
	}
	nstest.StartCommand(t, on(t, "s0", "in.tftpd", "--foreground", "--listen", "--secure", "--user", "root", "/run/ftp"))
}

// A fetch is a client that gets the cargo into a file.
type fetch struct {
	name string
	args []string // of sh; OUT is the file
	ipv6 bool
}

// fetches are real clients in all their ways.
func fetches(host string, ipv6 bool) []fetch {
	curl := func(args string) []string {
		return []string{"-c", "exec curl -gsS --connect-timeout 5 --max-time 15 " + args + " -o OUT"}
	}
	lftp := func(settings string) []string {
		return []string{"-c", "exec lftp -c 'set net:timeout 5; set net:max-retries 1; set net:reconnect-interval-base 1; " + settings + "; open ftp://" + host + "; get cargo -o OUT'"}
	}
	ftp, tftp := "ftp://"+host+"/cargo", "tftp://"+host+"/cargo"
	all := []fetch{
		{"curl passive", curl(ftp), ipv6},
		{"curl active", curl("-P - " + ftp), ipv6},
		{"lftp passive", lftp("set ftp:passive-mode true"), ipv6},
		{"lftp active", lftp("set ftp:passive-mode false"), ipv6},
		{"tnftp passive", []string{"-c", "exec tnftp -p -q 5 -o OUT " + ftp}, ipv6},
		{"tnftp active", []string{"-c", "exec tnftp -A -q 5 -o OUT " + ftp}, ipv6},
		{"curl TFTP", curl(tftp), ipv6},
		{"tftp", []string{"-c", "exec tftp -m binary " + strings.Trim(host, "[]") + " -c get cargo OUT"}, ipv6},
	}
	if !ipv6 {
		all = append(all, fetch{"curl PASV", curl("--disable-epsv " + ftp), ipv6}, fetch{"curl PORT", curl("-P - --disable-eprt " + ftp), ipv6})
	}
	return all
}

// run runs the client on the host of clients, and returns an error if it did not get the cargo.
func (f *fetch) run(t testing.TB, patience time.Duration) error {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	cmd := on(t, "c0", "sh", f.args[0], strings.ReplaceAll(f.args[1], "OUT", out))
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	said, err := runFor(cmd, patience)
	got, readErr := os.ReadFile(out)
	if err == nil && readErr == nil && bytes.Equal(got, cargo) {
		return nil
	}
	return fmt.Errorf("%v, %v, %d bytes of %d, said %q", err, readErr, len(got), len(cargo), said)
}

// runFor runs a program for so long at most, and returns what it wrote.
func runFor(cmd *exec.Cmd, patience time.Duration) (said string, err error) {
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := cmd.Start(); err != nil {
		return "", err
	}
	late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer late.Stop()
	err = cmd.Wait()
	return b.String(), err
}

// Real clients get what they ask for in all modes, and nothing without pinholes.
func TestClients(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			if !nstest.Inside(t) {
				return
			}
			edge(t)
			startServers(t)
			p := readPolicy(t, m.text+edgePolicy)
			m.prepare(t, p)
			g := runGate(t, p)
			all := append(fetches("10.3.0.2", false), fetches("[fd00:3::2]", true)...)
			for _, f := range all {
				begun := time.Now()
				if err := f.run(t, patience); err != nil {
					t.Errorf("%s, IPv6 %t: %v", f.name, f.ipv6, err)
				}
				t.Logf("%s, IPv6 %t: %s", f.name, f.ipv6, time.Since(begun).Round(time.Millisecond))
			}
			if c := g.Counts(); c.Promised < uint64(len(all)) || len(c.Refused) > 0 {
				t.Errorf("counts %+v, want %d promised ports and nothing refused", c, len(all))
			}
			if t.Failed() || testing.Short() {
				return
			}
			// The same with nothing opened.
			withoutPinholes(g)
			var wait sync.WaitGroup
			for _, f := range all {
				wait.Go(func() {
					if f.run(t, vain) == nil {
						t.Errorf("%s, IPv6 %t works without pinholes", f.name, f.ipv6)
					}
				})
			}
			wait.Wait()
		})
	}
}

// A host that starts from the network fetches more files than it may have pinholes at a time.
func TestManySmallFiles(t *testing.T) {
	for _, text := range []string{"", "nat: masquerade\n"} {
		t.Run(text, func(t *testing.T) {
			if !nstest.Inside(t) {
				return
			}
			edge(t)
			startServers(t)
			g := runGate(t, readPolicy(t, "forward: own\nlimits: {per_client: 10}\n"+text+edgePolicy))
			if err := os.WriteFile("/run/ftp/small", []byte("small"), 0o644); err != nil {
				t.Fatal(err)
			}
			script := "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do curl -sS --max-time 5 -o /dev/null tftp://10.3.0.2/small || exit 1; done"
			if said, err := runFor(on(t, "c0", "sh", "-c", script), patience); err != nil {
				t.Errorf("%v: %s", err, said)
			}
			if c := g.Counts(); len(c.Refused) > 0 || c.Promised != 25 {
				t.Errorf("counts %+v", c)
			}
		})
	}
}
