package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/show"
)

// factsOf returns the facts for servers of systems.
func factsOf(t *testing.T, systems ...string) *serviceFacts {
	t.Helper()
	c := catalog.Builtin()
	var all []*catalog.OS
	for _, name := range systems {
		os, err := c.ParseOS(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, os)
	}
	return newServiceFacts(c, all)
}

func servicesOf(t *testing.T, names ...string) []*catalog.Service {
	t.Helper()
	found, err := findServices(catalog.Builtin(), names)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// fields returns text with one blank where there are several, as columns move with what is
// in others.
func fields(text string) string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n") + "\n"
}

// wantLines reports which of the lines are missing.
func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+fields(text), "\n"+line+"\n") {
			t.Errorf("no line %q in:\n%s", line, text)
		}
	}
}

func TestServiceNames(t *testing.T) {
	tests := []struct {
		name string
		want []string
	}{
		{"dfsr", []string{"dfs-replication"}},
		{"DFSR", []string{"dfs-replication"}},
		{"netlogon", []string{"net-logon"}},
		{"print-spooler", []string{"print-spooler"}},
		{"Druckwarteschlange", []string{"print-spooler"}},
		{"certificate services", []string{"certificate-services"}},
		{"CertSvc", []string{"certificate-services"}},
		{"NtFrs", []string{"file-replication"}},
		{"TermService", []string{"terminal-services", "rdp-shadow-remote-assist"}},
		{"mountd", []string{"server-for-nfs", "nfs-linux"}},
		{"100005", []string{"server-for-nfs", "nfs-linux"}},
		{"winrm", []string{"winrm"}},
		{"e3514235-4b06-11d1-ab04-00c04fc2dcd2", []string{"active-directory-lsa"}},
		{"frstrans", []string{"dfs-replication"}},
	}
	for _, tt := range tests {
		var got []string
		for _, s := range servicesOf(t, tt.name) {
			got = append(got, s.ID)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("services named %q are %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := servicesOf(t, "dfsr", "DFS-Replikation", "kdc"); len(got) != 2 {
		t.Errorf("two names of one service and another give %d, want 2", len(got))
	}
}

func TestUnknownServices(t *testing.T) {
	tests := []struct{ name, want string }{
		{"dsfr", `unknown service "dsfr"; did you mean DFSR, DFSN or DHCP? "quaymaster service list" has them all`},
		{"lsit", `unknown service "lsit"; did you mean "quaymaster service list"?`},
		{"zzzzzz", `unknown service "zzzzzz"; did you mean AD, ALG or AD CS? "quaymaster service list" has them all`},
		{"winreg", `"winreg" is the RPC interface winreg of RemoteRegistry, and no service of the catalog has it: no ports of it are known beside its transports: \pipe\winreg`},
		{"338CD001-2244-31f1-aaaa-900038001003", `"338CD001-2244-31f1-aaaa-900038001003" is the RPC interface winreg of RemoteRegistry, and no service of the catalog has it: no ports of it are known beside its transports: \pipe\winreg`},
		{"100001", `"100001" is the ONC RPC program rstatd (100001), and no service of the catalog has it; its usual ports: none, the port mapper tells`},
		{"100011x", `unknown service "100011x"; did you mean fax, AD or ALG? "quaymaster service list" has them all`},
	}
	for _, tt := range tests {
		_, err := findServices(catalog.Builtin(), []string{"dfsr", tt.name})
		if err == nil || err.Error() != tt.want {
			t.Errorf("service %q: %v, want %s", tt.name, err, tt.want)
		}
	}
	if got := alternatives([]string{"a", "b", "c"}); got != "a, b or c" {
		t.Errorf("alternatives: %s", got)
	}
}

func TestServiceTable(t *testing.T) {
	tests := []struct {
		name    string
		systems []string
		sources bool
		want    []string
		absent  string
	}{
		{name: "dfsr", want: []string{
			"Distributed File System Replication (dfs-replication, file)",
			"PORT PROTOCOL FOR NEED CONDITION",
			"135 tcp RPC endpoint mapper required —",
			"dynamic-rpc tcp RPC dynamic endpoint required 49152-65535 (Windows Vista, Server 2008 and later), 1025-5000 (Windows 2000, XP and Server 2003); (2)",
			"(1) 2008 and 2008 R2 domain controllers only; vendor blog calls it a defect.",
			"frstrans 1.0 897e2e5f… tcp dynamic",
			"system service DFSR",
			"Active Directory this service needs it",
			"it needs this service (only if SYSVOL is on DFSR)",
			"other ranges 1025-60000 (Exchange 2007), 6005-59530 (Exchange 2010: single blog source), 10000-65535 (Forefront TMG): these products move the dynamic ports",
			"pin it dfsrdiag StaticRPC /port:N /Member:FQDN more: quaymaster service dfs-replication --pin",
			"in doubt the sources disagree in 4 places: --sources shows both sides",
			"sources KB 832017 (2020, 2023)",
		}, absent: "STATED"},
		{name: "dfsr", systems: []string{"windows-server-2022"}, want: []string{
			"dynamic-rpc tcp RPC dynamic endpoint required 49152-65535 (Windows Server 2022); (2)",
		}, absent: "other ranges"},
		{name: "dfsr", systems: []string{"2022", "2003", "2019"}, want: []string{
			"dynamic-rpc tcp RPC dynamic endpoint required 1025-5000 (Windows Server 2003), 49152-65535 (Windows Server 2022, Windows Server 2019); (2)",
		}},
		{name: "dfsr", systems: []string{"2025", "2022"}, want: []string{"49152-65535 (Windows Server 2025 (unverified), Windows Server 2022); (2)"}},
		{name: "dfsr", systems: []string{"2008r2"}, want: []string{
			"other ranges 6005-59530 (Exchange 2010: single blog source), 10000-65535 (Forefront TMG): these products move the dynamic ports",
		}},
		{name: "dfsr", sources: true, want: []string{
			"PORT PROTOCOL FOR NEED CONDITION STATED",
			"DISAGREEMENT PORT PROTOCOL SECTION SAYS TABLE BY PORT SAYS WHAT HOLDS SOURCES",
			"reverse-only 445 tcp absent SMB conditional: only when an empty replicated folder is created kb832017-2020;kb832017-2023",
			"kb832017-2023 2023-12-26 Service overview and network port requirements for Windows —",
		}},
		{name: "cluster", want: []string{
			"— icmp Cluster Add Node Wizard conditional Added in the 2023 revision for the Add Node Wizard; only in the revision of 2023-12",
			`pin it no port of its own; the policy Rpc\Internet bounds the dynamic ports of all RPC servers of the host (quaymaster pool --help)`,
		}},
		{name: "NtFrs", want: []string{"File Replication Service (FRS) (file-replication, file, legacy: for old systems and peers)"}},
		{name: "messenger", want: []string{"Messenger (messenger, netbios, removed: no supported system has it, unverified)"}},
		{name: "winrm", want: []string{"pin it there is nothing to pin: no port of it is dynamic"}},
		{name: "certificate services", want: []string{`named pipes \pipe\cert (reached through SMB, 445/tcp)`}},
		{name: "TermService", want: []string{
			"Terminal Services / Remote Desktop Services (terminal-services, remote-desktop)",
			"and 4 internal ones (-o json has all)",
			"3389 udp RDP optional (1); only in the revision of 2023-12",
			"(1) UDP transport arrived with RDP 8 (2012); the article lists it since April 2022.",
			`pin it no way is known; the policy Rpc\Internet bounds the dynamic ports of all RPC servers of the host (quaymaster pool --help)`,
		}},
		{name: "mountd", systems: []string{"linux"}, want: []string{
			"mountd 100005 1 2 3 tcp udp —",
			"dynamic-onc tcp NFS mount/NLM/status required 61000-65535 (Linux); Registered with the portmapper; may be pinned",
			"pin it no way is known; other servers of its programs: quaymaster service server-for-nfs --pin",
		}},
		{name: "rpc", want: []string{"(-o json has all)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name+" "+strings.Join(tt.systems, " "), func(t *testing.T) {
			var b bytes.Buffer
			if err := factsOf(t, tt.systems...).print(show.Screen{Writer: &b}, servicesOf(t, tt.name), tt.sources); err != nil {
				t.Fatal(err)
			}
			for _, line := range tt.want {
				if !strings.Contains(fields(b.String()), line) {
					t.Errorf("no %q in:\n%s", line, b.String())
				}
			}
			if tt.absent != "" && strings.Contains(b.String(), tt.absent) {
				t.Errorf("%q in:\n%s", tt.absent, b.String())
			}
		})
	}
}

// Nothing is cut on a narrow screen but the columns that may be.
func TestServiceOnNarrowScreen(t *testing.T) {
	const width = 80
	var b bytes.Buffer
	if err := factsOf(t).print(show.Screen{Writer: &b, Width: width}, servicesOf(t, "certsvc"), false); err != nil {
		t.Fatal(err)
	}
	wantLines(t, b.String(),
		"dynamic-rpc tcp RPC dynamic endpoint required (2); (3); (4)",
		"(1) Needed only for NetBIOS-era peers; SMB 445 replaces it.",
		"(2) 49152-65535 (Windows Vista, Server 2008 and later), 1025-5000 (Windows",
		"2000, XP and Server 2003)")
	for line := range strings.SplitSeq(b.String(), "\n") {
		if text := line[min(labelWidth, len(line)):]; ansi.StringWidth(line) > width && strings.Contains(text, " ") {
			t.Errorf("a line is %d columns wide: %s", ansi.StringWidth(line), line)
		}
	}
}

func TestSourcesOnNarrowScreen(t *testing.T) {
	var b bytes.Buffer
	if err := factsOf(t).print(show.Screen{Writer: &b, Width: 80}, servicesOf(t, "kdc", "dfsr"), true); err != nil {
		t.Fatal(err)
	}
	wantLines(t, b.String(), "dynamic-rpc tcp RPC dynamic endpoint required (2); (3) (4)", "(4) 2020-09: 1024-65535 | 49152-65535; 2023-12: 49152-65535")
}

func TestBreakLine(t *testing.T) {
	const text = "one two-three four, fünf  sechs sieben acht"
	tests := []struct {
		width int
		want  string
	}{
		{0, text}, {-5, text}, {19, text},
		{20, "one two-three four,\nfünf sechs sieben\nacht"},
		{24, "one two-three four, fünf\nsechs sieben acht"},
		{200, "one two-three four, fünf sechs sieben acht"},
	}
	for _, tt := range tests {
		if got := breakLine(text, tt.width); got != tt.want {
			t.Errorf("breakLine(%d) = %q, want %q", tt.width, got, tt.want)
		}
	}
}

func TestPins(t *testing.T) {
	tests := []struct {
		name   string
		want   []string
		absent []string
	}{
		{"netlogon", []string{
			`key HKLM\SYSTEM\CurrentControlSet\Services\Netlogon\Parameters`,
			"DCTcpipPort REG_DWORD port",
			`command reg add "HKLM\SYSTEM\CurrentControlSet\Services\Netlogon\Parameters" /v "DCTcpipPort" /t REG_DWORD /d {port} /f`,
			"restart restart Netlogon service",
			"notes Same number as NTDS port gives Netlogon event 5809 (port request failure).",
			"events 5809: port request failed",
			"135/tcp RPC endpoint mapper",
			"confidence two sources",
			"Pinning never removes the need for TCP 135.",
		}, nil},
		{"ntds", []string{"notes The pinned port is registered IN ADDITION to the dynamic one, and all AD interfaces answer on every AD port.", "issues slow logon after pinning on 2008 R2 (KB 2827870)"}, nil},
		{"dfsr", []string{"command dfsrdiag StaticRPC /port:N /Member:FQDN", "powershell Set-DfsrServiceConfiguration -ComputerName X -RPCPort N"}, nil},
		{"certsvc", []string{`command reg add "HKLM\SOFTWARE\Classes\AppID\{D99E6E74-FC88-11D0-B498-00A0C90312F3}" /v "Endpoints" /t REG_MULTI_SZ /d ncacn_ip_tcp,0,{port} /f`}, nil},
		{"print-spooler", []string{
			"RpcUseNamedPipeProtocol REG_DWORD client: 0 TCP, 1 pipes",
			`command reg add "HKLM\SOFTWARE\Policies\Microsoft\Windows NT\Printers\RPC" /v "RpcTcpPort" /t REG_DWORD /d {port} /f`,
			"stays open 135/tcp RPC endpoint mapper", "445/tcp SMB",
		}, nil},
		{"wmi-fixed", []string{`kept in HKLM\SOFTWARE\Classes\AppID\{8BC3F05E-D86B-11D0-A075-00C04FB68820}\Endpoints (REG_MULTI_SZ): ncacn_ip_tcp,0,24158`}, nil},
		{"dns-server", []string{"pin it no way to give it a fixed port is known; this chooses its transports"}, nil},
		{"cluster", []string{
			"pin it it has no port of its own to set",
			`the policy Rpc\Internet bounds the dynamic ports of all RPC servers of the host: quaymaster pool --help`,
		}, []string{"stays open"}},
		{"winrm", []string{"pin it there is nothing to pin: no port of it is dynamic"}, []string{"all pins"}},
		{"event-log", []string{
			"pin it no way is known for its interfaces at dynamic ports, which no table lists: eventlog6",
			`the policy Rpc\Internet bounds the dynamic ports of all RPC servers of the host (quaymaster pool --help)`,
		}, []string{"nothing to pin"}},
		{"terminal-services", []string{"PortNumber REG_DWORD port, default 3389"}, []string{"all pins", "stays open"}},
		{"mountd", []string{"pin it no way to give it a fixed port is known", "elsewhere NFS mountd, where this is how:", "file /etc/nfs.conf", "section mountd"}, nil},
		{"hyper-v-replica", []string{"pin it no way to give it a fixed port is known"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := factsOf(t).printPins(show.Screen{Writer: &b}, servicesOf(t, tt.name)); err != nil {
				t.Fatal(err)
			}
			wantLines(t, b.String(), tt.want...)
			for _, absent := range tt.absent {
				if strings.Contains(b.String(), absent) {
					t.Errorf("%q in:\n%s", absent, b.String())
				}
			}
		})
	}
}

func TestPortData(t *testing.T) {
	tests := []struct {
		data, want string
		ok         bool
	}{
		{"port", "{port}", true},
		{"port, default 102, name is case-sensitive", "{port}", true},
		{"port; 0 or absent = dynamic", "{port}", true},
		{"port (0 = dynamic)", "{port}", true},
		{"ncacn_ip_tcp,0,PORT (1024-65535)", "ncacn_ip_tcp,0,{port}", true},
		{"portable", "portable", false},
		{"bits: 1 TCP, 2 named pipes", "bits:", false},
		{"", "", false},
	}
	for _, tt := range tests {
		if got, ok := portData(tt.data); ok != tt.ok || ok && got != tt.want {
			t.Errorf("portData(%q) = %q, %v, want %q, %v", tt.data, got, ok, tt.want, tt.ok)
		}
	}
}

// Every pin of a service is told in a line and in full, and every key of its JSON is there.
func TestEveryService(t *testing.T) {
	f := factsOf(t)
	for _, s := range f.Services() {
		if f.pinLine(s) == "" {
			t.Errorf("%s: nothing on pinning it", s.ID)
		}
		if s.FixedPort != nil && f.fixedPort(s).Pin == nil {
			t.Errorf("%s: no pin %s", s.ID, s.FixedPort.Pin)
		}
		b, err := json.Marshal(f.document(s))
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		for _, null := range []string{"fixed_port", "needs_active_directory", "needed_by_active_directory", "pin", "stored"} {
			text = strings.ReplaceAll(text, `"`+null+`":null`, "")
		}
		if strings.Contains(text, ":null") {
			t.Errorf("%s: a list is null in %s", s.ID, text)
		}
	}
	for _, print := range []func(show.Screen) error{
		func(s show.Screen) error { return f.print(s, f.Services(), true) },
		func(s show.Screen) error { return f.printPins(s, f.Services()) },
	} {
		for _, width := range []int{0, 10, 80} {
			var b bytes.Buffer
			if err := print(show.Screen{Writer: &b, Width: width}); err != nil || b.Len() == 0 {
				t.Errorf("%d columns: %d bytes, %v", width, b.Len(), err)
			}
		}
	}
}

func TestServiceJSON(t *testing.T) {
	var b bytes.Buffer
	if err := show.Write(show.Screen{Writer: &b}, show.FormatJSON, factsOf(t, "2003", "2022").documents(servicesOf(t, "dfsr")), nil); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Schema   string
		Systems  []struct{ ID, Name, Dynamic_Ports string }
		Services []struct {
			ID, Group, Status string
			Ports             []struct {
				Ports, Protocol, App, Need string
				Dynamic                    []struct{ Ports, Of string }
				Stated                     map[string]string
				Sources                    []string
			}
			Interfaces []struct {
				UUID, Version, Name string
				Transports          []string
			}
			Fixed_Port *struct {
				How string
				Pin *struct {
					ID, Command, Usual_Ports string
				}
				Stays_Open []string
			}
			Sources []struct{ ID, Title, Revision string }
		}
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != "quaymaster/service/1" || len(got.Systems) != 2 || got.Systems[0].Dynamic_Ports != "1025-5000" || len(got.Services) != 1 {
		t.Fatalf("got %+v", got)
	}
	s := got.Services[0]
	if s.ID != "dfs-replication" || s.Group != "file" || s.Status != "current" || s.Fixed_Port == nil || s.Fixed_Port.Pin == nil || s.Fixed_Port.Pin.ID != "dfsr" ||
		s.Fixed_Port.Pin.Usual_Ports != "5722" || len(s.Sources) != 2 || s.Sources[1].Revision != "2023-12-26" ||
		len(s.Interfaces) != 1 || s.Interfaces[0].UUID != "897e2e5f-93f3-4376-9c9c-fd2277495c27" || s.Interfaces[0].Transports[0] != "ncacn_ip_tcp:dynamic" {
		t.Errorf("got %+v", s)
	}
	last := s.Ports[len(s.Ports)-1]
	if last.Ports != "dynamic-rpc" || last.Protocol != "tcp" || last.Need != "required" || len(last.Dynamic) != 2 || last.Dynamic[0].Ports != "1025-5000" || last.Stated["2023-12"] != "49152-65535" {
		t.Errorf("got %+v", last)
	}
}

func TestServiceRows(t *testing.T) {
	f := factsOf(t, "2022")
	rows := func(table *show.Table) [][]string {
		var b bytes.Buffer
		if err := table.CSV(&b); err != nil {
			t.Fatal(err)
		}
		all, err := csv.NewReader(&b).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	got := rows(f.portRows(servicesOf(t, "TermService", "winrm")))
	want := [][]string{
		{"service", "port", "protocol", "app", "need", "condition", "sources"},
		{"terminal-services", "3389", "tcp", "RDP", "required", "", "kb832017-2020;kb832017-2022;kb832017-2023"},
	}
	if diff := cmp.Diff(want, got[:2]); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if sources := got[2][6]; sources != "kb832017-2023" { // which alone has the row
		t.Errorf("RDP over UDP is from %s", sources)
	}
	if condition := rows(f.portRows(servicesOf(t, "NtFrs")))[2][5]; !strings.HasPrefix(condition, "49152-65535 (Windows Server 2022); ") {
		t.Errorf("the condition of dynamic ports is %q", condition)
	}
	pins := rows(f.pinRows(servicesOf(t, "netlogon", "dfsr", "winrm", "cluster")))
	if len(pins) != 8 || pins[1][4] != "DCTcpipPort" || pins[2][6] != "dfsrdiag StaticRPC /port:N /Member:FQDN" || pins[3][3] != "powershell" || pins[4][0] != "winrm" || pins[4][2] != "" {
		t.Errorf("rows of pins are %q", pins)
	}
}

func TestServiceList(t *testing.T) {
	var b bytes.Buffer
	f := factsOf(t)
	if err := f.printList(show.Screen{Writer: &b}, servicesOf(t, "dfsr", "cluster"), true); err != nil {
		t.Fatal(err)
	}
	wantLines(t, b.String(),
		"SERVICE NAME SYSTEM SERVICE GROUP STATUS PORTS SOURCES",
		"dfs-replication Distributed File System Replication DFSR file current tcp 135,5722,dynamic-rpc kb832017-2020;kb832017-2023",
		"2 services of 2 groups")
	if f.interfaces != nil {
		t.Error("a list of services reads the interfaces")
	}
	if got, want := factsOf(t, "2003", "2022").allPorts(servicesOf(t, "dfsr")[0]), "tcp 135,1025-5000,5722,49152-65535"; got != want {
		t.Errorf("ports with systems are %q, want %q", got, want)
	}
}

func TestCheckGroup(t *testing.T) {
	c := catalog.Builtin()
	for _, group := range []string{"", "file", "Active-Directory"} {
		if err := checkGroup(c, group); err != nil {
			t.Errorf("group %q: %v", group, err)
		}
	}
	if err := checkGroup(c, "fiel"); err == nil || err.Error() != `unknown group "fiel"; did you mean "file"?` {
		t.Error(err)
	}
	if err := checkGroup(c, "zzzzz"); err == nil || !strings.HasPrefix(err.Error(), `unknown group "zzzzz": want one of active-directory, auth, `) {
		t.Error(err)
	}
}
