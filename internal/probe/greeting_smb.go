package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// portNetBIOSSession is where SMB goes over a session of NetBIOS.
const portNetBIOSSession = 139

// greetSMB negotiates the version (MS-SMB2, section 2.2.3). A server that has nothing newer than version 1
// does not answer to that, and is asked in its own words.
func greetSMB(ctx context.Context, t *talk) error {
	if err := t.startSMB(ctx); err != nil {
		return err
	}
	answer, err := t.exchangeSMB(ctx, smb2Question())
	if err == nil {
		var a smb2Answer
		if a, err = parseSMB2(answer); err == nil {
			t.What, t.Text = "SMB", a.String()
			return nil
		}
	}
	if errors.Is(err, errEnd) || ctx.Err() != nil {
		return err
	}
	if t.open(ctx, "tcp") != nil || t.startSMB(ctx) != nil {
		return err
	}
	answer, err1 := t.exchangeSMB(ctx, smb1Question())
	if err1 == nil {
		err1 = parseSMB1(answer)
	}
	if err1 != nil {
		return err // of the first question, which most servers understand
	}
	t.What, t.Text = "SMB", "version 1 only"
	t.problem("it speaks nothing newer than SMB 1, which is out of date")
	return nil
}

// startSMB opens a session of NetBIOS where one is needed (RFC 1002, section 4.3).
func (t *talk) startSMB(ctx context.Context) error {
	if t.Port != portNetBIOSSession {
		return nil
	}
	names := appendNetBIOSName(nil, "*SMBSERVER", ' ', 0x20)
	names = appendNetBIOSName(names, "QUAYMASTER", ' ', 0)
	if err := t.turn(ctx, append([]byte{0x81, 0, 0, byte(len(names))}, names...)); err != nil {
		return err
	}
	answer, err := t.read(4)
	if err == nil && answer[0] != 0x82 {
		err = fmt.Errorf("%w: NetBIOS session answered with %#x", errAnswer, answer[0])
	}
	return err
}

// exchangeSMB sends a message in the frame of Direct TCP (MS-SMB2, section 2.1) and returns the answer.
func (t *talk) exchangeSMB(ctx context.Context, message []byte) ([]byte, error) {
	size := binary.BigEndian.AppendUint32(nil, uint32(len(message))) // its first byte is 0: a message
	if err := t.turn(ctx, append(size, message...)); err != nil {
		return nil, err
	}
	head, err := t.read(4)
	if err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head)
	if head[0] != 0 {
		return nil, fmt.Errorf("%w: it begins with %#x", errAnswer, head[0])
	}
	if n > maxDatagram {
		return nil, fmt.Errorf("%w: a message of %d bytes", errEnd, n)
	}
	return t.read(int(n))
}

const smb2Header = 64

// smb2Question offers all versions from 2.0.2 to 3.1.1.
func smb2Question() []byte {
	b := append([]byte("\xfeSMB"), smb2Header, 0)
	b = append(b, make([]byte, smb2Header-len(b))...) // NEGOTIATE is command 0
	b[14] = 1                                         // asks for a credit
	dialects := []uint16{0x0202, 0x0210, 0x0300, 0x0302, 0x0311}
	le := binary.LittleEndian
	b = le.AppendUint16(b, 36)
	b = le.AppendUint16(b, uint16(len(dialects)))
	b = le.AppendUint16(b, smbSigningEnabled)
	b = append(b, make([]byte, 6)...) // reserved, capabilities
	b = append(b, randomBytes(16)...) // of the client
	b = le.AppendUint32(b, 112)       // where the contexts are
	b = append(b, 1, 0, 0, 0)         // one
	for _, d := range dialects {
		b = le.AppendUint16(b, d)
	}
	b = append(b, 0, 0)                                       // to a multiple of 8: 112
	b = append(b, 1, 0, 38, 0, 0, 0, 0, 0, 1, 0, 32, 0, 1, 0) // integrity before authentication: SHA-512, salt of 32 bytes
	return append(b, randomBytes(32)...)
}

// Bits of what a server does for security (MS-SMB2, section 2.2.4).
const (
	smbSigningEnabled  = 1
	smbSigningRequired = 2
)

// An smb2Answer is what a server chose.
type smb2Answer struct{ security, dialect uint16 }

func parseSMB2(b []byte) (a smb2Answer, err error) {
	if len(b) < smb2Header+6 || string(b[:4]) != "\xfeSMB" || binary.LittleEndian.Uint16(b[12:]) != 0 {
		return a, fmt.Errorf("%w: no answer to NEGOTIATE", errAnswer)
	}
	if status := binary.LittleEndian.Uint32(b[8:]); status != 0 {
		return a, fmt.Errorf("%w: status %#x", errAnswer, status)
	}
	a.security = binary.LittleEndian.Uint16(b[smb2Header+2:])
	a.dialect = binary.LittleEndian.Uint16(b[smb2Header+4:])
	return a, nil
}

func (a smb2Answer) String() string {
	version := fmt.Sprintf("%d.%d", a.dialect>>8, a.dialect>>4&15)
	if minor := a.dialect & 15; minor != 0 {
		version += fmt.Sprintf(".%d", minor)
	}
	switch {
	case a.security&smbSigningRequired != 0:
		return version + ", signing required"
	case a.security&smbSigningEnabled != 0:
		return version + ", signing enabled"
	}
	return version + ", no signing"
}

// smb1Question offers the last version of SMB 1 (MS-CIFS, section 2.2.4.52).
func smb1Question() []byte {
	const dialect = "\x02NT LM 0.12\x00"
	b := append([]byte("\xffSMB\x72"), make([]byte, 27)...)
	b[9], b[10], b[11] = 0x18, 0x01, 0xc0 // flags; flags 2: long names, status of NT, Unicode
	b = append(b, 0)                      // no words
	b = binary.LittleEndian.AppendUint16(b, uint16(len(dialect)))
	return append(b, dialect...)
}

// parseSMB1 returns nil for an answer that takes version 1.
func parseSMB1(b []byte) error {
	const header = 32
	if len(b) < header+3 || string(b[:5]) != "\xffSMB\x72" || b[header] == 0 || binary.LittleEndian.Uint16(b[header+1:]) != 0 {
		return fmt.Errorf("%w: no answer to NEGOTIATE of SMB 1", errAnswer)
	}
	return nil
}
