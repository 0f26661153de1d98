package render

import (
	"encoding/json"
	"io"
	"testing"
	"time"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/state"
	"bpcc-nats/bridge/view"
	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/internal/hostile"
	"bpcc-nats/reader/past"
)

// TestHostileEvents puts every kind of wrong value in every place of an event of each
// type, as the stream and the view may hold them: nothing panics that writes them.
func TestHostileEvents(t *testing.T) {
	t.Parallel()
	c := &config.Config{Stream: config.Stream{CheckpointInterval: 30 * time.Second}}
	events, n := hostile.FirstOfEachType(t, "../../../../bridge/testdata/golden/events.ndjson"), 0
	for _, e := range events {
		for change := range hostile.Changes(e.Body) {
			n++
			what, changed := e.Type+" "+change.String(), change.Apply(e.Body)
			hostile.MustNotPanic(t, what, func() { show(t, what, changed, c) })
		}
	}
	if len(events) < 15 {
		t.Errorf("%d types of events only", len(events))
	}
	t.Logf("%d events", n)
}

// show writes an event as a line and, from the view, in tables and as JSON.
func show(t *testing.T, what string, body []byte, c *config.Config) {
	t.Helper()
	narrow := console.New(io.Discard, nil)
	narrow.Colour, narrow.Width = true, 60
	if err := NewLines(narrow).Event(body); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	v := state.New(nil, time.Now(), c.Stream.CheckpointInterval)
	// As the view is read, and also where the id or the key is wrong.
	if envelope, err := event.ReadEnvelope(body); err == nil {
		if e, _ := envelope.Event(); e.Data != nil {
			v = state.New([]view.Entry{{Tenant: "acme", Key: e.ViewKey(), Value: body, Event: e}}, time.Now(), c.Stream.CheckpointInterval)
		}
	}
	WriteView(console.New(io.Discard, nil), v, true)
	if envelope, err := event.ReadEnvelope(body); err == nil {
		if e, _ := envelope.Event(); e.Data != nil && e.EntityBase() != nil {
			possible := []past.Possible{{}, {Event: &e, Body: body}, {Event: &e}}
			s := past.State{Entities: []past.Entity{{Key: e.ViewKey(), Possible: possible, Unknown: &past.Unknown{Reason: past.Changing}}}}
			if err := AddPast(v, "acme", &s, true); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			WritePast(narrow, v, true)
		}
	}
	if _, err := json.Marshal(v); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}
