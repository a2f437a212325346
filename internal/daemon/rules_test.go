package daemon

import (
	"log/slog"
	"math"
	"net/netip"
	"os/user"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/internal/portpool"
	"github.com/quaymaster/quaymaster/internal/registry"
)

func TestNetwork(t *testing.T) {
	const want = ": want 192.0.2.0/24, 2001:db8::/32 or an address"
	for _, tt := range []struct{ text, want, err string }{
		{"192.0.2.0/24", "192.0.2.0/24", ""},
		{"192.0.2.17", "192.0.2.17/32", ""},
		{"2001:db8::/32", "2001:db8::/32", ""},
		{"2001:DB8::1", "2001:db8::1/128", ""},
		{"0.0.0.0/0", "0.0.0.0/0", ""},
		{"::/0", "::/0", ""},
		{"fe80::/10", "fe80::/10", ""},

		{"192.0.2.1/24", "", "192.0.2.1/24 has bits beyond its mask: did you mean 192.0.2.0/24?"},
		{"2001:db8::1/32", "", "2001:db8::1/32 has bits beyond its mask: did you mean 2001:db8::/32?"},
		{"::ffff:192.0.2.1", "", "::ffff:192.0.2.1/128: write an IPv4 network as 192.0.2.0/24"},
		{"::ffff:192.0.2.0/120", "", "::ffff:192.0.2.0/120: write an IPv4 network as 192.0.2.0/24"},
		{"fe80::1%eth0", "", `"fe80::1%eth0" is no network` + want},
		{"fe80::%eth0/64", "", `"fe80::%eth0/64" is no network` + want},
		{"fs1.example", "", `"fs1.example" is no network` + want},
		{"192.0.2.0/33", "", `"192.0.2.0/33" is no network` + want},
		{"192.0.2.0/024", "", `"192.0.2.0/024" is no network` + want},
		{"192.0.2.0/255.255.255.0", "", `"192.0.2.0/255.255.255.0" is no network` + want},
		{"192.0.2", "", `"192.0.2" is no network` + want},
		{"10/8", "", `"10/8" is no network` + want},
		{"*", "", `"*" is no network` + want},
		{"", "", `"" is no network` + want},
	} {
		var n Network
		err := n.UnmarshalText([]byte(tt.text))
		if errorText(err) != tt.err || err == nil && n.String() != tt.want {
			t.Errorf("%q: %s, %v, want %s, %s", tt.text, n, err, tt.want, tt.err)
		}
	}
}

func network(t *testing.T, text string) Network {
	t.Helper()
	var n Network
	if err := n.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSetOf(t *testing.T) {
	if set := setOf(nil); set != nil {
		t.Errorf("the set of nothing said is %v, want none", set.Prefixes())
	}
	if set := setOf([]Network{}); set == nil || len(set.Prefixes()) > 0 {
		t.Errorf("the set of no network is %v, want an empty one", set)
	}
	set := setOf([]Network{network(t, "192.0.2.0/24"), network(t, "192.0.2.0/25"), network(t, "2001:db8::/32"), network(t, "198.51.100.7")})
	for a, want := range map[string]bool{
		"192.0.2.0": true, "192.0.2.255": true, "2001:db8:ffff::1": true, "198.51.100.7": true,
		"192.0.3.0": false, "198.51.100.8": false, "2001:db9::": false, "::ffff:192.0.2.1": false,
	} {
		if got := set.Contains(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s in the set: %v, want %v", a, got, want)
		}
	}
}

func TestLimitsOrDefault(t *testing.T) {
	if got := (Limits{}).orDefault(); got != DefaultLimits {
		t.Errorf("the default is %+v, want %+v", got, DefaultLimits)
	}
	own := Limits{Registrations: 1, RegistrationsPerUser: 2, Connections: 3, ConnectionsPerSource: 4, ConnectionsPerUser: 5, QueriesPerSecond: 6, GrantsPerUser: 7}
	if got := own.orDefault(); got != own {
		t.Errorf("limits that were chosen are %+v, want %+v", got, own)
	}
	want := DefaultLimits
	want.QueriesPerSecond = 7
	if got := (Limits{QueriesPerSecond: 7}).orDefault(); got != want {
		t.Errorf("one limit chosen: %+v, want %+v", got, want)
	}
	if DefaultLimits.Registrations != registry.DefaultMaxRows || DefaultLimits.RegistrationsPerUser != registry.DefaultMaxUserRows {
		t.Error("the registry has other defaults")
	}
}

func TestReserved(t *testing.T) {
	statd := []uint32(nil)
	if uid, ok := uidOf("statd"); ok {
		statd = []uint32{uid}
	}
	nobody, ok := uidOf("nobody")
	if !ok {
		nstest.Unavailable(t, "there is no user nobody")
	}
	for _, tt := range []struct {
		name     string
		reserved map[string][]string
		want     map[uint32][]uint32
		log      string
	}{
		{"default", nil, map[uint32][]uint32{
			100003: nil, 100005: nil, 100011: nil, 100021: nil, 100227: nil, 100004: nil, 100007: nil, 100009: nil, 100024: statd,
		}, ""},
		{"none", map[string][]string{}, map[uint32][]uint32{}, ""},
		{"names, numbers and aliases", map[string][]string{"NFS": {}, "100005": nil, "0x20000001": {"4711"}, "statd": {"nobody"}},
			map[uint32][]uint32{100003: nil, 100005: nil, 0x20000001: {4711}, 100024: {nobody}}, ""},
		{"a user twice", map[string][]string{"7": {"nobody", "4711", "nobody", "4711"}}, map[uint32][]uint32{7: {nobody, 4711}}, ""},
		{"a program twice", map[string][]string{"100003": {"4711"}, "0x186a3": {"4712"}, "nfs": {"4711"}}, map[uint32][]uint32{100003: {4711, 4712}}, ""},
		{"a user that is not there", map[string][]string{"7": {"no-such-user", "4711"}}, map[uint32][]uint32{7: {4711}},
			`level=WARN msg="a program is reserved for a user that this host does not have" program=7 user=no-such-user` + "\n"},
		{"no uid", map[string][]string{"7": {"-1", "4294967296"}}, map[uint32][]uint32{7: nil}, "user=-1\nuser=4294967296\n"},
	} {
		log, text := testLog(slog.LevelInfo)
		got := (&Options{Reserved: tt.reserved}).reserved(log)
		for _, uids := range got {
			slices.Sort(uids) // a map has no order
		}
		for _, uids := range tt.want {
			slices.Sort(uids)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		for line := range strings.Lines(tt.log) {
			if !strings.Contains(text.String(), line) {
				t.Errorf("%s: the log is\n%swant %s", tt.name, text, line)
			}
		}
		if tt.log == "" && text.String() != "" {
			t.Errorf("%s: the log is\n%s", tt.name, text)
		}
	}
}

func TestUIDOf(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	byName, ok1 := uidOf(me.Username)
	byNumber, ok2 := uidOf(me.Uid)
	if !ok1 || !ok2 || byName != byNumber {
		t.Errorf("%s is %d, %v, and %s is %d, %v", me.Username, byName, ok1, me.Uid, byNumber, ok2)
	}
}

// testLog returns a log without times, and where it is written to.
func testLog(level slog.Level) (*slog.Logger, *nstest.Text) {
	var b nstest.Text
	return slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})), &b
}

// everyKey is a configuration file that has all keys.
const everyKey = `
listen_onc: [192.0.2.1, "[2001:db8::1]:111"]
onc_socket: /run/x.sock
listen_dce: [192.0.2.1, ":1135"]
dce_socket: /run/e.sock
control: /run/c.sock
user: nobody
keep_going: true
log_level: warn
log_format: json
state: memory
permanent_file: /etc/permanent.yaml
liveness: off
grace: 90s
trust_low_ports: true
reserved: {nfs: [], 0x20000001: ["4711", nobody]}
dce_insert: [loopback, 192.0.2.0/24, any]
dce_address: 192.0.2.1
dce_lookup_end: handle
networks:
  ask: [192.0.2.0/24, 2001:db8::/32]
  dump: [192.0.2.17]
limits: {registrations: 1, registrations_per_user: 2, connections: 3, connections_per_source: 4, connections_per_user: 5, queries_per_second: 6, grants_per_user: 7}
pool: {ports: [5000-5020, 5100], ports_internet_available: true, use_internet_ports: true}
`

func TestLoadEveryKey(t *testing.T) {
	want := Options{
		ListenONC: []string{"192.0.2.1", "[2001:db8::1]:111"}, ONCSocket: "/run/x.sock", Control: "/run/c.sock",
		ListenDCE: []string{"192.0.2.1", ":1135"}, DCESocket: "/run/e.sock",
		DCEInsert: []string{"loopback", "192.0.2.0/24", "any"}, DCEAddress: "192.0.2.1", DCELookupEnd: "handle",
		User: "nobody", KeepGoing: true, LogLevel: "warn", LogFormat: "json",
		State: "memory", PermanentFile: "/etc/permanent.yaml", Liveness: "off", Grace: 90 * time.Second, TrustLowPorts: true,
		Reserved: map[string][]string{"nfs": {}, "0x20000001": {"4711", "nobody"}},
		Networks: Networks{Ask: []Network{network(t, "192.0.2.0/24"), network(t, "2001:db8::/32")}, Dump: []Network{network(t, "192.0.2.17")}},
		Limits:   Limits{Registrations: 1, RegistrationsPerUser: 2, Connections: 3, ConnectionsPerSource: 4, ConnectionsPerUser: 5, QueriesPerSecond: 6, GrantsPerUser: 7},
		Pool:     &portpool.Settings{Ports: []portpool.EntryText{"5000-5020", "5100"}, PortsInternetAvailable: new(true), UseInternetPorts: new(true)},
	}
	got, err := Load("serve.yaml", []byte(everyKey))
	if err == nil {
		want.Policy = got.Policy
		if p, err := got.Policy.Valid(); err != nil || p.List().String() != "5000-5020,5100" {
			t.Errorf("policy = %+v, %v", p, err)
		}
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b Network) bool { return a == b }), cmp.Comparer(func(a, b *portpool.Document) bool { return a == b })); err != nil || diff != "" {
		t.Errorf("Load: %v (-want +got):\n%s", err, diff)
	}
	if err := got.Check(); err != nil {
		t.Errorf("Check: %v", err)
	}
	if unchecked, err := got.unchecked(); !unchecked || err != nil {
		t.Errorf("unchecked = %v, %v, want true", unchecked, err)
	}
}

func TestLoadRuleMistakes(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"liveness", "liveness: maybe\n", `a.yaml:1:11: liveness "maybe": want on or off`},
		{"liveness, a bool", "liveness: false\n", `a.yaml:1:11: liveness: want text, found false: put it in quotes`},
		{"grace too short", "grace: 999ms\n", `a.yaml:1:8: grace 999ms: want 1s to 1h`},
		{"grace too long", "grace: 61m\n", `a.yaml:1:8: grace 1h1m0s: want 1s to 1h`},
		{"no grace", "grace: 0s\n", `a.yaml:1:8: grace 0s: want 1s to 1h`},
		{"negative grace", "grace: -1s\n", `a.yaml:1:8: grace -1s: want 1s to 1h`},
		{"grace without a unit", "grace: 10\n", `a.yaml:1:8: grace: want a duration such as 30s or 5m, found 10`},
		{"low ports", "trust_low_ports: 1023\n", `a.yaml:1:18: trust_low_ports: want true or false, found 1023`},
		{"state", "state: [memory]\n", `a.yaml:1:8: state: want text, found a list`},
		{
			"networks", "networks:\n  ask:\n    - 192.0.2.1/24\n    - fs1\n  dump: 192.0.2.17\n",
			"a.yaml:3:7: networks.ask[0]: 192.0.2.1/24 has bits beyond its mask: did you mean 192.0.2.0/24?\n" +
				`a.yaml:4:7: networks.ask[1]: "fs1" is no network: want 192.0.2.0/24, 2001:db8::/32 or an address` + "\n" +
				`a.yaml:5:9: networks.dump: want a list, found text "192.0.2.17"`,
		},
		{"a network that is not", "networks: {asks: []}\n", `a.yaml:1:12: unknown key "asks"; did you mean "ask"?`},
		{
			"limits", "limits:\n  connections: 0\n  queries_per_second: -1\n  registrations: many\n  per_user: 1\n",
			`a.yaml:3:23: limits.queries_per_second: want a number from 0 to 4294967295, found -1` + "\n" +
				`a.yaml:4:18: limits.registrations: want a number from 0 to 4294967295, found text "many"` + "\n" +
				`a.yaml:5:3: unknown key "per_user"; known here: registrations, registrations_per_user, connections, connections_per_source, connections_per_user, queries_per_second, grants_per_user`,
		},
		{
			"limits that cannot be", "limits:\n  queries_per_second: 0\n  connections: 4294967295\n",
			"a.yaml:2:23: queries_per_second 0: want 1 to 2147483647\n" + "a.yaml:3:16: connections 4294967295: want 1 to 2147483647",
		},
		{
			"reserved", "reserved:\n  nfss: []\n  nfs.x: []\n  4294967296: []\n  0b11: []\n  nfs: [root]\n",
			`a.yaml:2:9: program "nfss" is neither a number nor known; did you mean "nfs"?` + "\n" +
				`a.yaml:3:10: program "nfs.x" is neither a number from 0 to 4294967295 nor a name of the catalog` + "\n" +
				`a.yaml:4:15: program "4294967296" is neither a number from 0 to 4294967295 nor a name of the catalog` + "\n" +
				`a.yaml:5:9: program "0b11" is neither a number from 0 to 4294967295 nor a name of the catalog`,
		},
		{"reserved for a number", "reserved: {nfs: [0]}\n", `a.yaml:1:18: reserved.nfs[0]: want text, found 0: put it in quotes`},
		{"reserved for nothing", "reserved: {nfs: }\n", `a.yaml:1:16: reserved.nfs: want a list, found nothing: give it a value or remove it`},
		{
			"pool", "pool:\n  ports: [5020-5000, 5100]\n  use_internet_ports: true\n",
			"a.yaml:2:3: ports_internet_available is missing, and the policy needs all three values: add it, or remove the whole key\n" +
				`a.yaml:2:11: string 1 of ports, "5020-5000", is reversed: write 5000-5020`,
		},
		{"kinds of the pool", "pool: {port: [1], use_internet_ports: Y}\n", `a.yaml:1:8: unknown key "port"; did you mean "ports"?` + "\n" + `a.yaml:1:39: pool.use_internet_ports: want true or false, found text "Y"`},
		{"pool of nothing", "user: a\npool:\n", `a.yaml:2:7: pool: there is no policy here: write one as quaymaster pool convert FILE --to yaml does, or remove the key`},
		{
			"from the top down", "grace: 2h\nlog_level: loud\nlisten_onc: [x]\n",
			"a.yaml:1:8: grace 2h0m0s: want 1s to 1h\n" + `a.yaml:2:12: log level "loud": want debug, info, warn or error` + "\n" +
				`a.yaml:3:14: "x" is no address: want 192.0.2.1, 192.0.2.1:111, [2001:db8::1]:111 or :111`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := Load("a.yaml", []byte(tt.text))
			if errorText(err) != tt.want || cmp.Diff(Options{}, o) != "" {
				t.Errorf("Load = %+v, %v, want\n%s", o, err, tt.want)
			}
		})
	}
}

func TestRuleFlags(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{Liveness: "on", Grace: time.Hour}, ""},
		{Options{Liveness: "off", Grace: time.Second}, ""},
		{Options{Liveness: "OFF"}, `liveness "OFF": want on or off`},
		{Options{Liveness: "yes", Grace: time.Millisecond}, "liveness \"yes\": want on or off\ngrace 1ms: want 1s to 1h"},
		{Options{Grace: math.MaxInt64}, "grace 2562047h47m16.854775807s: want 1s to 1h"},
	} {
		if err := tt.o.Check(); errorText(err) != tt.want {
			t.Errorf("Check(%+v) = %v, want %s", tt.o, err, tt.want)
		}
	}
}

// TestStatePaths: where the journal and the permanent registrations are.
func TestStatePaths(t *testing.T) {
	for _, tt := range []struct {
		o                Options
		state, permanent string
	}{
		{Options{}, SystemState, SystemPermanentFile},
		{Options{State: "memory"}, "", SystemPermanentFile},
		{Options{State: "/x/memory", PermanentFile: "/y.yaml"}, "/x/memory", "/y.yaml"},
		{Options{Dev: true, StateDir: "/home/a"}, "/home/a/registry.db", "/home/a/permanent.yaml"},
		{Options{Dev: true, StateDir: "/home/a", State: "/x.db", PermanentFile: "/y.yaml"}, "/x.db", "/y.yaml"},
	} {
		if tt.o.state() != tt.state || tt.o.permanentFile() != tt.permanent {
			t.Errorf("paths of %+v = %s, %s, want %s, %s", tt.o, tt.o.state(), tt.o.permanentFile(), tt.state, tt.permanent)
		}
		if files := tt.o.files(); slices.Contains(files, "") || !slices.Contains(files, tt.permanent) || tt.state != "" && !slices.Contains(files, tt.state) {
			t.Errorf("files of %+v = %q", tt.o, files)
		}
	}
}
