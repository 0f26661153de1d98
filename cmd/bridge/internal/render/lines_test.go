package render

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/schemas"
)

// TestLines keeps the lines for people readable for every example event.
func TestLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	lines := NewLines(console.New(&out, nil))
	for _, name := range schemas.Names() {
		body, err := schemas.Schema(name)
		if err != nil {
			t.Fatal(err)
		}
		var s struct{ Examples []json.RawMessage }
		if err := json.Unmarshal(body, &s); err != nil {
			t.Fatal(err)
		}
		for _, example := range s.Examples {
			if strings.Contains(name, "/") {
				continue
			}
			if err := lines.Event(example); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for line := range strings.Lines(out.String()) {
		t.Log(strings.TrimSpace(line))
		if strings.Contains(line, "map[") || strings.Contains(line, "%!") {
			t.Errorf("unreadable: %s", line)
		}
	}
}
