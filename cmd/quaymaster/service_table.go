package main

import (
	"bufio"
	"fmt"
	"maps"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/show"
)

// breakLine breaks text at blanks into lines of at most width columns. Where so few are left
// that lines would be hard to read, it leaves text alone.
func breakLine(text string, width int) string {
	const least = 20
	if width < least {
		return text
	}
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		n := lipgloss.Width(word)
		switch {
		case i == 0:
		case column+1+n > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}

// print shows services for people, one after the other.
func (f *serviceFacts) print(s show.Screen, services []*catalog.Service, sources bool) error {
	w := bufio.NewWriter(s)
	s.Writer = w
	for i, one := range services {
		if i > 0 {
			fmt.Fprintln(w)
		}
		f.printService(s, one, sources)
	}
	return w.Flush()
}

// printTitle prints what a service is.
func printTitle(s show.Screen, one *catalog.Service) {
	title := s.Bold(show.Clean(one.Name))
	about := []string{one.ID, one.Group}
	switch one.Status {
	case catalog.ServiceLegacy:
		about = append(about, "legacy: for old systems and peers")
	case catalog.ServiceRemoved:
		about = append(about, "removed: no supported system has it")
	}
	if d := doubt(one.Confidence); d != "" {
		about = append(about, d)
	}
	fmt.Fprintf(s, "%s  (%s)\n", title, show.Clean(strings.Join(about, ", ")))
}

func (f *serviceFacts) printService(s show.Screen, one *catalog.Service, sources bool) {
	printTitle(s, one)
	f.printPorts(s, one, sources)
	served := f.served(one)
	printInterfaces(s, served)
	f.printPrograms(s, one)
	fmt.Fprintln(s)
	f.printAbout(s, one, served)
	if sources {
		f.printSources(s, one)
	}
}

// printPorts shows the ports of a service with the notes on them. Long ones stand beneath, by
// numbers; on a screen too narrow for the short ones, those do too.
func (f *serviceFacts) printPorts(s show.Screen, one *catalog.Service, sources bool) {
	const short = 60
	columns := []show.Column{{Head: "port", Shrink: true}, {Head: "protocol"}, {Head: "for", Shrink: true}, {Head: "need"}, {Head: "condition", Shrink: true}}
	if sources {
		columns = append(columns, show.Column{Head: "stated", Shrink: true})
	}
	rows, beneath := f.portCells(one, sources, short, s.Width > 0)
	if s.Width > 0 && tableWidth(columns, rows) > s.Width {
		rows, beneath = f.portCells(one, sources, 0, true)
	}
	if len(rows) > 0 {
		t := show.NewTable(columns...)
		for _, cells := range rows {
			t.Add(cells...)
		}
		t.Print(s)
	}
	beneath.print(s)
}

// Footnotes are what stands beneath a table, whose cells refer to them by number.
type footnotes []string

// mark returns what refers to text, which is put beneath if it is not there yet.
func (n *footnotes) mark(text string) string {
	i := slices.Index(*n, text)
	if i < 0 {
		i = len(*n)
		*n = append(*n, text)
	}
	return fmt.Sprintf("(%d)", i+1)
}

func (n footnotes) print(s show.Screen) {
	for i, text := range n {
		printIndented(s, fmt.Sprintf("(%d)", i+1), 5, text)
	}
}

// tableWidth returns how wide a table of rows is.
func tableWidth(columns []show.Column, rows [][]string) int {
	total := 2 * (len(columns) - 1)
	for i, c := range columns {
		width := len(c.Head)
		for _, cells := range rows {
			width = max(width, lipgloss.Width(cells[i]))
		}
		total += width
	}
	return total
}

// portCells returns the cells of the ports of a service, and the notes on them that are
// longer than short, which the cells refer to by number. Ranges may be among these.
func (f *serviceFacts) portCells(one *catalog.Service, sources bool, short int, ranges bool) (rows [][]string, beneath footnotes) {
	for i := range one.Ports {
		p := &one.Ports[i]
		var conditions []string
		note := func(text string, long bool) {
			if long {
				conditions = append(conditions, beneath.mark(text))
			} else {
				conditions = append(conditions, strings.TrimSuffix(text, "."))
			}
		}
		if p.Ports.Symbol.IsDynamic() {
			text := describeRanges(f.ranges)
			note(text, ranges && len(text) > short)
		}
		for _, text := range p.Notes {
			note(text, len(text) > short)
		}
		if p.OnlyIn != "" {
			note(onlyIn(p.OnlyIn), false)
		}
		cells := []string{portText(p.Ports), p.Protocol.String(), p.App, string(p.Need), strings.Join(conditions, "; ")}
		if sources {
			text := stated(p)
			if short == 0 && text != "" {
				text = beneath.mark(text)
			}
			cells = append(cells, text)
		}
		rows = append(rows, cells)
	}
	return rows, beneath
}

// portText returns ports for a table: empty for protocols that have none.
func portText(p catalog.Ports) string {
	if p.IsNone() {
		return ""
	}
	return p.String()
}

func onlyIn(revision string) string { return "only in the revision of " + revision }

// stated returns what the revisions of the article print in place of the ports.
func stated(p *catalog.ServicePort) string {
	var parts []string
	for _, revision := range slices.Sorted(maps.Keys(p.Stated)) {
		parts = append(parts, revision+": "+p.Stated[revision])
	}
	return strings.Join(parts, "; ")
}

// portRows returns the ports of services, a row each.
func (f *serviceFacts) portRows(services []*catalog.Service) *show.Table {
	t := show.NewTable(
		show.Column{Head: "service"}, show.Column{Head: "port"}, show.Column{Head: "protocol"}, show.Column{Head: "app"},
		show.Column{Head: "need"}, show.Column{Head: "condition"}, show.Column{Head: "sources"})
	for _, s := range services {
		for i := range s.Ports {
			p := f.port(s, &s.Ports[i])
			var conditions []string
			if len(p.Dynamic) > 0 {
				conditions = append(conditions, describeRanges(p.Dynamic))
			}
			for _, note := range p.Notes {
				conditions = append(conditions, strings.TrimSuffix(note, "."))
			}
			if p.OnlyIn != "" {
				conditions = append(conditions, onlyIn(p.OnlyIn))
			}
			t.Add(s.ID, portText(p.Ports), p.Protocol.String(), p.App, string(p.Need), strings.Join(conditions, "; "), strings.Join(p.Sources, ";"))
		}
	}
	return t
}

// printInterfaces shows the interfaces that others call, the first of them if they are many.
func printInterfaces(s show.Screen, served []catalog.Interface) {
	const most = 8
	callable := slices.DeleteFunc(slices.Clone(served), func(is catalog.Interface) bool { return is.Kind == catalog.KindInternal })
	if len(callable) > 0 {
		fmt.Fprintln(s)
		t := show.NewTable(show.Column{Head: "interface"}, show.Column{Head: "version"}, show.Column{Head: "uuid"}, show.Column{Head: "transports", Shrink: true})
		for _, is := range callable[:min(most, len(callable))] {
			uuid, _, _ := strings.Cut(is.UUID.String(), "-")
			t.Add(is.Name, interfaceVersion(&is), uuid+"…", describeTransports(is.Transports))
		}
		t.Print(s)
	}
	var more []string
	if n := len(callable) - most; n > 0 {
		more = append(more, fmt.Sprintf("%d more", n))
	}
	if n := len(served) - len(callable); n > 0 {
		more = append(more, show.Count(n, "internal one", "internal ones"))
	}
	if len(more) > 0 {
		if len(callable) == 0 {
			fmt.Fprintf(s, "\nRPC interfaces: %s (-o json has all)\n", strings.Join(more, ", "))
			return
		}
		fmt.Fprintf(s, "and %s (-o json has all)\n", strings.Join(more, ", "))
	}
}

// nameOrUUID returns the name of an interface, or its UUID if it has none.
func nameOrUUID(is *catalog.Interface) string {
	if is.Name == "" {
		return is.UUID.String()
	}
	return is.Name
}

// interfaceVersion returns a version as 1.0, empty if it is not known.
func interfaceVersion(is *catalog.Interface) string {
	if is.VersionUnknown {
		return ""
	}
	return fmt.Sprintf("%d.%d", is.Major, is.Minor)
}

// describeTransports returns transports in short: "tcp dynamic, \pipe\winreg".
func describeTransports(transports []catalog.Transport) string {
	if len(transports) == 0 {
		return "unknown"
	}
	names := map[string]string{"ncacn_ip_tcp": "tcp", "ncadg_ip_udp": "udp", "ncacn_http": "http", "ncalrpc": "local"}
	var parts []string
	for _, t := range transports {
		text := t.Endpoint
		switch {
		case t.Kind == catalog.EndpointEvery:
			text = t.String()
		case t.Kind == catalog.EndpointActivation:
			text += " activation"
		case t.Kind == catalog.EndpointDynamic || t.Kind == catalog.EndpointOfPeer:
			text = t.Kind.String()
		}
		parts = append(parts, strings.TrimSpace(names[t.ProtocolSequence]+" "+text))
	}
	return strings.Join(parts, ", ")
}

// printPrograms shows the ONC RPC programs of a service.
func (f *serviceFacts) printPrograms(s show.Screen, one *catalog.Service) {
	programs := f.programs(one)
	if len(programs) == 0 {
		return
	}
	fmt.Fprintln(s)
	t := show.NewTable(show.Column{Head: "program"}, show.Column{Head: "number", Right: true}, show.Column{Head: "versions"}, show.Column{Head: "transports"}, show.Column{Head: "usual port"})
	for _, p := range programs {
		var versions []string
		for _, v := range p.Versions {
			versions = append(versions, fmt.Sprint(v))
		}
		t.Add(p.Name, fmt.Sprint(p.Number), strings.Join(versions, " "), strings.Join(p.Transports, " "), p.UsualPorts.String())
	}
	t.Print(s)
}

// printAbout shows what else is known of a service.
func (f *serviceFacts) printAbout(s show.Screen, one *catalog.Service, served []catalog.Interface) {
	var moved, pipes, uses, directory, disputed []string
	if hasDynamicPorts(one) && len(f.moved) > 0 {
		moved = words(describeRanges(f.moved) + ": these products move the dynamic ports")
	}
	if p := namedPipes(served); len(p) > 0 {
		pipes = words(strings.Join(p, ", ") + " (reached through SMB, 445/tcp)")
	}
	for _, use := range []struct {
		is   bool
		name string
	}{{one.Uses.RPC, "RPC over TCP"}, {one.Uses.NamedPipes, "RPC over named pipes"}, {one.Uses.DCOM, "DCOM"}} {
		if use.is {
			uses = append(uses, use.name)
		}
	}
	if d := dependence(f.Directory().RequiredBy, one.ID); d != nil {
		directory = append(directory, "this service needs it"+inBrackets(d.Condition))
	}
	if d := dependence(f.Directory().DependsOn, one.ID); d != nil {
		directory = append(directory, "it needs this service"+inBrackets(d.Condition))
	}
	if n := len(f.Disagreements(one.ID)); n > 0 {
		disputed = words(fmt.Sprintf("the sources disagree in %s: --sources shows both sides", show.Count(n, "place", "places")))
	}
	printFacts(s,
		fact{"system service", words(strings.Join(one.SystemServices, ", "))},
		fact{"also called", words(strings.Join(slices.Concat(one.AlsoNamed, one.Aliases), ", "))},
		fact{"uses", words(strings.Join(uses, ", "))},
		fact{"named pipes", pipes},
		fact{"other ranges", moved},
		fact{"depends on", words(strings.Join(one.DependsOn, ", "))},
		fact{"Active Directory", directory},
		fact{"systems", one.OSLimits},
		fact{"notes", one.Notes},
		fact{"pin it", words(f.pinLine(one))},
		fact{"in doubt", disputed},
		fact{"sources", words(sourceLine(one))},
	)
}

func inBrackets(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// sourceLine returns the sources of a service, and what is said of them.
func sourceLine(one *catalog.Service) string {
	line := sourceNames(one.Sources)
	if one.SourcesNote != "" {
		line += ": " + one.SourcesNote
	}
	return line
}

// printSources shows both sides where the sources disagree, and the sources.
func (f *serviceFacts) printSources(s show.Screen, one *catalog.Service) {
	if all := f.Disagreements(one.ID); len(all) > 0 {
		fmt.Fprintln(s)
		t := show.NewTable(
			show.Column{Head: "disagreement"}, show.Column{Head: "port"}, show.Column{Head: "protocol"},
			show.Column{Head: "section says"}, show.Column{Head: "table by port says"}, show.Column{Head: "what holds"}, show.Column{Head: "sources"})
		for _, d := range all {
			var protocols []string
			for _, p := range d.Protocols {
				protocols = append(protocols, p.String())
			}
			t.Add(string(d.Kind), portText(d.Ports), strings.Join(protocols, " "), d.Section, d.Table, d.Suggestion, strings.Join(d.Sources, ";"))
		}
		t.Print(s)
	}
	fmt.Fprintln(s)
	printSourceTable(s, sourceDocuments(f.Catalog, one.Sources))
}

// printSourceTable shows what sources are.
func printSourceTable(s show.Screen, sources []sourceDocument) {
	t := show.NewTable(show.Column{Head: "source"}, show.Column{Head: "revision"}, show.Column{Head: "title"}, show.Column{Head: "remark"})
	for _, d := range sources {
		t.Add(d.ID, d.Revision, d.Title, d.Note)
	}
	t.Print(s)
}
