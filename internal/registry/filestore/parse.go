package filestore

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// Parse reads a list of endpoints, YAML or JSON, as people write them and as
// "endpoints -o json" prints them: see docs/endpoints.md. The name is the
// file's, for messages. The mapper's own rows are left out, so that what one
// daemon printed can be given to another.
//
// The registrations are valid and are nobody's: what the file says of owners and
// evidence is not believed. Only a [Store] has a use for the fields ID and Since,
// which are zero where the file does not say them.
//
// The error is a [config.Mistakes]: all that is wrong with the file.
func Parse(name string, text []byte) ([]endpoint.Registration, error) {
	return parse(name, text, func(*endpoint.Registration, int) error { return nil })
}

// parse is Parse that also asks check about each registration and the line where
// it begins.
func parse(name string, text []byte, check func(*endpoint.Registration, int) error) ([]endpoint.Registration, error) {
	var rows []fileRow
	file, err := config.Decode(name, text, &rows)
	if err != nil {
		return nil, err
	}
	var regs []endpoint.Registration
	var mistakes config.Mistakes
	for i := range rows {
		m := file.Mistake(fmt.Sprintf("$[%d]", i), "")
		reg, err := rows[i].registration()
		if err == nil && reg.IsMapper() {
			continue
		}
		if err == nil {
			err = check(&reg, m.Line)
		}
		if err != nil {
			m.Message = err.Error()
			mistakes = append(mistakes, m)
		}
		regs = append(regs, reg)
	}
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	return regs, nil
}

// A fileRow is an endpoint in a file: what [endpoint.Document] prints, with names
// for programs, and without belief in what only the daemon can know.
type fileRow struct {
	Dialect    string      `yaml:"dialect"` // empty: as the other keys say
	Program    fileProgram `yaml:"program"`
	UUID       fileUUID    `yaml:"uuid"`
	Version    fileVersion `yaml:"version"`
	Object     string      `yaml:"object"`
	NetID      string      `yaml:"netid"`
	ProtSeq    string      `yaml:"protseq"`
	Address    string      `yaml:"address"` // "*" is every address of the host
	Port       uint16      `yaml:"port"`
	Path       string      `yaml:"path"`
	Annotation string      `yaml:"annotation"`
	ID         fileID      `yaml:"id"`
	Since      fileTime    `yaml:"since"`

	Owner    string  `yaml:"owner"`    // not believed
	UID      uint32  `yaml:"uid"`      // not believed
	Evidence string  `yaml:"evidence"` // not believed
	Until    *string `yaml:"until"`    // not believed
	PID      *int32  `yaml:"pid"`      // not believed
}

// registration returns the registration that a row asks for.
func (r *fileRow) registration() (endpoint.Registration, error) {
	d := endpoint.Document{
		Dialect: r.Dialect, Program: uint32(r.Program), UUID: string(r.UUID), Version: endpoint.Version(r.Version), Object: r.Object,
		NetID: r.NetID, ProtSeq: r.ProtSeq, Address: r.Address, Port: r.Port, Path: r.Path, Annotation: r.Annotation,
	}
	switch {
	case d.Dialect != "":
	case d.UUID != "" || d.ProtSeq != "":
		d.Dialect = endpoint.DCE.String()
	default:
		d.Dialect = endpoint.ONC.String()
	}
	if d.Address == "*" {
		d.Address = everywhere(&d)
	}
	reg, err := d.Registration()
	reg.ID, reg.Since = endpoint.ID(r.ID), time.Time(r.Since)
	return reg, err
}

// everywhere returns the address that is every one of the host on d's transport,
// or "*" where there is no such thing.
func everywhere(d *endpoint.Document) string {
	n, _ := rpcbind.ParseNetID(d.NetID)
	if p, ok := epm.ParseProtSeq(d.ProtSeq); ok {
		n = endpoint.At(p, netip.AddrPort{}).NetID
	}
	if !n.IsIP() {
		return d.Address
	}
	return endpoint.Everywhere(n).String()
}

type fileProgram uint32

func (p *fileProgram) UnmarshalText(b []byte) error {
	n, err := ParseProgram(string(b))
	*p = fileProgram(n)
	return err
}

// A fileUUID is that of a DCE interface, as text, whatever name it was called by.
type fileUUID string

func (u *fileUUID) UnmarshalText(b []byte) error {
	v, err := ParseUUID(string(b))
	*u = fileUUID(v.String())
	return err
}

// A fileVersion may look like a number, of which 1.10 is another than 1.1.
type fileVersion endpoint.Version

func (v *fileVersion) UnmarshalText(b []byte) error {
	got, err := endpoint.ParseVersion(string(b))
	*v = fileVersion(got)
	return err
}

// A fileID may look like a number, which YAML tells apart from text: 123456789012.
type fileID endpoint.ID

func (id *fileID) UnmarshalText(b []byte) error {
	v, err := endpoint.ParseID(string(b))
	*id = fileID(v)
	return err
}

type fileTime time.Time

func (t *fileTime) UnmarshalText(b []byte) error {
	v, err := time.Parse(time.RFC3339, string(b))
	if err != nil {
		return fmt.Errorf("%q is no time such as 2026-11-02T10:00:00Z", b)
	}
	*t = fileTime(v.UTC())
	return nil
}
