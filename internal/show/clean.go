package show

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean returns s, which may come from anyone on the network, in a form that
// cannot do anything to a terminal or mislead its reader: what cannot be seen
// becomes an escape that can. That is controls, ESC and line ends among them,
// marks that turn the direction of text around, zero-width and other format
// characters, spaces other than the common one, and bytes that are not UTF-8.
//
// The escapes are \x1b for an ASCII control or a single byte that is not UTF-8,
// and \u202e or \U000e0001 for any other character; always the number, because the n of
// \n is also the first letter of a pipe's name. A backslash stays as it is, so that
// \pipe\winreg reads well, except where it would look like an escape: there it
// becomes \x5c. So different strings stay different, and cleaning twice is not
// the same as cleaning once.
//
// Marks that combine with the letter before them are left alone, as languages need
// them, unless they come first: they would change what is printed before s.
//
// Clean does not allocate when there is nothing to do.
func Clean(s string) string {
	i := dirty(s)
	if i == len(s) {
		return s
	}
	var b strings.Builder
	for ; i < len(s); i = dirty(s) {
		b.WriteString(s[:i])
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1, r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		s = s[i+size:]
	}
	b.WriteString(s)
	return b.String()
}

// dirty returns the index of the first character of s that Clean changes, or the
// length of s.
func dirty(s string) int {
	for i := 0; i < len(s); {
		if c := s[i]; ' ' <= c && c <= '~' && c != '\\' {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		strayMark := i == 0 && unicode.Is(unicode.M, r)
		if r == utf8.RuneError && size == 1 || !visible(r) || strayMark || looksEscaped(s[i:]) {
			return i
		}
		i += size
	}
	return len(s)
}

// visible reports whether r shows itself and nothing else.
func visible(r rune) bool {
	// Some that count as letters and marks are still not to be seen: fillers,
	// joiners, variation selectors.
	return strconv.IsPrint(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// looksEscaped reports whether s begins as one of the escapes of Clean does.
func looksEscaped(s string) bool {
	if len(s) < 2 || s[0] != '\\' {
		return false
	}
	digits := 0
	switch s[1] {
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	}
	s = s[2:]
	return digits > 0 && len(s) >= digits && strings.Trim(s[:digits], "0123456789abcdefABCDEF") == ""
}
