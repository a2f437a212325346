package show_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/quaymaster/quaymaster/internal/show"
)

var cleaned = []struct{ name, in, want string }{
	{"nothing", "", ""},
	{"plain", "statd (1204)", "statd (1204)"},
	{"letters of the world", "Zürich 東京 Ελλάδα हिन्दी ✓", "Zürich 東京 Ελλάδα हिन्दी ✓"},
	{"named pipe", `\pipe\winreg`, `\pipe\winreg`},
	{"ends in a backslash", `C:\`, `C:\`},
	{"clears the screen", "\x1b[2J\x1b[Hroot", `\x1b[2J\x1b[Hroot`},
	{"sets the title", "\x1b]0;x\x07", `\x1b]0;x\x07`},
	{"C1 control sequence introducer", "\u009b31m", `\u009b31m`},
	{"the same as a byte", "\x9b31m", `\x9b31m`},
	{"forges a line", "a\r\nb\x00\x7f\t", `a\x0d\x0ab\x00\x7f\x09`},
	{"line separators", "a\u2028b\u2029c\u0085", `a\u2028b\u2029c\u0085`},
	{"right to left override", "user\u202egpj.exe", `user\u202egpj.exe`},
	{"isolates", "\u2066a\u2069", `\u2066a\u2069`},
	{"zero width", "roo\u200bt\u200d\ufeff\u2060", `roo\u200bt\u200d\ufeff\u2060`},
	{"soft hyphen", "ro\u00adot", `ro\u00adot`},
	{"spaces", "a\u00a0b\u3000c", `a\u00a0b\u3000c`},
	{"invisible letters", "\u3164\u115f\uffa0", `\u3164\u115f\uffa0`},
	{"variation selector", "a\ufe0f\U000e0100", `a\ufe0f\U000e0100`},
	{"tag characters", "a\U000e0041", `a\U000e0041`},
	{"private use", "\ue000\U0010fffd", `\ue000\U0010fffd`},
	{"not UTF-8", "a\xff\xc3(\xed\xa0\x80", `a\xff\xc3(\xed\xa0\x80`},
	{"the replacement character itself", "a\ufffd", "a\ufffd"},
	{"text that looks like an escape", `\x1b[2J \u202e \U000E0001`, `\x5cx1b[2J \x5cu202e \x5cU000E0001`},
	{"text that almost does", `\xg0 \x1 \u12 \user \Uabcdef`, `\xg0 \x1 \u12 \user \Uabcdef`},
	{"backslash before a control", "\\\x1b", `\\x1b`},
	{"two backslashes", `\\x1b`, `\\x5cx1b`},
	{"accent", "e\u0301", "e\u0301"},
	{"accent without a letter", "\u0301e\x1b\u0301", `\u0301e\x1b\u0301`},
}

func TestClean(t *testing.T) {
	for _, tt := range cleaned {
		t.Run(tt.name, func(t *testing.T) {
			if got := show.Clean(tt.in); got != tt.want {
				t.Errorf("Clean(%q) = %s, want %s", tt.in, got, tt.want)
			}
		})
	}
}

func TestCleanAllocatesNothing(t *testing.T) {
	for _, s := range []string{"rpc.mountd (1188)", `\pipe\winreg`, "Zürich 東京"} {
		if n := testing.AllocsPerRun(100, func() { show.Clean(s) }); n != 0 {
			t.Errorf("Clean(%q) allocates %v times, want 0", s, n)
		}
	}
}

var escape = regexp.MustCompile(`\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}`)

// unclean is the way back from what Clean returns.
func unclean(s string) string {
	return escape.ReplaceAllStringFunc(s, func(e string) string {
		n, _ := strconv.ParseUint(e[2:], 16, 32)
		if e[1] == 'x' {
			return string([]byte{byte(n)})
		}
		return string(rune(n))
	})
}

func FuzzClean(f *testing.F) {
	for _, tt := range cleaned {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := show.Clean(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !strconv.IsPrint(r) }) {
			t.Errorf("Clean(%q) = %q, want only what prints", s, got)
		}
		if back := unclean(got); back != s {
			t.Errorf("Clean(%q) = %q, which reads as %q", s, got, back)
		}
	})
}

func BenchmarkClean(b *testing.B) {
	for name, s := range map[string]string{
		"plain": "rpc.statd (1204) 10.0.0.9:2049",
		"dirty": "rpc.statd\x1b[2J (1204)",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				show.Clean(s)
			}
		})
	}
}
