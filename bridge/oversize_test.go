package bridge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/internal/natstest"
)

// TestTooLargeForTheServer lets pictures of agents grow above what the server
// takes, by its own limit and by the stream's. They are left out, once named in
// the log, all else is published, and they are published when they fit.
func TestTooLargeForTheServer(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		limit func(w *testEnv)
		max   int32
	}{
		"max_payload": {func(*testEnv) {}, 8 << 10},
		"max_msg_size": {func(w *testEnv) {
			w.updateStream("BPCC_EVENTS", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 8 << 10 })
		}, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), MaxPayload: test.max})
			w := newTestEnvOn(t, bpcctest.Config{}, s.ClientURL())
			t.Cleanup(w.auditStream)
			named := func(login, state, last string) {
				w.tenant.SetAgent(bpcctest.Agent{Login: login, Last: last, Team: "Sales", State: state})
			}
			long := strings.Repeat("x", 10000)
			w.provisionStreams()
			test.limit(w)
			named("anna", "ready", "Doe")
			named("bob", "ready", long)
			b := w.startBridgeHandle(w.js)
			w.waitFor("agent.anna.observed", 1)
			waitForReady(t, b)
			named("carl", "ready", "Roe")
			w.waitFor("agent.carl.appeared", 1)
			for _, s := range w.events() {
				if strings.HasPrefix(s.Subject, "agent.bob.") {
					t.Errorf("%s does not fit", s.Subject)
				}
			}
			named("bob", "ready", "Poe")
			w.waitFor("agent.bob.appeared", 1)

			// The image after the first of two events is too large already.
			named("anna", "not_ready", long)
			w.tenant.SetState("carl", "supervising", "")
			w.waitFor("agent.carl.state_changed", 1)
			w.waitForPolls(5)
			named("anna", "supervising", "Moe")
			changed := w.waitFor("agent.anna.state_changed", 1)[0]
			if changed.field("revision") != 2.0 || changed.text("from", "state") != "ready" || changed.text("to", "state") != "supervising" {
				t.Errorf("%v; want the net change from what was published", changed.Data)
			}
			w.waitFor("agent.anna.stats_changed", 1)
			for _, who := range []string{"entity=agent/bob", "entity=agent/anna"} {
				if n := strings.Count(w.log.String(), who); n != 1 {
					t.Errorf("%s is in the log %d times, want once", who, n)
				}
			}
		})
	}
}

// TestOversizeInOneChunkOfMany leaves something out of the first of several parts:
// the auditor must find no hole.
func TestOversizeInOneChunkOfMany(t *testing.T) {
	t.Parallel()
	const agents = 1500
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), MaxPayload: 8 << 10})
	w := newTestEnvOn(t, bpcctest.Config{}, s.ClientURL())
	t.Cleanup(w.auditStream)
	w.tenant.Update(func(world *bpcctest.World) {
		for i := range agents {
			world.SetAgent(bpcctest.Agent{Login: fmt.Sprintf("agent%04d", i), State: "ready", Last: strings.Repeat("x", 10000*(1-min(i, 1)))})
		}
	})
	w.startBridge()
	w.waitFor("totals.bridge.observed", 1)
	observed := 0
	for _, s := range w.events() {
		if strings.HasPrefix(s.Subject, "agent.") {
			observed++
		}
	}
	if observed != agents-1 {
		t.Errorf("%d agents observed, want all %d but one", observed, agents)
	}
}
