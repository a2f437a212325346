package catalog

import (
	"slices"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// ServicesByName returns the services that people mean by name, or none. It is
// forgiving: upper and lower case are the same to it, and it looks for the first of
// these that any service has, with blanks, hyphens and underscores taken for each other:
//
//   - the ID;
//   - a name, an alias, or a system service of the name;
//   - a beginning of these that no other service has;
//   - an ONC RPC program that the service serves, by number or name;
//   - a DCE/RPC interface that it serves, by UUID or name.
//
// There are several where services share what is named, as TermService, in the order
// of the files.
func (c *Catalog) ServicesByName(name string) []*Service {
	name = strings.ToLower(strings.TrimSpace(name))
	if name == "" {
		return nil
	}
	if s, ok := c.Service(fold(name)); ok {
		return []*Service{s}
	}
	if found := c.servicesNamed(name); len(found) > 0 {
		return found
	}
	if found := c.servicesWith(func(n string) bool { return strings.HasPrefix(n, fold(name)) }); len(found) == 1 {
		return found
	}
	if found := c.servicesOfProgram(name); len(found) > 0 {
		return found
	}
	return c.servicesOfInterface(name)
}

// names returns everything that people may call s.
func (s *Service) names() []string {
	return slices.Concat([]string{s.ID, s.Name}, s.AlsoNamed, s.Aliases, s.SystemServices)
}

// fold makes names alike that people mean the same by.
func fold(name string) string { return folding.Replace(strings.ToLower(name)) }

var folding = strings.NewReplacer(" ", "-", "_", "-")

// servicesWith returns the services of which a name, folded, is wanted.
func (c *Catalog) servicesWith(wanted func(name string) bool) []*Service {
	var found []*Service
	for _, s := range c.Services() {
		if slices.ContainsFunc(s.names(), func(n string) bool { return wanted(fold(n)) }) {
			found = append(found, s)
		}
	}
	return found
}

func (c *Catalog) servicesNamed(name string) []*Service {
	return c.servicesWith(func(n string) bool { return n == fold(name) })
}

func (c *Catalog) servicesOfProgram(name string) []*Service {
	p, ok := c.ProgramByName(name)
	if number, err := strconv.ParseUint(name, 10, 32); err == nil {
		p, ok = c.Program(uint32(number))
	}
	if !ok {
		return nil
	}
	var found []*Service
	for _, s := range c.Services() {
		if slices.Contains(s.Programs, p.Name) {
			found = append(found, s)
		}
	}
	return found
}

// servicesOfInterface goes by the system service that serves the interface.
func (c *Catalog) servicesOfInterface(name string) []*Service {
	var interfaces []Interface
	if uuid, err := ndr.ParseUUID(name); err == nil {
		interfaces = c.InterfacesByUUID(uuid)
	} else {
		interfaces = c.InterfacesByName(name)
	}
	var found []*Service
	for _, is := range interfaces {
		for system := range strings.SplitSeq(is.Service, "/") { // either serves it
			for _, s := range c.servicesNamed(strings.TrimSpace(system)) {
				if !slices.Contains(found, s) {
					found = append(found, s)
				}
			}
		}
	}
	return found
}

// Nearest returns the names of n services that are nearest to a name which
// [Catalog.ServicesByName] does not know, the most likely to be meant first.
func (c *Catalog) Nearest(name string, n int) []string {
	var known []string
	owner := map[string]*Service{}
	for _, s := range c.Services() {
		for _, k := range s.names() {
			if owner[k] == nil {
				owner[k] = s
				known = append(known, k)
			}
		}
	}
	var nearest []string
	told := map[*Service]bool{}
	for _, k := range config.Nearest(name, known) {
		if s := owner[k]; len(nearest) < n && !told[s] {
			told[s] = true
			nearest = append(nearest, k)
		}
	}
	return nearest
}
