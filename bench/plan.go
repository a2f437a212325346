package main

import (
	"regexp"
	"slices"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// The servers under test.
const (
	serverRPCBind    = "rpcbind"
	serverSamba      = "samba"
	serverQuaymaster = "quaymaster"
	serverEcho       = "echo"
	serverPlain      = "plain" // a gateway that forwards by fixed rules
)

// Programs that ask hosts, beside quaymaster.
const (
	serverNmap         = "nmap"
	serverNmapVersions = "nmap-sV" // with -sV, which finds out what listens
)

var allServers = []string{serverRPCBind, serverSamba, serverQuaymaster, serverEcho, serverPlain, serverNmap, serverNmapVersions}

// askers are the programs that ask, in the order of the table.
var askers = []string{serverNmapVersions, serverNmap, serverQuaymaster}

// peerOf returns the server that quaymaster is compared with.
func peerOf(d endpoint.Dialect) string {
	if d == endpoint.DCE {
		return serverSamba
	}
	return serverRPCBind
}

// serversOf returns all that speak a dialect, in the order of the table.
func serversOf(d endpoint.Dialect) []string {
	return []string{peerOf(d), serverQuaymaster, serverEcho}
}

// A job is what one server is measured with: the kind of load, and the rows
// that are registered meanwhile. It crosses the border of a namespace as
// JSON.
type job struct {
	Kind   string
	Asker  string // the program that asks; only of the kinds of [ofAsking]
	Rows   int
	Window time.Duration
}

// The kinds of load.
const (
	kindGetPort   = "getport"   // UDP, 64 sockets, one call outstanding on each
	kindSaturated = "saturated" // UDP, one socket, 64 calls outstanding
	kindGetAddr   = "getaddr"   // as kindSaturated
	kindDump      = "dump"      // TCP, 8 connections
	kindConnect   = "connect"   // TCP, 8 clients, a connection per call
	kindPairs     = "pairs"     // local socket, 8 clients, SET and UNSET, a connection for each
	kindIdle      = "idle"      // no call

	// Of ports that are given out; rows are grants that are held meanwhile.
	kindGrants  = "grants"  // control socket, 8 lasting connections, grant and release
	kindRestart = "restart" // kill -9, and until it answers again

	// Of the endpoint mapper, over TCP.
	kindMap1    = "map 1"    // one lasting connection, one call outstanding on each
	kindMap8    = "map 8"    // 8 of them
	kindMap64   = "map 64"   // 64
	kindBindMap = "bind+map" // 64 clients, a connection per call
	kindLookup  = "lookup"   // 8 lasting connections

	// Of asking hosts; rows are what is asked.
	kindAskTry      = "ask --try"    // one host, endpoints that are tried
	kindAskHosts    = "ask --hosts"  // hosts, their port mappers
	kindAskFiltered = "ask filtered" // one host, ports that drop everything

	// Of what stands between clients and a server.
	kindGateBulk    = "gate bulk"    // one connection; rows are pinholes
	kindGateConnect = "gate connect" // TCP, 8 clients, a connection per call
	kindGateGetPort = "gate getport" // UDP, 64 sockets, one call outstanding on each
	kindGateOpen    = "gate open"    // UDP, one call outstanding, each about another port
	kindGateIdle    = "gate idle"    // rows are control channels on which nothing is said

	// Of planning; rows are pairs of hosts.
	kindPlan      = "plan"       // a domain, of which members reach domain controllers
	kindPlanApart = "plan apart" // two hosts each, with ports of their own
	kindPlanRules = "plan rules" // rules alone of such a plan, made in a process of the benchmark's
	kindPlanLoad  = "plan load"  // nft -f of a domain's rules
)

// dialectOf returns the dialect in which a kind of load asks.
func dialectOf(kind string) endpoint.Dialect {
	switch kind {
	case kindMap1, kindMap8, kindMap64, kindBindMap, kindLookup:
		return endpoint.DCE
	}
	return endpoint.ONC
}

// ofGrants tells whether a kind of load is about ports that are given out.
func ofGrants(kind string) bool { return kind == kindGrants || kind == kindRestart }

// ofAsking tells whether a kind of load is a program that asks hosts, once.
func ofAsking(kind string) bool {
	return kind == kindAskTry || kind == kindAskHosts || kind == kindAskFiltered
}

// ofGate tells whether a kind of load goes through a gateway.
func ofGate(kind string) bool {
	switch kind {
	case kindGateBulk, kindGateConnect, kindGateGetPort, kindGateOpen, kindGateIdle:
		return true
	}
	return false
}

// ofPlanning tells whether a kind of load is a program that plans, or loads what is planned, once.
func ofPlanning(kind string) bool {
	switch kind {
	case kindPlan, kindPlanApart, kindPlanRules, kindPlanLoad:
		return true
	}
	return false
}

// A measurement is one line of the table: a job for each of several servers.
type measurement struct {
	name    string // as the table prints it
	kind    string
	rows    int
	servers []string
}

func (m measurement) job(server string) job {
	j := job{Kind: m.kind, Rows: m.rows, Window: window}
	if ofAsking(m.kind) {
		j.Asker = server
	}
	if m.kind == kindIdle || m.kind == kindGateIdle {
		j.Window = idleWindow
	}
	return j
}

// window is how long one server is kept busy in one round. With three rounds
// the whole plan takes under five minutes, and four more for nmap -sV.
const window = time.Second

// idleWindow has several of the checks that quaymaster does once a second.
const idleWindow = 3 * time.Second

// onlyOnce tells whether a server is measured in the first round only: nmap -sV takes
// minutes.
func onlyOnce(server string) bool { return server == serverNmapVersions }

// plan returns all measurements. What is compared by a few percent is measured
// saturated: there the processor time of a request depends least on how the
// clients and the server happen to take turns. rpcbind has no part in those with 100,000
// rows: it goes through a list for every SET, and would take minutes to be
// filled. Samba listens at every row, so that it can have few only.
func plan() []measurement {
	onc, dce := serversOf(endpoint.ONC), serversOf(endpoint.DCE)
	answering := []string{serverRPCBind, serverQuaymaster}
	ours := []string{serverQuaymaster}
	between := []string{serverPlain, serverQuaymaster}
	return []measurement{
		{"GETPORT, UDP, 64 clients, 10 rows", kindGetPort, 10, onc},
		{"GETPORT, UDP, 64 outstanding, 10 rows", kindSaturated, 10, onc},
		{"GETPORT, UDP, 64 outstanding, 1,000 rows", kindSaturated, 1_000, answering},
		{"GETPORT, UDP, 64 outstanding, 100,000 rows", kindSaturated, 100_000, ours},
		{"GETADDR, UDP, 64 outstanding, 10 rows", kindGetAddr, 10, answering},
		{"DUMP v4, TCP, 8 clients, 10,000 rows", kindDump, 10_000, answering},
		{"GETPORT, TCP, 8 clients, a connection each, 10 rows", kindConnect, 10, answering},
		{"SET + UNSET pairs, local socket, 8 clients, 10 rows", kindPairs, 10, answering},
		{"idle, 10 rows", kindIdle, 10, ours},
		{"idle, 10,000 rows", kindIdle, 10_000, ours},
		{"idle, 100,000 rows", kindIdle, 100_000, ours},
		{"ept_map, 1 connection, 10 interfaces", kindMap1, 10, dce},
		{"ept_map, 8 connections, 10 interfaces", kindMap8, 10, dce},
		{"ept_map, 64 connections, 10 interfaces", kindMap64, 10, dce},
		{"ept_map, 64 connections, 100,000 interfaces", kindMap64, 100_000, ours},
		{"bind + ept_map, 64 clients, a connection each, 10 interfaces", kindBindMap, 10, dce},
		{"ept_lookup of all, 8 connections, 490 interfaces", kindLookup, maxLookup, []string{serverSamba, serverQuaymaster}},
		{"grant + release pairs, 8 connections, 10 held", kindGrants, 10, ours},
		{"grant + release pairs, 8 connections, 100,000 held", kindGrants, 100_000, ours},
		{"restart after kill -9, 10 held", kindRestart, 10, ours},
		{"restart after kill -9, 100,000 held", kindRestart, 100_000, ours},
		{"ask --hosts, port mappers of 1,000 hosts", kindAskHosts, 1_000, askers},
		{"ask --try, a host with 200 endpoints", kindAskTry, 200, ours},
		{"ask, a host that drops everything, 300 ports", kindAskFiltered, 300, ours},
		{"gate: one connection, no other pinhole", kindGateBulk, 0, between},
		{"gate: one connection, 100,000 pinholes", kindGateBulk, 100_000, between},
		{"gate: GETPORT, TCP, 8 clients, a connection each", kindGateConnect, 10, between},
		{"gate: GETPORT, UDP, 64 clients", kindGateGetPort, 10, between},
		{"gate: GETPORT, UDP, 1 client, a pinhole each", kindGateOpen, 0, between},
		{"gate: 4,000 idle control channels", kindGateIdle, 4_000, ours},
		{"plan: 1,100 hosts, 100,000 pairs, to nftables", kindPlan, 100_000, ours},
		{"plan: 5,500 hosts, 2,500,000 pairs, to nftables", kindPlan, 2_500_000, ours},
		{"plan: 20,000 hosts, 10,000 pairs with ports of their own, to nftables", kindPlanApart, 10_000, ours},
		{"plan: internal/render alone, 10,000 pairs with ports of their own, to nftables", kindPlanRules, 10_000, ours},
		{"plan: internal/render alone, 100,000 pairs with ports of their own, to nftables", kindPlanRules, 100_000, ours},
		{"plan: nft -f of the rules of 10,000 pairs", kindPlanLoad, 10_000, ours},
		{"plan: nft -f of the rules of 100,000 pairs", kindPlanLoad, 100_000, ours},
	}
}

// choose keeps the measurements whose name matches only, and of their servers
// those that were asked for.
func choose(all []measurement, only *regexp.Regexp, servers []string) []measurement {
	var chosen []measurement
	for _, m := range all {
		m.servers = slices.DeleteFunc(slices.Clone(m.servers), func(s string) bool {
			return !slices.Contains(servers, s)
		})
		if len(m.servers) > 0 && only.MatchString(m.name) {
			chosen = append(chosen, m)
		}
	}
	return chosen
}

// takesPart reports whether a server is in any of the measurements.
func takesPart(ms []measurement, server string) bool {
	return slices.ContainsFunc(ms, func(m measurement) bool { return slices.Contains(m.servers, server) })
}
