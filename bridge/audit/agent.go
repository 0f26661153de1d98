package audit

import (
	"slices"
	"strconv"
	"time"

	"bpcc-nats/bridge/audit/verbs"
	"bpcc-nats/bridge/event"
)

const (
	// stateTolerance allows for the whole seconds of state_duration and for the unknown time at
	// which the source took its sample.
	stateTolerance = 2 * time.Second
	// longestState is more than any agent spends in one state: a longer one is an error of the source.
	longestState = 10 * 365 * 24 * time.Hour
)

// checkAgent checks what an event says about an agent's state and its clock.
func (a *Auditor) checkAgent(t *tenantAudit, e *audited, c *entityAudit, d *event.AgentData, next bool) {
	a.checkSince(t, e, d)
	a.checkPreviousDuration(t, e, c, d, next)
	same := d.From != nil && d.To != nil && *d.From == *d.To
	switch {
	case d.Reentered:
		a.checkReentered(t, e, c, d, next)
	case e.verb == "state_changed" && same && !a.newlyKnown(d):
		a.fault(t, e, "reentered", "`from` and `to` are the same state, and `reentered` is not set")
	}
	if d.Reentered {
		c.reentered = e.ID
	}
}

// checkSince checks when the present state is said to have begun. A change of state and an arrival lie in the
// window of the event. Any other event may show a state that began long before.
func (a *Auditor) checkSince(t *tenantAudit, e *audited, d *event.AgentData) {
	w := d.Observed
	if d.Since.IsZero() || w.By.IsZero() {
		return
	}
	earliest, why := w.By.Add(-longestState), "no state lasts that long"
	// Both texts have whole seconds.
	if inside := w.After.Truncate(time.Second).Add(-stateTolerance); !w.After.IsZero() && (e.verb == "state_changed" || e.verb == "appeared") {
		earliest, why = inside, "the state is said to have begun in its window"
	}
	switch latest := w.By.Add(stateTolerance); {
	case d.Since.Before(earliest):
		a.fault(t, e, "since", "since %s is before the window from %s to %s: %s", seconds(d.Since), w.After, w.By, why)
	case d.Since.After(latest):
		a.fault(t, e, "since", "since %s is after the window from %s to %s", seconds(d.Since), w.After, w.By)
	}
}

// seconds formats a time as `since` has it.
func seconds(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// checkReentered checks a round trip: the state must be the same before and after, and its clock
// must have started again in the window. The event follows the previous one about the agent if next
// is true.
func (a *Auditor) checkReentered(t *tenantAudit, e *audited, c *entityAudit, d *event.AgentData, next bool) {
	if e.verb != "state_changed" {
		a.fault(t, e, "reentered", "reentered, in an event that is no change of state")
		return
	}
	if d.From != nil && d.To != nil && *d.From != *d.To {
		a.fault(t, e, "reentered", "reentered, but `from` and `to` are different states")
	}
	after, known := clock(d.After.Text(event.StateDuration))
	if !known {
		return
	}
	w := d.Observed
	if window := w.By.Sub(w.After.Time); !w.After.IsZero() && after > window+stateTolerance {
		a.fault(t, e, "reentered", "reentered, but state_duration is %v, the window %v: the state began before it", after, window)
		return
	}
	before, known := clock(d.Before.Text(event.StateDuration))
	if !known || !next || !e.Time.After(c.lastTime) || c.clocks != t.times.Clocks() {
		return
	}
	if passed := e.Time.Sub(c.lastTime); before+passed <= after {
		a.fault(t, e, "reentered", "reentered, but state_duration went from %v to %v in %v: it did not start again", before, after,
			passed.Round(time.Millisecond))
	}
}

// newlyKnown reports whether a statistic of the state that changed was not known before, since it
// was not subscribed: the state may then be the same.
func (a *Auditor) newlyKnown(d *event.AgentData) bool {
	return slices.ContainsFunc(d.Changed, func(stat string) bool {
		_, known := d.Before.Get(stat)
		return !known
	})
}

// clock parses state_duration. A longer one than longestState counts as that.
func clock(text string) (time.Duration, bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, false
	}
	return time.Duration(min(n, uint64(longestState/time.Second))) * time.Second, true
}

// checkStateRevision compares the number of an agent's state with that of the previous event about the
// agent. Between them may be events that are missing, which is reported already, or erased.
func (a *Auditor) checkStateRevision(t *tenantAudit, e *audited, c *entityAudit) {
	d, ok := e.Data.(*event.AgentData)
	if !ok {
		return
	}
	got, before := d.StateRevision, c.state
	c.state = e.StateRevisionAfter(before)
	uncounted := c.uncounted
	if c.uncounted = got == 0; c.uncounted {
		c.unproved = true
		return // of a version that did not count states
	}
	var hidden uint64            // events that are missing, or not in the part
	if d.Revision > c.revision { // else the numbers began again, or the event is out of order
		hidden = d.Revision - c.revision - 1
	}
	least, most := before, before+hidden
	if !c.complete() && c.shown&verbs.StateChanged != 0 { // of a complete entity, what is missing is reported already
		most = before + min(hidden, t.erasedIn(c.lastSeq, e.seq)+a.unreadable-c.lost)
	}
	if e.Name == event.StateChanged {
		least, most = least+1, most+1
	}
	begins := got == 1 || got == 2 && e.Name == event.StateChanged && hidden > 0
	switch {
	case got > d.Revision:
		a.fault(t, e, "revision", "state_revision %d is more than revision %d", got, d.Revision)
	case d.Revision == 1 && got > 1:
		a.fault(t, e, "revision", "state_revision begins with %d", got)
	case before == 0, d.Revision <= c.revision: // the first that is known
	case !c.complete() && e.Time.Sub(c.lastTime) >= a.options.Retention:
	case begins && (uncounted || c.shown&verbs.StateChanged == 0 && hidden > 0): // the count began again
		c.unproved = true
	case got < least:
		a.fault(t, e, "revision", "state_revision %d comes after %d", got, before)
	case got > most:
		a.fault(t, e, "revision", "state_revision %d comes after %d: %d change(s) of state missing", got, before, got-most)
	}
}
