package bridge_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/view"
)

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
	w.waitUntil("a view without bob", func() bool {
		_, err := kv.Get(t.Context(), "acme.agent.bob")
		return err != nil
	})
	if _, err := kv.Get(t.Context(), "acme.agent.anna"); err != nil {
		t.Errorf("the view has lost anna: %v", err)
	}
	w.setAgent("bob", "", "")
	restored := w.waitFor("agent.bob.appeared", 1)[0]
	if restored.field("revision") != 3.0 || restored.text("to", "state") != "logged_out" {
		t.Errorf("revision %v in state %q, want 3 in logged_out", restored.field("revision"), restored.text("to", "state"))
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
	kv, err := w.js.Stream(t.Context(), "KV_bpcc_state")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range kv.CachedInfo().Config.Sources {
		if n := len(source.SubjectTransforms); source.Name == "BPCC_EVENTS" && n != 3 {
			t.Errorf("the view has %d transforms; want 3", n)
		}
	}
	// Every key can be read as an event of the bridge.
	entries, err := view.Read(t.Context(), w.js, w.config().Stream, "acme", testTimeout)
	if err != nil || len(entries) != len(want) {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	for _, e := range entries {
		if e.Err != nil {
			t.Errorf("%s: %v", e.Key, e.Err)
		}
	}
}

// TestViewIsTheReplay compares the view with what a replay of the stream gives.
func TestViewIsTheReplay(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	delete(w.env, "BPCC_SERVICES")
	floor := bpcctest.NewFloor(w.tenant.Tenant, bpcctest.FloorConfig{Agents: 30, Services: 4, Seed: 7})
	stop := w.startBridge()
	for range 20 {
		floor.Step(2 * time.Second)
		w.waitTwoPolls()
	}
	stop()
	if want := w.compareView(w.events()); len(want) < 40 {
		t.Errorf("only %d keys: the floor did not live", len(want))
	}
}
