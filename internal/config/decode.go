package config

import (
	"encoding"
	"fmt"
	"iter"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// A decoder sets Go values from the nodes of a document and goes on after a
// mistake. The library has a decoder too, but that one converts kinds silently
// and ends at the first mistake.
type decoder struct {
	file     *File
	mistakes Mistakes
}

var (
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
	durationType = reflect.TypeFor[time.Duration]()
)

// value sets v, which is addressable, to the value of node at path.
func (d *decoder) value(node ast.Node, path string, v reflect.Value) {
	d.file.positions[path] = start(node)
	if v.Kind() == reflect.Pointer {
		if node.Type() == ast.NullType {
			v.SetZero()
			return
		}
		target := reflect.New(v.Type().Elem())
		d.value(node, path, target.Elem())
		v.Set(target)
		return
	}
	switch {
	case v.Addr().Type().Implements(textType):
		d.text(node, path, v)
	case v.Type() == durationType:
		d.duration(node, path, v)
	default:
		d.kind(node, path, v)
	}
}

// kind sets v from a node that has to be of its kind.
func (d *decoder) kind(node ast.Node, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		d.structure(node, path, v)
	case reflect.Map:
		d.mapping(node, path, v)
	case reflect.Slice:
		d.list(node, path, v)
	case reflect.String:
		if s, ok := text(node); ok {
			v.SetString(s)
		} else if _, ok := scalar(node); ok {
			d.mismatch(node, path, "text", ": put it in quotes")
		} else {
			d.mismatch(node, path, "text", "")
		}
	case reflect.Bool:
		if b, ok := node.(*ast.BoolNode); ok {
			v.SetBool(b.Value)
		} else {
			d.mismatch(node, path, "true or false", "")
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		d.integer(node, path, v)
	default:
		panic(fmt.Sprintf("config: cannot decode %s of %s into %v", path, d.file.name, v.Type()))
	}
}

func (d *decoder) structure(node ast.Node, path string, v reflect.Value) {
	var names []string
	fields := map[string]int{}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			names = append(names, name)
			fields[name] = i
		}
	}
	for key, entry := range d.entries(node, path) {
		if i, ok := fields[key]; ok {
			d.value(entry.Value, Path(path, key), v.Field(i))
		} else if like, ok := Suggest(key, names); ok {
			d.mistake(entry.Key, "unknown key %s; did you mean %q?", quote(key), like)
		} else {
			d.mistake(entry.Key, "unknown key %s; known here: %s", quote(key), strings.Join(names, ", "))
		}
	}
}

func (d *decoder) mapping(node ast.Node, path string, v reflect.Value) {
	t := v.Type()
	m := reflect.MakeMap(t)
	for key, entry := range d.entries(node, path) {
		value := reflect.New(t.Elem()).Elem()
		d.file.keys[Path(path, key)] = start(entry.Key)
		d.value(entry.Value, Path(path, key), value)
		m.SetMapIndex(reflect.ValueOf(key).Convert(t.Key()), value)
	}
	v.Set(m)
}

// entries returns the keys of a mapping with what belongs to them, each key once,
// in the order of the file.
func (d *decoder) entries(node ast.Node, path string) iter.Seq2[string, *ast.MappingValueNode] {
	return func(yield func(string, *ast.MappingValueNode) bool) {
		m, ok := node.(*ast.MappingNode)
		if !ok {
			d.mismatch(node, path, "keys with values", "")
			return
		}
		lines := map[string]int{}
		for _, entry := range m.Values {
			key, ok := scalar(entry.Key)
			if !ok {
				d.mistake(entry.Key, "a key must be a word, found %s", describe(entry.Key))
				continue
			}
			if line, ok := lines[key]; ok {
				d.mistake(entry.Key, "key %s is on line %d already: keep one", quote(key), line)
				continue
			}
			lines[key] = start(entry.Key).line
			if !yield(key, entry) {
				return
			}
		}
	}
}

func (d *decoder) list(node ast.Node, path string, v reflect.Value) {
	seq, ok := node.(*ast.SequenceNode)
	if !ok {
		d.mismatch(node, path, "a list", "")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	for i, item := range seq.Values {
		if word, ok := glued(item); ok {
			item = word
		}
		d.value(item, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
	}
}

// glued returns a word with a colon in it, such as cluster:sql, for the mapping that the parser takes it for in a list
// within braces. A colon with nothing behind it begins no value (YAML 1.2.2, section 7.3.3).
func glued(node ast.Node) (*ast.StringNode, bool) {
	m, ok := node.(*ast.MappingNode)
	if !ok || m.IsFlowStyle || len(m.Values) != 1 {
		return nil, false
	}
	key, ok := m.Values[0].Key.(*ast.StringNode)
	if !ok || key.Token.Type != token.StringType {
		return nil, false
	}
	value, ok := m.Values[0].Value.(ast.ScalarNode)
	if !ok || value.GetToken().Type == token.SingleQuoteType || value.GetToken().Type == token.DoubleQuoteType {
		return nil, false
	}
	from, to := key.Token.Position, value.GetToken().Position
	if from.Line != to.Line || to.Offset != from.Offset+len(key.Token.Value)+1 {
		return nil, false
	}
	text := key.Token.Value + ":" + value.GetToken().Value
	return &ast.StringNode{BaseNode: &ast.BaseNode{}, Token: key.Token, Value: text}, true
}

func (d *decoder) text(node ast.Node, path string, v reflect.Value) {
	s, ok := scalar(node)
	if !ok {
		d.mismatch(node, path, "a single value", "")
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
		d.mistake(node, "%s%v", label(path), err)
	}
}

func (d *decoder) duration(node ast.Node, path string, v reflect.Value) {
	s, _ := text(node)
	span, err := time.ParseDuration(s)
	if err != nil {
		d.mismatch(node, path, "a duration such as 30s or 5m", "")
		return
	}
	v.SetInt(int64(span))
}

func (d *decoder) integer(node ast.Node, path string, v reflect.Value) {
	bits := v.Type().Bits()
	digits, base := integerText(node)
	if v.CanInt() {
		n, err := strconv.ParseInt(digits, base, bits)
		if err != nil {
			half := int64(1) << (bits - 1) // -half wraps to itself with 64 bits, and half-1 to the largest
			d.mismatch(node, path, fmt.Sprintf("a number from %d to %d", -half, half-1), hint(node))
			return
		}
		v.SetInt(n)
		return
	}
	n, err := strconv.ParseUint(digits, base, bits)
	if err != nil {
		d.mismatch(node, path, fmt.Sprintf("a number from 0 to %d", uint64(math.MaxUint64)>>(64-bits)), hint(node))
		return
	}
	v.SetUint(n)
}

// integerText returns the digits of an integer and their base. It returns no
// digits for anything else, and for numbers that programs read differently: 010 is
// eight to some.
func integerText(node ast.Node) (string, int) {
	n, ok := node.(*ast.IntegerNode)
	switch {
	case !ok || leadingZero(n):
		return "", 10
	case strings.HasPrefix(n.Token.Value, "0x"):
		return n.Token.Value[2:], 16
	default:
		return n.Token.Value, 10
	}
}

func leadingZero(n *ast.IntegerNode) bool {
	digits := strings.TrimLeft(n.Token.Value, "+-")
	return len(digits) > 1 && digits[0] == '0' && '0' <= digits[1] && digits[1] <= '9'
}

// hint returns how to make a number of node, if that is plain.
func hint(node ast.Node) string {
	switch n := node.(type) {
	case *ast.StringNode:
		if token.ToNumber(n.Value) != nil {
			return ": remove the quotes"
		}
	case *ast.IntegerNode:
		if leadingZero(n) {
			return ": remove the zeros before it"
		}
	}
	return ""
}

func (d *decoder) mismatch(node ast.Node, path, want, hint string) {
	if node.Type() == ast.NullType {
		hint = ": give it a value or remove it"
	}
	d.mistake(node, "%swant %s, found %s%s", label(path), want, describe(node), hint)
}

func (d *decoder) mistake(node ast.Node, format string, args ...any) {
	at := start(node)
	d.mistakes = append(d.mistakes, Mistake{d.file.name, at.line, at.column, fmt.Sprintf(format, args...)})
}

// label returns path as the beginning of a message, if it reads well there.
func label(path string) string {
	path = strings.TrimPrefix(strings.TrimPrefix(path, "$"), ".")
	unprintable := func(r rune) bool { return !strconv.IsPrint(r) }
	if path == "" || len(path) > 80 || strings.ContainsFunc(path, unprintable) {
		return ""
	}
	return path + ": "
}
