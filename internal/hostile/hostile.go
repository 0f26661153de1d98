// Package hostile derives wrong responses from right ones, and has names that act on terminals, for
// tests of programs that read and show what others send: they must not panic, whatever it is.
package hostile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"bpcc-nats/internal/variants"
)

// values replace each value, one after the other.
var values = [...]any{
	nil, json.Number("0"), json.Number("-1"), json.Number("1e99"), json.Number("9223372036854775807"), json.Number("18446744073709551615"), "", "x", "-1", "0001-01-01T00:00:00Z",
	true, []any{}, []any{nil}, map[string]any{}, map[string]any{"x": nil},
}

// Change replaces the value at one path of a JSON text.
type Change struct {
	path  []string
	value any
}

// Changes yields the changes of a JSON text: wrong values at every path, where the first element of an
// array stands for all. It is every value at every path with [variants.Variable], else every third:
// each path has some, and each value is somewhere. Text that is not JSON has none.
func Changes(body []byte) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		v, err := parse(body)
		if err != nil {
			return
		}
		all := variants.RunAll()
		for n, path := range paths(v) {
			for i, value := range values {
				if (all || (n+i)%3 == 0) && !yield(Change{path, value}) {
					return
				}
			}
		}
	}
}

// String names the path and the value.
func (c Change) String() string {
	value, err := json.Marshal(c.value)
	if err != nil {
		value = []byte(err.Error())
	}
	return fmt.Sprintf("%s = %s", strings.Join(c.path, "."), value)
}

// Apply changes a JSON text, which may be another one than that of the change. A text without the
// path is returned unchanged.
func (c Change) Apply(body []byte) []byte {
	v, err := parse(body)
	if err != nil {
		return body
	}
	out, err := json.Marshal(put(v, c.path, c.value))
	if err != nil {
		return body
	}
	return out
}

func parse(body []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// paths returns the paths of all values, the root first.
func paths(v any, at ...string) [][]string {
	out := [][]string{slices.Clone(at)}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			out = append(out, paths(v[name], append(at, name)...)...)
		}
	case []any:
		if len(v) > 0 {
			out = append(out, paths(v[0], append(at, "0")...)...)
		}
	}
	return out
}

// put returns v with another value at a path.
func put(v any, path []string, value any) any {
	if len(path) == 0 {
		return value
	}
	switch v := v.(type) {
	case map[string]any:
		if _, there := v[path[0]]; there {
			v[path[0]] = put(v[path[0]], path[1:], value)
		}
	case []any:
		if len(v) > 0 {
			v[0] = put(v[0], path[1:], value)
		}
	}
	return v
}

// MustNotPanic calls do, and reports a panic as an error of the test.
func MustNotPanic(t *testing.T, what string, do func()) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("%s: panic: %v\n%s", what, p, debug.Stack())
		}
	}()
	do()
}
