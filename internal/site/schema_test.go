package site_test

import (
	"bytes"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/quaymaster/quaymaster/internal/site"
)

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(site.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertVocabs()
	if err := c.AddResource("site.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("site.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// valid reports what the schema has against a YAML file.
func valid(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

// The schema takes what Read takes. It knows fewer mistakes: those of form.
func TestSchemaTakes(t *testing.T) {
	s := compiled(t)
	texts := map[string]string{
		"everything":   full,
		"the example":  string(site.Example()),
		"the comments": string(uncommented()),
		"the least":    "zones: {core: {networks: [10.0.0.0/24]}}\n",
		"numbers": "zones: {10: {networks: [10.0.0.0/24]}}\nhosts: {1: {zone: 10, addresses: [10.0.0.1], roles: [wsus], os: 2019, " +
			"pins: {wmi: 38901}, dynamic_range: 50000-50255, uses: [2]}, 2: {addresses: [10.0.0.2]}}\n",
		"empty lists": "zones: {core: {networks: [10.0.0.0/24]}}\ntrusts: []\ntunnels: []\nhosts: {}\nfirewalls: {}\ndomains: {corp.example: {}}\noptions: {}\n",
	}
	for _, tt := range warned {
		texts[tt.name] = tt.text
	}
	for name, text := range texts {
		read(t, text)
		if err := valid(t, s, text); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	const zones = "zones: {core: {networks: [10.0.0.0/24]}}\n"
	s := compiled(t)
	for name, text := range map[string]string{
		"nothing":                 "{}",
		"no zones":                "hosts: {}",
		"zones empty":             "zones: {}",
		"zone without networks":   "zones: {core: {}}",
		"zone of nothing":         "zones: {core: }",
		"no network":              "zones: {core: {networks: [office]}}",
		"name":                    `zones: {"a b": {networks: [10.0.0.0/24]}}`,
		"unknown key":             zones + "farewalls: {}",
		"unknown key of a zone":   "zones: {core: {networks: [10.0.0.0/24], nets: []}}",
		"unknown key of a host":   zones + "hosts: {a: {addresses: [10.0.0.1], rolse: []}}",
		"unknown key of a trust":  zones + "trusts: [{trusting: a, trusted: b, way: two}]",
		"unknown key of a domain": zones + "domains: {a: {root: b}}",
		"unknown option":          zones + "options: {modes: precise}",
		"host without addresses":  zones + "hosts: {a: {roles: [wsus]}}",
		"hosts as a list":         zones + "hosts: [{addresses: [10.0.0.1]}]",
		"role as text":            zones + "hosts: {a: {addresses: [10.0.0.1], roles: wsus}}",
		"ldaps as text":           zones + "hosts: {a: {addresses: [10.0.0.1], ldaps: 'yes'}}",
		"pin of 0":                zones + "hosts: {a: {addresses: [10.0.0.1], pins: {ntds: 0}}}",
		"pin too large":           zones + "hosts: {a: {addresses: [10.0.0.1], pins: {ntds: 65536}}}",
		"pins as a list":          zones + "hosts: {a: {addresses: [10.0.0.1], pins: [38901]}}",
		"firewall of one zone":    zones + "firewalls: {f: {zones: [core]}}",
		"firewall without zones":  zones + "firewalls: {f: {nat: true}}",
		"follows":                 zones + "firewalls: {f: {zones: [core, dmz], follows: [sip]}}",
		"tunnel of three":         zones + "tunnels: [{between: [a, b, c], kind: ipsec}]",
		"kind of a tunnel":        zones + "tunnels: [{between: [a, b], kind: gre}]",
		"direction":               zones + "trusts: [{trusting: a, trusted: b, direction: both}]",
		"sysvol":                  zones + "domains: {a: {sysvol: dfs}}",
		"mode":                    zones + "options: {mode: exact}",
		"need":                    zones + "options: {need: [all]}",
		"no need":                 zones + "options: {need: []}",
	} {
		if valid(t, s, text) == nil {
			t.Errorf("%s: the schema takes\n%s", name, text)
		}
	}
}
