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
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
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

var (
	winreg  = endpoint.Interface{Dialect: endpoint.DCE, UUID: ndr.MustParseUUID("338cd001-2244-31f1-aaaa-900038001003"), Major: 1}
	srvsvc  = endpoint.Interface{Dialect: endpoint.DCE, UUID: ndr.MustParseUUID("4b324fc8-1670-01d3-1278-5a47bf6ee188"), Major: 3}
	unknown = endpoint.Interface{Dialect: endpoint.DCE, UUID: ndr.MustParseUUID("6d9fe472-30f1-4708-8fa8-678362b96155"), Major: 1, Minor: 10}
)

func dce(i endpoint.Interface, p epm.ProtSeq, at string) endpoint.Registration {
	if !p.HasPort() {
		return endpoint.Registration{Interface: i, Endpoint: endpoint.Endpoint{ProtSeq: p, Path: at}}
	}
	return endpoint.Registration{Interface: i, Endpoint: endpoint.At(p, netip.MustParseAddrPort(at))}
}

// Interfaces of DCE by hand: names, versions that look like numbers, either name of
// a protocol sequence.
const dceByHand = `- {uuid: srvsvc, version: 3.0, protseq: tcp, address: 10.0.0.5, port: 50001}
- {uuid: SRVSVC, version: "3.0", protseq: ncacn_ip_tcp, address: '*', port: 50002, annotation: shares}
- uuid: 338CD001-2244-31F1-AAAA-900038001003
  version: 1.0
  protseq: np
  path: \pipe\winreg
- {dialect: dce, uuid: winreg, version: 1.0, protseq: ncacn_np, path: '\\FS1\pipe\winreg'}
- {uuid: 6d9fe472-30f1-4708-8fa8-678362b96155, version: 1.10, protseq: lrpc, path: a name}
- {uuid: 6d9fe472-30f1-4708-8fa8-678362b96155, version: 1.1, protseq: udp, address: '*', port: 50003}
- {uuid: 6d9fe472-30f1-4708-8fa8-678362b96155, version: '1.10', protseq: http, address: 10.0.0.5, port: 593,
   object: 338cd001-2244-31f1-aaaa-900038001003, id: '5f0c9a31b2d4', since: 2026-11-02T10:00:00Z}
- {uuid: epmapper, version: 3.0, protseq: tcp, address: 0.0.0.0, port: 135}
- {uuid: 00000000-0000-0000-0000-000000000000, version: 0.0, protseq: lrpc, path: '*'}
- {program: mountd, version: 3, netid: tcp, address: '*', port: 20048}
`

// As endpoints -o json prints, with rows of both dialects.
const dcePrinted = `[
  {
    "id": "5f0c9a31b2d4",
    "dialect": "dce",
    "uuid": "4b324fc8-1670-01d3-1278-5a47bf6ee188",
    "version": "3.0",
    "object": "6d9fe472-30f1-4708-8fa8-678362b96155",
    "protseq": "ncacn_ip_tcp",
    "address": "10.0.0.5",
    "port": 50001,
    "path": "",
    "owner": "192.0.2.1",
    "uid": 4294967295,
    "pid": 0,
    "evidence": "listening",
    "until": null,
    "since": "2026-11-22T23:47:00Z",
    "annotation": "shares"
  },
  {
    "id": "5f0c9a31b2d5",
    "dialect": "dce",
    "uuid": "338cd001-2244-31f1-aaaa-900038001003",
    "version": "1.0",
    "object": "",
    "protseq": "ncacn_np",
    "address": "",
    "port": 0,
    "path": "\\pipe\\winreg",
    "owner": "root",
    "uid": 0,
    "pid": 1310,
    "evidence": "process",
    "until": null,
    "since": "2026-11-22T23:47:00Z",
    "annotation": ""
  },
  {
    "id": "5f0c9a31b2d6",
    "dialect": "onc",
    "program": 100005,
    "version": 3,
    "netid": "tcp",
    "address": "0.0.0.0",
    "port": 20048,
    "owner": "root",
    "uid": 0,
    "pid": 0,
    "evidence": "listening",
    "until": null,
    "since": "2026-11-22T23:47:00Z",
    "annotation": ""
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
	shares := dce(srvsvc, epm.TCP, "0.0.0.0:50002")
	shares.Annotation = "shares"
	minor1 := dce(unknown, epm.UDP, "0.0.0.0:50003")
	minor1.Minor = 1
	objects := dce(unknown, epm.HTTP, "10.0.0.5:593")
	objects.Object, objects.ID, objects.Since = winreg.UUID, 0x5f0c9a31b2d4, time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	printedShares := dce(srvsvc, epm.TCP, "10.0.0.5:50001")
	printedShares.Object, printedShares.ID, printedShares.Since, printedShares.Annotation = unknown.UUID, 0x5f0c9a31b2d4, socket.Since, "shares"
	printedPipe, printedMountd := dce(winreg, epm.NP, `\pipe\winreg`), reg(100005, 3, at(rpcbind.TCP, "0.0.0.0:20048"))
	printedPipe.ID, printedPipe.Since, printedMountd.ID, printedMountd.Since = 0x5f0c9a31b2d5, socket.Since, 0x5f0c9a31b2d6, socket.Since
	for _, tt := range []struct {
		name, text string
		want       []endpoint.Registration
	}{
		{"interfaces by hand", dceByHand, []endpoint.Registration{
			dce(srvsvc, epm.TCP, "10.0.0.5:50001"), shares, dce(winreg, epm.NP, `\pipe\winreg`), dce(winreg, epm.NP, `\\FS1\pipe\winreg`),
			dce(unknown, epm.LRPC, "a name"), minor1, objects, dce(endpoint.Interface{Dialect: endpoint.DCE}, epm.LRPC, "*"),
			reg(100005, 3, at(rpcbind.TCP, "0.0.0.0:20048")),
		}},
		{"endpoints -o json with interfaces", dcePrinted, []endpoint.Registration{printedShares, printedPipe, printedMountd}},
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
		{"interfaces", `- {uuid: winregg, version: 1.0, protseq: np, path: '\pipe\winreg'}
- {uuid: IUnknown, version: 0.0, protseq: lrpc, path: x}
- {uuid: 338cd001-2244-31f1-aaaa-90003800100, version: 1.0.0, protseq: np, path: '\pipe\winreg'}
- uuid: ""
  version: 0x1
- {uuid: winreg, version: 1.65536, protseq: np, path: x}
`, `f:1:10: [0].uuid: interface "winregg" is neither a UUID nor known; did you mean "winreg"?
f:2:10: [1].uuid: several interfaces are called "IUnknown": say which by its UUID: 00000000-0000-0000-0000-000000000046, 00000000-0000-0000-c000-000000000046
f:3:10: [2].uuid: interface "338cd001-2244-31f1-aaaa-90003800100" is neither a UUID such as 12345778-1234-abcd-ef00-0123456789ac nor a name of the catalog
f:3:56: [2].version: version "1.0.0": want a number from 0 to 4294967295 for onc, MAJOR.MINOR such as 1.0 for dce
f:4:9: [3].uuid: interface "" is neither a UUID such as 12345778-1234-abcd-ef00-0123456789ac nor a name of the catalog
f:5:12: [3].version: version "0x1": want a number from 0 to 4294967295 for onc, MAJOR.MINOR such as 1.0 for dce
f:6:27: [4].version: version "1.65536": want a number from 0 to 4294967295 for onc, MAJOR.MINOR such as 1.0 for dce`},
		{"rows of interfaces", `- {uuid: winreg, version: 1, protseq: np, path: '\pipe\winreg'}
- {uuid: winreg, version: 1.0, protseq: tcp6, address: '::', port: 1}
- {uuid: winreg, version: 1.0, protseq: tcp, address: '::', port: 1}
- {uuid: winreg, version: 1.0, protseq: np, address: '*', path: '\pipe\winreg'}
- {uuid: winreg, version: 1.0, protseq: np, path: '/pipe/winreg'}
- {uuid: winreg, version: 1.0, protseq: tcp, address: '*', path: '\pipe\winreg', port: 1}
- {uuid: winreg, version: 1.0}
- {protseq: np, version: 1.0, path: '\pipe\winreg'}
- {uuid: winreg, version: 1.0, netid: tcp, address: '*', port: 1}
- {program: mountd, version: 3.0, netid: tcp, address: '*', port: 1}
- {dialect: onc, uuid: winreg, version: 1, netid: tcp, address: '*', port: 1}
- {uuid: winreg, version: 1.0, object: samr, protseq: np, path: '\pipe\winreg'}
`, `f:1:3: version 1: an interface's version is MAJOR.MINOR, as in 1.0
f:2:3: unknown protocol sequence "tcp6": want tcp, udp, np, lrpc or http, or its long name such as ncacn_ip_tcp
f:3:3: ::: the endpoint mapper tells IPv4 addresses only; 0.0.0.0 is every address, of both families
f:4:3: address "*": np has a path and no address
f:5:3: np: pipe "/pipe/winreg" does not begin with \, as \pipe\winreg does
f:6:3: tcp has no path
f:7:3: unknown protocol sequence "": want tcp, udp, np, lrpc or http, or its long name such as ncacn_ip_tcp
f:8:3: "" is no UUID such as 12345778-1234-abcd-ef00-0123456789ac
f:9:3: unknown protocol sequence "": want tcp, udp, np, lrpc or http, or its long name such as ncacn_ip_tcp
f:10:3: version 3.0: a program's version is a number
f:11:3: uuid, object, protseq and path are of dce, not of onc
f:12:3: object: "samr" is no UUID such as 12345778-1234-abcd-ef00-0123456789ac`},
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

func TestParseUUID(t *testing.T) {
	for s, want := range map[string]ndr.UUID{
		"winreg": winreg.UUID, "WinReg": winreg.UUID, "338cd001-2244-31f1-aaaa-900038001003": winreg.UUID, "338CD001-2244-31F1-AAAA-900038001003": winreg.UUID,
		"00000000-0000-0000-0000-000000000000": {},
		"logon":                                ndr.MustParseUUID("12345678-1234-abcd-ef00-01234567cffb"), // an alias
		"lsarpc":                               ndr.MustParseUUID("12345778-1234-abcd-ef00-0123456789ab"), // which is an alias of another
	} {
		if got, err := ParseUUID(s); err != nil || got != want {
			t.Errorf("ParseUUID(%q) = %s, %v, want %s", s, got, err, want)
		}
	}
	const neither = " is neither a UUID such as 12345778-1234-abcd-ef00-0123456789ac nor a name of the catalog"
	for s, want := range map[string]string{
		"winregg":   `interface "winregg" is neither a UUID nor known; did you mean "winreg"?`,
		"srvsv":     `interface "srvsv" is neither a UUID nor known; did you mean "srvsvc"?`,
		"IUnknown":  `several interfaces are called "IUnknown": say which by its UUID: 00000000-0000-0000-0000-000000000046, 00000000-0000-0000-c000-000000000046`,
		"":          `interface ""` + neither,
		"q":         `interface "q"` + neither,
		"zz":        `interface "zz"` + neither,
		"\x1b[2J":   `interface "\x1b[2J"` + neither,
		"{338cd001": `interface "{338cd001"` + neither,
	} {
		if got, err := ParseUUID(s); err == nil || err.Error() != want {
			t.Errorf("ParseUUID(%q) = %s, %v, want %s", s, got, err, want)
		}
	}
}

// What is read can be written, and then reads the same.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{byHand, printed, dceByHand, dcePrinted, "", "[]", "- {program: 7", "- {program: 7, version: 1, netid: local, address: '/it''s', annotation: \"a'b # c: d\"}"} {
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
