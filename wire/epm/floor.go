package epm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/quaymaster/quaymaster/wire/ndr"
)

// Limits of towers.
const (
	// MaxTower is the most bytes a tower may have. The longest that is written
	// here, two names of MaxName bytes, has 587.
	MaxTower = 2048
	// MaxFloors is the most floors a tower may have. The protocol sequences of
	// C706 have at most six.
	MaxFloors = 8
)

// A Protocol is the identifier that a floor begins with (C706, appendix I;
// MS-RPCE, section 2.1).
type Protocol uint8

// Protocol identifiers.
const (
	ProtocolTCP       Protocol = 0x07
	ProtocolUDP       Protocol = 0x08
	ProtocolIP        Protocol = 0x09
	ProtocolNCADG     Protocol = 0x0a // connectionless RPC
	ProtocolNCACN     Protocol = 0x0b // connection-oriented RPC
	ProtocolNCALRPC   Protocol = 0x0c
	ProtocolUUID      Protocol = 0x0d // an interface or a transfer syntax
	ProtocolSMB       Protocol = 0x0f // a named pipe
	ProtocolNamedPipe Protocol = 0x10 // a named pipe in C706, the name of an ncalrpc endpoint in practice
	ProtocolNetBIOS   Protocol = 0x11 // the name of a host
	ProtocolHTTP      Protocol = 0x1f
)

var protocolNames = map[Protocol]string{
	ProtocolTCP: "tcp", ProtocolUDP: "udp", ProtocolIP: "ip", ProtocolNCADG: "ncadg", ProtocolNCACN: "ncacn",
	ProtocolNCALRPC: "ncalrpc", ProtocolUUID: "uuid", ProtocolSMB: "smb", ProtocolNamedPipe: "named pipe",
	ProtocolNetBIOS: "netbios", ProtocolHTTP: "http",
}

// String returns a short name.
func (p Protocol) String() string {
	if name, ok := protocolNames[p]; ok {
		return name
	}
	return fmt.Sprintf("Protocol(%#x)", uint8(p))
}

// A Floor is one layer of a tower (C706, appendix L): a protocol and what one
// must know to use it. Its slices are parts of the tower that was read.
type Floor struct {
	Protocol Protocol
	Left     []byte // the rest of the left-hand side, after the identifier
	Right    []byte // the right-hand side
}

// errFloor: a floor is not as its place in the tower or its protocol requires.
var errFloor = errors.New("malformed floor")

// ParseFloors appends the floors of the tower in b to a slice; with room for
// MaxFloors in it, nothing is allocated. Counts are little-endian whatever the
// byte order of the PDU. Bytes after the last floor are accepted, as by Samba and
// Wine, which only look at what the floors say. Errors are of a malformed tower.
func ParseFloors(floors []Floor, b []byte) ([]Floor, error) {
	floors, err := readFloors(floors, b)
	if err != nil {
		return nil, fmt.Errorf("epm: tower: %w", err)
	}
	return floors, nil
}

func readFloors(floors []Floor, b []byte) ([]Floor, error) {
	r := ndr.NewReader(b, ndr.LittleEndian)
	if len(b) > MaxTower {
		r.Fail(ndr.ErrTooLong)
	}
	n := readShort(&r)
	if n > MaxFloors {
		r.Fail(ndr.ErrTooLong)
	}
	for range n {
		left := r.Bytes(readShort(&r))
		if len(left) == 0 {
			r.Fail(errFloor) // there is no identifier
		}
		right := r.Bytes(readShort(&r))
		if r.Err() != nil {
			return nil, r.Err()
		}
		floors = append(floors, Floor{Protocol(left[0]), left[1:], right})
	}
	return floors, r.Err()
}

// readShort reads a count, which is not aligned.
func readShort(r *ndr.Reader) int {
	p := r.Bytes(2)
	if p == nil {
		return 0
	}
	return int(binary.LittleEndian.Uint16(p))
}
