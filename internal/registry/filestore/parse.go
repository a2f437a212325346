package filestore

import (
	"fmt"
	"time"

	"github.com/quaymaster/quaymaster/internal/config"
	"github.com/quaymaster/quaymaster/internal/endpoint"
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
		if rows[i].Program == rpcbind.Program {
			continue
		}
		m := file.Mistake(fmt.Sprintf("$[%d]", i), "")
		reg, err := rows[i].registration()
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
	Dialect    string      `yaml:"dialect"`
	Program    fileProgram `yaml:"program"`
	Version    uint32      `yaml:"version"`
	NetID      string      `yaml:"netid"`
	Address    string      `yaml:"address"` // "*" is every address of the host
	Port       uint16      `yaml:"port"`
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
		Dialect: r.Dialect, Program: uint32(r.Program), Version: r.Version, NetID: r.NetID,
		Address: r.Address, Port: r.Port, Annotation: r.Annotation,
	}
	if d.Dialect == "" {
		d.Dialect = endpoint.ONC.String()
	}
	if n, _ := rpcbind.ParseNetID(d.NetID); n.IsIP() && d.Address == "*" {
		d.Address = endpoint.Everywhere(n).String()
	}
	reg, err := d.Registration()
	reg.ID, reg.Since = endpoint.ID(r.ID), time.Time(r.Since)
	return reg, err
}

type fileProgram uint32

func (p *fileProgram) UnmarshalText(b []byte) error {
	n, err := ParseProgram(string(b))
	*p = fileProgram(n)
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
