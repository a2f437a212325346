// Package show prints values for eyes and for programs: tables, JSON, and text
// from the network that must not reach a terminal as it is.
package show

import (
	"errors"
	"fmt"
	"io"
	"os"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"
)

// A Screen is where output goes, and what may be done there.
type Screen struct {
	io.Writer
	Terminal bool // a person is watching
	Width    int  // columns of the terminal; 0 if there is none: lines may be of any length
	Color    bool // escape sequences for colour and weight are welcome
}

// NewScreen returns the screen that writes to f. It obeys color, which is what
// --color says, and where that leaves it open noColor, the value of the
// environment variable NO_COLOR: any text in it means no colour.
func NewScreen(f *os.File, color Color, noColor string) Screen {
	s := Screen{Writer: f, Terminal: term.IsTerminal(int(f.Fd()))}
	if s.Terminal {
		s.Width, _, _ = term.GetSize(int(f.Fd())) // 0 if it does not tell
	}
	s.Color = color == ColorAlways || color == ColorAuto && s.Terminal && noColor == ""
	return s
}

// Bold returns text in bold where s has colour, and as it is elsewhere. The text must be
// clean.
func (s Screen) Bold(text string) string {
	if !s.Color {
		return text
	}
	return lipgloss.NewStyle().Bold(true).Render(text)
}

// A Color says when to colour output. It is the value of the flag --color and has
// the methods flag packages ask for. The zero value is ColorAuto.
type Color uint8

// When to colour output.
const (
	ColorAuto   Color = iota // on a terminal, unless NO_COLOR is set
	ColorAlways              // into pipes and files too
	ColorNever
)

var colorNames = [...]string{ColorAuto: "auto", ColorAlways: "always", ColorNever: "never"}

// String returns "auto", "always" or "never".
func (c Color) String() string {
	if int(c) < len(colorNames) {
		return colorNames[c]
	}
	return fmt.Sprintf("Color(%d)", uint8(c))
}

// Set sets c to the value that String returns as name. The error does not repeat
// the name: flag packages do.
func (c *Color) Set(name string) error {
	for i, n := range colorNames {
		if n == name {
			*c = Color(i)
			return nil
		}
	}
	return errors.New("want auto, always or never")
}

// Type returns "when", the word that stands for the value in a help text.
func (c *Color) Type() string { return "when" }
