package schemas_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bpcc-nats/schemas"

	"github.com/google/go-cmp/cmp"
)

// TestDefinitions: generators of code give every type the name that the schemas give it,
// and invent none.
func TestDefinitions(t *testing.T) {
	t.Parallel()
	for _, name := range append(schemas.Names(), schemas.AnyEvent) {
		for _, fault := range unnamed(schema(t, name)) {
			t.Errorf("%s: %s", name, fault)
		}
	}
}

// condition is what only restricts values: no generator makes a type of it.
var (
	condition = regexp.MustCompile(`/(if|then|else|dependentSchemas)(/|$)`)
	typeTitle = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
)

// unnamed lists what generators of code would invent a name or a type for.
func unnamed(schema any) []string {
	var faults []string
	fault := func(at, format string, args ...any) {
		faults = append(faults, fmt.Sprintf("%s %s", at, fmt.Sprintf(format, args...)))
	}
	walkSchemas(schema, "", func(at string, s map[string]any) {
		def, defined := strings.CutPrefix(at, "/$defs/")
		defined = defined && !strings.Contains(def, "/")
		_, object := s["properties"]
		_, open := s["additionalProperties"]
		for _, keyword := range []string{"if", "then", "else", "not", "anyOf", "allOf"} {
			if s[keyword] != nil {
				fault(at, "has %s; put it into dependentSchemas, for generators make types of what it is about", keyword)
			}
		}
		switch title, _ := s["title"].(string); {
		case at == "":
		case s["$ref"] != nil:
			// Some generators make a type of its own for a reference that has more to say.
			if len(s) > 1 {
				fault(at, "has more than its $ref; say it where the object that holds it is described")
			}
		case defined && (title != def || !typeTitle.MatchString(title)):
			fault(at, "needs the title %q, a name like AgentState", def)
		case defined && s["description"] == nil:
			fault(at, "has no description")
		case !defined && (s["type"] == "object" || object || open):
			fault(at, "is an object without a name: move it into $defs, give it a title there, and refer to it")
		case !defined && s["enum"] != nil && !strings.HasPrefix(at, "/$defs/Threshold"): // of configuration
			fault(at, "is an enum without a name: move it into $defs, give it a title there, and refer to it")
		case s["type"] == nil:
			fault(at, "has no type, which becomes any")
		case s["type"] == "array" && s["items"] == nil:
			fault(at, "has items of no type, which become any")
		}
	})
	return faults
}

// walkSchemas calls visit for every schema in a schema, with its pointer, but for those
// that only restrict values.
func walkSchemas(schema any, at string, visit func(at string, s map[string]any)) {
	s, ok := schema.(map[string]any)
	if !ok || condition.MatchString(at) {
		return
	}
	visit(at, s)
	for _, keyword := range []string{"properties", "patternProperties", "$defs"} {
		named, _ := s[keyword].(map[string]any)
		for name, sub := range named {
			walkSchemas(sub, at+"/"+keyword+"/"+name, visit)
		}
	}
	for _, keyword := range []string{"items", "additionalProperties"} {
		walkSchemas(s[keyword], at+"/"+keyword, visit)
	}
	for _, keyword := range []string{"oneOf", "anyOf", "allOf", "prefixItems"} {
		list, _ := s[keyword].([]any)
		for i, sub := range list {
			walkSchemas(sub, fmt.Sprintf("%s/%s/%d", at, keyword, i), visit)
		}
	}
}

// TestUnnamedIsFound judges the judge: one change at a time, made to a copy of a schema.
func TestUnnamedIsFound(t *testing.T) {
	t.Parallel()
	object := map[string]any{"type": "object", "description": "A skill.", "properties": map[string]any{"name": map[string]any{"type": "string"}}}
	const move = ": move it into $defs, give it a title there, and refer to it"
	for _, c := range []struct {
		at    string
		value any
		want  string
	}{
		{"/properties/data/properties/skill", object, "/$defs/AgentStateChangedData/properties/skill is an object without a name" + move},
		{"/properties/data/properties/skill", map[string]any{"type": "array", "items": object}, "/$defs/AgentStateChangedData/properties/skill/items is an object without a name" + move},
		{"/properties/data/properties/skill", map[string]any{"type": "object", "additionalProperties": map[string]any{"type": "string"}},
			"/$defs/AgentStateChangedData/properties/skill is an object without a name" + move},
		{"/properties/extension", object, "/properties/extension is an object without a name" + move},
		{"/properties/data/properties/level", map[string]any{"type": "string", "enum": []any{"a", "b"}}, "/$defs/AgentStateChangedData/properties/level is an enum without a name" + move},
		{"/$defs/Skill", object, `/$defs/Skill needs the title "Skill", a name like AgentState`},
		{"/$defs/skill", map[string]any{"title": "skill", "description": "A skill.", "type": "object"}, `/$defs/skill needs the title "skill", a name like AgentState`},
		{"/$defs/Skill", map[string]any{"title": "Skill", "type": "object"}, "/$defs/Skill has no description"},
		{"/properties/data/properties/to", map[string]any{"$ref": "#/$defs/AgentState", "description": "The new state."},
			"/$defs/AgentStateChangedData/properties/to has more than its $ref; say it where the object that holds it is described"},
		{"/properties/data/properties/skill", map[string]any{"description": "Anything."}, "/$defs/AgentStateChangedData/properties/skill has no type, which becomes any"},
		{"/properties/data/properties/skill", map[string]any{"type": "array"}, "/$defs/AgentStateChangedData/properties/skill has items of no type, which become any"},
		{"/properties/data/properties/skill", map[string]any{"type": "string"}, ""},
		{"/properties/data/anyOf", []any{map[string]any{"required": []any{"since"}}},
			"/$defs/AgentStateChangedData has anyOf; put it into dependentSchemas, for generators make types of what it is about; /$defs/AgentStateChangedData/anyOf/0 has no type, which becomes any"},
		{"/properties/data/dependentSchemas/to", map[string]any{"properties": map[string]any{"to": map[string]any{"type": "object"}}}, ""},
	} {
		s := schema(t, "agent.state_changed")
		got := strings.Join(unnamed(setAt(t, s, resolve(t, s, c.at), c.value, false)), "; ")
		if got != c.want {
			t.Errorf("%v at %s:\n got %s\nwant %s", c.value, c.at, got, c.want)
		}
	}
}

// TestDefinitionsAreUsed: a definition is referred to. The lists of statistics are for
// readers alone.
func TestDefinitionsAreUsed(t *testing.T) {
	t.Parallel()
	for _, name := range append(schemas.Names(), schemas.AnyEvent) {
		s := schema(t, name)
		var defined, used []string
		walkSchemas(s, "", func(at string, sub map[string]any) {
			if def, ok := strings.CutPrefix(at, "/$defs/"); ok && !strings.Contains(def, "/") && !strings.HasSuffix(def, "Statistics") {
				defined = append(defined, "#/$defs/"+def)
			}
			if ref, ok := sub["$ref"].(string); ok {
				used = append(used, ref)
			}
		})
		slices.Sort(defined)
		slices.Sort(used)
		if diff := cmp.Diff(defined, slices.Compact(used)); diff != "" {
			t.Errorf("%s: definitions (-defined +used):\n%s", name, diff)
		}
	}
}
