package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// runExplain answers --explain HOST HOST PORT.
func (f *planFlags) runExplain(p *plan.Plan, words []string) error {
	from, err := hostNamed(p.Site, words[0])
	if err != nil {
		return err
	}
	to, err := hostNamed(p.Site, words[1])
	if err != nil {
		return err
	}
	protocol, port, err := parseOnePort(words[2])
	if err != nil {
		return err
	}
	e := p.Explain(from, to, protocol, port)
	switch f.output {
	case show.FormatTable:
		return printExplanation(f.stdout(), p, e)
	case show.FormatJSON, show.FormatYAML:
		return show.Write(f.stdout(), f.output, newExplanationDocument(e), nil)
	}
	return usagef("--explain is for reading: -o table, json or yaml")
}

func hostNamed(s *site.Site, name string) (*site.Host, error) {
	var known []string
	for _, h := range s.Hosts {
		if h.Name == name {
			return h, nil
		}
		known = append(known, h.Name)
	}
	return nil, unknownName("host", name, known)
}

func unknownName(what, name string, known []string) error {
	if near, ok := config.Suggest(name, known); ok {
		return usagef("the site has no %s %q; did you mean %q?", what, name, near)
	}
	return usagef("the site has no %s %q", what, name)
}

// parseOnePort reads "tcp/49200", "49200/tcp", or a protocol that has no ports: "icmp".
func parseOnePort(word string) (catalog.Protocol, uint16, error) {
	if p, err := catalog.ParseProtocol(strings.ToLower(word)); err == nil && !p.HasPorts() {
		return p, 0, nil
	}
	tcp, udp, err := parseAskPorts(word)
	if err != nil {
		return 0, 0, err
	}
	protocol, ports := catalog.TCP, tcp
	if tcp.IsEmpty() {
		protocol, ports = catalog.UDP, udp
	}
	if tcp.Len()+udp.Len() != 1 {
		return 0, 0, usagef("%q: want one port: tcp/%[2]s, or udp/%[2]s", word, "49200")
	}
	for port := range ports.All() {
		return protocol, port, nil
	}
	panic("one port")
}

func printExplanation(s show.Screen, p *plan.Plan, e *plan.Explanation) error {
	w := bufio.NewWriter(s)
	s.Writer = w
	verdict := "not planned"
	if len(e.Flows) > 0 {
		verdict = "planned"
	}
	fmt.Fprintf(w, "%s: %s to %s, %s\n\n", s.Bold(verdict), show.Clean(e.From.Name), show.Clean(e.To.Name), explainedPort(e))
	t := show.NewTable(show.Column{Head: "host"}, show.Column{Head: "zone"}, show.Column{Head: "domain"}, show.Column{Head: "system"}, show.Column{Head: "roles", Shrink: true}, show.Column{Head: "pins"})
	for _, h := range []*site.Host{e.From, e.To} {
		domain, system := "", ""
		if h.Domain != nil {
			domain = h.Domain.Name
		}
		if h.OS != nil {
			system = h.OS.ID
		}
		var roles, pins []string
		for _, r := range h.Roles {
			roles = append(roles, r.String())
		}
		for _, pin := range h.Pins {
			pins = append(pins, pin.ID+" "+pin.Ports.String())
		}
		t.Add(h.Name, h.Zone.Name, domain, system, strings.Join(roles, ", "), strings.Join(pins, ", "))
	}
	t.Print(s)
	fmt.Fprintln(w)
	for _, line := range explanationLines(p, e) {
		fmt.Fprintln(w, show.Clean(line))
	}
	return w.Flush()
}

func explainedPort(e *plan.Explanation) string {
	if !e.Protocol.HasPorts() {
		return e.Protocol.String()
	}
	return fmt.Sprintf("%d/%s", e.Port, e.Protocol)
}

// explanationLines returns the chain of reasons, one to a line.
func explanationLines(p *plan.Plan, e *plan.Explanation) []string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	way, ok := p.Way(e.From.Zone, e.To.Zone)
	switch {
	case e.From.Zone == e.To.Zone:
		add("Both are in zone %s: no firewall of the site is between them.", e.From.Zone.Name)
	case !ok:
		add("No firewall of the site leads from zone %s to zone %s.", e.From.Zone.Name, e.To.Zone.Name)
	default:
		var names []string
		for _, f := range way {
			names = append(names, f.Name)
		}
		add("Between them: %s.", strings.Join(names, ", "))
	}
	for _, f := range e.Flows {
		text := fmt.Sprintf("%s: %s. It is %s", f.ID, f.Reason, f.Need)
		if n := narrowingText(f); n != "" {
			text += ", narrowed by " + n
			if f.Narrowing.By == plan.ByRange {
				text = strings.Replace(text, ", narrowed by range", ", on all dynamic ports", 1)
			}
		}
		add("%s (%s).", text, sourceNames(f.Sources))
		if f.Need == catalog.Required { // of others the notes are the condition
			lines = append(lines, f.Notes...)
		}
	}
	if len(e.Between) == 0 {
		add("The two are nothing to each other: no relationship of the catalog holds between them.")
	}
	for _, l := range e.Left {
		if l.Ports.IsEmpty() {
			add("%s (%s) is not planned: %s (%s).", l.Row, l.App, l.Why, sourceNames(l.Sources))
		} else {
			add("%s (%s) is planned on %s: %s (%s).", l.Row, l.App, compact(l.Ports), l.Why, sourceNames(l.Sources))
		}
	}
	if len(e.Flows) == 0 && len(e.Left) == 0 && len(e.Between) > 0 {
		var names []string
		for _, r := range e.Between {
			names = append(names, r.ID)
		}
		add("What holds between them, %s, needs no such port.", strings.Join(names, ", "))
	}
	for _, n := range e.Notes {
		add("%s.", n)
	}
	return lines
}

// explanationDocument is what "plan --explain -o json" prints.
type explanationDocument struct {
	Schema        string             `json:"schema"`
	From          string             `json:"from"`
	To            string             `json:"to"`
	Protocol      catalog.Protocol   `json:"protocol"`
	Port          uint16             `json:"port"` // 0: the protocol has none
	Planned       bool               `json:"planned"`
	Flows         []planFlowDocument `json:"flows"`         // that have the port
	Relationships []string           `json:"relationships"` // that hold between the two
	Left          []leftDocument     `json:"left"`          // what could have the port, and has it not
	Notes         []string           `json:"notes"`
}

type leftDocument struct {
	Row     string      `json:"row"`
	App     string      `json:"app"`
	Ports   portset.Set `json:"ports"` // that it has instead; empty: it is not planned
	Why     string      `json:"why"`
	Sources []string    `json:"sources"`
}

func newExplanationDocument(e *plan.Explanation) explanationDocument {
	d := explanationDocument{
		Schema: "quaymaster/plan-explanation/1", From: e.From.Name, To: e.To.Name, Protocol: e.Protocol, Port: e.Port,
		Planned: len(e.Flows) > 0, Flows: []planFlowDocument{}, Relationships: []string{}, Left: []leftDocument{}, Notes: append([]string{}, e.Notes...),
	}
	for _, f := range e.Flows {
		d.Flows = append(d.Flows, newPlanFlowDocument(f))
	}
	for _, r := range e.Between {
		d.Relationships = append(d.Relationships, r.ID)
	}
	for _, l := range e.Left {
		d.Left = append(d.Left, leftDocument(l))
	}
	return d
}
