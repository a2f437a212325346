package render_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// targetsPart returns the section of docs/plan.md about targets.
func targetsPart(text string) string {
	_, part, _ := strings.Cut(text, "\n## Targets\n")
	part, _, _ = strings.Cut(part, "\n## ")
	return part
}

// What docs/plan.md shows of a target stands in golden files of it.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/plan.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range strings.Split(targetsPart(string(text)), "\n### ")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		files, err := filepath.Glob("testdata/" + name + "*.golden")
		if err != nil || len(files) == 0 {
			t.Fatalf("docs/plan.md is about %q, which has no golden file: %v", name, err)
		}
		known := map[string]bool{"": true, "…": true}
		for _, f := range files {
			golden, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(golden)) {
				known[strings.TrimSpace(line)] = true
			}
		}
		for line := range strings.Lines(body) {
			code, ok := strings.CutPrefix(line, "    ")
			if code = strings.TrimSpace(code); ok && !known[code] && !strings.HasPrefix(code, "aclgen ") {
				t.Errorf("%s: %q is in none of %v", name, code, files)
			}
		}
	}
}
