package catalog

import (
	"errors"
	"io/fs"
	"slices"
)

// A PortRow is a row of the table by port that ends the article, "Ports and
// protocols" of KB 832017: a row of ports.tsv. It is what the article says there;
// what is known better stands in the ports of the services, and where the two
// differ is a [Disagreement].
type PortRow struct {
	Seq            uint32 // its place in the article; unique
	Ports          Ports
	Protocol       Protocol
	App            string
	PrintedService string    // the name of the service as the article prints it
	Service        string    // ID of the service; empty for the row of all dynamic ports
	InSection      InSection // whether the section of the service has the row too
	Sources        []string  // IDs of sources: the revisions of the article that have it; never empty
	Remark         string    // often empty
}

// An InSection says whether the section of the service in the article has a row too.
type InSection string

const (
	InSectionYes  InSection = "yes"
	InSectionNo   InSection = "no"         // it does not: a [Disagreement] tells
	InSectionNone InSection = "no-section" // the service has no section of its own
)

// PortRows returns the table by port in the order of the article. The slice is the
// caller's.
func (c *Catalog) PortRows() []*PortRow { return slices.Clone(c.tableFile().rows) }

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
	for _, d := range c.tableFile().disagreements {
		if service == "" || slices.Contains(d.Services, service) {
			found = append(found, d)
		}
	}
	return found
}

// tableFile is all of ports.tsv and disagreements.tsv.
type tableFile struct {
	rows          []*PortRow
	disagreements []*Disagreement
}

func (c *Catalog) tableFile() *tableFile {
	if c.tables == nil {
		return &tableFile{}
	}
	return c.tables()
}

// loadTables returns what ports.tsv and disagreements.tsv say.
func loadTables(fsys fs.FS) (*tableFile, error) {
	rows, err := readTable(fsys, "ports.tsv", []string{
		"seq", "ports", "protocol", "app", "printed_service", "service", "in_section", "sources", "remark",
	})
	if err != nil {
		return nil, err
	}
	disagreements, err := readTable(fsys, "disagreements.tsv", []string{
		"kind", "services", "ports", "protocols", "section_says", "table_says", "suggestion", "sources",
	})
	if err != nil {
		return nil, err
	}
	f := &tableFile{}
	for _, r := range rows.rows {
		f.rows = append(f.rows, r.portRow())
	}
	for _, r := range disagreements.rows {
		f.disagreements = append(f.disagreements, r.disagreement())
	}
	return f, errors.Join(rows.err(), disagreements.err())
}

// portRow returns what r says, having noted what is wrong with it.
func (r row) portRow() *PortRow {
	return &PortRow{
		Seq:            r.number("seq", r.text("seq")),
		Ports:          r.ports(),
		Protocol:       r.protocol("protocol", r.text("protocol")),
		App:            r.text("app"),
		PrintedService: r.text("printed_service"),
		Service:        r.text("service"),
		InSection:      InSection(r.text("in_section")),
		Sources:        r.list("sources", "+"),
		Remark:         r.text("remark"),
	}
}

// disagreement returns what r says, having noted what is wrong with it.
func (r row) disagreement() *Disagreement {
	d := &Disagreement{
		Kind:       DisagreementKind(r.text("kind")),
		Services:   r.list("services", ","),
		Ports:      r.ports(),
		Section:    r.text("section_says"),
		Table:      r.text("table_says"),
		Suggestion: r.text("suggestion"),
		Sources:    r.list("sources", "+"),
	}
	for _, name := range r.list("protocols", ",") {
		d.Protocols = append(d.Protocols, r.protocol("protocols", name))
	}
	return d
}

func (r row) ports() Ports {
	text := r.text("ports")
	if text == "" {
		return Ports{}
	}
	p, err := ParsePorts(text)
	if err != nil {
		r.mistake("ports", "%w", err)
	}
	return p
}

func (r row) protocol(column, name string) Protocol {
	p, err := ParseProtocol(name)
	if err != nil {
		r.mistake(column, "%w", err)
	}
	return p
}
