// Package render writes what a plan needs as rules of firewalls: one file for each target.
package render

import (
	"io"

	"github.com/quaymaster/quaymaster/internal/plan"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// A Target is a kind of firewall that rules can be written for.
type Target struct {
	Name      string // nftables: the word for --to, and for kind in a site file
	Title     string // what it is, for people
	Extension string // of file names, with the point: .nft
	Of        Subject
	System    string                             // of hosts that have such a firewall: windows, linux; empty: any
	OneFamily bool                               // a text is about IPv4 or IPv6, never both
	Render    func(w io.Writer, in *Input) error // deterministic; an *UnsayableError says what the target has no words for
}

// A Subject says what one text of a target is about.
type Subject uint8

// Subjects.
const (
	OfBox      Subject = iota // a firewall of the site, or the host firewall of a host
	OfHost                    // the host firewall of a host only
	OfFirewall                // a firewall of the site only
	OfSite                    // the whole site
)

// Targets returns all targets in the order in which people are told of them.
func Targets() []*Target { return targets }

var targets = []*Target{nftables, iptables, firewalld, powershell, terraformAWS, azureNSG, ciscoASA, aerleon, mermaid}

// An Input is what a text is written from.
type Input struct {
	Plan     *plan.Plan
	Firewall *site.Firewall // the text is for it; nil: for Host, or the whole site
	Host     *site.Host     // the text is for it: what others need of it
	Rules    []Rule         // what Firewall or Host has to let through, in order
	Family   Family         // of the addresses that the text is about
}

// A Family says which addresses a text is about.
type Family uint8

// Families.
const (
	Both Family = iota
	IPv4
	IPv6
)

// A Rule lets hosts connect to others. Every host of From is let connect to every one of To
// but for itself: see [plan.Flow].
type Rule struct {
	Flows    []*plan.Flow // that it is for: of one protocol, and between the same hosts; never empty
	From, To []*site.Host // ascending; of a firewall those on its two sides, of a host To is the host alone
	Ports    portset.Set  // union of those of Flows; empty for protocols without ports
}

// An UnsayableError says that a target cannot say what a plan needs.
type UnsayableError struct {
	Target string
	Flow   *plan.Flow
	Why    string // and what to do
}

func (e *UnsayableError) Error() string {
	return e.Target + " cannot say " + e.Flow.ID + " (" + e.Flow.App + "): " + e.Why
}
