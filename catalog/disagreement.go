package catalog

import (
	"fmt"
	"slices"
	"strings"
)

// A Disagreement is a place where the article contradicts itself, or one of its
// revisions another: a row of disagreements.tsv.
type Disagreement struct {
	Kind       DisagreementKind
	Services   []string // IDs; empty for the row of all dynamic ports
	Ports      Ports    // none when it is about no port, or all
	Protocols  []Protocol
	Section    string   // what the section of the service says
	Table      string   // what the table by port says
	Suggestion string   // what holds
	Sources    []string // IDs of sources: the revisions that were compared; never empty
}

// A DisagreementKind says in what way the article disagrees.
type DisagreementKind string

const (
	ReverseOnly    DisagreementKind = "reverse-only"    // the section of the service lacks the row
	SectionOnly    DisagreementKind = "section-only"    // the table by port lacks it
	Value          DisagreementKind = "value"           // other numbers
	Label          DisagreementKind = "label"           // other names
	Revision       DisagreementKind = "revision"        // one revision has what another lacks
	MissingSection DisagreementKind = "missing-section" // services without a section
)

// Disagreements returns those about the service with the given ID in the order of
// the file, or all if it is empty. The slice is the caller's.
func (c *Catalog) Disagreements(service string) []*Disagreement {
	var found []*Disagreement
	for _, d := range pointers(c.tableFile().disagreements) {
		if service == "" || slices.Contains(d.Services, service) {
			found = append(found, d)
		}
	}
	return found
}

func (b *build) disagreements() ([]Disagreement, error) {
	t, err := b.table("disagreements.tsv", []string{
		"kind", "services", "ports", "protocols", "section_says", "table_says", "suggestion", "sources",
	})
	if err != nil {
		return nil, err
	}
	var disagreements []Disagreement
	lineOf := map[string]int{}
	for _, r := range t.rows {
		d := b.disagreement(r)
		if line, taken := lineOf[d.key()]; taken {
			r.mistake("kind", "%s is on line %d too: make one row of the two", d.key(), line)
		}
		lineOf[d.key()] = r.line
		disagreements = append(disagreements, d)
	}
	return merge(b, "disagreement", b.below.tableFile().disagreements, disagreements, (*Disagreement).key, t.place), t.err()
}

// key returns what d is about: section-only cluster 445 tcp.
func (d *Disagreement) key() string {
	return fmt.Sprint(d.Kind, " ", strings.Join(d.Services, ","), " ", d.Ports, " ", d.Protocols)
}

// disagreement returns what r says, having noted what is wrong with it.
func (b *build) disagreement(r row) Disagreement {
	d := Disagreement{
		Kind:       DisagreementKind(r.text("kind")),
		Services:   r.list("services", ","),
		Section:    r.text("section_says"),
		Table:      r.text("table_says"),
		Suggestion: r.text("suggestion"),
		Sources:    r.sourceIDs(b.sourceIDs),
	}
	if r.text("ports") != "" {
		d.Ports = r.ports()
	}
	for _, name := range r.list("protocols", ",") {
		d.Protocols = append(d.Protocols, r.protocol("protocols", name))
	}
	r.refer("services", b.serviceIDs, d.Services...)
	switch d.Kind {
	case ReverseOnly, SectionOnly, Value, Label, Revision, MissingSection:
	default:
		r.mistake("kind", "%q: want reverse-only, section-only, value, label, revision or missing-section", d.Kind)
	}
	if d.Section == "" || d.Table == "" || d.Suggestion == "" {
		r.mistake("suggestion", "every row has section_says, table_says and suggestion")
	}
	return d
}
