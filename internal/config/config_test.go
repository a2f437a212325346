package config_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/portset"
)

// serve has a field of every kind Decode sets.
type serve struct {
	ListenONC []string               `yaml:"listen_onc"`
	Control   string                 `yaml:"control"`
	KeepGoing bool                   `yaml:"keep_going"`
	Idle      time.Duration          `yaml:"idle"`
	Pool      portset.Set            `yaml:"pool"`
	Address   netip.Addr             `yaml:"address"`
	Program   uint32                 `yaml:"program"`
	Nice      int8                   `yaml:"nice"`
	Offset    int64                  `yaml:"offset"`
	User      *string                `yaml:"user"`
	Hosts     []host                 `yaml:"hosts"`
	Zones     map[string]*zone       `yaml:"zones"`
	Matrix    [][]uint16             `yaml:"matrix"`
	Pins      map[string]map[pin]int `yaml:"pins"`
	Internal  string                 `yaml:"-"`
	Untagged  string
}

type host struct {
	Name  string   `yaml:"name"`
	Roles []string `yaml:"roles"`
}

type zone struct {
	Size uint8 `yaml:"size"`
}

type pin string

// printable lets cmp see into the types of other packages that a serve holds.
var printable = cmp.Options{cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()}

func TestDecode(t *testing.T) {
	const text = `# a comment
---
listen_onc:
  - 127.0.0.1:111
  - "[::1]:111"
  - ::1
control: /run/quaymaster.sock   # of the daemon
keep_going: true
idle: 1m30s
pool: 80,5000-5020
address: fe80::1
program: 0x20000001
nice: -5
offset: -9223372036854775808
user: daemon
hosts:
- name: dc1
  roles: [domain-controller, dns]
- {name: 'fs1', roles: []}
zones:
  dmz: {size: 255}
  corp.example:
    size: 3
  empty:
matrix: [[1, 2], [], [65535]]
pins:
  dc1: {ntds: 38901, "netlogon": 38902}
...
`
	got := serve{Internal: "kept", Untagged: "kept"}
	if _, err := config.Decode("serve.yaml", []byte(text), &got); err != nil {
		t.Fatal(err)
	}
	want := serve{
		ListenONC: []string{"127.0.0.1:111", "[::1]:111", "::1"},
		Control:   "/run/quaymaster.sock",
		KeepGoing: true,
		Idle:      90 * time.Second,
		Pool:      portset.Of(portset.Range{First: 80, Last: 80}, portset.Range{First: 5000, Last: 5020}),
		Address:   netip.MustParseAddr("fe80::1"),
		Program:   0x20000001,
		Nice:      -5,
		Offset:    -1 << 63,
		User:      new("daemon"),
		Hosts:     []host{{"dc1", []string{"domain-controller", "dns"}}, {"fs1", nil}},
		Zones:     map[string]*zone{"dmz": {255}, "corp.example": {3}, "empty": nil},
		Matrix:    [][]uint16{{1, 2}, {}, {65535}},
		Pins:      map[string]map[pin]int{"dc1": {"ntds": 38901, "netlogon": 38902}},
		Internal:  "kept",
		Untagged:  "kept",
	}
	if diff := cmp.Diff(want, got, printable); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestDecodeForms(t *testing.T) {
	tests := []struct {
		name, text string
		want       serve
	}{
		{"empty file", "", serve{Control: "default"}},
		{"only a comment", "# nothing here\n", serve{Control: "default"}},
		{"only a marker", "---\n", serve{Control: "default"}},
		{"byte order mark", "\ufeffnice: 1\n", serve{Control: "default", Nice: 1}},
		{"line ends of Windows", "nice: 1\r\nprogram: 2\r\n", serve{Control: "default", Nice: 1, Program: 2}},
		{"YAML 1.2 has no yes", "control: yes", serve{Control: "yes"}},
		{"block text", "control: |\n  a\n  b\n", serve{Control: "a\nb\n"}},
		{"folded text", "control: >\n  a\n  b\n", serve{Control: "a b\n"}},
		{"escapes", `control: "\u00e9\x1b"`, serve{Control: "é\x1b"}},
		{"empty text", `control: ""`, serve{}},
		{"a number is a set of ports", "pool: 5000", serve{Control: "default", Pool: portset.Ports(5000)}},
		{"null pointer", "user: null", serve{Control: "default"}},
		{"JSON", "{\n\t\"control\": \"a\",\n\t\"hosts\": [{\"name\": \"b\"}]\n}\n", serve{Control: "a", Hosts: []host{{Name: "b"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := serve{Control: "default", User: new("default")}
			if _, err := config.Decode("serve.yaml", []byte(tt.text), &got); err != nil {
				t.Fatal(err)
			}
			if got.User != nil && *got.User == "default" {
				got.User = nil
			} else if tt.name != "null pointer" {
				t.Errorf("user was changed to %v", got.User)
			}
			if diff := cmp.Diff(tt.want, got, printable); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// The form in which endpoints -o json prints them.
func TestDecodeList(t *testing.T) {
	const text = `[
  {
    "dialect": "onc",
    "program": 100005,
    "since": "2026-11-22T23:40:00Z"
  },
  {
    "dialect": "onc",
    "program": 100003,
    "since": "2026-11-20T08:00:00Z"
  }
]
`
	type endpoint struct {
		Dialect string    `yaml:"dialect"`
		Program uint32    `yaml:"program"`
		Since   time.Time `yaml:"since"`
	}
	got := []endpoint{{Dialect: "replaced"}}
	file, err := config.Decode("endpoints.json", []byte(text), &got)
	if err != nil {
		t.Fatal(err)
	}
	want := []endpoint{
		{"onc", 100005, time.Date(2026, 11, 22, 23, 40, 0, 0, time.UTC)},
		{"onc", 100003, time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	m := file.Mistake("$[1].program", "program %d is there already", got[1].Program)
	if got, want := m.Error(), "endpoints.json:9:16: program 100003 is there already"; got != want {
		t.Errorf("Mistake = %q, want %q", got, want)
	}
}

func TestMistake(t *testing.T) {
	const text = `# line 1
listen_onc: [127.0.0.1:111, "0.0.0.0:111"]
hosts:
  - name: dc1
    roles:
      - dns
zones:
  corp.example: {size: 1}
user:
`
	var s serve
	file, err := config.Decode("serve.yaml", []byte(text), &s)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ path, want string }{
		{"$", "2:1"},
		{"$.listen_onc", "2:13"},
		{"$.listen_onc[1]", "2:29"},
		{"$.listen_onc[7]", "2:13"},
		{"$.hosts", "4:3"},
		{"$.hosts[0]", "4:5"},
		{"$.hosts[0].roles[0]", "6:9"},
		{"$.hosts[0].missing", "4:5"},
		{"$.hosts[0].missing[3].more", "4:5"},
		{"$.zones.'corp.example'.size", "8:24"},
		{"$.zones.'other.example'.size", "8:3"},
		{"$.user", "9:7"},
		{"$.nothing", "2:1"},
		{"nonsense", "2:1"},
		{"", "2:1"},
	}
	for _, tt := range tests {
		want := "serve.yaml:" + tt.want + ": bad"
		if got := file.Mistake(tt.path, "%s", "bad").Error(); got != want {
			t.Errorf("Mistake(%q) = %q, want %q", tt.path, got, want)
		}
	}
}

var mistaken = []struct{ name, text, want string }{
	{"unknown key", "control: a\nlisten_ocn: []\n", `2:1: unknown key "listen_ocn"; did you mean "listen_onc"?`},
	{"unknown key like no other", "hosts: [{color: 1}]", `1:10: unknown key "color"; known here: name, roles`},
	{"unknown key in a map of structs", "zones:\n  dmz:\n    sise: 3\n", `3:5: unknown key "sise"; did you mean "size"?`},
	{"key of a field without a tag", "Untagged: x", `1:1: unknown key "Untagged"; known here: listen_onc, control, keep_going, idle, pool, address, program, nice, offset, user, hosts, zones, matrix, pins`},
	{"key that is a number", "hosts: [{1: x}]", `1:10: unknown key "1"; known here: name, roles`},
	{"key from elsewhere", `hosts: [{"\e[2J": x}]`, `1:10: unknown key "\x1b[2J"; known here: name, roles`},
	{"duplicate key", "nice: 1\ncontrol: a\nnice: 2\n", `3:1: key "nice" is on line 1 already: keep one`},
	{"duplicate key of a map", "zones: {a: {size: 1}, \"a\": {size: 2}}", `1:23: key "a" is on line 1 already: keep one`},
	{"nothing for text", "control:\n", `1:10: control: want text, found nothing: give it a value or remove it`},
	{"nothing for a list", "listen_onc:\n  # - 127.0.0.1:111\n", `1:13: listen_onc: want a list, found nothing: give it a value or remove it`},
	{"nothing in a list", "listen_onc:\n  -\n", `2:5: listen_onc[0]: want text, found nothing: give it a value or remove it`},
	{"number for text", "control: 111", `1:10: control: want text, found 111: put it in quotes`},
	{"truth for text", "control: true", `1:10: control: want text, found true: put it in quotes`},
	{"list for text", "control: [a]", `1:10: control: want text, found a list`},
	{"text for a list", "listen_onc: none", `1:13: listen_onc: want a list, found text "none"`},
	{"text for keys", "hosts: [dc1]", `1:9: hosts[0]: want keys with values, found text "dc1"`},
	{"list for the document", "- a\n", `1:1: want keys with values, found a list`},
	{"text for truth", "keep_going: yes", `1:13: keep_going: want true or false, found text "yes"`},
	{"text for a number", "nice: high", `1:7: nice: want a number from -128 to 127, found text "high"`},
	{"quoted number", `program: "100005"`, `1:10: program: want a number from 0 to 4294967295, found text "100005": remove the quotes`},
	{"number too large", "program: 4294967296", `1:10: program: want a number from 0 to 4294967295, found 4294967296`},
	{"number too small", "offset: -9223372036854775809", `1:9: offset: want a number from -9223372036854775808 to 9223372036854775807, found text "-9223372036854775809"`},
	{"negative number", "program: -1", `1:10: program: want a number from 0 to 4294967295, found -1`},
	{"leading zero", "program: 0111", `1:10: program: want a number from 0 to 4294967295, found 0111: remove the zeros before it`},
	{"fraction", "nice: 1.5", `1:7: nice: want a number from -128 to 127, found 1.5`},
	{"octal", "nice: 0o17", `1:7: nice: want a number from -128 to 127, found 0o17`},
	{"duration without a unit", "idle: 30", `1:7: idle: want a duration such as 30s or 5m, found 30`},
	{"duration of another sort", "idle: 2 weeks", `1:7: idle: want a duration such as 30s or 5m, found text "2 weeks"`},
	{"what UnmarshalText says", "address: 10.0.0.256", `1:10: address: ParseAddr("10.0.0.256"): IPv4 field has value >255`},
	{"keys for a value", "pool: {a: 1}", `1:7: pool: want a single value, found keys with values`},
	{"deep inside", "matrix:\n  - [1, 2]\n  - [3, x]\n", `3:9: matrix[1][1]: want a number from 0 to 65535, found text "x"`},
	{"long text", "nice: " + strings.Repeat("é", 50), `1:7: nice: want a number from -128 to 127, found text "` + strings.Repeat("é", 40) + `"…`},

	{"alias", "listen_onc: [*:111]", `1:14: aliases are not supported: quote a value that starts with "*"`},
	{"anchor", "zones:\n  a: &x {size: 1}\n  b: *x\n", "2:6: anchors are not supported: quote a value that starts with \"&\"\n3:6: aliases are not supported: quote a value that starts with \"*\""},
	{"merge key", "<<: {nice: 1}", `1:1: merge keys are not supported: write out what "<<" stands for`},
	{"tag", "control: !!str 3", `1:10: tags are not supported: quote a value that starts with "!"`},
	{"directive", "%YAML 1.2\n---\nnice: 1\n", `1:1: directives are not supported: remove the line that starts with "%"`},
	{"complex key", "? nice\n: 1\n", `1:1: "? key" is not supported: write "key: value"`},
	{"second document", "nice: 1\n---\nnice: 2\n", `2:1: a second document begins: put it in a file of its own`},
	{"second document after an end", "nice: 1\n...\nnice: 2\n", `3:1: a second document begins: put it in a file of its own`},
	{"document after an empty one", "---\n---\nnice: 2\n", `2:1: a second document begins: put it in a file of its own`},
	{"tab", "hosts:\n\t- name: a\n", `2:1: found character '\t' that cannot start any token`},
	{"open bracket", "listen_onc: [a\n", `1:13: sequence end token ']' not found`},
	{"colon in text", "control: a: b\n", `1:10: mapping value is not allowed in this context`},
	{"not UTF-8", "nice: 1\ncontrol: é\xff\n", `2:11: not UTF-8: save the file in that encoding`},
	{"brackets", "matrix: " + strings.Repeat("[", 101), `1:109: nested more than 100 levels deep`},
	{"list in list", strings.Repeat("- ", 101), `1:201: indented more than 200 columns`},
	{"indent", strings.Repeat(" ", 200) + "a: 1", `1:201: indented more than 200 columns`},
	{"many keys", "zones:\n" + strings.Repeat("  a:\n", 10001), `10002:3: a mapping of more than 10000 keys`},
	{"long message", "control: |" + strings.Repeat("x", 300), `1:10: invalid header option: "` + strings.Repeat("x", 176) + `…`},
	{"long key", strings.Repeat("a", 257) + ": 1", `1:1: a key of more than 256 bytes`},

	{
		"all at once", "nise: 1\nhosts:\n  - nam: a\n    roles: dns\nidle: x\nidle: 3s\n",
		`1:1: unknown key "nise"; did you mean "nice"?
3:5: unknown key "nam"; did you mean "name"?
4:12: hosts[0].roles: want a list, found text "dns"
5:7: idle: want a duration such as 30s or 5m, found text "x"
6:1: key "idle" is on line 5 already: keep one`,
	},
}

func TestDecodeRefuses(t *testing.T) {
	for _, tt := range mistaken {
		t.Run(tt.name, func(t *testing.T) {
			var s serve
			_, err := config.Decode("a.yaml", []byte(tt.text), &s)
			if err == nil {
				t.Fatal("Decode found nothing wrong")
			}
			want := "a.yaml:" + strings.ReplaceAll(tt.want, "\n", "\na.yaml:")
			if diff := cmp.Diff(want, err.Error()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// What is wrong in one place keeps nobody from looking at the others.
func TestDecodeGoesOn(t *testing.T) {
	var s serve
	file, err := config.Decode("a.yaml", []byte("nise: 1\nzones:\n  a.b: {size: 3}\n"), &s)
	if err == nil || file == nil || s.Zones["a.b"].Size != 3 {
		t.Fatalf("Decode = %v, %v, zones %v, want a file, a mistake and what else is there", file, err, s.Zones)
	}
	path := config.Path("$.zones", "a.b")
	for want, m := range map[string]config.Mistake{
		"a.yaml:3:3: key":     file.KeyMistake(path, "key"),
		"a.yaml:3:8: value":   file.Mistake(path, "value"),
		"a.yaml:3:15: size":   file.KeyMistake(path+".size", "size"), // of a struct, not of a map
		"a.yaml:3:3: nothing": file.KeyMistake(config.Path("$.zones", "c"), "nothing"),
	} {
		if m.Error() != want {
			t.Errorf("mistake = %q, want %q", m.Error(), want)
		}
	}
	if file, err := config.Decode("a.yaml", []byte("a: [\n"), &s); err == nil || file != nil {
		t.Errorf("Decode = %v, %v, want only an error: the syntax is wrong", file, err)
	}
}

// Many small mappings are no large one.
func TestDecodeLongList(t *testing.T) {
	const n = 20_000
	var hosts []host
	if _, err := config.Decode("a.yaml", []byte(strings.Repeat("- name: a\n  roles: [b]\n", n)), &hosts); err != nil || len(hosts) != n {
		t.Errorf("Decode = %d hosts, %v, want %d", len(hosts), err, n)
	}
}

func TestDecodeLargeFile(t *testing.T) {
	var s serve
	text := strings.Repeat("#", config.MaxSize)
	if _, err := config.Decode("a.yaml", []byte(text), &s); err != nil {
		t.Error(err)
	}
	_, err := config.Decode("a.yaml", []byte(text+"#"), &s)
	if want := "a.yaml: larger than 8388608 bytes"; err == nil || err.Error() != want {
		t.Errorf("Decode(%d bytes): %v, want %s", len(text)+1, err, want)
	}
}

// What a program does with a file that does not exist is not our business, so
// reading it is not either; but the two go together like this.
func ExampleDecode() {
	name := "/etc/quaymaster/serve.yaml"
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		data = []byte("listen_onc: [127.0.0.1:111, localhost]\n")
	}
	settings := struct {
		ListenONC []string `yaml:"listen_onc"`
	}{}
	file, err := config.Decode(name, data, &settings)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, address := range settings.ListenONC {
		if _, err := netip.ParseAddrPort(address); err != nil {
			fmt.Println(file.Mistake(fmt.Sprintf("$.listen_onc[%d]", i), "%q is no address with a port", address))
		}
	}
	// Output: /etc/quaymaster/serve.yaml:1:29: "localhost" is no address with a port
}

func TestMistakes(t *testing.T) {
	var s serve
	_, err := config.Decode("a.yaml", []byte("x: 1\ny: 2\n"), &s)
	var mistakes config.Mistakes
	if !errors.As(err, &mistakes) || len(mistakes) != 2 {
		t.Fatalf("Decode: %#v, want two Mistakes", err)
	}
	if m := mistakes[1]; m.File != "a.yaml" || m.Line != 2 || m.Column != 1 {
		t.Errorf("the second mistake is %#v, want it at a.yaml:2:1", m)
	}
}

func TestHas(t *testing.T) {
	var s serve
	file, err := config.Decode("a.yaml", []byte("user: ~\nhosts: [{name: a}]\n"), &s)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"$": true, "$.user": true, "$.hosts": true, "$.hosts[0].name": true, "$.hosts[1]": false, "$.pool": false, "$.hosts[0].roles": false,
	} {
		if got := file.Has(path); got != want {
			t.Errorf("Has(%s) = %v, want %v", path, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, tt := range mistaken {
		f.Add([]byte(tt.text))
	}
	f.Add([]byte("zones: {a.b: {size: 1}}\npins: {c: {d: 1}}\nmatrix: [[1]]\nuser: ~\npool: 1-2\n"))
	f.Add([]byte(`[{"name": "a", "roles": ["b"]}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, into := range []any{new(serve), new([]host), new(map[string]zone)} {
			file, err := config.Decode("a.yaml", data, into)
			if err == nil {
				if m := file.Mistake("$.hosts[0].name", ""); m.Line < 1 || m.Column < 1 {
					t.Errorf("Decode(%q): hosts[0].name is at %d:%d", data, m.Line, m.Column)
				}
				continue
			}
			for _, m := range err.(config.Mistakes) {
				if m.Message == "" || strings.Contains(m.Message, "\n") {
					t.Errorf("Decode(%q): message %q, want one line", data, m.Message)
				}
			}
		}
	})
}

// TestColonInWord: a colon with nothing behind it is part of a word, in lists within braces too.
func TestColonInWord(t *testing.T) {
	tests := []struct {
		text string
		want []string // nil: a mistake
	}{
		{"{a: {list: [cluster:sql]}}", []string{"cluster:sql"}},
		{"{a: {list: [cluster:sql, b, c:1, d:true]}}", []string{"cluster:sql", "b", "c:1", "d:true"}},
		{"a:\n  list: [cluster:sql]", []string{"cluster:sql"}},
		{"a:\n  list:\n  - cluster:sql", []string{"cluster:sql"}},
		{"{a: {list: [cluster: sql]}}", nil},
		{"{a: {list: [{cluster: sql}]}}", nil},
		{"{a: {list: [cluster:{b: c}]}}", nil},
	}
	for _, tt := range tests {
		var v struct {
			A struct {
				List []string `yaml:"list"`
			} `yaml:"a"`
		}
		_, err := config.Decode("f", []byte(tt.text), &v)
		if (err != nil) != (tt.want == nil) || err == nil && !slices.Equal(v.A.List, tt.want) {
			t.Errorf("Decode(%q) = %q, %v, want %q", tt.text, v.A.List, err, tt.want)
		}
	}
}
