package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// The calls and replies of the benchmark, encoded by hand: a generator that
// shared its codec with one of the servers would share its mistakes.
const (
	programRPCBind = 100000

	procSet     = 1 // SET, versions 2 to 4
	procGetPort = 3 // GETPORT in version 2, GETADDR in versions 3 and 4
	procDump    = 4

	protocolUDP = 17

	callHeaderLength  = 40 // with AUTH_NONE as credential and verifier
	replyHeaderLength = 24 // of an accepted reply with an AUTH_NONE verifier

	lastFragment = 1 << 31 // RFC 5531, section 11
)

// Row i of the registered rows is program firstProgram+i, version 1, on udp
// at 0.0.0.0 and rowPort(i).
const (
	firstProgram = 0x20000000 // RFC 5531, section 8.3: "defined by user"
	rowVersion   = 1
)

func rowPort(i int) uint32 { return 1024 + uint32(i)%60000 }

// appendCall appends the header of an AUTH_NONE call to the port mapper.
func appendCall(b []byte, xid, version, procedure uint32) []byte {
	for _, v := range [...]uint32{
		xid, 0 /* CALL */, 2 /* rpcvers */, programRPCBind, version, procedure,
		0, 0, // credential
		0, 0, // verifier
	} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	b = append(b, s...)
	return append(b, "\x00\x00\x00"[:padding(len(s))]...)
}

func padding(n int) int { return -n & 3 }

// appendUniversalAddress appends an IPv4 address with a port as RFC 5665,
// section 5.2.3.3, writes it.
func appendUniversalAddress(b []byte, address string, port uint32) []byte {
	b = append(b, address...)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(port>>8), 10)
	b = append(b, '.')
	return strconv.AppendUint(b, uint64(port&0xff), 10)
}

// appendSet appends a version 4 SET of row i.
func appendSet(b []byte, xid uint32, i int) []byte {
	b = appendCall(b, xid, 4, procSet)
	b = binary.BigEndian.AppendUint32(b, firstProgram+uint32(i))
	b = binary.BigEndian.AppendUint32(b, rowVersion)
	b = appendString(b, "udp")
	b = appendString(b, string(appendUniversalAddress(nil, "0.0.0.0", rowPort(i))))
	return appendString(b, "superuser")
}

// appendRecord appends message as a record of one fragment.
func appendRecord(b, message []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, lastFragment|uint32(len(message)))
	return append(b, message...)
}

// A question is a kind of call the load generators repeat for row after row.
type question interface {
	// appendCall appends the call that asks for row i.
	appendCall(b []byte, xid uint32, i int) []byte
	// check says what is wrong with the reply.
	check(reply []byte, xid uint32, i int) error
}

var (
	errXID      = errors.New("another xid")
	errRefused  = errors.New("not an accepted, successful reply")
	errMismatch = errors.New("not the registered address")
)

// checkReply checks the header of a reply and returns what follows it.
func checkReply(reply []byte, xid uint32) ([]byte, error) {
	if len(reply) < replyHeaderLength {
		return nil, errRefused
	}
	if binary.BigEndian.Uint32(reply) != xid {
		return nil, errXID
	}
	// REPLY, MSG_ACCEPTED, an empty AUTH_NONE verifier, SUCCESS.
	if !bytes.Equal(reply[4:replyHeaderLength], acceptedSuccess[:]) {
		return nil, errRefused
	}
	return reply[replyHeaderLength:], nil
}

var acceptedSuccess = [replyHeaderLength - 4]byte{3: 1}

// getPort asks by version 2 GETPORT.
type getPort struct{}

func (getPort) appendCall(b []byte, xid uint32, i int) []byte {
	b = appendCall(b, xid, 2, procGetPort)
	b = binary.BigEndian.AppendUint32(b, firstProgram+uint32(i))
	b = binary.BigEndian.AppendUint32(b, rowVersion)
	b = binary.BigEndian.AppendUint32(b, protocolUDP)
	return binary.BigEndian.AppendUint32(b, 0)
}

func (getPort) check(reply []byte, xid uint32, i int) error {
	body, err := checkReply(reply, xid)
	if err != nil {
		return err
	}
	if len(body) != 4 || binary.BigEndian.Uint32(body) != rowPort(i) {
		return errMismatch
	}
	return nil
}

// getAddr asks by GETADDR, versions 3 and 4 in turn.
type getAddr struct{}

func (getAddr) appendCall(b []byte, xid uint32, i int) []byte {
	b = appendCall(b, xid, 3+uint32(i&1), procGetPort)
	b = binary.BigEndian.AppendUint32(b, firstProgram+uint32(i))
	b = binary.BigEndian.AppendUint32(b, rowVersion)
	b = appendString(b, "udp")
	b = appendString(b, "")
	return appendString(b, "")
}

// check expects the row's 0.0.0.0 rewritten to the address that was asked.
func (getAddr) check(reply []byte, xid uint32, i int) error {
	body, err := checkReply(reply, xid)
	if err != nil {
		return err
	}
	var buf [32]byte
	want := appendUniversalAddress(buf[:4], "127.0.0.1", rowPort(i))
	binary.BigEndian.PutUint32(want, uint32(len(want)-4))
	want = append(want, "\x00\x00\x00"[:padding(len(want))]...)
	if !bytes.Equal(body, want) {
		return errMismatch
	}
	return nil
}

// echoed is the GETPORT the echo server answers: the xid, and a body that
// names no port.
type echoed struct{ getPort }

func (echoed) check(reply []byte, xid uint32, _ int) error {
	body, err := checkReply(reply, xid)
	if err != nil {
		return err
	}
	if len(body) != 4 {
		return errMismatch
	}
	return nil
}

// checkDump checks a version 4 DUMP reply: a list (RFC 1833, section 2.1) that
// holds each of the registered rows once, and the mapper's own besides.
func checkDump(reply []byte, xid uint32, rows int) error {
	body, err := checkReply(reply, xid)
	if err != nil {
		return err
	}
	word := func() (v uint32) {
		if len(body) < 4 {
			body, err = nil, errors.New("short list")
			return 0
		}
		v, body = binary.BigEndian.Uint32(body), body[4:]
		return v
	}
	text := func() (s []byte) {
		n := word()
		if uint64(n) > uint64(len(body)) || int(n)+padding(int(n)) > len(body) {
			body, err = nil, errors.New("short list")
			return nil
		}
		s, body = body[:n], body[int(n)+padding(int(n)):]
		return s
	}
	seen := make([]bool, rows)
	found := 0
	for word() == 1 {
		program, version := word(), word()
		netid, address, _ := text(), text(), text()
		if err != nil {
			return err
		}
		if program < firstProgram || program-firstProgram >= uint32(rows) {
			continue
		}
		i := int(program - firstProgram)
		want := appendUniversalAddress(nil, "0.0.0.0", rowPort(i))
		if version != rowVersion || string(netid) != "udp" || !bytes.Equal(address, want) || seen[i] {
			return fmt.Errorf("program %#x version %d netid %q address %q: %w", program, version, netid, address, errMismatch)
		}
		seen[i] = true
		found++
	}
	if err != nil {
		return err
	}
	if found != rows || len(body) != 0 {
		return fmt.Errorf("%d of %d rows, %d bytes after the list", found, rows, len(body))
	}
	return nil
}
