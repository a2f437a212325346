//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPlanDocs runs what docs/plan.md shows of the first site, and holds that it prints the same.
func TestPlanDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/plan.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	write := func(name, text string) {
		if err := os.WriteFile(filepath.FromSlash(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ran := 0
	var file string
	for _, s := range sessions(string(text)) {
		words := strings.Fields(s.command)
		switch {
		case s.command == "cat site.yaml":
			file = s.output
			write("site.yaml", file)
			continue
		case words[0] != "quaymaster" || strings.Contains(s.command, ">"):
			continue
		case strings.Contains(s.command, "--diff"):
			write("new.yaml", strings.Replace(file, ", netlogon: 38902", "", 1))
		case strings.Contains(s.command, "new.yaml"):
			write("new.yaml", strings.NewReplacer("[10.0.0.10]", "[10.9.0.10]", "file-server", "file-servr").Replace(file))
		}
		r := run(t, "quaymaster", words[1:]...)
		if diff := cmp.Diff(s.output, r.Stdout+r.Stderr); diff != "" {
			t.Errorf("%s (-docs/plan.md +now)\n%s", s.command, diff)
		}
		ran++
	}
	if ran < 4 {
		t.Errorf("docs/plan.md has %d sessions, want 4 at least", ran)
	}
}

// A session is a command that a page shows, with what it prints.
type session struct{ command, output string }

// sessions returns those of a page: indented lines, of which the first begins with "$".
func sessions(page string) []session {
	var all []session
	for _, paragraph := range strings.Split(page, "\n    $ ")[1:] {
		command, rest, _ := strings.Cut(paragraph, "\n")
		var output strings.Builder
		for line := range strings.Lines(rest) {
			code, ok := strings.CutPrefix(line, "    ")
			if !ok && line != "\n" {
				break
			}
			output.WriteString(code)
		}
		all = append(all, session{command, strings.TrimRight(output.String(), "\n") + "\n"})
	}
	return all
}
