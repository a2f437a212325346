package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/portset"
)

// serviceFacts is where facts about services are looked up.
type serviceFacts struct {
	*catalog.Catalog
	systems    []*catalog.OS // of servers, empty if they were not named
	ranges     []serverRange
	moved      []serverRange
	interfaces map[string][]catalog.Interface // by who serves them, in lower case; nil until they are asked for
}

func newServiceFacts(c *catalog.Catalog, systems []*catalog.OS) *serviceFacts {
	return &serviceFacts{Catalog: c, systems: systems, ranges: serverRanges(c, systems), moved: movedRanges(c, systems)}
}

// A serverRange is the dynamic ports of some servers.
type serverRange struct {
	Ports      portset.Set `json:"ports"`
	Of         string      `json:"of"`         // the servers in words: Windows Server 2022, Windows Server 2025 (unverified)
	Confidence string      `json:"confidence"` // empty where the sources say it
}

// serverRanges returns the dynamic ports of the systems, or of every generation, the newest
// first, if there are none.
func serverRanges(c *catalog.Catalog, systems []*catalog.OS) []serverRange {
	var all []serverRange
	if len(systems) == 0 {
		for _, g := range slices.Backward(c.Generations()) {
			if !g.DynamicRPC.IsEmpty() {
				all = append(all, serverRange{Ports: g.DynamicRPC, Of: g.Description})
			}
		}
		return all
	}
	for _, r := range c.DynamicPorts(systems...).Ranges {
		var names []string
		for _, os := range systems {
			if name := withDoubt(os.Name, os.Confidence); os.Range == r.ID && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		all = append(all, serverRange{r.Ports, strings.Join(names, ", "), r.Confidence})
	}
	return all
}

// movedRanges returns where products move the dynamic ports of the systems, or of every
// Windows if there are none.
func movedRanges(c *catalog.Catalog, systems []*catalog.OS) []serverRange {
	if len(systems) == 0 {
		for _, os := range c.Systems() {
			if os.Generation != "" {
				systems = append(systems, os)
			}
		}
	}
	var all []serverRange
	for _, r := range c.DynamicPorts(systems...).Variants {
		all = append(all, serverRange{r.Ports, r.Product, r.Confidence})
	}
	return all
}

// describeRanges returns ranges as "49152-65535 (Windows Server 2022)".
func describeRanges(ranges []serverRange) string {
	var parts []string
	for _, r := range ranges {
		of := r.Of
		if d := doubt(r.Confidence); d != "" {
			of += ": " + d
		}
		parts = append(parts, r.Ports.String()+" ("+of+")")
	}
	return strings.Join(parts, ", ")
}

// served returns the interfaces that a service serves: those for others by name first, then
// those of DCOM objects, then internal ones.
func (f *serviceFacts) served(s *catalog.Service) []catalog.Interface {
	if f.interfaces == nil {
		f.interfaces = map[string][]catalog.Interface{}
		for is := range f.Interfaces() {
			if is.Kind == catalog.KindObjectUUID || is.Kind == catalog.KindMaybeObjectUUID {
				continue
			}
			for name := range strings.SplitSeq(is.Service, "/") { // Netlogon/AuthZ
				key := strings.ToLower(strings.TrimSpace(name))
				f.interfaces[key] = append(f.interfaces[key], is)
			}
		}
	}
	var all []catalog.Interface
	seen := map[string]bool{}
	for _, name := range slices.Concat([]string{s.ID, s.Name}, s.AlsoNamed, s.Aliases, s.SystemServices) {
		if key := strings.ToLower(name); !seen[key] {
			seen[key] = true
			all = append(all, f.interfaces[key]...)
		}
	}
	order := []catalog.Kind{catalog.KindRPC, catalog.KindDCOM, catalog.KindInternal}
	slices.SortStableFunc(all, func(a, b catalog.Interface) int {
		return cmp.Or(
			cmp.Compare(slices.Index(order, a.Kind), slices.Index(order, b.Kind)),
			cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)),
		)
	})
	return all
}

// servicesDocument is what "service -o json" prints.
type servicesDocument struct {
	Schema   string            `json:"schema"`
	Systems  []portSystem      `json:"systems"` // of --os
	Services []serviceDocument `json:"services"`
}

// serviceSchema names the form of servicesDocument. Keys may be added to it; what changes or
// goes makes another number. docs/catalog.md describes it.
const serviceSchema = "quaymaster/service/1"

// A serviceDocument is all that is known of a service.
type serviceDocument struct {
	ID              string                 `json:"id"`
	Name            string                 `json:"name"`
	AlsoNamed       []string               `json:"also_named"`
	Aliases         []string               `json:"aliases"`
	SystemServices  []string               `json:"system_services"`
	Group           string                 `json:"group"`
	Status          catalog.ServiceStatus  `json:"status"`
	Basis           catalog.Basis          `json:"basis"`
	Confidence      string                 `json:"confidence"`
	Uses            usesDocument           `json:"uses"`
	Ports           []servicePortDocument  `json:"ports"`
	Moved           []serverRange          `json:"moved"`
	Interfaces      []interfaceDocument    `json:"interfaces"`
	NamedPipes      []string               `json:"named_pipes"`
	Programs        []programDocument      `json:"programs"`
	FixedPort       *fixedPortDocument     `json:"fixed_port"`
	ProgramPins     []pinDocument          `json:"program_pins"`
	DependsOn       []string               `json:"depends_on"`
	NeedsDirectory  *dependenceDocument    `json:"needs_active_directory"`
	NeededDirectory *dependenceDocument    `json:"needed_by_active_directory"`
	OSLimits        []string               `json:"os_limits"`
	Notes           []string               `json:"notes"`
	Disagreements   []disagreementDocument `json:"disagreements"`
	Sources         []sourceDocument       `json:"sources"`
	SourcesNote     string                 `json:"sources_note"`
}

type usesDocument struct {
	RPC        bool `json:"rpc_tcp"`
	NamedPipes bool `json:"named_pipes"`
	DCOM       bool `json:"dcom"`
}

type servicePortDocument struct {
	Ports    catalog.Ports     `json:"ports"`
	Protocol catalog.Protocol  `json:"protocol"`
	App      string            `json:"app"`
	Need     catalog.Need      `json:"need"`
	Meaning  string            `json:"need_meaning"`
	Dynamic  []serverRange     `json:"dynamic"`
	Notes    []string          `json:"notes"`
	Stated   map[string]string `json:"stated"`
	OnlyIn   string            `json:"only_in"`
	When     []catalog.Term    `json:"when"`
	DCOM     bool              `json:"dcom"`
	Sources  []string          `json:"sources"`
}

type interfaceDocument struct {
	UUID       string       `json:"uuid"`
	Version    string       `json:"version"` // empty if not known
	Name       string       `json:"name"`
	Kind       catalog.Kind `json:"kind"`
	Transports []string     `json:"transports"`
	Docs       []string     `json:"docs"`
	Status     string       `json:"status"`
	Note       string       `json:"note"`
}

type programDocument struct {
	Number     uint32      `json:"number"`
	Name       string      `json:"name"`
	Versions   []uint32    `json:"versions"`
	Transports []string    `json:"transports"`
	UsualPorts portset.Set `json:"usual_ports"`
}

type dependenceDocument struct {
	Condition string `json:"condition"`
}

type disagreementDocument struct {
	Kind       catalog.DisagreementKind `json:"kind"`
	Ports      catalog.Ports            `json:"ports"`
	Protocols  []catalog.Protocol       `json:"protocols"`
	Section    string                   `json:"section_says"`
	Table      string                   `json:"table_says"`
	Suggestion string                   `json:"suggestion"`
	Sources    []string                 `json:"sources"`
}

type sourceDocument struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Title    string `json:"title"`
	Revision string `json:"revision"`
	Note     string `json:"note"`
}

// documents returns what is known of services.
func (f *serviceFacts) documents(services []*catalog.Service) servicesDocument {
	d := servicesDocument{serviceSchema, f.systemDocuments(), []serviceDocument{}}
	for _, s := range services {
		d.Services = append(d.Services, f.document(s))
	}
	return d
}

// systemDocuments returns the systems that were named.
func (f *serviceFacts) systemDocuments() []portSystem {
	all := []portSystem{}
	for _, os := range f.systems {
		all = append(all, portSystem{os.ID, os.Name, f.DynamicPorts(os).Ports, os.Confidence})
	}
	return all
}

func (f *serviceFacts) document(s *catalog.Service) serviceDocument {
	served := f.served(s)
	d := serviceDocument{
		ID: s.ID, Name: s.Name, AlsoNamed: noNil(s.AlsoNamed), Aliases: noNil(s.Aliases), SystemServices: noNil(s.SystemServices),
		Group: s.Group, Status: s.Status, Basis: s.Basis, Confidence: s.Confidence, Uses: usesDocument(s.Uses),
		Ports: []servicePortDocument{}, Moved: []serverRange{},
		Interfaces: []interfaceDocument{}, NamedPipes: noNil(namedPipes(served)), Programs: []programDocument{},
		FixedPort: f.fixedPort(s), ProgramPins: []pinDocument{},
		DependsOn:       noNil(s.DependsOn),
		NeedsDirectory:  dependence(f.Directory().RequiredBy, s.ID),
		NeededDirectory: dependence(f.Directory().DependsOn, s.ID),
		OSLimits:        noNil(s.OSLimits), Notes: noNil(s.Notes),
		Disagreements: []disagreementDocument{}, Sources: sourceDocuments(f.Catalog, s.Sources), SourcesNote: s.SourcesNote,
	}
	for i := range s.Ports {
		d.Ports = append(d.Ports, f.port(s, &s.Ports[i]))
	}
	if hasDynamicPorts(s) {
		d.Moved = noNil(f.moved)
	}
	for _, is := range served {
		d.Interfaces = append(d.Interfaces, newInterfaceDocument(&is))
	}
	for _, p := range f.programs(s) {
		d.Programs = append(d.Programs, programDocument{p.Number, p.Name, noNil(p.Versions), noNil(p.Transports), p.UsualPorts})
	}
	for _, p := range f.programPins(s) {
		d.ProgramPins = append(d.ProgramPins, newPinDocument(&p))
	}
	for _, of := range f.Disagreements(s.ID) {
		d.Disagreements = append(d.Disagreements, disagreementDocument{
			of.Kind, of.Ports, noNil(of.Protocols), of.Section, of.Table, of.Suggestion, noNil(of.Sources),
		})
	}
	return d
}

// port returns what is known of a port of s.
func (f *serviceFacts) port(s *catalog.Service, p *catalog.ServicePort) servicePortDocument {
	d := servicePortDocument{
		Ports: p.Ports, Protocol: p.Protocol, App: p.App, Need: p.Need, Meaning: f.NeedMeaning(p.Need),
		Dynamic: []serverRange{}, Notes: noNil(p.Notes), Stated: p.Stated, OnlyIn: p.OnlyIn, When: noNil(p.When), DCOM: p.DCOM, Sources: f.portSources(s, p),
	}
	if p.Ports.Symbol.IsDynamic() {
		d.Dynamic = noNil(f.ranges)
	}
	if d.Stated == nil {
		d.Stated = map[string]string{}
	}
	return d
}

// portSources returns the sources of the service that have the port.
func (f *serviceFacts) portSources(s *catalog.Service, p *catalog.ServicePort) []string {
	var ids []string
	for _, id := range s.Sources {
		if source, ok := f.Source(id); ok && p.OnlyIn != "" && strings.HasPrefix(source.Revision, p.OnlyIn) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return noNil(s.Sources)
	}
	return ids
}

// programs returns the ONC RPC programs of s.
func (f *serviceFacts) programs(s *catalog.Service) []catalog.Program {
	var all []catalog.Program
	for _, name := range s.Programs {
		if p, ok := f.ProgramByName(name); ok {
			all = append(all, p)
		}
	}
	return all
}

func newInterfaceDocument(is *catalog.Interface) interfaceDocument {
	d := interfaceDocument{
		UUID: is.UUID.String(), Version: interfaceVersion(is), Name: is.Name, Kind: is.Kind, Transports: []string{},
		Docs: noNil(is.Docs), Status: string(is.Status), Note: is.Note,
	}
	for _, t := range is.Transports {
		d.Transports = append(d.Transports, t.String())
	}
	return d
}

// dependence returns what all says of a service, nil if it is not among them.
func dependence(all []catalog.Dependence, service string) *dependenceDocument {
	for _, d := range all {
		if d.Service == service {
			return &dependenceDocument{d.Condition}
		}
	}
	return nil
}

// namedPipes returns the pipes that interfaces are called at, each once.
func namedPipes(interfaces []catalog.Interface) []string {
	var pipes []string
	for _, is := range interfaces {
		for _, t := range is.Transports {
			if t.ProtocolSequence == "ncacn_np" && t.Endpoint != "" {
				pipes = append(pipes, t.Endpoint)
			}
		}
	}
	slices.Sort(pipes)
	return slices.Compact(pipes)
}

// hasDynamicPorts reports whether s listens on ports that no file can name.
func hasDynamicPorts(s *catalog.Service) bool {
	return slices.ContainsFunc(s.Ports, func(p catalog.ServicePort) bool { return p.Ports.Symbol.IsDynamic() })
}

// hasPorts reports whether s listens on ports that a symbol stands for.
func hasPorts(s *catalog.Service, symbol catalog.Symbol) bool {
	return slices.ContainsFunc(s.Ports, func(p catalog.ServicePort) bool { return p.Ports.Symbol == symbol })
}

func sourceDocuments(c *catalog.Catalog, ids []string) []sourceDocument {
	all := []sourceDocument{}
	for _, id := range ids {
		d := sourceDocument{ID: id}
		if s, ok := c.Source(id); ok {
			d = sourceDocument{s.ID, s.Name, s.Title, s.Revision, s.Note}
		}
		all = append(all, d)
	}
	return all
}
