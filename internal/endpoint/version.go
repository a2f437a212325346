package endpoint

import (
	"fmt"
	"strconv"
	"strings"
)

// A Version is that of an interface as people and programs write it: a number of
// ONC, two of DCE. JSON has 3 for the one, "3.0" for the other.
type Version struct {
	Major  uint32
	Minor  uint16
	Dotted bool // of DCE: with a minor version, be it 0
}

// version returns the version of an interface.
func (i Interface) version() Version {
	if i.Dialect == DCE {
		return Version{uint32(i.Major), i.Minor, true}
	}
	return Version{Major: i.Version}
}

// String returns "3", or "3.0" of DCE.
func (v Version) String() string {
	text := strconv.FormatUint(uint64(v.Major), 10)
	if v.Dotted {
		text += "." + strconv.FormatUint(uint64(v.Minor), 10)
	}
	return text
}

// ParseVersion reads what [Version.String] writes.
func ParseVersion(s string) (Version, error) {
	first, second, dotted := strings.Cut(s, ".")
	bits := 32
	if dotted {
		bits = 16
	}
	major, err := strconv.ParseUint(first, 10, bits)
	minor := uint64(0)
	if err == nil && dotted {
		minor, err = strconv.ParseUint(second, 10, 16)
	}
	if err != nil {
		return Version{}, fmt.Errorf("version %q: want a number from 0 to 4294967295 for onc, MAJOR.MINOR such as 1.0 for dce", s)
	}
	return Version{uint32(major), uint16(minor), dotted}, nil
}

// MarshalJSON implements [json.Marshaler].
func (v Version) MarshalJSON() ([]byte, error) {
	if v.Dotted {
		return strconv.AppendQuote(nil, v.String()), nil
	}
	return []byte(v.String()), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Version) UnmarshalJSON(b []byte) error {
	text, quoted := strings.CutPrefix(string(b), `"`)
	got, err := ParseVersion(strings.TrimSuffix(text, `"`))
	switch {
	case err != nil:
		return err
	case quoted != got.Dotted:
		return fmt.Errorf(`version %s: want 3 for onc, "3.0" for dce`, b)
	}
	*v = got
	return nil
}
