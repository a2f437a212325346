package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

func TestBuiltinInterfaces(t *testing.T) {
	c := catalog.Builtin()
	all := slices.Collect(c.Interfaces())
	kinds, uuids := map[catalog.Kind]int{}, map[ndr.UUID]bool{}
	for _, is := range all {
		kinds[is.Kind]++
		uuids[is.UUID] = true
		if len(is.Sources) == 0 {
			t.Errorf("%s names no source", is.UUID)
		}
		if got, ok := c.Interface(is.UUID, is.Major, is.Minor); !ok || !cmp.Equal(got, is) {
			t.Errorf("Interface(%s, %d, %d) = %+v, %v, want %+v", is.UUID, is.Major, is.Minor, got, ok, is)
		}
		if got := c.InterfaceName(is.UUID, is.Major, is.Minor); got != is.Name {
			t.Errorf("InterfaceName(%s, %d, %d) = %q, want %q", is.UUID, is.Major, is.Minor, got, is.Name)
		}
		if got := c.InterfacesByUUID(is.UUID); !cmp.Equal(got, []catalog.Interface{is}) {
			t.Errorf("InterfacesByUUID(%s) = %+v, want only %+v", is.UUID, got, is)
		}
		for _, name := range []string{is.Name, strings.ToUpper(is.Name)} {
			got := c.InterfacesByName(name)
			if found := slices.ContainsFunc(got, func(g catalog.Interface) bool { return cmp.Equal(g, is) }); found != (name != "") {
				t.Errorf("InterfacesByName(%q) = %+v, want %s among them", name, got, is.UUID)
			}
		}
	}
	if len(all) != 932 || len(uuids) != 932 {
		t.Errorf("the built-in catalog has %d interfaces and %d UUIDs, want 932 of both", len(all), len(uuids))
	}
	want := map[catalog.Kind]int{
		catalog.KindRPC: 106, catalog.KindDCOM: 497, catalog.KindInternal: 325, catalog.KindObjectUUID: 3, catalog.KindMaybeObjectUUID: 1,
	}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("kinds (-want +got)\n%s", diff)
	}
	if !slices.IsSortedFunc(all, func(a, b catalog.Interface) int { return strings.Compare(a.UUID.String(), b.UUID.String()) }) {
		t.Error("Interfaces() is not in order of UUID")
	}
}

func TestKnownInterfaces(t *testing.T) {
	five := []string{"impacket", "openspec-idl", "samba-idl", "win10-binary", "zeek"}
	tcp := catalog.Transport{ProtocolSequence: "ncacn_ip_tcp", Kind: catalog.EndpointDynamic}
	wellKnown := func(sequence, endpoint string) catalog.Transport {
		return catalog.Transport{ProtocolSequence: sequence, Endpoint: endpoint, Kind: catalog.EndpointWellKnown}
	}
	pipe := func(name string) catalog.Transport { return wellKnown("ncacn_np", `\pipe\`+name) }
	tests := []catalog.Interface{
		{
			UUID: ndr.MustParseUUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa"), Major: 3,
			Name: "epmapper", Aliases: []string{"epm", "EndpointMapper"}, Docs: []string{"C706", "MS-RPCE"},
			Service: "RpcEptMapper", Module: "RpcEpMap.dll", Kind: catalog.KindRPC,
			Transports: []catalog.Transport{
				wellKnown("ncacn_ip_tcp", "135"), wellKnown("ncadg_ip_udp", "135"), wellKnown("ncacn_http", "593"),
				pipe("epmapper"), wellKnown("ncalrpc", "epmapper"),
			},
			TransportBasis: []string{"curated", "samba", "gomsrpc"},
			Sources:        five, Status: catalog.StatusVerified,
		},
		{
			UUID: ndr.MustParseUUID("12345778-1234-abcd-ef00-0123456789ac"), Major: 1,
			Name: "samr", Docs: []string{"MS-SAMR"}, Service: "lsass", Module: "samsrv.dll", Kind: catalog.KindRPC,
			Transports:     []catalog.Transport{pipe("samr"), pipe("lsass"), tcp},
			TransportBasis: []string{"curated", "samba", "gomsrpc"},
			Sources:        five, Status: catalog.StatusVerified,
		},
		{
			UUID: ndr.MustParseUUID("338cd001-2244-31f1-aaaa-900038001003"), Major: 1,
			Name: "winreg", Docs: []string{"MS-RRP"}, Service: "RemoteRegistry", Module: "regsvc.dll", Kind: catalog.KindRPC,
			Transports:     []catalog.Transport{pipe("winreg")},
			TransportBasis: []string{"curated", "samba", "gomsrpc"},
			Sources:        five, Status: catalog.StatusVerified,
		},
		{
			UUID: ndr.MustParseUUID("e3514235-4b06-11d1-ab04-00c04fc2dcd2"), Major: 4,
			Name: "drsuapi", Docs: []string{"MS-DRSR"}, Service: "NTDS", Module: "ntdsai.dll", Kind: catalog.KindRPC,
			Transports:     []catalog.Transport{tcp, pipe("lsass")},
			TransportBasis: []string{"curated", "samba"},
			Sources:        five, Status: catalog.StatusVerified,
		},
		{
			UUID: ndr.MustParseUUID("afa8bd80-7d8a-11c9-bef4-08002b102989"), Major: 1,
			Name: "mgmt", Aliases: []string{"RemoteManagement"}, Docs: []string{"C706", "MS-RPCE"},
			Service: "rpcrt4 (all servers)", Module: "rpcrt4.dll", Kind: catalog.KindRPC,
			Transports:     []catalog.Transport{{Kind: catalog.EndpointEvery}},
			TransportBasis: []string{"curated(differs:gomsrpc)"},
			Sources:        five, Status: catalog.StatusVerified,
		},
		{
			UUID: ndr.MustParseUUID("e60c73e6-88f9-11cf-9af1-0020af6e72f4"), Major: 2,
			Name: "ILocalObjectExporter", Service: "RpcSs", Module: "rpcss.dll", Kind: catalog.KindRPC,
			Transports:     []catalog.Transport{wellKnown("ncacn_ip_tcp", "135"), {ProtocolSequence: "ncalrpc"}},
			TransportBasis: []string{"curated", "gomsrpc"},
			Sources:        []string{"impacket", "samba-idl", "win10-binary"}, Status: catalog.StatusVerified,
			Note: "sources disagree: 0.0 / 2.0",
		},
		{
			UUID: ndr.MustParseUUID("4a967f14-3000-0000-0d00-012882000000"), Major: 1,
			Name: "convc", Docs: []string{"C706", "MS-RPCE"}, Kind: catalog.KindRPC,
			Transports:     []catalog.Transport{{ProtocolSequence: "ncadg_ip_udp", Kind: catalog.EndpointOfPeer}},
			TransportBasis: []string{"curated"},
			Sources:        []string{"openspec-idl"}, Status: catalog.StatusSingleSource,
			Note: "connectionless conversation callbacks",
		},
		{
			UUID: ndr.MustParseUUID("000001a3-0000-0000-c000-000000000046"),
			Name: "IActivationPropertiesOut", Kind: catalog.KindDCOM,
			Transports: []catalog.Transport{
				{ProtocolSequence: "ncacn_ip_tcp", Endpoint: "135", Kind: catalog.EndpointActivation}, tcp,
			},
			TransportBasis: []string{"rule"},
			Sources:        []string{"impacket"}, Status: catalog.StatusSingleSource,
		},
		{
			UUID: ndr.MustParseUUID("05ebb278-e114-4ec1-a5a3-096153f300e4"), Major: 1, Minor: 1,
			Module: "tsgqec.dll", Kind: catalog.KindInternal, TransportBasis: []string{"unknown"},
			Sources: []string{"impacket", "win10-binary"}, Status: catalog.StatusVerified,
		},
		{
			UUID: ndr.MustParseUUID("958f92d8-da20-467a-bbe3-65e7e9b4edcf"), VersionUnknown: true,
			Docs: []string{"MS-TSGU"}, Kind: catalog.KindMaybeObjectUUID,
			Sources: []string{"impacket"}, Status: catalog.StatusSingleSource, Note: "unnamed in the source table",
		},
	}
	for _, want := range tests {
		got, ok := catalog.Builtin().Interface(want.UUID, want.Major, want.Minor)
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("Interface(%s): %v (-want +got)\n%s", want.UUID, ok, diff)
		}
	}
}

// Who manages Windows or Samba knows these by heart, so each must mean one.
func TestWellKnownNames(t *testing.T) {
	tests := map[string]string{
		"atsvc":     "1ff70682-0a51-30e8-076d-740be8cee98b",
		"dnsserver": "50abc2a4-574d-40b3-9d66-ee4fd5fba076",
		"drsuapi":   "e3514235-4b06-11d1-ab04-00c04fc2dcd2",
		"efsrpc":    "df1941c5-fe89-4e79-bf10-463657acf44d", // an alias of efsrpc-lsarpc too
		"epm":       "e1af8308-5d1f-11c9-91a4-08002b14a0fa",
		"epmapper":  "e1af8308-5d1f-11c9-91a4-08002b14a0fa",
		"eventlog":  "82273fdc-e32a-18c3-3f78-827929dc23ea", // an alias of eventlog6 too
		"frsrpc":    "f5cc59b4-4264-101a-8c59-08002b2f8426",
		"frstrans":  "897e2e5f-93f3-4376-9c9c-fd2277495c27",
		"lsarpc":    "12345778-1234-abcd-ef00-0123456789ab", // an alias of efsrpc-lsarpc too
		"mgmt":      "afa8bd80-7d8a-11c9-bef4-08002b102989",
		"netlogon":  "12345678-1234-abcd-ef00-01234567cffb",
		"ntsvcs":    "8d9f4e40-a03d-11ce-8f69-08003e30051b",
		"samr":      "12345778-1234-abcd-ef00-0123456789ac",
		"spoolss":   "12345678-1234-abcd-ef00-0123456789ab",
		"srvsvc":    "4b324fc8-1670-01d3-1278-5a47bf6ee188",
		"svcctl":    "367abb81-9844-35f1-ad32-98f038001003",
		"winreg":    "338cd001-2244-31f1-aaaa-900038001003",
		"winspool":  "12345678-1234-abcd-ef00-0123456789ab",
		"wkssvc":    "6bffd098-a112-3610-9833-46c3f87e345a",
	}
	for name, want := range tests {
		got := catalog.Builtin().InterfacesByName(name)
		if len(got) != 1 || got[0].UUID.String() != want {
			t.Errorf("InterfacesByName(%q) = %+v, want only %s", name, got, want)
		}
	}
}

// The names that several interfaces share, and the aliases that several share
// and none has as its name: a new one is worth a look at its sources.
func TestAmbiguousNames(t *testing.T) {
	c := catalog.Builtin()
	got := map[string]int{}
	for is := range c.Interfaces() {
		for _, name := range append(is.Aliases, is.Name) {
			if n := len(c.InterfacesByName(name)); n > 1 {
				got[strings.ToLower(name)] = n
			}
		}
	}
	want := map[string]int{
		"audiosrv":                       2,
		"iunknown":                       2,
		"iupdateexceptioncollection":     2,
		"iwbembackuprestoreex":           2,
		"iwbembackuprestoreex interface": 2,
		"iwbemclassobject":               2,
		"iwbemclassobject interface":     2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestUnknownInterfaces(t *testing.T) {
	c := catalog.Builtin()
	for _, text := range []string{
		"00000000-0000-0000-0000-000000000000",
		"338cd001-2244-31f1-aaaa-900038001004", // next to winreg
		"ffffffff-ffff-ffff-ffff-ffffffffffff",
	} {
		uuid := ndr.MustParseUUID(text)
		if is, ok := c.Interface(uuid, 1, 0); ok {
			t.Errorf("Interface(%s) = %+v, want none", uuid, is)
		}
		if name := c.InterfaceName(uuid, 1, 0); name != "" {
			t.Errorf("InterfaceName(%s) = %q, want none", uuid, name)
		}
		if all := c.InterfacesByUUID(uuid); len(all) > 0 {
			t.Errorf("InterfacesByUUID(%s) = %+v, want none", uuid, all)
		}
	}
	for _, name := range []string{"", "-", "dfsr", "wbem", "338cd001-2244-31f1-aaaa-900038001003"} {
		if all := c.InterfacesByName(name); len(all) > 0 {
			t.Errorf("InterfacesByName(%q) = %+v, want none", name, all)
		}
	}
	var zero catalog.Catalog
	if is, ok := zero.Interface(ndr.MustParseUUID("338cd001-2244-31f1-aaaa-900038001003"), 1, 0); ok {
		t.Errorf("the zero catalog has %+v", is)
	}
}

func TestCallersCannotChangeInterfaces(t *testing.T) {
	c := catalog.Builtin()
	epmapper := ndr.MustParseUUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa")
	want, _ := c.Interface(epmapper, 3, 0)
	spoil := func(is catalog.Interface) {
		is.Aliases[0], is.Docs[0], is.TransportBasis[0], is.Sources[0] = "x", "x", "x", "x"
		is.Transports[0] = catalog.Transport{}
	}
	exact, _ := c.Interface(epmapper, 3, 0)
	spoil(exact)
	spoil(c.InterfacesByUUID(epmapper)[0])
	spoil(c.InterfacesByName("epmapper")[0])
	spoil(c.InterfacesByName("epm")[0])
	for is := range c.Interfaces() {
		if is.UUID == epmapper {
			spoil(is)
			break
		}
	}
	if got, _ := c.Interface(epmapper, 3, 0); !cmp.Equal(got, want) {
		t.Errorf("after changes by callers Interface(%s) = %+v, want %+v", epmapper, got, want)
	}
}

const (
	interfaceHead = "uuid\tversion\tdoc\tname\taliases\tservice\tmodule\tkind\ttransports\ttransport_basis\tn_sources\tsources\tstatus\tnote"
	trkwks        = "300f3532-38cc-11d0-a3f0-0020af6b0add\t1.2\tMS-DLTW\ttrkwks\ttrk,TrkWksSvc\tTrkWks\ttrkwks.dll\trpc\t" +
		`ncacn_np:\pipe\trkwks;ncacn_ip_tcp:dynamic` + "\tcurated+gomsrpc\t2\timpacket+zeek\tverified\t-"
)

// loadInterfaces loads a catalog whose file of interfaces holds the given lines,
// and that has no programs.
func loadInterfaces(lines ...string) (*catalog.Catalog, error) {
	return loadFiles(head, strings.Join(lines, "\n"))
}

// brokenInterface returns the row of trkwks with one piece of it replaced.
func brokenInterface(old, new string) string { return strings.Replace(trkwks, old, new, 1) }

func TestNearestVersion(t *testing.T) {
	versions := func(texts ...string) []string {
		lines := []string{interfaceHead}
		for _, text := range texts {
			lines = append(lines, brokenInterface("1.2\tMS-DLTW\ttrkwks", text+"\tMS-DLTW\tv"+text))
		}
		return lines
	}
	several := versions("2.0", "65535.65535", "1.6", "0.0", "1.2", "7.9", "5.9")
	tests := []struct {
		lines        []string
		major, minor uint16
		want         string
	}{
		{several, 1, 2, "v1.2"},
		{several, 0, 0, "v0.0"},
		{several, 65535, 65535, "v65535.65535"},
		{several, 1, 0, "v1.2"},
		{several, 1, 3, "v1.2"},
		{several, 1, 4, "v1.6"}, // as near as 1.2
		{several, 1, 65535, "v1.6"},
		{several, 0, 65535, "v0.0"},
		{several, 4, 0, "v5.9"},
		{several, 6, 9, "v7.9"}, // as near as 5.9
		{several, 65535, 0, "v65535.65535"},
		{versions("1.0"), 9, 9, "v1.0"},
	}
	for _, tt := range tests {
		c, err := loadInterfaces(tt.lines...)
		if err != nil {
			t.Fatal(err)
		}
		uuid := ndr.MustParseUUID("300f3532-38cc-11d0-a3f0-0020af6b0add")
		if got := c.InterfaceName(uuid, tt.major, tt.minor); got != tt.want {
			t.Errorf("InterfaceName(%d.%d) = %q, want %q", tt.major, tt.minor, got, tt.want)
		}
		if got, ok := c.Interface(uuid, tt.major, tt.minor); !ok || got.Name != tt.want {
			t.Errorf("Interface(%d.%d) = %q, %v, want %q", tt.major, tt.minor, got.Name, ok, tt.want)
		}
		if got, want := len(c.InterfacesByUUID(uuid)), len(tt.lines)-1; got != want {
			t.Errorf("InterfacesByUUID has %d versions, want %d", got, want)
		}
	}
}

func TestVersionThatIsNotKnown(t *testing.T) {
	unknown := brokenInterface("1.2\tMS-DLTW\ttrkwks", "?\tMS-DLTW\tother")
	uuid := ndr.MustParseUUID("300f3532-38cc-11d0-a3f0-0020af6b0add")
	alone, err := loadInterfaces(interfaceHead, unknown)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := alone.Interface(uuid, 3, 1); !ok || got.Name != "other" || !got.VersionUnknown {
		t.Errorf("Interface(3.1) = %+v, %v, want other", got, ok)
	}
	both, err := loadInterfaces(interfaceHead, unknown, trkwks)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range [][2]uint16{{0, 0}, {1, 2}, {65535, 65535}} {
		if got := both.InterfaceName(uuid, version[0], version[1]); got != "trkwks" {
			t.Errorf("InterfaceName(%d) = %q, want trkwks", version, got)
		}
	}
}

func TestTransports(t *testing.T) {
	tests := []struct {
		text string
		want catalog.Transport
		port uint16
	}{
		{"ncacn_ip_tcp:135", catalog.Transport{ProtocolSequence: "ncacn_ip_tcp", Endpoint: "135", Kind: catalog.EndpointWellKnown}, 135},
		{"ncadg_ip_udp:65535", catalog.Transport{ProtocolSequence: "ncadg_ip_udp", Endpoint: "65535", Kind: catalog.EndpointWellKnown}, 65535},
		{"ncacn_http:593", catalog.Transport{ProtocolSequence: "ncacn_http", Endpoint: "593", Kind: catalog.EndpointWellKnown}, 593},
		{"ncacn_ip_tcp:dynamic", catalog.Transport{ProtocolSequence: "ncacn_ip_tcp", Kind: catalog.EndpointDynamic}, 0},
		{"ncacn_ip_tcp:135 activation", catalog.Transport{ProtocolSequence: "ncacn_ip_tcp", Endpoint: "135", Kind: catalog.EndpointActivation}, 135},
		{"ncadg_ip_udp:same endpoint as peer", catalog.Transport{ProtocolSequence: "ncadg_ip_udp", Kind: catalog.EndpointOfPeer}, 0},
		{`ncacn_np:\pipe\DAV RPC SERVICE`, catalog.Transport{ProtocolSequence: "ncacn_np", Endpoint: `\pipe\DAV RPC SERVICE`, Kind: catalog.EndpointWellKnown}, 0},
		{"ncalrpc", catalog.Transport{ProtocolSequence: "ncalrpc"}, 0},
		{"ncalrpc:epmapper", catalog.Transport{ProtocolSequence: "ncalrpc", Endpoint: "epmapper", Kind: catalog.EndpointWellKnown}, 0},
		{"ncalrpc:135", catalog.Transport{ProtocolSequence: "ncalrpc", Endpoint: "135", Kind: catalog.EndpointWellKnown}, 0},
		{"on every endpoint", catalog.Transport{Kind: catalog.EndpointEvery}, 0},
	}
	for _, tt := range tests {
		c, err := loadInterfaces(interfaceHead, brokenInterface(`ncacn_np:\pipe\trkwks;ncacn_ip_tcp:dynamic`, tt.text))
		if err != nil {
			t.Fatal(err)
		}
		got := c.InterfacesByName("trkwks")[0].Transports
		if diff := cmp.Diff([]catalog.Transport{tt.want}, got); diff != "" {
			t.Errorf("%q (-want +got)\n%s", tt.text, diff)
			continue
		}
		if got[0].String() != tt.text || got[0].Port() != tt.port {
			t.Errorf("%q: String() = %q, Port() = %d, want port %d", tt.text, got[0].String(), got[0].Port(), tt.port)
		}
	}
}

func TestEndpointKindString(t *testing.T) {
	var got []string
	for k := catalog.EndpointUnstated; k <= catalog.EndpointEvery+1; k++ {
		got = append(got, k.String())
	}
	want := []string{"unstated", "well-known", "dynamic", "activation", "of peer", "every", "EndpointKind(6)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

var brokenInterfaceFiles = []struct {
	name  string
	lines []string
	want  string
}{
	{"empty file", nil, `rpc-interfaces.tsv:1: columns are [""], want ["uuid" "version" "doc" "name" "aliases" "service" "module" "kind" "transports" "transport_basis" "n_sources" "sources" "status" "note"]: put single tabs between them`},
	{"column missing", []string{interfaceHead, brokenInterface("\t-", "")}, `rpc-interfaces.tsv:2: want 14 columns, found 13: put single tabs between them`},
	{"empty cell", []string{interfaceHead, brokenInterface("TrkWks\t", "\t")}, `rpc-interfaces.tsv:2: service: empty: write - for nothing`},
	{"control character", []string{interfaceHead, brokenInterface("trkwks.dll", "trkwks.dll\x1b[2J")}, `rpc-interfaces.tsv:2: module: "trkwks.dll\x1b[2J" is not clean UTF-8 text`},
	{"UUID short", []string{interfaceHead, brokenInterface("0add", "0ad")}, `rpc-interfaces.tsv:2: uuid: "300f3532-38cc-11d0-a3f0-0020af6b0ad" is no UUID such as 12345778-1234-abcd-ef00-0123456789ac`},
	{"UUID in braces", []string{interfaceHead, brokenInterface("300f3532-38cc-11d0-a3f0-0020af6b0add", "{300f3532-38cc-11d0-a3f0-0020af6b0add}")}, `rpc-interfaces.tsv:2: uuid: "{300f3532-38cc-11d0-a3f0-0020af6b0add}" is no UUID such as 12345778-1234-abcd-ef00-0123456789ac`},
	{"UUID in upper case", []string{interfaceHead, brokenInterface("0add", "0ADD")}, `rpc-interfaces.tsv:2: uuid: "300f3532-38cc-11d0-a3f0-0020af6b0ADD": write it in lower case, as tools search for it`},
	{"no UUID", []string{interfaceHead, brokenInterface("300f3532-38cc-11d0-a3f0-0020af6b0add", "-")}, `rpc-interfaces.tsv:2: uuid: "" is no UUID such as 12345778-1234-abcd-ef00-0123456789ac`},
	{"version without minor", []string{interfaceHead, brokenInterface("1.2", "1")}, `rpc-interfaces.tsv:2: version: "1": want a major and a minor version such as 1.0, or ? where they are not known`},
	{"version with leading zero", []string{interfaceHead, brokenInterface("1.2", "0.01")}, `rpc-interfaces.tsv:2: version: "0.01": want a major and a minor version such as 1.0, or ? where they are not known`},
	{"version too large", []string{interfaceHead, brokenInterface("1.2", "65536.0")}, `rpc-interfaces.tsv:2: version: "65536.0": want a major and a minor version such as 1.0, or ? where they are not known`},
	{"version of three parts", []string{interfaceHead, brokenInterface("1.2", "1.2.0")}, `rpc-interfaces.tsv:2: version: "1.2.0": want a major and a minor version such as 1.0, or ? where they are not known`},
	{"no version", []string{interfaceHead, brokenInterface("1.2", "-")}, `rpc-interfaces.tsv:2: version: "": want a major and a minor version such as 1.0, or ? where they are not known`},
	{"specification missing", []string{interfaceHead, brokenInterface("MS-DLTW", "MS-DLTW;")}, `rpc-interfaces.tsv:2: doc: "MS-DLTW;": want items with only ";" between them`},
	{"name with a slash", []string{interfaceHead, brokenInterface("\ttrkwks\t", "\ttrk/wks\t")}, `rpc-interfaces.tsv:2: name: "trk/wks": want words of letters, digits, '.', '_' and '-', each with at least one letter`},
	{"name with two spaces", []string{interfaceHead, brokenInterface("\ttrkwks\t", "\ttrk  wks\t")}, `rpc-interfaces.tsv:2: name: "trk  wks": want words of letters, digits, '.', '_' and '-', each with at least one letter`},
	{"alias is a number", []string{interfaceHead, brokenInterface("trk,", "12,")}, `rpc-interfaces.tsv:2: aliases: "12": want words of letters, digits, '.', '_' and '-', each with at least one letter`},
	{"alias twice", []string{interfaceHead, brokenInterface("TrkWksSvc", "trk")}, `rpc-interfaces.tsv:2: aliases: "trk" is there twice`},
	{"aliases of nothing", []string{interfaceHead, brokenInterface("\ttrkwks\t", "\t-\t")}, `rpc-interfaces.tsv:2: name: none: make the first alias the name`},
	{"kind unknown", []string{interfaceHead, brokenInterface("\trpc\t", "\tcorba\t")}, `rpc-interfaces.tsv:2: kind: "corba": want rpc, dcom, internal, object-uuid or object-uuid?`},
	{"no kind", []string{interfaceHead, brokenInterface("\trpc\t", "\t-\t")}, `rpc-interfaces.tsv:2: kind: "": want rpc, dcom, internal, object-uuid or object-uuid?`},
	{"protocol sequence unknown", []string{interfaceHead, brokenInterface("ncacn_ip_tcp", "ncacn_spx")}, `rpc-interfaces.tsv:2: transports: "ncacn_spx:dynamic": want ncacn_ip_tcp, ncadg_ip_udp, ncacn_http, ncacn_np or ncalrpc before ':'`},
	{"transports with commas", []string{interfaceHead, brokenInterface(";", ",")}, `rpc-interfaces.tsv:2: transports: "ncacn_np:\\pipe\\trkwks,ncacn_ip_tcp:dynamic": want one pipe such as \pipe\winreg after "ncacn_np:"`},
	{"transport twice", []string{interfaceHead, brokenInterface("dynamic", "dynamic;ncacn_ip_tcp:dynamic")}, `rpc-interfaces.tsv:2: transports: "ncacn_ip_tcp:dynamic" is there twice`},
	{"port missing", []string{interfaceHead, brokenInterface(":dynamic", "")}, `rpc-interfaces.tsv:2: transports: "ncacn_ip_tcp": want a port from 1 to 65535, dynamic or "same endpoint as peer" after "ncacn_ip_tcp:"`},
	{"port too large", []string{interfaceHead, brokenInterface("dynamic", "65536")}, `rpc-interfaces.tsv:2: transports: "ncacn_ip_tcp:65536": want a port from 1 to 65535, dynamic or "same endpoint as peer" after "ncacn_ip_tcp:"`},
	{"port zero", []string{interfaceHead, brokenInterface("dynamic", "0")}, `rpc-interfaces.tsv:2: transports: "ncacn_ip_tcp:0": want a port from 1 to 65535, dynamic or "same endpoint as peer" after "ncacn_ip_tcp:"`},
	{"port with leading zero", []string{interfaceHead, brokenInterface("dynamic", "0135")}, `rpc-interfaces.tsv:2: transports: "ncacn_ip_tcp:0135": want a port from 1 to 65535, dynamic or "same endpoint as peer" after "ncacn_ip_tcp:"`},
	{"activation at no port", []string{interfaceHead, brokenInterface("dynamic", "dynamic activation")}, `rpc-interfaces.tsv:2: transports: "ncacn_ip_tcp:dynamic activation": want a port from 1 to 65535, dynamic or "same endpoint as peer" after "ncacn_ip_tcp:"`},
	{"pipe without \\pipe\\", []string{interfaceHead, brokenInterface(`\pipe\trkwks`, "trkwks")}, `rpc-interfaces.tsv:2: transports: "ncacn_np:trkwks": want one pipe such as \pipe\winreg after "ncacn_np:"`},
	{"pipe without a name", []string{interfaceHead, brokenInterface(`\pipe\trkwks`, `\pipe\`)}, `rpc-interfaces.tsv:2: transports: "ncacn_np:\\pipe\\": want one pipe such as \pipe\winreg after "ncacn_np:"`},
	{"local endpoint without a name", []string{interfaceHead, brokenInterface("ncacn_ip_tcp:dynamic", "ncalrpc:")}, `rpc-interfaces.tsv:2: transports: "ncalrpc:": want a name after ':', or neither`},
	{"unknown and known", []string{interfaceHead, brokenInterface("ncacn_ip_tcp:dynamic", "unknown (mostly ncalrpc)")}, `rpc-interfaces.tsv:2: transports: "unknown (mostly ncalrpc)": want ncacn_ip_tcp, ncadg_ip_udp, ncacn_http, ncacn_np or ncalrpc before ':'`},
	{"basis unknown", []string{interfaceHead, brokenInterface("curated+gomsrpc", "unknown")}, `rpc-interfaces.tsv:2: transport_basis: "unknown": want where transports was found`},
	{"no basis", []string{interfaceHead, brokenInterface("curated+gomsrpc", "-")}, `rpc-interfaces.tsv:2: transport_basis: "": want where transports was found`},
	{"basis of nothing", []string{interfaceHead, brokenInterface(`ncacn_np:\pipe\trkwks;ncacn_ip_tcp:dynamic`, "unknown (mostly ncalrpc)")}, `rpc-interfaces.tsv:2: transport_basis: "curated+gomsrpc": want unknown or -, as transports has none`},
	{"sources miscounted", []string{interfaceHead, brokenInterface("\t2\t", "\t3\t")}, `rpc-interfaces.tsv:2: n_sources: 3, but sources has 2`},
	{"no source", []string{interfaceHead, brokenInterface("\t2\timpacket+zeek\tverified", "\t0\t-\tsingle-source")}, `rpc-interfaces.tsv:2: sources: none: name at least one`},
	{"status unknown", []string{interfaceHead, brokenInterface("verified", "checked")}, `rpc-interfaces.tsv:2: status: "checked": want verified or single-source`},
	{"verified by one", []string{interfaceHead, brokenInterface("\t2\timpacket+zeek", "\t1\tzeek")}, `rpc-interfaces.tsv:2: status: "verified" takes two sources, and sources has 1`},
	{"single source of two", []string{interfaceHead, brokenInterface("verified", "single-source")}, `rpc-interfaces.tsv:2: status: "single-source", but sources has 2`},
	{"UUID and version twice", []string{interfaceHead, trkwks, brokenInterface("trkwks", "other")}, `rpc-interfaces.tsv:3: uuid: 300f3532-38cc-11d0-a3f0-0020af6b0add in this version is on line 2 too: make one row of the two`},
	{"several mistakes", []string{interfaceHead, brokenInterface("1.2", "1"), brokenInterface("\t-", "")}, `rpc-interfaces.tsv:2: version: "1": want a major and a minor version such as 1.0, or ? where they are not known
rpc-interfaces.tsv:3: want 14 columns, found 13: put single tabs between them`},
}

func TestLoadRefusesInterfaces(t *testing.T) {
	for _, tt := range brokenInterfaceFiles {
		t.Run(tt.name, func(t *testing.T) {
			c, err := loadInterfaces(tt.lines...)
			if err == nil || c != nil {
				t.Fatalf("Load = %v, %v, want only an error", c, err)
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestLoadRefusesBothFiles(t *testing.T) {
	_, err := loadFiles(head+"\n"+broken("186a5", "186a4"), interfaceHead+"\n"+brokenInterface("verified", "checked"))
	want := `onc-programs.tsv:2: hex: "0x000186a4" is not 100005, which is 0x000186a5
rpc-interfaces.tsv:2: status: "checked": want verified or single-source`
	if err == nil || err.Error() != want {
		t.Errorf("Load: %v, want %s", err, want)
	}
}

func FuzzLoadInterfaces(f *testing.F) {
	f.Add(interfaceHead + "\n" + trkwks + "\n")
	for _, tt := range brokenInterfaceFiles {
		f.Add(strings.Join(tt.lines, "\n"))
	}
	f.Fuzz(func(t *testing.T, data string) {
		c, err := loadInterfaces(data)
		if err != nil {
			return
		}
		for is := range c.Interfaces() {
			if len(is.Sources) == 0 {
				t.Errorf("%+v names no source", is)
			}
			if got, ok := c.Interface(is.UUID, is.Major, is.Minor); !ok || !is.VersionUnknown && !cmp.Equal(got, is) {
				t.Errorf("Interface(%s, %d, %d) = %+v, %v, want %+v", is.UUID, is.Major, is.Minor, got, ok, is)
			}
			for _, transport := range is.Transports {
				if !strings.Contains(data, transport.String()) {
					t.Errorf("String() of %+v is %q, which is not in %q", transport, transport.String(), data)
				}
			}
			if is.Name != "" && len(c.InterfacesByName(is.Name)) == 0 {
				t.Errorf("InterfacesByName(%q) finds nothing", is.Name)
			}
		}
	})
}

func BenchmarkInterface(b *testing.B) {
	c := catalog.Builtin()
	samr := ndr.MustParseUUID("12345778-1234-abcd-ef00-0123456789ac")
	b.ReportAllocs()
	for b.Loop() {
		c.Interface(samr, 1, 0)
	}
}

func BenchmarkInterfaceName(b *testing.B) {
	c := catalog.Builtin()
	samr := ndr.MustParseUUID("12345778-1234-abcd-ef00-0123456789ac")
	b.ReportAllocs()
	for b.Loop() {
		c.InterfaceName(samr, 1, 0)
	}
}

func BenchmarkInterfacesByName(b *testing.B) {
	c := catalog.Builtin()
	b.ReportAllocs()
	for b.Loop() {
		c.InterfacesByName("samr")
	}
}
