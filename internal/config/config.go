// Package config reads YAML files strictly: what a file says is either
// understood or reported, with file, line and column.
//
// A file is one YAML 1.2 document; JSON is YAML, so it works too. Beside what
// does not parse, these are mistakes: keys the program does not know, a key given
// twice, a value of the wrong kind, a value left out, a second document.
// Anchors, aliases, merge keys, tags, directives and "? key" are refused: a file
// written by hand is clearer without them, and *:111 is more often an address
// that lacks its quotes than an alias.
package config

import (
	"fmt"
	"reflect"
	"strings"
)

// MaxSize is the size in bytes of the largest file [Decode] reads.
const MaxSize = 8 << 20

// A File is a decoded file. It remembers where each value stood, for mistakes
// that only the caller can see. Make one with [Decode].
type File struct {
	name      string
	positions map[string]position // of values, by path; always has "$"
	keys      map[string]position // of the keys of maps, by the path of what belongs to them
}

type position struct{ line, column int }

// Decode reads data, a YAML document, into what into points to: a struct, a
// slice or a map. What the document does not mention is left alone, so callers
// set defaults before; an empty document changes nothing. The name is the
// file's, for messages. Decode does not keep data.
//
// Fields of a struct are found by their tag, `yaml:"name"`, and those without one
// are never set. A field, an element of a slice or a value of a map is a string, a
// bool, an integer, a [time.Duration] written as "30s", a type with an
// UnmarshalText method, or again a struct, a slice or a map whose keys are
// strings; or a pointer to one of these if the value may be null. Decode panics
// when it meets another type. A list or mapping of the file replaces a slice or
// map as a whole.
//
// A number is not taken for text nor text for a number, but UnmarshalText gets
// either. Integers are decimal, or hexadecimal with 0x.
//
// The error is always a [Mistakes]: all that is wrong with the file, or with its
// syntax where that cannot be understood. The value may be half decoded then; the File is
// there all the same, for callers that look for more mistakes, but nil if the syntax is wrong.
func Decode(name string, data []byte, into any) (*File, error) {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		panic(fmt.Sprintf("config: Decode into %T, want a pointer", into))
	}
	d := decoder{file: &File{name: name, positions: map[string]position{"$": {1, 1}}, keys: map[string]position{}}}
	root, mistakes := parse(name, data)
	if root == nil && len(mistakes) > 0 {
		mistakes.Sort()
		return nil, mistakes
	}
	if root != nil {
		d.value(root, "$", target.Elem())
	}
	if len(d.mistakes) > 0 {
		d.mistakes.Sort()
		return d.file, d.mistakes
	}
	return d.file, nil
}

// Mistake returns a mistake about the value at path, for callers that find what
// no type can tell: an address this host does not have, two ports that must
// differ. The message follows from format and args as in [fmt.Sprintf].
//
// A path leads from "$", the document, by ".key" and "[index]":
// $.listen_onc[1], $.hosts[3].role. A key with one of the characters $*.[] in it
// is put in single quotes: $.zones.'corp.example'.size. If nothing stands there, the
// mistake is at the nearest value around it: for a key that is missing, where its
// mapping begins.
func (f *File) Mistake(path, format string, args ...any) Mistake {
	at, ok := f.positions[path]
	for !ok {
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
		if path == "" {
			path = "$"
		}
		at, ok = f.positions[path]
	}
	return Mistake{File: f.name, Line: at.line, Column: at.column, Message: fmt.Sprintf(format, args...)}
}

// KeyMistake is as [File.Mistake], but about the key at path if that is one of a map: where a
// name stands rather than what belongs to it.
func (f *File) KeyMistake(path, format string, args ...any) Mistake {
	m := f.Mistake(path, format, args...)
	if at, ok := f.keys[path]; ok {
		m.Line, m.Column = at.line, at.column
	}
	return m
}

// Has reports whether something stands at path, which is as for [File.Mistake]: also
// null, which leaves a pointer nil as a missing key does.
func (f *File) Has(path string) bool {
	_, ok := f.positions[path]
	return ok
}

// Path returns the path of the value of key in the mapping at path: see [File.Mistake].
func Path(path, key string) string {
	if strings.ContainsAny(key, "$*.[]") {
		key = "'" + key + "'"
	}
	return path + "." + key
}
