package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/render"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// show writes flows in the chosen format. What there is to know of the plan is said beneath the table, and
// on standard error beside other formats.
func (f *planFlags) show(p *plan.Plan, flows []*plan.Flow) error {
	switch f.output {
	case show.FormatTable:
		return printPlan(f.stdout(), p, flows)
	case show.FormatJSON, show.FormatYAML:
		return show.Write(f.stdout(), f.output, newPlanDocument(p, flows), nil)
	}
	for _, w := range planWarnings(p) {
		fmt.Fprintln(os.Stderr, "! "+show.Clean(w))
	}
	if f.output == show.FormatMarkdown {
		return show.Write(f.stdout(), f.output, nil, planTable(foldPlan(flows), 0))
	}
	return show.Write(f.stdout(), f.output, nil, flowTable(flows))
}

// planWarnings returns what should be known of a plan, and of its site, in lines.
func planWarnings(p *plan.Plan) []string {
	var lines []string
	for _, w := range p.Site.Warnings {
		lines = append(lines, w.Error())
	}
	for _, w := range p.Warnings {
		text := w.Text
		if w.Host != "" {
			text = w.Host + ": " + text
		}
		lines = append(lines, text)
	}
	return lines
}

// mostWarnings is how many lines beneath the table warn.
const mostWarnings = 10

func printPlan(s show.Screen, p *plan.Plan, flows []*plan.Flow) error {
	w := bufio.NewWriter(s)
	s.Writer = w
	planTable(foldPlan(flows), mostNames).Print(s)
	fmt.Fprintf(w, "\n%s\n", summarizePlan(p, flows))
	printWarnings(w, planWarnings(p))
	return w.Flush()
}

func printWarnings(w io.Writer, warnings []string) {
	for _, line := range warnings[:min(len(warnings), mostWarnings)] {
		fmt.Fprintln(w, "! "+show.Clean(line))
	}
	if more := len(warnings) - mostWarnings; more > 0 {
		fmt.Fprintf(w, "! and %d more, which -o json has\n", more)
	}
}

// summarizePlan says in a line how much there is.
func summarizePlan(p *plan.Plan, flows []*plan.Flow) string {
	if len(flows) == 0 {
		return "no flows: no two hosts are anything to each other"
	}
	sources := map[string]bool{}
	for _, f := range flows {
		for _, id := range f.Sources {
			sources[id] = true
		}
	}
	text := fmt.Sprintf("%s, %s", show.Count(len(flows), "flow", "flows"), show.Count(len(sources), "source", "sources"))
	var open, wide portset.Set
	var at *render.Rule
	rules := render.ForSite(plan.Of(p.Site, flows)).Rules
	for i := range rules {
		var is, was []portset.Range
		for _, f := range rules[i].Flows {
			was = slices.AppendSeq(was, p.Unnarrowed(f, rules[i].To[0]).Ranges())
			if f.Narrowing.By != plan.ByPinhole {
				is = slices.AppendSeq(is, f.Ports.Ranges())
			}
		}
		if o := portset.Of(is...); o.Len() > open.Len() {
			open, wide, at = o, portset.Of(was...), &rules[i]
		}
	}
	if at == nil {
		return text
	}
	text += fmt.Sprintf("; at the widest %s of %s open, %s to %s", show.Count(open.Len(), "port", "ports"), at.Flows[0].Protocol, hostNames(at.From, 2), hostNames(at.To, 2))
	if wide.Len() > open.Len() {
		text += " (instead of " + strings.TrimSpace(show.Count(wide.Len(), "", "")) + ")"
	}
	return text
}

// A foldedFlow is flows between the same hosts for the same relationship, which a table shows in one row.
type foldedFlow struct {
	plan.Flow
	apps []string
}

// foldPlan puts flows together that differ in ports and in what is spoken only, in the order of the
// first of each.
func foldPlan(flows []*plan.Flow) []*foldedFlow {
	at := map[string]*foldedFlow{}
	ports := map[string][]portset.Range{}
	var all []*foldedFlow
	for _, f := range flows {
		k := strings.Join([]string{
			hostNames(f.From, 0), hostNames(f.To, 0), f.Protocol.String(), f.Relationship, string(f.Need),
			narrowingText(f), string(f.Symbol), strings.Join(f.Sources, " "),
		}, "\x00")
		if at[k] == nil {
			at[k] = &foldedFlow{Flow: *f}
			all = append(all, at[k])
		}
		ports[k] = slices.AppendSeq(ports[k], f.Ports.Ranges())
		at[k].Ports = portset.Of(ports[k]...)
		if !slices.Contains(at[k].apps, f.App) {
			at[k].apps = append(at[k].apps, f.App)
		}
	}
	return all
}

// mostNames is how many hosts a cell of the table names.
const mostNames = 4

// planTable returns the table of flows for people, with most names in a cell; 0 is all.
func planTable(flows []*foldedFlow, most int) *show.Table {
	t := show.NewTable(
		show.Column{Head: "from", Shrink: true}, show.Column{Head: "to", Shrink: true}, show.Column{Head: "proto"}, show.Column{Head: "ports"},
		show.Column{Head: "service", Shrink: true}, show.Column{Head: "need"}, show.Column{Head: "narrowed by"}, show.Column{Head: "why", Shrink: true},
	)
	for _, f := range flows {
		t.Add(hostNames(f.From, most), hostNames(f.To, most), protocolText(f.Protocol), flowPorts(&f.Flow), strings.Join(f.apps, ", "),
			needText(&f.Flow), narrowingText(&f.Flow), f.Relationship+": "+sourceNames(f.Sources))
	}
	return t
}

// flowTable returns the table of flows for programs: a row for each.
func flowTable(flows []*plan.Flow) *show.Table {
	t := show.NewTable(
		show.Column{Head: "id"}, show.Column{Head: "from"}, show.Column{Head: "to"}, show.Column{Head: "protocol"}, show.Column{Head: "ports"},
		show.Column{Head: "app"}, show.Column{Head: "service"}, show.Column{Head: "relationship"}, show.Column{Head: "need"}, show.Column{Head: "condition"},
		show.Column{Head: "narrowed by"}, show.Column{Head: "reason"}, show.Column{Head: "sources"},
	)
	for _, f := range flows {
		t.Add(f.ID, hostNames(f.From, 0), hostNames(f.To, 0), protocolText(f.Protocol), f.Ports.String(), f.App, f.Service, f.Relationship,
			string(f.Need), f.Condition, narrowingText(f), f.Reason, strings.Join(f.Sources, " "))
	}
	return t
}

// hostNames returns the names of the first hosts, and how many more there are; most 0 is all of them.
func hostNames(hosts []*site.Host, most int) string {
	var names []string
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	if most > 0 && len(names) > most {
		return strings.Join(names[:most-1], ", ") + fmt.Sprintf(" +%d", len(names)-most+1)
	}
	return strings.Join(names, ", ")
}

func protocolText(p catalog.Protocol) string {
	if p == 0 {
		return "all"
	}
	return p.String()
}

// flowPorts returns the ports of a flow for a cell of a table.
func flowPorts(f *plan.Flow) string {
	switch {
	case f.Protocol == 0:
		return "all"
	case f.Symbol == catalog.Echo:
		return "echo"
	}
	return firstRanges(f.Ports, 12)
}

func needText(f *plan.Flow) string {
	if f.Unfiltered {
		return string(f.Need) + ", unfiltered"
	}
	return string(f.Need)
}

// narrowingText says how the ports of a flow were made few.
func narrowingText(f *plan.Flow) string {
	var follow []string
	for _, firewall := range f.Narrowing.Pinhole {
		follow = append(follow, firewall.Name)
	}
	switch n := f.Narrowing; {
	case n.By == plan.ByPin:
		return "pin " + strings.Join(n.Pins, " ")
	case n.By == plan.ByPinhole:
		return "pinhole " + strings.Join(follow, " ")
	case len(follow) > 0:
		return "range, pinhole " + strings.Join(follow, " ")
	default:
		return string(n.By)
	}
}
