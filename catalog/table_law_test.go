package catalog_test

import (
	"slices"
	"testing"

	"github.com/quaymaster/quaymaster/catalog"
)

// TestTableByPort holds that ports.tsv follows from services.yaml, but for what
// disagreements.tsv lists. README.md has the rules.
func TestTableByPort(t *testing.T) {
	c := catalog.Builtin()
	excused := map[*catalog.Disagreement]bool{}
	// excuse looks for a disagreement that says so.
	excuse := func(service string, ports catalog.Ports, protocol catalog.Protocol, kind catalog.DisagreementKind) bool {
		for _, d := range c.Disagreements(service) {
			if d.Kind == kind && slices.Contains(d.Protocols, protocol) && d.Ports.String() == ports.String() {
				excused[d] = true
				return true
			}
		}
		return false
	}

	// From the table to the services.
	for _, r := range c.PortRows() {
		if r.Service == "" { // stands for the dynamic ports of all services
			continue
		}
		s, _ := c.Service(r.Service)
		if (s.Basis == catalog.BasisReverseTable) != (r.InSection == catalog.InSectionNone) {
			t.Errorf("row %d: in_section is %s, and the basis of %s %s", r.Seq, r.InSection, s.ID, s.Basis)
		}
		follows := slices.ContainsFunc(s.Ports, func(p catalog.ServicePort) bool { return p.Protocol == r.Protocol && printedAs(p, r) })
		if follows == (r.InSection == catalog.InSectionNo) {
			t.Errorf("row %d (%s %s %s): in_section is %s, but that %s has it is %v", r.Seq, s.ID, r.Ports, r.Protocol, r.InSection, s.ID, follows)
		}
		if !follows && !excuse(s.ID, r.Ports, r.Protocol, catalog.ReverseOnly) {
			t.Errorf("row %d: %s has no port %s %s, and no disagreement of the kind reverse-only says so", r.Seq, s.ID, r.Ports, r.Protocol)
		}
		if slices.ContainsFunc(r.Sources, func(id string) bool { return !slices.Contains(s.Sources, id) }) {
			t.Errorf("row %d: %s is of %q, which is more than those %s has, %q", r.Seq, s.ID, r.Sources, s.ID, s.Sources)
		}
	}

	// From the services to the table.
	for _, s := range c.Services() {
		if s.Basis == catalog.BasisSupplement {
			continue
		}
		for _, p := range s.Ports {
			if p.Ports.Symbol.IsDynamic() {
				continue // the row of all dynamic ports stands for it
			}
			printed := map[string]bool{}
			for _, r := range c.PortRows() {
				if r.Service == s.ID && r.Protocol == p.Protocol && printedAs(p, r) {
					for _, id := range r.Sources {
						printed[id] = true
					}
				}
			}
			excused := excuse(s.ID, p.Ports, p.Protocol, catalog.SectionOnly)
			if excused != (len(printed) == 0) {
				t.Errorf("%s %s %s: in the table in %v, and a disagreement of the kind section-only says it is not: %v", s.ID, p.Ports, p.Protocol, printed, excused)
			}
			for _, id := range s.Sources {
				source, _ := c.Source(id)
				only := p.OnlyIn == "" || p.OnlyIn == source.Revision[:len("2023-12")]
				if !excused && id != "kb832017-2022" && printed[id] != only { // its table was not read in full
					t.Errorf("%s %s %s: the table of %s has it: %v, and the section: %v", s.ID, p.Ports, p.Protocol, id, printed[id], only)
				}
			}
		}
	}

	// Of the disagreements none is left over.
	for _, d := range c.Disagreements("") {
		if (d.Kind == catalog.ReverseOnly || d.Kind == catalog.SectionOnly) && !excused[d] {
			t.Errorf("%s %q %s %v: nothing disagrees there", d.Kind, d.Services, d.Ports, d.Protocols)
		}
	}
}

// printedAs reports whether a row prints a port: its numbers, or those that the
// article states in place of a dynamic one.
func printedAs(p catalog.ServicePort, r *catalog.PortRow) bool {
	if !p.Ports.Symbol.IsDynamic() {
		return p.Ports.Numbers.Equal(r.Ports.Numbers)
	}
	return len(p.Stated) > 0 && p.Stated["2023-12"] == r.Ports.String()
}
