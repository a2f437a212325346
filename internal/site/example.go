package site

import _ "embed" // the example and the schema

//go:embed example.yaml
var example string

//go:embed site.schema.json
var schema string

// Example returns a small site file that works and has every key once, those that few need as
// comments. It is the caller's.
func Example() []byte { return []byte(example) }

// Schema returns the JSON Schema (draft 2020-12) of a site file, for editors. It knows the keys and their
// types, and not whether what they name is there. It is the caller's.
func Schema() []byte { return []byte(schema) }
