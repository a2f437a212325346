package probe

import (
	"context"
	"encoding/binary"
	"fmt"
)

// greetMSSQL sends what precedes a login (MS-TDS, section 2.2.6.5).
func greetMSSQL(ctx context.Context, t *talk) error {
	question := []byte{
		0x12, 1, 0, 26, 0, 0, 0, 0, // PRELOGIN, the last packet, its size
		0, 0, 11, 0, 6, // VERSION: where, size
		1, 0, 17, 0, 1, // ENCRYPTION
		0xff,
		0, 0, 0, 0, 0, 0, // our version
		0, // encryption is off, but can be had
	}
	if err := t.turn(ctx, question); err != nil {
		return err
	}
	head, err := t.read(8)
	if err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint16(head[2:]))
	if head[0] != 4 || n < len(head) || n > 4096 {
		return fmt.Errorf("%w: no answer to PRELOGIN", errAnswer)
	}
	b, err := t.read(n - len(head))
	if err != nil {
		return err
	}
	text, err := parsePrelogin(b)
	if err == nil {
		t.What, t.Text = "SQL Server", text
	}
	return err
}

func parsePrelogin(b []byte) (string, error) {
	var version, encryption string
	for rest := b; ; rest = rest[5:] {
		switch {
		case len(rest) > 0 && rest[0] == 0xff && version != "":
			return version + encryption, nil
		case len(rest) < 5 || rest[0] == 0xff:
			return "", fmt.Errorf("%w: no version in PRELOGIN", errAnswer)
		}
		at, size := int(binary.BigEndian.Uint16(rest[1:])), int(binary.BigEndian.Uint16(rest[3:]))
		if at+size > len(b) {
			return "", fmt.Errorf("%w: PRELOGIN ends early", errAnswer)
		}
		value := b[at : at+size]
		switch {
		case rest[0] == 0 && size >= 4:
			version = fmt.Sprintf("version %d.%d.%d", value[0], value[1], binary.BigEndian.Uint16(value[2:]))
		case rest[0] == 1 && size == 1:
			encryption = map[byte]string{0: ", encryption possible", 1: ", encryption possible", 2: ", no encryption", 3: ", encryption required"}[value[0]]
		}
	}
}
