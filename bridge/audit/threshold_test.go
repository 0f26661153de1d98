package audit_test

import (
	"testing"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/event"
)

// waiting is an event about a service with so many calls that wait.
func waiting(seconds float64, id, before, after string) step {
	s := step{at: seconds, name: "service.stats_changed", id: id}
	for text, to := range map[string]*string{before: &s.before, after: &s.after} {
		if text != "" {
			*to = "in_calls_waiting=" + text
		}
	}
	switch {
	case before == "":
		s.name = "service.appeared"
	case after == "":
		s.name = "service.disappeared"
	}
	return s
}

// observed is the first event about a service.
func observed(id, text string) step {
	return step{at: 0, name: "service.observed", id: id, after: "in_calls_waiting=" + text}
}

// raised and cleared are events of a rule, by a value.
func raised(seconds float64, id, value string) step {
	return step{at: seconds, name: event.ThresholdRaised, id: id, after: value}
}

func cleared(seconds float64, id, value string) step {
	return step{at: seconds, name: "threshold.cleared", id: id, after: value}
}

// lastSeen gives a step with a window that begins at an earlier poll.
func (s step) lastSeen(seconds float64) step {
	s.edit = func(e *event.Event) { e.EntityBase().Observed.After = sent(seconds) }
	return s
}

// pending gives a rule's step with another time since which its condition held.
func (s step) pending(seconds float64) step {
	s.edit = thresholdEdit(func(d *event.ThresholdData) { d.PendingSince = event.Ceil(at(seconds)) })
	return s
}

// clearedBy gives a rule's step with another reason, without a value.
func (s step) clearedBy(reason string) step {
	s.edit = thresholdEdit(func(d *event.ThresholdData) { d.ClearedBy, d.Value = reason, nil })
	return s
}

// TestUnseen: a rule speaks only of what the polls of its window showed.
func TestUnseen(t *testing.T) {
	t.Parallel()
	const raisedA, clearedA = "unseen threshold.backlog.A raised", "unseen threshold.backlog.A cleared"
	nine := waiting(2, "A", "0", "9")
	b := func(seconds float64) step { return waiting(seconds, "B", "1", "2") }
	withB := []step{observed("A", "0"), observed("B", "1")}
	checkStatements(t, map[string]statement{
		"seen":                      {steps: []step{observed("A", "0"), nine, raised(6, "A", "9").pending(2)}},
		"seen and cleared":          {steps: []step{observed("A", "0"), nine, raised(6, "A", "9").pending(2), waiting(8, "A", "9", "1"), cleared(8, "A", "1").pending(2)}},
		"never observed":            {steps: []step{observed("A", "0"), raised(6, "B", "9")}, want: []string{"unseen threshold.backlog.B raised"}},
		"gone":                      {steps: []step{observed("A", "0"), nine, waiting(4, "A", "9", ""), raised(6, "A", "9").pending(2)}, want: []string{raisedA}},
		"gone and cleared":          {steps: []step{observed("A", "0"), nine, raised(6, "A", "9").pending(2), waiting(8, "A", "9", ""), cleared(8, "A", "9").pending(2)}, want: []string{clearedA}},
		"cleared since it is gone":  {steps: []step{observed("A", "0"), nine, raised(6, "A", "9").pending(2), waiting(8, "A", "9", ""), cleared(8, "A", "").clearedBy("entity_gone")}},
		"cleared without its rule":  {steps: []step{observed("A", "0"), nine, raised(6, "A", "9").pending(2), waiting(8, "A", "9", ""), cleared(10, "A", "").clearedBy("rule_removed")}},
		"gone, back and seen":       {steps: []step{observed("A", "0"), nine, waiting(4, "A", "9", ""), waiting(6, "A", "", "9"), raised(10, "A", "9").pending(6)}},
		"counted while it was gone": {steps: []step{observed("A", "0"), nine, waiting(4, "A", "9", ""), waiting(6, "A", "", "9"), raised(8, "A", "9").pending(4)}, want: []string{raisedA}},
		"counted before first seen": {steps: []step{observed("A", "9"), raised(2, "A", "9").pending(-1)}, want: []string{raisedA}},
		"counted before the start":  {steps: []step{observed("A", "9"), raised(6, "A", "9").pending(-60)}, want: []string{raisedA}},
		"counted from first seen":   {steps: []step{observed("A", "9"), raised(4, "A", "9").pending(0)}},

		// A is not seen after 4 s: its departure says so later.
		"raised at the last sight":        {steps: append(withB, nine, raised(4, "A", "9").pending(2), b(6), waiting(8, "A", "9", "").lastSeen(4))},
		"raised after the last sight":     {steps: append(withB, nine, b(4), raised(6, "A", "9").pending(2), waiting(8, "A", "9", "").lastSeen(4)), want: []string{raisedA}},
		"raised long after it":            {steps: append(withB, nine, b(4), raised(30, "A", "9").pending(2), waiting(32, "A", "9", "").lastSeen(4)), want: []string{raisedA}},
		"cleared after the last sight":    {steps: append(withB, nine, raised(4, "A", "9").pending(2), b(6), cleared(8, "A", "9").pending(2), waiting(10, "A", "9", "").lastSeen(4)), want: []string{clearedA}},
		"raised after it, and it is back": {steps: append(withB, nine, b(4), raised(8, "A", "9").pending(2), missingSince(8, 4), waiting(10, "A", "9", "7").lastSeen(4)), want: []string{raisedA}},
		"raised in the poll of a change":  {steps: append(withB, nine, b(4), waiting(6, "A", "9", "7"), raised(6, "A", "7").pending(2))},
		"over a gap": {steps: append(withB, nine, b(4), raised(6, "A", "9").pending(2),
			step{at: 12, name: event.Interrupted, edit: func(e *event.Event) {
				d := e.Data.(*event.FeedData)
				d.Cause, d.Error, d.ObservedUntil = "source", "x", sent(2)
			}},
			step{at: 12, name: event.Checkpoint, edit: func(e *event.Event) {
				d := e.Data.(*event.CheckpointData)
				d.Status, d.ObservedUntil = event.StatusInterrupted, sent(2)
			}},
			step{at: 14, name: event.Resumed},
			step{at: 14, name: "service.disappeared", id: "A", before: "in_calls_waiting=9", edit: func(e *event.Event) { e.EntityBase().AfterGap = true }},
		)},
		// The last sight in the term before is not known: B was missing since 2 s then.
		"over a restart": {steps: append(withB, nine, raised(6, "A", "9").pending(2), missingSince(6, 2), step{at: 8, name: event.Started}, missingSince(8, 2),
			missingSince(10, 2), waiting(12, "A", "9", "").lastSeen(2))},

		// A is missing from 4 s on and is seen again, changed.
		"seen again, from then":       {steps: append(withB, nine, missingSince(6, 2), waiting(8, "A", "9", "8").lastSeen(2), raised(12, "A", "8").pending(8))},
		"seen again, counted through": {steps: append(withB, nine, missingSince(6, 2), waiting(8, "A", "9", "8").lastSeen(2), raised(8, "A", "8").pending(2)), want: []string{raisedA}},
		"seen again, unchanged": {steps: append(withB, nine, missingSince(6, 2), waiting(8, "C", "", "1"), step{at: 8, name: event.ThresholdRaised, id: "A", after: "9",
			edit: thresholdEdit(func(d *event.ThresholdData) { d.Observed.After, d.PendingSince = sent(2), event.Ceil(at(8)) })}, missingSince(8, 2))},
		"another one missing": {steps: append(withB, nine, missingSince(6, 2), waiting(8, "A", "9", "8").lastSeen(6), raised(8, "A", "8").pending(2))},
	})
}

// TestValue: the value of a rule is the one that the stream shows of its statistic.
func TestValue(t *testing.T) {
	t.Parallel()
	const raisedA, clearedA = "value threshold.backlog.A raised", "value threshold.backlog.A cleared"
	of := func(s step, stat, op string, limit float64) step {
		pending := s.at - 4
		s.edit = thresholdEdit(func(d *event.ThresholdData) {
			d.Stat, d.Op, d.Limit, d.PendingSince = stat, op, limit, event.Ceil(at(pending))
		})
		return s
	}
	first := func(image string) step { return step{at: 0, name: "service.observed", id: "A", after: image} }
	raisedBy := func(value, op string, limit float64) []step {
		return []step{first("in_calls_waiting=" + value), of(raised(6, "A", value), "in_calls_waiting", op, limit)}
	}
	clockChange := step{at: 2, name: "service.stats_changed", id: "A", before: "clock=1 in_calls_waiting=0", after: "clock=3 in_calls_waiting=1"}
	checkStatements(t, map[string]statement{
		"as published":             {steps: []step{first("in_calls_waiting=9"), raised(6, "A", "9")}},
		"another one":              {steps: []step{first("in_calls_waiting=4"), raised(6, "A", "9")}, want: []string{raisedA}},
		"an older one":             {steps: []step{first("in_calls_waiting=9"), waiting(2, "A", "9", "8"), raised(6, "A", "9")}, want: []string{raisedA}},
		"in other digits":          {steps: []step{first("in_calls_waiting=9"), raised(6, "A", "9.0")}, want: []string{raisedA}},
		"cleared by another one":   {steps: []step{first("in_calls_waiting=9"), raised(6, "A", "9"), cleared(8, "A", "1").pending(2)}, want: []string{clearedA}},
		"a statistic not shown":    {steps: []step{first("in_calls_waiting=9"), of(raised(6, "A", "9"), "agents_busy", ">=", 5)}, want: []string{raisedA}},
		"a volatile one":           {steps: []step{first("in_max_wait_time=9"), of(raised(6, "A", "120"), "in_max_wait_time", ">=", 60)}},
		"volatile by its changes":  {steps: []step{first("clock=1 in_calls_waiting=0"), clockChange, of(raised(6, "A", "7"), "clock", ">=", 5)}},
		"volatile by the settings": {steps: []step{first("in_calls_waiting=4"), raised(6, "A", "9")}, options: audit.Options{Volatile: func(stat string) bool { return stat == "in_calls_waiting" }}},
		"not volatile by its changes": {steps: []step{first("in_calls_waiting=4"), waiting(2, "A", "4", "5"), raised(6, "A", "9")},
			options: audit.Options{Volatile: func(string) bool { return true }}, want: []string{raisedA}},

		"above":                              {steps: raisedBy("9", ">", 8)},
		"not above":                          {steps: raisedBy("8", ">", 8), want: []string{raisedA}},
		"at least":                           {steps: raisedBy("8", ">=", 8)},
		"not at least":                       {steps: raisedBy("7.5", ">=", 8), want: []string{raisedA}},
		"below":                              {steps: raisedBy("1e-1", "<", 1)},
		"not below":                          {steps: raisedBy("1", "<", 1), want: []string{raisedA}},
		"at most":                            {steps: raisedBy("1", "<=", 1)},
		"not at most":                        {steps: raisedBy("2", "<=", 1), want: []string{raisedA}},
		"equal":                              {steps: raisedBy("1.0", "==", 1)},
		"not equal":                          {steps: raisedBy("2", "==", 1), want: []string{raisedA}},
		"different":                          {steps: raisedBy("2", "!=", 1)},
		"not different":                      {steps: raisedBy("1", "!=", 1), want: []string{raisedA}},
		"infinite":                           {steps: raisedBy("Inf", ">=", 5), want: []string{raisedA}},
		"no number at all":                   {steps: raisedBy("NaN", "!=", 5), want: []string{raisedA}},
		"hexadecimal":                        {steps: raisedBy("0x1p4", ">=", 5), want: []string{raisedA}},
		"in groups of digits":                {steps: raisedBy("1.234", ">=", 1000)},
		"a text that only its rule can read": {steps: raisedBy("87%", ">=", 5)},
	})
}
