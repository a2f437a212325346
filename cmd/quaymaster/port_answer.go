package main

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/portset"
)

// portSchema names the form of portDocument. Keys may be added to it; what changes or goes makes
// another number. docs/catalog.md describes it.
const portSchema = "quaymaster/port/1"

// A portDocument is the answer to what some ports are. Lists are never null.
type portDocument struct {
	Schema  string           `json:"schema"`
	Systems []portSystem     `json:"systems"` // of --os
	Ports   []portAnswer     `json:"ports"`
	Sources []sourceDocument `json:"sources"` // of all, as far as the catalog has a title for them
}

// A portSystem is a system that was asked about.
type portSystem struct {
	ID           string      `json:"id"`
	Name         string      `json:"name"`
	DynamicPorts portset.Set `json:"dynamic_ports"`
	Confidence   string      `json:"confidence"`
}

// A portAnswer is what is known of one number.
type portAnswer struct {
	Port       uint16            `json:"port"`
	Note       string            `json:"note"`
	Transports []transportAnswer `json:"transports"`
	Pins       []pinAnswer       `json:"pins"`    // of which nobody says the transport
	Dynamic    []dynamicAnswer   `json:"dynamic"` // ranges that have it, of the systems if there are any
}

// A transportAnswer is what is known of one number on one transport.
type transportAnswer struct {
	Transport     string               `json:"transport"`
	Uses          []useAnswer          `json:"uses"`
	Flows         []flowAnswer         `json:"flows"`
	Programs      []programAnswer      `json:"programs"`
	Interfaces    []interfaceAnswer    `json:"interfaces"`
	Activations   int                  `json:"activations"` // how many interfaces of DCOM are activated there
	Table         []tableAnswer        `json:"table"`
	Disagreements []disagreementAnswer `json:"disagreements"`
}

// A useAnswer is a service that has the port.
type useAnswer struct {
	Service        string    `json:"service"` // its ID
	Name           string    `json:"name"`
	SystemServices []string  `json:"system_services"`
	Status         string    `json:"status"`
	App            string    `json:"app"`
	Ports          string    `json:"ports"` // all of the row
	Wide           bool      `json:"wide"`  // the port is one of many that the row may mean
	Need           string    `json:"need"`
	NeedMeaning    string    `json:"need_meaning"`
	Notes          []string  `json:"notes"`
	Limits         []string  `json:"os_limits"` // those of the service that speak of the port
	OnlyIn         string    `json:"only_in"`
	Encrypted      []portRef `json:"encrypted"` // the same service with TLS
	Plain          []portRef `json:"plain"`     // the same service without
	Basis          string    `json:"basis"`
	Sources        []string  `json:"sources"`
	SourcesNote    string    `json:"sources_note"`
	Confidence     string    `json:"confidence"`
}

// A portRef names another row of the same service.
type portRef struct {
	Ports     string `json:"ports"`
	Transport string `json:"transport"`
	App       string `json:"app"`
}

type flowAnswer struct {
	ID          string   `json:"id"`
	From        string   `json:"from"`
	To          string   `json:"to"`
	Mirror      bool     `json:"mirror"`
	App         string   `json:"app"`
	Need        string   `json:"need"`
	Condition   string   `json:"condition"`
	Generation  string   `json:"generation"`
	Service     string   `json:"service"`
	Sources     []string `json:"sources"`
	SourcesNote string   `json:"sources_note"`
	Confidence  string   `json:"confidence"`
}

type programAnswer struct {
	Program uint32   `json:"program"`
	Name    string   `json:"name"`
	Note    string   `json:"note"`
	Sources []string `json:"sources"`
}

type interfaceAnswer struct {
	UUID      string   `json:"uuid"`
	Version   string   `json:"version"` // empty when it is not known
	Name      string   `json:"name"`
	Service   string   `json:"service"`
	Transport string   `json:"transport"`
	Sources   []string `json:"sources"`
	Status    string   `json:"status"`
}

type pinAnswer struct {
	ID         string   `json:"id"`
	Service    string   `json:"service"`
	Method     string   `json:"method"`
	How        string   `json:"how"`
	Usual      string   `json:"usual_basis"`
	OS         string   `json:"os"`
	Sources    []string `json:"sources"`
	Confidence string   `json:"confidence"`
}

type tableAnswer struct {
	Seq       uint32   `json:"seq"`
	Printed   string   `json:"printed_service"`
	App       string   `json:"app"`
	Service   string   `json:"service"`
	InSection string   `json:"in_section"`
	Remark    string   `json:"remark"`
	Sources   []string `json:"sources"`
}

type disagreementAnswer struct {
	Kind       string   `json:"kind"`
	Services   []string `json:"services"`
	Section    string   `json:"section"`
	Table      string   `json:"table"`
	Suggestion string   `json:"suggestion"`
	Sources    []string `json:"sources"`
}

// A dynamicAnswer is a range of dynamic ports.
type dynamicAnswer struct {
	ID         string      `json:"id"`
	Ports      portset.Set `json:"ports"`
	OS         string      `json:"os"`
	System     string      `json:"system"`  // name of one that was asked about, which has the range
	Product    string      `json:"product"` // what moves the range there
	Sources    []string    `json:"sources"`
	Confidence string      `json:"confidence"`
}

// hasOwn reports whether something has this port as its own.
func (t *transportAnswer) hasOwn() bool {
	return slices.ContainsFunc(t.Uses, func(u useAnswer) bool { return !u.Wide }) ||
		len(t.Flows) > 0 || len(t.Programs) > 0 || len(t.Interfaces) > 0 || t.Activations > 0
}

// dropMany removes what is one of many ports, and ports and transports that are nothing else.
func (d *portDocument) dropMany() {
	for i := range d.Ports {
		p := &d.Ports[i]
		p.Dynamic = []dynamicAnswer{}
		p.Transports = slices.DeleteFunc(p.Transports, func(t transportAnswer) bool { return !t.hasOwn() })
		for j := range p.Transports {
			t := &p.Transports[j]
			t.Uses = slices.DeleteFunc(t.Uses, func(u useAnswer) bool { return u.Wide })
		}
	}
	d.Ports = slices.DeleteFunc(d.Ports, func(p portAnswer) bool { return len(p.Pins)+len(p.Transports) == 0 })
}

// cite fills in the sources of d from the catalog.
func (d *portDocument) cite(c *catalog.Catalog) {
	seen := map[string]bool{}
	var known []string
	for i := range d.Ports {
		for _, id := range d.Ports[i].allSources() {
			if _, ok := c.Source(id); ok && !seen[id] {
				known = append(known, id)
			}
			seen[id] = true
		}
	}
	d.Sources = sourceDocuments(c, known)
}

// allSources returns the IDs of the sources of all that p says, some more than once.
func (p *portAnswer) allSources() []string {
	var ids []string
	for i := range p.Transports {
		t := &p.Transports[i]
		ids = append(ids, t.sources()...)
		for _, u := range t.Uses {
			ids = append(ids, u.Sources...)
		}
		for _, r := range t.Table {
			ids = append(ids, r.Sources...)
		}
		for _, d := range t.Disagreements {
			ids = append(ids, d.Sources...)
		}
	}
	for _, pin := range p.Pins {
		ids = append(ids, pin.Sources...)
	}
	for _, r := range p.Dynamic {
		ids = append(ids, r.Sources...)
	}
	return ids
}

// sources returns the IDs of the sources of what has the port as its own.
func (t *transportAnswer) sources() []string {
	var ids []string
	for _, u := range t.Uses {
		if !u.Wide {
			ids = append(ids, u.Sources...)
		}
	}
	for _, f := range t.Flows {
		ids = append(ids, f.Sources...)
	}
	for _, p := range t.Programs {
		ids = append(ids, p.Sources...)
	}
	for _, i := range t.Interfaces {
		ids = append(ids, i.Sources...)
	}
	return unique(ids)
}

// unique returns items in their order, each once.
func unique(items []string) []string {
	var all []string
	for _, item := range items {
		if !slices.Contains(all, item) {
			all = append(all, item)
		}
	}
	return all
}

// A portLookup answers what ports are, from one catalog.
type portLookup struct {
	c           *catalog.Catalog
	systems     []*catalog.OS
	programs    []catalog.Program // with usual ports
	pins        []catalog.Pin     // the same
	interfaces  map[transportPort][]interfaceAnswer
	activations map[transportPort]int
}

func newPortLookup(c *catalog.Catalog, systems []*catalog.OS) *portLookup {
	l := &portLookup{c: c, systems: systems, interfaces: map[transportPort][]interfaceAnswer{}, activations: map[transportPort]int{}}
	for p := range c.Programs() {
		if !p.UsualPorts.IsEmpty() {
			l.programs = append(l.programs, p)
		}
	}
	for p := range c.Pins() {
		if !p.UsualPorts.IsEmpty() {
			l.pins = append(l.pins, p)
		}
	}
	for i := range c.Interfaces() {
		l.addInterface(&i)
	}
	return l
}

func (l *portLookup) addInterface(i *catalog.Interface) {
	for _, t := range i.Transports {
		at := transportPort{"tcp", t.Port()}
		if t.ProtocolSequence == "ncadg_ip_udp" {
			at.transport = "udp"
		}
		switch {
		case at.port == 0:
		case t.Kind == catalog.EndpointActivation:
			l.activations[at]++
		case t.Kind == catalog.EndpointWellKnown:
			a := interfaceAnswer{i.UUID.String(), "", i.Name, i.Service, t.String(), noNil(i.Sources), string(i.Status)}
			if !i.VersionUnknown {
				a.Version = strconv.Itoa(int(i.Major)) + "." + strconv.Itoa(int(i.Minor))
			}
			l.interfaces[at] = append(l.interfaces[at], a)
		}
	}
}

// noNil returns s, or a list without items where it is nil.
func noNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// widest is the longest range of which a port is said to be a service's own. One that is longer says
// where something may be, not what a port is for.
const widest = 1000

// isWide reports whether ports has port in a range that is too long to say much of it.
func isWide(ports portset.Set, port uint16) bool {
	for r := range ports.Ranges() {
		if r.First <= port && port <= r.Last {
			return r.Len() > widest
		}
	}
	return false
}

// known returns all ports that something has as its own.
func (l *portLookup) known() portset.Set {
	var all []portset.Range
	add := func(ports portset.Set) {
		for r := range ports.Ranges() {
			if r.Len() <= widest {
				all = append(all, r)
			}
		}
	}
	for _, s := range l.c.Services() {
		for i := range s.Ports {
			if s.Ports[i].Protocol.HasPorts() {
				add(s.Ports[i].Ports.Numbers)
			}
		}
	}
	for _, f := range l.c.Flows("", "") {
		add(f.Ports.Numbers)
	}
	for i := range l.programs {
		add(l.programs[i].UsualPorts)
	}
	for i := range l.pins {
		add(l.pins[i].UsualPorts)
	}
	for at := range l.interfaces {
		all = append(all, portset.Range{First: at.port, Last: at.port})
	}
	for at := range l.activations {
		all = append(all, portset.Range{First: at.port, Last: at.port})
	}
	return portset.Of(all...)
}

func (l *portLookup) answer(questions []portQuestion) *portDocument {
	d := &portDocument{Schema: portSchema, Systems: []portSystem{}, Ports: []portAnswer{}}
	for _, os := range l.systems {
		d.Systems = append(d.Systems, portSystem{os.ID, os.Name, l.c.DynamicPorts(os).Ports, os.Confidence})
	}
	for _, q := range questions {
		d.Ports = append(d.Ports, l.port(q))
	}
	d.cite(l.c)
	return d
}

func (l *portLookup) port(q portQuestion) portAnswer {
	a := portAnswer{Port: q.port, Transports: []transportAnswer{}, Pins: []pinAnswer{}}
	if q.port == 0 {
		a.Note = "no port that anything can be reached at: a server that asks for 0 is given a free one, and where RPC tells 0 it knows of none"
	}
	var ranges []*catalog.DynamicRange
	for _, transport := range q.transports() {
		protocol := catalog.TCP
		if transport == "udp" {
			protocol = catalog.UDP
		}
		facts := l.c.PortsAt(q.port, protocol)
		a.Transports = append(a.Transports, l.transport(transportPort{transport, q.port}, protocol, &facts))
		for _, r := range facts.Ranges {
			if !slices.Contains(ranges, r) {
				ranges = append(ranges, r)
			}
		}
	}
	for i := range l.pins {
		if p := &l.pins[i]; p.UsualPorts.Contains(q.port) {
			a.Pins = append(a.Pins, pinAnswer{p.ID, p.Service, p.Method, pinHow(p), p.UsualBasis, p.OS, noNil(p.Sources), p.Confidence})
		}
	}
	a.Dynamic = l.dynamic(q.port, ranges)
	return a
}

func (l *portLookup) transport(at transportPort, protocol catalog.Protocol, facts *catalog.PortFacts) transportAnswer {
	t := transportAnswer{
		Transport: at.transport, Uses: l.uses(at.port, facts), Flows: l.flows(facts.Flows), Programs: []programAnswer{},
		Interfaces: noNil(l.interfaces[at]), Activations: l.activations[at], Table: []tableAnswer{}, Disagreements: []disagreementAnswer{},
	}
	for i := range l.programs {
		p := &l.programs[i]
		if p.UsualPorts.Contains(at.port) && (len(p.Transports) == 0 || slices.Contains(p.Transports, at.transport)) {
			t.Programs = append(t.Programs, programAnswer{p.Number, p.Name, p.Note, noNil(p.Sources)})
		}
	}
	for _, r := range facts.Rows {
		if !isWide(r.Ports.Numbers, at.port) {
			t.Table = append(t.Table, tableAnswer{r.Seq, r.PrintedService, r.App, r.Service, string(r.InSection), r.Remark, noNil(r.Sources)})
		}
	}
	for _, d := range facts.Disagreements {
		if !isWide(d.Ports.Numbers, at.port) && (len(d.Protocols) == 0 || slices.Contains(d.Protocols, protocol)) {
			t.Disagreements = append(t.Disagreements, disagreementAnswer{string(d.Kind), noNil(d.Services), d.Section, d.Table, d.Suggestion, noNil(d.Sources)})
		}
	}
	return t
}

// uses returns the services of facts, those first that are most likely to be met.
func (l *portLookup) uses(port uint16, facts *catalog.PortFacts) []useAnswer {
	uses := []useAnswer{}
	for _, u := range facts.Uses {
		s, p := u.Service, u.Port
		encrypted, plain := twins(s, p)
		uses = append(uses, useAnswer{
			Service: s.ID, Name: s.Name, SystemServices: noNil(s.SystemServices), Status: string(s.Status),
			App: p.App, Ports: p.Ports.String(), Wide: isWide(p.Ports.Numbers, port),
			Need: string(p.Need), NeedMeaning: l.c.NeedMeaning(p.Need), Notes: noNil(p.Notes), Limits: limitsOf(s, port),
			OnlyIn: p.OnlyIn, Encrypted: encrypted, Plain: plain,
			Basis: string(s.Basis), Sources: noNil(s.Sources), SourcesNote: s.SourcesNote, Confidence: s.Confidence,
		})
	}
	named := map[string]int{} // how often a service is what flows to the port are for
	for _, f := range facts.Flows {
		named[f.Service]++
	}
	later := func(u *useAnswer) int {
		rank := 0
		for _, doubtful := range []bool{u.Wide, u.Status != string(catalog.ServiceCurrent), u.Need == string(catalog.LegacyNeed)} {
			rank *= 2
			if doubtful {
				rank++
			}
		}
		return rank
	}
	slices.SortStableFunc(uses, func(a, b useAnswer) int {
		return cmp.Or(cmp.Compare(later(&a), later(&b)), cmp.Compare(named[b.Service], named[a.Service]), cmp.Compare(len(doubt(a.Confidence)), len(doubt(b.Confidence))))
	})
	return uses
}

// limitsOf returns the limits of s that speak of the port.
func limitsOf(s *catalog.Service, port uint16) []string {
	limits := []string{}
	number := strconv.Itoa(int(port))
	for _, sentence := range s.OSLimits {
		if slices.Contains(strings.FieldsFunc(sentence, func(r rune) bool { return r < '0' || r > '9' }), number) {
			limits = append(limits, sentence)
		}
	}
	return limits
}

// twins returns the rows of s that are p with TLS, or without. What an application is called
// tells: "LDAP" and "LDAP over TLS", "Replica over HTTP (Kerberos)" and "Replica over HTTPS (certificate)".
func twins(s *catalog.Service, p *catalog.ServicePort) (encrypted, plain []portRef) {
	encrypted, plain = []portRef{}, []portRef{}
	exact := func(q *catalog.ServicePort) bool { return plainApp(q.App) == plainApp(p.App) }
	nearly := func(q *catalog.ServicePort) bool {
		return bracketed.ReplaceAllString(plainApp(q.App), "") == bracketed.ReplaceAllString(plainApp(p.App), "")
	}
	for _, same := range []func(*catalog.ServicePort) bool{exact, nearly} {
		for i := range s.Ports {
			q := &s.Ports[i]
			if q.Protocol != p.Protocol || isEncrypted(q.App) == isEncrypted(p.App) || !same(q) {
				continue
			}
			if ref := (portRef{q.Ports.String(), q.Protocol.String(), q.App}); isEncrypted(q.App) {
				encrypted = append(encrypted, ref)
			} else {
				plain = append(plain, ref)
			}
		}
		if len(encrypted)+len(plain) > 0 {
			break
		}
	}
	return encrypted, plain
}

var (
	bracketed = regexp.MustCompile(` *\(.*\)`)
	withTLS   = regexp.MustCompile(`(?i) over (TLS|SSL)\b`)
	withHTTPS = regexp.MustCompile(`\bHTTPS\b`)
)

func isEncrypted(app string) bool { return plainApp(app) != app }

// plainApp returns what an application is called without TLS.
func plainApp(app string) string {
	return withHTTPS.ReplaceAllString(withTLS.ReplaceAllString(app, ""), "HTTP")
}

// flows returns what hosts of the domain need, without what servers of the systems do not have.
func (l *portLookup) flows(all []*catalog.Flow) []flowAnswer {
	flows := []flowAnswer{}
	for _, f := range all {
		if !l.hasGeneration(f.Generation) {
			continue
		}
		flows = append(flows, flowAnswer{
			ID: f.ID, From: f.From, To: f.To, Mirror: f.Mirror, App: f.App, Need: string(f.Need), Condition: f.Condition,
			Generation: f.Generation, Service: f.Service, Sources: noNil(f.Sources), SourcesNote: f.SourcesNote, Confidence: f.Confidence,
		})
	}
	return flows
}

// hasGeneration reports whether one of the systems is of the generation, or all are meant.
func (l *portLookup) hasGeneration(id string) bool {
	return len(l.systems) == 0 || l.ofAll(id) || slices.ContainsFunc(l.systems, func(os *catalog.OS) bool { return os.Generation == id })
}

// ofAll reports whether a generation, by its ID, stands for all of them.
func (l *portLookup) ofAll(id string) bool {
	return !slices.ContainsFunc(l.c.Generations(), func(g *catalog.Generation) bool { return g.ID == id && !g.DynamicRPC.IsEmpty() })
}

// dynamic returns the ranges of dynamic ports that have the port, of the systems if there are any.
func (l *portLookup) dynamic(port uint16, ranges []*catalog.DynamicRange) []dynamicAnswer {
	found := []dynamicAnswer{}
	add := func(r *catalog.DynamicRange, system *catalog.OS) {
		a := dynamicAnswer{r.ID, r.Ports, r.OS, "", r.Product, noNil(r.Sources), r.Confidence}
		if system != nil {
			a.System, a.Confidence = system.Name, cmp.Or(r.Confidence, system.Confidence)
		}
		found = append(found, a)
	}
	if len(l.systems) == 0 {
		for _, r := range ranges {
			if r.Generation == "" || !l.ofAll(r.Generation) { // or it is two that are told anyway
				add(r, nil)
			}
		}
		return found
	}
	for _, system := range l.systems {
		d := l.c.DynamicPorts(system)
		for _, r := range slices.Concat(d.Ranges, d.Variants) {
			if r.Ports.Contains(port) {
				add(r, system)
			}
		}
	}
	return found
}
