package catalog

import (
	"errors"
	"strconv"
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
func (c *Catalog) PortRows() []*PortRow { return pointers(c.tableFile().rows) }

// tableFile is all of ports.tsv and disagreements.tsv.
type tableFile struct {
	rows          []PortRow
	disagreements []Disagreement
}

func (c *Catalog) tableFile() *tableFile {
	if c.tables == nil {
		return &tableFile{}
	}
	return c.tables()
}

// readTables reads ports.tsv and disagreements.tsv, and returns the rows of all layers.
func (b *build) readTables() (*tableFile, error) {
	rows, errRows := b.portRows()
	disagreements, errDisagreements := b.disagreements()
	return &tableFile{rows, disagreements}, errors.Join(errRows, errDisagreements)
}

func (b *build) portRows() ([]PortRow, error) {
	t, err := b.table("ports.tsv", []string{
		"seq", "ports", "protocol", "app", "printed_service", "service", "in_section", "sources", "remark",
	})
	if err != nil {
		return nil, err
	}
	var rows []PortRow
	lineOf := map[uint32]int{}
	for _, r := range t.rows {
		p := b.portRow(r)
		if line, taken := lineOf[p.Seq]; taken {
			r.mistake("seq", "%d is on line %d too: number the rows as the article has them", p.Seq, line)
		}
		lineOf[p.Seq] = r.line
		rows = append(rows, p)
	}
	key := func(p *PortRow) string { return strconv.FormatUint(uint64(p.Seq), 10) }
	return merge(b, "row", b.below.tableFile().rows, rows, key, t.place), t.err()
}

// portRow returns what r says, having noted what is wrong with it.
func (b *build) portRow(r row) PortRow {
	p := PortRow{
		Seq:            r.number("seq", r.text("seq")),
		Ports:          r.ports(),
		Protocol:       r.protocol("protocol", r.text("protocol")),
		App:            r.text("app"),
		PrintedService: r.text("printed_service"),
		Service:        r.text("service"),
		InSection:      InSection(r.text("in_section")),
		Sources:        r.sourceIDs(b.sourceIDs),
		Remark:         r.text("remark"),
	}
	if p.Service != "" {
		r.refer("service", b.serviceIDs, p.Service)
	}
	if p.App == "" || p.PrintedService == "" {
		r.mistake("app", "every row has app and printed_service")
	}
	if !r.wrong("ports") && !r.wrong("protocol") && p.Ports.IsNone() == p.Protocol.HasPorts() {
		r.mistake("ports", "%s: tcp and udp have ports, other protocols none", p.Ports)
	}
	switch p.InSection {
	case InSectionYes, InSectionNo, InSectionNone:
	case "":
		if p.Service != "" {
			r.mistake("in_section", "want yes, no or no-section; - is for rows without a service")
		}
	default:
		r.mistake("in_section", "%q: want yes, no, no-section or -", p.InSection)
	}
	return p
}

func (r row) ports() Ports {
	p, err := ParsePorts(r.text("ports"))
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
