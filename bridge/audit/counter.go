package audit

import (
	"slices"

	"bpcc-nats/bridge/event"
)

// checkCounters compares `reset` with the daily counters of both images. Of all statistics, the
// names in differ have another text after than before.
func (a *Auditor) checkCounters(t *tenantAudit, e *audited, c *entityAudit, row *event.RowData, differ []string) {
	var reset []string
	for _, name := range differ {
		if before, known := row.Before.Get(name); known && event.IsDailyCounter(name) && event.CounterReset(before, row.After.Text(name)) {
			reset = append(reset, name)
		}
	}
	for _, name := range row.Reset {
		before, after := row.Before.Text(name), row.After.Text(name)
		switch {
		case slices.Contains(reset, name):
		case !event.IsDailyCounter(name):
			a.fault(t, e, "reset", "%s is in `reset`, and is no daily counter", name)
		case before == after:
			a.fault(t, e, "reset", "%s is in `reset`, and is the same before and after", name)
		default:
			a.fault(t, e, "reset", "%s is in `reset`, but from %q to %q it did not fall to no value, to 0 or below half", name, before, after)
		}
	}
	for _, name := range reset {
		if !slices.Contains(row.Reset, name) {
			a.fault(t, e, "reset", "%s fell from %q to %q, and is not in `reset`", name, row.Before.Text(name), row.After.Text(name))
		}
	}
	// Volatile counters fell at any time since the previous event.
	inPoll := slices.ContainsFunc(reset, func(name string) bool { return slices.Contains(row.Changed, name) })
	if r := c.reentered; inPoll && r.Poll == e.ID.Poll && r.Epoch == e.ID.Epoch {
		a.fault(t, e, "reentered", "reentered in the poll that shows the agent's daily reset, which starts clocks again")
	}
}
