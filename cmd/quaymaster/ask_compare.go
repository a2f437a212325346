package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

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

// line returns a change for people.
func (c *askChange) line() string {
	line := fmt.Sprintf("%s  %s  %s", changeSigns[c.Change], c.Host, c.Text)
	if c.Was != "" || c.Is != "" {
		line += fmt.Sprintf("  %s → %s", c.Was, c.Is)
	}
	return show.Clean(line)
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
		e := &was.Entries[i]
		if e.Dialect != dialect || cut {
			continue
		}
		if left := before[e.key()]; len(left) > 0 && slices.Contains(left, e) {
			add(askChange{Change: vanished, What: "endpoint", Text: entryLine(e), Entry: e})
		}
	}
}

// entryLine returns a row for people in one line.
func entryLine(e *askEntry) string {
	d := e.document()
	return strings.TrimSpace(describe(&d))
}

// printDifference shows what differs from an earlier answer.
func (f *askFlags) printDifference(hosts []*askHost, before *askDocument, q *askQuestion) error {
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
		for i := range changes {
			fmt.Fprintln(s, changes[i].line())
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
		if err := json.NewEncoder(f.stdout()).Encode(askDocument{askSchema, known}); err != nil {
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
			for _, c := range compareHosts(known[i], h) {
				c.Time = &now
				if err := f.printWatched(&c); err != nil {
					return err
				}
			}
			h.keep(known[i])
		}
		known = hosts
	}
}

func (f *askFlags) printWatched(c *askChange) error {
	if f.output == show.FormatJSON {
		return json.NewEncoder(f.stdout()).Encode(c)
	}
	_, err := fmt.Fprintf(f.stdout(), "%s  %s\n", c.Time.Format(time.TimeOnly), c.line())
	return err
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
