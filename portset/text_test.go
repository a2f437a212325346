package portset_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/portset"
)

// parseable is what Parse accepts, with the canonical form of each.
var parseable = []struct{ in, want string }{
	{"", ""},
	{" \t ", ""},
	{"0", "0"},
	{"111", "111"},
	{"65535", "65535"},
	{"80,443,5000-5020", "80,443,5000-5020"}, // the form of the Windows policy's Ports value
	{" 80 ,\t443 , 5000-5020 ", "80,443,5000-5020"},
	{"443,80", "80,443"},
	{"80,80,80", "80"},
	{"5000-5000", "5000"},
	{"5000-5010,5011-5020,5005-5015", "5000-5020"},
	{"0-65535", "0-65535"},
	{"65535,0-65534", "0-65535"},
}

func TestParse(t *testing.T) {
	for _, tt := range parseable {
		got, err := portset.Parse(tt.in)
		if err != nil || got.String() != tt.want {
			t.Errorf("Parse(%q) = %q, %v, want %q", tt.in, got, err, tt.want)
		}
	}
}

var unparseable = []struct{ in, want string }{
	{",", `offset 0: "": no port between two commas or at an end: remove the comma`},
	{"80,", `offset 3: "": no port between two commas or at an end: remove the comma`},
	{"80, ,443", `offset 4: "": no port between two commas or at an end: remove the comma`},
	{"80,http", `offset 3: "http": want a port such as 443 or a range such as 5000-5020`},
	{"80 443", `offset 0: "80 443": want a port such as 443 or a range such as 5000-5020`},
	{"80;443", `offset 0: "80;443": want a port such as 443 or a range such as 5000-5020`},
	{"+80", `offset 0: "+80": want a port such as 443 or a range such as 5000-5020`},
	{"-80", `offset 0: "-80": want a port such as 443 or a range such as 5000-5020`},
	{"80-", `offset 0: "80-": want a port such as 443 or a range such as 5000-5020`},
	{"1-2-3", `offset 0: "1-2-3": want a port such as 443 or a range such as 5000-5020`},
	{"5000 - 5020", `offset 0: "5000 - 5020": want a port such as 443 or a range such as 5000-5020`},
	{"0x50", `offset 0: "0x50": want a port such as 443 or a range such as 5000-5020`},
	{"٨٠", `offset 0: "٨٠": want a port such as 443 or a range such as 5000-5020`},
	{"80\x00", `offset 0: "80\x00": want a port such as 443 or a range such as 5000-5020`},
	{"22,080", `offset 3: "080": leading zero: other programs read it as octal, remove it`},
	{"65536", `offset 0: "65536": ports end at 65535`},
	{"5000-70000", `offset 0: "5000-70000": ports end at 65535`},
	{"18446744073709551617", `offset 0: "18446744073709551617": ports end at 65535`},
	{"80,  5020-5000", `offset 5: "5020-5000": range is reversed: write 5000-5020`},
	{strings.Repeat("x", 50), `offset 0: "` + strings.Repeat("x", 40) + `"…: want a port such as 443 or a range such as 5000-5020`},
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range unparseable {
		got, err := portset.Parse(tt.in)
		if err == nil || err.Error() != "portset: "+tt.want {
			t.Errorf("Parse(%q) = %v, %v, want error portset: %s", tt.in, got, err, tt.want)
		}
		if !got.IsEmpty() {
			t.Errorf("Parse(%q) = %v beside its error, want the empty set", tt.in, got)
		}
	}
}

// Text of a megabyte that nobody would write must not take more than a moment.
func TestParseLong(t *testing.T) {
	const n = 1 << 18
	for _, in := range []string{strings.Repeat("9,7,", n), strings.Repeat("1-65535,", n)} {
		if _, err := portset.Parse(in + "5"); err != nil {
			t.Error(err)
		}
	}
	if _, err := portset.Parse(strings.Repeat("9", 4*n)); err == nil {
		t.Error("Parse of a very long number succeeded")
	}
}

func TestText(t *testing.T) {
	type policy struct {
		Ports portset.Set `json:"ports"`
	}
	const text = `{"ports":"5000-5020,5100"}`
	var p policy
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	if got, err := json.Marshal(p); err != nil || string(got) != text {
		t.Errorf("Marshal(Unmarshal(%s)) = %s, %v", text, got, err)
	}
	if err := p.Ports.UnmarshalText([]byte("5020-5000")); err == nil || p.Ports.String() != "5000-5020,5100" {
		t.Errorf("UnmarshalText(reversed) = %v and the set is %q, want an error and no change", err, p.Ports)
	}
}

func FuzzParse(f *testing.F) {
	for _, tt := range parseable {
		f.Add(tt.in)
	}
	for _, tt := range unparseable {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		set, err := portset.Parse(s)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "portset: offset ") {
				t.Errorf("Parse(%q): %v, want an error with an offset", s, err)
			}
			return
		}
		back, err := portset.Parse(set.String())
		if err != nil || !back.Equal(set) {
			t.Errorf("Parse(%q) = %v, which reads back as %v, %v", s, set, back, err)
		}
	})
}
