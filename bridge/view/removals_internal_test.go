package view

import (
	"errors"
	"testing"
	"time"

	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestPurgeRemovals: removals that are old enough go, each with its key; values, younger removals and those of
// other tenants stay.
func TestPurgeRemovals(t *testing.T) {
	t.Parallel()
	js, c := natstest.Connect(t, natstest.StartAny(t)), bridgetest.StreamConfig(t, 1)
	c.Tenant = "acme"
	if _, err := stream.Provision(t.Context(), js, c.Stream, c.Times(), nil); err != nil {
		t.Fatal(err)
	}
	publish := func(subject string, removal bool) {
		msg := nats.NewMsg("bpcc.v1." + subject)
		if removal {
			msg.Header.Set("KV-Operation", "DEL")
		}
		if _, err := js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	publish("acme.agent.anna.observed", false)
	publish("acme.agent.bob.disappeared", true)
	publish("acme.agent.carl.disappeared", true)
	publish("acme.agent.carl.appeared", false)
	publish("globex.agent.bob.disappeared", true)
	view, err := js.Stream(t.Context(), stream.ViewStream(c.Stream))
	if err != nil {
		t.Fatal(err)
	}
	bridgetest.WaitUntil(t, "the last removal", func() bool {
		_, err := view.GetLastMsgForSubject(t.Context(), "$KV.bpcc_state.globex.agent.bob")
		return err == nil
	})
	for _, maxAge := range []time.Duration{0, time.Hour} {
		if n, err := PurgeRemovals(t.Context(), js, c, maxAge); n != 0 || err != nil {
			t.Errorf("older than %v: purged %d, error %v", maxAge, n, err)
		}
	}
	time.Sleep(2 * time.Millisecond) // the age of the last removal
	if n, err := PurgeRemovals(t.Context(), js, c, time.Millisecond); n != 1 || err != nil {
		t.Errorf("purged %d, error %v, want bob's", n, err)
	}
	for key, want := range map[string]bool{"acme.agent.anna": true, "acme.agent.bob": false, "acme.agent.carl": true, "globex.agent.bob": true} {
		_, err := view.GetLastMsgForSubject(t.Context(), "$KV.bpcc_state."+key)
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			t.Fatal(err)
		}
		if (err == nil) != want {
			t.Errorf("the view has %s: %v, want %v", key, err == nil, want)
		}
	}
}
