package report_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"bpcc-nats/bridge/event"
	"bpcc-nats/internal/hostile"
	"bpcc-nats/reader/report"
)

// TestHostile puts every kind of wrong value in every place of an event of the types that count, among the others
// of its kind: a report does not panic, and no range ends before it begins.
func TestHostile(t *testing.T) {
	t.Parallel()
	const file = "../../bridge/testdata/golden/events.ndjson"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var day []report.Message
	for line := range strings.Lines(string(text)) {
		_, body, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, err := event.ReadEnvelope([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		e, err := v.Event()
		if err != nil {
			t.Fatal(err)
		}
		day = append(day, report.Message{Seq: uint64(len(day) + 1), Subject: e.Subject(), ID: v.ID, Body: []byte(body)})
	}
	n := 0
	for _, e := range hostile.FirstOfEachType(t, file) {
		name := strings.TrimSuffix(strings.TrimPrefix(e.Type, "bpcc."), ".v1")
		if !slices.Contains([]string{"agent.state_changed", "service.stats_changed", "availability.changed", "threshold.raised", event.Checkpoint, event.Resumed}, name) {
			continue
		}
		kind, _, _ := strings.Cut(name, ".")
		part := slices.DeleteFunc(slices.Clone(day), func(m report.Message) bool {
			return !strings.Contains(m.Subject, ".feed.") && !strings.Contains(m.Subject, "."+kind+".")
		})
		for change := range hostile.Changes(e.Body) {
			n++
			body := change.Apply(e.Body)
			what := e.Type + " " + change.String()
			hostile.MustNotPanic(t, what, func() {
				m := report.NewMessages("acme", report.Options{})
				for _, message := range part {
					if message.ID == e.ID {
						message.Body = body
					}
					m.Add(message)
				}
				r, err := m.Report()
				if err != nil {
					return
				}
				for _, a := range r.Agents {
					if a.AtLeast < 0 || a.AtMost < a.AtLeast || a.AtLeast > r.Until.Sub(r.Since) || a.Agent == "" || strings.Contains(a.State, "logged_out") {
						t.Errorf("%s: %+v", what, a)
					}
				}
			})
		}
	}
	t.Logf("%d days", n)
}
