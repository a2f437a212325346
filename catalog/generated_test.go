package catalog_test

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/quaymaster/quaymaster/catalog"
)

var update = flag.Bool("update", false, "write the files of generated/ anew")

// TestGenerated holds that the files of generated/ say what those of YAML do, so it
// is also what finds mistakes in those.
func TestGenerated(t *testing.T) {
	files, err := catalog.Generate(os.DirFS("."))
	if err != nil {
		t.Fatalf("mistakes in the files of the catalog:\n%v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if *update {
			if err := os.WriteFile(name, files[name], 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, files[name]) {
			t.Errorf("%s is not what the files of the catalog say: run make catalog", name)
		}
	}
}
