package show_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"charm.land/lipgloss/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quaymaster/quaymaster/internal/show"
)

func endpoints() *show.Table {
	t := show.NewTable(
		show.Column{Head: "interface"}, show.Column{Right: true}, show.Column{Head: "version"},
		show.Column{Head: "endpoint"}, show.Column{Head: "owner", Shrink: true}, show.Column{Head: "since", Right: true})
	t.Add("status", "100024", "1", "*:662", "statd (1204)", "2h")
	t.Add("mountd", "100005", "1-3", "*:20048", "root (1188)", "12d")
	t.Add("winreg", "338cd001…", "1.0", `\pipe\winreg`, "", "41m")
	t.Add("東京", "7", "1", "*:7\x1b[2J", "", "")
	return t
}

func TestTable(t *testing.T) {
	tests := []struct {
		name   string
		screen show.Screen
		want   string
	}{
		{"piped", show.Screen{}, `
INTERFACE             VERSION  ENDPOINT      OWNER         SINCE
status        100024  1        *:662         statd (1204)     2h
mountd        100005  1-3      *:20048       root (1188)     12d
winreg     338cd001…  1.0      \pipe\winreg  —               41m
東京               7  1        *:7\x1b[2J    —                 —
`},
		{"wide enough", show.Screen{Terminal: true, Width: 65}, `
INTERFACE             VERSION  ENDPOINT      OWNER         SINCE
status        100024  1        *:662         statd (1204)     2h
mountd        100005  1-3      *:20048       root (1188)     12d
winreg     338cd001…  1.0      \pipe\winreg  —               41m
東京               7  1        *:7\x1b[2J    —                 —
`},
		{"a little narrow", show.Screen{Terminal: true, Width: 60}, `
INTERFACE             VERSION  ENDPOINT      OWNER     SINCE
status        100024  1        *:662         statd (…     2h
mountd        100005  1-3      *:20048       root (1…    12d
winreg     338cd001…  1.0      \pipe\winreg  —           41m
東京               7  1        *:7\x1b[2J    —             —
`},
		{"much too narrow", show.Screen{Terminal: true, Width: 20}, `
INTERFACE             VERSION  ENDPOINT      OWNER  SINCE
status        100024  1        *:662         stat…     2h
mountd        100005  1-3      *:20048       root…    12d
winreg     338cd001…  1.0      \pipe\winreg  —        41m
東京               7  1        *:7\x1b[2J    —          —
`},
		{"coloured", show.Screen{Color: true}, "\n\x1b[1m" + `INTERFACE             VERSION  ENDPOINT      OWNER         SINCE` + "\x1b[m" + `
status        100024  1        *:662         statd (1204)     2h
mountd        100005  1-3      *:20048       root (1188)     12d
winreg     338cd001…  1.0      \pipe\winreg  —               41m
東京               7  1        *:7\x1b[2J    —                 —
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			tt.screen.Writer = &b
			if err := endpoints().Print(tt.screen); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, "\n"+b.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestTableLastColumns(t *testing.T) {
	table := show.NewTable(show.Column{Head: "state"}, show.Column{Head: "annotation", Shrink: true}, show.Column{Head: "why", Shrink: true})
	table.Add("works", "the first thing that was said of it", "the reason for it")
	table.Add("works", "   ", "   ")
	tests := []struct {
		width int
		want  string
	}{
		{0, `
STATE  ANNOTATION                           WHY
works  the first thing that was said of it  the reason for it
works
`},
		{50, `
STATE  ANNOTATION                           WHY
works  the first thing that was said of it  the r…
works
`},
		{40, `
STATE  ANNOTATION                   WHY
works  the first thing that was s…  the…
works
`},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.width), func(t *testing.T) {
			var b bytes.Buffer
			if err := table.Print(show.Screen{Writer: &b, Width: tt.width}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, "\n"+b.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestTableWithoutRows(t *testing.T) {
	var b bytes.Buffer
	if err := show.NewTable(show.Column{Head: "a"}, show.Column{}).Print(show.Screen{Writer: &b, Width: 80}); err != nil || b.String() != "A\n" {
		t.Errorf("Print = %q, %v, want the heads", b.String(), err)
	}
}

func TestTableWrongRow(t *testing.T) {
	defer func() {
		if got, want := recover(), "show: row of 2 cells in a table of 1 columns"; got != want {
			t.Errorf("Add panics with %v, want %s", got, want)
		}
	}()
	show.NewTable(show.Column{Head: "a"}).Add("1", "2")
}

type brokenPipe struct{}

var errBrokenPipe = errors.New("broken pipe")

func (brokenPipe) Write([]byte) (int, error) { return 0, errBrokenPipe }

func TestTableWriteError(t *testing.T) {
	if err := endpoints().Print(show.Screen{Writer: brokenPipe{}}); !errors.Is(err, errBrokenPipe) {
		t.Errorf("Print into a broken pipe: %v, want %v", err, errBrokenPipe)
	}
}

// Whatever is in a table, its lines have no spaces at their ends, columns begin
// where their heads do, and a terminal wide enough for the rest is not exceeded.
func TestTableLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := show.NewTable(show.Column{Head: "first"}, show.Column{Head: "second", Shrink: true}, show.Column{Head: "third"})
		letter := rapid.RuneFrom([]rune("abc  é東🚢\u0301\x1b\n\u202e\\…—"))
		rows := rapid.SliceOfN(rapid.StringOfN(letter, 0, 30, -1), 0, 5).Draw(t, "cells")
		for _, cell := range rows {
			table.Add("a", cell, "b")
		}
		width := rapid.IntRange(len("first  second  third"), 80).Draw(t, "width")
		var b bytes.Buffer
		if err := table.Print(show.Screen{Writer: &b, Width: width}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != len(rows)+1 {
			t.Fatalf("%d lines for %d rows:\n%s", len(lines), len(rows), b.String())
		}
		third := strings.Index(lines[0], "THIRD")
		for _, line := range lines[1:] {
			if before, _ := strings.CutSuffix(line, "b"); lipgloss.Width(line) > width || lipgloss.Width(before) != third {
				t.Fatalf("third column is not at %d within %d:\n%s", third, width, b.String())
			}
		}
	})
}

func BenchmarkTable(b *testing.B) {
	table := endpoints()
	for range 10_000 {
		table.Add("nfs", "100003", "3", "10.0.0.9:2049", "root", "12d")
	}
	b.ReportAllocs()
	for b.Loop() {
		var out bytes.Buffer
		if err := table.Print(show.Screen{Writer: &out}); err != nil {
			b.Fatal(err)
		}
	}
}
