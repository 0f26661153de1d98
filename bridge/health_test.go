package bridge_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
)

// TestProbes follows one instance from standing by to leading, through a lost
// source and back, by its probes.
func TestProbes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bpcctest.Config{})
	w.agent("anna", "ready", "")
	c := w.config()
	if _, err := bridge.Provision(t.Context(), w.js, c); err != nil {
		t.Fatal(err)
	}
	b, err := bridge.New(c, w.js, slog.New(slog.DiscardHandler))
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
	until := func(what string, enough func(int, bridge.Health) bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; <-time.After(20 * time.Millisecond) {
			status, h := probe("/readyz")
			if enough(status, h) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("waited in vain for %s: %d, %+v", what, status, h)
			}
		}
	}
	if status, h := probe("/readyz"); status != http.StatusOK || h.Role != "standby" {
		t.Errorf("before it runs: %d, %+v", status, h)
	}
	done := make(chan error, 1)
	go func() { done <- b.Run(t.Context()) }()
	until("a live leader", func(status int, h bridge.Health) bool {
		return status == http.StatusOK && h.Role == "leader" && h.Status == "live" && h.Epoch == 1 && h.ObservedUntil != nil
	})
	w.tenant.Inject(bpcctest.Fault{Status: 502, Times: -1})
	until("an interrupted feed", func(status int, h bridge.Health) bool {
		return status == http.StatusServiceUnavailable && h.Reason == "the feed is interrupted"
	})
	if status, _ := probe("/healthz"); status != http.StatusOK {
		t.Errorf("a live process without a source is told dead: %d", status)
	}
	w.tenant.ClearFaults()
	until("a live leader again", func(status int, h bridge.Health) bool { return status == http.StatusOK && h.Status == "live" })
}
