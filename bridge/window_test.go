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
	w := newWorld(t, bpcctest.Config{})
	w.agent("anna", "ready", "")
	w.start()
	w.waitFor("totals.bridge.observed", 1)
	published := last(w.events())
	quiet := time.Now()
	w.quietPolls(4)
	w.tenant.SetState("anna", "not_ready", "")
	changed := w.waitFor("agent.anna.state_changed", 1)[0]
	if n := len(on(after(w.events(), published), "feed.checkpoint")); n != 1 {
		t.Fatalf("%d checkpoints since the first picture: the polls between were not quiet", n)
	}
	if got := stamp(t, changed, "after"); !got.After(quiet) {
		t.Errorf("the window begins at %v, before the quiet polls that began at %v", got, quiet)
	}
}

// TestAbsenceIsTold crashes the only bridge for longer than a feed may be
// silent. Nobody could tell so at the time; the next bridge tells it when the
// time without sight is over, with its width.
func TestAbsenceIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bpcctest.Config{})
	w.env["BRIDGE_LEASE_TTL"] = "1s"
	w.agent("anna", "ready", "")
	crash := w.startToCrash()
	w.waitFor("totals.bridge.observed", 1)
	crash()
	seen := on(w.events(), "feed.checkpoint")
	until := seen[len(seen)-1].text("observed_until")
	<-time.After(6 * time.Second)
	w.tenant.SetState("anna", "busy", "")
	w.start()
	changed := w.waitFor("agent.anna.state_changed", 1)[0]
	all := w.events()
	interrupted, resumed := on(all, "feed.interrupted"), on(all, "feed.resumed")
	if len(interrupted) != 1 || len(resumed) != 1 {
		t.Fatalf("interrupted %d times, resumed %d times", len(interrupted), len(resumed))
	}
	for _, s := range []stored{interrupted[0], resumed[0]} {
		if s.get("bridge_away") != true || s.get("poll") != changed.get("poll") {
			t.Errorf("%s: %v; want bridge_away, in the poll %v of the change", s.Subject, s.Data, changed.get("poll"))
		}
	}
	if got := interrupted[0].text("observed_until"); got != until {
		t.Errorf("interrupted since %s, the last checkpoint saw until %s", got, until)
	}
	if diff := cmp.Diff(resumed[0].get("observed"), changed.get("observed")); diff != "" || changed.text("observed", "after") != until {
		t.Errorf("the windows are not the absence since %s (-resumed +changed)\n%s", until, diff)
	}
	checkpoints := on(all, "feed.checkpoint")
	if got := checkpoints[len(checkpoints)-1].text("status"); got != "live" {
		t.Errorf("status %s", got)
	}
}

// quietPolls waits for n more polls to be answered.
func (w *world) quietPolls(n int) {
	w.t.Helper()
	want := w.tenant.Counts().DataRequests() + n
	for deadline := time.Now().Add(patience); w.tenant.Counts().DataRequests() < want; <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain for %d polls", n)
		}
	}
}

// stamp reads one end of an event's window.
func stamp(t *testing.T, s stored, end string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s.text("observed", end))
	if err != nil {
		t.Fatalf("%s: observed.%s: %v", s.ID, end, err)
	}
	return at
}
