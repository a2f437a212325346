package catalog

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/quaymaster/quaymaster/portset"
)

// A Pin is one way to take a service off the dynamic ports: an entry of
// rpc-fixed-ports.yaml. Most give a service a fixed port; some choose its
// transports (method transport-toggle), bound the ports of all servers
// (rpc-internet-range) or those of the whole host (netsh-dynamicport). What does
// not apply to an entry is empty.
type Pin struct {
	ID      string `yaml:"id"`      // a word for it: ntds; unique
	Service string `yaml:"service"` // whose port it is, in words
	Method  string `yaml:"method"`  // registry, policy, command, command line, config, transport-toggle, WFP RPC filter
	OS      string `yaml:"os"`      // which systems know it; empty is all that have the service
	Scope   string `yaml:"scope"`   // on which hosts, or for how much, it counts
	RPC     string `yaml:"rpc"`     // empty is DCE/RPC; onc, or none for what is no RPC at all
	Ports   string `yaml:"ports"`   // the transports it is about, where it says: tcp+udp

	Key        string            `yaml:"key"`        // of the Windows registry
	Values     []PinValue        `yaml:"values"`     // of Key, or of File
	Registry   *PinRegistryValue `yaml:"registry"`   // where a command keeps the port, if it is known
	File       string            `yaml:"file"`       // configuration file
	Section    string            `yaml:"section"`    // of File
	Setting    string            `yaml:"setting"`    // in Section, or on the command line
	Command    string            `yaml:"command"`    // that sets it
	PowerShell string            `yaml:"powershell"` // the same
	Tool       string            `yaml:"tool"`       // with a window, that sets it
	Companion  string            `yaml:"companion"`  // a command that goes with it
	Limits     *PinLimits        `yaml:"limits"`     // of the numbers of Command
	Restart    string            `yaml:"restart"`    // what has to start anew before it counts

	Interfaces []string    `yaml:"interfaces"`  // of DCE/RPC that are reached there then, by names of this catalog
	UsualPorts portset.Set `yaml:"usual_ports"` // that people give it, as far as the entry tells; often empty
	UsualBasis string      `yaml:"usual_basis"` // where UsualPorts are from
	Example    string      `yaml:"example"`     // in words

	Notes          []string   `yaml:"notes"`
	KnownIssues    []string   `yaml:"known_issues"`
	Events         []PinEvent `yaml:"events"`
	Sources        []string   `yaml:"sources"`    // where the facts were found; never empty
	Confidence     string     `yaml:"confidence"` // how well they are confirmed; never empty
	ConfidenceNote string     `yaml:"confidence_note"`
}

// A PinValue is a value of the registry, or a setting of a file.
type PinValue struct {
	Name string `yaml:"name"`
	Type string `yaml:"type"` // REG_DWORD; empty in files
	Data string `yaml:"data"` // what to write, in words
}

// A PinRegistryValue is a value of the registry with its key.
type PinRegistryValue struct {
	Key  string `yaml:"key"`
	Name string `yaml:"name"`
	Type string `yaml:"type"`
	Data string `yaml:"data"`
}

// A PinEvent is an entry of the event log that tells of trouble with a pin.
type PinEvent struct {
	ID      uint32 `yaml:"id"`
	Meaning string `yaml:"meaning"`
}

// PinLimits are the bounds of a range of ports that a command takes.
type PinLimits struct {
	MinNum   uint16 `yaml:"min_num"`   // number of ports
	MinStart uint16 `yaml:"min_start"` // first port
	MaxEnd   uint16 `yaml:"max_end"`   // last port
}

// A PinExample is a set of ports that was chosen together.
type PinExample struct {
	Ports  map[string]uint16 `yaml:"ports"` // by the ID of the pin
	Source string            `yaml:"source"`
}

// pinFile is all of rpc-fixed-ports.yaml.
type pinFile struct {
	Advice  []string   `yaml:"advice"`
	Example PinExample `yaml:"example_set"`
	Entries []Pin      `yaml:"entries"`
}

// Pins returns all pins in the order of the file. They are the caller's to change.
func (c *Catalog) Pins() iter.Seq[Pin] {
	return func(yield func(Pin) bool) {
		for i := range c.pinFile().Entries {
			if !yield(c.pinFile().Entries[i].clone()) {
				return
			}
		}
	}
}

// Pin returns the pin with the given ID, or false if there is none. The result is
// the caller's to change.
func (c *Catalog) Pin(id string) (Pin, bool) {
	for p := range c.Pins() {
		if p.ID == id {
			return p, true
		}
	}
	return Pin{}, false
}

// PinAdvice returns what holds for all pins, in sentences. The result is the
// caller's to change.
func (c *Catalog) PinAdvice() []string { return slices.Clone(c.pinFile().Advice) }

// PinExample returns ports for several pins that go together. The result is the
// caller's to change.
func (c *Catalog) PinExample() PinExample {
	e := c.pinFile().Example
	return PinExample{maps.Clone(e.Ports), e.Source}
}

func (c *Catalog) pinFile() *pinFile {
	if c.pins == nil {
		return &pinFile{}
	}
	return c.pins()
}

func (p *Pin) clone() Pin {
	q := *p
	q.Values = slices.Clone(p.Values)
	if p.Registry != nil {
		q.Registry = new(*p.Registry)
	}
	if p.Limits != nil {
		q.Limits = new(*p.Limits)
	}
	q.Interfaces = slices.Clone(p.Interfaces)
	q.Notes = slices.Clone(p.Notes)
	q.KnownIssues = slices.Clone(p.KnownIssues)
	q.Events = slices.Clone(p.Events)
	q.Sources = slices.Clone(p.Sources)
	return q
}

const pinFileName = "rpc-fixed-ports.yaml"

// pinMethods are the words of the key method, each with what an entry needs then.
var pinMethods = map[string]func(*Pin) bool{
	"registry":         func(p *Pin) bool { return p.Key != "" && len(p.Values) > 0 },
	"policy":           func(p *Pin) bool { return p.Key != "" && len(p.Values) > 0 },
	"transport-toggle": func(p *Pin) bool { return p.Key != "" && len(p.Values) > 0 },
	"command":          func(p *Pin) bool { return p.Command != "" },
	"WFP RPC filter":   func(p *Pin) bool { return p.Command != "" },
	"command line":     func(p *Pin) bool { return p.Setting != "" },
	"config":           func(p *Pin) bool { return p.File != "" || p.Tool != "" || len(p.Notes) > 0 },
}

// readPins reads rpc-fixed-ports.yaml, and returns the pins of all layers. The interfaces
// are those that it can name; none is refused if they are nil, as they could not be
// read then.
func (b *build) readPins(interfaces func() []*Interface) (*pinFile, error) {
	f, at, err := readYAML[pinFile](b.layer, pinFileName)
	if err != nil {
		return nil, err
	}
	below, r := b.below.pinFile(), &report{at: at}
	m := &pinFile{
		Advice:  slices.Concat(below.Advice, f.Advice),
		Example: below.Example,
		Entries: merge(b, "pin", below.Entries, f.Entries, func(p *Pin) string { return p.ID }, r.placeIn("entries")),
	}
	if at.Has("$.example_set") {
		m.Example = f.Example
		b.replaces("example_set", r.place("$.example_set"))
	}
	b.pinIDs = idsOf(r, "entries", "pin", m.Entries, f.Entries, func(p *Pin) string { return p.ID })
	f.check(r, b.pinIDs, interfaces)
	return m, r.err()
}

// check notes what is wrong with f.
func (f *pinFile) check(r *report, ids *names, interfaces func() []*Interface) {
	known := sync.OnceValue(func() map[string]bool {
		known := map[string]bool{}
		for _, i := range interfaces() {
			for _, name := range append(slices.Clone(i.Aliases), i.Name) {
				known[strings.ToLower(name)] = true
			}
		}
		return known
	})
	for i := range f.Entries {
		p, path := &f.Entries[i], fmt.Sprintf("$.entries[%d]", i)
		if p.Service == "" || p.Restart == "" || p.Confidence == "" || len(p.Sources) == 0 {
			r.mistake(path, "%s: every entry has service, restart, sources and confidence", p.ID)
		}
		if complete, ok := pinMethods[p.Method]; !ok {
			r.mistake(path+".method", "method %q: want one of %q", p.Method, slices.Sorted(maps.Keys(pinMethods)))
		} else if !complete(p) {
			r.mistake(path, "%s: method %q does not say where: key with values, command, setting, file or tool", p.ID, p.Method)
		}
		if p.RPC != "" && p.RPC != "onc" && p.RPC != "none" {
			r.mistake(path+".rpc", "rpc %q: want onc or none, or leave it out for DCE/RPC", p.RPC)
		}
		if p.UsualPorts.IsEmpty() != (p.UsualBasis == "") {
			r.mistake(path, "%s: usual_ports and usual_basis go together", p.ID)
		}
		for j, name := range p.Interfaces {
			if interfaces != nil && !known()[strings.ToLower(name)] {
				r.mistake(fmt.Sprintf("%s.interfaces[%d]", path, j), "interface %q is not in rpc-interfaces.tsv", name)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(f.Example.Ports)) {
		if _, unknown := ids.unknown(id); unknown {
			r.mistake("$.example_set.ports."+id, "no entry has the id %q", id)
		}
	}
	if len(f.Example.Ports) > 0 && f.Example.Source == "" {
		r.mistake("$.example_set", "example_set needs a source")
	}
}
