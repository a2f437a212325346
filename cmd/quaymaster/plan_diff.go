package main

import (
	"bufio"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/show"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// runBetween answers --between ZONE ZONE.
func (f *planFlags) runBetween(p *plan.Plan, words []string) error {
	var zones [2]*site.Zone
	var known []string
	for _, z := range p.Site.Zones {
		known = append(known, z.Name)
		for i, word := range words {
			if z.Name == word {
				zones[i] = z
			}
		}
	}
	for i, z := range zones {
		if z == nil {
			return unknownName("zone", words[i], known)
		}
	}
	return f.show(p, p.Between(zones[0], zones[1]))
}

// runDiff answers --diff OLD NEW.
func (f *planFlags) runDiff(cmd *cobra.Command, before, after string) error {
	a, err := f.planFile(cmd, before)
	if err != nil {
		return err
	}
	b, err := f.planFile(cmd, after)
	if err != nil {
		return err
	}
	changes := plan.Diff(a, b)
	switch f.output {
	case show.FormatTable:
		err = printChanges(f.stdout(), changes, newWarnings(a, b))
	default:
		err = show.Write(f.stdout(), f.output, newDiffDocument(changes), changeTable(changes))
	}
	if err == nil && len(changes) > 0 {
		return errFound
	}
	return err
}

// newWarnings returns what there is to know of a plan and was not of the one before.
func newWarnings(before, after *plan.Plan) []string {
	was := map[string]bool{}
	for _, line := range planWarnings(before) {
		was[line] = true
	}
	return slices.DeleteFunc(planWarnings(after), func(line string) bool { return was[line] })
}

func printChanges(s show.Screen, changes []plan.Change, warnings []string) error {
	w := bufio.NewWriter(s)
	s.Writer = w
	if len(changes) == 0 {
		fmt.Fprintln(w, "nothing changes")
	} else {
		changeTable(changes).Print(s)
		fmt.Fprintf(w, "\n%s\n", summarizeChanges(changes))
	}
	printWarnings(w, warnings)
	return w.Flush()
}

func summarizeChanges(changes []plan.Change) string {
	count := map[plan.ChangeKind]int{}
	for _, c := range changes {
		count[c.Kind]++
	}
	var parts []string
	for _, k := range []plan.ChangeKind{plan.Added, plan.Removed, plan.Widened, plan.Narrowed} {
		if count[k] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[k], k))
		}
	}
	return show.Count(len(changes), "change", "changes") + ": " + strings.Join(parts, ", ")
}

func changeTable(changes []plan.Change) *show.Table {
	t := show.NewTable(
		show.Column{Head: "change"}, show.Column{Head: "from", Shrink: true}, show.Column{Head: "to", Shrink: true}, show.Column{Head: "proto"},
		show.Column{Head: "ports"}, show.Column{Head: "service", Shrink: true}, show.Column{Head: "need"}, show.Column{Head: "row"},
	)
	for _, c := range changes {
		ports := firstRanges(c.Ports, 12)
		switch {
		case c.Protocol == 0:
			ports = "all"
		case c.Kind == plan.Widened:
			ports = "+" + ports
		case c.Kind == plan.Narrowed:
			ports = "-" + ports
		}
		t.Add(string(c.Kind), strings.Join(c.From, ", "), strings.Join(c.To, ", "), protocolText(c.Protocol), ports, c.App, string(c.Need), c.Row)
	}
	return t
}

// diffDocument is what "plan --diff -o json" prints.
type diffDocument struct {
	Schema  string           `json:"schema"`
	Changes []changeDocument `json:"changes"`
}

type changeDocument struct {
	Change       plan.ChangeKind `json:"change"`
	From         []string        `json:"from"`
	To           []string        `json:"to"`
	Protocol     string          `json:"protocol"` // all: every one
	Ports        portset.Set     `json:"ports"`    // that came or went
	App          string          `json:"app"`
	Relationship string          `json:"relationship"`
	Row          string          `json:"row"`
	Need         catalog.Need    `json:"need"`
}

func newDiffDocument(changes []plan.Change) diffDocument {
	d := diffDocument{Schema: "quaymaster/plan-difference/1", Changes: []changeDocument{}}
	for _, c := range changes {
		d.Changes = append(d.Changes, changeDocument{c.Kind, c.From, c.To, protocolText(c.Protocol), c.Ports, c.App, c.Relationship, c.Row, c.Need})
	}
	return d
}
