package gate

import (
	"bufio"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// A host of IPv6 is one source with all the addresses that it may take, and what comes over UDP, which may be forged, counts for nobody over TCP.
func TestSourceOf(t *testing.T) {
	of := func(transport uint8, client string) source {
		return sourceOf(transport, netip.MustParseAddrPort(client))
	}
	for _, tt := range []struct {
		a, b source
		same bool
	}{
		{of(tcp, "10.1.0.2:1000"), of(tcp, "10.1.0.2:2000"), true},
		{of(tcp, "10.1.0.2:1000"), of(tcp, "10.1.0.3:1000"), false},
		{of(tcp, "[fd00:1::2]:1000"), of(tcp, "[fd00:1::ffff:3]:1000"), true},
		{of(tcp, "[fd00:1::2]:1000"), of(tcp, "[fd00:1:0:1::2]:1000"), false},
		{of(tcp, "10.1.0.2:1000"), of(udp, "10.1.0.2:1000"), false},
		{of(udp, "[fd00:1::2]:1000"), of(udp, "[fd00:1::3]:1000"), true},
	} {
		if (tt.a == tt.b) != tt.same {
			t.Errorf("%v and %v are one source: %v, want %v", tt.a, tt.b, !tt.same, tt.same)
		}
	}
}

// Who is not given a session is told so at once, and others go on.
func TestNotAdmitted(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	greet(t)
	g := quickGate(t, "limits: {sessions: 1}\n", usualTimes)
	w := g.Watch()
	defer w.Close()
	first, err := dialFrom(t, "10.1.0.2", "10.3.0.2:21")
	if err != nil {
		t.Fatal(err)
	}
	c := &control{t, first, bufio.NewReader(first)}
	c.read()
	for _, tt := range []struct {
		rule string
		dial func() (net.Conn, error)
	}{
		{"sessions", func() (net.Conn, error) { return dialFrom(t, "10.1.0.2", "10.3.0.2:21") }},
		{"policy", func() (net.Conn, error) { return net.Dial("tcp", "127.0.0.1:30111") }}, // on this host anybody gets there
	} {
		conn, err := tt.dial()
		if err == nil {
			defer conn.Close()
			conn.SetReadDeadline(time.Now().Add(patience))
			_, err = conn.Read(make([]byte, 1))
		}
		if !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("by the rule %s: %v, want %v", tt.rule, err, unix.ECONNRESET)
		}
		if e := waitForEvent(t, w, "a refusal", func(e Event) bool { return e.Kind == Refused }); e.Rule != tt.rule || e.Session != 0 {
			t.Errorf("refused by %q, want %q", e.Rule, tt.rule)
		}
	}
	datagrams, err := net.Dial("udp", "127.0.0.1:111")
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	datagrams.Write([]byte("ahoy"))
	waitForEvent(t, w, "a refused datagram", func(e Event) bool { return e.Kind == Refused && e.Rule == "policy" && e.Transport == udp })
	if got := c.say("USER x"); got != "331 more" {
		t.Errorf("who has a session is answered %q", got)
	}
}
