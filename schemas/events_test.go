package schemas_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bpcc-nats/schemas"

	"github.com/google/go-cmp/cmp"
)

func TestExamples(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for _, name := range events() {
		for _, e := range valueAt(t, schema(t, name), "/examples").([]any) {
			body := marshal(t, e)
			if err := v.Event(body); err != nil {
				t.Error(err)
			}
			if err := schemas.Validate(body); err != nil {
				t.Error(err)
			}
		}
	}
	if err := v.Config("config/thresholds", marshal(t, example(t, "config/thresholds"))); err != nil {
		t.Error(err)
	}
}

// TestExamplesAreConsistent: the examples keep the rules of the stream that a schema
// cannot state.
func TestExamplesAreConsistent(t *testing.T) {
	t.Parallel()
	volatile := regexp.MustCompile(`^(state_duration|login_time|active_item_(talk|hold)_duration|agent_total_.*_time|in_max_wait_time)$`)
	for _, name := range events() {
		e := example(t, name)
		data := valueAt(t, e, "/data").(map[string]any)
		id := fmt.Sprintf(`^%s-[0-9]+-%v-[0-9]+$`, data["tenant"], data["poll"])
		if got := valueAt(t, e, "/id").(string); !regexp.MustCompile(id).MatchString(got) {
			t.Errorf("%s: id %s does not match %s", name, got, id)
		}
		for _, side := range []string{"before", "after"} {
			image, ok := data[side].(map[string]any)
			if !ok {
				continue
			}
			s := schema(t, name)
			known := object(t, s, statistics(t, s)+"/properties")
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
			err := v.Event(marshal(t, setAt(t, example(t, name), at, nil, true)))
			switch may := mayLack(name, at) || inImage.MatchString(at); {
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
				have := valueAt(t, example(t, name), at)
				if _, number := wrong.(float64); number && (at == "/data/limit" || strings.HasPrefix(at, "/data/previous_duration/")) {
					continue
				}
				if _, object := wrong.(map[string]any); object && (at == "/data/from" || at == "/data/to") {
					continue // a state of which nothing is known
				}
				if _, text := wrong.(string); text && (fmt.Sprintf("%T", have) == "string") {
					continue // text for text: see TestRefused
				}
				err := v.Event(marshal(t, setAt(t, example(t, name), at, wrong, false)))
				if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), `"`+at) {
					t.Errorf("%s with %T at %s: %v, want ErrInvalid there", name, wrong, at, err)
				}
			}
		}
	}
}

// TestUnknownFieldsAreAccepted: the other half of the compatibility promise.
func TestUnknownFieldsAreAccepted(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for _, name := range events() {
		for _, at := range append(pointers(example(t, name)), "") {
			if _, object := valueAt(t, example(t, name), at).(map[string]any); !object {
				continue
			}
			if err := v.Event(marshal(t, setAt(t, example(t, name), at+"/of_the_future", "text", false))); err != nil {
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
		{"availability.observed", "/data/available", "true", "got string, want null or boolean"},
		{"availability.changed", "/data/previous", "", "got string, want null or boolean"},
		{"availability.changed", "/data/reason", "", "want a length of at least 1"},
		{"totals.observed", "/data/app", "", "want a length of at least 1"},
		{"totals.stats_changed", "/data/changed", []any{}, "want a list of at least 1"},
		{"threshold.raised", "/subject", "threshold/backlog", "want text that matches"},
		{"threshold.raised", "/data/rule", "", "want a length of at least 1"},
		{"threshold.raised", "/data/severity", "fatal", `want one of "info", "warning", "critical"`},
		{"threshold.raised", "/data/entity/kind", "queue", `want one of "agent", "service", "totals"`},
		{"threshold.raised", "/data/entity/id", "", "want a length of at least 1"},
		{"threshold.raised", "/data/op", "=>", "want text that matches ^(>|>=|<|<=|==|!=)$"},
		{"threshold.raised", "/data/limit", "5", "got string, want number"},
		{"threshold.raised", "/data/for", "10", "want text that matches"},
		{"threshold.raised", "/data/pending_since", nil, "got null, want string"},
		{"threshold.cleared", "/data/cleared_by", "", "want a length of at least 1"},
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
		{"feed.interrupted", "/data/cause", "", "want a length of at least 1"},
		{"feed.resumed", "/data/cause", "", "want a length of at least 1"},
		{"feed.erased", "/data/messages", -1, "want at least 0"},
		{"feed.erased", "/data/sequences", nil, "got null, want array"},
		{"feed.erased", "/data/sequences/0/first", 0, "want at least 1"},
		{"feed.resumed", "/data/observed/by", nil, "got null, want string"},
		{"directory.changed", "/subject", "directory/wallboards", "want text that matches"},
		{"directory.changed", "/data/kind", "team", `want one of "teams", "services", "agents", "dispositions"`},
		{"directory.changed", "/data/added/0/id", "", "want a length of at least 1"},
		{"directory.changed", "/data/renamed/0/to", nil, "got null, want string"},
		{"directory.changed", "/data/added", nil, "got null, want array"},
		{"directory.changed", "/data/baseline", false, "want true"},
		{"chat.message_posted", "/subject", "chat/", "want text that matches"},
		{"chat.message_posted", "/data/app", "", "want a length of at least 1"},
		{"chat.message_posted", "/data/message/id", "", "want a length of at least 1"},
		{"chat.message_posted", "/data/message/urgent", "1", "got string, want boolean"},
		{"chat.message_posted", "/data/message/content", nil, "got null, want string"},
	} {
		err := v.Event(marshal(t, setAt(t, example(t, c.name), c.at, c.value, false)))
		want := fmt.Sprintf("validate %s: invalid: at %q: %s", schemas.Type(c.name), c.at, c.why)
		if !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s with %v at %s: %v, want ErrInvalid", c.name, c.value, c.at, err)
		} else if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s with %v at %s:\n got %v\nwant %s", c.name, c.value, c.at, err, want)
		}
	}
}

// TestBaseline: the list as it is comes whole, in pieces that say so, and is no
// change; a change changes something.
func TestBaseline(t *testing.T) {
	t.Parallel()
	v := validator(t)
	none := []any{}
	for _, c := range []struct {
		what, fault string
		example     int
		put         map[string]any
	}{
		{"a list in one event", "", 1, map[string]any{"/data/part": removedField{}, "/data/parts": removedField{}}},
		{"an empty list", "", 1, map[string]any{"/data/added": none}},
		{"a list that somebody looked for before", `at "/data/observed/after": got string, want null`, 1, map[string]any{"/data/observed/after": "2026-11-22T05:00:00Z"}},
		{"a list that lacks something", `at "/data/removed": want a list of at most 0`, 1, map[string]any{"/data/removed": []any{map[string]any{"id": "1", "name": "a"}}}},
		{"a piece of unknown number", `at "/data/part": missing`, 1, map[string]any{"/data/part": removedField{}}},
		{"a piece of unknown many", `at "/data/parts": missing`, 1, map[string]any{"/data/parts": removedField{}}},
		{"a piece of number 0", `at "/data/part": want at least 1`, 1, map[string]any{"/data/part": 0}},
		{"a piece of a change", `at "/data/baseline": missing`, 0, map[string]any{"/data/part": 1, "/data/parts": 2}},
		{"a change of nothing", `at "/data/added": want a list of at least 1; at "/data/removed": want a list of at least 1; at "/data/renamed": want a list of at least 1`,
			0, map[string]any{"/data/added": none, "/data/removed": none, "/data/renamed": none}},
	} {
		e := valueAt(t, schema(t, "directory.changed"), fmt.Sprintf("/examples/%d", c.example))
		for at, value := range c.put {
			_, removed := value.(removedField)
			e = setAt(t, e, at, value, removed)
		}
		err := v.Event(marshal(t, e))
		if c.fault == "" && err != nil {
			t.Errorf("%s: %v", c.what, err)
		} else if c.fault != "" && fmt.Sprint(err) != "validate bpcc.directory.changed.v1: invalid: "+c.fault {
			t.Errorf("%s:\n got %v\nwant %s", c.what, err, c.fault)
		}
	}
}

// removedField stands in a table for a field that is taken out.
type removedField struct{}

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
		{"availability.changed", map[string]any{"/data/available": nil, "/data/previous": false}},
		{"availability.changed", map[string]any{"/data/previous": nil}},
		{"availability.observed", map[string]any{"/data/available": nil, "/data/reason": "a_new_word"}},
		{"threshold.raised", map[string]any{"/data/limit": 0.8, "/data/for": "1m0.5s"}},
		{"threshold.cleared", map[string]any{"/data/cleared_by": "entity_gone", "/data/for": "0s", "/data/limit": -3}},
		{"threshold.cleared", map[string]any{"/data/cleared_by": "stat_unavailable"}},
		{"threshold.cleared", map[string]any{"/data/cleared_by": "a_word_of_tomorrow"}},
		{"feed.checkpoint", map[string]any{"/data/observed_until": nil, "/data/observing": []any{}, "/data/events": 0, "/data/status": "interrupted"}},
		{"feed.started", map[string]any{"/data/observed_until": nil, "/data/poll": 9007199254740993}},
		{"feed.stopped", map[string]any{"/data/observed_until": nil}},
		{"feed.interrupted", map[string]any{"/data/observed_until": nil, "/data/cause": "a new word"}},
		{"feed.resumed", map[string]any{"/data/observed/after": nil, "/data/cause": "truncated"}},
		{"feed.erased", map[string]any{"/data/messages": 0, "/data/keys": 1, "/data/sequences": []any{}}},
		{"directory.changed", map[string]any{"/data/added": []any{}, "/data/removed": []any{}, "/data/after_gap": true}},
		{"chat.message_posted", map[string]any{"/data/observed/after": nil, "/data/message": map[string]any{"id": "1"}}},
	} {
		e := example(t, c.name)
		for at, value := range c.put {
			e = setAt(t, e, at, value, false)
		}
		if err := v.Event(marshal(t, e)); err != nil {
			t.Errorf("%s with %v: %v", c.name, c.put, err)
		}
	}
}
