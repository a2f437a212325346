package ftp

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var commands = []struct {
	name string
	line string
	want Command
}{
	{"RFC 959 5.3.1: USER", "USER anonymous", Command{USER, []byte("anonymous"), true}},
	{"RFC 959 4.1.2: PASV", "PASV", Command{PASV, nil, false}},
	{"RFC 959 4.1.2: PORT", "PORT 192,0,2,1,4,1", Command{PORT, []byte("192,0,2,1,4,1"), true}},
	{"an empty password", "PASS ", Command{PASS, []byte{}, true}},
	{"RFC 2428 4: EPSV ALL", "EPSV ALL", Command{EPSV, []byte("ALL"), true}},
	{"RFC 3659 7: MLSD", "MLSD /tmp", Command{MLSD, []byte("/tmp"), true}},
	{"RFC 4217 4: AUTH", "AUTH TLS", Command{AUTH, []byte("TLS"), true}},
	{"RFC 2389 3: FEAT", "FEAT", Command{FEAT, nil, false}},
	{"a path with blanks at both ends", "RETR  a b ", Command{RETR, []byte(" a b "), true}},
	{"a path like a reply", "STAT 227 (192,0,2,1,4,1)", Command{STAT, []byte("227 (192,0,2,1,4,1)"), true}},
	{"a verb of no RFC", "XSHA512 f", Command{"XSHA512", []byte("f"), true}},
	{"a method of HTTP", "POST / HTTP/1.1", Command{"POST", []byte("/ HTTP/1.1"), true}},
}

func TestParseCommand(t *testing.T) {
	for _, tt := range commands {
		got, err := ParseCommand([]byte(tt.line))
		if err != nil || !cmp.Equal(got, tt.want) {
			t.Errorf("%s: ParseCommand(%q) = %+v, %v, want %+v", tt.name, tt.line, got, err, tt.want)
		}
		if got := string(AppendCommand(nil, tt.want)); got != tt.line+"\r\n" {
			t.Errorf("%s: AppendCommand(%+v) = %q, want %q", tt.name, tt.want, got, tt.line+"\r\n")
		}
		lower := strings.ToLower(string(tt.want.Verb)) + tt.line[len(tt.want.Verb):]
		if got, err := ParseCommand([]byte(lower)); err != nil || !cmp.Equal(got, tt.want) {
			t.Errorf("%s: ParseCommand(%q) = %+v, %v, want %+v", tt.name, lower, got, err, tt.want)
		}
	}
	for name, line := range map[string]string{
		"empty":                       "",
		"blank first":                 " PASV",
		"tab after the verb":          "PASV\t",
		"a field of HTTP":             "Host: example.com",
		"a hyphen":                    "X-A b",
		"a digit first":               "227 Entering Passive Mode (192,0,2,1,4,1)",
		"a verb of nine letters":      "ABCDEFGHI",
		"letters that are not ASCII":  "PÄSV",
		"JSON":                        `{"PORT": 1}`,
		"what capitals would make so": "ſITE",
	} {
		if got, err := ParseCommand([]byte(line)); err == nil {
			t.Errorf("%s: ParseCommand(%q) = %+v, want an error", name, line, got)
		}
	}
}

func TestVerbs(t *testing.T) {
	for v, want := range map[Verb]bool{"PASV": true, "CCC": true, "MLST": true, "pasv": false, "POST": false, "": false} {
		if got := v.Known(); got != want {
			t.Errorf("%q.Known() = %t, want %t", v, got, want)
		}
	}
	for v := range verbs {
		want := strings.Contains(" APPE LIST MLSD NLST RETR STOR STOU ", " "+string(v)+" ")
		if got := v.Transfers(); got != want {
			t.Errorf("%s.Transfers() = %t, want %t", v, got, want)
		}
	}
}

func FuzzCommand(f *testing.F) {
	for _, tt := range commands {
		f.Add([]byte(tt.line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		c, err := ParseCommand(line)
		if err != nil {
			return
		}
		again := AppendCommand(nil, c)
		got, err := ParseCommand(again[:len(again)-2])
		if err != nil || !cmp.Equal(got, c) || len(again) != len(line)+2 {
			t.Errorf("%q is %+v, written as %q, which is %+v, %v", line, c, again, got, err)
		}
	})
}
