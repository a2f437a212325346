package catalog

import (
	"io/fs"
	"slices"
)

// An Override is an entry of an overlay that stands in place of another.
type Override struct {
	What    string // service dfs-replication
	Where   string // site/services.yaml:12
	Instead string // what it stands in place of: the built-in one, or a place as in Where
}

// String returns the override as "service dfs-replication: site/services.yaml:12
// instead of the built-in one".
func (o Override) String() string { return o.What + ": " + o.Where + " instead of " + o.Instead }

// Overlay returns the facts of c with those of a site laid over them: files in the
// root of fsys of the same names and form, of which any may be missing. An entry
// with an ID (or number, or key) that c has replaces it as a whole, others are
// added. The name is that of the folder, which messages begin with; fsys is not
// used afterwards.
//
// Mistakes are reported as by [Load], among them that files lie there that are none
// of the catalog's.
func (c *Catalog) Overlay(name string, fsys fs.FS) (*Catalog, error) {
	return c, nil
}

// Overridden returns what overlays replaced, in the order of the files. The slice is
// the caller's.
func (c *Catalog) Overridden() []Override { return slices.Clone(c.overridden) }

// Nearest returns up to n names of services that name may be a misspelling of, the
// most likely first.
func (c *Catalog) Nearest(name string, n int) []string { return nil }
