package show

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON writes v as indented JSON and a line end. Characters that [Clean] would not
// let through are written as \u escapes, which changes nothing for a program and
// keeps a terminal safe; < > & stay as they are. The error is that of encoding v
// or that of w.
func JSON(w io.Writer, v any) error {
	var text bytes.Buffer
	if err := jsonEncoder(&text, "").Encode(v); err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	escapeJSON(out, text.Bytes())
	return out.Flush()
}

// JSONList writes what [JSON] would of an object with two members, a schema and a list of that
// name, but holds the text of one element at a time: that of a long list would need more
// memory than the list. What was written before an error stays.
func JSONList[T any](w io.Writer, schema, name string, list []T) error {
	const indent = "    " // of an element
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "{\n  \"schema\": %q,\n  %q: [", schema, name)
	var text bytes.Buffer
	e := jsonEncoder(&text, indent)
	for i, element := range list {
		text.Reset()
		if err := e.Encode(element); err != nil {
			return err
		}
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString("\n" + indent)
		escapeJSON(out, bytes.TrimSuffix(text.Bytes(), []byte{'\n'}))
	}
	if len(list) > 0 {
		out.WriteString("\n  ")
	}
	out.WriteString("]\n}\n")
	return out.Flush()
}

// jsonEncoder returns one that indents what follows the first line by prefix.
func jsonEncoder(w io.Writer, prefix string) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent(prefix, "  ")
	return e
}

// escapeJSON writes valid JSON with what is not visible escaped. Outside of its strings
// only line ends are not.
func escapeJSON(w *bufio.Writer, text []byte) {
	done := 0 // what was written
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[i:])
		}
		i += size
		if r == '\n' || ' ' <= r && r <= '~' || visible(r) {
			continue
		}
		w.Write(text[done : i-size])
		done = i
		if r <= 0xffff {
			fmt.Fprintf(w, `\u%04x`, r)
		} else {
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(w, `\u%04x\u%04x`, high, low)
		}
	}
	w.Write(text[done:])
}
