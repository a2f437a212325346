// Package api is the local API of the daemon: HTTP with JSON over a socket
// of the UNIX domain, on which the kernel tells who asks. It is what the
// client verbs use; docs/control.md describes it to other programs.
//
//	GET    /v1/endpoints                what is registered: a [Listing]
//	GET    /v1/endpoints?watch=true     a line of JSON for every [Event]
//	POST   /v1/endpoints                registers what an [Addition] lists, all or none
//	DELETE /v1/endpoints/ID             ends one registration
//	DELETE /v1/endpoints?dialect=onc&program=P&version=V&netid=N   ends those of a program
//	DELETE /v1/endpoints?dialect=dce&uuid=U&version=V&protseq=P    ends those of an interface
//	GET    /v1/pool                     the pools and what was given out of them: a [Pool]
//	POST   /v1/grants                   gives ports to the process that asks: a [GrantRequest] for an [endpoint.GrantDocument]
//	DELETE /v1/grants/ID                gives them back
//	GET    /v1/counters                 [Counters]
//
// A gate answers on a socket of its own:
//
//	GET    /v1/pinholes                 what is open: a [GateListing]
//	GET    /v1/pinholes?watch=true      a line of JSON for every [GateEvent]
//	GET    /v1/sessions                 the control channels: a [GateListing]
//	GET    /v1/counters                 [Counters]
//
// A refusal is a [Refusal] with a status of 400 and more.
package api

import (
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/portset"
)

// A Listing is a set of registrations.
type Listing struct {
	Seq       uint64              `json:"seq"` // number of the last change; not read
	Endpoints []endpoint.Document `json:"endpoints"`
}

// An Addition is what to register, and why it is to be believed: of Permanent,
// TTL, PID and Grant one at most. Without any it is while something listens there.
type Addition struct {
	Endpoints []endpoint.Document `json:"endpoints"`
	Permanent bool                `json:"permanent,omitempty"` // until it is removed; for root
	TTL       int64               `json:"ttl,omitempty"`       // seconds of a lease; at most [MaxTTL]
	PID       int32               `json:"pid,omitempty"`       // while this process of the caller's runs
	Grant     string              `json:"grant,omitempty"`     // at ports of this grant of the caller's, where a socket of theirs is already
}

// A GrantRequest asks for ports, which are the caller's until its process ends.
type GrantRequest struct {
	Dialect string `json:"dialect"`           // of what is to listen: "onc", "dce"
	Pool    string `json:"pool,omitempty"`    // "internet" or "intranet"; empty: that of servers that state no preference
	TCP     bool   `json:"tcp"`               // a port of TCP
	UDP     bool   `json:"udp"`               // a port of UDP: with TCP the same number, unless Apart
	Apart   bool   `json:"apart,omitempty"`   // the port of UDP may be another than that of TCP
	Command string `json:"command,omitempty"` // what is to listen, for people: at most 63 printable bytes
}

// A Pool is what ports are given from, and to whom they were given.
type Pool struct {
	Source string                   `json:"source"` // file that says the policy; empty: there is none
	Pools  []PoolPorts              `json:"pools"`  // the pool of ordinary servers first
	Grants []endpoint.GrantDocument `json:"grants"` // oldest first
	Busy   []BusyPort               `json:"busy"`   // ports of the pools that nobody was given, and that are not free, in order
	Shared portset.Set              `json:"shared"` // ports of the pools that the kernel gives to outgoing connections too
}

// A PoolPorts is one of the pools.
type PoolPorts struct {
	Pool    string      `json:"pool"`    // "dynamic", "internet", "intranet"
	Default bool        `json:"default"` // of servers that state no preference
	Ports   portset.Set `json:"ports"`
	TCP     PortCounts  `json:"tcp"`
	UDP     PortCounts  `json:"udp"`
}

// PortCounts say how the ports of a pool are used on one transport. What is neither given nor
// busy is free.
type PortCounts struct {
	Given int `json:"given"`
	Busy  int `json:"busy"` // nobody was given them, but something listens or is registered there
	Free  int `json:"free"`
}

// A BusyPort is a port of a pool that is used by somebody who was not given it.
type BusyPort struct {
	Transport string `json:"transport"` // "tcp", "udp"
	Port      uint16 `json:"port"`
	UID       uint32 `json:"uid"`       // of the socket; [endpoint.NoUID] if there is none or the kernel does not say
	Listening bool   `json:"listening"` // a socket is there; otherwise something is registered
}

// MaxTTL is the longest lease that can be asked for: 30 days.
const MaxTTL = 30 * 24 * time.Hour

// An Event is a change of the registry, or with "snapshot" all of it, after
// which changes are counted from Seq on without gaps. What changes nothing that is
// registered, refusals and grants, has the number of the last change, and some are left out
// where they come faster than they are read.
type Event struct {
	Event     string              `json:"event"` // snapshot, made, renewed, ended, refused, granted, returned, exhausted
	Seq       uint64              `json:"seq"`
	Endpoint  *endpoint.Document  `json:"endpoint,omitempty"`  // of the registration; with no id where it was refused
	Endpoints []endpoint.Document `json:"endpoints,omitempty"` // of a snapshot, oldest first
	// Grant was given or came back; with exhausted, what was asked for, without id and port.
	Grant *endpoint.GrantDocument `json:"grant,omitempty"`
	By    string                  `json:"by,omitempty"`  // user who did it or was refused; none: the evidence ended, or nobody knows
	Why   string                  `json:"why,omitempty"` // why it ended or was refused
}

// Counters are numbers by name since the daemon began; docs/control.md has the names.
type Counters map[string]uint64

// A Refusal says why the daemon did not do what was asked: nothing of it is done.
type Refusal struct {
	Mistakes []string `json:"mistakes"`
}

// SystemSocket is the control socket of the system's daemon.
const SystemSocket = "/run/quaymaster/control.sock"

// Paths of requests.
const (
	EndpointsPath = "/v1/endpoints"
	GrantsPath    = "/v1/grants"
	PoolPath      = "/v1/pool"
	CountersPath  = "/v1/counters"
)

const (
	// MaxWatchers is how many watches one user may have.
	MaxWatchers = 16
)
