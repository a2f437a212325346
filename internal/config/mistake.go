package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Mistake is one thing wrong with a file, and where.
type Mistake struct {
	File         string
	Line, Column int    // from 1, columns in characters; both 0 if it is the file as a whole
	Message      string // what is wrong and what to do
}

// Error returns the mistake as "serve.yaml:14:9: message".
func (m Mistake) Error() string {
	if m.Line == 0 {
		return fmt.Sprintf("%s: %s", m.File, m.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Message)
}

// Mistakes are what is wrong with a file, from its top down. As an error it is
// never empty: a caller with mistakes of its own returns them if there are any.
type Mistakes []Mistake

// Error returns the mistakes, one per line.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i := range m {
		lines[i] = m[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Sort brings mistakes of one file into the order of their places.
func (m Mistakes) Sort() {
	slices.SortStableFunc(m, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
