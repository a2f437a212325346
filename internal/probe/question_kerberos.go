package probe

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// kerberosSkew is how far the clocks of Kerberos may be apart where nobody chose otherwise (RFC 4120, section 8.2).
const kerberosSkew = 5 * time.Minute

// kerberosErrors are the errors that a question like ours is answered with (RFC 4120, section 7.5.9).
var kerberosErrors = map[int64]string{
	6:  "KDC_ERR_C_PRINCIPAL_UNKNOWN",
	7:  "KDC_ERR_S_PRINCIPAL_UNKNOWN",
	12: "KDC_ERR_POLICY",
	14: "KDC_ERR_ETYPE_NOSUPP",
	24: "KDC_ERR_PREAUTH_FAILED",
	25: "KDC_ERR_PREAUTH_REQUIRED",
	37: "KRB_AP_ERR_SKEW",
	52: "KRB_ERR_RESPONSE_TOO_BIG",
	60: "KRB_ERR_GENERIC",
	61: "KRB_ERR_FIELD_TOOLONG",
	68: "KDC_ERR_WRONG_REALM",
}

// kerberosQuestion asks for a ticket for nobody (RFC 4120, section 5.4.1), which gets an error.
func kerberosQuestion(realm string) []byte {
	const none, noUser = "QUAYMASTER.INVALID", "quaymaster-asks-for-nobody"
	realm = cmp.Or(strings.ToUpper(realm), none)
	name := func(kind uint32, parts ...string) []byte {
		var all [][]byte
		for _, s := range parts {
			all = append(all, berString(berGeneral, s))
		}
		return ber(berSequence, berExplicit(0, berNumber(berInt, kind)), berExplicit(1, ber(berSequence, all...)))
	}
	const principal, service, aes256, aes128, rc4 = 1, 2, 18, 17, 23
	body := ber(berSequence,
		berExplicit(0, ber(berBits, make([]byte, 5))), // no unused bits, no options
		berExplicit(1, name(principal, noUser)),
		berExplicit(2, berString(berGeneral, realm)),
		berExplicit(3, name(service, "krbtgt", realm)),
		berExplicit(5, berString(berTime, "20370913024805Z")),
		berExplicit(7, berNumber(berInt, rand.Uint32()>>1)),
		berExplicit(8, ber(berSequence, berNumber(berInt, aes256), berNumber(berInt, aes128), berNumber(berInt, rc4))))
	const version, asReq = 5, 10
	return ber(berApplication|asReq, ber(berSequence,
		berExplicit(1, berNumber(berInt, version)), berExplicit(2, berNumber(berInt, asReq)), berExplicit(4, body)))
}

func askKerberos(ctx context.Context, t *talk) error {
	var e krbError
	var at time.Time
	_, err := t.exchange(ctx, kerberosQuestion(t.q.Name), func(b []byte) (ok bool) {
		var err error
		e, err = parseKRBError(b)
		at = time.Now()
		return err == nil
	})
	if err == nil {
		t.readKRBError(e, at)
	}
	return err
}

func greetKerberos(ctx context.Context, t *talk) error {
	answer, err := t.exchangeSized(ctx, 4, kerberosQuestion(t.q.Name))
	if err != nil {
		return err
	}
	e, err := parseKRBError(answer)
	if err == nil {
		t.readKRBError(e, time.Now())
	}
	return err
}

// askKpasswd sends a change of a password that lacks everything (RFC 3244, section 2), which gets an error.
func askKpasswd(ctx context.Context, t *talk) error {
	question := []byte{0, 10, 0, 1, 0, 2, 0, 0, 0, 0} // length, version, length of the AP-REQ
	var e krbError
	var at time.Time
	_, err := t.exchange(ctx, question, func(b []byte) bool {
		var err error
		e, err = parseKpasswd(b)
		at = time.Now()
		return err == nil
	})
	if err == nil {
		t.readKRBError(e, at)
		t.What = t.protocol.title
	}
	return err
}

// parseKpasswd reads the error in a reply of RFC 3244; some servers send it without the frame.
func parseKpasswd(b []byte) (krbError, error) {
	const frame = 6
	if len(b) > frame && int(binary.BigEndian.Uint16(b)) == len(b) && b[4] == 0 && b[5] == 0 {
		b = b[frame:]
	}
	return parseKRBError(b)
}

// A krbError is an error of Kerberos (RFC 4120, section 5.9.1).
type krbError struct {
	time  time.Time // of the server
	code  int64
	realm string
	text  string
}

func parseKRBError(b []byte) (e krbError, err error) {
	const krbErrorTag = 30
	r := (&berReader{b: b}).inside(berApplication | krbErrorTag).inside(berSequence)
	skip := func(n byte) {
		if r.peek() == berNested|n {
			r.next()
		}
	}
	version := r.inside(berNested)
	if v := version.number(berInt); version.err == nil && v != 5 {
		return e, fmt.Errorf("%w: version %d", errAnswer, v)
	}
	for n := byte(1); n <= 3; n++ { // kind, client's time and its microseconds
		skip(n)
	}
	at := r.inside(berNested | 4)
	micro := r.inside(berNested | 5)
	stamp, parseErr := time.Parse("20060102150405Z", string(at.bytes(berTime)))
	e.time = stamp.Add(time.Duration(micro.number(berInt)%1e6) * time.Microsecond)
	code := r.inside(berNested | 6)
	e.code = code.number(berInt)
	skip(7)
	skip(8)
	realm := r.inside(berNested | 9)
	e.realm = string(realm.bytes(berGeneral))
	r.bytes(berNested | 10)
	if inner, ok := r.optional(11); ok {
		e.text = string(inner.bytes(berGeneral))
	}
	for _, part := range []*berReader{version, at, micro, code, realm, r} {
		if part.err != nil {
			return krbError{}, part.err
		}
	}
	if parseErr != nil {
		return krbError{}, fmt.Errorf("%w: %w", errAnswer, parseErr)
	}
	return e, nil
}

// readKRBError says what an error says.
func (t *talk) readKRBError(e krbError, at time.Time) {
	t.What = "Kerberos"
	text := []string{fmt.Sprintf("error %d", e.code)}
	if name := kerberosErrors[e.code]; name != "" {
		text[0] = name
	}
	if e.realm != "" {
		text = append(text, "realm "+part(e.realm))
	}
	skew := e.time.Sub(at)
	text = append(text, "clock "+offset(skew))
	if e.text != "" {
		text = append(text, part(e.text))
	}
	t.Text = strings.Join(text, ", ")
	if skew.Abs() > kerberosSkew {
		t.problem("its clock is %s: Kerberos works up to %v", offset(skew), kerberosSkew)
	}
}
