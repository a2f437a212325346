package render

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/internal/site"
)

// has reports whether f covers an address.
func (f Family) has(a netip.Prefix) bool {
	return f == Both || (f == IPv4) == a.Addr().Is4()
}

// Addresses returns the addresses of hosts that are of the family, ascending and disjoint: those
// that lie within others are left out.
func (f Family) Addresses(hosts []*site.Host) []netip.Prefix {
	var all []netip.Prefix
	for _, h := range hosts {
		for _, a := range h.Addresses {
			if f.has(a) {
				all = append(all, a.Masked())
			}
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare) // a prefix before what lies within it
	disjoint := all[:0]
	for _, a := range all {
		if n := len(disjoint); n == 0 || !disjoint[n-1].Overlaps(a) {
			disjoint = append(disjoint, a)
		}
	}
	return disjoint
}

// Remark says in at most limit bytes what the rule is for: its services, or what is spoken, then
// the sources of that. What has no room is counted: "+3". It is of letters, digits and -_.,:/+() with single
// blanks between, so that it can be quoted anywhere.
func (r *Rule) Remark(limit int) string {
	var services, sources []string
	for _, f := range r.Flows {
		services = append(services, cmp.Or(f.Service, f.Relationship))
		sources = append(sources, f.Sources...)
	}
	services, sources = distinct(services), distinct(sources)
	tail := " (" + strings.Join(sources, " ") + ")"
	if len(tail) > limit/2 {
		tail = " (" + list(sources, limit/2) + ")"
	}
	text := plain(list(services, limit-len(tail)) + tail)
	return strings.TrimRight(text[:min(len(text), limit)], " ")
}

// plain puts a dash in place of each character of s that some target gives a meaning.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune(" -_.,:/+()", r):
			return r
		}
		return '-'
	}, s)
}

// distinct sorts words and leaves each once.
func distinct(words []string) []string {
	slices.Sort(words)
	return slices.Compact(words)
}

// list joins words with blanks while they have room, and counts the rest.
func list(words []string, limit int) string {
	const forCount = len(" +100000")
	text := words[0]
	for i, w := range words[1:] {
		if len(text)+1+len(w)+forCount > limit {
			return fmt.Sprintf("%s +%d", text, len(words)-1-i)
		}
		text += " " + w
	}
	return text
}
