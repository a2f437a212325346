package probe

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// dnsQuestion asks for the caller's name or, as every server has an answer to that, for the root's
// name servers.
func dnsQuestion(t *talk) (*dns.Msg, []byte, error) {
	m := new(dns.Msg)
	if t.q.Name != "" {
		m.SetQuestion(dns.Fqdn(t.q.Name), dns.TypeSOA)
	} else {
		m.SetQuestion(".", dns.TypeNS)
	}
	b, err := m.Pack()
	if err != nil {
		return nil, nil, fmt.Errorf("name %q: %w", t.q.Name, err)
	}
	return m, b, nil
}

func askDNS(ctx context.Context, t *talk) error {
	m, question, err := dnsQuestion(t)
	if err != nil {
		return err
	}
	return t.askDNS(ctx, m, question)
}

// askMDNS asks which services there are (RFC 6763, section 9); as it comes from another port than
// 5353, the answer comes back to us alone (RFC 6762, section 6.7).
func askMDNS(ctx context.Context, t *talk) error {
	m := new(dns.Msg)
	m.SetQuestion("_services._dns-sd._udp.local.", dns.TypePTR)
	m.RecursionDesired = false
	question, err := m.Pack()
	if err != nil {
		return err
	}
	return t.askDNS(ctx, m, question)
}

func (t *talk) askDNS(ctx context.Context, m *dns.Msg, question []byte) error {
	answer, err := t.exchange(ctx, question, func(b []byte) bool { return isDNSAnswer(b, m.Id) })
	if err != nil {
		return err
	}
	return t.readDNS(answer)
}

// isDNSAnswer tells whether a message is an answer (RFC 1035, section 4.1.1) to the question of an id.
func isDNSAnswer(b []byte, id uint16) bool {
	return len(b) >= 12 && binary.BigEndian.Uint16(b) == id && b[2]&0x80 != 0
}

func greetDNS(ctx context.Context, t *talk) error {
	m, question, err := dnsQuestion(t)
	if err != nil {
		return err
	}
	answer, err := t.exchangeSized(ctx, 2, question)
	if err != nil {
		return err
	}
	if !isDNSAnswer(answer, m.Id) {
		return errAnswer
	}
	return t.readDNS(answer)
}

// exchangeSized sends a message over TCP after its size in so many bytes, and returns the
// answer, which is written the same way.
func (t *talk) exchangeSized(ctx context.Context, width int, message []byte) ([]byte, error) {
	size := binary.BigEndian.AppendUint32(nil, uint32(len(message)))
	if err := t.turn(ctx, append(size[4-width:], message...)); err != nil {
		return nil, err
	}
	head, err := t.read(width)
	if err != nil {
		return nil, err
	}
	n := uint32(0)
	for _, b := range head {
		n = n<<8 | uint32(b)
	}
	if n > maxDatagram {
		return nil, fmt.Errorf("%w: an answer of %d bytes", errEnd, n)
	}
	return t.read(int(n))
}

// readDNS says what an answer says.
func (t *talk) readDNS(answer []byte) error {
	var m dns.Msg
	if err := m.Unpack(answer); err != nil {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	t.What = t.protocol.title
	text := []string{dns.RcodeToString[m.Rcode]}
	if text[0] == "" {
		text[0] = fmt.Sprintf("response code %d", m.Rcode)
	}
	if m.Authoritative {
		text = append(text, "authoritative")
	}
	if m.RecursionAvailable {
		text = append(text, "recursion offered")
	}
	var names []string
	for _, rr := range m.Answer[:min(len(m.Answer), 16)] {
		switch rr := rr.(type) {
		case *dns.SOA:
			names = append(names, "zone "+rr.Hdr.Name+" of "+rr.Ns)
		case *dns.PTR:
			names = append(names, rr.Ptr)
		}
	}
	slices.Sort(names)
	text = append(text, slices.Compact(names)...)
	t.Text = strings.Join(text, ", ")
	return nil
}

// randomBytes returns n bytes that need not be secret: nonces and cookies of questions.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}
