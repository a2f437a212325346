package daemon

import (
	"net/netip"
	"path/filepath"
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
		{Options{ListenONC: []string{":x"}}, `--listen-onc :x: "x" is no port`},
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
		{"development is for the command line", "dev: true\n", `a.yaml:1:1: unknown key "dev"; known here: listen_onc, onc_socket, control, user, keep_going, log_level, log_format, state, permanent_file, liveness, grace, trust_low_ports, reserved, networks, limits`},
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
		o            Options
		onc, control string
	}{
		{Options{}, SystemONCSocket, SystemControl},
		{Options{Dev: true, StateDir: state}, filepath.Join(state, "rpcbind.sock"), filepath.Join(state, "control.sock")},
		{Options{ONCSocket: "a.sock", Control: "b/c.sock"}, filepath.Join(here, "a.sock"), filepath.Join(here, "b", "c.sock")},
	} {
		if tt.o.oncSocket() != tt.onc || tt.o.control() != tt.control {
			t.Errorf("paths of %+v = %s, %s, want %s, %s", tt.o, tt.o.oncSocket(), tt.o.control(), tt.onc, tt.control)
		}
	}
}

func TestDefaultAddresses(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{}, "0.0.0.0:111 [::]:111"},
		{Options{Dev: true}, "127.0.0.1:1111 [::1]:1111"},
		{Options{Dev: true, ListenONC: []string{"none"}}, ""},
		{Options{ListenONC: []string{"192.0.2.1"}}, "192.0.2.1:111!"},
		{Options{ListenONC: []string{":1", "192.0.2.1"}}, "0.0.0.0:1! [::]:1! 192.0.2.1:111!"},
	} {
		addrs, err := oncDoor.addresses(&tt.o)
		var got []string
		for _, a := range addrs {
			text := a.String()
			if a.chosen {
				text += "!"
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != tt.want || err != nil {
			t.Errorf("addresses of %+v = %v, %v, want %s", tt.o, got, err, tt.want)
		}
	}
}
