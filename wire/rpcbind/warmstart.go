package rpcbind

import (
	"fmt"

	"github.com/quaymaster/quaymaster/wire/xdr"
)

// rpcbind -w leaves its map in two files when it ends, on Debian in /run/rpcbind:
// rpcbind.xdr has the result of a version 4 DUMP, portmap.xdr that of version 2,
// and nothing follows.

// maxFileString is the most bytes of a string in a file. From who registers
// rpcbind takes every string that a message has room for, unlike we do, and a
// message has 9000 bytes (RPC_MAXDATASIZE of libtirpc).
const maxFileString = 9000

// ParseRPCBFile decodes a file rpcbind.xdr. The strings of a row can have up to
// 9000 bytes. Errors wrap those of package xdr; bytes after the list are
// [xdr.ErrTrailing].
func ParseRPCBFile(b []byte) ([]RPCB, error) {
	return parseFile(b, "rpcbind.xdr", func(r *xdr.Reader) RPCB {
		return RPCB{
			Program: r.Uint32(), Version: r.Uint32(),
			NetID: r.String(maxFileString), Address: r.String(maxFileString), Owner: r.String(maxFileString),
		}
	})
}

// ParseMappingFile decodes a file portmap.xdr. Errors wrap those of package xdr;
// bytes after the list are [xdr.ErrTrailing].
func ParseMappingFile(b []byte) ([]Mapping, error) { return parseFile(b, "portmap.xdr", ReadMapping) }

func parseFile[T any](b []byte, what string, element func(*xdr.Reader) T) ([]T, error) {
	r := xdr.NewReader(b)
	list := readList(&r, element)
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("rpcbind: %s: %w", what, err)
	}
	return list, nil
}
