package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/site"
)

// A pair is hosts of which the first connects to the second.
type pair struct {
	from, to *member
	trust    *site.Trust // by which it does; nil: by none
}

// needed reports whether a row is needed between two hosts, and if not why, in words that follow
// "it is not planned: ".
func (p *planner) needed(r *row, of pair) (bool, string) {
	switch {
	case r.legacy && !of.from.legacy() && !of.to.legacy():
		return false, "only systems before Windows Vista and Server 2008 have it"
	case r.modern && of.to.legacy():
		return false, "systems before Windows Vista and Server 2008 have it not"
	}
	for _, t := range r.when {
		if p.holds(t, of) == t.Not {
			return false, circumstance(t)
		}
	}
	echo := r.ports.Symbol == catalog.Echo || r.protocol == catalog.ICMP
	switch options := p.site.Options; {
	case echo && options.ICMP != nil && !*options.ICMP:
		return false, "the site's options leave ping out (icmp: false)"
	case len(r.when) > 0:
		return true, ""
	case echo && options.ICMP != nil && r.need == catalog.Recommended:
		return true, ""
	case !slices.Contains(p.needs, r.need):
		return false, fmt.Sprintf("it is %s, and planned is what is %s", r.need, joinWords(p.needs))
	}
	return true, ""
}

// defaultNeeds returns the needs that are planned where the site names none.
func defaultNeeds(o site.Options) []catalog.Need {
	switch {
	case len(o.Needs) > 0:
		return o.Needs
	case o.Hardened:
		return []catalog.Need{catalog.Required, catalog.OneOf}
	}
	return []catalog.Need{catalog.Required, catalog.Recommended, catalog.Conditional, catalog.OneOf}
}

// holds reports whether what a term says is so, its Not aside.
func (p *planner) holds(t catalog.Term, of pair) bool {
	any := func(is func(value string) bool) bool { return slices.ContainsFunc(t.Values, is) }
	system := func(m *member) bool {
		return m.OS != nil && slices.Contains(t.Values, m.OS.ID)
	}
	switch t.Word {
	case catalog.TermFrom:
		return of.from.has(t.Values)
	case catalog.TermTo:
		return of.to.has(t.Values)
	case catalog.TermAlike:
		return of.from.has(t.Values) == of.to.has(t.Values)
	case catalog.TermFromGeneration:
		return slices.Contains(t.Values, of.from.generation())
	case catalog.TermToGeneration:
		return slices.Contains(t.Values, of.to.generation())
	case catalog.TermFromSystem:
		return system(of.from)
	case catalog.TermToSystem:
		return system(of.to)
	case catalog.TermSameDomain:
		return of.from.Domain == of.to.Domain
	case catalog.TermSYSVOL:
		return any(func(v string) bool { return of.to.Domain != nil && string(of.to.Domain.SYSVOL) == v })
	case catalog.TermPhase:
		return any(func(v string) bool { return of.trust != nil && string(of.trust.Phase) == v })
	case catalog.TermLDAPS:
		return of.from.LDAPS || of.to.LDAPS
	case catalog.TermNetBIOS:
		return of.from.NetBIOS || of.to.NetBIOS
	}
	panic("plan: unknown term " + t.String())
}

// circumstance says why a term that does not hold leaves a row out.
func circumstance(t catalog.Term) string {
	values := strings.Join(t.Values, " or ")
	is := "is not"
	if t.Not {
		is = "is"
	}
	switch t.Word {
	case catalog.TermFrom:
		return "who connects " + is + " " + values
	case catalog.TermTo:
		return "who listens " + is + " " + values
	case catalog.TermAlike:
		if t.Not {
			return "both are " + values + ", or neither is"
		}
		return "only one of the two is " + values
	case catalog.TermFromGeneration, catalog.TermFromSystem:
		return "the system of who connects " + is + " " + values
	case catalog.TermToGeneration, catalog.TermToSystem:
		return "the system of who listens " + is + " " + values
	case catalog.TermSameDomain:
		if t.Not {
			return "both are of one domain"
		}
		return "the two are of different domains"
	case catalog.TermSYSVOL:
		return "SYSVOL " + is + " replicated by " + values
	case catalog.TermPhase:
		return "the phase of the trust " + is + " " + values
	case catalog.TermLDAPS:
		return "neither of the two says ldaps: true"
	case catalog.TermNetBIOS:
		return "neither of the two says netbios: true"
	}
	return t.String() + " does not hold"
}

func joinWords[T ~string](words []T) string {
	var all []string
	for _, w := range words {
		all = append(all, string(w))
	}
	return strings.Join(all, ", ")
}
