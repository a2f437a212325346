package probe

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// Messages and attributes of L2TP (RFC 2661, sections 3.2 and 4.4).
const (
	l2tpSCCRQ   = 1
	l2tpSCCRP   = 2
	l2tpStopCCN = 4

	l2tpMessage  = 0
	l2tpResult   = 1
	l2tpVersion  = 2
	l2tpFraming  = 3
	l2tpHost     = 7
	l2tpVendor   = 8
	l2tpTunnelID = 9
)

// askL2TP begins a tunnel, and ends it if that is taken.
func askL2TP(ctx context.Context, t *talk) error {
	ours := uint16(rand.Uint32N(1<<16-1) + 1)
	number := func(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
	question := l2tpMessageOf(0, 0, 0, l2tpAttribute(l2tpMessage, number(l2tpSCCRQ)), l2tpAttribute(l2tpVersion, []byte{1, 0}),
		l2tpAttribute(l2tpFraming, []byte{0, 0, 0, 3}), l2tpAttribute(l2tpHost, []byte("quaymaster")), l2tpAttribute(l2tpTunnelID, number(ours)))
	var a l2tpAnswer
	_, err := t.exchange(ctx, question, func(b []byte) bool {
		var err error
		a, err = parseL2TP(b)
		return err == nil && (a.tunnel == ours || a.tunnel == 0) && a.message != 0
	})
	if err != nil {
		return err
	}
	t.What, t.Text = "L2TP", a.String()
	if a.message == l2tpSCCRP {
		const shutDown = 6
		t.conn.Write(l2tpMessageOf(a.theirs, 1, 1, l2tpAttribute(l2tpMessage, number(l2tpStopCCN)), // if it is lost, the tunnel ends by itself
			l2tpAttribute(l2tpTunnelID, number(ours)), l2tpAttribute(l2tpResult, number(shutDown))))
	}
	return nil
}

// l2tpMessageOf returns a control message for a tunnel (RFC 2661, section 3.1).
func l2tpMessageOf(tunnel, sent, received uint16, attributes ...[]byte) []byte {
	size := 12
	for _, a := range attributes {
		size += len(a)
	}
	b := []byte{0xc8, 2} // control, with length and sequence; version 2
	for _, v := range []uint16{uint16(size), tunnel, 0, sent, received} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	for _, a := range attributes {
		b = append(b, a...)
	}
	return b
}

func l2tpAttribute(kind uint16, value []byte) []byte {
	const mandatory = 0x8000
	b := binary.BigEndian.AppendUint16(nil, mandatory|uint16(6+len(value)))
	b = append(b, 0, 0) // of the IETF
	b = binary.BigEndian.AppendUint16(b, kind)
	return append(b, value...)
}

// An l2tpAnswer is a control message.
type l2tpAnswer struct {
	tunnel       uint16 // that it is for
	message      uint16 // 0: an acknowledgement
	theirs       uint16 // the tunnel as the other side calls it
	host, vendor string
}

func parseL2TP(b []byte) (a l2tpAnswer, err error) {
	const header = 12
	if len(b) < header || b[0]&0xc8 != 0xc8 || b[1]&15 != 2 || int(binary.BigEndian.Uint16(b[2:])) > len(b) {
		return a, errAnswer
	}
	a.tunnel = binary.BigEndian.Uint16(b[4:])
	b = b[:max(binary.BigEndian.Uint16(b[2:]), header)]
	for b = b[header:]; len(b) > 0; {
		if len(b) < 6 {
			return a, errAnswer
		}
		size := int(binary.BigEndian.Uint16(b) & 0x3ff)
		if size < 6 || size > len(b) {
			return a, errAnswer
		}
		value, vendor := b[6:size], binary.BigEndian.Uint16(b[2:])
		switch kind := binary.BigEndian.Uint16(b[4:]); {
		case vendor != 0:
		case kind == l2tpMessage && len(value) == 2:
			a.message = binary.BigEndian.Uint16(value)
		case kind == l2tpTunnelID && len(value) == 2:
			a.theirs = binary.BigEndian.Uint16(value)
		case kind == l2tpHost:
			a.host = string(value)
		case kind == l2tpVendor:
			a.vendor = string(value)
		}
		b = b[size:]
	}
	return a, nil
}

func (a l2tpAnswer) String() string {
	s := fmt.Sprintf("message %d", a.message)
	switch a.message {
	case l2tpSCCRP:
		s = "takes tunnels"
	case l2tpStopCCN:
		s = "refuses the tunnel"
	}
	if a.host != "" {
		s += ", host " + a.host
	}
	if a.vendor != "" {
		s += ", " + a.vendor
	}
	return s
}
