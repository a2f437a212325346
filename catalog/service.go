package catalog

import "slices"

// A Service is what is known of one service of Windows and the ports it needs: an
// entry of services.yaml. What does not apply is empty.
//
// A Service belongs to the catalog: callers do not change it. So do all other facts
// that the catalog hands out as pointers.
type Service struct {
	ID             string        `yaml:"id"`              // a word for it: dfs-replication; unique
	Name           string        `yaml:"name"`            // the name to show
	AlsoNamed      []string      `yaml:"also_named"`      // what other revisions of the article call it
	Aliases        []string      `yaml:"aliases"`         // other names in use, German ones too
	SystemServices []string      `yaml:"system_services"` // keys under Services of the Windows registry, as the article prints them; several services may have one
	Group          string        `yaml:"group"`           // what it belongs to: file, mail
	Status         ServiceStatus `yaml:"status"`
	Basis          Basis         `yaml:"basis"`        // where in the article it stands, if it does
	Sources        []string      `yaml:"sources"`      // IDs of sources: the revisions of the article that have it; never empty
	SourcesNote    string        `yaml:"sources_note"` // which part of the sources, in words
	Confidence     string        `yaml:"confidence"`   // how well it is confirmed: documented, unverified; empty for what the article says
	Uses           Uses          `yaml:"uses"`
	Programs       []string      `yaml:"programs"` // of ONC RPC that it serves, by names of onc-programs.tsv
	Ports          []ServicePort `yaml:"ports"`    // in the order of the article
	FixedPort      *FixedPort    `yaml:"fixed_port"`
	DependsOn      []string      `yaml:"depends_on"` // IDs of services
	OSLimits       []string      `yaml:"os_limits"`  // which systems have what, in sentences
	Notes          []string      `yaml:"notes"`
}

// A ServiceStatus says whether today's Windows has a [Service].
type ServiceStatus string

const (
	ServiceCurrent ServiceStatus = "current"
	ServiceLegacy  ServiceStatus = "legacy"  // for old systems and peers
	ServiceRemoved ServiceStatus = "removed" // no supported system has it
)

// A Basis says where a [Service] stands in the article "Service overview and network
// port requirements for Windows" (KB 832017).
type Basis string

const (
	BasisSection      Basis = "section"            // has a section with a table of ports
	BasisProse        Basis = "section-prose"      // has a section, and its ports stand in the text
	BasisReverseTable Basis = "reverse-table-only" // stands in the table by port only: see [PortRow]
	BasisSupplement   Basis = "supplement"         // is not in the article
)

// Uses says how a [Service] is called, beside ports of its own.
type Uses struct {
	RPC        bool `yaml:"rpc_tcp"`     // RPC over TCP
	NamedPipes bool `yaml:"named_pipes"` // RPC over named pipes
	DCOM       bool `yaml:"dcom"`
}

// A ServicePort is one row of what a service listens on.
type ServicePort struct {
	App      string            `yaml:"app"` // what speaks there: RPC endpoint mapper
	Protocol Protocol          `yaml:"protocol"`
	Ports    Ports             `yaml:"ports"`
	Need     Need              `yaml:"need"`
	NoteIDs  []string          `yaml:"notes"`    // of Notes: see [Catalog.Footnotes]
	Notes    []string          `yaml:"-"`        // what a reader should know, in sentences
	Stated   map[string]string `yaml:"stated"`   // what a revision of the article prints as ports, or its "prose"; where that is not Ports
	OnlyIn   string            `yaml:"only_in"`  // the only revision of the article that has the row: 2023-12; empty for all
	When     []Term            `yaml:"when"`     // when it is needed, as far as a site tells: all have to hold
	Outgoing bool              `yaml:"outgoing"` // it is where the service connects from: nobody listens there
	DCOM     bool              `yaml:"dcom"`     // an object is activated: no address may be translated on the way
}

// A Need says when a port has to be open.
type Need string

const (
	Required    Need = "required"
	Conditional Need = "conditional"
	Optional    Need = "optional"
	OneOf       Need = "one-of"
	Recommended Need = "recommended"
	LegacyNeed  Need = "legacy"
)

// A FixedPort says how a service can be taken off the dynamic ports.
type FixedPort struct {
	How  string `yaml:"how"`  // registry, rpc-internet-policy, …
	Pin  string `yaml:"pin"`  // ID of a [Pin]
	Note string `yaml:"note"` // a remark; often empty
}

var needs = []Need{Required, Conditional, Optional, OneOf, Recommended, LegacyNeed}

// A NeedMeaning is what a [Need] means, in words.
type NeedMeaning struct {
	Need    Need   `yaml:"need"`
	Meaning string `yaml:"meaning"`
}

// Directory says what Active Directory needs of other services and which need it.
type Directory struct {
	DependsOn  []Dependence `yaml:"depends_on"`  // services that Active Directory needs
	RequiredBy []Dependence `yaml:"required_by"` // services that need Active Directory
	Sources    []string     `yaml:"sources"`
}

// A Dependence is one service in a [Directory].
type Dependence struct {
	Service   string `yaml:"service"`   // its ID
	Condition string `yaml:"condition"` // when; empty is always
}

// Services returns all services in the order of the files. The slice is the
// caller's.
func (c *Catalog) Services() []*Service { return pointers(c.serviceFile().Services) }

// Service returns the service with the given ID, or false if there is none.
func (c *Catalog) Service(id string) (*Service, bool) {
	return find(c.serviceFile().Services, func(s *Service) bool { return s.ID == id })
}

// Groups returns the groups of all services in ascending order.
func (c *Catalog) Groups() []string {
	var groups []string
	for _, s := range c.serviceFile().Services {
		groups = append(groups, s.Group)
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// NeedMeaning returns what n means, in words; empty when it is no [Need].
func (c *Catalog) NeedMeaning(n Need) string {
	for _, m := range c.serviceFile().Needs {
		if m.Need == n {
			return m.Meaning
		}
	}
	return ""
}

// Footnotes returns the notes that ports of services refer to, by their IDs. They
// belong to the catalog.
func (c *Catalog) Footnotes() map[string]string { return c.serviceFile().Footnotes }

// Directory returns how Active Directory and the services depend on each other. It
// belongs to the catalog.
func (c *Catalog) Directory() *Directory { return &c.serviceFile().Directory }
