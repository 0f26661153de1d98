package page

import (
	"bytes"
	"os"
	"testing"

	"bpcc-nats/internal/hostile"
)

// TestHostileMessages puts every kind of wrong value in every place of an event: a page that judges
// one must not panic.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../testdata/golden/events.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	read := map[string]bool{}
	for line := range bytes.Lines(text) {
		_, body, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		_, kind, _ := bytes.Cut(body, []byte(`"type":"`))
		kind, _, _ = bytes.Cut(kind, []byte(`"`))
		if read[string(kind)] {
			continue
		}
		read[string(kind)] = true
		if !belongsTo("acme", body) {
			t.Errorf("not shown: %s", body)
		}
		for c := range hostile.Changes(body) {
			changed := c.Apply(body)
			hostile.MustNotPanic(t, string(kind)+" "+c.String(), func() { belongsTo("acme", changed) })
		}
	}
	if len(read) < 10 {
		t.Errorf("only these types were read: %v", read)
	}
}
