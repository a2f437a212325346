package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/quaymaster/quaymaster/internal/endpoint"
	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
	"github.com/quaymaster/quaymaster/wire/ndr"
)

// Row i of the registered interfaces has a UUID of its own, version 1.0, over
// TCP at rowPort(i).
func rowSyntax(i int) dcerpc.Syntax {
	u := rowUUID
	binary.BigEndian.PutUint32(u[12:], uint32(i))
	return dcerpc.Syntax{UUID: u, Major: rowVersion}
}

var rowUUID = ndr.MustParseUUID("9a5f3c1e-0000-4000-8000-000000000000") // of no service

// rowTower says that row i is reached at addr, on port.
func rowTower(i int, addr netip.Addr, port uint16) epm.Tower {
	return epm.Tower{Interface: rowSyntax(i), Transfer: dcerpc.NDR, ProtSeq: epm.TCP, Addr: addr, Port: port}
}

// rowDocument is row i as it is registered with quaymaster.
func rowDocument(i int) endpoint.Document {
	return endpoint.Document{
		Dialect: endpoint.DCE.String(), UUID: rowSyntax(i).UUID.String(),
		Version: endpoint.Version{Major: rowVersion, Dotted: true},
		ProtSeq: epm.TCP.String(), Address: netip.IPv4Unspecified().String(), Port: rowPort(i),
	}
}

// pdus finds the end of a reply in PDUs, whose number is any.
type pdus struct{}

func (pdus) replyLength(b []byte) (int, error) {
	for at := 0; len(b)-at >= dcerpc.HeaderSize; {
		h, err := dcerpc.ParseHeader(b[at:])
		if err != nil {
			return 0, err
		}
		at += int(h.FragLength)
		if h.Flags&dcerpc.LastFrag != 0 {
			return at, nil
		}
	}
	return 0, nil
}

// maxFrag is the longest fragment, in bytes, that Windows and Samba's clients take.
const maxFrag = 5840

const callIDAt = 12 // the place of the call's identifier in a header, which ends with it

// callHeader is what clients of the endpoint mapper set of a header.
func callHeader(id uint32) dcerpc.Header {
	return dcerpc.Header{Version: dcerpc.Version, Label: ndr.LittleEndian, CallID: id}
}

func appendRequest(b []byte, id uint32, op epm.Op, stub []byte) []byte {
	return dcerpc.AppendRequest(b, callHeader(id), dcerpc.Request{Opnum: uint16(op), Stub: stub}, maxFrag)
}

// checkResponse checks one fragment and returns its part of the stub, and the
// fragments that follow it.
func checkResponse(reply []byte, id uint32) (h dcerpc.Header, p dcerpc.Response, rest []byte, err error) {
	if h, err = dcerpc.ParseHeader(reply); err != nil {
		return h, p, nil, err
	}
	if int(h.FragLength) > len(reply) {
		return h, p, nil, ndr.ErrShort
	}
	reply, rest = reply[:h.FragLength], reply[h.FragLength:]
	switch {
	case h.PType == dcerpc.PTypeFault:
		fault, err := dcerpc.ParseFault(h, reply)
		return h, p, nil, errors.Join(errRefused, fault, err)
	case h.PType != dcerpc.PTypeResponse:
		return h, p, nil, errRefused
	case h.CallID != id:
		return h, p, nil, errXID
	}
	p, err = dcerpc.ParseResponse(h, reply)
	return h, p, rest, err
}

// bind begins a connection to the endpoint mapper.
type bind struct{ pdus }

var mapperBind = dcerpc.Bind{
	MaxXmitFrag: maxFrag, MaxRecvFrag: maxFrag,
	Contexts: []dcerpc.Context{{Abstract: epm.Interface, Transfers: []dcerpc.Syntax{dcerpc.NDR}}},
}

func (bind) appendCall(b []byte, id uint32, _ int) []byte {
	return dcerpc.AppendBind(b, callHeader(id), mapperBind)
}

func (bind) check(reply []byte, id uint32, _ int) error {
	h, err := dcerpc.ParseHeader(reply)
	switch {
	case err != nil:
		return err
	case h.PType != dcerpc.PTypeBindAck:
		return errRefused
	case h.CallID != id:
		return errXID
	}
	ack, err := dcerpc.ParseBindAck(h, reply)
	if err == nil && (len(ack.Results) != 1 || ack.Results[0].Result != dcerpc.Acceptance) {
		return errRefused
	}
	return err
}

// mapRow asks by ept_map where the interface of row i is over TCP.
type mapRow struct {
	pdus
	stub []byte // of the last call: its memory is used again
}

// maxTowers is what Windows asks for. A server that has fewer has told all, and
// nothing to remember for a call that would go on.
const maxTowers = 4

func (q *mapRow) appendCall(b []byte, id uint32, i int) []byte {
	m := epm.Map{Tower: rowTower(i, netip.Addr{}, epm.Port), MaxTowers: maxTowers}
	q.stub = m.Append(q.stub[:0], ndr.LittleEndian)
	return appendRequest(b, id, epm.OpMap, q.stub)
}

// check expects one tower, with the address that was asked.
func (*mapRow) check(reply []byte, id uint32, i int) error {
	tower, err := towerIn(reply, id)
	if err != nil {
		return err
	}
	var buf [128]byte
	if want := rowTower(i, mapperAddr, rowPort(i)).Append(buf[:0]); !bytes.Equal(tower, want) {
		return errMismatch
	}
	return nil
}

// towerIn returns the only tower of a reply to ept_map.
func towerIn(reply []byte, id uint32) ([]byte, error) {
	h, p, rest, err := checkResponse(reply, id)
	if err != nil {
		return nil, err
	}
	r := ndr.NewReader(p.Stub, h.Label)
	r.Handle()
	towers, max, offset, count := r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32()
	if towers != 1 || max != maxTowers || offset != 0 || count != 1 {
		return nil, errMismatch
	}
	r.Uint32() // referent
	size := r.Count(epm.MaxTower)
	if r.Uint32() != size {
		return nil, errMismatch
	}
	tower := r.Bytes(int(size))
	r.Align(4)
	status := epm.Status(r.Uint32())
	if r.Err() != nil || status != epm.StatusOK || len(r.Rest())+len(rest) > 0 {
		return nil, errMismatch
	}
	return tower, nil
}

// canned is the ept_map that the canned server answers: a tower of no row.
type canned struct{ mapRow }

func (*canned) check(reply []byte, id uint32, _ int) error {
	_, err := towerIn(reply, id)
	return err
}

// lookupRows asks by one call of ept_lookup for all entries. Since to read them costs
// as much as to send them, those of the first reply are checked one by one, and
// the others must be the same, byte for byte.
type lookupRows struct {
	pdus
	rows  int
	first []byte // its calls' identifiers are 0
}

// maxLookup is how many interfaces can be registered for one call to return all
// entries: it returns epm.MaxEntries at most, the mapper's own among them.
const maxLookup = 490

// longLookup is the most bytes of a reply that has them all.
const longLookup = 128 << 10

func (l *lookupRows) appendCall(b []byte, id uint32, _ int) []byte {
	k := epm.Lookup{VersOption: epm.VersAll, MaxEntries: epm.MaxEntries}
	return appendRequest(b, id, epm.OpLookup, k.Append(nil, ndr.LittleEndian))
}

func (l *lookupRows) check(reply []byte, id uint32, _ int) error {
	if l.first == nil {
		if err := checkLookup(reply, id, l.rows); err != nil {
			return err
		}
	}
	for rest := reply; len(rest) > 0; {
		_, _, after, err := checkResponse(rest, id)
		if err != nil {
			return err
		}
		clear(rest[callIDAt:dcerpc.HeaderSize])
		rest = after
	}
	if l.first == nil {
		l.first = bytes.Clone(reply)
	}
	if !bytes.Equal(reply, l.first) {
		return errors.New("a reply differs from the first")
	}
	return nil
}

// checkLookup checks a reply that holds each of the registered rows once, and
// the mapper's own besides.
func checkLookup(reply []byte, id uint32, rows int) error {
	var whole dcerpc.Assembler
	for {
		h, p, rest, err := checkResponse(reply, id)
		if err != nil {
			return err
		}
		p, ok, err := whole.AddResponse(h, p)
		if err != nil {
			return err
		}
		if ok {
			return checkEntries(p.Stub, h.Label, rows)
		}
		reply = rest
	}
}

func checkEntries(stub []byte, l ndr.Label, rows int) error {
	list, err := epm.ParseLookupReply(stub, l)
	if err != nil {
		return err
	}
	seen := make([]bool, rows)
	found := 0
	for _, got := range list.Entries {
		n := binary.BigEndian.Uint32(got.Tower.Interface.UUID[12:])
		if n >= uint32(rows) || got.Tower.Interface != rowSyntax(int(n)) {
			continue // the mapper's own
		}
		i := int(n)
		if got.Tower != rowTower(i, mapperAddr, rowPort(i)) || seen[i] {
			return fmt.Errorf("%+v: %w", got, errMismatch)
		}
		seen[i] = true
		found++
	}
	if found != rows || !list.Handle.IsNil() {
		return fmt.Errorf("%d of %d rows", found, rows)
	}
	return nil
}
