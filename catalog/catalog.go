// Package catalog holds what is publicly known about RPC services, the services of
// Windows and their ports, as data that people who know ports and no Go can read and
// correct, and loads it.
//
// These are the files, which README.md in this folder explains:
//
//   - onc-programs.tsv has the ONC RPC program numbers of RFC 5531 with their
//     names and usual ports.
//   - rpc-interfaces.tsv has the interfaces of DCE/RPC (C706, MS-RPCE) by UUID and
//     version: those of the published specifications for Windows and Samba, among
//     them the ones of DCOM objects, and those that Windows uses within itself,
//     with who serves them and over which transports. How the last are reached
//     nobody says, and some have no name. Software of others is hardly in it.
//   - rpc-fixed-ports.yaml has the ways to give services a fixed port instead of a
//     dynamic one: registry values, commands, settings.
//   - services.yaml has the services of Windows with the ports each listens on,
//     ports.tsv the same by port as the vendor's article prints it, and
//     disagreements.tsv where the two differ.
//   - roles.yaml has who connects to whom, most of it in an Active Directory domain.
//   - systems.yaml has the operating systems and their dynamic ports.
//   - sources.yaml has where the last five files have their facts from.
package catalog

import (
	"io/fs"
	"iter"
	"strings"
	"sync"
)

var builtin = sync.OnceValue(newBuiltin)

func newBuiltin() *Catalog {
	tables := func() *build { return &build{layer: layer{fsys: tableFiles}, below: &Catalog{}} }
	c := newCatalog(sound(tables().readPrograms()))
	c.interfaces = sync.OnceValue(func() []*Interface { return sound(tables().readInterfaces())() })
	c.tables = sync.OnceValue(func() *tableFile { return sound(tables().readTables()) })
	c.pins = generated[pinFile](pinFileName)
	c.sources = generated[sourceFile](sourceFileName)
	c.systems = generated[systemFile](systemFileName)
	c.roles = generated[roleFile](roleFileName)
	c.services = generated[serviceFile](serviceFileName)
	return c
}

// sound returns what was read from the built-in files.
func sound[T any](facts T, err error) T {
	if err != nil {
		panic("catalog: the built-in files are broken:\n" + err.Error())
	}
	return facts
}

// Builtin returns the catalog this package was built with, which all callers
// share. Each file is read when it is first asked for: a daemon that serves ONC
// RPC alone does without the interfaces, which take a megabyte. A broken file
// panics, which a test of this package rules out.
func Builtin() *Catalog { return builtin() }

// A Catalog is a set of facts that agree with each other. It never changes after
// [Load], so any number of goroutines may use one. The zero value is empty.
type Catalog struct {
	programs []Program      // ascending by number
	byNumber map[uint32]int // to an index of programs
	byName   map[string]int // names and aliases in lower case, to the same

	// Nil functions mean that there is nothing.
	interfaces func() []*Interface // ascending by UUID and version
	pins       func() *pinFile
	sources    func() *sourceFile
	services   func() *serviceFile
	tables     func() *tableFile
	roles      func() *roleFile
	systems    func() *systemFile
	index      func() portIndex // of the last four

	relationships func() []*Relationship // of roles and services

	overridden []Override
	places     map[string]string // where overlays have what they have: see build
}

func newCatalog(programs []Program) *Catalog {
	c := &Catalog{programs: programs, byNumber: map[uint32]int{}, byName: map[string]int{}}
	for i, p := range programs {
		c.byNumber[p.Number] = i
		for name := range p.names() {
			c.byName[strings.ToLower(name)] = i
		}
	}
	c.index = sync.OnceValue(func() portIndex { return newPortIndex(c) })
	c.relationships = sync.OnceValue(func() []*Relationship { return allRelationships(c) })
	return c
}

// Load reads a catalog from the files in the root of fsys, which are those
// README.md describes, all of them; fsys is not used afterwards.
//
// Reading is strict, because a fact that is silently dropped is found much later
// by somebody else. Every mistake is reported, each on a line of its own as
// "file:line: column: what is wrong", in YAML "file:line:column: what is wrong";
// Load then returns no catalog.
func Load(fsys fs.FS) (*Catalog, error) {
	b := &build{layer: layer{fsys: fsys}, below: &Catalog{}}
	return b.catalog()
}

// Program returns the program with the given number, or false if the catalog
// does not know it. The result is the caller's to change.
func (c *Catalog) Program(number uint32) (Program, bool) {
	i, ok := c.byNumber[number]
	if !ok {
		return Program{}, false
	}
	return c.programs[i].clone(), true
}

// ProgramByName returns the program that has the given name or alias, in lower
// or upper case, or false if there is none. No two programs share one. The
// result is the caller's to change.
func (c *Catalog) ProgramByName(name string) (Program, bool) {
	i, ok := c.byName[strings.ToLower(name)]
	if !ok {
		return Program{}, false
	}
	return c.programs[i].clone(), true
}

// Programs returns all programs in ascending order of their numbers. They are
// the caller's to change.
func (c *Catalog) Programs() iter.Seq[Program] {
	return func(yield func(Program) bool) {
		for _, p := range c.programs {
			if !yield(p.clone()) {
				return
			}
		}
	}
}
