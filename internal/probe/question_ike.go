package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
)

// portNAT is the port of IKE through NAT, where four zero bytes tell it from ESP (RFC 3948, section 2.2).
const portNAT = 4500

// askIKE begins an exchange of IKEv2 (RFC 7296, section 1.2) and, since the host may know only that, one of
// IKEv1 (RFC 2408, section 4.5). Nothing comes of either: any answer will do. Some gateways answer only
// peers that they know.
func askIKE(ctx context.Context, t *talk) error {
	cookie := randomBytes(8)
	var marker []byte
	if t.Port == portNAT {
		marker = make([]byte, 4)
	}
	if _, err := t.conn.Write(append(marker, ikev1Question(cookie)...)); err != nil {
		return err
	}
	answer, err := t.exchange(ctx, append(marker, ikev2Question(cookie)...), func(b []byte) bool {
		b, ok := bytes.CutPrefix(b, marker)
		return ok && len(b) >= ikeHeader && bytes.Equal(b[:8], cookie)
	})
	if err != nil {
		return err
	}
	text, err := parseIKE(bytes.TrimPrefix(answer, marker))
	if err == nil {
		t.What, t.Text = "IKE", text
	}
	return err
}

const ikeHeader = 28

// appendIKE returns a message: cookie of the initiator, none of the responder, and payloads.
func appendIKE(cookie []byte, first, version, exchange, flags byte, payloads []byte) []byte {
	b := append(bytes.Clone(cookie), make([]byte, 8)...)
	b = append(b, first, version, exchange, flags, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(ikeHeader+len(payloads)))
	return append(b, payloads...)
}

// ikePayload returns a payload, or the structures within one, which are built the same way.
func ikePayload(next byte, body ...[]byte) []byte {
	all := bytes.Join(body, nil)
	b := []byte{next, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(all)))
	return append(b, all...)
}

// ikev2Question offers AES, SHA-256 and the group of 2048 bits.
func ikev2Question(cookie []byte) []byte {
	const sa, ke, nonce, initSA, initiator = 33, 34, 40, 34, 0x08
	transform := func(last, kind byte, id uint16, attribute ...byte) []byte {
		return ikePayload(last, []byte{kind, 0}, binary.BigEndian.AppendUint16(nil, id), attribute)
	}
	proposal := ikePayload(0, []byte{1, 1, 0, 4}, // number 1, IKE, no SPI, four transforms
		transform(3, 1, 12, 0x80, 14, 1, 0), // AES-CBC of 256 bits
		transform(3, 2, 5),                  // HMAC-SHA-256 for keys
		transform(3, 3, 12),                 // HMAC-SHA-256-128
		transform(0, 4, 14))                 // the group of 2048 bits
	key := append([]byte{0, 14, 0, 0}, randomBytes(256)...)
	key[4] = 0 // less than the modulus
	payloads := bytes.Join([][]byte{ikePayload(ke, proposal), ikePayload(nonce, key), ikePayload(0, randomBytes(32))}, nil)
	return appendIKE(cookie, sa, 0x20, initSA, initiator, payloads)
}

// ikev1Question offers 3DES and AES with SHA-1, the group of 1024 bits and a shared key, in main mode.
func ikev1Question(cookie []byte) []byte {
	const sa, mainMode = 1, 2
	transform := func(last, number byte, attributes ...byte) []byte {
		return ikePayload(last, []byte{number, 1, 0, 0}, attributes, []byte{0x80, 2, 0, 2, 0x80, 3, 0, 1, 0x80, 4, 0, 2, 0x80, 11, 0, 1, 0x80, 12, 0x70, 0x80})
	}
	proposal := ikePayload(0, []byte{1, 1, 0, 2},
		transform(3, 1, 0x80, 1, 0, 7, 0x80, 14, 1, 0), // AES of 256 bits
		transform(0, 2, 0x80, 1, 0, 5))                 // 3DES
	return appendIKE(cookie, sa, 0x10, mainMode, 0, ikePayload(0, []byte{0, 0, 0, 1, 0, 0, 0, 1}, proposal))
}

// parseIKE says what a message is.
func parseIKE(b []byte) (string, error) {
	if len(b) < ikeHeader {
		return "", errAnswer
	}
	text := fmt.Sprintf("version %d", b[17]>>4)
	const notify2, notify1 = 41, 11
	body := b[ikeHeader:]
	switch first := b[16]; {
	case first == notify2 && len(body) >= 8:
		text += fmt.Sprintf(", notice %d", binary.BigEndian.Uint16(body[6:]))
	case first == notify1 && len(body) >= 12:
		text += fmt.Sprintf(", notice %d", binary.BigEndian.Uint16(body[10:]))
	case first == 33 || first == 1:
		text += ", takes what is offered"
	}
	return text, nil
}
