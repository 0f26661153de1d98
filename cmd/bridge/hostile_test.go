package main

import (
	"bufio"
	"encoding/json"
	"io"
	"runtime/debug"
	"testing"
	"time"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/internal/hostile"
)

// TestHostileEvents puts every kind of wrong value in every place of an event of each
// type, as the stream and the view may hold them: no command panics that prints them.
func TestHostileEvents(t *testing.T) {
	t.Parallel()
	c := &config.Config{CheckpointInterval: 30 * time.Second}
	types, n := map[string]bool{}, 0
	for _, body := range goldenDay(t) {
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
			showAll(t, e.Type+" "+change.String(), change.Apply([]byte(body)), c)
		}
	}
	if len(types) < 15 {
		t.Errorf("%d types of events only", len(types))
	}
	t.Logf("%d events", n)
}

// showAll prints an event in all ways that there are.
func showAll(t *testing.T, what string, body []byte, c *config.Config) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("%s: panic: %v\n%s", what, p, debug.Stack())
		}
	}()
	narrow := console.New(io.Discard, nil)
	narrow.Colour, narrow.Width = true, 60
	r := renderer{c: narrow}
	if err := r.event(body); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	p := &program{out: console.New(io.Discard, nil), err: console.New(io.Discard, nil), data: io.Discard}
	pic := &viewSnapshot{At: time.Now()}
	// As ReadView does, and also where the id or the key is wrong.
	if v, err := event.ReadEnvelope(body); err == nil {
		if e, _ := v.Event(); e.Data != nil {
			_ = pic.addEntry(stream.ViewEntry{Tenant: "acme", Key: e.ViewKey(), Value: body, Event: e}, c)
		}
	}
	if err := p.writeView(pic, true); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if _, err := json.Marshal(pic); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	out := bufio.NewWriter(io.Discard)
	for _, meta := range []bool{false, true} {
		replay := replayer{meta: meta}
		if err := replay.addTypes("agent.*"); err != nil {
			t.Fatal(err)
		}
		replay.wanted(reader.Message{Body: body})
		if err := replay.writeLine(out, reader.Message{Seq: 1, Body: body}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
