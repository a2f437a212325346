package portpool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/quaymaster/quaymaster/internal/config"
)

// policyKey is the key of the policy, below HKEY_LOCAL_MACHINE.
const policyKey = `SOFTWARE\Microsoft\Rpc\Internet`

// The first lines that a .reg file can have.
const (
	headerUnicode = "Windows Registry Editor Version 5.00"
	headerANSI    = "REGEDIT4"
)

// What a .reg file may take of our memory.
const (
	maxLine  = 64 << 10 // bytes that are read at a time
	maxValue = 1 << 20  // bytes of text of one of the values of the policy, over all of its lines
)

// A regReader reads a .reg file. It follows every line, because the text of a value may go on over
// lines that look like others, and keeps those of the policy's key only.
type regReader struct {
	lines   lineReader
	d       *Document
	ansi    bool    // of REGEDIT4, whose hex(7) has one byte for a character
	section section // what the lines belong to
	scan    scanner // through the lines of other keys
	opened  int     // the line where the text begins that scan is in
	hidden  int     // the first line that looks like the policy's key and stands in such a text; 0 if none
	inside  int     // the line where that text begins
	other   Place   // the first key that could be mistaken for the policy's
	pushed  *regLine
}

// section is what a line of a .reg file belongs to.
type section uint8

const (
	otherKey section = iota // or nothing yet
	ourKey                  // the policy's
	goneKey                 // the policy's key or one above it, which is deleted
)

// A regLine is a line of the policy's key, or the beginning of one that is too long.
type regLine struct {
	number int
	text   string
	long   bool
}

// readReg reads a .reg file to its end.
func readReg(name string, b *bufio.Reader) (*Document, error) {
	begin, err := b.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("portpool: %s: %w", name, err)
	}
	r := regReader{d: &Document{Name: name, Syntax: Reg}}
	switch {
	case bytes.HasPrefix(begin, []byte(markUTF8)):
		b.Discard(len(markUTF8))
	case bytes.HasPrefix(begin, []byte(markBig)), len(begin) >= 2 && begin[0] == 0 && begin[1] != 0:
		return nil, r.mistake(1, "UTF-16 with the high byte first, which regedit does not read: save the file as UTF-16 LE or UTF-8")
	case bytes.HasPrefix(begin, []byte(markLittle)):
		b.Discard(len(markLittle))
		b = bufio.NewReaderSize(&utf16Reader{r: b}, maxLine)
	case len(begin) >= 2 && begin[0] != 0 && begin[1] == 0:
		b = bufio.NewReaderSize(&utf16Reader{r: b}, maxLine)
	}
	r.lines.r = b
	if err := r.read(); err != nil {
		var mistakes config.Mistakes
		if errors.As(err, &mistakes) {
			return nil, err
		}
		return nil, fmt.Errorf("portpool: %s: line %d: %w", name, r.lines.line, err)
	}
	return r.d, nil
}

func (r *regReader) mistake(line int, format string, args ...any) error {
	return config.Mistakes{{File: r.d.Name, Line: line, Column: 1, Message: fmt.Sprintf(format, args...)}}
}

func (r *regReader) read() error {
	if err := r.header(); err != nil {
		return err
	}
	for {
		var err error
		if r.section == ourKey || r.section == goneKey {
			err = r.ourLine()
		} else {
			err = r.otherLine()
		}
		switch {
		case errors.Is(err, io.EOF):
			r.end()
			return nil
		case err != nil:
			return err
		}
	}
}

// header reads the first line.
func (r *regReader) header() error {
	line, _, whole, err := r.lines.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch text := string(bytes.TrimRight(line, " \t")); {
	case err != nil:
		return r.mistake(1, "the file is empty: want a .reg file, which begins with %q", headerUnicode)
	case whole && text == headerUnicode:
	case whole && text == headerANSI:
		r.ansi = true
	case strings.EqualFold(text, headerUnicode), strings.EqualFold(text, headerANSI), strings.HasPrefix(text, "Windows Registry Editor"), strings.HasPrefix(text, "["):
		return r.mistake(1, "the first line is %s, with which regedit takes nothing: make it %q", quote(text), headerUnicode)
	default:
		return r.mistake(1, "not a .reg file: it begins with %s instead of %q or %q; export the key with regedit or reg export", quote(text), headerUnicode, headerANSI)
	}
	return nil
}

// end notes what can be told at the end of the file only.
func (r *regReader) end() {
	d := r.d
	switch {
	case d.Key.State != Absent:
	case r.hidden != 0:
		d.note(Finding{Error, "hidden-key", Place{Line: r.hidden}, fmt.Sprintf("the key stands in a text that begins on line %d", r.inside), "end the text there with a quotation mark"})
	case r.other != Place{}:
		d.note(Finding{Error, "other-key", r.other, "this is another key than the policy's", `make it [HKEY_LOCAL_MACHINE\` + policyKey + `]`})
	default:
		d.note(Finding{Warning, "no-policy", Place{}, `no policy here: the file has no key HKEY_LOCAL_MACHINE\` + policyKey, "export that key; if it does not exist, there is no policy"})
	}
}

// otherLine reads a line of another key, or a piece of one.
func (r *regReader) otherLine() error {
	piece, begins, whole, err := r.lines.next()
	if err != nil {
		return err
	}
	switch {
	case !begins:
	case r.scan.inText():
		if kind, _ := sectionOf(piece); kind == ourKey && r.hidden == 0 {
			r.hidden, r.inside = r.lines.line, r.opened
		}
	default:
		if text := bytes.TrimLeft(piece, " \t"); len(text) > 0 && text[0] == '[' {
			r.begin(text, whole)
			r.scan = scanner{state: scanRest}
			return nil
		}
		r.scan.begin()
		r.opened = r.lines.line
	}
	r.scan.pass(piece)
	if !r.lines.midline {
		r.scan.lineEnd()
	}
	return nil
}

// begin begins the section that a line in brackets names.
func (r *regReader) begin(text []byte, whole bool) {
	kind, near := sectionOf(text)
	if !whole {
		kind = otherKey // the policy's is short
	}
	at := Place{Line: r.lines.line}
	d := r.d
	switch kind {
	case ourKey:
		if d.Key.State == Present {
			d.note(Finding{Warning, "key-twice", at, fmt.Sprintf("the key is on line %d too: of each value, the last one counts", d.Key.Line), "make one of the two"})
		}
		d.Key = Key{Present, at}
	case goneKey:
		*d = Document{Name: d.Name, Syntax: Reg, Key: Key{Removed, at}, findings: d.findings, more: d.more}
	default:
		if near && r.other == (Place{}) {
			r.other = at
		}
	}
	r.section = kind
}

// sectionOf tells what key a line in brackets is about, and whether another one is
// like the policy's.
func sectionOf(line []byte) (kind section, near bool) {
	line = bytes.TrimLeft(line, " \t")
	const longest = 400 // bytes in which the policy's key fits, whatever is after it
	path, isKey := bytes.CutPrefix(line[:min(len(line), longest)], []byte("["))
	end := bytes.IndexByte(path, ']')
	if !isKey || end < 0 {
		return otherKey, false
	}
	if rest := bytes.TrimLeft(path[end+1:], " \t"); len(rest) > 0 && rest[0] != ';' {
		return otherKey, false // the bracket is in the name of the key
	}
	path, removes := bytes.CutPrefix(path[:end], []byte("-"))
	key := fold(string(bytes.Trim(path, " \t")))
	root, below, _ := strings.Cut(key, `\`)
	want := fold(policyKey)
	switch {
	case root != "hkey_local_machine" && root != "hklm":
	case below == want && !removes:
		return ourKey, false
	case removes && below != "" && strings.HasPrefix(want+`\`, below+`\`):
		return goneKey, false
	}
	return otherKey, !removes && strings.HasSuffix(key, `\rpc\internet`)
}

// fold returns s with the letters A to Z in lower case: names of the registry differ in
// no case, and no other letters are in those we look for.
func fold(s string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + ('a' - 'A')
		}
		return c
	}, s)
}

// A scanner follows lines of other keys, as far as to know where a text ends that
// goes on over several lines. The zero value is at the beginning of a line.
type scanner struct {
	state   scanState
	escaped bool // the character before was a backslash that counts
}

type scanState uint8

const (
	scanStart scanState = iota // blanks before anything
	scanName                   // in "name"
	scanEqual                  // between the name and its "="
	scanData                   // after it
	scanText                   // in the text of a value
	scanRest                   // in what does not matter
)

func (s *scanner) inText() bool { return s.state == scanText }

// begin begins a line.
func (s *scanner) begin() { *s = scanner{} }

// lineEnd ends a line, of which only a text goes on after.
func (s *scanner) lineEnd() {
	s.escaped = false
	if s.state != scanText {
		s.state = scanRest
	}
}

// pass goes over a piece of a line.
func (s *scanner) pass(piece []byte) {
	for i := 0; i < len(piece); i++ {
		c := piece[i]
		switch s.state {
		case scanRest:
			return
		case scanStart:
			switch c {
			case ' ', '\t':
			case '"':
				s.state = scanName
			case '@':
				s.state = scanEqual
			default:
				s.state = scanRest
			}
		case scanEqual, scanData:
			switch {
			case c == ' ', c == '\t':
			case s.state == scanEqual && c == '=':
				s.state = scanData
			case s.state == scanData && c == '"':
				s.state = scanText
			default:
				s.state = scanRest
			}
		case scanName, scanText:
			switch {
			case s.escaped:
				s.escaped = false
			case c == '\\':
				s.escaped = true
			case c == '"' && s.state == scanName:
				s.state = scanEqual
			case c == '"':
				s.state = scanRest
			}
		}
	}
}

// nextLine returns the next line whole, as far as there is room for it.
func (r *regReader) nextLine(room int) (regLine, error) {
	if l := r.pushed; l != nil {
		r.pushed = nil
		return *l, nil
	}
	piece, _, _, err := r.lines.next()
	if err != nil {
		return regLine{}, err
	}
	l := regLine{number: r.lines.line, text: string(piece)}
	for r.lines.midline {
		if piece, _, _, err = r.lines.next(); err != nil {
			break
		}
		if l.long = l.long || len(l.text)+len(piece) > room; !l.long {
			l.text += string(piece)
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return regLine{}, err
	}
	return l, nil
}

// ourLine reads a line of the policy's key, and those on which it goes on.
func (r *regReader) ourLine() error {
	l, err := r.nextLine(maxValue)
	if err != nil {
		return err
	}
	at, d := Place{Line: l.number}, r.d
	text := strings.Trim(l.text, " \t")
	switch {
	case l.long:
		return r.mistake(l.number, "the line is longer than %d bytes: no value of the policy is", maxValue)
	case text == "", text[0] == ';':
		return nil
	case text[0] == '[':
		r.begin([]byte(text), true)
		return nil
	}
	name, data, ok := cutName(text)
	if !ok {
		d.note(Finding{Warning, "unread-line", at, fmt.Sprintf("%s is no value, and regedit skips it", quote(text)), `write "name"=data, or begin a comment with ;`})
		return nil
	}
	if continues(data) {
		if data, err = r.joinLines(data, l.number); err != nil {
			return err
		}
	}
	if r.section == goneKey {
		d.note(Finding{Warning, "unread-line", at, "the key above is deleted, and regedit skips its values", "remove the - before HKEY, or the line"})
		return nil
	}
	r.value(name, data, at)
	return nil
}

// cutName cuts the name of a value from what is set to it.
func cutName(line string) (name, data string, ok bool) {
	rest := line
	if line[0] == '@' {
		name, rest = "@", line[1:]
	} else if name, rest, ok = cutText(line); !ok {
		return "", "", false
	}
	data, ok = strings.CutPrefix(strings.TrimLeft(rest, " \t"), "=")
	return name, strings.TrimLeft(data, " \t"), ok
}

// cutText cuts a text in quotation marks from the beginning of s. A backslash stands
// before a quotation mark and another backslash.
func cutText(s string) (text, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", "", false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// isComment reports whether what comes after a value is nothing or a comment.
func isComment(s string) bool {
	s = strings.TrimLeft(s, " \t")
	return s == "" || s[0] == ';'
}

// continues reports whether hex digits go on with the next line.
func continues(data string) bool {
	if !strings.HasPrefix(fold(data), "hex") {
		return false
	}
	data, _, _ = strings.Cut(data, ";")
	return strings.HasSuffix(strings.TrimRight(data, " \t"), `\`)
}

// joinLines returns data, which begins on the line first, with the lines on which
// it goes on.
func (r *regReader) joinLines(data string, first int) (string, error) {
	var b strings.Builder
	for {
		data, _, _ = strings.Cut(data, ";")
		data = strings.Trim(data, " \t")
		part, more := strings.CutSuffix(data, `\`)
		if b.WriteString(part); !more {
			return b.String(), nil
		}
		for data = ";"; data == ";"; { // comments may stand between
			l, err := r.nextLine(maxValue - b.Len())
			if errors.Is(err, io.EOF) {
				return b.String(), nil
			}
			if err != nil {
				return "", err
			}
			if l.long || b.Len()+len(l.text) > maxValue {
				return "", r.mistake(first, "the value is longer than %d bytes: no value of the policy is", maxValue)
			}
			text := strings.Trim(l.text, " \t")
			if text == "" || strings.Trim(fold(text[:1]), `0123456789abcdef,;\`) != "" {
				r.d.note(Finding{Warning, "broken-off", Place{Line: l.number}, fmt.Sprintf("the value of line %d should go on here", first), `remove the \ at the end of the line before, or add what is missing`})
				r.pushed = &l
				return b.String(), nil
			}
			if data = text; text[0] == ';' {
				data = ";"
			}
		}
	}
}

// value notes what is set to the value of a name.
func (r *regReader) value(name, data string, at Place) {
	var v *Value
	switch fold(name) {
	case fold(nameOfPorts):
		v = &r.d.Ports
	case fold(nameOfPIA):
		v = &r.d.PortsInternetAvailable
	case fold(nameOfUIP):
		v = &r.d.UseInternetPorts
	default:
		r.unknown(name, at)
		return
	}
	got, why := r.parse(data, at)
	if why != "" {
		r.d.note(Finding{Error, "unread-line", at, fmt.Sprintf("%s: %s, and regedit skips the line", name, why), "see how regedit exports such a value"})
		return
	}
	if v.State != Absent && v.Line > r.d.Key.Line {
		r.d.note(Finding{Warning, "value-twice", at, fmt.Sprintf("%s is on line %d too: the last one counts", name, v.Line), "remove one of the two"})
	}
	*v = got
}

func (r *regReader) unknown(name string, at Place) {
	f := Finding{Severity: Warning, Code: "unknown-value", Place: at, Text: quote(name) + " is no value of the policy", Do: "remove it"}
	if near, ok := config.Suggest(name, []string{nameOfPorts, nameOfPIA, nameOfUIP}); ok {
		f.Do = fmt.Sprintf("did you mean %q?", near)
	}
	r.d.note(f)
}

// parse reads what is set to a value, or says why it cannot be read.
func (r *regReader) parse(data string, at Place) (v Value, why string) {
	v = Value{State: Present, Place: at}
	switch lower := fold(data); {
	case strings.HasPrefix(data, "-") && isComment(data[1:]):
		v.State = Removed
	case strings.HasPrefix(data, `"`):
		text, rest, ok := cutText(data)
		switch {
		case !ok:
			return v, "the text does not end on its line"
		case !isComment(rest):
			return v, fmt.Sprintf("%s comes after the text", quote(rest))
		}
		v.Type, v.Text = RegSZ, []Entry{{at, text}}
	case strings.HasPrefix(lower, "dword:"):
		digits, _, _ := strings.Cut(data[len("dword:"):], ";")
		n, err := strconv.ParseUint(strings.Trim(digits, " \t"), 16, 32)
		if err != nil {
			return v, fmt.Sprintf("%s is no dword", quote(data))
		}
		v.Type, v.Text = RegDWORD, []Entry{{at, strconv.FormatUint(n, 10)}}
	case strings.HasPrefix(lower, "hex"):
		return r.parseHex(lower[len("hex"):], v)
	default:
		return v, fmt.Sprintf("%s is no data", quote(data))
	}
	return v, ""
}

// parseHex reads what comes after the word hex, in lower case: the type of v in
// parentheses, a colon and its bytes.
func (r *regReader) parseHex(data string, v Value) (Value, string) {
	v.Type = RegBinary
	if inside, ok := strings.CutPrefix(data, "("); ok {
		number, rest, _ := strings.Cut(inside, ")")
		n, err := strconv.ParseUint(number, 16, 32)
		if err != nil {
			return v, fmt.Sprintf("%s is no type", quote(number))
		}
		v.Type, data = Type(n), rest
	}
	list, ok := strings.CutPrefix(data, ":")
	list, _, _ = strings.Cut(list, ";")
	if !ok {
		return v, "a colon is missing after hex"
	}
	var raw []byte
	for item := range strings.SplitSeq(list, ",") {
		item = strings.Trim(item, " \t")
		if item == "" {
			continue // regedit does not mind a comma too many
		}
		n, err := strconv.ParseUint(item, 16, 8)
		if err != nil {
			return v, fmt.Sprintf("%s is no byte in hex", quote(item))
		}
		raw = append(raw, byte(n))
	}
	switch v.Type {
	case RegSZ, RegExpandSZ, RegMultiSZ:
		r.strings(raw, &v)
	default:
		v.Text = []Entry{{v.Place, strings.Trim(list, " \t")}}
	}
	return v, ""
}

// strings makes the strings of v from the bytes that are stored.
func (r *regReader) strings(raw []byte, v *Value) {
	text := r.decode(raw, v.Place)
	nuls := len(text) - len(strings.TrimRight(text, "\x00"))
	text = text[:len(text)-nuls]
	if want := map[bool]int{true: 2, false: 1}[v.Type == RegMultiSZ]; nuls < want && text != "" {
		r.d.note(Finding{Warning, "missing-nul", v.Place, fmt.Sprintf("%v ends with %d NUL characters instead of %d", v.Type, nuls, want), "add 00,00 at the end for each"})
	}
	switch {
	case v.Type != RegMultiSZ:
		v.Text = []Entry{{v.Place, text}}
	case text != "":
		for s := range strings.SplitSeq(text, "\x00") {
			v.Text = append(v.Text, Entry{v.Place, s})
		}
	}
}

// decode returns bytes as text: a byte for a character in REGEDIT4, otherwise UTF-16.
func (r *regReader) decode(raw []byte, at Place) string {
	wide, narrow := true, true // whether they look like two bytes for a character, like one
	for i, c := range raw {
		if i%2 == 1 && c != 0 {
			wide = false
		}
		if strings.IndexByte("0123456789- \t\x00YNyn", c) < 0 {
			narrow = false
		}
	}
	if r.ansi {
		if wide && len(raw) >= 8 {
			r.d.note(Finding{Error, "encoding", at, "there are two bytes for a character, where files that begin with " + headerANSI + " have one", fmt.Sprintf("make the first line %q", headerUnicode)})
		}
		var b strings.Builder
		for _, c := range raw {
			b.WriteRune(rune(c))
		}
		return b.String()
	}
	switch {
	case narrow && !wide:
		r.d.note(Finding{Error, "encoding", at, "there is one byte for a character, where files of Version 5.00 have two", "write 35,00 for 5, or make the first line " + headerANSI})
	case len(raw)%2 == 1:
		r.d.note(Finding{Error, "encoding", at, fmt.Sprintf("an odd number of bytes, %d: each character has two", len(raw)), "add the 00 that is missing"})
	}
	units := make([]uint16, 0, len(raw)/2+1)
	for i := 0; i+1 < len(raw); i += 2 {
		units = append(units, uint16(raw[i])|uint16(raw[i+1])<<8)
	}
	if len(raw)%2 == 1 && raw[len(raw)-1] != 0 {
		units = append(units, 0xfffd) // half a character
	}
	return string(utf16.Decode(units))
}
