package ndr

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func TestUUIDText(t *testing.T) {
	for _, tt := range []struct{ text, bytes, want string }{
		{"12345778-1234-abcd-ef00-0123456789ac", "12345778 1234 abcd ef000123456789ac", ""},
		{"8A885D04-1CEB-11C9-9FE8-08002B104860", "8a885d04 1ceb 11c9 9fe808002b104860", "8a885d04-1ceb-11c9-9fe8-08002b104860"},
		{"00000000-0000-0000-0000-000000000000", "00000000 0000 0000 0000000000000000", ""},
		{"ffffffff-ffff-ffff-ffff-ffffffffffff", "ffffffff ffff ffff ffffffffffffffff", ""},
	} {
		if tt.want == "" {
			tt.want = tt.text
		}
		u, err := ParseUUID(tt.text)
		if err != nil || u != UUID(unhex(tt.bytes)) || u.String() != tt.want {
			t.Errorf("ParseUUID(%q) = %x, %v, %v, want %s", tt.text, u[:], u, err, tt.bytes)
		}
	}
}

func TestParseUUIDFails(t *testing.T) {
	for _, s := range []string{
		"", "12345778", "12345778-1234-abcd-ef00-0123456789a", "12345778-1234-abcd-ef00-0123456789acd",
		"123457781234abcdef000123456789ac", "{12345778-1234-abcd-ef00-0123456789ac}",
		"12345778_1234-abcd-ef00-0123456789ac", "12345778-1234-abcd-ef00-0123456789ag", "1234577-81234-abcd-ef00-0123456789ac",
		"12345778-1234-abcd-ef00-0123456789é",
	} {
		if u, err := ParseUUID(s); err == nil || !u.IsNil() {
			t.Errorf("ParseUUID(%q) = %v, %v, want an error", s, u, err)
		}
		u := epmapper
		if err := u.UnmarshalText([]byte(s)); err == nil {
			t.Errorf("UnmarshalText(%q) = nil, want an error", s)
		}
	}
	_, err := ParseUUID("epmapper")
	if want := `"epmapper" is no UUID such as 12345778-1234-abcd-ef00-0123456789ac`; err == nil || err.Error() != want {
		t.Errorf("ParseUUID(epmapper) = %v, want %s", err, want)
	}
}

func TestMustParseUUIDPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("MustParseUUID of no UUID did not panic")
		}
	}()
	MustParseUUID("epmapper")
}

// Text, JSON and both byte orders keep a UUID.
func TestUUIDRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := UUID(rapid.SliceOfN(rapid.Byte(), UUIDSize, UUIDSize).Draw(t, "u"))
		if got, err := ParseUUID(u.String()); got != u || err != nil {
			t.Fatalf("ParseUUID(%s) = %v, %v", u, got, err)
		}
		b, err := json.Marshal(u)
		var got UUID
		if err != nil || string(b) != `"`+u.String()+`"` || json.Unmarshal(b, &got) != nil || got != u {
			t.Fatalf("JSON %s = %v, %v, want %v", b, got, err, u)
		}
		if got := DecodeUUID(AppendUUID(nil, u, binary.LittleEndian), binary.LittleEndian); got != u {
			t.Fatalf("little-endian: %v, want %v", got, u)
		}
		if b := AppendUUID(nil, u, binary.BigEndian); UUID(b) != u || DecodeUUID(b, binary.BigEndian) != u {
			t.Fatalf("big-endian: %x, want %v", b, u)
		}
	})
}

func TestNil(t *testing.T) {
	if !(UUID{}).IsNil() || epmapper.IsNil() {
		t.Error("UUID.IsNil")
	}
	if !(Handle{}).IsNil() || cursor.IsNil() || (Handle{Attributes: 1}).IsNil() {
		t.Error("Handle.IsNil")
	}
}

func TestLabel(t *testing.T) {
	for _, tt := range []struct {
		name  string
		label Label
		big   bool
		ok    bool
	}{
		{"impacket, Samba: little-endian, ASCII, IEEE", Label(unhex("10000000")), false, true},
		{"C706 14.1: big-endian, ASCII, IEEE", Label(unhex("00000000")), true, true},
		{"VAX floating point", Label(unhex("10010000")), false, true},
		{"EBCDIC", Label(unhex("11000000")), false, false},
		{"no such integers", Label(unhex("20000000")), false, false},
	} {
		if err := tt.label.Check(); tt.label.IsBigEndian() != tt.big || (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrLabel) {
			t.Errorf("%s: IsBigEndian() = %t, Check() = %v", tt.name, tt.label.IsBigEndian(), err)
		}
	}
}

func TestErrLabelTells(t *testing.T) {
	if err := (Label{0x11}).Check(); err == nil || err.Error() != "ndr: unsupported data representation: label 11000000" {
		t.Errorf("Check() = %v", err)
	}
}
