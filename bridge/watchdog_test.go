package bridge_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/bridge/config"
	"bpcc-nats/internal/natstest"
	"bpcc-nats/internal/variants"
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
	// A view that is made anew must not find the old message.
	w.waitUntil("the deletion of the watchdog's message", func() bool {
		watchdog, err := w.js.Stream(t.Context(), "BPCC_EVENTS_WATCHDOG")
		if err != nil {
			t.Fatal(err)
		}
		_, err = watchdog.GetLastMsgForSubject(t.Context(), "bpcc.watchdog.acme.stale")
		return errors.Is(err, jetstream.ErrMsgNotFound)
	})
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

// TestWatchdogBesideAnotherClock runs a bridge whose machine's clock differs from the server's, or
// is set while it runs. The feed must not turn stale while it works, and must when it is dead.
func TestWatchdogBesideAnotherClock(t *testing.T) {
	t.Parallel()
	const second = int64(time.Second)
	tests := map[string]struct{ ahead, then int64 }{
		"behind":    {-20 * second, -20 * second},
		"ahead":     {20 * second, 20 * second},
		"far ahead": {7200 * second, 7200 * second},
		"set back":  {0, -20 * second},
		"put ahead": {0, 20 * second},
	}
	for name, test := range variants.Select(tests, "far ahead", "set back") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestEnvOn(t, bpcctest.Config{}, startServer(t))
			w.env["BRIDGE_LEASE_TTL"] = "2s"
			w.waitsDividedBy = 4 // the watchdog waits for 4.5 s
			w.setAgent("anna", "ready", "")
			w.provisionStreams()
			var ahead atomic.Int64
			ahead.Store(test.ahead)
			js := natstest.Connect(t, w.nc.ConnectedUrl(), nats.ReconnectBufSize(-1))
			f, err := bridge.NewFleet([]*config.Config{w.config()}, js, nil, w.logger())
			if err != nil {
				t.Fatal(err)
			}
			f.SetClock(func() time.Time { return time.Now().Add(time.Duration(test.ahead)) }, func() time.Time { return time.Now().Round(0).Add(time.Duration(ahead.Load())) })
			w.run(f, func(error) {})
			w.waitForFeed("live")
			kv, err := w.js.KeyValue(t.Context(), "bpcc_state")
			if err != nil {
				t.Fatal(err)
			}
			feed, err := kv.Watch(t.Context(), "acme.feed", jetstream.UpdatesOnly())
			if err != nil {
				t.Fatal(err)
			}
			ahead.Store(test.then)
			for end := time.After(6 * time.Second); end != nil; { // longer than the watchdog waits
				select {
				case entry := <-feed.Updates():
					if strings.Contains(string(entry.Value()), `"status":"stale"`) {
						t.Errorf("stale while the bridge works: %s", entry.Value())
					}
				case <-end:
					end = nil
				}
			}
			p := &runningFleet{fleet: f}
			if got, want := gauges(t, p)["nats_clock_offset_seconds"], -float64(test.then)/float64(second); math.Abs(got-want) > 0.9 {
				t.Errorf("the gauge says %v, want %v", got, want)
			}
			js.Conn().Close() // as after a crash
			died := time.Now()
			w.waitForFeed("stale")
			if took := time.Since(died); took > 15*time.Second {
				t.Errorf("stale %v after the bridge has died", took)
			}
		})
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
