package catalog

import (
	"bytes"
	"embed"
	"encoding/json"
	"io/fs"
	"strings"
	"sync"
)

//go:generate go test -run ^TestGenerated$ -update

//go:embed *.tsv
var tableFiles embed.FS

// generatedFiles are the files of YAML as JSON, which is read in a fraction of the
// time. Nobody edits them: TestGenerated writes them, and holds that they say what
// the others do.
//
//go:embed generated/*.json
var generatedFiles embed.FS

// generatedName returns the file that is generated from one of YAML.
func generatedName(file string) string {
	return "generated/" + strings.TrimSuffix(file, ".yaml") + ".json"
}

// generated returns a function that reads what was generated from the named file.
func generated[T any](file string) func() *T {
	return sync.OnceValue(func() *T {
		f := new(T)
		err := json.Unmarshal(sound(generatedFiles.ReadFile(generatedName(file))), f)
		return sound(f, err)
	})
}

// generate returns the files that are generated from those of fsys, by name.
func generate(fsys fs.FS) (map[string][]byte, error) {
	c, err := Load(fsys)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for file, facts := range map[string]any{
		pinFileName: c.pins(), sourceFileName: c.sources(), systemFileName: c.systems(), roleFileName: c.roles(), serviceFileName: c.services(),
	} {
		var text bytes.Buffer
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(false)
		if err := e.Encode(facts); err != nil {
			return nil, err
		}
		files[generatedName(file)] = text.Bytes()
	}
	return files, nil
}
