package bridge_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
)

// supervisors kill what has not stopped by then.
const stopDeadline = 10 * time.Second

// TestShutdown asks a bridge to stop in every state that it can be in. It is gone
// in time, publishes feed.stopped where it can, and releases what it holds.
func TestShutdown(t *testing.T) {
	t.Parallel()
	const (
		expires = "ends by itself"
		// A renewal that was stored unheard keeps the release from it.
		releasedOrExpires = "released, or ends by itself"
	)
	tests := map[string]struct {
		disrupt  func(w *testEnv, p *natsProxy)
		want     error
		stays    bool   // the subscription, at the tenant
		noAnswer bool   // no feed.stopped in the stream
		lease    string // "" = released
	}{
		"at work": {disrupt: func(*testEnv, *natsProxy) {}},
		"while the source hangs": {
			disrupt: func(w *testEnv, _ *natsProxy) {
				w.tenant.Inject(bpcctest.Fault{Delay: time.Hour, Times: -1})
				w.tenant.Inject(bpcctest.Fault{Path: "/active", Delay: time.Hour, Times: -1})
			},
			stays: true,
		},
		"while the source refuses": {
			disrupt: func(w *testEnv, _ *natsProxy) {
				w.tenant.Inject(bpcctest.Fault{Status: 403, Times: -1})
				w.tenant.Inject(bpcctest.Fault{Path: "/active", Status: 500, Times: -1})
			},
			stays: true,
		},
		"while NATS is away":         {disrupt: func(_ *testEnv, p *natsProxy) { p.setDown(true) }, want: bridge.ErrUnfinished, noAnswer: true, lease: expires},
		"while NATS does not answer": {disrupt: func(_ *testEnv, p *natsProxy) { p.toClient.pause() }, want: bridge.ErrUnfinished, noAnswer: true, lease: releasedOrExpires},
		"while NATS is away and the source hangs": {
			disrupt: func(w *testEnv, p *natsProxy) {
				w.tenant.Inject(bpcctest.Fault{Delay: time.Hour, Times: -1})
				w.tenant.Inject(bpcctest.Fault{Path: "/active", Delay: time.Hour, Times: -1})
				p.setDown(true)
			},
			want: bridge.ErrUnfinished, stays: true, noAnswer: true, lease: expires,
		},
		"while a batch is held": {
			disrupt: func(w *testEnv, _ *natsProxy) {
				w.updateStream("BPCC_EVENTS", func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 1, jetstream.DiscardNew })
			},
			want: bridge.ErrUnfinished, noAnswer: true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := newProxiedEnv(t)
			w.env["BRIDGE_LEASE_TTL"] = "60s"
			w.setAgent("anna", "ready", "")
			w.provisionStreams()
			running := w.runFleet(p.connect(t))
			w.waitFor("totals.bridge.observed", 1)
			test.disrupt(w, p)
			polls := w.tenant.Counts().DataRequests()
			w.tenant.SetState("anna", "supervising", "")
			// The poll that shows it has begun, where the source is polled at all.
			for deadline := time.Now().Add(2 * time.Second); w.tenant.Counts().DataRequests() < polls+2 && time.Now().Before(deadline); {
				<-time.After(10 * time.Millisecond)
			}
			<-time.After(500 * time.Millisecond) // a request or a batch is under way
			deletes := w.tenant.Counts().Deletes
			start := time.Now()
			running.stop()
			if err := <-running.ended; !errors.Is(err, test.want) {
				t.Errorf("ended with %v, want %v", err, test.want)
			}
			if duration := time.Since(start); duration > stopDeadline {
				t.Errorf("took %v to stop", duration)
			}
			if n := w.tenant.Counts().Deletes - deletes; n != 1 {
				t.Errorf("asked %d times to delete the subscription", n)
			}
			w.tenant.ClearFaults()
			if exited := w.tenant.Subscriptions() == 0; exited == test.stays {
				t.Errorf("the tenant has %d subscriptions", w.tenant.Subscriptions())
			}
			leases, err := w.js.KeyValue(t.Context(), "bpcc_lease")
			if err != nil {
				t.Fatal(err)
			}
			_, err = leases.Get(t.Context(), "acme")
			if released := errors.Is(err, jetstream.ErrKeyNotFound); test.lease != releasedOrExpires && released != (test.lease == "") {
				t.Errorf("looked at the lease: %v", err)
			}
			if n := len(withSubject(w.events(), "feed.stopped")); (n == 0) != test.noAnswer {
				t.Errorf("feed.stopped %d times", n)
			}
		})
	}
}

// TestShutdownOnStandby stops an instance that does not lead.
func TestShutdownOnStandby(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.startBridge()
	w.waitFor("feed.started", 1)
	standby := w.runFleet(w.js)
	w.waitForPolls(3)
	start := time.Now()
	standby.stop()
	if err := <-standby.ended; err != nil || time.Since(start) > stopDeadline/2 {
		t.Errorf("stopped after %v: %v", time.Since(start), err)
	}
	if n := len(withSubject(w.events(), "feed.stopped")); n != 0 {
		t.Errorf("a standby published feed.stopped for the leader")
	}
}
