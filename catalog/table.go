package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A table is a file of tab-separated values with a line of column names at its
// top. Reading goes on after a mistake, so that one attempt finds them all.
type table struct {
	file     string
	columns  []string
	rows     []row
	mistakes []mistake
}

type mistake struct {
	line   int
	column string // empty when it is not about one
	err    error  // says everything, the line too
}

// A row is one line of a table below the first. Its methods read a cell, and
// note a mistake when the cell is not what the method wants.
type row struct {
	table *table
	line  int
	cells []string // as many as the table has columns
}

// readTable reads the text of a file, whose first line must name exactly columns.
func readTable(file, text string, columns []string) (*table, error) {
	head, body, _ := strings.Cut(text, "\n")
	if got := splitLine(head); !slices.Equal(got, columns) {
		return nil, fmt.Errorf("%s:1: columns are %q, want %q: put single tabs between them", file, got, columns)
	}
	t := &table{file: file, columns: columns}
	number := 1
	for line := range strings.Lines(body) {
		number++
		r := row{t, number, splitLine(strings.TrimSuffix(line, "\n"))}
		if len(r.cells) != len(columns) {
			t.mistakes = append(t.mistakes, mistake{number, "", fmt.Errorf(
				"%s:%d: want %d columns, found %d: put single tabs between them", file, number, len(columns), len(r.cells))})
			continue
		}
		t.rows = append(t.rows, r)
	}
	return t, nil
}

// place returns where row i stands: site/ports.tsv:12.
func (t *table) place(i int) string { return fmt.Sprintf("%s:%d", t.file, t.rows[i].line) }

// splitLine accepts the line ends of Windows: editors there add them unasked.
func splitLine(line string) []string {
	return strings.Split(strings.TrimSuffix(line, "\r"), "\t")
}

// err returns all mistakes noted so far from the top of the file down, one per
// line, or nil.
func (t *table) err() error {
	slices.SortStableFunc(t.mistakes, func(a, b mistake) int { return cmp.Compare(a.line, b.line) })
	var errs []error
	for _, m := range t.mistakes {
		errs = append(errs, m.err)
	}
	return errors.Join(errs...)
}

// mistake notes what is wrong with the cell of r in the named column.
func (r row) mistake(column, format string, args ...any) {
	err := fmt.Errorf("%s:%d: %s: %w", r.table.file, r.line, column, fmt.Errorf(format, args...))
	r.table.mistakes = append(r.table.mistakes, mistake{r.line, column, err})
}

// wrong reports whether a mistake was noted in the named column of r, which is the row
// that is read now.
func (r row) wrong(column string) bool {
	for _, m := range slices.Backward(r.table.mistakes) {
		if m.line != r.line {
			return false
		}
		if m.column == column {
			return true
		}
	}
	return false
}

// text returns the cell in the named column, or "" where it is "-".
func (r row) text(column string) string {
	cell := r.cells[slices.Index(r.table.columns, column)]
	switch {
	case cell == "-":
		return ""
	case cell == "":
		r.mistake(column, "empty: write - for nothing")
	case !utf8.ValidString(cell) || strings.ContainsFunc(cell, unicode.IsControl):
		r.mistake(column, "%q is not clean UTF-8 text", cell)
	case cell != strings.TrimSpace(cell):
		r.mistake(column, "%q: remove the spaces around it", cell)
	}
	return cell
}

// list returns the items of the cell in the named column, which separator
// stands between, or nothing where the cell is "-".
func (r row) list(column, separator string) []string {
	cell := r.text(column)
	if cell == "" {
		return nil
	}
	items := strings.Split(cell, separator)
	for i, item := range items {
		if item == "" || item != strings.TrimSpace(item) {
			r.mistake(column, "%q: want items with only %q between them", cell, separator)
			return nil
		}
		if slices.Contains(items[:i], item) {
			r.mistake(column, "%q is there twice", item)
		}
	}
	return items
}

// number returns text, which stands in the named column, as a number.
func (r row) number(column, text string) uint32 {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || strconv.FormatUint(n, 10) != text { // the second refuses leading zeros
		r.mistake(column, "%q: want a decimal number up to 4294967295", text)
	}
	return uint32(n)
}

// refer notes which of words, from the named column, are not among known.
func (r row) refer(column string, known *names, words ...string) {
	for _, word := range words {
		if what, ok := known.unknown(word); ok {
			r.mistake(column, "%s", what)
		}
	}
}

// sourceIDs returns the sources of the row, which are among known.
func (r row) sourceIDs(known *names) []string {
	sources := r.list("sources", "+")
	if len(sources) == 0 {
		r.mistake("sources", "none: name at least one")
	}
	r.refer("sources", known, sources...)
	return sources
}

// sources returns where the facts of the row were found, which n_sources counts.
func (r row) sources() []string {
	sources := r.list("sources", "+")
	if len(sources) == 0 {
		r.mistake("sources", "none: name at least one")
	}
	if got := r.number("n_sources", r.text("n_sources")); int64(got) != int64(len(sources)) {
		r.mistake("n_sources", "%d, but sources has %d", got, len(sources))
	}
	return sources
}
