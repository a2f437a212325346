package control

import (
	"errors"
	"fmt"
	"os/user"
	"reflect"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/internal/registry"
)

// names are the names of owners that were looked up already, by uid.
type names map[uint32]string

// of returns the owner's name, or the uid where it has none, or the address of
// another host.
func (n names) of(o endpoint.Owner) string {
	if o.Host.IsValid() {
		return o.Host.String()
	}
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

// title returns an interface for people: with its name, if it has one.
func title(i endpoint.Interface) string {
	if i.Dialect == endpoint.DCE {
		if name := catalog.Builtin().InterfaceName(i.UUID, i.Major, i.Minor); name != "" {
			return fmt.Sprintf("%s %s version %d.%d", name, i.UUID, i.Major, i.Minor)
		}
		return i.String()
	}
	if p, ok := catalog.Builtin().Program(i.Program); ok {
		return fmt.Sprintf("%s %d version %d", p.Name, i.Program, i.Version)
	}
	return i.String()
}

// mistakes returns what err says, one by one, with names for programs and owners.
func mistakes(err error, n names) []string {
	if parts := split(err); len(parts) > 1 {
		var all []string
		for _, e := range parts {
			all = append(all, mistakes(e, n)...)
		}
		return all
	}
	var row *registry.RowError
	var exhausted *registry.ExhaustedError
	switch {
	case errors.As(err, &exhausted):
		return []string{exhausted.Text(n.of)}
	case !errors.As(err, &row):
		return []string{err.Error()}
	}
	return []string{fmt.Sprintf("%s on %s: %s", title(row.Interface), row.Endpoint, reason(row, n))}
}

// reason returns what is said of a row in the way, or of one that cannot be.
func reason(row *registry.RowError, n names) string {
	if row.Owner == nil {
		return row.Reason.Error()
	}
	return fmt.Sprintf("%v (owner: %s)", row.Reason, n.of(*row.Owner))
}

// split returns what [errors.Join] joined. An error that wraps several in a text
// of its own is one.
func split(err error) []error {
	if reflect.TypeOf(err) != joinedType {
		return []error{err}
	}
	return err.(interface{ Unwrap() []error }).Unwrap()
}

var joinedType = reflect.TypeOf(errors.Join(registry.ErrRight))

// why returns why a registration was refused. Where that is about the
// registration which the event shows, it is not named again.
func why(e registry.Event, n names) string {
	var text []string
	for _, err := range split(e.Err) {
		var row *registry.RowError
		if errors.As(err, &row) && row.Interface == e.Registration.Interface && row.Endpoint == e.Registration.Endpoint {
			text = append(text, reason(row, n))
			continue
		}
		text = append(text, mistakes(err, n)...)
	}
	if e.More > 0 {
		text = append(text, fmt.Sprintf("and %d more", e.More))
	}
	return strings.Join(text, "; ")
}
