package portpool

import (
	"fmt"

	"github.com/quaymaster/quaymaster/internal/config"
)

// Settings are the policy as YAML has it. All three have to be there.
type Settings struct {
	Ports                  []EntryText `yaml:"ports"`
	PortsInternetAvailable *bool       `yaml:"ports_internet_available"`
	UseInternetPorts       *bool       `yaml:"use_internet_ports"`
}

// EntryText is a string of the list: a single port looks like a number to YAML.
type EntryText string

// UnmarshalText takes any text: [Document.Policy] says what is wrong with it.
func (e *EntryText) UnmarshalText(b []byte) error {
	*e = EntryText(b)
	return nil
}

// poolFile is a YAML file with the policy: that of the key in the configuration.
type poolFile struct {
	Pool *Settings `yaml:"pool"`
}

// parseYAML returns what a YAML file says. The error is a [config.Mistakes].
func parseYAML(name string, text []byte) (*Document, error) {
	var f poolFile
	file, err := config.Decode(name, text, &f)
	if err != nil {
		return nil, err
	}
	return f.Pool.Document(name, file, "$.pool"), nil
}

// Document returns the document that s is, which stood in the file with the given name at
// path, as [config.File.Mistake] has it. A nil s is no policy.
func (s *Settings) Document(name string, file *config.File, path string) *Document {
	d := &Document{Name: name, Syntax: YAML}
	if s == nil {
		d.note(Finding{Warning, "no-policy", Place{}, "no policy here: the file has no key pool", "write one as quaymaster pool convert FILE --to yaml does"})
		return d
	}
	place := func(path string) Place {
		m := file.Mistake(path, "")
		return Place{m.Line, m.Column}
	}
	d.Key = Key{Present, place(path)}
	if s.Ports != nil {
		d.Ports = Value{State: Present, Place: place(path + ".ports"), Type: RegMultiSZ}
		for i, e := range s.Ports {
			d.Ports.Text = append(d.Ports.Text, Entry{place(fmt.Sprintf("%s.ports[%d]", path, i)), string(e)})
		}
	}
	flag := func(name string, v *bool) Value {
		if v == nil {
			return Value{}
		}
		at := place(path + "." + name)
		return Value{Present, at, RegSZ, []Entry{{at, d.letter(*v)}}}
	}
	d.PortsInternetAvailable = flag("ports_internet_available", s.PortsInternetAvailable)
	d.UseInternetPorts = flag("use_internet_ports", s.UseInternetPorts)
	return d
}
