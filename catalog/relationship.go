package catalog

import (
	"fmt"
	"slices"
	"strings"
)

// A Relationship is what hosts are to each other that connect: an entry of relationships in
// roles.yaml. Its rows are the flows that name it, or the ports of a service.
//
// Each service is the relationship of its ID too, between everybody and those who serve it, with the
// scope used, unless an entry of that ID says otherwise.
type Relationship struct {
	ID          string   `yaml:"id"`          // client-to-dc, as flows have it; unique
	Description string   `yaml:"description"` // "a member and the domain controllers of its domain"
	Scopes      []Scope  `yaml:"scopes"`      // between which hosts it holds: one is enough; never empty
	Service     string   `yaml:"service"`     // ID of the service whose ports are its rows; empty: it has flows
	Unfiltered  bool     `yaml:"unfiltered"`  // the vendor wants nothing filtered between the two: it has no rows
	From        []string `yaml:"from"`        // IDs of roles and services, one of which who connects has; empty: any host, or who each flow says
	To          []string `yaml:"to"`          // the same of who listens; of flows each says
	Mirror      bool     `yaml:"mirror"`      // the same holds with the two swapped
	Sources     []string `yaml:"sources"`     // IDs of sources; where it is unfiltered never empty
}

// A Scope says between which hosts of a site a relationship holds.
type Scope string

// Scopes.
const (
	ScopeDomain Scope = "domain"  // of one domain
	ScopeForest Scope = "forest"  // of domains of one forest
	ScopeTrust  Scope = "trust"   // of two domains of which the first trusts the second
	ScopeGroup  Scope = "group"   // that serve together: of one domain, or of none, and with the same word behind the role
	ScopeUsed   Scope = "used"    // of which the first says that it uses the second
	ScopeUsedBy Scope = "used-by" // of which the second says that it uses the first, which calls it back
	ScopeTunnel Scope = "tunnel"  // whose zones a tunnel joins: it stands in place of all other
)

var scopes = []Scope{ScopeDomain, ScopeForest, ScopeTrust, ScopeGroup, ScopeUsed, ScopeUsedBy, ScopeTunnel}

// A Term is one circumstance that decides whether a row is needed, as far as a site tells it. It is written
// "to:global-catalog", "!to-system:windows-server-2008,windows-server-2008-r2", "ldaps".
type Term struct {
	Not    bool // it must not be so
	Word   TermWord
	Values []string // after the colon: one is enough
}

// A TermWord says what a Term is about.
type TermWord string

// Words of terms.
const (
	TermFrom           TermWord = "from"            // who connects has one of the roles or services
	TermTo             TermWord = "to"              // who listens has
	TermAlike          TermWord = "alike"           // both have the role, or neither
	TermFromGeneration TermWord = "from-generation" // the system of who connects is of the generation
	TermToGeneration   TermWord = "to-generation"   // of who listens
	TermFromSystem     TermWord = "from-system"     // it is one of the systems
	TermToSystem       TermWord = "to-system"       //
	TermSameDomain     TermWord = "same-domain"     // both are of one domain
	TermSYSVOL         TermWord = "sysvol"          // the domain of who listens replicates SYSVOL by dfsr or frs
	TermPhase          TermWord = "phase"           // of the trust: create or use
	TermLDAPS          TermWord = "ldaps"           // one of the two speaks LDAP over TLS
	TermNetBIOS        TermWord = "netbios"         // one of the two speaks NetBIOS
)

// String returns the term as the files have it.
func (t Term) String() string {
	text := string(t.Word)
	if t.Not {
		text = "!" + text
	}
	if len(t.Values) > 0 {
		text += ":" + strings.Join(t.Values, ",")
	}
	return text
}

// MarshalText returns what String does, and never an error.
func (t Term) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText sets t to what text says. Whether the values exist is for the catalog to say.
func (t *Term) UnmarshalText(text []byte) error {
	word, not := strings.CutPrefix(string(text), "!")
	word, values, valued := strings.Cut(word, ":")
	term := Term{Not: not, Word: TermWord(word)}
	if valued {
		term.Values = strings.Split(values, ",")
	}
	switch term.Word {
	case TermFrom, TermTo, TermAlike, TermFromGeneration, TermToGeneration, TermFromSystem, TermToSystem, TermSYSVOL, TermPhase:
		if values == "" {
			return fmt.Errorf("%q says nothing after %s: it takes one word or several, as in %s:a,b", text, word, word)
		}
	case TermSameDomain, TermLDAPS, TermNetBIOS:
		if valued {
			return fmt.Errorf("%q: %s stands alone", text, word)
		}
	default:
		return fmt.Errorf("unknown circumstance %q", text)
	}
	*t = term
	return nil
}

// Relationship returns the relationship with the given ID, that of a service among them, or false
// if there is none. It belongs to the catalog.
func (c *Catalog) Relationship(id string) (*Relationship, bool) {
	if c.relationships == nil {
		return nil, false
	}
	for _, r := range c.relationships() {
		if r.ID == id {
			return r, true
		}
	}
	return nil, false
}

// Relationships returns all relationships in the order of the file, and after them those of services that
// no entry is about. The slice is the caller's.
func (c *Catalog) Relationships() []*Relationship {
	if c.relationships == nil {
		return nil
	}
	return slices.Clone(c.relationships())
}

// allRelationships returns the relationships of the files, and those of the services that no
// entry has the ID of.
func allRelationships(c *Catalog) []*Relationship {
	all, entries := pointers(c.roleFile().Relationships), map[string]bool{}
	for _, r := range all {
		entries[r.ID] = true
	}
	for _, s := range c.Services() {
		if !entries[s.ID] {
			all = append(all, &Relationship{
				ID: s.ID, Description: "a host and one that it uses for " + s.Name, Scopes: []Scope{ScopeUsed}, Service: s.ID, To: []string{s.ID},
			})
		}
	}
	return all
}

// checkRelationships notes what is wrong with those of f, of which m is made. The ends are what
// hosts may be, by ID.
func (f *roleFile) checkRelationships(r *report, m *roleFile, b *build, ends *names) {
	flows := map[string]bool{}
	for _, flow := range m.Flows {
		flows[flow.Relationship] = true
	}
	for i, rel := range f.Relationships {
		path := fmt.Sprintf("$.relationships[%d]", i)
		if rel.Description == "" || len(rel.Scopes) == 0 {
			r.mistake(path, "%s: every relationship has a description and scopes", rel.ID)
		}
		for j, scope := range rel.Scopes {
			checkWord(r, fmt.Sprintf("%s.scopes[%d]", path, j), "scope", scope, scopes...)
		}
		r.referOne(path+".service", b.serviceIDs, rel.Service)
		r.refer(path+".from", ends, rel.From...)
		r.refer(path+".to", ends, rel.To...)
		switch rows := rel.Service != ""; {
		case rows && rel.Unfiltered, (rows || rel.Unfiltered) == flows[rel.ID]:
			r.mistake(path, "%s: every relationship has one of three: flows that name it, a service, unfiltered", rel.ID)
		case !rows && !rel.Unfiltered && (len(rel.To) > 0 || rel.Mirror):
			r.mistake(path, "%s: to and mirror stand at its flows", rel.ID)
		}
		if rel.Unfiltered {
			r.sources(path, b.sourceIDs, rel.Sources)
		} else {
			r.refer(path+".sources", b.sourceIDs, rel.Sources...)
		}
	}
}

// terms notes words of the terms at path that say nothing. The ends are what hosts may be, by ID.
func (r *report) terms(path string, b *build, ends *names, terms []Term) {
	for i, t := range terms {
		for _, value := range t.Values {
			path := fmt.Sprintf("%s[%d]", path, i)
			unknown, wrong := "", false
			switch t.Word {
			case TermFrom, TermTo, TermAlike:
				unknown, wrong = ends.unknown(value)
			case TermFromGeneration, TermToGeneration:
				unknown, wrong = b.generationIDs.unknown(value)
			case TermFromSystem, TermToSystem:
				unknown, wrong = b.systemIDs.unknown(value)
			case TermSYSVOL:
				checkWord(r, path, string(t.Word), value, "dfsr", "frs")
			case TermPhase:
				checkWord(r, path, string(t.Word), value, "create", "use")
			}
			if wrong {
				r.mistake(path, "%s", unknown)
			}
		}
	}
}
