package schemas_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// breakingChanges lists what the present schemas, by name, take from those who rely on
// the released ones: readers of new events, and whoever judges stored ones.
// What is new since the release breaks nothing.
func breakingChanges(released, present map[string]any) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(released)) {
		if present[name] == nil {
			found = append(found, name+": the schema is gone")
			continue
		}
		c := comparison{released: released[name], present: present[name]}
		c.schemas("", c.released, c.present)
		for _, fault := range c.found {
			found = append(found, name+fault)
		}
	}
	return found
}

// A comparison walks two schemas at once. Since new events must be what readers
// of the released schema expect, and stored events must stay valid under the
// present one, the two must say the same wherever both speak; only properties
// may come. Where a condition is involved (if, anyOf and the like), no more than
// the words that describe it may differ.
type comparison struct {
	released, present any // whole documents, for references
	found             []string
}

func (c *comparison) fault(at, format string, args ...any) {
	c.found = append(c.found, " "+at+": "+fmt.Sprintf(format, args...))
}

func (c *comparison) schemas(at string, was, is any) {
	old, new := rules(c.released, was), rules(c.present, is)
	if old == nil || new == nil {
		if !reflect.DeepEqual(was, is) { // true, false or none at all
			c.fault(at, "allows something else")
		}
		return
	}
	c.properties(at, old, new)
	for _, keyword := range slices.Sorted(maps.Keys(merged(old, new))) {
		was, had := old[keyword]
		is, has := new[keyword]
		switch {
		case keyword == "properties":
		case keyword == "required":
			c.sets(at, "newly required", "no longer required", was, is)
		case keyword == "enum" && had && has:
			c.sets(at, "new in the enum", "gone from the enum", was, is)
		case keyword == "type" && had && has:
			c.sets(at, "new among the types", "gone from the types", was, is)
		case (keyword == "items" || keyword == "additionalProperties") && had && has:
			c.schemas(at+"/*", was, is)
		case !reflect.DeepEqual(expandRules(c.released, was), expandRules(c.present, is)):
			c.fault(at, "another %s", keyword)
		}
	}
}

// properties compares fields. One that comes must be what any field of that
// name was allowed to be.
func (c *comparison) properties(at string, old, new map[string]any) {
	was, _ := old["properties"].(map[string]any)
	is, _ := new["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if is[name] == nil {
			c.fault(at+"/"+name, "removed")
			continue
		}
		c.schemas(at+"/"+name, was[name], is[name])
	}
	other, closed := old["additionalProperties"]
	if closed && other != true {
		for _, name := range slices.Sorted(maps.Keys(is)) {
			if was[name] == nil {
				c.schemas(at+"/"+name, other, is[name])
			}
		}
	}
}

// sets compares lists whose order means nothing, or one word with such a list.
func (c *comparison) sets(at, more, less string, was, is any) {
	old, new := wordList(was), wordList(is)
	for _, w := range new {
		if !slices.Contains(old, w) {
			c.fault(at, "%s: %s", more, w)
		}
	}
	for _, w := range old {
		if !slices.Contains(new, w) {
			c.fault(at, "%s: %s", less, w)
		}
	}
}

// wordList writes a list, or the one word that may stand in its place, as text.
func wordList(v any) []string {
	list, ok := v.([]any)
	if !ok && v != nil {
		list = []any{v}
	}
	out := make([]string, len(list))
	for i, w := range list {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false) // operators are to be read
		_ = e.Encode(w)        // it came from JSON
		out[i] = strings.Trim(b.String(), "\"\n")
	}
	return out
}

// rules returns what a schema demands: with its reference followed, and without
// what only describes. It is nil for what is no object.
func rules(root, schema any) map[string]any {
	s, ok := schema.(map[string]any)
	if !ok {
		return nil
	}
	out := maps.Clone(s)
	if ref, ok := s["$ref"].(string); ok {
		target := root
		for _, key := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
			target = target.(map[string]any)[key]
		}
		delete(out, "$ref")
		out = merged(rules(root, target), out)
	}
	for _, annotation := range []string{"description", "examples", "$comment", "$defs"} {
		delete(out, annotation)
	}
	return out
}

// expandRules is rules all the way down, for what is compared as a whole.
func expandRules(root, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, value := range rules(root, v) {
			named, ok := value.(map[string]any)
			if key != "properties" || !ok {
				out[key] = expandRules(root, value)
				continue
			}
			fields := map[string]any{} // whose names are no keywords
			for name, field := range named {
				fields[name] = expandRules(root, field)
			}
			out[key] = fields
		}
		return out
	case []any:
		var out []any
		for _, item := range v {
			out = append(out, expandRules(root, item))
		}
		return out
	}
	return v
}

func merged(a, b map[string]any) map[string]any {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}
