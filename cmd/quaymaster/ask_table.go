package main

import (
	"bufio"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/probe"
	"github.com/quaymaster/quaymaster/internal/show"
)

// mapperNames are what people call the mappers of the dialects.
var mapperNames = map[string]string{endpoint.ONC.String(): "port mapper", endpoint.DCE.String(): "endpoint mapper"}

// tryWords say what became of trying an endpoint: what is to be looked into stands out.
var tryWords = map[probe.State]string{
	probe.NotTried: "not tried", probe.Listening: "works", probe.NotListening: "REFUSED", probe.Filtered: "FILTERED",
	probe.Wrong: "WRONG INTERFACE", probe.Rejected: "denied", probe.Failed: "FAILED",
}

// portWord returns the words for the state of a port or mapper.
func portWord(s probe.State) string { return strings.ToUpper(s.String()) }

// unreachable tells whether a host could not be asked at all.
func (h *askHost) unreachable() bool { return h.Error != "" || len(h.Mappers) > 0 && h.rank() == 0 }

// printHosts shows a block for each host.
func (f *askFlags) printHosts(s show.Screen, hosts []*askHost, q *askQuestion) error {
	w := bufio.NewWriter(s)
	s.Writer = w
	for i, h := range hosts {
		if i > 0 {
			fmt.Fprintln(s)
		}
		f.printHost(s, h, q)
	}
	if len(hosts) > 1 {
		fmt.Fprintf(s, "\n%s\n", hostSummary(hosts, q))
	}
	return w.Flush() // has the first error of the writes before
}

// hostSummary returns how many hosts are well, in a line.
func hostSummary(hosts []*askHost, q *askQuestion) string {
	counts := map[int]int{}
	for _, h := range hosts {
		counts[h.status(q)]++
	}
	line := fmt.Sprintf("%s: %d fine", show.Count(len(hosts), "host", "hosts"), counts[exitDone])
	if n := counts[exitFound]; n > 0 {
		line += fmt.Sprintf(", %d with something closed or wrong", n)
	}
	if n := counts[exitFailed]; n > 0 {
		line += fmt.Sprintf(", %d could not be asked", n)
	}
	return line
}

func (f *askFlags) printHost(s show.Screen, h *askHost, q *askQuestion) {
	fmt.Fprintln(s, show.Clean(h.headLine()))
	var summary []string
	if len(h.Entries)+len(h.Missing)+len(h.Unanswered) > 0 {
		h.entryTable(q.try).Print(s)
	}
	if len(h.Entries) > 0 {
		summary = append(summary, h.summary(q.try))
	}
	if len(h.Missing) > 0 {
		summary = append(summary, fmt.Sprintf("%d not registered", len(h.Missing)))
	}
	if len(h.Unanswered) > 0 {
		summary = append(summary, fmt.Sprintf("%d not answered", len(h.Unanswered)))
	}
	if len(h.Ports) > 0 {
		if len(summary) > 0 {
			fmt.Fprintln(s)
		}
		h.portTable().Print(s)
		summary = append(summary, h.portSummary())
		if q.role != nil && len(q.role.untried) > 0 {
			summary = append(summary, "not tried: "+strings.Join(q.role.untried, ", "))
		}
	}
	if h.Statistics != nil {
		if len(h.Entries)+len(h.Missing)+len(h.Unanswered)+len(h.Ports) > 0 {
			fmt.Fprintln(s)
		}
		h.Statistics.print(s, q.facts)
	}
	if len(summary) > 0 {
		fmt.Fprintln(s)
	}
	line := strings.Join(summary, "; ")
	if slices.ContainsFunc(h.Mappers, func(m askMapper) bool { return m.Cut }) {
		line += "; this is not all"
	}
	if wrong := h.problems(); len(wrong) > 0 && !f.verbose {
		line += "        (--verbose: what the mappers get wrong)"
	}
	if line != "" {
		fmt.Fprintln(s, strings.TrimPrefix(line, "; "))
	}
	for _, a := range h.advice(q) {
		fmt.Fprintln(s, show.Clean("! "+a))
	}
	if f.verbose {
		h.printVerbose(s)
	}
}

// headLine returns who was asked, and what became of that.
func (h *askHost) headLine() string {
	line := h.Host
	if h.Address != "" && h.Address != h.Host {
		line += " (" + h.Address + ")"
	}
	if h.Error != "" {
		return line + "   " + h.Error
	}
	var mappers []string
	for i := range slices.Backward(h.Mappers) { // as people know them: 135 before 111
		m := &h.Mappers[i]
		switch word := mapperNames[m.Dialect] + ": " + portWord(m.State); {
		case m.State == probe.Listening:
			mappers = append(mappers, mapperNames[m.Dialect]+" "+shortVia(m.Via))
		case (m.State == probe.Rejected || m.State == probe.Wrong) && m.Why != "": // for want of authentication, or what is there instead
			mappers = append(mappers, word+" ("+m.Why+")")
		default:
			mappers = append(mappers, word)
		}
	}
	if len(mappers) > 0 {
		line += "   " + strings.Join(mappers, " · ")
	}
	return line
}

// shortVia returns "111/tcp" for "tcp 111, version 4; udp 111, version 4".
func shortVia(via string) string {
	via, _, _ = strings.Cut(via, ";")
	via, _, _ = strings.Cut(via, ",")
	if network, at, ok := strings.Cut(via, " "); ok && strings.Trim(at, "0123456789") == "" {
		return at + "/" + network
	}
	return via
}

// entryTable returns the table of what the mappers told.
func (h *askHost) entryTable(tried bool) *show.Table {
	rows := make([]endpoint.Document, len(h.Entries))
	for i := range h.Entries {
		rows[i] = h.Entries[i].document()
		rows[i].Owner = "" // differs between versions of one server, and only some mappers tell it
	}
	columns := []show.Column{{Head: "interface"}, {Right: true}, {Head: "version"}, {Head: "transport"}, {Head: "endpoint"}}
	if tried {
		columns = append(columns, show.Column{Head: "state"}, show.Column{Head: "time", Right: true})
	}
	withObjects := hasObjects(rows)
	if withObjects {
		columns = append(columns, show.Column{Head: "object"})
	}
	t := show.NewTable(append(columns, show.Column{Head: "annotation", Shrink: true})...)
	shorten := shortener(rows)
	for _, fold := range foldRows(rows, time.Time{}) {
		versions := spans(slices.Compact(fold.versions))
		if fold.of.Version == (endpoint.Version{}) {
			versions = "" // asked for any, and not told which
		}
		cells := []string{interfaceName(fold.of), shorten(fold.of), versions,
			strings.Join(slices.Compact(fold.transports), " "), place(fold.of)}
		notes := []string{fold.of.Annotation}
		if strings.EqualFold(fold.of.Annotation, cells[0]) {
			notes = nil // as Samba has it
		}
		note := func(text string) {
			const most = 4
			if len(notes) < most && !slices.Contains(notes, text) {
				notes = append(notes, text)
			}
		}
		var slowest int64
		for _, i := range fold.rows {
			e := &h.Entries[i]
			slowest = max(slowest, e.Time)
			if tried && e.State != probe.Listening {
				note(e.Why)
			}
			for _, p := range e.Problems {
				note(p)
			}
		}
		if tried {
			cells = append(cells, tryWords[h.Entries[fold.rows[0]].State], askTime(slowest))
		}
		if withObjects {
			cells = append(cells, short(fold.of.Object))
		}
		notes = slices.DeleteFunc(notes, func(s string) bool { return s == "" })
		t.Add(append(cells, strings.Join(notes, " · "))...)
	}
	absent := func(word, state, why string) {
		cells := make([]string, len(columns)+1)
		cells[0], cells[len(columns)] = word, why
		if tried {
			cells[5] = state
		}
		t.Add(cells...)
	}
	for _, word := range h.Missing {
		absent(word, "NOT REGISTERED", "")
	}
	for _, u := range h.Unanswered {
		absent(u.Word, "NOT ANSWERED", u.Why)
	}
	return t
}

// askTime returns a time for people: "0.9ms", "3.0s"; empty for none.
func askTime(us int64) string {
	switch d := time.Duration(us) * time.Microsecond; {
	case us == 0:
		return ""
	case us < 100:
		return "<0.1ms"
	case d < time.Second:
		return fmt.Sprintf("%.1fms", float64(us)/1e3)
	default:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
}

// summaryWords are what a summary says of states, in their order.
var summaryWords = []struct {
	state     probe.State
	one, many string
}{
	{probe.Listening, "works", "work"}, {probe.Rejected, "denied", "denied"}, {probe.NotListening, "refused", "refused"},
	{probe.Filtered, "filtered", "filtered"}, {probe.Wrong, "wrong", "wrong"}, {probe.Failed, "failed", "failed"},
	{probe.NotTried, "not tried", "not tried"},
}

// summary returns how many there are, and what became of them.
func (h *askHost) summary(tried bool) string {
	ids, places := map[string]bool{}, map[[2]string]bool{}
	counts := map[probe.State]int{}
	for i := range h.Entries {
		e := &h.Entries[i]
		d := e.document()
		ids[interfaceID(&d)] = true
		places[[2]string{interfaceID(&d) + e.Object, d.Transport() + place(&d)}] = true
		counts[e.State]++
	}
	text := show.Count(len(ids), "interface", "interfaces") + ", " + show.Count(len(places), "endpoint", "endpoints")
	if !tried {
		return text
	}
	var parts []string
	for _, w := range summaryWords {
		if n := counts[w.state]; n > 0 {
			parts = append(parts, show.Count(n, w.one, w.many))
		}
	}
	return text + "; of " + show.Count(len(h.Entries), "row", "rows") + " " + strings.Join(parts, ", ")
}

// portTable returns the table of ports that were tried.
func (h *askHost) portTable() *show.Table {
	columns := []show.Column{{Head: "port", Right: true}, {Head: "transport"}}
	ofRole := slices.ContainsFunc(h.Ports, func(p triedPort) bool { return p.Need != "" })
	if ofRole {
		columns = append(columns, show.Column{Head: "service"}, show.Column{Head: "need"})
	} else {
		columns = append(columns, show.Column{Head: "for", Shrink: true})
	}
	t := show.NewTable(append(columns, show.Column{Head: "state"}, show.Column{Head: "time", Right: true},
		show.Column{Head: "answers", Shrink: true}, show.Column{Head: "says", Shrink: true})...)
	for _, p := range h.Ports {
		cells := []string{strconv.Itoa(int(p.Port)), p.Network}
		if ofRole {
			cells = append(cells, p.Service, string(p.Need))
		} else {
			cells = append(cells, p.Name)
		}
		notes := append([]string{p.says()}, p.Problems...)
		if p.Condition != "" && p.State != probe.Listening {
			notes = append(notes, "condition: "+p.Condition)
		}
		t.Add(append(cells, portWord(p.State), askTime(p.Time), p.What,
			strings.Join(slices.DeleteFunc(notes, func(s string) bool { return s == "" }), " · "))...)
	}
	return t
}

// says returns what a port says: its interfaces, if it tells them, and its text.
func (p *triedPort) says() string {
	if len(p.Interfaces) == 0 {
		return p.Text
	}
	const most = 20
	var names []string
	for _, i := range p.Interfaces[:min(most, len(p.Interfaces))] {
		names = append(names, cmp.Or(i.Name, short(i.UUID))+" "+i.Version.String())
	}
	if more := len(p.Interfaces) - most; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	text := show.Count(len(p.Interfaces), "interface", "interfaces") + ": " + strings.Join(names, ", ")
	if p.Text != "" {
		text += "; " + p.Text
	}
	return text
}

func (h *askHost) portSummary() string {
	counts := map[probe.State]int{}
	required, there := 0, 0
	for _, p := range h.Ports {
		counts[p.State]++
		if p.Need == catalog.Required {
			required++
			if p.State == probe.Listening {
				there++
			}
		}
	}
	var parts []string
	for _, s := range []probe.State{probe.Listening, probe.NotListening, probe.Filtered, probe.Failed, probe.NotTried} {
		if counts[s] > 0 {
			parts = append(parts, show.Count(counts[s], s.String(), s.String()))
		}
	}
	text := show.Count(len(h.Ports), "port", "ports") + ": " + strings.Join(parts, ", ")
	if required > 0 {
		text += fmt.Sprintf("; of %d that are required %d listen", required, there)
	}
	return text
}

// advice returns what to do, in two lines at most: a line for each state that is worth one.
func (h *askHost) advice(q *askQuestion) []string {
	const mostNamed, mostLines = 3, 2
	var lines []string
	if line := h.roleAdvice(q, mostNamed); line != "" {
		lines = append(lines, line)
	}
	for _, a := range []struct {
		state       probe.State
		one, many   string
		consequence string
	}{
		{probe.Filtered, "is", "are", "filtered: a firewall on the way lacks %s, or the server hangs."},
		{probe.NotListening, "is", "are", "registered and nothing listens there: start the server again, or have the registration removed."},
		{probe.Wrong, "is", "are", "another server's by now, not of that version, or silent: start the server that registered again."},
	} {
		named := map[string]string{}
		var order []string
		for i := range h.Entries {
			if e := &h.Entries[i]; e.State == a.state {
				at := e.at()
				if _, ok := named[at]; !ok {
					named[at] = e.title()
					order = append(order, at)
				}
			}
		}
		if len(order) == 0 || len(lines) == mostLines {
			continue
		}
		var parts []string
		for _, at := range order[:min(mostNamed, len(order))] {
			parts = append(parts, fmt.Sprintf("%s (%s)", at, named[at]))
		}
		if more := len(order) - mostNamed; more > 0 {
			parts = append(parts, fmt.Sprintf("%d more", more))
		}
		verb, it := a.one, "it"
		if len(order) > 1 {
			verb, it = a.many, "them"
		}
		consequence := strings.Replace(a.consequence, "%s", it, 1)
		lines = append(lines, strings.Join(parts, ", ")+" "+verb+" "+consequence)
	}
	return lines
}

// roleAdvice names the ports that a host of the role must have and has not.
func (h *askHost) roleAdvice(q *askQuestion, most int) string {
	if q.role == nil {
		return ""
	}
	var parts []string
	for _, p := range h.Ports {
		if p.Need == catalog.Required && isBad(p.State) {
			parts = append(parts, fmt.Sprintf("%d/%s (%s)", p.Port, p.Network, p.Service))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	verb := "is"
	if len(parts) > 1 {
		verb = "are"
	}
	if more := len(parts) - most; more > 0 {
		parts = append(parts[:most], fmt.Sprintf("%d more", more))
	}
	return strings.Join(parts, ", ") + " " + verb + " required of " + q.role.id + ": start the service, or open the firewall where it is filtered."
}

// versions returns what programs say of their versions, each once: "mountd 1-3".
func (h *askHost) versions() []string {
	var all []string
	for i := range h.Entries {
		e := &h.Entries[i]
		if e.Versions == nil {
			continue
		}
		text := fmt.Sprintf("%s %d-%d", e.title(), e.Versions.Low, e.Versions.High)
		switch {
		case e.Versions.Low == e.Versions.High:
			text = fmt.Sprintf("%s %d", e.title(), e.Versions.Low)
		case e.Versions.Low == 0 && e.Versions.High == math.MaxUint32:
			text = e.title() + " any"
		}
		if !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return all
}

// problems returns what the mappers get wrong.
func (h *askHost) problems() []string {
	var all []string
	for _, m := range h.Mappers {
		for _, p := range m.Problems {
			all = append(all, mapperNames[m.Dialect]+": "+p)
		}
	}
	return all
}

// printVerbose shows how a host was asked, and what its mappers get wrong.
func (h *askHost) printVerbose(s show.Screen) {
	for _, m := range h.Mappers {
		line := fmt.Sprintf("%s: %s", mapperNames[m.Dialect], cmp.Or(m.Via, "no answer"))
		if m.Time > 0 {
			line += ", " + askTime(m.Time)
		}
		if m.Why != "" {
			line += ": " + m.Why
		}
		fmt.Fprintln(s, show.Clean(line))
	}
	if all := h.versions(); len(all) > 0 {
		fmt.Fprintln(s, show.Clean("versions that programs say they have: "+strings.Join(all, ", ")))
	}
	if wrong := h.problems(); len(wrong) > 0 {
		fmt.Fprintln(s, "what is wrong with what was told:")
		for _, p := range wrong {
			fmt.Fprintln(s, show.Clean("  "+p))
		}
	}
}

// askRows returns the rows of CSV and Markdown: a row for each mapper, entry and port.
func askRows(hosts []*askHost) *show.Table {
	const columns = 15
	t := show.NewTable(show.Column{Head: "host"}, show.Column{Head: "kind"}, show.Column{Head: "interface"}, show.Column{Head: "id"},
		show.Column{Head: "version"}, show.Column{Head: "transport"}, show.Column{Head: "address"}, show.Column{Head: "port", Right: true},
		show.Column{Head: "path"}, show.Column{Head: "state"}, show.Column{Head: "time us", Right: true}, show.Column{Head: "annotation"},
		show.Column{Head: "why"}, show.Column{Head: "service"}, show.Column{Head: "need"})
	add := func(cells ...string) { t.Add(append(cells, make([]string, columns-len(cells))...)...) } // what a kind lacks comes last
	number := func(n int64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatInt(n, 10)
	}
	for _, h := range hosts {
		if h.Error != "" {
			add(h.Host, "host", "", "", "", "", "", "", "", probe.Failed.String(), "", "", h.Error)
		}
		for _, m := range h.Mappers {
			add(h.Host, "mapper", mapperNames[m.Dialect], "", "", m.Via, h.Address, "", "", m.State.String(), number(m.Time), "", m.Why)
		}
		for i := range h.Entries {
			e := &h.Entries[i]
			d := e.document()
			add(h.Host, "endpoint", e.Name, interfaceID(&d), e.Version.String(), d.Transport(), cmp.Or(e.Address, e.Told),
				number(int64(e.Port)), e.Path, e.State.String(), number(e.Time), e.Annotation, e.Why)
		}
		for _, word := range h.Missing {
			add(h.Host, "missing", word, "", "", "", h.Address, "", "", "not registered", "", "", "")
		}
		for _, u := range h.Unanswered {
			add(h.Host, "unanswered", u.Word, "", "", "", h.Address, "", "", "not answered", "", "", u.Why)
		}
		for _, p := range h.Ports {
			add(h.Host, "port", p.Name, "", "", p.Network, h.Address, number(int64(p.Port)), "", p.State.String(), number(p.Time), "", p.says(), p.Service, string(p.Need))
		}
	}
	return t
}
