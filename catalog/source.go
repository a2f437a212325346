package catalog

import (
	"fmt"
	"regexp"
)

// A Source is where facts were found: an entry of sources.yaml.
type Source struct {
	ID       string `yaml:"id"`   // kb832017-2023; unique
	Name     string `yaml:"name"` // the name to show: KB 832017, which its revisions share
	Title    string `yaml:"title"`
	Revision string `yaml:"revision"` // date of what was read: 2023-12-26; empty when it is not known
	Note     string `yaml:"note"`     // often empty
}

const sourceFileName = "sources.yaml"

// sourceFile is all of sources.yaml.
type sourceFile struct {
	Sources []Source `yaml:"sources"`
}

// Sources returns all sources in the order of the files. The slice is the caller's.
func (c *Catalog) Sources() []*Source { return pointers(c.sourceFile().Sources) }

// Source returns the source with the given ID, or false if there is none.
func (c *Catalog) Source(id string) (*Source, bool) {
	return find(c.sourceFile().Sources, func(s *Source) bool { return s.ID == id })
}

func (c *Catalog) sourceFile() *sourceFile {
	if c.sources == nil {
		return &sourceFile{}
	}
	return c.sources()
}

// readSources reads sources.yaml, and returns the sources of all layers.
func (b *build) readSources() (*sourceFile, error) {
	f, at, err := readYAML[sourceFile](b.layer, sourceFileName)
	if err != nil {
		return nil, err
	}
	r := &report{at: at}
	m := &sourceFile{merge(b, "source", b.below.sourceFile().Sources, f.Sources, func(s *Source) string { return s.ID }, r.placeIn("sources"))}
	b.sourceIDs = idsOf(r, "sources", "source", m.Sources, f.Sources, func(s *Source) string { return s.ID })
	f.check(r)
	if b.sourceIDs != nil && r.err() == nil {
		b.revisions = newNames("revision")
		for _, s := range m.Sources {
			if month := s.month(); month != "" {
				b.revisions.add(month)
			}
		}
	}
	return m, r.err()
}

var isDate = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)

func (f *sourceFile) check(r *report) {
	for i, s := range f.Sources {
		path := fmt.Sprintf("$.sources[%d]", i)
		if s.Name == "" || s.Title == "" {
			r.mistake(path, "%s: every source has a name and a title", s.ID)
		}
		if s.Revision != "" && !isDate.MatchString(s.Revision) {
			r.mistake(path+".revision", "revision %q: want a date such as 2023-12-26", s.Revision)
		}
	}
}

// month returns the revision of s as other files name it: 2023-12.
func (s *Source) month() string {
	if len(s.Revision) < len("2023-12") {
		return ""
	}
	return s.Revision[:len("2023-12")]
}
