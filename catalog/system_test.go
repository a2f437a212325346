package catalog_test

import (
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/catalog"
)

func TestParseOS(t *testing.T) {
	tests := []struct{ name, want string }{
		{"windows-2000", "windows-2000"},
		{"windows-xp", "windows-xp"},
		{"windows-vista", "windows-vista"},
		{"windows-7", "windows-7"},
		{"windows-8", "windows-8"},
		{"Windows 8.1", "windows-8.1"},
		{"windows-10", "windows-10"},
		{"win11", "windows-11"},
		{"windows-server-2003", "windows-server-2003"},
		{"2003r2", "windows-server-2003-r2"},
		{"2008", "windows-server-2008"},
		{"2008R2", "windows-server-2008-r2"},
		{"windows server 2008 r2", "windows-server-2008-r2"},
		{"2012", "windows-server-2012"},
		{"2012-r2", "windows-server-2012-r2"},
		{"windows-server-2016", "windows-server-2016"},
		{"2019", "windows-server-2019"},
		{"2022", "windows-server-2022"},
		{"windows-server-2025", "windows-server-2025"},
		{"samba", "samba"},
		{"LINUX", "linux"},
	}
	for _, tt := range tests {
		if os, err := catalog.Builtin().ParseOS(tt.name); err != nil || os.ID != tt.want {
			t.Errorf("ParseOS(%q) = %+v, %v, want %s", tt.name, os, err, tt.want)
		}
	}
	for name, want := range map[string]string{
		"windows-server-20o8": `unknown system "windows-server-20o8"; did you mean "windows-server-2008"?`,
		"linus":               `unknown system "linus"; did you mean "linux"?`,
		"solaris":             `unknown system "solaris"; known are windows-2000, windows-xp, `,
		"":                    `unknown system ""; known are windows-2000, `,
	} {
		if os, err := catalog.Builtin().ParseOS(name); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("ParseOS(%q) = %+v, %v, want the error %s", name, os, err, want)
		}
	}
}

func TestDynamicPorts(t *testing.T) {
	tests := []struct{ systems, ports, ranges, variants string }{
		{"", "", "", ""},
		{"windows-server-2003", "1025-5000", "legacy", ""},
		{"windows-xp windows-2000", "1025-5000", "legacy", ""},
		{"windows-11", "49152-65535", "modern", ""},
		{"windows-server-2008", "49152-65535", "modern", "exchange-2007-on-2008 exchange-2010 tmg"},
		{"windows-server-2008-r2", "49152-65535", "modern", "exchange-2010 tmg"},
		{"windows-server-2022", "49152-65535", "modern", ""},
		{"windows-server-2003 windows-server-2022", "1025-5000,49152-65535", "legacy modern", ""},
		{"samba", "49152-65535", "samba", ""},
		{"samba windows-7", "49152-65535", "modern samba", ""},
		{"linux", "61000-65535", "linux", "linux-kernel"},
		{"linux windows-xp", "1025-5000,61000-65535", "legacy linux", "linux-kernel"},
	}
	c := catalog.Builtin()
	for _, tt := range tests {
		var systems []*catalog.OS
		for name := range strings.FieldsSeq(tt.systems) {
			os, err := c.ParseOS(name)
			if err != nil {
				t.Fatal(err)
			}
			systems = append(systems, os)
		}
		d := c.DynamicPorts(systems...)
		ids := func(ranges []*catalog.DynamicRange) string {
			var ids []string
			for _, r := range ranges {
				ids = append(ids, r.ID)
			}
			return strings.Join(ids, " ")
		}
		if d.Ports.String() != tt.ports || ids(d.Ranges) != tt.ranges || ids(d.Variants) != tt.variants {
			t.Errorf("DynamicPorts(%s) = %s of %q, variants %q, want %s of %q, variants %q",
				tt.systems, d.Ports, ids(d.Ranges), ids(d.Variants), tt.ports, tt.ranges, tt.variants)
		}
	}
}

// TestRanges holds the numbers that several files and articles repeat.
func TestRanges(t *testing.T) {
	c := catalog.Builtin()
	sizes := map[string]int{"legacy": 3976, "modern": 16384, "mixed": 20360, "exchange-2007-on-2008": 58976, "exchange-2010": 53526, "tmg": 55536}
	ports := map[string]string{}
	for _, r := range c.DynamicRanges() {
		ports[r.ID] = r.Ports.String()
		if want, ok := sizes[r.ID]; ok && r.Ports.Len() != want {
			t.Errorf("%s has %d ports, want %d", r.ID, r.Ports.Len(), want)
		}
		if r.Product != "" && len(r.Notes) == 0 && r.Confidence == "" {
			t.Errorf("%s: a product moves the range, and no remark says more", r.ID)
		}
	}
	for _, g := range c.Generations() {
		if !g.DynamicRPC.IsEmpty() && g.DynamicRPC.String() != ports[g.ID] {
			t.Errorf("generation %s has %s, and the range of the same name %s", g.ID, g.DynamicRPC, ports[g.ID])
		}
	}
}

func TestFlows(t *testing.T) {
	c := catalog.Builtin()
	tests := []struct {
		from, to string
		want     int
	}{
		{"", "", 203}, {"client", "dc", 26}, {"dc", "dc", 28}, {"", "rodc", 18}, {"rodc", "", 16}, {"dc", "client", 0}, {"nobody", "", 0},
	}
	for _, tt := range tests {
		if got := len(c.Flows(tt.from, tt.to)); got != tt.want {
			t.Errorf("Flows(%q, %q) has %d, want %d", tt.from, tt.to, got, tt.want)
		}
	}
	if r, ok := c.Role("rodc"); !ok || r.Description != "read-only DC" {
		t.Errorf("Role(rodc) = %+v, %v", r, ok)
	}
	if _, ok := c.Role("nobody"); ok {
		t.Error("Role(nobody) is there")
	}
	if s, ok := c.Source("kb832017-2023"); !ok || s.Revision != "2023-12-26" || s.Name != "KB 832017" {
		t.Errorf("Source(kb832017-2023) = %+v, %v", s, ok)
	}
	for _, f := range c.Flows("", "") { // a pin has to be about what is dynamic, and what a service listens on be in its ports
		if len(f.Pins) > 0 && f.Ports.Symbol != catalog.DynamicRPC && f.Ports.Symbol != catalog.DynamicONC {
			t.Errorf("%s: pins %q of ports %s", f.ID, f.Pins, f.Ports)
		}
	}
}
