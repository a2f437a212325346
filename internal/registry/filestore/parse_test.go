package filestore

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// comparable lets cmp compare addresses.
var comparable = cmpopts.EquateComparable(netip.AddrPort{}, netip.Addr{})

func at(n rpcbind.NetID, addr string) endpoint.Endpoint {
	return endpoint.Endpoint{NetID: n, Addr: netip.MustParseAddrPort(addr)}
}

func local(path string) endpoint.Endpoint { return endpoint.Endpoint{NetID: rpcbind.Local, Path: path} }

func reg(program, version uint32, e endpoint.Endpoint) endpoint.Registration {
	return endpoint.Registration{Interface: endpoint.Program(program, version), Endpoint: e}
}

// By hand, in the ways that docs/endpoints.md names.
const byHand = `# who listens here
- {program: mountd, version: 3, netid: tcp, address: 0.0.0.0, port: 20048}
- program: 0x186a5
  version: 3
  netid: udp
  address: "*"
  port: 20048
  annotation: mounts of fs1   # for Ada
- {program: NFS, version: 4, netid: tcp6, address: '*', port: 2049}
- {program: 100000, version: 4, netid: tcp, address: 0.0.0.0, port: 111}
- {dialect: onc, program: 0x20000001, version: 1, netid: unix, address: /run/my.sock}
- {program: 7, version: 1, netid: udp6, address: 2001:db8::1, port: 1, id: 123456789012, since: 2026-11-02T11:00:00+01:00}
- {program: 7, version: 2, netid: udp6, address: 2001:db8::1, port: 1, id: 12345678e901}
- {program: 7, version: 3, netid: udp6, address: 2001:db8::1, port: 1, id: 0000000000e7}
`

// As endpoints -o json prints, with and without what it may say of evidence.
const printed = `[
  {
    "id": "5f0c9a31b2d4",
    "dialect": "onc",
    "program": 100005,
    "version": 3,
    "netid": "tcp",
    "address": "0.0.0.0",
    "port": 20048,
    "owner": "alice",
    "uid": 1000,
    "since": "2026-11-22T23:47:00.25Z",
    "annotation": "für \u003calle>",
    "evidence": "lease",
    "until": "2026-11-22T23:48:00Z",
    "pid": 1234
  },
  {
    "id": "000000000001",
    "dialect": "onc",
    "program": 100000,
    "version": 2,
    "netid": "tcp",
    "address": "0.0.0.0",
    "port": 111,
    "owner": "root",
    "uid": 0,
    "since": "2026-11-22T23:47:00Z",
    "annotation": ""
  },
  {
    "id": "5f0c9a31b2d4",
    "dialect": "onc",
    "program": 100005,
    "version": 3,
    "netid": "local",
    "address": "@/run/x y",
    "port": 0,
    "owner": "4294967295",
    "uid": 4294967295,
    "since": "2026-11-22T23:47:00Z",
    "annotation": "",
    "evidence": "permanent",
    "until": null,
    "pid": null
  }
]
`

func TestParse(t *testing.T) {
	annotated := reg(100005, 3, at(rpcbind.UDP, "0.0.0.0:20048"))
	annotated.Annotation = "mounts of fs1"
	kept := reg(7, 1, at(rpcbind.UDP6, "[2001:db8::1]:1"))
	kept.ID, kept.Since = 0x123456789012, time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	exponent := reg(7, 2, at(rpcbind.UDP6, "[2001:db8::1]:1"))
	exponent.ID = 0x12345678e901
	zeros := reg(7, 3, at(rpcbind.UDP6, "[2001:db8::1]:1"))
	zeros.ID = 0xe7
	alices := reg(100005, 3, at(rpcbind.TCP, "0.0.0.0:20048"))
	alices.ID, alices.Since, alices.Annotation = 0x5f0c9a31b2d4, time.Date(2026, 11, 22, 23, 47, 0, 250e6, time.UTC), "für <alle>"
	socket := reg(100005, 3, local("@/run/x y"))
	socket.ID, socket.Since = 0x5f0c9a31b2d4, time.Date(2026, 11, 22, 23, 47, 0, 0, time.UTC)
	for _, tt := range []struct {
		name, text string
		want       []endpoint.Registration
	}{
		{"by hand", byHand, []endpoint.Registration{
			reg(100005, 3, at(rpcbind.TCP, "0.0.0.0:20048")), annotated,
			reg(100003, 4, at(rpcbind.TCP6, "[::]:2049")), reg(0x20000001, 1, local("/run/my.sock")),
			kept, exponent, zeros,
		}},
		{"endpoints -o json", printed, []endpoint.Registration{alices, socket}},
		{"nothing", "", nil},
		{"only a comment", "# nothing\n", nil},
		{"no rows", "[]", nil},
		{"twice the same", "[{program: 7, version: 1, netid: local, address: /x}, {program: 7, version: 1, netid: local, address: /x}]",
			[]endpoint.Registration{reg(7, 1, local("/x")), reg(7, 1, local("/x"))}},
	} {
		got, err := Parse("rows.yaml", []byte(tt.text))
		if diff := cmp.Diff(tt.want, got, comparable, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%s: Parse = %v (-want +got):\n%s", tt.name, err, diff)
		}
	}
}

func TestParseMistakes(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"kinds", `- {program: montd, version: 3, netid: tcp, address: 0.0.0.0, port: 20048}
- program: 7
  version: three
  netid: tcp
  adress: 0.0.0.0
  port: 65536
- 7
`, `f:1:13: [0].program: program "montd" is neither a number nor known; did you mean "mountd"?
f:3:12: [1].version: version "three": want a number from 0 to 4294967295 for onc, MAJOR.MINOR such as 1.0 for dce
f:5:3: unknown key "adress"; did you mean "address"?
f:6:9: [1].port: want a number from 0 to 65535, found 65536
f:7:3: [2]: want keys with values, found 7`},
		{"rows", `- {program: 7, version: 1, netid: tcp, address: 0.0.0.0, port: 2000}
- {program: 7, version: 2, netid: tcp, address: fs1, port: 2000}

- {program: 7, version: 3, netid: tpc, address: 0.0.0.0, port: 2000}
- program: 7
  version: 4
  netid: tcp
  address: '*'
-  {program: 7, version: 5, netid: local, address: '*'}
-  {dialect: dce, program: 7, version: 6, netid: tcp, address: 0.0.0.0, port: 2000}
`, `f:2:3: "fs1" is no IP address
f:4:3: unknown netid "tpc": want udp, tcp, udp6, tcp6, local
f:5:3: 0.0.0.0:0: port 0 cannot be registered
f:9:4: local: path "*" does not begin with / or @
f:10:4: "" is no UUID such as 12345778-1234-abcd-ef00-0123456789ac`},
		{"id and since", `[{"program": 7, "version": 1, "netid": "local", "address": "/x", "id": "5f0c9a31b2d"},
{"program": 7, "version": 1, "netid": "local", "address": "/x", "since": "yesterday", "id": "\u001b[2J"},
{"program": 7, "version": 1, "netid": "local", "address": "/x", "since": ""}]`,
			`f:1:72: [0].id: id "5f0c9a31b2d" is not 12 hexadecimal digits
f:2:74: [1].since: "yesterday" is no time such as 2026-11-02T10:00:00Z
f:2:93: [1].id: id "\x1b[2J" is not 12 hexadecimal digits
f:3:74: [2].since: "" is no time such as 2026-11-02T10:00:00Z`},
		{"a star without quotes", "- {program: 7, version: 1, netid: tcp, address: *, port: 1}",
			`f:1:49: aliases are not supported: quote a value that starts with "*"`},
		{"no list", "program: 7\n", "f:1:1: want a list, found keys with values"},
		{"cut", "- {program: 7}\n- {program: 7", "f:2:3: could not find flow mapping end token '}'"},
	} {
		got, err := Parse("f", []byte(tt.text))
		if _, ok := errors.AsType[config.Mistakes](err); !ok || got != nil || err.Error() != tt.want {
			t.Errorf("%s: Parse = %v and this error, want that:\n%v\n%s", tt.name, got, err, tt.want)
		}
	}
}

func TestParseProgram(t *testing.T) {
	for s, want := range map[string]uint32{
		"0": 0, "100005": 100005, "4294967295": 1<<32 - 1, "0x20000001": 0x20000001, "mountd": 100005, "mount": 100005, "MountD": 100005,
	} {
		if got, err := ParseProgram(s); err != nil || got != want {
			t.Errorf("ParseProgram(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	for s, want := range map[string]string{
		"montd":      `program "montd" is neither a number nor known; did you mean "mountd"?`,
		"shwmount":   `program "shwmount" is neither a number nor known; did you mean "showmount"?`,
		"":           `program "" is neither a number from 0 to 4294967295 nor a name of the catalog`,
		"-1":         `program "-1" is neither a number from 0 to 4294967295 nor a name of the catalog`,
		"4294967296": `program "4294967296" is neither a number from 0 to 4294967295 nor a name of the catalog`,
		"0x":         `program "0x" is neither a number from 0 to 4294967295 nor a name of the catalog`,
		"\x1b[2J":    `program "\x1b[2J" is neither a number from 0 to 4294967295 nor a name of the catalog`,
	} {
		if got, err := ParseProgram(s); err == nil || err.Error() != want {
			t.Errorf("ParseProgram(%q) = %d, %v, want %s", s, got, err, want)
		}
	}
}

// What is read can be written, and then reads the same.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{byHand, printed, "", "[]", "- {program: 7", "- {program: 7, version: 1, netid: local, address: '/it''s', annotation: \"a'b # c: d\"}"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want, err := decode("f", text)
		if err != nil {
			return
		}
		again := encode(want)
		got, err := decode("f", again)
		if diff := cmp.Diff(want, got, comparable, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Fatalf("%q, written as\n%s\n= %v (-want +got):\n%s", text, again, err, diff)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	rows := make([]registry.Record, 10_000)
	for i := range rows {
		rows[i].Registration = reg(300000+uint32(i), 1, at(rpcbind.TCP6, "[2001:db8::1]:2049"))
		rows[i].ID = endpoint.ID(i) + 1
	}
	text := encode(rows)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := decode("f", text); err != nil {
			b.Fatal(err)
		}
	}
}
