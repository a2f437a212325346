package catalog

import (
	"fmt"
	"slices"
	"strings"
)

// A Role is what a host is to others, most of them in an Active Directory domain.
type Role struct {
	ID          string   `yaml:"id"` // dc, client; unique
	Description string   `yaml:"description"`
	Aliases     []string `yaml:"aliases"` // other words for it: domain-controller; no two roles share a word
	Is          []string `yaml:"is"`      // IDs of roles that a host of this one has too: a member is a client
}

// A Flow is one connection that hosts of two roles need: an entry of roles.yaml.
type Flow struct {
	ID           string   `yaml:"id"`           // client-to-dc-01; unique
	Relationship string   `yaml:"relationship"` // what the flows between the two are for: client-to-dc, trust
	From         string   `yaml:"from"`         // ID of the role, or service, of who connects; empty: any host
	To           string   `yaml:"to"`           // ID of the role, or service, of who listens; empty: any host
	App          string   `yaml:"app"`          // what is spoken
	Protocol     Protocol `yaml:"protocol"`
	Ports        Ports    `yaml:"ports"`
	Need         Need     `yaml:"need"`       // those with one-of form a group by Relationship
	Generation   string   `yaml:"generation"` // ID of the generation of systems that have it
	Condition    string   `yaml:"condition"`  // when it is needed; empty is always
	When         []Term   `yaml:"when"`       // the same for programs, as far as a site tells: all have to hold
	DCOM         bool     `yaml:"dcom"`       // an object is activated: no address may be translated on the way
	Mirror       bool     `yaml:"mirror"`     // the same holds with the roles swapped
	Service      string   `yaml:"service"`    // ID of the service that listens, or whose protocol tells the port; empty when none is named
	Pins         []string `yaml:"pins"`       // IDs of pins that put a number in place of the dynamic range
	Sources      []string `yaml:"sources"`    // IDs of sources; never empty
	SourcesNote  string   `yaml:"sources_note"`
	Confidence   string   `yaml:"confidence"` // empty where the sources say it
}

// An IsolatedNetwork says what a network needs that reaches nothing but its domain
// controllers, each item in words such as "udp/53".
type IsolatedNetwork struct {
	MinimumForLogon []string `yaml:"minimum_for_logon"`
	OftenForgotten  []string `yaml:"often_forgotten"`
	Droppable       []string `yaml:"droppable"`
	Sources         []string `yaml:"sources"`
}

const roleFileName = "roles.yaml"

// roleFile is all of roles.yaml.
type roleFile struct {
	Roles         []Role          `yaml:"roles"`
	Rules         []string        `yaml:"rules"`
	Isolated      IsolatedNetwork `yaml:"isolated_network"`
	Relationships []Relationship  `yaml:"relationships"`
	Flows         []Flow          `yaml:"flows"`
}

// Roles returns all roles in the order of the file. The slice is the caller's.
func (c *Catalog) Roles() []*Role { return pointers(c.roleFile().Roles) }

// Role returns the role with the given ID, or false if there is none.
func (c *Catalog) Role(id string) (*Role, bool) {
	return find(c.roleFile().Roles, func(r *Role) bool { return r.ID == id })
}

// RoleByName returns the role with the given ID or alias, in upper or lower case, or false
// if there is none.
func (c *Catalog) RoleByName(name string) (*Role, bool) {
	name = strings.ToLower(name)
	return find(c.roleFile().Roles, func(r *Role) bool { return r.ID == name || slices.Contains(r.Aliases, name) })
}

// Flows returns the flows from one role to another, by their IDs, in the order of the
// file; an empty one stands for every role. Flows that hold mirrored too are found
// as the file has them: see Mirror. The slice is the caller's.
func (c *Catalog) Flows(from, to string) []*Flow {
	var found []*Flow
	for _, f := range pointers(c.roleFile().Flows) {
		if (from == "" || f.From == from) && (to == "" || f.To == to) {
			found = append(found, f)
		}
	}
	return found
}

// FlowRules returns what holds for all flows, in sentences. The slice is the
// caller's.
func (c *Catalog) FlowRules() []string { return slices.Clone(c.roleFile().Rules) }

// IsolatedNetwork returns what an isolated network needs. It belongs to the catalog.
func (c *Catalog) IsolatedNetwork() *IsolatedNetwork { return &c.roleFile().Isolated }

func (c *Catalog) roleFile() *roleFile {
	if c.roles == nil {
		return &roleFile{}
	}
	return c.roles()
}

// A roleLayer is roles.yaml as it was read, before it is known whether what it refers to is there.
type roleLayer struct {
	file   *roleFile
	report *report
}

// readRoles reads roles.yaml, and notes which roles there are: services refer to them, as it does to
// services.
func (b *build) readRoles() (*roleLayer, error) {
	f, at, err := readYAML[roleFile](b.layer, roleFileName)
	if err != nil {
		return nil, err
	}
	below, r := b.below.roleFile(), &report{at: at}
	b.roleIDs = idsOf(r, "roles", "role", slices.Concat(below.Roles, f.Roles), f.Roles, func(role *Role) string { return role.ID })
	return &roleLayer{f, r}, nil
}

// checkRoles returns the roles, relationships and flows of all layers.
func (b *build) checkRoles(l *roleLayer) (*roleFile, error) {
	below, f, r := b.below.roleFile(), l.file, l.report
	m := &roleFile{
		Roles:         merge(b, "role", below.Roles, f.Roles, func(role *Role) string { return role.ID }, r.placeIn("roles")),
		Rules:         slices.Concat(below.Rules, f.Rules),
		Isolated:      below.Isolated,
		Relationships: merge(b, "relationship", below.Relationships, f.Relationships, func(rel *Relationship) string { return rel.ID }, r.placeIn("relationships")),
		Flows:         merge(b, "flow", below.Flows, f.Flows, func(flow *Flow) string { return flow.ID }, r.placeIn("flows")),
	}
	if r.at.Has("$.isolated_network") {
		m.Isolated = f.Isolated
		b.replaces("isolated_network", r.place("$.isolated_network"))
		r.sources("$.isolated_network", b.sourceIDs, f.Isolated.Sources)
	}
	f.check(r, m, b)
	return m, r.err()
}

// check notes what is wrong with f, of which m is made.
func (f *roleFile) check(r *report, m *roleFile, b *build) {
	ends := b.endIDs()
	relationships := idsOf(r, "relationships", "relationship", m.Relationships, f.Relationships, func(rel *Relationship) string { return rel.ID })
	idsOf(r, "flows", "flow", m.Flows, f.Flows, func(flow *Flow) string { return flow.ID })
	checkNames(r, "roles", "role", m.Roles, f.Roles, func(role *Role) (string, []string) { return role.ID, append([]string{role.ID}, role.Aliases...) })
	for i, role := range f.Roles {
		path := fmt.Sprintf("$.roles[%d]", i)
		if role.Description == "" {
			r.mistake(path, "%s: every role has a description", role.ID)
		}
		for j, alias := range role.Aliases {
			if !isID.MatchString(alias) {
				r.mistake(fmt.Sprintf("%s.aliases[%d]", path, j), "alias %q: want a word such as domain-controller: lower case, digits, '-'", alias)
			}
		}
		r.refer(path+".is", b.roleIDs, role.Is...)
		if m.isItself(role.ID) {
			r.mistake(path+".is", "%s: is itself, by what it is: take one of the two out", role.ID)
		}
	}
	f.checkRelationships(r, m, b, ends)
	for i, flow := range f.Flows {
		path := fmt.Sprintf("$.flows[%d]", i)
		r.sources(path, b.sourceIDs, flow.Sources)
		r.referOne(path+".relationship", relationships, flow.Relationship)
		r.referOne(path+".from", ends, flow.From)
		r.referOne(path+".to", ends, flow.To)
		r.referOne(path+".generation", b.generationIDs, flow.Generation)
		r.referOne(path+".service", b.serviceIDs, flow.Service)
		r.refer(path+".pins", b.pinIDs, flow.Pins...)
		r.terms(path+".when", b, ends, flow.When)
		if flow.Relationship == "" || flow.From == "" && flow.To == "" || flow.App == "" || flow.Generation == "" {
			r.mistake(path, "%s: every flow has relationship, app, generation, and from or to or both", flow.ID)
		}
		checkWord(r, path+".need", "need", flow.Need, needs...)
		r.ports(path, flow.Protocol, flow.Ports)
	}
}

// isItself reports whether a role is among those that a host of it has too.
func (f *roleFile) isItself(id string) bool {
	is := map[string][]string{}
	for _, role := range f.Roles {
		is[role.ID] = role.Is
	}
	seen := map[string]bool{}
	for next := is[id]; len(next) > 0; {
		role := next[0]
		next = next[1:]
		if role == id {
			return true
		}
		if !seen[role] {
			seen[role] = true
			next = append(slices.Clone(next), is[role]...)
		}
	}
	return false
}
