package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/internal/config"
)

// A report collects what is wrong with a file of YAML beyond its form.
type report struct {
	at       *config.File
	mistakes config.Mistakes
}

func (r *report) mistake(path, format string, args ...any) {
	r.mistakes = append(r.mistakes, r.at.Mistake(path, format, args...))
}

// err returns all mistakes noted so far from the top of the file down, one per
// line, or nil.
func (r *report) err() error {
	if len(r.mistakes) == 0 {
		return nil
	}
	slices.SortStableFunc(r.mistakes, func(a, b config.Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r.mistakes
}

// place returns where the value at path stands: site/services.yaml:12.
func (r *report) place(path string) string {
	m := r.at.Mistake(path, "")
	return fmt.Sprintf("%s:%d", m.File, m.Line)
}

// placeIn returns what tells the place of an entry of the list under key.
func (r *report) placeIn(key string) func(i int) string {
	return func(i int) string { return r.place(fmt.Sprintf("$.%s[%d]", key, i)) }
}

// refer notes which of the words at path, a list, are not among known.
func (r *report) refer(path string, known *names, words ...string) {
	for i, word := range words {
		if what, ok := known.unknown(word); ok {
			r.mistake(fmt.Sprintf("%s[%d]", path, i), "%s", what)
		}
	}
}

// sources notes sources that are not known, and that there are none.
func (r *report) sources(path string, known *names, sources []string) {
	if len(sources) == 0 {
		r.mistake(path+".sources", "sources: none: name at least one")
	}
	r.refer(path+".sources", known, sources...)
}

// referOne notes that the word at path is not among known, unless it is empty.
func (r *report) referOne(path string, known *names, word string) {
	if word == "" {
		return
	}
	if what, ok := known.unknown(word); ok {
		r.mistake(path, "%s", what)
	}
}

// checkWord notes that text, which is called what, is none of words.
func checkWord[T ~string](r *report, path, what string, text T, words ...T) {
	if !slices.Contains(words, text) {
		r.mistake(path, "%s %q: want one of %q", what, text, words)
	}
}

// checkNames notes names that two entries share: of f, a list under the given key, or
// of f and of what else is in m.
func checkNames[T any](r *report, key, kind string, m, f []T, names func(*T) (id string, all []string)) {
	owner, above := map[string]string{}, map[string]bool{}
	for i := range f {
		id, _ := names(&f[i])
		above[id] = true
	}
	for i := range m {
		if id, all := names(&m[i]); !above[id] {
			for _, name := range all {
				owner[strings.ToLower(name)] = id
			}
		}
	}
	for i := range f {
		id, all := names(&f[i])
		for _, name := range all {
			if other, taken := owner[strings.ToLower(name)]; taken && other != id {
				r.mistake(fmt.Sprintf("$.%s[%d]", key, i), "%q is a name of %s too: each belongs to one %s", name, other, kind)
			}
			owner[strings.ToLower(name)] = id
		}
	}
}
