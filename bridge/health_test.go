package bridge_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
)

// TestStandbyIsWarm lets a standby read along while the floor lives, and then
// take over from a crash: what it publishes continues what was published, and nothing
// is published again.
func TestStandbyIsWarm(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.env["BRIDGE_LEASE_TTL"] = "1s"
	w.env["BPCC_DIRECTORY_INTERVAL"] = "200ms"
	w.setAgent("anna", "ready", "")
	w.setAgent("bob", "ready", "")
	crash := w.startCrashable()
	w.waitFor("totals.bridge.observed", 1)
	w.waitFor("directory.agents.changed", 1)

	var log bridgetest.Buffer
	standby, err := bridge.New(w.config(), w.js, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	w.run(standby, func(err error) {
		if err != nil {
			t.Errorf("standby: %v", err)
		}
	})
	w.waitUntil("a warm standby", func() bool { return standby.Health().Warm })
	if h := standby.Health(); !h.Ready || h.Role != "standby" {
		t.Errorf("a warm standby: %+v", h)
	}
	w.tenant.SetState("anna", "not_ready", "Lunch")
	w.waitFor("agent.anna.state_changed", 1)
	w.setAgent("carl", "ready", "")
	w.waitFor("agent.carl.appeared", 1)
	w.waitFor("directory.agents.changed", 2) // or one listing might show both changes
	w.tenant.RemoveAgent("bob")
	w.waitFor("agent.bob.disappeared", 1)
	published := len(w.waitFor("directory.agents.changed", 3))
	crash()
	w.waitFor("feed.started", 2)
	w.tenant.SetState("anna", "ready", "")
	w.waitFor("agent.anna.state_changed", 2)
	w.waitForPolls(5) // a repeated directory would be published by now
	all := w.events()
	if n := len(withSubject(all, "agent.carl.appeared")) + len(withSubject(all, "agent.carl.observed")); n != 1 {
		t.Errorf("carl appeared %d times", n)
	}
	if text := log.String(); strings.Contains(text, "WARN") || strings.Count(text, "msg=leading") != 1 {
		t.Errorf("the takeover was not at once:\n%s", text)
	}
	if n := len(withSubject(all, "directory.agents.changed")); n != published {
		t.Errorf("the directory was published %d times, %d times before the takeover", n, published)
	}
}

// TestProbes follows one instance from standing by to leading, through a lost
// source and back, by its probes.
func TestProbes(t *testing.T) {
	t.Parallel()
	w := newTestEnv(t, bpcctest.Config{})
	w.waitsDividedBy = 5
	w.setAgent("anna", "ready", "")
	c := w.config()
	if _, err := stream.Provision(t.Context(), w.js, c.Stream, c.Times(), nil); err != nil {
		t.Fatal(err)
	}
	b, err := bridge.NewFleet([]*config.Config{c}, w.js, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(b.Handler())
	t.Cleanup(server.Close)
	probe := func(path string) (int, bridge.Health) {
		t.Helper()
		resp, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var h bridge.Health
		if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, h
	}
	until := func(what string, condition func(int, bridge.Health) bool) {
		t.Helper()
		for deadline := time.Now().Add(testTimeout); ; <-time.After(20 * time.Millisecond) {
			status, h := probe("/readyz")
			if condition(status, h) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("waited in vain for %s: %d, %+v", what, status, h)
			}
		}
	}
	if status, h := probe("/readyz"); status != http.StatusServiceUnavailable || h.Role != "standby" || h.Reason == "" {
		t.Errorf("before it runs: %d, %+v", status, h)
	}
	done := make(chan error, 1)
	go func() { done <- b.Run(t.Context()) }()
	until("a live leader", func(status int, h bridge.Health) bool {
		return status == http.StatusOK && h.Role == "leader" && h.Status == "live" && h.Epoch == 1 && h.ObservedUntil != nil
	})
	w.tenant.Inject(bpcctest.Fault{Status: 502, Times: -1})
	until("an interrupted feed", func(status int, h bridge.Health) bool {
		return status == http.StatusServiceUnavailable && strings.HasPrefix(h.Reason, "the feed is interrupted: source: ") && strings.Contains(h.Reason, "HTTP 502")
	})
	if status, _ := probe("/healthz"); status != http.StatusOK {
		t.Errorf("a live process without a source is reported dead: %d", status)
	}
	w.tenant.ClearFaults()
	until("a live leader again", func(status int, h bridge.Health) bool { return status == http.StatusOK && h.Status == "live" })
}

// TestUnreadableStreamIsNotFatal takes all consumers that the stream allows, so that
// a bridge that has the lease cannot read what is stored. It must not end: it
// gives the lease back, and leads as soon as it can read.
func TestUnreadableStreamIsNotFatal(t *testing.T) {
	t.Parallel()
	const maxCount = 20
	w := newTestEnv(t, bpcctest.Config{})
	w.setAgent("anna", "ready", "")
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	stream, err := w.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "BPCC_EVENTS", Subjects: []string{"bpcc.v1.>"}, AllowAtomicPublish: true, AllowDirect: true, AllowMsgTTL: true, MaxConsumers: maxCount,
	})
	if err != nil {
		t.Fatal(err)
	}
	// A stream that never held a message is not read.
	if ack, err := w.js.Publish(ctx, "bpcc.v1.beta.agent.bob.observed", []byte("{}")); err != nil || stream.DeleteMsg(ctx, ack.Sequence) != nil {
		t.Fatal(err)
	}
	for i := range maxCount {
		if _, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{Name: fmt.Sprint(i), InactiveThreshold: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{}); err == nil {
		t.Skipf("release %s does not count the consumers of readers", w.nc.ConnectedServerVersion())
	}
	w.startBridge()
	w.waitUntil("a bridge that cannot read", func() bool { return strings.Contains(w.log.String(), "NATS unavailable") })
	for i := range maxCount {
		if err := stream.DeleteConsumer(ctx, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	w.waitFor("agent.anna.observed", 1)
}
