package audit_test

import (
	"testing"

	"bpcc-nats/bridge/event"
)

// TestReset: what falls to no value, to 0 or below half is named, and nothing else is.
func TestReset(t *testing.T) {
	t.Parallel()
	agent := func(before, after string, edit func(*event.Event)) []step {
		return []step{
			{at: 0, name: "agent.observed", id: "anna", after: "acd_state=ready extension=1 " + before},
			{at: 2, name: "agent.stats_changed", id: "anna", before: "acd_state=ready extension=1 " + before, after: "acd_state=ready extension=2 " + after, edit: edit},
		}
	}
	service := func(before, after string, edit func(*event.Event)) []step {
		return []step{
			{at: 0, name: "service.observed", id: "A", after: before},
			{at: 2, name: "service.stats_changed", id: "A", before: before, after: after, edit: edit},
		}
	}
	totals := func(before, after string, edit func(*event.Event)) []step {
		return []step{
			{at: 0, name: "totals.observed", id: "bridge", after: before},
			{at: 2, name: "totals.stats_changed", id: "bridge", before: before, after: after, edit: edit},
		}
	}
	const handled, sold, received, ready = "in_calls_handled_per_day", "calls_dispositions_per_day[Sale]", "in_calls_received_per_day", "agent_total_ready_time"
	faultAgent, faultService, faultTotals := []string{"reset agent.anna stats_changed"}, []string{"reset service.A stats_changed"}, []string{"reset totals.bridge stats_changed"}
	checkStatements(t, map[string]statement{
		"to 0":                       {steps: agent(handled+"=12", handled+"=0", reset(handled))},
		"to no value":                {steps: agent(handled+"=12", handled+"=", reset(handled))},
		"below half":                 {steps: agent(handled+"=12", handled+"=5", reset(handled))},
		"a name in brackets":         {steps: agent(sold+"=4", sold+"=0", reset(sold))},
		"a counted time":             {steps: agent(ready+"=28800", ready+"=3", reset(ready))},
		"two of them":                {steps: agent(handled+"=12 "+sold+"=4", handled+"=0 "+sold+"=0", reset(handled, sold))},
		"a correction":               {steps: agent(handled+"=41", handled+"=40", nil)},
		"to half":                    {steps: agent(handled+"=12", handled+"=6", nil)},
		"no number":                  {steps: agent(handled+"=NaN", handled+"=0", nil)},
		"an average":                 {steps: agent("calls_average_handling_time_per_day=90", "calls_average_handling_time_per_day=0", nil)},
		"a ratio":                    {steps: service("in_calls_abandoned_in_queue_ratio_per_day=0.5", "in_calls_abandoned_in_queue_ratio_per_day=0", nil)},
		"no counter":                 {steps: service("in_calls_waiting=9", "in_calls_waiting=0", nil)},
		"a column that is gone":      {steps: agent(handled+"=12", "", nil)},
		"a correction named":         {steps: agent(handled+"=41", handled+"=40", reset(handled)), want: faultAgent},
		"a rise named":               {steps: agent(handled+"=12", handled+"=13", reset(handled)), want: faultAgent},
		"an equal one named":         {steps: agent(handled+"=12", handled+"=12", reset(handled)), want: faultAgent},
		"an unknown one named":       {steps: agent(handled+"=12", handled+"=0", reset(handled, received)), want: faultAgent},
		"no number named":            {steps: agent(handled+"=Inf", handled+"=0", reset(handled)), want: faultAgent},
		"an average named":           {steps: agent("calls_average_handling_time_per_day=90", "calls_average_handling_time_per_day=0", reset("calls_average_handling_time_per_day")), want: faultAgent},
		"no counter named":           {steps: service("in_calls_waiting=9", "in_calls_waiting=0", reset("in_calls_waiting")), want: faultService},
		"not named":                  {steps: agent(handled+"=12", handled+"=0", nil), want: faultAgent},
		"a name in brackets unnamed": {steps: agent(sold+"=4", sold+"=0", nil), want: faultAgent},
		"a counted time unnamed":     {steps: agent(ready+"=28800", ready+"=3", nil), want: faultAgent},
		"one of two not named":       {steps: agent(handled+"=12 "+sold+"=4", handled+"=0 "+sold+"=0", reset(handled)), want: faultAgent},
		"a service's":                {steps: service(received+"=40", received+"=0", reset(received))},
		"a service's not named":      {steps: service(received+"=40", received+"=0", nil), want: faultService},
		"a service's correction":     {steps: service(received+"=40", received+"=39", reset(received)), want: faultService},
		"the totals'":                {steps: totals("in_calls_queued_per_day=40", "in_calls_queued_per_day=", reset("in_calls_queued_per_day"))},
		"the totals' not named":      {steps: totals("in_calls_queued_per_day=40", "in_calls_queued_per_day=", nil), want: faultTotals},
		"with the state, not named": {steps: []step{
			{at: 0, name: "agent.observed", id: "anna", after: "acd_state=ready " + ready + "=28800"},
			{at: 2, name: "agent.state_changed", id: "anna", before: "acd_state=ready " + ready + "=28800", after: "acd_state=busy " + ready + "=3"},
		}, want: []string{"reset agent.anna state_changed"}},
		"with the state, named": {steps: []step{
			{at: 0, name: "agent.observed", id: "anna", after: "acd_state=ready " + ready + "=28800"},
			{at: 2, name: "agent.state_changed", id: "anna", before: "acd_state=ready " + ready + "=28800", after: "acd_state=busy " + ready + "=3", edit: reset(ready)},
		}},
		"named at first sight": {steps: []step{{at: 0, name: "service.observed", id: "A", after: received + "=0", edit: reset(received)}}, want: []string{"reset service.A observed"}},
	})
}
