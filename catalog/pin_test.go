package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/portset"
)

func TestBuiltinPins(t *testing.T) {
	c := catalog.Builtin()
	pins := slices.Collect(c.Pins())
	count := map[string]int{}
	for _, p := range pins {
		count["entries"]++
		count["values"] += len(p.Values)
		count["notes"] += len(p.Notes)
		count["known issues"] += len(p.KnownIssues)
		count["interfaces"] += len(p.Interfaces)
		count["sources"] += len(p.Sources)
		count["of ONC RPC"] += len(p.RPC) / len("onc") * map[string]int{"onc": 1}[p.RPC]
		count[p.Confidence]++
		if got, ok := c.Pin(p.ID); !ok || !cmp.Equal(got, p) {
			t.Errorf("Pin(%q) = %+v, %v, want %+v", p.ID, got, ok, p)
		}
	}
	want := map[string]int{
		"entries": 33, "values": 32, "notes": 41, "known issues": 3, "interfaces": 12, "sources": 62, "of ONC RPC": 6,
		"two sources": 26, "single source": 5, "single source, well known": 1, "first hand (manual of 4.17)": 1,
	}
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("what the entries have (-want +got)\n%s", diff)
	}
	if got, want := len(c.PinAdvice()), 5; got != want {
		t.Errorf("%d pieces of advice, want %d", got, want)
	}
	example := catalog.PinExample{
		Ports:  map[string]uint16{"ntds": 38901, "netlogon": 38902, "ntfrs": 38903, "dfsr": 5722, "wmi": 24158},
		Source: "active-directory-firewall project",
	}
	if diff := cmp.Diff(example, c.PinExample()); diff != "" {
		t.Errorf("PinExample() (-want +got)\n%s", diff)
	}
	for id, port := range example.Ports { // one number, one meaning
		if p, _ := c.Pin(id); !p.UsualPorts.Contains(port) {
			t.Errorf("%s: usual_ports %v lack %d, which example_set gives it", id, p.UsualPorts, port)
		}
	}
	if _, ok := c.Pin("nothing"); ok {
		t.Error("Pin(nothing) is there")
	}
	var zero catalog.Catalog
	if p, ok := zero.Pin("ntds"); ok || len(zero.PinAdvice()) > 0 || len(zero.PinExample().Ports) > 0 {
		t.Errorf("the zero catalog has %+v", p)
	}
}

func TestKnownPins(t *testing.T) {
	tests := []catalog.Pin{
		{
			ID: "netlogon", Service: "Netlogon", Method: "registry", Scope: "domain controllers",
			Key:        `HKLM\SYSTEM\CurrentControlSet\Services\Netlogon\Parameters`,
			Values:     []catalog.PinValue{{Name: "DCTcpipPort", Type: "REG_DWORD", Data: "port"}},
			Interfaces: []string{"netlogon"}, UsualPorts: portset.Ports(38902), UsualBasis: "example_set",
			Notes: []string{
				"Same number as NTDS port gives Netlogon event 5809 (port request failure).",
				"Event 5809 also appears harmlessly when Netlogon restarts without a reboot because the runtime still holds the port.",
				"Clients also use samr, lsarpc and drsuapi, so pin NTDS too and open both.",
			},
			Events: []catalog.PinEvent{
				{ID: 5809, Meaning: "port request failed"},
				{ID: 5820, Meaning: `could not add AuthZ RPC interface (bad Rpc\Internet config, error 87)`},
			},
			Restart:    "restart Netlogon service",
			Sources:    []string{"KB 224196", "MS-NRPC 3.5.3 (DCRPCPort)", "active-directory-firewall project"},
			Confidence: "two sources",
		},
		{
			ID: "netsh-dynamicport", Service: "whole TCP/IP stack", Method: "command",
			Command:   "netsh int ipv4|ipv6 set dynamicport tcp|udp start=N num=M",
			Limits:    &catalog.PinLimits{MinNum: 255, MinStart: 1025, MaxEnd: 65535},
			Companion: "netsh int ip add|show excludedportrange tcp|udp startport=N numberofports=M",
			Restart:   "immediate for new sockets; reboot advised",
			Sources:   []string{"KB 929851", "Windows 11 print RPC article"}, Confidence: "two sources",
		},
		{
			ID: "onc-lockd", Service: "NFS lockd", Method: "config", RPC: "onc",
			File: "/etc/nfs.conf", Section: "lockd", Setting: "port and udp-port",
			UsualPorts: portset.Ports(32769, 32803), UsualBasis: "the example", Example: "32803 TCP, 32769 UDP on RHEL examples",
			Restart: "restart the daemon (lockd: reload module or sysctl fs.nfs.nlm_tcpport / nlm_udpport)",
			Sources: []string{"nfs.conf manual (nfs-utils 2.6.2)", "Red Hat support article on fixed NFS ports"}, Confidence: "two sources",
		},
	}
	for _, want := range tests {
		got, ok := catalog.Builtin().Pin(want.ID)
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("Pin(%q): %v (-want +got)\n%s", want.ID, ok, diff)
		}
	}
}

func TestCallersCannotChangePins(t *testing.T) {
	c := catalog.Builtin()
	for _, id := range []string{"netlogon", "wmi", "netsh-dynamicport", "ntds"} {
		want, _ := c.Pin(id)
		got, _ := c.Pin(id)
		for _, list := range [][]string{got.Interfaces, got.Notes, got.KnownIssues, got.Sources} {
			for i := range list {
				list[i] = "x"
			}
		}
		for i := range got.Values {
			got.Values[i].Name = "x"
		}
		for i := range got.Events {
			got.Events[i].ID = 0
		}
		if got.Registry != nil {
			got.Registry.Key = "x"
		}
		if got.Limits != nil {
			got.Limits.MinNum = 0
		}
		if got, _ = c.Pin(id); !cmp.Equal(got, want) {
			t.Errorf("after changes by a caller Pin(%q) = %+v, want %+v", id, got, want)
		}
	}
	c.PinAdvice()[0] = "x"
	c.PinExample().Ports["ntds"] = 1
	if c.PinAdvice()[0] == "x" || c.PinExample().Ports["ntds"] == 1 {
		t.Error("callers can change the advice or the example")
	}
}

const rdp = `entries:
- id: rdp
  service: Remote Desktop
  method: registry
  key: HKLM\SYSTEM
  values: [{name: PortNumber, type: REG_DWORD, data: port}]
  interfaces: [trkwks]
  usual_ports: 3389
  usual_basis: the default
  restart: restart TermService
  sources: [a topic]
  confidence: single source
`

func loadPinFile(text string) (*catalog.Catalog, error) {
	return catalog.Load(files(map[string]string{"rpc-interfaces.tsv": interfaceHead + "\n" + trkwks, "rpc-fixed-ports.yaml": text}))
}

func TestLoadPins(t *testing.T) {
	c, err := loadPinFile(rdp)
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := c.Pin("rdp"); !ok || p.UsualPorts.String() != "3389" {
		t.Errorf("Pin(rdp) = %+v, %v", p, ok)
	}
}

func TestLoadRefusesPins(t *testing.T) {
	methods := `want one of ["WFP RPC filter" "command" "command line" "config" "policy" "registry" "transport-toggle"]`
	tests := []struct{ name, old, new, want string }{
		{"unknown key", "  key:", "  kye:", `5:3: unknown key "kye"; did you mean "key"?`},
		{"port too large", "3389", "70000", `8:16: entries[0].usual_ports: portset: offset 0: "70000": ports end at 65535`},
		{"id", "id: rdp", "id: Remote Desktop", `2:7: id "Remote Desktop": want a word such as exchange-2010-ab: lower case, digits, '-'`},
		{"id twice", "entries:\n", rdp, `13:7: id "rdp" is there twice: make one entry of the two`},
		{"no source", "sources: [a topic]", "sources: []", `2:3: rdp: every entry has service, restart, sources and confidence`},
		{"method", "method: registry", "method: magic", `4:11: method "magic": ` + methods},
		{"method without a place", "method: registry", "method: command", `2:3: rdp: method "command" does not say where: key with values, command, setting, file or tool`},
		{"rpc", "  restart", "  rpc: sun\n  restart", `10:8: rpc "sun": want onc or none, or leave it out for DCE/RPC`},
		{"basis missing", "  usual_basis: the default\n", "", `2:3: rdp: usual_ports and usual_basis go together`},
		{"interface", "[trkwks]", "[trkwks, trkwsk]", `7:24: interface "trkwsk" is not in rpc-interfaces.tsv`},
		{"example", "entries:", "example_set: {ports: {rpd: 3389}, source: me}\nentries:", `1:28: no entry has the id "rpd"`},
		{"example without source", "entries:", "example_set: {ports: {rdp: 3389}}\nentries:", `1:14: example_set needs a source`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := loadPinFile(strings.Replace(rdp, tt.old, tt.new, 1))
			if want := "rpc-fixed-ports.yaml:" + tt.want; err == nil || c != nil || err.Error() != want {
				t.Errorf("Load = %v, %v, want the error %s", c, err, want)
			}
		})
	}
}
