package ftp

import (
	"bytes"
	"strings"
	"testing"
)

var replies = []struct {
	name  string
	reply string
	want  string // as AppendReplyLine writes it; empty: the same
	lasts string // a letter for each line: L ends a reply
}{
	{"RFC 959 4.2: one line", "200 Command okay.\r\n", "", "L"},
	{"no text", "200 \r\n", "", "L"},
	{"no blank either", "200\r\n", "200 \r\n", "L"},
	{"RFC 959 4.2: several lines", "123-First line\r\nSecond line\r\n  234 A line beginning with numbers\r\n123 The last line\r\n", "", "...L"},
	{"every line with the code", "220-a\r\n220-b\r\n220 c\r\n", "", "..L"},
	{"pure-ftpd 1.0.50: end of a transfer", "226-File successfully transferred\r\n226 0.000 seconds (measured here), 154.57 Kbytes per second\r\n", "", ".L"},
	{"RFC 2389 3.2: FEAT", "211-Extensions supported:\r\n EPSV\r\n REST STREAM\r\n211 End\r\n", "", "...L"},
	{"another code within, which ends it for some", "211-Status\r\n227 Entering Passive Mode (192,0,2,1,4,1).\r\n211 End\r\n",
		"211-Status\r\n 227 Entering Passive Mode (192,0,2,1,4,1).\r\n211 End\r\n", "..L"},
	{"another code and a hyphen within", "211-Status\r\n227-x\r\n211 End\r\n", "211-Status\r\n 227-x\r\n211 End\r\n", "..L"},
	{"its code alone within", "211-Status\r\n211\r\n211 End\r\n", "211-Status\r\n 211\r\n211 End\r\n", "..L"},
	{"a number within", "211-Status\r\n2026-11-30 file\r\n211 End\r\n", "211-Status\r\n 2026-11-30 file\r\n211 End\r\n", "..L"},
	{"empty line within", "211-Status\r\n\r\n211 End\r\n", "", "..L"},
	{"RFC 2228 5.2: a protected reply", "631 AAAA\r\n", "", "L"},
}

func TestReplyReader(t *testing.T) {
	for _, tt := range replies {
		var r ReplyReader
		var got []byte
		lasts := ""
		for line := range strings.SplitSeq(strings.TrimSuffix(tt.reply, "\r\n"), "\r\n") {
			l, err := r.Line([]byte(line))
			if err != nil {
				t.Fatalf("%s: %q: %v", tt.name, line, err)
			}
			if l.First != (lasts == "") || l.Last == r.Partial() {
				t.Errorf("%s: %q: %+v, and Partial() = %t", tt.name, line, l, r.Partial())
			}
			got = AppendReplyLine(got, l)
			lasts += map[bool]string{true: "L", false: "."}[l.Last]
		}
		want := tt.want
		if want == "" {
			want = tt.reply
		}
		if string(got) != want || lasts != tt.lasts {
			t.Errorf("%s: %q is written %q, %s, want %q, %s", tt.name, tt.reply, got, lasts, want, tt.lasts)
		}
	}
	for name, line := range map[string]string{
		"empty": "", "two digits": "22", "no digits": "HTTP/1.1 200 OK", "a blank first": " 220 x", "SSH": "SSH-2.0-x",
		"no blank": "2200 x", "700": "700 x", "000": "000 x", "a tab": "220\tx", "a sign": "+20 x",
	} {
		var r ReplyReader
		if l, err := r.Line([]byte(line)); err == nil {
			t.Errorf("%s: Line(%q) = %+v, want an error", name, line, l)
		}
	}
}

func FuzzReply(f *testing.F) {
	for _, tt := range replies {
		f.Add([]byte(tt.reply))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		var r, again ReplyReader
		for line := range bytes.SplitSeq(stream, []byte("\r\n")) {
			l, err := r.Line(line)
			if err != nil {
				return
			}
			written := AppendReplyLine(nil, l)
			written = written[:len(written)-2]
			got, err := again.Line(written)
			if err != nil || got.Code != l.Code || got.First != l.First || got.Last != l.Last || !bytes.Equal(bytes.TrimPrefix(got.Text, []byte(" ")), bytes.TrimPrefix(l.Text, []byte(" "))) {
				t.Fatalf("%q is %+v, written as %q, which is %+v, %v", line, l, written, got, err)
			}
			// Whoever takes any code and a blank for the end agrees.
			if ends := len(written) > 3 && isDigit(written[0]) && isDigit(written[1]) && isDigit(written[2]) && written[3] == ' '; ends != l.Last {
				t.Fatalf("%q is %+v, and written as %q", line, l, written)
			}
		}
	})
}
