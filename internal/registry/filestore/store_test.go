package filestore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
	"github.com/quaymaster/quaymaster/internal/registry/filestore"
	"github.com/quaymaster/quaymaster/internal/registry/storetest"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// order leaves to a store which numbers it has for the order of its rows.
var order = cmp.Options{
	cmpopts.EquateComparable(netip.AddrPort{}, netip.Addr{}), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(registry.Record{}, "Order"),
}

// permanent returns a row; its number also makes its id and order.
func permanent(program uint32, n rpcbind.NetID, addr string) registry.Record {
	r := registry.Record{Order: uint64(program), Registration: endpoint.Registration{
		ID: endpoint.ID(program), Interface: endpoint.Program(program, 1), Endpoint: endpoint.Endpoint{NetID: n},
		Since: time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC), Evidence: endpoint.Permanent,
	}}
	if n == rpcbind.Local {
		r.Path = addr
	} else {
		r.Addr = netip.MustParseAddrPort(addr)
	}
	return r
}

func open(t *testing.T, path string) *filestore.Store {
	t.Helper()
	s, err := filestore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, s *filestore.Store, put ...registry.Record) {
	t.Helper()
	if err := s.Write(registry.Batch{Rows: put}); err != nil {
		t.Fatal(err)
	}
}

// holds fails the test unless the store has these rows, and a new one of the file too.
func holds(t *testing.T, s *filestore.Store, path string, want ...registry.Record) {
	t.Helper()
	for _, s := range []*filestore.Store{s, open(t, path)} {
		got, err := s.Load()
		if diff := cmp.Diff(registry.Contents{Rows: want}, got, order); err != nil || diff != "" {
			t.Errorf("Load = %v (-want +got):\n%s", err, diff)
		}
	}
}

func edit(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// says fails the test unless the text of err is want.
func says(t *testing.T, what string, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("%s = %v, want %s", what, err, want)
	}
}

// alone fails the test unless the folder of a file has nothing else in it.
func alone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Errorf("%s has %v, %v, want only %s", filepath.Dir(path), entries, err, filepath.Base(path))
	}
}

// What people find when they look into the file.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "permanent.yaml")
	mountd := permanent(100005, rpcbind.TCP, "10.0.0.5:20048")
	mountd.Version, mountd.Annotation, mountd.ID = 3, "Ada's mounts of fs1", 0x5f0c9a31b2d4
	fraction := permanent(0x20000001, rpcbind.UDP6, "[::]:2049")
	fraction.Since = time.Date(2026, 11, 2, 11, 0, 0, 5e8, time.FixedZone("CET", 3600))
	socket := permanent(0x20000002, rpcbind.Local, "@/run/x y")
	socket.Since = time.Time{}
	srvsvc, pipe, other := permanent(0x20000003, rpcbind.TCP, "10.0.0.5:50001"), permanent(0x20000004, rpcbind.TCP, "10.0.0.5:1"), permanent(0x20000005, rpcbind.TCP, "10.0.0.5:1")
	srvsvc.Interface = endpoint.Interface{Dialect: endpoint.DCE, UUID: ndr.MustParseUUID("4b324fc8-1670-01d3-1278-5a47bf6ee188"), Major: 3}
	srvsvc.Endpoint, srvsvc.Annotation = endpoint.At(epm.TCP, srvsvc.Addr), "shares"
	pipe.Interface, pipe.Endpoint = srvsvc.Interface, endpoint.Endpoint{ProtSeq: epm.NP, Path: `\pipe\it's`}
	other.Interface = endpoint.Interface{Dialect: endpoint.DCE, UUID: ndr.MustParseUUID("6d9fe472-30f1-4708-8fa8-678362b96156"), Major: 1, Minor: 10}
	other.Endpoint, other.Object, other.Since = endpoint.Endpoint{ProtSeq: epm.LRPC, Path: "*"}, srvsvc.UUID, time.Time{}
	s := open(t, path)
	write(t, s, fraction, socket, mountd, srvsvc, pipe, other)
	const want = `# The permanent registrations of quaymaster. It writes this file anew with every
# change: comments are not kept.
#
# To change it by hand, edit it, then send quaymaster SIGHUP. A row is an endpoint
# of root's. Of ONC: program (a number or a name), version, netid (udp, tcp, udp6,
# tcp6, local), address ('*' for every address of this host; the path of a local
# socket) and port. Of DCE: uuid (or a name), version ('1.0'), protseq (tcp, udp,
# http with address and port; np, lrpc with path), object if there is one. Each can
# have an annotation. Leave id and since out of a new row.

- {program: 100005, version: 3, netid: tcp, address: 10.0.0.5, port: 20048, annotation: 'Ada''s mounts of fs1', id: '5f0c9a31b2d4', since: 2026-11-02T10:00:00Z} # mountd
- {program: 536870913, version: 1, netid: udp6, address: '::', port: 2049, id: '000020000001', since: 2026-11-02T10:00:00.5Z}
- {program: 536870914, version: 1, netid: local, address: '@/run/x y', id: '000020000002'}
- {uuid: 4b324fc8-1670-01d3-1278-5a47bf6ee188, version: '3.0', protseq: ncacn_ip_tcp, address: 10.0.0.5, port: 50001, annotation: 'shares', id: '000020000003', since: 2026-11-02T10:00:00Z} # srvsvc
- {uuid: 4b324fc8-1670-01d3-1278-5a47bf6ee188, version: '3.0', protseq: ncacn_np, path: '\pipe\it''s', id: '000020000004', since: 2026-11-02T10:00:00Z} # srvsvc
- {uuid: 6d9fe472-30f1-4708-8fa8-678362b96156, version: '1.10', protseq: ncalrpc, object: 4b324fc8-1670-01d3-1278-5a47bf6ee188, path: '*', id: '000020000005'}
`
	got, err := os.ReadFile(path)
	if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if err := s.Write(registry.Batch{Gone: []endpoint.ID{mountd.ID, fraction.ID, socket.ID, srvsvc.ID, pipe.ID, other.ID}}); err != nil {
		t.Fatal(err)
	}
	got, err = os.ReadFile(path)
	if _, rows, _ := strings.Cut(string(got), "\n\n"); err != nil || rows != "[]\n" {
		t.Errorf("an empty store has %q, %v, want []", rows, err)
	}
	holds(t, s, path)
}

func TestNoFile(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "lib", "quaymaster")
	path := filepath.Join(folder, "permanent.yaml")
	s := open(t, path)
	holds(t, s, path)
	if err := s.Write(registry.Batch{Gone: []endpoint.ID{7}}); err != nil { // which changes nothing
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(folder)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder before there is something to write: %v", err)
	}
	row := permanent(7, rpcbind.TCP, "10.0.0.5:7")
	write(t, s, row)
	holds(t, s, path, row)
	alone(t, path)
	if runtime.GOOS == "windows" {
		return // which has other modes
	}
	for name, want := range map[string]fs.FileMode{folder: fs.ModeDir | 0o755, path: 0o644} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
}

// Whatever can be registered comes back as it was.
func TestRowsSurvive(t *testing.T) {
	folder := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		path := filepath.Join(folder, "permanent.yaml")
		defer os.Remove(path)
		want := rapid.SliceOfNDistinct(validRow, 1, 3, func(r registry.Record) endpoint.Interface { return r.Interface }).Draw(t, "rows")
		for i := range want {
			want[i].ID = want[i].ID&^3 | endpoint.ID(i+1)&3
			want[i].Order = uint64(i)
		}
		s, err := filestore.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Write(registry.Batch{Rows: want}); err != nil {
			t.Fatal(err)
		}
		got, err := s.Load()
		if diff := cmp.Diff(registry.Contents{Rows: want}, got, order); err != nil || diff != "" {
			t.Fatalf("Load = %v (-want +got):\n%s", err, diff)
		}
	})
}

// anyText is text that YAML could take for something else.
var anyText = rapid.OneOf(
	rapid.StringOfN(rapid.RuneFrom(nil, unicode.GraphicRanges...).Filter(unicode.IsPrint), 0, -1, endpoint.MaxAnnotation),
	rapid.StringOfN(rapid.SampledFrom([]rune(`'"\:#,-{}[]&*!|>%@?~ =<a0é—`)), 0, -1, endpoint.MaxAnnotation),
	rapid.SampledFrom([]string{"null", "~", "true", "1.5", "0x10", "2026-11-02", " a ", "# no comment", "a: b", "---", "'", "''", "\\n", ".inf", "<<"}),
)

// validRow is what Validate accepts of anyRow: most of it.
var validRow = rapid.Custom(anyRow).Filter(func(r registry.Record) bool { return r.Validate() == nil && !r.IsMapper() })

func anyRow(t *rapid.T) registry.Record {
	r := registry.Record{Registration: endpoint.Registration{
		ID:         endpoint.ID(rapid.Uint64Max(uint64(endpoint.MaxID)).Draw(t, "id")),
		Interface:  endpoint.Program(rapid.Uint32().Draw(t, "program"), rapid.Uint32().Draw(t, "version")),
		Endpoint:   endpoint.Endpoint{NetID: rapid.SampledFrom(rpcbind.NetIDs[:]).Draw(t, "netid")},
		Annotation: anyText.Draw(t, "annotation"),
		Since:      time.Unix(rapid.Int64Range(-1e10, 1e11).Draw(t, "since"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanoseconds")).UTC(),
		Evidence:   endpoint.Permanent,
	}}
	if rapid.Bool().Draw(t, "dce") {
		beDCE(t, &r)
		return r
	}
	if !r.NetID.IsIP() {
		r.Path = rapid.SampledFrom([]string{"/", "@"}).Draw(t, "kind") + anyText.Draw(t, "path")
		return r
	}
	size := 4
	if r.NetID.IsIPv6() {
		size = 16
	}
	a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "address"))
	r.Addr = netip.AddrPortFrom(a, rapid.Uint16Min(1).Draw(t, "port"))
	return r
}

// beDCE makes a row one of DCE.
func beDCE(t *rapid.T, r *registry.Record) {
	uuid := rapid.Custom(func(t *rapid.T) ndr.UUID { return ndr.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid")) })
	r.Interface = endpoint.Interface{
		Dialect: endpoint.DCE, UUID: uuid.Draw(t, "interface"),
		Major: rapid.Uint16().Draw(t, "major"), Minor: rapid.Uint16().Draw(t, "minor"),
	}
	if rapid.Bool().Draw(t, "of an object") {
		r.Object = uuid.Draw(t, "object")
	}
	a := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")))
	p := rapid.SampledFrom(epm.ProtSeqs[:]).Draw(t, "protseq")
	r.Endpoint = endpoint.At(p, netip.AddrPortFrom(a, rapid.Uint16Min(1).Draw(t, "port")))
	switch p {
	case epm.NP:
		r.Endpoint = endpoint.Endpoint{ProtSeq: p, Path: `\` + anyText.Draw(t, "pipe")}
	case epm.LRPC:
		r.Endpoint = endpoint.Endpoint{ProtSeq: p, Path: anyText.Draw(t, "name")}
	}
}

func TestStore(t *testing.T) {
	refused := storetest.Record(200)
	refused.Evidence = endpoint.Lease
	storetest.Run(t, storetest.Subject{
		Place: func(t *testing.T) func() registry.Store {
			path := filepath.Join(t.TempDir(), "permanent.yaml")
			return func() registry.Store { return open(t, path) }
		},
		Record: func(i int) registry.Record {
			r := storetest.Record(i)
			return registry.Record{Order: r.Order, Registration: endpoint.Registration{
				ID: r.ID, Interface: r.Interface, Object: r.Object, Endpoint: r.Endpoint, Annotation: r.Annotation, Since: r.Since,
				Evidence: endpoint.Permanent,
			}}
		},
		Kept: func(r registry.Record) registry.Record {
			r.Order = 0
			return r
		},
		Refused: []registry.Batch{{Rows: []registry.Record{refused}}},
		Durable: true,
	})
}

// Rows without ids get some, which stay, also when others come and go.
func TestIDs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "permanent.yaml")
	const (
		tcp   = "- {program: mountd, version: 3, netid: tcp, address: '*', port: 20048}\n"
		udp   = "- {program: mountd, version: 3, netid: udp, address: '*', port: 20048}\n"
		moved = "- {program: 100005, version: 3, netid: tcp, address: 10.0.0.5, port: 2049}\n"
	)
	ids := func(text string) map[string]endpoint.ID {
		edit(t, path, text)
		stored, err := open(t, path).Load()
		if err != nil {
			t.Fatal(err)
		}
		all, taken := map[string]endpoint.ID{}, map[endpoint.ID]bool{}
		for _, r := range stored.Rows {
			if r.ID == 0 || r.ID > endpoint.MaxID || taken[r.ID] {
				t.Errorf("%s has id %s", r.Endpoint, r.ID)
			}
			taken[r.ID] = true
			all[r.NetID.String()] = r.ID
		}
		return all
	}
	first := ids(tcp + udp)
	if diff := cmp.Diff(map[string]endpoint.ID{"tcp": 0x3a3bdf5d035f, "udp": 0xdbc2fe1713ef}, first); diff != "" {
		t.Errorf("ids differ from those of earlier versions (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(first, ids(udp+tcp)); diff != "" {
		t.Errorf("in another order (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(first, ids(udp+moved)); diff != "" {
		t.Errorf("at another address (-want +got):\n%s", diff)
	}
	// Somebody made version 4 of a row that had been written, and then a new one of version 3.
	taken := fmt.Sprintf("- {program: mountd, version: 4, netid: tcp6, address: '*', port: 20048, id: '%s'}\n", first["tcp"])
	if got := ids(tcp + taken); got["tcp6"] != first["tcp"] || got["tcp"] != first["tcp"]+1 {
		t.Errorf("ids = %v, want %s for tcp6 and the next for tcp", got, first["tcp"])
	}
}

// The ids of rows of DCE depend on where they are, too.
func TestIDsOfDCE(t *testing.T) {
	path := filepath.Join(t.TempDir(), "permanent.yaml")
	rows := []string{
		"- {uuid: winreg, version: 1.0, protseq: tcp, address: 10.0.0.5, port: 50001}\n",
		"- {uuid: winreg, version: 1.0, protseq: tcp, address: 10.0.0.5, port: 50002}\n",
		"- {uuid: winreg, version: 1.0, protseq: np, path: '\\pipe\\winreg'}\n",
		"- {uuid: winreg, version: 1.0, protseq: np, path: '\\pipe\\winreg', object: 6d9fe472-30f1-4708-8fa8-678362b96155}\n",
		"- {uuid: winreg, version: 1.1, protseq: np, path: '\\pipe\\winreg'}\n",
	}
	ids := func(text string) map[endpoint.Place]endpoint.ID {
		edit(t, path, text)
		stored, err := open(t, path).Load()
		if err != nil {
			t.Fatal(err)
		}
		all := map[endpoint.Place]endpoint.ID{}
		taken := map[endpoint.ID]bool{}
		for _, r := range stored.Rows {
			if r.ID == 0 || r.ID > endpoint.MaxID || taken[r.ID] {
				t.Errorf("%s has id %s", r.Endpoint, r.ID)
			}
			all[r.Place()], taken[r.ID] = r.ID, true
		}
		return all
	}
	first := ids(strings.Join(rows, ""))
	slices.Reverse(rows)
	again := ids(strings.ReplaceAll(strings.Join(rows, ""), "winreg, version", "338cd001-2244-31f1-aaaa-900038001003, annotation: x, version"))
	if len(first) != len(rows) || !maps.Equal(first, again) {
		t.Errorf("ids %v in another order, with annotations, became %v", first, again)
	}
	if got := first[endpoint.Place{
		Interface: endpoint.Interface{Dialect: endpoint.DCE, UUID: ndr.MustParseUUID("338cd001-2244-31f1-aaaa-900038001003"), Major: 1},
		Endpoint:  endpoint.Endpoint{ProtSeq: epm.NP, Path: `\pipe\winreg`},
	}]; got != 0x1114d9891f6e {
		t.Errorf("id %s differs from that of earlier versions", got)
	}
}

func TestDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "permanent.yaml")
	s := open(t, path)
	row := permanent(7, rpcbind.TCP, "10.0.0.5:7")
	write(t, s, row)
	for _, tt := range []struct{ text, want string }{
		{"- {program: 7, version: 1, netid: tcp, adress: 10.0.0.5, port: 7}\n- {program: 7\n", `:2:3: could not find flow mapping end token '}'`},
		{"- {program: 7, version: 1, netid: tcp, adress: 10.0.0.5, port: 7}\n", `:1:40: unknown key "adress"; did you mean "address"?`},
		{`- {program: 7, version: 1, netid: tcp, address: 10.0.0.5, port: 7, id: '000000000007'}
- {program: 100000, version: 1, netid: tcp, address: 10.0.0.5, port: 7, id: '000000000007'}
- {program: 7, version: 1, netid: udp, address: 10.0.0.5, port: 0}
- {program: 7, version: 1, netid: udp, address: 10.0.0.5, port: 7, id: '000000000007'}

- {program: 7, version: 1, netid: tcp, address: 10.0.0.6, port: 7}
- {program: 7, version: 2, netid: tcp, address: 10.0.0.5, port: 7}
`, `:3:3: 10.0.0.5:0: port 0 cannot be registered
PATH:4:3: id 000000000007 is on line 1 already: leave it out here
PATH:6:3: onc 7 version 1 on tcp is on line 1 already: keep one`},
		{`- {uuid: winreg, version: 1.0, protseq: tcp, address: 10.0.0.5, port: 7}
- {uuid: winreg, version: 1.0, protseq: tcp, address: 10.0.0.5, port: 8}
- {uuid: 338cd001-2244-31f1-aaaa-900038001003, version: '1.0', protseq: ncacn_ip_tcp, address: 10.0.0.5, port: 7, annotation: x}
- {uuid: winreg, version: 1.0, protseq: tcp, address: 10.0.0.5, port: 7, object: 338cd001-2244-31f1-aaaa-900038001003}
- {uuid: winreg, version: 1.0, protseq: tcp, address: 10.0.0.5, port: 7, object: 338cd001-2244-31f1-aaaa-900038001003}
- {uuid: winreg, version: 1.1, protseq: tcp, address: 10.0.0.5}
`, `:3:3: dce 338cd001-2244-31f1-aaaa-900038001003 version 1.0 on tcp 10.0.0.5:7 is on line 1 already: keep one
PATH:5:3: dce 338cd001-2244-31f1-aaaa-900038001003 version 1.0 on tcp 10.0.0.5:7 is on line 4 already: keep one
PATH:6:3: 10.0.0.5:0: port 0 cannot be registered`},
		{strings.Repeat("#", config.MaxSize+1), ": larger than 8388608 bytes"},
		{"\xff", ":1:1: not UTF-8: save the file in that encoding"},
	} {
		edit(t, path, tt.text)
		want := path + strings.ReplaceAll(tt.want, "PATH", path)
		for what, load := range map[string]func() error{
			"Open": func() error { _, err := filestore.Open(path); return err },
			"Load": func() error { _, err := s.Load(); return err },
		} {
			err := load()
			if _, ok := errors.AsType[config.Mistakes](err); !ok {
				t.Errorf("%s = %T, want mistakes", what, err)
			}
			says(t, what, err, want)
		}
		says(t, "Write", s.Write(registry.Batch{Gone: []endpoint.ID{7}}), path+": changed by hand since it was read: send quaymaster SIGHUP first")
		if text, err := os.ReadFile(path); err != nil || string(text) != tt.text {
			t.Errorf("%.200q became %.200q, %v", tt.text, text, err)
		}
		alone(t, path)
	}
}

func TestChangedByHand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "permanent.yaml")
	refused := path + ": changed by hand since it was read: send quaymaster SIGHUP first"
	s := open(t, path)
	seven, eight := permanent(7, rpcbind.TCP, "10.0.0.5:7"), permanent(8, rpcbind.TCP, "10.0.0.5:8")
	write(t, s, seven)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	// Of the same size, in the same moment, in the same file.
	edit(t, path, strings.Replace(string(before), "10.0.0.5", "10.0.0.6", 1))
	says(t, "Write", s.Write(registry.Batch{Rows: []registry.Record{eight}}), refused)
	alone(t, path)
	if err := s.Write(registry.Batch{Gone: []endpoint.ID{8}}); err != nil {
		t.Errorf("Write that changes nothing = %v", err)
	}
	seven.Addr = netip.MustParseAddrPort("10.0.0.6:7")
	holds(t, s, path, seven)
	write(t, s, eight)
	holds(t, s, path, seven, eight)

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	says(t, "Write without the file", s.Write(registry.Batch{Gone: []endpoint.ID{7}}), refused)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Write made the file again: %v", err)
	}
	holds(t, s, path)
	edit(t, path, string(before))
	says(t, "Write with a file", s.Write(registry.Batch{Rows: []registry.Record{eight}}), refused)
}

// Rows that could not be read again are the caller's mistake.
func TestRefusedRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "permanent.yaml")
	s := open(t, path)
	standing := permanent(7, rpcbind.TCP, "10.0.0.5:7")
	write(t, s, standing)
	for _, tt := range []struct {
		change func(*registry.Record)
		want   string
	}{
		{func(r *registry.Record) { r.Evidence = endpoint.Lease }, "evidence lease: only permanent rows are kept in a file"},
		{func(r *registry.Record) { r.Owner.UID = 1000 }, "uid 1000: only rows of root's are kept in a file"},
		{func(r *registry.Record) { r.Owner = endpoint.HostOwner(netip.MustParseAddr("192.0.2.1")) }, "192.0.2.1: only rows of root's are kept in a file"},
		{func(r *registry.Record) { r.Own = true }, "the mapper's own rows are not kept in a file"},
		{func(r *registry.Record) { r.ID = 0 }, "id 000000000000 cannot be"},
		{func(r *registry.Record) { r.ID = endpoint.MaxID + 1 }, "id 1000000000000 cannot be"},
		{func(r *registry.Record) { r.Annotation = "\n" }, `annotation "\n" is not printable`},
	} {
		r := permanent(8, rpcbind.TCP, "10.0.0.5:8")
		tt.change(&r)
		says(t, "Write", s.Write(registry.Batch{Rows: []registry.Record{permanent(9, rpcbind.TCP, "10.0.0.5:9"), r}}), path+": onc 8 version 1 on tcp 10.0.0.5:8: "+tt.want)
	}
	grant := storetest.Grant(0)
	grant.ID = standing.ID
	says(t, "Write", s.Write(registry.Batch{Grants: []registry.GrantRecord{grant}, Gone: []endpoint.ID{standing.ID}}), path+": grants are kept in the journal only")
	another := standing
	another.ID++
	says(t, "Write", s.Write(registry.Batch{Rows: []registry.Record{another}}), path+": onc 7 version 1 on tcp 10.0.0.5:7: 000000000007 has that place")
	mapper := permanent(rpcbind.Program, rpcbind.TCP, "10.0.0.5:7")
	says(t, "Write", s.Write(registry.Batch{Rows: []registry.Record{mapper}}), path+": onc 100000 version 1 on tcp 10.0.0.5:7: the mapper's own rows are not kept in a file")
	holds(t, s, path, standing)
	if err := s.Write(registry.Batch{Rows: []registry.Record{another}, Gone: []endpoint.ID{standing.ID}}); err != nil {
		t.Errorf("Write in place of a row that goes = %v", err)
	}
	holds(t, s, path, another)
}

func TestTooMany(t *testing.T) {
	path := filepath.Join(t.TempDir(), "permanent.yaml")
	s := open(t, path)
	rows := make([]registry.Record, 100_000)
	for i := range rows {
		rows[i] = permanent(uint32(i)+1_000_000, rpcbind.TCP, "10.0.0.5:7")
	}
	says(t, "Write", s.Write(registry.Batch{Rows: rows}), path+" is as it was: with 100000 rows it would be larger than 8388608 bytes")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file after a refusal: %v", err)
	}
	write(t, s, rows[:10]...)
	holds(t, s, path, rows[:10]...)
}

// A link stays a link, wherever it leads.
func TestLink(t *testing.T) {
	dir := t.TempDir()
	for _, folder := range []string{"lib", "etc"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path, middle, file := filepath.Join(dir, "lib", "permanent.yaml"), filepath.Join(dir, "etc", "link"), filepath.Join(dir, "etc", "rows.yaml")
	for from, to := range map[string]string{path: filepath.Join("..", "etc", "link"), middle: file} {
		if err := os.Symlink(to, from); err != nil {
			t.Skip(err) // Windows lets only some
		}
	}
	const nothing = " is a link to ../etc/link, which is not there: make that file or remove the link"
	_, err := filestore.Open(path)
	says(t, "Open", err, path+nothing)
	edit(t, file, "[]")
	s := open(t, path)
	row := permanent(7, rpcbind.TCP, "10.0.0.5:7")
	write(t, s, row)
	holds(t, s, file, row)
	holds(t, s, path, row)
	alone(t, path)
	for _, link := range []string{path, middle} {
		if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("%s is no link any more: %v, %v", link, info.Mode(), err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	says(t, "Write", s.Write(registry.Batch{Gone: []endpoint.ID{7}}), path+nothing)
}

func TestNoRegularFile(t *testing.T) {
	path := t.TempDir()
	_, err := filestore.Open(path)
	says(t, "Open", err, path+" is not a regular file")
}

// A row keeps the number that the caller knows it by, as far as the file lets it.
func TestOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "permanent.yaml")
	s := open(t, path)
	a, b, c := permanent(7, rpcbind.TCP, "10.0.0.5:7"), permanent(8, rpcbind.TCP, "10.0.0.5:8"), permanent(9, rpcbind.TCP, "10.0.0.5:9")
	a.Order, b.Order, c.Order = 50, 30, 40
	orders := func(s *filestore.Store) string {
		t.Helper()
		stored, err := s.Load()
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, r := range stored.Rows {
			all = append(all, fmt.Sprintf("%d:%d", r.Program, r.Order))
		}
		return strings.Join(all, " ")
	}
	write(t, s, a, b)
	write(t, s, c)
	if got := orders(s); got != "8:30 9:40 7:50" {
		t.Errorf("Load = %s, want the rows by their order", got)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rows, _ := strings.Cut(string(text), "\n\n")
	lines := strings.SplitAfter(rows, "\n")
	edit(t, path, head+"\n\n"+lines[2]+lines[0]+lines[1]+"- {program: 10, version: 1, netid: local, address: /x}\n")
	if got := orders(s); got != "7:50 8:51 9:52 10:53" {
		t.Errorf("Load of an edited file = %s, want the rows as they stand there", got)
	}
	if got := orders(open(t, path)); got != "7:1 8:2 9:3 10:4" {
		t.Errorf("Load of another store = %s, want numbers from 1", got)
	}
}
