package bpcctest_test

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
)

// everything that the floor moves.
var (
	agentColumns = []string{"login_id", "acd_state", "acd_next_state", "reason", "state_duration", "login_time", "first_last_name", "team_name",
		"active_item_talk_duration", "active_item_hold_duration", "active_item_media_type", "in_calls_handled_per_day", "out_calls_handled_per_day",
		"calls_average_handling_time_per_day", "calls_dispositions_per_day", "agent_total_ready_time", "agent_total_busy_time", "agent_total_ACW_time", "agent_total_break_time"}
	serviceColumns = []string{"name", "service_level", "in_calls_waiting", "in_max_wait_time", "in_calls_received_per_day", "in_calls_queued_per_day",
		"in_calls_abandoned_in_queue_per_day", "in_calls_short_abandoned_in_queue_per_day", "in_calls_abandoned_total_per_day",
		"in_calls_abandoned_percent_per_day", "agents_logged", "agents_busy", "agents_ready", "out_calls_answered_per_day"}
)

func columnsOf(names []string) []bpcc.Column {
	var list []bpcc.Column
	for _, n := range names {
		list = append(list, bpcc.Column{ID: n, StatName: n})
	}
	return list
}

func fullSubscription() bpcc.Subscription {
	return bpcc.Subscription{"a": {
		AgentGrids:   []bpcc.Grid{{ID: "a", Columns: columnsOf(agentColumns)}},
		ServiceGrids: []bpcc.Grid{{ID: "s", Columns: columnsOf(serviceColumns)}},
		StatsTotals:  serviceColumns[1:],
	}}
}

var startTime = time.Date(2026, 3, 2, 13, 0, 0, 0, time.UTC)

func newFloor(c bpcctest.FloorConfig) (*bpcctest.Tenant, *bpcctest.Floor) {
	t := bpcctest.New(bpcctest.Config{})
	if c.Start.IsZero() {
		c.Start = startTime
	}
	return t, bpcctest.NewFloor(t, c)
}

func TestFloorIsDeterministic(t *testing.T) {
	t.Parallel()
	sub := fullSubscription()
	one, floorOne := newFloor(bpcctest.FloorConfig{Seed: 7})
	two, floorTwo := newFloor(bpcctest.FloorConfig{Seed: 7})
	other, floorOther := newFloor(bpcctest.FloorConfig{Seed: 8})
	for range 20 {
		floorOne.Step(30 * time.Second)
		floorOther.Step(30 * time.Second)
		for range 120 { // the same life, cut into other steps
			floorTwo.Step(250 * time.Millisecond)
		}
		if !bytes.Equal(one.Snapshot(sub), two.Snapshot(sub)) {
			t.Fatal("the same seed, another life")
		}
		if bytes.Equal(one.Snapshot(sub), other.Snapshot(sub)) {
			t.Fatal("another seed, the same life")
		}
	}
}

// Statistics about the same thing agree at every time.
func TestFloorIsConsistent(t *testing.T) {
	t.Parallel()
	tenant, floor := newFloor(bpcctest.FloorConfig{Seed: 3})
	sub := fullSubscription()
	last := map[string]float64{} // counters by row and column
	for step := range 600 {
		got := parse(t, tenant.Snapshot(sub))["a"]
		floor.Step(time.Second)
		skills := map[string][]string{}
		tenant.Update(func(w *bpcctest.World) {
			for _, row := range got.Agents[0].Values {
				a, _ := w.Agent(row["login_id"])
				skills[a.Login] = a.Services
			}
		})
		count := map[string]int{}
		for _, row := range got.Agents[0].Values {
			state := row["acd_state"]
			if state != "" {
				count["agents_logged"]++
			}
			count["agents_"+state]++
			for _, s := range skills[row["login_id"]] {
				count["agents_"+state+"/"+s]++
				if state != "" {
					count["agents_logged/"+s]++
				}
			}
			if (row["active_item_media_type"] != "") != (state == "busy") || row["acd_next_state"] != "" && state != "busy" || row["reason"] != "" && state != "not_ready" {
				t.Fatalf("step %d: agent %v", step, row)
			}
			checkCounters(t, last, row["login_id"], row, agentColumns)
		}
		waiting, received, limit := 0, 0, 0
		for _, row := range got.Services[0].Values {
			name := row["name"]
			for _, c := range []string{"agents_logged", "agents_busy", "agents_ready"} {
				if row[c] != strconv.Itoa(count[c+"/"+name]) {
					t.Fatalf("step %d: %s of %s is %s, but %d agents are", step, c, name, row[c], count[c+"/"+name])
				}
			}
			if integer(row["in_calls_abandoned_in_queue_per_day"])+integer(row["in_calls_short_abandoned_in_queue_per_day"]) != integer(row["in_calls_abandoned_total_per_day"]) ||
				row["in_calls_waiting"] == "0" && row["in_max_wait_time"] != "0" ||
				integer(row["in_calls_waiting"]) > 0 && integer(row["agents_ready"]) > 0 {
				t.Fatalf("step %d: service %v", step, row)
			}
			if level, err := strconv.ParseFloat(row["service_level"], 64); err != nil || level <= 0 || level > 1 {
				t.Fatalf("step %d: service level %q of %s", step, row["service_level"], name)
			}
			waiting, received, limit = waiting+integer(row["in_calls_waiting"]), received+integer(row["in_calls_received_per_day"]), max(limit, integer(row["in_max_wait_time"]))
			checkCounters(t, last, name, row, serviceColumns)
		}
		if integer(got.Totals["in_calls_waiting"]) != waiting || integer(got.Totals["in_calls_received_per_day"]) != received ||
			integer(got.Totals["in_max_wait_time"]) != limit || integer(got.Totals["agents_busy"]) != count["agents_busy"] ||
			integer(got.Totals["agents_logged"]) != count["agents_logged"] || integer(got.Totals["agents_ready"]) != count["agents_ready"] {
			t.Fatalf("step %d: totals %v", step, got.Totals)
		}
	}
}

func integer(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}

func isCounter(column string) bool {
	return strings.HasPrefix(column, "agent_total_") || strings.HasSuffix(column, "_per_day") &&
		!strings.Contains(column, "average") && !strings.Contains(column, "percent")
}

// checkCounters fails if a counter of the day has fallen.
func checkCounters(t *testing.T, last map[string]float64, who string, row map[string]string, columns []string) {
	t.Helper()
	for _, c := range columns {
		if !isCounter(c) {
			continue
		}
		v, err := strconv.ParseFloat(row[c], 64)
		if err != nil || v < last[who+"/"+c] {
			t.Fatalf("%s of %s fell from %v to %q", c, who, last[who+"/"+c], row[c])
		}
		last[who+"/"+c] = v
	}
}

func TestFloorResetsDaily(t *testing.T) {
	t.Parallel()
	tenant, floor := newFloor(bpcctest.FloorConfig{ResetAfter: 10 * time.Minute})
	sums := func() (handled, received int) {
		got := parse(t, tenant.Snapshot(fullSubscription()))["a"]
		for _, row := range got.Agents[0].Values {
			handled += integer(row["in_calls_handled_per_day"])
		}
		return handled, integer(got.Totals["in_calls_received_per_day"])
	}
	floor.Step(10*time.Minute - time.Second)
	handled, received := sums()
	floor.Step(2 * time.Second)
	if h, r := sums(); handled < 1000 || received < 1000 || h > 5 || r > 60 {
		t.Errorf("handled %d, received %d; after the reset %d and %d", handled, received, h, r)
	}
	floor.Step(5 * time.Minute)
	floor.ResetDaily()
	if h, _ := sums(); h != 0 {
		t.Errorf("handled %d right after a reset", h)
	}
	floor.Step(5 * time.Minute)
	if h, _ := sums(); h > 5 {
		t.Errorf("handled %d right after the second regular reset", h)
	}
}

// activity is what a viewer of a demo sees in one simulated span.
type activity struct {
	changes, flips, queues, logins, logouts  int
	reasons                                  map[string]bool
	firstChangeAt, firstFlipAt, firstQueueAt time.Duration
	nextStates                               int
}

func observeActivity(t *testing.T, tenant *bpcctest.Tenant, floor *bpcctest.Floor, span time.Duration) activity {
	l := activity{reasons: map[string]bool{}}
	sub := bpcc.Subscription{"a": {
		AgentGrids:   []bpcc.Grid{{ID: "a", Columns: columnsOf([]string{"login_id", "acd_state", "acd_next_state", "reason"})}},
		ServiceGrids: []bpcc.Grid{{ID: "s", Columns: columnsOf([]string{"name", "in_calls_waiting", "agents_ready"})}},
	}}
	states, ready, queued := map[string]string{}, map[string]bool{}, map[string]bool{}
	note := func(n *int, first *time.Duration, at time.Duration) {
		if *n++; *n == 1 {
			*first = at
		}
	}
	for at := time.Duration(0); at <= span; at += time.Second {
		got := parse(t, tenant.Snapshot(sub))["a"]
		for _, row := range got.Agents[0].Values {
			who, state := row["login_id"], row["acd_state"]
			if was, known := states[who]; known && was != state {
				note(&l.changes, &l.firstChangeAt, at)
				if was == "" {
					l.logins++
				}
				if state == "" {
					l.logouts++
				}
			}
			states[who] = state
			l.reasons[row["reason"]] = true
			if row["acd_next_state"] != "" {
				l.nextStates++
			}
		}
		for _, row := range got.Services[0].Values {
			name, available, long := row["name"], row["agents_ready"] != "0", integer(row["in_calls_waiting"]) > 5
			if was, known := ready[name]; known && was != available {
				note(&l.flips, &l.firstFlipAt, at)
			}
			if was, known := queued[name]; known && !was && long {
				note(&l.queues, &l.firstQueueAt, at)
			}
			ready[name], queued[name] = available, long
		}
		floor.Step(time.Second)
	}
	return l
}

// A demo of forty agents has something to show every second.
func TestFloorIsActive(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		tenant, floor := newFloor(bpcctest.FloorConfig{Seed: seed})
		l := observeActivity(t, tenant, floor, 10*time.Minute)
		t.Logf("seed %d: %+v", seed, l)
		switch {
		case l.changes < 400 || l.changes > 1200:
			t.Errorf("seed %d: %d changes of state in 10 minutes", seed, l.changes)
		case l.flips < 20:
			t.Errorf("seed %d: %d flips of availability in 10 minutes", seed, l.flips)
		case l.queues < 15 || l.queues > 60:
			t.Errorf("seed %d: %d queues above five in 10 minutes", seed, l.queues)
		case l.firstChangeAt > 5*time.Second || l.firstFlipAt > 20*time.Second || l.firstQueueAt > 20*time.Second:
			t.Errorf("seed %d: a slow start: change after %v, flip after %v, queue after %v", seed, l.firstChangeAt, l.firstFlipAt, l.firstQueueAt)
		case l.logins == 0 || l.logouts == 0 || l.nextStates == 0:
			t.Errorf("seed %d: %d logins, %d logouts, %d seconds with a next state", seed, l.logins, l.logouts, l.nextStates)
		}
		for _, reason := range []string{"Break", "Lunch", "Meeting", "Training"} {
			if !l.reasons[reason] {
				t.Errorf("seed %d: no agent has a %s among %v", seed, reason, slices.Sorted(maps.Keys(l.reasons)))
			}
		}
	}
}

func TestFloorOfAnySize(t *testing.T) {
	t.Parallel()
	for _, c := range []bpcctest.FloorConfig{
		{Agents: 1, Services: 1}, {Agents: 3, Services: 12}, {Agents: 500, Services: 20},
	} {
		tenant, floor := newFloor(c)
		floor.Step(5 * time.Minute)
		got := parse(t, tenant.Snapshot(fullSubscription()))["a"]
		if a, s := len(got.Agents[0].Values), len(got.Services[0].Values); a != c.Agents || s != c.Services {
			t.Errorf("%+v: %d agents and %d services", c, a, s)
		}
	}
}

// Scripts may remove what the floor uses.
func TestFloorSurvivesScripts(t *testing.T) {
	t.Parallel()
	tenant, floor := newFloor(bpcctest.FloorConfig{Agents: 10, Services: 2})
	floor.Step(time.Minute)
	logins := parse(t, tenant.Snapshot(fullSubscription()))["a"].Agents[0].column("login_id")
	tenant.RemoveService("Sales")
	tenant.SetDispositions()
	for _, login := range logins[1:] {
		tenant.RemoveAgent(login)
	}
	tenant.SetState(logins[0], "supervising", "")
	floor.Step(2 * time.Hour)
	got := parse(t, tenant.Snapshot(fullSubscription()))["a"]
	if a, s := got.Agents[0].column("login_id"), got.Services[0].column("name"); len(a) != 1 || !slices.Equal(s, []string{"Support"}) {
		t.Errorf("agents %v, services %v", a, s)
	}
}

func TestFloorRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run, floor := newFloor(bpcctest.FloorConfig{Speed: 2})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Second/2)
		defer cancel()
		floor.Run(ctx, time.Second)
		stepped, by := newFloor(bpcctest.FloorConfig{})
		by.Step(2 * time.Minute)
		if !bytes.Equal(run.Snapshot(fullSubscription()), stepped.Snapshot(fullSubscription())) {
			t.Error("a minute at speed 2 is not two minutes")
		}
	})
}
