package engine

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"bpcc-nats/bridge/event"
	"bpcc-nats/diff"
)

// roundTripTolerance allows for the whole seconds of both values of state_duration, and for the
// unknown time of the sample within the request.
const roundTripTolerance = 2 * time.Second

// reentryTest returns the test for an agent that left its state and came back to it between two
// polls: the clock of the state went back, or is younger than the previous poll. It must not be used
// over a gap or on a repeated body. An agent whose clocks the daily reset has set back has not left.
func (e *Engine) reentryTest(o Observation) *diff.ReentryTest {
	elapsed := o.Sent.Sub(e.observed.lastGoodPoll)
	restarted := func(before, after time.Duration) bool {
		return before-after > roundTripTolerance || elapsed-after > roundTripTolerance
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
			return known && knownBefore && restarted(before, after) && len(droppedCounters(seen, now)) == 0
		},
	}
}

// droppedCounters names the daily counters that have dropped: the tenant's daily reset. Averages,
// ratios and shares may drop at any time.
func droppedCounters(before, after diff.Image) []string {
	var names []string
	for name, texts := range diff.Pairs(before, after) {
		if texts[0] == texts[1] || !isDailyCounter(name) {
			continue
		}
		was, err := strconv.ParseFloat(texts[0], 64)
		if err != nil {
			continue
		}
		is, err := strconv.ParseFloat(texts[1], 64)
		if err == nil && is < was || texts[1] == "" && was > 0 {
			names = append(names, name)
		}
	}
	return names
}

// isDailyCounter reports whether a statistic is a counter that the tenant resets daily.
func isDailyCounter(name string) bool {
	return (strings.HasSuffix(name, "_per_day") || strings.HasPrefix(name, "agent_total_")) &&
		!strings.Contains(name, "average") && !strings.Contains(name, "ratio") && !strings.Contains(name, "percent")
}

// showsReset reports whether a counter's drop among changes shows the daily reset.
func showsReset(changes *diff.Changes) bool {
	for c := range changes.All() {
		if c.Op == diff.Changed && len(droppedCounters(c.Before, c.After)) > 0 {
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
