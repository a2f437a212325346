package portpool

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/quaymaster/quaymaster/internal/config"
)

// A Finding is something wrong with a policy or with the file that describes it.
type Finding struct {
	Severity Severity
	Code     string // a word for this kind of finding, which stays the same: bad-string
	Place
	Text string // what is wrong
	Do   string // what to do about it; may be empty
}

// Message returns what is wrong and what to do, in one line.
func (f Finding) Message() string {
	if f.Do == "" {
		return f.Text
	}
	return f.Text + ": " + f.Do
}

// Mistake returns f as a mistake of the file with the given name.
func (f Finding) Mistake(name string) config.Mistake {
	m := config.Mistake{File: name, Line: f.Line, Column: f.Column, Message: f.Message()}
	if f.Line > 0 && f.Column == 0 {
		m.Column = 1
	}
	return m
}

// Severity is what a [Finding] comes to.
type Severity uint8

// The severities.
const (
	Warning Severity = iota // works, but asks for trouble
	Error                   // valid, but hardly what was meant
	Invalid                 // none of the policy holds
)

// String returns "warning", "error" or "invalid".
func (s Severity) String() string {
	if words := [...]string{"warning", "error", "invalid"}; int(s) < len(words) {
		return words[s]
	}
	return fmt.Sprintf("Severity(%d)", uint8(s))
}

// sortFindings brings findings into the order of the file, the worse first within a line.
func sortFindings(findings []Finding) {
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Column, b.Column))
	})
}
