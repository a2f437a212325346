package probe

import (
	"context"
	"encoding/binary"
	"fmt"
)

// Kinds of security (MS-RDPBCGR, section 2.2.1.1.1).
const (
	rdpTLS     = 1
	rdpCredSSP = 2 // network level authentication
	rdpEarly   = 8 // the same, with the result of authorization
)

// greetRDP asks which security a server has (MS-RDPBCGR, section 2.2.1.1).
func greetRDP(ctx context.Context, t *talk) error {
	question := []byte{3, 0, 0, 19, 14, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, rdpTLS | rdpCredSSP | rdpEarly, 0, 0, 0}
	if err := t.turn(ctx, question); err != nil {
		return err
	}
	head, err := t.read(4)
	if err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint16(head[2:]))
	if head[0] != 3 || n < 11 || n > 1024 {
		return fmt.Errorf("%w: no TPKT", errAnswer)
	}
	b, err := t.read(n - len(head))
	if err != nil {
		return err
	}
	text, err := parseRDP(b)
	if err == nil {
		t.What, t.Text = "RDP", text
	}
	return err
}

// parseRDP reads what follows the TPKT of a connection confirm (MS-RDPBCGR, section 2.2.1.2).
func parseRDP(b []byte) (string, error) {
	const header, confirm, response, failure = 7, 0xd0, 2, 3
	if len(b) < header || b[1]&0xf0 != confirm {
		return "", fmt.Errorf("%w: no connection confirm", errAnswer)
	}
	b = b[header:]
	if len(b) < 8 {
		return "security of RDP itself only", nil
	}
	v := binary.LittleEndian.Uint32(b[4:])
	switch b[0] {
	case failure:
		return fmt.Sprintf("refuses: failure %d", v), nil
	case response:
		switch v {
		case 0:
			return "security of RDP itself", nil
		case rdpTLS:
			return "TLS", nil
		case rdpCredSSP, rdpEarly:
			return "network level authentication", nil
		}
		return fmt.Sprintf("security %#x", v), nil
	}
	return "", fmt.Errorf("%w: negotiation %d", errAnswer, b[0])
}
