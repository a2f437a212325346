package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
	"github.com/quaymaster/quaymaster/wire/xdr"
)

// replyHeaderLength is the bytes of the header of an accepted reply with an
// AUTH_NONE verifier, the only one a server under test should send.
const replyHeaderLength = 24

// Row i of the registered rows is program firstProgram+i, version 1, on udp
// at 0.0.0.0 and rowPort(i), where something listens.
const (
	firstProgram = 0x20000000 // RFC 5531, section 8.3: "defined by user"
	rowVersion   = 1
	firstPort    = 1024
	rowPorts     = 500 // the rows have so many ports between them
)

func rowPort(i int) uint16 { return uint16(firstPort + i%rowPorts) }

func rowAddress(i int) string {
	return rpcbind.UniversalAddress(netip.AddrPortFrom(netip.IPv4Unspecified(), rowPort(i)))
}

// appendCall appends the header of an AUTH_NONE call to the port mapper.
func appendCall(b []byte, xid, version uint32, p rpcbind.Proc) []byte {
	c := oncrpc.Call{XID: xid, Program: rpcbind.Program, Version: version, Procedure: uint32(p)}
	return c.Append(b)
}

// appendRecord appends message as a record of one fragment.
func appendRecord(b, message []byte) []byte {
	return append(oncrpc.AppendRecordMark(b, len(message), true), message...)
}

// A question is a kind of call the load generators repeat for row after row.
type question interface {
	// appendCall appends the call that asks for row i.
	appendCall(b []byte, xid uint32, i int) []byte
	// check says what is wrong with the reply.
	check(reply []byte, xid uint32, i int) error
}

// A streamQuestion is a question over a stream, whose messages have a frame.
type streamQuestion interface {
	question
	// replyLength returns how many bytes the reply has that b begins with, 0
	// while b does not tell, or why it is none.
	replyLength(b []byte) (int, error)
}

// A record is a question to a port mapper over a stream, as a record of one
// fragment. So must the reply be.
type record struct{ q question }

func (r record) appendCall(b []byte, xid uint32, i int) []byte {
	start := len(b)
	b = r.q.appendCall(append(b, 0, 0, 0, 0), xid, i)
	oncrpc.AppendRecordMark(b[:start], len(b)-start-oncrpc.RecordMarkSize, true)
	return b
}

func (record) replyLength(b []byte) (int, error) {
	if len(b) < oncrpc.RecordMarkSize {
		return 0, nil
	}
	mark := binary.BigEndian.Uint32(b)
	if mark&oncrpc.LastFragment == 0 {
		return 0, fmt.Errorf("record mark %#x: %w", mark, errRefused)
	}
	return oncrpc.RecordMarkSize + int(mark&^oncrpc.LastFragment), nil
}

func (r record) check(reply []byte, xid uint32, i int) error {
	return r.q.check(reply[oncrpc.RecordMarkSize:], xid, i)
}

var (
	errXID      = errors.New("another xid")
	errRefused  = errors.New("not an accepted, successful reply")
	errMismatch = errors.New("not the registered address")
	errFalse    = errors.New("the answer is not true")
)

// checkReply checks the header of a reply and returns what follows it.
func checkReply(reply []byte, xid uint32) ([]byte, error) {
	p, results, err := oncrpc.ParseReply(reply)
	switch {
	case err != nil || p.Err() != nil || p.Verf.Flavor != oncrpc.AuthNone:
		return nil, errRefused
	case p.XID != xid:
		return nil, errXID
	}
	return results, nil
}

// getPort asks by version 2 GETPORT.
type getPort struct{}

func (getPort) appendCall(b []byte, xid uint32, i int) []byte {
	b = appendCall(b, xid, rpcbind.Version2, rpcbind.ProcGetPort)
	return rpcbind.Mapping{Program: firstProgram + uint32(i), Version: rowVersion, Protocol: rpcbind.ProtocolUDP}.Append(b)
}

func (getPort) check(reply []byte, xid uint32, i int) error {
	port, err := portIn(reply, xid)
	if err == nil && port != uint32(rowPort(i)) {
		return errMismatch
	}
	return err
}

// portIn returns what a reply to GETPORT says.
func portIn(reply []byte, xid uint32) (uint32, error) {
	results, err := checkReply(reply, xid)
	if err != nil {
		return 0, err
	}
	r := xdr.NewReader(results)
	port := r.Uint32()
	if r.Finish() != nil {
		return 0, errMismatch
	}
	return port, nil
}

// getAddr asks by GETADDR, versions 3 and 4 in turn.
type getAddr struct{}

func (getAddr) appendCall(b []byte, xid uint32, i int) []byte {
	b = appendCall(b, xid, rpcbind.Version3+uint32(i&1), rpcbind.ProcGetAddr)
	return rpcbind.RPCB{Program: firstProgram + uint32(i), Version: rowVersion, NetID: "udp"}.Append(b)
}

// check expects the row's 0.0.0.0 rewritten to the address that was asked.
func (getAddr) check(reply []byte, xid uint32, i int) error {
	results, err := checkReply(reply, xid)
	if err != nil {
		return err
	}
	r := xdr.NewReader(results)
	got := r.Opaque(rpcbind.MaxAddress)
	var buf [32]byte
	want := rpcbind.AppendUniversalAddress(buf[:0], netip.AddrPortFrom(mapperAddr, rowPort(i)))
	if r.Finish() != nil || !bytes.Equal(got, want) {
		return errMismatch
	}
	return nil
}

// mapperAddr is where the servers under test are asked.
var mapperAddr = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// setRow registers row i as libtirpc 1.3.3 does for root.
type setRow struct{}

func (setRow) appendCall(b []byte, xid uint32, i int) []byte {
	b = appendCall(b, xid, rpcbind.Version3, rpcbind.ProcSet)
	return rpcbind.RPCB{Program: firstProgram + uint32(i), Version: rowVersion, NetID: "udp", Address: rowAddress(i), Owner: "0"}.Append(b)
}

func (setRow) check(reply []byte, xid uint32, _ int) error { return checkTrue(reply, xid) }

// unsetRow takes row i back as libtirpc 1.3.3 does for root.
type unsetRow struct{}

func (unsetRow) appendCall(b []byte, xid uint32, i int) []byte {
	b = appendCall(b, xid, rpcbind.Version3, rpcbind.ProcUnset)
	return rpcbind.RPCB{Program: firstProgram + uint32(i), Version: rowVersion, NetID: "udp", Owner: "0"}.Append(b)
}

func (unsetRow) check(reply []byte, xid uint32, _ int) error { return checkTrue(reply, xid) }

func checkTrue(reply []byte, xid uint32) error {
	results, err := checkReply(reply, xid)
	if err != nil {
		return err
	}
	if !bytes.Equal(results, []byte{0, 0, 0, 1}) {
		return errFalse
	}
	return nil
}

// echoed is the GETPORT the echo server answers: the xid, and a body that
// names no port.
type echoed struct{ getPort }

func (echoed) check(reply []byte, xid uint32, _ int) error {
	_, err := portIn(reply, xid)
	return err
}

// checkDump checks a version 4 DUMP reply that holds each of the registered
// rows once, and the mapper's own besides.
func checkDump(reply []byte, xid uint32, rows int) error {
	results, err := checkReply(reply, xid)
	if err != nil {
		return err
	}
	list, err := rpcbind.ParseRPCBs(results)
	if err != nil {
		return err
	}
	seen := make([]bool, rows)
	found := 0
	for _, got := range list {
		if got.Program < firstProgram || got.Program-firstProgram >= uint32(rows) {
			continue
		}
		i := int(got.Program - firstProgram)
		if got.Version != rowVersion || got.NetID != "udp" || got.Address != rowAddress(i) || seen[i] {
			return fmt.Errorf("%+v: %w", got, errMismatch)
		}
		seen[i] = true
		found++
	}
	if found != rows {
		return fmt.Errorf("%d of %d rows", found, rows)
	}
	return nil
}
