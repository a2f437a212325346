package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/portset"
)

// TestBuiltinFacts counts, so that nothing falls by the way.
func TestBuiltinFacts(t *testing.T) {
	c := catalog.Builtin()
	got := map[string]int{
		"services": len(c.Services()), "rows": len(c.PortRows()), "disagreements": len(c.Disagreements("")), "flows": len(c.Flows("", "")),
		"roles": len(c.Roles()), "rules": len(c.FlowRules()), "generations": len(c.Generations()), "ranges": len(c.DynamicRanges()),
		"systems": len(c.Systems()), "relationships": len(c.Relationships()), "sources": len(c.Sources()), "footnotes": len(c.Footnotes()), "groups": len(c.Groups()),
		"depends on": len(c.Directory().DependsOn), "required by": len(c.Directory().RequiredBy),
		"minimum for logon": len(c.IsolatedNetwork().MinimumForLogon), "often forgotten": len(c.IsolatedNetwork().OftenForgotten),
		"droppable": len(c.IsolatedNetwork().Droppable),
	}
	for _, s := range c.Services() {
		got["ports"] += len(s.Ports)
		got["system services"] += len(s.SystemServices)
		got["also named"] += len(s.AlsoNamed)
		got["os limits"] += len(s.OSLimits)
		got["notes of services"] += len(s.Notes)
		got["notes on sources"] += btoi(s.SourcesNote != "")
		got["depends_on"] += len(s.DependsOn)
		got["fixed ports"] += btoi(s.FixedPort != nil)
		got["rpc"] += btoi(s.Uses.RPC)
		got["pipes"] += btoi(s.Uses.NamedPipes)
		got["dcom"] += btoi(s.Uses.DCOM)
		got["basis "+string(s.Basis)]++
		got["status "+string(s.Status)]++
		got["services "+s.Confidence]++
		for _, p := range s.Ports {
			got["need "+string(p.Need)]++
			got["protocol "+p.Protocol.String()]++
			got["symbol "+string(p.Ports.Symbol)]++
			got["notes of ports"] += len(p.Notes)
			got["terms of ports"] += len(p.When)
			got["ports of dcom"] += btoi(p.DCOM)
			got["stated"] += len(p.Stated)
			got["only in "+p.OnlyIn]++
		}
	}
	for _, r := range c.PortRows() {
		got["row in section "+string(r.InSection)]++
		got["remarks"] += btoi(r.Remark != "")
		got["row of "+strings.Join(r.Sources, "+")]++
	}
	for _, d := range c.Disagreements("") {
		got["disagreement "+string(d.Kind)]++
	}
	for _, f := range c.Flows("", "") {
		got["mirrored"] += btoi(f.Mirror)
		got["conditions"] += btoi(f.Condition != "")
		got["flows without confidence"] += btoi(f.Confidence == "")
		got["flow of "+f.Generation]++
		got["flow pins"] += len(f.Pins)
		got["flows of a service"] += btoi(f.Service != "")
		got["terms of flows"] += len(f.When)
		got["flows of dcom"] += btoi(f.DCOM)
	}
	for _, r := range c.Roles() {
		got["aliases of roles"] += len(r.Aliases)
		got["what roles are"] += len(r.Is)
	}
	for _, r := range c.Relationships() {
		got["relationships unfiltered"] += btoi(r.Unfiltered)
		for _, scope := range r.Scopes {
			got["scope "+string(scope)]++
		}
	}
	want := map[string]int{
		"services": 100, "ports": 318, "rows": 187, "disagreements": 80, "flows": 203, "roles": 22, "rules": 10, "generations": 3, "ranges": 9,
		"systems": 20, "sources": 23, "footnotes": 46, "groups": 23, "depends on": 13, "required by": 23,
		"minimum for logon": 11, "often forgotten": 5, "droppable": 5,
		"system services": 89, "also named": 4, "os limits": 27, "notes of services": 71, "notes on sources": 17, "depends_on": 22, "fixed ports": 27,
		"rpc": 33, "pipes": 20, "dcom": 9,
		"basis section": 59, "basis section-prose": 2, "basis reverse-table-only": 14, "basis supplement": 25,
		"status current": 67, "status legacy": 26, "status removed": 7,
		"services ": 75, "services documented": 16, "services unverified": 9,
		"need required": 206, "need optional": 30, "need conditional": 38, "need legacy": 29, "need one-of": 13, "need recommended": 2,
		"protocol tcp": 220, "protocol udp": 90, "protocol icmp": 5, "protocol gre": 1, "protocol esp": 1, "protocol ah": 1,
		"symbol ": 290, "symbol dynamic-rpc": 25, "symbol dynamic-ephemeral": 1, "symbol dynamic-onc": 2,
		"notes of ports": 117, "stated": 42, "only in ": 311, "only in 2023-12": 6, "only in 2020-09": 1,
		"row in section yes": 144, "row in section no": 4, "row in section no-section": 38, "row in section ": 1, "remarks": 15,
		"row of kb832017-2020+kb832017-2023": 179, "row of kb832017-2020": 4, "row of kb832017-2023": 4,
		"disagreement reverse-only": 4, "disagreement section-only": 53, "disagreement value": 6, "disagreement label": 11,
		"disagreement revision": 5, "disagreement missing-section": 1,
		"mirrored": 56, "conditions": 126, "flows without confidence": 190, "flow of both": 153, "flow of modern": 43, "flow of legacy": 7,
		"flow pins": 38, "flows of a service": 119,
		"aliases of roles": 50, "flows of dcom": 5, "ports of dcom": 8, "relationships": 136, "relationships unfiltered": 2, "scope domain": 12, "scope forest": 1, "scope group": 13, "scope trust": 1, "scope tunnel": 2, "scope used": 105, "scope used-by": 4, "terms of flows": 85, "terms of ports": 53, "what roles are": 5,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the files have (-want +got)\n%s", diff)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestKnownServices(t *testing.T) {
	both := []string{"kb832017-2020", "kb832017-2023"}
	tests := []catalog.Service{
		{
			ID: "netmeeting-rds", Name: "NetMeeting Remote Desktop Sharing", Aliases: []string{"NetMeeting-Remotedesktop-Freigabe"},
			SystemServices: []string{"mnmsrvc"}, Group: "remote-desktop", Status: catalog.ServiceRemoved, Basis: catalog.BasisSection,
			Sources: []string{"kb832017-2020"},
			Ports:   []catalog.ServicePort{{App: "Remote desktop", Protocol: catalog.TCP, Ports: catalog.Ports{Numbers: portset.Ports(3389)}, Need: catalog.Required}},
			Notes:   []string{"Section and row were dropped from the article in March 2022."},
		},
		{
			ID: "dfs-replication", Name: "Distributed File System Replication", Aliases: []string{"DFS Replication", "DFS-Replikation"},
			SystemServices: []string{"DFSR"}, Group: "file", Status: catalog.ServiceCurrent, Basis: catalog.BasisSection, Sources: both,
			Uses: catalog.Uses{RPC: true},
			Ports: []catalog.ServicePort{
				{App: "RPC endpoint mapper", Protocol: catalog.TCP, Ports: catalog.Ports{Numbers: portset.Ports(135)}, Need: catalog.Required},
				{
					App: "DFSR RPC (fixed by product defect)", Protocol: catalog.TCP, Ports: catalog.Ports{Numbers: portset.Ports(5722)}, Need: catalog.LegacyNeed,
					NoteIDs: []string{"dfsr-5722"}, Notes: []string{"2008 and 2008 R2 domain controllers only; vendor blog calls it a defect."},
					When: []catalog.Term{
						{Word: catalog.TermTo, Values: []string{"dc"}},
						{Word: catalog.TermToSystem, Values: []string{"windows-server-2008", "windows-server-2008-r2"}},
					},
				},
				{
					App: "RPC dynamic endpoint", Protocol: catalog.TCP, Ports: catalog.Ports{Symbol: catalog.DynamicRPC}, Need: catalog.Required,
					NoteIDs: []string{"rpc-dynamic-range"},
					Notes: []string{"Resolve by SERVER operating system generation: legacy 1025-5000 (2000/XP/2003), modern 49152-65535 (Vista/2008 and later); " +
						`products or admins may move it (netsh, Exchange 2007/2010, TMG, Rpc\Internet).`},
					Stated: map[string]string{"2020-09": "1024-65535 | 49152-65535", "2023-12": "49152-65535"},
				},
			},
			FixedPort: &catalog.FixedPort{How: "dfsrdiag", Pin: "dfsr"},
			OSLimits:  []string{"TCP 5722 is used only on 2008 and 2008 R2 domain controllers; member servers and 2012+ DCs use the dynamic range unless pinned."},
			Notes:     []string{"Arrived with Server 2003 R2.", "SMB 445 is touched only when an empty replicated folder is created."},
		},
	}
	for _, want := range tests {
		got, ok := catalog.Builtin().Service(want.ID)
		if !ok {
			t.Errorf("Service(%q) is not there", want.ID)
		} else if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("Service(%q) (-want +got)\n%s", want.ID, diff)
		}
	}
	if s, ok := catalog.Builtin().Service("DFSR"); ok {
		t.Errorf("Service(DFSR) = %+v, want none: it goes by IDs", s)
	}
}

func TestServicesByName(t *testing.T) {
	tests := []struct{ name, want string }{
		{"dfs-replication", "dfs-replication"},
		{"Dfsr", "dfs-replication"},
		{"DFSR", "dfs-replication"},
		{" NtFrs ", "file-replication"},
		{"distributed file system replication", "dfs-replication"},
		{"network policy server", "ias-radius"}, // also_named
		{"TermService", "terminal-services rdp-shadow-remote-assist"},
		{"vmms", "hyper-v-replica hyper-v-live-migration hyper-v-vmconnect"},
		{"adws", "adws"}, // of two with the system service it is the ID of one
		{"SSDPSRV", "ssdp"},
		{"ssdprsr", "ssdp"}, // as the article misprints it

		{"druckwarteschlange", "print-spooler"},
		{"Druckdienste", "print-spooler"},
		{"DRUCKDIENSTE", "print-spooler"},
		{"Endpunktzuordnung", "rpc"},
		{"Ereignisprotokoll", "event-log"},
		{"Gruppenrichtlinie", "group-policy"},
		{"Windows-Zeitgeber", "windows-time"},
		{"Verteiltes Dateisystem", "dfs-namespaces"},
		{"DFS-Replikation", "dfs-replication"},
		{"Dateireplikation", "file-replication"},
		{"Anmeldedienst", "net-logon"},
		{"Faxdienst", "fax"},
		{"Clusterdienst", "cluster"},
		{"Zertifikatdienste", "certificate-services"},
		{"Überwachung verteilter Verknüpfungen (Server)", "link-tracking-server"},
		{"ÜBERMITTLUNGSOPTIMIERUNG", "delivery-optimization"},

		{"cert", "certificate-services"}, // begins ID, name and system service of one
		{"branch", "branchcache"},
		{"sql", ""}, // begins several
		{"100005", "server-for-nfs nfs-linux"},
		{"mountd", "server-for-nfs nfs-linux"},
		{"nfs", "server-for-nfs nfs-linux"},
		{"portmap", "server-for-nfs"},
		{"100001", ""}, // rstatd, which Windows has not

		{"samr", "active-directory-lsa"},
		{"12345778-1234-abcd-ef00-0123456789ac", "active-directory-lsa"},
		{"897e2e5f-93f3-4376-9c9c-fd2277495c27", "dfs-replication"}, // FrsTransport
		{"spoolss", "print-spooler"},
		{"winreg", ""}, // of RemoteRegistry, which the article has not
		{"00000000-0000-0000-0000-000000000000", ""},
		{"", ""},
		{"x", ""},
		{"nothing of that", ""},
	}
	for _, tt := range tests {
		var got []string
		for _, s := range catalog.Builtin().ServicesByName(tt.name) {
			got = append(got, s.ID)
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("ServicesByName(%q) = %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestEveryNameFindsItsService holds that no name of a service leads only to others.
func TestEveryNameFindsItsService(t *testing.T) {
	c := catalog.Builtin()
	for _, s := range c.Services() {
		for _, name := range slices.Concat([]string{s.ID, s.Name}, s.AlsoNamed, s.Aliases, s.SystemServices) {
			found := c.ServicesByName(strings.ToUpper(name))
			if !slices.Contains(found, s) && !slices.ContainsFunc(found, func(f *catalog.Service) bool { return strings.EqualFold(f.ID, name) }) {
				t.Errorf("ServicesByName(%q) does not find %s", name, s.ID)
			}
		}
	}
}

func TestNearest(t *testing.T) {
	tests := []struct {
		name string
		n    int
		want []string
	}{
		{"dfsrr", 3, []string{"DFSR", "DFSN", "DNS"}},
		{"Druckwarteschlang", 3, []string{"Druckwarteschlange", "Nachrichtenwarteschlange", "Gruppenrichtlinie"}},
		{"sql-serve", 3, []string{"sql-server", "dns-server", "NFS-Server"}},
		{"remote-storge", 1, []string{"remote-storage"}},
		{"snpm", 3, []string{"snmp", "NPS", "SCCM"}},
		{"dfsrr", 0, nil},
		{"completely different", 3, []string{"computer-browser", "Clusterdienst", "Anmeldedienst"}},
		{"", 3, nil},
	}
	for _, tt := range tests {
		if got := catalog.Builtin().Nearest(tt.name, tt.n); !slices.Equal(got, tt.want) {
			t.Errorf("Nearest(%q, %d) = %q, want %q", tt.name, tt.n, got, tt.want)
		}
	}
	var zero catalog.Catalog
	if got := zero.Nearest("dfsr", 3); got != nil {
		t.Errorf("the zero catalog has %q near", got)
	}
}

func TestNeedMeaning(t *testing.T) {
	c := catalog.Builtin()
	for _, s := range c.Services() {
		for _, p := range s.Ports {
			if c.NeedMeaning(p.Need) == "" {
				t.Errorf("NeedMeaning(%q) is empty", p.Need)
			}
		}
	}
	if got := c.NeedMeaning("often"); got != "" {
		t.Errorf("NeedMeaning(often) = %q, want none", got)
	}
}

func TestZeroCatalog(t *testing.T) {
	var zero catalog.Catalog
	if f := zero.PortsAt(135, catalog.TCP); !cmp.Equal(f, catalog.PortFacts{}) {
		t.Errorf("PortsAt of the zero catalog has %+v", f)
	}
	if zero.ServicesByName("dfsr") != nil || len(zero.Services()) > 0 || len(zero.Flows("", "")) > 0 || len(zero.Systems()) > 0 ||
		len(zero.PortRows()) > 0 || len(zero.Sources()) > 0 || len(zero.Footnotes()) > 0 || len(zero.Overridden()) > 0 || len(zero.Groups()) > 0 {
		t.Error("the zero catalog is not empty")
	}
	if _, err := zero.ParseOS("linux"); err == nil {
		t.Error("the zero catalog knows linux")
	}
}

func TestParsePorts(t *testing.T) {
	for _, text := range []string{"none", "135", "1025-65535", "80,443,5985-5986", "dynamic-rpc", "dynamic-onc", "dynamic-ephemeral", "echo", "135,dynamic-rpc"} {
		if p, err := catalog.ParsePorts(text); err != nil || p.String() != text {
			t.Errorf("ParsePorts(%q) = %v, %v", text, p, err)
		}
	}
	for text, want := range map[string]string{
		"":                     "no ports: want some such as 135,5000-5020, a word such as dynamic-rpc, or none",
		" ":                    "no ports: want some such as 135,5000-5020, a word such as dynamic-rpc, or none",
		"dynamic":              `portset: offset 0: "dynamic": want a port such as 443 or a range such as 5000-5020`,
		"135,none":             `portset: offset 4: "none": want a port such as 443 or a range such as 5000-5020`,
		"dynamic-rpc,135":      `portset: offset 0: "dynamic-rpc": want a port such as 443 or a range such as 5000-5020`,
		"dynamic-rpc,echo":     `portset: offset 0: "dynamic-rpc": want a port such as 443 or a range such as 5000-5020`,
		"70000":                `portset: offset 0: "70000": ports end at 65535`,
		"135,,dynamic-rpc":     `portset: offset 4: "": no port between two commas or at an end: remove the comma`,
		",dynamic-rpc":         "no ports: want some such as 135,5000-5020, a word such as dynamic-rpc, or none",
		"135,dynamic-rpc,echo": `portset: offset 4: "dynamic-rpc": want a port such as 443 or a range such as 5000-5020`,
	} {
		if p, err := catalog.ParsePorts(text); err == nil || err.Error() != want {
			t.Errorf("ParsePorts(%q) = %v, %v, want the error %s", text, p, err, want)
		}
	}
}

func TestProtocol(t *testing.T) {
	for number, want := range map[catalog.Protocol]string{1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 51: "ah"} {
		if got, err := catalog.ParseProtocol(want); got != number || err != nil || number.String() != want {
			t.Errorf("ParseProtocol(%q) = %d (%s), %v, want %d", want, got, got, err, number)
		}
	}
	if _, err := catalog.ParseProtocol("sctp"); err == nil || err.Error() != `protocol "sctp": want one of [tcp udp icmp gre esp ah]` {
		t.Errorf("ParseProtocol(sctp): %v", err)
	}
	if got := catalog.Protocol(132).String(); got != "Protocol(132)" {
		t.Errorf("Protocol(132) = %q", got)
	}
}

// TestPortsAt holds the index to what looking at everything finds.
func TestPortsAt(t *testing.T) {
	c := catalog.Builtin()
	check := func(t interface{ Errorf(string, ...any) }, port uint16, protocol catalog.Protocol) {
		var want catalog.PortFacts
		for _, s := range c.Services() {
			for i := range s.Ports {
				if p := &s.Ports[i]; p.Protocol == protocol && p.Ports.Numbers.Contains(port) {
					want.Uses = append(want.Uses, catalog.PortUse{Service: s, Port: p})
				}
			}
		}
		for _, r := range c.PortRows() {
			if r.Protocol == protocol && r.Ports.Numbers.Contains(port) {
				want.Rows = append(want.Rows, r)
			}
		}
		for _, d := range c.Disagreements("") {
			if slices.Contains(d.Protocols, protocol) && d.Ports.Numbers.Contains(port) {
				want.Disagreements = append(want.Disagreements, d)
			}
		}
		for _, f := range c.Flows("", "") {
			if f.Protocol == protocol && f.Ports.Numbers.Contains(port) {
				want.Flows = append(want.Flows, f)
			}
		}
		for _, d := range c.DynamicRanges() {
			if protocol.HasPorts() && d.Ports.Contains(port) {
				want.Ranges = append(want.Ranges, d)
			}
		}
		sortNarrow(want.Uses, func(u catalog.PortUse) portset.Set { return u.Port.Ports.Numbers })
		sortNarrow(want.Rows, func(r *catalog.PortRow) portset.Set { return r.Ports.Numbers })
		sortNarrow(want.Disagreements, func(d *catalog.Disagreement) portset.Set { return d.Ports.Numbers })
		sortNarrow(want.Ranges, func(d *catalog.DynamicRange) portset.Set { return d.Ports })
		got := c.PortsAt(port, protocol)
		if !slices.Equal(got.Uses, want.Uses) || !slices.Equal(got.Rows, want.Rows) || !slices.Equal(got.Disagreements, want.Disagreements) ||
			!slices.Equal(got.Flows, want.Flows) || !slices.Equal(got.Ranges, want.Ranges) {
			t.Errorf("PortsAt(%d, %s) = %+v, want %+v", port, protocol, got, want)
		}
	}
	for port := range uint16(10_000) { // all that have names, but few
		check(t, port, catalog.TCP)
		check(t, port, catalog.UDP)
	}
	for _, port := range []uint16{42424, 48885, 49151, 49152, 49443, 51515, 61000, 65535} {
		check(t, port, catalog.TCP)
	}
	rapid.Check(t, func(t *rapid.T) {
		check(t, rapid.Uint16().Draw(t, "port"), catalog.Protocol(rapid.SampledFrom([]int{0, 1, 6, 17, 47, 50, 51}).Draw(t, "protocol")))
	})
}

func sortNarrow[T any](list []T, ports func(T) portset.Set) {
	slices.SortStableFunc(list, func(a, b T) int { return ports(a).Len() - ports(b).Len() })
}

func TestPortsAtGlobalCatalog(t *testing.T) {
	facts := catalog.Builtin().PortsAt(3268, catalog.TCP)
	var got []string
	for _, u := range facts.Uses {
		got = append(got, u.Service.ID+": "+u.Port.App)
	}
	for _, r := range facts.Rows {
		got = append(got, fmt.Sprintf("row %d: %s", r.Seq, r.App))
	}
	for _, d := range facts.Disagreements {
		got = append(got, fmt.Sprintf("%s %q", d.Kind, d.Services))
	}
	for _, f := range facts.Flows {
		got = append(got, f.ID)
	}
	for _, r := range facts.Ranges {
		got = append(got, "range "+r.ID)
	}
	want := []string{
		"active-directory-lsa: Global Catalog", "offline-files-profiles: Global Catalog", "isa-tmg: Firewall client application",
		"row 159: Global Catalog", "row 180: RPC",
		`section-only ["offline-files-profiles"]`, `section-only ["isa-tmg"]`, `value []`,
		"client-to-dc-06", "dc-to-dc-06", "trust-06", "rodc-to-rwdc-05", "member-to-rodc-14", "admin-to-dc-05",
		"range legacy", "range mixed", "range exchange-2007-on-2008",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("PortsAt(3268, tcp) (-want +got)\n%s", diff)
	}
}

func BenchmarkPortsAt(b *testing.B) {
	c := catalog.Builtin()
	b.ReportAllocs()
	var port uint16
	for b.Loop() {
		c.PortsAt(port, catalog.UDP)
		port += 7919 // a prime, to visit every port
	}
}

// BenchmarkFirstPortsAt is what a program pays that looks up one port.
func BenchmarkFirstPortsAt(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		catalog.NewBuiltin().PortsAt(3268, catalog.TCP)
	}
}

func BenchmarkServicesByName(b *testing.B) {
	c := catalog.Builtin()
	for _, name := range []string{"dfs-replication", "DFSR", "Druckdienste", "mountd", "spoolss"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c.ServicesByName(name)
			}
		})
	}
}
