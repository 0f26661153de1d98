package bridge_test

import (
	"encoding/json"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/schemas"
)

// viewFeed reads the view's word on the feed.
func (w *testEnv) viewFeed() storedEvent {
	w.t.Helper()
	kv, err := w.js.KeyValue(w.t.Context(), "bpcc_state")
	if err != nil {
		w.t.Fatal(err)
	}
	entry, err := kv.Get(w.t.Context(), "acme.feed")
	if err != nil {
		return storedEvent{}
	}
	if err := schemas.Validate(entry.Value()); err != nil {
		w.t.Error(err)
	}
	var s storedEvent
	if err := json.Unmarshal(entry.Value(), &s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *testEnv) waitForFeed(status string) storedEvent {
	w.t.Helper()
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		if s := w.viewFeed(); s.text("status") == status {
			return s
		}
	}
	w.t.Fatalf("the view's feed is %q, waited in vain for %q", w.viewFeed().text("status"), status)
	return storedEvent{}
}

// TestWatchdog ends a bridge without feed.stopped: NATS itself must turn the
// feed stale, and a bridge that comes back must turn it live again.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_LEASE_TTL"] = "1s"
	w.waitsDividedBy = 5 // the watchdog waits for 3 s
	w.setAgent("anna", "ready", "")
	crash := w.startCrashable()
	live := w.waitForFeed("live")
	w.waitTwoPolls() // the watchdog follows the feed by a poll
	w.waitTwoPolls()
	crash()
	stale := w.waitForFeed("stale")
	if stale.field("epoch") != live.field("epoch") || stale.text("observed_until") < live.text("observed_until") {
		t.Errorf("stale: %v, live before: %v", stale.Data, live.Data)
	}
	stop := w.startBridge()
	if restored := w.waitForFeed("live"); restored.field("epoch").(float64) <= stale.field("epoch").(float64) {
		t.Errorf("live again in epoch %v, stale since %v", restored.field("epoch"), stale.field("epoch"))
	}
	stop()
	w.waitForFeed("stopped")
	<-time.After(4 * time.Second) // longer than the watchdog waits
	if got := w.viewFeed().text("status"); got != "stopped" {
		t.Errorf("the feed that was shut down has status %s", got)
	}
	for _, s := range withSubject(w.events(), "feed.checkpoint") {
		if s.text("status") == "stale" {
			t.Errorf("%s: the news of staleness is in the stream", s.ID)
		}
	}
}

// TestRestartWithoutChangesIsLiveAtOnce starts again on a floor where nothing has changed:
// the feed must not wait for the next watermark to be live.
func TestRestartWithoutChangesIsLiveAtOnce(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	stop := w.startBridge()
	w.waitForFeed("live")
	stop()
	w.waitForFeed("stopped")
	w.startBridge()
	restored := w.waitForFeed("live")
	if until, err := time.Parse(time.RFC3339, restored.text("observed_until")); err != nil || restored.Time.Sub(until) > 10*time.Second {
		t.Errorf("live at %v, observed until %v (%v)", restored.Time, until, err)
	}
	started := withSubject(w.events(), "feed.started")[1]
	if waited := restored.Time.Sub(started.Time); waited > 10*time.Second {
		t.Errorf("the feed was live %v after the start", waited)
	}
}
