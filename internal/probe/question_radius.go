package probe

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// askRADIUS asks for the server's status (RFC 5997). Servers are silent to who does not know their secret, and
// to hosts that are no clients of theirs.
func askRADIUS(ctx context.Context, t *talk) error {
	question := radiusQuestion(byte(rand.Uint32()), t.q.Secret)
	answer, err := t.exchange(ctx, question, func(b []byte) bool {
		return len(b) >= radiusHeader && b[1] == question[1]
	})
	if err != nil {
		return err
	}
	text, err := parseRADIUS(answer)
	if err != nil {
		return err
	}
	t.What, t.Text = "RADIUS", text
	if !radiusVerifies(answer, question, t.q.Secret) {
		t.problem("its answer was not made with the secret that was given")
	}
	return nil
}

const radiusHeader = 20

// radiusQuestion returns a Status-Server with its authenticator.
func radiusQuestion(id byte, secret string) []byte {
	const statusServer, messageAuthenticator = 12, 80
	b := []byte{statusServer, id, 0, radiusHeader + 18}
	b = append(b, randomBytes(16)...)
	b = append(b, messageAuthenticator, 18)
	mac := hmac.New(md5.New, []byte(secret))
	mac.Write(b)
	mac.Write(make([]byte, 16))
	return mac.Sum(b)
}

// radiusVerifies tells whether an answer's authenticator is that of RFC 2865, section 3.
func radiusVerifies(answer, question []byte, secret string) bool {
	size := int(binary.BigEndian.Uint16(answer[2:]))
	if size < radiusHeader || size > len(answer) {
		return false
	}
	h := md5.New()
	h.Write(answer[:4])
	h.Write(question[4:radiusHeader])
	h.Write(answer[radiusHeader:size])
	h.Write([]byte(secret))
	return bytes.Equal(h.Sum(nil), answer[4:radiusHeader])
}

func parseRADIUS(b []byte) (string, error) {
	if len(b) < radiusHeader {
		return "", errAnswer
	}
	switch b[0] {
	case 2:
		return "accepts", nil
	case 3:
		return "rejects", nil
	case 5:
		return "answers for accounting", nil
	case 11:
		return "challenges", nil
	}
	return "", fmt.Errorf("%w: code %d", errAnswer, b[0])
}
