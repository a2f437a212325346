// Package catalog holds what is publicly known about RPC services, as data that
// people who know ports and no Go can read and correct, and loads it.
//
// There are three files, which README.md in this folder explains:
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
package catalog

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"sync"

	"github.com/quaymaster/quaymaster/internal/config"
)

//go:embed *.tsv *.yaml
var files embed.FS

var builtin = sync.OnceValue(func() *Catalog {
	interfaces := sync.OnceValue(func() []*Interface { return sound(loadInterfaces(files)) })
	pins := sync.OnceValue(func() *pinFile { return sound(loadPins(files, interfaces())) })
	c := newCatalog(sound(loadPrograms(files)), interfaces, pins)
	c.sources = sync.OnceValue(func() *sourceFile { return sound(decode[sourceFile](files, "sources.yaml")) })
	c.services = sync.OnceValue(func() *serviceFile {
		f := sound(decode[serviceFile](files, "services.yaml"))
		f.resolve()
		return f
	})
	c.tables = sync.OnceValue(func() *tableFile { return sound(loadTables(files)) })
	c.roles = sync.OnceValue(func() *roleFile { return sound(decode[roleFile](files, "roles.yaml")) })
	c.systems = sync.OnceValue(func() *systemFile { return sound(decode[systemFile](files, "systems.yaml")) })
	return c
})

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

	interfaces func() []*Interface // ascending by UUID and version; nil: none
	pins       func() *pinFile     // nil: none
	sources    func() *sourceFile  // nil: none
	services   func() *serviceFile // nil: none
	tables     func() *tableFile   // nil: none
	roles      func() *roleFile    // nil: none
	systems    func() *systemFile  // nil: none

	overridden []Override
}

func newCatalog(programs []Program, interfaces func() []*Interface, pins func() *pinFile) *Catalog {
	c := &Catalog{programs: programs, byNumber: map[uint32]int{}, byName: map[string]int{}, interfaces: interfaces, pins: pins}
	for i, p := range programs {
		c.byNumber[p.Number] = i
		for name := range p.names() {
			c.byName[strings.ToLower(name)] = i
		}
	}
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
	programs, errPrograms := loadPrograms(fsys)
	interfaces, errInterfaces := loadInterfaces(fsys)
	pins, errPins := loadPins(fsys, interfaces)
	if err := errors.Join(errPrograms, errInterfaces, errPins); err != nil {
		return nil, err
	}
	return newCatalog(programs, func() []*Interface { return interfaces }, func() *pinFile { return pins }), nil
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

// decode reads a file of YAML into a T.
func decode[T any](fsys fs.FS, name string) (*T, error) {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	f := new(T)
	if _, err := config.Decode(name, text, f); err != nil {
		return nil, err
	}
	return f, nil
}
