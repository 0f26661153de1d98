package main

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	"bpcc-nats/cmd/bridge/internal/build"
)

// TestVersionJSON: what programs and what people get is the same.
func TestVersionJSON(t *testing.T) {
	t.Parallel()
	r := runCommand(t, t.Context(), nil, "version", "--json")
	var got build.Info
	decoder := json.NewDecoder(strings.NewReader(r.stdout))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); r.status != 0 || err != nil {
		t.Fatalf("status %d, %v: %s%s", r.status, err, r.stdout, r.stderr)
	}
	if got.Version == "" || got.Go != runtime.Version() || got.OS != runtime.GOOS || got.Arch != runtime.GOARCH || !strings.HasPrefix(got.Server, "v2.") {
		t.Errorf("version --json says %+v", got)
	}
	people := runCommand(t, t.Context(), nil, "version").stdout
	for _, text := range []string{"bridge " + got.Version, got.Server + " (embedded)", got.OS + "/" + got.Arch} {
		if !strings.Contains(people, text) {
			t.Errorf("version does not say %q:\n%s", text, people)
		}
	}
	if short := runCommand(t, t.Context(), nil, "version", "--short").stdout; short != got.Version+"\n" {
		t.Errorf("version --short says %q", short)
	}
}
