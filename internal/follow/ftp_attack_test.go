package follow

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// A server is not made to connect to a third host (RFC 2577, section 3; CVE-2001-0405).
func TestFTPBounce(t *testing.T) {
	k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("PORT 192,0,2,9,4,1", "EPRT |1|192.0.2.9|1025|", "PORT 192,0,2,1,4,1")
	no := "500 Data connections are to your own address only.\r\n"
	k.want(no+no+no, "")
	k.wantRules("address", "address", "address", "")

	k = ftpLoggedIn(t, Policy{Ends: ftpEnds6}).c("EPRT |2|2001:db8::9|1025|", "EPRT |1|192.0.2.2|1025|", "PORT 192,0,2,2,4,1")
	other := "522 Network protocol not supported, use (2)\r\n"
	k.want(no+other+other, "")
	k.wantRules("address", "address", "address", "")
}

// Data does not go to where services are.
func TestFTPLowPorts(t *testing.T) {
	k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("PORT 192,0,2,2,3,255", "EPRT |1|192.0.2.2|22|", "EPRT |1|192.0.2.2|0|")
	no := "500 Data connections are to ports from 1024 only.\r\n"
	k.want(no+no+no, "")
	k.wantRules("port", "port", "port", "")

	k = ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("PASV").s("227 x (192,0,2,1,3,255)").c("EPSV").s("229 x (|||22|)").c("EPSV").s("229 x (|||1024|)")
	no = "425 Can't open data connection.\r\n"
	k.want(no+no+"229 Entering Extended Passive Mode (|||1024|)\r\n", "PASV\r\nEPSV\r\nEPSV\r\n", "client 1024")
	k.wantRules("port", "port", "")

	k = ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("PASV").s("227 x").c("EPSV").s("229 x")
	k.want(no+no, "PASV\r\nEPSV\r\n")
	k.wantRules("syntax", "syntax", "")
}

// A client is not sent to a third host, whatever the server says (CVE-2007-1562, CVE-2021-4189).
func TestFTPPassiveElsewhere(t *testing.T) {
	for _, named := range []string{"192,0,2,9", "127,0,0,1", "0,0,0,0", "224,0,0,1", "255,255,255,255"} {
		k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("PASV").s("227 x (" + named + ",4,1)")
		k.want("227 Entering Passive Mode (192,0,2,1,4,1).\r\n", "PASV\r\n", "client 1025")
		k.wantRules("address", "")
	}
}

// Addresses that are not one host's, or written as another family's, are nobody's own.
func TestFTPAddresses(t *testing.T) {
	for _, tt := range []struct{ client, command string }{
		{"192.0.2.2", "EPRT |2|::ffff:192.0.2.2|1025|"},
		{"192.0.2.2", "EPRT |2|::ffff:c000:202|1025|"},
		{"2001:db8::2", "EPRT |2|2001:db8::2%eth0|1025|"},
		{"fe80::2", "EPRT |2|fe80::2%eth0|1025|"},
		{"ff02::1", "EPRT |2|ff02::1|1025|"},
		{"::1", "EPRT |2|::1|1025|"},
		{"::", "EPRT |2|::|1025|"},
		{"127.0.0.1", "PORT 127,0,0,1,4,1"},
		{"255.255.255.255", "PORT 255,255,255,255,4,1"},
		{"224.0.0.1", "EPRT |1|224.0.0.1|1025|"},
		{"0.0.0.0", "PORT 0,0,0,0,4,1"},
	} {
		k := ftpLoggedIn(t, Policy{Ends: ftpEnds(tt.client, "192.0.2.1")}).c(tt.command)
		if got := k.heard[Server].String(); got != "" || len(k.rules) != 1 || len(k.promises) > 0 {
			t.Errorf("%s from %s: the server was sent %q, refused by %q", tt.command, tt.client, got, k.rules)
		}
	}

	// The address of a client that came to a socket of both families is still of IPv4, and one on a link needs no zone.
	k := ftpLoggedIn(t, Policy{Ends: ftpEnds("::ffff:192.0.2.2", "::ffff:192.0.2.1")}).c("PORT 192,0,2,2,4,1").s("200 x").c("PASV").s("227 x (192,0,2,1,4,2)")
	k.want("200 x\r\n227 Entering Passive Mode (192,0,2,1,4,2).\r\n", "PORT 192,0,2,2,4,1\r\nPASV\r\n", "server 1025", "client 1026")
	k = ftpLoggedIn(t, Policy{Ends: ftpEnds("fe80::2%eth0", "fe80::1%eth0")}).c("EPRT |2|fe80::2|1025|")
	k.want("", "EPRT |2|fe80::2|1025|\r\n", "server 1025")
	k.wantRules("")
}

// What looks like a reply within one is none (CERT VU#328867, CVE-2002-1978, CVE-2002-1979).
func TestFTPEcho(t *testing.T) {
	const fake = "227 Entering Passive Mode (192,0,2,1,4,1)"
	for _, tt := range []struct {
		name, command string
		answer        []string
		want          string
	}{
		{"a name in an error", "RETR " + fake, []string{"550 " + fake + ": no such file"}, "550 " + fake + ": no such file\r\n"},
		{"a name in a path", "PWD", []string{`257 "/` + fake + `"`}, `257 "/` + fake + "\"\r\n"},
		{"a line within", "STAT x", []string{"213-x", fake, "213 End"}, "213-x\r\n " + fake + "\r\n213 End\r\n"},
		{"a line within, of several", "STAT x", []string{"213-x", "227-x", fake, "213 End"}, "213-x\r\n 227-x\r\n " + fake + "\r\n213 End\r\n"},
		{"a line within an error to PASV", "PASV", []string{"425-x", fake, "425 no"}, "425 no\r\n"},
		{"a line within the reply, and another last", "PASV", []string{"227-Entering Passive Mode (192,0,2,1,4,1)", "227 x"}, "425 Can't open data connection.\r\n"},
		{"a name in an error to EPSV", "EPSV", []string{"500 229 x (|||1025|)"}, "500 229 x (|||1025|)\r\n"},
	} {
		k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c(tt.command).s(tt.answer...)
		if k.want(tt.want, tt.command+"\r\n"); k.end != nil || t.Failed() {
			t.Fatalf("%s: ended by %v", tt.name, k.end)
		}
	}

	// Of a reply of many lines the last counts.
	k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("PASV").s("227-Entering Passive Mode (192,0,2,1,4,1)", "227-x", " x", "227 Entering Passive Mode (192,0,2,1,4,2)")
	k.want("227 Entering Passive Mode (192,0,2,1,4,2).\r\n", "PASV\r\n", "client 1026")
}

// A reply that names a port counts only as the reply to what asked for one.
func TestFTPUnasked(t *testing.T) {
	const port = "227 x (192,0,2,1,4,1)"
	for _, tt := range []struct {
		name     string
		talk     func(k *ftpTalk)
		promises int
	}{
		{"to nothing", func(k *ftpTalk) { k.s(port) }, 0},
		{"to nothing, extended", func(k *ftpTalk) { k.s("229 x (|||1025|)") }, 0},
		{"any reply to nothing", func(k *ftpTalk) { k.s("200 x") }, 0},
		{"in several lines to nothing", func(k *ftpTalk) { k.s("200-x") }, 0},
		{"to STAT", func(k *ftpTalk) { k.c("STAT").s(port) }, 0},
		{"to RETR", func(k *ftpTalk) { k.c("RETR x").s(port) }, 0},
		{"while data flows", func(k *ftpTalk) { k.c("RETR x").s("150 x").c("STAT").s(port) }, 0},
		{"to PORT", func(k *ftpTalk) { k.c("PORT 192,0,2,2,4,2").s(port) }, 1},
		{"to EPSV", func(k *ftpTalk) { k.c("EPSV").s(port) }, 0},
		{"extended, to PASV", func(k *ftpTalk) { k.c("PASV").s("229 x (|||1025|)") }, 0},
		{"to EPSV ALL", func(k *ftpTalk) { k.c("EPSV ALL").s("229 x (|||1025|)") }, 0},
		{"that of LPSV, to STAT", func(k *ftpTalk) { k.c("STAT").s("228 x (4,4,192,0,2,1,2,4,1)") }, 0},
		{"another success, to PASV", func(k *ftpTalk) { k.c("PASV").s("200 x") }, 0},
		{"protected, to PASV", func(k *ftpTalk) { k.c("PASV").s("631 x (192,0,2,1,4,1)") }, 0},
		{"preliminary, to PASV", func(k *ftpTalk) { k.c("PASV").s("150 x", port) }, 0},
		{"twice", func(k *ftpTalk) { k.c("PASV").s(port, port) }, 1},
		{"twice, in pieces", func(k *ftpTalk) { k.c("PASV").s(port).s(port) }, 1},
		{"before the greeting", func(k *ftpTalk) { *k = *newFTPTalk(t, Policy{Ends: ftpEnds4}); k.s(port) }, 0},
		// The server speaks before it was sent the PASV that waits.
		{"right after the reply to an earlier command", func(k *ftpTalk) { k.c("STAT", "PASV").s("211 x", port) }, 0},
		{"begun right after the reply to an earlier command", func(k *ftpTalk) {
			k.c("STAT", "PASV").feed(Server, []byte("211 x\r\n227")).s(" x (192,0,2,1,4,1)")
		}, 0},
		{"in several lines right after it", func(k *ftpTalk) { k.c("STAT", "PASV").s("211 x", "227-x").s(port) }, 0},
	} {
		k := ftpLoggedIn(t, Policy{Ends: ftpEnds4})
		tt.talk(k)
		if k.end == nil || k.end.Rule != "state" || len(k.promises) != tt.promises {
			t.Errorf("%s: ended by %v, promised %q", tt.name, k.end, k.promised())
		}
		if got := k.heard[Client].String(); strings.Contains(got, port) || !strings.HasSuffix(got, "421 The gateway ends this session: commands and replies do not match.\r\n") {
			t.Errorf("%s: the client was sent %q", tt.name, got)
		}
	}
}

// What a browser was made to send is no FTP, wherever a packet begins (CVE-2020-28041).
func TestFTPSlipstream(t *testing.T) {
	const command = "PORT 192,0,2,2,4,1\r\nEPRT |1|192.0.2.2|1025|\r\nPASV\r\n"
	for _, first := range []string{
		"POST / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n", "OPTIONS / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "REGISTER sip:x SIP/2.0\r\n", "INVITE sip:x SIP/2.0\r\n",
		"XYZ\r\n", "Host: x\r\n", "EHLO x\r\n", `{"a": 1}` + "\r\n", "\r\n", strings.Repeat("x", 1500) + "\r\n", strings.Repeat("\r\n", 700),
		"POST /" + strings.Repeat("x", 9000), "------WebKitFormBoundary\r\n", "\x00\x01\x00\x00\r\n",
	} {
		for _, n := range []int{1, 7, len(first), 1 << 20} {
			k := newFTPTalk(t, Policy{Ends: ftpEnds4}).s("220 x")
			for piece := range slices.Chunk([]byte(first+command), n) {
				k.feed(Client, piece)
			}
			ended := k.end
			k.s("230 x", "227 x (192,0,2,1,4,1)")
			if ended == nil || len(k.promises) > 0 || k.heard[Server].Len() > 0 {
				t.Errorf("%.30q in pieces of %d: ended by %v, promised %q, the server was sent %q", first, n, k.end, k.promised(), k.heard[Server].String())
			}
		}
	}
	// Nor in the middle of a session that a browser keeps open.
	for _, verb := range []string{
		"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "PRACK", "UPDATE",
		"INFO", "REFER", "NOTIFY", "MESSAGE", "PUBLISH", "DESCRIBE", "ANNOUNCE", "SETUP", "PLAY", "RECORD", "TEARDOWN", "HELO", "EHLO",
	} {
		k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("NOOP").s("200 x").c(verb+" / HTTP/1.1", "PASV")
		k.want("200 x\r\n421 The gateway ends this session: what was sent is not FTP.\r\n", "NOOP\r\n")
		k.wantRules("verb")
	}
}

// Nothing of a client is passed on or answered before the server greets it.
func TestFTPGreeting(t *testing.T) {
	k := newFTPTalk(t, Policy{Ends: ftpEnds4}).c("USER a", "PASS b", "PASV")
	k.want("", "")
	k.s("120 soon").want("120 soon\r\n", "")
	k.s("220-x", "220").want("120 soon\r\n220-x\r\n 220\r\n", "")
	k.s("220 x").want("120 soon\r\n220-x\r\n 220\r\n220 x\r\n", "USER a\r\n")
	k.wantRules("")

	for _, no := range []string{"421 too many", "530 too many"} {
		k = newFTPTalk(t, Policy{Ends: ftpEnds4}).s(no).c("USER a")
		k.want(no+"\r\n", "")
		k.wantRules("")
	}
	for _, first := range []string{"SSH-2.0-x", "HTTP/1.1 200 OK", "", "230 x", "200 x", "331 x"} {
		if k := newFTPTalk(t, Policy{Ends: ftpEnds4}).s(first).c("PASV"); k.end == nil || k.heard[Server].Len() > 0 {
			t.Errorf("after %q the client is heard", first)
		}
	}
}

// Ports are asked for by those who are logged in.
func TestFTPLogin(t *testing.T) {
	for _, tt := range []struct {
		name string
		talk func(k *ftpTalk)
		in   bool
	}{
		{"no login", func(*ftpTalk) {}, false},
		{"user without password", func(k *ftpTalk) { k.c("USER a").s("331 x") }, false},
		{"wrong password", func(k *ftpTalk) { k.c("USER a").s("331 x").c("PASS b").s("530 x") }, false},
		{"password", func(k *ftpTalk) { k.c("USER a").s("331 x").c("PASS b").s("230 x") }, true},
		{"no password needed", func(k *ftpTalk) { k.c("USER a").s("230-x", "230 x") }, true},
		{"security data, RFC 2228", func(k *ftpTalk) { k.c("USER a").s("232 x") }, true},
		{"account", func(k *ftpTalk) { k.c("USER a").s("331 x").c("PASS b").s("332 x").c("ACCT c").s("230 x") }, true},
		{"the code to another command", func(k *ftpTalk) { k.c("NOOP").s("230 x") }, false},
		{"the code in the text", func(k *ftpTalk) { k.c("USER a").s("331-x", "230 x", "331 230 x") }, false},
		{"logged in, then another user", func(k *ftpTalk) { k.c("USER a").s("230 x").c("USER b").s("331 x") }, false},
		{"logged in, another user refused", func(k *ftpTalk) { k.c("USER a").s("230 x").c("USER b").s("530 x") }, true},
		{"logged in, then REIN", func(k *ftpTalk) { k.c("USER a").s("230 x").c("REIN").s("120 x", "220 x") }, false},
		{"logged in, REIN refused", func(k *ftpTalk) { k.c("USER a").s("230 x").c("REIN").s("502 x") }, true},
	} {
		for _, command := range []string{"PASV", "EPSV", "PORT 192,0,2,2,4,1", "EPRT |1|192.0.2.2|1025|"} {
			k := newFTPTalk(t, Policy{Ends: ftpEnds4}).s("220 x")
			tt.talk(k)
			k.heard[Client].Reset()
			k.heard[Server].Reset()
			k.c(command)
			if tt.in && (k.heard[Server].String() != command+"\r\n" || len(k.rules) > 0) {
				t.Errorf("%s: %s is refused by %q", tt.name, command, k.rules)
			} else if !tt.in && (k.heard[Server].Len() > 0 || k.heard[Client].String() != "530 Log in first.\r\n" || !slices.Equal(k.rules, []string{"state"})) {
				t.Errorf("%s: %s passes", tt.name, command)
			}
		}
	}
}

// A line that is too long for us may be read in parts by others.
func TestFTPLongLines(t *testing.T) {
	for _, n := range []int{2049, 9000, 1 << 20} {
		long := strings.Repeat("x", n-4) // and "CWD "
		k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("CWD " + long)
		k.want("421 The gateway ends this session: what was sent is not FTP.\r\n", "")
		k.wantRules("syntax")
		k = ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("CWD x").s("550 " + long)
		k.want("421 The gateway ends this session: what was sent is not FTP.\r\n", "CWD x\r\n")
		k.wantRules("syntax")
	}
	path := strings.Repeat("x", 2044)
	k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("CWD " + path).s("550 " + path)
	k.want("550 "+path+"\r\n", "CWD "+path+"\r\n")
}

// Bytes that end lines for some and not for others are passed on in neither direction.
func TestFTPDesync(t *testing.T) {
	for name, in := range map[string]string{"CR": "x\rPASV", "LF": "x\nPASV", "NUL": "x\x00PASV", "CR NUL": "x\r\x00PASV", "telnet": "x\xff\xf4PASV", "CR CR LF": "x\r\r\nPASV"} {
		k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("CWD " + in)
		k.want("421 The gateway ends this session: what was sent is not FTP.\r\n", "")
		k.wantRules("syntax")
		k = ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("PASV").s("425 " + in + "\r\n227 x (192,0,2,1,4,1)")
		k.want("421 The gateway ends this session: what was sent is not FTP.\r\n", "PASV\r\n")
		if t.Failed() {
			t.Fatal(name)
		}
	}
	k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("PASV").s("\xff\xf2227 x (192,0,2,1,4,1)")
	k.wantRules("syntax")
	k.want("421 The gateway ends this session: what was sent is not FTP.\r\n", "PASV\r\n")
	for _, command := range []string{" PASV", "PASV\t", "\tPASV", "PASV\v"} {
		ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c(command).wantRules("syntax")
	}
	k = ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("PASV x", "PORT 192,0,2,2,4,01", "PORT 192,0,2,2,4,1 ", "EPSV 2", "EPSV x", "EPSV 1", "pasv ")
	k.s("500 x").s("425 x")
	k.want("501 PASV has no argument.\r\n501 Bad address.\r\n501 Bad address.\r\n522 Network protocol not supported, use (1)\r\n522 Network protocol not supported, use (1)\r\n500 x\r\n425 x\r\n",
		"EPSV 1\r\nPASV\r\n")
}

// Commands wait for the reply to the one before, but for those that are about data that flows.
func TestFTPPipelining(t *testing.T) {
	k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("TYPE I", "PASV", "RETR x", "CWD y", "PASV")
	k.want("", "TYPE I\r\n")
	k.s("200 x").want("200 x\r\n", "TYPE I\r\nPASV\r\n")
	k.s("227 x (192,0,2,1,4,1)").want("200 x\r\n227 Entering Passive Mode (192,0,2,1,4,1).\r\n", "TYPE I\r\nPASV\r\nRETR x\r\n", "client 1025")
	k.heard[Client].Reset()
	k.heard[Server].Reset()
	k.s("150 x", "150 y").want("150 x\r\n150 y\r\n", "", "client 1025") // which do not end it
	k.s("226-x").want("150 x\r\n150 y\r\n226-x\r\n", "", "client 1025")
	k.s("226 x").want("150 x\r\n150 y\r\n226-x\r\n226 x\r\n", "CWD y\r\n", "client 1025")
	k.s("250 x").want("150 x\r\n150 y\r\n226-x\r\n226 x\r\n250 x\r\n", "CWD y\r\nPASV\r\n", "client 1025")
	k.wantRules("")

	k = ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("RETR x").s("150 x").c("NOOP", "STAT", "\xff\xf4\xff\xf2ABOR", "PASV", "QUIT")
	k.want("150 x\r\n", "RETR x\r\nNOOP\r\nSTAT\r\nABOR\r\n")
	k.s("211-x", "211 x").s("200 x").s("426 x").want("150 x\r\n211-x\r\n211 x\r\n200 x\r\n426 x\r\n", "RETR x\r\nNOOP\r\nSTAT\r\nABOR\r\n")
	k.s("226 x").want("150 x\r\n211-x\r\n211 x\r\n200 x\r\n426 x\r\n226 x\r\n", "RETR x\r\nNOOP\r\nSTAT\r\nABOR\r\nPASV\r\n")
	k.wantRules("")
}

// Replies to what is about data that flows do not end that.
func TestFTPWhileDataFlows(t *testing.T) {
	for _, tt := range []struct{ command, answer string }{{"NOOP", "200 x"}, {"STAT", "211 x"}, {"STAT", "212 x"}, {"STAT", "213 x"}} {
		k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("RETR x").s("150 x").c(tt.command).s(tt.answer).c("ABOR")
		k.want("150 x\r\n"+tt.answer+"\r\n", "RETR x\r\n"+tt.command+"\r\nABOR\r\n")
		k.s("426 x").want("150 x\r\n"+tt.answer+"\r\n426 x\r\n", "RETR x\r\n"+tt.command+"\r\nABOR\r\n")
		k.c("PASV").s("226 x").s("227 x (192,0,2,1,4,1)")
		k.wantRules("")
		if len(k.promises) != 1 {
			t.Errorf("after %s: promised %q", tt.command, k.promised())
		}
	}
}

// A server may close when it likes, and says so.
func TestFTPClosing(t *testing.T) {
	k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).s("421-x", "421 Timeout.").c("PASV").s("421 x").s("421 x")
	k.want("421-x\r\n421 Timeout.\r\n421 x\r\n421 x\r\n", "PASV\r\n")
	k.wantRules("")
	// The last line answers, not the first.
	k = ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("NOOP", "PASV").s("421-x", "227 x (192,0,2,1,4,1)")
	k.want("421-x\r\n 227 x (192,0,2,1,4,1)\r\n", "NOOP\r\n")
	k.s("421 x").want("421-x\r\n 227 x (192,0,2,1,4,1)\r\n421 x\r\n", "NOOP\r\nPASV\r\n")
	// The gateway says so too, but where it would be text of a reply.
	k = ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("STAT").s("211-x", "a\nb")
	k.want("211-x\r\n", "STAT\r\n")
	k.wantRules("syntax")
	// And where a promise is not kept, and its step does not send what it would.
	k = ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("PASV")
	k.broken = true
	k.s("227 x (192,0,2,1,4,1)", "200 x")
	k.want("425 Can't open data connection.\r\n421 The gateway ends this session: commands and replies do not match.\r\n", "PASV\r\n")
}

// An interrupt of telnet is left out before the commands that it belongs to.
func TestFTPSignals(t *testing.T) {
	for _, command := range []string{"ABOR", "STAT", "QUIT"} {
		for _, signal := range []string{"\xff\xf4\xff\xf2", "\xff\xf4\xf2", "\xff\xf4\xff", "\xff\xf2"} {
			k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c(signal + command)
			k.want("", command+"\r\n")
			k.wantRules("")
		}
	}
	for _, command := range []string{"PASV", "PORT 192,0,2,2,4,1", "USER a", "XYZ"} {
		k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("\xff\xf4\xff\xf2" + command)
		k.want("421 The gateway ends this session: what was sent is not FTP.\r\n", "")
		k.wantRules("syntax")
	}
}

// What goes on encrypted is passed on unread, and nothing comes of it.
func TestFTPUnreadable(t *testing.T) {
	start := func() *ftpTalk { return newFTPTalk(t, Policy{Ends: ftpEnds4}).s("220 x").c("AUTH TLS") }
	const hello, secret = "\x16\x03\x01\x00\x05hello", "PASV\r\n\x00\xff\r"
	k := start().s("234 x").feed(Client, []byte(hello)).feed(Server, []byte("\x16\x03\x03\x00\x05227 x")).feed(Client, []byte(secret)).s("227 x (192,0,2,1,4,1)")
	k.want("220 x\r\n234 x\r\n\x16\x03\x03\x00\x05227 x227 x (192,0,2,1,4,1)\r\n", "AUTH TLS\r\n"+hello+secret)
	k.wantRules("unreadable", "")
	k = newFTPTalk(t, Policy{Ends: ftpEnds4}).s("220 x").c("AUTH GSSAPI").s("334 x").c("PASV").s("227 x (192,0,2,1,4,1)")
	k.want("220 x\r\n334 x\r\n227 x (192,0,2,1,4,1)\r\n", "AUTH GSSAPI\r\nPASV\r\n")
	k.wantRules("unreadable", "")

	// A promise before it is void then.
	k = ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("PASV").s("227 x (192,0,2,1,4,1)").c("AUTH TLS").s("234 x")
	if k.forgot != 2 {
		t.Errorf("what was promised before AUTH was forgotten %d times, want once", k.forgot-1)
	}
	// The server refuses it.
	k = start().s("504 x").c("USER a").s("230 x").c("PASV").s("227 x (192,0,2,1,4,1)")
	k.wantRules("")
	k.want("220 x\r\n504 x\r\n230 x\r\n227 Entering Passive Mode (192,0,2,1,4,1).\r\n", "AUTH TLS\r\nUSER a\r\nPASV\r\n", "client 1025")

	// What comes before the reply is not of the session that is protected (CVE-2011-0411), whoever sent it.
	k = start().c("USER a")
	k.want("220 x\r\n", "AUTH TLS\r\n")
	k.s("234 x").want("220 x\r\n421 The gateway ends this session: commands and replies do not match.\r\n", "AUTH TLS\r\n")
	k = newFTPTalk(t, Policy{Ends: ftpEnds4}).s("220 x").feed(Client, []byte("AUTH TLS\r\n\x16")).s("234 x")
	k.wantRules("state")
	for _, more := range []string{"2", "230 x\r\n", "\x16"} {
		k = start().feed(Server, []byte("234 x\r\n"+more))
		k.wantRules("unreadable", "state")
	}

	// Encrypted from the beginning, to a server that says nothing.
	k = newFTPTalk(t, Policy{Ends: ftpEnds4}).feed(Client, []byte(hello[:1])).feed(Client, []byte(hello[1:])).feed(Server, []byte("\x16\x03")).c("PASV").s("227 x (192,0,2,1,4,1)")
	k.want("\x16\x03227 x (192,0,2,1,4,1)\r\n", hello+"PASV\r\n")
	k.wantRules("unreadable", "")
	// But not from the middle of a line on.
	k = newFTPTalk(t, Policy{Ends: ftpEnds4}).s("220 x").feed(Client, []byte("US")).feed(Client, []byte(hello+"\r\n"))
	k.want("220 x\r\n421 The gateway ends this session: what was sent is not FTP.\r\n", "")
}

// Where the policy has it, nothing goes on encrypted.
func TestFTPRefuseUnreadable(t *testing.T) {
	p := Policy{Ends: ftpEnds4, RefuseUnreadable: true}
	k := newFTPTalk(t, p).s("220 x").c("AUTH TLS", "USER a").s("230 x").c("PASV").s("227 x (192,0,2,1,4,1)")
	k.want("220 x\r\n534 Encrypted sessions do not pass this gateway.\r\n230 x\r\n227 Entering Passive Mode (192,0,2,1,4,1).\r\n", "USER a\r\nPASV\r\n", "client 1025")
	k.wantRules("unreadable", "")
	k = newFTPTalk(t, p).feed(Client, []byte("\x16\x03\x01"))
	k.want("421 The gateway ends this session: it does not let encrypted sessions pass.\r\n", "")
	k.wantRules("unreadable")
	// Nor does it because the server agrees to what it was not asked for.
	for _, agreed := range []string{"234 x", "334 x"} {
		k = newFTPTalk(t, p).s("220 x").c("NOOP").s(agreed).c("AUTH TLS")
		k.want("220 x\r\n"+agreed+"\r\n534 Encrypted sessions do not pass this gateway.\r\n", "NOOP\r\n")
	}
}

// After EPSV ALL there is EPSV only (RFC 2428, section 4).
func TestFTPExtendedPassiveAll(t *testing.T) {
	k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("epsv all").s("200 x").c("PASV", "PORT 192,0,2,2,4,1", "EPRT |1|192.0.2.2|1025|", "EPSV").s("229 x (|||1025|)")
	no := "503 Only EPSV after EPSV ALL.\r\n"
	k.want("200 x\r\n"+no+no+no+"229 Entering Extended Passive Mode (|||1025|)\r\n", "EPSV ALL\r\nEPSV\r\n", "client 1025")
	k.c("REIN").s("220 x").c("USER a").s("230 x").c("PORT 192,0,2,2,4,1").s("200 x")
	if got := k.promised(); !slices.Equal(got, []string{"client 1025", "server 1025"}) {
		t.Errorf("after REIN, promised %q", got)
	}
	k = ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("EPSV ALL").s("502 x").c("PASV")
	k.want("502 x\r\n", "EPSV ALL\r\nPASV\r\n")
}

// Ways to ask for ports that are not followed do not reach the server.
func TestFTPOtherPorts(t *testing.T) {
	k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("LPRT 4,4,192,0,2,2,2,4,1", "LPSV", "CPSV", "SPSV", "XYZ").s("500 x")
	no := "502 Use EPSV, PASV, EPRT or PORT.\r\n"
	k.want(no+no+no+no+"500 x\r\n", "XYZ\r\n")
	k.wantRules("verb", "verb", "verb", "verb", "")
	k = newFTPTalk(t, Policy{Ends: ftpEnds4}).s("220 x").c("FEAT").s("500 x").c("XYZ")
	k.want("220 x\r\n500 x\r\n500 Unknown command.\r\n", "FEAT\r\n")
	k = ftpLoggedIn(t, Policy{Ends: ftpEnds6}).c("PASV", "EPSV 1")
	k.want("425 Use EPSV.\r\n522 Network protocol not supported, use (2)\r\n", "")
	k.wantRules("address", "address", "")
}

// Where a promise cannot be kept, the client is told so, and goes on with a server that waits for nothing.
func TestFTPBrokenPromises(t *testing.T) {
	no := "425 Can't open data connection.\r\n"
	for _, tt := range []struct{ command, answer, sent string }{
		{"PASV", "227 x (192,0,2,1,4,1)", "PASV"},
		{"EPSV", "229 x (|||1025|)", "EPSV"},
		{"PORT 192,0,2,2,4,1", "225 No transfer to ABOR.", "ABOR"},         // vsftpd 3.0.3
		{"EPRT |1|192.0.2.2|1025|", "226-Abort\r\n226 successful", "ABOR"}, // proftpd 1.3.8
	} {
		k := ftpLoggedIn(t, Policy{Ends: ftpEnds4})
		k.broken = true
		k.c(tt.command).s(tt.answer).c("NOOP").s("200 x")
		k.want(no+"200 x\r\n", tt.sent+"\r\nNOOP\r\n")
		k.wantRules("")
	}

	// A server may still wait at a port of before: vsftpd 3.0.3 does, and ABOR does not change that.
	for _, refused := range [][2]string{{"PORT 192,0,2,2,4,1", "225 x"}, {"PORT 192,0,2,2,4,1", "502 no ABOR here"}, {"PASV", "227 x (192,0,2,1,0,21)"}, {"EPSV", "229 x"}} {
		k := ftpLoggedIn(t, Policy{Ends: ftpEnds4})
		k.broken = true
		k.c(refused[0]).s(refused[1])
		k.broken = false
		k.heard[Client].Reset()
		k.heard[Server].Reset()
		transfers := []string{"LIST", "MLSD", "NLST", "RETR x", "APPE x", "STOR x", "STOU"}
		k.c(transfers...).want(strings.Repeat("425 Use PASV or PORT first.\r\n", len(transfers)), "")
		k.c("EPSV").s("229 x (|||1025|)").c("LIST")
		if got := k.heard[Server].String(); got != "EPSV\r\nLIST\r\n" {
			t.Errorf("after %s came to nothing, the server was sent %q", refused[0], got)
		}
	}
}

// A promise takes the place of the one before, and one that the server refuses is none.
func TestFTPForget(t *testing.T) {
	k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}) // talk.feed holds that every promise forgets the one before
	for _, tt := range []struct {
		command, answer string
		forgot          int
	}{
		{"PASV", "227 x (192,0,2,1,4,1)", 1},
		{"PORT 192,0,2,2,4,1", "200 x", 2},
		{"PORT 192,0,2,2,4,2", "500 x", 4},
		{"EPRT |1|192.0.2.2|1025|", "530-x\r\n530 y", 6},
		{"NOOP", "200 x", 6},
		{"REIN", "502 x", 6},
		{"REIN", "220 x", 7},
		{"REIN", "120 x\r\n220 y", 8},
	} {
		if k.c(tt.command).s(tt.answer); k.forgot != tt.forgot {
			t.Errorf("after %s, %s: forgotten %d times, want %d", tt.command, tt.answer, k.forgot, tt.forgot)
		}
	}
	k.wantRules("")
}

// Where addresses are translated, the server is named the one that stands for the client's.
func TestFTPTranslated(t *testing.T) {
	k := ftpLoggedIn(t, Policy{Ends: ftpEnds4})
	k.outside = netip.MustParseAddrPort("198.51.100.7:2049")
	k.c("PORT 192,0,2,2,4,1").s("200 x").c("EPRT |1|192.0.2.2|1026|").s("200 x")
	k.want("200 x\r\n200 x\r\n", "PORT 198,51,100,7,8,1\r\nEPRT |1|198.51.100.7|2049|\r\n", "server 1025", "server 1026")
}

// A client does not make its follower keep more than is allowed, nor answer for ever.
func TestFTPBounds(t *testing.T) {
	k := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("NOOP").feed(Client, []byte(strings.Repeat("NOOP\r\n", 2700)))
	k.wantRules("")
	k.feed(Client, []byte(strings.Repeat("NOOP\r\n", 100)))
	k.wantRules("state")
	k = ftpLoggedIn(t, Policy{Ends: ftpEnds4}).feed(Client, []byte(strings.Repeat("NOOP\r\n", 1<<16)))
	k.wantRules("state")
	k = ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("RETR x").s("150 x").feed(Client, []byte(strings.Repeat("STAT\r\n", 100)))
	if got := strings.Count(k.heard[Server].String(), "STAT"); got != ftpWaiting-1 {
		t.Errorf("%d commands were sent while data flows, want %d", got, ftpWaiting-1)
	}

	k = ftpLoggedIn(t, Policy{Ends: ftpEnds4}).feed(Client, []byte(strings.Repeat("LPSV\r\n", 1<<16)))
	if len(k.rules) != ftpRefusals || k.end == nil || k.end.Rule != "state" {
		t.Errorf("%d refusals in a row, then %v", len(k.rules), k.end)
	}
	k = ftpLoggedIn(t, Policy{Ends: ftpEnds4})
	for range 10 * ftpRefusals {
		k.c("LPSV", "NOOP").s("200 x")
	}
	k.wantRules(append(slices.Repeat([]string{"verb"}, 10*ftpRefusals), "")...)
}

// What a server says at length is passed on in few steps, and not kept.
func TestFTPLongReplies(t *testing.T) {
	f := ftpLoggedIn(t, Policy{Ends: ftpEnds4}).c("STAT /").s("213-x").f
	listing := []byte(strings.Repeat("x\r\n", 1<<15))
	allocations := testing.AllocsPerRun(10, func() {
		if steps, err := f.Follow(Server, listing); err != nil || len(steps) != 1 || string(steps[0].Data) != string(listing) {
			t.Fatalf("%d steps, %v", len(steps), err)
		}
	})
	if allocations > 50 {
		t.Errorf("%v allocations for %d lines", allocations, 1<<15)
	}
	if _, err := f.Follow(Server, []byte("213 x\r\n")); err != nil {
		t.Fatal(err)
	}
	if n := cap(f.(*ftpFollower).out); n > 1<<13 {
		t.Errorf("%d bytes are kept", n)
	}
}

// Names and passwords do not get into the log.
func TestFTPWhy(t *testing.T) {
	for _, in := range []string{"PASS s3cret\rx", "PASS s3cret\x00", "s3cret-s3cret", "POST s3cret", strings.Repeat("s3cret ", 1000), "PORT s3cret", "EPRT |s3cret|", "EPSV s3cret", "AUTH s3cret"} {
		k := ftpLoggedIn(t, Policy{Ends: ftpEnds4, RefuseUnreadable: true})
		steps, err := k.f.Follow(Client, []byte(in+"\r\n"))
		said := fmt.Sprint(err)
		for _, s := range steps {
			said += string(s.Data) + fmt.Sprint(s.Refused)
		}
		if strings.Contains(said, "s3cret") || len(said) > 500 {
			t.Errorf("%.40q: %s", in, said)
		}
	}
}
