package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"

	"github.com/quaymaster/quaymaster/internal/config"
)

// A layer is a folder with files of the catalog: its own, or those of a site.
type layer struct {
	fsys fs.FS
	name string // of the folder of a site, which messages begin with
	site bool   // files may be missing
}

// path returns what messages call the named file.
func (l layer) path(file string) string { return path.Join(l.name, file) }

// read returns the text of the named file, nil if it is one that may be missing.
func (l layer) read(file string) ([]byte, error) {
	f, err := l.fsys.Open(file)
	if l.site && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, config.MaxSize+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("catalog: %w", err)
	case len(text) > config.MaxSize:
		return nil, fmt.Errorf("%s: larger than %d bytes", l.path(file), config.MaxSize)
	case text == nil:
		return []byte{}, nil
	default:
		return text, nil
	}
}

// table reads the named file as [readTable] does. If it is one that may be missing, and
// is, it has no rows.
func (l layer) table(file string, columns []string) (*table, error) {
	text, err := l.read(file)
	switch {
	case err != nil:
		return nil, err
	case text == nil:
		return &table{file: l.path(file), columns: columns}, nil
	default:
		return readTable(l.path(file), string(text), columns)
	}
}

// readYAML decodes the named file. If it is one that may be missing, and is, the
// value is empty and no place is known.
func readYAML[T any](l layer, file string) (*T, *config.File, error) {
	text, err := l.read(file)
	if err != nil {
		return nil, nil, err
	}
	into := new(T)
	at, err := config.Decode(l.path(file), text, into)
	if err != nil {
		return nil, nil, err
	}
	return into, at, nil
}

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

// one notes that the word at path is not among known, unless it is empty.
func (r *report) one(path string, known *names, word string) {
	if word == "" {
		return
	}
	if what, ok := known.unknown(word); ok {
		r.mistake(path, "%s", what)
	}
}

// need notes that the word at path is not among known, or missing.
func (r *report) need(path string, known *names, word string) {
	if what, ok := known.unknown(word); ok {
		r.mistake(path, "%s", what)
	}
}

// word notes that text, which is called what, is none of words.
func word[T ~string](r *report, path, what string, text T, words ...T) {
	for _, w := range words {
		if text == w {
			return
		}
	}
	r.mistake(path, "%s %q: want one of %q", what, text, words)
}

// isID matches words that entries have as names for each other.
var isID = regexp.MustCompile(`^[a-z0-9]+([.-][a-z0-9]+)*$`)

// idsOf checks the IDs of a list under a key, which is above others, and returns those
// of all that were merged. If any is wrong it returns nil, so that no more is made of
// it where others refer to them.
func idsOf[T any](r *report, key, what string, merged, above []T, id func(*T) string) *names {
	seen, before := map[string]bool{}, len(r.mistakes)
	for i := range above {
		id, path := id(&above[i]), fmt.Sprintf("$.%s[%d].id", key, i)
		switch {
		case !isID.MatchString(id):
			r.mistake(path, "id %q: want a word such as exchange-2010-ab: lower case, digits, '-'", id)
		case seen[id]:
			r.mistake(path, "id %q is there twice: make one entry of the two", id)
		}
		seen[id] = true
	}
	if len(r.mistakes) > before {
		return nil
	}
	ids := newNames(what)
	for i := range merged {
		ids.add(id(&merged[i]))
	}
	return ids
}

// names are those of all entries of one kind, which others refer to. Nil knows every
// name: the file with the entries could not be read.
type names struct {
	what string // the kind, for messages
	all  []string
	set  map[string]bool
}

func newNames(what string) *names { return &names{what: what, set: map[string]bool{}} }

func (n *names) add(name string) {
	if !n.set[name] {
		n.set[name] = true
		n.all = append(n.all, name)
	}
}

// unknown returns what to say of a name that no entry has.
func (n *names) unknown(name string) (string, bool) {
	if n == nil || n.set[name] {
		return "", false
	}
	if near, ok := config.Suggest(name, n.all); ok {
		return fmt.Sprintf("unknown %s %q; did you mean %q?", n.what, name, near), true
	}
	return fmt.Sprintf("unknown %s %q", n.what, name), true
}
