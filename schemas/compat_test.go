package schemas_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
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
		if is := present[name].(map[string]any); !reflect.DeepEqual(released[name].(map[string]any)["title"], is["title"]) {
			c.fault("", "another title")
		}
		for _, stat := range describedStatistics(c.released) {
			if !slices.Contains(describedStatistics(c.present), stat) {
				c.fault("", "the statistic %s is no longer described", stat)
			}
		}
		for _, def := range namedTypes(c.released) {
			if !slices.Contains(namedTypes(c.present), def) {
				c.fault("", "generated code has no type %s any more", def)
			}
		}
		c.schemas("", c.released, c.present)
		for _, fault := range c.found {
			found = append(found, name+fault)
		}
	}
	return found
}

// describedStatistics returns the names of the statistics that a schema describes. Images
// need not hold them, and may hold others.
func describedStatistics(schema any) []string {
	defs, _ := schema.(map[string]any)["$defs"].(map[string]any)
	var names []string
	for name, def := range defs {
		if name == "image" || strings.HasSuffix(name, "Statistics") {
			names = slices.AppendSeq(names, maps.Keys(def.(map[string]any)["properties"].(map[string]any)))
		}
	}
	slices.Sort(names)
	return names
}

// namedTypes returns the titles of the definitions of a schema, which are the names of
// types in generated code.
func namedTypes(schema any) []string {
	defs, _ := schema.(map[string]any)["$defs"].(map[string]any)
	var names []string
	for _, def := range defs {
		if title, ok := def.(map[string]any)["title"].(string); ok {
			names = append(names, title)
		}
	}
	slices.Sort(names)
	return names
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
// name was allowed to be, and of one that goes any field must say the same.
func (c *comparison) properties(at string, old, new map[string]any) {
	was, _ := old["properties"].(map[string]any)
	is, _ := new["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if other := new["additionalProperties"]; is[name] == nil && other != nil {
			c.schemas(at+"/"+name, was[name], other)
			continue
		}
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

// rules returns what a schema demands: with its reference followed, without what
// only describes, and in one form where there are several for the same. It is nil
// for what is no object.
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
	for _, annotation := range []string{"title", "description", "examples", "$comment", "$defs"} {
		delete(out, annotation)
	}
	// A pattern of words is an enum, whose values need no names in generated code.
	if pattern, _ := out["pattern"].(string); out["type"] == "string" && patternOfWords.MatchString(pattern) {
		var words []any
		for word := range strings.SplitSeq(pattern[2:len(pattern)-2], "|") {
			words = append(words, word)
		}
		out["enum"] = words
		delete(out, "pattern")
	}
	return withoutDependencies(root, out)
}

var patternOfWords = regexp.MustCompile(`^\^\([a-z<>=!]+(\|[a-z<>=!]+)*\)\$$`)

// withoutDependencies takes what a schema demands of objects with a certain field,
// which every such object must have, as demanded of all.
func withoutDependencies(root any, schema map[string]any) map[string]any {
	required, _ := schema["required"].([]any)
	dependent, _ := schema["dependentSchemas"].(map[string]any)
	for field, more := range dependent {
		if !slices.Contains(required, any(field)) || len(dependent) > 1 {
			return schema
		}
		schema = maps.Clone(schema)
		delete(schema, "dependentSchemas")
		return both(root, schema, more)
	}
	return schema
}

// both returns what two schemas demand together. Where they use the same keyword, it
// is one of those here.
func both(root any, a, b any) map[string]any {
	out, more := maps.Clone(rules(root, a)), rules(root, b)
	for keyword, demand := range more {
		switch has, ok := out[keyword]; {
		case !ok:
			out[keyword] = demand
		case keyword == "type":
			types := slices.DeleteFunc(wordList(has), func(w string) bool { return !slices.Contains(wordList(demand), w) })
			out[keyword] = types[0] // the others would be a fault of the schema
		case keyword == "properties":
			fields := maps.Clone(has.(map[string]any))
			for name, field := range demand.(map[string]any) {
				fields[name] = both(root, fields[name], field)
			}
			out[keyword] = fields
		}
	}
	if out["type"] == "null" { // these are about text
		delete(out, "format")
		delete(out, "pattern")
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
				if demands := expandRules(root, field); !reflect.DeepEqual(demands, map[string]any{}) {
					fields[name] = demands
				}
			}
			if len(fields) > 0 {
				out[key] = fields
			}
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
