package catalog

import (
	"fmt"
	"slices"
	"strings"

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

// systemFile is all of systems.yaml.
type systemFile struct {
	Generations []*Generation   `yaml:"generations"`
	Ranges      []*DynamicRange `yaml:"ranges"`
	Systems     []*OS           `yaml:"systems"`
}

// Generations returns all generations in the order of the file. The slice is the
// caller's.
func (c *Catalog) Generations() []*Generation { return slices.Clone(c.systemFile().Generations) }

// DynamicRanges returns all ranges in the order of the file. The slice is the
// caller's.
func (c *Catalog) DynamicRanges() []*DynamicRange { return slices.Clone(c.systemFile().Ranges) }

// Systems returns all operating systems in the order of the file. The slice is the
// caller's.
func (c *Catalog) Systems() []*OS { return slices.Clone(c.systemFile().Systems) }

// ParseOS returns the system with the given ID, name or alias, in upper or lower
// case: windows-server-2008-r2, 2008r2, win11. The error of an unknown one names the
// nearest.
func (c *Catalog) ParseOS(name string) (*OS, error) {
	for _, os := range c.systemFile().Systems {
		for _, n := range append([]string{os.ID, os.Name}, os.Aliases...) {
			if strings.EqualFold(n, name) {
				return os, nil
			}
		}
	}
	return nil, fmt.Errorf("unknown system %q", name)
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
	for _, r := range c.systemFile().Ranges {
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
