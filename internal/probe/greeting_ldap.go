package probe

import (
	"bufio"
	"context"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// Operations of LDAP (RFC 4511, section 4.5).
const (
	ldapEntry ber.Tag = 4
	ldapDone  ber.Tag = 5
)

// activeDirectory is the capability that its servers tell (MS-ADTS, section 3.1.1.3.4.3).
const activeDirectory = "1.2.840.113556.1.4.800"

// ldapSearch returns a search for attributes of the root (RFC 4512, section 5.1).
func ldapSearch(id int32, filter asn1.RawValue, attributes ...string) []byte {
	type search struct {
		Base                 []byte
		Scope, Aliases       asn1.Enumerated // the base alone, aliases as they are
		SizeLimit, TimeLimit int
		TypesOnly            bool
		Filter               asn1.RawValue
		Attributes           [][]byte
	}
	s := search{Filter: filter}
	for _, a := range attributes {
		s.Attributes = append(s.Attributes, []byte(a))
	}
	return der(struct {
		ID     int32
		Search search `asn1:"application,tag:3"`
	}{id, s}, "")
}

// parseLDAP returns a message's id and its operation (RFC 4511, section 4.1.1).
func parseLDAP(message *ber.Packet) (id int64, op *ber.Packet, err error) {
	id, ok := valueWithin[int64](message, 0)
	op = within(message, 1)
	if !ok || op == nil || op.ClassType != ber.ClassApplication {
		return 0, nil, fmt.Errorf("%w: no message of LDAP", errAnswer)
	}
	return id, op, nil
}

// An ldapAttributes holds what an entry says, by attribute in lower case.
type ldapAttributes map[string][]string

func parseLDAPEntry(op *ber.Packet) (ldapAttributes, error) {
	list := within(op, 1) // after its name
	if list == nil {
		return nil, fmt.Errorf("%w: an entry without attributes", errAnswer)
	}
	all := ldapAttributes{}
	for _, a := range list.Children {
		name, ok := valueWithin[string](a, 0)
		values := within(a, 1)
		if !ok || values == nil {
			return nil, fmt.Errorf("%w: an attribute without a name or values", errAnswer)
		}
		name = strings.ToLower(name)
		for i := range values.Children {
			v, ok := valueWithin[string](values, i)
			if !ok {
				return nil, fmt.Errorf("%w: a value that is no string", errAnswer)
			}
			all[name] = append(all[name], v)
		}
	}
	return all, nil
}

// first returns the first value of an attribute, "" if there is none.
func (a ldapAttributes) first(name string) string {
	if values := a[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// greetLDAP reads the root, which everybody may (RFC 4512, section 5.1). It does not have go-ldap do so, which would bring
// NTLM into builds without authentication, and keeps of errors of the network only their text.
func greetLDAP(ctx context.Context, t *talk) error {
	const id, sequence = 1, 0x30
	present := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 7, Bytes: []byte("objectClass")}
	question := ldapSearch(id, present, "defaultNamingContext", "namingContexts", "dnsHostName", "supportedLDAPVersion", "supportedCapabilities", "vendorName")
	if err := t.turn(ctx, question); err != nil {
		return err
	}
	in := bufio.NewReader(&bounded{Conn: t.conn, left: maxBER})
	var root ldapAttributes
	for range 8 { // more than entry and end are not due
		head, err := in.Peek(1)
		if err != nil {
			return err
		}
		if head[0] != sequence { // of somebody who need not hang up
			return fmt.Errorf("%w: it begins with %#x", errAnswer, head[0])
		}
		message, err := ber.ReadPacket(in)
		if err != nil {
			return err
		}
		got, op, err := parseLDAP(message)
		switch {
		case err != nil:
			return err
		case got != id:
			return fmt.Errorf("%w: message %d", errAnswer, got)
		case op.Tag == ldapEntry:
			if root, err = parseLDAPEntry(op); err != nil {
				return err
			}
		case op.Tag == ldapDone:
			return t.readRoot(root, op)
		}
	}
	return errEnd
}

// readRoot says what the root says, having read the end of the search.
func (t *talk) readRoot(root ldapAttributes, done *ber.Packet) error {
	code, ok := valueWithin[int64](done, 0)
	if !ok {
		return fmt.Errorf("%w: an end without a result", errAnswer)
	}
	if code != 0 {
		t.What, t.Text = t.protocol.title, fmt.Sprintf("result %d", code)
		return nil
	}
	t.What = t.protocol.title
	if slices.Contains(root["supportedcapabilities"], activeDirectory) {
		t.What += ", Active Directory"
	}
	var text []string
	add := func(before, s string) {
		if s != "" {
			text = append(text, before+part(s))
		}
	}
	base := root.first("defaultnamingcontext")
	if base == "" {
		base = root.first("namingcontexts")
	}
	add("", base)
	add("host ", root.first("dnshostname"))
	add("LDAP ", strings.Join(root["supportedldapversion"][:min(len(root["supportedldapversion"]), 8)], " "))
	add("", root.first("vendorname"))
	t.Text = strings.Join(text, ", ")
	return nil
}
