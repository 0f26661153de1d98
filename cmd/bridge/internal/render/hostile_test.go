package render

import (
	"encoding/json"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/internal/hostile"
)

// TestHostileEvents puts every kind of wrong value in every place of an event of each
// type, as the stream and the view may hold them: nothing panics that writes them.
func TestHostileEvents(t *testing.T) {
	t.Parallel()
	c := &config.Config{CheckpointInterval: 30 * time.Second}
	types, n := map[string]bool{}, 0
	for _, body := range events(t) {
		var e struct{ Type string }
		if err := json.Unmarshal([]byte(body), &e); err != nil {
			t.Fatal(err)
		}
		if types[e.Type] {
			continue
		}
		types[e.Type] = true
		for change := range hostile.Changes([]byte(body)) {
			n++
			show(t, e.Type+" "+change.String(), change.Apply([]byte(body)), c)
		}
	}
	if len(types) < 15 {
		t.Errorf("%d types of events only", len(types))
	}
	t.Logf("%d events", n)
}

// show writes an event as a line and, from the view, in tables and as JSON.
func show(t *testing.T, what string, body []byte, c *config.Config) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("%s: panic: %v\n%s", what, p, debug.Stack())
		}
	}()
	narrow := console.New(io.Discard, nil)
	narrow.Colour, narrow.Width = true, 60
	if err := NewLines(narrow).Event(body); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	view := &View{At: time.Now()}
	// As ReadView does, and also where the id or the key is wrong.
	if v, err := event.ReadEnvelope(body); err == nil {
		if e, _ := v.Event(); e.Data != nil {
			_ = view.addEntry(stream.ViewEntry{Tenant: "acme", Key: e.ViewKey(), Value: body, Event: e}, c)
		}
	}
	view.Write(console.New(io.Discard, nil), true)
	if _, err := json.Marshal(view); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// events are those of a day.
func events(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../../../bridge/testdata/golden/events.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		_, body, _ := strings.Cut(strings.TrimSpace(line), " ")
		lines = append(lines, body)
	}
	return lines
}
