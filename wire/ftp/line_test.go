package ftp

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// readLines feeds a stream to a reader in pieces of at most n bytes, and returns the lines, those
// that a signal came before with "! ".
func readLines(stream []byte, n int) (lines []string, err error) {
	var r LineReader
	for piece := range slices.Chunk(stream, n) {
		piece = bytes.Clone(piece)
		for rest := piece; len(rest) > 0; {
			used, line, err := r.Feed(rest)
			if err != nil {
				return lines, err
			}
			rest = rest[used:]
			if line != nil {
				if slices.ContainsFunc(line, func(c byte) bool { return c == '\r' || c == '\n' || c == 0 || c == 0xff }) || len(line) > MaxLine {
					return lines, errors.New("a line with what no line may have")
				}
				s := string(line)
				if r.Signalled() {
					s = "! " + s
				}
				lines = append(lines, s)
			}
		}
		clear(piece) // which the reader may not have kept
	}
	return lines, nil
}

var streams = []struct {
	name   string
	stream string
	want   []string
	err    error
}{
	{"RFC 959 5.3: two commands", "USER anonymous\r\nPASS guest\r\n", []string{"USER anonymous", "PASS guest"}, nil},
	{"vsftpd 3.0.3: greeting", "220 (vsFTPd 3.0.3)\r\n", []string{"220 (vsFTPd 3.0.3)"}, nil},
	{"empty line", "\r\n", []string{""}, nil},
	{"no end", "NOOP", nil, nil},
	{"CR alone at the end, as far as it came", "NOOP\r", nil, nil},
	{"UTF-8 and Latin-1, RFC 2640", "CWD \xc3\xa9\xe9\xf4\r\n", []string{"CWD \xc3\xa9\xe9\xf4"}, nil},
	{"RFC 959 4.1.3: interrupt and Synch before ABOR", "\xff\xf4\xff\xf2ABOR\r\n", []string{"! ABOR"}, nil},
	{"the last byte before DM was urgent and is gone", "NOOP\r\n\xff\xf4\xf2ABOR\r\nNOOP\r\n", []string{"NOOP", "! ABOR", "NOOP"}, nil},
	{"longest line", strings.Repeat("x", MaxLine) + "\r\n", []string{strings.Repeat("x", MaxLine)}, nil},
	{"one byte more", strings.Repeat("x", MaxLine+1) + "\r\n", nil, ErrLineTooLong},
	{"9,000 bytes without an end", strings.Repeat("x", 9000), nil, ErrLineTooLong},
	{"LF alone", "NOOP\nPASV\r\n", nil, ErrLineEnd},
	{"LF first", "\nPASV\r\n", nil, ErrLineEnd},
	{"CR alone", "NOOP\rPASV\r\n", nil, ErrLineEnd},
	{"CR twice", "NOOP\r\r\n", nil, ErrLineEnd},
	{"CR NUL, as Telnet has it", "NOOP\r\x00\r\n", nil, ErrLineEnd},
	{"NUL", "CWD a\x00b\r\n", nil, ErrByte},
	{"telnet command within a line", "CWD a\xff\xf4b\r\n", nil, ErrByte},
	{"escaped byte 255", "CWD a\xff\xffb\r\n", nil, ErrByte},
	{"many signals", strings.Repeat("\xff\xf4", maxSignal) + "ABOR\r\n", nil, ErrByte},
}

func TestLineReader(t *testing.T) {
	for _, tt := range streams {
		for _, n := range []int{1, 2, 3, 1 << 20} {
			got, err := readLines([]byte(tt.stream), n)
			if err != tt.err || tt.err == nil && !slices.Equal(got, tt.want) {
				t.Errorf("%s, in pieces of %d: %q, %v, want %q, %v", tt.name, n, got, err, tt.want, tt.err)
			}
		}
	}
}

func TestLineReaderPartial(t *testing.T) {
	for in, want := range map[string]bool{"": false, "N": true, "NOOP\r": true, "NOOP\r\n": false, "NOOP\r\nN": true, "\xff": true, "\r": true} {
		var r LineReader
		for rest := []byte(in); len(rest) > 0; {
			used, _, err := r.Feed(rest)
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[used:]
		}
		if got := r.Partial(); got != want {
			t.Errorf("after %q: Partial() = %t, want %t", in, got, want)
		}
	}
}

// However a stream is cut into pieces, the lines are the same.
func TestLineReaderSegments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stream := rapid.SliceOf(rapid.SampledFrom([]byte("A1 \r\r\n\n\x00\xff\xf4\xf2\xf1"))).Draw(t, "stream")
		want, wantErr := readLines(stream, len(stream)+1)
		got, err := readLines(stream, rapid.IntRange(1, 5).Draw(t, "piece"))
		if !slices.Equal(got, want) || err != wantErr {
			t.Fatalf("%q in pieces: %q, %v, want %q, %v", stream, got, err, want, wantErr)
		}
	})
}

func FuzzLineReader(f *testing.F) {
	for _, tt := range streams {
		f.Add([]byte(tt.stream), 3)
	}
	f.Fuzz(func(t *testing.T, stream []byte, n int) {
		want, wantErr := readLines(stream, len(stream)+1)
		if got, err := readLines(stream, max(n, 1)); !slices.Equal(got, want) || err != wantErr {
			t.Fatalf("%q in pieces of %d: %q, %v, want %q, %v", stream, n, got, err, want, wantErr)
		}
		var again []byte
		for _, line := range want {
			again = append(append(again, strings.TrimPrefix(line, "! ")...), "\r\n"...)
		}
		if got, err := readLines(again, len(again)+1); err != nil || len(got) != len(want) {
			t.Fatalf("%q, written again as %q, is %q, %v", stream, again, got, err)
		}
	})
}
