// Package variants says which variants of a test run that has many.
package variants

import (
	"maps"
	"os"
	"slices"
)

// Variable is the environment variable that lets tests run in all their variants, if it is set. Without it, those
// in many run in a few, which would show most faults. .ci/run sets it.
const Variable = "TEST_ALL"

// RunAll reports whether tests run in all their variants.
func RunAll() bool { return os.Getenv(Variable) != "" }

// Select returns those of a test's variants that run: all, or only some of them by name.
func Select[T any](all map[string]T, some ...string) map[string]T {
	for _, name := range some {
		if _, ok := all[name]; !ok {
			panic("no variant " + name)
		}
	}
	if RunAll() {
		return all
	}
	few := maps.Clone(all)
	maps.DeleteFunc(few, func(name string, _ T) bool { return !slices.Contains(some, name) })
	return few
}
