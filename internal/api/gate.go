package api

import (
	"context"
	"net/http"
	"time"
)

// SystemGate is the control socket of a gate.
const SystemGate = "/run/quaymaster/gate.sock"

// Paths of requests to a gate.
const (
	PinholesPath = "/v1/pinholes"
	SessionsPath = "/v1/sessions"
)

// A GateListing is what a gate has open: pinholes, or with a request for these control channels.
type GateListing struct {
	Pinholes []Pinhole     `json:"pinholes,omitempty"` // those that end first come first
	Sessions []GateSession `json:"sessions,omitempty"` // oldest first
	Totals   GateTotals    `json:"totals"`
}

// GateTotals are numbers about a gate.
type GateTotals struct {
	Pinholes int               `json:"pinholes"` // open
	Sessions int               `json:"sessions"` // control channels
	Refused  map[string]uint64 `json:"refused"`  // in the last hour, by the word for the rule
}

// A Pinhole is a way through the firewall, from a client to a port of a server, or with By "server" the other way round.
type Pinhole struct {
	Client    string    `json:"client"`
	Server    string    `json:"server"`
	By        string    `json:"by"`        // who connects: "client", "server"
	Protocol  string    `json:"protocol"`  // "tcp", "udp"
	Port      uint16    `json:"port"`      // of the other side
	Outside   string    `json:"outside"`   // address and port of the gateway that stand for the client's; empty: none do
	For       string    `json:"for"`       // for people: "netlogon", "ftp data (passive)"; empty: nobody knows, as of an earlier gate's
	Interface string    `json:"interface"` // what is there: "UUID:1.0", "100003:3"; empty: none, or nobody knows
	Once      bool      `json:"once"`      // the first connection closes it
	Session   uint64    `json:"session"`   // control channel that it came of; 0: nobody knows
	Since     time.Time `json:"since"`     // when it was last opened
	Until     time.Time `json:"until"`     // when it ends
	Used      uint64    `json:"used"`      // connections that came through
}

// A GateSession is a control channel that is followed.
type GateSession struct {
	Session   uint64    `json:"session"`   // its number
	Follows   string    `json:"follows"`   // "epm", "portmapper", "ftp", "tftp"
	Transport string    `json:"transport"` // "tcp", "udp"
	Client    string    `json:"client"`    // with the port
	Server    string    `json:"server"`    // with the port
	Since     time.Time `json:"since"`
	Last      time.Time `json:"last"`     // when something was last said
	Promised  int       `json:"promised"` // ports, so far
	Unread    bool      `json:"unread"`   // it is encrypted, and nothing is promised on it
}

// A GateEvent is something that happened, or with "snapshot" all that is open. Where events come faster than they are read some are left out.
type GateEvent struct {
	Event     string       `json:"event"` // snapshot, began, ended, refused, promised
	Time      time.Time    `json:"time"`
	Session   uint64       `json:"session,omitempty"`   // control channel; none: it was not given one
	Follows   string       `json:"follows,omitempty"`   // as of a GateSession
	Transport string       `json:"transport,omitempty"` // as of a GateSession
	Client    string       `json:"client,omitempty"`    // with the port
	Server    string       `json:"server,omitempty"`    // with the port
	Rule      string       `json:"rule,omitempty"`      // of refused: a word for what was broken
	Interface string       `json:"interface,omitempty"` // of refused: that it was about, as of a Pinhole
	For       string       `json:"for,omitempty"`       // of refused: what people call the interface
	Why       string       `json:"why,omitempty"`       // of refused and ended: in a sentence, which may hold text from the network
	Pinholes  []Pinhole    `json:"pinholes,omitempty"`  // of promised
	Listing   *GateListing `json:"listing,omitempty"`   // of snapshot
	LeftOut   uint64       `json:"left_out,omitempty"`  // how many events before this one
}

// Pinholes returns what is open in a gate.
func (c *Client) Pinholes(ctx context.Context) (GateListing, error) {
	var l GateListing
	return l, c.do(ctx, http.MethodGet, PinholesPath, nil, &l)
}

// Sessions returns the control channels of a gate.
func (c *Client) Sessions(ctx context.Context) (GateListing, error) {
	var l GateListing
	return l, c.do(ctx, http.MethodGet, SessionsPath, nil, &l)
}

// WatchGate calls f with what is open in a gate, then with all that happens, until ctx is cancelled (it returns nil), f fails, or the gate ends.
func (c *Client) WatchGate(ctx context.Context, f func(GateEvent) error) error {
	return watch(ctx, c, PinholesPath+"?watch=true", f)
}
