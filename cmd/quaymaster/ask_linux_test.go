//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/probe"
)

// askJSON asks, which must end with that status, and returns the answer.
func askJSON(t *testing.T, status int, args ...string) *askDocument {
	t.Helper()
	r := run(t, "quaymaster", append([]string{"ask", "-o", "json"}, args...)...)
	var d askDocument
	if err := json.Unmarshal([]byte(r.Stdout), &d); err != nil || r.Exit != status || d.Schema != askSchema {
		t.Fatalf("ask %q: exit status %d, want %d, %v; it wrote:\n%s%s", args, r.Exit, status, err, r.Stdout, r.Stderr)
	}
	return &d
}

// oncLines returns rows as rpcinfo writes them, sorted.
func oncLines(h *askHost) []string {
	var lines []string
	for _, e := range h.Entries {
		at := e.Told
		if at == "" {
			at = e.Path
		}
		if addr, err := netip.ParseAddr(e.Address); err == nil && e.Told == "" {
			at = fmt.Sprintf("%s.%d.%d", addr, e.Port>>8, e.Port&255)
		}
		lines = append(lines, fmt.Sprint(e.Program, " ", e.Version, " ", e.NetID, " ", at, " ", e.Owner))
	}
	slices.Sort(lines)
	return lines
}

func rpcinfoLines(t *testing.T, host ...string) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(run(t, "rpcinfo", host...).Stdout) {
		f := strings.Fields(line)
		if f[0] == "program" {
			continue
		}
		lines = append(lines, fmt.Sprint(f[0], " ", f[1], " ", f[2], " ", f[3], " ", f[len(f)-1]))
	}
	slices.Sort(lines)
	return lines
}

// startFileServer starts rpc.mountd and rpc.statd, as on a file server.
func startFileServer(t *testing.T) {
	t.Helper()
	prepareServices(t)
	for _, s := range services[:2] {
		args := s.command[1:]
		if s.program == 100005 {
			args = append(slices.Clone(args), "-p", "20048")
		}
		nstest.Start(t, s.command[0], args...)
		nstest.WaitFor(t, s.command[0]+" to register", startTime, func() bool { return len(rowsOf(t, s.program)) >= len(s.rows) })
	}
}

func killServer(t *testing.T, name string) {
	t.Helper()
	for _, pid := range processesOf(t, name) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	nstest.WaitFor(t, name+" to end", startTime, func() bool { return len(processesOf(t, name)) == 0 })
}

// TestAskFileServer: ask tells what rpcinfo does, tries it, and says which row lies when a server was
// killed. rpcbind keeps such rows, ours does not.
func TestAskFileServer(t *testing.T) {
	onEachMapper(t, func(t *testing.T, mapper string) {
		nstest.Need(t, "rpcinfo")
		startMapper(t, mapper)
		startFileServer(t)

		d := askJSON(t, exitDone, "127.0.0.1", "--onc")
		if diff := cmp.Diff(rpcinfoLines(t), oncLines(d.Hosts[0])); diff != "" {
			t.Errorf("ask tells something else (-rpcinfo +ask):\n%s", diff)
		}
		d = askJSON(t, exitDone, "127.0.0.1", "--onc", "--try")
		for _, e := range d.Hosts[0].Entries {
			if e.State != probe.Listening {
				t.Errorf("%s %s on %s is %s (%s), want that it works", e.Name, e.Version, e.NetID, e.State, e.Why)
			}
		}
		before := writeAnswer(t, d)
		if r := run(t, "quaymaster", "ask", "127.0.0.1", "--onc", "--try", "--compare", before); r.Exit != exitDone || !strings.HasPrefix(r.Stdout, "0 differences to ") {
			t.Errorf("ask --compare of the same = %+v", r)
		}
		watch := nstest.Start(t, "quaymaster", "ask", "127.0.0.1", "--onc", "--watch", "1s")
		nstest.WaitFor(t, "the watch to begin", startTime, func() bool { return strings.Contains(watch.Output(), "endpoints\n\n") })

		killServer(t, "rpc.mountd")
		if mapper == "rpcbind" {
			d = askJSON(t, exitFound, "127.0.0.1", "--onc", "--try")
			for _, e := range d.Hosts[0].Entries {
				if want := map[bool]probe.State{true: probe.NotListening, false: probe.Listening}[e.Name == "mountd"]; e.State != want {
					t.Errorf("after mountd was killed %s %s on %s is %s, want %s", e.Name, e.Version, e.NetID, e.State, want)
				}
			}
			r := run(t, "quaymaster", "ask", "127.0.0.1", "mountd")
			if r.Exit != exitFound || !strings.Contains(r.Stdout, " REFUSED ") || !strings.Contains(r.Stdout, "(mountd)") || !strings.Contains(r.Stdout, "nothing listens there: start the server again") {
				t.Errorf("ask 127.0.0.1 mountd = %+v", r)
			}
			r = run(t, "quaymaster", "ask", "127.0.0.1", "--onc", "--try", "--compare", before)
			if r.Exit != exitFound || !strings.HasPrefix(r.Stdout, "~  127.0.0.1  mountd 100005 version 1-3  tcp tcp6 udp udp6 *:20048  works → REFUSED\n\n12 differences to ") {
				t.Errorf("ask --compare = %+v, want that 12 rows of mountd are refused now", r)
			}
			for _, version := range []string{"1", "2", "3"} {
				run(t, "rpcinfo", "-d", "mountd", version)
			}
		} else {
			nstest.WaitFor(t, "the rows to end", startTime, func() bool { return len(rowsOf(t, 100005)) == 0 })
			r := run(t, "quaymaster", "ask", "127.0.0.1", "--onc", "--compare", before)
			if r.Exit != exitFound || !strings.HasPrefix(r.Stdout, "-  127.0.0.1  mountd 100005 version 1-3  tcp tcp6 udp udp6 *:20048\n\n12 differences to ") {
				t.Errorf("ask --compare = %+v, want that 12 rows of mountd have vanished", r)
			}
		}
		nstest.WaitFor(t, "the watch to tell", startTime, func() bool { // of some in one look and of others in the next, perhaps
			return strings.Contains(watch.Output(), "  -  127.0.0.1  mountd 100005 version ")
		})
		watch.Signal(syscall.SIGINT)
		if status := watch.Wait(t, startTime); status != exitDone {
			t.Errorf("the watch ended with exit status %d", status)
		}
	})
}

// TestAskUnanswered: what was asked for of a mapper that does not answer is told, though another one answers.
func TestAskUnanswered(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startQuaymaster(t)
	nstest.Need(t, "nft")
	rule := "add table inet t; add chain inet t in { type filter hook input priority 0; }; add rule inet t in tcp dport 135 reject with tcp reset"
	if r := run(t, "nft", rule); r.Exit != 0 {
		t.Fatalf("nft %s = %+v", rule, r)
	}
	want := []unansweredWord{{"portmapper:4@tcp6", "port mapper: no address of the host is known for tcp6"}, {"samr", "endpoint mapper: nothing listens there"}}
	words := []string{"127.0.0.1", "portmapper:4@tcp", "portmapper:4@tcp6", "samr"}
	h := askJSON(t, exitFound, words...).Hosts[0]
	if diff := cmp.Diff(want, h.Unanswered); diff != "" || len(h.Entries) != 1 || len(h.Missing) > 0 {
		t.Errorf("ask %q = %+v (-want +got):\n%s", words, h, diff)
	}
	r := run(t, "quaymaster", append([]string{"ask"}, words...)...)
	if r.Exit != exitFound || !saysLine(r.Stdout, "samr ", " NOT ANSWERED ", "endpoint mapper: nothing listens") || !strings.Contains(r.Stdout, "; 2 not answered\n") {
		t.Errorf("ask %q = %+v", words, r)
	}
	if r := run(t, "quaymaster", append([]string{"ask", "-o", "csv"}, words...)...); !strings.Contains(r.Stdout, ",unanswered,samr,") {
		t.Errorf("ask -o csv %q = %+v", words, r)
	}
}

// TestAskSamba: ask tells of Samba's mapper what Samba's client does, and each interface can be bound where it
// is said to be but for one: Samba's own mapper over HTTP. Seen with 4.17.12.
func TestAskSamba(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "rpcclient", "ip")
	const there = "10.98.0.2"
	host := nstest.NewHost(t, "harbour", "10.98.0.1/24", there+"/24")
	samba := nstest.Samba(t)
	nstest.StartCommand(t, host.Command(samba[0], append(samba[1:], "--option=rpc server dynamic port range=50120-50140", "--libexec-rpcds")...))
	nstest.WaitToConnect(t, "tcp", there+":135", startTime)

	d := askJSON(t, exitFound, there, "--try")
	h := d.Hosts[0]
	if len(h.Mappers) != 2 || h.Mappers[0].State != probe.NotListening || h.Mappers[1].State != probe.Listening {
		t.Errorf("mappers %+v, want an endpoint mapper and no port mapper", h.Mappers)
	}
	got := sambaLines(h)
	for _, e := range h.Entries {
		want := probe.NotTried
		switch e.ProtSeq {
		case "ncacn_ip_tcp":
			want = probe.Listening
		case "ncacn_http": // 593, which it tells and does not listen at
			want = probe.NotListening
		}
		if e.State != want {
			t.Errorf("%s at %s %s is %s (%s), want %s", e.Name, e.ProtSeq, e.at(), e.State, e.Why, want)
		}
	}
	for _, want := range epmlookupLines(t, there) {
		if i := slices.Index(got, want); i >= 0 {
			got = slices.Delete(got, i, i+1)
		} else {
			t.Errorf("ask does not tell %q", want)
		}
	}
	if len(got) > 1 || len(h.Entries) < 20 { // of Samba's, rpcclient does not show the last
		t.Errorf("ask tells %d rows, and these that epmlookup does not: %q", len(h.Entries), got)
	}
	if r := run(t, "quaymaster", "ask", there, "samr", "drsuapi"); r.Exit != exitFound || !strings.Contains(r.Stdout, " works ") || !strings.Contains(r.Stdout, "NOT REGISTERED") {
		t.Errorf("ask samr drsuapi = %+v, want one that works and one that is not there", r)
	}
	if r := run(t, "quaymaster", "ask", there, "--onc"); r.Exit != exitFound || !strings.Contains(r.Stdout, "port mapper: NOT LISTENING") {
		t.Errorf("ask --onc without a port mapper = %+v", r)
	}
}

// TestAskLyingEndpointMapper: a server that has not the interface that is registered there, and then is killed.
func TestAskLyingEndpointMapper(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startQuaymaster(t)
	server := startSamba(t)
	addDCE(t, "samr", "1.0", "tcp", "*:"+sambaPort)
	addDCE(t, "winreg", "1.0", "tcp", "*:"+sambaPort)
	r := run(t, "quaymaster", "ask", "127.0.0.1", "--try")
	for _, want := range []string{"\nsamr       12345778…  1.0      tcp                127.0.0.1:50111    works  ", "  WRONG INTERFACE  ", "127.0.0.1:50111 (winreg) is another server's by now"} {
		if r.Exit != exitFound || !strings.Contains(r.Stdout, want) {
			t.Errorf("ask --try = %+v, want %q", r, want)
		}
	}
	server.Signal(syscall.SIGKILL)
	server.Wait(t, startTime)
	for _, name := range []string{"rpcd_lsad"} { // its child, which listens
		killServer(t, name)
	}
	d := askJSON(t, exitFound, "127.0.0.1", "--try")
	for _, e := range d.Hosts[0].Entries {
		if want := e.Name == "samr" || e.Name == "winreg"; want != (e.State == probe.NotListening) {
			t.Errorf("%s %s at %s is %s", e.Name, e.Version, e.at(), e.State)
		}
	}
}

// TestAskManyHosts: each answers for itself, in the order of the file.
func TestAskManyHosts(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startQuaymaster(t)
	var want []string
	text := "# loopback\n\n"
	for i := range 20 {
		want = append(want, fmt.Sprintf("127.0.0.%d", i+1))
		text += want[i] + " # number " + fmt.Sprint(i) + "\n"
	}
	file := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d := askJSON(t, exitDone, "--hosts", file, "--try")
	var got []string
	for _, h := range d.Hosts {
		got = append(got, h.Host)
		if len(h.Mappers) != 2 || h.Mappers[0].State != probe.Listening || h.Mappers[1].State != probe.Listening {
			t.Errorf("%s: mappers %+v", h.Host, h.Mappers)
		}
		if len(h.Entries) != 13 { // 12 of the port mapper, one of the endpoint mapper
			t.Errorf("%s: %d entries", h.Host, len(h.Entries))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("hosts %q, want %q", got, want)
	}
	nstest.File(t, "/etc/hosts", "127.0.0.5 five\n")
	if err := os.WriteFile(file, []byte("127.0.0.1\nfive\n192.0.2.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := run(t, "quaymaster", "ask", "--hosts", file)
	for _, want := range []string{"\nfive (127.0.0.5)   endpoint mapper 135/tcp ", "\n192.0.2.1   endpoint mapper: FAILED ", "\n\n3 hosts: 2 fine, 1 could not be asked\n"} {
		if r.Exit != exitFailed || !strings.Contains(r.Stdout, want) || strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("ask --hosts = %+v, want %q", r, want)
		}
	}
}

// TestAskDeadHosts: hundreds of hosts that are not there take a few time-outs, not some for each of a few.
func TestAskDeadHosts(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NewHost(t, "far", "10.99.0.1/24", "10.99.0.2/24") // which passes nothing on
	if r := run(t, "ip", "route", "add", "10.98.0.0/16", "via", "10.99.0.2"); r.Exit != 0 {
		t.Fatalf("ip route = %+v", r)
	}
	const hosts, timeout = 2 * hostsTogether, time.Second
	var list strings.Builder
	for i := range hosts {
		fmt.Fprintf(&list, "10.98.%d.%d\n", i/250, 1+i%250)
	}
	file := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(file, []byte(list.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	r := run(t, "quaymaster", "ask", "--hosts", file, "--timeout", timeout.String())
	took := time.Since(start)
	want := fmt.Sprintf("\n\n%d hosts: 0 fine, %d could not be asked\n", hosts, hosts)
	if r.Exit != exitFailed || !strings.HasSuffix(r.Stdout, want) || strings.Count(r.Stdout, "endpoint mapper: FILTERED · port mapper: FILTERED") != hosts {
		t.Errorf("exit status %d, %s, %q", r.Exit, r.Stderr, r.Stdout[max(0, len(r.Stdout)-1000):])
	}
	if took > 9*timeout { // of each half two: over TCP and then over UDP
		t.Errorf("%d hosts took %v, want a little more than %v", hosts, took, 4*timeout)
	}
}

// TestAskInterrupted: SIGINT ends a question, and what is known is shown.
func TestAskInterrupted(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	silent, err := net.Listen("tcp", "127.0.0.1:135")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p := nstest.Start(t, "quaymaster", "ask", "127.0.0.1", "--timeout", "10m")
	conn, err := silent.Accept() // so it is being asked
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Read(make([]byte, 1))
	p.Signal(syscall.SIGINT)
	if status := p.Wait(t, startTime); status != exitFailed || !strings.HasPrefix(p.Output(), "127.0.0.1   endpoint mapper: NOT TRIED") || !strings.Contains(p.Output(), "interrupted: this is not all") {
		t.Errorf("exit status %d, want %d, after:\n%s", status, exitFailed, p.Output())
	}
}

// TestAskBroadcast: who of the network has a program.
func TestAskBroadcast(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	nstest.Need(t, "rpcbind", "ip")
	const there = "10.98.0.2"
	host := nstest.NewHost(t, "harbour", "10.98.0.1/24", there+"/24")
	nstest.StartCommand(t, host.Command("rpcbind", "-f", "-r"))
	nstest.WaitFor(t, "rpcbind to answer", startTime, func() bool {
		c, err := dial("tcp", there+":111")
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	r := run(t, "quaymaster", "ask", "--broadcast", "rpcbind:2", "--timeout", "1s")
	if r.Exit != exitDone || !strings.Contains(r.Stdout, there+"  rpcbind    100000  2        udp        "+there+":111  works ") || !strings.Contains(r.Stdout, "\n1 answer from 1 host within 1s; sent to ") {
		t.Errorf("broadcast = %+v", r)
	}
	r = run(t, "quaymaster", "ask", "--broadcast", "100004:2", "--timeout", "500ms")
	if r.Exit != exitFailed || !strings.Contains(r.Stderr, "nobody answered within 500ms") {
		t.Errorf("broadcast for what nobody has = %+v", r)
	}
}

// TestAskOneOfSeveral: of a name the address is asked that answers, also when the other is silent.
func TestAskOneOfSeveral(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	nstest.Need(t, "ip")
	nstest.Veth(t, "pier", "10.98.1.1/24")
	nstest.File(t, "/etc/hosts", "10.98.1.77 pair\n127.0.0.1 pair\n")
	startQuaymaster(t)
	d := askJSON(t, exitDone, "pair", "--try", "--timeout", "15s")
	if h := d.Hosts[0]; h.Host != "pair" || h.Address != "127.0.0.1" || len(h.Entries) != 13 {
		t.Errorf("asked %s at %s, which told %d entries; want 127.0.0.1 and 13", h.Host, h.Address, len(h.Entries))
	}
	nstest.File(t, "/etc/hosts", "10.98.1.77 pair\n10.98.1.1 pair\n") // with other ports there than the mappers'
	d = askJSON(t, exitFound, "pair", "tcp/9", "--timeout", "2s")
	if h := d.Hosts[0]; h.Address != "10.98.1.1" || h.Ports[0].State != probe.NotListening {
		t.Errorf("asked at %s: %+v; want the address that says that nothing listens", h.Address, h.Ports)
	}
}
