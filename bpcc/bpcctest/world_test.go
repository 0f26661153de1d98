package bpcctest_test

import (
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
)

// statTexts reads the named statistics of the only agent or service.
func statTexts(tb testing.TB, t *bpcctest.Tenant, service bool, stats ...string) string {
	tb.Helper()
	var g bpcc.Grid
	for _, s := range stats {
		g.Columns = append(g.Columns, bpcc.Column{ID: s, StatName: s})
	}
	app := bpcc.App{AgentGrids: []bpcc.Grid{g}}
	if service {
		app = bpcc.App{ServiceGrids: []bpcc.Grid{g}}
	}
	got := parse(tb, t.Snapshot(bpcc.Subscription{"a": app}))["a"]
	grids := append(got.Agents, got.Services...)
	var out []string
	for _, s := range stats {
		out = append(out, grids[0].Values[0][s])
	}
	return strings.Join(out, "|")
}

func totalTexts(tb testing.TB, t *bpcctest.Tenant, stats ...string) string {
	tb.Helper()
	got := parse(tb, t.Snapshot(bpcc.Subscription{"a": {StatsTotals: stats}}))["a"].Totals
	var out []string
	for _, s := range stats {
		out = append(out, got[s])
	}
	return strings.Join(out, "|")
}

func TestTimesOfAnAgent(t *testing.T) {
	t.Parallel()
	now := &fakeClock{time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}
	tenant := bpcctest.New(bpcctest.Config{Now: now.Now})
	want := func(want string) {
		t.Helper()
		got := statTexts(t, tenant, false, "acd_state", "reason", "state_duration", "login_time", "agent_total_ready_time",
			"agent_total_busy_time", "agent_total_ACW_time", "agent_total_break_time")
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	later := func(s int) { now.now = now.now.Add(time.Duration(s) * time.Second) }
	tenant.SetAgent(bpcctest.Agent{Login: "a"})
	later(7)
	want("||" + "|0|0|0|0|0")
	tenant.SetState("a", "ready", "")
	later(10)
	want("ready||10|10|10|0|0|0")
	tenant.SetState("a", "busy", "")
	later(20)
	tenant.SetState("a", "after_call_work", "")
	later(5)
	tenant.SetState("a", "not_ready", "Lunch")
	later(3)
	tenant.SetState("a", "not_ready", "Meeting") // another reason, the same state
	later(1)
	want("not_ready|Meeting|4|39|10|20|5|4")
	tenant.ResetDaily()
	later(2)
	want("not_ready|Meeting|6|2|0|0|0|2")
	tenant.SetState("a", "supervising", "")
	later(1)
	want("supervising||1|3|0|0|0|2")
	tenant.SetState("a", "", "")
	later(60)
	want("|||3|0|0|0|2")
	tenant.SetAgentStat("a", "acd_state", "busy")
	want("busy|||3|0|0|0|2")
	tenant.SetAgent(bpcctest.Agent{Login: "a", State: "ready"})
	want("ready||0|3|0|0|0|2")
}

func TestServicesAndTotals(t *testing.T) {
	t.Parallel()
	tenant := bpcctest.New(bpcctest.Config{})
	tenant.SetService(bpcctest.Service{Name: "A"})
	stats := []string{"in_calls_waiting", "in_max_wait_time", "in_calls_received_per_day", "in_calls_abandoned_total_per_day",
		"in_calls_abandoned_percent_per_day", "service_level", "service_level_target", "service_level_threshold_time", "agents_logged", "agents_busy"}
	if got, want := statTexts(t, tenant, true, stats...), "0|0|0|0|||0.8|20|0|0"; got != want {
		t.Errorf("a service without calls: %s, want %s", got, want)
	}
	tenant.Update(func(w *bpcctest.World) {
		for stat, v := range map[string]string{
			"in_calls_waiting": "3", "in_max_wait_time": "41", "in_calls_received_per_day": "30", "service_level": "0.9",
			"in_calls_abandoned_in_queue_per_day": "2", "in_calls_short_abandoned_in_queue_per_day": "1", "in_average_speed_of_answer": "10",
		} {
			w.SetServiceStat("A", stat, v)
		}
		w.SetAgent(bpcctest.Agent{Login: "x", State: "busy", Services: []string{"A", "B"}})
		w.SetAgent(bpcctest.Agent{Login: "y", State: "after_call_work", Services: []string{"A"}})
	})
	if got, want := statTexts(t, tenant, true, stats...), "3|41|30|3|0.1|0.9|0.8|20|2|1"; got != want {
		t.Errorf("a service: %s, want %s", got, want)
	}
	tenant.SetService(bpcctest.Service{Name: "B", Stats: map[string]string{
		"in_calls_waiting": "4", "in_max_wait_time": "12", "in_calls_received_per_day": "10", "service_level": "0.5",
		"in_average_speed_of_answer": "", "my_own": "1.5",
	}})
	stats = append(stats, "agents_ready", "in_average_speed_of_answer", "in_calls_abandoned_in_queue_ratio_per_day", "my_own", "name")
	if got, want := totalTexts(t, tenant, stats...), "7|41|40|3|0.075|0.8|0.8|20|2|1|0|10|0.05|1.5|"; got != want {
		t.Errorf("totals: %s, want %s", got, want)
	}
	one := bpcc.Subscription{"a": {StatsTotals: []string{"in_calls_waiting", "agents_logged"}, StatsTotalsServiceIDs: []string{bpcctest.ServiceID("B")}}}
	if got, want := parse(t, tenant.Snapshot(one))["a"].Totals, map[string]string{"in_calls_waiting": "4", "agents_logged": "1"}; !maps.Equal(got, want) {
		t.Errorf("totals of one service: %v, want %v", got, want)
	}
	tenant.SetTotal("in_calls_waiting", "")
	tenant.RemoveService("A")
	if got, want := totalTexts(t, tenant, "in_calls_waiting", "in_max_wait_time"), "|12"; got != want {
		t.Errorf("after an override and a removal: %s, want %s", got, want)
	}
	tenant.ResetDaily()
	if got, want := totalTexts(t, tenant, "in_calls_received_per_day", "in_max_wait_time"), "0|12"; got != want {
		t.Errorf("after the daily reset: %s, want %s", got, want)
	}
	tenant.Update(func(w *bpcctest.World) {
		w.RemoveService("B")
		w.SetWaiting("C", time.Now().Add(-90500*time.Millisecond), time.Now())
	})
	if got, want := statTexts(t, tenant, true, "name", "in_calls_waiting", "in_max_wait_time"), "C|2|90"; got != want {
		t.Errorf("calls that wait: %s, want %s", got, want)
	}
}

func TestDispositions(t *testing.T) {
	t.Parallel()
	tenant := bpcctest.New(bpcctest.Config{})
	tenant.Update(func(w *bpcctest.World) {
		w.AddDisposition("a", "Product sold")
		w.AddDisposition("a", "Product sold")
		w.AddDisposition("a", "Silence")
	})
	sub := parseSubscription(t, `{"a":{"stats_totals":["calls_dispositions_per_day"],"stats_totals_dispositions":["Silence"],"agent_grids":[{"id":"g","columns":[
		{"id":"1","stat_name":"calls_dispositions_per_day"},
		{"id":"2","stat_name":"calls_dispositions_per_day","dispositions":["Product sold","Wrong number"]}]}]}}`)
	if got, want := string(tenant.Snapshot(sub)), `{"a":{"agent_grids":[{"id":"g","values":[{"1":"3","2":"2"}]}],"stats_totals":{"calls_dispositions_per_day":"1"}}}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// The world keeps no slice or map that a script may change later.
func TestWorldCopies(t *testing.T) {
	t.Parallel()
	tenant := bpcctest.New(bpcctest.Config{})
	a := bpcctest.Agent{Login: "a", Services: []string{"A"}, Stats: map[string]string{"extension": "1"}}
	tenant.SetAgent(a)
	a.Services[0], a.Stats["extension"] = "B", "2"
	tenant.Update(func(w *bpcctest.World) {
		got, ok := w.Agent("a")
		if !ok || got.Services[0] != "A" || got.Stats["extension"] != "1" || got.UserID != bpcctest.UserID("a") {
			t.Errorf("agent %+v", got)
		}
		got.Stats["extension"] = "3"
		if _, ok := w.Agent("b"); ok {
			t.Error("there is an agent that was not added")
		}
		if _, ok := w.Service("b"); ok {
			t.Error("there is a service that was not added")
		}
	})
	if got := statTexts(t, tenant, false, "extension"); got != "1" {
		t.Errorf("extension %s, want 1", got)
	}
	tenant.RemoveAgent("a")
	if got := string(tenant.Snapshot(parseSubscription(t, agents))); got != `{"a":{"agent_grids":[{"id":"g","values":[]}]}}` {
		t.Errorf("removed agent: %s", got)
	}
}

// A data request sees an update completely or not at all.
func TestUpdateIsAtomic(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{NotReadyPolls: -1})
	smallCentre(x.Tenant)
	x.subscribe(agents)
	all := func(state string) {
		x.Update(func(w *bpcctest.World) {
			for _, login := range []string{"ann", "bob", "cat", "dan"} {
				w.SetState(login, state, "")
			}
		})
	}
	all("ready")
	var writer sync.WaitGroup
	stop := make(chan struct{})
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				all([]string{"ready", "busy"}[i%2])
			}
		}
	})
	defer writer.Wait()
	defer close(stop)
	for range 200 {
		states := map[string]int{}
		for _, s := range parse(t, []byte(x.data()))["a"].Agents[0].column("2") {
			states[s]++
		}
		if len(states) != 1 {
			t.Fatalf("a snapshot between two states: %v", states)
		}
	}
}
