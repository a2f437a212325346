package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/catalog"
)

func TestRelationships(t *testing.T) {
	c := catalog.Builtin()
	tests := []catalog.Relationship{
		{ID: "client-to-dc", Description: "a client and a domain controller of its domain", Scopes: []catalog.Scope{catalog.ScopeDomain}},
		{ID: "dns-to-dns", Description: "two DNS servers of one domain, or of which one uses the other", Scopes: []catalog.Scope{catalog.ScopeDomain, catalog.ScopeUsed}},
		{ID: "print-spooler", Description: "a host and one that it uses for Print Spooler", Scopes: []catalog.Scope{catalog.ScopeUsed}, Service: "print-spooler", To: []string{"print-spooler"}},
		{
			ID: "cluster-nodes", Description: "two nodes of one cluster", Scopes: []catalog.Scope{catalog.ScopeGroup}, Service: "cluster",
			From: []string{"cluster"}, To: []string{"cluster"},
		},
		{ // has an entry, as both connect
			ID: "msdtc", Description: "two hosts that take part in transactions, of which one uses the other", Scopes: []catalog.Scope{catalog.ScopeUsed},
			Service: "msdtc", To: []string{"msdtc"}, Mirror: true,
		},
		{
			ID: "exchange-to-dc", Description: "an Exchange server and a domain controller of its domain", Scopes: []catalog.Scope{catalog.ScopeDomain},
			Unfiltered: true, From: []string{"exchange-server"}, To: []string{"dc"}, Mirror: true, Sources: []string{"exchange-ports"},
		},
	}
	for _, want := range tests {
		got, ok := c.Relationship(want.ID)
		if !ok {
			t.Errorf("Relationship(%q) is not there", want.ID)
		} else if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("Relationship(%q) (-want +got)\n%s", want.ID, diff)
		}
	}
	if r, ok := c.Relationship("nobody"); ok {
		t.Errorf("Relationship(nobody) = %+v", r)
	}
	seen := map[string]bool{}
	for _, r := range c.Relationships() {
		if again, ok := c.Relationship(r.ID); !ok || again != r || seen[r.ID] {
			t.Errorf("%s is there twice, or is not found", r.ID)
		}
		seen[r.ID] = true
	}
	var flows []string
	for _, f := range c.Flows("", "") {
		flows = append(flows, f.Relationship)
	}
	for _, s := range c.Services() {
		if r, ok := c.Relationship(s.ID); !ok || r.Service != s.ID && !slices.Contains(flows, s.ID) {
			t.Errorf("the relationship of service %s is %+v, %v", s.ID, r, ok)
		}
	}
	var zero catalog.Catalog
	if _, ok := zero.Relationship("dc"); ok || len(zero.Relationships()) > 0 {
		t.Error("the zero catalog has relationships")
	}
}

func TestRoleByName(t *testing.T) {
	for name, want := range map[string]string{
		"dc": "dc", "Domain-Controller": "dc", "RODC": "rodc", "read-only-domain-controller": "rodc", "gc": "global-catalog", "ca": "certification-authority",
		"management": "admin-host", "nfsv3-server": "nfs3-server", "dns": "dns-server",
	} {
		if r, ok := catalog.Builtin().RoleByName(name); !ok || r.ID != want {
			t.Errorf("RoleByName(%q) = %+v, %v, want %s", name, r, ok, want)
		}
	}
	for _, name := range []string{"", "domain controller", "nobody"} {
		if r, ok := catalog.Builtin().RoleByName(name); ok {
			t.Errorf("RoleByName(%q) = %+v", name, r)
		}
	}
}

// A row is a flow, or a port of a service.
type catalogRow struct {
	id       string
	protocol catalog.Protocol
	ports    catalog.Ports
	need     catalog.Need
	when     []catalog.Term
	to       string
}

func catalogRows() []catalogRow {
	var rows []catalogRow
	for _, f := range catalog.Builtin().Flows("", "") {
		rows = append(rows, catalogRow{f.ID, f.Protocol, f.Ports, f.Need, f.When, f.To})
	}
	for _, s := range catalog.Builtin().Services() {
		for _, p := range s.Ports {
			rows = append(rows, catalogRow{s.ID + " " + p.Protocol.String() + " " + p.Ports.String(), p.Protocol, p.Ports, p.Need, p.When, s.ID})
		}
	}
	return rows
}

// TestWhen holds that rows which look alike are needed in the same circumstances.
func TestWhen(t *testing.T) {
	toDC := []string{"dc", "rwdc", "rodc", "trusted-dc"}
	tests := []struct {
		term  string
		rows  func(r catalogRow) bool
		but   []string // rows that are left to the need
		count int
	}{
		{"netbios", func(r catalogRow) bool {
			return slices.Contains([]string{"137", "138", "139"}, r.ports.String()) && slices.Contains([]catalog.Need{catalog.Optional, catalog.Conditional, catalog.LegacyNeed}, r.need)
		}, nil, 38},
		{"ldaps", func(r catalogRow) bool { return r.ports.String() == "636" || r.ports.String() == "3269" }, nil, 11},
		{"to:global-catalog", func(r catalogRow) bool { return r.ports.String() == "3268" || r.ports.String() == "3269" }, []string{"admin-to-dc-05"}, 12},
		{"to:dns-server", func(r catalogRow) bool { return r.ports.String() == "53" && slices.Contains(toDC, r.to) }, nil, 13},
		{"to-system:windows-server-2008,windows-server-2008-r2", func(r catalogRow) bool { return r.ports.String() == "5722" }, nil, 5},
	}
	for _, tt := range tests {
		count := 0
		for _, r := range catalogRows() {
			has := slices.ContainsFunc(r.when, func(term catalog.Term) bool { return term.String() == tt.term })
			if tt.rows(r) && !slices.Contains(tt.but, r.id) {
				count++
				if !has {
					t.Errorf("%s is not bound to %s, as rows like it are", r.id, tt.term)
				}
			}
		}
		if count != tt.count {
			t.Errorf("%d rows with %s, want %d", count, tt.term, tt.count)
		}
	}
}

// TestDCOMRows holds that who is called by DCOM says which row that is.
func TestDCOMRows(t *testing.T) {
	calledOtherwise := []string{"active-directory-lsa", "rpc"} // by RPC in the first place
	for _, s := range catalog.Builtin().Services() {
		has := slices.ContainsFunc(s.Ports, func(p catalog.ServicePort) bool { return p.DCOM })
		if has != (s.Uses.DCOM && !slices.Contains(calledOtherwise, s.ID)) {
			t.Errorf("%s uses DCOM: %v, and has a row of it: %v", s.ID, s.Uses.DCOM, has)
		}
	}
	for _, f := range catalog.Builtin().Flows("", "") {
		if says := strings.Contains(f.App, "DCOM") || strings.Contains(f.App, "WMI"); f.DCOM != (says && f.Ports.Symbol == catalog.DynamicRPC) {
			t.Errorf("%s: %s: dcom is %v", f.ID, f.App, f.DCOM)
		}
	}
}

// TestWordsOfAdministrators holds that what people call a server is one service.
func TestWordsOfAdministrators(t *testing.T) {
	for name, want := range map[string]string{
		"file-server": "server", "File Server": "server", "smb": "server", "print-server": "print-spooler", "failover-cluster": "cluster",
		"sql-server": "sql-server", "mssql": "sql-server", "exchange": "exchange-server", "wsus": "wsus", "sccm": "configuration-manager",
		"hyper-v": "hyper-v-live-migration", "radius": "ias-radius", "nps": "ias-radius", "winrm": "winrm", "rdp": "terminal-services",
		"rd-gateway": "rd-gateway", "iis": "w3svc", "web-server": "w3svc", "dhcp": "dhcp-server", "dns": "dns-server", "ftp": "ftp-publishing",
		"tftp": "tftp-daemon", "ssh": "openssh-server", "snmp": "snmp", "ntp": "windows-time", "iscsi": "iscsi-target", "vpn-server": "routing-remote-access",
		"sharepoint": "sharepoint-portal", "kms": "kms", "adfs": "adfs", "wmi": "wmi-fixed", "msmq": "msmq", "dtc": "msdtc", "wins": "wins", "lpd": "lpd",
	} {
		var got []string
		for _, s := range catalog.Builtin().ServicesByName(name) {
			got = append(got, s.ID)
		}
		if !slices.Equal(got, []string{want}) {
			t.Errorf("ServicesByName(%q) = %q, want %s", name, got, want)
		}
	}
}
