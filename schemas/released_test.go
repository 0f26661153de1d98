package schemas_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bpcc-nats/schemas"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var release = flag.Bool("release", false, "make the present schemas the released ones, if they break nothing")

const releasedDir = "testdata/released/v1"

// TestReleased keeps the compatibility promise: see the package comment.
func TestReleased(t *testing.T) { // not parallel: -release writes
	released, present := map[string]any{}, map[string]any{}
	files, err := filepath.Glob(releasedDir + "/*.json")
	if err != nil || len(files) == 0 && !*release {
		t.Fatalf("%d released schemas: %v", len(files), err)
	}
	for _, file := range files {
		released[strings.TrimSuffix(filepath.Base(file), ".json")] = readDocument(t, file)
	}
	for _, name := range events() {
		present[name] = schema(t, name)
	}
	for _, fault := range breakingChanges(released, present) {
		t.Errorf("breaks who relies on the release: %s", fault)
	}

	// The same once more, with examples instead of reasoning.
	v, compiler := validator(t), jsonschema.NewCompiler()
	compiler.AssertFormat()
	for name, was := range released {
		if present[name] == nil {
			continue
		}
		for _, e := range valueAt(t, was, "/examples").([]any) {
			if err := v.Event(marshal(t, e)); err != nil {
				t.Errorf("a stored event is no longer valid: %v", err)
			}
		}
		if err := compiler.AddResource(schemas.ID(name), was); err != nil {
			t.Fatal(err)
		}
		old, err := compiler.Compile(schemas.ID(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range valueAt(t, present[name], "/examples").([]any) {
			if err := old.Validate(e); err != nil {
				t.Errorf("a reader of the release refuses a new event: %v", err)
			}
		}
	}

	if !*release || t.Failed() {
		return
	}
	if err := os.MkdirAll(releasedDir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range events() {
		text, err := schemas.Schema(name)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(releasedDir, name+".json")
		if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, text) {
			continue
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		t.Logf("released %s", name)
	}
}

// TestBreaksAreRefused judges the judge: one change at a time, made to a copy of
// a schema.
func TestBreaksAreRefused(t *testing.T) {
	t.Parallel()
	const data = "/properties/data"
	const fields = data + "/properties"
	optional := map[string]any{"type": "string", "description": "Something new."}
	for _, c := range []struct {
		name, at string
		value    any
		want     string // "" is fine
	}{
		// Readers miss what was there.
		{"agent.state_changed", fields + "/since", removedField{}, "/data/since: removed"},
		{"agent.state_changed", "/properties/source", removedField{}, "/source: removed"},
		{"agent.state_changed", fields + "/agent/properties/team", removedField{}, "/data/agent/team: removed"},
		{"agent.state_changed", "/$defs/state/properties/reason", removedField{}, "/data/from/reason: removed; /data/to/reason: removed"},
		{"agent.state_changed", "/$defs/image/properties/extension", removedField{}, "/data/after/extension: removed; /data/before/extension: removed"},
		{"directory.changed", fields + "/renamed/items/properties/from", removedField{}, "/data/renamed/*/from: removed"},
		{"chat.message_posted", "/required", []any{"id"}, ": no longer required: specversion; : no longer required: source; : no longer required: type; " +
			": no longer required: subject; : no longer required: time; : no longer required: datacontenttype; : no longer required: dataschema; : no longer required: data"},
		{"availability.observed", data + "/required", removedField{}, "/data: no longer required: tenant; /data: no longer required: poll; " +
			"/data: no longer required: revision; /data: no longer required: observed; /data: no longer required: service; /data: no longer required: available"},
		{"directory.changed", fields + "/added/items/required", []any{"id"}, "/data/added/*: no longer required: name"},
		// Readers meet what was never there.
		{"feed.checkpoint", fields + "/status/enum", []any{"live", "interrupted", "stopped", "stale", "paused"}, "/data/status: new in the enum: paused"},
		{"feed.checkpoint", fields + "/status/enum", removedField{}, "/data/status: another enum"},
		{"agent.state_changed", fields + "/since/type", []any{"string", "null"}, "/data/since: new among the types: null"},
		{"agent.state_changed", fields + "/since/format", removedField{}, "/data/since: another format"},
		{"agent.state_changed", fields + "/since/pattern", removedField{}, "/data/since: another pattern"},
		{"feed.checkpoint", fields + "/events/minimum", -1, "/data/events: another minimum"},
		{"agent.state_changed", fields + "/agent/properties/id/minLength", removedField{}, "/data/agent/id: another minLength"},
		{"agent.state_changed", data + "/else", removedField{}, "/data: another else"},
		{"agent.state_changed", "/$defs/image/additionalProperties", removedField{}, "/data/after: another additionalProperties; /data/before: another additionalProperties"},
		{"agent.state_changed", "/$defs/image/additionalProperties/type", "number", "/data/after/*: new among the types: number; /data/after/*: gone from the types: string; " +
			"/data/before/*: new among the types: number; /data/before/*: gone from the types: string"},
		{"agent.observed", "/$defs/image/properties/queue", map[string]any{"type": "integer"}, "/data/after/queue: new among the types: integer; /data/after/queue: gone from the types: string"},
		// Readers take one thing for another.
		{"feed.checkpoint", fields + "/poll/type", "string", "/data/poll: new among the types: string; /data/poll: gone from the types: integer"},
		{"feed.checkpoint", fields + "/poll/type", "number", "/data/poll: new among the types: number; /data/poll: gone from the types: integer"},
		{"agent.state_changed", fields + "/to/$ref", "#/$defs/image", "/data/to/next_state: removed; /data/to/reason: another minLength; /data/to/state: removed; /data/to: another additionalProperties"},
		{"agent.state_changed", fields + "/changed/items/type", "integer", "/data/changed/*: new among the types: integer; /data/changed/*: gone from the types: string"},
		{"agent.state_changed", "/properties/type/const", "bpcc.agent.state_changed.v2", "/type: another const"},
		{"agent.state_changed", "/title", "bpcc.agent.state_changed.v2", ": another title"},
		{"agent.state_changed", "/$id", "urn:bpcc:schema:v2:agent.state_changed", ": another $id"},
		{"agent.state_changed", "/$schema", "https://json-schema.org/draft/next/schema", ": another $schema"},
		// Stored events become invalid.
		{"agent.state_changed", fields + "/agent/required", []any{"id", "name"}, "/data/agent: newly required: name"},
		{"agent.state_changed", "/$defs/state/required", []any{"state"}, "/data/from: newly required: state; /data/to: newly required: state"},
		{"threshold.cleared", fields + "/severity/enum", []any{"info", "warning"}, "/data/severity: gone from the enum: critical"},
		{"threshold.cleared", fields + "/cleared_by/enum", []any{"condition"}, "/data/cleared_by: another enum"},
		{"feed.interrupted", fields + "/error/enum", []any{"timeout"}, "/data/error: another enum"},
		{"feed.checkpoint", fields + "/observed_until/type", "string", "/data/observed_until: gone from the types: null"},
		{"feed.checkpoint", fields + "/observing/minItems", 1, "/data/observing: another minItems"},
		{"feed.checkpoint", fields + "/instance/pattern", "^bridge", "/data/instance: another pattern"},
		{"feed.checkpoint", data + "/additionalProperties", false, "/data: another additionalProperties"},
		{"feed.checkpoint", data + "/allOf", []any{map[string]any{"required": []any{"lag"}}}, "/data: another allOf"},
		{"directory.changed", data + "/else/anyOf", []any{}, "/data: another else"},
		{"directory.changed", data + "/then/properties/added", map[string]any{"minItems": 1}, "/data: another then"},
		{"directory.changed", data + "/dependentRequired/part", []any{"parts"}, "/data: another dependentRequired"},
		{"directory.changed", data + "/dependentRequired/baseline", []any{"part"}, "/data: another dependentRequired"},
		// What may happen.
		{"agent.state_changed", fields + "/skill", optional, ""},
		{"agent.state_changed", fields + "/skill", map[string]any{"type": "object", "required": []any{"id"}, "properties": map[string]any{"id": optional}}, ""},
		{"agent.state_changed", "/properties/traceparent", optional, ""},
		{"agent.state_changed", "/$defs/state/properties/since", optional, ""},
		{"agent.state_changed", "/$defs/image/properties/skill", optional, ""},
		{"agent.state_changed", "/$defs/skill", optional, ""},
		{"directory.changed", fields + "/added/items/properties/email", optional, ""},
		{"agent.state_changed", fields + "/since/description", "In better words.", ""},
		{"agent.state_changed", "/description", "In better words.", ""},
		{"agent.state_changed", "/examples", []any{}, ""},
		{"agent.state_changed", fields + "/agent/$comment", "For who writes schemas.", ""},
		{"agent.state_changed", fields + "/observed/required", []any{"by", "after"}, ""},
		{"feed.checkpoint", fields + "/status/enum", []any{"stale", "live", "stopped", "interrupted"}, ""},
		{"agent.state_changed", fields + "/to", valueAt(t, schema(t, "agent.state_changed"), "/$defs/state"), ""}, // a reference written out
	} {
		released := map[string]any{c.name: schema(t, c.name)}
		_, removed := c.value.(removedField)
		present := map[string]any{c.name: setAt(t, schema(t, c.name), c.at, c.value, removed)}
		var want []string
		if c.want != "" {
			for _, fault := range strings.Split(c.want, "; ") {
				want = append(want, c.name+" "+fault)
			}
		}
		if got := strings.Join(breakingChanges(released, present), "; "); got != strings.Join(want, "; ") {
			t.Errorf("%s, %v at %s:\n got %s\nwant %s", c.name, c.value, c.at, got, strings.Join(want, "; "))
		}
	}

	all := map[string]any{"agent.observed": schema(t, "agent.observed"), "feed.stopped": schema(t, "feed.stopped")}
	one := map[string]any{"agent.observed": schema(t, "agent.observed")}
	if got := breakingChanges(all, one); len(got) != 1 || got[0] != "feed.stopped: the schema is gone" {
		t.Errorf("a schema removed: %v", got)
	}
	if got := breakingChanges(one, all); len(got) != 0 {
		t.Errorf("a schema added: %v", got)
	}
}
