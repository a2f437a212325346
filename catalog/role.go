package catalog

import (
	"fmt"
	"slices"
)

// A Role is what a host is to others in an Active Directory domain.
type Role struct {
	ID          string `yaml:"id"` // dc, client; unique
	Description string `yaml:"description"`
}

// A Flow is one connection that hosts of two roles need: an entry of roles.yaml.
type Flow struct {
	ID           string   `yaml:"id"`           // client-to-dc-01; unique
	Relationship string   `yaml:"relationship"` // what the flows between the two are for: client-to-dc, trust
	From         string   `yaml:"from"`         // ID of the role that connects
	To           string   `yaml:"to"`           // ID of the role that listens
	App          string   `yaml:"app"`          // what is spoken
	Protocol     Protocol `yaml:"protocol"`
	Ports        Ports    `yaml:"ports"`
	Need         Need     `yaml:"need"`       // those with one-of form a group by Relationship
	Generation   string   `yaml:"generation"` // ID of the generation of systems that have it
	Condition    string   `yaml:"condition"`  // when it is needed; empty is always
	Mirror       bool     `yaml:"mirror"`     // the same holds with the roles swapped
	Service      string   `yaml:"service"`    // ID of the service that listens; empty when none is named
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
	Roles    []Role          `yaml:"roles"`
	Rules    []string        `yaml:"rules"`
	Isolated IsolatedNetwork `yaml:"isolated_network"`
	Flows    []Flow          `yaml:"flows"`
}

// Roles returns all roles in the order of the file. The slice is the caller's.
func (c *Catalog) Roles() []*Role { return pointers(c.roleFile().Roles) }

// Role returns the role with the given ID, or false if there is none.
func (c *Catalog) Role(id string) (*Role, bool) {
	return find(c.roleFile().Roles, func(r *Role) bool { return r.ID == id })
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

// readRoles reads roles.yaml, and returns the roles and flows of all layers.
func (b *build) readRoles() (*roleFile, error) {
	f, at, err := readYAML[roleFile](b.layer, roleFileName)
	if err != nil {
		return nil, err
	}
	below, r := b.below.roleFile(), &report{at: at}
	m := &roleFile{
		Roles:    merge(b, "role", below.Roles, f.Roles, func(role *Role) string { return role.ID }, r.placeIn("roles")),
		Rules:    slices.Concat(below.Rules, f.Rules),
		Isolated: below.Isolated,
		Flows:    merge(b, "flow", below.Flows, f.Flows, func(flow *Flow) string { return flow.ID }, r.placeIn("flows")),
	}
	if at.Has("$.isolated_network") {
		m.Isolated = f.Isolated
		b.replaces("isolated_network", r.place("$.isolated_network"))
		r.sources("$.isolated_network", b.sourceIDs, f.Isolated.Sources)
	}
	f.check(r, m, b)
	return m, r.err()
}

// check notes what is wrong with f, of which m is made.
func (f *roleFile) check(r *report, m *roleFile, b *build) {
	roles := idsOf(r, "roles", "role", m.Roles, f.Roles, func(role *Role) string { return role.ID })
	idsOf(r, "flows", "flow", m.Flows, f.Flows, func(flow *Flow) string { return flow.ID })
	for i, role := range f.Roles {
		path := fmt.Sprintf("$.roles[%d]", i)
		if role.Description == "" {
			r.mistake(path, "%s: every role has a description", role.ID)
		}
	}
	for i, flow := range f.Flows {
		path := fmt.Sprintf("$.flows[%d]", i)
		r.sources(path, b.sourceIDs, flow.Sources)
		r.referOne(path+".from", roles, flow.From)
		r.referOne(path+".to", roles, flow.To)
		r.referOne(path+".generation", b.generationIDs, flow.Generation)
		r.referOne(path+".service", b.serviceIDs, flow.Service)
		r.refer(path+".pins", b.pinIDs, flow.Pins...)
		if flow.Relationship == "" || flow.From == "" || flow.To == "" || flow.App == "" || flow.Generation == "" {
			r.mistake(path, "%s: every flow has relationship, from, to, app and generation", flow.ID)
		}
		checkWord(r, path+".need", "need", flow.Need, needs...)
		r.ports(path, flow.Protocol, flow.Ports)
	}
}
