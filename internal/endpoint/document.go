package endpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A Document is a registration as programs read and write it: in JSON, in
// files, and on the control socket. docs/endpoints.md describes it to users.
// JSON has the fields of its dialect only.
type Document struct {
	ID         string     `json:"id"`         // 12 hexadecimal digits; not read
	Dialect    string     `json:"dialect"`    // "onc", "dce"
	Program    uint32     `json:"program"`    // ONC program number
	UUID       string     `json:"uuid"`       // of a DCE interface
	Version    Version    `json:"version"`    // of the program or interface
	Object     string     `json:"object"`     // UUID of the DCE object; empty: none or any
	NetID      string     `json:"netid"`      // of ONC: udp, tcp, udp6, tcp6, local
	ProtSeq    string     `json:"protseq"`    // of DCE: ncacn_ip_tcp, ncadg_ip_udp, ncacn_np, ncalrpc, ncacn_http
	Address    string     `json:"address"`    // IP address without brackets, of ONC also the path of a local socket; empty where there is none
	Port       uint16     `json:"port"`       // 0 where there is none
	Path       string     `json:"path"`       // of DCE: the pipe or name; empty where there is none
	Owner      string     `json:"owner"`      // user's name, or the uid where it has none, or another host's address; not read
	UID        uint32     `json:"uid"`        // of the owner, NoUID of another host; not read
	PID        int32      `json:"pid"`        // of the process that registered, or that the registration lives with; 0 if unknown; not read
	Evidence   string     `json:"evidence"`   // why it is believed, a word of [Evidence]; not read
	Until      *time.Time `json:"until"`      // when waiting or a lease ends, else null; not read
	Since      time.Time  `json:"since"`      // when the registration was made; not read
	Annotation string     `json:"annotation"` // free text

	Name string `json:"-"` // of the interface; empty: as the catalog has it
}

// MarshalJSON implements [json.Marshaler].
func (d Document) MarshalJSON() ([]byte, error) {
	type tail struct {
		Owner      string     `json:"owner"`
		UID        uint32     `json:"uid"`
		PID        int32      `json:"pid"`
		Evidence   string     `json:"evidence"`
		Until      *time.Time `json:"until"`
		Since      time.Time  `json:"since,omitzero"`
		Annotation string     `json:"annotation"`
	}
	end := tail{d.Owner, d.UID, d.PID, d.Evidence, d.Until, d.Since, d.Annotation}
	if d.Dialect == DCE.String() {
		return json.Marshal(struct {
			ID      string  `json:"id"`
			Dialect string  `json:"dialect"`
			UUID    string  `json:"uuid"`
			Version Version `json:"version"`
			Object  string  `json:"object"`
			ProtSeq string  `json:"protseq"`
			Address string  `json:"address"`
			Port    uint16  `json:"port"`
			Path    string  `json:"path"`
			tail
		}{d.ID, d.Dialect, d.UUID, d.Version, d.Object, d.ProtSeq, d.Address, d.Port, d.Path, end})
	}
	return json.Marshal(struct {
		ID      string  `json:"id"`
		Dialect string  `json:"dialect"`
		Program uint32  `json:"program"`
		Version Version `json:"version"`
		NetID   string  `json:"netid"`
		Address string  `json:"address"`
		Port    uint16  `json:"port"`
		tail
	}{d.ID, d.Dialect, d.Program, d.Version, d.NetID, d.Address, d.Port, end})
}

// Transport returns the word for the way to the endpoint, as [Endpoint.Transport] does.
func (d *Document) Transport() string {
	if p, ok := epm.ParseProtSeq(d.ProtSeq); ok {
		return p.Short()
	}
	return d.NetID
}

// Document returns r for programs; owner is the owner's name.
func (r *Registration) Document(owner string) Document {
	d := Document{
		Dialect: r.Dialect.String(), Version: r.version(),
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
	if r.Dialect == DCE {
		d.UUID, d.ProtSeq, d.Path = r.UUID.String(), r.ProtSeq.String(), r.Path
		if !r.Object.IsNil() {
			d.Object = r.Object.String()
		}
		return d
	}
	d.Program, d.NetID = r.Program, r.NetID.String()
	if !r.NetID.IsIP() {
		d.Address = r.Path
	}
	return d
}

// Registration returns the registration that d asks for, valid but for its
// owner, which the kernel tells and no document.
func (d *Document) Registration() (Registration, error) {
	r := Registration{Annotation: d.Annotation}
	var err error
	switch d.Dialect {
	case ONC.String():
		err = d.onc(&r)
	case DCE.String():
		err = d.dce(&r)
	default:
		err = fmt.Errorf("unknown dialect %q: want onc or dce", d.Dialect)
	}
	if err == nil {
		err = r.Validate()
	}
	return r, err
}

// onc reads what is of ONC.
func (d *Document) onc(r *Registration) error {
	netid, ok := rpcbind.ParseNetID(d.NetID)
	switch {
	case !ok:
		return fmt.Errorf("unknown netid %q: want %s", d.NetID, netIDNames())
	case d.Version.Dotted:
		return fmt.Errorf("version %s: a program's version is a number", d.Version)
	case d.UUID != "", d.Object != "", d.ProtSeq != "", d.Path != "":
		return errors.New("uuid, object, protseq and path are of dce, not of onc")
	}
	r.Interface, r.NetID = Program(d.Program, d.Version.Major), netid
	if netid.IsIP() {
		return d.ip(r)
	}
	r.Path = d.Address
	return d.noPort(netid.String())
}

// dce reads what is of DCE.
func (d *Document) dce(r *Registration) error {
	uuid, err := ndr.ParseUUID(d.UUID)
	if err != nil {
		return err
	}
	if d.Object != "" {
		if r.Object, err = ndr.ParseUUID(d.Object); err != nil {
			return fmt.Errorf("object: %w", err)
		}
	}
	protseq, ok := epm.ParseProtSeq(d.ProtSeq)
	switch {
	case !ok:
		return fmt.Errorf("unknown protocol sequence %q: want tcp, udp, np, lrpc or http, or its long name such as ncacn_ip_tcp", d.ProtSeq)
	case !d.Version.Dotted || d.Version.Major > 1<<16-1:
		return fmt.Errorf("version %s: an interface's version is MAJOR.MINOR, as in 1.0", d.Version)
	case d.Program != 0, d.NetID != "":
		return errors.New("program and netid are of onc, not of dce")
	}
	r.Interface = Interface{Dialect: DCE, UUID: uuid, Major: uint16(d.Version.Major), Minor: d.Version.Minor}
	r.Endpoint = At(protseq, netip.AddrPort{})
	r.Path = d.Path
	if r.NetID.IsIP() {
		return d.ip(r)
	}
	if d.Address != "" {
		return fmt.Errorf("address %q: %s has a path and no address", d.Address, protseq.Short())
	}
	return d.noPort(protseq.Short())
}

// ip reads an address and port.
func (d *Document) ip(r *Registration) error {
	addr, err := netip.ParseAddr(d.Address)
	if err != nil {
		return fmt.Errorf("%q is no IP address", d.Address)
	}
	r.Addr = netip.AddrPortFrom(addr, d.Port)
	return nil
}

func (d *Document) noPort(transport string) error {
	if d.Port != 0 {
		return fmt.Errorf("port %d: %s has a path and no port", d.Port, transport)
	}
	return nil
}

func netIDNames() string {
	var names []string
	for _, n := range rpcbind.NetIDs {
		names = append(names, n.String())
	}
	return strings.Join(names, ", ")
}
