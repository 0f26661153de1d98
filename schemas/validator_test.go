package schemas_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bpcc-nats/schemas"
)

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

// TestErrorsHoldNoValues: what is logged of a bad event is where it is bad.
func TestErrorsHoldNoValues(t *testing.T) {
	t.Parallel()
	v := validator(t)
	secret := strings.Repeat("John Smith ", 1000)
	for _, at := range []string{"/id", "/source", "/subject", "/time", "/data/observed/by", "/data/since", "/data/poll", "/data/changed", "/dataschema"} {
		err := v.Event(marshal(t, setAt(t, example(t, "agent.state_changed"), at, secret, false)))
		if !errors.Is(err, schemas.ErrInvalid) || strings.Contains(err.Error(), "John") || len(err.Error()) > 400 {
			t.Errorf("%s: %.400v", at, err)
		}
	}
	err := v.Event(marshal(t, setAt(t, example(t, "agent.state_changed"), "/type", secret, false)))
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
		"op-unknown":           `at "/0/raise/op": want one of ">", ">=", "<", "<=", "==", "!=", got "=>"`,
		"name-with-newline":    `at "/0/name": want text that matches ^[^\x00-\x1f\x7f-\x9f]*$, got "back\nlog"`,
		"raise-missing":        `at "/0/raise": missing`,
		"value-is-text":        `at "/0/raise/value": got string, want number`,
		"unknown-key":          `at "/0/clera": unknown key`,
		"empty-match":          `at "/0/match": want a list of at least 1`,
		"severity-unknown":     `at "/0/severity": want one of "info", "warning", "critical", got "fatal"`,
		"match-empty-glob":     `at "/0/match/0": want a length of at least 1`,
		"raise-without-op":     `at "/0/raise/op": missing`,
		"clear-op-unknown":     `at "/0/clear/op": want one of ">", ">=", "<", "<=", "==", "!=", got "under"`,
		"for-is-number":        `at "/0/for": got number, want string`,
		"parse-unknown":        `at "/0/parse": want one of "number", "percent", "duration", got "time"`,
		"decimal-unknown":      `at "/0/decimal": want one of ".", ",", got ";"`,
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

// BenchmarkEvent reports whether a bridge can afford to judge all it publishes.
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
