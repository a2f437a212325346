package main

import (
	"bufio"
	"fmt"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/portset"
)

// print shows roles for people, one after the other.
func (f *roleFacts) print(s show.Screen, roles []*catalog.Role, sources bool) error {
	w := bufio.NewWriter(s)
	s.Writer = w
	for i, r := range roles {
		if i > 0 {
			fmt.Fprintln(w)
		}
		f.printRole(s, r, sources)
	}
	return w.Flush()
}

func (f *roleFacts) printRole(s show.Screen, r *catalog.Role, sources bool) {
	listens, connects := f.listens(r.ID), f.connects(r.ID)
	title := s.Bold(show.Clean(r.ID))
	fmt.Fprintf(s, "%s  (%s)\n", title, show.Clean(r.Description))
	if len(listens) > 0 {
		fmt.Fprintf(s, "\nlistens, and for whom:\n")
		printFlows(s, "from", listens, sources)
	}
	if len(connects) > 0 {
		fmt.Fprintf(s, "\nneeds of others:\n")
		printFlows(s, "to", connects, sources)
	}
	fmt.Fprintln(s)
	f.printFlowFacts(s, slices.Concat(listens, connects), sources)
	summary := summarizeFlows(r.ID, listens, connects)
	if summary == "" {
		summary = f.nothing(r)
	}
	fmt.Fprintln(s, summary)
}

// printFlows shows flows. On a screen too narrow for it, conditions stand beneath, by numbers.
func printFlows(s show.Screen, end string, flows []roleFlow, sources bool) {
	columns := []show.Column{
		{Head: end, Shrink: true}, {Head: "port"}, {Head: "protocol"}, {Head: "service", Shrink: true}, {Head: "for", Shrink: true},
		{Head: "need"}, {Head: "condition", Shrink: true}, {Head: "narrowed by"},
	}
	if sources {
		columns = append(columns, show.Column{Head: "sources"})
	}
	var beneath footnotes
	rows := flowCells(end, flows, sources, nil)
	if s.Width > 0 && tableWidth(columns, rows) > s.Width {
		rows = flowCells(end, flows, sources, &beneath)
	}
	t := show.NewTable(columns...)
	for _, cells := range rows {
		t.Add(cells...)
	}
	t.Print(s)
	beneath.print(s)
}

// flowCells returns the cells of flows, with the roles at the other end of equal ones in one
// row. Conditions are put beneath unless it is nil.
func flowCells(end string, flows []roleFlow, sources bool, beneath *footnotes) [][]string {
	var rows [][]string
	at := map[string]int{} // of rows, by all cells but the first
	roles := map[int][]string{}
	for _, flow := range flows {
		other, condition := roleName(flow.from), flow.condition()
		if end == "to" {
			other = roleName(flow.to)
		}
		if beneath != nil && condition != "" {
			condition = beneath.mark(condition)
		}
		cells := []string{
			"", portText(flow.Ports), flow.Protocol.String(), flow.Service, flow.App,
			string(flow.Need), condition, strings.Join(flow.Pins, " "),
		}
		if sources {
			cells = append(cells, flow.sourceText())
		}
		key := strings.Join(cells, "\x00")
		i, ok := at[key]
		if !ok {
			i = len(rows)
			at[key] = i
			rows = append(rows, cells)
		}
		if !slices.Contains(roles[i], other) {
			roles[i] = append(roles[i], other)
			rows[i][0] = strings.Join(roles[i], ", ")
		}
	}
	return rows
}

// condition returns when a flow is needed, and what doubt there is of it.
func (f roleFlow) condition() string {
	var parts []string
	if f.Condition != "" {
		parts = append(parts, f.Condition)
	}
	if d := doubt(f.Confidence); d != "" {
		parts = append(parts, d)
	}
	return strings.Join(parts, "; ")
}

// sourceText returns where a flow was found.
func (f roleFlow) sourceText() string {
	text := sourceNames(f.Sources)
	if f.SourcesNote != "" {
		text += ": " + f.SourcesNote
	}
	return text
}

// printFlowFacts shows what dynamic ports are, and how they are narrowed.
func (f *roleFacts) printFlowFacts(s show.Screen, flows []roleFlow, sources bool) {
	var symbols, ranges, moved, pins, services, used []string
	for _, flow := range flows {
		if symbol := string(flow.Ports.Symbol); flow.Ports.Symbol.IsDynamic() && !slices.Contains(symbols, symbol) {
			symbols = append(symbols, symbol)
		}
		for _, id := range flow.Pins {
			if !slices.Contains(pins, id) {
				pins = append(pins, id)
			}
		}
		for _, id := range flow.Sources {
			if !slices.Contains(used, id) {
				used = append(used, id)
			}
		}
	}
	for _, id := range pins {
		if service := f.pinned(id); service != "" && !slices.Contains(services, service) {
			services = append(services, service)
		}
	}
	if len(symbols) > 0 {
		ranges = words(describeRanges(f.ranges))
		if len(f.moved) > 0 {
			moved = words(describeRanges(f.moved) + ": these products move the dynamic ports")
		}
	}
	narrowed := []string(nil)
	if len(services) > 0 {
		narrowed = words("pins put a number in place of dynamic ports: quaymaster service " + strings.Join(services, " ") + " --pin")
	}
	printFacts(s, fact{strings.Join(symbols, ", "), ranges}, fact{"other ranges", moved}, fact{"narrowed by", narrowed})
	if sources {
		fmt.Fprintln(s)
		printSourceTable(s, sourceDocuments(f.Catalog, used))
		fmt.Fprintln(s)
	}
}

// pinned returns the service that a pin belongs to, empty if none names it.
func (f *roleFacts) pinned(pin string) string {
	for _, s := range f.Services() {
		if s.FixedPort != nil && s.FixedPort.Pin == pin {
			return s.ID
		}
	}
	return ""
}

// nothing says that no flows were found, and what was asked for.
func (f *roleFacts) nothing(r *catalog.Role) string {
	text := "nothing is known that " + r.ID + " listens on or needs"
	if f.from != nil {
		text += ", for " + f.from.ID
	}
	if f.to != nil {
		text += ", of " + f.to.ID
	}
	if len(f.systems) > 0 {
		text += ", where those who listen have the systems of --os"
	}
	return text
}

// summarizeFlows says in a line how much a role listens on and needs, empty if it is nothing.
func summarizeFlows(role string, listens, connects []roleFlow) string {
	var parts []string
	if len(listens) > 0 {
		parts = append(parts, "listens on "+countPorts(listens)+" for "+countRoles(listens, func(f roleFlow) string { return f.from }))
	}
	if len(connects) > 0 {
		parts = append(parts, "needs "+countPorts(connects)+" of "+countRoles(connects, func(f roleFlow) string { return f.to }))
	}
	if len(parts) == 0 {
		return ""
	}
	return role + " " + strings.Join(parts, "; it ")
}

// countPorts returns how many ports flows have beside dynamic ones: "12 ports and dynamic ones".
func countPorts(flows []roleFlow) string {
	ports := map[catalog.Protocol]portset.Set{}
	dynamic := ""
	for _, f := range flows {
		if f.Protocol.HasPorts() {
			ports[f.Protocol] = ports[f.Protocol].Union(f.Ports.Numbers)
		}
		if f.Ports.Symbol.IsDynamic() {
			dynamic = " and dynamic ones"
		}
	}
	n := 0
	for _, set := range ports {
		n += set.Len()
	}
	return show.Count(n, "port", "ports") + dynamic
}

func countRoles(flows []roleFlow, end func(roleFlow) string) string {
	roles := map[string]bool{}
	for _, f := range flows {
		roles[end(f)] = true
	}
	return show.Count(len(roles), "role", "roles")
}

// rows returns the flows of roles, a row each: first those to them, then those from them.
func (f *roleFacts) rows(roles []*catalog.Role) *show.Table {
	t := show.NewTable(
		show.Column{Head: "role"}, show.Column{Head: "from"}, show.Column{Head: "to"}, show.Column{Head: "port"}, show.Column{Head: "protocol"},
		show.Column{Head: "service"}, show.Column{Head: "app"}, show.Column{Head: "need"}, show.Column{Head: "condition"},
		show.Column{Head: "dynamic"}, show.Column{Head: "pins"}, show.Column{Head: "sources"})
	for _, r := range roles {
		for _, flow := range slices.Concat(f.listens(r.ID), f.connects(r.ID)) {
			dynamic := ""
			if flow.Ports.Symbol.IsDynamic() {
				dynamic = describeRanges(f.rangesOf(flow.Generation))
			}
			t.Add(r.ID, flow.from, flow.to, portText(flow.Ports), flow.Protocol.String(), flow.Service, flow.App,
				string(flow.Need), flow.condition(), dynamic, strings.Join(flow.Pins, " "), strings.Join(flow.Sources, ";"))
		}
	}
	return t
}

// printList shows the roles, a line each, and what holds for all of them.
func (f *roleFacts) printList(s show.Screen) error {
	w := bufio.NewWriter(s)
	s.Writer = w
	f.listRows().Print(s)
	fmt.Fprintln(w)
	for _, rule := range f.FlowRules() {
		printIndented(s, "-", 2, rule)
	}
	fmt.Fprintf(w, "\n%s\n", show.Count(len(f.Roles()), "role", "roles"))
	return w.Flush()
}

// listRows returns the roles, a row each, with how many flows lead there and away.
func (f *roleFacts) listRows() *show.Table {
	t := show.NewTable(show.Column{Head: "role"}, show.Column{Head: "description", Shrink: true}, show.Column{Head: "listens", Right: true}, show.Column{Head: "needs", Right: true})
	for _, r := range f.Roles() {
		t.Add(r.ID, r.Description, fmt.Sprint(len(f.listens(r.ID))), fmt.Sprint(len(f.connects(r.ID))))
	}
	return t
}
