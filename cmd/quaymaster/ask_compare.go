package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/probe"
	"github.com/quaymaster/quaymaster/internal/show"
)

// An askChange is one difference between two answers of a host.
type askChange struct {
	Time   *time.Time `json:"time,omitempty"` // of a watch
	Host   string     `json:"host"`
	Change string     `json:"change"` // appeared, vanished, changed
	What   string     `json:"what"`   // host, mapper, endpoint, port
	Text   string     `json:"text"`   // for people
	Was    string     `json:"was"`    // the state, if that has changed
	Is     string     `json:"is"`
	Entry  *askEntry  `json:"entry,omitempty"` // of an endpoint
}

// Kinds of changes, and what begins their lines.
const (
	appeared = "appeared"
	vanished = "vanished"
	changed  = "changed"
)

var changeSigns = map[string]string{appeared: "+", vanished: "-", changed: "~"}

// changeLines returns changes for people: a line for what differs in version and transport only.
func changeLines(changes []askChange) []string {
	type alike struct{ host, change, was, is string }
	var lines []string
	for i := 0; i < len(changes); {
		c := &changes[i]
		kind := alike{c.Host, c.Change, c.Was, c.Is}
		var rows []endpoint.Document
		for ; i < len(changes) && changes[i].Entry != nil && (alike{changes[i].Host, changes[i].Change, changes[i].Was, changes[i].Is}) == kind; i++ {
			d := changes[i].Entry.document()
			d.Owner, d.Evidence = "", "" // which are no part of what has changed
			rows = append(rows, d)
		}
		if rows == nil {
			lines = append(lines, c.line(c.Text))
			i++
		}
		for _, f := range foldRows(rows, time.Time{}) {
			lines = append(lines, c.line(describeFold(f)))
		}
	}
	return lines
}

// line returns a change for people, in which text says what has changed.
func (c *askChange) line(text string) string {
	line := fmt.Sprintf("%s  %s  %s", changeSigns[c.Change], c.Host, text)
	if c.Was != "" || c.Is != "" {
		line += fmt.Sprintf("  %s → %s", c.Was, c.Is)
	}
	return show.Clean(line)
}

// describeFold returns what describe does, of several rows.
func describeFold(f *fold) string {
	object := ""
	if f.of.Object != "" {
		object = "object " + f.of.Object + "  "
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s version %s  %s %s  %s%s", interfaceName(f.of), interfaceID(f.of),
		spans(slices.Compact(f.versions)), strings.Join(slices.Compact(f.transports), " "), place(f.of), object, f.of.Annotation))
}

// maxAnswer is how many bytes of an earlier answer are read.
const maxAnswer = 256 << 20

// readAnswer reads what -o json wrote.
func readAnswer(name string) (*askDocument, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, usagef("--compare: %w", err)
	}
	if info.Size() > maxAnswer {
		return nil, usagef("--compare %s: more than %d bytes are not read", name, maxAnswer)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, usagef("--compare: %w", err)
	}
	d := &askDocument{}
	if err := json.Unmarshal(text, d); err != nil {
		return nil, usagef("--compare %s: not what quaymaster ask -o json writes: %w", name, err)
	}
	if d.Schema != askSchema {
		return nil, usagef("--compare %s: schema %q: want %q, which quaymaster ask -o json writes", name, d.Schema, askSchema)
	}
	if slices.Contains(d.Hosts, nil) {
		return nil, usagef("--compare %s: a host is null", name)
	}
	return d, nil
}

// compareHosts returns how a host's answer differs from an earlier one. What one of the two was not asked
// for is not compared.
func compareHosts(was, is *askHost) []askChange {
	var changes []askChange
	add := func(c askChange) {
		c.Host = is.Host
		changes = append(changes, c)
	}
	if was.Error != "" || is.Error != "" {
		if was.Error != is.Error {
			add(askChange{Change: changed, What: "host", Text: "host", Was: errorWord(was), Is: errorWord(is)})
		}
		if is.Error != "" {
			return changes
		}
	}
	for _, m := range is.Mappers {
		before := was.mapper(m.Dialect)
		if before == nil {
			continue
		}
		if before.State != m.State {
			add(askChange{Change: changed, What: "mapper", Text: mapperNames[m.Dialect], Was: before.State.String(), Is: m.State.String()})
		}
		if m.State == probe.Listening {
			compareEntries(was, is, m.Dialect, before.Cut || m.Cut, add)
		}
	}
	type seat struct {
		network string
		port    uint16
	}
	ports := map[seat]probe.State{}
	for _, p := range was.Ports {
		ports[seat{p.Network, p.Port}] = p.State
	}
	for _, p := range is.Ports {
		if before, ok := ports[seat{p.Network, p.Port}]; ok && before != p.State {
			add(askChange{Change: changed, What: "port", Text: fmt.Sprintf("%d/%s", p.Port, p.Network), Was: before.String(), Is: p.State.String()})
		}
	}
	return changes
}

func errorWord(h *askHost) string {
	if h.Error != "" {
		return h.Error
	}
	return "asked at " + h.Address
}

// compareEntries compares the rows of one dialect. Of lists that are not complete nothing can be said to be absent.
func compareEntries(was, is *askHost, dialect string, cut bool, add func(askChange)) {
	before := map[entryKey][]*askEntry{}
	for i := range was.Entries {
		if e := &was.Entries[i]; e.Dialect == dialect {
			before[e.key()] = append(before[e.key()], e)
		}
	}
	for i := range is.Entries {
		e := &is.Entries[i]
		if e.Dialect != dialect {
			continue
		}
		key := e.key()
		old := before[key]
		if len(old) == 0 {
			if !cut {
				add(askChange{Change: appeared, What: "endpoint", Text: entryLine(e), Entry: e})
			}
			continue
		}
		before[key] = old[1:]
		if a, b := old[0].State, e.State; a != b && a != probe.NotTried && b != probe.NotTried {
			add(askChange{Change: changed, What: "endpoint", Text: entryLine(e), Was: tryWords[a], Is: tryWords[b], Entry: e})
		}
	}
	for i := range was.Entries { // in their order
		key := was.Entries[i].key()
		left := before[key]
		if len(left) == 0 || cut {
			continue
		}
		before[key] = left[1:]
		add(askChange{Change: vanished, What: "endpoint", Text: entryLine(left[0]), Entry: left[0]})
	}
}

// entryLine returns a row for people in one line.
func entryLine(e *askEntry) string {
	d := e.document()
	return strings.TrimSpace(describe(&d))
}

// printDifference shows what differs from an earlier answer.
func (f *askFlags) printDifference(hosts []*askHost, before *askDocument) error {
	changes := []askChange{}
	for _, h := range hosts {
		i := slices.IndexFunc(before.Hosts, func(b *askHost) bool { return b.Host == h.Host })
		if i < 0 {
			changes = append(changes, askChange{Host: h.Host, Change: appeared, What: "host", Text: "host: " + f.compare + " does not have it"})
			continue
		}
		changes = append(changes, compareHosts(before.Hosts[i], h)...)
	}
	t := show.NewTable(show.Column{Head: "host"}, show.Column{Head: "change"}, show.Column{Head: "what"}, show.Column{Head: "text"},
		show.Column{Head: "was"}, show.Column{Head: "is"})
	for i := range changes {
		c := &changes[i]
		t.Add(c.Host, c.Change, c.What, c.Text, c.Was, c.Is)
	}
	s := f.stdout()
	var err error
	if f.output == show.FormatTable {
		for _, line := range changeLines(changes) {
			fmt.Fprintln(s, line)
		}
		if len(changes) > 0 {
			fmt.Fprintln(s)
		}
		_, err = fmt.Fprintf(s, "%s to %s\n", show.Count(len(changes), "difference", "differences"), show.Clean(f.compare))
	} else {
		err = show.Write(s, f.output, struct {
			Schema  string      `json:"schema"`
			Changes []askChange `json:"changes"`
		}{"quaymaster/ask-difference/1", changes}, t)
	}
	if err != nil {
		return err
	}
	for _, h := range hosts {
		if h.unreachable() {
			return statusError(exitFailed, hosts)
		}
	}
	if len(changes) > 0 {
		return errFound
	}
	return nil
}

// runWatch shows the answer, and then what changes until it is interrupted.
func (f *askFlags) runWatch(ctx context.Context, a *asker, names []string) error {
	known := f.ask(ctx, a, names)
	if ctx.Err() != nil {
		return nil
	}
	if f.output == show.FormatJSON {
		if err := jsonLine(f.stdout(), askDocument{askSchema, known}); err != nil {
			return err
		}
	} else {
		if err := f.printHosts(f.stdout(), known, &a.question); err != nil {
			return err
		}
		fmt.Fprintln(f.stdout())
	}
	again := time.NewTicker(f.watch)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
		hosts := a.hosts(ctx, names, func() {})
		if ctx.Err() != nil {
			return nil
		}
		now := time.Now()
		for i, h := range hosts {
			if err := f.printWatched(now, compareHosts(known[i], h)); err != nil {
				return err
			}
			h.keep(known[i])
		}
		known = hosts
	}
}

// jsonLine writes what show.JSON does in one line.
func jsonLine(w io.Writer, v any) error {
	var text, line bytes.Buffer
	if err := show.JSON(&text, v); err != nil {
		return err
	}
	if err := json.Compact(&line, text.Bytes()); err != nil {
		return err
	}
	line.WriteByte('\n')
	_, err := w.Write(line.Bytes())
	return err
}

// printWatched shows what has changed: in JSON a line each.
func (f *askFlags) printWatched(now time.Time, changes []askChange) error {
	w := bufio.NewWriter(f.stdout())
	if f.output == show.FormatJSON {
		for _, c := range changes {
			c.Time = &now
			if err := jsonLine(w, c); err != nil {
				return err
			}
		}
		return w.Flush() // has the first error of the writes before
	}
	for _, line := range changeLines(changes) {
		fmt.Fprintf(w, "%s  %s\n", now.Format(time.TimeOnly), line)
	}
	return w.Flush()
}

// keep keeps what is known of mappers that do not answer now: when they do again it is compared with that.
func (h *askHost) keep(known *askHost) {
	lost := func(dialect string) bool {
		m := h.mapper(dialect)
		return m == nil || m.State != probe.Listening
	}
	for _, e := range known.Entries {
		if lost(e.Dialect) {
			h.Entries = append(h.Entries, e)
		}
	}
	if h.Error == "" {
		return
	}
	h.Mappers, h.Ports = known.Mappers, known.Ports
}
