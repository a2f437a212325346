package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/portset"
)

// howPolicy is the FixedPort.How of services that only the policy bounds, with all others
// of their host.
const howPolicy = "rpc-internet-policy"

// methodToggle is the method of pins that choose transports and give no port.
const methodToggle = "transport-toggle"

const aboutPolicy = `the policy Rpc\Internet bounds the dynamic ports of all RPC servers of the host`

// placeholder stands for the port in what is to be set.
const placeholder = "{port}"

type fixedPortDocument struct {
	How  string       `json:"how"`
	Note string       `json:"note"`
	Pin  *pinDocument `json:"pin"` // null if the catalog has no more to say
	Open []string     `json:"stays_open"`
}

type pinDocument struct {
	ID             string             `json:"id"`
	Service        string             `json:"service"`
	Method         string             `json:"method"`
	OS             string             `json:"os"`
	Scope          string             `json:"scope"`
	RPC            string             `json:"rpc"`
	Transports     string             `json:"transports"`
	Key            string             `json:"key"`
	Values         []pinValueDocument `json:"values"`
	Stored         *pinValueDocument  `json:"stored"` // where a command keeps the port, null if not known
	File           string             `json:"file"`
	Section        string             `json:"section"`
	Setting        string             `json:"setting"`
	Command        string             `json:"command"`
	PowerShell     string             `json:"powershell"`
	Tool           string             `json:"tool"`
	Companion      string             `json:"companion"`
	Edits          []string           `json:"edits"`
	Restart        string             `json:"restart"`
	Interfaces     []string           `json:"interfaces"`
	UsualPorts     portset.Set        `json:"usual_ports"`
	UsualBasis     string             `json:"usual_basis"`
	Example        string             `json:"example"`
	Notes          []string           `json:"notes"`
	KnownIssues    []string           `json:"known_issues"`
	Events         []pinEventDocument `json:"events"`
	Sources        []string           `json:"sources"`
	Confidence     string             `json:"confidence"`
	ConfidenceNote string             `json:"confidence_note"`
}

type pinValueDocument struct {
	Key  string `json:"key,omitempty"` // where it is not that of the pin
	Name string `json:"name"`
	Type string `json:"type"`
	Data string `json:"data"`
}

type pinEventDocument struct {
	ID      uint32 `json:"id"`
	Meaning string `json:"meaning"`
}

func newPinDocument(p *catalog.Pin) pinDocument {
	d := pinDocument{
		ID: p.ID, Service: p.Service, Method: p.Method, OS: p.OS, Scope: p.Scope, RPC: p.RPC, Transports: p.Ports,
		Key: p.Key, Values: []pinValueDocument{}, File: p.File, Section: p.Section, Setting: p.Setting,
		Command: p.Command, PowerShell: p.PowerShell, Tool: p.Tool, Companion: p.Companion, Edits: noNil(registryEdits(p)), Restart: p.Restart,
		Interfaces: noNil(p.Interfaces), UsualPorts: p.UsualPorts, UsualBasis: p.UsualBasis, Example: p.Example,
		Notes: noNil(p.Notes), KnownIssues: noNil(p.KnownIssues), Events: []pinEventDocument{},
		Sources: noNil(p.Sources), Confidence: p.Confidence, ConfidenceNote: p.ConfidenceNote,
	}
	for _, v := range p.Values {
		d.Values = append(d.Values, pinValueDocument{"", v.Name, v.Type, v.Data})
	}
	if r := p.Registry; r != nil {
		d.Stored = &pinValueDocument{r.Key, r.Name, r.Type, r.Data}
	}
	for _, e := range p.Events {
		d.Events = append(d.Events, pinEventDocument(e))
	}
	return d
}

// fixedPort returns how s gets a fixed port, nil if the catalog knows no way.
func (f *serviceFacts) fixedPort(s *catalog.Service) *fixedPortDocument {
	if s.FixedPort == nil {
		return nil
	}
	d := &fixedPortDocument{How: s.FixedPort.How, Note: s.FixedPort.Note, Open: noNil(staysOpen(s))}
	if p, ok := f.Pin(s.FixedPort.Pin); ok {
		pin := newPinDocument(&p)
		d.Pin = &pin
	}
	return d
}

// programPins returns the pins of the ONC RPC programs that s serves. They say nothing of
// s, but of other servers of the programs.
func (f *serviceFacts) programPins(s *catalog.Service) []catalog.Pin {
	var pins []catalog.Pin
	programs := f.programs(s)
	if len(programs) == 0 {
		return nil
	}
	for p := range f.Pins() {
		if p.RPC != "onc" {
			continue
		}
		words := strings.Fields(p.Service) // NFS mountd
		if slices.ContainsFunc(programs, func(of catalog.Program) bool {
			return slices.ContainsFunc(append(of.Aliases, of.Name), func(name string) bool { return slices.Contains(words, name) })
		}) {
			pins = append(pins, p)
		}
	}
	return pins
}

// staysOpen returns the ports of s that are needed beside a pin that stands in place of
// dynamic ones: "135/tcp RPC endpoint mapper". Pins of other services move the port that
// they have, or choose transports.
func staysOpen(s *catalog.Service) []string {
	if !hasDynamicPorts(s) {
		return nil
	}
	var open []string
	for _, p := range s.Ports {
		if p.Ports.Numbers.IsEmpty() {
			continue
		}
		port := p.Ports.Numbers.String() + "/" + p.Protocol.String() + " " + p.App
		if p.Need != catalog.Required {
			port += " (" + string(p.Need) + ")"
		}
		open = append(open, port)
	}
	return open
}

// portData returns what to write as the data of a value, which the catalog describes in
// words, for a port: "port, default 102" is the port alone, "ncacn_ip_tcp,0,PORT (1024-65535)"
// is text with it. It returns false for what is no port.
func portData(data string) (string, bool) {
	first, _, _ := strings.Cut(data, " ")
	if strings.TrimRight(first, ",;") == "port" {
		return placeholder, true
	}
	return strings.Replace(first, "PORT", placeholder, 1), strings.Contains(first, "PORT")
}

// registryEdits returns the commands that write the port of a pin to the registry.
func registryEdits(p *catalog.Pin) []string {
	if p.Key == "" {
		return nil
	}
	var edits []string
	for _, v := range p.Values {
		if data, ok := portData(v.Data); ok {
			edits = append(edits, fmt.Sprintf(`reg add "%s" /v "%s" /t %s /d %s /f`, p.Key, v.Name, v.Type, data))
		}
	}
	return edits
}

// pinLine returns in a line how s gets a fixed port.
func (f *serviceFacts) pinLine(s *catalog.Service) string {
	d := f.fixedPort(s)
	switch {
	case d == nil && !hasDynamicPorts(s):
		return strings.Join(f.unlisted(s), "; ")
	case d == nil && len(f.programPins(s)) > 0:
		return "no way is known; other servers of its programs: quaymaster service " + s.ID + " --pin"
	case d == nil && hasPorts(s, catalog.DynamicRPC):
		return "no way is known; " + aboutPolicy + " (quaymaster pool --help)"
	case d == nil:
		return "no way is known"
	case d.How == howPolicy:
		return "no port of its own; " + aboutPolicy + " (quaymaster pool --help)"
	case d.Pin == nil:
		return d.How
	}
	more := "quaymaster service " + s.ID + " --pin"
	p := d.Pin
	switch {
	case p.Method == methodToggle:
		return "no fixed port, but its transports can be chosen: " + more
	case p.Command != "":
		return p.Command + "    more: " + more
	case p.Key != "":
		return fmt.Sprintf(`%s\%s    more: %s`, p.Key, portValue(p), more)
	case p.File != "" || p.Tool != "":
		return cmp.Or(p.File, p.Tool) + "    more: " + more
	}
	return strings.Join(p.Notes, " ")
}

// unlisted says that there is nothing to pin where no port of s is dynamic, or else which of
// its interfaces are at dynamic ports all the same.
func (f *serviceFacts) unlisted(s *catalog.Service) []string {
	var names []string
	for _, is := range f.served(s) {
		dynamic := func(t catalog.Transport) bool { return t.Kind == catalog.EndpointDynamic }
		if is.Kind == catalog.KindRPC && slices.ContainsFunc(is.Transports, dynamic) {
			names = append(names, nameOrUUID(&is))
		}
	}
	if len(names) == 0 {
		return []string{"there is nothing to pin: no port of it is dynamic"}
	}
	const most = 3
	if n := len(names) - most; n > 0 {
		names = append(names[:most], fmt.Sprintf("%d more", n))
	}
	return []string{"no way is known for its interfaces at dynamic ports, which no table lists: " + strings.Join(names, ", "), aboutPolicy + " (quaymaster pool --help)"}
}

// portValue returns the name of the value that has the port, else of the first.
func portValue(p *pinDocument) string {
	for _, v := range p.Values {
		if _, ok := portData(v.Data); ok {
			return v.Name
		}
	}
	return p.Values[0].Name
}

// printPins shows how services get a fixed port.
func (f *serviceFacts) printPins(s show.Screen, services []*catalog.Service) error {
	w := bufio.NewWriter(s)
	s.Writer = w
	for i, one := range services {
		if i > 0 {
			fmt.Fprintln(w)
		}
		printTitle(s, one)
		f.printPin(s, one)
	}
	if slices.ContainsFunc(services, hasDynamicPorts) {
		fmt.Fprintln(w)
		printFacts(s, fact{"all pins", f.PinAdvice()})
	}
	return w.Flush()
}

func (f *serviceFacts) printPin(s show.Screen, one *catalog.Service) {
	d := f.fixedPort(one)
	switch {
	case d == nil && !hasDynamicPorts(one):
		printFacts(s, fact{"pin it", f.unlisted(one)})
	case d == nil && hasPorts(one, catalog.DynamicRPC):
		printFacts(s, fact{"pin it", []string{"no way to give it a fixed port is known", aboutPolicy + ": quaymaster pool --help"}})
	case d == nil:
		printFacts(s, fact{"pin it", []string{"no way to give it a fixed port is known"}})
	case d.How == howPolicy:
		printFacts(s,
			fact{"pin it", []string{"it has no port of its own to set", aboutPolicy + ": quaymaster pool --help"}},
			fact{"remark", words(d.Note)})
	case d.Pin == nil:
		printFacts(s, fact{"pin it", []string{d.How}}, fact{"remark", words(d.Note)})
	case d.Pin.Method == methodToggle:
		printFacts(s, fact{"pin it", []string{"no way to give it a fixed port is known; this chooses its transports"}}, fact{"remark", words(d.Note)})
	default:
		printFacts(s, fact{"remark", words(d.Note)})
	}
	if d != nil && d.Pin != nil {
		printPinDocument(s, d.Pin)
	}
	if d != nil && d.How != howPolicy {
		printFacts(s, fact{"stays open", d.Open})
	}
	for _, p := range f.programPins(one) {
		pin := newPinDocument(&p)
		fmt.Fprintln(s)
		printFacts(s, fact{"elsewhere", []string{pin.Service + ", where this is how:"}})
		printPinDocument(s, &pin)
	}
}

// printPinDocument shows what to set, and what to know of it.
func printPinDocument(s show.Screen, p *pinDocument) {
	printFacts(s,
		fact{"method", words(p.Method)}, fact{"where", words(p.Scope)}, fact{"systems", words(p.OS)},
		fact{"key", words(p.Key)}, fact{"file", words(p.File)}, fact{"section", words(p.Section)}, fact{"setting", words(p.Setting)})
	if len(p.Values) > 0 {
		t := show.NewTable(show.Column{Head: "value"}, show.Column{Head: "type"}, show.Column{Head: "data"})
		for _, v := range p.Values {
			t.Add(v.Name, v.Type, v.Data)
		}
		fmt.Fprintln(s)
		t.Print(s)
		fmt.Fprintln(s)
	}
	facts := []fact{
		{"command", append(words(p.Command), p.Edits...)}, {"powershell", words(p.PowerShell)}, {"tool", words(p.Tool)}, {"along with", words(p.Companion)},
	}
	if len(p.Edits) > 0 {
		facts = append(facts, fact{placeholder, words("the port of your choice, in decimal")})
	}
	if v := p.Stored; v != nil {
		facts = append(facts, fact{"kept in", []string{fmt.Sprintf(`%s\%s (%s): %s`, v.Key, v.Name, v.Type, v.Data)}})
	}
	usual := ""
	if !p.UsualPorts.IsEmpty() {
		usual = p.UsualPorts.String() + " (" + p.UsualBasis + ")"
	}
	var events []string
	for _, e := range p.Events {
		events = append(events, fmt.Sprintf("%d: %s", e.ID, e.Meaning))
	}
	confidence := p.Confidence
	if p.ConfidenceNote != "" {
		confidence += ": " + p.ConfidenceNote
	}
	printFacts(s, append(facts,
		fact{"usual ports", words(usual)}, fact{"example", words(p.Example)}, fact{"restart", words(p.Restart)},
		fact{"interfaces", words(strings.Join(p.Interfaces, ", "))},
		fact{"notes", p.Notes}, fact{"issues", p.KnownIssues}, fact{"events", events},
		fact{"sources", words(strings.Join(p.Sources, "; "))}, fact{"confidence", words(confidence)})...)
}

// words returns text as a list of one, or none if it is empty.
func words(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// pinRows returns how services get a fixed port: a row for each value or other setting.
func (f *serviceFacts) pinRows(services []*catalog.Service) *show.Table {
	t := show.NewTable(
		show.Column{Head: "service"}, show.Column{Head: "pin"}, show.Column{Head: "method"}, show.Column{Head: "where"},
		show.Column{Head: "value"}, show.Column{Head: "type"}, show.Column{Head: "data"}, show.Column{Head: "restart"}, show.Column{Head: "sources"})
	for _, s := range services {
		d := f.fixedPort(s)
		if d == nil || d.Pin == nil {
			how := ""
			if d != nil {
				how = d.How
			}
			t.Add(s.ID, "", how, "", "", "", "", "", "")
			continue
		}
		p := d.Pin
		add := func(where, value, kind, data string) {
			t.Add(s.ID, p.ID, p.Method, where, value, kind, data, p.Restart, strings.Join(p.Sources, "; "))
		}
		for _, v := range p.Values {
			add(cmp.Or(p.Key, p.File), v.Name, v.Type, v.Data)
		}
		if p.Command != "" {
			add("command", "", "", p.Command)
		}
		if p.PowerShell != "" {
			add("powershell", "", "", p.PowerShell)
		}
		if len(p.Values) == 0 && p.Command == "" {
			add(cmp.Or(p.File, p.Tool), p.Setting, "", strings.Join(p.Notes, " "))
		}
	}
	return t
}

// A fact is a label with what there is to say, in lines.
type fact struct {
	label string
	lines []string
}

// labelWidth is the width of the labels of facts, which stand beneath each other.
const labelWidth = 18

// printFacts prints those of facts that have something to say. Lines are broken where the
// screen ends.
func printFacts(s show.Screen, facts ...fact) {
	for _, f := range facts {
		label := f.label
		for _, line := range f.lines {
			printIndented(s, label, labelWidth, line)
			label = ""
		}
	}
}

// printIndented prints a line behind a label, and what does not fit on the screen beneath it.
func printIndented(w show.Screen, label string, indent int, text string) {
	for line := range strings.SplitSeq(breakLine(show.Clean(text), w.Width-indent), "\n") {
		io.WriteString(w, strings.TrimRight(fmt.Sprintf("%-*s%s", indent, label, line), " ")+"\n")
		label = ""
	}
}
