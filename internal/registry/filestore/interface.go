package filestore

import (
	"fmt"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// ParseUUID reads a DCE interface as people write it: its UUID, or a name of the
// catalog. The error suggests what a name may have been meant to be, and lists
// the UUIDs of one that several interfaces have.
func ParseUUID(s string) (ndr.UUID, error) {
	if u, err := ndr.ParseUUID(s); err == nil {
		return u, nil
	}
	var found []ndr.UUID
	for _, i := range catalog.Builtin().InterfacesByName(s) {
		if len(found) == 0 || found[len(found)-1] != i.UUID { // they come in order
			found = append(found, i.UUID)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		var texts []string
		for _, u := range found {
			texts = append(texts, u.String())
		}
		return ndr.UUID{}, fmt.Errorf("several interfaces are called %q: say which by its UUID: %s", s, strings.Join(texts, ", "))
	}
	var known []string
	for i := range catalog.Builtin().Interfaces() {
		known = append(known, i.Name)
		known = append(known, i.Aliases...)
	}
	if near, ok := config.Suggest(s, known); ok {
		return ndr.UUID{}, fmt.Errorf("interface %q is neither a UUID nor known; did you mean %q?", s, near)
	}
	return ndr.UUID{}, fmt.Errorf("interface %q is neither a UUID such as 12345778-1234-abcd-ef00-0123456789ac nor a name of the catalog", s)
}
