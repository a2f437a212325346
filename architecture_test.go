package quaymaster_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/quaymaster/quaymaster"

// A picture is what docs/architecture.md draws of who may import whom.
type picture struct {
	row     map[string]int     // of each package by its name in the picture, counted from the top
	allowed map[[2]string]bool // imports within a row, drawn as "a → b"
}

// readPicture reads the block of docs/architecture.md that begins with the line "cmd".
func readPicture(t *testing.T) picture {
	t.Helper()
	text, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(text), "\n    cmd\n")
	block, _, _ = strings.Cut(block, "\n\n")
	if !ok {
		t.Fatal(`docs/architecture.md draws no picture: a block that begins with "cmd"`)
	}
	p := picture{row: map[string]int{"cmd": 0}, allowed: map[[2]string]bool{}}
	name := regexp.MustCompile(`[a-z0-9/]+`)
	for i, line := range strings.Split(block, "\n") {
		for item := range strings.SplitSeq(line, "·") {
			chain := name.FindAllString(item, -1)
			for j, n := range chain {
				p.row[n] = i + 1
				if j > 0 {
					p.allowed[[2]string{chain[j-1], n}] = true
				}
			}
		}
	}
	return p
}

// nameOf returns a package's name in the picture: its path without the folder internal/.
func nameOf(path string) string {
	name := strings.TrimPrefix(strings.TrimPrefix(path, module+"/"), "internal/")
	if strings.HasPrefix(name, "cmd/") {
		return "cmd"
	}
	return name
}

type goPackage struct {
	ImportPath string
	GoFiles    []string
	Imports    []string
}

// listPackages returns the project's packages as they are built for an operating system.
func listPackages(t *testing.T, goos string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,GoFiles,Imports", "./...")
	cmd.Env = append(os.Environ(), "GOOS="+goos)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 {
			all = append(all, p)
		}
	}
}

// outside are packages beside the house: they may import anything, and nothing imports them.
var outside = []string{"bench", "nstest", "registry/storetest"}

// TestArchitecture holds the picture in docs/architecture.md to be true: imports
// point down only.
func TestArchitecture(t *testing.T) {
	p := readPicture(t)
	for _, goos := range []string{"linux", "windows"} {
		for _, pkg := range listPackages(t, goos) {
			from := nameOf(pkg.ImportPath)
			if slices.Contains(outside, from) {
				continue
			}
			if _, ok := p.row[from]; !ok {
				t.Errorf("%s: docs/architecture.md does not draw it", pkg.ImportPath)
				continue
			}
			for _, path := range pkg.Imports {
				if !strings.HasPrefix(path, module+"/") {
					continue
				}
				to := nameOf(path)
				if p.row[to] <= p.row[from] && !p.allowed[[2]string{from, to}] || slices.Contains(outside, to) {
					t.Errorf("%s: %s imports %s, which the picture does not let it", goos, from, to)
				}
			}
		}
	}
}

// TestArchitectureOfWire holds that the protocols are pure: the standard library
// only, and of it nothing that opens, waits, logs or runs beside.
func TestArchitectureOfWire(t *testing.T) {
	impure := []string{"context", "log", "log/slog", "net", "net/http", "os", "os/exec", "runtime", "sync", "sync/atomic", "syscall"}
	for _, pkg := range listPackages(t, "linux") {
		name := nameOf(pkg.ImportPath)
		if !strings.HasPrefix(name, "wire/") && name != "portset" {
			continue
		}
		for _, path := range pkg.Imports {
			foreign := strings.Contains(strings.Split(path, "/")[0], ".") && !strings.HasPrefix(path, module+"/wire/")
			if foreign || slices.Contains(impure, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}

// TestArchitectureOfAuthentication holds that the libraries for NTLM and Kerberos are known to
// probe/auth only, get nowhere but into the command through it, and not even there with the
// build tag noauth.
func TestArchitectureOfAuthentication(t *testing.T) {
	foreign := func(path string) bool {
		return strings.HasPrefix(path, "github.com/oiweiwei/") || strings.HasPrefix(path, "github.com/jcmturner/")
	}
	for _, goos := range []string{"linux", "windows"} {
		for _, tags := range []string{"", "noauth"} {
			cmd := exec.Command("go", "list", "-tags", tags, "-json=ImportPath,Imports,Deps", "./...")
			cmd.Env = append(os.Environ(), "GOOS="+goos)
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("go list: %v", err)
			}
			found := false
			for d := json.NewDecoder(strings.NewReader(string(out))); ; {
				var p struct {
					ImportPath    string
					Imports, Deps []string
				}
				if err := d.Decode(&p); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				name := nameOf(p.ImportPath)
				auth, has := name == "probe/auth", slices.ContainsFunc(p.Deps, foreign)
				found = found || auth && has
				switch {
				case slices.ContainsFunc(p.Imports, foreign) && !auth:
					t.Errorf("%s: %s imports a library for authentication", goos, name)
				case has && (tags == "noauth" || !auth && name != "cmd"):
					t.Errorf("%s, tags %q: %s has a library for authentication", goos, tags, name)
				}
			}
			if found == (tags == "noauth") {
				t.Errorf("%s, tags %q: probe/auth has its libraries: %t", goos, tags, found)
			}
		}
	}
}
