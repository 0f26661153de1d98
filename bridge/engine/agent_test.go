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
	with := func(s snapshot, id, stat, text string) snapshot {
		s = s.clone()
		s.agents[id][stat] = text
		return s
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
			{with(agents("anna="), "anna", "extension", "7"), "agent/anna stats_changed"},
			{with(agents("anna=1"), "anna", "extension", "7"), "agent/anna state_changed"},
			{with(agents("anna=0"), "anna", "extension", "8"), "agent/anna state_changed, agent/anna stats_changed"},
		},
		"state and statistics of one poll are two events": {
			{agents("anna=ready"), "agent/anna observed"},
			{with(agents("anna=busy"), "anna", "extension", "7"), "agent/anna state_changed, agent/anna stats_changed"},
		},
		"a reason alone is a change of state": {
			{agents("anna=not_ready"), "agent/anna observed"},
			{with(agents("anna=not_ready"), "anna", "reason", "Lunch"), "agent/anna state_changed"},
		},
		"volatile columns change nothing": {
			{with(agents("anna=busy"), "anna", "login_time", "100"), "agent/anna observed"},
			{with(agents("anna=busy"), "anna", "login_time", "200"), ""},
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
			{with(agents("anna=ready:500"), "anna", "in_calls_handled_per_day", "12"), "agent/anna observed"},
			{with(agents("anna=ready:0"), "anna", "in_calls_handled_per_day", "0"), "agent/anna stats_changed"},
		},
		"a missing column is not a change": {
			{with(agents("anna=ready"), "anna", "extension", "7"), "agent/anna observed"},
			{agents("anna=ready"), ""},
			{with(agents("anna=ready"), "anna", "extension", ""), "agent/anna stats_changed"},
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
	sent := b.now.Add(-10 * time.Millisecond)
	show := agents("anna=not_ready:1")
	show.agents["anna"]["reason"] = "Lunch"
	show.agents["anna"]["extension"] = "7"
	b.poll(show)
	stats := last[*event.AgentData](b, "agent.anna")
	state := b.stream[len(b.stream)-3].Data.(*event.AgentData)
	want := &event.AgentData{
		EntityBase: event.EntityBase{Base: event.Base{Tenant: "acme", Poll: 3}, Revision: 2, Observed: event.Between(sent, b.now)},
		Agent:      event.AgentRef{ID: "anna", LoginID: "anna"},
		From:       &event.AgentState{State: "ready"}, To: &event.AgentState{State: "not_ready", Reason: "Lunch"},
		Since: b.now.Add(-time.Second), Changed: []string{"acd_state", "reason"}, Before: state.Before, After: state.After,
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
