package probe

import (
	"cmp"
	"context"
	"encoding/asn1"
	"fmt"
	"math/rand/v2"
)

// sysDescr is the description of the system (RFC 3418).
var sysDescr = asn1.ObjectIdentifier{1, 3, 6, 1, 2, 1, 1, 1, 0}

// askSNMP asks for the system's description by version 2c. An agent is silent where it does not know
// the community, but one of version 3 says so to everybody (RFC 3414, section 4).
func askSNMP(ctx context.Context, t *talk) error {
	id := rand.Uint32() >> 1
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
		return err == nil && a.version != 3 && uint32(a.id) == id
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

func snmpQuestion(id uint32, community string) []byte {
	return ber(berSequence, berNumber(berInt, 1), berString(berOctets, community),
		ber(berNested, berNumber(berInt, id), berNumber(berInt, 0), berNumber(berInt, 0), // GetRequest
			ber(berSequence, ber(berSequence, berOf(sysDescr), ber(berNull)))))
}

// snmpDiscovery asks for the engine's id (RFC 3412, section 6; RFC 3414, section 4).
func snmpDiscovery(id uint32) []byte {
	none := berString(berOctets, "")
	zero := berNumber(berInt, 0)
	const reportable, userSecurity = "\x04", 3
	return ber(berSequence, berNumber(berInt, 3),
		ber(berSequence, berNumber(berInt, id), berNumber(berInt, 65507), berString(berOctets, reportable), berNumber(berInt, userSecurity)),
		ber(berOctets, ber(berSequence, none, zero, zero, none, none, none)),
		ber(berSequence, none, none, ber(berNested, berNumber(berInt, id), zero, zero, ber(berSequence))))
}

// An snmpAnswer is what an agent says; of version 3 only that it is one.
type snmpAnswer struct {
	version int64 // 1, 2 or 3
	id      int64
	status  int64
	text    string
}

func parseSNMP(b []byte) (a snmpAnswer, err error) {
	r := (&berReader{b: b}).inside(berSequence)
	a.version = r.number(berInt) + 1 // on the wire 0, 1, and 3 for 3
	if a.version == 4 {
		a.version = 3
		r.bytes(berSequence)
		return a, r.err
	}
	r.bytes(berOctets)
	r = r.inside(berNested | 2) // Response
	a.id, a.status = r.number(berInt), r.number(berInt)
	r.number(berInt)
	r = r.inside(berSequence)
	r = r.inside(berSequence)
	r.bytes(berOID)
	tag, value := r.next()
	if tag == berOctets {
		a.text = string(value)
	}
	return a, r.err
}
