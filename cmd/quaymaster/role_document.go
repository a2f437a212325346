package main

import (
	"cmp"
	"slices"

	"github.com/quaymaster/quaymaster/catalog"
)

// roleFacts is where facts about roles are looked up.
type roleFacts struct {
	*serviceFacts
	from, to *catalog.Role // nil: whoever connects to a role, and whatever it connects to
}

// A roleFlow is a flow as it goes for one of its two roles.
type roleFlow struct {
	*catalog.Flow
	from, to string // IDs of roles; those of Flow, or the two swapped; empty: any host
}

// roleName returns what people call a role at an end of a flow.
func roleName(id string) string { return cmp.Or(id, "any host") }

// listens returns who connects to a role, and where.
func (f *roleFacts) listens(role string) []roleFlow {
	if f.from == nil && f.to != nil {
		return nil
	}
	return f.flows(func(from, to string) bool { return to == role && (f.from == nil || from == f.from.ID) })
}

// connects returns where a role connects to.
func (f *roleFacts) connects(role string) []roleFlow {
	if f.to == nil && f.from != nil {
		return nil
	}
	return f.flows(func(from, to string) bool { return from == role && (f.to == nil || to == f.to.ID) })
}

// flows returns the flows between roles that are wanted, each once, without those that
// systems that listen do not have.
func (f *roleFacts) flows(wanted func(from, to string) bool) []roleFlow {
	var all []roleFlow
	for _, flow := range f.Flows("", "") {
		if !f.hasGeneration(flow.Generation) {
			continue
		}
		switch {
		case wanted(flow.From, flow.To):
			all = append(all, roleFlow{flow, flow.From, flow.To})
		case flow.Mirror && wanted(flow.To, flow.From):
			all = append(all, roleFlow{flow, flow.To, flow.From})
		}
	}
	return all
}

// hasGeneration reports whether one of the systems that were named may be of a generation.
func (f *roleFacts) hasGeneration(id string) bool {
	if len(f.systems) == 0 {
		return true
	}
	for _, g := range f.Generations() {
		if g.ID == id && g.DynamicRPC.IsEmpty() { // of all generations
			return true
		}
	}
	return id == "" || slices.ContainsFunc(f.systems, func(os *catalog.OS) bool { return os.Generation == id })
}

// rolesDocument is what "role -o json" prints.
type rolesDocument struct {
	Schema  string         `json:"schema"`
	Systems []portSystem   `json:"systems"` // of --os
	Rules   []string       `json:"rules"`
	Moved   []serverRange  `json:"moved"`
	Roles   []roleDocument `json:"roles"`
}

// roleSchema names the form of rolesDocument. Keys may be added to it; what changes or goes
// makes another number. docs/catalog.md describes it.
const roleSchema = "quaymaster/role/1"

// A roleDocument is all that is known of a role.
type roleDocument struct {
	ID          string         `json:"id"`
	Description string         `json:"description"`
	Aliases     []string       `json:"aliases"`
	Is          []string       `json:"is"` // IDs of roles that a host of it has too
	Listens     []flowDocument `json:"listens"`
	Connects    []flowDocument `json:"connects"`
}

type flowDocument struct {
	ID           string           `json:"id"`
	Relationship string           `json:"relationship"`
	From         string           `json:"from"`
	To           string           `json:"to"`
	Ports        catalog.Ports    `json:"ports"`
	Protocol     catalog.Protocol `json:"protocol"`
	App          string           `json:"app"`
	Service      string           `json:"service"`
	Need         catalog.Need     `json:"need"`
	Meaning      string           `json:"need_meaning"`
	Condition    string           `json:"condition"`
	When         []catalog.Term   `json:"when"`
	DCOM         bool             `json:"dcom"`
	Generation   string           `json:"generation"`
	Dynamic      []serverRange    `json:"dynamic"`
	Mirror       bool             `json:"mirror"`
	Pins         []string         `json:"pins"`
	Sources      []string         `json:"sources"`
	SourcesNote  string           `json:"sources_note"`
	Confidence   string           `json:"confidence"`
}

// documents returns what is known of roles.
func (f *roleFacts) documents(roles []*catalog.Role) rolesDocument {
	d := rolesDocument{roleSchema, f.systemDocuments(), noNil(f.FlowRules()), noNil(f.moved), []roleDocument{}}
	for _, r := range roles {
		d.Roles = append(d.Roles, roleDocument{r.ID, r.Description, noNil(r.Aliases), noNil(r.Is), f.flowDocuments(f.listens(r.ID)), f.flowDocuments(f.connects(r.ID))})
	}
	return d
}

func (f *roleFacts) flowDocuments(flows []roleFlow) []flowDocument {
	all := []flowDocument{}
	for _, flow := range flows {
		d := flowDocument{
			ID: flow.ID, Relationship: flow.Relationship, From: flow.from, To: flow.to,
			Ports: flow.Ports, Protocol: flow.Protocol, App: flow.App, Service: flow.Service,
			Need: flow.Need, Meaning: f.NeedMeaning(flow.Need), Condition: flow.Condition, When: noNil(flow.When), DCOM: flow.DCOM,
			Generation: flow.Generation, Dynamic: []serverRange{},
			Mirror: flow.Mirror, Pins: noNil(flow.Pins), Sources: noNil(flow.Sources), SourcesNote: flow.SourcesNote, Confidence: flow.Confidence,
		}
		if flow.Ports.Symbol.IsDynamic() {
			d.Dynamic = noNil(f.rangesOf(flow.Generation))
		}
		all = append(all, d)
	}
	return all
}

// rangesOf returns the dynamic ports of those servers that are of a generation.
func (f *roleFacts) rangesOf(generation string) []serverRange {
	systems := slices.DeleteFunc(slices.Clone(f.systems), func(os *catalog.OS) bool { return os.Generation != generation })
	if len(systems) > 0 {
		return serverRanges(f.Catalog, systems)
	}
	if len(f.systems) == 0 {
		for _, g := range f.Generations() {
			if g.ID == generation && !g.DynamicRPC.IsEmpty() {
				return []serverRange{{Ports: g.DynamicRPC, Of: g.Description}}
			}
		}
	}
	return f.ranges
}
