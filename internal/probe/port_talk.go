package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

// A talk is the conversation with one port. The result that it writes is its own until it ends.
type talk struct {
	*PortResult
	q        PortQuestion
	p        *Prober
	to       netip.AddrPort
	protocol *protocol // that it is had in; nil: none
	seat     *seat

	start time.Time // of the first connection or question
	conn  net.Conn
	in    *bufio.Reader // of TCP: what comes, up to maxGreeting bytes
	ears  *ears         // of TCP
	stop  func() bool   // of the limit that holds
}

// maxGreeting is the most bytes that are read of one TCP connection.
const maxGreeting = 256 << 10

// newTalk returns the talk that answers a question to the seat's host in the result.
func newTalk(s *seat, q PortQuestion, r *PortResult) (*talk, error) {
	t := &talk{PortResult: r, q: q, p: s.p, seat: s, to: netip.AddrPortFrom(s.host, q.Port)}
	switch {
	case q.Network != "tcp" && q.Network != "udp":
		return nil, fmt.Errorf("unknown network %q: want tcp or udp", q.Network)
	case q.Port == 0:
		return nil, errors.New("port 0 is none: want 1 to 65535")
	case !isName(q.Name):
		return nil, fmt.Errorf("%q is no name of a host or domain", q.Name)
	case q.Ask != "":
		if t.protocol = protocolNamed(q.Ask, q.Network); t.protocol == nil {
			return nil, fmt.Errorf("unknown question %q over %s: want %s", q.Ask, q.Network, strings.Join(Protocols(q.Network), ", "))
		}
	case q.Network == "udp" || q.Greet:
		t.protocol = usualProtocol(q.Network, q.Port)
	}
	return t, nil
}

// isName tells whether a name, or none, can be written into any protocol.
func isName(s string) bool {
	const maxName = 253
	return len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func (t *talk) protocolTitle() string {
	if t.protocol == nil {
		return "anything"
	}
	return t.protocol.title
}

// open connects, having ended the connection before.
func (t *talk) open(ctx context.Context, network string) error {
	t.hangUp()
	if t.start.IsZero() {
		t.start = time.Now()
	}
	c, err := t.p.connect(ctx, network, t.to.String())
	if err != nil {
		return err
	}
	if network == "udp" {
		hearRefusals(c)
	} else {
		t.ears = &ears{Conn: c}
		c = t.ears
	}
	t.use(c)
	return nil
}

// use goes on talking over a connection.
func (t *talk) use(c net.Conn) {
	t.conn = c
	t.in = bufio.NewReaderSize(io.LimitReader(c, maxGreeting), 4096)
}

// hangUp ends the connection.
func (t *talk) hangUp() {
	if t.stop != nil {
		t.stop()
		t.stop = nil
	}
	if t.conn != nil {
		t.conn.Close()
		t.conn = nil
	}
}

// exchange is [Prober.exchange] over UDP. Whatever comes back says that something listens.
func (t *talk) exchange(ctx context.Context, message []byte, accept func(answer []byte) bool) ([]byte, error) {
	return t.p.exchange(ctx, t.conn, message, make([]byte, maxDatagram), func(answer []byte) bool {
		t.heard()
		return accept(answer)
	})
}

// heard notes when the first answer came.
func (t *talk) heard() {
	if t.Time == 0 {
		t.Time = max(time.Since(t.start), 1)
	}
}

// turn gives the other side of a TCP connection the prober's time for what is sent now and the whole
// of its answer. A conversation has few turns, so a server that trickles cannot keep us.
func (t *talk) turn(ctx context.Context, message []byte) error {
	if t.stop != nil {
		t.stop()
	}
	t.stop = t.p.limit(ctx, t.conn, t.p.timeout())
	if len(message) == 0 {
		return nil
	}
	_, err := t.conn.Write(message)
	return err
}

// bye takes leave where that is polite. Whether it is heard does not matter.
func (t *talk) bye(ctx context.Context, words string) { t.turn(ctx, []byte(words)) }

// read returns the next n bytes that come over TCP.
func (t *talk) read(n int) ([]byte, error) {
	if n > maxGreeting {
		return nil, errEnd
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(t.in, b); err != nil {
		return nil, err
	}
	return b, nil
}

// line returns the next line that comes over TCP, without its end.
func (t *talk) line() (string, error) {
	line, err := t.in.ReadSlice('\n') // a line of up to 4096 bytes
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", errEnd
	}
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// ears have the beginning of what came over a connection, of at most MaxPortText bytes.
type ears struct {
	net.Conn
	heard []byte
}

func (e *ears) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	e.heard = append(e.heard, p[:min(n, MaxPortText-len(e.heard))]...)
	return n, err
}

// bounded reads no more of a connection than is left.
type bounded struct {
	net.Conn
	left int
}

// Read returns errEnd when nothing is left.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errEnd
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
