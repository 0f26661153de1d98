package bridge_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc/bpcctest"
)

// TestWindowBeginsAtTheLastGoodPoll lets polls pass that have nothing to tell:
// they are not published, but the next change happened after them.
func TestWindowBeginsAtTheLastGoodPoll(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	w.startBridge()
	w.waitFor("totals.bridge.observed", 1)
	published := lastSeqOf(w.events())
	quiet := time.Now()
	w.waitForPolls(4)
	w.tenant.SetState("anna", "not_ready", "")
	changed := w.waitFor("agent.anna.state_changed", 1)[0]
	if n := len(withSubject(afterSeq(w.events(), published), "feed.checkpoint")); n != 1 {
		t.Fatalf("%d checkpoints since the first picture: the polls between were not quiet", n)
	}
	if got := windowEnd(t, changed, "after"); !got.After(quiet) {
		t.Errorf("the window begins at %v, before the quiet polls that began at %v", got, quiet)
	}
}

// TestWindowOverAMissingRow takes a row away for some polls, too few for its
// departure to be believed, and lets it come back changed: nobody has seen when
// it changed, so the window begins where the row was last seen. The same holds
// where another bridge has taken over meanwhile.
func TestWindowOverAMissingRow(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]bool{"one term": false, "over a restart": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestEnv(t, bpcctest.Config{})
			w.env["BRIDGE_DISAPPEAR_AFTER"] = "1000"
			w.setAgent("anna", "ready", "")
			w.setAgent("bob", "ready", "")
			stop := w.startBridge()
			w.waitFor("totals.bridge.observed", 1)
			removed := time.Now()
			w.tenant.RemoveAgent("anna")
			w.waitForPolls(3)
			w.tenant.SetState("bob", "busy", "")
			w.waitFor("agent.bob.state_changed", 1)
			checkpoints := withSubject(w.events(), "feed.checkpoint")
			since := checkpoints[len(checkpoints)-1].text("missing_since")
			if at, err := time.Parse(time.RFC3339, since); err != nil || at.After(removed) {
				t.Errorf("missing_since is %q; anna is gone since %v", since, removed)
			}
			if restart {
				stop()
				w.startBridge()
				w.waitForPolls(3)
			}
			w.setAgent("anna", "not_ready", "Lunch")
			restored := w.waitFor("agent.anna.state_changed", 1)[0]
			if got := windowEnd(t, restored, "after"); got.After(removed) {
				t.Errorf("the window begins at %v; anna was not seen since %v", got, removed)
			}
			w.tenant.SetState("bob", "ready", "")
			w.waitFor("agent.bob.state_changed", 2)
			checkpoints = withSubject(w.events(), "feed.checkpoint")
			if since := checkpoints[len(checkpoints)-1].text("missing_since"); since != "" {
				t.Errorf("missing_since is still %s", since)
			}
		})
	}
}

// TestInterruptionIsBackfilled crashes the only bridge for longer than a feed may be
// silent. Nobody could tell so at the time; the next bridge tells it when the
// time without sight is over, with its width.
func TestInterruptionIsBackfilled(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_LEASE_TTL"] = "1s"
	w.setAgent("anna", "ready", "")
	crash := w.startCrashable()
	w.waitFor("totals.bridge.observed", 1)
	crash()
	seen := withSubject(w.events(), "feed.checkpoint")
	until := seen[len(seen)-1].text("observed_until")
	<-time.After(6 * time.Second)
	w.tenant.SetState("anna", "busy", "")
	w.startBridge()
	changed := w.waitFor("agent.anna.state_changed", 1)[0]
	all := w.events()
	interrupted, resumed := withSubject(all, "feed.interrupted"), withSubject(all, "feed.resumed")
	if len(interrupted) != 1 || len(resumed) != 1 {
		t.Fatalf("interrupted %d times, resumed %d times", len(interrupted), len(resumed))
	}
	for _, s := range []storedEvent{interrupted[0], resumed[0]} {
		if s.field("bridge_away") != true || s.field("poll") != changed.field("poll") {
			t.Errorf("%s: %v; want bridge_away, in the poll %v of the change", s.Subject, s.Data, changed.field("poll"))
		}
	}
	if got := interrupted[0].text("observed_until"); got != until {
		t.Errorf("interrupted since %s, the last checkpoint saw until %s", got, until)
	}
	if diff := cmp.Diff(resumed[0].field("observed"), changed.field("observed")); diff != "" || changed.text("observed", "after") != until {
		t.Errorf("the windows are not the absence since %s (-resumed +changed)\n%s", until, diff)
	}
	checkpoints := withSubject(all, "feed.checkpoint")
	if got := checkpoints[len(checkpoints)-1].text("status"); got != "live" {
		t.Errorf("status %s", got)
	}
}

// waitForPolls waits for n more polls to be answered.
func (w *testEnv) waitForPolls(n int) {
	w.t.Helper()
	want := w.tenant.Counts().DataRequests() + n
	for deadline := time.Now().Add(testTimeout); w.tenant.Counts().DataRequests() < want; <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain for %d polls", n)
		}
	}
}

// windowEnd reads one end of an event's window.
func windowEnd(t *testing.T, s storedEvent, end string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s.text("observed", end))
	if err != nil {
		t.Fatalf("%s: observed.%s: %v", s.ID, end, err)
	}
	return at
}
