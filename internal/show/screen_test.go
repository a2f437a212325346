package show_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/quaymaster/quaymaster/internal/show"
)

func TestColor(t *testing.T) {
	var c show.Color
	if got := c.String(); got != "auto" {
		t.Errorf("the zero Color is %q, want auto", got)
	}
	for _, name := range []string{"always", "never", "auto"} {
		if err := c.Set(name); err != nil || c.String() != name {
			t.Errorf("Set(%q): %v, String() = %q", name, err, c)
		}
	}
	c = show.ColorNever
	if err := c.Set("Always"); err == nil || err.Error() != "want auto, always or never" || c != show.ColorNever {
		t.Errorf("Set(Always): %v and the value is %v, want an error and no change", err, c)
	}
	if got := show.Color(9).String(); got != "Color(9)" {
		t.Errorf("Color(9).String() = %q", got)
	}
}

func TestScreenOfFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tests := []struct {
		color   show.Color
		noColor string
		want    bool
	}{
		{show.ColorAuto, "", false},
		{show.ColorAuto, "1", false},
		{show.ColorAlways, "", true},
		{show.ColorAlways, "1", true}, // no-color.org: what a user says on the command line wins
		{show.ColorNever, "", false},
	}
	for _, tt := range tests {
		s := show.NewScreen(f, tt.color, tt.noColor)
		if s.Terminal || s.Width != 0 || s.Color != tt.want {
			t.Errorf("NewScreen(file, %v, %q) = %+v, want no terminal, no width and color %v", tt.color, tt.noColor, s, tt.want)
		}
	}
}
