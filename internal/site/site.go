// Package site is what an administrator says of a site: zones, hosts and what they are, domains,
// trusts, and the firewalls between the zones. It is read from a YAML file, and the planner derives
// from it who must reach whom.
package site

import (
	"fmt"
	"net/netip"

	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/portset"
)

// A Site is all that a site file says. It does not change after Read, and what it refers
// to is part of it or of its catalog: nothing is nil that a comment does not say may be.
// Lists are in ascending order of names, whatever the order in the file was.
type Site struct {
	Catalog   *catalog.Catalog // which it was read with
	Zones     []*Zone
	Hosts     []*Host
	Domains   []*Domain
	Trusts    []*Trust
	Firewalls []*Firewall
	Tunnels   []*Tunnel
	Options   Options

	Warnings config.Mistakes // what is not wrong but should be known, in order of the file

	file *config.File // which it was read from; nil if it was not
}

// Mistake returns a mistake about the value at a path of the file, as [config.File.Mistake] does;
// of a site that was not read from a file it has no place.
func (s *Site) Mistake(path, format string, args ...any) config.Mistake {
	if s.file == nil {
		return config.Mistake{Message: fmt.Sprintf(format, args...)}
	}
	return s.file.Mistake(path, format, args...)
}

// KeyMistake is as Mistake, but about a name of the file: see [config.File.KeyMistake].
func (s *Site) KeyMistake(path, format string, args ...any) config.Mistake {
	if s.file == nil {
		return config.Mistake{Message: fmt.Sprintf(format, args...)}
	}
	return s.file.KeyMistake(path, format, args...)
}

// A Zone is a part of the network within which no firewall of the site filters.
type Zone struct {
	Name     string
	Networks []netip.Prefix // masked, ascending, disjoint; no two zones share an address
}

// A Host is an entry of hosts: one host, or a group of hosts that are alike.
type Host struct {
	Name      string
	Zone      *Zone
	Addresses []netip.Prefix // ascending, disjoint; a single address is a prefix of full length
	OS        *catalog.OS    // nil: not said, which is taken for a current Windows
	Domain    *Domain        // nil: in none
	Roles     []Role         // ascending
	Uses      []Use          // what it connects to beyond what its roles and domain say, ascending
	Dynamic   Dynamic
	Pins      []Pin // ascending
	LDAPS     bool  // LDAP over TLS is spoken with it
	NetBIOS   bool  // NetBIOS is spoken with it
}

// IsGroup reports whether h may stand for several hosts, which then connect to each
// other as well.
func (h *Host) IsGroup() bool {
	return len(h.Addresses) > 2 || len(h.Addresses) > 0 && !h.Addresses[0].IsSingleIP() ||
		len(h.Addresses) == 2 && h.Addresses[0].Addr().Is4() == h.Addresses[1].Addr().Is4()
}

// A Role is what a host is: a role of the catalog, or a service of it.
type Role struct {
	ID    string // of the role or service
	Group string // after the colon: those who serve together, as the nodes of a cluster; empty: all of the domain
}

// String returns the role as site files have it: failover-cluster:sql.
func (r Role) String() string {
	if r.Group == "" {
		return r.ID
	}
	return r.ID + ":" + r.Group
}

// A Use is what a host connects to: Host, as Role, or every host that is Role.
// One of the two may be missing, never both.
type Use struct {
	Host *Host
	Role string // ID of a role or service
}

// A Dynamic says which ports a host gives out dynamically, where its system's are not kept.
type Dynamic struct {
	Ports  portset.Set // empty: those of the system
	From   string      // where it was said, for people: "dynamic_range", "rpc_policy dc.reg"
	Policy bool        // an Rpc\Internet policy says so, which only servers of DCE/RPC obey
}

// A Pin is a service that has fixed ports on a host.
type Pin struct {
	ID    string // of a catalog.Pin
	Ports portset.Set
}

// A Domain is an Active Directory domain.
type Domain struct {
	Name   string
	Forest string // name of its root; that of the domain where none is given
	SYSVOL SYSVOL // how its domain controllers replicate SYSVOL
}

// SYSVOL says by which service SYSVOL is replicated.
type SYSVOL string

// Ways to replicate SYSVOL.
const (
	DFSR SYSVOL = "dfsr" // the default
	FRS  SYSVOL = "frs"
)

// A Trust lets users of Trusted log on in Trusting. A trust of two ways is two of them.
type Trust struct {
	Trusting, Trusted *Domain
	Phase             Phase
}

// A Phase says what a trust needs to be able to do.
type Phase string

// Phases of a trust.
const (
	PhaseUse    Phase = "use" // the default
	PhaseCreate Phase = "create"
)

// A Firewall filters what passes between its zones.
type Firewall struct {
	Name    string
	Zones   []*Zone    // two or more, ascending
	Kind    string     // ID of the target that rules for it are written for: nftables; empty: not said
	Follows []Protocol // control channels it inspects, ascending: what they negotiate it lets through by itself
	NAT     bool       // it translates addresses
}

// A Protocol is a control channel that a firewall may follow.
type Protocol string

// Control channels.
const (
	EPM        Protocol = "epm"
	Portmapper Protocol = "portmapper"
	FTP        Protocol = "ftp"
	TFTP       Protocol = "tftp"
)

// A Tunnel carries all that passes between two zones.
type Tunnel struct {
	Between [2]*Zone // ascending
	Kind    TunnelKind
}

// A TunnelKind says what a tunnel is made of.
type TunnelKind string

// Kinds of tunnels.
const (
	IPsec TunnelKind = "ipsec" // L2TP/IPsec: ESP, IKE and NAT-T
	PPTP  TunnelKind = "pptp"
)

// Options say how to plan. The zero value is the default.
type Options struct {
	Environment bool           // mode: environment: both ranges of dynamic ports where generations of systems mix
	Hardened    bool           // profile: hardened: what is required only
	ICMP        *bool          // whether ping is planned; nil: as the profile does
	Needs       []catalog.Need // which needs are planned; empty: as the profile says
}
