package control

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
)

// names are the names of owners that were looked up already, by uid.
type names map[uint32]string

// of returns the owner's name, or the uid where it has none.
func (n names) of(o endpoint.Owner) string {
	name, ok := n[o.UID]
	if !ok {
		name = strconv.FormatUint(uint64(o.UID), 10)
		if u, err := user.LookupId(name); err == nil {
			name = u.Username
		}
		n[o.UID] = name
	}
	return name
}

// title returns an interface for people: with its program's name, if that has one.
func title(i endpoint.Interface) string {
	if p, ok := catalog.Builtin().Program(i.Program); ok && i.Dialect == endpoint.ONC {
		return fmt.Sprintf("%s %d version %d", p.Name, i.Program, i.Version)
	}
	return i.String()
}

// mistakes returns what err says, one by one, with names for programs and owners.
func mistakes(err error, n names) []string {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, e := range joined.Unwrap() {
			all = append(all, mistakes(e, n)...)
		}
		return all
	}
	var row *registry.RowError
	if !errors.As(err, &row) {
		return []string{err.Error()}
	}
	text := fmt.Sprintf("%s on %s: %v", title(row.Interface), row.Endpoint, row.Reason)
	if row.Owner != nil {
		text += fmt.Sprintf(" (owner: %s)", n.of(*row.Owner))
	}
	return []string{text}
}

// brief returns what err says for a line of a log, which a client must not make long.
func brief(err error) string {
	all := mistakes(err, names{})
	if len(all) == 1 {
		return all[0]
	}
	return fmt.Sprintf("%s; and %d more", all[0], len(all)-1)
}
