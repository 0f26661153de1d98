package engine

import (
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
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
		Images: func(kind image.Kind, seen, now image.Image) bool {
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
func resetCounters(before, after image.Image) []string {
	var names []string
	for name, texts := range image.DifferingPairs(before, after) {
		if event.IsDailyCounter(name) && event.CounterReset(texts[0], texts[1]) {
			names = append(names, name)
		}
	}
	return names
}

// showsDailyReset reports whether the changes show the tenant's daily reset: the counters of more
// than one entity were reset.
func showsDailyReset(changes []diff.Change) bool {
	n := 0
	for _, c := range changes {
		if c.Op != diff.Changed || len(resetCounters(c.Before, c.After)) == 0 {
			continue
		}
		if n++; n > 1 {
			return true
		}
	}
	return false
}
