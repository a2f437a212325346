package endpoint_test

import (
	"encoding/json"
	"testing"

	"github.com/quaymaster/quaymaster/internal/endpoint"
)

func TestVersion(t *testing.T) {
	for _, tt := range []struct {
		text, json string
		want       endpoint.Version
	}{
		{"0", "0", endpoint.Version{}},
		{"3", "3", endpoint.Version{Major: 3}},
		{"4294967295", "4294967295", endpoint.Version{Major: 1<<32 - 1}},
		{"0.0", `"0.0"`, endpoint.Version{Dotted: true}},
		{"3.0", `"3.0"`, endpoint.Version{Major: 3, Dotted: true}},
		{"1.1", `"1.1"`, endpoint.Version{Major: 1, Minor: 1, Dotted: true}},
		{"1.10", `"1.10"`, endpoint.Version{Major: 1, Minor: 10, Dotted: true}},
		{"65535.65535", `"65535.65535"`, endpoint.Version{Major: 1<<16 - 1, Minor: 1<<16 - 1, Dotted: true}},
	} {
		if got, err := endpoint.ParseVersion(tt.text); err != nil || got != tt.want || got.String() != tt.text {
			t.Errorf("ParseVersion(%q) = %+v, %v, want %+v", tt.text, got, err, tt.want)
		}
		if got, err := json.Marshal(tt.want); err != nil || string(got) != tt.json {
			t.Errorf("JSON of %s is %s, %v, want %s", tt.want, got, err, tt.json)
		}
		var got endpoint.Version
		if err := json.Unmarshal([]byte(tt.json), &got); err != nil || got != tt.want {
			t.Errorf("JSON %s = %+v, %v, want %+v", tt.json, got, err, tt.want)
		}
	}
	const want = ": want a number from 0 to 4294967295 for onc, MAJOR.MINOR such as 1.0 for dce"
	for _, text := range []string{"", ".", "1.", ".1", "1.0.0", "-1", "+1", "1,0", " 1", "1 ", "v1", "1.x", "0x1", "1e3", "4294967296", "65536.0", "0.65536", "1.-1", "１.0"} {
		got, err := endpoint.ParseVersion(text)
		checkError(t, "ParseVersion", err, want)
		if got != (endpoint.Version{}) {
			t.Errorf("ParseVersion(%q) = %+v with an error, want nothing", text, got)
		}
	}
}

// JSON tells by its kind which dialect a version is of.
func TestVersionJSONMistakes(t *testing.T) {
	for text, want := range map[string]string{
		`"3"`:     `version "3": want 3 for onc, "3.0" for dce`,
		"3.0":     `version 3.0: want 3 for onc, "3.0" for dce`,
		"1e3":     `version "1e3": want a number from 0 to 4294967295 for onc, MAJOR.MINOR such as 1.0 for dce`,
		"-1":      `version "-1": want a number from 0 to 4294967295 for onc, MAJOR.MINOR such as 1.0 for dce`,
		`""`:      `version "": want a number from 0 to 4294967295 for onc, MAJOR.MINOR such as 1.0 for dce`,
		`"1.0.0"`: `version "1.0.0": want a number from 0 to 4294967295 for onc, MAJOR.MINOR such as 1.0 for dce`,
		"true":    `version "true": want a number from 0 to 4294967295 for onc, MAJOR.MINOR such as 1.0 for dce`,
		"[3]":     `version "[3]": want a number from 0 to 4294967295 for onc, MAJOR.MINOR such as 1.0 for dce`,
	} {
		v := endpoint.Version{Major: 7}
		err := json.Unmarshal([]byte(text), &v)
		checkError(t, text, err, want)
		if v != (endpoint.Version{Major: 7}) {
			t.Errorf("%s: %+v after a mistake, want what was there", text, v)
		}
	}
}
