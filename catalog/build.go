package catalog

import (
	"cmp"
	"errors"
	"slices"
)

// A build lays the files of a layer over the facts of a catalog.
type build struct {
	layer
	below      *Catalog
	overridden []Override
	places     map[string]string // where sites have what they have, by what it is

	// What other files refer to; nil where a file could not be read.
	sourceIDs, revisions, programNames, pinIDs, generationIDs, systemIDs, roleIDs, serviceIDs *names
}

// catalog reads all files, and returns no catalog if anything is wrong with any.
func (b *build) catalog() (*Catalog, error) {
	sources, errSources := b.readSources()
	programs, errPrograms := b.readPrograms()
	interfaces, errInterfaces := b.readInterfaces()
	pins, errPins := b.readPins(interfaces)
	systems, errSystems := b.readSystems()
	layer, errRoles := b.readRoles()
	services, errServices := b.readServices()
	tables, errTables := b.readTables()
	var roles *roleFile
	if errRoles == nil {
		roles, errRoles = b.checkRoles(layer)
	}
	err := errors.Join(errSources, errPrograms, errInterfaces, errPins, errSystems, errServices, errTables, errRoles)
	if err != nil {
		return nil, err
	}
	c := newCatalog(programs)
	c.interfaces, c.pins = interfaces, value(pins)
	c.sources, c.services, c.tables, c.roles, c.systems = value(sources), value(services), value(tables), value(roles), value(systems)
	c.overridden, c.places = append(slices.Clone(b.below.overridden), b.overridden...), b.places
	return c, nil
}

// endIDs returns what the hosts at the ends of a flow may be: roles and services.
func (b *build) endIDs() *names {
	if b.roleIDs == nil || b.serviceIDs == nil {
		return nil
	}
	ends := newNames("role")
	for _, id := range slices.Concat(b.roleIDs.all, b.serviceIDs.all) {
		ends.add(id)
	}
	return ends
}

// value returns a function that returns v.
func value[T any](v T) func() T { return func() T { return v } }

// merge returns the entries below with those above in place of what has the same key,
// or behind. The kind and a key say what an entry is, place returns where one of
// those above stands.
func merge[T any](b *build, kind string, below, above []T, key func(*T) string, place func(i int) string) []T {
	if !b.site {
		return above // there is nothing below
	}
	merged := slices.Clone(below)
	index := make(map[string]int, len(below))
	for i := range below {
		index[key(&below[i])] = i
	}
	for i := range above {
		k := key(&above[i])
		what := kind + " " + k
		if j, ok := index[k]; ok {
			merged[j] = above[i]
			b.replaces(what, place(i))
		} else {
			merged = append(merged, above[i])
			b.places[what] = place(i)
		}
	}
	return merged
}

// replaces notes that a site has at place what there is one of.
func (b *build) replaces(what, place string) {
	if b.site {
		b.overridden = append(b.overridden, Override{what, place, cmp.Or(b.places[what], "the built-in one")})
		b.places[what] = place
	}
}

// pointers returns pointers to the entries of a list.
func pointers[T any](list []T) []*T {
	p := make([]*T, len(list))
	for i := range list {
		p[i] = &list[i]
	}
	return p
}

// find returns the first entry of a list that is wanted.
func find[T any](list []T, wanted func(*T) bool) (*T, bool) {
	for i := range list {
		if wanted(&list[i]) {
			return &list[i], true
		}
	}
	return nil, false
}
