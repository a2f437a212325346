package catalog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/quaymaster/quaymaster/internal/config"
)

// A layer is a folder with files of the catalog: its own, or those of a site.
type layer struct {
	fsys fs.FS
	name string // of the folder of a site, which messages begin with
	site bool   // files may be missing
}

// path returns what messages call the named file.
func (l layer) path(file string) string { return path.Join(l.name, file) }

// read returns the text of the named file, nil if it is one that may be missing.
func (l layer) read(file string) ([]byte, error) {
	f, err := l.fsys.Open(file)
	if l.site && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, config.MaxSize+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("catalog: %w", err)
	case len(text) > config.MaxSize:
		return nil, fmt.Errorf("%s: larger than %d bytes", l.path(file), config.MaxSize)
	case text == nil:
		return []byte{}, nil
	default:
		return text, nil
	}
}

// table reads the named file as [readTable] does. If it is one that may be missing, and
// is, it has no rows.
func (l layer) table(file string, columns []string) (*table, error) {
	text, err := l.read(file)
	switch {
	case err != nil:
		return nil, err
	case text == nil:
		return &table{file: l.path(file), columns: columns}, nil
	default:
		return readTable(l.path(file), string(text), columns)
	}
}

// readYAML decodes the named file. If it is one that may be missing, and is, the
// value is empty and no place is known.
func readYAML[T any](l layer, file string) (*T, *config.File, error) {
	text, err := l.read(file)
	if err != nil {
		return nil, nil, err
	}
	into := new(T)
	at, err := config.Decode(l.path(file), text, into)
	if err != nil {
		return nil, nil, err
	}
	return into, at, nil
}
