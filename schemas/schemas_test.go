package schemas_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
func TestNames(t *testing.T) {
	t.Parallel()
	want := append(promisedNames(), "config/thresholds", "svc/availabilities.reply", "svc/availability.reply", "svc/availability.request",
		"svc/state.reply", "svc/state.request")
	if diff := cmp.Diff(want, schemas.Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestNamingRules(t *testing.T) {
	t.Parallel()
	for _, name := range events() {
		s := readDocument(t, filepath.Join("v1", name+".json"))
		for _, c := range []struct{ pointer, want string }{
			{"/$schema", "https://json-schema.org/draft/2020-12/schema"},
			{"/$id", "urn:bpcc:schema:v1:" + name},
			{"/title", "bpcc." + name + ".v1"},
			{"/properties/type/const", "bpcc." + name + ".v1"},
			{"/properties/dataschema/const", "urn:bpcc:schema:v1:" + name},
		} {
			if got := valueAt(t, s, c.pointer); got != c.want {
				t.Errorf("%s: %s is %v, want %s", name, c.pointer, got, c.want)
			}
		}
	}
	for _, name := range schemas.Names() {
		if !strings.Contains(name, "/") {
			continue
		}
		if got := valueAt(t, readDocument(t, name+".json"), "/$id"); got != schemas.ID(name) {
			t.Errorf("%s: $id is %v", name, got)
		}
	}
}

func TestSchemaByNameTypeAndID(t *testing.T) {
	t.Parallel()
	for _, name := range schemas.Names() {
		asked := []string{name, schemas.ID(name)}
		file := name + ".json"
		if !strings.Contains(name, "/") {
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
	anyEvent, err := os.ReadFile("v1/event.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{schemas.AnyEvent, "urn:bpcc:schema:v1:event"} {
		if got, err := schemas.Schema(a); err != nil || string(got) != string(anyEvent) {
			t.Errorf("Schema(%q): %v, or not the file's text", a, err)
		}
	}
	for _, a := range []string{"", "agent", "bpcc.event.v1", "agent.observed.json", "bpcc.agent.observed", "agent.observed.v1", "bpcc.agent.observed.v2",
		"urn:bpcc:schema:v2:agent.observed", "thresholds", "bpcc.config/thresholds.v1", "../v1/agent.observed", strings.Repeat("x", 1<<20)} {
		_, err := schemas.Schema(a)
		if !errors.Is(err, schemas.ErrUnknown) {
			t.Errorf("Schema(%.40q): %v, want ErrUnknown", a, err)
		} else if len(err.Error()) > 400 {
			t.Errorf("Schema(%.40q): error of %d bytes", a, len(err.Error()))
		}
	}
}

// TestSchemasStandAlone: a consumer loads one file, so nothing may refer out of it.
func TestSchemasStandAlone(t *testing.T) {
	t.Parallel()
	for _, name := range append(schemas.Names(), schemas.AnyEvent) {
		walkValues(schema(t, name), "", func(at string, v any) {
			if ref, ok := v.(string); ok && strings.HasSuffix(at, "/$ref") && !strings.HasPrefix(ref, "#/$defs/") {
				t.Errorf("%s: %s refers to %s", name, at, ref)
			}
		})
	}
}

func TestEverythingIsDescribed(t *testing.T) {
	t.Parallel()
	property := regexp.MustCompile(`(^|/)properties/[^/]+$`)
	for _, name := range schemas.Names() {
		s := schema(t, name)
		if valueAt(t, s, "/description") == "" {
			t.Errorf("%s: no description", name)
		}
		delete(s.(map[string]any), "examples")
		walkValues(s, "", func(at string, v any) {
			if !property.MatchString(at) || condition.MatchString(at) {
				return
			}
			p := v.(map[string]any)
			if p["$ref"] != nil {
				at = strings.TrimPrefix(p["$ref"].(string), "#")
				p = object(t, s, at)
			}
			if text, _ := p["description"].(string); strings.TrimSpace(text) == "" {
				t.Errorf("%s: %s has no description", name, at)
			}
		})
	}
}
