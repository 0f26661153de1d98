package audit_test

import (
	"fmt"
	"testing"
	"time"

	"bpcc-nats/bridge/event"
)

// since is an edit of when a state began.
func since(seconds float64) func(*event.Event) {
	return agentEdit(func(d *event.AgentData) { d.Since = at(seconds).Truncate(time.Second) })
}

// TestSince: a state that changed began in the window of its change; that of a row that is shown
// for the first time may be old.
func TestSince(t *testing.T) {
	t.Parallel()
	anna := step{at: 0, name: "agent.observed", id: "anna", after: "acd_state=ready state_duration=300"}
	change := func(duration string, edit func(*event.Event)) step {
		return step{at: 2, name: "agent.state_changed", id: "anna", before: "acd_state=ready state_duration=300",
			after: "acd_state=busy state_duration=" + duration, edit: edit}
	}
	// wide is a change of a row that was missing for ten minutes.
	wide := func(duration int) []step {
		s := change(fmt.Sprint(duration), nil).lastSeen(0)
		s.at = 602
		return []step{anna, missingSince(601, 0), s}
	}
	fault := []string{"since agent.anna state_changed"}
	checkStatements(t, map[string]statement{
		"in the window":                   {steps: []step{anna, change("1", nil)}},
		"as long as the window":           {steps: []step{anna, change("2", nil)}},
		"within the tolerance":            {steps: []step{anna, change("4", nil)}},
		"before the window":               {steps: []step{anna, change("6", nil)}, want: fault},
		"an hour before":                  {steps: []step{anna, change("3596", nil)}, want: fault},
		"in 1890":                         {steps: []step{anna, change("4294967295", since(-4294967295))}, want: fault},
		"left out":                        {steps: []step{anna, change("3596", agentEdit(func(d *event.AgentData) { d.Since = time.Time{} }))}},
		"a little late":                   {steps: []step{anna, change("0", since(4))}},
		"after the window":                {steps: []step{anna, change("0", since(5))}, want: fault},
		"in 2319":                         {steps: []step{anna, change("0", agentEdit(func(d *event.AgentData) { d.Since = at(0).AddDate(293, 0, 0) }))}, want: fault},
		"no lower bound":                  {steps: []step{anna, change("9999", agentEdit(func(d *event.AgentData) { d.Observed.After = event.Time{} }))}},
		"no lower bound, after it":        {steps: []step{anna, change("0", agentEdit(func(d *event.AgentData) { d.Observed.After, d.Since = event.Time{}, at(9) }))}, want: fault},
		"a wide window":                   {steps: wide(500)},
		"before a wide window":            {steps: wide(700), want: fault},
		"first sight, long before":        {steps: []step{{at: 0, name: "agent.observed", id: "anna", after: "acd_state=ready state_duration=864000"}}},
		"first sight, after it":           {steps: []step{{at: 0, name: "agent.observed", id: "anna", after: "acd_state=ready state_duration=1", edit: since(60)}}, want: []string{"since agent.anna observed"}},
		"first sight, longer than a life": {steps: []step{{at: 0, name: "agent.observed", id: "anna", after: "acd_state=ready state_duration=4294967295", edit: since(-4294967295)}}, want: []string{"since agent.anna observed"}},
		"appeared, long before":           {steps: []step{anna, {at: 2, name: "agent.appeared", id: "bob", after: "acd_state=ready state_duration=864000"}}, want: []string{"since agent.bob appeared"}},
		"appeared, in its window":         {steps: []step{anna, {at: 2, name: "agent.appeared", id: "bob", after: "acd_state=ready state_duration=1"}}},
		"appeared, after it":              {steps: []step{anna, {at: 2, name: "agent.appeared", id: "bob", after: "acd_state=ready state_duration=0", edit: since(60)}}, want: []string{"since agent.bob appeared"}},
		"a statistic of an old state": {steps: []step{anna, {at: 2, name: "agent.stats_changed", id: "anna", before: "acd_state=ready state_duration=300",
			after: "acd_state=ready state_duration=302 extension=7", edit: since(-300)}}},
	})
}

// TestStateRevision: changes of state alone raise the number of an agent's state. A version that did not
// count them may have written before and in between.
func TestStateRevision(t *testing.T) {
	t.Parallel()
	of := func(seconds float64, verb, from, to string, number uint64) step {
		s := step{at: seconds, name: "agent." + verb, id: "anna", edit: func(e *event.Event) { e.EntityBase().StateRevision = number }}
		if from != "" {
			s.before = "acd_state=" + from
		}
		if to != "" {
			s.after = "acd_state=" + to
		}
		if verb == "stats_changed" {
			s.before, s.after = s.before+" extension="+fmt.Sprint(seconds-1), s.after+" extension="+fmt.Sprint(seconds)
		}
		return s
	}
	fault := func(verb string) []string { return []string{"revision agent.anna " + verb} }
	checkStatements(t, map[string]statement{
		"counted": {steps: []step{of(0, "observed", "", "ready", 1), of(2, "state_changed", "ready", "busy", 2),
			of(4, "disappeared", "busy", "", 2), of(6, "appeared", "", "ready", 2), of(8, "state_changed", "ready", "busy", 3)}},
		"not counted": {steps: []step{of(0, "observed", "", "ready", 0), of(2, "state_changed", "ready", "busy", 0)}},
		"counted from now on": {steps: []step{of(0, "observed", "", "ready", 0), of(2, "state_changed", "ready", "busy", 0),
			of(4, "state_changed", "busy", "ready", 1), of(6, "state_changed", "ready", "busy", 2)}},
		"goes on after a version without, which changed no state": {steps: []step{of(0, "observed", "", "ready", 1), of(2, "disappeared", "ready", "", 0),
			of(4, "appeared", "", "ready", 1), of(6, "state_changed", "ready", "busy", 2)}},
		"begins again after a version without": {steps: []step{of(0, "observed", "", "ready", 1), of(2, "state_changed", "ready", "busy", 2),
			of(4, "state_changed", "busy", "ready", 0), of(6, "disappeared", "ready", "", 0), of(8, "appeared", "", "ready", 1)}},
		"begins late":                       {steps: []step{of(0, "observed", "", "ready", 2)}, want: fault("observed")},
		"not raised":                        {steps: []step{of(0, "observed", "", "ready", 1), of(2, "state_changed", "ready", "busy", 1)}, want: fault("state_changed")},
		"raised twice":                      {steps: []step{of(0, "observed", "", "ready", 1), of(2, "disappeared", "ready", "", 1), of(4, "appeared", "", "ready", 1), of(6, "state_changed", "ready", "busy", 3)}, want: fault("state_changed")},
		"raised by another event":           {steps: []step{of(0, "observed", "", "ready", 1), of(2, "disappeared", "ready", "", 2)}, want: fault("disappeared")},
		"falls":                             {steps: []step{of(0, "observed", "", "ready", 1), of(2, "state_changed", "ready", "busy", 2), of(4, "disappeared", "busy", "", 1)}, want: fault("disappeared")},
		"more changes of state than events": {steps: []step{of(0, "observed", "", "ready", 0), of(2, "disappeared", "ready", "", 3)}, want: fault("disappeared")},
	})
}

// TestReentered: a round trip starts the clock of the state again, within its window.
func TestReentered(t *testing.T) {
	t.Parallel()
	const handled = "in_calls_handled_per_day"
	anna := func(duration string) step {
		return step{at: 0, name: "agent.observed", id: "anna", after: "acd_state=ready state_duration=" + duration + " " + handled + "=12"}
	}
	trip := func(before, after string, edit func(*event.AgentData)) step {
		return step{at: 2, name: "agent.state_changed", id: "anna", before: "acd_state=ready state_duration=" + before + " " + handled + "=12",
			after: "acd_state=ready state_duration=" + after + " " + handled + "=12", edit: agentEdit(func(d *event.AgentData) {
				d.Reentered, d.Changed, d.Since = true, []string{}, time.Time{}
				if edit != nil {
					edit(d)
				}
			})}
	}
	later := func(s step, seconds float64) step {
		s.at = seconds
		return s
	}
	calls := func(before, after string, edit func(*event.Event)) step {
		return step{at: 2, name: "agent.stats_changed", id: "anna", before: "acd_state=ready state_duration=1 " + handled + "=" + before,
			after: "acd_state=ready state_duration=1 " + handled + "=" + after, edit: edit}
	}
	fault := []string{"reentered agent.anna state_changed"}
	checkStatements(t, map[string]statement{
		"started again":               {steps: []step{anna("300"), trip("300", "1", nil)}},
		"from a young state":          {steps: []step{anna("0"), later(trip("0", "1", nil), 60)}},
		"within the tolerance":        {steps: []step{anna("300"), trip("300", "4", nil)}},
		"too old for the window":      {steps: []step{anna("300"), trip("300", "5", nil)}, want: fault},
		"a clock that steps back":     {steps: []step{anna("3600"), trip("3600", "3596", nil)}, want: fault},
		"beyond any duration":         {steps: []step{anna("300"), trip("300", "9223372037", nil)}, want: fault},
		"a clock that only went on":   {steps: []step{anna("1"), trip("1", "3", nil)}, want: fault},
		"a clock not known":           {steps: []step{anna(""), trip("", "", nil)}},
		"with since":                  {steps: []step{anna("300"), trip("300", "1", func(d *event.AgentData) { d.Since = at(1) })}},
		"with since before it":        {steps: []step{anna("300"), trip("300", "1", func(d *event.AgentData) { d.Since = at(-60) })}, want: []string{"since agent.anna state_changed"}},
		"no lower bound":              {steps: []step{anna("300"), trip("300", "60", func(d *event.AgentData) { d.Observed.After = event.Time{} })}},
		"a counter that counts":       {steps: []step{anna("300"), trip("300", "1", nil), calls("12", "13", nil)}},
		"a counter that is reset":     {steps: []step{anna("300"), trip("300", "1", nil), calls("12", "0", reset(handled))}, want: []string{"reentered agent.anna stats_changed"}},
		"a counter that is put right": {steps: []step{anna("300"), trip("300", "1", nil), calls("12", "11", nil)}},
		"a reset in the next poll":    {steps: []step{anna("300"), trip("300", "1", nil), later(calls("12", "0", reset(handled)), 4)}},
		"into another state": {steps: []step{anna("300"), {at: 2, name: "agent.state_changed", id: "anna", before: "acd_state=ready state_duration=300 " + handled + "=12",
			after: "acd_state=busy state_duration=1 " + handled + "=12", edit: agentEdit(func(d *event.AgentData) { d.Reentered = true })}}, want: fault},
		"into the same state unsaid": {steps: []step{anna("300"), trip("300", "1", func(d *event.AgentData) { d.Reentered, d.Changed = false, []string{"acd_state"} })},
			want: []string{"reentered agent.anna state_changed", "image agent.anna state_changed"}},
		"a column that is new": {steps: []step{anna("300"), {at: 2, name: "agent.state_changed", id: "anna", before: "acd_state=ready state_duration=300 " + handled + "=12",
			after: "acd_state=ready state_duration=302 " + handled + "=12 reason=", edit: agentEdit(func(d *event.AgentData) { d.Since = time.Time{} })}}},
		"no change of state": {steps: []step{anna("300"), {at: 2, name: "agent.stats_changed", id: "anna", before: "acd_state=ready state_duration=300 " + handled + "=12",
			after: "acd_state=ready state_duration=1 " + handled + "=13", edit: agentEdit(func(d *event.AgentData) { d.Reentered = true })}}, want: []string{"reentered agent.anna stats_changed"}},
	})
}
