package catalog

import (
	"fmt"
	"maps"
	"slices"
)

const serviceFileName = "services.yaml"

// serviceFile is all of services.yaml.
type serviceFile struct {
	Needs     []NeedMeaning     `yaml:"needs"`
	Footnotes map[string]string `yaml:"footnotes"`
	Directory Directory         `yaml:"directory"`
	Services  []Service         `yaml:"services"`
}

func (c *Catalog) serviceFile() *serviceFile {
	if c.services == nil {
		return &serviceFile{}
	}
	return c.services()
}

// readServices reads services.yaml, and returns the services of all layers.
func (b *build) readServices() (*serviceFile, error) {
	f, at, err := readYAML[serviceFile](b.layer, serviceFileName)
	if err != nil {
		return nil, err
	}
	below, r := b.below.serviceFile(), &report{at: at}
	m := &serviceFile{
		Needs:     merge(b, "need", below.Needs, f.Needs, func(n *NeedMeaning) string { return string(n.Need) }, r.placeIn("needs")),
		Footnotes: b.mergeFootnotes(below.Footnotes, f.Footnotes, r),
		Directory: below.Directory,
		Services:  merge(b, "service", below.Services, f.Services, func(s *Service) string { return s.ID }, r.placeIn("services")),
	}
	if at.Has("$.directory") {
		m.Directory = f.Directory
		b.replaces("directory", r.place("$.directory"))
	}
	b.serviceIDs = idsOf(r, "services", "service", m.Services, f.Services, func(s *Service) string { return s.ID })
	f.check(r, m, b)
	m.resolve()
	return m, r.err()
}

// mergeFootnotes does for notes what [merge] does for lists.
func (b *build) mergeFootnotes(below, above map[string]string, r *report) map[string]string {
	merged := maps.Clone(below)
	if merged == nil {
		merged = map[string]string{}
	}
	for _, id := range slices.Sorted(maps.Keys(above)) {
		if !isID.MatchString(id) || above[id] == "" {
			r.mistake("$.footnotes."+id, "footnote %q: want a word such as dfsr-5722 with text behind it", id)
		}
		if _, ok := merged[id]; ok {
			b.replaces("footnote "+id, r.place("$.footnotes."+id))
		}
		merged[id] = above[id]
	}
	return merged
}

// resolve fills in what the file says elsewhere. Services of layers below are left
// alone: they are copied.
func (f *serviceFile) resolve() {
	for i := range f.Services {
		s := &f.Services[i]
		s.Ports = slices.Clone(s.Ports)
		for j := range s.Ports {
			p := &s.Ports[j]
			p.Notes = nil
			for _, id := range p.NoteIDs {
				p.Notes = append(p.Notes, f.Footnotes[id])
			}
		}
	}
}

// check notes what is wrong with f, of which m is made.
func (f *serviceFile) check(r *report, m *serviceFile, b *build) {
	footnotes := newNames("footnote")
	for id := range m.Footnotes {
		footnotes.add(id)
	}
	slices.Sort(footnotes.all)
	ends := b.endIDs()
	for i, n := range f.Needs {
		path := fmt.Sprintf("$.needs[%d]", i)
		checkWord(r, path+".need", "need", n.Need, needs...)
		if n.Meaning == "" {
			r.mistake(path, "need %q: say what it means", n.Need)
		}
	}
	if r.at.Has("$.directory") {
		f.Directory.check(r, b)
	}
	for i := range f.Services {
		s, path := &f.Services[i], fmt.Sprintf("$.services[%d]", i)
		s.check(r, path, b)
		for j := range s.Ports {
			path := fmt.Sprintf("%s.ports[%d]", path, j)
			s.Ports[j].check(r, path, footnotes, b)
			r.terms(path+".when", b, ends, s.Ports[j].When)
		}
	}
	checkNames(r, "services", "service", m.Services, f.Services, func(s *Service) (string, []string) {
		return s.ID, slices.Concat([]string{s.ID, s.Name}, s.AlsoNamed, s.Aliases)
	})
}

func (d *Directory) check(r *report, b *build) {
	r.sources("$.directory", b.sourceIDs, d.Sources)
	for key, list := range map[string][]Dependence{"depends_on": d.DependsOn, "required_by": d.RequiredBy} {
		for i, dependence := range list {
			path := fmt.Sprintf("$.directory.%s[%d]", key, i)
			if dependence.Service == "" {
				r.mistake(path, "%s: every entry has a service", key)
			}
			r.referOne(path+".service", b.serviceIDs, dependence.Service)
		}
	}
}

func (s *Service) check(r *report, path string, b *build) {
	if s.Name == "" || len(s.Ports) == 0 {
		r.mistake(path, "%s: every service has a name and ports", s.ID)
	}
	if !isID.MatchString(s.Group) {
		r.mistake(path+".group", "group %q: want a word such as remote-desktop: lower case, digits, '-'", s.Group)
	}
	checkWord(r, path+".status", "status", s.Status, ServiceCurrent, ServiceLegacy, ServiceRemoved)
	checkWord(r, path+".basis", "basis", s.Basis, BasisSection, BasisProse, BasisReverseTable, BasisSupplement)
	r.sources(path, b.sourceIDs, s.Sources)
	if s.Basis == BasisSupplement && s.Confidence == "" {
		r.mistake(path, "%s: what is not in the article has a confidence: documented or unverified", s.ID)
	}
	r.refer(path+".programs", b.programNames, s.Programs...)
	r.refer(path+".depends_on", b.serviceIDs, s.DependsOn...)
	if f := s.FixedPort; f != nil {
		if f.How == "" || f.Pin == "" {
			r.mistake(path+".fixed_port", "fixed_port: say how, as in registry, and which pin of rpc-fixed-ports.yaml")
		}
		r.referOne(path+".fixed_port.pin", b.pinIDs, f.Pin)
	}
}

func (p *ServicePort) check(r *report, path string, footnotes *names, b *build) {
	if p.App == "" {
		r.mistake(path, "every port has an app, which says what speaks there")
	}
	checkWord(r, path+".need", "need", p.Need, needs...)
	r.ports(path, p.Protocol, p.Ports)
	r.refer(path+".notes", footnotes, p.NoteIDs...)
	for _, revision := range slices.Sorted(maps.Keys(p.Stated)) {
		if revision != "prose" {
			r.referOne(path+".stated."+revision, b.revisions, revision)
		}
	}
	r.referOne(path+".only_in", b.revisions, p.OnlyIn)
}

// ports notes ports that do not go with their protocol.
func (r *report) ports(path string, protocol Protocol, ports Ports) {
	switch {
	case protocol == 0:
		r.mistake(path, "protocol: none: want one of %v", protocols)
	case protocol.HasPorts() && (ports.IsNone() || ports.Symbol == Echo):
		r.mistake(path, "ports: %s: %s has ports: want some such as 135, or a word such as dynamic-rpc", ports, protocol)
	case !protocol.HasPorts() && !ports.IsNone() && (protocol != ICMP || ports.Symbol != Echo):
		r.mistake(path+".ports", "ports: %s: %s has none", ports, protocol)
	}
}
