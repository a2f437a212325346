package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/internal/config"
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
// Mistakes are reported as by [Load], among them TSV and YAML files that are none of
// the catalog's.
func (c *Catalog) Overlay(name string, fsys fs.FS) (*Catalog, error) {
	b := &build{layer: layer{fsys: fsys, name: name, site: true}, below: c, places: maps.Clone(c.places)}
	if b.places == nil {
		b.places = map[string]string{}
	}
	errNames := b.checkFileNames()
	over, err := b.catalog()
	if err := errors.Join(errNames, err); err != nil {
		return nil, err
	}
	return over, nil
}

// Overridden returns what overlays replaced, in the order of the files. The slice is
// the caller's.
func (c *Catalog) Overridden() []Override { return slices.Clone(c.overridden) }

// fileNames are the files of a catalog.
var fileNames = []string{
	"onc-programs.tsv", "rpc-interfaces.tsv", pinFileName, serviceFileName, "ports.tsv", "disagreements.tsv", roleFileName, systemFileName, sourceFileName,
}

// checkFileNames returns which files look as if they were meant, and are not read.
func (l layer) checkFileNames() error {
	files, err := fs.ReadDir(l.fsys, ".")
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	var errs []error
	for _, f := range files {
		name := f.Name()
		ext := strings.ToLower(path.Ext(name))
		if slices.Contains(fileNames, name) || ext != ".tsv" && ext != ".yaml" && ext != ".yml" {
			continue
		}
		near, ok := config.Suggest(name, fileNames)
		hint := "known are " + strings.Join(fileNames, ", ")
		if ok {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		errs = append(errs, fmt.Errorf("%s: not a file of the catalog; %s", l.path(name), hint))
	}
	return errors.Join(errs...)
}
