package follow

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

// ends returns the addresses of a client and a server.
func ends(client, server string) [2]netip.AddrPort {
	return [2]netip.AddrPort{netip.MustParseAddrPort(client), netip.MustParseAddrPort(server)}
}

// A said is what one side sent.
type said struct {
	by   Side
	data []byte
}

// followAll lets a follower read a conversation, and returns the steps until it ends.
func followAll(f Follower, talk []said) ([]Step, error) {
	var steps []Step
	for _, s := range talk {
		got, err := f.Follow(s.by, s.data)
		steps = append(steps, got...)
		if err != nil {
			return steps, err
		}
	}
	return steps, nil
}

// sent returns all that a side was sent, as if every promise was kept.
func sent(steps []Step, to Side) []byte {
	var b []byte
	for _, s := range steps {
		if s.To == to {
			b = append(b, s.Data...)
		}
	}
	return b
}

// promised returns all promises, in words.
func promised(steps []Step) []string {
	var all []string
	for _, s := range steps {
		for _, p := range s.Promises {
			all = append(all, promiseText(p))
		}
	}
	return all
}

func promiseText(p Promise) string {
	once := ""
	if p.Once {
		once = " once"
	}
	return fmt.Sprintf("%v %s%s: %s", p.By, portName(p.Protocol, p.Port), once, p.For)
}

// rules returns the rule of each refusal, that which ended the conversation too.
func rules(steps []Step, err error) []string {
	var all []string
	for _, s := range steps {
		if s.Refused != nil {
			all = append(all, s.Refused.Rule)
		}
	}
	var r *Refusal
	if errors.As(err, &r) {
		all = append(all, r.Rule+", end")
	}
	return all
}

// text returns all that is in steps, for comparison. What is sent to one side one after the other counts as one, since
// a stream has no pieces.
func text(steps []Step, err error) string {
	var b bytes.Buffer
	for _, s := range steps {
		fmt.Fprintf(&b, "%v %x else %v %x", s.To, s.Data, s.ElseTo, s.Else)
		for _, p := range s.Promises {
			fmt.Fprintf(&b, " %+v", p)
		}
		if s.Refused != nil {
			fmt.Fprintf(&b, " refused: %v", s.Refused)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%v", err)
	return b.String()
}

// checkSegments holds that steps do not depend on how a conversation is cut into pieces: each side's turn is cut anew.
func checkSegments(t *testing.T, make func() Follower, talk []said) {
	t.Helper()
	steps, err := followAll(make(), talk)
	want := text(steps, err)
	var bytewise []said
	for _, s := range talk {
		for i := range s.data {
			bytewise = append(bytewise, said{s.by, s.data[i : i+1]})
		}
	}
	steps, err = followAll(make(), bytewise)
	if got := text(steps, err); got != want {
		t.Fatalf("byte by byte:\n%s\nwant\n%s", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		var cut []said
		for _, s := range talk {
			for b := s.data; len(b) > 0; {
				n := rapid.IntRange(1, len(b)).Draw(t, "n")
				cut = append(cut, said{s.by, b[:n]})
				b = b[n:]
			}
		}
		steps, err := followAll(make(), cut)
		if got := text(steps, err); got != want {
			t.Fatalf("cut:\n%s\nwant\n%s", got, want)
		}
	})
}

// merged returns a conversation in which what a side sent in one turn is one piece.
func merged(talk []said) []said {
	var all []said
	for _, s := range talk {
		if n := len(all); n > 0 && all[n-1].by == s.by {
			all[n-1].data = append(bytes.Clone(all[n-1].data), s.data...)
			continue
		}
		all = append(all, s)
	}
	return all
}

// script reads a two-sided conversation out of arbitrary bytes: side and length, then what is said.
func script(b []byte) []said {
	var talk []said
	for len(b) >= 3 {
		n := min(int(b[1])<<8|int(b[2]), len(b)-3)
		talk = append(talk, said{Side(b[0] & 1), b[3 : 3+n]})
		b = b[3+n:]
	}
	return talk
}

// asScript is the inverse of script.
func asScript(talk []said) []byte {
	var b []byte
	for _, s := range talk {
		for d := s.data; ; {
			n := min(len(d), 0xffff)
			b = append(b, byte(s.by), byte(n>>8), byte(n))
			b = append(b, d[:n]...)
			if d = d[n:]; len(d) == 0 {
				break
			}
		}
	}
	return b
}

// only allows some interfaces, and what has their UUID or program.
func only(allowed ...endpoint.Interface) func(endpoint.Interface) bool {
	return func(i endpoint.Interface) bool {
		for _, a := range allowed {
			if a.UUID == i.UUID && a.Program == i.Program {
				return true
			}
		}
		return false
	}
}

// A channel is quiet when all that was asked is answered and nothing waits.
func TestQuiet(t *testing.T) {
	line := func(by Side, s string) said { return said{by, []byte(s)} }
	ftpIn := func(more ...said) []said {
		return append([]said{line(Server, "220 x\r\n"), line(Client, "USER a\r\n"), line(Server, "230 x\r\n")}, more...)
	}
	for _, tt := range []struct {
		name     string
		follower Follower
		talk     []said
		want     bool
	}{
		{"ftp: no greeting yet", NewFTP(Policy{Ends: ftpEnds4}), nil, false},
		{"ftp: greeted", NewFTP(Policy{Ends: ftpEnds4}), []said{line(Server, "220 x\r\n")}, true},
		{"ftp: a command without a reply", NewFTP(Policy{Ends: ftpEnds4}), ftpIn(line(Client, "NOOP\r\n")), false},
		{"ftp: all answered", NewFTP(Policy{Ends: ftpEnds4}), ftpIn(line(Client, "NOOP\r\n"), line(Server, "200 x\r\n")), true},
		{"ftp: answered by the gateway", NewFTP(Policy{Ends: ftpEnds4}), ftpIn(line(Client, "LPSV\r\n")), true},
		{"ftp: data flows", NewFTP(Policy{Ends: ftpEnds4}), ftpIn(line(Client, "RETR x\r\n"), line(Server, "150 x\r\n")), false},
		{"ftp: commands wait for the rest of what the server says", NewFTP(Policy{Ends: ftpEnds4}), ftpIn(line(Client, "NOOP\r\nPWD\r\n"), line(Server, "200 x\r\n4")), false},
		{"ftp: a command that was read waits for it", NewFTP(Policy{Ends: ftpEnds4}), ftpIn(line(Client, "RETR x\r\nPWD\r\n"), line(Server, "226 x\r\n4")), false},
		{"ftp: encrypted", NewFTP(Policy{Ends: ftpEnds4}), ftpIn(line(Client, "AUTH TLS\r\n"), line(Server, "234 x\r\n")), false},
		{"epm: a bind without an answer", NewEPM(samrOnly), plain.open()[:1], false},
		{"epm: bound", NewEPM(samrOnly), plain.open(), true},
		{"epm: a request without an answer", NewEPM(samrOnly), plain.open(plain.ask(2, samr)), false},
		{"epm: all answered", NewEPM(samrOnly), plain.open(plain.ask(2, samr), plain.tell(2, samrTold)), true},
		{"portmapper: a call without an answer", NewPortmapper(Policy{Ends: oncEnds}, false), []said{{Client, getPort(7, nfs, 17)}}, false},
		{"portmapper: all answered", NewPortmapper(Policy{Ends: oncEnds}, false), []said{{Client, getPort(7, nfs, 17)}, {Server, portReply(7, 2049)}}, true},
		{"tftp: a request without an answer", NewTFTP(tftpPolicy), []said{line(Client, tftpRead)}, false},
		{"tftp: all answered", NewTFTP(tftpPolicy), []said{line(Client, tftpRead), line(Server, tftpNotFound)}, true},
	} {
		if _, err := followAll(tt.follower, tt.talk); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := tt.follower.Quiet(); got != tt.want {
			t.Errorf("%s: quiet is %v, want %v", tt.name, got, tt.want)
		}
	}
}

// What a client of FTP sent and the server was not sent is known to wait, until the server has it.
func TestFTPWaiting(t *testing.T) {
	k := ftpLoggedIn(t, Policy{Ends: ftpEnds4})
	waits := func(want bool, when string) {
		t.Helper()
		if got := k.f.(*ftpFollower).Waiting(); got != want {
			t.Errorf("%s something waits: %v, want %v", when, got, want)
		}
	}
	waits(false, "after the login")
	k.c("NOOP")
	waits(false, "after a command that was sent on")
	k.c("RETR x")
	waits(true, "while the server owes a reply")
	k.s("200 x")
	waits(false, "after the reply")
	k.c("PWD")
	waits(true, "while data flows, with a command that was read,")
	k.s("226 x")
	waits(false, "after the transfer")
}
