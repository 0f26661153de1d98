package engine

import (
	"slices"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
)

// reentryTest returns the test for an agent that left its state and came back to it between two
// polls: the clock of the state went back, or is younger than the last poll, and the state is young
// enough to have begun after the poll before. It must not be used over a gap or on a repeated body.
// An agent whose clocks the daily reset has set back has not left.
func (e *Engine) reentryTest(o Observation) *diff.ReentryTest {
	// A source that stood still may have shown an old picture, or have no clocks that run: neither
	// makes a round trip of a clock that is young.
	least, most := o.Sent.Sub(e.observed.lastGoodPoll), o.Received.Sub(e.observed.shown.sent)
	restarted := func(before, after time.Duration) bool {
		return (before-after > clockTolerance || least-after > clockTolerance) && after <= most+clockTolerance
	}
	return &diff.ReentryTest{
		Clock: func(before, after int) bool {
			return restarted(time.Duration(before)*time.Second, time.Duration(after)*time.Second)
		},
		Images: func(kind diff.Kind, seen, now diff.Image) bool {
			state := e.reader.State(now)
			if kind != event.Agent || state != e.reader.State(seen) || state.State == "" || state.State == event.LoggedOut {
				return false
			}
			before, knownBefore := event.Seconds(seen.Text(event.StateDuration))
			after, known := event.Seconds(now.Text(event.StateDuration))
			return known && knownBefore && restarted(before, after) && len(resetCounters(seen, now)) == 0
		},
	}
}

// resetCounters names the daily counters that were reset.
func resetCounters(before, after diff.Image) []string {
	var names []string
	for name, texts := range diff.DifferingPairs(before, after) {
		if event.IsDailyCounter(name) && event.CounterReset(texts[0], texts[1]) {
			names = append(names, name)
		}
	}
	return names
}

// showsDailyReset reports whether the changes show the tenant's daily reset: the counters of more
// than one entity were reset.
func showsDailyReset(changes *diff.Changes) bool {
	n := 0
	for c := range changes.All() {
		if c.Op != diff.Changed || len(resetCounters(c.Before, c.After)) == 0 {
			continue
		}
		if n++; n > 1 {
			return true
		}
	}
	return false
}

// showsReentry reports whether one of the changes may be a reentry.
func showsReentry(changes *diff.Changes) bool {
	for i := range changes.Len() {
		if changes.Reentry(i) {
			return true
		}
	}
	return false
}

// sameState reports whether an agent's state is the same in other texts: "" and "0" both mean
// logged out. Of the statistics that differ, n are of the state.
func (e *Engine) sameState(changes *diff.Changes, i int, stats []string, n int) bool {
	if n > 1 || !changes.ShortTexts(i) || !slices.Contains(stats, event.ACDState) || !changes.EntityView(i).OneOf(event.ACDState, event.LoggedOutTexts()) {
		return false
	}
	c := changes.At(i)
	return e.reader.State(c.Before) == e.reader.State(c.After)
}
