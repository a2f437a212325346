package probe

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
)

// askNetBIOS asks for the names that the host has (RFC 1002, section 4.2.17).
func askNetBIOS(ctx context.Context, t *talk) error {
	id := uint16(rand.Uint32())
	answer, err := t.exchange(ctx, nodeStatusQuestion(id), func(b []byte) bool { return isDNSAnswer(b, id) })
	if err != nil {
		return err
	}
	s, err := parseNodeStatus(answer)
	if err == nil {
		t.What, t.Text = "NetBIOS names", s.String()
	}
	return err
}

func nodeStatusQuestion(id uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	b = append(b, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) // one question
	b = appendNetBIOSName(b, "*", 0, 0)
	return append(b, 0, 0x21, 0, 1) // NBSTAT, IN
}

// appendNetBIOSName appends a name of 15 bytes and its suffix, two letters to each (RFC 1001, section 14.1).
func appendNetBIOSName(b []byte, name string, pad, suffix byte) []byte {
	b = append(b, 32)
	for i := range 16 {
		c := pad
		switch {
		case i == 15:
			c = suffix
		case i < len(name):
			c = name[i]
		}
		b = append(b, 'A'+c>>4, 'A'+c&15)
	}
	return append(b, 0)
}

// A nodeStatus is what a host says of its names.
type nodeStatus struct {
	host, domain string
	services     []string
	unit         net.HardwareAddr
}

// parseNodeStatus reads an answer (RFC 1002, section 4.2.18).
func parseNodeStatus(b []byte) (s nodeStatus, err error) {
	const header, nameSize, row = 12, 34, 18
	at := header + nameSize
	if len(b) > header && b[header]&0xc0 == 0xc0 { // a pointer to the name, which some send
		at = header + 2
	}
	at += 10 // type, class, time to live, size
	if len(b) < at+1 || b[7] == 0 || b[at-10] != 0 || b[at-9] != 0x21 {
		return s, fmt.Errorf("%w: no node status", errAnswer)
	}
	n := int(b[at])
	if at++; len(b) < at+n*row {
		return s, fmt.Errorf("%w: %d names in %d bytes", errAnswer, n, len(b)-at)
	}
	for ; n > 0; n, at = n-1, at+row {
		name := strings.TrimRight(string(b[at:at+15]), " \x00")
		group := b[at+16]&0x80 != 0
		switch suffix := b[at+15]; {
		case suffix == 0 && group && s.domain == "":
			s.domain = name
		case suffix == 0 && !group && s.host == "":
			s.host = name
		case suffix == 0x1b && !group:
			s.services = append(s.services, "PDC")
		case suffix == 0x1c && group:
			s.services = append(s.services, "domain controller")
		case suffix == 0x1d && !group:
			s.services = append(s.services, "master browser")
		case suffix == 0x20 && !group:
			s.services = append(s.services, "file server")
		}
	}
	if len(b) >= at+6 {
		s.unit = b[at : at+6]
	}
	return s, nil
}

func (s nodeStatus) String() string {
	var text []string
	if s.host != "" {
		text = append(text, "host "+s.host)
	}
	if s.domain != "" {
		text = append(text, "domain "+s.domain)
	}
	text = append(text, s.services...)
	if len(s.unit) == 6 && [6]byte(s.unit) != [6]byte{} {
		text = append(text, s.unit.String())
	}
	return strings.Join(text, ", ")
}
