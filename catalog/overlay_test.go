package catalog_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/catalog"
)

// site returns the files of a site.
func site(texts map[string]string) fstest.MapFS {
	files := fstest.MapFS{}
	for name, text := range texts {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

const (
	siteSource  = "sources:\n- {id: site, name: Site, title: our own}\n"
	siteService = `services:
- id: payroll
  name: Payroll
  aliases: [Lohnbuchhaltung]
  group: site
  status: current
  basis: supplement
  confidence: documented
  sources: [site]
  ports:
  - {app: payroll, protocol: tcp, ports: 7777, need: required, notes: [dfsr-5722]}
  depends_on: [dfs-replication]
- id: dfs-replication
  name: DFSR, pinned
  group: file
  status: current
  basis: supplement
  confidence: documented
  sources: [site]
  ports:
  - {app: DFSR, protocol: tcp, ports: 5722, need: required}
`
)

func TestOverlay(t *testing.T) {
	below := catalog.Builtin()
	c, err := below.Overlay("site", site(map[string]string{
		"README.txt":           "not of the catalog",
		"sources.yaml":         siteSource,
		"services.yaml":        siteService + "footnotes: {dfsr-5722: Ours., ours: More.}\ndirectory: {sources: [site]}\n",
		"onc-programs.tsv":     head + "\n" + strings.Replace(mountd, "mount,showmount", "-", 1) + "\n536870913\t0x20000001\tpayrolld\t-\t-\ttcp\tdynamic\tsite-local\t1\tsite\t-",
		"ports.tsv":            portHead + "\n1\tnone\tgre\tGRE\tRRAS\trouting-remote-access\tyes\tsite\t-\n1000\t7777\ttcp\tpayroll\tPayroll\tpayroll\tno-section\tsite\t-",
		"rpc-interfaces.tsv":   interfaceHead + "\n" + strings.Replace(trkwks, "\t1.2\t", "\t7.0\t", 1) + "\n" + strings.Replace(trkwks, "trkwks\ttrk,", "trkwks7\ttrk,", 1),
		"rpc-fixed-ports.yaml": strings.Replace(rdp, "trkwks", "trkwks7", 1),
		"systems.yaml":         "systems:\n- {id: solaris, name: Solaris, range: ours, sources: [site]}\nranges:\n- {id: ours, symbol: dynamic-onc, ports: 32768-65535, os: Solaris, sources: [site]}\n",
		"roles.yaml": "rules: [Ours.]\nroles: [{id: payroll-server, description: pays, aliases: [pays], is: [member]}]\n" +
			"relationships:\n- {id: pay, description: a client and who pays, scopes: [used]}\n- {id: trust, description: ours, scopes: [domain]}\nflows:\n- {id: client-to-dc-01, relationship: pay, from: client, to: payroll-server, app: pay, protocol: tcp, ports: 7777, need: required, generation: both, service: payroll, when: ['to:payroll-server,payroll'], sources: [site]}\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(c.Services()), len(below.Services())+1; got != want {
		t.Errorf("%d services, want %d", got, want)
	}
	if s, _ := c.Service("dfs-replication"); s.Name != "DFSR, pinned" || len(s.Ports) != 1 || s.FixedPort != nil {
		t.Errorf("dfs-replication is %+v, want nothing of the built-in one", s)
	}
	for _, name := range []string{"payroll", "LOHNBUCHHALTUNG"} {
		if found := c.ServicesByName(name); len(found) != 1 || found[0].Ports[0].Notes[0] != "Ours." {
			t.Errorf("ServicesByName(%q) = %+v", name, found)
		}
	}
	if facts := c.PortsAt(7777, catalog.TCP); len(facts.Uses) != 2 || facts.Uses[0].Service.ID != "payroll" || facts.Rows[0].Seq != 1000 || len(facts.Flows) != 1 {
		t.Errorf("PortsAt(7777) = %+v", facts)
	}
	if os, err := c.ParseOS("Solaris"); err != nil || c.DynamicPorts(os).Ports.String() != "32768-65535" {
		t.Errorf("ParseOS(Solaris) = %v, %v", os, err)
	}
	if p, _ := c.Program(100005); len(p.Aliases) > 0 {
		t.Errorf("Program(100005) = %+v, want that of the site", p)
	}
	if p, ok := c.ProgramByName("payrolld"); !ok || p.Number != 0x20000001 {
		t.Errorf("ProgramByName(payrolld) = %+v, %v", p, ok)
	}
	if _, ok := c.ProgramByName("showmount"); ok {
		t.Error("ProgramByName(showmount) finds what was replaced")
	}
	if p, _ := c.Pin("rdp"); p.Interfaces[0] != "trkwks7" {
		t.Errorf("Pin(rdp) = %+v", p)
	}
	if got := len(c.Directory().DependsOn); got != 0 {
		t.Errorf("the directory depends on %d services, want what the site says", got)
	}
	if got, want := len(c.FlowRules()), len(below.FlowRules())+1; got != want {
		t.Errorf("%d rules, want %d", got, want)
	}
	if r, ok := c.RoleByName("Pays"); !ok || r.ID != "payroll-server" {
		t.Errorf("RoleByName(Pays) = %+v, %v", r, ok)
	}
	if r, ok := c.Relationship("trust"); !ok || r.Description != "ours" {
		t.Errorf("Relationship(trust) = %+v, %v, want that of the site", r, ok)
	}
	for _, id := range []string{"pay", "payroll", "group-policy"} {
		if r, ok := c.Relationship(id); !ok || (r.Service == "payroll") != (id == "payroll") {
			t.Errorf("Relationship(%s) = %+v, %v", id, r, ok)
		}
	}
	var got []string
	for _, o := range c.Overridden() {
		got = append(got, o.String())
	}
	want := []string{
		"program 100005: site/onc-programs.tsv:2 instead of the built-in one",
		"interface 300f3532-38cc-11d0-a3f0-0020af6b0add 1.2: site/rpc-interfaces.tsv:3 instead of the built-in one",
		"pin rdp: site/rpc-fixed-ports.yaml:2 instead of the built-in one",
		"footnote dfsr-5722: site/services.yaml:22 instead of the built-in one",
		"service dfs-replication: site/services.yaml:13 instead of the built-in one",
		"directory: site/services.yaml:23 instead of the built-in one",
		"row 1: site/ports.tsv:2 instead of the built-in one",
		"relationship trust: site/roles.yaml:5 instead of the built-in one",
		"flow client-to-dc-01: site/roles.yaml:7 instead of the built-in one",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Overridden() (-want +got)\n%s", diff)
	}

	// The catalog below is as before.
	if s, _ := below.Service("dfs-replication"); len(s.Ports) != 3 || s.Ports[1].Notes[0] == "Ours." || len(below.Overridden()) > 0 {
		t.Errorf("below dfs-replication is now %+v, overridden %v", s, below.Overridden())
	}

	// One more layer replaces what the first one has.
	top, err := c.Overlay("top", site(map[string]string{"services.yaml": strings.Replace(siteService, "7777", "8888", 1)}))
	if err != nil {
		t.Fatal(err)
	}
	overrides := top.Overridden()
	if got, want := overrides[len(overrides)-2].String(), "service payroll: top/services.yaml:2 instead of site/services.yaml:2"; got != want {
		t.Errorf("the last override but one is %q, want %q", got, want)
	}
	if uses := top.PortsAt(8888, catalog.TCP).Uses; len(uses) != 2 || uses[0].Port.Notes[0] != "Ours." {
		t.Errorf("PortsAt(8888) has %+v", uses)
	}
}

func TestOverlayOfNothing(t *testing.T) {
	c, err := catalog.Builtin().Overlay("site", fstest.MapFS{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(catalog.Builtin().Services(), c.Services()); diff != "" || len(c.Overridden()) > 0 {
		t.Errorf("Overridden() = %v, services (-built in +got)\n%s", c.Overridden(), diff)
	}
	if _, err := catalog.Builtin().Overlay("site", fstest.MapFS{".": {Mode: fs.ModeDir}, "services.yaml": {Mode: fs.ModeDir}}); err == nil {
		t.Error("a folder in place of a file is taken")
	}
}

func TestOverlayRefuses(t *testing.T) {
	known := `known are onc-programs.tsv, rpc-interfaces.tsv, rpc-fixed-ports.yaml, services.yaml, ports.tsv, disagreements.tsv, roles.yaml, systems.yaml, sources.yaml`
	tests := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"file that is misspelled", map[string]string{"service.yaml": ""}, `site/service.yaml: not a file of the catalog; did you mean "services.yaml"?`},
		{"file of another kind", map[string]string{"a.yml": "", "notes.md": ""}, `site/a.yml: not a file of the catalog; ` + known},
		{"unknown key", map[string]string{"services.yaml": "servces: []"}, `site/services.yaml:1:1: unknown key "servces"; did you mean "services"?`},
		{"source of nobody", map[string]string{"services.yaml": siteService}, "site/services.yaml:9:13: unknown source \"site\"\nsite/services.yaml:19:13: unknown source \"site\""},
		{"row", map[string]string{"ports.tsv": portHead + "\nx"}, `site/ports.tsv:2: want 9 columns, found 1: put single tabs between them`},
		{"name of a built-in service", map[string]string{"sources.yaml": siteSource, "services.yaml": strings.Replace(siteService, "Lohnbuchhaltung", "dfs replication, DFSN", 1)},
			`site/services.yaml:2:3: "DFSN" is a name of dfs-namespaces too: each belongs to one service`},
		{"name of a built-in program", map[string]string{"onc-programs.tsv": head + "\n536870913\t0x20000001\tshowmount\t-\t-\ttcp\tdynamic\tsite-local\t1\tsite\t-"},
			`site/onc-programs.tsv:2: name: "showmount" is a name of program 100005 too: each belongs to one program`},
		{"pin of an unknown interface", map[string]string{"rpc-fixed-ports.yaml": strings.Replace(rdp, "trkwks", "trkwsk", 1)}, `site/rpc-fixed-ports.yaml:7:16: interface "trkwsk" is not in rpc-interfaces.tsv`},
		{"role", map[string]string{"roles.yaml": "roles: [{id: a}]"}, `site/roles.yaml:1:9: a: every role has a description`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := catalog.Builtin().Overlay("site", site(tt.files))
			if err == nil || c != nil || err.Error() != tt.want {
				t.Errorf("Overlay = %v, and the error\n%v\nwant\n%s", c, err, tt.want)
			}
		})
	}
	if _, err := catalog.Builtin().Overlay("site", brokenFS{}); err == nil || !strings.Contains(err.Error(), "no disk") {
		t.Errorf("Overlay(a broken disk): %v", err)
	}
}

type brokenFS struct{}

func (brokenFS) Open(string) (fs.File, error) { return nil, errors.New("no disk") }
