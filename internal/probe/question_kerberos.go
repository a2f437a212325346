package probe

import (
	"cmp"
	"context"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// kerberosSkew is how far the clocks of Kerberos may be apart where nobody chose otherwise (RFC 4120, section 8.2).
const kerberosSkew = 5 * time.Minute

// kerberosErrors are the errors that a question like ours is answered with (RFC 4120, section 7.5.9).
var kerberosErrors = map[int]string{
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

// A kerberosName is a principal without its realm (RFC 4120, section 5.2.2).
type kerberosName struct {
	Kind  int             `asn1:"explicit,tag:0"`
	Parts []asn1.RawValue `asn1:"explicit,tag:1"`
}

// kerberosString returns a string as Kerberos writes it (RFC 4120, section 5.2.1): package asn1 only reads such.
func kerberosString(s string) asn1.RawValue {
	return asn1.RawValue{Tag: asn1.TagGeneralString, Bytes: []byte(s)}
}

// kerberosQuestion asks for a ticket for nobody (RFC 4120, section 5.4.1), which gets an error. It is written here, and
// the error read, as gokrb5 is for the authentication that the build tag noauth leaves out.
func kerberosQuestion(realm string) []byte {
	const none, noUser = "QUAYMASTER.INVALID", "quaymaster-asks-for-nobody"
	realm = cmp.Or(strings.ToUpper(realm), none)
	type body struct {
		Options asn1.BitString `asn1:"explicit,tag:0"`
		Client  kerberosName   `asn1:"explicit,tag:1"`
		Realm   asn1.RawValue
		Service kerberosName `asn1:"explicit,tag:3"`
		Till    time.Time    `asn1:"generalized,explicit,tag:5"`
		Nonce   int32        `asn1:"explicit,tag:7"`
		Ciphers []int        `asn1:"explicit,tag:8"`
	}
	type request struct {
		Version int  `asn1:"explicit,tag:1"`
		Kind    int  `asn1:"explicit,tag:2"`
		Body    body `asn1:"explicit,tag:4"`
	}
	const version, asReq = 5, 10
	const principal, service, aes256, aes128, rc4 = 1, 2, 18, 17, 23
	return der(request{version, asReq, body{
		Options: asn1.BitString{Bytes: make([]byte, 4), BitLength: 32}, // none
		Client:  kerberosName{principal, []asn1.RawValue{kerberosString(noUser)}},
		Realm:   asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, IsCompound: true, Bytes: der(kerberosString(realm), "")},
		Service: kerberosName{service, []asn1.RawValue{kerberosString("krbtgt"), kerberosString(realm)}},
		Till:    time.Date(2037, 9, 13, 2, 48, 5, 0, time.UTC),
		Nonce:   rand.Int32(),
		Ciphers: []int{aes256, aes128, rc4},
	}}, "application,explicit,tag:10")
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

// kpasswdQuestion is a change of a password that lacks everything (RFC 3244, section 2), which gets an error.
var kpasswdQuestion = []byte{0, 10, 0, 1, 0, 2, 0, 0, 0, 0} // length, version, length of the AP-REQ

func askKpasswd(ctx context.Context, t *talk) error {
	var e krbError
	var at time.Time
	_, err := t.exchange(ctx, kpasswdQuestion, func(b []byte) bool {
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

func greetKpasswd(ctx context.Context, t *talk) error {
	answer, err := t.exchangeSized(ctx, 4, kpasswdQuestion)
	if err != nil {
		return err
	}
	e, err := parseKpasswd(answer)
	if err == nil {
		t.readKRBError(e, time.Now())
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

// A krbError is an error of Kerberos (RFC 4120, section 5.9.1), up to what is for programs.
type krbError struct {
	Version     int           `asn1:"explicit,tag:0"`
	Kind        int           `asn1:"explicit,tag:1"`
	ClientTime  time.Time     `asn1:"generalized,optional,explicit,tag:2"`
	ClientMicro int           `asn1:"optional,explicit,tag:3"`
	Time        time.Time     `asn1:"generalized,explicit,tag:4"` // of the server; with its microseconds once parsed
	Micro       int           `asn1:"explicit,tag:5"`
	Code        int           `asn1:"explicit,tag:6"`
	ClientRealm string        `asn1:"optional,explicit,tag:7"`
	Client      asn1.RawValue `asn1:"optional,explicit,tag:8"`
	Realm       string        `asn1:"explicit,tag:9"`
	Service     asn1.RawValue `asn1:"explicit,tag:10"`
	Text        string        `asn1:"optional,explicit,tag:11"`
}

func parseKRBError(b []byte) (e krbError, err error) {
	if _, err := asn1.UnmarshalWithParams(b, &e, "application,explicit,tag:30"); err != nil {
		return krbError{}, fmt.Errorf("%w: %w", errAnswer, err)
	}
	if e.Version != 5 {
		return krbError{}, fmt.Errorf("%w: version %d", errAnswer, e.Version)
	}
	e.Time = e.Time.Add(time.Duration(e.Micro%1e6) * time.Microsecond)
	return e, nil
}

// readKRBError says what an error says.
func (t *talk) readKRBError(e krbError, at time.Time) {
	t.What = "Kerberos"
	text := []string{fmt.Sprintf("error %d", e.Code)}
	if name := kerberosErrors[e.Code]; name != "" {
		text[0] = name
	}
	if e.Realm != "" {
		text = append(text, "realm "+part(e.Realm))
	}
	skew := e.Time.Sub(at)
	text = append(text, "clock "+offset(skew))
	if e.Text != "" {
		text = append(text, part(e.Text))
	}
	t.Text = strings.Join(text, ", ")
	if skew.Abs() > kerberosSkew {
		t.problem("its clock is %s: Kerberos works up to %v", offset(skew), kerberosSkew)
	}
}
