package schemas_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"bpcc-nats/schemas"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestAnyEventIsGenerated: v1/event.json is made of the schemas of all types. This test
// also judges that definitions of one name are the same text in every schema.
func TestAnyEventIsGenerated(t *testing.T) { // not parallel: -update writes
	const file = "v1/event.json"
	want := anyEvent(t)
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not what the schemas say; run go test ./schemas -run TestAnyEventIsGenerated -update (-want +got):\n%s", file, diff)
	}
}

// anyEvent makes the schema of any event out of those of the types.
func anyEvent(t *testing.T) []byte {
	t.Helper()
	definitions, origin := map[string]string{}, map[string]string{}
	add := func(name, from, text string) {
		if was, ok := definitions[name]; ok && was != text {
			t.Errorf("%s: %s is not what it is in %s:\n%s", from, name, origin[name], cmp.Diff(was, text))
		}
		definitions[name], origin[name] = text, from
	}
	var refs []string
	for _, name := range events() {
		text, err := schemas.Schema(name)
		if err != nil {
			t.Fatal(err)
		}
		var keys, defs map[string]json.RawMessage
		if err := json.Unmarshal(text, &keys); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(keys["$defs"], &defs); err != nil {
			t.Fatal(err)
		}
		for def, text := range defs {
			add(def, name, string(text))
		}
		// The schema itself, without its id, since a schema within it would have to refer to that.
		event := fmt.Sprintf("{\n      \"title\": %q", typeName(name))
		for _, key := range parseDocument(t, name).keys[""] {
			if !slices.Contains([]string{"$schema", "$id", "title", "$defs", "examples"}, key) {
				event += fmt.Sprintf(",\n      %q: %s", key, bytes.ReplaceAll(keys[key], []byte("\n"), []byte("\n    ")))
			}
		}
		add(typeName(name), name, event+"\n    }")
		refs = append(refs, fmt.Sprintf(`    { "$ref": "#/$defs/%s" }`, typeName(name)))
	}
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(definitions)) {
		texts = append(texts, fmt.Sprintf("    %q: %s", name, definitions[name]))
	}
	return fmt.Appendf(nil, `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "$id": %q,
  "title": "BpccEvent",
  "description": "Any event, by its type. An event of a type that is not here is invalid; a reader of the stream must ignore it.",
  "$comment": "Generated from the schemas of the types by go test ./schemas -run TestAnyEventIsGenerated -update. Do not edit it.",
  "oneOf": [
%s
  ],
  "$defs": {
%s
  }
}
`, schemas.ID(schemas.AnyEvent), strings.Join(refs, ",\n"), strings.Join(texts, ",\n"))
}

// typeName is the name of an event's type in generated code: AgentStateChanged.
func typeName(event string) string {
	var name string
	for word := range strings.FieldsFuncSeq(event, func(r rune) bool { return r == '.' || r == '_' }) {
		name += strings.ToUpper(word[:1]) + word[1:]
	}
	return name
}

// compiled returns a schema that is compiled alone, as a reader would.
func compiled(tb testing.TB, id string, doc any) *jsonschema.Schema {
	tb.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(id, doc); err != nil {
		tb.Fatal(err)
	}
	s, err := c.Compile(id)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// TestAnyEvent: the schema of any event says of every event what that of its type says,
// and refuses other types.
func TestAnyEvent(t *testing.T) {
	t.Parallel()
	v, anyOf := validator(t), compiled(t, schemas.ID(schemas.AnyEvent), schema(t, schemas.AnyEvent))
	valid, invalid := 0, 0
	judge := func(e map[string]any) {
		t.Helper()
		one, all := v.Event(marshal(t, e)), anyOf.Validate(e)
		if (one == nil) != (all == nil) {
			t.Errorf("%s: %v, by the schema of any event %v", marshal(t, e), one, all)
		}
		if all == nil {
			valid++
		} else {
			invalid++
		}
	}
	for _, name := range events() {
		for _, e := range valueAt(t, schema(t, name), "/examples").([]any) {
			if err := anyOf.Validate(e); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			mutations(t, e, []any{nil, "", 0.0}, judge)
			for _, typ := range []string{schemas.Type("agent.vanished"), schemas.Type(schemas.AnyEvent), schemas.Type("config/thresholds"), name, ""} {
				other := setAt(t, clone(e), "/type", typ, false)
				if err := anyOf.Validate(other); err == nil {
					t.Errorf("%s with the type %q is valid", name, typ)
				}
				if err := v.Event(marshal(t, other)); !errors.Is(err, schemas.ErrUnknown) {
					t.Errorf("%s with the type %q: %v, want ErrUnknown", name, typ, err)
				}
			}
		}
	}
	goldenEvents(t, judge)
	if valid < 500 || invalid < 500 {
		t.Errorf("%d valid and %d invalid events prove little", valid, invalid)
	}
}

// goldenEvents yields the events of the recorded day.
func goldenEvents(tb testing.TB, yield func(map[string]any)) {
	tb.Helper()
	text, err := os.ReadFile("../bridge/testdata/golden/events.ndjson")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		_, body, _ := bytes.Cut(line, []byte(" ")) // the subject comes first
		yield(unmarshal(tb, body).(map[string]any))
	}
}

// mutations yields changes of an event, one at a time: each value removed, and replaced by
// each of others. Its type stays. What is yielded is the caller's.
func mutations(tb testing.TB, e any, others []any, yield func(map[string]any)) {
	tb.Helper()
	for _, at := range pointers(e) {
		if _, item := valueAt(tb, e, at[:strings.LastIndex(at, "/")]).([]any); !item {
			yield(setAt(tb, clone(e), at, nil, true).(map[string]any))
		}
		for _, value := range others {
			yield(setAt(tb, clone(e), at, value, false).(map[string]any))
		}
	}
}

// clone returns a copy of a document that can be changed.
func clone(doc any) any {
	switch d := doc.(type) {
	case map[string]any:
		out := make(map[string]any, len(d))
		for key, value := range d {
			out[key] = clone(value)
		}
		return out
	case []any:
		out := make([]any, len(d))
		for i, value := range d {
			out[i] = clone(value)
		}
		return out
	}
	return doc
}
