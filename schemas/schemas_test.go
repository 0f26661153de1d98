package schemas_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bpcc-nats/schemas"

	"github.com/google/go-cmp/cmp"
)

func Example() {
	body, err := os.ReadFile("testdata/state_changed-without-agent-id.json")
	if err != nil {
		panic(err)
	}
	err = schemas.Validate(body)
	fmt.Println(errors.Is(err, schemas.ErrInvalid))
	fmt.Println(err)
	// Output:
	// true
	// validate bpcc.agent.state_changed.v1: invalid: at "/data/agent/id": missing; at "/time": want text that matches Z$
}

func ExampleSchema() {
	_, err := schemas.Schema("bpcc.agent.state_change.v1")
	fmt.Println(errors.Is(err, schemas.ErrUnknown))
	fmt.Println(err)
	// Output:
	// true
	// unknown schema: "bpcc.agent.state_change.v1" (nearest: agent.state_changed, agent.stats_changed, agent.appeared)
}

// optional lists the fields an event may lack. Whatever else its example holds
// is required; the keys of images are the tenant's choice.
var optional = map[string][]string{
	"agent.observed":               {"/data/agent/login_id", "/data/agent/user_id", "/data/agent/name", "/data/agent/team", "/data/to/state", "/data/since"},
	"agent.appeared":               {"/data/agent/login_id", "/data/agent/user_id", "/data/agent/name", "/data/agent/team", "/data/to/state", "/data/to/reason", "/data/since"},
	"agent.disappeared":            {"/data/agent/login_id", "/data/agent/user_id", "/data/agent/name", "/data/agent/team", "/data/from/state"},
	"agent.state_changed":          {"/data/agent/login_id", "/data/agent/user_id", "/data/agent/name", "/data/agent/team", "/data/from/state", "/data/to/state", "/data/to/reason", "/data/since"},
	"agent.stats_changed":          {"/data/agent/login_id", "/data/agent/user_id", "/data/agent/name", "/data/agent/team"},
	"service.observed":             {"/data/service_id"},
	"service.appeared":             {"/data/service_id"},
	"service.disappeared":          {"/data/service_id"},
	"service.stats_changed":        {"/data/service_id"},
	"service.availability_changed": {}, "service.availability_observed": {},
	"totals.observed": {}, "totals.stats_changed": {"/data/reset"},
	"threshold.raised": {}, "threshold.cleared": {"/data/value"},
	"feed.checkpoint": {}, "feed.started": {}, "feed.stopped": {}, "feed.interrupted": {}, "feed.resumed": {},
}

func TestNames(t *testing.T) {
	t.Parallel()
	want := append(slices.Sorted(maps.Keys(optional)), "config/thresholds")
	if diff := cmp.Diff(want, schemas.Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestNamingLaw(t *testing.T) {
	t.Parallel()
	for _, name := range events() {
		s := load(t, filepath.Join("v1", name+".json"))
		for _, c := range []struct{ pointer, want string }{
			{"/$schema", "https://json-schema.org/draft/2020-12/schema"},
			{"/$id", "urn:bpcc:schema:v1:" + name},
			{"/title", "bpcc." + name + ".v1"},
			{"/properties/type/const", "bpcc." + name + ".v1"},
			{"/properties/dataschema/const", "urn:bpcc:schema:v1:" + name},
		} {
			if got := get(t, s, c.pointer); got != c.want {
				t.Errorf("%s: %s is %v, want %s", name, c.pointer, got, c.want)
			}
		}
	}
	if got := get(t, load(t, "config/thresholds.json"), "/$id"); got != schemas.ID("config/thresholds") {
		t.Errorf("config/thresholds: $id is %v", got)
	}
}

func TestSchemaByNameTypeAndID(t *testing.T) {
	t.Parallel()
	for _, name := range schemas.Names() {
		asked := []string{name, schemas.ID(name)}
		file := name + ".json"
		if !strings.HasPrefix(name, "config/") {
			asked, file = append(asked, schemas.Type(name)), "v1/"+file
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range asked {
			got, err := schemas.Schema(a)
			if err != nil || string(got) != string(want) {
				t.Errorf("Schema(%q): %v, or not the file's text", a, err)
			}
		}
	}
	for _, a := range []string{"", "agent", "agent.observed.json", "bpcc.agent.observed", "agent.observed.v1", "bpcc.agent.observed.v2",
		"urn:bpcc:schema:v2:agent.observed", "thresholds", "bpcc.config/thresholds.v1", "../v1/agent.observed", strings.Repeat("x", 1<<20)} {
		_, err := schemas.Schema(a)
		if !errors.Is(err, schemas.ErrUnknown) {
			t.Errorf("Schema(%.40q): %v, want ErrUnknown", a, err)
		} else if len(err.Error()) > 400 {
			t.Errorf("Schema(%.40q): error of %d bytes", a, len(err.Error()))
		}
	}
}

// TestStandAlone: a consumer loads one file, so nothing may refer out of it.
func TestStandAlone(t *testing.T) {
	t.Parallel()
	for _, name := range schemas.Names() {
		walk(schema(t, name), "", func(at string, v any) {
			if ref, ok := v.(string); ok && strings.HasSuffix(at, "/$ref") && !strings.HasPrefix(ref, "#/$defs/") {
				t.Errorf("%s: %s refers to %s", name, at, ref)
			}
		})
	}
}

func TestEverythingIsDescribed(t *testing.T) {
	t.Parallel()
	for _, name := range schemas.Names() {
		s := schema(t, name)
		if get(t, s, "/description") == "" {
			t.Errorf("%s: no description", name)
		}
		delete(s.(map[string]any), "examples")
		property := regexp.MustCompile(`(^|/)properties/[^/]+$`)
		walk(s, "", func(at string, v any) {
			if !property.MatchString(at) || strings.Contains(at, "/if/") || strings.Contains(at, "/else/") {
				return
			}
			if text, _ := v.(map[string]any)["description"].(string); strings.TrimSpace(text) == "" {
				t.Errorf("%s: %s has no description", name, at)
			}
		})
	}
}

func TestExamples(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for _, name := range events() {
		body := marshal(t, example(t, name))
		if err := v.Event(body); err != nil {
			t.Error(err)
		}
		if err := schemas.Validate(body); err != nil {
			t.Error(err)
		}
	}
	if err := v.Config("config/thresholds", marshal(t, example(t, "config/thresholds"))); err != nil {
		t.Error(err)
	}
}

// TestExamplesAreTrue: the examples keep the rules of the stream that a schema
// cannot state.
func TestExamplesAreTrue(t *testing.T) {
	t.Parallel()
	volatile := regexp.MustCompile(`^(state_duration|login_time|active_item_.*|agent_total_.*_time|in_max_wait_time)$`)
	for _, name := range events() {
		e := example(t, name)
		data := get(t, e, "/data").(map[string]any)
		id := fmt.Sprintf(`^%s-[0-9]+-%v-[0-9]+$`, data["tenant"], data["poll"])
		if got := get(t, e, "/id").(string); !regexp.MustCompile(id).MatchString(got) {
			t.Errorf("%s: id %s does not match %s", name, got, id)
		}
		for _, side := range []string{"before", "after"} {
			image, ok := data[side].(map[string]any)
			if !ok {
				continue
			}
			known := get(t, schema(t, name), "/$defs/image/properties").(map[string]any)
			for stat := range image {
				if known[stat] == nil {
					t.Errorf("%s: the example has %s, which is not described", name, stat)
				}
			}
		}
		before, both := data["before"].(map[string]any)
		after, ok := data["after"].(map[string]any)
		if !both || !ok {
			continue
		}
		var want []string
		for stat := range after {
			if after[stat] != before[stat] && !volatile.MatchString(stat) {
				want = append(want, stat)
			}
		}
		var got []string
		for _, stat := range data["changed"].([]any) {
			got = append(got, stat.(string))
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: changed (-want +got):\n%s", name, diff)
		}
	}
}

// TestRequired takes each field out of each example.
func TestRequired(t *testing.T) {
	t.Parallel()
	v := validator(t)
	inImage := regexp.MustCompile(`^/data/(before|after)/`)
	for _, name := range events() {
		for _, at := range pointers(example(t, name)) {
			if regexp.MustCompile(`/[0-9]+$`).MatchString(at) {
				continue // an item of a list
			}
			err := v.Event(marshal(t, set(t, example(t, name), at, nil, true)))
			switch may := slices.Contains(optional[name], at) || inImage.MatchString(at); {
			case may && err != nil:
				t.Errorf("%s without %s: %v", name, at, err)
			case !may && !errors.Is(err, schemas.ErrInvalid):
				t.Errorf("%s without %s: %v, want ErrInvalid", name, at, err)
			case !may && !strings.Contains(err.Error(), fmt.Sprintf("%q: missing", at)):
				t.Errorf("%s without %s: the error does not name it: %v", name, at, err)
			}
		}
	}
}

// TestTyped puts something of another type in each field's place.
func TestTyped(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for _, name := range events() {
		for _, at := range pointers(example(t, name)) {
			for _, wrong := range []any{[]any{map[string]any{}}, 1.5, "", map[string]any{"": 1}} {
				have := get(t, example(t, name), at)
				if _, number := wrong.(float64); number && at == "/data/limit" {
					continue
				}
				if _, object := wrong.(map[string]any); object && (at == "/data/from" || at == "/data/to") {
					continue // a state of which nothing is known
				}
				if _, text := wrong.(string); text && (fmt.Sprintf("%T", have) == "string") {
					continue // text for text: see TestRefused
				}
				err := v.Event(marshal(t, set(t, example(t, name), at, wrong, false)))
				if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), `"`+at) {
					t.Errorf("%s with %T at %s: %v, want ErrInvalid there", name, wrong, at, err)
				}
			}
		}
	}
}

// TestUnknownFieldsAreWelcome: the other half of the compatibility promise.
func TestUnknownFieldsAreWelcome(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for _, name := range events() {
		for _, at := range append(pointers(example(t, name)), "") {
			if _, object := get(t, example(t, name), at).(map[string]any); !object {
				continue
			}
			if err := v.Event(marshal(t, set(t, example(t, name), at+"/of_the_future", "text", false))); err != nil {
				t.Errorf("%s with a new field in %q: %v", name, at, err)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for _, c := range []struct {
		name, at string
		value    any
		why      string
	}{
		{"agent.observed", "/specversion", "0.3", `want "1.0"`},
		{"agent.observed", "/id", "", "want text that matches"},
		{"agent.observed", "/id", "acme-1-1", "want text that matches"},
		{"agent.observed", "/id", "acme-1-0-1", "want text that matches"},
		{"agent.observed", "/source", "/statsapi", "want the format uri"},
		{"agent.observed", "/subject", "agent/", "want text that matches"},
		{"agent.observed", "/subject", "service/Voice", "want text that matches"},
		{"agent.observed", "/time", "2026-11-23T10:00:02.113+01:00", "want text that matches Z$"},
		{"agent.observed", "/time", "2026-11-23T10:00:02.113z", "want text that matches Z$"},
		{"agent.observed", "/time", "2026-11-23 10:00:02Z", "want the format date-time"},
		{"agent.observed", "/time", "2026-02-30T10:00:02Z", "want the format date-time"},
		{"agent.observed", "/time", "1795428002Z", "want the format date-time"},
		{"agent.observed", "/datacontenttype", "text/json", `want "application/json"`},
		{"agent.observed", "/dataschema", "urn:bpcc:schema:v1:agent.appeared", `want "urn:bpcc:schema:v1:agent.observed"`},
		{"agent.observed", "/data/tenant", "", "want a length of at least 1"},
		{"agent.observed", "/data/poll", 0, "want at least 1"},
		{"agent.observed", "/data/poll", 1.5, "got number, want integer"},
		{"agent.observed", "/data/poll", json.Number("1e999999999"), "got number, want integer"},
		{"agent.observed", "/data/revision", 0, "want at least 1"},
		{"agent.observed", "/data/observed/after", "2026-11-23T10:00:00.105Z", "got string, want null"},
		{"agent.observed", "/data/observed/by", nil, "got null, want string"},
		{"agent.observed", "/data/agent/id", "", "want a length of at least 1"},
		{"agent.observed", "/data/to/state", "", "want a length of at least 1"},
		{"agent.observed", "/data/to/next_state", "", "want a length of at least 1"},
		{"agent.observed", "/data/to/reason", "", "want a length of at least 1"},
		{"agent.observed", "/data/since", "soon", "want the format date-time"},
		{"agent.observed", "/data/after/extension", 1042, "got number, want string"},
		{"agent.observed", "/data/after/new_stat", nil, "got null, want string"},
		{"agent.appeared", "/data/after_gap", "true", "got string, want boolean"},
		{"agent.state_changed", "/data/observed/after", "2026-11-23T10:00:00", "want the format date-time"},
		{"agent.state_changed", "/data/changed", []any{}, "want a list of at least 1"},
		{"agent.state_changed", "/data/changed", []any{"reason", "reason"}, "items 0 and 1 are equal"},
		{"agent.state_changed", "/data/changed/0", "", "want a length of at least 1"},
		{"agent.state_changed", "/data/reentered", 1, "got number, want boolean"},
		{"agent.stats_changed", "/data/changed", []any{}, "want a list of at least 1"},
		{"agent.stats_changed", "/data/reset", []any{}, "want a list of at least 1"},
		{"service.observed", "/data/service", "", "want a length of at least 1"},
		{"service.observed", "/data/service_id", "", "want a length of at least 1"},
		{"service.stats_changed", "/data/reset", []any{"a", "a"}, "items 0 and 1 are equal"},
		{"service.availability_observed", "/data/available", "true", "got string, want null or boolean"},
		{"service.availability_changed", "/data/previous", "", "got string, want null or boolean"},
		{"totals.observed", "/data/app", "", "want a length of at least 1"},
		{"totals.stats_changed", "/data/changed", []any{}, "want a list of at least 1"},
		{"threshold.raised", "/subject", "threshold/backlog", "want text that matches"},
		{"threshold.raised", "/data/rule", "", "want a length of at least 1"},
		{"threshold.raised", "/data/severity", "fatal", `want one of "info", "warning", "critical"`},
		{"threshold.raised", "/data/entity/kind", "queue", `want one of "agent", "service", "totals"`},
		{"threshold.raised", "/data/entity/id", "", "want a length of at least 1"},
		{"threshold.raised", "/data/op", "=>", `want one of ">", ">=", "<", "<=", "==", "!="`},
		{"threshold.raised", "/data/limit", "5", "got string, want number"},
		{"threshold.raised", "/data/for", "10", "want text that matches"},
		{"threshold.raised", "/data/pending_since", nil, "got null, want string"},
		{"threshold.cleared", "/data/cleared_by", "operator", `want one of "condition", "rule_removed", "entity_gone"`},
		{"feed.checkpoint", "/subject", "feed/checkpoint", `want "feed"`},
		{"feed.checkpoint", "/data/status", "up", `want one of "live", "interrupted", "stopped"`},
		{"feed.checkpoint", "/data/epoch", 0, "want at least 1"},
		{"feed.checkpoint", "/data/part", 0, "want at least 1"},
		{"feed.checkpoint", "/data/parts", 0, "want at least 1"},
		{"feed.checkpoint", "/data/events", -1, "want at least 0"},
		{"feed.checkpoint", "/data/agents", -1, "want at least 0"},
		{"feed.checkpoint", "/data/services", -1, "want at least 0"},
		{"feed.checkpoint", "/data/observing", []any{"agent", "agent"}, "items 0 and 1 are equal"},
		{"feed.started", "/data/version", "", "want a length of at least 1"},
		{"feed.stopped", "/data/reason", "", "want a length of at least 1"},
		{"feed.interrupted", "/data/cause", "network", `want one of "auth", "source", "subscription_lost", "truncated", "empty"`},
		{"feed.resumed", "/data/cause", "", `want one of "auth"`},
		{"feed.resumed", "/data/observed/by", nil, "got null, want string"},
	} {
		err := v.Event(marshal(t, set(t, example(t, c.name), c.at, c.value, false)))
		want := fmt.Sprintf("validate %s: invalid: at %q: %s", schemas.Type(c.name), c.at, c.why)
		if !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s with %v at %s: %v, want ErrInvalid", c.name, c.value, c.at, err)
		} else if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s with %v at %s:\n got %v\nwant %s", c.name, c.value, c.at, err, want)
		}
	}
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for _, c := range []struct {
		name string
		put  map[string]any
	}{
		{"agent.observed", map[string]any{"/time": "2026-11-23T10:00:02Z", "/id": "my-tenant-1-1-0", "/subject": "agent/홍길동", "/data/after": map[string]any{}}},
		{"agent.appeared", map[string]any{"/data/observed/after": nil, "/data/after_gap": true, "/data/to": map[string]any{"state": "supervising", "next_state": "ready"}}},
		{"agent.state_changed", map[string]any{"/data/reentered": true, "/data/changed": []any{}}},
		{"agent.stats_changed", map[string]any{"/data/after_gap": false, "/data/reset": []any{"in_calls_handled_per_day"}}},
		{"agent.stats_changed", map[string]any{"/data/after/a_stat_nobody_described": ""}},
		{"service.availability_changed", map[string]any{"/data/available": nil, "/data/previous": false}},
		{"service.availability_changed", map[string]any{"/data/previous": nil}},
		{"threshold.raised", map[string]any{"/data/limit": 0.8, "/data/for": "1m0.5s"}},
		{"threshold.cleared", map[string]any{"/data/cleared_by": "entity_gone", "/data/for": "0s", "/data/limit": -3}},
		{"feed.checkpoint", map[string]any{"/data/observed_until": nil, "/data/observing": []any{}, "/data/events": 0, "/data/status": "interrupted"}},
		{"feed.started", map[string]any{"/data/observed_until": nil, "/data/poll": 9007199254740993}},
		{"feed.stopped", map[string]any{"/data/observed_until": nil}},
		{"feed.interrupted", map[string]any{"/data/observed_until": nil, "/data/cause": "empty"}},
		{"feed.resumed", map[string]any{"/data/observed/after": nil, "/data/cause": "truncated"}},
	} {
		e := example(t, c.name)
		for at, value := range c.put {
			e = set(t, e, at, value, false)
		}
		if err := v.Event(marshal(t, e)); err != nil {
			t.Errorf("%s with %v: %v", c.name, c.put, err)
		}
	}
}

func TestNotAnEvent(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for _, c := range []struct {
		body string
		want error
		text string
	}{
		{``, schemas.ErrInvalid, "validate event: invalid: not JSON: EOF"},
		{`{"type":"bpcc.agent.observed.v1"`, schemas.ErrInvalid, "validate event: invalid: not JSON: unexpected EOF"},
		{`{} {}`, schemas.ErrInvalid, "validate event: invalid: not JSON: invalid character after top-level value"},
		{`[]`, schemas.ErrInvalid, `validate event: invalid: at "": not an object`},
		{`{}`, schemas.ErrInvalid, `validate event: invalid: at "/type": missing or not a string`},
		{`{"type":7}`, schemas.ErrInvalid, `validate event: invalid: at "/type": missing or not a string`},
		{`{"type":""}`, schemas.ErrUnknown, ""},
		{`{"type":"agent.observed"}`, schemas.ErrUnknown, ""},
		{`{"type":"bpcc.config/thresholds.v1"}`, schemas.ErrUnknown, ""},
		{`{"type":"bpcc.agent.observd.v1"}`, schemas.ErrUnknown,
			`validate event: at "/type": unknown schema: "bpcc.agent.observd.v1" (nearest: agent.observed, agent.appeared, agent.disappeared)`},
		{`{"type":"bpcc.feed.checkpoint.v1"}`, schemas.ErrInvalid,
			`validate bpcc.feed.checkpoint.v1: invalid: at "/data": missing; at "/datacontenttype": missing; at "/dataschema": missing; ` +
				`at "/id": missing; at "/source": missing; at "/specversion": missing; at "/subject": missing; at "/time": missing`},
	} {
		err := v.Event([]byte(c.body))
		if !errors.Is(err, c.want) || c.text != "" && err.Error() != c.text {
			t.Errorf("%s:\n got %v\nwant %v: %s", c.body, err, c.want, c.text)
		}
	}
}

// TestErrorsKeepSecrets: what is logged of a bad event is where it is bad.
func TestErrorsKeepSecrets(t *testing.T) {
	t.Parallel()
	v := validator(t)
	secret := strings.Repeat("John Smith ", 1000)
	for _, at := range []string{"/id", "/source", "/subject", "/time", "/data/observed/by", "/data/since", "/data/poll", "/data/changed", "/dataschema"} {
		err := v.Event(marshal(t, set(t, example(t, "agent.state_changed"), at, secret, false)))
		if !errors.Is(err, schemas.ErrInvalid) || strings.Contains(err.Error(), "John") || len(err.Error()) > 400 {
			t.Errorf("%s: %.400v", at, err)
		}
	}
	err := v.Event(marshal(t, set(t, example(t, "agent.state_changed"), "/type", secret, false)))
	if !errors.Is(err, schemas.ErrUnknown) || len(err.Error()) > 400 {
		t.Errorf("/type: %.400v", err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	v := validator(t)
	text := map[string]string{ // of the faults an operator is most likely to make
		"not-json":             "not JSON: invalid character ']' looking for beginning of object key string",
		"not-an-array":         `at "": got object, want array`,
		"op-unknown":           `at "/0/raise/op": want one of ">", ">=", "<", "<=", "==", "!="`,
		"raise-missing":        `at "/0/raise": missing`,
		"value-is-text":        `at "/0/raise/value": got string, want number`,
		"unknown-key":          `at "/0/clera": unknown key`,
		"empty-match":          `at "/0/match": want a list of at least 1`,
		"severity-unknown":     `at "/0/severity": want one of "info", "warning", "critical"`,
		"match-empty-glob":     `at "/0/match/0": want a length of at least 1`,
		"raise-without-op":     `at "/0/raise/op": missing`,
		"clear-op-unknown":     `at "/0/clear/op": want one of ">", ">=", "<", "<=", "==", "!="`,
		"for-is-number":        `at "/0/for": got number, want string`,
		"unknown-key-in-raise": `at "/0/raise/for": unknown key`,
	}
	fixtures, err := filepath.Glob("testdata/config/*.json")
	if err != nil || len(fixtures) < len(text) {
		t.Fatalf("%d fixtures: %v", len(fixtures), err)
	}
	for _, file := range fixtures {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		fault := strings.TrimSuffix(filepath.Base(file), ".json")
		err = v.Config("config/thresholds", body)
		if short := v.Config("thresholds", body); fmt.Sprint(short) != fmt.Sprint(err) {
			t.Errorf("%s: %v, and by the short name %v", fault, err, short)
		}
		switch {
		case strings.HasPrefix(fault, "good"):
			if err != nil {
				t.Errorf("%s: %v", fault, err)
			}
		case !errors.Is(err, schemas.ErrInvalid):
			t.Errorf("%s: %v, want ErrInvalid", fault, err)
		case text[fault] != "" && err.Error() != "validate config/thresholds: invalid: "+text[fault]:
			t.Errorf("%s:\n got %v\nwant %s", fault, err, text[fault])
		}
	}
	for _, name := range []string{"", "agent.observed", "threshold", "../v1/agent.observed"} {
		if err := v.Config(name, []byte(`[]`)); !errors.Is(err, schemas.ErrUnknown) {
			t.Errorf("Config(%q): %v, want ErrUnknown", name, err)
		}
	}
}

// FuzzEvent: whatever comes in, the validator neither panics nor answers with
// anything but its two sentinels.
func FuzzEvent(f *testing.F) {
	v, err := schemas.New()
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range events() {
		f.Add(marshal(f, example(f, name)))
	}
	f.Add([]byte(`{"type":"bpcc.feed.checkpoint.v1","data":{"poll":1e999999999,"epoch":-0,"part":1E-9}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if err := v.Event(body); err != nil && !errors.Is(err, schemas.ErrInvalid) && !errors.Is(err, schemas.ErrUnknown) {
			t.Error(err)
		}
	})
}

// BenchmarkEvent tells whether a bridge can afford to judge all it publishes.
func BenchmarkEvent(b *testing.B) {
	v, err := schemas.New()
	if err != nil {
		b.Fatal(err)
	}
	body := marshal(b, example(b, "agent.state_changed"))
	for b.Loop() {
		if err := v.Event(body); err != nil {
			b.Fatal(err)
		}
	}
}

func events() []string {
	return slices.DeleteFunc(schemas.Names(), func(name string) bool { return strings.HasPrefix(name, "config/") })
}

func validator(tb testing.TB) *schemas.Validator {
	tb.Helper()
	v, err := schemas.New()
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func load(tb testing.TB, file string) any {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	return unmarshal(tb, text)
}

func schema(tb testing.TB, name string) any {
	tb.Helper()
	text, err := schemas.Schema(name)
	if err != nil {
		tb.Fatal(err)
	}
	return unmarshal(tb, text)
}

// example returns a fresh copy of the first example of a schema.
func example(tb testing.TB, name string) any {
	tb.Helper()
	return get(tb, schema(tb, name), "/examples/0")
}

func unmarshal(tb testing.TB, text []byte) any {
	tb.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		tb.Fatal(err)
	}
	return v
}

func marshal(tb testing.TB, v any) []byte {
	tb.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// walk calls visit for every value under doc with its pointer.
func walk(doc any, at string, visit func(at string, v any)) {
	children := map[string]any{}
	switch d := doc.(type) {
	case map[string]any:
		children = d
	case []any:
		for i, item := range d {
			children[fmt.Sprint(i)] = item
		}
	}
	for _, key := range slices.Sorted(maps.Keys(children)) {
		visit(at+"/"+key, children[key])
		walk(children[key], at+"/"+key, visit)
	}
}

func pointers(doc any) []string {
	var all []string
	walk(doc, "", func(at string, _ any) { all = append(all, at) })
	return slices.DeleteFunc(all, func(at string) bool { return at == "/type" }) // it picks the schema: see TestNotAnEvent
}

// get returns the value at a pointer; the keys here need no escapes.
func get(tb testing.TB, doc any, pointer string) any {
	tb.Helper()
	for _, key := range strings.Split(pointer, "/")[1:] {
		switch d := doc.(type) {
		case map[string]any:
			doc = d[key]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i >= len(d) {
				tb.Fatalf("no %s", pointer)
			}
			doc = d[i]
		default:
			tb.Fatalf("no %s", pointer)
		}
	}
	return doc
}

// set changes doc at a pointer, or removes what is there, and returns doc.
func set(tb testing.TB, doc any, pointer string, value any, remove bool) any {
	tb.Helper()
	cut := strings.LastIndex(pointer, "/")
	key := pointer[cut+1:]
	switch parent := get(tb, doc, pointer[:cut]).(type) {
	case map[string]any:
		parent[key] = value
		if remove {
			delete(parent, key)
		}
	case []any:
		var i int
		if _, err := fmt.Sscan(key, &i); err != nil || remove {
			tb.Fatalf("cannot set %s", pointer)
		}
		parent[i] = value
	default:
		tb.Fatalf("no parent of %s", pointer)
	}
	return doc
}
