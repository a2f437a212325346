package gate

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/follow"
	"github.com/quaymaster/quaymaster/portset"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// readPolicy is ReadPolicy of what must be right.
func readPolicy(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := ReadPolicy("gate.yaml", []byte(text), catalog.Builtin())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func dce(uuid string) endpoint.Interface {
	u, err := ndr.ParseUUID(uuid)
	if err != nil {
		panic(err)
	}
	return endpoint.Interface{Dialect: endpoint.DCE, UUID: u}
}

var (
	drsuapi = dce("e3514235-4b06-11d1-ab04-00c04fc2dcd2")
	lsarpc  = dce("12345778-1234-abcd-ef00-0123456789ab")
)

func TestReadPolicy(t *testing.T) {
	got := readPolicy(t, `
client_side: [eth1, eth1.7]
server_side: [eth0]
forward: own
nat: snat 192.0.2.1
follow:
  epm: {clients: [10.1.0.0/16, "fd00:1::/64"], servers: [10.2.0.0/16, "fd00:2::9"], interfaces: [drsuapi, "12345778-1234-abcd-ef00-0123456789ab:0.0"], server_ports: "49152-65535", lifetime: 90s}
  portmapper: {clients: [10.1.0.0/16], servers: [10.3.0.9], programs: [nfs, 100005, "0x186b8:1"]}
  ftp: {clients: [10.1.0.0/16], servers: [10.3.0.0/24], ports: [21, "2121,2123-2124"]}
limits: {pinholes: 50, per_client: 5}
unreadable: refuse
marks: {packet: 0x10, flow: 0x20, table: 7, port: 9}
`)
	lsarpc00 := Allowed{Interface: lsarpc}
	usualPorts := unprivileged.Minus(denied).Minus(portset.Ports(2121, 2123, 2124)) // which are followed
	want := &Policy{
		ClientSide: []string{"eth1", "eth1.7"}, ServerSide: []string{"eth0"},
		Forward: ForwardOwn, NAT: NAT{Address: netip.MustParseAddr("192.0.2.1")}, Refuse: true,
		Follow: []Entry{
			{EPM, prefixes("10.1.0.0/16", "fd00:1::/64"), prefixes("10.2.0.0/16", "fd00:2::9/128"), portset.Ports(135), portset.Of(portset.Range{First: 49152, Last: 65535}), 90 * time.Second, []Allowed{{drsuapi, true}, lsarpc00}},
			{
				Portmapper, prefixes("10.1.0.0/16"), prefixes("10.3.0.9/32"), portset.Ports(111), usualPorts.Union(portset.Ports(2049)), time.Minute,
				[]Allowed{{endpoint.Program(100003, 0), true}, {endpoint.Program(100005, 0), true}, {endpoint.Program(100024, 1), false}},
			},
			{FTP, prefixes("10.1.0.0/16"), prefixes("10.3.0.0/24"), portset.Ports(21, 2121, 2123, 2124), usualPorts, 30 * time.Second, nil},
		},
		Limits: Limits{Pinholes: 50, PerClient: 5, PerServer: 10000, Sessions: 4000},
		Marks:  Marks{Packet: 0x10, Flow: 0x20, Table: 7, Port: 9},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// minimal is the least that a file has to say.
const minimal = "client_side: [c]\nserver_side: [s]\nfollow: {ftp: {clients: [10.1.0.0/16], servers: [10.3.0.0/24]}}\n"

func TestReadPolicyDefaults(t *testing.T) {
	p := readPolicy(t, minimal)
	if p.Forward != ForwardMark || p.NAT.On() || p.Refuse || p.Limits != DefaultLimits || p.Marks != DefaultMarks {
		t.Errorf("the defaults are %+v", p)
	}
	e := p.Follow[0]
	for _, port := range []uint16{0, 21, 22, 445, 1023, 1433, 2049, 3306, 3389, 5985} {
		if e.Promised(follow.Client, port) || e.Promised(follow.Server, port) {
			t.Errorf("port %d may be promised", port)
		}
	}
	for _, port := range []uint16{1024, 2050, 49152, 65535} {
		if !e.Promised(follow.Client, port) || !e.Promised(follow.Server, port) {
			t.Errorf("port %d may not be promised", port)
		}
	}
}

func TestReadPolicyNAT(t *testing.T) {
	address := netip.MustParseAddr("192.0.2.1")
	for text, want := range map[string]NAT{
		"none": {}, "masquerade": {Masquerade: true}, "snat 192.0.2.1": {Address: address}, `"snat: 192.0.2.1"`: {Address: address}, "{snat: 192.0.2.1}": {Address: address}, "\n  snat: 192.0.2.1": {Address: address},
	} {
		if p := readPolicy(t, minimal+"nat: "+text+"\n"); p.NAT != want || p.Limits != DefaultLimits {
			t.Errorf("of nat: %s the policy is %+v", text, p)
		}
	}
}

func TestExample(t *testing.T) {
	p := readPolicy(t, string(Example()))
	if len(p.Follow) != len(Protocols) || p.Marks != DefaultMarks || p.Limits != DefaultLimits {
		t.Errorf("the example is %+v", p)
	}
}

func TestReadPolicyMistakes(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "1:1: client_side names no interface: want a list such as [eth1]\n" +
			"1:1: server_side names no interface: want a list such as [eth1]\n" +
			"1:1: nothing is followed: give follow one of epm, portmapper, ftp and tftp"},
		{"unknown key", minimal + "natt: none", `4:1: unknown key "natt"; did you mean "nat"?`},
		{"sides share", strings.Replace(minimal, "[s]", "[s, c]", 1), `2:18: "c" is on the client side too: the sides have interfaces of their own`},
		{"strange interface", strings.Replace(minimal, "[s]", `["a b", "eth*", 'x";drop', abcdefghijklmnop, lo, "", s, s]`, 1),
			`2:15: "a b" is no name of an interface` + "\n" + `2:22: "eth*" is no name of an interface` + "\n" + `2:30: "x\";drop" is no name of an interface` + "\n" +
				`2:41: "abcdefghijklmnop" is no name of an interface: they have at most 15 characters` + "\n" +
				`2:59: "lo": nothing is forwarded by way of the loopback interface` + "\n" + `2:63: "" is no name of an interface` + "\n" + `2:70: "s" is in the list already`},
		{"choices", minimal + "forward: both\nunreadable: drop\nnat: snat\n",
			`4:10: forward "both": want mark or own` + "\n" + `5:13: unreadable "drop": want relay or refuse` + "\n" + `6:6: nat "snat": want none, masquerade, or {snat: 192.0.2.1}`},
		{"networks", strings.Replace(minimal, "[10.1.0.0/16]", `[10.1.0.0/8, "::ffff:10.1.0.0/112", "fe80::1%eth0", fs1, 224.0.0.1, 127.0.0.1, 0.0.0.0, 10.0.0.0/33]`, 1),
			`3:26: "10.1.0.0/8" has bits behind its network: did you mean 10.0.0.0/8?` + "\n" + `3:38: "::ffff:10.1.0.0/112": write it as IPv4` + "\n" +
				`3:61: "fe80::1%eth0": an address with a scope id crosses no gateway` + "\n" + `3:77: "fs1" is no address and no network: want 192.0.2.1 or 192.0.2.0/24` + "\n" +
				`3:82: "224.0.0.1" crosses no gateway` + "\n" + `3:93: "127.0.0.1" crosses no gateway` + "\n" + `3:104: "0.0.0.0" crosses no gateway` + "\n" +
				`3:113: "10.0.0.0/33" is no address and no network: want 192.0.2.1 or 192.0.2.0/24`},
		{"families", strings.Replace(minimal, "[10.1.0.0/16]", `[10.1.0.0/16, "fd00::/64"]`, 1), "3:15: ftp has clients of IPv6 and no servers: they cannot meet"},
		{"no networks", "client_side: [c]\nserver_side: [s]\nfollow: {ftp: {clients: []}}", "3:15: servers: want a list of addresses and networks such as [10.1.0.0/16]\n" +
			"3:25: clients: want a list of addresses and networks such as [10.1.0.0/16]"},
		{"ports", strings.Replace(minimal, "clients:", `ports: [0, 70000, "1-99"], server_ports: "0", lifetime: 500ms, clients:`, 1), `3:27: follow.ftp.ports[1]: portset: offset 0: "70000": ports end at 65535`},
		{"ports that are too many", strings.Replace(minimal, "clients:", `ports: [0, "1-99"], server_ports: "0", lifetime: 500ms, clients:`, 1),
			"3:23: 100 ports for control channels: want 1 to 64\n3:24: no server waits at port 0\n3:50: no server waits at port 0\n3:65: lifetime 500ms: want 1s to 1h"},
		{"lifetime 0", strings.Replace(minimal, "clients:", `lifetime: 0s, clients:`, 1), "3:26: lifetime 0s: want 1s to 1h"},
		{"ports of tftp", strings.NewReplacer("ftp:", "tftp:", "clients:", `server_ports: "4000", clients:`).Replace(minimal),
			"3:31: server_ports: a server of TFTP sends to the client's port, and no port of its own is opened: remove the key"},
		{"words of others", strings.Replace(minimal, "clients:", "interfaces: [x], clients:", 1), "3:28: nothing is looked up by ftp: remove interfaces"},
		{"words of the other", strings.NewReplacer("ftp:", "epm:", "clients:", "programs: [nfs], clients:").Replace(minimal), "3:26: epm has interfaces, not programs"},
		{"interfaces", strings.NewReplacer("ftp:", "epm:", "clients:", "interfaces: [drsuap, zzzzzzzzzz, 'drsuapi:x', 'drsuapi:70000'], clients:").Replace(minimal),
			`3:29: interface "drsuap" is neither a UUID nor known; did you mean "drsuapi"?` + "\n" +
				`3:37: interface "zzzzzzzzzz" is neither a UUID such as 12345778-1234-abcd-ef00-0123456789ac nor a name of the catalog` + "\n" +
				`3:49: version "x": want MAJOR or MAJOR.MINOR` + "\n" + `3:62: version "70000": want MAJOR or MAJOR.MINOR`},
		{"no interfaces", strings.NewReplacer("ftp:", "epm:", "clients:", "interfaces: [], clients:").Replace(minimal), "3:28: interfaces names none: without the key all may be looked up"},
		{"programs", strings.NewReplacer("ftp:", "portmapper:", "clients:", "programs: [muontd, 4294967296, 'nfs:x'], clients:").Replace(minimal),
			`3:34: program "muontd" is neither a number nor known; did you mean "mountd"?` + "\n" +
				`3:42: program "4294967296" is neither a number from 0 to 4294967295 nor a name of the catalog` + "\n" + `3:54: version "x": want a number`},
		{"ports that two follow", "client_side: [c]\nserver_side: [s]\nfollow:\n  epm: {clients: [10.1.0.1], servers: [10.2.0.1]}\n  ftp: {clients: [10.1.0.1], servers: [10.2.0.1], ports: [135]}\n",
			"5:8: epm and ftp both have port 135: a port is followed as one protocol"},
		{"snat of another family", minimal + `nat: snat fd00::1`, "4:6: fd00::1: no client has an address of IPv6, so none would be translated"},
		{"snat as a key, and more that is wrong", minimal + "nat: {snat: fd00::1}\nforwrad: own\n", `5:1: unknown key "forwrad"; did you mean "forward"?`},
		{"another key of nat", minimal + "nat: {snta: fd00::1}\n", `4:6: nat: want text, found keys with values`},
		{"snat as a key, of another family", minimal + "nat: {snat: fd00::1}\n", "4:6: fd00::1: no client has an address of IPv6, so none would be translated"},
		{"snat to a network", minimal + `nat: snat 192.0.2.0/24`, `4:6: "192.0.2.0/24" is a network: want one address`},
		{"snat to nonsense", minimal + `nat: "snat: ::ffff:1.2.3.4"`, `4:6: "::ffff:1.2.3.4": write it as IPv4`},
		{"limits", minimal + "limits: {pinholes: 0, sessions: 1000000}", "4:20: pinholes 0: want 1 to 1000000\n4:33: sessions 1000000: want 1 to 100000"},
		{"limits above all", minimal + "limits: {pinholes: 10, per_client: 11}", "4:36: per_client 11: want 1 to 10"},
		{"marks", minimal + "marks: {packet: 3, flow: 0, table: 254, port: 0}",
			"4:17: packet 0x00000003: want one bit, such as 0x01000000\n4:26: flow 0x00000000: want one bit, such as 0x01000000\n" +
				"4:36: table 254: want 1 to 32765, but 253 to 255 are the host's\n4:47: port 0: want a port that nothing else listens at"},
		{"marks that overlap", minimal + "marks: {packet: 0x4, flow: 4}", "4:28: packet and flow are both 0x00000004: rules that copy one mark to the other would take control channels for data: choose two bits"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadPolicy("gate.yaml", []byte(tt.text), catalog.Builtin())
			if err == nil {
				t.Fatal("it is taken")
			}
			if got := strings.ReplaceAll(err.Error(), "gate.yaml:", ""); got != tt.want {
				t.Errorf("ReadPolicy:\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestEntry(t *testing.T) {
	p := readPolicy(t, string(Example()))
	for _, tt := range []struct {
		protocol       uint8
		client, server string
		want           Protocol
	}{
		{tcp, "10.1.2.3", "10.2.0.1:135", EPM},
		{tcp, "fd00:1::5", "[fd00:2::1]:135", EPM},
		{tcp, "10.1.2.3", "10.3.0.9:111", Portmapper},
		{udp, "10.1.2.3", "10.3.0.9:111", Portmapper},
		{tcp, "10.1.2.3", "10.3.0.9:2121", FTP},
		{udp, "10.1.7.3", "10.3.0.7:69", TFTP},
		{udp, "10.1.2.3", "10.2.0.1:135", ""},
		{tcp, "10.9.2.3", "10.2.0.1:135", ""},
		{tcp, "10.1.2.3", "10.9.0.1:135", ""},
		{tcp, "10.1.2.3", "10.2.0.1:136", ""},
	} {
		e, ok := p.Entry(tt.protocol, netip.MustParseAddr(tt.client), netip.MustParseAddrPort(tt.server))
		if ok != (tt.want != "") || ok && e.Protocol != tt.want {
			t.Errorf("Entry(%d, %s, %s) = %v, %v, want %q", tt.protocol, tt.client, tt.server, e, ok, tt.want)
		}
	}
}

func TestAllow(t *testing.T) {
	other := drsuapi
	other.Major, other.Minor = 4, 0
	v2 := lsarpc
	v2.Major = 2
	minor := lsarpc
	minor.Minor = 7
	all := Entry{}
	some := Entry{Interfaces: []Allowed{{drsuapi, true}, {lsarpc, false}, {endpoint.Program(100003, 3), false}}}
	for _, tt := range []struct {
		i    endpoint.Interface
		want bool
	}{
		{drsuapi, true},
		{other, true},
		{lsarpc, true},
		{minor, true},
		{v2, false},
		{endpoint.Program(100003, 3), true},
		{endpoint.Program(100003, 4), false},
		{endpoint.Program(100005, 3), false},
		{endpoint.Interface{Dialect: endpoint.ONC}, false},
	} {
		if got := some.Allow(tt.i); got != tt.want {
			t.Errorf("Allow(%v) = %v, want %v", tt.i, got, tt.want)
		}
		if !all.Allow(tt.i) {
			t.Errorf("without a list %v is not allowed", tt.i)
		}
	}
}

func TestListeners(t *testing.T) {
	p := readPolicy(t, string(Example()))
	var got []string
	for _, protocol := range []uint8{tcp, udp} {
		for _, a := range p.Listeners(protocol) {
			got = append(got, a.String())
		}
	}
	want := []string{"127.0.0.1:30111", "[::1]:30111", "127.0.0.1:69", "127.0.0.1:111", "[::1]:69", "[::1]:111"}
	if !slices.Equal(got, want) {
		t.Errorf("Listeners are %q, want %q", got, want)
	}
}

// TestSchemaKeys holds that the schema and ReadPolicy know the same keys, and that each is explained.
func TestSchemaKeys(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	defs := root["$defs"].(map[string]any)
	var hold func(path string, of reflect.Type, node map[string]any)
	hold = func(path string, of reflect.Type, node map[string]any) {
		if ref, ok := node["$ref"].(string); ok {
			target := defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
			if node["description"] == nil {
				node = target
			}
		}
		if path != "$" && node["description"] == nil {
			t.Errorf("%s is not explained", path)
		}
		for of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct || of == reflect.TypeFor[portset.Set]() {
			return
		}
		if node["additionalProperties"] != false {
			t.Errorf("%s takes any key", path)
		}
		properties := node["properties"].(map[string]any)
		known := map[string]bool{}
		for i := range of.NumField() {
			key := of.Field(i).Tag.Get("yaml")
			known[key] = true
			if child, ok := properties[key].(map[string]any); ok {
				hold(path+"."+key, of.Field(i).Type, child)
			} else if of != reflect.TypeFor[entryDocument]() || !slices.Contains([]string{"interfaces", "programs", "server_ports"}, key) {
				t.Errorf("the schema lacks %s.%s", path, key)
			}
		}
		for key := range properties {
			if !known[key] {
				t.Errorf("only the schema has %s.%s", path, key)
			}
		}
	}
	hold("$", reflect.TypeFor[document[string]](), root)
}
