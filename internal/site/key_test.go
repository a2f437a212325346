package site

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSchemaKeys holds that the schema and Read know the same keys, that each is explained, and that the
// example shows each.
func TestSchemaKeys(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, node map[string]any, of reflect.Type)
	walk = func(path string, node map[string]any, of reflect.Type) {
		if ref, ok := node["$ref"].(string); ok {
			if host, ok := strings.CutPrefix(ref, "#/$defs/"); ok && of.Kind() == reflect.Struct {
				node = root["$defs"].(map[string]any)[host].(map[string]any)
			}
		}
		switch of.Kind() {
		case reflect.Map:
			walk(path+".*", node["additionalProperties"].(map[string]any), of.Elem())
		case reflect.Slice:
			walk(path+"[]", node["items"].(map[string]any), of.Elem())
		case reflect.Struct:
			properties := node["properties"].(map[string]any)
			var keys []string
			for i := range of.NumField() {
				key := of.Field(i).Tag.Get("yaml")
				keys = append(keys, key)
				child, ok := properties[key].(map[string]any)
				if !ok {
					continue
				}
				if text, _ := child["description"].(string); text == "" {
					t.Errorf("%s.%s has no description", path, key)
				}
				if !strings.Contains(example, key+":") {
					t.Errorf("the example does not show %s.%s", path, key)
				}
				walk(path+"."+key, child, of.Field(i).Type)
			}
			slices.Sort(keys)
			if diff := cmp.Diff(keys, slices.Sorted(maps.Keys(properties))); diff != "" {
				t.Errorf("keys of %s (-Read +schema)\n%s", path, diff)
			}
			if node["additionalProperties"] != false {
				t.Errorf("%s takes any key", path)
			}
		}
	}
	walk("$", root, reflect.TypeFor[file]())
}
