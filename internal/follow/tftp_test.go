package follow

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/wire/tftp"
)

var tftpPolicy = Policy{Ends: ends("192.0.2.20:40000", "10.0.0.5:69")}

// Packets built from RFC 1350, section 5, and RFC 2347.
const (
	tftpRead     = "\x00\x01pxelinux.0\x00octet\x00"
	tftpOptions  = "\x00\x01pxelinux.0\x00octet\x00tsize\x000\x00blksize\x001468\x00windowsize\x004\x00"
	tftpWrite    = "\x00\x02config\x00netascii\x00"
	tftpNotFound = "\x00\x05\x00\x01File not found\x00"
)

const tftpPromise = "server port 40000/udp once: tftp data"

func TestTFTP(t *testing.T) {
	for _, data := range []string{tftpRead, tftpOptions, tftpWrite, "\x00\x01f\x00OCTET\x00", "\x00\x01f\x00octet\x00rollover\x000\x00"} {
		steps, err := NewTFTP(tftpPolicy).Follow(Client, []byte(data))
		if err != nil || len(steps) != 1 || steps[0].To != Server || string(steps[0].Data) != data || steps[0].Rewrite != nil || steps[0].Refused != nil {
			t.Errorf("%q: steps %+v, %v, want it sent to the server", data, steps, err)
			continue
		}
		if diff := cmp.Diff([]string{tftpPromise}, promised(steps)); diff != "" {
			t.Errorf("%q: promises (-want +got):\n%s", data, diff)
		}
		if e, err := tftp.ParseError(steps[0].Else); err != nil || e.Code != tftp.CodeAccess || steps[0].ElseTo != Client {
			t.Errorf("%q: Else is %q, want an access violation for the client", data, steps[0].Else)
		}
	}
}

// A client that hears nothing asks again, and is promised again.
func TestTFTPAgain(t *testing.T) {
	f := NewTFTP(tftpPolicy)
	steps, err := followAll(f, []said{{Client, []byte(tftpRead)}, {Client, []byte(tftpRead)}, {Server, []byte(tftpNotFound)}})
	if err != nil || string(sent(steps, Server)) != tftpRead+tftpRead || string(sent(steps, Client)) != tftpNotFound {
		t.Errorf("steps %s, want both requests and the answer", text(steps, err))
	}
	if got := promised(steps); !slices.Equal(got, []string{tftpPromise, tftpPromise}) {
		t.Errorf("promises %q, want one for each request", got)
	}
}

func TestTFTPRefused(t *testing.T) {
	none := tftp.ErrorCode(99)
	for _, tt := range []struct {
		name   string
		data   string
		rule   string
		answer tftp.ErrorCode // none: silence
	}{
		{"empty", "", "state", none},
		{"DATA to the port of requests", "\x00\x03\x00\x01abc", "state", none},
		{"ACK to the port of requests", "\x00\x04\x00\x00", "state", none},
		{"ERROR to the port of requests, which nobody answers", tftpNotFound, "state", none},
		{"OACK to the port of requests", "\x00\x06tsize\x001\x00", "state", none},
		{"another opcode", "\x00\x07a\x00octet\x00", "state", none},
		{"name that does not end", "\x00\x01" + strings.Repeat("a", 300), "syntax", none},
		{"request of 600 bytes", "\x00\x01" + strings.Repeat("a", 591) + "\x00octet\x00", "syntax", none},
		{"bytes after the mode", tftpRead + "x", "syntax", none},
		{"no name", "\x00\x01\x00octet\x00", "syntax", none},
		{"unknown mode", "\x00\x01f\x00image\x00", "syntax", tftp.CodeIllegal},
		{"option twice", "\x00\x01f\x00octet\x00tsize\x000\x00TSIZE\x000\x00", "syntax", tftp.CodeIllegal},
		{"blocks of 7 bytes", "\x00\x01f\x00octet\x00blksize\x007\x00", "syntax", tftp.CodeOptionDenied},
		{"a window of none", "\x00\x01f\x00octet\x00windowsize\x000\x00", "syntax", tftp.CodeOptionDenied},
		{"to a group", "\x00\x01f\x00octet\x00multicast\x00\x00", "procedure", tftp.CodeOptionDenied},
	} {
		steps, err := NewTFTP(tftpPolicy).Follow(Client, []byte(tt.data))
		if err != nil || len(promised(steps)) != 0 || len(sent(steps, Server)) != 0 {
			t.Errorf("%s: steps %s, want nothing promised and nothing sent to the server", tt.name, text(steps, err))
		}
		if got := rules(steps, err); !slices.Equal(got, []string{tt.rule}) {
			t.Errorf("%s: refused by %q, want %q", tt.name, got, tt.rule)
		}
		e, err := tftp.ParseError(sent(steps, Client))
		if err != nil {
			e.Code = none
		}
		if e.Code != tt.answer {
			t.Errorf("%s: answered %v, want %v", tt.name, e.Code, tt.answer)
		}
	}
}

// From port 69 the client hears that the server refuses, once for what it asked, and nothing else.
func TestTFTPAnswers(t *testing.T) {
	for _, tt := range []struct {
		name string
		talk []said
		want []string
	}{
		{"an error that nobody asked for", []said{{Server, []byte(tftpNotFound)}}, []string{"state"}},
		{"two errors", []said{{Client, []byte(tftpRead)}, {Server, []byte(tftpNotFound)}, {Server, []byte(tftpNotFound)}}, []string{"state"}},
		{"data", []said{{Client, []byte(tftpRead)}, {Server, []byte("\x00\x03\x00\x01abc")}}, []string{"state"}},
		{"a request", []said{{Server, []byte(tftpRead)}}, []string{"state"}},
		{"an error that does not end", []said{{Client, []byte(tftpRead)}, {Server, []byte("\x00\x05\x00\x01a")}}, []string{"syntax"}},
		{"an error after a refused request", []said{{Client, []byte("\x00\x01f\x00image\x00")}, {Server, []byte(tftpNotFound)}}, []string{"syntax", "state"}},
	} {
		steps, err := followAll(NewTFTP(tftpPolicy), tt.talk)
		if got := rules(steps, err); !slices.Equal(got, tt.want) {
			t.Errorf("%s: refused by %q, want %q", tt.name, got, tt.want)
		}
		for _, s := range steps {
			if len(s.Promises) > 0 && s.To != Server {
				t.Errorf("%s: a server's datagram promises %q", tt.name, promised(steps))
			}
		}
	}
}

// Whatever is sent, nothing but the client's own port is promised, and by nobody but the server.
func TestTFTPPromisesOwnPort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.SampledFrom([]string{"octet", "blksize", "512", "tsize", "0", "multicast", "\x00"}), rapid.String())
		var talk []said
		for range rapid.IntRange(1, 4).Draw(t, "datagrams") {
			b := []byte{0, rapid.Byte().Draw(t, "op") & 7}
			for _, s := range rapid.SliceOfN(word, 1, 8).Draw(t, "strings") {
				b = append(append(b, s...), 0)
			}
			talk = append(talk, said{Side(rapid.IntRange(0, 1).Draw(t, "side")), b})
		}
		holdsTFTP(t, talk)
	})
}

// holdsTFTP fails unless a conversation keeps to what the follower is for.
func holdsTFTP(t interface{ Fatalf(string, ...any) }, talk []said) {
	steps, err := followAll(NewTFTP(tftpPolicy), talk)
	if err != nil {
		t.Fatalf("%v: %v", talk, err)
	}
	for _, s := range steps {
		if len(s.Promises) > 0 && (s.To != Server || len(s.Promises) != 1 || promiseText(s.Promises[0]) != tftpPromise) {
			t.Fatalf("%v: promises %q", talk, promised(steps))
		}
		if _, err := tftp.ParseRequest(s.Data); s.To == Server && len(s.Data) > 0 && err != nil {
			t.Fatalf("%v: the server is sent %q: %v", talk, s.Data, err)
		}
	}
}

func FuzzTFTP(f *testing.F) {
	for _, s := range []string{tftpRead, tftpOptions, tftpWrite} {
		f.Add(asScript([]said{{Client, []byte(s)}, {Server, []byte(tftpNotFound)}}))
	}
	f.Fuzz(func(t *testing.T, b []byte) { holdsTFTP(t, script(b)) })
}
