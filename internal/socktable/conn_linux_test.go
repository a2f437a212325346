package socktable

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
)

// scripted returns a link on which the datagrams come, whatever is asked; the
// first question has the number 1.
func scripted(t *testing.T, datagrams ...[]byte) *link {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(ends[1]) })
	for _, d := range datagrams {
		if _, err := unix.Write(ends[1], d); err != nil {
			t.Fatal(err)
		}
	}
	return &link{fd: ends[0]}
}

// begun returns a conversation that begins on a link, and goes on with the kernel
// if it is begun anew.
func begun(t *testing.T, l *link) *conn {
	t.Helper()
	c := &conn{link: l}
	t.Cleanup(c.close)
	return c
}

// recorded is what the kernel has said of a socket.
func recorded(t *testing.T) string { return string(unhex(t, inetAnswers[0].hex)) }

// lookup asks for what listens somewhere on TCP.
func (c *conn) lookup(where netip.AddrPort) (s inetSocket, err error) {
	r := inetRequest{family: unix.AF_INET, protocol: unix.IPPROTO_TCP, states: anyState, source: where}.bytes()
	err = c.ask(0, r[:], func(answer []byte) (err error) {
		s, err = parseInet(answer)
		return err
	})
	return s, err
}

func TestConnAnswers(t *testing.T) {
	single := message{kind: diag, sequence: 1, data: []byte(recorded(t))}
	c := begun(t, scripted(t, datagram(single)))
	if s, err := c.lookup(addr("127.0.0.1:1")); err != nil || s != inetAnswers[0].want {
		t.Errorf("lookup = %+v, %v", s, err)
	}
	second := single
	second.sequence = 2
	c = begun(t, scripted(t, datagram(end(unix.NLMSG_ERROR, -int32(unix.ENOENT))), datagram(second)))
	if s, err := c.lookup(addr("127.0.0.1:1")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("lookup = %+v, %v, want %v", s, err, unix.ENOENT)
	}
	if s, err := c.lookup(addr("127.0.0.1:1")); err != nil || s != inetAnswers[0].want {
		t.Errorf("after an error that the kernel answers, lookup = %+v, %v", s, err)
	}
	c = begun(t, scripted(t, datagram(end(unix.NLMSG_ERROR, 0))))
	if s, err := c.lookup(addr("127.0.0.1:1")); !errors.Is(err, errAnswer) {
		t.Errorf("lookup that is not answered = %+v, %v, want %v", s, err, errAnswer)
	}
}

// A conversation that goes wrong is begun anew, before anything is told.
func TestConnBeginsAnew(t *testing.T) {
	where := plan{network: "tcp", addr: "127.0.0.1:0"}.open(t).addr(t)
	late := func(t *testing.T, c *conn) { // answers to questions for which nobody waits any more
		r := inetRequest{family: unix.AF_INET, protocol: unix.IPPROTO_TCP}.bytes()
		for range 100 {
			if err := c.link.send(0, r[:]); err != nil {
				t.Fatal(err)
			}
		}
	}
	comes := func(b []byte) func(*testing.T, *conn) {
		return func(t *testing.T, c *conn) {
			c.drop()
			c.link = scripted(t, b)
		}
	}
	for name, spoil := range map[string]func(*testing.T, *conn){
		"late": late,
		"more than there is room for": func(t *testing.T, c *conn) {
			other := &conn{link: newLink(t)}
			for _, c := range []*conn{other, c} {
				if err := unix.SetsockoptInt(c.link.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0); err != nil {
					t.Fatal(err)
				}
				late(t, c)
			}
			if _, err := other.link.receive(); !errors.Is(err, unix.ENOBUFS) {
				t.Errorf("receive = %v, want %v", err, unix.ENOBUFS)
			}
		},
		"no socket": func(t *testing.T, c *conn) {
			null, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			defer null.Close()
			if err := unix.Dup3(int(null.Fd()), c.link.fd, unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
		},
		"empty":     comes(datagram(part(""))[:0]),
		"cut short": comes(datagram(part("some"))[:messageHeader+1]),
		"too large": comes(datagram(part(string(make([]byte, answerSize))))),
		"foreign":   comes(datagram(message{kind: diag, sequence: 7, data: []byte(recorded(t))})),
		"nonsense":  comes(datagram(message{kind: diag + 1, sequence: 1})),
	} {
		t.Run(name, func(t *testing.T) {
			c := begun(t, nil)
			if s, err := c.lookup(where); err != nil || s.local != where {
				t.Fatalf("lookup = %+v, %v", s, err)
			}
			spoil(t, c)
			before := c.link
			for range 2 {
				if s, err := c.lookup(where); err != nil || s.local != where {
					t.Errorf("lookup = %+v, %v", s, err)
				}
			}
			if c.link == before {
				t.Error("the conversation goes on where it failed")
			}
		})
	}
}

// What has been told is not told again.
func TestConnFailsWithinAnswer(t *testing.T) {
	c := begun(t, scripted(t, datagram(part("a"), part("b")), datagram(message{kind: diag, sequence: 7})))
	var told []string
	ask := func() error {
		r := inetRequest{family: unix.AF_INET, protocol: unix.IPPROTO_TCP}.bytes() // of sockets in no state
		return c.ask(unix.NLM_F_DUMP, r[:], func(answer []byte) error {
			told = append(told, string(answer))
			return nil
		})
	}
	if err := ask(); !errors.Is(err, errAnswer) || !slices.Equal(told, []string{"a", "b"}) {
		t.Errorf("ask = %v after %q, want %v", err, told, errAnswer)
	}
	if err := ask(); err != nil || len(told) != 2 {
		t.Errorf("the next question: %v after %q", err, told)
	}
}

// Close ends what is being asked, and what waits to be.
func TestConnCloseEndsQuestions(t *testing.T) {
	c := begun(t, scripted(t, datagram(part("a")), datagram(part("b")), datagram(end(unix.NLMSG_DONE, 0))))
	asked := make(chan struct{})
	var all sync.WaitGroup
	err := c.ask(unix.NLM_F_DUMP, nil, func(answer []byte) error {
		if string(answer) != "a" {
			t.Errorf("told %q after the end", answer)
		}
		for range 8 {
			all.Go(func() {
				asked <- struct{}{}
				if s, err := c.lookup(addr("127.0.0.1:1")); !errors.Is(err, net.ErrClosed) {
					t.Errorf("lookup = %+v, %v, want %v", s, err, net.ErrClosed)
				}
			})
			<-asked
		}
		all.Go(c.close)
		nstest.WaitFor(t, "the end to be called for", patience, c.ended.Load)
		return nil
	})
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("ask = %v, want %v", err, net.ErrClosed)
	}
	all.Wait()
	if c.link != nil {
		t.Error("the socket is open after close")
	}
}

// Everyone who asks gets the answer to his question, until the table is closed.
func TestManyAskAtOnce(t *testing.T) {
	before := descriptors(t)
	table := openTable(t)
	var all sync.WaitGroup
	var some sync.WaitGroup // who have had answers
	var open []*descriptor
	for i := range 16 {
		tcp := plan{network: "tcp", addr: "127.0.0.1:0"}.open(t)
		client := plan{network: "tcp", addr: "127.0.0.1:0", peer: tcp.addr(t).String()}.open(t)
		udp := plan{network: "udp", addr: fmt.Sprintf("127.0.1.%d:0", i)}.open(t)
		open = append(open, tcp, client, udp)
		ask := func(network string, where netip.AddrPort) error {
			sockets, err := table.At(at(network + " " + where.String()))
			if err == nil && (len(sockets) != 1 || !sockets[0].backs(at(network+" "+where.String()))) {
				t.Errorf("At(%s %s) = %v", network, where, sockets)
			}
			return err
		}
		someone := func(ask func() error) {
			some.Add(1)
			all.Go(func() {
				for n := 0; ; n++ {
					err := ask()
					if n == 50 || err != nil && n < 50 {
						some.Done()
					}
					if err == nil {
						continue
					}
					if n < 50 || !errors.Is(err, net.ErrClosed) {
						t.Errorf("question %d: %v", n, err)
					}
					return
				}
			})
		}
		tcpAt, clientAt, udpAt := tcp.addr(t), client.addr(t), udp.addr(t)
		someone(func() error { return ask("tcp", tcpAt) })
		someone(func() error { return ask("udp", udpAt) })
		someone(func() error { return ask("tcp", netip.AddrPortFrom(netip.IPv4Unspecified(), tcpAt.Port())) })
		someone(func() error {
			s, ok, err := table.lookup(unix.IPPROTO_TCP, clientAt, tcpAt, 0)
			if err == nil && (!ok || s.local != clientAt || s.remote != tcpAt) {
				t.Errorf("the connection from %s = %+v, %t", clientAt, s, ok)
			}
			return err
		})
	}
	some.Wait()
	table.Close()
	all.Wait()
	for _, d := range open {
		d.Close()
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, before the test %d", after, before)
	}
}

// However often a conversation fails, it has one descriptor.
func TestConnDoesNotLeak(t *testing.T) {
	before := descriptors(t)
	c := begun(t, nil)
	where := addr("127.0.0.1:1")
	for i := range 10 {
		c.lookup(where)
		if n := descriptors(t); n != before+1 {
			t.Fatalf("after question %d %d descriptors are open, before %d", i, n, before)
		}
		c.link.sequence += 7
		if err := c.link.send(0, nil); err != nil { // which is answered with an error
			t.Fatal(err)
		}
	}
	c.close()
	c.lookup(where)
	if n := descriptors(t); n != before {
		t.Errorf("after close %d descriptors are open, before %d", n, before)
	}
}

// descriptors returns how many this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// One question is asked for every registration, so it must cost little.
func TestQuestionsAllocateLittle(t *testing.T) {
	table := openTable(t)
	server := plan{network: "tcp", addr: "127.0.0.1:0"}.open(t).addr(t)
	client := plan{network: "tcp", addr: "127.0.0.1:0", peer: server.String()}.open(t).addr(t)
	e := at("tcp " + server.String())
	for name, ask := range map[string]func() error{
		"At":              func() error { _, err := table.At(e); return err },
		"ConnectionOwner": func() error { _, err := table.ConnectionOwner(client, server); return err },
	} {
		n := testing.AllocsPerRun(100, func() {
			if err := ask(); err != nil {
				t.Fatal(err)
			}
		})
		if n > 1 { // what At returns
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
