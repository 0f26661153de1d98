package bridge_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
)

func TestStateAndStatsOfOnePollAreTwoEvents(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "busy", "")
	w.startBridge()
	w.waitFor("agent.anna.observed", 1)
	w.tenant.Update(func(world *bpcctest.World) {
		world.SetState("anna", "after_call_work", "")
		world.SetAgentStat("anna", "in_calls_handled_per_day", "8")
	})
	w.waitFor("agent.anna.stats_changed", 1)
	all := w.events()
	var published []string
	for _, s := range all {
		if s.Subject == "agent.anna.state_changed" || s.Subject == "agent.anna.stats_changed" {
			published = append(published, s.Subject)
		}
	}
	if diff := cmp.Diff([]string{"agent.anna.state_changed", "agent.anna.stats_changed"}, published); diff != "" {
		t.Fatalf("subjects (-want +got)\n%s", diff)
	}
	state, stats := withSubject(all, "agent.anna.state_changed")[0], withSubject(all, "agent.anna.stats_changed")[0]
	if diff := cmp.Diff([]any{"acd_state"}, state.field("changed")); diff != "" {
		t.Errorf("state_changed.changed (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]any{"in_calls_handled_per_day"}, stats.field("changed")); diff != "" {
		t.Errorf("stats_changed.changed (-want +got)\n%s", diff)
	}
	if got, want := stats.text("after", "in_calls_handled_per_day"), "8"; got != want {
		t.Errorf("after: %q, want %q", got, want)
	}
	if got := state.text("after", "in_calls_handled_per_day"); got == "8" {
		t.Error("state_changed tells the statistic before its own event does")
	}
}

func TestDeparture(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	w.setAgent("bob", "ready", "")
	w.startBridge()
	w.waitFor("agent.bob.observed", 1)
	w.tenant.RemoveAgent("bob")
	removed := w.waitFor("agent.bob.disappeared", 1)[0]
	if removed.Header.Get("KV-Operation") != "DEL" {
		t.Error("the departure does not delete the view's key")
	}
	kv, err := w.js.KeyValue(t.Context(), "bpcc_state")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(testTimeout); ; {
		if _, err = kv.Get(t.Context(), "acme.agent.bob"); err != nil || time.Now().After(deadline) {
			break
		}
	}
	if err == nil {
		t.Error("the view still has bob")
	}
	if _, err := kv.Get(t.Context(), "acme.agent.anna"); err != nil {
		t.Errorf("the view has lost anna: %v", err)
	}
	w.setAgent("bob", "", "")
	restored := w.waitFor("agent.bob.appeared", 1)[0]
	if restored.field("revision") != 3.0 || restored.text("to", "state") != "logged_out" {
		t.Errorf("revision %v in state %q, want 3 in logged_out", restored.field("revision"), restored.text("to", "state"))
	}
}

func TestThreshold(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_THRESHOLDS"] = `[
		{"name":"backlog","kind":"service","match":["Voice*"],"stat":"in_calls_waiting",
		 "raise":{"op":">=","value":5},"clear":{"op":"<=","value":2},"for":"300ms","severity":"critical"},
		{"name":"gone rule","kind":"service","stat":"in_calls_waiting","raise":{"op":">","value":6}}]`
	w.tenant.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"in_calls_waiting": "1"}})
	w.tenant.SetService(bpcctest.Service{Name: "Chat", Stats: map[string]string{"in_calls_waiting": "9"}})
	stop := w.startBridge()
	w.waitFor("service.Voice.observed", 1)
	set := func(n string) { w.tenant.SetServiceStat("Voice", "in_calls_waiting", n) }
	set("5")
	raised := w.waitFor("threshold.backlog.Voice.raised", 1)[0]
	want := map[string]any{
		"rule": "backlog", "severity": "critical", "stat": "in_calls_waiting", "value": "5", "limit": 5.0, "op": ">=", "for": "300ms",
		"entity": map[string]any{"kind": "service", "id": "Voice"},
	}
	for name, value := range want {
		if diff := cmp.Diff(value, raised.field(name)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	pending, err := time.Parse(time.RFC3339, raised.text("pending_since"))
	if err != nil || raised.Time.Sub(pending) < 300*time.Millisecond {
		t.Errorf("raised at %v, pending since %v, before 300ms were over (%v)", raised.Time, pending, err)
	}
	set("3") // between the two conditions: hysteresis
	w.waitFor("service.Voice.stats_changed", 2)
	set("") // no value neither raises nor clears
	w.waitFor("service.Voice.stats_changed", 3)
	stop()
	w.env["BRIDGE_THRESHOLDS"] = `[{"name":"backlog","kind":"service","match":["Voice*"],"stat":"in_calls_waiting",
		"raise":{"op":">=","value":5},"clear":{"op":"<=","value":2},"for":"300ms","severity":"critical"}]`
	set("7")
	w.startBridge()
	w.waitFor("service.Voice.stats_changed", 4)
	orphan := w.waitFor("threshold.gone=20rule.Chat.cleared", 1)[0]
	if got := orphan.text("cleared_by"); got != "rule_removed" {
		t.Errorf("cleared by %q, want rule_removed", got)
	}
	set("2")
	cleared := w.waitFor("threshold.backlog.Voice.cleared", 1)[0]
	if cleared.text("cleared_by") != "condition" || cleared.text("op") != "<=" || cleared.field("limit") != 2.0 || cleared.text("value") != "2" {
		t.Errorf("cleared: %v", cleared.Data)
	}
	if got, want := cleared.text("pending_since"), raised.text("pending_since"); got != want {
		t.Errorf("cleared says pending since %s, raised said %s", got, want)
	}
	set("8")
	w.waitFor("threshold.backlog.Voice.raised", 2)
	w.tenant.RemoveService("Voice")
	if got := w.waitFor("threshold.backlog.Voice.cleared", 2)[1].text("cleared_by"); got != "entity_gone" {
		t.Errorf("cleared by %q, want entity_gone", got)
	}
	var flips []string
	for _, s := range w.events() {
		if entityKey(s.Subject) == "threshold.backlog.Voice" {
			flips = append(flips, s.Subject[len("threshold.backlog.Voice."):])
		}
	}
	if diff := cmp.Diff([]string{"raised", "cleared", "raised", "cleared"}, flips); diff != "" {
		t.Errorf("flips (-want +got)\n%s", diff)
	}
}

func TestAvailability(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	delete(w.env, "BPCC_SERVICES")
	w.setAgent("anna", "ready", "")
	w.tenant.SetService(bpcctest.Service{Name: "Voice"})
	stop := w.startBridge()
	first := w.waitFor("availability.Voice.observed", 1)[0]
	if first.field("available") != true || first.field("observed", "after") != nil {
		t.Errorf("first: %v", first.Data)
	}
	for i, state := range []string{"not_ready", "ready", "not_ready"} {
		w.tenant.SetState("anna", state, "")
		w.waitFor("availability.Voice.changed", i+1)
	}
	stop()
	w.tenant.SetState("anna", "ready", "")
	w.startBridge()
	var got []any
	for _, s := range w.waitFor("availability.Voice.changed", 4) {
		got = append(got, s.field("previous"), s.field("available"), s.field("after_gap"))
	}
	want := []any{true, false, nil, false, true, nil, true, false, nil, false, true, true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("previous, available, after_gap (-want +got)\n%s", diff)
	}
}

func TestInterruptionAfterSilence(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_CHECKPOINT_INTERVAL"] = "200ms"
	w.setAgent("anna", "ready", "")
	stop := w.startBridge()
	w.waitFor("agent.anna.observed", 1)
	all := w.waitForEvents("a watermark that moves", func(all []storedEvent) bool {
		until := map[string]bool{}
		for _, s := range withSubject(all, "feed.checkpoint") {
			until[s.text("observed_until")] = true
		}
		return len(until) > 4
	})
	until := ""
	for _, s := range withSubject(all, "feed.checkpoint") {
		if s.text("status") == "interrupted" && until == "" {
			continue // nothing has been seen yet
		}
		if s.text("status") != "live" || s.text("observed_until") < until {
			t.Errorf("checkpoint %s: status %s, observed until %s after %s", s.ID, s.text("status"), s.text("observed_until"), until)
		}
		until = s.text("observed_until")
	}
	stop()
	checkpoints := withSubject(w.events(), "feed.checkpoint")
	if got := checkpoints[len(checkpoints)-1].text("status"); got != "stopped" {
		t.Errorf("the last checkpoint says %s", got)
	}
	if n := w.tenant.Counts().Deletes; n < 2 {
		t.Errorf("the subscription was deleted %d times, want before and after", n)
	}
}

func TestRowsWithoutAKeyAreSkipped(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_AGENT_KEY"] = "user_id"
	w.setAgent("anna", "ready", "")
	w.setAgent("bob", "ready", "")
	w.tenant.SetAgentStat("bob", "user_id", "")
	w.startBridge()
	all := w.waitForEvents("the first picture", func(all []storedEvent) bool { return len(withSubject(all, "totals.bridge.observed")) > 0 })
	id := "agent." + bpcctest.UserID("anna") + ".observed"
	if diff := cmp.Diff([]string{"feed.started", id, "totals.bridge.observed"}, subjectsOf(all)); diff != "" {
		t.Errorf("subjects (-want +got)\n%s", diff)
	}
}

// TestViewKeys publishes an event of every kind, and finds each under the key that
// the one rule gives it in a view that is filled by three transforms.
func TestViewKeys(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BPCC_SERVICES"], w.env["BPCC_DIRECTORY_INTERVAL"] = "Voice Inbound", "100ms"
	w.env["BRIDGE_THRESHOLDS"] = `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":1}}]`
	w.tenant.SetService(bpcctest.Service{Name: "Voice Inbound", Stats: map[string]string{"in_calls_waiting": "3"}})
	w.setAgent("john.smith", "ready", "")
	stop := w.startBridge()
	w.waitFor("availability.Voice=20Inbound.observed", 1)
	w.waitFor("threshold.backlog.Voice=20Inbound.raised", 1)
	for _, kind := range []string{"agents", "dispositions", "services", "teams"} {
		w.waitFor("directory."+kind+".changed", 1)
	}
	stop()
	want := []string{
		"acme.agent.john=2Esmith", "acme.availability.Voice=20Inbound", "acme.directory.agents", "acme.directory.dispositions",
		"acme.directory.services", "acme.directory.teams", "acme.feed", "acme.service.Voice=20Inbound",
		"acme.threshold.backlog.Voice=20Inbound", "acme.totals.bridge",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(w.compareView(w.events())))); diff != "" {
		t.Errorf("keys of the view (-want +got)\n%s", diff)
	}
	stream, err := w.js.Stream(t.Context(), "KV_bpcc_state")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range stream.CachedInfo().Config.Sources {
		if n := len(source.SubjectTransforms); source.Name == "BPCC_EVENTS" && n != 3 {
			t.Errorf("the view has %d transforms; want 3", n)
		}
	}
	// Every key can be read as an event of the bridge.
	err = bridge.ReadView(t.Context(), w.js, w.config(), "acme", testTimeout, func(e bridge.ViewEntry) error { return e.Err })
	if err != nil {
		t.Error(err)
	}
}

// TestViewIsTheReplay compares the view with what a replay of the stream gives.
func TestViewIsTheReplay(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	delete(w.env, "BPCC_SERVICES")
	floor := bpcctest.NewFloor(w.tenant.Tenant, bpcctest.FloorConfig{Agents: 30, Services: 4, Seed: 7})
	stop := w.startBridge()
	for range 40 {
		floor.Step(2 * time.Second)
		w.waitTwoPolls()
	}
	stop()
	if want := w.compareView(w.events()); len(want) < 40 {
		t.Errorf("only %d keys: the floor did not live", len(want))
	}
}
