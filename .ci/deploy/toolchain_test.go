package deploy

import (
	"os"
	"regexp"
	"testing"
)

// TestToolchain checks that the program is built with one patch release of Go
// everywhere: a module or an image with an older one has its vulnerabilities.
func TestToolchain(t *testing.T) {
	names := func(file, pattern string) string {
		t.Helper()
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(pattern).FindSubmatch(content)
		if found == nil {
			t.Fatalf("%s has nothing like %s", file, pattern)
		}
		return string(found[1])
	}
	const line = `(?m)^toolchain go(\d+\.\d+\.\d+)$`
	want := names("../../go.mod", line)
	for file, pattern := range map[string]string{
		"go.mod":                            line,
		"../../bench/bento/go.mod":          line,
		"../telegraf/go.mod":                line,
		"../../deploy/release/go.mod":       line,
		"../../deploy/container/Dockerfile": `(?m)^FROM golang:(\S+) AS build$`,
	} {
		if got := names(file, pattern); got != want {
			t.Errorf("%s names Go %s, go.mod Go %s", file, got, want)
		}
	}
}
