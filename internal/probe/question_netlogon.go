package probe

import (
	"context"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// askLDAP sends a domain controller the ping by which it is located: a search over UDP for the attribute
// Netlogon of the root (MS-ADTS, section 6.3.3). Other servers of connectionless LDAP answer it with less.
// The ping names no domain, so that the controller tells its own: to that of another, or of a host, it has no answer.
func askLDAP(ctx context.Context, t *talk) error {
	id := rand.Int32N(1<<31-1) + 1
	var op *ber.Packet
	_, err := t.exchange(ctx, netlogonQuestion(id), func(b []byte) bool {
		message, err := parseBER(b)
		if err != nil {
			return false
		}
		var got int64
		got, op, err = parseLDAP(message)
		return err == nil && got == int64(id)
	})
	if err != nil {
		return err
	}
	t.What = "LDAP"
	if op.Tag != ldapEntry {
		t.Text = "answers, and is no domain controller"
		return nil
	}
	ping, err := parsePing(op)
	if err != nil {
		return err
	}
	t.What, t.Text = "LDAP, Active Directory", ping.String()
	return nil
}

func netlogonQuestion(id int32) []byte {
	const extended, withFlags = 4, 2 // the answer with names of DNS; not the one for NT 4
	ntVer := der(struct{ Attribute, Value []byte }{[]byte("NtVer"), binary.LittleEndian.AppendUint32(nil, extended|withFlags)}, "tag:3")
	return ldapSearch(id, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: ntVer}, "Netlogon") // all of them
}

// parsePing reads the answer to the ping in an entry.
func parsePing(op *ber.Packet) (netlogonAnswer, error) {
	entry, err := parseLDAPEntry(op)
	if err != nil {
		return netlogonAnswer{}, err
	}
	return parseNetlogon([]byte(entry.first("netlogon")))
}

// A netlogonAnswer is what a domain controller says to the ping (MS-ADTS, section 6.3.1.9).
type netlogonAnswer struct {
	opcode                       uint16
	flags                        uint32
	forest, dnsDomain, dnsHost   string
	netbiosDomain, netbiosHost   string
	user, serverSite, clientSite string
}

// Operation codes of what a domain controller answers.
const (
	netlogonPaused  = 24 // LOGON_SAM_PAUSE_RESPONSE_EX
	netlogonYes     = 23 // LOGON_SAM_LOGON_RESPONSE_EX
	netlogonNoUser  = 25 // LOGON_SAM_USER_UNKNOWN_EX
	netlogonHeading = 24 // bytes before the names: operation code, flags, the domain's UUID
)

func parseNetlogon(b []byte) (a netlogonAnswer, err error) {
	if len(b) < netlogonHeading {
		return a, fmt.Errorf("%w: no answer to the netlogon ping", errAnswer)
	}
	a.opcode = binary.LittleEndian.Uint16(b)
	if a.opcode != netlogonYes && a.opcode != netlogonPaused && a.opcode != netlogonNoUser {
		return a, fmt.Errorf("%w: netlogon opcode %d", errAnswer, a.opcode)
	}
	a.flags = binary.LittleEndian.Uint32(b[4:])
	at := netlogonHeading
	for _, name := range []*string{&a.forest, &a.dnsDomain, &a.dnsHost, &a.netbiosDomain, &a.netbiosHost, &a.user, &a.serverSite, &a.clientSite} {
		if *name, at, err = readPacked(b, at); err != nil {
			return netlogonAnswer{}, err
		}
	}
	return a, nil
}

// readPacked reads a name that is packed as those of DNS are (RFC 1035, section 4.1.4), and returns where
// the next one begins. Pointers lead back, so they have an end.
func readPacked(b []byte, at int) (name string, next int, err error) {
	const maxName = 255
	var labels []string
	size, limit := 0, len(b)
	for i := at; ; {
		if i >= limit {
			return "", 0, fmt.Errorf("%w: a name without an end", errAnswer)
		}
		n := int(b[i])
		switch {
		case n >= 0xc0:
			if i+1 >= limit {
				return "", 0, fmt.Errorf("%w: a name without an end", errAnswer)
			}
			to := n&0x3f<<8 | int(b[i+1])
			if next == 0 {
				next = i + 2
			}
			if to >= at {
				return "", 0, fmt.Errorf("%w: a name that leads to itself", errAnswer)
			}
			at, i = to, to
			continue
		case n >= 0x40:
			return "", 0, fmt.Errorf("%w: a name with a label of %d bytes", errAnswer, n)
		case n == 0:
			if next == 0 {
				next = i + 1
			}
			return strings.Join(labels, "."), next, nil
		}
		if size += n + 1; size > maxName || i+1+n > limit {
			return "", 0, fmt.Errorf("%w: a name without an end", errAnswer)
		}
		labels = append(labels, string(b[i+1:i+1+n]))
		i += 1 + n
	}
}

// netlogonFlags are what a domain controller says that it is (MS-ADTS, section 6.3.1.2).
var netlogonFlags = []struct {
	flag uint32
	word string
}{
	{0x1, "PDC"}, {0x4, "global catalog"}, {0x20, "KDC"}, {0x40, "time"}, {0x200, "reliable time"}, {0x100, "writable"}, {0x800, "read-only"}, {0x2000, "web services"},
}

func (a netlogonAnswer) String() string {
	var is []string
	for _, f := range netlogonFlags {
		if a.flags&f.flag != 0 {
			is = append(is, f.word)
		}
	}
	s := fmt.Sprintf("domain %s (%s), host %s, site %s", a.dnsDomain, a.netbiosDomain, a.dnsHost, a.serverSite)
	if a.forest != a.dnsDomain {
		s += ", forest " + a.forest
	}
	if a.clientSite != "" && a.clientSite != a.serverSite {
		s += ", ours " + a.clientSite
	}
	if a.opcode == netlogonPaused {
		s += ", paused"
	}
	return s + ": " + strings.Join(is, ", ")
}
