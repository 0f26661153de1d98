package bridge_test

import (
	"strings"
	"testing"

	"bpcc-nats/bpcc/bpcctest"
)

// TestLostSessionBehind200 answers with an error under status 200: once it is a lost session, and
// persistent it is reported with the server's words.
func TestLostSessionBehind200(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{NotReadyPolls: -1})
	w.waitsDividedBy = 2
	w.setAgent("anna", "ready", "")
	w.startBridge()
	w.waitFor("totals.bridge.observed", 1)
	w.tenant.Inject(bpcctest.Fault{Body: `{"error":"session expired"}`})
	w.waitForCounts("a new login and subscription", func(c bpcctest.Counts) bool { return c.Logins == 2 && c.Subscribes == 2 })
	w.tenant.SetState("anna", "not_ready", "")
	if changed := w.waitFor("agent.anna.state_changed", 1)[0]; changed.field("after_gap") != nil {
		t.Errorf("a lost session counts as a gap: %v", changed.Data)
	}

	w.tenant.Inject(bpcctest.Fault{Body: `{"error":"session expired","for":"sim-secret"}`, Times: -1})
	before := w.tenant.Counts()
	interrupted := w.waitFor("feed.interrupted", 1)[0]
	if text := interrupted.text("error"); interrupted.text("cause") != "truncated" || !strings.Contains(text, "the server says: error: session expired") {
		t.Errorf("cause %s, error %q", interrupted.text("cause"), text)
	}
	if n := w.tenant.Counts().Logins - before.Logins; n > 1 {
		t.Errorf("%d logins until the feed was interrupted", n)
	}
	if !strings.Contains(w.log.String(), "the server says: error: session expired") || strings.Contains(w.log.String(), "sim-secret") {
		t.Error("the log does not say what the server says, or shows the secret")
	}
	w.tenant.ClearFaults()
	w.waitFor("feed.resumed", 1)
}

// TestUnreadableCell answers with an array in one agent's cell: the others go on.
func TestUnreadableCell(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{NotReadyPolls: -1})
	w.setAgent("anna", "ready", "")
	w.setAgent("bob", "supervising", "")
	w.startBridge()
	w.waitFor("totals.bridge.observed", 1)
	w.tenant.Inject(bpcctest.Fault{Nested: "ready", Times: -1})
	w.waitForPolls(5)
	w.tenant.SetState("bob", "not_ready", "")
	w.waitFor("agent.bob.state_changed", 1)
	w.tenant.ClearFaults()
	w.tenant.SetState("anna", "supervising", "")
	changed := w.waitFor("agent.anna.state_changed", 1)[0]
	if changed.text("from", "state") != "ready" || changed.field("after_gap") != nil {
		t.Errorf("anna's change: %v", changed.Data)
	}
	for _, s := range w.events() {
		if strings.HasSuffix(s.Subject, "appeared") || s.Subject == "feed.interrupted" {
			t.Errorf("%s: %v", s.Subject, s.Data)
		}
	}
	if text := `agent_grids agents \"anna\" column \"6\"`; strings.Count(w.log.String(), text) != 1 {
		t.Errorf("the log does not name the cell once as %s", text)
	}
}
