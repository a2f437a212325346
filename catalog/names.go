package catalog

import (
	"fmt"
	"regexp"

	"github.com/quaymaster/quaymaster/internal/config"
)

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
