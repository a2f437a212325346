package portpool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/quaymaster/quaymaster/internal/config"
)

// Read reads what a file says of the policy. The name is the file's, for messages; if
// it ends in .reg, .yaml, .yml or .json that is what the file is read as, otherwise
// it is a .reg file if it begins as one does.
//
// A .reg file may be an export of a whole registry: it is read as a stream, and the memory that is
// taken does not depend on its size. A YAML file is at most [config.MaxSize] bytes.
//
// The error is a [config.Mistakes] when the file is not what it should be, and
// that of r otherwise. What is wrong with the policy is no error: [Document.Policy]
// tells it.
func Read(name string, r io.Reader) (*Document, error) {
	b := bufio.NewReaderSize(r, maxLine)
	switch strings.ToLower(filepath.Ext(name)) {
	case ".reg":
		return readReg(name, b)
	case ".yaml", ".yml", ".json":
		return readYAML(name, b)
	}
	if begin, _ := b.Peek(64); looksLikeReg(begin) { // what is wrong with reading, it says again
		return readReg(name, b)
	}
	return readYAML(name, b)
}

func readYAML(name string, r io.Reader) (*Document, error) {
	text, err := io.ReadAll(io.LimitReader(r, config.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("portpool: %s: %w", name, err)
	}
	return parseYAML(name, text)
}

// looksLikeReg reports whether a file that begins with begin is a .reg file or, with
// a NUL in it, nothing that YAML could be.
func looksLikeReg(begin []byte) bool {
	begin = bytes.TrimPrefix(begin, []byte(markUTF8))
	return bytes.HasPrefix(begin, []byte(headerANSI)) || bytes.HasPrefix(begin, []byte("Windows Registry")) ||
		bytes.HasPrefix(begin, []byte("[HKEY_")) || bytes.HasPrefix(begin, []byte("[-HKEY_")) ||
		bytes.IndexByte(begin, 0) >= 0 || bytes.HasPrefix(begin, []byte(markLittle)) || bytes.HasPrefix(begin, []byte(markBig))
}

// The marks that tell how a text is encoded.
const (
	markUTF8   = "\xef\xbb\xbf"
	markLittle = "\xff\xfe"
	markBig    = "\xfe\xff"
)

// A lineReader reads lines of any length in pieces that fit its buffer.
type lineReader struct {
	r       *bufio.Reader
	line    int  // of the last piece, from 1
	midline bool // the last piece did not end its line
}

// next returns the next piece of the file, which is the caller's until the call after.
// begins says that a line begins with it, and whole that it ends there too. A piece has no line end.
// At the end of the file the error is [io.EOF].
func (l *lineReader) next() (piece []byte, begins, whole bool, err error) {
	begins = !l.midline
	piece, err = l.r.ReadSlice('\n')
	switch {
	case err == nil:
		piece = piece[:len(piece)-1]
	case errors.Is(err, io.EOF) && len(piece) > 0, errors.Is(err, bufio.ErrBufferFull):
	default:
		return nil, false, false, err
	}
	if begins {
		l.line++
	}
	if l.midline = errors.Is(err, bufio.ErrBufferFull); !l.midline {
		piece = bytes.TrimSuffix(piece, []byte("\r"))
	}
	return piece, begins, begins && !l.midline, nil
}

// A utf16Reader reads text in UTF-16, low byte first, as UTF-8. What is no character
// becomes U+FFFD.
type utf16Reader struct {
	r    io.Reader
	in   [32 << 10]byte
	kept int    // bytes at the beginning of in that wait for more: half of a unit
	high rune   // the first half of a character that waits for the other; 0 if none
	text []byte // UTF-8 of what was read
	out  []byte // what is left of it
	err  error
}

func (u *utf16Reader) Read(p []byte) (int, error) {
	for len(u.out) == 0 {
		if u.err != nil {
			return 0, u.err
		}
		var n int
		n, u.err = u.r.Read(u.in[u.kept:])
		n += u.kept
		u.text = u.text[:0]
		for i := 0; i+1 < n; i += 2 {
			u.unit(rune(u.in[i]) | rune(u.in[i+1])<<8)
		}
		if u.kept = n % 2; u.kept == 1 {
			u.in[0] = u.in[n-1]
		}
		if u.err != nil && (u.kept == 1 || u.high != 0) { // half a character at the end
			u.text = utf8.AppendRune(u.text, utf8.RuneError)
			u.kept, u.high = 0, 0
		}
		u.out = u.text
	}
	n := copy(p, u.out)
	u.out = u.out[n:]
	return n, nil
}

// unit adds a unit of UTF-16 to the text.
func (u *utf16Reader) unit(c rune) {
	if u.high != 0 {
		high := u.high
		u.high = 0
		both := utf16.DecodeRune(high, c)
		u.text = utf8.AppendRune(u.text, both)
		if both != utf8.RuneError {
			return
		}
		// What came instead of the other half stands for itself.
	}
	switch {
	case c < utf8.RuneSelf:
		u.text = append(u.text, byte(c))
	case 0xd800 <= c && c <= 0xdbff:
		u.high = c
	default:
		u.text = utf8.AppendRune(u.text, c) // of the second half of a character it makes U+FFFD
	}
}
