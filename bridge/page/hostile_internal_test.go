package page

import (
	"testing"

	"bpcc-nats/internal/hostile"
)

// TestHostileMessages puts every kind of wrong value in every place of an event: a page that judges
// one must not panic.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	events := hostile.FirstOfEachType(t, "../testdata/golden/events.ndjson")
	for _, e := range events {
		if !belongsTo("acme", e.Body) {
			t.Errorf("not shown: %s", e.Body)
		}
		for c := range hostile.Changes(e.Body) {
			changed := c.Apply(e.Body)
			hostile.MustNotPanic(t, e.Type+" "+c.String(), func() {
				belongsTo("acme", changed)
				if err := hostileHistory(changed); err != nil {
					t.Errorf("%s %s: %v", e.Type, c, err)
				}
			})
		}
	}
	if len(events) < 10 {
		t.Errorf("%d types of events only", len(events))
	}
}
