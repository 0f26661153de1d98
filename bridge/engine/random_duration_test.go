package engine_test

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"bpcc-nats/bridge/event"
)

// stay is how long an agent was in a state without a break: it began and ended in these times.
type stay struct{ beganAfter, beganBy, endedAfter, endedBy time.Time }

// stateIn is the state in a picture, as event.AgentState.
func stateIn(p picture) event.AgentState {
	text := func(stat string) string {
		_, rest, _ := strings.Cut(" "+string(p), " "+stat+"=")
		value, _, _ := strings.Cut(rest, " ")
		return value
	}
	return event.AgentState{State: cmp.Or(text(event.ACDState), event.LoggedOut), NextState: text("acd_next_state"), Reason: text("reason")}
}

// stays lists how long an agent was in a state, each time that it ended.
func (o *oracle) stays(e entity, state event.AgentState) (all []stay) {
	in := false
	for _, v := range o.truth {
		p := v.pictures[e]
		switch is := p != absent && stateIn(p) == state; {
		case is && !in:
			all = append(all, stay{beganAfter: v.from, beganBy: v.since})
			in = true
		case !is && in:
			all[len(all)-1].endedAfter, all[len(all)-1].endedBy = v.from, v.since
			in = false
		}
	}
	if in {
		all = all[:len(all)-1]
	}
	return all
}

// checkPreviousDuration checks that the state that ended in the window of a change had lasted for as long
// as the event says.
func (o *oracle) checkPreviousDuration(ev *event.Event, e entity, d *event.AgentData) {
	o.tb.Helper()
	got, w := d.PreviousDuration, d.Observed
	if got == (event.DurationRange{}) {
		return
	}
	o.durations++
	after := o.lowerBound(w.After.Time)
	slack := w.After.Sub(after) + tolerance // the source may have stood still
	all := o.stays(e, *d.From)
	last := -1
	for i, s := range all {
		if !s.endedBy.Before(after.Add(-tolerance)) && !s.endedAfter.After(w.By.Add(tolerance)) {
			last = i
		}
	}
	for p, when := range o.wrong[e] {
		// The source showed a state that never was, or hid the beginning of this one behind such a one.
		if p != absent && (stateIn(p) == *d.From || stateIn(p) == *d.To || last >= 0 && when.After(all[last].beganAfter)) {
			return
		}
	}
	for i := last; i >= 0; i-- {
		least, most := all[last].endedAfter.Sub(all[i].beganBy), all[last].endedBy.Sub(all[i].beganAfter)
		if most >= time.Duration(got.Min)-slack && least <= time.Duration(got.Max)+slack {
			return
		}
		if i > 0 && !o.hidesBreak(e, all[i-1].endedAfter, all[i].beganBy) {
			break
		}
	}
	o.tb.Errorf("%s: %s: %v is said to have lasted from %v to %v, and did not: %v", ev.MsgID(), ev.CESubject(), *d.From,
		time.Duration(got.Min), time.Duration(got.Max), all)
}

// hidesBreak reports whether an agent can have been in another state for a while without an answer that
// shows it, or a gap that is stated.
func (o *oracle) hidesBreak(e entity, after, by time.Time) bool {
	shown := slices.ContainsFunc(o.answers, func(a answer) bool {
		return !a.stale && !a.sent.Before(after) && !a.received.After(by) && len(a.rows[e]) > 0
	})
	stated := slices.ContainsFunc(o.gaps, func(gap event.Window) bool {
		return !after.Before(gap.After.Time) && !by.After(gap.By.Time)
	})
	return !shown && !stated
}
