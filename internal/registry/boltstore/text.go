package boltstore

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// A text is the JSON of a registration. It has names where constants could be numbered in
// another way by the next version of the program.
type text struct {
	Dialect    endpoint.Dialect `json:"dialect"`
	Program    uint32           `json:"program"`
	Version    uint32           `json:"version"`
	UUID       ndr.UUID         `json:"uuid,omitzero"`
	Major      uint16           `json:"major,omitempty"`
	Minor      uint16           `json:"minor,omitempty"`
	Object     ndr.UUID         `json:"object,omitzero"`
	NetID      string           `json:"netid"` // or, of DCE:
	ProtSeq    string           `json:"protseq,omitempty"`
	Addr       netip.AddrPort   `json:"addr,omitzero"`
	Path       string           `json:"path,omitempty"`
	Annotation string           `json:"annotation,omitempty"`
	UID        uint32           `json:"uid"`
	Host       netip.Addr       `json:"host,omitzero"`
	Since      time.Time        `json:"since"`
	Evidence   string           `json:"evidence"`
	Until      *int64           `json:"until,omitempty"` // reading of CLOCK_MONOTONIC, ns
	PID        int32            `json:"pid,omitempty"`
	Order      uint64           `json:"order"`
	Seen       bool             `json:"seen,omitempty"`
	SocketUID  uint32           `json:"socket_uid,omitempty"`
	Started    uint64           `json:"started,omitempty"`
	Elsewhere  bool             `json:"elsewhere,omitempty"`
}

// append appends the text: the same bytes as of json.Marshal, which takes three
// times as long, and so a fifth of what it takes to journal a registration. Those
// of DCE are few.
func (t *text) append(b []byte) (_ []byte, err error) {
	if !t.UUID.IsNil() || t.Major != 0 || t.Minor != 0 || !t.Object.IsNil() || t.ProtSeq != "" || t.Host.IsValid() {
		text, err := json.Marshal(t)
		return append(b, text...), err
	}
	b = strconv.AppendUint(append(b, `{"dialect":`...), uint64(t.Dialect), 10)
	b = strconv.AppendUint(append(b, `,"program":`...), uint64(t.Program), 10)
	b = strconv.AppendUint(append(b, `,"version":`...), uint64(t.Version), 10)
	b = appendString(append(b, `,"netid":`...), t.NetID)
	if t.Addr != (netip.AddrPort{}) {
		b = appendString(append(b, `,"addr":`...), t.Addr.String())
	}
	if t.Path != "" {
		b = appendString(append(b, `,"path":`...), t.Path)
	}
	if t.Annotation != "" {
		b = appendString(append(b, `,"annotation":`...), t.Annotation)
	}
	b = strconv.AppendUint(append(b, `,"uid":`...), uint64(t.UID), 10)
	if b, err = t.Since.AppendText(append(b, `,"since":"`...)); err != nil {
		return nil, fmt.Errorf("since: %w", err)
	}
	b = appendString(append(b, `","evidence":`...), t.Evidence)
	if t.Until != nil {
		b = strconv.AppendInt(append(b, `,"until":`...), *t.Until, 10)
	}
	if t.PID != 0 {
		b = strconv.AppendInt(append(b, `,"pid":`...), int64(t.PID), 10)
	}
	b = strconv.AppendUint(append(b, `,"order":`...), t.Order, 10)
	if t.Seen {
		b = append(b, `,"seen":true`...)
	}
	if t.SocketUID != 0 {
		b = strconv.AppendUint(append(b, `,"socket_uid":`...), uint64(t.SocketUID), 10)
	}
	if t.Started != 0 {
		b = strconv.AppendUint(append(b, `,"started":`...), t.Started, 10)
	}
	if t.Elsewhere {
		b = append(b, `,"elsewhere":true`...)
	}
	return append(b, '}'), nil
}

// appendString appends a string of JSON.
func appendString(b []byte, s string) []byte {
	if strings.ContainsFunc(s, needsEscape) {
		escaped, _ := json.Marshal(s) // of a string it always can
		return append(b, escaped...)
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// needsEscape tells whether encoding/json might write a character in another way.
func needsEscape(c rune) bool {
	switch c {
	case '"', '\\', '<', '>', '&':
		return true
	}
	return c < ' ' || c > '~'
}
