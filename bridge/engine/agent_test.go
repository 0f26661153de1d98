package engine_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/event"
)

// TestPolls: what a series of polls publishes, each step the snapshot and the
// events of it.
func TestPolls(t *testing.T) {
	t.Parallel()
	type step struct {
		show snapshot
		want string
	}
	for name, steps := range map[string][]step{
		"first snapshot is observed": {
			{agents("anna=ready bob="), "agent/anna observed, agent/bob observed"},
			{agents("anna=ready bob="), ""},
		},
		"later rows appear": {
			{agents("anna=ready"), "agent/anna observed"},
			{agents("anna=ready bob=busy"), "agent/bob appeared"},
		},
		"every change of state": {
			{agents("anna=ready"), "agent/anna observed"},
			{agents("anna=busy"), "agent/anna state_changed"},
			{agents("anna=ready"), "agent/anna state_changed"},
			{agents("anna=busy"), "agent/anna state_changed"},
		},
		"login and logout are changes of state": {
			{agents("anna="), "agent/anna observed"},
			{agents("anna=ready"), "agent/anna state_changed"},
			{agents("anna="), "agent/anna state_changed"},
		},
		"two spellings of logged out are one state": {
			{agents("anna="), "agent/anna observed"},
			{agents("anna=0"), ""},
			{agents("anna=").set("anna", "extension", "7"), "agent/anna stats_changed"},
			{agents("anna=1").set("anna", "extension", "7"), "agent/anna state_changed"},
			{agents("anna=0").set("anna", "extension", "8"), "agent/anna state_changed, agent/anna stats_changed"},
		},
		"state and statistics of one poll are two events": {
			{agents("anna=ready"), "agent/anna observed"},
			{agents("anna=busy").set("anna", "extension", "7"), "agent/anna state_changed, agent/anna stats_changed"},
		},
		"a reason alone is a change of state": {
			{agents("anna=not_ready"), "agent/anna observed"},
			{agents("anna=not_ready").set("anna", "reason", "Lunch"), "agent/anna state_changed"},
		},
		"volatile columns change nothing": {
			{agents("anna=busy").set("anna", "login_time", "100"), "agent/anna observed"},
			{agents("anna=busy").set("anna", "login_time", "200"), ""},
		},
		"a row is gone at its second absence": {
			{agents("anna=ready bob=ready"), "agent/anna observed, agent/bob observed"},
			{agents("anna=ready"), ""},
			{agents("anna=ready"), "agent/bob disappeared"},
			{agents("anna=ready bob=ready"), "agent/bob appeared"},
		},
		"a row that misses one poll was never gone": {
			{agents("anna=ready bob=ready"), "agent/anna observed, agent/bob observed"},
			{agents("anna=ready"), ""},
			{agents("anna=ready bob=busy"), "agent/bob state_changed"},
		},
		"a round trip shows by its clock": {
			{agents("anna=ready:100 bob=ready:100"), "agent/anna observed, agent/bob observed"},
			{agents("anna=ready:102 bob=ready:102"), ""},
			{agents("anna=ready:1 bob=ready:104"), "agent/anna state_changed"},
		},
		"a daily reset is no round trip": {
			{agents("anna=ready:500").set("anna", "in_calls_handled_per_day", "12"), "agent/anna observed"},
			{agents("anna=ready:0").set("anna", "in_calls_handled_per_day", "0"), "agent/anna stats_changed"},
		},
		"a missing column is not a change": {
			{agents("anna=ready").set("anna", "extension", "7"), "agent/anna observed"},
			{agents("anna=ready"), ""},
			{agents("anna=ready").set("anna", "extension", ""), "agent/anna stats_changed"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			for _, step := range steps {
				b.expect("poll", b.poll(step.show), step.want)
			}
		})
	}
}

// TestStateChange: what a change of state says.
func TestStateChange(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready:30"))
	sent := b.sent()
	show := agents("anna=not_ready:1")
	show.agents["anna"]["reason"] = "Lunch"
	show.agents["anna"]["extension"] = "7"
	b.poll(show)
	stats := last[*event.AgentData](b, "agent.anna")
	state := b.stream[len(b.stream)-3].Data.(*event.AgentData)
	want := &event.AgentData{
		EntityBase: event.EntityBase{Base: event.Base{Tenant: "acme", Poll: 3}, Revision: 2, StateRevision: 2, Observed: event.Between(sent, b.now)},
		Agent:      event.AgentRef{ID: "anna", LoginID: "anna"},
		From:       &event.AgentState{State: "ready"}, To: &event.AgentState{State: "not_ready", Reason: "Lunch"},
		Since: b.now.Add(-time.Second), PreviousDuration: event.DurationRange{Min: event.Duration(27990 * time.Millisecond), Max: event.Duration(34 * time.Second)},
		RowData: event.RowData{Changed: []string{"acd_state", "reason"}, Before: state.Before, After: state.After},
	}
	if d := cmp.Diff(want, state); d != "" {
		t.Errorf("state_changed (-want +got)\n%s", d)
	}
	if d := cmp.Diff([]string{"extension"}, stats.Changed); d != "" || stats.Revision != 3 || !stats.Before.Equal(state.After) {
		t.Errorf("stats_changed does not join on: revision %d, before %v, after %v; changed (-want +got)\n%s", stats.Revision, stats.Before, state.After, d)
	}
	if got := state.After.Text("extension") + state.After.Text("state_duration"); got != "1" {
		t.Errorf("after the state, extension and state_duration are %q, want 1: clocks are published with the state, statistics later", got)
	}
}

// TestStatesFromTo: what changes of state say they lead from and to.
func TestStatesFromTo(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready"))
	var got []string
	for _, state := range []string{"not_ready", "ready", "not_ready", "", "0", "busy"} {
		for _, e := range b.poll(agents("anna=" + state)) {
			d := dataOf[*event.AgentData](b, &e)
			got = append(got, d.From.State+">"+d.To.State)
		}
	}
	want := []string{"ready>not_ready", "not_ready>ready", "ready>not_ready", "not_ready>logged_out", "logged_out>busy"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("changes (-want +got)\n%s", d)
	}
}

// TestStateSpellings: "" and "0" both say that an agent is logged out. From one to
// the other nothing has changed; anything else is published.
func TestStateSpellings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		before, after, extension string // of acd_state, and another statistic
		want                     string
	}{
		{"", "0", "7", ""},
		{"0", "", "7", ""},
		{"", "0", "8", "agent/anna stats_changed"},
		{"0", "", "4711", "agent/anna stats_changed"},
		{"", "1", "7", "agent/anna state_changed"},
		{"0", "ready", "7", "agent/anna state_changed"},
		{"ready", "0", "8", "agent/anna state_changed, agent/anna stats_changed"},
	} {
		t.Run(test.before+" to "+test.after+", "+test.extension, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.poll(agents("anna="+test.before).set("anna", "extension", "7"))
			b.expect("poll", b.poll(agents("anna="+test.after).set("anna", "extension", test.extension)), test.want)
		})
	}
}

// TestStateAndStats: state and statistics of one poll are two events, of which each
// names what is its own, and the statistics are not published before their event.
func TestStateAndStats(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=busy").set("anna", "in_calls_handled_per_day", "7"))
	events := b.poll(agents("anna=after_call_work").set("anna", "in_calls_handled_per_day", "8"))
	b.expect("poll", events, "agent/anna state_changed, agent/anna stats_changed")
	state, stats := dataOf[*event.AgentData](b, &events[0]), dataOf[*event.AgentData](b, &events[1])
	if d := cmp.Diff([]string{"acd_state"}, state.Changed); d != "" {
		t.Errorf("state_changed.changed (-want +got)\n%s", d)
	}
	if d := cmp.Diff([]string{"in_calls_handled_per_day"}, stats.Changed); d != "" {
		t.Errorf("stats_changed.changed (-want +got)\n%s", d)
	}
	const handled = "in_calls_handled_per_day"
	if got := state.After.Text(handled) + stats.Before.Text(handled) + stats.After.Text(handled); got != "778" {
		t.Errorf("calls handled after the state, before and after the statistics: %q, want 778", got)
	}
}

// TestVolatileColumns: a clock is published with the next event, which does not name
// it.
func TestVolatileColumns(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=busy").set("anna", "login_time", "100"))
	b.expect("a clock alone", b.poll(agents("anna=busy").set("anna", "login_time", "200")), "")
	e := b.only("a statistic", b.poll(agents("anna=busy").set("anna", "login_time", "200").set("anna", "extension", "77")), "agent/anna stats_changed")
	d := dataOf[*event.AgentData](b, e)
	if got := d.Before.Text("login_time") + " " + d.After.Text("login_time"); got != "100 200" {
		t.Errorf("login_time before and after: %s, want 100 200", got)
	}
	if d := cmp.Diff([]string{"extension"}, d.Changed); d != "" {
		t.Errorf("changed (-want +got)\n%s", d)
	}
}

// TestReentry: an agent that left its state and came back to it between two polls
// shows by the clock of the state alone.
func TestReentry(t *testing.T) {
	t.Parallel()
	const reentered = "agent/anna state_changed"
	type step struct {
		show snapshot
		wait time.Duration // beyond an interval
		want string
	}
	for name, test := range map[string]struct {
		steps []step
		then  func(b *bridge) // between the last step and the one before
	}{
		"the clock goes back":                       {steps: []step{{show: agents("anna=ready:100")}, {show: agents("anna=ready:1"), want: reentered}}},
		"the clock goes back within the tolerance":  {steps: []step{{show: agents("anna=ready:3")}, {show: agents("anna=ready:1")}}},
		"the state is older than the poll before":   {steps: []step{{show: agents("anna=ready:3600 bob=busy:1")}, {show: agents("anna=ready:3596 bob=busy:3")}}},
		"the state is as old as the poll before":    {steps: []step{{show: agents("anna=ready:3600")}, {show: agents("anna=ready:4"), want: reentered}}},
		"the clock is younger than the poll before": {steps: []step{{show: agents("anna=ready:1")}, {show: agents("anna=ready:1").set("bob", "acd_state", ""), wait: 3 * time.Second, want: reentered + ", agent/bob appeared"}}},
		"the same answer is served again":           {steps: []step{{show: agents("anna=ready:1")}, {show: agents("anna=ready:1"), wait: 3 * time.Second}}},
		"the clock runs on":                         {steps: []step{{show: agents("anna=ready:0")}, {show: agents("anna=ready:2")}, {show: agents("anna=ready:4")}}},
		"the clock jumps ahead":                     {steps: []step{{show: agents("anna=ready:0")}, {show: agents("anna=ready:60")}}},
		"logged out":                                {steps: []step{{show: agents("anna=:100")}, {show: agents("anna=:1")}}},
		"no number":                                 {steps: []step{{show: agents("anna=ready:100")}, {show: agents("anna=ready:00-01")}}},
		"another state":                             {steps: []step{{show: agents("anna=ready:100")}, {show: agents("anna=busy:1"), want: reentered}}},
		"with a statistic": {steps: []step{
			{show: agents("anna=ready:100").set("anna", "extension", "7")},
			{show: agents("anna=ready:1").set("anna", "extension", "8"), want: reentered + ", agent/anna stats_changed"},
		}},
		"the daily reset of the agent": {steps: []step{
			{show: agents("anna=ready:500").set("anna", "in_calls_handled_per_day", "12")},
			{show: agents("anna=ready:0").set("anna", "in_calls_handled_per_day", "0"), want: "agent/anna stats_changed"},
		}},
		"the daily reset of another agent": {steps: []step{
			{show: agents("anna=ready:500 bob=:0").set("bob", "in_calls_handled_per_day", "12")},
			{show: agents("anna=ready:0 bob=:0").set("bob", "in_calls_handled_per_day", "0"), want: reentered + ", agent/bob stats_changed"},
		}},
		"the daily reset of several": {steps: []step{
			{show: agents("anna=ready:500 bob=:0 cyd=:0").set("bob", "in_calls_handled_per_day", "12").set("cyd", "in_calls_handled_per_day", "7")},
			{
				show: agents("anna=ready:0 bob=:0 cyd=:0").set("bob", "in_calls_handled_per_day", "0").set("cyd", "in_calls_handled_per_day", ""),
				want: "agent/bob stats_changed, agent/cyd stats_changed",
			},
		}},
		"a correction of several counters": {steps: []step{
			{show: agents("anna=ready:500 bob=:0 cyd=:0").set("bob", "in_calls_handled_per_day", "41").set("cyd", "in_calls_handled_per_day", "30")},
			{
				show: agents("anna=ready:0 bob=:0 cyd=:0").set("bob", "in_calls_handled_per_day", "40").set("cyd", "in_calls_handled_per_day", "29"),
				want: reentered + ", agent/bob stats_changed, agent/cyd stats_changed",
			},
		}},
		"over a restart": {
			steps: []step{{show: agents("anna=ready:100")}, {show: agents("anna=ready:1")}},
			then:  func(b *bridge) { b.restart() },
		},
		// Its clock proves nothing about this poll, and the net picture is unchanged.
		"over an interruption": {
			steps: []step{{show: agents("anna=ready:100")}, {show: agents("anna=ready:1"), want: "feed resumed"}},
			then:  func(b *bridge) { b.interrupt("source") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			for i, step := range test.steps {
				if i == len(test.steps)-1 && test.then != nil {
					test.then(b)
				}
				b.now = b.now.Add(step.wait)
				if events := b.poll(step.show); i > 0 {
					b.expect("poll", events, step.want)
				}
			}
		})
	}
}

// TestReentryEvent: what the event about a round trip says.
func TestReentryEvent(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.poll(agents("anna=ready:100 bob=ready:100"))
	b.expect("clocks that run", b.poll(agents("anna=ready:160 bob=ready:160")), "")
	e := b.only("a round trip", b.poll(agents("anna=ready:1 bob=ready:162")), "agent/anna state_changed")
	got := dataOf[*event.AgentData](b, e)
	ready := &event.AgentState{State: "ready"}
	if !got.Reentered || got.Changed == nil || !got.Since.Equal(b.now.Add(-time.Second)) {
		t.Errorf("reentered %v, changed %#v, since %v", got.Reentered, got.Changed, got.Since)
	}
	if d := cmp.Diff([]any{ready, ready, []string{}}, []any{got.From, got.To, got.Changed}); d != "" {
		t.Errorf("from, to, changed (-want +got)\n%s", d)
	}
}

// TestDailyReset: which columns are named as reset.
func TestDailyReset(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		stat, before, after string
		want                []string
	}{
		"to zero":      {"in_calls_handled_per_day", "12", "0", []string{"in_calls_handled_per_day"}},
		"to no value":  {"in_calls_handled_per_day", "12", "", []string{"in_calls_handled_per_day"}},
		"down":         {"in_calls_handled_per_day", "12", "3", []string{"in_calls_handled_per_day"}},
		"up":           {"in_calls_handled_per_day", "12", "13", nil},
		"not a number": {"in_calls_handled_per_day", "none", "0", nil},
		"no counter":   {"extension", "12", "0", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.poll(agents("anna=ready").set("anna", test.stat, test.before))
			e := b.only("a change", b.poll(agents("anna=ready").set("anna", test.stat, test.after)), "agent/anna stats_changed")
			d := dataOf[*event.AgentData](b, e)
			if diff := cmp.Diff([][]string{{test.stat}, test.want}, [][]string{d.Changed, d.Reset}); diff != "" {
				t.Errorf("changed and reset (-want +got)\n%s", diff)
			}
		})
	}
	t.Run("of a service and of totals", func(t *testing.T) {
		t.Parallel()
		b := start(t)
		show := services("Voice=0").setService("Voice", "in_calls_received_per_day", "9")
		show.totals = row{"in_calls_queued_per_day": "9"}
		b.poll(show)
		show = services("Voice=0").setService("Voice", "in_calls_received_per_day", "0")
		show.totals = row{"in_calls_queued_per_day": "0"}
		b.expect("a reset", b.poll(show), "service/Voice stats_changed, totals/bridge stats_changed")
		service, totals := last[*event.ServiceData](b, "service.Voice"), last[*event.TotalsData](b, "totals.bridge")
		want := [][]string{{"in_calls_received_per_day"}, {"in_calls_queued_per_day"}}
		if d := cmp.Diff(want, [][]string{service.Reset, totals.Reset}); d != "" {
			t.Errorf("reset (-want +got)\n%s", d)
		}
	})
}
