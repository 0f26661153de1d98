package schemas_test

import (
	"bytes"
	"flag"
	"math/rand/v2"
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

// TestReleasedVerdicts: of every event with the fields of the release, and of its changes,
// the present schemas say what the released ones say.
func TestReleasedVerdicts(t *testing.T) {
	t.Parallel()
	values := []any{
		nil, true, false, -1.0, 0.0, 1.0, 1.5, "", "text", "feed", ">=", "live", "agents", "agent", "warning", "2026-11-23T10:00:02Z", "2026-11-23",
		[]any{}, []any{""}, []any{"a", "a"}, []any{"a"}, []any{map[string]any{}}, map[string]any{}, map[string]any{"a": "b"}, map[string]any{"a": 1.0},
	}
	random := rand.New(rand.NewPCG(1, 2)) // the same at every run
	golden := map[string][]map[string]any{}
	goldenEvents(t, func(e map[string]any) {
		name := strings.TrimSuffix(strings.TrimPrefix(e["type"].(string), "bpcc."), ".v1")
		golden[name] = append(golden[name], e)
	})
	files, err := filepath.Glob(releasedDir + "/*.json")
	if err != nil {
		t.Fatal(err)
	}
	valid, invalid := 0, 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		released := readDocument(t, file)
		old, now := compiled(t, schemas.ID(name), released), compiled(t, schemas.ID(name), schema(t, name))
		judge := func(e map[string]any) {
			was, is := old.Validate(e), now.Validate(e)
			if (was == nil) != (is == nil) {
				t.Errorf("%s: the release says %v, now %v", marshal(t, e), was, is)
			}
			if is == nil {
				valid++
			} else {
				invalid++
			}
		}
		for _, e := range golden[name] {
			judge(e)
		}
		for _, e := range valueAt(t, released, "/examples").([]any) {
			mutations(t, e, values, judge)
			for range 500 { // several changes at once
				changed := clone(e)
				for range 1 + random.IntN(3) {
					at := pointers(changed)
					pointer := at[random.IntN(len(at))]
					_, item := valueAt(t, changed, pointer[:strings.LastIndex(pointer, "/")]).([]any)
					setAt(t, changed, pointer, clone(values[random.IntN(len(values))]), !item && random.IntN(3) == 0)
				}
				judge(changed.(map[string]any))
			}
		}
	}
	if valid < 1000 || invalid < 1000 {
		t.Errorf("%d valid and %d invalid events prove little", valid, invalid)
	}
	t.Logf("%d valid and %d invalid events", valid, invalid)
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
		{"agent.state_changed", "/$defs/AgentState/properties/reason", removedField{}, "/data/from/reason: removed; /data/to/reason: removed"},
		{"agent.state_changed", "/$defs/AgentStatistics/properties/extension", removedField{}, ": the statistic extension is no longer described"},
		{"directory.changed", fields + "/renamed/items/properties/from", removedField{}, "/data/renamed/*/from: removed"},
		{"chat.message_posted", "/required", []any{"id"}, ": no longer required: specversion; : no longer required: source; : no longer required: type; " +
			": no longer required: subject; : no longer required: time; : no longer required: datacontenttype; : no longer required: dataschema; : no longer required: data"},
		{"availability.changed", data + "/required", removedField{}, "/data: no longer required: tenant; /data: no longer required: poll; " +
			"/data: no longer required: revision; /data: no longer required: observed; /data: no longer required: service; /data: no longer required: available; /data: no longer required: previous"},
		{"directory.changed", fields + "/added/items/required", []any{"id"}, "/data/added/*: no longer required: name; /data/removed/*: no longer required: name"},
		{"agent.state_changed", "/$defs/AgentRef/title", "Agent", ": generated code has no type AgentRef any more"},
		// Readers meet what was never there.
		{"feed.checkpoint", fields + "/status/enum", []any{"live", "interrupted", "stopped", "stale", "paused"}, "/data/status: new in the enum: paused"},
		{"feed.checkpoint", fields + "/status/enum", removedField{}, "/data/status: another enum"},
		{"agent.state_changed", fields + "/since/type", []any{"string", "null"}, "/data/since: new among the types: null"},
		{"agent.state_changed", fields + "/since/format", removedField{}, "/data/since: another format"},
		{"agent.state_changed", fields + "/since/pattern", removedField{}, "/data/since: another pattern"},
		{"feed.checkpoint", fields + "/events/minimum", -1, "/data/events: another minimum"},
		{"agent.state_changed", fields + "/agent/properties/id/minLength", removedField{}, "/data/agent/id: another minLength"},
		{"agent.state_changed", data + "/dependentSchemas/changed/else", removedField{}, "/data: another else"},
		{"agent.state_changed", "/$defs/AgentImage/additionalProperties", removedField{}, "/data/after: another additionalProperties; /data/before: another additionalProperties"},
		{"agent.state_changed", "/$defs/AgentImage/additionalProperties/type", "number", "/data/after/*: new among the types: number; /data/after/*: gone from the types: string; " +
			"/data/before/*: new among the types: number; /data/before/*: gone from the types: string"},
		{"agent.observed", "/$defs/AgentImage/properties", map[string]any{"queue": map[string]any{"type": "integer"}}, "/data/after/queue: new among the types: integer; /data/after/queue: gone from the types: string"},
		// Readers take one thing for another.
		{"feed.checkpoint", fields + "/poll/type", "string", "/data/poll: new among the types: string; /data/poll: gone from the types: integer"},
		{"feed.checkpoint", fields + "/poll/type", "number", "/data/poll: new among the types: number; /data/poll: gone from the types: integer"},
		{"agent.state_changed", fields + "/to/$ref", "#/$defs/AgentImage", "/data/to/next_state: another minLength; /data/to/reason: another minLength; /data/to/state: another minLength; /data/to: another additionalProperties"},
		{"agent.state_changed", fields + "/changed/items/type", "integer", "/data/changed/*: new among the types: integer; /data/changed/*: gone from the types: string"},
		{"agent.state_changed", "/properties/type/const", "bpcc.agent.state_changed.v2", "/type: another const"},
		{"agent.state_changed", "/title", "bpcc.agent.state_changed.v2", ": another title"},
		{"agent.state_changed", "/$id", "urn:bpcc:schema:v2:agent.state_changed", ": another $id"},
		{"agent.state_changed", "/$schema", "https://json-schema.org/draft/next/schema", ": another $schema"},
		// Stored events become invalid.
		{"agent.state_changed", fields + "/agent/required", []any{"id", "name"}, "/data/agent: newly required: name"},
		{"agent.state_changed", "/$defs/AgentState/required", []any{"state"}, "/data/from: newly required: state; /data/to: newly required: state"},
		{"threshold.cleared", fields + "/severity/enum", []any{"info", "warning"}, "/data/severity: gone from the enum: critical"},
		{"threshold.cleared", fields + "/cleared_by/enum", []any{"condition"}, "/data/cleared_by: another enum"},
		{"feed.interrupted", fields + "/error/enum", []any{"timeout"}, "/data/error: another enum"},
		{"feed.checkpoint", fields + "/observed_until/type", "string", "/data/observed_until: gone from the types: null"},
		{"feed.checkpoint", fields + "/observing/minItems", 1, "/data/observing: another minItems"},
		{"feed.checkpoint", fields + "/instance/pattern", "^bridge", "/data/instance: another pattern"},
		{"feed.checkpoint", data + "/additionalProperties", false, "/data: another additionalProperties"},
		{"feed.checkpoint", data + "/allOf", []any{map[string]any{"required": []any{"lag"}}}, "/data: another allOf"},
		{"directory.changed", data + "/dependentSchemas/kind/else/anyOf", []any{}, "/data: another else"},
		{"directory.changed", data + "/dependentSchemas/kind/then/properties/added", map[string]any{"minItems": 1}, "/data: another then"},
		{"agent.observed", data + "/dependentSchemas", removedField{}, "/data/observed/after: another format; /data/observed/after: another pattern; /data/observed/after: new among the types: string"},
		{"threshold.raised", fields + "/op/pattern", "^(>|>=|<|<=|==|!=|~)$", "/data/op: another enum; /data/op: another pattern"},
		{"threshold.raised", fields + "/op/pattern", "^(>|>=|<|<=|==)$", "/data/op: gone from the enum: !="},
		{"directory.changed", data + "/dependentRequired/part", []any{"parts"}, "/data: another dependentRequired"},
		{"directory.changed", data + "/dependentRequired/baseline", []any{"part"}, "/data: another dependentRequired"},
		// What may happen.
		{"threshold.raised", fields + "/op", map[string]any{"type": "string", "enum": []any{">", ">=", "<", "<=", "==", "!="}}, ""}, // a pattern of words
		{"agent.state_changed", fields + "/skill", optional, ""},
		{"agent.state_changed", fields + "/skill", map[string]any{"type": "object", "required": []any{"id"}, "properties": map[string]any{"id": optional}}, ""},
		{"agent.state_changed", "/properties/traceparent", optional, ""},
		{"agent.state_changed", "/$defs/AgentState/properties/since", optional, ""},
		{"agent.state_changed", "/$defs/AgentStatistics/properties/skill", optional, ""},
		{"agent.state_changed", "/$defs/skill", optional, ""},
		{"directory.changed", fields + "/added/items/properties/email", optional, ""},
		{"agent.state_changed", fields + "/since/description", "In better words.", ""},
		{"agent.state_changed", "/description", "In better words.", ""},
		{"agent.state_changed", "/examples", []any{}, ""},
		{"agent.state_changed", fields + "/agent/$comment", "For who writes schemas.", ""},
		{"agent.state_changed", fields + "/observed/required", []any{"by", "after"}, ""},
		{"feed.checkpoint", fields + "/status/enum", []any{"stale", "live", "stopped", "interrupted"}, ""},
		{"agent.state_changed", fields + "/to", valueAt(t, schema(t, "agent.state_changed"), "/$defs/AgentState"), ""}, // a reference written out
	} {
		released := map[string]any{c.name: schema(t, c.name)}
		_, removed := c.value.(removedField)
		changed := schema(t, c.name)
		present := map[string]any{c.name: setAt(t, changed, resolve(t, changed, c.at), c.value, removed)}
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
