package schemas_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bpcc-nats/schemas"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// An address is where an event is found: its subject and its key in the view,
// "" where it has none.
type address struct{ Subject, Key string }

// TestAddresses: each event is on the subject that the contract gives it.
func TestAddresses(t *testing.T) {
	t.Parallel()
	want := map[string]address{}
	for _, p := range promised {
		a := address{Subject: "bpcc.v1.{tenant}." + p.subject + "." + lastWord(p.name)}
		if p.key != "" {
			a.Key = "{tenant}." + p.key
		}
		want[p.name] = a
	}
	if diff := cmp.Diff(want, addresses(t)); diff != "" {
		t.Errorf("addresses (-contract +asyncapi.yaml):\n%s", diff)
	}
}

// TestAsyncAPIMessages: one message for each event, and no other.
func TestAsyncAPIMessages(t *testing.T) {
	t.Parallel()
	doc := asyncapi(t)
	messages := object(t, doc, "/components/messages")
	if diff := cmp.Diff(events(), slices.Sorted(maps.Keys(messages))); diff != "" {
		t.Errorf("messages (-schemas +asyncapi.yaml):\n%s", diff)
	}
	for name, m := range messages {
		headers := "#/components/schemas/headers"
		if strings.HasSuffix(name, ".disappeared") {
			headers = "#/components/schemas/removalHeaders"
		}
		message := map[string]any{
			"name":        schemas.Type(name),
			"contentType": "application/cloudevents+json",
			"headers":     map[string]any{"$ref": headers},
			"payload":     map[string]any{"$ref": "./v1/" + name + ".json"},
		}
		for key, want := range message {
			if diff := cmp.Diff(want, m.(map[string]any)[key]); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", name, key, diff)
			}
		}
		if s, _ := m.(map[string]any)["summary"].(string); s == "" {
			t.Errorf("%s: no summary", name)
		}
	}
}

// TestAsyncAPIChannels: each channel takes the parameters of its address and is
// sent to by one operation.
func TestAsyncAPIChannels(t *testing.T) {
	t.Parallel()
	doc := asyncapi(t)
	sent := map[string]int{}
	for name, o := range object(t, doc, "/operations") {
		if action := valueAt(t, o, "/action"); action != "send" {
			t.Errorf("operation %s: action %v; the bridge only sends", name, action)
		}
		sent[valueAt(t, o, "/channel/$ref").(string)]++
	}
	for name, c := range object(t, doc, "/channels") {
		if n := sent["#/channels/"+name]; n != 1 {
			t.Errorf("channel %s: %d operations", name, n)
		}
		var want []string
		for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(valueAt(t, c, "/address").(string), -1) {
			want = append(want, m[1])
		}
		slices.Sort(want)
		parameters := object(t, c, "/parameters")
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(parameters))); diff != "" {
			t.Errorf("channel %s: parameters (-address +given):\n%s", name, diff)
		}
		if change, ok := parameters["change"].(map[string]any); ok {
			words := change["enum"].([]any)
			for _, word := range words {
				if object(t, c, "/messages")[name+"."+word.(string)] == nil {
					t.Errorf("channel %s: no message for %s", name, word)
				}
			}
			if len(words) != len(object(t, c, "/messages")) {
				t.Errorf("channel %s: %d words for %d messages", name, len(words), len(object(t, c, "/messages")))
			}
		}
	}
	directory := schema(t, "directory.changed")
	kinds := valueAt(t, directory, resolve(t, directory, "/properties/data/properties/kind/enum"))
	if diff := cmp.Diff(kinds, valueAt(t, doc, "/components/parameters/kind/enum")); diff != "" {
		t.Errorf("kinds of directory (-schema +asyncapi.yaml):\n%s", diff)
	}
}

// TestAsyncAPIReferences: every reference leads somewhere, and every component
// is referred to.
func TestAsyncAPIReferences(t *testing.T) {
	t.Parallel()
	doc := asyncapi(t)
	used := map[string]bool{}
	walkValues(doc, "", func(at string, v any) {
		ref, ok := v.(string)
		if !ok || !strings.HasSuffix(at, "/$ref") {
			return
		}
		used[ref] = true
		if pointer, inside := strings.CutPrefix(ref, "#"); inside {
			if valueAt(t, doc, pointer) == nil {
				t.Errorf("%s: there is no %s", at, ref)
			}
		} else if _, err := os.Stat(ref); err != nil {
			t.Errorf("%s: %v", at, err)
		}
	})
	for kind, all := range object(t, doc, "/components") {
		for name := range all.(map[string]any) {
			if ref := "#/components/" + kind + "/" + name; !used[ref] {
				t.Errorf("%s is never used", ref)
			}
		}
	}
}

// TestAsyncAPIIsEmbedded: the program can print it, and lists it among no events.
func TestAsyncAPIIsEmbedded(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := schemas.Schema(schemas.AsyncAPI)
	if err != nil || string(got) != string(want) {
		t.Errorf("Schema(%q): %v, or not the file's text", schemas.AsyncAPI, err)
	}
	if slices.Contains(schemas.Names(), schemas.AsyncAPI) {
		t.Errorf("%q is among the names of schemas", schemas.AsyncAPI)
	}
}

// addresses reads from asyncapi.yaml where each event is found. A message that
// stands in no channel, or in two, has an address nobody promised.
func addresses(tb testing.TB) map[string]address {
	tb.Helper()
	doc := asyncapi(tb)
	found := map[string]address{}
	for name, m := range object(tb, doc, "/components/messages") {
		a := address{}
		a.Key, _ = m.(map[string]any)["x-view-key"].(string)
		for _, c := range object(tb, doc, "/channels") {
			if r, ok := object(tb, c, "/messages")[name]; ok && valueAt(tb, r, "/$ref") == "#/components/messages/"+name {
				a.Subject += strings.ReplaceAll(valueAt(tb, c, "/address").(string), "{change}", lastWord(name))
			}
		}
		found[name] = a
	}
	return found
}

func asyncapi(tb testing.TB) any {
	tb.Helper()
	text, err := schemas.Schema(schemas.AsyncAPI)
	if err != nil {
		tb.Fatal(err)
	}
	var doc any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		tb.Fatalf("asyncapi.yaml: %v", err)
	}
	return doc
}

func object(tb testing.TB, doc any, pointer string) map[string]any {
	tb.Helper()
	m, ok := valueAt(tb, doc, pointer).(map[string]any)
	if !ok {
		tb.Fatalf("no mapping at %s", pointer)
	}
	return m
}

// lastWord is the last word of an event's name, and of its subject.
func lastWord(name string) string { return name[strings.LastIndex(name, ".")+1:] }
