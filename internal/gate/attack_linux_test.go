package gate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/nstest"
	"github.com/quaymaster/quaymaster/wire/oncrpc"
	"github.com/quaymaster/quaymaster/wire/rpcbind"
)

// A control is a control channel of FTP that a test leads by hand.
type control struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

// dialFrom connects from an address of the host of clients.
func dialFrom(t testing.TB, from, to string) (net.Conn, error) {
	t.Helper()
	var conn net.Conn
	var err error
	at(t, "c0", func() {
		d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
		conn, err = d.Dial("tcp", to)
	})
	if err == nil {
		t.Cleanup(func() { conn.Close() })
		err = conn.SetDeadline(time.Now().Add(patience))
	}
	return conn, err
}

// logIn begins a control channel.
func logIn(t testing.TB, from, to string) *control {
	t.Helper()
	conn, err := dialFrom(t, from, to)
	if err != nil {
		t.Fatal(err)
	}
	c := &control{t, conn, bufio.NewReader(conn)}
	if got := c.read(); !strings.HasPrefix(got, "220") {
		t.Fatalf("greeted with %q", got)
	}
	c.say("USER anonymous")
	if got := c.say("PASS x"); !strings.HasPrefix(got, "230") {
		t.Fatalf("logged in with %q", got)
	}
	return c
}

// say sends a command, and returns the reply.
func (c *control) say(command string) string {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.conn, "%s\r\n", command); err != nil {
		c.t.Fatal(err)
	}
	return c.read()
}

// read returns a reply's last line, or an error as text.
func (c *control) read() string {
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return err.Error()
		}
		if len(line) > 3 && line[3] == ' ' {
			return strings.TrimSpace(line)
		}
	}
}

// ftpEdge is an edge with a real server of FTP and a second client, 10.1.0.3.
func ftpEdge(t testing.TB, text string) *Gate {
	t.Helper()
	edge(t)
	command(t, "ip", "-n", "c0", "address", "add", "10.1.0.3/24", "dev", "eth0")
	startServers(t)
	return runGate(t, readPolicy(t, "forward: own\n"+edgePolicy+text))
}

func noPinholes(t testing.TB, g *Gate) {
	t.Helper()
	if all, err := g.holes.List(); err != nil || len(all) > 0 {
		t.Errorf("pinholes %v, %v", all, err)
	}
}

func TestBounce(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	g := ftpEdge(t, "")
	w := g.Watch()
	defer w.Close()
	c := logIn(t, "10.1.0.2", "10.3.0.2:21")
	for _, tt := range []struct{ command, rule string }{
		{"PORT 10,1,0,3,200,10", "address"},
		{"PORT 10,3,0,1,200,10", "address"},
		{"PORT 127,0,0,1,200,10", "address"},
		{"EPRT |1|10.1.0.3|50000|", "address"},
		{"EPRT |2|fd00:1::2|50000|", "address"},
		{"PORT 10,1,0,2,0,22", "port"},
		{"PORT 10,1,0,2,13,61", "port"}, // 3389
	} {
		if got := c.say(tt.command); got[0] != '5' && got[0] != '4' {
			t.Errorf("%s is answered %q", tt.command, got)
		}
		waitForEvent(t, w, tt.command, func(e Event) bool { return e.Kind == Refused && e.Rule == tt.rule })
	}
	noPinholes(t, g)
	if got := c.say("PORT 10,1,0,2,200,10"); !strings.HasPrefix(got, "200") {
		t.Errorf("its own address is answered %q", got)
	}
	e := waitForEvent(t, w, "a promise", func(e Event) bool { return e.Kind == Promised })
	if len(e.Pinholes) != 1 || e.Pinholes[0].String() != "10.3.0.2 to tcp 10.1.0.2:51210" {
		t.Errorf("promised %v", e.Pinholes)
	}
	// The next port takes the place of the last one, and nothing stays when the session ends.
	for _, command := range []string{"PASV", "EPSV", "PORT 10,1,0,2,200,11"} {
		c.say(command)
		if all, err := g.holes.List(); err != nil || len(all) != 1 {
			t.Errorf("after %s: pinholes %v, %v", command, all, err)
		}
	}
	c.conn.Close()
	nstest.WaitFor(t, "the pinhole to close", patience, func() bool { return g.holes.Counts().Open == 0 })
	nstest.WaitFor(t, "the session to end", patience, func() bool { return len(g.Sessions()) == 0 })
}

// A transfer is aborted with commands of telnet, the last byte of which is urgent.
func TestAbort(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	ftpEdge(t, "")
	c := logIn(t, "10.1.0.2", "10.3.0.2:21")
	var port int
	reply := c.say("EPSV")
	if _, err := fmt.Sscanf(reply[strings.Index(reply, "(")+1:], "|||%d|", &port); err != nil {
		t.Fatalf("EPSV is answered %q", reply)
	}
	data, err := dialFrom(t, "10.1.0.2", fmt.Sprintf("10.3.0.2:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.say("RETR bulk"); !strings.HasPrefix(got, "150") {
		t.Fatalf("RETR is answered %q", got)
	}
	if err := urgent(c.conn, "\xff\xf4\xff"); err != nil { // IAC IP IAC
		t.Fatal(err)
	}
	if _, err := c.conn.Write([]byte("\xf2ABOR\r\n")); err != nil { // DM
		t.Fatal(err)
	}
	data.Close()
	if got := c.read(); !strings.HasPrefix(got, "426") {
		t.Errorf("the transfer ends with %q", got)
	}
	if got := c.read(); !strings.HasPrefix(got, "22") {
		t.Errorf("ABOR is answered %q", got)
	}
	if got := c.say("NOOP"); !strings.HasPrefix(got, "200") {
		t.Errorf("after that NOOP is answered %q", got)
	}
}

// urgent sends text whose last byte is urgent.
func urgent(conn net.Conn, text string) error {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) { err = unix.Sendto(int(fd), []byte(text), unix.MSG_OOB, nil) })
	return errors.Join(err, controlErr)
}

// What is urgent is read where it was sent, of both sides: it makes no other command or reply.
func TestUrgent(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	serveWith(t, 21, func(conn *net.TCPConn) {
		fmt.Fprint(conn, "220 ahoy\r\n")
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if err := urgent(conn, "200 "+lines.Text()+" do"); err != nil {
				t.Error(err)
			}
			fmt.Fprint(conn, "ne\r\n")
		}
	})
	quickGate(t, "", usualTimes)
	conn, err := dialFrom(t, "10.1.0.2", "10.3.0.2:21")
	if err != nil {
		t.Fatal(err)
	}
	c := &control{t, conn, bufio.NewReader(conn)}
	c.read()
	if err := urgent(conn, "NOO"); err != nil {
		t.Fatal(err)
	}
	if got := c.say("P"); got != "200 NOOP done" {
		t.Errorf("NOOP is answered %q", got)
	}
}

// What a browser can be made to send is not FTP.
func TestSlipstream(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	g := ftpEdge(t, "")
	w := g.Watch()
	defer w.Close()
	for _, padding := range []int{0, 1300, 1460, 5000} {
		conn, err := dialFrom(t, "10.1.0.2", "10.3.0.2:21")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: 10.3.0.2:21\r\nContent-Type: text/plain\r\n\r\n%s\r\nUSER anonymous\r\nPASS x\r\nPORT 10,1,0,2,200,10\r\n", strings.Repeat("A", padding))
		in := bufio.NewReader(conn)
		for {
			if _, err = in.ReadString('\n'); err != nil {
				break
			}
		}
		if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Error("the session goes on")
		}
		conn.Close()
		waitForEvent(t, w, "a refused verb", func(e Event) bool { return e.Kind == Refused && e.Rule == "verb" && e.Session > 0 })
	}
	noPinholes(t, g)
	nstest.WaitFor(t, "the sessions to end", patience, func() bool { return len(g.Sessions()) == 0 })
}

// One client that opens all it can keeps nobody else from working.
func TestExhaustion(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	g := ftpEdge(t, "limits: {per_client: 8}\n")
	w := g.Watch()
	defer w.Close()
	var all []*control
	for range 8 {
		c := logIn(t, "10.1.0.2", "10.3.0.2:21")
		if got := c.say("EPSV"); !strings.HasPrefix(got, "229") {
			t.Fatalf("EPSV is answered %q", got)
		}
		all = append(all, c)
	}
	late := logIn(t, "10.1.0.2", "10.3.0.2:21")
	for _, command := range []string{"EPSV", "PASV", "PORT 10,1,0,2,200,10"} {
		if got := late.say(command); !strings.HasPrefix(got, "425") {
			t.Errorf("%s of a client that has its share is answered %q", command, got)
		}
		waitForEvent(t, w, command, func(e Event) bool { return e.Kind == Refused && e.Rule == "pinholes" })
	}
	if got := all[0].say("EPSV"); !strings.HasPrefix(got, "229") {
		t.Errorf("one in place of the last is answered %q", got)
	}
	other := logIn(t, "10.1.0.3", "10.3.0.2:21")
	if got := other.say("EPSV"); !strings.HasPrefix(got, "229") {
		t.Errorf("EPSV of another client is answered %q", got)
	}
	all[1].conn.Close()
	nstest.WaitFor(t, "room", patience, func() bool { return strings.HasPrefix(late.say("EPSV"), "229") })
	if c := g.Counts(); c.Refused["pinholes"] < 3 || g.holes.Counts().Refused["per_client"] < 3 {
		t.Errorf("counts %+v, %+v", c, g.holes.Counts())
	}
}

// greet is a server on port 21 that greets and waits.
func greet(t testing.TB) {
	t.Helper()
	var l net.Listener
	var err error
	at(t, "s0", func() { l, err = net.Listen("tcp", "10.3.0.2:21") })
	if err != nil {
		t.Fatal(err)
	}
	nstest.Answer(t, l, func(conn net.Conn) {
		fmt.Fprint(conn, "220 ahoy\r\n")
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			fmt.Fprint(conn, "331 more\r\n")
		}
	})
}

// idle opens a session that has begun, and leaves it. It reports whether there is one.
func idle(t testing.TB, from string) bool {
	t.Helper()
	conn, err := dialFrom(t, from, "10.3.0.2:21")
	if err != nil {
		return false
	}
	c := &control{t, conn, bufio.NewReaderSize(conn, 16)}
	if !strings.HasPrefix(c.read(), "220") {
		return false
	}
	return strings.HasPrefix(c.say("USER x"), "331")
}

// Sessions that only stand there cost little, and one client has not all of them.
func TestIdle(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	greet(t)
	for i := range 10 {
		command(t, "ip", "-n", "c0", "address", "add", fmt.Sprintf("10.1.0.%d/24", 10+i), "dev", "eth0")
	}
	gate := startGateProcess(t, "forward: own\n"+edgePolicy)
	before := memoryOf(t, gate.PID())
	begun := time.Now()
	for i := range 400 {
		if !idle(t, "10.1.0.10") {
			t.Fatalf("session %d of a client is refused", i)
		}
	}
	if idle(t, "10.1.0.10") {
		t.Error("a client has over a tenth of all sessions")
	}
	for i := range 400 {
		for client := 11; client <= 19; client++ {
			if !idle(t, fmt.Sprintf("10.1.0.%d", client)) {
				t.Fatalf("session %d of another client is refused", i)
			}
		}
	}
	if idle(t, "10.1.0.2") {
		t.Error("there are more sessions than the policy lets there be")
	}
	took, after := time.Since(begun), memoryOf(t, gate.PID())
	t.Logf("4000 sessions in %s: %d KiB before, %d KiB after", took.Round(time.Millisecond), before, after)
	if after-before > 60<<10 {
		t.Errorf("4000 idle sessions take %d KiB", after-before)
	}
}

// memoryOf returns what a process has of the memory, in KiB.
func memoryOf(t testing.TB, pid int) (kib int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}

// namesPorts is a server of FTP that has data connections at the ports it is told, and refuses PORT where the last number is 0.
func namesPorts(t testing.TB, port func() int) {
	t.Helper()
	serveWith(t, 21, func(conn *net.TCPConn) {
		fmt.Fprint(conn, "220 ahoy\r\n")
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			switch line := lines.Text(); {
			case line == "USER anonymous":
				fmt.Fprint(conn, "331 more\r\n")
			case line == "PASS x":
				fmt.Fprint(conn, "230 in\r\n")
			case line == "EPSV":
				fmt.Fprintf(conn, "229 there (|||%d|)\r\n", port())
			case line == "REIN":
				fmt.Fprint(conn, "220 ahoy\r\n")
			case line == "AUTH TLS":
				fmt.Fprint(conn, "234 go on\r\n")
			case line == "ABOR":
				fmt.Fprint(conn, "226 done\r\n")
			case strings.HasPrefix(line, "PORT") && strings.HasSuffix(line, ",0"):
				fmt.Fprint(conn, "500 no\r\n")
			default:
				fmt.Fprint(conn, "200 done\r\n")
			}
		}
	})
}

// What a session promised before is void when it says so, also where the next promise is not kept.
func TestForgotten(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	namesPorts(t, func() int { return 20000 })
	g := quickGate(t, "", usualTimes)
	for _, tt := range []struct {
		command, want string
		broken        bool // nothing can be opened any more
	}{
		{"REIN", "220", false},
		{"AUTH TLS", "234", false},
		{"PORT 10,1,0,2,13,61", "425", false}, // 3389, which is nothing to wait for data at
		{"PORT 10,1,0,2,200,0", "500", false},
		{"EPSV", "425", true},
	} {
		c := logIn(t, "10.1.0.2", "10.3.0.2:21")
		if got := c.say("EPSV"); !strings.HasPrefix(got, "229") || g.holes.Counts().Open != 1 {
			t.Fatalf("EPSV is answered %q, %d pinholes are open", got, g.holes.Counts().Open)
		}
		if tt.broken {
			g.ask(func(*loop) {
				g.openHoles = func(context.Context, []Pinhole) error { return errors.New("so says the test") }
			})
		}
		if got := c.say(tt.command); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s is answered %q, want %s", tt.command, got, tt.want)
		}
		if n := g.holes.Counts().Open; n != 0 {
			t.Errorf("after %s %d pinholes are open", tt.command, n)
		}
		noPinholes(t, g)
		c.conn.Close()
	}
}

// Of an entry's servers only its own ports are promised, whatever other entries have.
func TestNarrowPorts(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	port := 20000
	namesPorts(t, func() int { port++; return port - 1 })
	g := runGate(t, readPolicy(t, "forward: own\n"+strings.Replace(edgePolicy, "\n  ftp: {", "\n  ftp: {server_ports: \"20000\", ", 1)))
	w := g.Watch()
	defer w.Close()
	c := logIn(t, "10.1.0.2", "10.3.0.2:21")
	for _, want := range []string{"229", "425"} {
		if got := c.say("EPSV"); !strings.HasPrefix(got, want) {
			t.Errorf("EPSV is answered %q, want %s", got, want)
		}
	}
	waitForEvent(t, w, "a refused port", func(e Event) bool { return e.Kind == Refused && e.Rule == "port" })
	noPinholes(t, g)
}

// Rows of a list that may not be told do not take the others with them.
func TestDumpOfSome(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	row := func(program, port uint32) []byte {
		return rpcbind.Mapping{Program: program, Version: 3, Protocol: tcp, Port: port}.Append(rpcbind.AppendNext(nil))
	}
	var server net.PacketConn
	var err error
	at(t, "s0", func() { server, err = net.ListenPacket("udp", "10.3.0.2:111") })
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		b := make([]byte, 1000)
		for {
			_, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			rows := slices.Concat(row(100003, 22), row(100003, 4000), row(100005, 4001), row(100003, 3389))
			server.WriteTo(append(oncrpc.AppendAccepted(nil, 7, oncrpc.Success), rpcbind.AppendEnd(rows)...), from)
		}
	}()
	g := runGate(t, readPolicy(t, "forward: own\n"+strings.Replace(edgePolicy, "portmapper: {", "portmapper: {programs: [nfs], ", 1)))
	conn := portmapperFrom(t, "10.1.0.2")
	call := oncrpc.Call{XID: 7, Program: rpcbind.Program, Version: rpcbind.Version2, Procedure: uint32(rpcbind.ProcDump)}
	if _, err := conn.Write(call.Append(nil)); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 1000)
	n, err := conn.Read(b)
	if want := append(oncrpc.AppendAccepted(nil, 7, oncrpc.Success), rpcbind.AppendEnd(row(100003, 4000))...); err != nil || !bytes.Equal(b[:n], want) {
		t.Errorf("the client is told %x, %v, want %x", b[:n], err, want)
	}
	if all, err := g.holes.List(); err != nil || len(all) != 1 || all[0].String() != "10.1.0.2 to tcp 10.3.0.2:4000" {
		t.Errorf("pinholes %v, %v", all, err)
	}
}

// Where the policy has it, no session goes on encrypted.
func TestRefusesUnreadable(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	namesPorts(t, func() int { return 20000 })
	quickGate(t, "unreadable: refuse\n", usualTimes)
	c := logIn(t, "10.1.0.2", "10.3.0.2:21")
	for command, want := range map[string]string{"AUTH TLS": "534", "EPSV": "229"} {
		if got := c.say(command); !strings.HasPrefix(got, want) {
			t.Errorf("%s is answered %q, want %s", command, got, want)
		}
	}
}

// A gate that stops leaves open what it promised: data goes on without it.
func TestStops(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	namesPorts(t, func() int { return 20000 })
	p := readPolicy(t, "forward: own\n"+edgePolicy)
	if err := (&System{Policy: p}).Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	h, _ := startPinholes(t, p)
	stop := serveGate(t, New(p, h, nil))
	c := logIn(t, "10.1.0.2", "10.3.0.2:21")
	if got := c.say("EPSV"); !strings.HasPrefix(got, "229") {
		t.Fatalf("EPSV is answered %q", got)
	}
	stop()
	if all, err := h.List(); err != nil || len(all) != 1 || all[0].String() != "10.1.0.2 to tcp 10.3.0.2:20000" || elementsOf(t, "once4") != 1 {
		t.Errorf("pinholes %v, %v, and %d in the kernel, want that of the session", all, err, elementsOf(t, "once4"))
	}
}

// A port of this host stands for a client's for as long as it may be needed: not with the next one, nor when the session ends.
func TestStandIns(t *testing.T) {
	if !nstest.Inside(t) {
		return
	}
	edge(t)
	namesPorts(t, func() int { return 20000 })
	quickGate(t, "nat: masquerade\n", usualTimes)
	before := descriptors(t)
	c := logIn(t, "10.1.0.2", "10.3.0.2:21")
	one := 0
	for i := range 10 {
		if got := c.say(fmt.Sprintf("PORT 10,1,0,2,200,%d", 1+i)); got != "200 done" {
			t.Fatalf("PORT is answered %q", got)
		}
		if one == 0 {
			one = descriptors(t)
		}
	}
	if n := descriptors(t); n > one {
		t.Errorf("%d files are open after ten ports, and were %d after one", n, one)
	}
	c.conn.Close()
	nstest.WaitFor(t, "all sockets to be closed", patience, func() bool { return descriptors(t) <= before })
}
