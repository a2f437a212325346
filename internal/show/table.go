package show

import (
	"bufio"
	"fmt"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

// A Column is one column of a [Table].
type Column struct {
	Head   string // printed in upper case; may be empty
	Key    string // its name in CSV; empty: the head, with _ for blanks
	Right  bool   // align to the right, as numbers are
	Shrink bool   // may be cut when the terminal is narrow
}

func (c Column) key() string {
	if c.Key != "" {
		return c.Key
	}
	return strings.ReplaceAll(strings.ToLower(c.Head), " ", "_")
}

// none is what an empty cell prints as.
const none = "—"

// A Table is rows of text under columns, for people. Make one with [NewTable].
type Table struct {
	columns []Column
	rows    [][]string
}

// NewTable returns a table without rows that has the given columns.
func NewTable(columns ...Column) *Table { return &Table{columns: columns} }

// Add adds a row. It needs a cell for each column and panics if there are more or
// fewer; an empty cell prints as a dash. Cells are cleaned when added, as by
// [Clean], so they may come from the network as they are.
func (t *Table) Add(cells ...string) {
	if len(cells) != len(t.columns) {
		panic(fmt.Sprintf("show: row of %d cells in a table of %d columns", len(cells), len(t.columns)))
	}
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = Clean(cell)
		if cell == "" {
			row[i] = none
		}
	}
	t.rows = append(t.rows, row)
}

// gap separates columns.
const gap = "  "

// Print writes t to s: a line of heads, in bold where s has colour, and a line
// for each row, without spaces at the ends. Columns are as wide as what is in
// them. If that is more than the width of s, columns that may shrink do, the last
// of them first, and end in "…" where they are cut; a line can still be too long.
// The error is that of s.
func (t *Table) Print(s Screen) error {
	heads := make([]string, len(t.columns))
	for i, c := range t.columns {
		heads[i] = strings.ToUpper(c.Head)
	}
	widths := t.widths(heads, s.Width)
	w := bufio.NewWriter(s)
	fmt.Fprintln(w, s.Bold(t.line(heads, widths)))
	for _, row := range t.rows {
		fmt.Fprintln(w, t.line(row, widths))
	}
	return w.Flush() // has the first error of the writes before
}

// widths returns the width of each column, for lines of at most limit columns if
// that can be and limit is not 0.
func (t *Table) widths(heads []string, limit int) []int {
	widths := make([]int, len(t.columns))
	total := len(gap) * (len(t.columns) - 1)
	for i, head := range heads {
		widths[i] = lipgloss.Width(head)
		for _, row := range t.rows {
			widths[i] = max(widths[i], lipgloss.Width(row[i]))
		}
		total += widths[i]
	}
	for i := len(widths) - 1; i >= 0 && limit > 0; i-- {
		if t.columns[i].Shrink {
			const least = 4 // a cell of less says nothing
			cut := min(total-limit, widths[i]-max(least, lipgloss.Width(heads[i])))
			widths[i] -= max(0, cut)
			total -= max(0, cut)
		}
	}
	return widths
}

// line returns cells side by side, each as wide as widths says.
func (t *Table) line(cells []string, widths []int) string {
	var b strings.Builder
	for i, cell := range cells {
		if i > 0 {
			b.WriteString(gap)
		}
		width := lipgloss.Width(cell)
		if width > widths[i] {
			cell = ansi.Truncate(cell, widths[i], "…")
			width = lipgloss.Width(cell) // a wide character may not have fitted
		}
		padding := strings.Repeat(" ", widths[i]-width)
		if t.columns[i].Right {
			b.WriteString(padding + cell)
		} else {
			b.WriteString(cell + padding)
		}
	}
	return strings.TrimRight(b.String(), " ")
}
