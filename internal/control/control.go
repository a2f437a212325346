// Package control is the local API of the daemon: HTTP with JSON over a socket
// of the UNIX domain, on which the kernel tells who asks. It is what the
// client verbs use; docs/control.md describes it to other programs.
//
//	GET    /v1/endpoints                what is registered: a [Listing]
//	GET    /v1/endpoints?watch=true     a line of JSON for every [Event]
//	POST   /v1/endpoints                registers the endpoints of a [Listing], all or none
//	DELETE /v1/endpoints/ID             ends one registration
//	DELETE /v1/endpoints?dialect=onc&program=P&version=V&netid=N   ends those of an interface
//
// A refusal is a [Refusal] with a status of 400 and more.
package control

import (
	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// A Listing is a set of registrations.
type Listing struct {
	Seq       uint64              `json:"seq"` // number of the last change; not read
	Endpoints []endpoint.Document `json:"endpoints"`
}

// An Event is a change of the registry, or with "snapshot" all of it, after
// which changes are counted from Seq on without gaps.
type Event struct {
	Event     string              `json:"event"` // snapshot, added, removed
	Seq       uint64              `json:"seq"`
	Endpoint  *endpoint.Document  `json:"endpoint,omitempty"`  // added or removed
	Endpoints []endpoint.Document `json:"endpoints,omitempty"` // of a snapshot, oldest first
}

// A Refusal says why the daemon did not do what was asked: nothing of it is done.
type Refusal struct {
	Mistakes []string `json:"mistakes"`
}

const (
	endpointsPath = "/v1/endpoints"
	// maxBody is the most bytes of a request: some 40,000 registrations.
	maxBody = 8 << 20
)
