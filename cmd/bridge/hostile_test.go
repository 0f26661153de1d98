package main

import (
	"bufio"
	"encoding/json"
	"io"
	"runtime/debug"
	"testing"

	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/internal/hostile"
)

// TestHostileEvents puts every kind of wrong value in every place of an event of each
// type, as the stream may hold them: bridge replay does not panic.
func TestHostileEvents(t *testing.T) {
	t.Parallel()
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
			replayAll(t, e.Type+" "+change.String(), change.Apply([]byte(body)))
		}
	}
	if len(types) < 15 {
		t.Errorf("%d types of events only", len(types))
	}
	t.Logf("%d events", n)
}

// replayAll prints an event as bridge replay does.
func replayAll(t *testing.T, what string, body []byte) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("%s: panic: %v\n%s", what, p, debug.Stack())
		}
	}()
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
