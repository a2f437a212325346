package main

import (
	"bufio"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/internal/show"
)

// portTable returns a row for each thing that is known of each port, and one without words where
// nothing is.
func portTable(d *portDocument) *show.Table {
	t := show.NewTable(show.Column{Head: "port", Right: true}, show.Column{Head: "transport"}, show.Column{Head: "service"}, show.Column{Head: "name"},
		show.Column{Head: "app"}, show.Column{Head: "need"}, show.Column{Head: "condition"}, show.Column{Head: "sources"})
	for i := range d.Ports {
		p := &d.Ports[i]
		number := strconv.Itoa(int(p.Port))
		for j := range p.Transports {
			addTransport(t, number, &p.Transports[j])
		}
		for _, pin := range p.Pins {
			t.Add(number, "", "", pin.Service, "pin "+pin.ID, "", sentences(doubt(pin.Confidence), pin.Usual, pin.How), strings.Join(pin.Sources, ";"))
		}
		for _, r := range p.Dynamic {
			t.Add(number, "", "", dynamicOf(&r), "dynamic ports "+r.Ports.String(), "", doubt(r.Confidence), strings.Join(r.Sources, ";"))
		}
	}
	return t
}

func addTransport(t *show.Table, number string, a *transportAnswer) {
	for _, u := range a.Uses {
		t.Add(number, a.Transport, u.Service, u.Name, u.App, u.Need, useCondition(&u), strings.Join(u.Sources, ";"))
	}
	for _, p := range a.Programs {
		t.Add(number, a.Transport, "", p.Name, "ONC RPC program "+strconv.FormatUint(uint64(p.Program), 10), "", p.Note, strings.Join(p.Sources, ";"))
	}
	for _, i := range a.Interfaces {
		t.Add(number, a.Transport, "", cmp.Or(i.Name, i.UUID), "DCE/RPC interface "+i.UUID+" "+i.Version, "", "", strings.Join(i.Sources, ";"))
	}
	if len(a.Uses) == 0 { // or the rows of the services say it
		for _, f := range a.Flows {
			t.Add(number, a.Transport, f.Service, roleName(f.From)+" → "+roleName(f.To), f.App, f.Need, sentences(doubt(f.Confidence), f.Condition), strings.Join(f.Sources, ";"))
		}
	}
	if !a.hasOwn() && len(a.Uses) == 0 {
		t.Add(number, a.Transport, "", "", "", "", "", "")
	}
}

// useCondition returns all that bounds a use, in a line.
func useCondition(u *useAnswer) string {
	parts := []string{doubt(u.Confidence)}
	if u.Wide {
		parts = append(parts, "one of "+u.Ports)
	}
	if u.Status != currentStatus {
		parts = append(parts, u.Status)
	}
	if u.OnlyIn != "" {
		parts = append(parts, "only in the revision of "+u.OnlyIn)
	}
	return sentences(slices.Concat(parts, u.Notes, u.Limits)...)
}

// sentences returns what is there of parts with semicolons between.
func sentences(parts ...string) string {
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	return strings.Join(parts, "; ")
}

// printPortList shows a row for each port and transport.
func printPortList(s show.Screen, d *portDocument, sources bool) error {
	w := bufio.NewWriter(s)
	s.Writer = w
	columns := []show.Column{{Head: "port", Right: true}, {Head: "transport"}, {Head: "for", Shrink: true}, {Head: "service", Shrink: true}}
	if sources {
		columns = append(columns, show.Column{Head: "sources", Shrink: true})
	}
	t := show.NewTable(columns...)
	rows := 0
	add := func(port uint16, transport string, apps, services, ids []string) {
		cells := []string{strconv.Itoa(int(port)), transport, atMostNames(2, apps), atMostNames(3, services)}
		if sources {
			cells = append(cells, sourceNames(ids))
		}
		t.Add(cells...)
		rows++
	}
	for i := range d.Ports {
		p := &d.Ports[i]
		for j := range p.Transports {
			a := &p.Transports[j]
			apps, services := a.names()
			add(p.Port, a.Transport, apps, services, a.sources())
		}
		if len(p.Transports) == 0 { // it is known as a pin alone
			var services, ids []string
			for _, pin := range p.Pins {
				services = append(services, pin.Service)
				ids = append(ids, pin.Sources...)
			}
			add(p.Port, "", []string{"pinned"}, services, ids)
		}
	}
	t.Print(s)
	fmt.Fprintf(w, "\n%s, %s        (quaymaster port N tells more)\n", show.Count(len(d.Ports), "port", "ports"), show.Count(rows, "row", "rows"))
	return w.Flush()
}

// names returns what a port is for and whose it is, for a row of a table.
func (t *transportAnswer) names() (apps, services []string) {
	for _, u := range t.Uses {
		if !u.Wide {
			apps, services = append(apps, u.App), append(services, withDoubt(u.Name, u.Confidence))
		}
	}
	for _, f := range t.Flows {
		if len(apps) == 0 {
			apps = append(apps, f.App)
		}
	}
	for _, p := range t.Programs {
		if len(t.Uses) == 0 {
			apps = append(apps, "ONC RPC")
		}
		services = append(services, p.Name)
	}
	for _, i := range t.Interfaces {
		if len(t.Uses) == 0 {
			apps = append(apps, "DCE/RPC")
			services = append(services, cmp.Or(i.Name, i.UUID))
		}
	}
	return apps, services
}

// atMostNames returns names for a cell of a table, with the number of those that there is no room for.
func atMostNames(n int, names []string) string {
	names = unique(names)
	if more := len(names) - n; more > 0 {
		return fmt.Sprintf("%s, %d more", strings.Join(names[:n], ", "), more)
	}
	return strings.Join(names, ", ")
}

func withDoubt(name, confidence string) string {
	if d := doubt(confidence); d != "" {
		return name + " (" + d + ")"
	}
	return name
}
