package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The library parses by recursion, makes a path as long as the nesting is deep for
// every value, and takes time by the square of the keys of a block mapping: without
// bounds a file of the size we read can take all memory, or minutes.
const (
	maxFlow   = 100    // levels of [ and {
	maxIndent = 200    // columns before a list item or key; each level takes at least one
	maxKeys   = 10_000 // keys of a block mapping
	maxKey    = 256    // bytes of a key
)

// parse returns the document in data, nil if there is nothing in it. If there are
// mistakes there is no document.
func parse(name string, data []byte) (ast.Node, Mistakes) {
	if len(data) > MaxSize {
		return nil, Mistakes{{File: name, Message: fmt.Sprintf("larger than %d bytes", MaxSize)}}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // the library takes a byte order mark for a letter
	if at, ok := invalidUTF8(data); ok {
		return nil, Mistakes{{name, at.line, at.column, "not UTF-8: save the file in that encoding"}}
	}
	tokens := lexer.Tokenize(string(data))
	if mistakes := append(checkSyntax(name, tokens), checkBounds(name, tokens)...); len(mistakes) > 0 {
		return nil, mistakes
	}
	// Duplicate keys are found later, all of them and with our words.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, Mistakes{syntaxMistake(name, err)}
	}
	if len(file.Docs) == 0 {
		return nil, nil
	}
	return file.Docs[0].Body, nil
}

// invalidUTF8 returns the position of the first byte of data that is not UTF-8.
func invalidUTF8(data []byte) (position, bool) {
	at := position{1, 1}
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1:
			return at, true
		case r == '\n':
			at = position{at.line + 1, 1}
		default:
			at.column++
		}
		data = data[size:]
	}
	return position{}, false
}

// refused has the syntax this package does not read, and what to do instead.
var refused = map[token.Type]string{
	token.AnchorType:     `anchors are not supported: quote a value that starts with "&"`,
	token.AliasType:      `aliases are not supported: quote a value that starts with "*"`,
	token.TagType:        `tags are not supported: quote a value that starts with "!"`,
	token.DirectiveType:  `directives are not supported: remove the line that starts with "%"`,
	token.MergeKeyType:   `merge keys are not supported: write out what "<<" stands for`,
	token.MappingKeyType: `"? key" is not supported: write "key: value"`,
}

// checkSyntax finds syntax this package refuses, and a second document.
func checkSyntax(name string, tokens token.Tokens) Mistakes {
	var mistakes Mistakes
	begun, ended := false, false
	for _, tk := range tokens {
		if tk.Type == token.CommentType {
			continue
		}
		if message, ok := refused[tk.Type]; ok {
			mistakes = append(mistakes, mistakeAt(name, tk, message))
		}
		if tk.Type == token.DirectiveType {
			break // its words and the "---" after it say nothing
		}
		// The parser loses what follows "---" and another "---" without a word.
		if ended || begun && tk.Type == token.DocumentHeaderType {
			mistakes = append(mistakes, mistakeAt(name, tk, "a second document begins: put it in a file of its own"))
			break
		}
		begun, ended = true, tk.Type == token.DocumentEndType
	}
	return mistakes
}

// checkBounds finds the first place where the file is too much for the parser.
func checkBounds(name string, tokens token.Tokens) Mistakes {
	tooMuch := func(tk *token.Token, format string, limit int) Mistakes {
		return Mistakes{mistakeAt(name, tk, fmt.Sprintf(format, limit))}
	}
	flow := 0                   // open [ and {
	var keys [maxIndent + 1]int // keys of the open block mapping that begins in a column
	for _, tk := range tokens {
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			if flow++; flow > maxFlow {
				return tooMuch(tk, "nested more than %d levels deep", maxFlow)
			}
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType:
			column := tk.Position.Column
			if column > maxIndent {
				return tooMuch(tk, "indented more than %d columns", maxIndent)
			}
			clear(keys[column+1:])
		case token.MappingValueType:
			key := cmp.Or(tk.Prev, tk)
			if len(key.Value) > maxKey {
				return tooMuch(key, "a key of more than %d bytes", maxKey)
			}
			if flow > 0 {
				continue
			}
			column := key.Position.Column
			if column > maxIndent {
				return tooMuch(key, "indented more than %d columns", maxIndent)
			}
			clear(keys[column+1:])
			if keys[column]++; keys[column] > maxKeys {
				return tooMuch(key, "a mapping of more than %d keys", maxKeys)
			}
		}
	}
	return nil
}

// syntaxMistake returns what the parser says about the file, in one line.
func syntaxMistake(name string, err error) Mistake {
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) && syntax.Token != nil {
		return mistakeAt(name, syntax.Token, printable(syntax.Message))
	}
	return Mistake{File: name, Message: printable(err.Error())}
}

// printable returns a message of the parser, which repeats parts of the file as
// they are, without controls and not too long.
func printable(message string) string {
	const most = 200 // characters
	var b strings.Builder
	n := 0
	for _, r := range message {
		if n++; n > most {
			return b.String() + "…"
		}
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

func mistakeAt(name string, tk *token.Token, message string) Mistake {
	at := positionOf(tk)
	return Mistake{name, at.line, at.column, message}
}

func positionOf(tk *token.Token) position {
	return position{tk.Position.Line, tk.Position.Column}
}
