package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// A PortQuestion is a port of a host that is to be tried, and what it is asked.
type PortQuestion struct {
	Network string // "tcp" or "udp"
	Port    uint16

	// Ask is the protocol that the port is asked in, one of [Protocols]; "": the usual one of the
	// port, over TCP only with Greet. A UDP port that has no usual one is sent a byte that means nothing.
	Ask   string
	Greet bool // over TCP: talk to what listens, rather than hang up

	Name    string // of the host or domain that is meant, where a protocol has a place for it; "": none
	Secret  string // the community of SNMP, "": public; the secret of RADIUS, "": none
	Program uint32 // of ONC RPC; 0: the usual one of the port
	Version uint32
}

// A PortResult is what became of a [PortQuestion].
type PortResult struct {
	Network string
	Port    uint16

	State State         // Listening, NotListening or Filtered; Failed if it could not be tried, NotTried if the context ended first
	Time  time.Duration // from asking to the first answer; 0 if there was none
	What  string        // the protocol that answered, for people; "": none that we know
	// Text is the greeting, what the answer says, or what the state is about. It holds foreign text as
	// it came, of at most [MaxPortText] bytes.
	Text     string
	Problems []string // what is wrong with what answered; may hold foreign text of that size

	Interfaces []endpoint.Interface // that a server of DCE/RPC says it has
}

// MaxPortText is the most bytes of a [PortResult.Text].
const MaxPortText = 400

// Silent is how the text of a filtered UDP port begins that nothing came from: it may just as well have a
// server that does not answer this, or a host that says only a few times a second that nothing listens.
const Silent = "filtered or silent"

// Port tries one port of a host.
func (p *Prober) Port(ctx context.Context, host netip.Addr, q PortQuestion) PortResult {
	return p.Ports(ctx, host, []PortQuestion{q})[0]
}

// Ports tries ports of a host side by side within the prober's bounds, and returns the
// results in the order of the questions. Ports that do not answer do not hold up the others: all
// of a host that drops everything take little longer than one, since a try that hears nothing counts as a
// connection only for a moment.
func (p *Prober) Ports(ctx context.Context, host netip.Addr, questions []PortQuestion) []PortResult {
	results := make([]PortResult, len(questions))
	for i, q := range questions {
		results[i].Network, results[i].Port = q.Network, q.Port
	}
	p.together(ctx, len(questions), func(int) netip.Addr { return host }, func(i int, s *seat) {
		t, err := newTalk(s, questions[i], &results[i])
		if err != nil {
			results[i].State, results[i].Text = Failed, err.Error()
			return
		}
		defer t.hangUp()
		t.run(ctx)
	})
	return results
}

// run tries the port and writes the result.
func (t *talk) run(ctx context.Context) {
	if t.Network == "udp" {
		t.runUDP(ctx)
	} else {
		t.runTCP(ctx)
	}
	t.Text = clip(t.Text)
	for i, s := range t.Problems {
		t.Problems[i] = clip(s)
	}
	if ended(ctx) && t.State != Listening && t.State != NotListening {
		t.State, t.Text = NotTried, ""
	}
}

func (t *talk) runTCP(ctx context.Context) {
	if err := t.open(ctx, "tcp"); err != nil {
		t.fail(ctx, err)
		return
	}
	t.heard()
	t.State = Listening
	if t.protocol == nil || t.protocol.tcp == nil {
		return
	}
	if !t.seat.keep() { // as seat.connect does, but that it listens is known
		t.hangUp()
		if err := t.seat.take(ctx); err != nil {
			return
		}
		t.say(ctx, func(ctx context.Context, t *talk) error {
			if err := t.open(ctx, "tcp"); err != nil {
				return err
			}
			return t.protocol.tcp(ctx, t)
		})
		return
	}
	t.say(ctx, t.protocol.tcp)
}

func (t *talk) runUDP(ctx context.Context) {
	if err := t.open(ctx, "udp"); err != nil {
		t.fail(ctx, err)
		return
	}
	if t.protocol != nil && t.protocol.udp != nil {
		t.say(ctx, t.protocol.udp)
		return
	}
	t.say(ctx, func(ctx context.Context, t *talk) error {
		_, err := t.exchange(ctx, []byte{0}, func([]byte) bool { return true })
		return err
	})
}

// say has the protocol's conversation, and says what came of it.
func (t *talk) say(ctx context.Context, conversation func(context.Context, *talk) error) {
	err := conversation(ctx, t)
	heard := t.Time > 0
	switch {
	case err == nil:
		t.State = Listening
	case !heard: // over UDP
		t.fail(ctx, err)
	default:
		t.State = Listening
		if ended(ctx) {
			return
		}
		switch state := StateOf(err); {
		case state == Filtered && t.ears != nil && len(t.ears.heard) == 0:
			err = errSilent
		case state == Filtered:
			err = errors.New("no answer in time")
		case state == Wrong:
			err = errors.New("it hung up")
		}
		t.problem("not understood as %s: %v", t.protocolTitle(), err)
	}
}

// fail writes the state that an error of the network stands for.
func (t *talk) fail(ctx context.Context, err error) {
	t.State = StateOf(err)
	switch {
	case t.Network == "udp" && isReset(err): // how Windows tells of ICMP port unreachable
		t.State = NotListening
	case t.State == Wrong: // over TCP: hung up while the connection was made
		t.State = NotListening
	case isNoNetwork(err) && t.hasRoute(ctx): // so it was a router that has none
		t.State = Filtered
	}
	var timeout interface{ Timeout() bool }
	switch {
	case t.State == NotListening:
		t.heard()
	case t.State == Filtered && errors.As(err, &timeout) && timeout.Timeout():
		if t.Network == "udp" {
			t.Text = Silent
			if t.protocol != nil && t.protocol.silence != "" {
				t.Text += ": " + t.protocol.silence
			}
		}
	default:
		t.Text = reason(err)
	}
}

// ended tells whether a context has ended, or is about to: what it was the deadline of may notice first.
func ended(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// hasRoute tells whether this host knows a way to the other; it sends nothing.
func (t *talk) hasRoute(ctx context.Context) bool {
	c, err := t.p.connect(ctx, "udp", t.to.String())
	if err == nil {
		c.Close()
	}
	return err == nil
}

// reason returns what the operating system says, without what was done and to whom.
func reason(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return err.Error()
}

// clip returns the beginning of a text that is too long to be one.
func clip(s string) string { return cut(s, MaxPortText) }

// part returns the beginning of what is only a part of a text.
func part(s string) string { return cut(s, MaxPortText/4) }

func cut(s string, size int) string {
	const more = "..."
	if len(s) <= size {
		return s
	}
	return s[:size-len(more)] + more
}

// problem notes what is wrong with what answered, once.
func (r *PortResult) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(r.Problems, text) && len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, text)
	}
}
