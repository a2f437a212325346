package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/show"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.Local)

// tableRow returns a registration that root made an hour before noon.
func tableRow(program, version uint32, netid, address string, port uint16) endpoint.Document {
	return endpoint.Document{
		ID: "5f0c9a31b2d4", Dialect: "onc", Program: program, Version: endpoint.Version{Major: version}, NetID: netid,
		Address: address, Port: port, Owner: "root", Evidence: "listening", Since: noon.Add(-time.Hour),
	}
}

// mountd registers on every transport, in the order of the real one.
func mountd() []endpoint.Document {
	var rows []endpoint.Document
	for _, version := range []uint32{1, 2, 3} {
		rows = append(rows,
			tableRow(100005, version, "udp", "0.0.0.0", 20048), tableRow(100005, version, "tcp", "0.0.0.0", 20048),
			tableRow(100005, version, "udp6", "::", 20048), tableRow(100005, version, "tcp6", "::", 20048))
	}
	return rows
}

// dceRow returns a registration of a DCE interface, at ADDRESS:PORT or a path, that
// root made an hour before noon.
func dceRow(uuid, version, protseq, at string) endpoint.Document {
	v, err := endpoint.ParseVersion(version)
	if err != nil {
		panic(err)
	}
	d := tableRow(0, 0, "", "", 0)
	d.Dialect, d.UUID, d.Version, d.ProtSeq = "dce", uuid, v, protseq
	if a, err := netip.ParseAddrPort(at); err == nil {
		d.Address, d.Port = a.Addr().String(), a.Port()
	} else {
		d.Path = at
	}
	return d
}

// UUIDs of the catalog, and two that are not there and begin alike.
const (
	samr    = "12345778-1234-abcd-ef00-0123456789ac"
	lsarpc  = "12345778-1234-abcd-ef00-0123456789ab"
	winreg  = "338cd001-2244-31f1-aaaa-900038001003"
	drsuapi = "e3514235-4b06-11d1-ab04-00c04fc2dcd2"
	mine    = "6d9fe472-30f1-4708-8fa8-678362b96156"
	yours   = "6d9fe472-30f1-4708-8fa8-678362b96157"
)

func TestFoldedTable(t *testing.T) {
	statd := []endpoint.Document{
		tableRow(100024, 1, "udp", "0.0.0.0", 662), tableRow(100024, 1, "tcp", "0.0.0.0", 663),
		tableRow(100024, 1, "udp6", "::", 662), tableRow(100024, 1, "tcp6", "::", 663),
	}
	gap := []endpoint.Document{
		tableRow(7, 9, "tcp", "127.0.0.1", 2000), tableRow(7, 1, "tcp", "127.0.0.1", 2000), tableRow(7, 2, "tcp", "127.0.0.1", 2000),
		tableRow(7, 4294967295, "tcp", "127.0.0.1", 2000),
	}
	differ := make([]endpoint.Document, 5)
	for i := range differ {
		differ[i] = tableRow(0x20000001, uint32(i), "tcp", "0.0.0.0", 2000)
	}
	differ[1].Owner = "4711"
	differ[2].Annotation = "mine"
	differ[3].Address = "192.0.2.1"
	differ[4].Port = 2001
	old := []endpoint.Document{tableRow(100003, 3, "tcp", "0.0.0.0", 2049), tableRow(100003, 4, "tcp", "0.0.0.0", 2049)}
	old[0].Since, old[1].Since = noon.Add(-12*24*time.Hour), noon.Add(-90*time.Second)
	var believed []endpoint.Document
	for i, evidence := range []string{"listening", "waiting", "process", "lease", "lease", "permanent", "unchecked"} {
		d := tableRow(7, uint32(i), "tcp", "0.0.0.0", 2000)
		d.Evidence = evidence
		believed = append(believed, d)
	}
	soon, later := noon.Add(90*time.Minute), noon.Add(48*time.Hour)
	believed[1].Until, believed[2].PID, believed[3].Until, believed[4].Until = &soon, 1310, &soon, &later
	hostile := []endpoint.Document{tableRow(7, 1, "local", "/run/\x1b[31m", 0)}
	hostile[0].Annotation, hostile[0].Owner = "a\nb", "\u202eevil"
	lsass := []endpoint.Document{
		dceRow(samr, "1.0", "ncacn_np", `\pipe\samr`), dceRow(samr, "1.0", "ncacn_ip_tcp", "10.0.0.5:49664"), dceRow(samr, "1.0", "ncalrpc", "samss lpc"),
		dceRow(lsarpc, "0.0", "ncacn_ip_tcp", "10.0.0.5:49664"), dceRow(lsarpc, "0.0", "ncacn_np", `\pipe\lsarpc`),
		dceRow(drsuapi, "4.0", "ncacn_http", "0.0.0.0:49665"), dceRow(drsuapi, "4.0", "ncacn_ip_tcp", "0.0.0.0:49664"),
	}
	versions := []endpoint.Document{
		dceRow(mine, "1.10", "ncacn_ip_tcp", "0.0.0.0:2000"), dceRow(mine, "1.2", "ncacn_ip_tcp", "0.0.0.0:2000"),
		dceRow(mine, "2.0", "ncadg_ip_udp", "0.0.0.0:2000"), dceRow(mine, "2.0", "ncacn_ip_tcp", "0.0.0.0:2000"),
	}
	mixed := []endpoint.Document{
		dceRow(winreg, "1.0", "ncacn_np", `\pipe\winreg`), tableRow(100005, 3, "tcp", "0.0.0.0", 20048), tableRow(100005, 3, "udp", "0.0.0.0", 20048),
		dceRow(drsuapi, "4.0", "ncacn_ip_tcp", "10.0.0.5:50003"), tableRow(0x20000001, 1, "local", "/run/my.sock", 0),
	}
	mixed[0].Evidence, mixed[0].PID, mixed[0].Owner, mixed[3].Annotation = "process", 1310, "192.0.2.1", "replication"
	objects := []endpoint.Document{
		dceRow(mine, "1.0", "ncacn_ip_tcp", "0.0.0.0:2000"), dceRow(mine, "1.0", "ncacn_ip_tcp", "0.0.0.0:2000"), dceRow(mine, "1.0", "ncadg_ip_udp", "0.0.0.0:2000"),
		tableRow(100005, 3, "tcp", "0.0.0.0", 20048),
	}
	objects[1].Object, objects[2].Object = winreg, winreg
	escapes := []endpoint.Document{dceRow(mine, "1.0", "ncacn_np", "\\pipe\\\x1b[31m"), dceRow(mine, "1.0", "ncacn_np", `\x1b`)}
	for _, tt := range []struct {
		name string
		rows []endpoint.Document
		want string
	}{
		{"interfaces, what has a port first", lsass, `
INTERFACE             VERSION  TRANSPORT  ENDPOINT        OWNER  EVIDENCE   SINCE
lsarpc     12345778…  0.0      tcp        10.0.0.5:49664  root   listening     1h
lsarpc     12345778…  0.0      np         \pipe\lsarpc    root   listening     1h
samr       12345778…  1.0      tcp        10.0.0.5:49664  root   listening     1h
samr       12345778…  1.0      lrpc       samss lpc       root   listening     1h
samr       12345778…  1.0      np         \pipe\samr      root   listening     1h
drsuapi    e3514235…  4.0      http       *:49665         root   listening     1h
drsuapi    e3514235…  4.0      tcp        *:49664         root   listening     1h

3 interfaces, 7 endpoints        (-o wide adds the ids)
`},
		{"versions of an interface are no span", versions, `
INTERFACE             VERSION   TRANSPORT  ENDPOINT  OWNER  EVIDENCE   SINCE
—          6d9fe472…  1.2,1.10  tcp        *:2000    root   listening     1h
—          6d9fe472…  2.0       tcp udp    *:2000    root   listening     1h

1 interface, 2 endpoints        (-o wide adds the ids)
`},
		{"both dialects", mixed, `
INTERFACE             VERSION  TRANSPORT  ENDPOINT        OWNER      EVIDENCE      SINCE  ANNOTATION
mountd        100005  3        tcp udp    *:20048         root       listening        1h  —
—          536870913  1        local      /run/my.sock    root       listening        1h  —
winreg     338cd001…  1.0      np         \pipe\winreg    192.0.2.1  process 1310     1h  —
drsuapi    e3514235…  4.0      tcp        10.0.0.5:50003  root       listening        1h  replication

4 interfaces, 5 endpoints        (-o wide adds the ids)
`},
		{"objects", objects, `
INTERFACE             VERSION  TRANSPORT  ENDPOINT  OWNER  EVIDENCE   SINCE  OBJECT
mountd        100005  3        tcp        *:20048   root   listening     1h  —
—          6d9fe472…  1.0      tcp        *:2000    root   listening     1h  —
—          6d9fe472…  1.0      tcp udp    *:2000    root   listening     1h  338cd001…

2 interfaces, 4 endpoints        (-o wide adds the ids)
`},
		{"unknown ones that begin alike", []endpoint.Document{
			dceRow(mine, "1.0", "ncacn_ip_tcp", "0.0.0.0:2000"), dceRow(yours, "1.0", "ncacn_ip_tcp", "0.0.0.0:2000"), dceRow(winreg, "1.0", "ncacn_np", `\pipe\winreg`),
		}, `
INTERFACE                                        VERSION  TRANSPORT  ENDPOINT      OWNER  EVIDENCE   SINCE
winreg                                338cd001…  1.0      np         \pipe\winreg  root   listening     1h
—          6d9fe472-30f1-4708-8fa8-678362b96156  1.0      tcp        *:2000        root   listening     1h
—          6d9fe472-30f1-4708-8fa8-678362b96157  1.0      tcp        *:2000        root   listening     1h

3 interfaces, 3 endpoints        (-o wide adds the ids)
`},
		{"foreign pipes", escapes, `
INTERFACE             VERSION  TRANSPORT  ENDPOINT        OWNER  EVIDENCE   SINCE
—          6d9fe472…  1.0      np         \pipe\\x1b[31m  root   listening     1h
—          6d9fe472…  1.0      np         \x5cx1b         root   listening     1h

1 interface, 2 endpoints        (-o wide adds the ids)
`},
		{"nothing", nil, `
INTERFACE    VERSION  TRANSPORT  ENDPOINT  OWNER  EVIDENCE  SINCE

0 interfaces, 0 endpoints        (-o wide adds the ids)
`},
		{"versions and transports of one port", mountd(), `
INTERFACE          VERSION  TRANSPORT          ENDPOINT  OWNER  EVIDENCE   SINCE
mountd     100005  1-3      tcp tcp6 udp udp6  *:20048   root   listening     1h

1 interface, 4 endpoints        (-o wide adds the ids)
`},
		{"another port, another row", statd, `
INTERFACE          VERSION  TRANSPORT  ENDPOINT  OWNER  EVIDENCE   SINCE
status     100024  1        tcp tcp6   *:663     root   listening     1h
status     100024  1        udp udp6   *:662     root   listening     1h

1 interface, 4 endpoints        (-o wide adds the ids)
`},
		{"versions in spans", gap, `
INTERFACE     VERSION           TRANSPORT  ENDPOINT        OWNER  EVIDENCE   SINCE
—          7  1-2,9,4294967295  tcp        127.0.0.1:2000  root   listening     1h

1 interface, 1 endpoint        (-o wide adds the ids)
`},
		{"owner, annotation and address stay apart", differ, `
INTERFACE             VERSION  TRANSPORT  ENDPOINT        OWNER  EVIDENCE   SINCE  ANNOTATION
—          536870913  0        tcp        *:2000          root   listening     1h  —
—          536870913  1        tcp        *:2000          4711   listening     1h  —
—          536870913  2        tcp        *:2000          root   listening     1h  mine
—          536870913  3        tcp        192.0.2.1:2000  root   listening     1h  —
—          536870913  4        tcp        *:2001          root   listening     1h  —

1 interface, 3 endpoints        (-o wide adds the ids)
`},
		{"the age of the oldest", old, `
INTERFACE          VERSION  TRANSPORT  ENDPOINT  OWNER  EVIDENCE   SINCE
nfs        100003  3-4      tcp        *:2049    root   listening    12d

1 interface, 1 endpoint        (-o wide adds the ids)
`},
		{"by program, local last", []endpoint.Document{
			tableRow(100005, 3, "tcp6", "2001:db8::1", 20048), tableRow(100000, 4, "local", "/run/rpcbind.sock", 0), tableRow(100000, 4, "udp", "0.0.0.0", 111),
		}, `
INTERFACE          VERSION  TRANSPORT  ENDPOINT             OWNER  EVIDENCE   SINCE
rpcbind    100000  4        udp        *:111                root   listening     1h
rpcbind    100000  4        local      /run/rpcbind.sock    root   listening     1h
mountd     100005  3        tcp6       [2001:db8::1]:20048  root   listening     1h

2 interfaces, 3 endpoints        (-o wide adds the ids)
`},
		{"every evidence", believed, `
INTERFACE     VERSION  TRANSPORT  ENDPOINT  OWNER  EVIDENCE                SINCE
—          7  0        tcp        *:2000    root   listening                  1h
—          7  1        tcp        *:2000    root   waiting                    1h
—          7  2        tcp        *:2000    root   process 1310               1h
—          7  3        tcp        *:2000    root   lease until 13:30          1h
—          7  4        tcp        *:2000    root   lease until 2026-11-24     1h
—          7  5        tcp        *:2000    root   permanent                  1h
—          7  6        tcp        *:2000    root   unchecked                  1h

1 interface, 1 endpoint        (-o wide adds the ids)
`},
		{"foreign text", hostile, `
INTERFACE     VERSION  TRANSPORT  ENDPOINT       OWNER       EVIDENCE   SINCE  ANNOTATION
—          7  1        local      /run/\x1b[31m  \u202eevil  listening     1h  a\x0ab

1 interface, 1 endpoint        (-o wide adds the ids)
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			if err := printFolded(show.Screen{Writer: &out}, tt.rows, noon); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWideTable(t *testing.T) {
	rows := []endpoint.Document{
		tableRow(100005, 3, "tcp6", "::", 20048), tableRow(100005, 3, "udp", "0.0.0.0", 20048), tableRow(100005, 1, "tcp", "10.0.0.9", 20048),
		tableRow(7, 1, "local", "@x", 0),
	}
	rows[0].Annotation = "mounts of fs1"
	const want = `ID            INTERFACE          VERSION  TRANSPORT  ENDPOINT        OWNER  EVIDENCE   SINCE                ANNOTATION
5f0c9a31b2d4  —               7        1  local      @x              root   listening  2026-11-22 11:00:00  —
5f0c9a31b2d4  mountd     100005        1  tcp        10.0.0.9:20048  root   listening  2026-11-22 11:00:00  —
5f0c9a31b2d4  mountd     100005        3  tcp6       *:20048         root   listening  2026-11-22 11:00:00  mounts of fs1
5f0c9a31b2d4  mountd     100005        3  udp        *:20048         root   listening  2026-11-22 11:00:00  —
`
	var out strings.Builder
	if err := printWide(show.Screen{Writer: &out}, rows, noon); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if rows[0].NetID != "tcp6" {
		t.Error("printWide changed the order of the caller's rows")
	}
}

func TestWideTableOfBoth(t *testing.T) {
	rows := []endpoint.Document{
		dceRow(winreg, "1.0", "ncacn_np", `\pipe\winreg`), dceRow(mine, "1.10", "ncacn_ip_tcp", "0.0.0.0:2000"), dceRow(mine, "1.2", "ncalrpc", "a name"),
		tableRow(100005, 3, "udp", "0.0.0.0", 20048),
	}
	rows[0].Annotation = "the registry"
	without := `
ID            INTERFACE                                        VERSION  TRANSPORT  ENDPOINT      OWNER  EVIDENCE   SINCE                ANNOTATION
5f0c9a31b2d4  mountd                                   100005        3  udp        *:20048       root   listening  2026-11-22 11:00:00  —
5f0c9a31b2d4  winreg     338cd001-2244-31f1-aaaa-900038001003      1.0  np         \pipe\winreg  root   listening  2026-11-22 11:00:00  the registry
5f0c9a31b2d4  —          6d9fe472-30f1-4708-8fa8-678362b96156      1.2  lrpc       a name        root   listening  2026-11-22 11:00:00  —
5f0c9a31b2d4  —          6d9fe472-30f1-4708-8fa8-678362b96156     1.10  tcp        *:2000        root   listening  2026-11-22 11:00:00  —
`
	with := `
ID            INTERFACE                                        VERSION  TRANSPORT  ENDPOINT      OWNER  EVIDENCE   SINCE                OBJECT                                ANNOTATION
5f0c9a31b2d4  mountd                                   100005        3  udp        *:20048       root   listening  2026-11-22 11:00:00  —                                     —
5f0c9a31b2d4  winreg     338cd001-2244-31f1-aaaa-900038001003      1.0  np         \pipe\winreg  root   listening  2026-11-22 11:00:00  —                                     the registry
5f0c9a31b2d4  —          6d9fe472-30f1-4708-8fa8-678362b96156      1.2  lrpc       a name        root   listening  2026-11-22 11:00:00  —                                     —
5f0c9a31b2d4  —          6d9fe472-30f1-4708-8fa8-678362b96156     1.10  tcp        *:2000        root   listening  2026-11-22 11:00:00  e3514235-4b06-11d1-ab04-00c04fc2dcd2  —
`
	for _, want := range []string{without, with} {
		var out strings.Builder
		if err := printWide(show.Screen{Writer: &out}, rows, noon); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), out.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		rows[1].Object = drsuapi
	}
}

func TestDescribe(t *testing.T) {
	of := dceRow(mine, "1.10", "ncacn_ip_tcp", "10.0.0.5:2000")
	of.Object, of.Annotation = winreg, "x\ny"
	for _, tt := range []struct {
		d    endpoint.Document
		want string
	}{
		{tableRow(100005, 3, "tcp6", "::", 20048), "mountd 100005 version 3  tcp6 *:20048"},
		{tableRow(7, 1, "local", "@x", 0), "7 version 1  local @x"},
		{dceRow(winreg, "1.0", "ncacn_np", `\pipe\winreg`), `winreg ` + winreg + ` version 1.0  np \pipe\winreg`},
		{dceRow(mine, "1.0", "ncacn_http", "0.0.0.0:593"), mine + " version 1.0  http *:593"},
		{of, mine + " version 1.10  tcp 10.0.0.5:2000  object " + winreg + `  x\x0ay`},
	} {
		if got := describe(&tt.d); got != tt.want {
			t.Errorf("describe = %q, want %q", got, tt.want)
		}
	}
}

// A narrow terminal cuts the annotation and nothing else.
func TestNarrowTable(t *testing.T) {
	rows := mountd()[:1]
	rows[0].Annotation = "a long annotation that does not fit"
	const want = `INTERFACE          VERSION  TRANSPORT  ENDPOINT  OWNER  EVIDENCE   SINCE  ANNOTATION
mountd     100005  1        udp        *:20048   root   listening     1h  a long an…

1 interface, 1 endpoint        (-o wide adds the ids)
`
	var out strings.Builder
	if err := printFolded(show.Screen{Writer: &out, Terminal: true, Width: 40}, rows, noon); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSpans(t *testing.T) {
	for _, tt := range []struct{ versions, want string }{
		{"", ""},
		{"0", "0"},
		{"1 2", "1-2"},
		{"1 3", "1,3"},
		{"1 2 3 5 7 8", "1-3,5,7-8"},
		{"4294967294 4294967295", "4294967294-4294967295"},
		{"0 4294967295", "0,4294967295"},
		{"1.0 1.1 2.0 3.10", "1.0,1.1,2.0,3.10"}, // between 1.0 and 2.0 there is more
	} {
		var versions []endpoint.Version
		for _, text := range strings.Fields(tt.versions) {
			v, err := endpoint.ParseVersion(text)
			if err != nil {
				t.Fatal(err)
			}
			versions = append(versions, v)
		}
		if got := spans(versions); got != tt.want {
			t.Errorf("spans(%s) = %q, want %q", tt.versions, got, tt.want)
		}
	}
}
