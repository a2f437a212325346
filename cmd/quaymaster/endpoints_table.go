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
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// interfaceName returns what people call an interface; empty if nobody calls it anything.
func interfaceName(d *endpoint.Document) string {
	return cmp.Or(d.Name, nameIn(catalog.Builtin(), d))
}

// nameIn is interfaceName in a catalog.
func nameIn(c *catalog.Catalog, d *endpoint.Document) string {
	if d.Dialect != endpoint.DCE.String() {
		p, _ := c.Program(d.Program)
		return p.Name
	}
	uuid, err := ndr.ParseUUID(d.UUID)
	if err != nil {
		return ""
	}
	return c.InterfaceName(uuid, uint16(d.Version.Major), d.Version.Minor)
}

// interfaceID returns the number of a program, or the UUID.
func interfaceID(d *endpoint.Document) string {
	if d.Dialect != endpoint.DCE.String() {
		return strconv.FormatUint(uint64(d.Program), 10)
	}
	return d.UUID
}

// short returns the beginning of a UUID, by which people tell one from another.
func short(uuid string) string {
	first, _, cut := strings.Cut(uuid, "-")
	if cut {
		first += "…"
	}
	return first
}

// shortener returns what shortens the ids of rows: short, but for those which a row
// of another interface would then have with the same name.
func shortener(rows []endpoint.Document) func(*endpoint.Document) string {
	type look struct{ name, id string }
	lookOf := func(d *endpoint.Document) look { return look{interfaceName(d), short(interfaceID(d))} }
	first, alike := map[look]string{}, map[look]bool{}
	for i := range rows {
		d := &rows[i]
		l, id := lookOf(d), interfaceID(d)
		if seen, ok := first[l]; ok && seen != id {
			alike[l] = true
		}
		first[l] = id
	}
	return func(d *endpoint.Document) string {
		if l := lookOf(d); !alike[l] {
			return l.id
		}
		return interfaceID(d)
	}
}

// byInterface orders programs by number, then interfaces by UUID.
func byInterface(a, b *endpoint.Document) int {
	return cmp.Or(-strings.Compare(a.Dialect, b.Dialect), cmp.Compare(a.Program, b.Program), strings.Compare(a.UUID, b.UUID))
}

func byVersion(a, b endpoint.Version) int {
	return cmp.Or(cmp.Compare(a.Major, b.Major), cmp.Compare(a.Minor, b.Minor))
}

// place returns where a registration listens, for people: "*" is every address.
func place(d *endpoint.Document) string {
	addr, err := netip.ParseAddr(d.Address)
	switch {
	case err != nil:
		return cmp.Or(d.Path, d.Address)
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
	object := ""
	if d.Object != "" {
		object = "object " + d.Object + "  "
	}
	return show.Clean(strings.TrimSpace(fmt.Sprintf("%s %s version %s  %s %s  %s%s",
		interfaceName(d), interfaceID(d), d.Version, d.Transport(), place(d), object, d.Annotation)))
}

// printWide shows every registration in a row of its own.
func printWide(s show.Screen, rows []endpoint.Document, now time.Time) error {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b endpoint.Document) int {
		return cmp.Or(byInterface(&a, &b), byVersion(a.Version, b.Version))
	})
	columns := []show.Column{{Head: "id"}, {Head: "interface"}, {Right: true}, {Head: "version", Right: true},
		{Head: "transport"}, {Head: "endpoint"}, {Head: "owner"}, {Head: "evidence"}, {Head: "since"}}
	withObjects := hasObjects(rows)
	if withObjects {
		columns = append(columns, show.Column{Head: "object"})
	}
	t := show.NewTable(append(columns, show.Column{Head: "annotation", Shrink: true})...)
	for i := range rows {
		d := &rows[i]
		cells := []string{d.ID, interfaceName(d), interfaceID(d), d.Version.String(),
			d.Transport(), place(d), d.Owner, evidence(d, now), d.Since.Local().Format(time.DateTime)}
		if withObjects {
			cells = append(cells, d.Object)
		}
		t.Add(append(cells, d.Annotation)...)
	}
	return t.Print(s)
}

func hasObjects(rows []endpoint.Document) bool {
	return slices.ContainsFunc(rows, func(d endpoint.Document) bool { return d.Object != "" })
}

// A fold is several registrations that differ in version and transport only.
type fold struct {
	of         *endpoint.Document // one of them
	rows       []int              // the indices of all
	evidence   string
	versions   []endpoint.Version
	transports []string
	since      time.Time // of the oldest
}

// foldRows joins registrations of an interface at one port by one owner: first the
// transports of a version, then the versions that have the same transports.
func foldRows(rows []endpoint.Document, now time.Time) []*fold {
	type key struct {
		dialect, id, object, place, owner, evidence, note string
		version                                           endpoint.Version
		transports                                        string
	}
	keyOf := func(f *fold) key {
		d := f.of
		return key{dialect: d.Dialect, id: interfaceID(d), object: d.Object, place: place(d), owner: d.Owner, evidence: f.evidence, note: d.Annotation}
	}
	join := func(folds []*fold, keyOf func(*fold) key, into func(to, from *fold)) []*fold {
		index := map[key]*fold{}
		var joined []*fold
		for _, f := range folds {
			k := keyOf(f)
			if to, ok := index[k]; ok {
				into(to, f)
				to.rows = append(to.rows, f.rows...)
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
		folds = append(folds, &fold{d, []int{i}, evidence(d, now), []endpoint.Version{d.Version}, []string{d.Transport()}, d.Since})
	}
	folds = join(folds,
		func(f *fold) key {
			k := keyOf(f)
			k.version = f.versions[0]
			return k
		},
		func(to, from *fold) { to.transports = append(to.transports, from.transports...) })
	for _, f := range folds {
		slices.SortFunc(f.transports, byTransport)
	}
	folds = join(folds,
		func(f *fold) key {
			k := keyOf(f)
			k.transports = strings.Join(f.transports, " ")
			return k
		},
		func(to, from *fold) { to.versions = append(to.versions, from.versions...) })
	for _, f := range folds {
		slices.SortFunc(f.versions, byVersion)
	}
	slices.SortStableFunc(folds, func(a, b *fold) int {
		return cmp.Or(byInterface(a.of, b.of), byTransport(a.transports[0], b.transports[0]), byVersion(a.versions[0], b.versions[0]))
	})
	return folds
}

// byTransport orders "tcp tcp6 udp udp6 local", and "http tcp udp lrpc np" of DCE:
// what has a port comes first.
func byTransport(a, b string) int {
	portless := func(s string) int {
		switch s {
		case rpcbind.Local.String(), epm.LRPC.Short(), epm.NP.Short():
			return 1
		}
		return 0
	}
	return cmp.Or(portless(a)-portless(b), strings.Compare(a, b))
}

// printFolded shows the table that people look at, and a summary. Annotations
// have a column if there are any.
func printFolded(s show.Screen, rows []endpoint.Document, now time.Time) error {
	folds := foldRows(rows, now)
	columns := []show.Column{{Head: "interface"}, {Right: true}, {Head: "version"}, {Head: "transport"},
		{Head: "endpoint"}, {Head: "owner"}, {Head: "evidence"}, {Head: "since", Right: true}}
	withObjects := hasObjects(rows)
	if withObjects {
		columns = append(columns, show.Column{Head: "object"})
	}
	annotated := slices.ContainsFunc(rows, func(d endpoint.Document) bool { return d.Annotation != "" })
	if annotated {
		columns = append(columns, show.Column{Head: "annotation", Shrink: true})
	}
	t := show.NewTable(columns...)
	shorten := shortener(rows)
	for _, f := range folds {
		cells := []string{interfaceName(f.of), shorten(f.of), spans(f.versions), strings.Join(f.transports, " "),
			place(f.of), f.of.Owner, f.evidence, show.Age(now.Sub(f.since))}
		if withObjects {
			cells = append(cells, short(f.of.Object))
		}
		if annotated {
			cells = append(cells, f.of.Annotation)
		}
		t.Add(cells...)
	}
	if err := t.Print(s); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s, "\n%s, %s        (-o wide adds the ids)\n",
		show.Count(distinct(rows, interfaceID), "interface", "interfaces"),
		show.Count(distinct(rows, func(d *endpoint.Document) string { return interfaceID(d) + d.Object + d.Transport() + place(d) }), "endpoint", "endpoints"))
	return err
}

func distinct(rows []endpoint.Document, key func(*endpoint.Document) string) int {
	seen := map[string]bool{}
	for i := range rows {
		seen[key(&rows[i])] = true
	}
	return len(seen)
}

// spans writes sorted versions as "1-3,5" or "1.0,1.1".
func spans(n []endpoint.Version) string {
	var parts []string
	for i := 0; i < len(n); {
		j := i
		for j+1 < len(n) && !n[j].Dotted && n[j+1].Major == n[j].Major+1 {
			j++
		}
		part := n[i].String()
		if j > i {
			part += "-" + n[j].String()
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}
