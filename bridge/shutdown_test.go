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
const stopBy = 10 * time.Second

// TestShutdown asks a bridge to stop in every state that it can be in. It is gone
// in time, says goodbye where it can, and gives back what it holds.
func TestShutdown(t *testing.T) {
	t.Parallel()
	const (
		held = "ends by itself"
		// A renewal that was stored unheard keeps the release from it.
		either = "released, or ends by itself"
	)
	tests := map[string]struct {
		spoil  func(w *world, p *proxy)
		want   error
		stays  bool   // the subscription, at the tenant
		silent bool   // no goodbye in the stream
		lease  string // "" = released
	}{
		"at work": {spoil: func(*world, *proxy) {}},
		"while the source hangs": {
			spoil: func(w *world, _ *proxy) {
				w.tenant.Inject(bpcctest.Fault{Delay: time.Hour, Times: -1})
				w.tenant.Inject(bpcctest.Fault{Path: "/active", Delay: time.Hour, Times: -1})
			},
			stays: true,
		},
		"while the source refuses": {
			spoil: func(w *world, _ *proxy) {
				w.tenant.Inject(bpcctest.Fault{Status: 403, Times: -1})
				w.tenant.Inject(bpcctest.Fault{Path: "/active", Status: 500, Times: -1})
			},
			stays: true,
		},
		"while NATS is away":         {spoil: func(_ *world, p *proxy) { p.away(true) }, want: bridge.ErrUnfinished, silent: true, lease: held},
		"while NATS does not answer": {spoil: func(_ *world, p *proxy) { p.toClient.shut() }, want: bridge.ErrUnfinished, silent: true, lease: either},
		"while NATS is away and the source hangs": {
			spoil: func(w *world, p *proxy) {
				w.tenant.Inject(bpcctest.Fault{Delay: time.Hour, Times: -1})
				w.tenant.Inject(bpcctest.Fault{Path: "/active", Delay: time.Hour, Times: -1})
				p.away(true)
			},
			want: bridge.ErrUnfinished, stays: true, silent: true, lease: held,
		},
		"while a batch is held": {
			spoil: func(w *world, _ *proxy) {
				w.reshape("BPCC_EVENTS", func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 1, jetstream.DiscardNew })
			},
			want: bridge.ErrUnfinished, silent: true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := behindProxy(t)
			w.env["BRIDGE_LEASE_TTL"] = "60s"
			w.agent("anna", "ready", "")
			w.provision()
			running := w.run(p.through(t))
			w.waitFor("totals.bridge.observed", 1)
			test.spoil(w, p)
			w.tenant.SetState("anna", "busy", "")
			<-time.After(500 * time.Millisecond) // a request or a batch is under way
			deletes := w.tenant.Counts().Deletes
			begun := time.Now()
			running.stop()
			if err := <-running.ended; !errors.Is(err, test.want) {
				t.Errorf("ended with %v, want %v", err, test.want)
			}
			if took := time.Since(begun); took > stopBy {
				t.Errorf("took %v to stop", took)
			}
			if n := w.tenant.Counts().Deletes - deletes; n != 1 {
				t.Errorf("asked %d times to delete the subscription", n)
			}
			w.tenant.ClearFaults()
			if gone := w.tenant.Subscriptions() == 0; gone == test.stays {
				t.Errorf("the tenant has %d subscriptions", w.tenant.Subscriptions())
			}
			leases, err := w.js.KeyValue(t.Context(), "bpcc_lease")
			if err != nil {
				t.Fatal(err)
			}
			_, err = leases.Get(t.Context(), "acme")
			if released := errors.Is(err, jetstream.ErrKeyNotFound); test.lease != either && released != (test.lease == "") {
				t.Errorf("looked at the lease: %v", err)
			}
			if n := len(on(w.events(), "feed.stopped")); (n == 0) != test.silent {
				t.Errorf("feed.stopped %d times", n)
			}
		})
	}
}

// TestShutdownWhileStandingBy stops an instance that does not lead.
func TestShutdownWhileStandingBy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bpcctest.Config{})
	w.start()
	w.waitFor("feed.started", 1)
	standby := w.run(w.js)
	w.quietPolls(3)
	begun := time.Now()
	standby.stop()
	if err := <-standby.ended; err != nil || time.Since(begun) > stopBy/2 {
		t.Errorf("stopped after %v: %v", time.Since(begun), err)
	}
	if n := len(on(w.events(), "feed.stopped")); n != 0 {
		t.Errorf("a standby said goodbye for the leader")
	}
}
