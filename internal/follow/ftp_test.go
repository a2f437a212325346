package follow

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/wire/ftp"
)

// ftpEnds returns what a policy says of a client and a server at two addresses.
func ftpEnds(client, server string) [2]netip.AddrPort {
	return [2]netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(client), 50000), netip.AddrPortFrom(netip.MustParseAddr(server), ftp.Port)}
}

var (
	ftpEnds4 = ftpEnds("192.0.2.2", "192.0.2.1")
	ftpEnds6 = ftpEnds("2001:db8::2", "2001:db8::1")
)

// An ftpTalk is a control connection with a follower in it.
type ftpTalk struct {
	t testing.TB
	f Follower

	broken  bool // promises are not kept
	outside netip.AddrPort

	heard    [2]strings.Builder // what each side was sent
	said     [2]strings.Builder // what each side sent
	promises []Promise
	forgot   int
	rules    []string // of refusals
	end      *Refusal
}

func newFTPTalk(t testing.TB, p Policy) *ftpTalk { return &ftpTalk{t: t, f: NewFTP(p)} }

// ftpLoggedIn returns a talk of which nobody has heard anything since the client was logged in.
func ftpLoggedIn(t testing.TB, p Policy) *ftpTalk {
	k := newFTPTalk(t, p).s("220 x").c("USER a").s("331 x").c("PASS b").s("230 x")
	if k.end != nil || len(k.rules) > 0 {
		t.Fatalf("no login: %v %v", k.rules, k.end)
	}
	k.heard[Client].Reset()
	k.heard[Server].Reset()
	return k
}

// c and s let the client and the server send lines.
func (k *ftpTalk) c(lines ...string) *ftpTalk {
	return k.feed(Client, []byte(strings.Join(lines, "\r\n")+"\r\n"))
}
func (k *ftpTalk) s(lines ...string) *ftpTalk {
	return k.feed(Server, []byte(strings.Join(lines, "\r\n")+"\r\n"))
}

// feed lets a side send bytes, and holds the steps to what holds of all.
func (k *ftpTalk) feed(from Side, data []byte) *ftpTalk {
	k.t.Helper()
	data = bytes.Clone(data)
	k.said[from].Write(data)
	steps, err := k.f.Follow(from, data)
	if k.end != nil && (err == nil || len(steps) > 0) {
		k.t.Fatalf("after the end: %v, %v", steps, err)
	}
	for _, s := range steps {
		to, out := s.To, s.Data
		if s.Refused != nil {
			k.rules = append(k.rules, s.Refused.Rule)
		}
		if s.Forget {
			k.forgot++
		}
		if len(s.Promises) > 0 {
			p := s.Promises[0]
			if len(s.Promises) > 1 || !s.Forget || p.Protocol != 6 || !p.Once || p.Port < 1024 || p.By != s.To || len(s.Else) == 0 {
				k.t.Fatalf("a step of promises %+v", s)
			}
			if k.outside.IsValid() && s.Rewrite != nil {
				out = s.Rewrite(k.outside)
			}
			if k.broken {
				to, out = s.ElseTo, s.Else
			} else {
				k.promises = append(k.promises, p)
			}
		}
		k.heard[to].Write(out)
	}
	clear(data) // which the follower may not have kept
	if err != nil {
		r, ok := err.(*Refusal)
		if !ok {
			k.t.Fatalf("an error that is no refusal: %v", err)
		}
		k.end = r
	}
	return k
}

// want holds what was heard and promised since the talk began to what is expected. Promises are
// "client 1024", "server 1024".
func (k *ftpTalk) want(client, server string, promises ...string) {
	k.t.Helper()
	if got := k.heard[Client].String(); got != client {
		k.t.Errorf("the client was sent %q, want %q", got, client)
	}
	if got := k.heard[Server].String(); got != server {
		k.t.Errorf("the server was sent %q, want %q", got, server)
	}
	if got := k.promised(); !slices.Equal(got, promises) {
		k.t.Errorf("promised were %q, want %q", got, promises)
	}
}

func (k *ftpTalk) promised() []string {
	var all []string
	for _, p := range k.promises {
		all = append(all, fmt.Sprint(p.By, " ", p.Port))
	}
	return all
}

// wantRules holds the rules of refusals, and that of the end, to what is expected; the last of rules is that of the end, "" if it has not ended.
func (k *ftpTalk) wantRules(rules ...string) {
	k.t.Helper()
	got := slices.Clone(k.rules)
	if k.end != nil {
		got = append(got, k.end.Rule)
	} else {
		got = append(got, "")
	}
	if !slices.Equal(got, rules) {
		k.t.Errorf("refused by %q (%v), want %q", got, k.end, rules)
	}
}

// An ftpSegment is what a side sent at once.
type ftpSegment struct {
	from Side
	data []byte
}

// An ftpConversation is one of testdata/ftp.
type ftpConversation struct {
	name     string
	ends     [2]netip.AddrPort
	segments []ftpSegment
	promises []string
}

// ftpConversations reads those that were recorded.
func ftpConversations(t testing.TB) []ftpConversation {
	t.Helper()
	files, err := filepath.Glob("testdata/ftp/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	var all []ftpConversation
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for block := range strings.SplitSeq(string(text), "\n\n# ") {
			name, lines, _ := strings.Cut(block, "\n")
			c := ftpConversation{name: name}
			for line := range strings.Lines(lines) {
				kind, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
				switch kind {
				case "ends":
					client, server, _ := strings.Cut(rest, " ")
					c.ends = ftpEnds(client, server)
				case "C", "S":
					data, err := strconv.Unquote(rest)
					if err != nil {
						t.Fatalf("%s: %s: %v", file, line, err)
					}
					c.segments = append(c.segments, ftpSegment{map[string]Side{"C": Client, "S": Server}[kind], []byte(data)})
				case "P":
					c.promises = append(c.promises, rest)
				}
			}
			if len(c.segments) > 0 {
				all = append(all, c)
			}
		}
	}
	if len(all) < 35 {
		t.Fatalf("%d conversations, want at least 35", len(all))
	}
	return all
}

// whole returns what a side sent.
func (c *ftpConversation) whole(from Side) []byte {
	var all []byte
	for _, s := range c.segments {
		if s.from == from {
			all = append(all, s.data...)
		}
	}
	return all
}

var (
	words227 = regexp.MustCompile(`(?m)^227 .*\((.*)\).*\r\n`)
	words229 = regexp.MustCompile(`(?m)^229 .*(\(.*\)).*\r\n`)
)

// ftpPassed returns what the other side is to be sent of what one sent: the same but for the words of replies
// with addresses, and telnet.
func ftpPassed(from Side, b []byte) string {
	if from == Server {
		b = words227.ReplaceAll(b, []byte("227 Entering Passive Mode ($1).\r\n"))
		b = words229.ReplaceAll(b, []byte("229 Entering Extended Passive Mode $1\r\n"))
		return string(b)
	}
	return strings.ReplaceAll(string(b), "\xff\xf4\xff\xf2", "")
}

func TestFTPConversations(t *testing.T) {
	for _, c := range ftpConversations(t) {
		t.Run(c.name, func(t *testing.T) {
			k := newFTPTalk(t, Policy{Ends: c.ends})
			for _, s := range c.segments {
				k.feed(s.from, s.data)
			}
			k.want(ftpPassed(Server, c.whole(Server)), ftpPassed(Client, c.whole(Client)), c.promises...)
			if rules := strings.Join(k.rules, " "); k.end != nil || rules != "" && rules != "unreadable" {
				t.Errorf("refused by %s, %v", rules, k.end)
			}
		})
	}
}

// An ftpScript is a server that answers each command as that of a conversation did.
type ftpScript struct {
	greeting []byte
	answers  [][]byte // to each command in their order
}

// newFTPScript takes replies apart: each is to the oldest command without a final reply.
func newFTPScript(t *testing.T, c *ftpConversation) ftpScript {
	t.Helper()
	s := ftpScript{answers: make([][]byte, bytes.Count(c.whole(Client), []byte("\r\n")))}
	var r ftp.ReplyReader
	at := -1
	for line := range bytes.Lines(c.whole(Server)) {
		l, err := r.Line(bytes.TrimSuffix(line, []byte("\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		if at < 0 {
			s.greeting = append(s.greeting, line...)
		} else {
			s.answers[at] = append(s.answers[at], line...)
		}
		if l.Last && !l.Code.Preliminary() {
			at++
		}
	}
	return s
}

// However clients and servers cut what they send, and however far a client runs ahead of the
// replies, the same is sent on and promised.
func TestFTPSegments(t *testing.T) {
	all := slices.DeleteFunc(ftpConversations(t), func(c ftpConversation) bool {
		return bytes.Contains(c.whole(Client), []byte("AUTH TLS")) // which no client runs ahead of
	})
	rapid.Check(t, func(r *rapid.T) {
		c := rapid.SampledFrom(all).Draw(r, "conversation")
		server := newFTPScript(t, &c)
		k := newFTPTalk(t, Policy{Ends: c.ends})
		left := [2][]byte{c.whole(Client), server.greeting}
		asked, heard := 0, 0
		for len(left[Client]) > 0 || len(left[Server]) > 0 {
			from := Side(rapid.IntRange(0, 1).Draw(r, "side"))
			if len(left[from]) == 0 {
				from = from.Other()
			}
			n := rapid.IntRange(1, min(len(left[from]), 200)).Draw(r, "bytes")
			k.feed(from, left[from][:n])
			left[from] = left[from][n:]
			got := k.heard[Server].String()
			for ; strings.Contains(got[heard:], "\r\n"); asked++ {
				heard += strings.Index(got[heard:], "\r\n") + 2
				left[Server] = append(slices.Clip(left[Server]), server.answers[asked]...)
			}
		}
		want := string(server.greeting) + string(bytes.Join(server.answers, nil))
		if k.end != nil || k.heard[Client].String() != ftpPassed(Server, []byte(want)) || k.heard[Server].String() != ftpPassed(Client, c.whole(Client)) || !slices.Equal(k.promised(), c.promises) {
			r.Fatalf("%s: ended by %v; promised %q, want %q; the client was sent %q, want %q; the server was sent %q", c.name, k.end, k.promised(), c.promises,
				k.heard[Client].String(), ftpPassed(Server, []byte(want)), k.heard[Server].String())
		}
	})
}

var (
	loginLine    = regexp.MustCompile(`(?m)^23[02] `)
	passiveLine  = regexp.MustCompile(`(?m)^22[79] .*\(`)
	activeLine   = regexp.MustCompile(`(?i)\b(PORT|EPRT) `)
	harmlessLine = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,7}( [^\r\n\x00\xff]*)?\r\n`)
)

// audit holds what came of any bytes to the bounds of what may be promised, told by what was said alone.
func (k *ftpTalk) audit(fail func(string, ...any)) {
	client, server := k.said[Client].String(), k.said[Server].String()
	by := [2]int{}
	for _, p := range k.promises {
		by[p.By]++
	}
	if n := len(passiveLine.FindAllString(server, -1)); by[Client] > n {
		fail("%d passive promises of %d replies: %q", by[Client], n, server)
	}
	if n := len(activeLine.FindAllString(client, -1)); by[Server] > n {
		fail("%d active promises of %d commands: %q", by[Server], n, client)
	}
	if len(k.promises) > 0 && !loginLine.MatchString(server) {
		fail("promises %+v without a login: %q", k.promises, server)
	}
	if f := k.f.(*ftpFollower); cap(f.held) > 2*ftpHeld || cap(f.waiting) > ftpWaiting {
		fail("%d bytes and %d commands are kept", cap(f.held), cap(f.waiting))
	} else if f.unread {
		return
	}
	for rest := k.heard[Server].String(); rest != ""; {
		line := harmlessLine.FindString(rest)
		if line == "" {
			fail("the server was sent %q", rest)
			return
		}
		rest = rest[len(line):]
	}
	if sent := k.heard[Client].String(); sent != "" && !strings.HasSuffix(sent, "\r\n") || strings.ContainsAny(strings.ReplaceAll(sent, "\r\n", ""), "\r\n\x00") {
		fail("the client was sent %q", sent)
	}
}

// Whatever lines come in whatever order, no more is promised than was asked for and named.
func TestFTPPromises(t *testing.T) {
	lines := [2][]string{
		{"USER a", "PASS b", "PASV", "EPSV", "EPSV ALL", "PORT 192,0,2,2,4,1", "PORT 192,0,2,9,4,1", "EPRT |1|192.0.2.2|1025|", "RETR x", "STAT", "NOOP", "ABOR",
			"\xff\xf4\xff\xf2ABOR", "REIN", "AUTH TLS", "QUIT", "LPSV", "XYZ", "LIST\rPASV", "PASV x", "PASV\nPASV"},
		{"220 x", "230 x", "331 x", "227 x (192,0,2,1,4,1)", "227-x (192,0,2,1,4,1)", "227 x (192,0,2,1,0,21)", "229 x (|||1025|)", "229-x (|||1025|)", "200 x", "150 x", "226 x", "225 x",
			"425 x", "550 227 (192,0,2,1,4,1)", "211-x", "211 x", "234 x", "421 x", " 227 (192,0,2,1,4,1)", "200"},
	}
	exchanges := [][2]string{{"PASV", "227 x (192,0,2,1,4,1)"}, {"EPSV", "229 x (|||1025|)"}, {"PORT 192,0,2,2,4,1", "200 x"}, {"RETR x", "150 x\r\n226 x"}}
	promised := 0
	rapid.Check(t, func(r *rapid.T) {
		k := newFTPTalk(t, Policy{Ends: ftpEnds4, RefuseUnreadable: rapid.Bool().Draw(r, "refuse")})
		if rapid.Bool().Draw(r, "logged in") {
			k.s("220 x").c("USER a").s("230 x")
		}
		k.broken = rapid.Bool().Draw(r, "broken")
		for range rapid.IntRange(1, 30).Draw(r, "turns") {
			if rapid.Bool().Draw(r, "as it should be") {
				e := rapid.SampledFrom(exchanges).Draw(r, "exchange")
				k.c(e[Client]).s(e[Server])
				continue
			}
			from := Side(rapid.IntRange(0, 1).Draw(r, "side"))
			line := rapid.SampledFrom(lines[from]).Draw(r, "line") + "\r\n"
			cut := rapid.IntRange(0, len(line)).Draw(r, "cut")
			k.feed(from, []byte(line[:cut])).feed(from, []byte(line[cut:]))
		}
		k.audit(r.Fatalf)
		promised += len(k.promises)
	})
	if promised == 0 {
		t.Error("nothing was ever promised")
	}
}

func FuzzFTP(f *testing.F) {
	for _, c := range ftpConversations(f) {
		var b []byte
		for _, s := range c.segments {
			for piece := range slices.Chunk(s.data, 127) {
				b = append(append(b, byte(s.from)<<7|byte(len(piece))), piece...)
			}
		}
		f.Add(b, c.ends == ftpEnds6)
	}
	// A byte of side and length, then as many bytes that the side sends.
	f.Fuzz(func(t *testing.T, b []byte, six bool) {
		p := Policy{Ends: ftpEnds4}
		if six {
			p.Ends = ftpEnds6
		}
		k := newFTPTalk(t, p)
		for len(b) > 0 {
			n := min(int(b[0]&0x7f), len(b)-1)
			k.feed(Side(b[0]>>7), b[1:1+n])
			b = b[1+n:]
		}
		k.audit(t.Fatalf)
	})
}

// What a promise looks like, and what is sent where it cannot be kept.
func TestFTPSteps(t *testing.T) {
	for _, tt := range []struct {
		name            string
		ends            [2]netip.AddrPort
		command, answer string
		at              Side // what the step of the promise follows
		want            Step
		rewritten       string
	}{
		{"PASV", ftpEnds4, "PASV", "227 Entering Passive Mode (192,0,2,1,156,65)", Server, Step{
			To: Client, Data: []byte("227 Entering Passive Mode (192,0,2,1,156,65).\r\n"), Forget: true,
			Promises: []Promise{{By: Client, Protocol: 6, Port: 40001, Once: true, For: "ftp data (passive)"}},
			Else:     []byte("425 Can't open data connection.\r\n"), ElseTo: Client,
		}, ""},
		{"EPSV", ftpEnds6, "EPSV 2", "229 x (|||40001|)", Server, Step{
			To: Client, Data: []byte("229 Entering Extended Passive Mode (|||40001|)\r\n"), Forget: true,
			Promises: []Promise{{By: Client, Protocol: 6, Port: 40001, Once: true, For: "ftp data (passive)"}},
			Else:     []byte("425 Can't open data connection.\r\n"), ElseTo: Client,
		}, ""},
		{"PORT", ftpEnds4, "port 192,0,2,2,156,65", "200 x", Client, Step{
			To: Server, Data: []byte("PORT 192,0,2,2,156,65\r\n"), Forget: true,
			Promises: []Promise{{By: Server, Protocol: 6, Port: 40001, Once: true, For: "ftp data (active)"}},
			Else:     []byte("ABOR\r\n"), ElseTo: Server,
		}, "PORT 198,51,100,7,4,1\r\n"},
		{"EPRT", ftpEnds6, "eprt !2!2001:DB8::2!40001!", "200 x", Client, Step{
			To: Server, Data: []byte("EPRT |2|2001:db8::2|40001|\r\n"), Forget: true,
			Promises: []Promise{{By: Server, Protocol: 6, Port: 40001, Once: true, For: "ftp data (active)"}},
			Else:     []byte("ABOR\r\n"), ElseTo: Server,
		}, "EPRT |1|198.51.100.7|1025|\r\n"},
	} {
		k := ftpLoggedIn(t, Policy{Ends: tt.ends})
		steps := [2][]Step{}
		for side, line := range []string{tt.command, tt.answer} {
			got, err := k.f.Follow(Side(side), []byte(line+"\r\n"))
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			for _, s := range got {
				s.Data = bytes.Clone(s.Data)
				steps[side] = append(steps[side], s)
			}
		}
		if len(steps[tt.at]) != 1 || len(steps[tt.at.Other()]) != 1 || len(steps[tt.at.Other()][0].Promises) > 0 {
			t.Fatalf("%s: steps %+v", tt.name, steps)
		}
		got := steps[tt.at][0]
		if (got.Rewrite != nil) != (tt.rewritten != "") || got.Rewrite != nil && string(got.Rewrite(netip.MustParseAddrPort("198.51.100.7:1025"))) != tt.rewritten {
			t.Errorf("%s: Rewrite is not to %q", tt.name, tt.rewritten)
		}
		got.Rewrite = nil
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.name, diff)
		}
	}
}
