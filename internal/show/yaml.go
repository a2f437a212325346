package show

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// YAML writes v as the YAML that says what [JSON] does, and keeps a terminal as safe.
func YAML(w io.Writer, v any) error {
	var text bytes.Buffer
	if err := JSON(&text, v); err != nil {
		return err
	}
	var values any
	if err := yaml.UnmarshalWithOptions(text.Bytes(), &values, yaml.UseOrderedMap()); err != nil {
		return err
	}
	b, err := yaml.Marshal(quoteInvisible(values))
	if err != nil {
		return err
	}
	_, err = w.Write(escapeYAML(b))
	return err
}

// A quoted is a string that stands in double quotes: only there YAML has escapes.
type quoted string

func (q quoted) MarshalYAML() ([]byte, error) { return []byte(strconv.Quote(string(q))), nil }

// quoteInvisible returns a value in which the strings that hold what is not visible are quoted. Lines of
// text that can be seen stay a block. Keys are not looked at: they are the program's own.
func quoteInvisible(v any) any {
	switch v := v.(type) {
	case string:
		if strings.ContainsFunc(v, func(r rune) bool { return r != '\n' && !visible(r) }) {
			return quoted(v)
		}
	case []any:
		for i := range v {
			v[i] = quoteInvisible(v[i])
		}
	case yaml.MapSlice:
		for i := range v {
			v[i].Value = quoteInvisible(v[i].Value)
		}
	}
	return v
}

// escapeYAML escapes what is not visible in YAML in which only quoted strings hold such.
func escapeYAML(text []byte) []byte {
	var b []byte
	for _, r := range string(text) {
		switch {
		case r == '\n' || visible(r):
			b = append(b, string(r)...)
		case r <= 0xffff:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = fmt.Appendf(b, `\U%08x`, r)
		}
	}
	return b
}
