package portset

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// Parse reads a set such as "80,443,5000-5020": ports and inclusive ranges of
// ports, separated by commas, in any order and overlapping if they like. Spaces
// and tabs around an item are ignored. Text with nothing else in it is the
// empty set.
//
// A port is one to five decimal digits, from 0 to 65535, without a sign. Leading
// zeros are refused because other programs read them as octal.
// An error names the first item that is wrong and its byte offset in s.
func Parse(s string) (Set, error) {
	if strings.Trim(s, blanks) == "" {
		return Set{}, nil
	}
	var ranges []Range
	offset := 0
	for field := range strings.SplitSeq(s, ",") {
		item := strings.TrimLeft(field, blanks)
		start := offset + len(field) - len(item)
		item = strings.TrimRight(item, blanks)
		r, err := parseItem(item)
		if err != nil {
			return Set{}, fmt.Errorf("portset: offset %d: %s: %w", start, quote(item), err)
		}
		ranges = append(ranges, r)
		offset += len(field) + len(",")
	}
	return normalize(ranges), nil
}

// String returns s in the form Parse reads: ascending, with the fewest items,
// commas and no spaces. The empty set is the empty string.
func (s Set) String() string { return string(s.append(nil)) }

// MarshalText returns what String does, and never an error.
func (s Set) MarshalText() ([]byte, error) { return s.append(nil), nil }

// UnmarshalText sets s to what Parse reads from text. It leaves s alone when
// that fails, with the error of Parse.
func (s *Set) UnmarshalText(text []byte) error {
	t, err := Parse(string(text))
	if err != nil {
		return err
	}
	*s = t
	return nil
}

func (s Set) append(b []byte) []byte {
	for i, r := range s.ranges {
		if i > 0 {
			b = append(b, ',')
		}
		b = r.append(b)
	}
	return b
}

const blanks = " \t"

var (
	errEmpty  = errors.New("no port between two commas or at an end: remove the comma")
	errDigits = errors.New("want a port such as 443 or a range such as 5000-5020")
	errZero   = errors.New("leading zero: other programs read it as octal, remove it")
	errLarge  = errors.New("ports end at 65535")
)

func parseItem(item string) (Range, error) {
	if item == "" {
		return Range{}, errEmpty
	}
	low, high, isRange := strings.Cut(item, "-")
	first, err := parsePort(low)
	if err != nil || !isRange {
		return Range{first, first}, err
	}
	last, err := parsePort(high)
	if err != nil {
		return Range{}, err
	}
	if last < first {
		return Range{}, fmt.Errorf("range is reversed: write %v", Range{last, first})
	}
	return Range{first, last}, nil
}

// parsePort is stricter than strconv, and its errors do not repeat the item.
func parsePort(digits string) (uint16, error) {
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, errDigits
	}
	if len(digits) > 1 && digits[0] == '0' {
		return 0, errZero
	}
	port := 0
	for _, d := range digits {
		if port = port*10 + int(d-'0'); port > math.MaxUint16 {
			return 0, errLarge
		}
	}
	return uint16(port), nil
}

// quote returns item for an error message, the beginning of it if it is long.
func quote(item string) string {
	const most = 40
	if len(item) > most {
		return fmt.Sprintf("%.*q…", most, item)
	}
	return fmt.Sprintf("%q", item)
}
