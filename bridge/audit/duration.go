package audit

import (
	"time"

	"bpcc-nats/bridge/event"
)

// beginning is the window in which an agent's state began, and the poll that showed it. The window is zero
// if it is not known.
type beginning struct {
	window event.Window
	poll   uint64
}

// endedGap is a gap that feed.resumed states: the poll that ended it, and when.
type endedGap struct {
	poll uint64
	by   event.Time
}

// checkPreviousDuration compares how long a state is said to have lasted with the windows of its beginning
// and of its end. The event follows the previous one about the agent if next is true.
func (a *Auditor) checkPreviousDuration(t *tenantAudit, e *audited, c *entityAudit, d *event.AgentData, next bool) {
	began := c.began
	c.began = beginningOf(e, d, began, next)
	got := d.PreviousDuration
	if got == (event.DurationRange{}) {
		return // it need not be known, as after a clock was set
	}
	least, most := time.Duration(got.Min), time.Duration(got.Max)
	switch {
	case e.Name != event.StateChanged:
		a.fault(t, e, "duration", "previous_duration, in an event that is no change of state")
		return
	case least > most:
		a.fault(t, e, "duration", "previous_duration is at least %v and at most %v", least, most)
		return
	case !next || began.window.After.IsZero():
		return
	}
	w, by := d.Observed, began.window.By
	if want := w.By.Sub(began.window.After.Time); w.After.IsZero() || most != want {
		a.fault(t, e, "duration", "the state before is said to have lasted at most %v: it began after %s, and ended by %s", most, began.window.After, w.By)
		return
	}
	exact := t.extent.status() && a.unreadable == 0 // all gaps are known
	if gap := t.gapBefore(d.Poll); gap.poll > began.poll && by.Before(gap.by.Time) {
		by = gap.by
	}
	if want := max(w.After.Sub(by.Time), 0); least > want || exact && least != want {
		a.fault(t, e, "duration", "the state before is said to have lasted at least %v: it began by %s, and ended after %s", least, by, w.After)
	}
}

// beginningOf returns when the state began that an event leaves, given what was known before it.
func beginningOf(e *audited, d *event.AgentData, before beginning, next bool) beginning {
	switch {
	case e.Name == event.StateChanged:
		return beginning{d.Observed, d.Poll}
	case e.Arrives() && !d.Since.IsZero():
		by := d.Since.Add(stateTolerance)
		// What comes after the state itself may have come until it was seen.
		if d.To == nil || d.To.NextState != "" || d.To.Reason != "" || d.Observed.By.Before(by) {
			by = d.Observed.By.Time
		}
		return beginning{event.Window{After: event.Floor(d.Since.Add(-stateTolerance)), By: event.Ceil(by)}, d.Poll}
	case e.Arrives(), e.Removes(), !next:
		return beginning{}
	}
	return before
}

// gapBefore returns the last gap that ended before a poll.
func (t *tenantAudit) gapBefore(poll uint64) endedGap {
	if t.gaps[0].poll < poll {
		return t.gaps[0]
	}
	return t.gaps[1]
}
