package bridge_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/stream"
)

// viewMessage returns the last message of a key of the tenant, a removal included; nil if there is none.
func (w *testEnv) viewMessage(key string) *jetstream.RawStreamMsg {
	w.t.Helper()
	view, err := w.js.Stream(w.t.Context(), "KV_bpcc_state")
	if err != nil {
		w.t.Fatal(err)
	}
	msg, err := view.GetLastMsgForSubject(w.t.Context(), "$KV.bpcc_state.acme."+key)
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		w.t.Fatal(err)
	}
	return msg
}

// waitForView waits until a key holds a removal, a value, or nothing.
func (w *testEnv) waitForView(key, what string) {
	w.t.Helper()
	w.waitUntil("the key "+key+" to hold "+what, func() bool {
		got := "nothing"
		if msg := w.viewMessage(key); msg != nil {
			if got = "a value"; msg.Header.Get("KV-Operation") != "" {
				got = "a removal"
			}
		}
		return got == what
	})
}

// withRetention makes a stream of events whose retention is shorter than a configuration allows.
func (w *testEnv) withRetention(retention time.Duration, change func(*jetstream.StreamConfig)) {
	w.t.Helper()
	events := stream.Configs(w.config().Stream)[0]
	events.MaxAge, events.Duplicates = retention, min(retention, events.Duplicates)
	change(&events)
	if _, err := w.js.CreateStream(w.t.Context(), events); err != nil {
		w.t.Fatal(err)
	}
	w.env["BRIDGE_CHECKPOINT_INTERVAL"] = "500ms" // so that the stream always has one
}

// TestRemovalsEnd: whoever is gone leaves the view when its last event leaves the stream. A person who
// came back before stays.
func TestRemovalsEnd(t *testing.T) {
	t.Parallel()
	const retention = 3 * time.Second
	for name, change := range map[string]func(*jetstream.StreamConfig){
		"by the TTL of the message": func(*jetstream.StreamConfig) {},
		// What an earlier version stored is the same: a removal without a TTL.
		"purged by the bridge": func(s *jetstream.StreamConfig) { s.AllowMsgTTL = false },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestEnvOn(t, bpcctest.Config{}, startServer(t))
			w.withRetention(retention, change)
			for _, agent := range []string{"anna", "bob", "carl"} {
				w.setAgent(agent, "ready", "")
			}
			w.startBridge()
			w.waitForView("agent.carl", "a value")
			w.tenant.RemoveAgent("carl")
			w.waitForView("agent.carl", "a removal")
			w.setAgent("carl", "ready", "")
			w.waitForView("agent.carl", "a value")
			w.tenant.RemoveAgent("bob")
			w.waitForView("agent.bob", "a removal")
			ttl := w.viewMessage("agent.bob").Header.Get("Nats-TTL")
			if events, err := w.js.Stream(t.Context(), "BPCC_EVENTS"); err != nil {
				t.Fatal(err)
			} else if want := retention.String(); ttl != want && events.CachedInfo().Config.AllowMsgTTL {
				t.Errorf("the removal has the TTL %q, want %s", ttl, want)
			}
			w.waitForView("agent.bob", "nothing")
			for _, agent := range []string{"anna", "carl"} { // carl's removal was older than bob's
				if msg := w.viewMessage("agent." + agent); msg == nil || msg.Header.Get("KV-Operation") != "" {
					t.Errorf("the view has lost %s, who is present", agent)
				}
			}
			w.setAgent("bob", "ready", "")
			w.waitForView("agent.bob", "a value")
		})
	}
}

// TestRemovalWithoutRetention: where events stay for ever, so do removals. One that ended before would be
// a hole in the stream.
func TestRemovalWithoutRetention(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.withRetention(0, func(s *jetstream.StreamConfig) { s.Duplicates = 2 * time.Minute })
	w.setAgent("anna", "ready", "")
	w.setAgent("bob", "ready", "")
	w.startBridge()
	w.waitFor("agent.bob.observed", 1)
	w.tenant.RemoveAgent("bob")
	if ttl := w.waitFor("agent.bob.disappeared", 1)[0].Header.Get("Nats-TTL"); ttl != "" {
		t.Errorf("the removal has the TTL %q", ttl)
	}
}
