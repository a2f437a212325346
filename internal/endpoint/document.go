package endpoint

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A Document is a registration as programs read and write it: in JSON, in
// files, and on the control socket. docs/endpoints.md describes it to users.
type Document struct {
	ID         string     `json:"id"`             // 12 hexadecimal digits; not read
	Dialect    string     `json:"dialect"`        // "onc"
	Program    uint32     `json:"program"`        // ONC program number
	Version    uint32     `json:"version"`        // of the program
	NetID      string     `json:"netid"`          // udp, tcp, udp6, tcp6, local
	Address    string     `json:"address"`        // IP address without brackets, or the path of a local socket
	Port       uint16     `json:"port"`           // 0 for a local socket
	Owner      string     `json:"owner"`          // user's name, or the uid where it has none; not read
	UID        uint32     `json:"uid"`            // of the owner; not read
	PID        int32      `json:"pid"`            // of the process that registered, or that the registration lives with; 0 if unknown; not read
	Evidence   string     `json:"evidence"`       // why it is believed, a word of [Evidence]; not read
	Until      *time.Time `json:"until"`          // when waiting or a lease ends, else null; not read
	Since      time.Time  `json:"since,omitzero"` // when the registration was made; not read
	Annotation string     `json:"annotation"`     // free text
}

// Document returns r for programs; owner is the owner's name.
func (r *Registration) Document(owner string) Document {
	d := Document{
		Dialect: r.Dialect.String(), Program: r.Program, Version: r.Version,
		NetID: r.NetID.String(), Address: r.Path,
		Owner: owner, UID: r.Owner.UID, PID: r.PID, Evidence: r.Evidence.String(), Since: r.Since, Annotation: r.Annotation,
	}
	if r.ID != 0 { // or it was refused
		d.ID = r.ID.String()
	}
	if !r.Until.IsZero() {
		until := r.Until.Round(0) // of the wall clock, as time.Now says it
		d.Until = &until
	}
	if r.NetID.IsIP() {
		d.Address = r.Addr.Addr().String()
		d.Port = r.Addr.Port()
	}
	return d
}

// Registration returns the registration that d asks for, valid but for its
// owner, which the kernel tells and no document.
func (d *Document) Registration() (Registration, error) {
	netid, ok := rpcbind.ParseNetID(d.NetID)
	switch {
	case d.Dialect != ONC.String():
		return Registration{}, fmt.Errorf("unknown dialect %q: want onc", d.Dialect)
	case !ok:
		return Registration{}, fmt.Errorf("unknown netid %q: want %s", d.NetID, netIDNames())
	}
	r := Registration{
		Interface:  Program(d.Program, d.Version),
		Endpoint:   Endpoint{NetID: netid},
		Annotation: d.Annotation,
	}
	if !netid.IsIP() {
		if d.Port != 0 {
			return Registration{}, fmt.Errorf("port %d: %s has a path and no port", d.Port, netid)
		}
		r.Path = d.Address
		return r, r.Validate()
	}
	addr, err := netip.ParseAddr(d.Address)
	if err != nil {
		return Registration{}, fmt.Errorf("%q is no IP address", d.Address)
	}
	r.Addr = netip.AddrPortFrom(addr, d.Port)
	return r, r.Validate()
}

func netIDNames() string {
	var names []string
	for _, n := range rpcbind.NetIDs {
		names = append(names, n.String())
	}
	return strings.Join(names, ", ")
}
