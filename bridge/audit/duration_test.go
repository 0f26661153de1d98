package audit_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/event"
)

// lasted is an edit of how long the state before lasted.
func lasted(least, most float64) func(*event.Event) {
	seconds := func(n float64) event.Duration {
		return event.Duration(math.Round(n*1000)) * event.Duration(time.Millisecond)
	}
	return agentEdit(func(d *event.AgentData) {
		d.PreviousDuration = event.DurationRange{Min: seconds(least), Max: seconds(most)}
	})
}

// TestPreviousDuration: how long a state lasted must agree with the windows of its beginning and of its
// end, as far as both are known.
func TestPreviousDuration(t *testing.T) {
	t.Parallel()
	of := func(seconds float64, verb, from, to string, edit func(*event.Event)) step {
		s := step{at: seconds, name: "agent." + verb, id: "anna", edit: edit}
		if from != "" {
			s.before = "acd_state=" + from
		}
		if to != "" {
			s.after = "acd_state=" + to
		}
		return s
	}
	first := func(clock string) step {
		return of(0, "observed", "", "ready state_duration="+clock, nil)
	}
	change := func(seconds float64, from, to string, edit func(*event.Event)) step {
		return of(seconds, "state_changed", from, to, edit)
	}
	service := func(seconds float64) step {
		return step{at: seconds, name: "service.observed", id: "A", after: "in_calls_waiting=0"}
	}
	begun := []step{first(""), change(2, "ready state_duration=", "busy", nil), service(6)}
	after := func(steps []step, more ...step) []step { return append(append([]step{}, steps...), more...) }
	gap := after(begun[:2],
		step{at: 12, name: event.Interrupted, edit: func(e *event.Event) {
			d := e.Data.(*event.FeedData)
			d.Cause, d.Error = "source", "no answer"
		}},
		step{at: 12, name: event.Checkpoint, edit: func(e *event.Event) {
			d := e.Data.(*event.CheckpointData)
			d.Status, d.ObservedUntil = event.StatusInterrupted, sent(2)
		}},
		step{at: 14, name: event.Resumed}.resumedFrom(2), service(18))
	fault := []string{"duration agent.anna state_changed"}
	checkStatements(t, map[string]statement{
		"right":                           {steps: after(begun, change(8, "busy", "ready", lasted(3.99, 8.01)))},
		"left out":                        {steps: after(begun, change(8, "busy", "ready", nil))},
		"too short":                       {steps: after(begun, change(8, "busy", "ready", lasted(3.98, 8.01))), want: fault},
		"too long":                        {steps: after(begun, change(8, "busy", "ready", lasted(4, 8.01))), want: fault},
		"at most too short":               {steps: after(begun, change(8, "busy", "ready", lasted(3.99, 8))), want: fault},
		"at most too long":                {steps: after(begun, change(8, "busy", "ready", lasted(3.99, 8.02))), want: fault},
		"at least more than at most":      {steps: after(begun, change(8, "busy", "ready", lasted(9, 8.01))), want: fault},
		"no less than nothing":            {steps: after(begun[:2], change(4, "busy", "ready", lasted(0, 4.01)))},
		"first seen with a clock":         {steps: []step{first("300"), change(2, "ready state_duration=300", "busy", lasted(297.99, 304))}},
		"first seen with a young one":     {steps: []step{first("1"), change(2, "ready state_duration=1", "busy", lasted(0, 5))}},
		"first seen, wrong":               {steps: []step{first("300"), change(2, "ready state_duration=300", "busy", lasted(299, 304))}, want: fault},
		"first seen with a reason":        {steps: []step{first("300 reason=Lunch"), change(2, "ready state_duration=300 reason=Lunch", "busy", lasted(0, 304))}},
		"first seen with a reason, wrong": {steps: []step{first("300 reason=Lunch"), change(2, "ready state_duration=300 reason=Lunch", "busy", lasted(297.99, 304))}, want: fault},
		"first seen without one":          {steps: []step{first(""), change(2, "ready state_duration=", "busy", lasted(1, 2))}},
		"came back": {steps: after(begun, of(8, "disappeared", "busy", "", nil), of(10, "appeared", "", "ready", nil),
			change(12, "ready", "busy", lasted(1, 2)))},
		"after statistics": {steps: after(begun, of(8, "stats_changed", "busy", "busy extension=1", nil), change(10, "busy extension=1", "ready extension=1", lasted(3.99, 8.01))), want: fault},
		"no change of state": {steps: after(begun, of(8, "stats_changed", "busy", "busy extension=1", lasted(3.99, 8.01))),
			want: []string{"duration agent.anna stats_changed"}},
		"after a gap":              {steps: after(gap, change(20, "busy", "ready", lasted(3.99, 20.01)))},
		"after a gap, not allowed": {steps: after(gap, change(20, "busy", "ready", lasted(15.99, 20.01))), want: fault},
		"over a gap": {steps: after(gap[:4], change(14, "busy", "ready", func(e *event.Event) {
			lasted(0, 14.01)(e)
			e.EntityBase().AfterGap = true
		}))},
	})
}

// TestPreviousDurationOfAPart: a part without the events about the feed does not show the gaps, after
// which a state is known to have lasted for less.
func TestPreviousDurationOfAPart(t *testing.T) {
	t.Parallel()
	part := &audit.Part{Name: "an agent", Includes: func(subject string) bool { return strings.HasPrefix(subject, "bpcc.v1.acme.agent.") }}
	for least, want := range map[float64]int{0: 0, 3.99: 0, 15.99: 0, 16: 1} {
		steps := []step{
			{at: 0, name: "agent.observed", id: "anna", after: "acd_state=ready"},
			{at: 2, name: "agent.state_changed", id: "anna", before: "acd_state=ready", after: "acd_state=busy"},
			waiting(2, "A", "", "0"), waiting(18, "A", "0", "1"),
			{at: 20, name: "agent.state_changed", id: "anna", before: "acd_state=busy", after: "acd_state=ready", edit: lasted(least, 20.01)},
		}
		if r := judge(t, audit.Options{Part: part}, stream(t, steps...)); r.ByCode["duration"] != want {
			t.Errorf("at least %v s: %d faults, want %d: %+v", least, r.ByCode["duration"], want, r.Faults)
		}
	}
}
