package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/portset"
)

// askPorts returns what the built-in catalog says of ports, to servers of the systems.
func askPorts(t testing.TB, args string, systems ...string) *portDocument {
	t.Helper()
	questions, err := parsePortArgs(newPort(&globals{}), strings.Fields(args))
	if err != nil {
		t.Fatal(err)
	}
	c := catalog.Builtin()
	f := catalogFlags{systems: systems}
	servers, err := f.servers(c)
	if err != nil {
		t.Fatal(err)
	}
	return newPortLookup(c, servers).answer(questions)
}

func portsText(t *testing.T, d *portDocument, width int, sources bool) string {
	t.Helper()
	var b bytes.Buffer
	if err := printPorts(show.Screen{Writer: &b, Width: width}, d, sources); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestParsePortArgs(t *testing.T) {
	both := func(port uint16) portQuestion { return portQuestion{port, true, true} }
	tests := []struct {
		args string
		want []portQuestion
		err  string
	}{
		{"3268", []portQuestion{both(3268)}, ""},
		{"445,135 0", []portQuestion{both(445), both(135), both(0)}, ""},
		{"5000-5002/udp 65535", []portQuestion{{5000, false, true}, {5001, false, true}, {5002, false, true}, both(65535)}, ""},
		{"389/udp 389/TCP 389", []portQuestion{both(389)}, ""},
		{"389/udp,389/tcp", []portQuestion{both(389)}, ""},
		{"1-200 100-200", nil, ""},
		{"1-201", nil, "201 ports: at most 200 are looked up at once: ask for fewer, or for those that are known: quaymaster port list"},
		{"0-65535 0-65535", nil, "65,536 ports: at most 200 are looked up at once: ask for fewer, or for those that are known: quaymaster port list"},
		{"70000 abc 5-3 lst 80", nil, `port 70000: want 0 to 65535
port abc: want a number from 0 to 65535, or a range such as 5000-5010
port 5-3: the range ends before it begins: want 3-5
port lst: want a number; did you mean "list"?`},
		{"80,,443", nil, `port "": want a number from 0 to 65535, or a range such as 5000-5010`},
		{"80/sctp", nil, `port 80/sctp: transport "sctp": want /tcp or /udp, or none for both`},
		{"80/", nil, `port 80/: transport "": want /tcp or /udp, or none for both`},
		{"1-99999999999999999999999", nil, `port 1-99999999999999999999999: want 0 to 65535`},
		{"+80", nil, `port +80: want a number from 0 to 65535, or a range such as 5000-5010`},
		{"-80", nil, `port -80: want a number from 0 to 65535, or a range such as 5000-5010`},
		{"1-2-3", nil, `port 1-2-3: want a number from 0 to 65535, or a range such as 5000-5010`},
	}
	for _, tt := range tests {
		got, err := parsePortArgs(newPort(&globals{}), strings.Fields(tt.args))
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != tt.err || tt.want != nil && !slices.Equal(got, tt.want) {
			t.Errorf("parsePortArgs(%s) = %v, %s\nwant %v, %s", tt.args, got, text, tt.want, tt.err)
		}
	}
}

// What the built-in catalog says, in lines for people that have to be there, and that must not.
func TestPortText(t *testing.T) {
	const ask = "any RPC server may be there; ask the endpoint mapper of the host"
	tests := []struct {
		args    string
		systems []string
		want    []string
		wantNot []string
	}{
		{"3268", nil, []string{
			"3268/tcp   Global Catalog                      Active Directory (local security authority) (LSASS)\n",
			"           also for      Offline Files, User Profile Service, Folder Redirection, Primary Computer (ProfSvc, CscService)\n",
			"           encrypted     3269/tcp Global Catalog over TLS\n",
			"client, dc → dc; trusting-dc ↔ trusted-dc; rodc → rwdc [target is a GC]\n",
			"           doubt         the sources disagree: offline-files-profiles; --sources shows both\n",
			"           source        KB 832017 (2020, 2023), KB 179442,",
			"\n3268/udp   nothing known\n",
			"\n3268       dynamic       3268 lies in the dynamic ports of Windows 2000, XP, Server 2003, 1025-5000;",
		}, []string{"Firewall client application"}},
		{"3269/tcp", nil, []string{"unencrypted   3268/tcp Global Catalog\n"}, []string{" encrypted "}},
		{"135", nil, []string{
			"135/tcp    RPC endpoint mapper                 Remote Procedure Call (RPC) (RpcSs)\n",
			"iSCSI target server (WinTarget) [conditional, unverified]",
			"Distributed Link Tracking Server (TrkSvr) [removed]",
			"           DCE/RPC       ", " epmapper 3.0, ", " interfaces of DCOM to be activated\n",
			"\n135/udp    RPC\n           DCE/RPC       epmapper 3.0\n",
		}, []string{"dynamic ports"}},
		{"445", nil, []string{
			"445/tcp    SMB                                 Server (file and print sharing) (lanmanserver)\n",
			"           RPC over named pipes                Event Log (Eventlog)\n",
			"only in the revision of 2023-12\n", "\n445/udp    nothing known\n",
		}, nil},
		{"5722", nil, []string{
			"5722/tcp   DFSR RPC (fixed by product defect)  Distributed File System Replication (DFSR)\n",
			"           need          legacy: old peers only\n",
			"           note          2008 and 2008 R2 domain controllers only; vendor blog calls it a defect.\n",
			"2012+ DCs use the dynamic range unless pinned.\n",
			"\n5722       pinned by     DFS Replication: dfsrdiag StaticRPC /port:N",
		}, nil},
		{"5722", []string{"2003"}, []string{"5722/tcp   DFSR RPC"}, []string{"needed by"}}, // the flows are of modern servers
		{"49664", nil, []string{
			"49664      nothing known that has it as its own\n",
			"of Vista, Server 2008 and later, 49152-65535;", "of Forefront TMG, 10000-65535", "(unverified);", ask,
			"           one of        tcp udp 1025-65535, Firewall client application of ISA/TMG Server (fwsrv) [legacy]\n",
		}, []string{"49664/tcp"}},
		{"49664", []string{"windows-server-2019"}, []string{
			"           dynamic       49664 lies in the dynamic ports of Windows Server 2019, 49152-65535: " + ask + "\n",
		}, nil},
		{"49664", []string{"2008r2"}, []string{
			"Windows Server 2008 R2, 49152-65535; of Windows Server 2008 R2 with Exchange 2010, 6005-59530 (single blog source); of",
		}, nil},
		{"49664", []string{"2003"}, []string{
			"           dynamic       not in the dynamic ports of Windows Server 2003, 1025-5000\n",
		}, []string{ask}},
		{"49664", []string{"2025"}, []string{"Windows Server 2025, 49152-65535 (unverified): "}, nil},
		{"111", nil, []string{
			"111/tcp    portmapper                          NFS server of Linux (nfs-server) [conditional]\n",
			"           ONC RPC       rpcbind (100000)\n", "\n111/udp    portmapper ",
		}, []string{"dynamic"}},
		{"2049", nil, []string{"2049/tcp   NFS ", "ONC RPC       nfs (100003), nfs_acl (100227)\n", "2049       pinned by     NFS nfsd: /etc/nfs.conf nfsd port ("}, nil},
		{"892", nil, []string{
			"892        nothing known that has it as its own\n",
			"           pinned by     NFS mountd: /etc/nfs.conf mountd port (usual: the example; two sources)\n",
		}, []string{"892/tcp"}},
		{"389/udp", nil, []string{"389/udp    LDAP (DC locator) "}, []string{"389/tcp"}},
		{"3389", nil, []string{"3389/tcp   RDP ", "\n3389/udp   RDP ", "NetMeeting Remote Desktop Sharing (mnmsrvc) [removed]\n"}, nil},
		{"5985", nil, []string{"5985/tcp   WS-Management HTTP (2.0+)           Windows Remote Management (WinRM)\n", "encrypted     5986/tcp WS-Management HTTPS (2.0+)\n"}, []string{"443"}},
		{"9389", nil, []string{"9389/tcp   AD Web Services                     Active Directory Web Services (ADWS) (ADWS)\n", "note          Download for 2003 SP2/2008.\n"}, nil},
		{"636/udp", nil, []string{"636/udp    nothing known\n           doubt         the sources disagree: active-directory-lsa;"}, nil},
		{"65535", nil, []string{"65535      nothing known that has it as its own\n", "61000-65535;"}, nil},
		{"0", nil, []string{"0          no port that anything can be reached at: "}, []string{"/tcp", "dynamic ports"}},
		{"1000", nil, []string{"1000       nothing known\n"}, []string{"dynamic"}},
		{"1000/udp", nil, []string{"1000/udp   nothing known\n"}, nil},
		{"5000-5010", nil, []string{"\n5001-5003  nothing known that has it as its own\n           dynamic       they lie in", "\n5004/udp   RTP ", "\n5006-5010  nothing known"}, nil},
		{"5006-5010/tcp", nil, []string{"5006-5010/tcp nothing known"}, nil},
	}
	for _, tt := range tests {
		got := portsText(t, askPorts(t, tt.args, tt.systems...), 1000, false)
		for _, want := range tt.want {
			if !strings.Contains(got, want) {
				t.Errorf("port %s of %q lacks %q:\n%s", tt.args, tt.systems, want, got)
			}
		}
		for _, not := range tt.wantNot {
			if strings.Contains(got, not) {
				t.Errorf("port %s of %q has %q:\n%s", tt.args, tt.systems, not, got)
			}
		}
	}
}

// Lines are as long as the screen lets them be.
func TestPortTextBreaks(t *testing.T) {
	for _, width := range []int{60, 80, 100} {
		for line := range strings.Lines(portsText(t, askPorts(t, "3268 135 389"), width, true)) {
			if strings.HasPrefix(line, "SOURCE ") {
				break
			}
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > width {
				t.Errorf("%d columns on a screen of %d: %s", n, width, line)
			}
		}
	}
}

// With --sources both sides of a disagreement are told, and what each source is.
func TestPortSources(t *testing.T) {
	got := portsText(t, askPorts(t, "389/udp 3268"), 1000, true)
	for _, want := range []string{
		`disagreement  active-directory-lsa: the section says "LDAP Server", the table by port "DC Locator"; CLDAP [label, KB 832017 (2020, 2023)]`,
		"source        KB 832017 (2020, 2023): Active Directory (local security authority),",
		"source        KB 179442: client-to-dc-04, ",
		" [table by port]\n",
		"\nkb832017-2023          2023-12-26  Service overview and network port requirements for Windows  ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "--sources") {
		t.Errorf("it asks for --sources, which is given:\n%s", got)
	}
}

func TestPortDocument(t *testing.T) {
	d := askPorts(t, "3268,49664,111", "2019")
	var b bytes.Buffer
	if err := show.JSON(&b, d); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "null") {
		t.Errorf("there is a null in\n%s", &b)
	}
	var again portDocument
	decoder := json.NewDecoder(&b)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, &again, cmp.Comparer(portset.Set.Equal)); diff != "" {
		t.Error(diff)
	}
	if d.Schema != "quaymaster/port/1" || len(d.Systems) != 1 || d.Systems[0].ID != "windows-server-2019" || d.Systems[0].DynamicPorts.String() != "49152-65535" {
		t.Errorf("schema %q, systems %+v", d.Schema, d.Systems)
	}
	catalogTCP := d.Ports[0].Transports[0]
	use := catalogTCP.Uses[0]
	if use.Service != "active-directory-lsa" || use.App != "Global Catalog" || use.Need != "required" || use.Wide ||
		!slices.Equal(use.Encrypted, []portRef{{"3269", "tcp", "Global Catalog over TLS"}}) || !slices.Equal(use.Sources, []string{"kb832017-2020", "kb832017-2023"}) {
		t.Errorf("the first use of 3268/tcp is %+v", use)
	}
	if n := len(catalogTCP.Flows); n == 0 || catalogTCP.Flows[0].From != "client" || catalogTCP.Flows[0].To != "dc" {
		t.Errorf("flows of 3268/tcp: %+v", catalogTCP.Flows)
	}
	if len(d.Ports[0].Dynamic) != 0 {
		t.Errorf("3268 is a dynamic port of Windows Server 2019: %+v", d.Ports[0].Dynamic)
	}
	if r := d.Ports[1].Dynamic; len(r) != 1 || r[0].ID != "modern" || r[0].System != "Windows Server 2019" {
		t.Errorf("49664 of Windows Server 2019 is in %+v", r)
	}
	for _, transport := range d.Ports[2].Transports {
		if p := transport.Programs; len(p) != 1 || p[0].Program != 100000 || p[0].Name != "rpcbind" {
			t.Errorf("programs at 111/%s: %+v", transport.Transport, p)
		}
	}
	var ids []string
	for _, s := range d.Sources {
		ids = append(ids, s.ID)
	}
	if !slices.Contains(ids, "kb832017-2023") || !slices.Contains(ids, "kb929851") || len(unique(ids)) != len(ids) {
		t.Errorf("sources: %q", ids)
	}
}

// Every key of the document is described.
func TestPortKeysDescribed(t *testing.T) {
	page, err := os.ReadFile("../../docs/catalog.md")
	if err != nil {
		t.Fatal(err)
	}
	_, about, _ := strings.Cut(string(page), "\n## The JSON of port\n")
	about, _, _ = strings.Cut(about, "\n## ")
	var look func(reflect.Type)
	look = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Slice:
			look(typ.Elem())
		case reflect.Struct:
			for field := range typ.Fields() {
				if key := field.Tag.Get("json"); key != "" && !strings.Contains(about, "`"+key+"`") {
					t.Errorf("docs/catalog.md does not say what %s of %s is", key, typ)
				}
				look(field.Type)
			}
		}
	}
	look(reflect.TypeFor[portDocument]())
}

func TestPortCSV(t *testing.T) {
	var b bytes.Buffer
	if err := portTable(askPorts(t, "3268,135,1000,20048,65535", "2019")).CSV(&b); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]string{
		{"port", "transport", "service", "name", "app", "need", "condition", "sources"},
		{"3268", "tcp", "active-directory-lsa", "Active Directory (local security authority)", "Global Catalog", "required", "", "kb832017-2020;kb832017-2023"},
		{"135", "tcp", "iscsi-target", "iSCSI target server", "RPC endpoint mapper", "conditional", "unverified", "supplement"},
		{"135", "udp", "", "epmapper", "DCE/RPC interface e1af8308-5d1f-11c9-91a4-08002b14a0fa 3.0", "", "", "impacket;openspec-idl;samba-idl;win10-binary;zeek"},
		{"1000", "tcp", "", "", "", "", "", ""},
		{"1000", "udp", "", "", "", "", "", ""},
		{"20048", "", "", "NFS mountd", "pin onc-mountd", "", "two sources; the example; /etc/nfs.conf mountd port", "nfs.conf manual (nfs-utils 2.6.2);Red Hat support article on fixed NFS ports"},
		{"65535", "", "", "Windows Server 2019", "dynamic ports 49152-65535", "", "", "kb832017;kb929851"},
	} {
		if !slices.ContainsFunc(rows, func(row []string) bool { return slices.Equal(row, want) }) {
			t.Errorf("there is no row %q in\n%q", want, rows)
		}
	}
}

// Each row with TLS and the one without name each other.
func TestTwins(t *testing.T) {
	pairs := 0
	for _, s := range catalog.Builtin().Services() {
		for i := range s.Ports {
			p := &s.Ports[i]
			encrypted, plain := twins(s, p)
			if len(encrypted) > 0 && len(plain) > 0 {
				t.Errorf("%s: %s is both", s.ID, p.App)
			}
			for _, ref := range encrypted {
				pairs++
				j := slices.IndexFunc(s.Ports, func(q catalog.ServicePort) bool { return q.App == ref.App })
				_, back := twins(s, &s.Ports[j])
				if !slices.ContainsFunc(back, func(r portRef) bool { return r.App == p.App }) {
					t.Errorf("%s: %s leads to %s, which leads to %v", s.ID, p.App, ref.App, back)
				}
			}
		}
	}
	if pairs < 12 {
		t.Errorf("%d pairs, want those of LDAP, POP3, WinRM and others", pairs)
	}
}

// The list has what anything has, once, and nothing that is one of many.
func TestPortList(t *testing.T) {
	l := newPortLookup(catalog.Builtin(), nil)
	var questions []portQuestion
	for port := range l.known().All() {
		questions = append(questions, portQuestion{port, true, true})
	}
	d := l.answer(questions)
	d.dropMany()
	if len(d.Ports) < 100 || len(d.Ports) > 1000 {
		t.Errorf("%d ports are known", len(d.Ports))
	}
	at := map[uint16]*portAnswer{}
	for i := range d.Ports {
		at[d.Ports[i].Port] = &d.Ports[i]
	}
	for _, port := range []uint16{111, 135, 445, 3268, 5722, 9389, 20048, 24158} {
		if at[port] == nil {
			t.Errorf("the list lacks %d", port)
		}
	}
	if at[49664] != nil || at[0] != nil {
		t.Error("the list has 49664 or 0")
	}
	if p := at[3268]; p != nil && (len(p.Transports) != 1 || len(p.Dynamic) != 0) {
		t.Errorf("3268 in the list is %+v", p)
	}
	var b bytes.Buffer
	if err := printPortList(show.Screen{Writer: &b}, d, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\n 9389  tcp        AD Web Services, AD Management Gateway Service ", "\n  892  —          pinned ", " (quaymaster port N tells more)\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the list lacks %q:\n%s", want, &b)
		}
	}
}

func TestSourceNames(t *testing.T) {
	tests := []struct{ ids, want string }{
		{"", ""},
		{"kb832017-2023 samba-manual kb832017-2020 kb832017-2023", "KB 832017 (2020, 2023), samba-manual"},
		{"kb179442 kb832017 kb832017-2020", "KB 179442, KB 832017 (2020)"},
	}
	for _, tt := range tests {
		if got := sourceNames(strings.Fields(tt.ids)); got != tt.want {
			t.Errorf("sourceNames(%s) = %q, want %q", tt.ids, got, tt.want)
		}
	}
}

// BenchmarkPort is one question: what a process does, and what each further port costs it.
func BenchmarkPort(b *testing.B) {
	c := catalog.Builtin()
	questions := []portQuestion{{3268, true, true}}
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			newPortLookup(c, nil).answer(questions)
		}
	})
	b.Run("further", func(b *testing.B) {
		l := newPortLookup(c, nil)
		b.ReportAllocs()
		for b.Loop() {
			l.answer(questions)
		}
	})
}

// BenchmarkPortProcess is what a user waits for: the program starts, answers and ends.
func BenchmarkPortProcess(b *testing.B) {
	exe := filepath.Join(b.TempDir(), "quaymaster") // not the test binary, which has more to set up
	if out, err := exec.Command("go", "build", "-o", exe, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	for b.Loop() {
		if out, err := exec.Command(exe, "port", "3268").CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
}
