package probe

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Operations of LDAP (RFC 4511, section 4.5).
const (
	ldapSearchOp = berApplication | 3
	ldapEntry    = berApplication | 4
	ldapDone     = berApplication | 5
)

// activeDirectory is the capability that its servers tell (MS-ADTS, section 3.1.1.3.4.3).
const activeDirectory = "1.2.840.113556.1.4.800"

// ldapSearch returns a search for attributes of the root (RFC 4512, section 5.1).
func ldapSearch(id uint32, filter []byte, attributes ...string) []byte {
	var wanted [][]byte
	for _, a := range attributes {
		wanted = append(wanted, berString(berOctets, a))
	}
	zero := berNumber(berInt, 0)
	return ber(berSequence, berNumber(berInt, id), ber(ldapSearchOp, berString(berOctets, ""), // base
		berNumber(berEnum, 0), berNumber(berEnum, 0), zero, zero, // the base alone, aliases as they are, no limits
		ber(berBool, []byte{0}), filter, ber(berSequence, wanted...)))
}

// An ldapOp is the operation in a message.
type ldapOp struct {
	kind     byte
	contents []byte
}

// parseLDAP reads a message's id and its operation (RFC 4511, section 4.1.1).
func parseLDAP(b []byte) (id uint32, op ldapOp, err error) {
	r := (&berReader{b: b}).inside(berSequence)
	id = uint32(r.number(berInt))
	op.kind, op.contents = r.next()
	return id, op, r.err
}

// An ldapAttributes holds what an entry says, by attribute in lower case.
type ldapAttributes map[string][]string

// maxValues is the most attributes of an entry, and values of an attribute, that are kept.
const maxValues = 256

func parseLDAPEntry(b []byte) (ldapAttributes, error) {
	r := &berReader{b: b}
	r.bytes(berOctets) // its name
	r = r.inside(berSequence)
	all := ldapAttributes{}
	for r.more() {
		a := r.inside(berSequence)
		name := strings.ToLower(string(a.bytes(berOctets)))
		values := a.inside(berSet)
		for values.more() {
			if v := string(values.bytes(berOctets)); len(all[name]) < maxValues && values.err == nil && (all[name] != nil || len(all) < maxValues) {
				all[name] = append(all[name], v)
			}
		}
		if values.err != nil {
			return nil, values.err
		}
	}
	return all, r.err
}

// first returns the first value of an attribute, "" if there is none.
func (a ldapAttributes) first(name string) string {
	if values := a[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// greetLDAP reads the root, which everybody may (RFC 4512, section 5.1).
func greetLDAP(ctx context.Context, t *talk) error {
	const id = 1
	present := berString(berContext|7, "objectClass")
	question := ldapSearch(id, present, "defaultNamingContext", "namingContexts", "dnsHostName", "supportedLDAPVersion", "supportedCapabilities", "vendorName")
	if err := t.turn(ctx, question); err != nil {
		return err
	}
	var root ldapAttributes
	for range 8 { // more than entry and end are not due
		b, err := t.readBER(berSequence)
		if err != nil {
			return err
		}
		got, op, err := parseLDAP(b)
		switch {
		case err != nil:
			return err
		case got != id:
			return fmt.Errorf("%w: message %d", errAnswer, got)
		case op.kind == ldapEntry:
			if root, err = parseLDAPEntry(op.contents); err != nil {
				return err
			}
		case op.kind == ldapDone:
			return t.readRoot(root, op.contents)
		}
	}
	return errEnd
}

// readBER returns the next element that comes over TCP, whole; it must have the tag.
func (t *talk) readBER(want byte) ([]byte, error) {
	for n := 1; ; n++ {
		head, err := t.in.Peek(n)
		if err != nil {
			return nil, err
		}
		if head[0] != want {
			return nil, fmt.Errorf("%w: it begins with %#x", errAnswer, head[0])
		}
		size, _, ok, err := berSize(head)
		if err != nil {
			return nil, err
		}
		if ok {
			return t.read(size)
		}
	}
}

// readRoot says what the root says, having read the end of the search.
func (t *talk) readRoot(root ldapAttributes, done []byte) error {
	r := &berReader{b: done}
	if code := r.number(berEnum); r.err != nil {
		return r.err
	} else if code != 0 {
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
