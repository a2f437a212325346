//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/probe"
)

// startDC makes this host the domain controller of corp.example, and returns when that answers.
func startDC(t *testing.T) {
	t.Helper()
	nstest.NeedRoot(t)
	nstest.Need(t, "samba", "samba-tool", "rpcclient")
	const dir = "/run/dc" // in memory, and gone with the namespace
	provision := nstest.Start(t, "samba-tool", "domain", "provision", "--domain=CORP", "--realm=CORP.EXAMPLE", "--host-name=dc1", "--host-ip=127.0.0.1",
		"--adminpass=Passw0rd-of-the-test", "--dns-backend=SAMBA_INTERNAL", "--targetdir="+dir, "--option=interfaces=lo", "--option=bind interfaces only=yes")
	if status := provision.Wait(t, 3*startTime); status != 0 {
		t.Fatalf("samba-tool domain provision: exit status %d:\n%s", status, provision.Output())
	}
	s := nstest.Start(t, "samba", "-F", "-s", dir+"/etc/smb.conf", "--debug-stdout")
	nstest.WaitFor(t, "the domain controller to answer", 2*startTime, func() bool {
		if s.Ended() {
			t.Fatalf("samba has ended:\n%s", s.Output())
		}
		return run(t, "quaymaster", "ask", "127.0.0.1", "drsuapi", "netlogon", "tcp/53,88,389,445,3268,3269", "udp/53,88,389").Exit == exitDone
	})
}

// sambaLine takes a line of epmlookup apart: object, protocol sequence, endpoint, interface, annotation.
var sambaLine = regexp.MustCompile(`^(\S+) (\w+):[^\[]*\[([^,]*),abstract_syntax=([^\]]*)\]: ?(.*)$`)

// sambaLines returns rows as Samba's epmlookup writes them, but for addresses, sorted.
func sambaLines(h *askHost) []string {
	var lines []string
	for _, e := range h.Entries {
		object, at := e.Object, e.Path
		if object == "" {
			object = "00000000-0000-0000-0000-000000000000"
		}
		if e.Port != 0 {
			at = fmt.Sprint(e.Port)
		}
		lines = append(lines, fmt.Sprintf("%s %s[%s] %s/0x%08x %s", object, e.ProtSeq, at, e.UUID, e.Version.Major+uint32(e.Version.Minor)<<16, e.Annotation))
	}
	slices.Sort(lines)
	return lines
}

// epmlookupLines returns what Samba's epmlookup writes of a host, in that form.
func epmlookupLines(t *testing.T, host string) []string {
	t.Helper()
	var lines []string
	for _, line := range sambaDumpOf(t, host) {
		m := sambaLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("epmlookup says %q", line)
		}
		lines = append(lines, fmt.Sprintf("%s %s[%s] %s %s", m[1], m[2], m[3], m[4], m[5]))
	}
	slices.Sort(lines)
	return lines
}

// saysLine tells whether a line of a text has these words in this order, whatever stands between.
func saysLine(text string, words ...string) bool {
	for i, w := range words {
		words[i] = regexp.QuoteMeta(w)
	}
	return regexp.MustCompile(`(?m)^ *` + strings.Join(words, ".*")).MatchString(text)
}

// TestAskDC: of a domain controller ask tells what Samba's client does, all of it works but for the mapper
// over HTTP, and its ports are told apart. Seen with Samba 4.17.12, which has 53 endpoints.
func TestAskDC(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	startDC(t)
	const dc = "127.0.0.1"
	h := askJSON(t, exitDone, dc).Hosts[0]
	if diff := cmp.Diff(epmlookupLines(t, dc), sambaLines(h)); diff != "" || len(h.Entries) < 40 {
		t.Errorf("ask tells something else (-epmlookup +ask):\n%s", diff)
	}
	for _, e := range askJSON(t, exitFound, dc, "--try").Hosts[0].Entries {
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
	r := run(t, "quaymaster", "ask", dc, "drsuapi")
	if r.Exit != exitDone || !saysLine(r.Stdout, "drsuapi ", " 4.0 ", " tcp ", " works ") || !strings.Contains(r.Stdout, "; of 4 rows 1 works, 3 not tried") {
		t.Errorf("ask drsuapi = %+v", r)
	}

	nstest.Need(t, "nft")
	var port string
	for _, e := range h.Entries {
		if e.Name == "drsuapi" && e.ProtSeq == "ncacn_ip_tcp" {
			port = fmt.Sprint(e.Port)
		}
	}
	d := askJSON(t, exitDone, dc, "tcp/135,464,"+port)
	for i, want := range []string{"epmapper", "", "drsuapi"} {
		p := d.Hosts[0].Ports[i]
		has := slices.ContainsFunc(p.Interfaces, func(i portInterface) bool { return i.Name == want })
		if what := "DCE/RPC"; want != "" && (p.What != what || !has || len(p.Problems) > 0) {
			t.Errorf("tcp/%d answers %q, %q, %q; want %s with %s, not %+v", p.Port, p.What, p.Text, p.Problems, what, want, p.Interfaces)
		} else if what := "Kerberos, change of passwords"; want == "" && (p.What != what || len(p.Interfaces) > 0) {
			t.Errorf("tcp/%d answers %q, %q, %q; want %s", p.Port, p.What, p.Text, p.Problems, what)
		}
	}
	rule := "add table inet t; add chain inet t in { type filter hook input priority 0; }; add rule inet t in tcp dport { 3269, " + port + " } drop"
	if r := run(t, "nft", rule); r.Exit != 0 {
		t.Fatalf("nft %s = %+v", rule, r)
	}
	r = run(t, "quaymaster", "ask", dc, "tcp/88,135,389,445,3268,3269", "udp/53,88,123,389", "--timeout", "2s")
	for _, words := range [][]string{
		{"88 ", "tcp ", "LISTENING ", "Kerberos ", "clock right"},
		{"135 ", "tcp ", "LISTENING ", "DCE/RPC ", "interfaces: ", "epmapper 3.0"},
		{"389 ", "tcp ", "LISTENING ", "LDAP, Active Directory ", "DC=corp,DC=example, host dc1.corp.example"},
		{"445 ", "tcp ", "LISTENING ", "SMB ", "signing required"},
		{"3268 ", "tcp ", "LISTENING ", "LDAP, Active Directory "},
		{"3269 ", "tcp ", "FILTERED "},
		{"53 ", "udp ", "LISTENING ", "DNS "},
		{"88 ", "udp ", "LISTENING ", "Kerberos "},
		{"123 ", "udp ", "NOT LISTENING "},
		{"389 ", "udp ", "LISTENING ", "LDAP, Active Directory ", "domain corp.example (CORP)"},
		{"10 ports: 8 listening, 1 not listening, 1 filtered"},
	} {
		if r.Exit != exitFound || !saysLine(r.Stdout, words...) {
			t.Errorf("ask for ports = %+v, want %q", r, words)
		}
	}
	r = run(t, "quaymaster", "ask", dc, "drsuapi", "netlogon", "--timeout", "2s")
	if r.Exit != exitFound || !saysLine(r.Stdout, "drsuapi ", " tcp ", ":"+port+" ", " FILTERED ") || !saysLine(r.Stdout, "netlogon ", " tcp ", " works ") ||
		!strings.Contains(r.Stdout, "! "+dc+":"+port+" (drsuapi) is filtered: ") {
		t.Errorf("ask drsuapi netlogon behind a firewall = %+v", r)
	}
}

// A realServer is a program that is asked what it is at its ports.
type realServer struct {
	command []string
	ports   map[string]string // "53/udp": what ask says of it
}

// realServers writes what they need into a folder.
func realServers(t *testing.T, dir string) []realServer {
	t.Helper()
	config := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return []realServer{
		{[]string{"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--group=root", "--pid-file",
			"--listen-address=127.0.0.1", "--bind-interfaces", "--enable-tftp", "--tftp-root=" + dir},
			map[string]string{"53/tcp": "DNS", "53/udp": "DNS", "69/udp": "TFTP"}},
		{[]string{"slapd", "-d", "0", "-h", "ldap://127.0.0.1/", "-f", config("slapd.conf", "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\n"+
			"moduleload back_mdb\npidfile "+dir+"/slapd.pid\ndatabase mdb\nsuffix \"dc=example,dc=org\"\ndirectory "+dir+"\n")},
			map[string]string{"389/tcp": "LDAP"}},
		{[]string{"snmpd", "-f", "-Lo", "-C", "-p", dir + "/snmpd.pid", "-c", config("snmpd.conf", "rocommunity public\nsysDescr an agent of the test\nagentaddress udp:127.0.0.1:161\n")},
			map[string]string{"161/udp": "SNMP"}},
		{[]string{"chronyd", "-x", "-d", "-u", "root", "-f", config("chrony.conf", "allow 127.0.0.1\ncmdport 0\npidfile "+dir+"/chrony.pid\nbindaddress 127.0.0.1\nlocal stratum 7\n")},
			map[string]string{"123/udp": "NTP"}},
		{[]string{"vsftpd", config("vsftpd.conf", "listen=YES\nlisten_address=127.0.0.1\nanonymous_enable=YES\nlocal_enable=NO\nsecure_chroot_dir=/run\n"+
			"ftpd_banner=the test's\nbackground=NO\nisolate=NO\nisolate_network=NO\nseccomp_sandbox=NO\n")},
			map[string]string{"21/tcp": "FTP"}},
		{[]string{"smtpd", "-d", "-f", config("smtpd.conf", "listen on 127.0.0.1 hostname mail.example.org\naction \"out\" relay\nmatch from local for any action \"out\"\n")},
			map[string]string{"25/tcp": "SMTP"}},
	}
}

// TestAskServers: servers of other protocols say what they are, and of one that was killed exactly the ports
// are missed.
func TestAskServers(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.NeedRoot(t)
	nstest.TmpFS(t, "/var/spool", "smtpd") // smtpd's queue
	if err := os.Chmod("/var/spool/smtpd", 0o711); err != nil {
		t.Fatal(err)
	}
	const dir = "/run/servers" // in memory, and gone with the namespace
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	servers := realServers(t, dir)
	want := map[string]string{}
	var processes []*nstest.Process
	for _, s := range servers {
		nstest.Need(t, s.command[0])
		maps.Copy(want, s.ports)
		processes = append(processes, nstest.StartCommand(t, exec.Command(nstest.Path(t, s.command[0]), s.command[1:]...)))
	}
	question := []string{"127.0.0.1"}
	for port := range want {
		question = append(question, port)
	}
	nstest.WaitFor(t, "all servers to answer", startTime, func() bool {
		for _, p := range processes {
			if p.Ended() {
				t.Fatalf("a server has ended:\n%s", p.Output())
			}
		}
		return run(t, "quaymaster", append([]string{"ask"}, question...)...).Exit == exitDone
	})
	d := askJSON(t, exitDone, question...)
	got, texts := map[string]string{}, ""
	for _, p := range d.Hosts[0].Ports {
		at := fmt.Sprintf("%d/%s", p.Port, p.Network)
		got[at] = p.What
		texts += at + " " + p.Text + "\n"
		if len(p.Problems) > 0 {
			t.Errorf("%s: problems %q", at, p.Problems)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what answers (-want +got):\n%s", diff)
	}
	for _, words := range [][]string{
		{"389/tcp dc=example,dc=org"}, {"161/udp an agent of the test"}, {"123/udp ", "stratum 7, clock right"},
		{"21/tcp the test's"}, {"25/tcp mail.example.org"}, {"53/udp REFUSED"},
	} {
		if !saysLine(texts, words...) {
			t.Errorf("they say:\n%s want %q", texts, words)
		}
	}
	for i, s := range servers {
		before := writeAnswer(t, d)
		processes[i].Signal(syscall.SIGKILL)
		processes[i].Wait(t, startTime)
		var lines []string
		for port := range s.ports {
			lines = append(lines, "~  127.0.0.1  "+port+"  listening → not listening")
		}
		slices.Sort(lines)
		var r result
		var changed []string
		nstest.WaitFor(t, s.command[0]+" to be missed", startTime, func() bool { // its children may end a little later
			r = run(t, "quaymaster", append([]string{"ask", "--compare", before}, question...)...)
			changed = nil
			for line := range strings.Lines(r.Stdout) {
				if strings.HasPrefix(line, "~") {
					changed = append(changed, strings.TrimSpace(line))
				}
			}
			return len(changed) >= len(lines)
		})
		slices.Sort(changed)
		if diff := cmp.Diff(lines, changed); diff != "" || r.Exit != exitFound {
			t.Errorf("after %s was killed ask --compare = %+v (-want +got):\n%s", s.command[0], r, diff)
		}
		d = askJSON(t, exitFound, question...)
	}
}

// writeAnswer writes an answer to a file that can be compared with.
func writeAnswer(t *testing.T, d *askDocument) (path string) {
	t.Helper()
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "answer.json")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAskKilledServers: after each of several servers was killed, ask names exactly the rows that lie.
func TestAskKilledServers(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "rpcinfo")
	startRPCBind(t)
	prepareServices(t)
	for _, s := range services {
		nstest.Start(t, s.command[0], s.command[1:]...)
	}
	for _, s := range services {
		nstest.WaitFor(t, s.command[0]+" to register", startTime, func() bool { return len(rowsOf(t, s.program)) >= len(s.rows) })
	}
	h := askJSON(t, exitDone, "127.0.0.1", "--onc", "--try").Hosts[0]
	if diff := cmp.Diff(rpcinfoLines(t), oncLines(h)); diff != "" {
		t.Errorf("ask tells something else (-rpcinfo +ask):\n%s", diff)
	}
	dead := map[uint32]bool{}
	for _, s := range services {
		killServer(t, s.command[0])
		dead[uint32(s.program)] = true
		h := askJSON(t, exitFound, "127.0.0.1", "--onc", "--try").Hosts[0]
		refused := 0
		for _, e := range h.Entries {
			want := probe.Listening
			if dead[e.Program] {
				want = probe.NotListening
				refused++
			}
			if e.State != want {
				t.Errorf("after %s was killed %s %s on %s is %s (%s), want %s", s.command[0], e.Name, e.Version, e.NetID, e.State, e.Why, want)
			}
		}
		if refused < len(s.rows) {
			t.Errorf("after %s was killed %d rows are left of the dead, want %d or more", s.command[0], refused, len(s.rows))
		}
	}
}

// TestAskFileServerElsewhere: over the network ask tells what rpcinfo does.
func TestAskFileServerElsewhere(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	nstest.Need(t, "rpcinfo", "ip", "rpcbind")
	prepareServices(t)
	const there = "10.98.0.2"
	host := nstest.NewHost(t, "harbour", "10.98.0.1/24", there+"/24")
	nstest.StartCommand(t, host.Command("rpcbind", "-f"))
	rows := func() []string { return rpcinfoLines(t, there) }
	nstest.WaitFor(t, "rpcbind to answer", startTime, func() bool { return len(rows()) > 0 })
	for _, s := range services[:2] {
		before := len(rows())
		nstest.StartCommand(t, host.Command(nstest.Path(t, s.command[0]), s.command[1:]...))
		nstest.WaitFor(t, s.command[0]+" to register", startTime, func() bool { return len(rows()) >= before+len(s.rows) })
	}
	h := askJSON(t, exitDone, there, "--onc").Hosts[0]
	if diff := cmp.Diff(rows(), oncLines(h)); diff != "" {
		t.Errorf("ask tells something else (-rpcinfo +ask):\n%s", diff)
	}
}
