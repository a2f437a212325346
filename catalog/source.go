package catalog

// A Source is where facts were found: an entry of sources.yaml.
type Source struct {
	ID       string `yaml:"id"` // kb832017-2023; unique
	Title    string `yaml:"title"`
	Revision string `yaml:"revision"` // date of what was read: 2023-12-26; empty when it is not known
	Note     string `yaml:"note"`     // often empty
}

// sourceFile is all of sources.yaml.
type sourceFile struct {
	Sources []*Source `yaml:"sources"`
}

// Source returns the source with the given ID, or false if there is none.
func (c *Catalog) Source(id string) (*Source, bool) {
	for _, s := range c.sourceFile().Sources {
		if s.ID == id {
			return s, true
		}
	}
	return nil, false
}

func (c *Catalog) sourceFile() *sourceFile {
	if c.sources == nil {
		return &sourceFile{}
	}
	return c.sources()
}
