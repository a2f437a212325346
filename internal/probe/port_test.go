package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serveTCP has a server of TCP on loopback answer each connection.
func serveTCP(t *testing.T, answer func(net.Conn)) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				answer(c)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

// serveUDP has a server of UDP on loopback answer each datagram with all that answer returns.
func serveUDP(t *testing.T, answer func(question []byte) [][]byte) uint16 {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			for _, b := range answer(bytes.Clone(buf[:n])) {
				c.WriteTo(b, from)
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-ended })
	return netip.MustParseAddrPort(c.LocalAddr().String()).Port()
}

// says is a server that says something, and then hears until the other side has enough.
func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		io.WriteString(c, text)
		io.Copy(io.Discard, c)
	}
}

func ask(t *testing.T, q PortQuestion) PortResult {
	t.Helper()
	return (&Prober{Timeout: 10 * time.Second}).Port(t.Context(), netip.MustParseAddr("127.0.0.1"), q)
}

// smtpServer speaks as much of SMTP as EHLO needs.
func smtpServer(c net.Conn) {
	io.WriteString(c, "220-mx.example.org here\r\n220 go on\r\n")
	in := bufio.NewScanner(c)
	if in.Scan() && strings.HasPrefix(in.Text(), "EHLO [127.0.0.1]") {
		io.WriteString(c, "250-mx.example.org\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 HELP\r\n")
	}
	in.Scan()
}

// smb1Server hangs up on anything newer.
func smb1Server(c net.Conn) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(c, head); err != nil || string(head[4:]) != "\xffSMB" {
		return
	}
	io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head))-4)
	answer := append([]byte("\xffSMB\x72"), make([]byte, 27)...)
	answer = append(answer, 17, 0, 0) // seventeen words, the first dialect
	answer = append(answer, make([]byte, 34)...)
	c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(answer))), answer...))
}

// rdpAnswer is built from MS-RDPBCGR, section 2.2.1.2: network level authentication was chosen.
const rdpAnswer = "\x03\x00\x00\x13\x0e\xd0\x00\x00\x12\x34\x00\x02\x1f\x08\x00\x02\x00\x00\x00"

// preloginAnswer is built from MS-TDS, section 2.2.6.5: version 16.0.1000, encryption is required.
const preloginAnswer = "\x04\x01\x00\x1a\x00\x00\x01\x00\x00\x00\x0b\x00\x06\x01\x00\x11\x00\x01\xff\x10\x00\x03\xe8\x00\x00\x03"

func TestGreetings(t *testing.T) {
	for _, tt := range []struct {
		name       string
		ask        string
		server     func(net.Conn)
		what, text string
		problems   int
	}{
		{"SMTP", "smtp", smtpServer, "SMTP", "mx.example.org here, STARTTLS", 0},
		{"SMTP that refuses", "smtp", says("554 not you\r\n"), "SMTP", "554 not you", 0},
		{"FTP in lines", "ftp", says("220-one\r\n two\r\n220 three\r\n"), "FTP", "one", 0},
		{"POP3", "pop3", says("+OK ready <1@mx>\r\n"), "POP3", "ready <1@mx>", 0},
		{"IMAP", "imap", says("* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"), "IMAP", "[CAPABILITY IMAP4rev1 STARTTLS] ready", 0},
		{"SSH after other lines", "ssh", says("be nice\r\nSSH-2.0-test\r\n"), "SSH", "SSH-2.0-test", 0},
		{"a banner", "banner", says("ncacn_http/1.0"), "RPC over HTTP", "ncacn_http/1.0", 0},
		{"HTTP", "http", says("HTTP/1.1 404 Not Found\r\nDate: now\r\nServer: test/1\r\n\r\n"), "HTTP", "404 Not Found, test/1", 0},
		{"HTTP without a server's name", "http", says("HTTP/1.0 200 OK\r\n\r\n"), "HTTP", "200 OK", 0},
		{"SMB 1", "smb", smb1Server, "SMB", "version 1 only", 1},
		{"RDP", "rdp", says(rdpAnswer), "RDP", "network level authentication", 0},
		{"RDP of before", "rdp", says("\x03\x00\x00\x0b\x06\xd0\x00\x00\x12\x34\x00"), "RDP", "security of RDP itself only", 0},
		{"SQL Server", "mssql", says(preloginAnswer), "SQL Server", "version 16.0.1000, encryption required", 0},

		{"another protocol", "ftp", says("SSH-2.0-test\r\n"), "", "", 1},
		{"nothing comes", "smtp", func(net.Conn) {}, "", "", 1},
		{"not TLS", "tls", says("220 no\r\n"), "", "", 1},
		{"not LDAP", "ldap", says("HTTP/1.1 400 Bad Request\r\n\r\n"), "", "", 1},
		{"an LDAP message of 4 GB", "ldap", says("\x30\x84\xff\xff\xff\xff"), "", "", 1},
		{"an SMB message of 16 MB", "smb", says("\x00\xff\xff\xff"), "", "", 1},
		{"a record without an end", "onc", says(strings.Repeat("\x00\x00\x00\x00", 10000)), "", "", 1},
		{"a line of 1 MB", "smtp", says(strings.Repeat("2", 1<<20)), "", "", 1},
		{"lines without an end", "smtp", says(strings.Repeat("220-more\r\n", 1<<16)), "", "", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			port := serveTCP(t, tt.server)
			r := ask(t, PortQuestion{Network: "tcp", Port: port, Ask: tt.ask})
			if r.State != Listening || r.What != tt.what || r.Text != tt.text || len(r.Problems) != tt.problems {
				t.Errorf("%v, %q: %q, problems %q, want %q: %q, %d problems", r.State, r.What, r.Text, r.Problems, tt.what, tt.text, tt.problems)
			}
		})
	}
}

// TestNobodyIsKept: who trickles, or floods, is left when the time is up.
func TestNobodyIsKept(t *testing.T) {
	trickle := func(c net.Conn) {
		for {
			if _, err := c.Write([]byte("2")); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	flood := func(c net.Conn) {
		for b := bytes.Repeat([]byte("220-more and more\r\n"), 1000); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}
	for name, server := range map[string]func(net.Conn){"trickle": trickle, "flood": flood, "silence": func(c net.Conn) { io.Copy(io.Discard, c) }} {
		port := serveTCP(t, server)
		for _, what := range Protocols("tcp") {
			t.Run(name+" "+what, func(t *testing.T) {
				t.Parallel()
				p := &Prober{Timeout: 300 * time.Millisecond}
				start := time.Now()
				r := p.Port(t.Context(), netip.MustParseAddr("127.0.0.1"), PortQuestion{Network: "tcp", Port: port, Ask: what})
				if d := time.Since(start); d > 20*time.Second {
					t.Errorf("took %v", d)
				}
				if r.State != Listening || len(r.Text) > MaxPortText {
					t.Errorf("%v, %d bytes of text", r.State, len(r.Text))
				}
				if what != "banner" && (r.What != "" || len(r.Problems) != 1) {
					t.Errorf("%q, %q: problems %q, want one", r.What, r.Text, r.Problems)
				}
			})
		}
	}
}

func TestBareConnection(t *testing.T) {
	port := serveTCP(t, says("220 hello\r\n"))
	r := ask(t, PortQuestion{Network: "tcp", Port: port})
	if r.State != Listening || r.What != "" || r.Text != "" || r.Time <= 0 {
		t.Errorf("%+v, want listening and nothing said", r)
	}
	for _, q := range []PortQuestion{{Network: "tcp"}, {Network: "sctp", Port: 1}, {Network: "udp", Port: 1, Ask: "ssh"}, {Network: "tcp", Port: 1, Name: "a\r\nb"}} {
		if r := ask(t, q); r.State != Failed || r.Text == "" {
			t.Errorf("%+v: %+v, want failed with a reason", q, r)
		}
	}
}

// TestSilentServer: who accepts listens, and says so though nothing is heard; that it broke off is another matter.
func TestSilentServer(t *testing.T) {
	silent := func(c net.Conn) { io.Copy(io.Discard, c) }
	for _, tt := range []struct {
		name    string
		answer  func(net.Conn)
		problem string
	}{
		{"silent", silent, "it accepts the connection, and is silent"},
		{"breaks off", func(c net.Conn) { io.WriteString(c, "HTTP"); silent(c) }, "no answer in time"},
		{"hangs up", func(net.Conn) {}, "it hung up"},
	} {
		q := PortQuestion{Network: "tcp", Port: serveTCP(t, tt.answer), Ask: "http"}
		r := (&Prober{Timeout: 300 * time.Millisecond}).Port(t.Context(), netip.MustParseAddr("127.0.0.1"), q)
		if want := []string{"not understood as HTTP: " + tt.problem}; r.State != Listening || r.Time <= 0 || r.What != "" || !slices.Equal(r.Problems, want) {
			t.Errorf("%s: %+v, want that it listens, and %q", tt.name, r, want)
		}
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	port := netip.MustParseAddrPort(s.Listener.Addr().String()).Port()
	r := ask(t, PortQuestion{Network: "tcp", Port: port, Ask: "tls", Name: "example.com"})
	if want := regexp.MustCompile(`^TLS 1\.3, O=Acme Co by O=Acme Co until \d{4}-\d\d-\d\d$`); r.What != "TLS" || !want.MatchString(r.Text) {
		t.Errorf("%q: %q, want %v", r.What, r.Text, want)
	}
	if len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "not trusted here") {
		t.Errorf("problems %q, want that it is not trusted", r.Problems)
	}
	r = ask(t, PortQuestion{Network: "tcp", Port: port, Ask: "tls", Name: "other.example.org"})
	if len(r.Problems) != 2 {
		t.Errorf("problems %q, want the name, too", r.Problems)
	}
}

func TestTLSThatRefuses(t *testing.T) {
	port := serveTCP(t, func(c net.Conn) {
		tls.Server(c, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return nil, io.EOF // answered with an alert
		}}).Handshake()
	})
	r := ask(t, PortQuestion{Network: "tcp", Port: port, Ask: "ldaps"})
	if r.What != "TLS" || !strings.HasPrefix(r.Text, "refuses: ") || len(r.Problems) != 0 {
		t.Errorf("%q: %q, %q, want a refusal", r.What, r.Text, r.Problems)
	}
}

// udpServers answer as their specifications say.
var udpServers = []struct {
	name       string
	ask        string
	secret     string
	answer     func(q []byte) [][]byte
	what, text string
	problems   int
}{
	{"SQL Server Browser", "sqlbrowser", "", func(q []byte) [][]byte {
		if !bytes.Equal(q, []byte{2}) {
			return nil
		}
		text := "ServerName;DB1;InstanceName;MSSQLSERVER;IsClustered;No;Version;16.0.1000.6;tcp;1433;;ServerName;DB1;InstanceName;X;IsClustered;No;Version;15.0.2000.5;tcp;49172;np;\\\\DB1\\pipe\\x;;"
		return [][]byte{append([]byte{5, byte(len(text)), 0}, text...)}
	}, "SQL Server Browser", `MSSQLSERVER tcp 1433 version 16.0.1000.6; X tcp 49172 np \\DB1\pipe\x version 15.0.2000.5`, 0},
	{"L2TP", "l2tp", "", func(q []byte) [][]byte {
		a, err := parseL2TP(q)
		if err != nil || a.message != l2tpSCCRQ {
			return nil
		}
		return [][]byte{l2tpMessageOf(a.theirs, 0, 1), l2tpMessageOf(a.theirs, 0, 1, l2tpAttribute(l2tpMessage, []byte{0, l2tpSCCRP}),
			l2tpAttribute(l2tpHost, []byte("vpn1")), l2tpAttribute(l2tpVendor, []byte("test")), l2tpAttribute(l2tpTunnelID, []byte{0, 7}))}
	}, "L2TP", "takes tunnels, host vpn1, test", 0},
	{"IKEv2", "ike", "", func(q []byte) [][]byte {
		if q[17] != 0x20 {
			return nil
		}
		return [][]byte{appendIKE(q[:8], 41, 0x20, 34, 0x20, ikePayload(0, []byte{0, 0, 0, 14}))}
	}, "IKE", "version 2, notice 14", 0},
	{"IKEv1", "ike", "", func(q []byte) [][]byte {
		if q[17] != 0x10 {
			return nil
		}
		return [][]byte{q}
	}, "IKE", "version 1, takes what is offered", 0},
	{"RADIUS", "radius", "secret", func(q []byte) [][]byte { return [][]byte{radiusAnswer(q, "secret")} }, "RADIUS", "accepts", 0},
	{"RADIUS of another secret", "radius", "secret", func(q []byte) [][]byte { return [][]byte{radiusAnswer(q, "other")} }, "RADIUS", "accepts", 1},
	{"mDNS", "mdns", "", func(q []byte) [][]byte {
		answer := append(q[:2:2], 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0)
		answer = append(answer, q[12:]...)
		return [][]byte{append(answer, 0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 9, 0, 12, 4, '_', 's', 's', 'h', 4, '_', 't', 'c', 'p', 0xc0, 35)}
	}, "mDNS", "NOERROR, authoritative, _ssh._tcp.local.", 0},
	{"DNS with a name that leads to itself", "dns", "", func(q []byte) [][]byte {
		answer := append(q[:2:2], 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0)
		return [][]byte{append(answer, 0xc0, 12, 0, 2, 0, 1, 0xc0, 12, 0, 2, 0, 1)}
	}, "", "", 1},
	{"somebody else's answers first", "ntp", "", func(q []byte) [][]byte {
		answer := make([]byte, ntpSize)
		answer[0], answer[1] = 4<<3|4, 2
		copy(answer[24:], q[40:])
		return [][]byte{make([]byte, ntpSize), []byte("?"), answer}
	}, "NTP", "", 0},
	{"another protocol", "ntp", "", func(q []byte) [][]byte { return [][]byte{[]byte("?")} }, "", "", 1},
	{"a flood", "ntp", "", func(q []byte) [][]byte { return slices.Repeat([][]byte{[]byte("?")}, 100) }, "", "", 1},
	{"anything", "", "", func(q []byte) [][]byte { return [][]byte{[]byte("?")} }, "", "", 0},
}

func radiusAnswer(q []byte, secret string) []byte {
	answer := []byte{2, q[1], 0, radiusHeader}
	h := md5.New()
	h.Write(answer)
	h.Write(q[4:radiusHeader])
	h.Write([]byte(secret))
	return h.Sum(answer)
}

func TestQuestions(t *testing.T) {
	for _, tt := range udpServers {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			port := serveUDP(t, tt.answer)
			p := &Prober{Timeout: 3 * time.Second}
			r := p.Port(t.Context(), netip.MustParseAddr("127.0.0.1"), PortQuestion{Network: "udp", Port: port, Ask: tt.ask, Secret: tt.secret})
			if r.State != Listening || r.Time <= 0 || r.What != tt.what || tt.text != "" && r.Text != tt.text || len(r.Problems) != tt.problems {
				t.Errorf("%v after %v, %q: %q, problems %q, want %q: %q, %d problems", r.State, r.Time, r.What, r.Text, r.Problems, tt.what, tt.text, tt.problems)
			}
		})
	}
}

// TestGarbage: whatever comes, there is a result in time.
func TestGarbage(t *testing.T) {
	garbage := [][]byte{{}, {0}, bytes.Repeat([]byte{0xff}, 2000), bytes.Repeat([]byte{0xc0, 0x0c}, 1000), bytes.Repeat([]byte{0x30, 0x80}, 1000)}
	port := serveUDP(t, func(q []byte) [][]byte {
		echo := bytes.Clone(q)
		if len(echo) > 2 {
			echo[2] |= 0x80
		}
		return append(garbage, echo, append(echo, garbage[2]...))
	})
	for _, name := range Protocols("udp") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &Prober{Timeout: 2 * time.Second}
			if r := p.Port(t.Context(), netip.MustParseAddr("127.0.0.1"), PortQuestion{Network: "udp", Port: port, Ask: name}); r.State != Listening || len(r.Text) > MaxPortText {
				t.Errorf("%+v, want listening", r)
			}
		})
	}
}

// A countedConn tells when it is closed.
type countedConn struct {
	net.Conn
	open *atomic.Int32
}

func (c countedConn) Close() error {
	c.open.Add(-1)
	return c.Conn.Close()
}

// TestHostBound: no more connections to a host talk at a time than the prober may have.
func TestHostBound(t *testing.T) {
	port := serveTCP(t, says("SSH-2.0-test\r\n"))
	var open, most atomic.Int32
	p := &Prober{Timeout: 20 * time.Second, HostConn: 2} // patience is 67 ms, and on loopback nobody needs it
	p.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		n := open.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		return countedConn{c, &open}, nil
	}
	for _, r := range p.Ports(t.Context(), netip.MustParseAddr("127.0.0.1"), slices.Repeat([]PortQuestion{{Network: "tcp", Port: port, Ask: "ssh"}}, 50)) {
		if r.Text != "SSH-2.0-test" {
			t.Errorf("%+v, want a greeting", r)
		}
	}
	if most.Load() > 2 || open.Load() != 0 {
		t.Errorf("%d connections at a time, %d left, want 2 and none", most.Load(), open.Load())
	}
}

// TestSeat: a try that is not answered gives its place up, and takes it back when it is.
func TestSeat(t *testing.T) {
	p := &Prober{Timeout: 30 * time.Millisecond * patience, HostConn: 1}
	host := netip.MustParseAddr("192.0.2.1")
	first, err := p.seat(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.seat(t.Context(), host) // when the first is tired of waiting
	if err != nil {
		t.Fatal(err)
	}
	if err := second.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := first.take(short); err == nil {
		t.Error("two connections at a time, want one")
	}
	second.leave()
	second.leave()
	first.leave()
	if n := len(p.all) + len(p.silent) + len(p.hosts); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
}
