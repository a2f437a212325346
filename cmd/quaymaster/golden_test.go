//go:build linux

package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/catalog"
)

// golden reads a table of testdata/golden, which was written from the article and not from what the
// program prints.
func golden(t *testing.T, name string) [][]string {
	t.Helper()
	text, err := os.ReadFile("testdata/golden/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(string(text)) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return rows[1:]
}

// rowsOfCSV runs a verb and returns the records that it prints, by the keys of the head.
func rowsOfCSV(t *testing.T, args ...string) []map[string]string {
	t.Helper()
	r := run(t, "quaymaster", append(args, "-o", "csv")...)
	records, err := csv.NewReader(strings.NewReader(r.Stdout)).ReadAll()
	if r.Exit != 0 || err != nil || len(records) == 0 {
		t.Fatalf("%q = %+v: %v", args, r, err)
	}
	var rows []map[string]string
	for _, record := range records[1:] {
		row := map[string]string{}
		for i, cell := range record {
			row[records[0][i]] = cell
		}
		rows = append(rows, row)
	}
	return rows
}

// TestGoldenSections: every service that has a section in the article is found by its name there and by
// its system services, and shows the ports of the section.
func TestGoldenSections(t *testing.T) {
	rows := golden(t, "sections.tsv")
	if len(rows) != 61 {
		t.Fatalf("%d sections, want 61", len(rows))
	}
	for _, row := range rows {
		name, systems, want := row[0], strings.Fields(row[1]), strings.Split(row[2], "; ")
		if name == "Group Policy" {
			systems = []string{"Group Policy"} // as the article prints it
		}
		for i, asked := range append([]string{name}, systems...) {
			if asked == "-" {
				continue
			}
			got := map[string][]string{}
			for _, r := range rowsOfCSV(t, "service", asked) {
				port := r["port"]
				if r["protocol"] != "tcp" && r["protocol"] != "udp" {
					port = "none"
				}
				got[r["service"]] = append(got[r["service"]], r["protocol"]+" "+port)
			}
			found := false
			for _, ports := range got {
				found = found || slices.Equal(ports, want)
			}
			if !found || i == 0 && len(got) != 1 {
				t.Errorf("service %q has %v, want %q", asked, got, want)
			}
		}
	}
}

// TestGoldenPorts: what the article's table by port files under a port, the program does: or a listed
// disagreement says why not.
func TestGoldenPorts(t *testing.T) {
	rows := golden(t, "ports.tsv")
	if len(rows) != 110 {
		t.Fatalf("%d rows, want 110", len(rows))
	}
	c := catalog.Builtin()
	for _, row := range rows {
		port, protocol, printed := row[0], row[1], strings.Split(row[2], "; ")
		var there []string
		switch {
		case port == "n/a":
			for _, s := range printed {
				for _, r := range rowsOfCSV(t, "service", s) {
					if r["protocol"] == protocol {
						there = append(there, r["service"])
					}
				}
			}
		case strings.Contains(port, "-"): // the dynamic ports of all
			r := run(t, "quaymaster", "port", "49200")
			if r.Exit != 0 || !strings.Contains(r.Stdout, "49152-65535") {
				t.Errorf("port 49200 = %+v, want it in 49152-65535", r)
			}
			continue
		default:
			for _, r := range rowsOfCSV(t, "port", port+"/"+protocol) {
				there = append(there, r["service"])
			}
		}
		for _, s := range printed {
			ids := serviceIDs(c, s)
			if len(ids) == 0 {
				t.Errorf("%s/%s: the service %q is not known", port, protocol, s)
			}
			if !slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(there, id) || disagrees(c, id, port, protocol) }) {
				t.Errorf("%s/%s: %q is not there; there are %q", port, protocol, s, there)
			}
		}
	}
}

// serviceIDs returns the services that the article prints so, in its table by port or elsewhere.
func serviceIDs(c *catalog.Catalog, printed string) []string {
	var ids []string
	for _, s := range c.ServicesByName(printed) {
		ids = append(ids, s.ID)
	}
	for _, r := range c.PortRows() {
		if r.PrintedService == printed && !slices.Contains(ids, r.Service) {
			ids = append(ids, r.Service)
		}
	}
	return ids
}

// disagrees tells whether a disagreement is listed that says that the table by port only has the row.
func disagrees(c *catalog.Catalog, service, port, protocol string) bool {
	return slices.ContainsFunc(c.Disagreements(service), func(d *catalog.Disagreement) bool {
		return d.Kind == catalog.ReverseOnly && d.Ports.String() == port &&
			slices.ContainsFunc(d.Protocols, func(p catalog.Protocol) bool { return fmt.Sprint(p) == protocol })
	})
}
