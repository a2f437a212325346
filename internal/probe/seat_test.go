package probe

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/wire/dcerpc"
	"github.com/quaymaster/quaymaster/wire/epm"
)

// A slowNet is a network of long ways, that counts connections and those over which something was sent.
type slowNet struct {
	delay time.Duration

	mu                             sync.Mutex // guards what follows
	dialed, open, used             int
	mostOpen, mostUsed, mostDialed int // at a time
}

type slowConn struct {
	net.Conn
	n    *slowNet
	used bool
}

func (n *slowNet) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dialed++
	n.mostDialed = max(n.mostDialed, n.dialed)
	n.mu.Unlock()
	time.Sleep(n.delay)
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dialed--
	if err != nil {
		return nil, err
	}
	n.open++
	n.mostOpen = max(n.mostOpen, n.open)
	return &slowConn{Conn: c, n: n}, nil
}

func (c *slowConn) Write(b []byte) (int, error) {
	c.n.mu.Lock()
	if !c.used {
		c.used = true
		c.n.used++
		c.n.mostUsed = max(c.n.mostUsed, c.n.used)
	}
	c.n.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *slowConn) Close() error {
	c.n.mu.Lock()
	c.n.open--
	if c.used {
		c.n.used--
	}
	c.n.mu.Unlock()
	return c.Conn.Close()
}

// TestSeatBounds: of a host that answers later than a try is patient there are no more connections than it
// is to have, though many are under way; and all is asked.
func TestSeatBounds(t *testing.T) {
	const ports = 60
	var entries []Entry
	var questions []PortQuestion
	for range ports {
		at := serveScript(t, func(h dcerpc.Header, pdu []byte) []byte {
			time.Sleep(20 * time.Millisecond)
			return ack(h, pdu)
		})
		entries = append(entries, dceEntryAt(dcerpc.Syntax{UUID: uuidA, Major: 1}, epm.TCP, at))
		questions = append(questions, PortQuestion{Network: "tcp", Port: at.Port(), Ask: "http"})
	}
	check := func(what string, n *slowNet, p *Prober) {
		t.Helper()
		t.Logf("%s: at a time %d connections were used and %d open, of %d under way", what, n.mostUsed, n.mostOpen, n.mostDialed)
		if n.mostUsed > DefaultHostConns || n.mostOpen > 5*DefaultHostConns || n.mostDialed < 2*DefaultHostConns || n.open != 0 {
			t.Errorf("%s: at a time %d connections were used and %d open, of %d under way; %d are open still", what, n.mostUsed, n.mostOpen, n.mostDialed, n.open)
		}
		if n := len(p.all) + len(p.silent) + len(p.hosts); n != 0 {
			t.Errorf("%s: %d places are still taken", what, n)
		}
	}
	n := &slowNet{delay: 100 * time.Millisecond}
	p := &Prober{Dial: n.dial}
	p.TryDCE(t.Context(), dceHost, entries, DCEOptions{})
	checkTried(t, entries, slices.Repeat([]string{"listening"}, ports))
	check("TryDCE", n, p)

	n = &slowNet{delay: 100 * time.Millisecond}
	p = &Prober{Dial: n.dial}
	for _, r := range p.Ports(t.Context(), dceHost, questions) {
		if r.State != Listening || r.Time <= 0 {
			t.Errorf("port %d is %v: %s", r.Port, r.State, r.Text)
		}
	}
	check("Ports", n, p)
}
