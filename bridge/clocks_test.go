package bridge_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
)

// fastClock runs twenty times as fast as time does, so that clocks in whole seconds differ from poll
// to poll.
func fastClock() func() time.Time {
	began := time.Now()
	return func() time.Time { return began.Add(20 * time.Since(began)) }
}

// TestFrozenSourceIsNotReady: a source that serves one picture while agents are logged in interrupts
// the feed, makes the bridge unready, and shows in a gauge. It goes on by itself.
func TestFrozenSourceIsNotReady(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{Now: fastClock()})
	w.waitsDividedBy = 2
	w.setAgent("anna", "ready", "")
	c := w.config()
	c.Events.FrozenAfter = 300 * time.Millisecond
	w.provisionStreams()
	p := w.runConfigs(w.js, c)
	w.waitFor("totals.bridge.observed", 1)
	w.waitForPolls(3)
	w.tenant.Inject(bpcctest.Fault{Frozen: true, Times: -1})
	w.tenant.SetState("anna", "not_ready", "Lunch")
	if e := w.waitFor("feed.interrupted", 1)[0]; e.text("cause") != "frozen" {
		t.Errorf("cause %s, want frozen", e.text("cause"))
	}
	w.waitUntil("an unready bridge", func() bool { return !p.fleet.Health()[0].Ready })
	server := httptest.NewServer(p.fleet.Handler())
	defer server.Close()
	if status, body := httpGet(t, server.URL+"/readyz"); status == 200 {
		t.Errorf("/readyz: %s", body)
	}
	w.waitUntil("the age of the picture", func() bool { return gauges(t, p)[`snapshot_age_seconds{tenant="acme"}`] > 0.5 })
	if n := len(withSubject(w.events(), "agent.anna.state_changed")); n > 0 {
		t.Errorf("%d changes of a frozen source", n)
	}
	w.tenant.ClearFaults()
	e := w.waitFor("agent.anna.state_changed", 1)[0]
	w.waitFor("feed.resumed", 1)
	if e.field("after_gap") != true {
		t.Error("the change does not say after_gap")
	}
	w.waitUntil("a ready bridge", func() bool { return p.fleet.Health()[0].Ready })
	if age := gauges(t, p)[`snapshot_age_seconds{tenant="acme"}`]; age > 20 {
		t.Errorf("the picture is %v s old", age)
	}
	if n := strings.Count(w.log.String(), "source is frozen"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// TestLaggingNode: two servers answer in turn, of which one is behind. Every change is published
// once, and the responses of the other server are counted.
func TestLaggingNode(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{Now: fastClock()})
	w.waitsDividedBy = 2
	w.setAgent("anna", "ready", "")
	w.setAgent("bob", "ready", "")
	w.provisionStreams()
	p := w.runConfigs(w.js, w.config())
	w.waitFor("totals.bridge.observed", 1)
	<-time.After(500 * time.Millisecond) // ten seconds for the clocks: they are older than the lag
	w.tenant.Inject(bpcctest.Fault{Lag: 8 * time.Second, Every: 2, Times: -1})
	w.waitForPolls(4)
	for n, state := range []string{"not_ready", "ready", "busy"} {
		w.tenant.SetState("anna", state, "")
		w.waitFor("agent.anna.state_changed", n+1)
		w.waitForPolls(6)
	}
	w.tenant.ClearFaults()
	w.waitForPolls(4)
	if n := len(withSubject(w.events(), "agent.anna.state_changed")); n != 3 {
		t.Errorf("%d changes of state, want 3", n)
	}
	if n := gauges(t, p)[`polls_total{outcome="outdated",tenant="acme"}`]; n == 0 {
		t.Error("no response was counted as outdated")
	}
	if n := strings.Count(w.log.String(), "snapshot not used"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}
