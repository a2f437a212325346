package show_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/quaymaster/quaymaster/internal/show"
)

// TestYAMLIsSafe: what a terminal must not be sent is escaped, wherever it stands, and read back as it was.
func TestYAMLIsSafe(t *testing.T) {
	for text, want := range map[string]string{
		"a":              "a",
		"a\x1bb":         `"a\x1bb"`,
		"\x1b":           `"\x1b"`,
		"a\u202eb":       `"a\u202eb"`,
		"a: b\u009b\x7f": `"a: b\u009b\x7f"`,
		"a\r\nb\x1b":     `"a\r\nb\x1b"`,
		"a\ufe0f\u115f":  `"a\ufe0f\u115f"`,
		"\U000e0001":     `"\U000e0001"`,
		"'\"\\x1b\x1b":   `"'\"\\x1b\x1b"`,
		"a\nb":           "|-\n  a\n  b",
	} {
		type inner struct {
			List []string `json:"list"`
		}
		v := struct {
			Text  string `json:"text"`
			Inner inner  `json:"inner"`
		}{text, inner{[]string{text, text}}}
		back := v
		back.Text, back.Inner.List = "", nil
		var b bytes.Buffer
		if err := show.YAML(&b, v); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); !strings.HasPrefix(got, "text: "+want+"\ninner:\n") {
			t.Errorf("%q is written as\n%s\nwant %s", text, got, want)
		}
		if lines := strings.ReplaceAll(b.String(), "\n", ""); show.Clean(strings.ReplaceAll(lines, `\`, "/")) != strings.ReplaceAll(lines, `\`, "/") {
			t.Errorf("%q is written as %q, which is not clean", text, b.String())
		}
		if err := yaml.Unmarshal(b.Bytes(), &back); err != nil || back.Text != text || back.Inner.List[1] != text {
			t.Errorf("%q is read back as %+v: %v", text, back, err)
		}
	}
}
