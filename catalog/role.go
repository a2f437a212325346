package catalog

import "slices"

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

// roleFile is all of roles.yaml.
type roleFile struct {
	Roles    []*Role         `yaml:"roles"`
	Rules    []string        `yaml:"rules"`
	Isolated IsolatedNetwork `yaml:"isolated_network"`
	Flows    []*Flow         `yaml:"flows"`
}

// Roles returns all roles in the order of the file. The slice is the caller's.
func (c *Catalog) Roles() []*Role { return slices.Clone(c.roleFile().Roles) }

// Role returns the role with the given ID, or false if there is none.
func (c *Catalog) Role(id string) (*Role, bool) {
	for _, r := range c.roleFile().Roles {
		if r.ID == id {
			return r, true
		}
	}
	return nil, false
}

// Flows returns the flows from one role to another, by their IDs, in the order of the
// file; an empty one stands for every role. Flows that hold mirrored too are found
// as the file has them: see Mirror. The slice is the caller's.
func (c *Catalog) Flows(from, to string) []*Flow {
	var found []*Flow
	for _, f := range c.roleFile().Flows {
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
