package portpool

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/portset"
)

// A Document is what a file says of the policy, right or wrong, and where it says
// so. Make one with [Read].
type Document struct {
	Name   string // of the file, for messages
	Syntax Syntax
	Key    Key

	Ports                  Value // REG_MULTI_SZ
	PortsInternetAvailable Value // REG_SZ
	UseInternetPorts       Value // REG_SZ

	findings []Finding // what is odd about how it is said
	more     int       // findings that are too many to keep
}

// Syntax is the language of a [Document].
type Syntax uint8

// The languages of documents.
const (
	Reg  Syntax = iota // what regedit exports and imports
	YAML               // what the configuration takes
)

// Key is what a [Document] says of the policy as a whole.
type Key struct {
	State State
	Place
}

// A State is whether a file has something to say of a key or value.
type State uint8

// The states of a key or value.
const (
	Absent  State = iota // not a word
	Removed              // it is to be deleted
	Present
)

// A Place is a line of a file, and a column of it if that is known; both from 1. The zero
// value is the file as a whole.
type Place struct{ Line, Column int }

// A Value is one of the three values of the policy.
type Value struct {
	State State
	Place
	Type Type
	Text []Entry // the strings of REG_MULTI_SZ, the one of REG_SZ, what stands there of other types
}

// An Entry is a string of a [Value].
type Entry struct {
	Place
	Text string
}

// A Type is the type of a value of the registry (winnt.h). A YAML file has the type that
// its keys imply.
type Type uint32

// The types that have names here.
const (
	RegSZ       Type = 1
	RegExpandSZ Type = 2
	RegBinary   Type = 3
	RegDWORD    Type = 4
	RegMultiSZ  Type = 7
	RegQWORD    Type = 11
)

// String returns the name of t: REG_SZ.
func (t Type) String() string {
	switch t {
	case 0:
		return "REG_NONE"
	case RegSZ:
		return "REG_SZ"
	case RegExpandSZ:
		return "REG_EXPAND_SZ"
	case RegBinary:
		return "REG_BINARY"
	case RegDWORD:
		return "REG_DWORD"
	case RegMultiSZ:
		return "REG_MULTI_SZ"
	case RegQWORD:
		return "REG_QWORD"
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// The names of the values.
const (
	nameOfPorts = "Ports"
	nameOfPIA   = "PortsInternetAvailable"
	nameOfUIP   = "UseInternetPorts"
)

// names returns the names of the three values as d has them.
func (d *Document) names() (ports, pia, uip string) {
	if d.Syntax == YAML {
		return "ports", "ports_internet_available", "use_internet_ports"
	}
	return nameOfPorts, nameOfPIA, nameOfUIP
}

// A NamedValue is a value with the name it has in its document.
type NamedValue struct {
	Name string
	Value
}

// Values returns the three values, in the order of the fields.
func (d *Document) Values() []NamedValue {
	ports, pia, uip := d.names()
	return []NamedValue{{ports, d.Ports}, {pia, d.PortsInternetAvailable}, {uip, d.UseInternetPorts}}
}

// letter returns b as d writes it.
func (d *Document) letter(b bool) string {
	switch {
	case d.Syntax == YAML:
		return strconv.FormatBool(b)
	case b:
		return "Y"
	}
	return "N"
}

// maxFindings is how many findings of one kind are told one by one: a file can have a million
// lines that mean nothing.
const maxFindings = 20

// note adds a finding about how d is written.
func (d *Document) note(f Finding) {
	if len(d.findings) == maxFindings {
		d.more++
		return
	}
	d.findings = append(d.findings, f)
}

// Policy returns the policy that d describes, nil if it describes none or one that
// is invalid, and what is wrong with how it is described, from the top of the file
// down. The policy is invalid when one of the findings is of a severity of [Invalid]: one bad string,
// or a missing value, is enough (KB 154596; RPC_POLICY).
func (d *Document) Policy() (*Policy, []Finding) {
	findings := slices.Clone(d.findings)
	if d.more > 0 {
		findings = append(findings, Finding{Severity: Warning, Code: "more", Text: fmt.Sprintf("there are %d more findings of the kinds above", d.more)})
	}
	if d.Key.State != Present {
		sortFindings(findings)
		return nil, findings
	}
	c := checker{d: d, findings: findings}
	ports, pia, uip := d.names()
	p := &Policy{
		Ports:                  c.ports(ports),
		PortsInternetAvailable: c.flag(pia, &d.PortsInternetAvailable),
		UseInternetPorts:       c.flag(uip, &d.UseInternetPorts),
	}
	sortFindings(c.findings)
	if slices.ContainsFunc(c.findings, func(f Finding) bool { return f.Severity == Invalid }) {
		return nil, c.findings
	}
	return p, c.findings
}

// A checker finds what is wrong with the values of a document.
type checker struct {
	d        *Document
	findings []Finding
}

func (c *checker) add(s Severity, at Place, code, do, format string, args ...any) {
	c.findings = append(c.findings, Finding{s, code, at, fmt.Sprintf(format, args...), do})
}

// present reports whether v is there and of its type, and notes it if not.
func (c *checker) present(name string, v *Value, want Type) bool {
	switch {
	case v.State == Removed:
		c.add(Invalid, v.Place, "missing-value", "give it a value, or remove the whole key", "%s is removed, and the policy needs all three values", name)
	case v.State == Absent:
		c.add(Invalid, c.d.Key.Place, "missing-value", "add it, or remove the whole key", "%s is missing, and the policy needs all three values", name)
	case v.Type != want && want == RegMultiSZ:
		c.add(Invalid, v.Place, "wrong-type", `make it REG_MULTI_SZ, in a .reg file hex(7), with a string for each port or range`, "%s is %v", name, v.Type)
	case v.Type != want:
		c.add(Invalid, v.Place, "wrong-type", fmt.Sprintf(`make it REG_SZ: "%s"="Y" or "N"`, name), "%s is %v", name, v.Type)
	default:
		return true
	}
	return false
}

func (c *checker) flag(name string, v *Value) bool {
	if !c.present(name, v, RegSZ) {
		return false
	}
	text := ""
	if len(v.Text) > 0 {
		text = v.Text[0].Text
	}
	switch fold(text) {
	case fold(c.d.letter(true)):
		return true
	case fold(c.d.letter(false)):
		return false
	}
	c.add(Invalid, v.Place, "bad-letter", "write Y or N", "%s is %s", name, quote(text))
	return false
}

func (c *checker) ports(name string) []portset.Range {
	v := &c.d.Ports
	if !c.present(name, v, RegMultiSZ) {
		return nil
	}
	if len(v.Text) == 0 {
		c.add(Invalid, v.Place, "no-ports", "list ports or ranges, or remove the whole key", "%s lists no port", name)
	}
	var ranges []portset.Range
	bad, odd := 0, 0
	for i, e := range v.Text {
		at := e.Place
		if at == (Place{}) {
			at = v.Place
		}
		r, why := parseEntry(strings.Trim(e.Text, " \t"))
		if why != "" {
			if bad++; bad <= maxFindings {
				c.add(Invalid, at, "bad-string", c.correction(e.Text), "string %d of %s, %s, %s", i+1, name, quote(e.Text), why)
			}
			continue
		}
		if oddity := oddityOf(e.Text); oddity != "" {
			if odd++; odd <= maxFindings {
				c.add(Warning, at, "odd-string", fmt.Sprintf("write %v", r), "string %d of %s, %s, has %s, which not every reader forgives", i+1, name, quote(e.Text), oddity)
			}
		}
		ranges = append(ranges, r)
	}
	if more := max(0, bad-maxFindings); more > 0 {
		c.add(Invalid, v.Place, "bad-string", "", "%s: %d more strings are bad", name, more)
	}
	if more := max(0, odd-maxFindings); more > 0 {
		c.add(Warning, v.Place, "odd-string", "", "%s: %d more strings are odd", name, more)
	}
	if both, n := overlap(ranges); n > 0 {
		c.add(Warning, v.Place, "listed-twice", "list each port once", "%s lists %v more than once", name, both)
	}
	return ranges
}

// correction returns what to write in place of a bad string, as far as that is plain.
func (c *checker) correction(text string) string {
	text = strings.Trim(text, " \t")
	if first, last, ok := strings.Cut(text, "-"); ok {
		a, errA := parsePort(strings.Trim(first, " \t"))
		b, errB := parsePort(strings.Trim(last, " \t"))
		if errA == "" && errB == "" {
			return fmt.Sprintf("write %v", portset.Range{First: min(a, b), Last: max(a, b)})
		}
	}
	if set, err := portset.Parse(text); err == nil && !set.IsEmpty() { // "80,443" in one string
		return "write each port or range as a string of its own"
	}
	return "write a port such as 5000 or a range such as 5000-5020"
}

// parseEntry reads a string of Ports, or says why it is none.
func parseEntry(text string) (portset.Range, string) {
	if text == "" {
		return portset.Range{}, "ends the list for some readers"
	}
	low, high, isRange := strings.Cut(text, "-")
	first, why := parsePort(low)
	last := first
	if why == "" && isRange {
		last, why = parsePort(high)
	}
	switch {
	case why != "":
		return portset.Range{}, why
	case last < first:
		return portset.Range{}, "is reversed"
	}
	return portset.Range{First: first, Last: last}, ""
}

func parsePort(digits string) (uint16, string) {
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, "is no port or range"
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return 0, "is above 65535"
	}
	return uint16(n), ""
}

// oddityOf returns what is unusual about a string that can be read.
func oddityOf(text string) string {
	trimmed := strings.Trim(text, " \t")
	if trimmed != text {
		return "blanks around it"
	}
	for digits := range strings.SplitSeq(trimmed, "-") {
		if len(digits) > 1 && digits[0] == '0' {
			return "leading zeros"
		}
	}
	return ""
}

// overlap returns the ports that are in more than one of ranges, and how many.
func overlap(ranges []portset.Range) (portset.Set, int) {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b portset.Range) int { return int(a.First) - int(b.First) })
	var both []portset.Range
	end := -1 // the last port so far
	for _, r := range sorted {
		if int(r.First) <= end {
			both = append(both, portset.Range{First: r.First, Last: uint16(min(end, int(r.Last)))})
		}
		end = max(end, int(r.Last))
	}
	set := portset.Of(both...)
	return set, set.Len()
}

// quote returns text for a message, the beginning of it if it is long.
func quote(text string) string {
	const most = 40 // characters
	if n := len([]rune(text)); n > most {
		return fmt.Sprintf("%.*q…", most, text)
	}
	return fmt.Sprintf("%q", text)
}

// Mistakes returns the findings that make the policy of d invalid as mistakes of the
// file, for callers that can do nothing with it then; nil if there are none.
func (d *Document) Mistakes(findings []Finding) config.Mistakes {
	var all config.Mistakes
	for _, f := range findings {
		if f.Severity == Invalid {
			all = append(all, f.Mistake(d.Name))
		}
	}
	return all
}

// Valid returns the policy that d describes, for callers that can do nothing without
// one. The error is a [config.Mistakes] that says why there is none: it is invalid, or
// the file removes it or does not mention it.
func (d *Document) Valid() (*Policy, error) {
	p, findings := d.Policy()
	if p != nil {
		return p, nil
	}
	mistakes := d.Mistakes(findings)
	switch {
	case len(mistakes) > 0:
	case d.Key.State == Removed:
		mistakes = config.Mistakes{{File: d.Name, Line: d.Key.Line, Column: 1, Message: "the file removes the policy: nothing is left of it"}}
	default:
		for _, f := range findings { // why the key is not found
			mistakes = append(mistakes, f.Mistake(d.Name))
		}
	}
	return nil, mistakes
}
