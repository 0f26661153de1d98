package schemas_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"bpcc-nats/schemas"
)

func events() []string {
	return slices.DeleteFunc(schemas.Names(), func(name string) bool { return strings.Contains(name, "/") })
}

func validator(tb testing.TB) *schemas.Validator {
	tb.Helper()
	v, err := schemas.New()
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func readDocument(tb testing.TB, file string) any {
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
	return unmarshal(tb, examples()[name])
}

// examples holds the first examples as they stand in the schemas, by name: the
// tests ask for thousands of copies.
var examples = sync.OnceValue(func() map[string]json.RawMessage {
	all := map[string]json.RawMessage{}
	for _, name := range schemas.Names() {
		var s struct{ Examples []json.RawMessage }
		text, err := schemas.Schema(name)
		if err == nil {
			err = json.Unmarshal(text, &s)
		}
		if err != nil || len(s.Examples) == 0 {
			panic(fmt.Sprintf("%s: no example: %v", name, err))
		}
		all[name] = s.Examples[0]
	}
	return all
})

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

// walkValues calls visit for every value under doc with its pointer.
func walkValues(doc any, at string, visit func(at string, v any)) {
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
		walkValues(children[key], at+"/"+key, visit)
	}
}

func pointers(doc any) []string {
	var all []string
	walkValues(doc, "", func(at string, _ any) { all = append(all, at) })
	return slices.DeleteFunc(all, func(at string) bool { return at == "/type" }) // it picks the schema: see TestNotAnEvent
}

// valueAt returns the value at a pointer; the keys here need no escapes.
func valueAt(tb testing.TB, doc any, pointer string) any {
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

// resolve returns a pointer with the references in it followed, but for one that the
// last keys stand for.
func resolve(tb testing.TB, doc any, pointer string) string {
	tb.Helper()
	at := ""
	for _, key := range strings.Split(pointer, "/")[1:] {
		if s, _ := valueAt(tb, doc, at).(map[string]any); s["$ref"] != nil && key != "$ref" {
			at = strings.TrimPrefix(s["$ref"].(string), "#")
		}
		at += "/" + key
	}
	return at
}

// statistics returns the pointer to the statistics that a schema describes, "" if it
// describes none.
func statistics(tb testing.TB, doc any) string {
	tb.Helper()
	for name := range object(tb, doc, "/$defs") {
		if strings.HasSuffix(name, "Statistics") {
			return "/$defs/" + name
		}
	}
	return ""
}

// setAt changes doc at a pointer, or removes what is there, and returns doc.
func setAt(tb testing.TB, doc any, pointer string, value any, remove bool) any {
	tb.Helper()
	cut := strings.LastIndex(pointer, "/")
	key := pointer[cut+1:]
	switch parent := valueAt(tb, doc, pointer[:cut]).(type) {
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
