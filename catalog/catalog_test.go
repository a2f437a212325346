package catalog_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/portset"
)

func TestBuiltin(t *testing.T) {
	c := catalog.Builtin()
	programs := slices.Collect(c.Programs())
	if got, want := len(programs), 69; got != want {
		t.Errorf("the built-in catalog has %d programs, want %d", got, want)
	}
	if !slices.IsSortedFunc(programs, func(a, b catalog.Program) int { return int(int64(a.Number) - int64(b.Number)) }) {
		t.Error("Programs() is not in order of number")
	}
	for _, p := range programs {
		if len(p.Sources) == 0 {
			t.Errorf("%s (%d) names no source", p.Name, p.Number)
		}
		if got, ok := c.Program(p.Number); !ok || !cmp.Equal(got, p) {
			t.Errorf("Program(%d) = %+v, %v, want %+v", p.Number, got, ok, p)
		}
		for _, name := range append(p.Aliases, p.Name, strings.ToUpper(p.Name)) {
			if got, ok := c.ProgramByName(name); !ok || got.Number != p.Number {
				t.Errorf("ProgramByName(%q) = %d, %v, want %d", name, got.Number, ok, p.Number)
			}
		}
	}
}

func TestKnownPrograms(t *testing.T) {
	four := []string{"libc", "freebsd", "nmap", "openbsd/netbsd"}
	tests := []catalog.Program{
		{
			Number: 100000, Name: "rpcbind", Aliases: []string{"portmapper", "portmap", "sunrpc", "pmapprog"},
			Versions: []uint32{2, 3, 4}, Transports: []string{"tcp", "udp"}, UsualPorts: portset.Ports(111),
			Block: "iana-sun", Sources: four, Note: "RFC 1833; v2 = portmap, v3/v4 = rpcbind; versions: RFC 1833",
		},
		{
			Number: 100005, Name: "mountd", Aliases: []string{"mount", "showmount", "mountprog"},
			Versions: []uint32{1, 2, 3}, Transports: []string{"tcp", "udp"},
			Block: "iana-sun", Sources: four, Note: "mount protocol, v3 in RFC 1813; versions: mount.x for 1, RFC 1813 for 3; 2 unverified",
		},
		{
			Number: 100011, Name: "rquotad", Aliases: []string{"rquotaprog", "quota", "rquota"},
			Versions: []uint32{1, 2}, Transports: []string{"udp", "tcp"},
			Block: "iana-sun", Sources: four, Note: "quota; v2 adds group quotas; versions: rquota.x for 1; 2 unverified",
		},
		{
			Number: 100071, Name: "bugtraqd",
			Block: "iana-sun", Sources: []string{"freebsd", "nmap"},
		},
		{
			Number: 545580417, Name: "ugidd", Aliases: []string{"rpc.ugidd"},
			Block: "site-local", Sources: []string{"libc", "nmap"},
		},
	}
	for _, want := range tests {
		got, ok := catalog.Builtin().Program(want.Number)
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("Program(%d): %v (-want +got)\n%s", want.Number, ok, diff)
		}
	}
}

func TestUnknownPrograms(t *testing.T) {
	for _, number := range []uint32{0, 99999, 100006, 0x20000001, 1<<32 - 1} {
		if p, ok := catalog.Builtin().Program(number); ok {
			t.Errorf("Program(%d) = %+v, want none", number, p)
		}
	}
	for _, name := range []string{"", "-", "100005", "mount d"} {
		if p, ok := catalog.Builtin().ProgramByName(name); ok {
			t.Errorf("ProgramByName(%q) = %+v, want none", name, p)
		}
	}
	var zero catalog.Catalog
	if p, ok := zero.Program(100000); ok {
		t.Errorf("the zero catalog has %+v", p)
	}
}

func TestCallersCannotChangeTheCatalog(t *testing.T) {
	c := catalog.Builtin()
	want, _ := c.Program(100005)
	spoil := func(p catalog.Program) {
		p.Aliases[0], p.Versions[0], p.Transports[0], p.Sources[0] = "x", 0, "x", "x"
	}
	byNumber, _ := c.Program(100005)
	spoil(byNumber)
	byName, _ := c.ProgramByName("mount")
	spoil(byName)
	for p := range c.Programs() {
		if p.Number == 100005 {
			spoil(p)
			break
		}
	}
	if got, _ := c.Program(100005); !cmp.Equal(got, want) {
		t.Errorf("after changes by callers Program(100005) = %+v, want %+v", got, want)
	}
}

const (
	head = "program\thex\tname\taliases\tversions\ttransports\tusual_port\tblock\tn_sources\tsources\tnote"

	portHead         = "seq\tports\tprotocol\tapp\tprinted_service\tservice\tin_section\tsources\tremark"
	disagreementHead = "kind\tservices\tports\tprotocols\tsection_says\ttable_says\tsuggestion\tsources"

	mountd = "100005\t0x000186a5\tmountd\tmount,showmount\t1,2,3\ttcp,udp\tdynamic\tiana-sun\t2\tlibc+nmap\t-"
)

// load loads a catalog whose file of programs holds the given lines, and that
// has no interfaces.
func load(lines ...string) (*catalog.Catalog, error) {
	return loadFiles(strings.Join(lines, "\n"), interfaceHead)
}

func loadFiles(programs, interfaces string) (*catalog.Catalog, error) {
	return catalog.Load(files(map[string]string{"onc-programs.tsv": programs, "rpc-interfaces.tsv": interfaces}))
}

// files returns the files of a catalog that hold the given texts, and nothing else.
func files(texts map[string]string) fstest.MapFS {
	all := fstest.MapFS{
		"onc-programs.tsv":     {Data: []byte(head)},
		"rpc-interfaces.tsv":   {Data: []byte(interfaceHead)},
		"rpc-fixed-ports.yaml": {},
		"services.yaml":        {},
		"ports.tsv":            {Data: []byte(portHead)},
		"disagreements.tsv":    {Data: []byte(disagreementHead)},
		"roles.yaml":           {},
		"systems.yaml":         {},
		"sources.yaml":         {},
	}
	for name, text := range texts {
		all[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return all
}

func TestLoad(t *testing.T) {
	transient := "1073741824\t0x40000000\tcallback\t-\t-\t-\t111,5000-5020\ttransient\t1\tlinux kernel\t-"
	tests := []struct {
		name  string
		lines []string
		want  []uint32
	}{
		{"columns only", []string{head}, nil},
		{"last line without an end", []string{head, mountd}, []uint32{100005}},
		{"sorted by number", []string{head, transient, mountd, ""}, []uint32{100005, 1073741824}},
		{"line ends of Windows", []string{head + "\r", mountd + "\r", ""}, []uint32{100005}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(tt.lines...)
			if err != nil {
				t.Fatal(err)
			}
			var got []uint32
			for p := range c.Programs() {
				got = append(got, p.Number)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("programs are %d, want %d", got, tt.want)
			}
		})
	}
}

func TestLoadWithoutFile(t *testing.T) {
	for name := range files(nil) {
		files := files(nil)
		delete(files, name)
		_, err := catalog.Load(files)
		if want := "catalog: open " + name + ": file does not exist"; err == nil || err.Error() != want {
			t.Errorf("Load(without %s): %v, want %s", name, err, want)
		}
	}
}

// broken returns the row of mountd with one piece of it replaced.
func broken(old, new string) string { return strings.Replace(mountd, old, new, 1) }

var brokenFiles = []struct {
	name  string
	lines []string
	want  string
}{
	{"empty file", nil, `onc-programs.tsv:1: columns are [""], want ["program" "hex" "name" "aliases" "versions" "transports" "usual_port" "block" "n_sources" "sources" "note"]: put single tabs between them`},
	{"column unknown", []string{strings.Replace(head, "note", "remark", 1), mountd}, `onc-programs.tsv:1: columns are ["program" "hex" "name" "aliases" "versions" "transports" "usual_port" "block" "n_sources" "sources" "remark"], want ["program" "hex" "name" "aliases" "versions" "transports" "usual_port" "block" "n_sources" "sources" "note"]: put single tabs between them`},
	{"column missing", []string{head, broken("\t-", "")}, `onc-programs.tsv:2: want 11 columns, found 10: put single tabs between them`},
	{"two tabs", []string{head, broken("\t", "\t\t")}, `onc-programs.tsv:2: want 11 columns, found 12: put single tabs between them`},
	{"empty line", []string{head, "", mountd}, `onc-programs.tsv:2: want 11 columns, found 1: put single tabs between them`},
	{"empty cell", []string{head, broken("libc+nmap\t-", "libc+nmap\t")}, `onc-programs.tsv:2: note: empty: write - for nothing`},
	{"spaces", []string{head, broken("mountd", " mountd")}, `onc-programs.tsv:2: name: " mountd": remove the spaces around it
onc-programs.tsv:2: name: " mountd": want letters, digits, '.', '_' and '-', with at least one letter`},
	{"control character", []string{head, broken("libc+nmap\t-", "libc+nmap\tx\x1b[2J")}, `onc-programs.tsv:2: note: "x\x1b[2J" is not clean UTF-8 text`},
	{"not UTF-8", []string{head, broken("libc+nmap\t-", "libc+nmap\t\xff")}, `onc-programs.tsv:2: note: "\xff" is not clean UTF-8 text`},
	{"number with a sign", []string{head, broken("100005", "+100005")}, `onc-programs.tsv:2: program: "+100005": want a decimal number up to 4294967295
onc-programs.tsv:2: hex: "0x000186a5" is not 0, which is 0x00000000`},
	{"number too large", []string{head, broken("100005\t0x000186a5", "4294967296\t0xffffffff")}, `onc-programs.tsv:2: program: "4294967296": want a decimal number up to 4294967295
onc-programs.tsv:2: block: "iana-sun": program 4294967295 is in block reserved`},
	{"leading zero", []string{head, broken("100005", "0100005")}, `onc-programs.tsv:2: program: "0100005": want a decimal number up to 4294967295`},
	{"hex differs", []string{head, broken("186a5", "186a4")}, `onc-programs.tsv:2: hex: "0x000186a4" is not 100005, which is 0x000186a5`},
	{"hex short", []string{head, broken("0x000186a5", "0x186a5")}, `onc-programs.tsv:2: hex: "0x186a5" is not 100005, which is 0x000186a5`},
	{"no name", []string{head, broken("mountd", "-")}, `onc-programs.tsv:2: name: "": want letters, digits, '.', '_' and '-', with at least one letter`},
	{"name is a number", []string{head, broken("mountd", "100003")}, `onc-programs.tsv:2: name: "100003": want letters, digits, '.', '_' and '-', with at least one letter`},
	{"alias with a space", []string{head, broken("showmount", "show mount")}, `onc-programs.tsv:2: name: "show mount": want letters, digits, '.', '_' and '-', with at least one letter`},
	{"alias missing", []string{head, broken("mount,", "mount,,")}, `onc-programs.tsv:2: aliases: "mount,,showmount": want items with only "," between them`},
	{"alias with spaces around", []string{head, broken("mount,", "mount, ")}, `onc-programs.tsv:2: aliases: "mount, showmount": want items with only "," between them`},
	{"version is no number", []string{head, broken("1,2,3", "1,2,v3")}, `onc-programs.tsv:2: versions: "v3": want a decimal number up to 4294967295
onc-programs.tsv:2: versions: 0 comes after 2: write them in ascending order`},
	{"versions descend", []string{head, broken("1,2,3", "3,2")}, `onc-programs.tsv:2: versions: 2 comes after 3: write them in ascending order`},
	{"transport unknown", []string{head, broken("tcp,udp", "tcp,sctp")}, `onc-programs.tsv:2: transports: "sctp": want tcp, udp or both`},
	{"transport twice", []string{head, broken("tcp,udp", "tcp,tcp")}, `onc-programs.tsv:2: transports: "tcp" is there twice`},
	{"port too large", []string{head, broken("dynamic", "70000")}, `onc-programs.tsv:2: usual_port: portset: offset 0: "70000": ports end at 65535`},
	{"no port", []string{head, broken("dynamic", "-")}, `onc-programs.tsv:2: usual_port: none: want a port such as 2049, or dynamic`},
	{"wrong block", []string{head, broken("iana-sun", "transient")}, `onc-programs.tsv:2: block: "transient": program 100005 is in block iana-sun`},
	{"sources miscounted", []string{head, broken("\t2\t", "\t3\t")}, `onc-programs.tsv:2: n_sources: 3, but sources has 2`},
	{"no source", []string{head, broken("\t2\tlibc+nmap", "\t0\t-")}, `onc-programs.tsv:2: sources: none: name at least one`},
	{"number twice", []string{head, mountd, broken("mountd\tmount,showmount", "other\t-")}, `onc-programs.tsv:3: program: 100005 is on line 2 too: make one row of the two`},
	{"alias is the name of another", []string{head, mountd, "100003\t0x000186a3\tnfs\tMountD\t-\t-\t2049\tiana-sun\t1\tnmap\t-"}, `onc-programs.tsv:3: name: "MountD" is a name on line 2 too: each belongs to one program`},
	{"several mistakes", []string{head, broken("186a5", "186a4"), broken("\t-", "")}, `onc-programs.tsv:2: hex: "0x000186a4" is not 100005, which is 0x000186a5
onc-programs.tsv:3: want 11 columns, found 10: put single tabs between them`},
}

func TestLoadRefuses(t *testing.T) {
	for _, tt := range brokenFiles {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(tt.lines...)
			if err == nil || c != nil {
				t.Fatalf("Load = %v, %v, want only an error", c, err)
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(head + "\n" + mountd + "\n")
	for _, tt := range brokenFiles {
		f.Add(strings.Join(tt.lines, "\n"))
	}
	f.Fuzz(func(t *testing.T, data string) {
		c, err := load(data)
		if err != nil {
			return
		}
		for p := range c.Programs() {
			if len(p.Sources) == 0 {
				t.Errorf("%+v names no source", p)
			}
			for _, name := range append(p.Aliases, p.Name) {
				if got, ok := c.ProgramByName(name); !ok || got.Number != p.Number {
					t.Errorf("ProgramByName(%q) = %d, %v, want %d", name, got.Number, ok, p.Number)
				}
			}
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	files := files(nil)
	for name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: data}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := catalog.Load(files); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProgram(b *testing.B) {
	c := catalog.Builtin()
	b.ReportAllocs()
	for b.Loop() {
		c.Program(100005)
	}
}
