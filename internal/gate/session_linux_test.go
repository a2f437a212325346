package gate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/follow"
	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// serveWith has a function talk to each connection to a port of the host of servers.
func serveWith(t testing.TB, port int, talk func(*net.TCPConn)) {
	t.Helper()
	var l net.Listener
	var err error
	at(t, "s0", func() { l, err = net.Listen("tcp", fmt.Sprintf("10.3.0.2:%d", port)) })
	if err != nil {
		t.Fatal(err)
	}
	nstest.Answer(t, l, func(conn net.Conn) {
		conn.SetDeadline(time.Now().Add(patience))
		talk(conn.(*net.TCPConn))
	})
}

// quickGate is a gate that has less patience than usual.
func quickGate(t testing.TB, text string, times times) *Gate {
	t.Helper()
	p := readPolicy(t, "forward: own\n"+edgePolicy+text)
	s := &System{Policy: p}
	if err := s.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	h, _ := startPinholes(t, p)
	g := New(p, h, nil)
	times.sweep = 20 * time.Millisecond
	g.times = times
	serveGate(t, g)
	return g
}

// What a side said before it ended is answered.
func TestHalfClosed(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	heard, ended := make(chan bool), make(chan string, 1)
	serveWith(t, 21, func(conn *net.TCPConn) {
		<-heard
		fmt.Fprint(conn, "220 ahoy\r\n")
		all, _ := io.ReadAll(conn)
		ended <- string(all)
		fmt.Fprint(conn, "221 farewell\r\n")
	})
	g := quickGate(t, "", usualTimes)
	conn, err := dialFrom(t, "10.1.0.2", "10.3.0.2:21")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "QUIT\r\n")
	conn.(*net.TCPConn).CloseWrite()
	nstest.WaitFor(t, "the end to be heard, once", patience, func() bool {
		once := false
		streams(g, func(s *stream) {
			client := &s.ends[follow.Client]
			once = !s.connecting && client.eof && client.events&unix.EPOLLIN == 0
		})
		return once
	})
	close(heard)
	if all, err := io.ReadAll(conn); err != nil || string(all) != "220 ahoy\r\n221 farewell\r\n" {
		t.Errorf("read %q, %v", all, err)
	}
	if got := <-ended; got != "QUIT\r\n" {
		t.Errorf("the server got %q", got)
	}
	nstest.WaitFor(t, "the session to end", patience, func() bool { return len(g.Sessions()) == 0 })
}

// Who speaks first is heard while the server is still called, and loses nothing by that.
func TestSpeaksFirst(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	framed := func(b []byte) []byte { return append(oncrpc.AppendRecordMark(nil, len(b), true), b...) }
	call := func(xid uint32, p rpcbind.Proc) []byte {
		c := oncrpc.Call{XID: xid, Program: rpcbind.Program, Version: rpcbind.Version2, Procedure: uint32(p)}
		return framed(rpcbind.Mapping{Program: 1000, Version: 1, Protocol: 6, Port: 4000}.Append(c.Append(nil)))
	}
	answer := framed(append(oncrpc.AppendAccepted(nil, 2, oncrpc.Success), 0, 0, 4000>>8, 4000&0xff))
	serveWith(t, 111, func(conn *net.TCPConn) {
		if all, err := io.ReadAll(conn); err == nil && bytes.Equal(all, call(2, rpcbind.ProcGetPort)) {
			conn.Write(answer)
		}
	})
	serveWith(t, 21, func(conn *net.TCPConn) {
		io.Copy(io.Discard, conn)
		fmt.Fprint(conn, "220 ahoy\r\n")
	})
	command(t, "ip", "netns", "exec", "s0", nstest.Path(t, "nft"), "add table inet f; add chain inet f in { type filter hook input priority 0; }; add rule inet f in tcp dport { 21, 111 } drop")
	g := quickGate(t, "", usualTimes)

	silent, err := dialFrom(t, "10.1.0.2", "10.3.0.2:21")
	if err != nil {
		t.Fatal(err)
	}
	silent.(*net.TCPConn).CloseWrite()
	conn, err := dialFrom(t, "10.1.0.2", "10.3.0.2:111")
	if err != nil {
		t.Fatal(err)
	}
	conn.Write(call(1, rpcbind.ProcSet))
	refusal := framed(oncrpc.AppendAuthError(nil, 1, oncrpc.AuthTooWeak))
	got := make([]byte, len(refusal))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, refusal) {
		t.Fatalf("SET is answered %x, %v, want %x", got, err, refusal)
	}
	conn.Write(call(2, rpcbind.ProcGetPort))
	conn.(*net.TCPConn).CloseWrite()
	nstest.WaitFor(t, "both to be heard", patience, func() bool {
		heard := 0
		streams(g, func(s *stream) {
			if s.connecting && (s.ends[follow.Client].eof || len(s.ends[follow.Server].out) > 0) {
				heard++
			}
		})
		return heard == 2
	})
	command(t, "ip", "netns", "exec", "s0", nstest.Path(t, "nft"), "flush ruleset")
	if all, err := io.ReadAll(conn); err != nil || !bytes.Equal(all, answer) {
		t.Errorf("GETPORT is answered %x, %v, want %x", all, err, answer)
	}
	if all, err := io.ReadAll(silent); err != nil || string(all) != "220 ahoy\r\n" {
		t.Errorf("who ended before the server was there read %q, %v", all, err)
	}
	nstest.WaitFor(t, "the sessions to end", patience, func() bool { return len(g.Sessions()) == 0 })
}

// streams calls do with all sessions over TCP.
func streams(g *Gate, do func(*stream)) {
	g.ask(func(l *loop) {
		for _, s := range l.open {
			if on, ok := s.carrier.(*stream); ok {
				do(on)
			}
		}
	})
}

// Where nothing is open a session ends with either side, whatever the other does.
func TestQuietEnd(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	ends := make(chan bool, 1) // whether the server says no more after its greeting
	serveWith(t, 21, func(conn *net.TCPConn) {
		fmt.Fprint(conn, "220 ahoy\r\n")
		if <-ends {
			conn.CloseWrite()
		}
		<-t.Context().Done()
	})
	g := quickGate(t, "", usualTimes)
	w := g.Watch()
	defer w.Close()
	for _, side := range []follow.Side{follow.Client, follow.Server} {
		conn, err := dialFrom(t, "10.1.0.2", "10.3.0.2:21")
		if err != nil {
			t.Fatal(err)
		}
		if got := (&control{t, conn, bufio.NewReader(conn)}).read(); got != "220 ahoy" {
			t.Fatalf("greeted with %q", got)
		}
		if side == follow.Client {
			conn.(*net.TCPConn).CloseWrite()
		}
		ends <- side == follow.Server
		e := waitForEvent(t, w, "an end", func(e Event) bool { return e.Kind == Ended })
		if want := fmt.Sprintf("the %s ended it", side); e.Why != want {
			t.Errorf("it ended because %s, want %s", e.Why, want)
		}
	}
}

// Who says no more still gets what it has not taken yet.
func TestEndsBeforeItTook(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	reply := "213 " + strings.Repeat("x", 1400) + "\r\n" // in one segment
	serveWith(t, 21, func(conn *net.TCPConn) {
		fmt.Fprint(conn, "220 ahoy\r\n")
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			io.WriteString(conn, reply)
		}
	})
	g := quickGate(t, "", usualTimes)
	conn, err := dialFrom(t, "10.1.0.2", "10.3.0.2:21")
	if err != nil {
		t.Fatal(err)
	}
	c := &control{t, conn, bufio.NewReader(conn)}
	c.read()
	asked := 0
	for untaken := 0; untaken == 0; asked++ {
		before := time.Time{}
		streams(g, func(s *stream) { before = s.ends[follow.Server].moved })
		fmt.Fprint(conn, "STAT\r\n")
		nstest.WaitFor(t, "the reply", patience, func() bool {
			answered := false
			streams(g, func(s *stream) {
				answered = s.ends[follow.Server].moved.After(before) && s.follower.Quiet()
				untaken = len(s.ends[follow.Client].out)
			})
			return answered
		})
	}
	conn.(*net.TCPConn).CloseWrite()
	nstest.WaitFor(t, "the end to be heard", patience, func() bool {
		heard := len(g.Sessions()) == 0
		streams(g, func(s *stream) { heard = s.ends[follow.Client].eof })
		return heard
	})
	if all, err := io.ReadAll(c.in); err != nil || len(all) != asked*len(reply) {
		t.Errorf("read %d bytes, %v, of %d", len(all), err, asked*len(reply))
	}
}

// What is encrypted is passed on both ways as it is.
func TestUnread(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	there, back := bytes.Repeat([]byte("\x16\x03\xff\x00227 (10,1,0,2,4,4)\r\n"), 100_000), bytes.Repeat([]byte("229 (|||5000|)\r\n\xff\xf4"), 100_000)
	arrived := make(chan error, 2)
	serveWith(t, 21, func(conn *net.TCPConn) {
		fmt.Fprint(conn, "220 ahoy\r\n")
		in := bufio.NewReader(conn)
		in.ReadString('\n')
		fmt.Fprint(conn, "234 go on\r\n")
		in.Peek(1) // the client begins
		var writes sync.WaitGroup
		writes.Go(func() { conn.Write(back) })
		got := make([]byte, len(there))
		_, err := io.ReadFull(in, got)
		if err == nil && !bytes.Equal(got, there) {
			err = errors.New("other bytes")
		}
		arrived <- err
		writes.Wait()
		conn.CloseWrite()
		if rest, err := io.ReadAll(in); err != nil || string(rest) != "farewell" {
			arrived <- fmt.Errorf("at last %q, %v", rest, err)
		}
		arrived <- nil
	})
	g := quickGate(t, "", usualTimes)
	w := g.Watch()
	defer w.Close()
	conn, err := dialFrom(t, "10.1.0.2", "10.3.0.2:21")
	if err != nil {
		t.Fatal(err)
	}
	c := &control{t, conn, bufio.NewReader(conn)}
	c.read()
	if got := c.say("AUTH TLS"); got != "234 go on" {
		t.Fatalf("AUTH is answered %q", got)
	}
	waitForEvent(t, w, "what is unread", func(e Event) bool { return e.Kind == Refused && e.Rule == "unreadable" })
	go conn.Write(there)
	got := make([]byte, len(back))
	if _, err := io.ReadFull(c.in, got); err != nil || !bytes.Equal(got, back) {
		t.Errorf("the client read something else: %v", err)
	}
	if err := <-arrived; err != nil {
		t.Errorf("the server read something else: %v", err)
	}
	if all := g.Sessions(); len(all) != 1 || !all[0].Unread || all[0].Promised != 0 || all[0].Protocol != FTP || all[0].Server.String() != "10.3.0.2:21" {
		t.Errorf("sessions %+v", all)
	}
	noPinholes(t, g)
	// Each side ends by itself.
	if rest, err := io.ReadAll(c.in); err != nil || len(rest) > 0 {
		t.Errorf("after the server ended the client read %q, %v", rest, err)
	}
	io.WriteString(conn, "farewell")
	conn.(*net.TCPConn).CloseWrite()
	if err := <-arrived; err != nil {
		t.Errorf("the server read something else: %v", err)
	}
	nstest.WaitFor(t, "the session to end", patience, func() bool { return len(g.Sessions()) == 0 })
}

// Who takes nothing is not read for either, and ends.
func TestBackpressure(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	var wrote atomic.Int64
	serveWith(t, 21, func(conn *net.TCPConn) {
		fmt.Fprint(conn, "220 ahoy\r\n")
		bufio.NewReader(conn).ReadString('\n')
		line := []byte("211-" + strings.Repeat("x", 400) + "\r\n")
		for {
			n, err := conn.Write(line)
			wrote.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	times := usualTimes
	times.write = 500 * time.Millisecond
	g := quickGate(t, "", times)
	w := g.Watch()
	defer w.Close()
	conn, err := dialFrom(t, "10.1.0.2", "10.3.0.2:21")
	if err != nil {
		t.Fatal(err)
	}
	c := &control{t, conn, bufio.NewReader(conn)}
	c.read()
	fmt.Fprint(conn, "STAT\r\n")
	e := waitForEvent(t, w, "an end", func(e Event) bool { return e.Kind == Refused && e.Rule == "time" })
	if e.Why != "the client took nothing for 500ms" {
		t.Errorf("it ended because %s", e.Why)
	}
	if n := wrote.Load(); n > 32<<20 {
		t.Errorf("the server could send %d bytes that nobody took", n)
	}
	nstest.WaitFor(t, "nothing to be held", patience, func() bool {
		unsent := -1
		g.ask(func(l *loop) { unsent = l.unsent })
		return unsent == 0
	})
}

// Nor does the gate keep more of what it says itself, or of what is encrypted, than a little.
func TestBackpressureOfAnswers(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	serveWith(t, 111, func(*net.TCPConn) { <-t.Context().Done() })
	serveWith(t, 21, func(conn *net.TCPConn) {
		fmt.Fprint(conn, "220 ahoy\r\n")
		bufio.NewReaderSize(conn, 16).ReadString('\n')
		fmt.Fprint(conn, "234 go on\r\n")
		<-t.Context().Done()
	})
	times := usualTimes
	times.write = 500 * time.Millisecond
	g := quickGate(t, "", times)
	w := g.Watch()
	defer w.Close()
	call := oncrpc.Call{XID: 1, Program: rpcbind.Program, Version: rpcbind.Version2, Procedure: uint32(rpcbind.ProcSet)}
	set := rpcbind.Mapping{Program: 1000, Version: 1, Protocol: 6, Port: 4000}.Append(call.Append(nil))
	sets := bytes.Repeat(append(oncrpc.AppendRecordMark(nil, len(set), true), set...), 1000)
	// flood has a client say this without end, after what it says first, and returns how that ended.
	flood := func(to, first, greeting string, more []byte) Event {
		t.Helper()
		conn, err := dialFrom(t, "10.1.0.2", to)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, first)
		if _, err := io.ReadFull(conn, make([]byte, len(greeting))); err != nil {
			t.Fatal(err)
		}
		go func() {
			for err := error(nil); err == nil; {
				_, err = conn.Write(more)
			}
		}()
		return waitForEvent(t, w, "an end", func(e Event) bool { return e.Kind == Refused && (e.Rule == "time" || e.Rule == "limit") })
	}
	if e := flood("10.3.0.2:111", "", "", sets); e.Why != "the client took nothing for 500ms" {
		t.Errorf("who takes no answers ended because %s", e.Why)
	}
	if e := flood("10.3.0.2:21", "AUTH TLS\r\n", "220 ahoy\r\n234 go on\r\n", make([]byte, 64<<10)); e.Why != "the server took nothing for 500ms" {
		t.Errorf("to a server that takes nothing, it ended because %s", e.Why)
	}
	// Others have left all that may be held.
	g.ask(func(l *loop) { l.unsent += maxUnsent })
	if e := flood("10.3.0.2:111", "", "", sets); e.Rule != "limit" {
		t.Errorf("over what all may have left it ended because %s", e.Why)
	}
	nstest.WaitFor(t, "nothing more to be held", patience, func() bool {
		unsent := 0
		g.ask(func(l *loop) { unsent = l.unsent })
		return unsent == maxUnsent
	})
}

// Who says nothing, and servers that do not answer, are not waited for without end.
func TestTimes(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	greet(t)
	serveWith(t, 111, func(*net.TCPConn) { <-t.Context().Done() })
	command(t, "ip", "netns", "exec", "s0", nstest.Path(t, "nft"), "add table inet f; add chain inet f in { type filter hook input priority 0; }; add rule inet f in tcp dport 135 drop")
	times := usualTimes
	times.first, times.connect, times.idleFTP = 300*time.Millisecond, 500*time.Millisecond, 600*time.Millisecond
	times.half, times.last = 300*time.Millisecond, 100*time.Millisecond
	g := quickGate(t, "", times)
	w := g.Watch()
	defer w.Close()
	for _, tt := range []struct{ to, say, want string }{
		{"10.3.0.2:21", "", "the client said nothing for 300ms"},
		{"10.3.0.2:21", "USER", "the client said nothing for 300ms"}, // a line without an end
		{"10.3.0.2:21", "USER x\r\n", "nothing was said for 600ms"},
		{"10.3.0.2:135", "", "the server did not answer for 500ms"}, // till then nothing is expected of the client
	} {
		conn, err := dialFrom(t, "10.1.0.2", tt.to)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, tt.say)
		e := waitForEvent(t, w, tt.want, func(e Event) bool { return e.Kind == Refused })
		if e.Why != tt.want || e.Rule != "time" {
			t.Errorf("%q to %s ends by %s: %s, want %s", tt.say, tt.to, e.Rule, e.Why, tt.want)
		}
		if _, err := io.Copy(io.Discard, conn); err == nil {
			t.Errorf("%q to %s: the client is not told that it was broken off", tt.say, tt.to)
		}
	}
	// Nor is who does not answer one who said all.
	conn, err := dialFrom(t, "10.1.0.2", "10.3.0.2:111")
	if err != nil {
		t.Fatal(err)
	}
	call := oncrpc.Call{XID: 1, Program: rpcbind.Program, Version: rpcbind.Version2}
	conn.Write(call.Append(oncrpc.AppendRecordMark(nil, len(call.Append(nil)), true)))
	conn.(*net.TCPConn).CloseWrite()
	waitForEvent(t, w, "the end of one that is half closed", func(e Event) bool {
		return e.Kind == Refused && e.Why == "one side ended it, and the other said nothing for 300ms"
	})
	// Nor is who got the last words, and does not end.
	if conn, err = dialFrom(t, "10.1.0.2", "10.3.0.2:21"); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "POST / HTTP/1.1\r\n")
	waitForEvent(t, w, "the end after the last words", func(e Event) bool { return e.Kind == Ended && strings.Contains(e.Why, "POST") })
	// A server that refuses does so for its client too.
	command(t, "ip", "netns", "exec", "s0", nstest.Path(t, "nft"), "flush ruleset")
	if conn, err := dialFrom(t, "10.1.0.2", "10.3.0.2:135"); err == nil {
		if _, err := conn.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("a server that refuses: %v", err)
		}
	}
}

// When a session cannot be followed, its server is left at once, and the client when it has the last words and ends.
func TestLastWords(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	left := make(chan error, 1)
	serveWith(t, 21, func(conn *net.TCPConn) {
		fmt.Fprint(conn, "220 ahoy\r\n")
		_, err := io.Copy(io.Discard, conn)
		left <- err
	})
	times := usualTimes
	times.last = time.Hour
	g := quickGate(t, "", times)
	conn, err := dialFrom(t, "10.1.0.2", "10.3.0.2:21")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "POST / HTTP/1.1\r\n")
	if all, err := io.ReadAll(conn); err != nil || !bytes.HasPrefix(all, []byte("220 ahoy\r\n421 ")) {
		t.Errorf("the client read %q, %v", all, err)
	}
	if err := <-left; errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the server was not left")
	}
	conn.Close()
	nstest.WaitFor(t, "the session to end", patience, func() bool { return len(g.Sessions()) == 0 })
}

// The kernel looks after both connections of a session that lasts.
func TestKeepAlive(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	greet(t)
	g := quickGate(t, "", usualTimes)
	if !idle(t, "10.1.0.2") {
		t.Fatal("no session")
	}
	for _, side := range []follow.Side{follow.Client, follow.Server} {
		nstest.WaitFor(t, fmt.Sprintf("the options of the %s's connection", side), patience, func() bool {
			kept := false
			streams(g, func(s *stream) {
				kept = !slices.ContainsFunc(keepOptions, func(o option) bool {
					value, err := unix.GetsockoptInt(s.ends[side].fd, o.level, o.name)
					return err != nil || value != o.value
				})
			})
			return kept
		})
	}
}

// A client has its time for what it says first from when the server greets it, however late that is.
func TestLateGreeting(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	greet(t)
	g := quickGate(t, "", usualTimes)
	w := g.Watch()
	defer w.Close()
	conn, err := dialFrom(t, "10.1.0.2", "10.3.0.2:21")
	if err != nil {
		t.Fatal(err)
	}
	(&control{t, conn, bufio.NewReader(conn)}).read()
	sweepsOf := func() (at time.Time) {
		g.ask(func(l *loop) { at = l.swept })
		return at
	}
	streams(g, func(s *stream) { s.Since = s.Since.Add(-2 * usualTimes.first) })
	for range 2 {
		last := sweepsOf()
		nstest.WaitFor(t, "a sweep", patience, func() bool { return sweepsOf().After(last) })
	}
	if n := len(g.Sessions()); n != 1 {
		t.Errorf("there are %d sessions after a late greeting", n)
	}
	streams(g, func(s *stream) { s.ends[follow.Server].moved = s.Since })
	if e := waitForEvent(t, w, "an end", func(e Event) bool { return e.Kind == Ended }); e.Why != "the client said nothing for 30s" {
		t.Errorf("it ended because %s", e.Why)
	}
}

// Sessions that a policy goes on to allow stay, others end, and listeners come and go.
func TestReload(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	greet(t)
	serveUDP(t)
	g := quickGate(t, "", usualTimes)
	reload := func(text string) {
		t.Helper()
		p := readPolicy(t, text)
		if err := (&System{Policy: p}).Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := g.Reload(p); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := dialFrom(t, "10.1.0.2", "10.3.0.2:21")
	if err != nil {
		t.Fatal(err)
	}
	c := &control{t, conn, bufio.NewReader(conn)}
	c.read()
	if err := callPortmapper(t, 1000); err != nil {
		t.Fatal(err)
	}
	const only = "client_side: [c0]\nserver_side: [s0]\nfollow:\n  ftp: {clients: [10.1.0.0/24], servers: [10.3.0.2]}\n"
	reload(only)
	if got := c.say("USER x"); got != "331 more" {
		t.Errorf("after a reload USER is answered %q", got)
	}
	if all := g.Sessions(); len(all) != 1 || all[0].Protocol != FTP {
		t.Errorf("sessions %+v, want that of FTP", all)
	}
	if n := listenersOf(g, udp); n != 0 {
		t.Errorf("%d sockets listen for datagrams", n)
	}
	reload("limits: {sessions: 5}\n" + edgePolicy)
	if err := callPortmapper(t, 1000); err != nil {
		t.Errorf("portmapper after it came back: %v", err)
	}
	if got := c.say("USER x"); got != "331 more" {
		t.Errorf("after two reloads USER is answered %q", got)
	}

	// What cannot be leaves all as it was.
	taken, err := net.Listen("tcp", "127.0.0.1:4444")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Reload(readPolicy(t, "marks: {port: 4444}\n"+only)); err == nil || !strings.Contains(err.Error(), "127.0.0.1:4444/tcp: address already in use") {
		t.Errorf("a port that is taken: %v", err)
	}
	taken.Close()
	if got := c.say("USER x"); got != "331 more" {
		t.Errorf("after a failed reload USER is answered %q", got)
	}
	reload("marks: {port: 4444}\n" + only)
	if !idle(t, "10.1.0.2") {
		t.Error("nothing comes in at another port")
	}
	reload(strings.Replace(only, "10.3.0.2", "10.3.0.9", 1))
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a session goes on that the policy does not have")
	}
	if n := len(g.Sessions()); n != 0 {
		t.Errorf("%d sessions are there that the policy does not have", n)
	}
}

func listenersOf(g *Gate, protocol uint8) (n int) {
	g.ask(func(l *loop) {
		for key := range l.listeners {
			if key.protocol == protocol {
				n++
			}
		}
	})
	return n
}

// serveUDP is a port mapper over UDP that has every program at port 4000, and also answers from another port.
func serveUDP(t testing.TB) {
	t.Helper()
	var conn, other net.PacketConn
	var err error
	at(t, "s0", func() {
		if conn, err = net.ListenPacket("udp", "10.3.0.2:111"); err == nil {
			other, err = net.ListenPacket("udp", "10.3.0.2:112")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); other.Close() })
	go func() {
		b := make([]byte, 9000)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			c, _, err := oncrpc.ParseCall(b[:n])
			if err != nil {
				continue
			}
			answer := func(port uint32) []byte {
				return append(oncrpc.AppendAccepted(nil, c.XID, oncrpc.Success), byte(port>>24), byte(port>>16), byte(port>>8), byte(port))
			}
			other.WriteTo(answer(4001), from)
			conn.WriteTo(answer(4000), from)
		}
	}()
}

// callPortmapper asks for a program, and returns an error if it is not at port 4000.
func callPortmapper(t testing.TB, program uint32) error {
	t.Helper()
	var conn net.Conn
	var err error
	at(t, "c0", func() { conn, err = net.Dial("udp", "10.3.0.2:111") })
	if err != nil {
		return err
	}
	defer conn.Close()
	return callOver(conn, program, 2*time.Second)
}

func callOver(conn net.Conn, program uint32, patience time.Duration) error {
	call := oncrpc.Call{XID: program, Program: rpcbind.Program, Version: rpcbind.Version2, Procedure: uint32(rpcbind.ProcGetPort)}
	mapping := rpcbind.Mapping{Program: program, Version: 1, Protocol: 6}
	b := mapping.Append(call.Append(nil))
	if _, err := conn.Write(b); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	in := make([]byte, 1000)
	n, err := conn.Read(in)
	if err != nil {
		return err
	}
	if in = in[:n]; n < 4 || !bytes.HasSuffix(in, []byte{0, 0, 4000 >> 8, 4000 & 0xff}) {
		return fmt.Errorf("answer %x", in)
	}
	return nil
}

// Datagrams have flows, which are bounded and end.
func TestFlows(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	serveUDP(t)
	times := usualTimes
	times.flow = 2 * time.Second
	g := quickGate(t, "limits: {sessions: 50}\n", times)
	w := g.Watch()
	defer w.Close()
	var conns []net.Conn
	at(t, "c0", func() {
		for range 20 {
			conn, err := net.Dial("udp", "10.3.0.2:111")
			if err != nil {
				t.Error(err)
				return
			}
			conns = append(conns, conn)
		}
	})
	for round := range 3 {
		for i, conn := range conns[:16] {
			if err := callOver(conn, uint32(1000+i+100*round), 2*time.Second); err != nil {
				t.Errorf("round %d, call %d: %v", round, i, err)
			}
		}
	}
	all := g.Sessions()
	if len(all) != 16 || all[0].Promised != 3 || all[0].Protocol != Portmapper || all[0].Transport != udp {
		t.Errorf("%d sessions, the first is %+v", len(all), all[0])
	}
	for i, conn := range conns { // the new ones take the place of the oldest
		if err := callOver(conn, uint32(5000+i), 2*time.Second); err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	waitForEvent(t, w, "an end", func(e Event) bool { return e.Kind == Ended && e.Client.String() == conns[0].LocalAddr().String() })
	if all := g.Sessions(); len(all) != 16 {
		t.Errorf("%d sessions of a client that may have 16", len(all))
	}
	// One pinhole for all of them: it is the same client and port.
	if open, err := g.holes.List(); err != nil || len(open) != 1 || open[0].String() != "10.1.0.2 to tcp 10.3.0.2:4000" {
		t.Errorf("pinholes %v, %v", open, err)
	}
	nstest.WaitFor(t, "the flows to end", patience, func() bool { return len(g.Sessions()) == 0 })
	if err := callOver(conns[19], 6000, 2*time.Second); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// A request of TFTP for which nothing may be opened is answered, in the server's name.
func TestTFTPRefused(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	g := quickGate(t, "", usualTimes)
	w := g.Watch()
	defer w.Close()
	for _, host := range []struct{ client, server string }{{"10.1.0.2", "10.3.0.2"}, {"fd00:1::2", "fd00:3::2"}} {
		var conn *net.UDPConn
		var err error
		at(t, "c0", func() { // 3389 is nothing that clients wait for data at
			conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host.client), Port: 3389})
		})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		server := netip.MustParseAddrPort(net.JoinHostPort(host.server, "69"))
		if _, err := conn.WriteToUDPAddrPort([]byte("\x00\x01cargo\x00octet\x00"), server); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 500)
		n, from, err := conn.ReadFromUDPAddrPort(b)
		if err != nil || netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) != server || !bytes.HasPrefix(b[:n], []byte{0, 5, 0, 2}) {
			t.Errorf("from %v %x, %v, want an error of %v", from, b[:n], err, server)
		}
		waitForEvent(t, w, "a refusal", func(e Event) bool { return e.Kind == Refused && e.Rule == "port" && e.Protocol == TFTP })
	}
	noPinholes(t, g)
}

// A pinhole that opens after its session ended is closed.
func TestLateOpening(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	g := ftpEdge(t, "")
	late := make(chan struct{})
	g.ask(func(*loop) {
		g.openHoles = func(ctx context.Context, all []Pinhole) error {
			<-late
			return g.holes.Open(ctx, all)
		}
	})
	c := logIn(t, "10.1.0.2", "10.3.0.2:21")
	fmt.Fprint(c.conn, "EPSV\r\n")
	busy := func() (n int) {
		g.ask(func(l *loop) {
			for _, s := range l.open {
				if s.busy {
					n++
				}
			}
		})
		return n
	}
	nstest.WaitFor(t, "the promise", patience, func() bool { return busy() == 1 })
	g.ask(func(l *loop) {
		for _, s := range l.open {
			l.endSession(s, "so says the test")
		}
	})
	close(late)
	nstest.WaitFor(t, "the pinhole to open and close", patience, func() bool { return g.holes.Counts().Opened == 1 && g.holes.Counts().Open == 0 })
	noPinholes(t, g)
}

// However sessions end, nothing of them stays.
func TestChurn(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	serveUDP(t)
	serveWith(t, 21, func(conn *net.TCPConn) {
		fmt.Fprint(conn, "220 ahoy\r\n")
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			switch lines.Text() {
			case "PASS x":
				fmt.Fprint(conn, "230 in\r\n")
			case "EPSV":
				fmt.Fprintf(conn, "229 there (|||%d|)\r\n", 20000+rand.IntN(1000))
			case "QUIT":
				return
			case "HELP":
				conn.SetLinger(0)
				return
			case "STAT":
				fmt.Fprint(conn, "what is no reply\r\n")
			default:
				fmt.Fprint(conn, "331 more\r\n")
			}
		}
	})
	times := usualTimes
	times.flow, times.last = 300*time.Millisecond, 300*time.Millisecond
	g := quickGate(t, "limits: {sessions: 10000}\n", times)
	before := descriptors(t)
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			for range 60 {
				conn, err := dialFrom(t, "10.1.0.2", "10.3.0.2:21")
				if err != nil {
					t.Error(err)
					return
				}
				words := []string{"USER x\r\n", "PASS x\r\n", "EPSV\r\n", "EPSV\r\n", []string{"QUIT\r\n", "HELP\r\n", "STAT\r\n", "NOOP", "POST / HTTP/1.1\r\n", ""}[random.IntN(6)]}
				for _, w := range words[:1+random.IntN(len(words))] {
					io.WriteString(conn, w)
					if random.IntN(3) > 0 {
						conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
						conn.Read(make([]byte, 100)) // or not
					}
				}
				switch random.IntN(3) {
				case 0:
					conn.(*net.TCPConn).SetLinger(0)
				case 1:
					conn.(*net.TCPConn).CloseWrite()
					conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
					io.Copy(io.Discard, conn)
				}
				conn.Close()
				if err := callPortmapper(t, uint32(1000*worker+random.IntN(1000))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	nstest.WaitFor(t, "all sessions to end", patience, func() bool { return len(g.Sessions()) == 0 })
	g.ask(func(l *loop) {
		if l.streams != 0 || l.unsent != 0 || len(l.bySource) != 0 || len(l.flows) != 0 || l.recent.Len() != 0 || len(l.poll.watched) != len(l.listeners) {
			t.Errorf("left are %d streams, %d bytes, %d sources, %d flows, %d of %d watches", l.streams, l.unsent, len(l.bySource), len(l.flows), len(l.poll.watched), len(l.listeners))
		}
	})
	nstest.WaitFor(t, "all of FTP's pinholes to close", patience, func() bool {
		all, err := g.holes.List()
		return err == nil && !slices.ContainsFunc(all, func(o Opened) bool { return o.Once })
	})
	nstest.WaitFor(t, "all sockets to be closed", patience, func() bool { return descriptors(t) <= before })
}

// descriptors returns how many files this process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
