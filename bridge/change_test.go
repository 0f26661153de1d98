package bridge_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc/bpcctest"
)

// TestRuleChangedBetweenRuns: what is raised stays raised under the new rule, and
// clears by its condition.
func TestRuleChangedBetweenRuns(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_THRESHOLDS"] = `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5}}]`
	w.tenant.SetService(bpcctest.Service{Name: "Voice", Stats: map[string]string{"in_calls_waiting": "7"}})
	stop := w.startBridge()
	w.waitFor("threshold.backlog.Voice.raised", 1)
	stop()
	w.env["BRIDGE_THRESHOLDS"] = `[{"name":"backlog","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":20},"clear":{"op":"<","value":3},"severity":"critical"}]`
	w.startBridge()
	w.waitFor("feed.started", 2)
	w.waitTwoPolls()
	w.tenant.SetServiceStat("Voice", "in_calls_waiting", "2")
	cleared := w.waitFor("threshold.backlog.Voice.cleared", 1)[0]
	if cleared.field("limit") != 3.0 || cleared.text("severity") != "critical" || cleared.text("cleared_by") != "condition" {
		t.Errorf("cleared: %v", cleared.Data)
	}
	if n := len(withSubject(w.events(), "threshold.backlog.Voice.raised")); n != 1 {
		t.Errorf("raised %d times", n)
	}
}

// TestRenamedLogin: where agents are known by their login ids, a new one is
// another agent; the directory tells that it is the same user.
func TestRenamedLogin(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BPCC_DIRECTORY_INTERVAL"] = "100ms"
	w.tenant.SetAgent(bpcctest.Agent{Login: "anna", UserID: "U-1", State: "ready"})
	w.tenant.SetAgent(bpcctest.Agent{Login: "bob", UserID: "U-2", State: "ready"})
	w.tenant.SetAgent(bpcctest.Agent{Login: "carl", UserID: "U-3", State: "ready"})
	w.startBridge()
	w.waitFor("directory.agents.changed", 1)
	w.waitFor("agent.anna.observed", 1)
	w.tenant.Update(func(world *bpcctest.World) {
		world.RemoveAgent("anna")
		world.SetAgent(bpcctest.Agent{Login: "anna.b", UserID: "U-1", State: "ready"})
	})
	appeared := w.waitFor("agent.anna=2Eb.appeared", 1)[0]
	removed := w.waitFor("agent.anna.disappeared", 1)[0]
	if appeared.text("agent", "user_id") != "U-1" || removed.text("agent", "user_id") != "U-1" {
		t.Errorf("appeared %v, gone %v", appeared.field("agent"), removed.field("agent"))
	}
	want := []any{map[string]any{"id": "U-1", "from": "anna", "to": "anna.b"}}
	if diff := cmp.Diff(want, w.waitFor("directory.agents.changed", 2)[1].field("renamed")); diff != "" {
		t.Errorf("renamed (-want +got)\n%s", diff)
	}
}

// TestNoReentryOverAGap: after an outage the state's clock proves nothing about
// this poll; the net picture is unchanged and nothing is told.
func TestNoReentryOverAGap(t *testing.T) {
	t.Parallel()
	var c tenantClock
	w := newTestEnv(t, bpcctest.Config{Now: c.now})
	w.setAgent("anna", "ready", "")
	w.startBridge()
	w.waitFor("agent.anna.observed", 1)
	w.tenant.Inject(bpcctest.Fault{Status: 502, Times: -1})
	w.waitFor("feed.interrupted", 1)
	w.tenant.Update(func(world *bpcctest.World) {
		world.SetState("anna", "busy", "")
		world.SetState("anna", "ready", "")
	})
	w.tenant.ClearFaults()
	w.waitFor("feed.resumed", 1)
	w.waitTwoPolls()
	if published := withSubject(w.events(), "agent.anna.state_changed"); len(published) > 0 {
		t.Errorf("told over a gap: %v", published[0].Data)
	}
}
