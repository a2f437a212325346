package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/show"
)

func roleOf(t *testing.T, name string) *catalog.Role {
	t.Helper()
	r, err := findRole(catalog.Builtin(), name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRoleNames(t *testing.T) {
	tests := []struct{ name, want string }{
		{"dc", "dc"}, {"DC", "dc"}, {"domain-controller", "dc"}, {"Domain Controllers", "dc"}, {"any writable DC", "dc"},
		{"rodc", "rodc"}, {"read-only domain controller", "rodc"}, {"Read-Only DC", "rodc"}, {"read_only dc", "rodc"},
		{"member", "member"}, {"domain-joined server", "member"}, {"client", "client"}, {"management", "admin-host"},
		{"pdc", "pdc-emulator"}, {"cert", "certification-authority"}, {"NTP source", "external-time-source"},
		{"workstation", "client"}, {"CA", "certification-authority"}, {"writable  domain controller", "dc"}, {"nfsv3", "nfs3-server"},
	}
	for _, tt := range tests {
		if r, err := findRole(catalog.Builtin(), tt.name); err != nil || r.ID != tt.want {
			t.Errorf("role %q is %v, %v, want %s", tt.name, r, err, tt.want)
		}
	}
	for _, tt := range []struct{ name, want string }{
		{"host", `role "host" may be joining-host, admin-host or kdc-proxy-host: name one`},
		{"writable DC", `role "writable DC" may be dc or rwdc: name one`},
		{"domain-controler", `unknown role "domain-controler"; did you mean dc?`},
		{"read-olny DC", `unknown role "read-olny DC"; did you mean rodc?`},
		{"membr", `unknown role "membr"; did you mean member?`}, {"nvfs3", `unknown role "nvfs3"; did you mean nfs3-server?`},
		{"lsit", `unknown role "lsit"; did you mean list?`},
		{"zzzzzz", `unknown role "zzzzzz": "quaymaster role list" has them all`},
		{"", `unknown role "": "quaymaster role list" has them all`},
	} {
		if r, err := findRole(catalog.Builtin(), tt.name); err == nil || err.Error() != tt.want {
			t.Errorf("role %q is %v, %v, want %s", tt.name, r, err, tt.want)
		}
	}
}

func TestRoleTable(t *testing.T) {
	print := func(f *roleFacts, role string, sources bool) string {
		var b bytes.Buffer
		if err := f.print(show.Screen{Writer: &b}, []*catalog.Role{roleOf(t, role)}, sources); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	all := print(&roleFacts{serviceFacts: factsOf(t)}, "dc", false)
	wantLines(t, all,
		"dc (any writable DC)",
		"listens, and for whom:",
		"FROM PORT PROTOCOL SERVICE FOR NEED CONDITION NARROWED BY",
		"client, dc dynamic-rpc tcp active-directory-lsa RPC: LSA, SAM, Netlogon (and DRS where used) required — ntds netlogon",
		"client 137 udp net-logon NetBIOS name legacy NetBIOS-only peers or DNS failure fallback —",
		"client echo icmp — Group Policy slow-link probe legacy XP/2003 clients only —",
		"needs of others:",
		"pdc-emulator 123 udp windows-time NTP required domain hierarchy —",
		"dynamic-rpc 49152-65535 (Windows Vista, Server 2008 and later), 1025-5000 (Windows 2000, XP and Server 2003)",
		"narrowed by pins put a number in place of dynamic ports: quaymaster service active-directory-lsa net-logon file-replication dfs-replication --pin",
	)
	if strings.Contains(all, "KB 179442") {
		t.Errorf("sources without --sources:\n%s", all)
	}

	modern := print(&roleFacts{serviceFacts: factsOf(t, "windows-server-2022")}, "dc", true)
	wantLines(t, modern, "dynamic-rpc 49152-65535 (Windows Server 2022)", "kb179442 — How to configure a firewall for Active Directory domains and trusts —")
	legacy := print(&roleFacts{serviceFacts: factsOf(t, "2003")}, "dc", false)
	wantLines(t, legacy, "dynamic-rpc 1025-5000 (Windows Server 2003)")
	both := print(&roleFacts{serviceFacts: factsOf(t, "2003", "2022")}, "dc", false)
	wantLines(t, both, "dynamic-rpc 1025-5000 (Windows Server 2003), 49152-65535 (Windows Server 2022)")
	for _, tt := range []struct {
		what                 string
		modern, legacy, both bool
	}{
		{"AD Web Services", true, false, true},
		{"DFSR SYSVOL replication", true, false, true},
		{"Group Policy slow-link probe", false, true, true},
		{"FRS SYSVOL replication", true, true, true},
	} {
		// of the flows to a DC; administrators have tools for old ones too
		if got := strings.Contains(modern, tt.what); got != tt.modern {
			t.Errorf("%s with 2022: %v", tt.what, got)
		}
		if got := strings.Contains(legacy, tt.what); got != tt.legacy {
			t.Errorf("%s with 2003: %v", tt.what, got)
		}
		if got := strings.Contains(both, tt.what); got != tt.both {
			t.Errorf("%s with both: %v", tt.what, got)
		}
	}

	f := &roleFacts{serviceFacts: factsOf(t), from: roleOf(t, "client")}
	clients := print(f, "dc", false)
	if strings.Contains(clients, "needs of others") || strings.Contains(clients, "joining-host") || !strings.Contains(clients, "for 1 role\n") {
		t.Errorf("--from client:\n%s", clients)
	}
	f = &roleFacts{serviceFacts: factsOf(t), to: roleOf(t, "pdc")}
	if got := print(f, "dc", false); strings.Contains(got, "for whom") || !strings.Contains(got, "dc needs 1 port of 1 role\n") {
		t.Errorf("--to pdc-emulator:\n%s", got)
	}
	f = &roleFacts{serviceFacts: factsOf(t, "2003"), from: roleOf(t, "rwdc"), to: roleOf(t, "rwdc")}
	wantLines(t, print(f, "rodc", false), "nothing is known that rodc listens on or needs, for rwdc, of rwdc, where those who listen have the systems of --os")
	wantLines(t, print(&roleFacts{serviceFacts: factsOf(t)}, "kdc-proxy-host", false), "client 443 tcp kdc-proxy KDC proxy (KKDCP) optional clients with no direct path to a KDC; unverified —")
}

// Conditions are whole on a narrow screen.
func TestRoleOnNarrowScreen(t *testing.T) {
	var b bytes.Buffer
	f := &roleFacts{serviceFacts: factsOf(t), from: roleOf(t, "joining-host")}
	if err := f.print(show.Screen{Writer: &b, Width: 110}, []*catalog.Role{roleOf(t, "dc")}, false); err != nil {
		t.Fatal(err)
	}
	wantLines(t, b.String(), "joining-host 464 udp — machine password set conditional (3) —", "(3) join may set the password over kpasswd")
}

// A mirrored flow is there for both of its roles, and once for a role at both ends.
func TestMirroredFlows(t *testing.T) {
	f := &roleFacts{serviceFacts: factsOf(t)}
	has := func(flows []roleFlow, id, from, to string) int {
		n := 0
		for _, flow := range flows {
			if flow.ID == id && flow.from == from && flow.to == to {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		flows        []roleFlow
		id, from, to string
	}{
		{f.listens("trusted-dc"), "trust-01", "trusting-dc", "trusted-dc"},
		{f.connects("trusted-dc"), "trust-01", "trusted-dc", "trusting-dc"},
		{f.listens("trusting-dc"), "trust-01", "trusted-dc", "trusting-dc"},
		{f.connects("trusting-dc"), "trust-01", "trusting-dc", "trusted-dc"},
		{f.listens("dc"), "dc-to-dc-01", "dc", "dc"},
		{f.connects("dc"), "dc-to-dc-01", "dc", "dc"},
	} {
		if n := has(tt.flows, tt.id, tt.from, tt.to); n != 1 {
			t.Errorf("%s from %s to %s is there %d times, want once", tt.id, tt.from, tt.to, n)
		}
	}
	if n := has(f.connects("dc"), "client-to-dc-01", "dc", "client"); n != 0 {
		t.Error("a flow without mirror goes back")
	}
}

func TestRoleJSON(t *testing.T) {
	var b bytes.Buffer
	f := &roleFacts{serviceFacts: factsOf(t, "2003", "2022")}
	if err := show.Write(show.Screen{Writer: &b}, show.FormatJSON, f.documents(f.Roles()), nil); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "null") {
		t.Error("something is null")
	}
	var got struct {
		Schema string
		Rules  []string
		Roles  []struct {
			ID                string
			Listens, Connects []struct {
				ID, From, To, Ports, Protocol, Need, Generation string
				Dynamic                                         []struct{ Ports, Of string }
				Pins, Sources                                   []string
			}
		}
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != "quaymaster/role/1" || len(got.Rules) == 0 || len(got.Roles) != len(catalog.Builtin().Roles()) {
		t.Fatalf("%s, %d rules, %d roles", got.Schema, len(got.Rules), len(got.Roles))
	}
	seen := 0
	for _, r := range got.Roles {
		for _, flow := range r.Listens {
			if flow.To != r.ID || len(flow.Sources) == 0 {
				t.Errorf("%s listens to %+v", r.ID, flow)
			}
			switch {
			case flow.ID == "client-to-dc-02":
				seen++
				if len(flow.Dynamic) != 2 || !slices.Equal(flow.Pins, []string{"ntds", "netlogon"}) {
					t.Errorf("%+v", flow)
				}
			case flow.ID == "dc-to-dc-19": // of one generation
				seen++
				if len(flow.Dynamic) != 1 || flow.Dynamic[0].Ports != "49152-65535" || flow.Dynamic[0].Of != "Windows Server 2022" {
					t.Errorf("%+v", flow)
				}
			}
		}
	}
	if seen != 2 {
		t.Errorf("%d of 2 flows are there", seen)
	}
}

func TestRoleRows(t *testing.T) {
	var b bytes.Buffer
	f := &roleFacts{serviceFacts: factsOf(t), from: roleOf(t, "client")}
	if err := f.rows([]*catalog.Role{roleOf(t, "dc")}).CSV(&b); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"role", "from", "to", "port", "protocol", "service", "app", "need", "condition", "dynamic", "pins", "sources"}; !slices.Equal(rows[0], want) {
		t.Errorf("columns are %q", rows[0])
	}
	if want := []string{"dc", "client", "dc", "135", "tcp", "rpc", "RPC endpoint mapper", "required", "", "", "", "kb179442"}; !slices.Equal(rows[1], want) {
		t.Errorf("the first row is %q, want %q", rows[1], want)
	}
	if !strings.HasPrefix(rows[2][9], "49152-65535 (") || rows[2][10] != "ntds netlogon" {
		t.Errorf("the row of dynamic ports is %q", rows[2])
	}
}
