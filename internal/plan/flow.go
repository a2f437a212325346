// Package plan derives from a site which hosts must reach which, on what ports, for what, and why: the
// site says what each host is, the catalog who connects to whom.
package plan

import (
	"github.com/quaymaster/quaymaster/catalog"
	"github.com/quaymaster/quaymaster/internal/site"
	"github.com/quaymaster/quaymaster/portset"
)

// A Plan is all that a site needs. It does not change.
type Plan struct {
	Site     *site.Site
	Flows    []*Flow   // in order of their relationships, rows and hosts
	Warnings []Warning // in order of the hosts they are about

	ways *ways
}

// A Warning is what an administrator should know of a plan that can be had all the same.
type Warning struct {
	Host string // the host, or what else of the site it is about; empty: the site
	Text string // what is the matter, and what to do
}

// A Flow is a connection that hosts of the site need. Every host of From connects to every one
// of To but for itself; a group of several hosts connects to itself too where it is in both. From is the
// side that opens the connection.
type Flow struct {
	ID           string           // stays the same over runs, while Relationship, Row and the hosts do
	From, To     []*site.Host     // ascending by name; never empty
	Protocol     catalog.Protocol // 0: every protocol, on all ports
	Ports        portset.Set      // where To listen; empty for protocols without ports
	Symbol       catalog.Symbol   // dynamic-rpc and so on: Ports stand for it; echo; else empty
	App          string           // what is spoken
	Service      string           // ID of the service that listens; empty when the catalog names none
	Relationship string           // what the two are to each other: client-to-dc; of a service used by others its ID
	Row          string           // ID of the catalog's flow; of a service's port "service/tcp/135"
	Need         catalog.Need
	Condition    string // when it is needed, in words; empty: always
	Narrowing    Narrowing
	DCOM         bool     // activation of DCOM: addresses stand in what is said, so none may be translated on the way
	Unfiltered   bool     // the vendor says that nothing between the two may be filtered
	Reason       string   // why, in one sentence
	Notes        []string // what a reader should know, in sentences
	Sources      []string // IDs of the catalog's sources; never empty
}

// A Narrowing says how the ports of a dynamic flow were made few. The zero value is that of a
// flow that is not dynamic.
type Narrowing struct {
	By      By
	Pins    []string         // IDs of pins, with ByPin
	Pinhole []*site.Firewall // of the firewalls on the way those that follow the mapper or control channel: they need no open ports for it, ascending. With ByPinhole these are all on the way
	From    string           // where Ports are from, in words: "windows-server-2019", "rpc_policy dc1.reg"
}

// By is what narrows a dynamic flow.
type By string

// What narrows a dynamic flow, cheapest first.
const (
	ByPin     By = "pin"     // the service has fixed ports
	ByPinhole By = "pinhole" // every firewall on the way follows
	ByRange   By = "range"   // nothing: the dynamic ports of the server
)

// Of returns the plan of a site that has the given flows.
func Of(s *site.Site, flows []*Flow, warnings ...Warning) *Plan {
	return &Plan{Site: s, Flows: flows, Warnings: warnings, ways: newWays(s)}
}
