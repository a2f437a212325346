package main

import (
	"bufio"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/portset"
)

const currentStatus = string(catalog.ServiceCurrent)

// printPorts shows what ports are, in blocks of lines with a word before each, for a page where there is
// no screen.
func printPorts(s show.Screen, d *portDocument, sources bool) error {
	p := portPrinter{w: bufio.NewWriter(s), width: s.Width, bold: s.Bold, sources: sources}
	const page = 100
	if p.width == 0 {
		p.width = page
	}
	s.Writer = p.w
	for i := 0; i < len(d.Ports); {
		alike := 1
		for i+alike < len(d.Ports) && sameNothing(&d.Ports[i], &d.Ports[i+alike], alike) {
			alike++
		}
		if i > 0 {
			fmt.Fprintln(p.w)
		}
		p.port(d, d.Ports[i:i+alike])
		i += alike
	}
	if sources && len(d.Sources) > 0 {
		fmt.Fprintln(p.w)
		printSourceTable(s, d.Sources)
	}
	return p.w.Flush()
}

// sameNothing reports whether b is the port after n others that begin with a, and all that is known of both is
// the same dynamic ports.
func sameNothing(a, b *portAnswer, n int) bool {
	return int(b.Port) == int(a.Port)+n && a.isNothing() && b.isNothing() && a.transportNames() == b.transportNames() &&
		slices.EqualFunc(a.Dynamic, b.Dynamic, func(x, y dynamicAnswer) bool { return x.ID == y.ID && x.System == y.System }) &&
		slices.Equal(a.wide(), b.wide())
}

// isNothing reports whether a port is nothing but one of many.
func (p *portAnswer) isNothing() bool {
	return p.Note == "" && len(p.Pins) == 0 && !p.isDisputed() && !p.hasOwn()
}

// hasOwn reports whether something has the port as its own on one of the transports.
func (p *portAnswer) hasOwn() bool {
	return slices.ContainsFunc(p.Transports, func(t transportAnswer) bool { return t.hasOwn() })
}

// isDisputed reports whether the sources say something of the port that does not hold.
func (p *portAnswer) isDisputed() bool {
	return slices.ContainsFunc(p.Transports, func(t transportAnswer) bool { return len(t.Table)+len(t.Disagreements) > 0 })
}

// wide returns what may be at any of many ports, of which this is one.
func (p *portAnswer) wide() []string {
	var all []string
	transports := map[string]string{}
	for i := range p.Transports {
		for j := range p.Transports[i].Uses {
			if u := &p.Transports[i].Uses[j]; u.Wide {
				what := u.Ports + ", " + u.App + " of " + useName(u, "")
				all = append(all, what)
				transports[what] = strings.TrimSpace(transports[what] + " " + p.Transports[i].Transport)
			}
		}
	}
	all = unique(all)
	for i, what := range all {
		all[i] = transports[what] + " " + what
	}
	return all
}

// transportNames returns "/tcp" where one transport was asked for, and nothing for both.
func (p *portAnswer) transportNames() string {
	if len(p.Transports) == 1 {
		return "/" + p.Transports[0].Transport
	}
	return ""
}

// A portPrinter writes the blocks of ports.
type portPrinter struct {
	w       *bufio.Writer
	width   int
	bold    func(string) string
	sources bool
	number  string   // to be written before the next line; mostly empty
	notes   []string // of the transport that were written
}

// Where the words and the text after them begin.
const (
	portWidth = 11
	wordWidth = 14
)

// head writes the first line of a block, which begins with a port.
func (p *portPrinter) head(port, left, right string) {
	padded := fmt.Sprintf("%-*s ", portWidth-1, port)
	p.title(p.bold(port)+padded[len(port):], left, right)
}

// title writes left, and right at its column if it fits in.
func (p *portPrinter) title(before, left, right string) {
	const column = 36
	left, right = show.Clean(left), show.Clean(right)
	switch room := column - lipgloss.Width(left); {
	case right == "":
		fmt.Fprintln(p.w, before+left)
	case room >= 2 && portWidth+column+lipgloss.Width(right) <= p.width:
		fmt.Fprintln(p.w, before+left+strings.Repeat(" ", room)+right)
	default:
		fmt.Fprintln(p.w, before+left)
		p.line("service", right)
	}
}

// line writes text after a word, broken where the screen ends, and nothing for no text.
func (p *portPrinter) line(word, text string) {
	if text == "" {
		return
	}
	before := fmt.Sprintf("%-*s%-*s", portWidth, p.number, wordWidth, word)
	p.number = ""
	for line := range strings.SplitSeq(breakLine(show.Clean(text), p.width-portWidth-wordWidth), "\n") {
		fmt.Fprintln(p.w, before+line)
		before = strings.Repeat(" ", portWidth+wordWidth)
	}
}

// port writes what ports that follow each other are, of which all but the first are like it.
func (p *portPrinter) port(d *portDocument, ports []portAnswer) {
	a := &ports[0]
	number := portset.Range{First: a.Port, Last: ports[len(ports)-1].Port}.String()
	switch {
	case a.Note != "":
		p.head(number, a.Note, "")
	case !a.hasOwn() && !a.isDisputed():
		nothing := "nothing known"
		if len(a.Pins)+len(a.Dynamic) > 0 {
			nothing = "nothing known that has it as its own"
		}
		p.head(number+a.transportNames(), nothing, "")
	default:
		for i := range a.Transports {
			p.transport(number, &a.Transports[i])
		}
		p.number = number // what follows is of both transports
	}
	for _, pin := range a.Pins {
		text := pin.Service
		if pin.How != "" {
			text += ": " + pin.How
		}
		p.line("pinned by", fmt.Sprintf("%s (%s)", text, sentences("usual: "+pin.Usual, pin.OS, doubt(pin.Confidence))))
		if p.sources {
			p.line("  source", strings.Join(pin.Sources, "; "))
		}
	}
	p.dynamic(d, a, len(ports) > 1)
	if !a.hasOwn() || p.sources {
		p.line("one of", strings.Join(a.wide(), "; "))
	}
	p.number = ""
}

func (p *portPrinter) transport(number string, t *transportAnswer) {
	port := number + "/" + t.Transport
	if !t.hasOwn() {
		p.head(port, "nothing known", "")
	}
	p.notes = nil
	headed := false
	head := func(left, right string) {
		if headed {
			p.title(strings.Repeat(" ", portWidth), left, right)
			return
		}
		headed = true
		p.head(port, left, right)
	}
	for _, group := range groupUses(t.Uses) {
		head(group[0].App, useName(group[0], commonNeed(group)))
		p.uses(group)
	}
	if !headed && t.hasOwn() {
		what := "RPC"
		if len(t.Flows) > 0 {
			what = t.Flows[0].App
		}
		head(what, "")
	}
	for i, line := range foldFlows(t.Flows) {
		word := ""
		if i == 0 {
			word = "needed by"
		}
		p.line(word, line)
	}
	p.rpc(t)
	p.disagreements(t)
	if p.sources {
		p.sourceLines(t)
	} else {
		p.line("source", sourceNames(t.sources()))
	}
}

// groupUses returns the uses of the port as its own, those of the same application together, in order of the
// first of each.
func groupUses(uses []useAnswer) [][]*useAnswer {
	var groups [][]*useAnswer
	for i := range uses {
		u := &uses[i]
		if u.Wide {
			continue
		}
		at := slices.IndexFunc(groups, func(g []*useAnswer) bool { return g[0].App == u.App })
		if at < 0 {
			groups = append(groups, []*useAnswer{u})
			continue
		}
		groups[at] = append(groups[at], u)
	}
	return groups
}

// commonNeed returns the need of all of a group, or required where they differ.
func commonNeed(group []*useAnswer) string {
	for _, u := range group {
		if u.Need != group[0].Need {
			return string(catalog.Required)
		}
	}
	return group[0].Need
}

// useName returns whose use it is, with what is unlike the other ones: the need of all of them is told
// elsewhere.
func useName(u *useAnswer, common string) string {
	name := serviceName(u.Name, u.SystemServices)
	var unlike []string
	if u.Status != currentStatus {
		unlike = append(unlike, u.Status)
	}
	if u.Need != common && u.Need != string(catalog.Required) {
		unlike = append(unlike, u.Need)
	}
	if d := doubt(u.Confidence); d != "" {
		unlike = append(unlike, d)
	}
	if len(unlike) == 0 {
		return name
	}
	return name + " [" + strings.Join(unlike, ", ") + "]"
}

// uses writes what is known of a group but its first service.
func (p *portPrinter) uses(group []*useAnswer) {
	common := commonNeed(group)
	var others []string
	for _, u := range group[1:] {
		others = append(others, useName(u, common))
	}
	p.line("also for", strings.Join(others, ", "))
	if common != string(catalog.Required) {
		p.line("need", needWords(common, group[0].NeedMeaning))
	}
	var notes, encrypted, plain []string
	for _, u := range group {
		about := ""
		if len(group) > 1 && !sameNotes(group) {
			about = u.Name + ": "
		}
		if u.OnlyIn != "" {
			notes = append(notes, about+"only in the revision of "+u.OnlyIn)
		}
		for _, note := range slices.Concat(u.Notes, u.Limits) {
			notes = append(notes, about+note)
		}
		for _, r := range u.Encrypted {
			encrypted = append(encrypted, r.String())
		}
		for _, r := range u.Plain {
			plain = append(plain, r.String())
		}
	}
	for _, note := range notes {
		if !slices.Contains(p.notes, note) {
			p.line("note", note)
			p.notes = append(p.notes, note)
		}
	}
	p.line("encrypted", strings.Join(unique(encrypted), ", "))
	p.line("unencrypted", strings.Join(unique(plain), ", "))
}

// sameNotes reports whether all of a group have the notes of the first.
func sameNotes(group []*useAnswer) bool {
	return !slices.ContainsFunc(group, func(u *useAnswer) bool {
		return !slices.Equal(u.Notes, group[0].Notes) || !slices.Equal(u.Limits, group[0].Limits)
	})
}

// needWords returns a need with its meaning.
func needWords(need, meaning string) string {
	if meaning == "" {
		return need
	}
	return need + ": " + meaning
}

// String returns "3269/tcp  Global Catalog over TLS".
func (r portRef) String() string { return r.Ports + "/" + r.Transport + " " + r.App }

// foldFlows returns lines that say which roles connect to which, those with the same condition in one.
func foldFlows(flows []flowAnswer) []string {
	type pair struct{ from, to string }
	var conditions []string
	pairs := map[string][]pair{}
	for _, f := range flows {
		condition := sentences(doubt(f.Confidence), f.Condition)
		if f.Need != string(catalog.Required) {
			condition = sentences(f.Need, condition)
		}
		if !slices.Contains(conditions, condition) {
			conditions = append(conditions, condition)
		}
		at := pair{roleName(f.From), roleName(f.To)}
		if f.Mirror && f.From != f.To {
			at = pair{"", f.From + " ↔ " + f.To}
		}
		pairs[condition] = append(pairs[condition], at)
	}
	if i := slices.Index(conditions, ""); i > 0 { // what is always so comes first
		conditions = slices.Insert(slices.Delete(conditions, i, i+1), 0, "")
	}
	var lines []string
	for _, condition := range conditions {
		var tos, parts []string
		froms := map[string][]string{}
		for _, f := range pairs[condition] {
			tos = append(tos, f.to)
			froms[f.to] = append(froms[f.to], f.from)
		}
		for _, to := range unique(tos) {
			if from := strings.Join(unique(froms[to]), ", "); from != "" {
				to = from + " → " + to
			}
			parts = append(parts, to)
		}
		line := strings.Join(parts, "; ")
		if condition != "" {
			line += " [" + condition + "]"
		}
		lines = append(lines, line)
	}
	return lines
}

// rpc writes which programs and interfaces are there.
func (p *portPrinter) rpc(t *transportAnswer) {
	var programs, interfaces []string
	for _, a := range t.Programs {
		programs = append(programs, fmt.Sprintf("%s (%d)", a.Name, a.Program))
	}
	for _, i := range t.Interfaces {
		name := strings.TrimSpace(cmp.Or(i.Name, i.UUID) + " " + i.Version)
		if i.Status != string(catalog.StatusVerified) {
			name += " (" + i.Status + ")"
		}
		interfaces = append(interfaces, name)
	}
	if t.Activations > 0 {
		interfaces = append(interfaces, show.Count(t.Activations, "interface", "interfaces")+" of DCOM to be activated")
	}
	p.line("ONC RPC", strings.Join(programs, ", "))
	p.line("DCE/RPC", strings.Join(interfaces, ", "))
}

// disagreements writes that the sources disagree, or how they do.
func (p *portPrinter) disagreements(t *transportAnswer) {
	if len(t.Disagreements) == 0 {
		return
	}
	if p.sources {
		for _, d := range t.Disagreements {
			p.line("disagreement", fmt.Sprintf("%s: the section says %q, the table by port %q; %s [%s, %s]",
				strings.Join(d.Services, ", "), d.Section, d.Table, d.Suggestion, d.Kind, sourceNames(d.Sources)))
		}
		return
	}
	const most = 3
	var about []string
	for _, d := range t.Disagreements {
		about = append(about, d.Services...)
	}
	about = unique(about)
	more := ""
	if n := len(about) - most; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
		about = about[:most]
	}
	p.line("doubt", "the sources disagree: "+strings.Join(about, ", ")+more+"; --sources shows both")
}

// sourceLines writes where each fact of t was found.
func (p *portPrinter) sourceLines(t *transportAnswer) {
	type origin struct{ from, note string }
	var order []origin
	facts := map[origin][]string{}
	add := func(ids []string, note, fact string) {
		o := origin{sourceNames(ids), note}
		if len(facts[o]) == 0 {
			order = append(order, o)
		}
		facts[o] = append(facts[o], fact)
	}
	for _, u := range t.Uses {
		add(u.Sources, u.SourcesNote, u.Name)
	}
	for _, f := range t.Flows {
		add(f.Sources, f.SourcesNote, f.ID)
	}
	for _, a := range t.Programs {
		add(a.Sources, "", a.Name)
	}
	for _, i := range t.Interfaces {
		add(i.Sources, i.Status, cmp.Or(i.Name, i.UUID))
	}
	for _, r := range t.Table {
		add(r.Sources, "table by port", fmt.Sprintf("row %d, %s of %s", r.Seq, r.App, r.Printed))
	}
	for _, o := range order {
		text := o.from + ": " + strings.Join(unique(facts[o]), ", ")
		if o.note != "" {
			text += " [" + o.note + "]"
		}
		p.line("source", text)
	}
}

// dynamic writes whose dynamic ports have the port.
func (p *portPrinter) dynamic(d *portDocument, a *portAnswer, several bool) {
	it := strconv.Itoa(int(a.Port)) + " lies"
	if several {
		it = "they lie"
	}
	var ranges []string
	for _, r := range a.Dynamic {
		ranges = append(ranges, withDoubt(dynamicOf(&r)+", "+r.Ports.String(), r.Confidence))
	}
	if len(ranges) > 0 {
		p.line("dynamic", it+" in the dynamic ports of "+strings.Join(ranges, "; of ")+": any RPC server may be there; ask the endpoint mapper of the host")
		if p.sources {
			var ids []string
			for _, r := range a.Dynamic {
				ids = append(ids, r.Sources...)
			}
			p.line("  source", sourceNames(unique(ids)))
		}
		return
	}
	if a.Port == 0 || a.hasOwn() {
		return
	}
	for _, system := range d.Systems {
		p.line("dynamic", fmt.Sprintf("not in the dynamic ports of %s, %s", withDoubt(system.Name, system.Confidence), system.DynamicPorts))
	}
}

// dynamicOf returns whose dynamic ports a range is.
func dynamicOf(r *dynamicAnswer) string {
	switch {
	case r.System == "":
		return r.OS
	case r.Product == "":
		return r.System
	}
	return r.System + " with " + r.Product
}
