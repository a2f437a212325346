package catalog

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/portset"
)

// A Program is what is known of one ONC RPC program: a row of onc-programs.tsv.
type Program struct {
	Number     uint32      // RPC program number
	Name       string      // the name to show: mountd
	Aliases    []string    // other names in use: mount, showmount
	Versions   []uint32    // ascending; empty when not known
	Transports []string    // tcp and udp, as far as known
	UsualPorts portset.Set // where servers listen by convention; empty when the port is dynamic
	Block      string      // who gives out numbers of its range: iana-sun, site-local, transient, reserved
	Sources    []string    // where the facts were found; never empty
	Note       string      // a remark for people; often empty
}

// names returns the name of p and its aliases.
func (p Program) names() iter.Seq[string] {
	return slices.Values(append([]string{p.Name}, p.Aliases...))
}

func (p Program) clone() Program {
	p.Aliases = slices.Clone(p.Aliases)
	p.Versions = slices.Clone(p.Versions)
	p.Transports = slices.Clone(p.Transports)
	p.Sources = slices.Clone(p.Sources)
	return p
}

// readPrograms reads onc-programs.tsv, and returns the programs of all layers in
// ascending order of their numbers.
func (b *build) readPrograms() ([]Program, error) {
	t, err := b.table("onc-programs.tsv", []string{
		"program", "hex", "name", "aliases", "versions", "transports", "usual_port", "block", "n_sources", "sources", "note",
	})
	if err != nil {
		return nil, err
	}
	var programs []Program
	lineOfNumber, lineOfName := map[uint32]int{}, map[string]int{}
	for _, r := range t.rows {
		p := r.program()
		if line, taken := lineOfNumber[p.Number]; taken {
			r.mistake("program", "%d is on line %d too: make one row of the two", p.Number, line)
		}
		lineOfNumber[p.Number] = r.line
		for name := range p.names() {
			key := strings.ToLower(name)
			if line, taken := lineOfName[key]; taken {
				r.mistake("name", "%q is a name on line %d too: each belongs to one program", name, line)
			}
			lineOfName[key] = r.line
		}
		programs = append(programs, p)
	}
	for i, r := range t.rows {
		for name := range programs[i].names() {
			if p, ok := b.below.ProgramByName(name); ok && lineOfNumber[p.Number] == 0 {
				r.mistake("name", "%q is a name of program %d too: each belongs to one program", name, p.Number)
			}
		}
	}
	if err := t.err(); err != nil {
		return nil, err
	}
	merged := merge(b, "program", b.below.programs, programs, func(p *Program) string { return strconv.FormatUint(uint64(p.Number), 10) }, t.place)
	slices.SortFunc(merged, func(a, b Program) int { return cmp.Compare(a.Number, b.Number) })
	b.programNames = newNames("program")
	for _, p := range merged {
		b.programNames.add(p.Name)
	}
	return merged, nil
}

// program returns what r says, having noted what is wrong with it.
func (r row) program() Program {
	p := Program{
		Number:     r.number("program", r.text("program")),
		Name:       r.text("name"),
		Aliases:    r.list("aliases", ","),
		Transports: r.list("transports", ","),
		UsualPorts: r.usualPorts(),
		Block:      r.text("block"),
		Sources:    r.sources(),
		Note:       r.text("note"),
	}
	if got, want := r.text("hex"), fmt.Sprintf("0x%08x", p.Number); got != want {
		r.mistake("hex", "%q is not %d, which is %s", got, p.Number, want)
	}
	for name := range p.names() {
		if !isName(name) {
			r.mistake("name", "%q: want letters, digits, '.', '_' and '-', with at least one letter", name)
		}
	}
	for _, text := range r.list("versions", ",") {
		v := r.number("versions", text)
		if n := len(p.Versions); n > 0 && v <= p.Versions[n-1] {
			r.mistake("versions", "%d comes after %d: write them in ascending order", v, p.Versions[n-1])
		}
		p.Versions = append(p.Versions, v)
	}
	for _, transport := range p.Transports {
		if transport != "tcp" && transport != "udp" {
			r.mistake("transports", "%q: want tcp, udp or both", transport)
		}
	}
	if want := blockOf(p.Number); p.Block != want {
		r.mistake("block", "%q: program %d is in block %s", p.Block, p.Number, want)
	}
	return p
}

// usualPorts returns the ports of the row: the column has the word "dynamic"
// for none, so that it is not taken for a gap in our knowledge.
func (r row) usualPorts() portset.Set {
	const column = "usual_port"
	text := r.text(column)
	if text == "dynamic" {
		return portset.Set{}
	}
	ports, err := portset.Parse(text)
	if err != nil {
		r.mistake(column, "%w", err)
	} else if ports.IsEmpty() {
		r.mistake(column, "none: want a port such as 2049, or dynamic")
	}
	return ports
}

// blockOf returns the name of the range of program numbers that n is in
// (RFC 5531, section 13).
func blockOf(n uint32) string {
	switch n >> 29 {
	case 0:
		return "iana-sun"
	case 1:
		return "site-local"
	case 2:
		return "transient"
	default:
		return "reserved"
	}
}

// isName reports whether s can stand on a command line in place of a number.
func isName(s string) bool {
	letters := false
	for _, c := range s {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
			letters = true
		case '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return letters
}
