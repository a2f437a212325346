package main

import (
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/portset"
)

// compact returns ports for a line of text: the first ranges if they are many.
func compact(ports portset.Set) string { return firstRanges(ports, 6) }

// firstRanges returns the first ranges of ports, at most most of them, and whether there are more.
func firstRanges(ports portset.Set, most int) string {
	all := slices.Collect(ports.Ranges())
	var parts []string
	for _, r := range all[:min(most, len(all))] {
		parts = append(parts, r.String())
	}
	if len(all) > most {
		parts = append(parts, "…")
	}
	return strings.Join(parts, ",")
}
