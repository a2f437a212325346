package rpcbind

import (
	"fmt"

	"github.com/quaymaster/quaymaster/wire/xdr"
)

// A Mapping is one row of the version 2 port map (RFC 1833, section 3.1).
type Mapping struct {
	Program  uint32 // RPC program number
	Version  uint32
	Protocol uint32 // IP protocol number: 6 is TCP, 17 is UDP
	Port     uint32 // 0 in a GETPORT call; the wire allows more than 65535
}

// ParseMapping decodes the arguments of a SET, UNSET or GETPORT call. Bytes
// after them are accepted, as all port mappers do. Errors wrap those of package xdr.
func ParseMapping(b []byte) (Mapping, error) {
	r := xdr.NewReader(b)
	m := ReadMapping(&r)
	if err := r.Err(); err != nil {
		return Mapping{}, fmt.Errorf("rpcbind: mapping: %w", err)
	}
	return m, nil
}

// ReadMapping reads a mapping, of which a list that is long may be read one by one.
func ReadMapping(r *xdr.Reader) Mapping {
	return Mapping{Program: r.Uint32(), Version: r.Uint32(), Protocol: r.Uint32(), Port: r.Uint32()}
}

// Append appends the mapping, 16 bytes.
func (m Mapping) Append(b []byte) []byte {
	b = xdr.AppendUint32(b, m.Program)
	b = xdr.AppendUint32(b, m.Version)
	b = xdr.AppendUint32(b, m.Protocol)
	return xdr.AppendUint32(b, m.Port)
}

// ParseMappings decodes the result of a version 2 DUMP (pmaplist, RFC 1833,
// section 3.1). Bytes after it are accepted. Errors wrap those of package xdr.
func ParseMappings(b []byte) ([]Mapping, error) {
	return parseList(b, "pmaplist", ReadMapping)
}

// A list of RFC 1833 is optional data: 1, element, 1, element, …, 0, not a
// counted array (RFC 4506, section 4.19).

// AppendNext appends the word before an element of a list.
func AppendNext(b []byte) []byte { return xdr.AppendBool(b, true) }

// AppendEnd appends the word that ends a list.
func AppendEnd(b []byte) []byte { return xdr.AppendBool(b, false) }

func readList[T any](r *xdr.Reader, element func(*xdr.Reader) T) []T {
	var list []T
	for r.Bool() {
		e := element(r)
		if r.Err() != nil {
			return nil
		}
		list = append(list, e)
	}
	return list
}

func parseList[T any](b []byte, what string, element func(*xdr.Reader) T) ([]T, error) {
	r := xdr.NewReader(b)
	list := readList(&r, element)
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("rpcbind: %s: %w", what, err)
	}
	return list, nil
}
