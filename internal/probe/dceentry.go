package probe

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

const (
	// maxAnnotation is the most bytes of an annotation that are kept: four times what C706 lets it have.
	maxAnnotation = 4 * epm.MaxAnnotation
	// maxTold is the most bytes of what cannot be read that are shown.
	maxTold = 48
)

// entry returns what a row says, for a client that has asked this host, with what is wrong
// with the row, and its transfer syntax.
func (row *dceRow) entry(host netip.Addr) (e Entry, transfer dcerpc.Syntax) {
	e.Dialect, e.Object = endpoint.DCE, row.object
	annotation, _, _ := bytes.Cut(row.annotation[:min(len(row.annotation), maxAnnotation)], []byte{0})
	e.Annotation = string(annotation)
	if row.tower == nil {
		e.wrong("the row has no tower: it does not say where")
		return e, dcerpc.NDR
	}
	t, err := epm.ParseTower(row.tower)
	switch {
	case err == epm.ErrProtocol:
		e.Interface = endpoint.FromSyntax(t.Interface)
		e.Told = floorsText(row.tower)
		e.wrong("its protocol sequence is not known")
		return e, t.Transfer
	case err != nil:
		e.Interface = interfaceOf(row.tower)
		e.Told = hexText(row.tower)
		e.wrong("its tower cannot be read: %v", err)
		return e, dcerpc.NDR
	}
	e.Interface = endpoint.FromSyntax(t.Interface)
	if t.ProtSeq.HasPort() {
		e.at(host, t, row.tower)
	} else {
		e.named(t)
	}
	if t.Transfer != dcerpc.NDR {
		e.wrong("it is told for the transfer syntax %s", t.Transfer)
	}
	return e, t.Transfer
}

// wrong notes what is wrong with a row.
func (e *Entry) wrong(format string, args ...any) {
	e.Problems = append(e.Problems, fmt.Sprintf(format, args...))
}

// at sets the endpoint of a protocol sequence over IP.
func (e *Entry) at(host netip.Addr, t epm.Tower, tower []byte) {
	addr := t.Addr
	if !addr.IsValid() {
		addr, e.Told = host, toldAddress(tower)
	}
	e.Endpoint = endpoint.At(t.ProtSeq, netip.AddrPortFrom(addr, t.Port))
	if t.Port == 0 {
		e.wrong("it has no port")
	}
}

// named sets the endpoint of a pipe or an endpoint of ncalrpc.
func (e *Entry) named(t epm.Tower) {
	e.Endpoint = endpoint.Endpoint{ProtSeq: t.ProtSeq, Path: t.Name}
	if host := strings.TrimPrefix(t.Host, `\\`); host != "" && strings.HasPrefix(t.Name, `\`) {
		e.Path = `\\` + host + t.Name
	}
	if t.Name == "" {
		e.wrong("it has no name")
	}
}

// toldAddress returns the text of an address that names no host: 0.0.0.0 nearly always.
func toldAddress(tower []byte) string {
	floors, err := epm.ParseFloors(nil, tower)
	switch {
	case err != nil || len(floors) < 5 || len(floors[4].Right) == 0:
		return "no address"
	case len(floors[4].Right) == 4:
		return "0.0.0.0"
	case len(floors[4].Right) == 16:
		return netip.AddrFrom16([16]byte(floors[4].Right)).String()
	}
	return hexText(floors[4].Right)
}

// floorsText returns the floors of a tower below the interface and the transfer syntax.
func floorsText(tower []byte) string {
	floors, err := epm.ParseFloors(nil, tower)
	if err != nil || len(floors) <= 2 {
		return "nothing below the interface"
	}
	var text []string
	for _, f := range floors[2:] {
		text = append(text, strings.TrimSpace(f.Protocol.String()+" "+hexText(f.Right)))
	}
	return strings.Join(text, ", ")
}

func hexText(b []byte) string {
	if len(b) > maxTold {
		return fmt.Sprintf("%s… (%d bytes)", hex.EncodeToString(b[:maxTold]), len(b))
	}
	return hex.EncodeToString(b)
}

// interfaceOf returns the interface of a tower of which not all can be read.
func interfaceOf(tower []byte) endpoint.Interface {
	i := endpoint.Interface{Dialect: endpoint.DCE}
	if len(tower) < 2 {
		return i
	}
	first := bytes.Clone(tower[:min(len(tower), epm.MaxTower)])
	binary.LittleEndian.PutUint16(first, 1)
	floors, err := epm.ParseFloors(nil, first)
	if err != nil || floors[0].Protocol != epm.ProtocolUUID || len(floors[0].Left) != ndr.UUIDSize+2 {
		return i
	}
	i.UUID = ndr.DecodeUUID(floors[0].Left, binary.LittleEndian)
	i.Major = binary.LittleEndian.Uint16(floors[0].Left[ndr.UUIDSize:])
	if len(floors[0].Right) == 2 {
		i.Minor = binary.LittleEndian.Uint16(floors[0].Right)
	}
	return i
}
