package config

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
)

// start returns where node begins in the file.
func start(node ast.Node) position {
	// The library says that a block mapping is at its first colon.
	if m, ok := node.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return start(m.Values[0].Key)
	}
	return positionOf(node.GetToken())
}

// text returns the string node is, if it is one.
func text(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

// scalar returns node as it is written, if it is a string, number or bool.
func scalar(node ast.Node) (string, bool) {
	switch node.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode, *ast.BoolNode:
		return node.GetToken().Value, true
	}
	return text(node)
}

// describe says what node is, for a person who expected something else there.
func describe(node ast.Node) string {
	if s, ok := text(node); ok {
		return "text " + quote(s)
	}
	if s, ok := scalar(node); ok {
		return s
	}
	switch node.(type) {
	case *ast.NullNode:
		return "nothing"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode:
		return "keys with values"
	}
	return node.Type().YAMLName()
}

// quote returns s in quotes, the beginning of it if it is long.
func quote(s string) string {
	const most = 40 // characters
	if n := len([]rune(s)); n > most {
		return fmt.Sprintf("%.*q…", most, s)
	}
	return fmt.Sprintf("%q", s)
}
