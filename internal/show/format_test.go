package show_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/quaymaster/quaymaster/internal/show"
)

func sample() *show.Table {
	t := show.NewTable(show.Column{Head: "port", Right: true}, show.Column{Head: "used for", Shrink: true}, show.Column{Head: "need", Key: "needed"})
	t.Add("3268", `global "catalog", all`, "required")
	t.Add("1", "a|b_c *x* <y>", "")
	t.Add("2", "\x1b[2J", "x\ny")
	return t
}

func TestWrite(t *testing.T) {
	v := struct {
		Port  int      `json:"port"`
		Names []string `json:"names"`
		Empty *int     `json:"empty"`
		Text  string   `json:"text"`
	}{3268, []string{"gc", "yes", "1"}, nil, "a: b\x1b"}
	for f, want := range map[show.Format]string{
		show.FormatTable: "PORT  USED FOR               NEED\n" +
			"3268  global \"catalog\", all  required\n" +
			"   1  a|b_c *x* <y>          —\n" +
			"   2  \\x1b[2J                x\\x0ay\n",
		show.FormatJSON:     "{\n  \"port\": 3268,\n  \"names\": [\n    \"gc\",\n    \"yes\",\n    \"1\"\n  ],\n  \"empty\": null,\n  \"text\": \"a: b\\u001b\"\n}\n",
		show.FormatYAML:     "port: 3268\nnames:\n- gc\n- \"yes\"\n- \"1\"\nempty: null\ntext: \"a: b\\x1b\"\n",
		show.FormatCSV:      "port,used_for,needed\n3268,\"global \"\"catalog\"\", all\",required\n1,a|b_c *x* <y>,\n2,\\x1b[2J,x\\x0ay\n",
		show.FormatMarkdown: "| port | used for | need |\n|---:|---|---|\n| 3268 | global \"catalog\", all | required |\n| 1 | a\\|b\\_c \\*x\\* &lt;y> | — |\n| 2 | \\\\x1b[2J | x\\\\x0ay |\n",
	} {
		var b bytes.Buffer
		if err := show.Write(show.Screen{Writer: &b}, f, v, sample()); err != nil || b.String() != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", f, err, &b, want)
		}
	}
}

type broken struct{}

var errBroken = errors.New("broken")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestWriteFails(t *testing.T) {
	for f := show.FormatTable; f <= show.FormatMarkdown; f++ {
		if err := show.Write(show.Screen{Writer: broken{}}, f, 1, sample()); !errors.Is(err, errBroken) {
			t.Errorf("%s = %v, want %v", f, err, errBroken)
		}
	}
	for _, f := range []show.Format{show.FormatJSON, show.FormatYAML} {
		if err := show.Write(show.Screen{Writer: &bytes.Buffer{}}, f, func() {}, sample()); err == nil {
			t.Errorf("%s of what cannot be written = nil, want an error", f)
		}
	}
}

func TestFormat(t *testing.T) {
	var f show.Format
	for i, name := range []string{"table", "json", "yaml", "csv", "markdown"} {
		if err := f.Set(name); err != nil || f != show.Format(i) || f.String() != name {
			t.Errorf("Set(%q) = %v, %s", name, err, f)
		}
	}
	for _, name := range []string{"", "JSON", "xml"} {
		if err := f.Set(name); err == nil || err.Error() != "want table|json|yaml|csv|markdown" || f != show.FormatMarkdown {
			t.Errorf("Set(%q) = %v, %s", name, err, f)
		}
	}
	if got, want := show.Format(9).String(), "Format(9)"; got != want {
		t.Errorf("a format that there is not is %q, want %q", got, want)
	}
}
