package catalog_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/quaymaster/quaymaster/catalog"
)

// small are the files of a catalog in which there is one of each.
var small = map[string]string{
	"onc-programs.tsv":     head + "\n" + mountd,
	"rpc-interfaces.tsv":   interfaceHead + "\n" + trkwks,
	"rpc-fixed-ports.yaml": rdp,
	"sources.yaml": `sources:
- {id: kb1, name: KB 1, title: an article, revision: '2023-12-26'}
- {id: kb2, name: KB 2, title: another}
`,
	"services.yaml": `needs:
- {need: required, meaning: always}
footnotes:
  note-1: A note.
directory:
  depends_on:
  - {service: link-tracking, condition: sometimes}
  sources: [kb1]
services:
- id: link-tracking
  name: Link Tracking
  aliases: [Verknüpfungen]
  system_services: [TrkWks]
  group: file
  status: current
  basis: section
  sources: [kb1]
  programs: [mountd]
  ports:
  - app: RPC endpoint mapper
    protocol: tcp
    ports: 135
    need: required
    notes: [note-1]
    stated: {2023-12: one three five}
    only_in: 2023-12
  - app: tunnel
    protocol: gre
    ports: none
    need: one-of
  fixed_port: {how: registry, pin: rdp}
  depends_on: [fax]
- id: fax
  name: Fax
  group: print
  status: legacy
  basis: supplement
  confidence: unverified
  sources: [kb2]
  ports:
  - {app: ping, protocol: icmp, ports: echo, need: optional}
`,
	"ports.tsv":         portHead + "\n1\t135\ttcp\tRPC\tLink Tracking\tlink-tracking\tyes\tkb1\t-\n2\t1024-65535\ttcp\tRPC\tHigh ports\t-\t-\tkb1+kb2\tgeneric",
	"disagreements.tsv": disagreementHead + "\nsection-only\tlink-tracking,fax\tnone\ticmp\tlisted\tabsent\tkeep\tkb1",
	"roles.yaml": `roles:
- {id: client, description: a workstation}
- {id: dc, description: a domain controller}
rules: [A rule.]
isolated_network:
  droppable: [tcp/42]
  sources: [kb2]
flows:
- id: client-to-dc-01
  relationship: client-to-dc
  from: client
  to: dc
  app: RPC
  protocol: tcp
  ports: 135,dynamic-rpc
  need: required
  generation: legacy
  service: link-tracking
  pins: [rdp]
  sources: [kb1]
relationships:
- {id: client-to-dc, description: a workstation and a domain controller, scopes: [domain]}
`,
	"systems.yaml": `generations:
- {id: legacy, description: old systems, dynamic_rpc: 1025-5000, sources: [kb1]}
ranges:
- {id: legacy, symbol: dynamic-rpc, ports: 1025-5000, os: old systems, generation: legacy, sources: [kb1]}
- {id: moved, symbol: dynamic-rpc, ports: 10000-65535, os: a product, product: TMG, systems: [windows-xp], sources: [kb1]}
systems:
- {id: windows-xp, name: Windows XP, aliases: [xp], generation: legacy, range: legacy, sources: [kb1]}
`,
}

// changed returns the small files with a piece of one of them replaced.
func changed(t *testing.T, file, old, new string) fstest.MapFS {
	t.Helper()
	if !strings.Contains(small[file], old) {
		t.Fatalf("%s has no %q", file, old)
	}
	texts := maps.Clone(small)
	texts[file] = strings.Replace(texts[file], old, new, 1)
	return files(texts)
}

func TestLoadSmall(t *testing.T) {
	c, err := catalog.Load(files(small))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link-tracking", "VERKNÜPFUNGEN", "trkwks", "mountd", "trk"} {
		if found := c.ServicesByName(name); len(found) != 1 || found[0].ID != "link-tracking" {
			t.Errorf("ServicesByName(%q) = %v", name, found)
		}
	}
	facts := c.PortsAt(135, catalog.TCP)
	if len(facts.Uses) != 1 || facts.Uses[0].Port.Notes[0] != "A note." || len(facts.Rows) != 1 || len(facts.Flows) != 1 || len(facts.Ranges) != 0 {
		t.Errorf("PortsAt(135) = %+v", facts)
	}
	if got := c.Overridden(); len(got) > 0 {
		t.Errorf("Overridden() = %v, and there is no overlay", got)
	}
}

func TestLoadRefusesFacts(t *testing.T) {
	tests := []struct{ name, file, old, new, want string }{
		{"unknown key", "services.yaml", "  group: file", "  gruop: file", `14:3: unknown key "gruop"; did you mean "group"?`},
		{"null entry", "services.yaml", "services:\n", "services:\n-\n", `10:2: services[0]: want keys with values, found nothing: give it a value or remove it`},
		{"id", "services.yaml", "id: link-tracking\n", "id: Link Tracking\n", `10:7: id "Link Tracking": want a word such as exchange-2010-ab: lower case, digits, '-'`},
		{"id twice", "services.yaml", "id: fax", "id: link-tracking", `33:7: id "link-tracking" is there twice: make one entry of the two`},
		{"name", "services.yaml", "  name: Fax\n", "", `33:3: fax: every service has a name and ports`},
		{"group", "services.yaml", "group: print", "group: Print", `35:10: group "Print": want a word such as remote-desktop: lower case, digits, '-'`},
		{"status", "services.yaml", "status: current", "status: old", `15:11: status "old": want one of ["current" "legacy" "removed"]`},
		{"basis", "services.yaml", "basis: section", "basis: prose", `16:10: basis "prose": want one of ["section" "section-prose" "reverse-table-only" "supplement"]`},
		{"confidence", "services.yaml", "  confidence: unverified\n", "", `33:3: fax: what is not in the article has a confidence: documented or unverified`},
		{"no source", "services.yaml", "  sources: [kb2]\n", "", `33:3: sources: none: name at least one`},
		{"unknown source", "services.yaml", "  sources: [kb2]", "  sources: [kb2, kb3]", `39:18: unknown source "kb3"; did you mean "kb1"?`},
		{"unknown program", "services.yaml", "[mountd]", "[nfs]", `18:14: unknown program "nfs"`},
		{"no port", "services.yaml", "ports:\n  - {app: ping, protocol: icmp, ports: echo, need: optional}", "ports: []", `33:3: fax: every service has a name and ports`},
		{"no app", "services.yaml", "{app: ping, ", "{", `41:5: every port has an app, which says what speaks there`},
		{"protocol", "services.yaml", "protocol: gre", "protocol: grre", `28:15: services[0].ports[1].protocol: protocol "grre": want one of [tcp udp icmp gre esp ah]`},
		{"no protocol", "services.yaml", "    protocol: gre\n", "", `27:5: protocol: none: want one of [tcp udp icmp gre esp ah]`},
		{"port too large", "services.yaml", "ports: 135", "ports: 70000", `22:12: services[0].ports[0].ports: portset: offset 0: "70000": ports end at 65535`},
		{"tcp without ports", "services.yaml", "ports: 135", "ports: none", `20:5: ports: none: tcp has ports: want some such as 135, or a word such as dynamic-rpc`},
		{"tcp with echo", "services.yaml", "ports: 135", "ports: echo", `20:5: ports: echo: tcp has ports: want some such as 135, or a word such as dynamic-rpc`},
		{"gre with ports", "services.yaml", "ports: none", "ports: 47", `29:12: ports: 47: gre has none`},
		{"gre with echo", "services.yaml", "ports: none", "ports: echo", `29:12: ports: echo: gre has none`},
		{"need", "services.yaml", "need: optional", "need: sometimes", `41:52: need "sometimes": want one of ["required" "conditional" "optional" "one-of" "recommended" "legacy"]`},
		{"unknown footnote", "services.yaml", "[note-1]", "[note-2]", `24:13: unknown footnote "note-2"; did you mean "note-1"?`},
		{"footnote", "services.yaml", "  note-1: A note.", "  note-1: A note.\n  Note: ''", `5:9: footnote "Note": want a word such as dfsr-5722 with text behind it`},
		{"revision", "services.yaml", "stated: {2023-12", "stated: {2022-12", `25:23: unknown revision "2022-12"; did you mean "2023-12"?`},
		{"only_in", "services.yaml", "only_in: 2023-12", "only_in: '2020'", `26:14: unknown revision "2020"`},
		{"pin", "services.yaml", "pin: rdp", "pin: rpd", `31:36: unknown pin "rpd"; did you mean "rdp"?`},
		{"no pin", "services.yaml", ", pin: rdp", "", `31:15: fixed_port: say how, as in registry, and which pin of rpc-fixed-ports.yaml`},
		{"how", "services.yaml", "{how: registry, ", "{", `31:15: fixed_port: say how, as in registry, and which pin of rpc-fixed-ports.yaml`},
		{"depends_on", "services.yaml", "[fax]", "[fux]", `32:16: unknown service "fux"; did you mean "fax"?`},
		{"directory", "services.yaml", "service: link-tracking,", "service: link-traking,", `7:15: unknown service "link-traking"; did you mean "link-tracking"?`},
		{"directory without source", "services.yaml", "  sources: [kb1]\nservices", "services", `6:3: sources: none: name at least one`},
		{"meaning", "services.yaml", "meaning: always", "meaning: ''", `2:3: need "required": say what it means`},
		{"name of another", "services.yaml", "name: Fax", "name: Fax\n  aliases: [LINK TRACKING]", `33:3: "LINK TRACKING" is a name of link-tracking too: each belongs to one service`},

		{"title", "sources.yaml", ", title: another", "", `3:3: kb2: every source has a name and a title`},
		{"date", "sources.yaml", "'2023-12-26'", "last year", `2:54: revision "last year": want a date such as 2023-12-26`},
		{"source twice", "sources.yaml", "kb2", "kb1", `3:8: id "kb1" is there twice: make one entry of the two`},

		{"seq", "ports.tsv", "\n2\t", "\n1\t", `3: seq: 1 is on line 2 too: number the rows as the article has them`},
		{"row without ports", "ports.tsv", "\t135\t", "\t-\t", `2: ports: no ports: want some such as 135,5000-5020, a word such as dynamic-rpc, or none`},
		{"row of tcp without ports", "ports.tsv", "\t135\t", "\tnone\t", `2: ports: none: tcp and udp have ports, other protocols none`},
		{"row of gre with ports", "ports.tsv", "\ttcp\t", "\tgre\t", `2: ports: 135: tcp and udp have ports, other protocols none`},
		{"row of an unknown protocol", "ports.tsv", "\ttcp\t", "\ttcq\t", `2: protocol: protocol "tcq": want one of [tcp udp icmp gre esp ah]`},
		{"row of an unknown service", "ports.tsv", "link-tracking", "link-traking", `2: service: unknown service "link-traking"; did you mean "link-tracking"?`},
		{"row of nothing", "ports.tsv", "\tRPC\t", "\t-\t", `2: app: every row has app and printed_service`},
		{"in_section", "ports.tsv", "\tyes\t", "\tmaybe\t", `2: in_section: "maybe": want yes, no, no-section or -`},
		{"no in_section", "ports.tsv", "\tyes\t", "\t-\t", `2: in_section: want yes, no or no-section; - is for rows without a service`},
		{"row without source", "ports.tsv", "\tkb1\t", "\t-\t", `2: sources: none: name at least one`},
		{"row of an unknown source", "ports.tsv", "kb1+kb2", "kb1+kb3", `3: sources: unknown source "kb3"; did you mean "kb1"?`},

		{"kind", "disagreements.tsv", "section-only", "section", `2: kind: "section": want reverse-only, section-only, value, label, revision or missing-section`},
		{"service", "disagreements.tsv", ",fax", ",fux", `2: services: unknown service "fux"; did you mean "fax"?`},
		{"suggestion", "disagreements.tsv", "keep", "-", `2: suggestion: every row has section_says, table_says and suggestion`},
		{"twice", "disagreements.tsv", disagreementHead, disagreementHead + "\nsection-only\tlink-tracking,fax\tnone\ticmp\ta\tb\tc\tkb1", `3: kind: section-only link-tracking,fax none [icmp] is on line 2 too: make one row of the two`},
		{"ports", "disagreements.tsv", "none", "dynamic", `2: ports: portset: offset 0: "dynamic": want a port such as 443 or a range such as 5000-5020`},

		{"role", "roles.yaml", "description: a workstation", "description: ''", `2:3: client: every role has a description`},
		{"alias", "roles.yaml", "description: a domain controller", "description: a domain controller, aliases: [DC]", `3:56: alias "DC": want a word such as domain-controller: lower case, digits, '-'`},
		{"alias of another", "roles.yaml", "description: a domain controller", "description: a domain controller, aliases: [client]", `3:3: "client" is a name of client too: each belongs to one role`},
		{"is", "roles.yaml", "description: a domain controller", "description: a domain controller, is: [cleint]", `3:51: unknown role "cleint"; did you mean "client"?`},
		{"is itself", "roles.yaml", "description: a domain controller", "description: a domain controller, is: [dc]", `3:50: dc: is itself, by what it is: take one of the two out`},
		{"is itself by another", "roles.yaml", "description: a domain controller}", "description: a domain controller, is: [x]}\n- {id: x, description: an x, is: [client, dc]}",
			`3:50: dc: is itself, by what it is: take one of the two out` + "\nroles.yaml:4:34: x: is itself, by what it is: take one of the two out"},
		{"relationship of a flow", "roles.yaml", "relationship: client-to-dc", "relationship: client-to-cd", `10:17: unknown relationship "client-to-cd"; did you mean "client-to-dc"?` + "\nroles.yaml:22:3: client-to-dc: every relationship has one of three: flows that name it, a service, unfiltered"},
		{"relationship", "roles.yaml", "description: a workstation and a domain controller, ", "", `22:3: client-to-dc: every relationship has a description and scopes`},
		{"scope", "roles.yaml", "scopes: [domain]", "scopes: [dom]", `22:83: scope "dom": want one of ["domain" "forest" "trust" "group" "used" "used-by" "tunnel"]`},
		{"relationship of flows with ends", "roles.yaml", "scopes: [domain]", "scopes: [domain], to: [client]", `22:3: client-to-dc: to and mirror stand at its flows`},
		{"relationship of flows and a service", "roles.yaml", "scopes: [domain]", "scopes: [domain], service: fax", `22:3: client-to-dc: every relationship has one of three: flows that name it, a service, unfiltered`},
		{"relationship without rows", "roles.yaml", "relationships:\n", "relationships:\n- {id: none, description: nothing, scopes: [used]}\n", `22:3: none: every relationship has one of three: flows that name it, a service, unfiltered`},
		{"relationship of an unknown service", "roles.yaml", "relationships:\n", "relationships:\n- {id: a, description: b, scopes: [used], service: fux, to: [dc, fux]}\n", `22:52: unknown service "fux"; did you mean "fax"?` + "\nroles.yaml:22:66: unknown role \"fux\"; did you mean \"fax\"?"},
		{"unfiltered without source", "roles.yaml", "relationships:\n", "relationships:\n- {id: a, description: b, scopes: [used], unfiltered: true}\n", `22:3: sources: none: name at least one`},
		{"circumstance", "roles.yaml", "  pins: [rdp]\n", "  pins: [rdp]\n  when: ['!form:dc']\n", `20:10: flows[0].when[0]: unknown circumstance "!form:dc"`},
		{"circumstance of nobody", "roles.yaml", "  pins: [rdp]\n", "  pins: [rdp]\n  when: ['from:dc,fax,cleint']\n", `20:10: unknown role "cleint"; did you mean "client"?`},
		{"circumstance of a system", "roles.yaml", "  pins: [rdp]\n", "  pins: [rdp]\n  when: [ldaps, '!to-system:windows-pp']\n", `20:17: unknown system "windows-pp"; did you mean "windows-xp"?`},
		{"circumstance of a generation", "roles.yaml", "  pins: [rdp]\n", "  pins: [rdp]\n  when: [to-generation:modern]\n", `20:10: unknown generation "modern"`},
		{"circumstance of SYSVOL", "roles.yaml", "  pins: [rdp]\n", "  pins: [rdp]\n  when: [sysvol:nfs]\n", `20:10: sysvol "nfs": want one of ["dfsr" "frs"]`},
		{"circumstance of a trust", "roles.yaml", "  pins: [rdp]\n", "  pins: [rdp]\n  when: [phase:dream]\n", `20:10: phase "dream": want one of ["create" "use"]`},
		{"circumstance with nothing", "roles.yaml", "  pins: [rdp]\n", "  pins: [rdp]\n  when: ['to:']\n", `20:10: flows[0].when[0]: "to:" says nothing after to: it takes one word or several, as in to:a,b`},
		{"circumstance of a port", "services.yaml", "ports: echo, ", "ports: echo, when: ['to:cd'], ", `41:53: unknown role "cd"; did you mean "dc"?`},
		{"from", "roles.yaml", "from: client", "from: clinet", `11:9: unknown role "clinet"; did you mean "client"?`},
		{"to", "roles.yaml", "  from: client\n  to: dc\n", "", `9:3: client-to-dc-01: every flow has relationship, app, generation, and from or to or both`},
		{"generation", "roles.yaml", "generation: legacy", "generation: modern", `17:15: unknown generation "modern"`},
		{"flow need", "roles.yaml", "need: required", "need: require", `16:9: need "require": want one of ["required" "conditional" "optional" "one-of" "recommended" "legacy"]`},
		{"flow ports", "roles.yaml", "ports: 135,dynamic-rpc", "ports: none", `9:3: ports: none: tcp has ports: want some such as 135, or a word such as dynamic-rpc`},
		{"flow service", "roles.yaml", "service: link-tracking", "service: link", `18:12: unknown service "link"`},
		{"flow pin", "roles.yaml", "pins: [rdp]", "pins: [ntds]", `19:10: unknown pin "ntds"`},
		{"flow source", "roles.yaml", "sources: [kb1]", "sources: []", `20:12: sources: none: name at least one`},
		{"network source", "roles.yaml", "  sources: [kb2]\n", "", `6:3: sources: none: name at least one`},

		{"range", "systems.yaml", "range: legacy", "range: modern", `7:80: unknown range "modern"`},
		{"generation of a range", "systems.yaml", "systems, generation: legacy", "systems, generation: legcay", `4:84: unknown generation "legcay"; did you mean "legacy"?`},
		{"system of a range", "systems.yaml", "[windows-xp]", "[windows-nt]", `5:95: unknown system "windows-nt"; did you mean "windows-xp"?`},
		{"product without systems", "systems.yaml", ", systems: [windows-xp]", "", `5:3: moved: product and systems go together`},
		{"symbol", "systems.yaml", "symbol: dynamic-rpc", "symbol: echo", `4:24: symbol "echo": want dynamic-rpc`},
		{"range without ports", "systems.yaml", "ports: 1025-5000, os", "os", `4:3: legacy: every range has ports and os`},
		{"system without name", "systems.yaml", "name: Windows XP, ", "", `7:3: windows-xp: every system has a name and a range`},
		{"generation without description", "systems.yaml", "description: old systems, ", "", `2:3: legacy: every generation has a description`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := catalog.Load(changed(t, tt.file, tt.old, tt.new))
			if want := tt.file + ":" + tt.want; err == nil || c != nil || err.Error() != want {
				t.Errorf("Load = %v, and the error\n%v\nwant\n%s", c, err, want)
			}
		})
	}
}

// TestLoadTellsAllMistakes holds that one attempt finds the mistakes of all files, and
// that a file that cannot be read makes none in those that refer to it.
func TestLoadTellsAllMistakes(t *testing.T) {
	texts := maps.Clone(small)
	texts["sources.yaml"] = "sources: ["
	texts["services.yaml"] = strings.NewReplacer("status: current", "status: old", "status: legacy", "status: older").Replace(texts["services.yaml"])
	texts["ports.tsv"] += "\n3"
	_, err := catalog.Load(files(texts))
	var lines []string
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			lines = append(lines, line[:strings.Index(line, ": ")])
		}
	}
	if want := []string{"sources.yaml:1:10", "services.yaml:15:11", "services.yaml:36:11", "ports.tsv:4"}; !slices.Equal(lines, want) {
		t.Errorf("mistakes at %q, want %q:\n%v", lines, want, err)
	}
}

// TestBuiltinIsWhatTheFilesSay holds that what was generated loads as what it was
// generated from does.
func TestBuiltinIsWhatTheFilesSay(t *testing.T) {
	want, err := catalog.Load(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	got := catalog.Builtin()
	for what, both := range map[string][2]any{
		"Services":        {got.Services(), want.Services()},
		"Footnotes":       {got.Footnotes(), want.Footnotes()},
		"Directory":       {got.Directory(), want.Directory()},
		"PortRows":        {got.PortRows(), want.PortRows()},
		"Disagreements":   {got.Disagreements(""), want.Disagreements("")},
		"Roles":           {got.Roles(), want.Roles()},
		"Flows":           {got.Flows("", ""), want.Flows("", "")},
		"FlowRules":       {got.FlowRules(), want.FlowRules()},
		"Relationships":   {got.Relationships(), want.Relationships()},
		"IsolatedNetwork": {got.IsolatedNetwork(), want.IsolatedNetwork()},
		"Generations":     {got.Generations(), want.Generations()},
		"DynamicRanges":   {got.DynamicRanges(), want.DynamicRanges()},
		"Systems":         {got.Systems(), want.Systems()},
		"Sources":         {got.Sources(), want.Sources()},
		"Pins":            {slices.Collect(got.Pins()), slices.Collect(want.Pins())},
		"PinAdvice":       {got.PinAdvice(), want.PinAdvice()},
		"PinExample":      {got.PinExample(), want.PinExample()},
	} {
		if diff := cmp.Diff(both[1], both[0]); diff != "" {
			t.Errorf("%s (-files +built in)\n%s", what, diff)
		}
	}
}

// FuzzLoadFacts holds that what loads can be looked up.
func FuzzLoadFacts(f *testing.F) {
	names := []string{"services.yaml", "sources.yaml", "ports.tsv", "disagreements.tsv", "roles.yaml", "systems.yaml"}
	for i, name := range names {
		f.Add(i, small[name])
		f.Add(i, "")
	}
	f.Add(0, "services: [{}]")
	f.Add(2, portHead+"\n1\t0-65535\tudp\ta\tb\t-\t-\tkb1\t-")
	f.Fuzz(func(t *testing.T, file int, text string) {
		texts := maps.Clone(small)
		texts[names[max(0, file)%len(names)]] = text
		c, err := catalog.Load(files(texts))
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Error("an error that says nothing")
			}
			return
		}
		for _, s := range c.Services() {
			if len(s.Sources) == 0 || len(s.Ports) == 0 {
				t.Errorf("%+v has no source or no ports", s)
			}
			if found := c.ServicesByName(s.ID); len(found) != 1 || found[0] != s {
				t.Errorf("ServicesByName(%q) = %v", s.ID, found)
			}
			for i := range s.Ports {
				for r := range s.Ports[i].Ports.Numbers.Ranges() {
					use := catalog.PortUse{Service: s, Port: &s.Ports[i]}
					if !slices.Contains(c.PortsAt(r.First, s.Ports[i].Protocol).Uses, use) || !slices.Contains(c.PortsAt(r.Last, s.Ports[i].Protocol).Uses, use) {
						t.Errorf("PortsAt(%s) does not find %s %+v", r, s.ID, s.Ports[i])
					}
				}
			}
		}
		for _, os := range c.Systems() {
			if found, err := c.ParseOS(os.ID); err != nil || found != os || c.DynamicPorts(os).Ports.IsEmpty() {
				t.Errorf("ParseOS(%q) = %v, %v, with ports %v", os.ID, found, err, c.DynamicPorts(os))
			}
		}
		for _, flow := range c.Flows("", "") {
			if !slices.Contains(c.Flows(flow.From, flow.To), flow) {
				t.Errorf("Flows(%q, %q) lack %+v", flow.From, flow.To, flow)
			}
		}
		for _, r := range c.PortRows() {
			for p := range r.Ports.Numbers.Ranges() {
				if !slices.Contains(c.PortsAt(p.Last, r.Protocol).Rows, r) {
					t.Errorf("PortsAt(%d, %s) lacks row %+v", p.Last, r.Protocol, r)
				}
			}
		}
	})
}
