package bridge_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
)

// TestFailedAttemptsCount: while a batch is sent again and again, each attempt counts.
func TestFailedAttemptsCount(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	w.provisionStreams()
	p := w.runFleet(w.js)
	w.waitForFeed("live")
	failed := func() float64 { return gauges(t, p)[`commits_total{outcome="failed",tenant="acme"}`] }
	if n := failed(); n != 0 {
		t.Errorf("%v failed attempts of a healthy bridge", n)
	}
	w.updateStream("BPCC_EVENTS", func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false })
	w.tenant.SetState("anna", "busy", "")
	w.waitUntil("a failed attempt", func() bool { return failed() > 0 })
	before := failed()
	w.waitUntil("further ones", func() bool { return failed() >= before+2 })
	w.updateStream("BPCC_EVENTS", func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = true })
	w.waitForStateOnce(1, "busy")
}

// TestGapOfNATS takes NATS away until the lease has ended: the next term says that NATS made the gap. One that
// follows a pause of the bridge does not.
func TestGapOfNATS(t *testing.T) {
	t.Parallel()
	w, p := newProxiedEnv(t)
	w.env["BRIDGE_LEASE_TTL"] = "1s"
	w.waitsDividedBy = 5
	w.setAgent("anna", "ready", "")
	stop := w.startOn(p.connect(t))
	w.waitForFeed("live")
	p.setDown(true)
	<-time.After(2500 * time.Millisecond) // longer than the lease, and than a feed may be silent
	p.setDown(false)
	resumed := w.waitFor("feed.resumed", 1)[0]
	if resumed.text("cause") != "nats" || resumed.field("bridge_away") != true {
		t.Errorf("cause %s, bridge_away %v; want nats", resumed.text("cause"), resumed.field("bridge_away"))
	}
	if n := len(withSubject(w.events(), "feed.started")); n < 2 {
		t.Errorf("%d terms; the lease has not ended", n)
	}
	stop()
	<-time.After(1500 * time.Millisecond)
	w.startBridge()
	if resumed := w.waitFor("feed.resumed", 2)[1]; resumed.text("cause") != "source" || resumed.field("bridge_away") != true {
		t.Errorf("cause %s, bridge_away %v; want source, as no bridge was running", resumed.text("cause"), resumed.field("bridge_away"))
	}
}
