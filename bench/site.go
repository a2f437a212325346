package main

import (
	"fmt"
	"strings"
)

// A domain of a site that is planned: every member reaches every domain controller.
type domainSize struct{ members, controllers int }

// domainSizes are those of so many pairs of a member and a domain controller.
var domainSizes = map[int]domainSize{10_000: {250, 40}, 100_000: {1_000, 100}, 2_500_000: {5_000, 500}}

// The firewall of sites, and what they begin with.
const (
	siteFirewall = "edge"
	siteZones    = "zones:\n  core: {networks: [10.0.0.0/16]}\n  dmz: {networks: [10.1.0.0/16]}\nfirewalls: {" + siteFirewall + ": {zones: [core, dmz]}}\n"
)

// address returns address i of a zone.
func address(zone, i int) string { return fmt.Sprintf("10.%d.%d.%d", zone, i/250, i%250+1) }

// domainSite returns the file of a site with members in one zone and domain controllers in another; hosts
// of each kind are alike.
func domainSite(size domainSize) string {
	var b strings.Builder
	b.WriteString(siteZones + "domains: {corp.example: {}}\nhosts:\n")
	for i := range size.controllers {
		fmt.Fprintf(&b, "  dc%d: {addresses: [%s], os: 2022, roles: [dc], domain: corp.example, pins: {ntds: 38901, netlogon: 38902}}\n", i, address(0, i))
	}
	for i := range size.members {
		fmt.Fprintf(&b, "  app%d: {addresses: [%s], os: 2022, roles: [member], domain: corp.example}\n", i, address(1, i))
	}
	return b.String()
}

// apartSite returns the file of a site of so many pairs of hosts that none shares with another: the one
// uses the other, which has a port of its own besides the endpoint mapper's. There are at most 10,000, since
// a site has 20,000 hosts. Entries stand in braces: of those one beneath the other fewer are read.
func apartSite(pairs int) string {
	const firstPort = 20_000
	var b strings.Builder
	b.WriteString(siteZones + "hosts: {\n")
	for i := range pairs {
		fmt.Fprintf(&b, "  to%d: {addresses: [%s], roles: [file-replication], pins: {ntfrs: %d}},\n", i, address(0, i), firstPort+i)
		fmt.Fprintf(&b, "  from%d: {addresses: [%s], uses: [to%d]},\n", i, address(1, i), i)
	}
	b.WriteString("}\n")
	return b.String()
}
