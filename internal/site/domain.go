package site

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/quaymaster/quaymaster/internal/config"
)

func (r *reader) readDomains() {
	all := names(r.raw.Domains)
	r.checkNames("$.domains", "domain", all, func(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) })
	for _, name := range all {
		path := config.Path("$.domains", name)
		d := &Domain{
			Name:   name,
			Forest: cmp.Or(string(r.raw.Domains[name].Forest), name),
			SYSVOL: choice(r, path+".sysvol", "way to replicate SYSVOL", r.raw.Domains[name].SYSVOL, DFSR, FRS),
		}
		r.domains[name] = d
		r.site.Domains = append(r.site.Domains, d)
	}
	for _, d := range r.site.Domains {
		if r.full {
			return
		}
		root, path := r.domains[d.Forest], config.Path("$.domains", d.Name)+".forest"
		switch {
		case root == nil:
			r.unknown(path, fmt.Sprintf("domain %s, the root of the forest", quote(word(d.Forest))), d.Forest, namesOf(r.domains), r.addDomain(word(d.Forest)))
		case root.Forest != root.Name:
			r.mistake(path, "%s is of the forest %s itself: write that", d.Forest, quote(word(root.Forest)))
		}
	}
}

// domain returns the domain that a word of the file is, or nil if there is none.
func (r *reader) domain(path string, w word) *Domain {
	d := r.domains[string(w)]
	if d == nil && !(r.loose && len(r.domains) == 0) {
		r.unknown(path, "domain "+quote(w), string(w), namesOf(r.domains), r.addDomain(w))
	}
	return d
}

// addDomain returns advice for who means a domain that is not there.
func (r *reader) addDomain(w word) string {
	return fmt.Sprintf("if it is right add it to domains: {%s: {}}", strings.Trim(quote(w), `"`))
}

func (r *reader) readTrusts() {
	lines := map[[2]*Domain]int{} // of the file, by who trusts whom
	for i, t := range r.raw.Trusts {
		if r.full {
			return
		}
		path := fmt.Sprintf("$.trusts[%d]", i)
		for _, end := range []struct {
			key string
			w   word
		}{{"trusting", t.Trusting}, {"trusted", t.Trusted}} {
			if end.w == "" && !r.file.Has(path+"."+end.key) {
				r.missing(path, end.key, "the trust does not say which domain is %s: give %s", end.key, end.key)
			}
		}
		phase := choice(r, path+".phase", "phase", t.Phase, PhaseUse, PhaseCreate)
		twoWay := choice(r, path+".direction", "direction", t.Direction, "one-way", "two-way") == "two-way"
		if !r.file.Has(path+".trusting") || !r.file.Has(path+".trusted") {
			continue
		}
		trusting, trusted := r.domain(path+".trusting", t.Trusting), r.domain(path+".trusted", t.Trusted)
		switch {
		case trusting == nil || trusted == nil:
			continue
		case trusting == trusted:
			r.mistake(path+".trusted", "%s trusts itself, as every domain does: remove the trust or name another domain", trusting.Name)
			continue
		}
		ways := [][2]*Domain{{trusting, trusted}}
		if twoWay {
			ways = append(ways, [2]*Domain{trusted, trusting})
		}
		for _, way := range ways {
			if line, ok := lines[way]; ok {
				r.mistake(path, "%s trusts %s by line %d already: keep one of the two", way[0].Name, way[1].Name, line)
				break
			}
			lines[way] = r.file.Mistake(path, "").Line
			r.site.Trusts = append(r.site.Trusts, &Trust{way[0], way[1], phase})
		}
	}
	slices.SortFunc(r.site.Trusts, func(a, b *Trust) int {
		return cmp.Or(strings.Compare(a.Trusting.Name, b.Trusting.Name), strings.Compare(a.Trusted.Name, b.Trusted.Name))
	})
}
