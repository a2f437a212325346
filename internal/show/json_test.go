package show_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/show"
)

func TestJSON(t *testing.T) {
	type endpoint struct {
		Program    uint32 `json:"program"`
		Annotation string `json:"annotation"`
	}
	tests := []struct {
		name  string
		value any
		want  string
	}{
		{"list", []endpoint{{100005, "<a & b> Zürich"}, {100003, ""}}, `[
  {
    "program": 100005,
    "annotation": "<a & b> Zürich"
  },
  {
    "program": 100003,
    "annotation": ""
  }
]
`},
		{"empty list", []endpoint{}, "[]\n"},
		{"unseen characters", "\x1b[2J\u009b \x7f \u202e \u200b \U000e0041\n", `"\u001b[2J\u009b \u007f \u202e \u200b \udb40\udc41\n"` + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := show.JSON(&b, tt.value); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, b.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A list in pieces is what it is as a whole.
func TestJSONList(t *testing.T) {
	type element struct {
		Name  string   `json:"name"`
		Parts []string `json:"parts"`
	}
	for _, list := range [][]element{
		{}, {{"one", []string{}}}, {{"<one>\n", []string{"\x1b[2J", "b"}}, {"Zürich \u202e", nil}},
	} {
		var got, want bytes.Buffer
		if err := show.JSONList(&got, "of/test/1", "list", list); err != nil {
			t.Fatal(err)
		}
		whole := struct {
			Schema string    `json:"schema"`
			List   []element `json:"list"`
		}{"of/test/1", list}
		if err := show.JSON(&want, whole); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), got.String()); diff != "" {
			t.Errorf("(-JSON +JSONList)\n%s", diff)
		}
	}
	if err := show.JSONList(brokenPipe{}, "of/test/1", "list", []int{1}); !errors.Is(err, errBrokenPipe) {
		t.Errorf("JSONList into a broken pipe: %v, want %v", err, errBrokenPipe)
	}
}

func TestJSONErrors(t *testing.T) {
	if err := show.JSON(brokenPipe{}, 1); !errors.Is(err, errBrokenPipe) {
		t.Errorf("JSON into a broken pipe: %v, want %v", err, errBrokenPipe)
	}
	var b bytes.Buffer
	if err := show.JSON(&b, make(chan int)); err == nil || b.Len() > 0 {
		t.Errorf("JSON(a channel) = %q, %v, want only an error", b.String(), err)
	}
}

func TestJSONRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "value")
		var b bytes.Buffer
		if err := show.JSON(&b, want); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		if err := json.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatalf("%v in %s", err, b.Bytes())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	})
}
