package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// programName returns what people call a program; empty if nobody calls it anything.
func programName(number uint32) string {
	p, _ := catalog.Builtin().Program(number)
	return p.Name
}

// place returns where a registration listens, for people: "*" is every address.
func place(d *endpoint.Document) string {
	addr, err := netip.ParseAddr(d.Address)
	switch {
	case err != nil:
		return d.Address
	case addr.IsUnspecified():
		return "*:" + strconv.Itoa(int(d.Port))
	}
	return netip.AddrPortFrom(addr, d.Port).String()
}

// evidence returns why a registration is believed, for people.
func evidence(d *endpoint.Document, now time.Time) string {
	switch {
	case d.Evidence == endpoint.Process.String() && d.PID != 0:
		return fmt.Sprintf("process %d", d.PID)
	case d.Evidence == endpoint.Lease.String() && d.Until != nil:
		layout := "15:04"
		if d.Until.Sub(now) >= 24*time.Hour {
			layout = time.DateOnly
		}
		return "lease until " + d.Until.Local().Format(layout)
	}
	return d.Evidence
}

// describe returns a registration in one line, without its owner.
func describe(d *endpoint.Document) string {
	return show.Clean(strings.TrimSpace(fmt.Sprintf("%s %d version %d  %s %s  %s", programName(d.Program), d.Program, d.Version, d.NetID, place(d), d.Annotation)))
}

// printWide shows every registration in a row of its own.
func printWide(s show.Screen, rows []endpoint.Document, now time.Time) error {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b endpoint.Document) int {
		return cmp.Or(cmp.Compare(a.Program, b.Program), cmp.Compare(a.Version, b.Version))
	})
	t := show.NewTable(show.Column{Head: "id"}, show.Column{Head: "interface"}, show.Column{Right: true}, show.Column{Head: "version", Right: true},
		show.Column{Head: "transport"}, show.Column{Head: "endpoint"}, show.Column{Head: "owner"}, show.Column{Head: "evidence"}, show.Column{Head: "since"},
		show.Column{Head: "annotation", Shrink: true})
	for i := range rows {
		d := &rows[i]
		t.Add(d.ID, programName(d.Program), strconv.FormatUint(uint64(d.Program), 10), strconv.FormatUint(uint64(d.Version), 10),
			d.NetID, place(d), d.Owner, evidence(d, now), d.Since.Local().Format(time.DateTime), d.Annotation)
	}
	return t.Print(s)
}

// A fold is several registrations that differ in version and transport only.
type fold struct {
	program  uint32
	place    string
	owner    string
	evidence string
	note     string
	versions []uint32
	netids   []string
	since    time.Time // of the oldest
}

// foldRows joins registrations of a program at one port by one owner: first the
// transports of a version, then the versions that have the same transports.
func foldRows(rows []endpoint.Document, now time.Time) []*fold {
	type key struct {
		program                      uint32
		place, owner, evidence, note string
		version                      uint32
		netids                       string
	}
	join := func(folds []*fold, keyOf func(*fold) key, into func(to, from *fold)) []*fold {
		index := map[key]*fold{}
		var joined []*fold
		for _, f := range folds {
			k := keyOf(f)
			if to, ok := index[k]; ok {
				into(to, f)
				if f.since.Before(to.since) {
					to.since = f.since
				}
				continue
			}
			index[k] = f
			joined = append(joined, f)
		}
		return joined
	}
	folds := make([]*fold, 0, len(rows))
	for i := range rows {
		d := &rows[i]
		folds = append(folds, &fold{d.Program, place(d), d.Owner, evidence(d, now), d.Annotation, []uint32{d.Version}, []string{d.NetID}, d.Since})
	}
	folds = join(folds,
		func(f *fold) key { return key{f.program, f.place, f.owner, f.evidence, f.note, f.versions[0], ""} },
		func(to, from *fold) { to.netids = append(to.netids, from.netids...) })
	for _, f := range folds {
		slices.SortFunc(f.netids, byTransport)
	}
	folds = join(folds,
		func(f *fold) key {
			return key{f.program, f.place, f.owner, f.evidence, f.note, 0, strings.Join(f.netids, " ")}
		},
		func(to, from *fold) { to.versions = append(to.versions, from.versions...) })
	for _, f := range folds {
		slices.Sort(f.versions)
	}
	slices.SortStableFunc(folds, func(a, b *fold) int {
		return cmp.Or(cmp.Compare(a.program, b.program), byTransport(a.netids[0], b.netids[0]), cmp.Compare(a.versions[0], b.versions[0]))
	})
	return folds
}

// byTransport orders "tcp tcp6 udp udp6 local".
func byTransport(a, b string) int {
	local := func(s string) bool { return s == rpcbind.Local.String() }
	if local(a) != local(b) {
		if local(a) {
			return 1
		}
		return -1
	}
	return strings.Compare(a, b)
}

// printFolded shows the table that people look at, and a summary. Annotations
// have a column if there are any.
func printFolded(s show.Screen, rows []endpoint.Document, now time.Time) error {
	folds := foldRows(rows, now)
	columns := []show.Column{{Head: "interface"}, {Right: true}, {Head: "version"}, {Head: "transport"},
		{Head: "endpoint"}, {Head: "owner"}, {Head: "evidence"}, {Head: "since", Right: true}}
	annotated := slices.ContainsFunc(folds, func(f *fold) bool { return f.note != "" })
	if annotated {
		columns = append(columns, show.Column{Head: "annotation", Shrink: true})
	}
	t := show.NewTable(columns...)
	for _, f := range folds {
		cells := []string{programName(f.program), strconv.FormatUint(uint64(f.program), 10), spans(f.versions), strings.Join(f.netids, " "),
			f.place, f.owner, f.evidence, show.Age(now.Sub(f.since))}
		if annotated {
			cells = append(cells, f.note)
		}
		t.Add(cells...)
	}
	if err := t.Print(s); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s, "\n%s, %s        (-o wide adds the ids)\n",
		show.Count(distinct(rows, func(d *endpoint.Document) string { return fmt.Sprint(d.Program) }), "interface", "interfaces"),
		show.Count(distinct(rows, func(d *endpoint.Document) string { return fmt.Sprint(d.Program, d.NetID, d.Address, d.Port) }), "endpoint", "endpoints"))
	return err
}

func distinct(rows []endpoint.Document, key func(*endpoint.Document) string) int {
	seen := map[string]bool{}
	for i := range rows {
		seen[key(&rows[i])] = true
	}
	return len(seen)
}

// spans writes sorted numbers as "1-3,5".
func spans(n []uint32) string {
	var parts []string
	for i := 0; i < len(n); {
		j := i
		for j+1 < len(n) && n[j+1] == n[j]+1 {
			j++
		}
		part := strconv.FormatUint(uint64(n[i]), 10)
		if j > i {
			part += "-" + strconv.FormatUint(uint64(n[j]), 10)
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}
