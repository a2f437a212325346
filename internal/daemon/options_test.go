package daemon

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quaymaster/quaymaster/internal/registry"
)

func addrPorts(texts ...string) []netip.AddrPort {
	var all []netip.AddrPort
	for _, text := range texts {
		all = append(all, netip.MustParseAddrPort(text))
	}
	return all
}

func TestParseListen(t *testing.T) {
	const want = "want 192.0.2.1, 192.0.2.1:111, [2001:db8::1]:111 or :111"
	for _, tt := range []struct {
		text string
		want []netip.AddrPort
		err  string
	}{
		{"192.0.2.1", addrPorts("192.0.2.1:111"), ""},
		{"192.0.2.1:1111", addrPorts("192.0.2.1:1111"), ""},
		{"0.0.0.0", addrPorts("0.0.0.0:111"), ""},
		{"127.0.0.1:0", addrPorts("127.0.0.1:0"), ""},
		{"2001:db8::1", addrPorts("[2001:db8::1]:111"), ""},
		{"[2001:db8::1]", addrPorts("[2001:db8::1]:111"), ""},
		{"[2001:db8::1]:65535", addrPorts("[2001:db8::1]:65535"), ""},
		{"::", addrPorts("[::]:111"), ""},
		{"::1", addrPorts("[::1]:111"), ""},
		{"fe80::1%lo", addrPorts("[fe80::1%lo]:111"), ""},
		{":111", addrPorts("0.0.0.0:111", "[::]:111"), ""},
		{":0", addrPorts("0.0.0.0:0", "[::]:0"), ""},

		{"", nil, `"" is no address: ` + want},
		{":", nil, `"" is no port`},
		{":http", nil, `"http" is no port`},
		{":65536", nil, `"65536" is no port`},
		{"111", nil, `"111" is no address: ` + want},
		{"*:111", nil, `"*:111" is no address: ` + want},
		{"localhost", nil, `"localhost" is no address: ` + want},
		{"192.0.2.1:", nil, `"192.0.2.1:" is no address: ` + want},
		{"192.0.2.1:65536", nil, `"192.0.2.1:65536" is no address: ` + want},
		{"192.0.2.01", nil, `"192.0.2.01" is no address: ` + want},
		{"[192.0.2.1]:111", nil, `"[192.0.2.1]:111" is no address: ` + want},
		{"192.0.2.0/24", nil, `"192.0.2.0/24" is no address: ` + want},
		{"::ffff:192.0.2.1", nil, `"::ffff:192.0.2.1": write the IPv4 address as 192.0.2.1`},
		{"[::ffff:192.0.2.1]:111", nil, `"[::ffff:192.0.2.1]:111": write the IPv4 address as 192.0.2.1`},
	} {
		got, err := parseListen(tt.text, 111)
		if diff := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.AddrPort{}, netip.Addr{})); diff != "" || errorText(err) != tt.err {
			t.Errorf("parseListen(%q) = %v, %v, want %v, %s", tt.text, got, err, tt.want, tt.err)
		}
	}
}

// TestDoors: the mappers differ in port, flag and key only.
func TestDoors(t *testing.T) {
	for _, tt := range []struct {
		text     string
		onc, dce string // addresses or the error
	}{
		{"192.0.2.1", "[192.0.2.1:111]", "[192.0.2.1:135]"},
		{"2001:db8::1", "[[2001:db8::1]:111]", "[[2001:db8::1]:135]"},
		{"[2001:db8::1]:7", "[[2001:db8::1]:7]", "[[2001:db8::1]:7]"},
		{":7", "[0.0.0.0:7 [::]:7]", "[0.0.0.0:7 [::]:7]"},
		{"none", "[]", "[]"},
		{
			"fs1", `"fs1" is no address: want 192.0.2.1, 192.0.2.1:111, [2001:db8::1]:111 or :111`,
			`"fs1" is no address: want 192.0.2.1, 192.0.2.1:135, [2001:db8::1]:135 or :135`,
		},
	} {
		for d, want := range map[*door]string{&oncDoor: tt.onc, &dceDoor: tt.dce} {
			addrs, err := d.parse(&Options{ListenONC: []string{tt.text}, ListenDCE: []string{tt.text}}, tt.text)
			if got := fmt.Sprint(addrs); err == nil && got != want || err != nil && err.Error() != want {
				t.Errorf("%s %s = %s, %v, want %s", d.flag, tt.text, got, err, want)
			}
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{}, ""},
		{Options{Dev: true}, ""},
		{Options{ListenONC: []string{"none"}, LogLevel: "warn", LogFormat: "json"}, ""},
		{Options{ListenONC: []string{"127.0.0.1", ":1111"}, LogLevel: "debug", LogFormat: "text"}, ""},
		{Options{ListenONC: []string{"127.0.0.1", "none"}}, `--listen-onc none: "none" goes with no other address`},
		{Options{PoolFile: "policy.reg"}, ""},
		{Options{PoolFile: "-"}, "--pool -: standard input cannot be read again on SIGHUP: name a file"},
		{Options{ListenONC: []string{":x"}}, `--listen-onc :x: "x" is no port`},
		{Options{ListenDCE: []string{"none"}, DCEInsert: []string{"loopback", "192.0.2.0/24", "any"}, DCEAddress: "192.0.2.1", DCELookupEnd: "handle"}, ""},
		{Options{ListenDCE: []string{"127.0.0.1", ":1135"}, DCEInsert: []string{"2001:db8::1"}, DCELookupEnd: "status"}, ""},
		{Options{ListenDCE: []string{"127.0.0.1", "none"}}, `--listen-dce none: "none" goes with no other address`},
		{Options{ListenDCE: []string{":x"}}, `--listen-dce :x: "x" is no port`},
		{
			Options{ListenONC: []string{"x"}, ListenDCE: []string{"x"}},
			`--listen-onc x: "x" is no address: want 192.0.2.1, 192.0.2.1:111, [2001:db8::1]:111 or :111` + "\n" +
				`--listen-dce x: "x" is no address: want 192.0.2.1, 192.0.2.1:135, [2001:db8::1]:135 or :135`,
		},
		{Options{DCEInsert: []string{"loopback", "everybody"}}, `--dce-insert everybody: "everybody" is no network: want 192.0.2.0/24, 2001:db8::/32 or an address, loopback or any`},
		{Options{DCEAddress: "::1"}, `dce_address "::1": want an IPv4 address, since the endpoint mapper tells no other`},
		{Options{DCELookupEnd: "nil"}, `dce_lookup_end "nil": want status or handle`},
		{
			Options{LogLevel: "loud", LogFormat: "xml"},
			"log level \"loud\": want debug, info, warn or error\n" + `log format "xml": want text or json`,
		},
	} {
		if err := tt.o.Check(); errorText(err) != tt.want {
			t.Errorf("Check(%+v) = %v, want %s", tt.o, err, tt.want)
		}
	}
}

func TestLoad(t *testing.T) {
	const text = `
listen_onc: [192.0.2.1, "[2001:db8::1]:111"]
onc_socket: /run/x.sock
control: /run/c.sock
user: nobody
keep_going: true
log_level: warn
log_format: json
`
	want := Options{
		ListenONC: []string{"192.0.2.1", "[2001:db8::1]:111"}, ONCSocket: "/run/x.sock", Control: "/run/c.sock",
		User: "nobody", KeepGoing: true, LogLevel: "warn", LogFormat: "json", Grace: registry.DefaultGrace, Limits: DefaultLimits,
	}
	got, err := Load("serve.yaml", []byte(text))
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Load: %v (-want +got):\n%s", err, diff)
	}
	if got, err := Load("serve.yaml", nil); err != nil || cmp.Diff(Options{Grace: registry.DefaultGrace, Limits: DefaultLimits}, got) != "" {
		t.Errorf("Load of nothing = %+v, %v", got, err)
	}
}

func TestLoadMistakes(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unknown key", "listen_ocn: none\n", `a.yaml:1:1: unknown key "listen_ocn"; did you mean "listen_onc"?`},
		{
			"development is for the command line", "dev: true\n", `a.yaml:1:1: unknown key "dev"; known here: listen_onc, onc_socket, listen_dce, dce_socket, control, user, keep_going, log_level, log_format, ` +
				`state, permanent_file, liveness, grace, trust_low_ports, reserved, dce_insert, dce_address, dce_lookup_end, networks, limits, pool`,
		},
		{"kinds", "user: 65534\nkeep_going: yes\n", "a.yaml:1:7: user: want text, found 65534: put it in quotes\n" + `a.yaml:2:13: keep_going: want true or false, found text "yes"`},
		{"one address", "listen_onc: 192.0.2.1\n", `a.yaml:1:13: listen_onc: want a list, found text "192.0.2.1"`},
		{
			"addresses", "listen_onc:\n  - 192.0.2.1\n  - fs1\n  - none\n",
			`a.yaml:3:5: "fs1" is no address: want 192.0.2.1, 192.0.2.1:111, [2001:db8::1]:111 or :111` + "\n" +
				`a.yaml:4:5: "none" goes with no other address`,
		},
		{
			"log", "log_level: loud\n# how\nlog_format:   xml\n",
			`a.yaml:1:12: log level "loud": want debug, info, warn or error` + "\n" + `a.yaml:3:15: log format "xml": want text or json`,
		},
		{
			"dce addresses", "listen_dce:\n  - 192.0.2.1\n  - fs1\n  - none\ndce_socket: [x]\n",
			"a.yaml:5:13: dce_socket: want text, found a list",
		},
		{
			"dce addresses that cannot be", "listen_dce:\n  - 192.0.2.1\n  - fs1\n  - none\n",
			`a.yaml:3:5: "fs1" is no address: want 192.0.2.1, 192.0.2.1:135, [2001:db8::1]:135 or :135` + "\n" +
				`a.yaml:4:5: "none" goes with no other address`,
		},
		{
			"dce", "dce_lookup_end: never\ndce_insert:\n  - loopback\n  - 192.0.2.1/24\n  - all\n  - any\ndce_address: 2001:db8::1\n",
			`a.yaml:1:17: dce_lookup_end "never": want status or handle` + "\n" +
				"a.yaml:4:5: 192.0.2.1/24 has bits beyond its mask: did you mean 192.0.2.0/24?\n" +
				`a.yaml:5:5: "all" is no network: want 192.0.2.0/24, 2001:db8::/32 or an address, loopback or any` + "\n" +
				`a.yaml:7:14: dce_address "2001:db8::1": want an IPv4 address, since the endpoint mapper tells no other`,
		},
		{"who may register, one", "dce_insert: loopback\n", `a.yaml:1:13: dce_insert: want a list, found text "loopback"`},
		{"everywhere is no address", `dce_address: "0.0.0.0"` + "\n", `a.yaml:1:14: dce_address "0.0.0.0": want an IPv4 address, since the endpoint mapper tells no other`},
		{"a name is no address", "dce_address: fs1\n", `a.yaml:1:14: dce_address "fs1": want an IPv4 address, since the endpoint mapper tells no other`},
		{"star", "listen_onc: [*:111]\n", `a.yaml:1:14: aliases are not supported: quote a value that starts with "*"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := Load("a.yaml", []byte(tt.text))
			if errorText(err) != tt.want || cmp.Diff(Options{}, o) != "" {
				t.Errorf("Load = %+v, %v, want\n%s", o, err, tt.want)
			}
		})
	}
}

func TestPaths(t *testing.T) {
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.FromSlash("/home/a/.local/state/quaymaster")
	for _, tt := range []struct {
		o                 Options
		onc, dce, control string
	}{
		{Options{}, SystemONCSocket, SystemDCESocket, SystemControl},
		{Options{Dev: true, StateDir: state}, filepath.Join(state, "rpcbind.sock"), filepath.Join(state, "epmapper.sock"), filepath.Join(state, "control.sock")},
		{
			Options{ONCSocket: "a.sock", DCESocket: "e.sock", Control: "b/c.sock"},
			filepath.Join(here, "a.sock"), filepath.Join(here, "e.sock"), filepath.Join(here, "b", "c.sock"),
		},
		{Options{Dev: true, StateDir: state, DCESocket: "/e.sock"}, filepath.Join(state, "rpcbind.sock"), "/e.sock", filepath.Join(state, "control.sock")},
	} {
		if tt.o.oncSocket() != tt.onc || tt.o.dceSocket() != tt.dce || tt.o.control() != tt.control {
			t.Errorf("paths of %+v = %s, %s, %s, want %s, %s, %s", tt.o, tt.o.oncSocket(), tt.o.dceSocket(), tt.o.control(), tt.onc, tt.dce, tt.control)
		}
		for _, path := range []string{tt.onc, tt.dce, tt.control} { // given to the account that the daemon becomes
			if !slices.Contains(tt.o.files(), path) {
				t.Errorf("files of %+v = %q, want %s among them", tt.o, tt.o.files(), path)
			}
		}
	}
}

func TestDefaultAddresses(t *testing.T) {
	for _, tt := range []struct {
		o        Options
		onc, dce string
	}{
		{Options{}, "0.0.0.0:111 [::]:111", "0.0.0.0:135 [::]:135"},
		{Options{Dev: true}, "127.0.0.1:1111 [::1]:1111", "127.0.0.1:1135 [::1]:1135"},
		{Options{Dev: true, ListenONC: []string{"none"}}, "", "127.0.0.1:1135 [::1]:1135"},
		{Options{ListenONC: []string{"192.0.2.1"}}, "192.0.2.1:111!", "0.0.0.0:135 [::]:135"},
		{Options{ListenONC: []string{":1", "192.0.2.1"}}, "0.0.0.0:1! [::]:1! 192.0.2.1:111!", "0.0.0.0:135 [::]:135"},
		{Options{Dev: true, ListenDCE: []string{"none"}}, "127.0.0.1:1111 [::1]:1111", ""},
		{Options{ListenDCE: []string{":1", "192.0.2.1", "::1"}}, "0.0.0.0:111 [::]:111", "0.0.0.0:1! [::]:1! 192.0.2.1:135! [::1]:135!"},
	} {
		for d, want := range map[*door]string{&oncDoor: tt.onc, &dceDoor: tt.dce} {
			addrs, err := d.addresses(&tt.o)
			var got []string
			for _, a := range addrs {
				text := a.String()
				if a.chosen {
					text += "!"
				}
				got = append(got, text)
			}
			if strings.Join(got, " ") != want || err != nil {
				t.Errorf("%s of %+v = %v, %v, want %s", d.key, tt.o, got, err, want)
			}
		}
	}
}

// TestInserters: who may register over the network.
func TestInserters(t *testing.T) {
	for _, tt := range []struct {
		words         []string
		loopback, any bool
		in, out       []string // addresses
	}{
		{nil, false, false, nil, []string{"127.0.0.1", "192.0.2.1", "::1"}},
		{[]string{"loopback"}, true, false, nil, []string{"127.0.0.1", "192.0.2.1", "::1"}},
		{[]string{"192.0.2.0/24"}, false, false, []string{"192.0.2.1"}, []string{"192.0.3.1", "127.0.0.1", "2001:db8::1"}},
		{[]string{"loopback", "192.0.2.1", "2001:db8::/32"}, true, false, []string{"192.0.2.1", "2001:db8::1"}, []string{"192.0.2.2"}},
		{[]string{"any"}, false, true, []string{"192.0.2.1", "2001:db8::1", "127.0.0.1"}, nil},
	} {
		i, err := (&Options{DCEInsert: tt.words}).inserters()
		if err != nil || i.loopback != tt.loopback || i.any != tt.any {
			t.Errorf("inserters of %q = %+v, %v", tt.words, i, err)
		}
		set := i.set()
		for want, addresses := range map[bool][]string{true: tt.in, false: tt.out} {
			for _, a := range addresses {
				if got := set != nil && set.Contains(netip.MustParseAddr(a)); got != want {
					t.Errorf("%q has %s: %v, want %v", tt.words, a, got, want)
				}
			}
		}
	}
}
