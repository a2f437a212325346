package epm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// MaxName is the most bytes of a pipe's, an ncalrpc endpoint's or a host's name, without
// its NUL: Windows has no longer pipes, the DNS no longer hosts.
const MaxName = 256

// ErrProtocol: a well-formed tower of a protocol sequence that is none of [ProtSeqs].
var ErrProtocol = errors.New("epm: unknown protocol sequence")

// A Tower says where a server of an interface is reached (protocol_tower_t, C706, appendix
// L). In a call of ept_map it says what is looked for, and the endpoint may be
// missing: then Port is 0 and Name empty. The zero value is no tower.
type Tower struct {
	Interface dcerpc.Syntax
	Transfer  dcerpc.Syntax
	ProtSeq   ProtSeq    // 0: another, or none; then no field below is set
	Port      uint16     // where ProtSeq has a port
	Addr      netip.Addr // where ProtSeq has a port: IPv4; zero if the tower has none or 0.0.0.0
	Name      string     // NP: the pipe, such as `\pipe\winreg`; LRPC: the endpoint; at most MaxName bytes
	Host      string     // NP: the host, often empty; at most MaxName bytes
}

// ParseTower decodes a tower. One of another protocol sequence is returned with the
// zero ProtSeq and [ErrProtocol], not wrapped; so is one that ends above the floor
// which tells TCP from named pipes. Any other error is of a malformed tower. Bytes
// after the last floor are accepted, as in [ParseFloors].
//
// What real peers leave out may be missing: the minor version of the RPC protocol,
// the right-hand side of an endpoint or address, the floor of the address,
// the NUL of a name. The protocol of the address's floor is not looked at
// (Windows' towers of HTTP have 0x20 there).
func ParseTower(b []byte) (Tower, error) {
	t, err := readTower(b)
	if err != nil && err != ErrProtocol {
		return Tower{}, fmt.Errorf("epm: tower: %w", err)
	}
	return t, err
}

func readTower(b []byte) (Tower, error) {
	var room [MaxFloors]Floor
	floors, err := readFloors(room[:0], b)
	if err != nil {
		return Tower{}, err
	}
	if len(floors) < 2 {
		return Tower{}, errFloor
	}
	t := Tower{Interface: floors[0].syntax(), Transfer: floors[1].syntax()}
	if !floors[0].isSyntax() || !floors[1].isSyntax() {
		return Tower{}, errFloor
	}
	t.ProtSeq = protSeqOf(floors[2:])
	if t.ProtSeq == 0 {
		return t, ErrProtocol
	}
	var endpoint, host Floor
	if len(floors) > 3 {
		endpoint = floors[3]
	}
	if len(floors) > 4 {
		host = floors[4]
	}
	if t.ProtSeq.HasPort() {
		t.Port, err = endpoint.port()
		t.Addr = host.addr()
	} else {
		t.Name, err = endpoint.name()
		if t.ProtSeq == NP && host.Protocol == ProtocolNetBIOS && err == nil {
			t.Host, err = host.name()
		}
	}
	if err != nil {
		return Tower{}, err
	}
	return t, nil
}

// protSeqOf returns the protocol sequence that the floors from the third on are of.
func protSeqOf(floors []Floor) ProtSeq {
	var rpc, transport Protocol
	if len(floors) > 0 {
		rpc = floors[0].Protocol
	}
	if len(floors) > 1 {
		transport = floors[1].Protocol
	}
	switch {
	case rpc == ProtocolNCALRPC && (transport == ProtocolNamedPipe || len(floors) == 1):
		return LRPC
	case rpc == ProtocolNCADG && transport == ProtocolUDP:
		return UDP
	case rpc != ProtocolNCACN:
		return 0
	}
	switch transport {
	case ProtocolTCP:
		return TCP
	case ProtocolHTTP:
		return HTTP
	case ProtocolSMB, ProtocolNamedPipe: // MS-RPCE, section 2.1.1.2, has the first instead of C706's
		return NP
	}
	return 0
}

// A floor of an interface or a transfer syntax: UUID and major version on the left, minor on the right.

func (f Floor) isSyntax() bool {
	return f.Protocol == ProtocolUUID && len(f.Left) == ndr.UUIDSize+2 && len(f.Right) == 2
}

func (f Floor) syntax() dcerpc.Syntax {
	if !f.isSyntax() {
		return dcerpc.Syntax{}
	}
	return dcerpc.Syntax{
		UUID:  ndr.DecodeUUID(f.Left, binary.LittleEndian),
		Major: binary.LittleEndian.Uint16(f.Left[ndr.UUIDSize:]),
		Minor: binary.LittleEndian.Uint16(f.Right),
	}
}

func (f Floor) port() (uint16, error) {
	switch len(f.Right) {
	case 0:
		return 0, nil
	case 2:
		return binary.BigEndian.Uint16(f.Right), nil
	}
	return 0, errFloor
}

// addr returns the zero Addr for 0.0.0.0, which says nothing, and for what is no
// IPv4 address, since no other was ever agreed on.
func (f Floor) addr() netip.Addr {
	if len(f.Right) != 4 || binary.BigEndian.Uint32(f.Right) == 0 {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(f.Right))
}

func (f Floor) name() (string, error) {
	name := text(f.Right)
	if len(name) > MaxName {
		return "", ndr.ErrTooLong
	}
	return name, nil
}

// Append appends the tower as Samba and Windows write it: four floors for LRPC,
// five for the others, two for the zero ProtSeq. An address that is not IPv4 is
// written as 0.0.0.0. Names are cut to MaxName bytes.
func (t Tower) Append(b []byte) []byte {
	var floors byte
	switch t.ProtSeq {
	case 0:
		floors = 2
	case LRPC:
		floors = 4
	default:
		floors = 5
	}
	b = append(b, floors, 0)
	b = appendSyntax(b, t.Interface)
	b = appendSyntax(b, t.Transfer)
	switch t.ProtSeq {
	case TCP:
		return t.appendIP(b, ProtocolNCACN, ProtocolTCP)
	case UDP:
		return t.appendIP(b, ProtocolNCADG, ProtocolUDP)
	case HTTP:
		return t.appendIP(b, ProtocolNCACN, ProtocolHTTP)
	case NP:
		b = appendFloor(b, ProtocolNCACN, 0, 0)
		b = appendName(b, ProtocolSMB, t.Name)
		return appendName(b, ProtocolNetBIOS, t.Host)
	case LRPC:
		b = appendFloor(b, ProtocolNCALRPC, 0, 0)
		return appendName(b, ProtocolNamedPipe, t.Name)
	}
	return b
}

func (t Tower) appendIP(b []byte, rpc, transport Protocol) []byte {
	var addr [4]byte
	if a := t.Addr.Unmap(); a.Is4() {
		addr = a.As4()
	}
	b = appendFloor(b, rpc, 0, 0)
	b = appendFloor(b, transport, byte(t.Port>>8), byte(t.Port))
	return appendFloor(b, ProtocolIP, addr[:]...)
}

func appendFloor(b []byte, p Protocol, right ...byte) []byte {
	b = append(b, 1, 0, byte(p))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(right)))
	return append(b, right...)
}

func appendName(b []byte, p Protocol, name string) []byte {
	name = clip(name, MaxName)
	b = append(b, 1, 0, byte(p))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(name)+1))
	b = append(b, name...)
	return append(b, 0)
}

func appendSyntax(b []byte, s dcerpc.Syntax) []byte {
	b = append(b, 1+ndr.UUIDSize+2, 0, byte(ProtocolUUID))
	// Not ndr.AppendUUID: b goes through an interface there, and the room of appendTwr to the heap.
	u := &s.UUID
	b = append(b, u[3], u[2], u[1], u[0], u[5], u[4], u[7], u[6])
	b = append(b, u[8:]...)
	b = binary.LittleEndian.AppendUint16(b, s.Major)
	b = append(b, 2, 0)
	return binary.LittleEndian.AppendUint16(b, s.Minor)
}

// twr_t (C706, appendix L): the tower as an array of octets with its length.

func appendTwr(w *ndr.Writer, t Tower) {
	var room [128]byte // most towers have 75
	b := t.Append(room[:0])
	w.Uint32(uint32(len(b))) // the array's maximum count
	w.Uint32(uint32(len(b))) // tower_length
	w.Bytes(b)
}

func readTwr(r *ndr.Reader) Tower {
	n := r.Count(MaxTower)
	if r.Uint32() != n {
		r.Fail(errCount)
	}
	b := r.Bytes(int(n))
	if r.Err() != nil {
		return Tower{}
	}
	t, err := readTower(b)
	if err != nil && err != ErrProtocol { // the zero ProtSeq tells of the latter
		r.Fail(fmt.Errorf("tower: %w", err))
	}
	return t
}

func (p *pointers) appendTower(w *ndr.Writer, t Tower) {
	p.append(w, t != Tower{})
	if t != (Tower{}) {
		appendTwr(w, t)
	}
}

func readTowerPointer(r *ndr.Reader) Tower {
	if r.Uint32() == 0 {
		return Tower{}
	}
	return readTwr(r)
}
