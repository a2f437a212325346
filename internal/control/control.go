// Package control is the local API of the daemon: HTTP with JSON over a socket
// of the UNIX domain, on which the kernel tells who asks. It is what the
// client verbs use; docs/control.md describes it to other programs.
//
//	GET    /v1/endpoints                what is registered: a [Listing]
//	GET    /v1/endpoints?watch=true     a line of JSON for every [Event]
//	POST   /v1/endpoints                registers what an [Addition] lists, all or none
//	DELETE /v1/endpoints/ID             ends one registration
//	DELETE /v1/endpoints?dialect=onc&program=P&version=V&netid=N   ends those of a program
//	DELETE /v1/endpoints?dialect=dce&uuid=U&version=V&protseq=P    ends those of an interface
//	GET    /v1/counters                 [Counters]
//
// A refusal is a [Refusal] with a status of 400 and more.
package control

import (
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// A Listing is a set of registrations.
type Listing struct {
	Seq       uint64              `json:"seq"` // number of the last change; not read
	Endpoints []endpoint.Document `json:"endpoints"`
}

// An Addition is what to register, and why it is to be believed: of Permanent,
// TTL and PID one at most. Without any it is while something listens there.
type Addition struct {
	Endpoints []endpoint.Document `json:"endpoints"`
	Permanent bool                `json:"permanent,omitempty"` // until it is removed; for root
	TTL       int64               `json:"ttl,omitempty"`       // seconds of a lease; at most [MaxTTL]
	PID       int32               `json:"pid,omitempty"`       // while this process of the caller's runs
}

// MaxTTL is the longest lease that can be asked for: 30 days.
const MaxTTL = 30 * 24 * time.Hour

// An Event is a change of the registry, or with "snapshot" all of it, after
// which changes are counted from Seq on without gaps. Refusals change nothing
// and have the number of the last change.
type Event struct {
	Event     string              `json:"event"` // snapshot, made, renewed, ended, refused
	Seq       uint64              `json:"seq"`
	Endpoint  *endpoint.Document  `json:"endpoint,omitempty"`  // of the registration; with no id where it was refused
	Endpoints []endpoint.Document `json:"endpoints,omitempty"` // of a snapshot, oldest first
	By        string              `json:"by,omitempty"`        // user who did it or was refused; none: the evidence ended, or nobody knows
	Why       string              `json:"why,omitempty"`       // why it ended or was refused
}

// Counters are numbers by name since the daemon began; docs/control.md has the names.
type Counters map[string]uint64

// A Refusal says why the daemon did not do what was asked: nothing of it is done.
type Refusal struct {
	Mistakes []string `json:"mistakes"`
}

const (
	endpointsPath = "/v1/endpoints"
	countersPath  = "/v1/counters"
	// MaxWatchers is how many watches one user may have.
	MaxWatchers = 16
	// maxBody is the most bytes of a request: some 40,000 registrations.
	maxBody = 8 << 20
)
