package bridge

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/diff"
)

// stateStats are the statistics whose change is a change of state.
var stateStats = [...]string{acdState, "acd_next_state", "reason"}

const acdState = "acd_state"

// roundTripSlack allows for whole seconds on both ends of state_duration, and
// for the instant of the sample inside the request.
const roundTripSlack = 2 * time.Second

// roundTrip makes the test for an agent that left its state and came back to it
// between two polls: the clock of the state has gone back, or is younger than
// the poll before. It is not asked over a gap, nor when the source served the
// same body again, nor where the daily reset has set clocks back.
func (e *engine) roundTrip(a bpcc.Answer) *diff.Notable {
	elapsed := a.Sent.Sub(e.lastSight)
	anew := func(before, after time.Duration) bool {
		return before-after > roundTripSlack || elapsed-after > roundTripSlack
	}
	return &diff.Notable{
		Clock: func(before, after int) bool {
			return anew(time.Duration(before)*time.Second, time.Duration(after)*time.Second)
		},
		Images: func(kind diff.Kind, seen, now diff.Image) bool {
			state := e.agents.state(now)
			if kind != kindAgent || state != e.agents.state(seen) || state.State == "" || state.State == loggedOut {
				return false
			}
			before, knownBefore := seconds(seen.Text("state_duration"))
			after, known := seconds(now.Text("state_duration"))
			return known && knownBefore && anew(before, after) && len(resets(seen, now)) == 0
		},
	}
}

// seconds reads a duration as the source writes them.
func seconds(text string) (time.Duration, bool) {
	n, err := strconv.Atoi(text)
	return time.Duration(n) * time.Second, err == nil && n >= 0
}

// resets names the counters of the day that have dropped: the tenant's daily
// reset. Averages, ratios and shares may drop at any time.
func resets(before, after diff.Image) []string {
	var names []string
	for name, texts := range diff.Pairs(before, after) {
		if texts[0] == texts[1] || !daily(name) {
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

// daily tells whether a statistic counts through the day.
func daily(name string) bool {
	return (strings.HasSuffix(name, "_per_day") || strings.HasPrefix(name, "agent_total_")) &&
		!strings.Contains(name, "average") && !strings.Contains(name, "ratio") && !strings.Contains(name, "percent")
}

func isStateStat(name string) bool { return slices.Contains(stateStats[:], name) }

// reset tells whether a counter's drop among changes shows the daily reset.
func reset(changes *diff.Changes) bool {
	for c := range changes.All() {
		if c.Op == diff.Changed && len(resets(c.Before, c.After)) > 0 {
			return true
		}
	}
	return false
}

// window bounds a change that this poll shows.
func (e *engine) window(op diff.Op, seenUntil, by time.Time) window {
	after := e.observedUntil
	switch {
	case op == diff.Observed:
		after = time.Time{}
	case op == diff.Appeared: // the poll before did not show it
	case seenUntil.IsZero():
		after = e.recalledUntil // last seen in an earlier term
	default:
		after = seenUntil // the poll before, unless that did not show it
	}
	// Most changes of a poll share their window.
	if last := &e.lastWindow; last.text.By == "" || last.after != after || last.by != by {
		*last = boundWindow{after, by, between(after, by)}
	}
	return e.lastWindow.text
}

// boundWindow is a window and the instants that bound it.
type boundWindow struct {
	after, by time.Time
	text      window
}

// parted parts names in two, in their order.
func parted(names []string, first func(string) bool) (yes, no []string) {
	n := 0
	for _, name := range names {
		if first(name) {
			n++
		}
	}
	switch n {
	case 0:
		return nil, names
	case len(names):
		return names, nil
	}
	both := make([]string, 0, len(names))
	for _, want := range []bool{true, false} {
		for _, name := range names {
			if first(name) == want {
				both = append(both, name)
			}
		}
	}
	return both[:n:n], both[n:]
}

// entity begins the data of an event about an entity, as yet without a revision.
func (e *engine) entity(w window, gap bool) entityData {
	return entityData{common: e.common(), Observed: w, AfterGap: gap}
}
