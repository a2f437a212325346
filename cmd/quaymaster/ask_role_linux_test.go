//go:build linux

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/probe"
)

// answerTCP has each connection to an address said something, and ended when the other side has.
func answerTCP(t *testing.T, at, text string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	nstest.Answer(t, l, func(c net.Conn) {
		c.SetDeadline(time.Now().Add(startTime))
		io.WriteString(c, text)
		io.Copy(io.Discard, c)
	})
	return l
}

// answerUDP sends every datagram back.
func answerUDP(t *testing.T, at string) {
	t.Helper()
	c, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			c.WriteTo(b[:n], from)
		}
	}()
}

// TestAskRole: what is required of a domain controller must listen, and what its mapper tells must be true.
// Nothing else counts.
func TestAskRole(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startQuaymaster(t)
	var f askFlags
	f.role, f.systems = "domain-controller", []string{"windows-server-2019"}
	role, flows, err := f.askedRole(catalog.Builtin())
	if err != nil {
		t.Fatal(err)
	}
	var q askQuestion
	q.addRole(role, flows, askDialects{onc: true, dce: true})
	required := 0
	var ldap net.Listener
	for _, p := range q.ports {
		if role.ports[portSeat{p.Network, p.Port}].need != catalog.Required {
			continue
		}
		required++
		at := fmt.Sprintf("127.0.0.1:%d", p.Port)
		switch {
		case p.Network == "udp":
			answerUDP(t, at)
		case p.Port != 135:
			if l := answerTCP(t, at, "?\r\n"); p.Port == 389 {
				ldap = l
			}
		}
	}
	if required < 10 || q.onc || !q.must.dce {
		t.Fatalf("%d ports are required, %+v", required, q)
	}
	ask := func(status int, words ...string) *askHost {
		t.Helper()
		return askJSON(t, status, append([]string{"127.0.0.1", "--role", f.role, "--os", f.systems[0], "--timeout", "1s"}, words...)...).Hosts[0]
	}
	h := ask(exitDone)
	if len(h.Ports) != len(q.ports) || len(h.Mappers) != 1 || h.Mappers[0].Dialect != "dce" {
		t.Errorf("%d ports, %+v; want %d, and the endpoint mapper asked", len(h.Ports), h.Mappers, len(q.ports))
	}
	for _, p := range h.Ports {
		if want := p.Need == catalog.Required; want != (p.State == probe.Listening) || p.Need == "" || p.Service == "" {
			t.Errorf("%d/%s of %q, %q: %s", p.Port, p.Network, p.Service, p.Need, p.State)
		}
	}
	i := slices.IndexFunc(h.Ports, func(p triedPort) bool { return p.Network == "tcp" && p.Port == 88 })
	if p := h.Ports[i]; p.Service != "kdc, group-policy" {
		t.Errorf("88/tcp is of %q", p.Service)
	}
	for _, e := range h.Entries {
		if e.State != probe.Listening && e.ProtSeq != "ncalrpc" {
			t.Errorf("%s %s is %s: %s", e.Name, e.at(), e.State, e.Why)
		}
	}
	ask(exitFound, "tcp/636") // asked for by itself, it counts
	ldap.Close()
	r := run(t, "quaymaster", "ask", "127.0.0.1", "--role", "dc", "--os", "windows-server-2019", "--timeout", "1s")
	for _, want := range []string{"389  tcp        active-directory-lsa, group-policy  required  NOT LISTENING",
		fmt.Sprintf("; of %d that are required %d listen; not tried: icmp echo", required, required-1), "! 389/tcp (active-directory-lsa, group-policy) is required of dc: "} {
		if r.Exit != exitFound || !strings.Contains(r.Stdout, want) {
			t.Errorf("without LDAP: %+v, want %q", r, want)
		}
	}
	answerTCP(t, "127.0.0.1:389", "?\r\n")
	ask(exitDone)
	addDCE(t, "samr", "1.0", "tcp", "127.0.0.1:50111")
	ask(exitFound)
}

// TestAskGreeting: a port at which no protocol is usual is asked what it says if that is wanted.
func TestAskGreeting(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	answerTCP(t, "127.0.0.1:7777", "hello, sailor\x1b\r\n")
	for _, tt := range []struct {
		flags []string
		want  string
	}{{nil, ""}, {[]string{"--greet"}, "hello, sailor\x1b"}} {
		d := askJSON(t, exitDone, append([]string{"127.0.0.1", "tcp/7777"}, tt.flags...)...)
		if p := d.Hosts[0].Ports[0]; p.Text != tt.want || p.State != probe.Listening {
			t.Errorf("%q: %+v, want %q", tt.flags, p, tt.want)
		}
	}
	r := run(t, "quaymaster", "ask", "127.0.0.1", "tcp/7777", "--greet")
	if !strings.Contains(r.Stdout, "hello, sailor") || strings.Contains(r.Stdout, "\x1b") {
		t.Errorf("ask --greet = %+v", r)
	}
}

// TestAskSecret: the community of an SNMP agent comes from a file or the environment, and is never shown.
func TestAskSecret(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	nstest.Need(t, "snmpd")
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	nstest.Start(t, "snmpd", "-f", "-Lo", "-C", "-c", write("conf", "rocommunity ours\nsysDescr an agent of the test\nagentaddress udp:127.0.0.1:161\n"), "-p", "/run/snmpd.pid")
	ask := func(args ...string) result {
		return run(t, "quaymaster", append([]string{"ask", "127.0.0.1", "udp/161", "--timeout", "1s"}, args...)...)
	}
	nstest.WaitFor(t, "snmpd to answer", startTime, func() bool {
		return strings.Contains(ask("--secret-file", write("ours", "ours\n")).Stdout, "an agent of the test")
	})
	if r := ask("--secret-file", write("theirs", "theirs")); !strings.Contains(r.Stdout, "no answer to the community that was given") || strings.Contains(r.Stdout, "theirs") {
		t.Errorf("with a wrong community: %+v", r)
	}
	t.Setenv(secretVariable, "ours")
	if r := ask(); !strings.Contains(r.Stdout, "an agent of the test") {
		t.Errorf("with the community in the environment: %+v", r)
	}
}

// TestAskHTTP: our endpoint mapper, behind what servers of ncacn_http say first.
func TestAskHTTP(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startQuaymaster(t)
	askJSON(t, exitFound, "127.0.0.1", "--http") // 593 is nobody's
	l, err := net.Listen("tcp", "127.0.0.1:593")
	if err != nil {
		t.Fatal(err)
	}
	nstest.Answer(t, l, func(c net.Conn) {
		mapper, err := net.Dial("tcp", "127.0.0.1:135")
		if err != nil {
			return
		}
		defer mapper.Close()
		io.WriteString(c, "ncacn_http/1.0")
		go func() {
			io.Copy(mapper, c)
			mapper.Close()
		}()
		io.Copy(c, mapper)
	})
	h := askJSON(t, exitDone, "127.0.0.1", "--http", "--try").Hosts[0]
	if len(h.Mappers) != 1 || h.Mappers[0].Via != "http 593" || len(h.Entries) != 1 || h.Entries[0].State != probe.Listening {
		t.Errorf("over ncacn_http: %+v, %+v", h.Mappers, h.Entries)
	}
}

// TestAskStatistics: each mapper tells what it has counted and its time.
func TestAskStatistics(t *testing.T) {
	onEachMapper(t, func(t *testing.T, mapper string) {
		nstest.Need(t, "rpcinfo")
		startMapper(t, mapper)
		run(t, "rpcinfo", "-T", "tcp", "127.0.0.1", "100005", "3") // which is not there
		s := askJSON(t, exitDone, "127.0.0.1", "--onc", "--statistics").Hosts[0].Statistics
		if s == nil || s.Error != "" || s.Time == nil || s.Ahead < -20 || s.Ahead > 20 || len(s.Versions) != 3 || s.Cut {
			t.Fatalf("statistics %+v", s)
		}
		missed := false
		for i, v := range s.Versions {
			if int(v.Version) != i+2 || len(v.Calls) != []int{6, 9, 13}[i] {
				t.Errorf("version %d has %d procedures", v.Version, len(v.Calls))
			}
			missed = missed || slices.ContainsFunc(v.Lookups, func(l askLookupStat) bool {
				return l.Program == 100005 && l.Version == 3 && l.NetID == "tcp" && l.Missed > 0 && l.Found == 0
			})
		}
		if last := s.Versions[2].Calls; !missed || last[4].Procedure != "DUMP" || last[4].Count == 0 {
			t.Errorf("statistics %+v, want a lookup that found nothing, and calls of DUMP", s.Versions)
		}
	})
}

// TestAskBothFamilies: of a name with addresses of both families what is told for either is tried, whichever was asked.
func TestAskBothFamilies(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	nstest.Need(t, "rpcbind", "ip")
	const there, there6 = "10.98.0.2", "fd98::2"
	host := nstest.NewHost(t, "harbour", "10.98.0.1/24", there+"/24")
	nstest.StartCommand(t, host.Command("ip", "address", "add", there6+"/64", "dev", "eth0", "nodad")).Wait(t, startTime)
	if r := run(t, "ip", "address", "add", "fd98::1/64", "dev", "harbour", "nodad"); r.Exit != 0 {
		t.Fatalf("ip address add = %+v", r)
	}
	nstest.StartCommand(t, host.Command("rpcbind", "-f"))
	for _, at := range []string{"[" + there6 + "]:111", there + ":111"} {
		nstest.WaitToConnect(t, "tcp", at, startTime)
	}
	nstest.File(t, "/etc/hosts", there+" harbour\n"+there6+" harbour\n")
	byNetID := func(h *askHost) map[string]probe.State {
		states := map[string]probe.State{}
		for _, e := range h.Entries {
			states[e.NetID] = e.State
		}
		return states
	}
	states := byNetID(askJSON(t, exitDone, "harbour", "--onc", "--try").Hosts[0])
	for _, netid := range []string{"tcp", "udp", "tcp6", "udp6"} {
		if states[netid] != probe.Listening {
			t.Errorf("by name %s is %s", netid, states[netid])
		}
	}
	states = byNetID(askJSON(t, exitDone, there, "--onc", "--try").Hosts[0])
	if states["tcp"] != probe.Listening || states["tcp6"] != probe.NotTried {
		t.Errorf("by one address: %v; of the other family none is known", states)
	}
	states = byNetID(askJSON(t, exitDone, "harbour", "rpcbind:3@udp6").Hosts[0])
	if len(states) != 1 || states["udp6"] != probe.Listening {
		t.Errorf("rpcbind:3@udp6 is %v", states)
	}
}

// TestAskForeign: a mapper cannot have others connected to, unless that is wanted.
func TestAskForeign(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	nstest.Need(t, "ip")
	nstest.Veth(t, "pier", "10.98.1.1/24")
	startQuaymaster(t)
	addDCE(t, "samr", "1.0", "tcp", "10.98.1.1:50111")
	addDCE(t, "winreg", "1.0", "tcp", "10.98.1.77:50112")
	states := func(status int, args ...string) map[string]probe.State {
		t.Helper()
		all := map[string]probe.State{}
		for _, e := range askJSON(t, status, append([]string{"127.0.0.1", "--dce", "--try", "--timeout", "500ms"}, args...)...).Hosts[0].Entries {
			all[e.Name] = e.State
			if e.State == probe.NotTried && e.Why == "" {
				t.Errorf("%s is not tried, and nothing says why", e.Name)
			}
		}
		return all
	}
	if got := states(exitFound); got["samr"] != probe.NotListening || got["winreg"] != probe.NotTried {
		t.Errorf("%v, want this host's own address tried, and the other not", got)
	}
	if got := states(exitFound, "--foreign"); got["winreg"] == probe.NotTried {
		t.Errorf("--foreign: %v", got)
	}
}
