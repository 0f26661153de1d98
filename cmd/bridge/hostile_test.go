package main

import (
	"bufio"
	"io"
	"testing"

	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/internal/hostile"
)

// TestHostileEvents puts every kind of wrong value in every place of an event of each
// type, as the stream may hold them: bridge replay does not panic.
func TestHostileEvents(t *testing.T) {
	t.Parallel()
	events, n := hostile.FirstOfEachType(t, "../../bridge/testdata/golden/events.ndjson"), 0
	for _, e := range events {
		for change := range hostile.Changes(e.Body) {
			n++
			what, changed := e.Type+" "+change.String(), change.Apply(e.Body)
			hostile.MustNotPanic(t, what, func() { replayAll(t, what, changed) })
		}
	}
	if len(events) < 15 {
		t.Errorf("%d types of events only", len(events))
	}
	t.Logf("%d events", n)
}

// replayAll prints an event as bridge replay does.
func replayAll(t *testing.T, what string, body []byte) {
	t.Helper()
	out := bufio.NewWriter(io.Discard)
	for _, meta := range []bool{false, true} {
		replay := replayer{meta: meta}
		if err := replay.selection.AddTypes("agent.*"); err != nil {
			t.Fatal(err)
		}
		replay.wanted(reader.Message{Subject: "bpcc.v1.acme.agent.anna.observed", Body: body})
		if err := replay.writeLine(out, reader.Message{Seq: 1, Body: body}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
