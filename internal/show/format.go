package show

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A Format is how output is written. It is the value of the flag -o and has the methods
// flag packages ask for. The zero value is FormatTable.
type Format uint8

// Formats.
const (
	FormatTable    Format = iota // for people
	FormatJSON                   // an object or list, with keys
	FormatYAML                   // the same
	FormatCSV                    // the rows of the table, with the keys as heads (RFC 4180)
	FormatMarkdown               // the rows of the table, for a page
)

var formatNames = [...]string{"table", "json", "yaml", "csv", "markdown"}

// String returns the word for the format.
func (f Format) String() string {
	if int(f) < len(formatNames) {
		return formatNames[f]
	}
	return fmt.Sprintf("Format(%d)", uint8(f))
}

// Set sets f to the format with that name. The error does not repeat the name: flag
// packages do.
func (f *Format) Set(name string) error {
	for i, n := range formatNames {
		if n == name {
			*f = Format(i)
			return nil
		}
	}
	return errors.New("want " + f.Type())
}

// Type returns the words for the value in a help text.
func (f *Format) Type() string { return strings.Join(formatNames[:], "|") }

// CSV writes t with a line of keys, and a record for each row; cells that are empty stay so.
func (t *Table) CSV(w io.Writer) error {
	c := csv.NewWriter(w)
	keys := make([]string, len(t.columns))
	for i := range t.columns {
		keys[i] = t.columns[i].key()
	}
	c.Write(keys)
	for _, row := range t.rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cell != none {
				cells[i] = cell
			}
		}
		c.Write(cells)
	}
	c.Flush()
	return c.Error() // has the first error of the writes before
}

// Markdown writes t as a table of Markdown.
func (t *Table) Markdown(w io.Writer) error {
	var b strings.Builder
	line := func(cells []string) {
		b.WriteString("|")
		for _, cell := range cells {
			b.WriteString(" " + markdownEscapes.Replace(cell) + " |")
		}
		b.WriteString("\n")
	}
	heads, rule := make([]string, len(t.columns)), make([]string, len(t.columns))
	for i, c := range t.columns {
		heads[i], rule[i] = c.Head, "---"
		if c.Right {
			rule[i] = "---:"
		}
	}
	line(heads)
	b.WriteString("|" + strings.Join(rule, "|") + "|\n")
	for _, row := range t.rows {
		line(row)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// markdownEscapes keep a cell from being read as anything but text.
var markdownEscapes = strings.NewReplacer(`\`, `\\`, "|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`, "`", "\\`")

// Write writes v, or the table that says the same, in the format. For people, and in CSV and
// Markdown, the rows of t are all there is.
func Write(s Screen, f Format, v any, t *Table) error {
	switch f {
	case FormatJSON:
		return JSON(s, v)
	case FormatYAML:
		return YAML(s, v)
	case FormatCSV:
		return t.CSV(s)
	case FormatMarkdown:
		return t.Markdown(s)
	}
	return t.Print(s)
}
