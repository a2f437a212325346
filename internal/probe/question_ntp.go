package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// ntpSize is the size of NTP's header (RFC 5905, section 7.3).
const ntpSize = 48

func askNTP(ctx context.Context, t *talk) error {
	question := make([]byte, ntpSize)
	question[0] = 4<<3 | 3              // version 4, client
	copy(question[40:], randomBytes(8)) // our time: nobody's business, but it comes back
	var at time.Time
	answer, err := t.exchange(ctx, question, func(b []byte) bool {
		at = time.Now()
		return len(b) >= ntpSize && bytes.Equal(b[24:32], question[40:48])
	})
	if err != nil {
		return err
	}
	a, err := parseNTP(answer)
	if err != nil {
		return err
	}
	t.What = "NTP"
	t.Text = a.String()
	if a.stratum > 0 && a.stratum < 16 && a.leap != 3 {
		t.Text += ", clock " + offset(a.sent.Sub(at))
	} else {
		t.problem("it has no time to give: its clock is not synchronized")
	}
	return nil
}

// An ntpAnswer is what a server says of its time.
type ntpAnswer struct {
	leap, version, mode byte
	stratum             byte
	reference           [4]byte
	sent                time.Time
}

// parseNTP reads an answer. The library for NTP, beevik/ntp 1.6, only reads what it asked itself, and panics on an answer
// whose poll interval or precision is 0x80.
func parseNTP(b []byte) (ntpAnswer, error) {
	if len(b) < ntpSize {
		return ntpAnswer{}, errAnswer
	}
	a := ntpAnswer{leap: b[0] >> 6, version: b[0] >> 3 & 7, mode: b[0] & 7, stratum: b[1], reference: [4]byte(b[12:16])}
	if a.mode != 4 && a.mode != 2 { // server; of some, symmetric passive
		return ntpAnswer{}, fmt.Errorf("%w: mode %d", errAnswer, a.mode)
	}
	a.sent = ntpTime(binary.BigEndian.Uint64(b[40:]))
	return a, nil
}

// ntpTime reads seconds and parts since 1900, or of the era that begins in 2036.
func ntpTime(v uint64) time.Time {
	const to1970 = 2208988800
	seconds := int64(v >> 32)
	if seconds < 1<<31 {
		seconds += 1 << 32
	}
	return time.Unix(seconds-to1970, int64((v&0xffffffff)*1e9>>32))
}

func (a ntpAnswer) String() string {
	s := fmt.Sprintf("version %d, stratum %d", a.version, a.stratum)
	switch word := strings.TrimRight(string(a.reference[:]), "\x00"); {
	case a.stratum == 0:
		s += ", refuses: " + word
	case a.stratum == 1:
		s += ", " + word
	}
	return s
}

// offset says how far another clock is from ours, as well as can be told from one answer, which was on its way for
// some time.
func offset(d time.Duration) string {
	switch {
	case d.Abs() < 100*time.Millisecond:
		return "right"
	case d.Abs() < 10*time.Second:
		d = d.Round(time.Millisecond)
	default:
		d = d.Round(time.Second)
	}
	if d < 0 {
		return (-d).String() + " behind"
	}
	return d.String() + " ahead"
}
