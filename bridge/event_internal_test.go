package bridge

import (
	"testing"
	"time"
)

// TestWindowSurvivesTheClock: a window never ends before it begins, whatever
// happened to the machine's clock.
func TestWindowSurvivesTheClock(t *testing.T) {
	by := time.Date(2026, 11, 23, 10, 0, 2, 500_000, time.UTC)
	tests := map[string]struct {
		after time.Time
		want  string
	}{
		"earlier":       {by.Add(-2 * time.Second), "2026-11-23T10:00:00.000Z"},
		"same instant":  {by, "2026-11-23T10:00:02.000Z"},
		"never":         {time.Time{}, ""},
		"in the future": {by.Add(time.Hour), ""}, // told before the clock was set back
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := between(test.after, by)
			if w.By != "2026-11-23T10:00:02.001Z" {
				t.Errorf("by %s", w.By)
			}
			got := ""
			if w.After != nil {
				got = *w.After
			}
			if got != test.want {
				t.Errorf("after %q, want %q", got, test.want)
			}
		})
	}
}
