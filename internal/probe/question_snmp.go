package probe

import (
	"cmp"
	"context"
	"encoding/asn1"
	"fmt"
	"math/rand/v2"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// sysDescr is the description of the system (RFC 3418).
var sysDescr = asn1.ObjectIdentifier{1, 3, 6, 1, 2, 1, 1, 1, 0}

// askSNMP asks for the system's description by version 2c. An agent is silent where it does not know
// the community, but one of version 3 says so to everybody (RFC 3414, section 4).
func askSNMP(ctx context.Context, t *talk) error {
	id := rand.Int32()
	question := snmpQuestion(id, cmp.Or(t.q.Secret, "public"))
	if _, err := t.conn.Write(snmpDiscovery(id)); err != nil {
		return err
	}
	var a snmpAnswer
	v3 := false
	_, err := t.exchange(ctx, question, func(b []byte) bool {
		var err error
		a, err = parseSNMP(b)
		v3 = v3 || err == nil && a.version == 3
		return err == nil && a.version != 3 && a.id == int64(id)
	})
	switch {
	case err != nil && !v3:
		return err
	case err != nil:
		t.What, t.Text = "SNMP", "version 3; no answer to the community public"
		if t.q.Secret != "" { // which is nobody else's business
			t.Text = "version 3; no answer to the community that was given"
		}
		return nil
	}
	t.What, t.Text = "SNMP", a.text
	if a.status != 0 {
		t.Text = fmt.Sprintf("error %d", a.status)
	}
	return nil
}

// An snmpPDU is a question within a message (RFC 3416, section 3).
type snmpPDU struct {
	ID, Status, Index int32
	Bindings          []snmpBinding
}

type snmpBinding struct {
	Name  asn1.ObjectIdentifier
	Value asn1.RawValue
}

func snmpQuestion(id int32, community string) []byte {
	return der(struct {
		Version   int
		Community []byte
		Get       snmpPDU `asn1:"tag:0"`
	}{1, []byte(community), snmpPDU{ID: id, Bindings: []snmpBinding{{sysDescr, asn1.NullRawValue}}}}, "")
}

// snmpDiscovery asks for the engine's id (RFC 3412, section 6; RFC 3414, section 4).
func snmpDiscovery(id int32) []byte {
	type header struct {
		ID, MaxSize int32
		Flags       []byte
		Security    int
	}
	type user struct {
		Engine              []byte
		Boots, Time         int
		Name, Auth, Privacy []byte
	}
	type scoped struct {
		Engine, Context []byte
		Get             snmpPDU `asn1:"tag:0"`
	}
	const reportable, userSecurity = 4, 3
	return der(struct {
		Version int
		Header  header
		User    []byte
		Data    scoped
	}{3, header{id, maxBER, []byte{reportable}, userSecurity}, der(user{}, ""), scoped{Get: snmpPDU{ID: id}}}, "")
}

// An snmpAnswer is what an agent says; of version 3 only that it is one.
type snmpAnswer struct {
	version int64 // 1, 2 or 3
	id      int64
	status  int64
	text    string
}

// parseSNMP reads an answer. The library for SNMP, gosnmp 1.47, panics on a binding that claims to be 2^63-1 bytes.
func parseSNMP(b []byte) (a snmpAnswer, err error) {
	message, err := parseBER(b)
	if err != nil {
		return a, err
	}
	wire, ok := valueWithin[int64](message, 0)
	if a.version = wire + 1; wire == 3 { // on the wire 0, 1, and 3 for 3
		a.version = 3
		if !isElement(within(message, 1), ber.ClassUniversal, ber.TagSequence) {
			return snmpAnswer{}, fmt.Errorf("%w: no message of SNMP version 3", errAnswer)
		}
		return a, nil
	}
	response := within(message, 2)
	a.id, _ = valueWithin[int64](response, 0)
	a.status, _ = valueWithin[int64](response, 1)
	if value := within(response, 3, 0, 1); !ok || value == nil || !isElement(response, ber.ClassContext, 2) {
		return snmpAnswer{}, fmt.Errorf("%w: no response of SNMP", errAnswer)
	}
	a.text, _ = valueWithin[string](response, 3, 0, 1)
	return a, nil
}
