package catalog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/portset"
)

// A Generation is a set of systems that have the same dynamic ports.
type Generation struct {
	ID          string      `yaml:"id"` // legacy, modern, both; unique
	Description string      `yaml:"description"`
	ClientPorts portset.Set `yaml:"client_ports"` // where clients connect from, as firewalls see it; empty for both
	DynamicRPC  portset.Set `yaml:"dynamic_rpc"`  // where servers listen; empty for both
	Sources     []string    `yaml:"sources"`
}

// A DynamicRange is what ports a system gives out when nobody names one.
type DynamicRange struct {
	ID              string      `yaml:"id"` // modern; unique
	Symbol          Symbol      `yaml:"symbol"`
	Ports           portset.Set `yaml:"ports"`
	OS              string      `yaml:"os"`               // which systems have it, in words
	Generation      string      `yaml:"generation"`       // whose it is, by ID; empty when it is of no generation of Windows
	Product         string      `yaml:"product"`          // what moves the range there; empty when the system does
	Systems         []string    `yaml:"systems"`          // IDs of systems the product moves it on
	ArticleVariants []string    `yaml:"article_variants"` // how revisions and tables of the article print it
	Notes           []string    `yaml:"notes"`
	Sources         []string    `yaml:"sources"`    // IDs of sources; never empty
	Confidence      string      `yaml:"confidence"` // empty where the sources say it
}

// An OS is an operating system.
type OS struct {
	ID         string   `yaml:"id"`   // windows-server-2012-r2; unique
	Name       string   `yaml:"name"` // Windows Server 2012 R2
	Aliases    []string `yaml:"aliases"`
	Generation string   `yaml:"generation"` // by ID; empty for what is not Windows and does not do as it
	Range      string   `yaml:"range"`      // ID of its dynamic range
	Sources    []string `yaml:"sources"`
	Confidence string   `yaml:"confidence"` // empty where the sources say it
}

const systemFileName = "systems.yaml"

// systemFile is all of systems.yaml.
type systemFile struct {
	Generations []Generation   `yaml:"generations"`
	Ranges      []DynamicRange `yaml:"ranges"`
	Systems     []OS           `yaml:"systems"`
}

// Generations returns all generations in the order of the file. The slice is the
// caller's.
func (c *Catalog) Generations() []*Generation { return pointers(c.systemFile().Generations) }

// DynamicRanges returns all ranges in the order of the file. The slice is the
// caller's.
func (c *Catalog) DynamicRanges() []*DynamicRange { return pointers(c.systemFile().Ranges) }

// Systems returns all operating systems in the order of the file. The slice is the
// caller's.
func (c *Catalog) Systems() []*OS { return pointers(c.systemFile().Systems) }

// ParseOS returns the system with the given ID, name or alias, in upper or lower
// case: windows-server-2008-r2, 2008r2, win11. The error of an unknown one names the
// nearest.
func (c *Catalog) ParseOS(name string) (*OS, error) {
	var known []string
	for _, os := range c.Systems() {
		for _, n := range os.names() {
			if strings.EqualFold(n, name) {
				return os, nil
			}
			known = append(known, n)
		}
	}
	if near, ok := config.Suggest(name, known); ok {
		return nil, fmt.Errorf("unknown system %q; did you mean %q?", name, near)
	}
	return nil, fmt.Errorf("unknown system %q; known are %s", name, strings.Join(c.osIDs(), ", "))
}

func (os *OS) names() []string { return append([]string{os.ID, os.Name}, os.Aliases...) }

func (c *Catalog) osIDs() []string {
	var ids []string
	for _, os := range c.Systems() {
		ids = append(ids, os.ID)
	}
	return ids
}

// DynamicPorts are what servers of some systems may listen on without a pin.
type DynamicPorts struct {
	Ports    portset.Set     // of all the systems, as they are installed
	Ranges   []*DynamicRange // of which Ports are made, each once
	Variants []*DynamicRange // to which products move the range of one of the systems
}

// DynamicPorts returns the dynamic ports of the given systems: what a firewall in
// front of servers with all of them has to let through.
func (c *Catalog) DynamicPorts(systems ...*OS) DynamicPorts {
	var d DynamicPorts
	for _, r := range c.DynamicRanges() {
		switch {
		case r.Product == "" && slices.ContainsFunc(systems, func(os *OS) bool { return os.Range == r.ID }):
			d.Ranges = append(d.Ranges, r)
			d.Ports = d.Ports.Union(r.Ports)
		case slices.ContainsFunc(systems, func(os *OS) bool { return slices.Contains(r.Systems, os.ID) }):
			d.Variants = append(d.Variants, r)
		}
	}
	return d
}

func (c *Catalog) systemFile() *systemFile {
	if c.systems == nil {
		return &systemFile{}
	}
	return c.systems()
}

// readSystems reads systems.yaml, and returns the systems of all layers.
func (b *build) readSystems() (*systemFile, error) {
	f, at, err := readYAML[systemFile](b.layer, systemFileName)
	if err != nil {
		return nil, err
	}
	below, r := b.below.systemFile(), &report{at: at}
	m := &systemFile{
		Generations: merge(b, "generation", below.Generations, f.Generations, func(g *Generation) string { return g.ID }, r.placeIn("generations")),
		Ranges:      merge(b, "range", below.Ranges, f.Ranges, func(d *DynamicRange) string { return d.ID }, r.placeIn("ranges")),
		Systems:     merge(b, "system", below.Systems, f.Systems, func(os *OS) string { return os.ID }, r.placeIn("systems")),
	}
	b.generationIDs = idsOf(r, "generations", "generation", m.Generations, f.Generations, func(g *Generation) string { return g.ID })
	f.check(r, m, b)
	return m, r.err()
}

// check notes what is wrong with f, of which m is made.
func (f *systemFile) check(r *report, m *systemFile, b *build) {
	ranges := idsOf(r, "ranges", "range", m.Ranges, f.Ranges, func(d *DynamicRange) string { return d.ID })
	b.systemIDs = idsOf(r, "systems", "system", m.Systems, f.Systems, func(os *OS) string { return os.ID })
	for i, g := range f.Generations {
		path := fmt.Sprintf("$.generations[%d]", i)
		r.sources(path, b.sourceIDs, g.Sources)
		if g.Description == "" {
			r.mistake(path, "%s: every generation has a description", g.ID)
		}
	}
	for i, d := range f.Ranges {
		path := fmt.Sprintf("$.ranges[%d]", i)
		r.sources(path, b.sourceIDs, d.Sources)
		r.referOne(path+".generation", b.generationIDs, d.Generation)
		r.refer(path+".systems", b.systemIDs, d.Systems...)
		if d.Ports.IsEmpty() || d.OS == "" {
			r.mistake(path, "%s: every range has ports and os", d.ID)
		}
		if !d.Symbol.IsDynamic() || !slices.Contains(symbols, d.Symbol) {
			r.mistake(path+".symbol", "symbol %q: want %s", d.Symbol, DynamicRPC)
		}
		if (d.Product == "") != (len(d.Systems) == 0) {
			r.mistake(path, "%s: product and systems go together", d.ID)
		}
	}
	for i, os := range f.Systems {
		path := fmt.Sprintf("$.systems[%d]", i)
		r.sources(path, b.sourceIDs, os.Sources)
		r.referOne(path+".generation", b.generationIDs, os.Generation)
		r.referOne(path+".range", ranges, os.Range)
		if os.Name == "" || os.Range == "" {
			r.mistake(path, "%s: every system has a name and a range", os.ID)
		}
	}
	checkNames(r, "systems", "system", m.Systems, f.Systems, func(os *OS) (string, []string) { return os.ID, os.names() })
}
