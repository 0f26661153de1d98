package bridge_test

import (
	"encoding/json"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/schemas"
)

// feed reads the view's word on the feed.
func (w *world) feed() stored {
	w.t.Helper()
	kv, err := w.js.KeyValue(w.t.Context(), "bpcc_state")
	if err != nil {
		w.t.Fatal(err)
	}
	entry, err := kv.Get(w.t.Context(), "acme.feed")
	if err != nil {
		return stored{}
	}
	if err := schemas.Validate(entry.Value()); err != nil {
		w.t.Error(err)
	}
	var s stored
	if err := json.Unmarshal(entry.Value(), &s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) waitForFeed(status string) stored {
	w.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		if s := w.feed(); s.text("status") == status {
			return s
		}
	}
	w.t.Fatalf("the view's feed is %q, waited in vain for %q", w.feed().text("status"), status)
	return stored{}
}

// TestWatchdog takes a bridge away without a goodbye: NATS itself must turn the
// feed stale, and a bridge that comes back must turn it live again.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bpcctest.Config{})
	w.agent("anna", "ready", "")
	crash := w.startToCrash()
	live := w.waitForFeed("live")
	w.pause() // the watchdog follows the feed by a poll
	w.pause()
	crash()
	stale := w.waitForFeed("stale")
	if stale.get("epoch") != live.get("epoch") || stale.text("observed_until") < live.text("observed_until") {
		t.Errorf("stale: %v, live before: %v", stale.Data, live.Data)
	}
	stop := w.start()
	if back := w.waitForFeed("live"); back.get("epoch").(float64) <= stale.get("epoch").(float64) {
		t.Errorf("live again in epoch %v, stale since %v", back.get("epoch"), stale.get("epoch"))
	}
	stop()
	w.waitForFeed("stopped")
	<-time.After(17 * time.Second) // longer than the watchdog waits
	if got := w.feed().text("status"); got != "stopped" {
		t.Errorf("the feed that stopped in good order is told %s", got)
	}
	for _, s := range on(w.events(), "feed.checkpoint") {
		if s.text("status") == "stale" {
			t.Errorf("%s: the news of staleness is in the stream", s.ID)
		}
	}
}

// TestQuietRestartIsLiveAtOnce starts again on a floor where nothing has changed:
// the feed must not wait for the next watermark to be live.
func TestQuietRestartIsLiveAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bpcctest.Config{})
	w.agent("anna", "ready", "")
	stop := w.start()
	w.waitForFeed("live")
	stop()
	w.waitForFeed("stopped")
	w.start()
	back := w.waitForFeed("live")
	if until, err := time.Parse(time.RFC3339, back.text("observed_until")); err != nil || back.Time.Sub(until) > 10*time.Second {
		t.Errorf("live at %v, observed until %v (%v)", back.Time, until, err)
	}
	started := on(w.events(), "feed.started")[1]
	if waited := back.Time.Sub(started.Time); waited > 10*time.Second {
		t.Errorf("the feed was live %v after the start", waited)
	}
}
