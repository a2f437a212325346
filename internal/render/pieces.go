package render

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/site"
)

// isEcho reports whether all that a rule of ICMP is for is to ping.
func isEcho(flows []*plan.Flow) bool {
	return !slices.ContainsFunc(flows, func(f *plan.Flow) bool { return f.Protocol != catalog.ICMP || f.Symbol != catalog.Echo })
}

// sources returns who connects to one host by the rule: all of From but for the host itself, unless
// it stands for several.
func (r *Rule) sources(to *site.Host) []*site.Host {
	return slices.DeleteFunc(slices.Clone(r.From), func(h *site.Host) bool { return h == to && !h.IsGroup() })
}

// meet returns the families that in is about and of which both sides have addresses.
func (in *Input) meet(from, to []*site.Host) []Family {
	var all []Family
	for _, f := range in.Family.each() {
		if len(f.Addresses(from)) > 0 && len(f.Addresses(to)) > 0 {
			all = append(all, f)
		}
	}
	return all
}

// digest returns twelve digits that are others for other parts: a name that has them changes
// with what it names.
func digest(parts ...any) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%v\x00", p)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// ascii returns s with a question mark for what is not printable ASCII.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// word returns a name with underscores in place of all but letters and digits of ASCII, dashes and
// underscores, and at most 40 bytes of it.
func word(name string) string {
	name = strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, name)
	return name[:min(len(name), 40)]
}

// wordsOf returns a word for each host. Words of different hosts differ in more than case.
func wordsOf(hosts []*site.Host) map[*site.Host]string {
	words, taken := map[*site.Host]string{}, map[string]bool{}
	for _, h := range hosts {
		w := word(h.Name)
		if taken[strings.ToLower(w)] {
			w += "_" + digest(h.Name)
		}
		taken[strings.ToLower(w)] = true
		words[h] = w
	}
	return words
}

// listeners returns the hosts that rules lead to, ascending.
func listeners(rules []Rule) []*site.Host {
	var all []*site.Host
	for _, r := range rules {
		all = append(all, r.To...)
	}
	slices.SortFunc(all, byName)
	return slices.Compact(all)
}

// flowIDs returns the IDs of flows and then their sources.
func flowIDs(flows []*plan.Flow) (ids, sources []string) {
	for _, f := range flows {
		ids, sources = append(ids, f.ID), append(sources, f.Sources...)
	}
	return distinct(ids), distinct(sources)
}
